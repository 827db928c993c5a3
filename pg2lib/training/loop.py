"""What the training loops share: batches, resuming, the check for NaN, reports, samples and checkpoints.

The loops report to callbacks (see `Watch`): progress bars, logs and pictures belong to the caller.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pg2lib.config import PG2Config, TrainingConfig
from pg2lib.data.pairs import PairTable
from pg2lib.data.store import ImageStore, PairBatch
from pg2lib.errors import ConfigError, DataError, TrainingDivergedError
from pg2lib.framing import Framing
from pg2lib.training.augment import Augmenter
from pg2lib.training.checkpoint import TrainingState, find_checkpoint, load_checkpoint, save_checkpoint
from pg2lib.training.feed import PairFeed
from pg2lib.training.learner import Learner

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepRecord:
    """The report of one step.

    Attributes:
        stage: 1 or 2; 0 for the one-stage model.
        step: Steps done, counted from 1.
        losses: By name, the mean over all processes.
        images_per_second: Of all processes together, over the steps since losses were last read.
    """

    stage: int
    step: int
    losses: Mapping[str, float]
    images_per_second: float


@dataclass(frozen=True)
class Sample:
    """A few pairs, the same throughout a run, with the images that the models generate for them.

    Attributes:
        stage: 1 or 2; 0 for the one-stage model.
        step: Steps done.
        batch: The pairs, neither flipped nor augmented.
        results: Generated images by name, in [-1, 1] but for the generator's overshoot: "coarse", preceded by "warped"
            with the part warp, and followed by "refined" in stage II.
    """

    stage: int
    step: int
    batch: PairBatch
    results: Mapping[str, Tensor]


@dataclass(frozen=True)
class Watch:
    """How often a run reads its losses, shows samples and saves checkpoints, and which callbacks it calls.

    Attributes:
        on_step: Called with the record of each step, on the main process.
        on_sample: Called with each sample, on the main process.
        read_every: Steps between reading the losses from the device, which waits for it. NaN is found then.
        sample_every: Steps between samples; 0 for none.
        checkpoint_every: Steps between checkpoints. The last step always writes one.
        samples: Pairs in a sample.
        time_share: A sample or a checkpoint that is due is skipped while the earlier ones have taken more than this
            share of the run's time. On a fast GPU 500 steps take five seconds, and writing a wide model takes one. 1
            skips none.
        unsaved_seconds: A checkpoint that is due is written in any case when the last one is older than this, so that
            an interruption loses no more.
    """

    on_step: Callable[[StepRecord], None] = lambda record: None
    on_sample: Callable[[Sample], None] = lambda sample: None
    read_every: int = 20
    sample_every: int = 0
    checkpoint_every: int = 500
    samples: int = 8
    time_share: float = 1.0
    unsaved_seconds: float = 120.0


class Loop:
    """The part of a training loop that surrounds its arithmetic. Resumes from the newest checkpoint of its folder.

    ::

        for step in loop.steps():
            batch = loop.batch(step)
            ...
            loop.after(step, {"l1": l1}, results)

    Args:
        number: Of the stage, 1 or 2; 0 for the one-stage model.
        store: Images; batches are made on the accelerator's device.
        pairs: Training pairs, made from ``store.table``.
        folder: Holds the checkpoints of this stage.
        learners: The models that learn.
        g1: Digest of the frozen G1, in stage II.
        start: Digest of the pipeline that the run starts from; None where it starts from none.

    Raises:
        CheckpointError: The folder's checkpoints are of another run, or have more steps.
        ConfigError, DataError: See `check_data`.
    """

    def __init__(
        self,
        number: int,
        config: PG2Config,
        store: ImageStore,
        pairs: PairTable,
        folder: Path,
        accelerator: Accelerator,
        watch: Watch | None,
        learners: Sequence[Learner[Any]],
        g1: str | None = None,
        start: str | None = None,
    ) -> None:
        self.stage = stage = config.stage(number)
        check_data(config, stage, store, pairs, accelerator.num_processes)
        self.number, self.config, self.pairs, self.folder = number, config, pairs, folder
        self.accelerator, self.watch = accelerator, watch or Watch()
        self.store = store.to(accelerator.device)
        share = slice(accelerator.process_index, None, accelerator.num_processes)
        self.feed = PairFeed(self.store, pairs, stage.batch_size, stage.seed, stage.flip, share)
        self.augment = Augmenter(config.augment, stage.batch_size, stage.seed, share)
        self.state = TrainingState(
            models={name: model for learner in learners for name, model in learner.models().items()},
            optimisers={learner.name: learner.optimiser for learner in learners},
            identity=identity_of(config, number, pairs, g1, start),
        )
        self.saved: Path | None = None
        self.start = self._resume()
        self.unread: list[dict[str, Tensor]] = []
        self.read_at = time.perf_counter()
        self.sampling = _Chore(self.watch.sample_every, self.watch.time_share)
        self.saving = _Chore(self.watch.checkpoint_every, self.watch.time_share, self.watch.unsaved_seconds)

    def _resume(self) -> int:
        """Restore the newest sound checkpoint, and return how many steps it has done; 0 where there is none."""
        found = find_checkpoint(self.folder)
        if found is None:
            return 0
        found.refuse_another_run(self.state.identity, self.stage.steps)
        load_checkpoint(found, self.state)
        for damaged in found.damaged if self.accelerator.is_main_process else ():
            log.warning("%s; stage %d resumes from %s, the one before it", damaged, self.number, found.path.name)
        log.info("stage %d resumes from %s", self.number, found.path)
        self.saved = found.path
        return found.step

    def steps(self) -> range:
        """Return the steps that are still to do, counted from 0."""
        return range(self.start, self.stage.steps)

    def batch(self, number: int) -> PairBatch:
        """Return this process's share of a batch of pairs. Batches are counted from 0."""
        return self.augment(self.feed(number), number)

    def after(
        self, step: int, step_losses: Mapping[str, Tensor], results: Callable[[PairBatch], Mapping[str, Tensor]]
    ) -> None:
        """Do what follows the arithmetic of a step: read losses, show a sample, save a checkpoint, as they are due.

        Args:
            step: Counted from 0.
            step_losses: By name.
            results: Generates images of a batch, by name, for a sample.

        Raises:
            TrainingDivergedError: A loss is NaN or infinite.
            CheckpointError: The checkpoint cannot be written.
        """
        done, watch = step + 1, self.watch
        last = done == self.stage.steps
        self.unread.append({name: loss.detach() for name, loss in step_losses.items()})
        if last or self.sampling.comes_at(done) or self.saving.comes_at(done) or done % watch.read_every == 0:
            self._read_losses(done)
        if self.accelerator.is_main_process:
            if self.sampling.is_due(done, last):
                with self.sampling.timed():
                    self._show_sample(done, results)
            if last or self.saving.is_due(done, last):
                with self.saving.timed():
                    self.saved = save_checkpoint(self.folder, done, self.state, self.config)
        if last:
            self.accelerator.wait_for_everyone()

    def _show_sample(self, done: int, results: Callable[[PairBatch], Mapping[str, Tensor]]) -> None:
        count = min(self.watch.samples, len(self.pairs))
        chosen = torch.randperm(len(self.pairs), generator=torch.Generator().manual_seed(self.stage.seed))[:count]
        batch = self.store.batch(self.pairs, chosen)
        with torch.no_grad():
            self.watch.on_sample(Sample(self.number, done, batch, results(batch)))

    def _read_losses(self, done: int) -> None:
        """Read and report the losses of the steps since the last reading; raise at the first that is not finite."""
        names = list(self.unread[0])
        values = torch.stack([torch.stack([losses[name] for name in names]) for losses in self.unread])
        rows = self.accelerator.reduce(values, reduction="mean").tolist()  # waits for the device
        now = time.perf_counter()
        rate = len(rows) * self.stage.pairs_per_step / (now - self.read_at)
        for step, row in enumerate(rows, start=done - len(rows) + 1):
            record = StepRecord(self.number, step, dict(zip(names, row, strict=True)), rate)
            self._check_finite(record)
            if self.accelerator.is_main_process:
                self.watch.on_step(record)
        self.unread.clear()
        self.read_at = now

    def _check_finite(self, record: StepRecord) -> None:
        for name, value in record.losses.items():
            if not math.isfinite(value):
                raise TrainingDivergedError(
                    f"stage {self.number}, step {record.step}: expected a finite loss {name!r}, got {value}. The last "
                    f"good checkpoint is {self.saved or 'none yet'}. Lower the learning rate, which is "
                    f"{self.stage.lr:g}"
                )


