"""Fine-tuning: a training run that starts from the generators of a trained pipeline."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from pg2lib.config import PG2Config, TrainingConfig
from pg2lib.errors import ConfigError
from pg2lib.models import G1, G2
from pg2lib.pipeline import PG2Pipeline

Generator = TypeVar("Generator", G1, G2)
Settings = TypeVar("Settings", bound=TrainingConfig)

SHARE = 10
"""By default, fine-tuning takes a tenth of the learning rate and of the steps with which the pipeline was trained."""


def fine_tuning(config: PG2Config) -> PG2Config:
    """Return the default settings for fine-tuning a pipeline of this configuration.

    The generators learn at a tenth of their rate, for a tenth of the steps. D, which no pipeline holds, starts with
    random weights and keeps its rate.
    """
    stage2 = dataclasses.replace(config.stage2, d_lr=config.stage2.d_lr or config.stage2.lr)
    return dataclasses.replace(config, stage1=_gentler(config.stage1), stage2=_gentler(stage2))


def _gentler(stage: Settings) -> Settings:
    return dataclasses.replace(
        stage,
        lr=stage.lr / SHARE,
        steps=max(1, stage.steps // SHARE),
        lr_decay_steps=stage.lr_decay_steps // SHARE,
    )


def refuse_another_architecture(config: PG2Config, start: PG2Pipeline) -> None:
    """Refuse to start a run from a pipeline whose generators have another architecture. Changes nothing.

    Settings of D may differ, as no pipeline holds a D, and a run may add ``model.backdrop``, which gives G1 one more
    output channel.

    Raises:
        ConfigError: A setting of the generators differs (the message names it), or the pipeline was not loaded from a
            pipeline folder.
    """
    if start.checkpoint is None:
        raise ConfigError("start: expected a pipeline that was loaded by from_pretrained, got one that was not")
    ours, theirs = dataclasses.asdict(config.model), dataclasses.asdict(start.config.model)
    if ours["backdrop"]:
        del ours["backdrop"]
    differing = [key for key in ours if ours[key] != theirs[key] and not key.startswith("discriminator_")]
    if differing:
        listed = "; ".join(f"model.{key}: {theirs[key]!r} there, {ours[key]!r} here" for key in differing)
        raise ConfigError(
            f"expected the model of {start.checkpoint[0]}, from which this run starts, got another one ({listed}). "
            f"Leave out the configuration to take that of the pipeline, or change these settings"
        )


def digest_of_start(start: PG2Pipeline | None) -> str | None:
    """Return what tells the pipeline that a run starts from apart from others; None for a run that starts from none."""
    return None if start is None or start.checkpoint is None else short_sha256(start.checkpoint[1])


def short_sha256(sha256: str) -> str:
    """Return the form of a SHA-256 in which an identity has it."""
    return f"sha256 {sha256[:16]}"


def record_of_start(start: PG2Pipeline | None) -> dict[str, Any]:
    """Return the part of a pipeline's training record that says which pipeline its training started from."""
    if start is None or start.checkpoint is None:
        return {}
    name, sha256 = start.checkpoint
    earlier = {key: start.training[key] for key in ("data", "from") if key in start.training}
    return {"from": {"name": name, "sha256": sha256, **earlier}}


def initialise(generator: Generator, name: str, start: PG2Pipeline | None) -> Generator:
    """Copy the weights of a pipeline's generator into a new one, and return it.

    Without a pipeline, or where the pipeline has no such generator, the initial weights stay random. So do those of an
    output channel that the pipeline's G1 does not have.

    Args:
        generator: It is changed in place.
        name: ``"g1"`` or ``"g2"``.
        start: A pipeline that `refuse_another_architecture` accepts.
    """
    if start is not None and name in start.generators:
        weights = generator.state_dict()
        for key, values in start.generators[name].state_dict().items():
            # The channel of model.backdrop is the last one, so the others keep their places.
            weights[key][: len(values)] = values
        generator.load_state_dict(weights)
    return generator
