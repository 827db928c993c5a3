"""The two training loops: stage I (Eq. 1) and stage II (Eq. 2 to 4), sections 3.1, 3.2 and 4.1 of the paper.

The loops train, check and save; what watches them (progress bars, logs, pictures) hangs on `on_step` and `on_sample`.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DynamoBackend, set_seed
from torch import Tensor, nn

from pg2lib import losses
from pg2lib.config import PG2Config, Stage1Config, Stage2Config, TrainingConfig
from pg2lib.data.pairs import PairTable
from pg2lib.data.store import ImageStore, PairBatch
from pg2lib.errors import ConfigError, DataError, TrainingDivergedError
from pg2lib.models import G1, G2, Discriminator, to_device
from pg2lib.models.generators import G1Input, G1Output, g1_input
from pg2lib.training.augment import Augmenter
from pg2lib.training.checkpoint import TrainingState, find_checkpoint, load_checkpoint, save_checkpoint
from pg2lib.training.feed import PairFeed

log = logging.getLogger(__name__)

Generator = TypeVar("Generator", G1, G2)
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class StepRecord:
    """What one step reports.

    Attributes:
        stage: 1 or 2; 0 for the one-stage model.
        step: steps done, counted from 1.
        losses: by name.
        images_per_second: of all processes together, over the steps since the last read-back.
    """

    stage: int
    step: int
    losses: Mapping[str, float]
    images_per_second: float


@dataclass(frozen=True)
class Sample:
    """The fixed pairs that a run shows as it goes, and what the models make of them.

    Attributes:
        stage: 1 or 2; 0 for the one-stage model.
        step: steps done.
        batch: the pairs, as in training but never flipped.
        results: generated images by name, [-1, 1] but for the generator's overshoot: "coarse", in stage II "refined"
            too.
    """

    stage: int
    step: int
    batch: PairBatch
    results: Mapping[str, Tensor]


@dataclass(frozen=True)
class Watch:
    """How often a run reads back its losses, shows samples and saves, and who is told.

    Attributes:
        read_every: steps between reading losses back from the device; each read waits for it. NaN is found then.
        sample_every: steps between samples; 0 shows none.
        checkpoint_every: steps between checkpoints; the last step always makes one.
        samples: pairs in a sample.
        time_share: a sample or a checkpoint that is due is left out while those before it have taken more than this
            share of the run's time: on a fast GPU 500 steps take five seconds, and writing a wide model one. 1 leaves
            out none.
        unsaved_seconds: after so long without a checkpoint one that is due is written, whatever its share: a kill loses
            no more.
    """

    on_step: Callable[[StepRecord], None] = lambda record: None
    on_sample: Callable[[Sample], None] = lambda sample: None
    read_every: int = 20
    sample_every: int = 0
    checkpoint_every: int = 500
    samples: int = 8
    time_share: float = 1.0
    unsaved_seconds: float = 120.0


def train_stage1(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    accelerator: Accelerator | None = None,
    watch: Watch = Watch(),
) -> G1:
    """Trains G1 to the coarse result (Eq. 1), going on from the newest checkpoint in `folder`.

    Args:
        store: images; batches are made on the accelerator's device.
        pairs: training pairs, made from ``store.table``.
        folder: holds the checkpoints of this stage.
        accelerator: device, precision and processes; by default accelerate's own choice.

    Returns:
        G1 after the last step; its moving average where ``config.stage1.ema_decay`` asks for one.

    Raises:
        TrainingDivergedError: the loss became NaN or infinite.
        CheckpointError: the folder's checkpoints are of a run with other settings or data, or of more steps.
    """
    stage, accelerator = config.stage1, accelerator or Accelerator()
    set_seed(stage.seed)
    g1 = to_device(G1(config.model), accelerator.device)
    average = _average_of(g1, stage)
    optimiser = _adam(g1, stage, stage.lr)
    state = TrainingState(_with_average("g1", g1, average), {"g1": optimiser}, identity_of(config, 1, stage, pairs))
    run = _Run(1, config, stage, store, pairs, Path(folder), accelerator, watch, state)
    wrapped, optimiser_step = accelerator.prepare(g1, optimiser)

    for step in run.steps():
        batch = run.batch(step)
        _set_lr(optimiser, stage.lr, stage, step)

        # Eq. 1, or plain L1 where the configuration says so; matte and blend are beyond the paper.
        seen = _seen(config, batch)
        with accelerator.autocast():
            made = g1.split(wrapped(*seen).float())
        if stage.pose_mask_loss:
            l1 = losses.pose_mask_l1(made.coarse, batch.target_image, batch.target_mask)
        else:
            l1 = losses.l1(made.coarse, batch.target_image)
        beside = _matte_and_blend(made, seen, batch)
        loss = l1 + _weighted(beside, stage)
        optimiser_step.zero_grad()
        accelerator.backward(loss)
        optimiser_step.step()
        _update_average(average, g1, stage.ema_decay, step)

        run.after(step, {"l1": l1, **beside}, lambda b: _stage1_results(average, _seen(config, b)))
    return average


def train_stage2(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    g1: G1,
    accelerator: Accelerator | None = None,
    watch: Watch = Watch(),
) -> tuple[G2, Discriminator]:
    """Trains G2 against D (Eq. 2 to 4) on what a frozen G1 makes, going on from the newest checkpoint in `folder`.

    Args:
        g1: trained by stage I; it is not changed.
        store, pairs, folder, accelerator: as in `train_stage1`.

    Returns:
        G2 after the last step (its moving average where asked for) and D.

    Raises:
        TrainingDivergedError: a loss became NaN or infinite.
        CheckpointError: the folder's checkpoints are of a run with other settings, data or G1.
    """
    stage, accelerator = config.stage2, accelerator or Accelerator()
    set_seed(stage.seed)
    g1 = to_device(copy.deepcopy(g1).requires_grad_(False).eval(), accelerator.device)
    frozen = _compiled(g1, accelerator)
    g2 = to_device(G2(config.model), accelerator.device)
    rivals = _Rivals.prepare(g2, config, stage, accelerator)
    identity = {**identity_of(config, 2, stage, pairs), "g1": digest_of(g1)}
    run = _Run(2, config, stage, store, pairs, Path(folder), accelerator, watch, rivals.state("g2", identity))

    def refine(model: nn.Module, batch: PairBatch) -> Generated:
        """G1 is frozen; G2 adds the difference map."""
        seen = _seen(config, batch)
        with torch.no_grad():
            coarse = g1.split(frozen(*seen)).coarse
        difference_map = model(batch.condition_image, coarse, batch.target_heatmaps, seen.warped, seen.coverage)
        return Generated({"coarse": coarse, "refined": coarse + difference_map})

    _train_against_d(run, rivals, refine, result="refined", name="g2")
    return rivals.average, rivals.d


def train_one_stage(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    accelerator: Accelerator | None = None,
    watch: Watch = Watch(),
) -> tuple[G1, Discriminator]:
    """Trains G1 against D to the final image directly (the row G1+D of Table 1), as ``config.one_stage`` says.

    Its loss is that of stage II (Eq. 2 to 4) with G1's result in the refined result's place.

    Args:
        store, pairs, folder, accelerator: as in `train_stage1`.

    Returns:
        G1 after the last step (its moving average where asked for) and D.

    Raises:
        TrainingDivergedError, CheckpointError: as in `train_stage1`.
    """
    stage, accelerator = config.one_stage, accelerator or Accelerator()
    set_seed(stage.seed)
    g1 = to_device(G1(config.model), accelerator.device)
    rivals = _Rivals.prepare(g1, config, stage, accelerator)
    identity = identity_of(config, 0, stage, pairs)
    run = _Run(0, config, stage, store, pairs, Path(folder), accelerator, watch, rivals.state("g1", identity))

    def generate(model: nn.Module, batch: PairBatch) -> Generated:
        seen = _seen(config, batch)
        made = g1.split(model(*seen).float())
        return Generated({"coarse": made.coarse}, _weighted(_matte_and_blend(made, seen, batch), config.stage1))

    _train_against_d(run, rivals, generate, result="coarse", name="g1")
    return rivals.average, rivals.d


def _seen(config: PG2Config, batch: PairBatch) -> G1Input:
    """What the generators see of a batch."""
    return g1_input(
        config.model,
        batch.condition_image,
        batch.target_heatmaps,
        batch.condition_xy,
        batch.target_xy,
        batch.condition_matte,
    )


def _stage1_results(g1: G1, seen: G1Input) -> dict[str, Tensor]:
    """The images of a sample: the coarse result, and the warped image where there is one."""
    coarse = {"coarse": g1.split(g1(*seen)).coarse}
    return coarse if seen.warped is None else {"warped": seen.warped} | coarse


def _matte_and_blend(made: G1Output, seen: G1Input, batch: PairBatch) -> dict[str, Tensor]:
    """The losses beyond the paper, by name: of the matte, and of what is painted although it could be copied."""
    beside = {}
    if made.matte_logits is not None and batch.target_matte is not None:
        beside["matte"] = losses.matte_loss(made.matte_logits, batch.target_matte)
    if made.blend is not None and seen.coverage is not None:
        beside["blend"] = losses.blend_prior(made.blend, seen.coverage)
    return beside


def _weighted(beside: Mapping[str, Tensor], stage: Stage1Config) -> Tensor | float:
    """The sum of the losses beyond the paper; 0 where there is none."""
    weights = {"matte": stage.matte_weight, "blend": stage.blend_weight}
    return sum((weights[name] * loss for name, loss in beside.items()), 0.0)


@dataclass(frozen=True)
class Generated:
    """What a model that learns makes of a batch.

    Attributes:
        images: its images, and those that come before it, by name.
        beside: a loss of the generator beside Eq. 4.
    """

    images: dict[str, Tensor]
    beside: Tensor | float = 0.0


Generate = Callable[[nn.Module, PairBatch], Generated]
"""A model that learns and a batch -> what they make together."""


@dataclass(frozen=True)
class _Rivals(Generic[Generator]):
    """A generator and D, their optimisers, and what accelerate made of all four."""

    generator: Generator
    average: Generator
    d: Discriminator
    generator_optimiser: torch.optim.Optimizer
    d_optimiser: torch.optim.Optimizer
    wrapped_generator: nn.Module
    wrapped_d: nn.Module
    generator_step: AcceleratedOptimizer
    d_step: AcceleratedOptimizer

    @classmethod
    def prepare(
        cls, generator: Generator, config: PG2Config, stage: Stage2Config, accelerator: Accelerator
    ) -> _Rivals[Generator]:
        d = to_device(Discriminator(config.model), accelerator.device)
        average = _average_of(generator, stage)
        optimisers = _adam(generator, stage, stage.lr), _adam(d, stage, stage.d_lr or stage.lr)
        return cls(generator, average, d, *optimisers, *accelerator.prepare(generator, d, *optimisers))

    def state(self, name: str, identity: dict[str, Any]) -> TrainingState:
        """What a checkpoint holds; the generator goes by `name`."""
        return TrainingState(
            {**_with_average(name, self.generator, self.average), "d": self.d},
            {name: self.generator_optimiser, "d": self.d_optimiser},
            identity,
        )


def _train_against_d(run: _Run, rivals: _Rivals[Generator], generate: Generate, result: str, name: str) -> None:
    """The adversarial loop of stage II and of the one-stage model.

    Args:
        generate: makes images of a batch.
        result: which of them D judges.
        name: of the generator, in the losses.
    """
    stage, accelerator, d = run.stage, run.accelerator, rivals.d
    bare_d = _compiled(d, accelerator)
    assert isinstance(stage, Stage2Config)

    def generated(batch: PairBatch) -> tuple[Tensor, Tensor | float]:
        """The image that D judges, and the generator's loss beside."""
        with accelerator.autocast():
            made = generate(rivals.wrapped_generator, batch)
        return made.images[result].float(), made.beside

    def d_learns(batch: PairBatch, image: Tensor) -> Tensor:
        """Eq. 2. The generator does not learn."""
        with accelerator.autocast():
            logits = judge(rivals.wrapped_d, batch.condition_image, batch.target_image, image.detach(), stage)
        loss = losses.discriminator_loss(logits.real, logits.refined, logits.condition, stage.adversarial_loss)
        rivals.d_step.zero_grad()
        accelerator.backward(loss)
        rivals.d_step.step()
        return loss

    def generator_learns(batch: PairBatch, image: Tensor, beside: Tensor | float) -> tuple[Tensor, Tensor]:
        """Eq. 3 and 4. D does not learn; its gradients need no exchange between processes, so this is the bare D."""
        d.requires_grad_(False)
        with accelerator.autocast():
            logits = judge(bare_d, batch.condition_image, batch.target_image, image, stage)
        adversarial = losses.adversarial_loss(logits.refined, logits.condition, stage.adversarial_loss)
        loss = losses.generator_loss(adversarial, image, batch.target_image, batch.target_mask, stage.l1_weight)
        rivals.generator_step.zero_grad()
        accelerator.backward(loss + beside)
        rivals.generator_step.step()
        d.requires_grad_(True)
        return loss, adversarial

    for step in run.steps():
        _set_lr(rivals.generator_optimiser, stage.lr, stage, step)
        _set_lr(rivals.d_optimiser, stage.d_lr or stage.lr, stage, step)

        if stage.turns == "d-first":
            batch = run.batch(step)
            image, beside = generated(batch)
            d_loss = d_learns(batch, image)
            loss, adversarial = generator_learns(batch, image, beside)
        else:  # the released code: each on a batch of its own
            batch = run.batch(2 * step)
            loss, adversarial = generator_learns(batch, *generated(batch))
            batch = run.batch(2 * step + 1)
            with torch.no_grad():
                image, _ = generated(batch)
            d_loss = d_learns(batch, image)
        _update_average(rivals.average, rivals.generator, stage.ema_decay, step)

        step_losses = {"d": d_loss, name: loss, "adversarial": adversarial}
        run.after(step, step_losses, lambda b: generate(rivals.average, b).images)


