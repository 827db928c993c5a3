"""Checks that refuse a training run before it writes anything, and what moves earlier results aside."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import count
from os import PathLike
from pathlib import Path
from shutil import copy2, copytree, ignore_patterns
from typing import Any

from pg2lib.config import PG2Config, TrainingConfig
from pg2lib.data.pairs import PairTable
from pg2lib.errors import CheckpointError, ConfigError
from pg2lib.json_files import MAX_BYTES, read_json, read_limited
from pg2lib.models import G1
from pg2lib.pipeline import PG2Pipeline
from pg2lib.pipeline_folder import CONFIG_NAME, FORMAT, WEIGHTS_NAME, read_config, refuse_destination
from pg2lib.training.checkpoint import find_checkpoint, list_checkpoints, load_generator
from pg2lib.training.lock import refuse_if_held
from pg2lib.training.log import logged_seconds
from pg2lib.training.loop import digest_of, identity_of
from pg2lib.training.start import digest_of_start, refuse_another_architecture, short_sha256

log = logging.getLogger(__name__)

STAGES = {0: "one-stage", 1: "stage1", 2: "stage2"}
"""Folders of a run's stages, by their numbers."""

PIPELINE = "pipeline"
"""Folder of a run's finished pipeline."""

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
        return [Stage(0, folder / STAGES[0], config.one_stage)]
    stages = [Stage(1, Path(stage1 or folder / STAGES[1]), config.stage1)]
    if config.networks == "G1+G2+D":
        stages.append(Stage(2, folder / STAGES[2], config.stage2))
    return stages


def check_run(
    config: PG2Config,
    folder: str | PathLike[str],
    pairs: PairTable | None = None,
    stage1: str | PathLike[str] | None = None,
    start: PG2Pipeline | None = None,
    restart: str | None = None,
) -> None:
    """Refuse a run that `train` could not finish, or only by destroying something. Changes nothing.

    Args:
        config, folder, stage1, start, restart: As in `train`.
        pairs: None while they are not known; then the checks that need them are left out.

    Raises:
        CheckpointError: The folder is not that of a run, belongs to a run with other settings, other data, another
            start or more steps, or cannot be written; or another process is training there.
        ConfigError: The run has no stage `restart` of its own, or see `refuse_another_architecture`.
        DataError: A log of a stage is damaged.
    """
    folder = Path(folder)
    stages = stages_of(config, folder, stage1)
    own = [stage.folder.name for stage in stages if stage.folder.parent == folder]
    if restart is not None and restart not in own:
        raise ConfigError(
            f"restart: expected a stage of this run, {' or '.join(own) or 'which has none'}, got {restart!r}"
        )
    if start is not None:
        refuse_another_architecture(config, start)
    refuse_foreign(folder)
    _refuse_other_networks(config, folder)
    reasons = outdated(config, folder, stages, pairs, start)
    restarted = [] if restart is None else [*own[own.index(restart) :], PIPELINE]
    for part, reason in reasons.items():
        if part.parent != folder or part.name not in restarted:
            raise CheckpointError(reason + _way_out(part, folder, own))
    for stage in stages:
        if stage.folder in reasons or not stage.finished():
            _refuse_unwritable(stage.folder)
            refuse_if_held(stage.folder)
        if stage.folder not in reasons:
            logged_seconds(stage.folder / "log.jsonl")  # `make_pipeline` reads it when everything is trained


def _way_out(part: Path, folder: Path, own: Sequence[str]) -> str:
    """Return what a user can do about an outdated part of a run."""
    ways = "Name another folder, or restore what differs"
    stage = part.name if part.name in own else own[-1] if own else None
    if part.parent == folder and stage is not None:
        ways += (
            f"; or train {stage} from the start with --restart {stage}, which moves what is there now to "
            f"{_earlier(folder)}"
        )
        if (folder / PIPELINE / CONFIG_NAME).is_file():
            ways += f"; or continue from all trained weights in another folder, with --from {folder / PIPELINE}"
    return f". {ways}"


def refuse_foreign(folder: str | PathLike[str]) -> None:
    """Refuse a folder that a run must not write to. Changes nothing.

    Raises:
        CheckpointError: It holds something other than a run, or cannot be written; or another process is training
            there.
    """
    folder = Path(folder)
    _refuse_unwritable(folder)
    _refuse_unwritable(folder / PIPELINE)
    path = folder / CONFIG_NAME
    if path.is_file():
        try:
            values = read_json(path, error=ConfigError)
            if isinstance(values, dict) and values.get("format") == FORMAT:
                raise CheckpointError(f"{folder} is a pipeline folder, not the folder of a run; name another folder")
            PG2Config.from_json(read_limited(path, MAX_BYTES, ConfigError))
        except ConfigError as error:
            raise CheckpointError(
                f"{path} is not the configuration of a training run ({error}); name another folder, or remove that file"
            ) from error
    for name in (WEIGHTS_NAME, *OF_DATA):
        if (folder / name).exists():
            raise CheckpointError(f"{folder} is not the folder of a training run: it has {name}; name another folder")
    if list_checkpoints(folder):
        raise CheckpointError(f"{folder} is one stage of a run; name the folder of the run, or another folder")
    refuse_destination(folder / PIPELINE)
    refuse_if_held(folder)


