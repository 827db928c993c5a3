"""Training checkpoints: everything that a run needs to resume, in one safetensors file, which is written atomically.

The file holds the tensors of the models, of their moving averages and of the optimisers. Its metadata hold the step,
the configuration and the identity of the run. No state of a random number generator is needed: the order of the pairs,
the flips and the augmentation are functions of the seed and the step (see `PairOrder`). Nothing is ever unpickled. A
checksum of the whole file is verified before any of it is used.
"""

from __future__ import annotations

import json
import logging
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from pg2lib.config import AugmentConfig, ModelConfig, PG2Config, Stage1Config, Stage2Config
from pg2lib.errors import CheckpointError, DataError, WriteError
from pg2lib.files import atomic_path
from pg2lib.json_files import checked, parse_json, shown
from pg2lib.models import G1, G2
from pg2lib.pipeline_folder import write_tensors

log = logging.getLogger(__name__)

Generator = TypeVar("Generator", G1, G2)

FORMAT = "pg2lib training checkpoint 2"
FILE_NAME = re.compile(r"^step-(\d{8})\.safetensors$")

ADAM = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps of every parameter."""

DEFAULTS = {
    f"{part}.{entry.name}": entry.default
    for part, settings in (
        ("model", ModelConfig), ("stage0", Stage2Config), ("stage1", Stage1Config), ("stage2", Stage2Config),
        ("augment", AugmentConfig),
    )
    for entry in fields(settings)
}  # fmt: skip
"""Values of settings that a checkpoint's identity lacks, as it was written before pg2lib had the setting."""


@dataclass(frozen=True)
class TrainingState:
    """What a checkpoint saves, and restores in place.

    Attributes:
        models: Models by name, their moving averages among them.
        optimisers: Optimisers by name.
        identity: What must stay the same for a run to resume; see `pg2lib.training.loop.identity_of`.
    """

    models: Mapping[str, nn.Module]
    optimisers: Mapping[str, Optimizer]
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """The newest sound checkpoint of a folder.

    Attributes:
        path: Its file.
        metadata: The metadata of the file.
        damaged: One message for each newer checkpoint, which says how it is damaged.
    """

    path: Path
    metadata: Mapping[str, str]
    damaged: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        """The number of steps that it has done."""
        return int(self.metadata["step"])

    @property
    def config(self) -> PG2Config:
        """The configuration with which it was trained."""
        return PG2Config.from_json(self.metadata["config"])

    def refuse_another_run(self, identity: Mapping[str, Any], steps: int, unknown: Sequence[str] = ()) -> None:
        """Refuse to resume a run from the checkpoint of another run. Changes nothing.

        Args:
            identity, steps, unknown: As in `conflict`.

        Raises:
            CheckpointError: There is a `conflict`.
        """
        conflict = self.conflict(identity, steps, unknown)
        if conflict is not None:
            raise CheckpointError(f"{conflict}. Train in another folder, or restore what differs")

    def conflict(self, identity: Mapping[str, Any], steps: int, unknown: Sequence[str] = ()) -> str | None:
        """Return why a run cannot resume from this checkpoint; None if it can.

        Either the checkpoint is of a run with other settings, data or start, and the text names what differs; or it has
        done more steps.

        Args:
            identity: Identity of the run that is to be resumed.
            steps: The steps that the run is to have in the end.
            unknown: Keys that `identity` does not have yet.
        """
        missing = {key: DEFAULTS[key] for key in identity if key in DEFAULTS}
        written = parse_json(self.metadata["identity"], f"the identity of {self.path}", error=CheckpointError)
        # A setting that has no effect on this run may have been part of the identity when the checkpoint was written.
        theirs = {
            key: value
            for key, value in (missing | written).items()
            if key in identity or key not in {*DEFAULTS, *unknown}
        }
        differing = sorted(key for key in theirs.keys() | identity.keys() if theirs.get(key) != identity.get(key))
        if differing:
            listed = "; ".join(f"{key}: {theirs.get(key)!r} then, {identity.get(key)!r} now" for key in differing)
            return f"{self.path} is of another run ({listed})"
        if self.step > steps:
            return f"{self.path} has done {self.step} steps already, and the configuration says {steps}"
        return None


def save_checkpoint(folder: Path, step: int, state: TrainingState, config: PG2Config, keep: int = 2) -> Path:
    """Write ``step-<step>.safetensors``, and remove older checkpoints.

    Args:
        folder: Where to write it.
        step: Steps done so far.
        state: What to save.
        config: The configuration of the run.
        keep: How many checkpoints to keep, this one included. Those of more steps are not counted.

    Returns:
        The path of the checkpoint.

    Raises:
        CheckpointError: The file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for name, model in state.models.items():
        tensors |= {f"model.{name}.{key}": value for key, value in model.state_dict().items()}
    for name, optimiser in state.optimisers.items():
        for index, values in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{name}.{index}.{key}": torch.as_tensor(value) for key, value in values.items()}
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    metadata = {
        "format": FORMAT,
        "step": str(step),
        "config": config.to_json(),
        "identity": json.dumps(state.identity, sort_keys=True),
    }
    metadata["checksum"] = checksum(metadata, sorted(tensors.items()))
    path = folder / f"step-{step:08d}.safetensors"
    try:
        with atomic_path(path) as temporary:
            write_tensors(temporary, tensors, metadata)
    except WriteError as error:
        raise CheckpointError(f"{error}, and start again: the run resumes from the checkpoint before it") from error
    # Those of more steps are damaged: the run resumed from an earlier one, and will replace them.
    for old in [other for other in list_checkpoints(folder) if other.name <= path.name][:-keep]:
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder in the order of their steps, damaged ones included."""
    return sorted(path for path in folder.glob("step-*.safetensors") if FILE_NAME.match(path.name))