@dataclass(frozen=True)
class Logits:
    """What D says of the real pairs, the refined ones and, for the released losses, the condition images alone."""

    real: Tensor
    refined: Tensor
    condition: Tensor | None


def judge(d: nn.Module, condition_image: Tensor, target_image: Tensor, refined: Tensor, stage: Stage2Config) -> Logits:
    """One pass of D over real and generated images together, so that batch norm sees both, as in the released code."""
    if stage.adversarial_loss == "paper":
        real = torch.cat((condition_image, target_image), dim=1)
        generated = torch.cat((condition_image, refined), dim=1)
        real_logits, refined_logits = d(torch.cat((real, generated))).float().chunk(2)
        return Logits(real_logits, refined_logits, None)
    triplet = torch.cat((target_image, refined, condition_image))
    return Logits(*d(triplet).float().chunk(3))


def check_data(
    config: PG2Config, stage: TrainingConfig, store: ImageStore, pairs: PairTable, processes: int = 1
) -> None:
    """Refuses data that a stage cannot be trained on.

    Raises:
        ConfigError: the images are not of the model's canvas, the store lacks the mattes that the model needs, or the
            processes cannot share a batch evenly.
        DataError: no pair, or pairs of another table than the store's.
    """
    if stage.batch_size % processes:
        raise ConfigError(f"batch_size {stage.batch_size} cannot be shared by {processes} processes; use a multiple")
    if store.table.canvas != config.model.canvas:
        raise ConfigError(f"the data are {store.table.canvas}, the model wants {config.model.canvas} pixels")
    if config.model.matte and not store.has_mattes:
        raise ConfigError("model.matte needs a store with mattes: open it with ImageStore.open(..., mattes=True)")
    store.check(pairs)
    if not len(pairs):
        raise DataError("there is no pair to train on")