class _Chore:
    """Something that a run does every so many steps, unless it has already taken more than its share of the time.

    Args:
        every: Steps; 0 for never.
        time_share: Of the run's time, in [0, 1].
        patience: Seconds since the last time, after which the share no longer counts.
    """

    def __init__(self, every: int, time_share: float, patience: float = math.inf) -> None:
        self.every, self.time_share, self.patience = every, time_share, patience
        self.began = self.ended = time.perf_counter()
        self.seconds = 0.0

    def comes_at(self, done: int) -> bool:
        """Return whether it may be due. All processes agree, as they do not on the time."""
        return self.every > 0 and done % self.every == 0

    def is_due(self, done: int, last: bool) -> bool:
        """Return whether it is to be done now."""
        now = time.perf_counter()
        in_time = self.seconds <= self.time_share * (now - self.began) or now - self.ended > self.patience
        return self.every > 0 and (last or (self.comes_at(done) and in_time))

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time of a block to the time that it has taken."""
        start = time.perf_counter()
        yield
        self.ended = time.perf_counter()
        self.seconds += self.ended - start


def check_data(
    config: PG2Config, stage: TrainingConfig, store: ImageStore, pairs: PairTable, processes: int = 1
) -> None:
    """Refuse data that a stage cannot be trained on.

    Raises:
        ConfigError: The images are not of the model's canvas, the store lacks the mattes that the model needs, or the
            processes cannot share a batch evenly.
        DataError: There is no pair, the pairs are of another table than the store, or no image shows how people stand
            (see `Framing.of`), which the finished pipeline has to know.
    """
    if stage.batch_size % processes:
        raise ConfigError(
            f"expected a batch_size that {processes} processes can share, got {stage.batch_size}; use a multiple of "
            f"{processes}"
        )
    if store.table.canvas != config.model.canvas:
        raise ConfigError(
            f"expected images of the model's canvas, {config.model.canvas}, got {store.table.canvas}; prepare the data "
            f"for that canvas, or set model.height and model.width"
        )
    if config.model.matte and not store.has_mattes:
        raise ConfigError("model.matte needs a store with mattes: open it with ImageStore.open(..., mattes=True)")
    store.check(pairs)
    if not len(pairs):
        raise DataError("expected at least one pair to train on, got none")
    Framing.of(store.table.xy, store.table.canvas)


def identity_of(
    config: PG2Config,
    number: int,
    pairs: PairTable | None = None,
    g1: str | None = None,
    start: str | None = None,
) -> dict[str, Any]:
    """Return what must stay the same for a run to resume: its settings by name, its pairs, its G1 and its start.

    The number of steps may grow, unless the learning rate decays towards the end.

    Args:
        number: Of the stage, 1 or 2; 0 for the one-stage model.
        pairs: None leaves them out.
        g1: Digest of the frozen G1, in stage II.
        start: Digest of the pipeline that the run starts from; None where it starts from none, as every run did before
            pg2lib had fine-tuning.
    """
    settings = dataclasses.asdict(config.stage(number))
    if not settings["lr_decay_steps"]:
        del settings["steps"]
    of_others = ("g2_", "discriminator_") if number == 1 else ()  # stage I has neither G2 nor D
    model = dataclasses.asdict(config.model).items()
    identity = {f"model.{key}": value for key, value in model if not key.startswith(of_others)}
    identity |= {f"stage{number}.{key}": value for key, value in settings.items()}
    identity |= {f"augment.{key}": value for key, value in dataclasses.asdict(config.augment).items()}
    if pairs is not None:
        identity["pairs"] = f"{len(pairs)} pairs, sha256 {pairs.digest()[:16]}"
    return identity | {key: value for key, value in (("g1", g1), ("start", start)) if value is not None}


def digest_of(model: nn.Module) -> str:
    """Return a digest of a model's weights, which depends neither on their device nor on their memory format."""
    digest = hashlib.sha256()
    for key, value in model.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return f"sha256 {digest.hexdigest()[:16]}"
