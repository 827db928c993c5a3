"""Checks that refuse a training run before it writes anything."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from pg2lib.config import PG2Config, TrainingConfig
from pg2lib.data.pairs import PairTable
from pg2lib.errors import CheckpointError
from pg2lib.framing import Framing
from pg2lib.models import G1
from pg2lib.pipeline_folder import CONFIG_NAME, FORMAT, WEIGHTS_NAME, refuse_destination
from pg2lib.training.checkpoint import find_checkpoint, list_checkpoints, load_generator
from pg2lib.training.lock import refuse_if_held
from pg2lib.training.loop import digest_of, identity_of

OF_DATA = ("bounding_box_train", "synthetic.json", "keypoints.csv")
"""Files and folders by which a folder of data is told from that of a run."""


@dataclass(frozen=True)
class Stage:
    """A part of a run that has its own checkpoints.

    Attributes:
        number: 1 or 2; 0 for the one-stage model.
        folder: Where its checkpoints are.
        settings: Its part of the configuration.
    """

    number: int
    folder: Path
    settings: TrainingConfig

    def finished(self) -> bool:
        """Return whether its newest sound checkpoint has done all steps.

        Raises:
            CheckpointError: See `find_checkpoint`.
        """
        found = find_checkpoint(self.folder)
        return found is not None and found.step >= self.settings.steps


def stages_of(config: PG2Config, folder: Path, stage1: str | PathLike[str] | None = None) -> list[Stage]:
    """Return the stages that `train` trains, in order.

    Args:
        folder, stage1: As in `train`.
    """
    if config.networks == "G1+D":
        return [Stage(0, folder / "one-stage", config.one_stage)]
    stages = [Stage(1, Path(stage1 or folder / "stage1"), config.stage1)]
    if config.networks == "G1+G2+D":
        stages.append(Stage(2, folder / "stage2", config.stage2))
    return stages


def check_run(
    config: PG2Config,
    folder: str | PathLike[str],
    pairs: PairTable | None = None,
    stage1: str | PathLike[str] | None = None,
) -> None:
    """Refuse a run that `train` could not finish, or only by destroying something. Changes nothing.

    Args:
        config, folder, stage1: As in `train`.
        pairs: None while they are not known; then the checks that need them are left out.

    Raises:
        CheckpointError: The folder is not that of a run, belongs to a run with other settings, other data or more
            steps, or cannot be written; or another process is training there.
        DataError: No image shows how people stand (see `Framing.of`).
    """
    folder = Path(folder)
    stages = stages_of(config, folder, stage1)
    refuse_foreign(folder)
    _refuse_another_model(config, folder, stages)
    for stage in stages:
        if not stage.finished():
            _refuse_unwritable(stage.folder)
            refuse_if_held(stage.folder)
    _refuse_checkpoints(config, stages, pairs)
    if pairs is not None:
        Framing.of(pairs.table.xy, pairs.table.canvas)


def refuse_foreign(folder: str | PathLike[str]) -> None:
    """Refuse a folder that a run must not write to. Changes nothing.

    Raises:
        CheckpointError: It holds something other than a run, or cannot be written; or another process is training
            there.
    """
    folder = Path(folder)
    _refuse_unwritable(folder)
    _refuse_unwritable(folder / "pipeline")
    path = folder / CONFIG_NAME
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
            values = json.loads(text)
            if isinstance(values, dict) and values.get("format") == FORMAT:
                raise CheckpointError(f"{folder} is a pipeline folder, not the folder of a run; name another folder")
            PG2Config.from_json(text)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{path} is not the configuration of a training run ({error}); name another folder, or remove that file"
            ) from error
    for name in (WEIGHTS_NAME, *OF_DATA):
        if (folder / name).exists():
            raise CheckpointError(f"{folder} is not the folder of a training run: it has {name}; name another folder")
    if list_checkpoints(folder):
        raise CheckpointError(f"{folder} is one stage of a run; name the folder of the run, or another folder")
    refuse_destination(folder / "pipeline")
    refuse_if_held(folder)


def _refuse_unwritable(folder: Path) -> None:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise CheckpointError(f"{folder} cannot be created: {place} is a file; remove it, or name another folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise CheckpointError(f"{place} cannot be written; change its permissions, or name another folder")


def _refuse_another_model(config: PG2Config, folder: Path, stages: Sequence[Stage]) -> None:
    """Refuse a folder whose model was trained with other settings: a run does not replace it unasked."""
    path = folder / CONFIG_NAME
    if path.is_file():
        networks = PG2Config.load(path).networks
        if networks != config.networks:
            raise CheckpointError(
                f"{folder} belongs to a run that trains {networks}, and this one trains {config.networks}; name "
                f"another folder"
            )
    path = folder / "pipeline" / CONFIG_NAME
    if path.is_file():
        try:
            made = PG2Config.from_dict(json.loads(path.read_text(encoding="utf-8"))["config"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(
                f"{path} cannot be read: {error}; name another folder, or remove {path.parent}"
            ) from error
        ours, theirs = _settings(config, stages), _settings(made, stages_of(made, folder))
        differing = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
        if differing:
            listed = "; ".join(f"{key}: {theirs.get(key)!r} then, {ours.get(key)!r} now" for key in differing)
            raise CheckpointError(
                f"{path.parent} is a finished pipeline with other settings ({listed}). Name another folder, or remove "
                f"this pipeline to replace it"
            )


def _settings(config: PG2Config, stages: Sequence[Stage]) -> dict[str, Any]:
    """Return what must stay the same for a run to resume, for all its stages."""
    return {key: value for stage in stages for key, value in identity_of(config, stage.number).items()}


def _refuse_checkpoints(config: PG2Config, stages: Sequence[Stage], pairs: PairTable | None) -> None:
    """Refuse a run whose checkpoints, of any stage, belong to another run."""
    for stage, before in zip(stages, [None, *stages], strict=False):
        found = find_checkpoint(stage.folder)
        if found is None:
            continue
        if before is not None and not before.finished():
            reached = find_checkpoint(before.folder)
            has = "none" if reached is None else f"{reached.step}"
            raise CheckpointError(
                f"{stage.folder} was trained on the G1 of a finished stage I, but {before.folder} has {has} of "
                f"{before.settings.steps} steps, and training them would change that G1. Name another folder; set "
                f"stage1.steps to the steps that stage I had; or remove {stage.folder} to train stage II again on the "
                f"new G1"
            )
        g1 = None if before is None else digest_of(load_generator(before.folder, G1, "g1"))
        identity = identity_of(config, stage.number, pairs, g1)
        found.refuse_another_run(identity, stage.settings.steps, unknown=() if pairs is not None else ("pairs",))