class _Run:
    """What both loops do around the arithmetic: draw batches, resume, look for NaN, report, show samples, save."""

    def __init__(
        self,
        number: int,
        config: PG2Config,
        stage: TrainingConfig,
        store: ImageStore,
        pairs: PairTable,
        folder: Path,
        accelerator: Accelerator,
        watch: Watch,
        state: TrainingState,
    ) -> None:
        processes = accelerator.num_processes
        check_data(config, stage, store, pairs, processes)
        store = store.to(accelerator.device)
        self.number, self.config, self.stage, self.store, self.pairs = number, config, stage, store, pairs
        self.folder, self.accelerator, self.watch, self.state = folder, accelerator, watch, state
        share = slice(accelerator.process_index, None, processes)
        self.feed = PairFeed(store, pairs, stage.batch_size, stage.seed, stage.flip, share)
        self.augment = Augmenter(config.augment, stage.batch_size, stage.seed, share)
        found = find_checkpoint(folder)
        if found is not None:
            found.refuse_another_run(state.identity, stage.steps)
            load_checkpoint(found, state)
            for damaged in found.damaged if accelerator.is_main_process else ():
                log.warning("%s; stage %d goes on from %s, the one before", damaged, number, found.path.name)
            log.info("stage %d goes on from %s", number, found.path)
        self.saved: Path | None = None if found is None else found.path
        self.start = 0 if found is None else found.step
        self.unread: list[dict[str, Tensor]] = []
        self.read_at = time.perf_counter()
        self.sampling = _Chore(watch.sample_every, watch.time_share)
        self.saving = _Chore(watch.checkpoint_every, watch.time_share, watch.unsaved_seconds)

    def steps(self) -> range:
        return range(self.start, self.stage.steps)

    def batch(self, number: int) -> PairBatch:
        """This process's share of a batch, counted from 0."""
        return self.augment(self.feed(number), number)

    def after(
        self, step: int, step_losses: dict[str, Tensor], results: Callable[[PairBatch], dict[str, Tensor]]
    ) -> None:
        """Everything that follows the arithmetic of step `step`, counted from 0."""
        done, watch = step + 1, self.watch
        last = done == self.stage.steps
        self.unread.append({name: loss.detach() for name, loss in step_losses.items()})
        if last or self.sampling.comes_at(done) or self.saving.comes_at(done) or done % watch.read_every == 0:
            self._read_losses(done)
        if self.accelerator.is_main_process:
            if self.sampling.due(done, last):
                with self.sampling.timed():
                    self._show_sample(done, results)
            if last or self.saving.due(done, last):
                with self.saving.timed():
                    self.saved = save_checkpoint(self.folder, done, self.state, self.config)
        if last:
            self.accelerator.wait_for_everyone()

    def _show_sample(self, done: int, results: Callable[[PairBatch], dict[str, Tensor]]) -> None:
        count = min(self.watch.samples, len(self.pairs))
        chosen = torch.randperm(len(self.pairs), generator=torch.Generator().manual_seed(self.stage.seed))[:count]
        batch = self.store.batch(self.pairs, chosen)
        with torch.no_grad():
            self.watch.on_sample(Sample(self.number, done, batch, results(batch)))

    def _read_losses(self, done: int) -> None:
        """Reads the losses of the last steps back, reports them, and stops at the first that is not finite."""
        names = list(self.unread[0])
        values = torch.stack([torch.stack([losses[name] for name in names]) for losses in self.unread])
        values = self.accelerator.reduce(values, reduction="mean")
        rows = values.tolist()  # waits for the device
        now = time.perf_counter()
        rate = len(self.unread) * self.stage.pairs_a_step / (now - self.read_at)
        first = done - len(self.unread)
        for offset, row in enumerate(rows, start=1):
            record = StepRecord(self.number, first + offset, dict(zip(names, row, strict=True)), rate)
            for name, value in record.losses.items():
                if not math.isfinite(value):
                    raise TrainingDivergedError(
                        f"stage {self.number}, step {record.step}: the loss {name!r} is {value}. Last good checkpoint: "
                        f"{self.saved or 'none yet'}. A lower learning rate (now {self.stage.lr:g}) is the usual remedy"
                    )
            if self.accelerator.is_main_process:
                self.watch.on_step(record)
        self.unread.clear()
        self.read_at = now