def _refuse_unwritable(folder: Path) -> None:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise CheckpointError(f"{folder} cannot be created: {place} is a file; remove it, or name another folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise CheckpointError(f"{place} cannot be written; change its permissions, or name another folder")


def _refuse_other_networks(config: PG2Config, folder: Path) -> None:
    path = folder / CONFIG_NAME
    if path.is_file():
        networks = PG2Config.load(path).networks
        if networks != config.networks:
            raise CheckpointError(
                f"{folder} belongs to a run that trains {networks}, and this one trains {config.networks}; name "
                f"another folder"
            )


def outdated(
    config: PG2Config, folder: Path, stages: Sequence[Stage], pairs: PairTable | None, start: PG2Pipeline | None
) -> dict[Path, str]:
    """Return the parts of a run that cannot stay when the run goes on with these settings, and why. Changes nothing.

    A part is the folder of a stage that has checkpoints, or the folder of the pipeline.

    Raises:
        CheckpointError: All checkpoints of a stage are damaged, or the pipeline's ``config.json`` is.
    """
    reasons: dict[Path, str] = {}
    for stage, before in zip(stages, [None, *stages], strict=False):
        found = find_checkpoint(stage.folder)
        if found is None:
            continue
        if before is not None and before.folder in reasons:
            reason: str | None = f"{stage.folder} was trained on the G1 of {before.folder}"
        elif before is not None and not before.finished():
            reached = find_checkpoint(before.folder)
            has = "none" if reached is None else f"{reached.step}"
            reason = (
                f"{stage.folder} was trained on the G1 of a finished stage I, but {before.folder} has {has} of "
                f"{before.settings.steps} steps, and training them would change that G1"
            )
        else:
            g1 = None if before is None else digest_of(load_generator(before.folder, G1, "g1"))
            identity = identity_of(config, stage.number, pairs, g1, digest_of_start(start))
            reason = found.conflict(identity, stage.settings.steps, unknown=() if pairs is not None else ("pairs",))
        if reason is not None:
            reasons[stage.folder] = reason
    if (folder / PIPELINE / CONFIG_NAME).is_file():
        reason = _differs(config, folder, stages, digest_of_start(start))
        if reason is None and reasons:
            reason = f"{folder / PIPELINE} was made from these stages"
        if reason is not None:
            reasons[folder / PIPELINE] = reason
    return reasons


def _differs(config: PG2Config, folder: Path, stages: Sequence[Stage], start: str | None) -> str | None:
    """Return in what the settings of a run's finished pipeline differ from these; None if in nothing."""
    path = folder / PIPELINE / CONFIG_NAME
    try:
        values = read_config(path.parent)
        made = PG2Config.from_dict(values["config"])
    except (ConfigError, CheckpointError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}; name another folder, or remove {path.parent}"
        ) from error
    record = values["training"].get("from", {}).get("sha256")
    ours = _settings(config, stages, start)
    theirs = _settings(made, stages_of(made, folder), None if record is None else short_sha256(record))
    differing = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
    if not differing:
        return None
    listed = "; ".join(f"{key}: {theirs.get(key)!r} then, {ours.get(key)!r} now" for key in differing)
    return f"{path.parent} is a finished pipeline with other settings ({listed})"


def _settings(config: PG2Config, stages: Sequence[Stage], start: str | None) -> dict[str, Any]:
    """Return what must stay the same for a run to resume, for all its stages."""
    return {key: value for stage in stages for key, value in identity_of(config, stage.number, start=start).items()}


def set_aside(folder: Path, parts: Collection[Path]) -> None:
    """Move parts of a run into a new folder in it, ``earlier-1`` or the next number, so that nothing is lost.

    That folder is the folder of a run, too: it gets the configuration and the stages that stay as well, as they are
    now. Checkpoints are linked where the file system can, as a run replaces them and never changes them.

    Args:
        folder: Folder of the run, whose lock is held.
        parts: See `outdated`; nothing is done if there are none.
    """
    if not parts:
        return
    place = _earlier(folder)
    place.mkdir()
    for kept in (folder / CONFIG_NAME, *(folder / name for name in STAGES.values() if folder / name not in parts)):
        if kept.is_dir():
            copytree(kept, place / kept.name, copy_function=_link, ignore=ignore_patterns(".*"))
        elif kept.is_file():
            copy2(kept, place)
    # The pipeline goes first: if this is interrupted, the next run would replace a pipeline that is still there.
    for part in sorted(parts, key=lambda part: part.name != PIPELINE):
        part.rename(place / part.name)
    log.warning("%s moved to %s", " and ".join(part.name for part in parts), place)


def _earlier(folder: Path) -> Path:
    return next(place for number in count(1) if not (place := folder / f"earlier-{number}").exists())


def _link(source: str, target: str) -> None:
    if source.endswith(".safetensors"):
        try:
            return os.link(source, target)
        except OSError:  # a file system without links
            pass
    copy2(source, target)
