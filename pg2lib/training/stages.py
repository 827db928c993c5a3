"""The training loops: stage I (Eq. 1), stage II (Eq. 2 to 4), and the one-stage model of Table 1.

Sections 3.1, 3.2 and 4.1 of the paper. What the loops share around the arithmetic is in `pg2lib.training.loop`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor

from pg2lib import losses
from pg2lib.config import ModelConfig, PG2Config, Stage1Config, Stage2Config
from pg2lib.data.pairs import PairTable
from pg2lib.data.store import ImageStore, PairBatch
from pg2lib.losses import judge
from pg2lib.models import G1, G2, Discriminator, to_device
from pg2lib.models.generators import G1Input, g1_input
from pg2lib.pipeline import PG2Pipeline
from pg2lib.training.learner import Learner
from pg2lib.training.loop import Loop, Watch, digest_of
from pg2lib.training.start import digest_of_start, initialise


def train_stage1(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    accelerator: Accelerator | None = None,
    watch: Watch | None = None,
    start: PG2Pipeline | None = None,
) -> G1:
    """Train G1 to generate the coarse result (Eq. 1). Resumes from the newest checkpoint in `folder`.

    Args:
        store: Images; batches are made on the accelerator's device.
        pairs: Training pairs, made from ``store.table``.
        folder: Holds the checkpoints of this stage.
        accelerator: Device, precision and processes; by default accelerate's own choice.
        watch: Callbacks, and how often they are called; by default a `Watch` without callbacks.
        start: A pipeline of the same architecture, whose weights the generator starts from; None for random weights.

    Returns:
        G1 after the last step; its moving average where ``config.stage1.ema_decay`` is set.

    Raises:
        TrainingDivergedError: The loss became NaN or infinite.
        CheckpointError: The folder's checkpoints are of a run with other settings, data or start, or of more steps.
    """
    stage, accelerator = config.stage1, accelerator or Accelerator()
    set_seed(stage.seed)
    g1 = Learner("g1", initialise(G1(config.model), "g1", start), accelerator, stage, stage.lr, stage.ema_decay)
    loop = Loop(1, config, store, pairs, Path(folder), accelerator, watch, [g1], start=digest_of_start(start))

    def generate(model: Model, batch: PairBatch) -> Generated:
        return _coarse(config.model, g1.model, model, batch)

    for step in loop.steps():
        batch = loop.batch(step)
        coarse = generate(g1, batch)

        if stage.pose_mask_loss:
            l1 = losses.pose_mask_l1(coarse.image, batch.target_image, batch.target_mask)  # Eq. 1
        else:
            l1 = losses.l1(coarse.image, batch.target_image)
        g1.learn(l1 + _weighted(coarse.extra, stage), step)

        loop.after(step, {"l1": l1, **coarse.extra}, lambda batch: generate(g1.average, batch).images)
    return g1.average


def train_stage2(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    g1: G1,
    accelerator: Accelerator | None = None,
    watch: Watch | None = None,
    start: PG2Pipeline | None = None,
) -> tuple[G2, Discriminator]:
    """Train G2 against D (Eq. 2 to 4) to refine what a frozen G1 generates. Resumes as `train_stage1`.

    Args:
        g1: Trained by stage I; it is not changed.
        store, pairs, folder, accelerator, watch, start: As in `train_stage1`.

    Returns:
        G2 after the last step (its moving average where ``config.stage2.ema_decay`` is set) and D.

    Raises:
        TrainingDivergedError: A loss became NaN or infinite.
        CheckpointError: The folder's checkpoints are of a run with other settings, data or G1, or of more steps.
    """
    stage, accelerator = config.stage2, accelerator or Accelerator()
    set_seed(stage.seed)
    g1 = to_device(copy.deepcopy(g1).requires_grad_(False).eval(), accelerator.device)
    frozen_g1 = accelerator.prepare_model(g1, evaluation_mode=True)
    g2 = Learner("g2", initialise(G2(config.model), "g2", start), accelerator, stage, stage.lr, stage.ema_decay)
    d = Learner("d", Discriminator(config.model), accelerator, stage, stage.d_lr or stage.lr)
    loop = Loop(
        2, config, store, pairs, Path(folder), accelerator, watch, [g2, d], digest_of(g1), digest_of_start(start)
    )

    def generate(model: Model, batch: PairBatch) -> Generated:
        seen = _seen(config.model, batch)
        with torch.no_grad():
            coarse = g1.split(frozen_g1(*seen)).coarse
        refined = coarse + model(seen.condition_image, coarse, seen.target_heatmaps, seen.warped, seen.coverage)
        return Generated(refined, {"coarse": coarse, "refined": refined})

    _train_against_d(loop, stage, g2, d, generate)
    return g2.average, d.model


def train_one_stage(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    accelerator: Accelerator | None = None,
    watch: Watch | None = None,
    start: PG2Pipeline | None = None,
) -> tuple[G1, Discriminator]:
    """Train G1 against D to generate the final image directly: the row G1+D of Table 1. Resumes as `train_stage1`.

    The loss is that of stage II (Eq. 2 to 4) with G1's result in place of the refined result.

    Args:
        config: ``config.one_stage`` has the settings of this training.
        store, pairs, folder, accelerator, watch, start: As in `train_stage1`.

    Returns:
        G1 after the last step (its moving average where ``config.stage2.ema_decay`` is set) and D.

    Raises:
        TrainingDivergedError, CheckpointError: As in `train_stage1`.
    """
    stage, accelerator = config.one_stage, accelerator or Accelerator()
    set_seed(stage.seed)
    g1 = Learner("g1", initialise(G1(config.model), "g1", start), accelerator, stage, stage.lr, stage.ema_decay)
    d = Learner("d", Discriminator(config.model), accelerator, stage, stage.d_lr or stage.lr)
    loop = Loop(0, config, store, pairs, Path(folder), accelerator, watch, [g1, d], start=digest_of_start(start))

    def generate(model: Model, batch: PairBatch) -> Generated:
        return _coarse(config.model, g1.model, model, batch)

    _train_against_d(loop, stage, g1, d, generate)
    return g1.average, d.model


@dataclass(frozen=True)
class Generated:
    """What a generator makes of a batch.

    Attributes:
        image: The image that its losses judge, (batch, 3, height, width), not clamped.
        images: That image and those that lead to it, by name, for samples.
        extra: Losses beyond the paper, by name.
    """

    image: Tensor
    images: Mapping[str, Tensor]
    extra: Mapping[str, Tensor] = field(default_factory=dict)


Model = Callable[..., Tensor]
"""A generator: a `Learner`, or the moving average of one."""


def _train_against_d(
    loop: Loop,
    stage: Stage2Config,
    generator: Learner[Any],
    d: Learner[Discriminator],
    generate: Callable[[Model, PairBatch], Generated],
) -> None:
    """Run the adversarial loop of stage II and of the one-stage model (section 3.2).

    Args:
        generator: G2, or G1 in the one-stage model.
        generate: Makes images of a batch with a generator.
    """
    kind = stage.adversarial_loss

    def turns(step: int) -> list[tuple[int, tuple[Learner[Any], ...]]]:
        """Return the batches of a step, and who learns from each."""
        if stage.turns == "d-first":  # as in the paper, on the same batch
            return [(step, (d, generator))]
        return [(2 * step, (generator,)), (2 * step + 1, (d,))]  # as in the released code

    for step in loop.steps():
        for number, learners in turns(step):
            batch = loop.batch(number)
            condition, target, mask = batch.condition_image, batch.target_image, batch.target_mask
            with torch.set_grad_enabled(generator in learners):
                generated = generate(generator, batch)
            refined = generated.image

            if d in learners:
                logits = judge(d, condition, target, refined.detach(), kind)
                d_loss = losses.discriminator_loss(logits, kind)  # Eq. 2
                d.learn(d_loss, step)

            if generator in learners:
                with d.fixed() as fixed_d:
                    logits = judge(fixed_d, condition, target, refined, kind)
                adversarial = losses.adversarial_loss(logits, kind)  # Eq. 3
                g_loss = losses.generator_loss(adversarial, refined, target, mask, stage.l1_weight)  # Eq. 4
                generator.learn(g_loss + _weighted(generated.extra, loop.config.stage1), step)

        step_losses = {"d": d_loss, generator.name: g_loss, "adversarial": adversarial}
        loop.after(step, step_losses, lambda batch: generate(generator.average, batch).images)


def _seen(config: ModelConfig, batch: PairBatch) -> G1Input:
    """Return what the generators see of a batch."""
    return g1_input(
        config,
        batch.condition_image,
        batch.target_heatmaps,
        batch.condition_xy,
        batch.target_xy,
        batch.condition_matte,
    )


def _coarse(config: ModelConfig, g1: G1, model: Model, batch: PairBatch) -> Generated:
    """Return the coarse result, and the losses of the matte and the blend where the configuration asks for them.

    Args:
        g1: The bare G1, which splits the output of `model`.
        model: The learner of G1, or its moving average.
    """
    seen = _seen(config, batch)
    coarse, blend, matte_logits = g1.split(model(*seen))
    extra = {}
    if matte_logits is not None and batch.target_matte is not None:
        extra["matte"] = losses.matte_loss(matte_logits, batch.target_matte)
    if blend is not None and seen.coverage is not None:
        extra["blend"] = losses.blend_prior(blend, seen.coverage)
    warped = {} if seen.warped is None else {"warped": seen.warped}
    return Generated(coarse, {**warped, "coarse": coarse}, extra)


def _weighted(extra: Mapping[str, Tensor], stage: Stage1Config) -> Tensor | float:
    """Return the weighted sum of the losses beyond the paper; 0 where there is none."""
    weights = {"matte": stage.matte_weight, "blend": stage.blend_weight}
    return sum((weights[name] * loss for name, loss in extra.items()), 0.0)