class _Chore:
    """What a run does every so many steps, unless it has taken more than its share of the time already.

    It is done all the same when the last time is longer ago than `patience` seconds.
    """

    def __init__(self, every: int, time_share: float, patience: float = math.inf) -> None:
        self.every, self.time_share, self.patience = every, time_share, patience
        self.began = self.ended = time.perf_counter()
        self.seconds = 0.0

    def comes_at(self, done: int) -> bool:
        """Whether it may be due: the same on all processes, as the clock is not."""
        return self.every > 0 and done % self.every == 0

    def due(self, done: int, last: bool) -> bool:
        now = time.perf_counter()
        in_time = self.seconds <= self.time_share * (now - self.began) or now - self.ended > self.patience
        return self.every > 0 and (last or (self.comes_at(done) and in_time))

    @contextmanager
    def timed(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.ended = time.perf_counter()
        self.seconds += self.ended - start


def _compiled(model: Model, accelerator: Accelerator) -> Model:
    """A model that accelerate does not prepare, compiled where it compiles those that it does."""
    plugin = accelerator.state.dynamo_plugin
    if plugin.backend == DynamoBackend.NO:
        return model
    return cast(Model, torch.compile(model, **plugin.to_kwargs()))


def _adam(model: nn.Module, stage: TrainingConfig, lr: float) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), lr=lr, betas=(stage.beta1, stage.beta2), fused=True)