def find_checkpoint(folder: Path) -> Checkpoint | None:
    """Find the newest checkpoint of a folder that is not damaged; None where the folder holds no checkpoint.

    Raises:
        CheckpointError: All checkpoints are damaged, or one was written by another version.
    """
    damaged: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        state = path.stat()
        wrong, metadata = _examine(path, state.st_size, state.st_mtime_ns)
        if wrong is None:
            return Checkpoint(path, metadata, tuple(damaged))
        damaged.append(f"{path} is damaged: {wrong}")
    if damaged:
        raise CheckpointError(
            f"{'; '.join(damaged)}. No checkpoint is left to resume from: restore one from a backup, or remove "
            f"{'it' if len(damaged) == 1 else 'them'} to train this stage from the start"
        )
    return None


def load_checkpoint(checkpoint: Checkpoint, state: TrainingState) -> None:
    """Restore models and optimisers in place.

    Args:
        checkpoint: A checkpoint of the same run; see `Checkpoint.refuse_another_run`.
        state: What to restore.

    Raises:
        CheckpointError: The checkpoint does not fit the models.
    """
    tensors = _read(checkpoint)
    for name, model in state.models.items():
        _load_model(model, _with_prefix(tensors, f"model.{name}."), checkpoint.path)
    for name, optimiser in state.optimisers.items():
        _load_optimiser(optimiser, _with_prefix(tensors, f"optimiser.{name}."), checkpoint.path)


def newest_checkpoint(folder: Path) -> Checkpoint:
    """Return the newest checkpoint of a folder that is not damaged.

    Raises:
        CheckpointError: There is none.
    """
    found = find_checkpoint(folder)
    if found is None:
        raise CheckpointError(f"{folder} holds no training checkpoint; train that stage first")
    return found


def load_generator(folder: Path, kind: type[Generator], name: str) -> Generator:
    """Load a generator from the newest sound checkpoint of a stage: its moving average where there is one.

    Args:
        folder: Folder of the stage.
        kind: `G1` or `G2`.
        name: Name of the model in the checkpoint.

    Raises:
        CheckpointError: The folder holds no sound checkpoint, or the checkpoint does not hold that generator.
    """
    checkpoint = newest_checkpoint(folder)
    for damaged in checkpoint.damaged:
        log.warning("%s; %s is taken from %s, the one before it", damaged, name.upper(), checkpoint.path.name)
    tensors = _read(checkpoint)
    own = _with_prefix(tensors, f"model.{name}_average.") or _with_prefix(tensors, f"model.{name}.")
    generator = kind(checkpoint.config.model)
    _load_model(generator, own, checkpoint.path)
    return generator


def checksum(metadata: Mapping[str, str], tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return a CRC-32 of everything that a checkpoint holds.

    It detects every damage of up to 32 consecutive bits, and all but one in 4 billion others. It takes one second per
    gigabyte, a half to a third of the time of a cryptographic digest. It is no protection against forgery.

    Args:
        metadata: The entry "checksum" is ignored.
        tensors: Pairs of name and tensor, in the order of the names. The tensors are on the CPU.
    """
    told = {key: value for key, value in metadata.items() if key != "checksum"}
    value = zlib.crc32(json.dumps(told, sort_keys=True).encode())
    for key, tensor in tensors:
        value = zlib.crc32(f"{key} {tensor.dtype} {list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"crc32 {value:08x}"


@lru_cache(maxsize=64)
def _examine(path: Path, size: int, changed: int) -> tuple[str | None, dict[str, str]]:
    """Return what is wrong with a checkpoint, or None, and its metadata.

    The file is read once for as long as its `size` and the time at which it `changed` stay the same.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path}: expected a {FORMAT!r}, got {metadata.get('format')!r}, perhaps of another version of "
                    f"pg2lib. Train in another folder"
                )
            if not re.fullmatch(r"[0-9]{1,9}", metadata.get("step", "")):
                raise DataError(f"its step is {shown(metadata.get('step'))}, expected a whole number")
            checked(dict[str, Any], parse_json(metadata.get("identity", ""), "its identity"), "its identity")
            parse_json(metadata.get("config", ""), "its configuration")
            tensors = ((key, file.get_tensor(key)) for key in sorted(file.keys()))
            found, expected = checksum(metadata, tensors), metadata.get("checksum")
    except (SafetensorError, OSError, DataError) as error:
        return str(error), {}
    return (None if found == expected else f"its checksum is {found}, not {expected}"), metadata


def _read(checkpoint: Checkpoint) -> dict[str, Tensor]:
    with safe_open(checkpoint.path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _load_model(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the model: {error}") from error


def _load_optimiser(optimiser: Optimizer, tensors: Mapping[str, Tensor], path: Path) -> None:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, entry = key.partition(".")
        if not re.fullmatch("[0-9]{1,9}", index) or int(index) >= len(parameters):
            raise CheckpointError(f"{path} does not fit the optimiser, which has no parameter {shown(index)}")
        parameter = parameters[int(index)]
        if entry not in ADAM or (entry != "step" and value.shape != parameter.shape):
            raise CheckpointError(f"{path} does not fit the optimiser: {shown(key)} has the shape {tuple(value.shape)}")
        if value.shape == parameter.shape:
            # Adam's fused kernel needs the same memory format (channels_last) for a parameter and its state.
            value = torch.empty_like(parameter).copy_(value)
        state.setdefault(int(index), {})[entry] = value
    if any(len(entries) != len(ADAM) for entries in state.values()):
        raise CheckpointError(f"{path} does not hold {', '.join(ADAM)} of every parameter")
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