def _set_lr(optimiser: torch.optim.Optimizer, lr: float, stage: TrainingConfig, step: int) -> None:
    """Constant, then linear to zero over the last ``lr_decay_steps``."""
    if stage.lr_decay_steps:
        lr *= min(1.0, (stage.steps - step) / stage.lr_decay_steps)
    for group in optimiser.param_groups:
        group["lr"] = lr


def _average_of(model: Generator, stage: TrainingConfig) -> Generator:
    """A copy that follows the model; the model itself where no moving average is asked for."""
    return copy.deepcopy(model).requires_grad_(False) if stage.ema_decay else model


def _with_average(name: str, model: nn.Module, average: nn.Module) -> dict[str, nn.Module]:
    return {name: model} if average is model else {name: model, f"{name}_average": average}


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of the weights, with a shorter memory at the start."""
    if average is not model:
        decay = min(decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def identity_of(config: PG2Config, number: int, stage: TrainingConfig, pairs: PairTable | None) -> dict[str, Any]:
    """What a run cannot change half way. The number of steps may grow, unless the rate decays towards it.

    Args:
        number: 1 or 2; 0 for the one-stage model.
        pairs: None leaves them out.
    """
    settings = dataclasses.asdict(stage)
    if not settings["lr_decay_steps"]:
        del settings["steps"]
    # Stage I has neither G2 nor D.
    others = ("g2_", "discriminator_") if number == 1 else ()
    model = dataclasses.asdict(config.model).items()
    values = {f"model.{key}": value for key, value in model if not key.startswith(others)}
    values |= {f"stage{number}.{key}": value for key, value in settings.items()}
    values |= {f"augment.{key}": value for key, value in dataclasses.asdict(config.augment).items()}
    return values if pairs is None else {**values, "pairs": f"{len(pairs)} pairs, sha256 {pairs.digest()[:16]}"}


def digest_of(model: nn.Module) -> str:
    """A digest of a model's weights, wherever and however they lie in memory."""
    digest = hashlib.sha256()
    for key, value in model.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return f"sha256 {digest.hexdigest()[:16]}"
