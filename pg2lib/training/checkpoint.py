"""Training checkpoints: everything a run needs to go on, in one safetensors file that appears whole or not at all.

The file holds the tensors of the models, their moving averages and the optimisers; its metadata hold the step, the
configuration and what the run was trained on. Nothing else is needed: the order of the pairs and the flips are a
function of seed and step (`PairOrder`), and the loops draw no other random number. Nothing is ever unpickled. A
checksum over all of it is verified before any of it is used.
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
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from pg2lib.config import AugmentConfig, ModelConfig, PG2Config, Stage1Config, Stage2Config
from pg2lib.errors import CheckpointError
from pg2lib.files import atomic_path
from pg2lib.models import G1, G2

log = logging.getLogger(__name__)

Generator = TypeVar("Generator", G1, G2)

FORMAT = "pg2lib training checkpoint 2"
FILE_NAME = re.compile(r"^step-(\d{8})\.safetensors$")

DEFAULTS = {
    f"{part}.{entry.name}": entry.default
    for part, settings in (
        ("model", ModelConfig), ("stage0", Stage2Config), ("stage1", Stage1Config), ("stage2", Stage2Config),
        ("augment", AugmentConfig),
    )
    for entry in fields(settings)
}  # fmt: skip
"""Of settings, by their names in an identity: what a checkpoint has that was written before pg2lib had the setting."""


@dataclass(frozen=True)
class TrainingState:
    """What a checkpoint saves and restores, in place.

    Attributes:
        models: by name, their moving averages among them.
        optimisers: by name.
        identity: what must be the same for a run to go on: the configuration without its step count, and the pairs.
    """

    models: Mapping[str, nn.Module]
    optimisers: Mapping[str, Optimizer]
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """The newest sound checkpoint of a folder.

    Attributes:
        path: its file.
        metadata: of the file.
        damaged: newer ones and what is wrong with them.
    """

    path: Path
    metadata: Mapping[str, str]
    damaged: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.metadata["step"])

    @property
    def config(self) -> PG2Config:
        """The configuration that it was trained with."""
        return PG2Config.from_json(self.metadata["config"])

    def refuse_another_run(self, identity: Mapping[str, Any], steps: int, unknown: Sequence[str] = ()) -> None:
        """Changes nothing.

        Args:
            identity: of the run that is to go on.
            steps: that the run is to have in the end.
            unknown: what `identity` does not say yet.

        Raises:
            CheckpointError: the checkpoint is of a run with other settings or data (the message names what differs), or
                has done more steps.
        """
        missing = {key: DEFAULTS[key] for key in identity if key in DEFAULTS}
        # A setting that counts for nothing in this run may have counted when the checkpoint was written.
        theirs = {
            key: value
            for key, value in (missing | json.loads(self.metadata["identity"])).items()
            if key in identity or key not in {*DEFAULTS, *unknown}
        }
        differing = sorted(key for key in theirs.keys() | identity.keys() if theirs.get(key) != identity.get(key))
        if differing:
            listed = "; ".join(f"{key}: {theirs.get(key)!r} then, {identity.get(key)!r} now" for key in differing)
            raise CheckpointError(
                f"{self.path} is of another run ({listed}). Train into another folder, or restore those settings"
            )
        if self.step > steps:
            raise CheckpointError(
                f"{self.path} has done {self.step} steps already, and the configuration says {steps}; train into "
                f"another folder, or for as many steps"
            )


def save_checkpoint(folder: Path, step: int, state: TrainingState, config: PG2Config, keep: int = 2) -> Path:
    """Writes ``step-<step>.safetensors`` and removes all but the newest `keep` checkpoints of so many steps or fewer.

    Args:
        step: steps done so far.

    Raises:
        CheckpointError: the file cannot be written.
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
            save_file(tensors, temporary, metadata)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be written: {error}. Make room or mend what is wrong, and start again: the run goes on "
            f"from the checkpoint before"
        ) from error
    # Those of more steps are damaged, and this run has stepped over them; it will write them anew.
    for old in [other for other in list_checkpoints(folder) if other.name <= path.name][:-keep]:
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest step first, sound or not."""
    return sorted(path for path in folder.glob("step-*.safetensors") if FILE_NAME.match(path.name))


def find_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest sound checkpoint of a folder; None where there is not one file.

    Raises:
        CheckpointError: there are files, and all of them are damaged; or the newest is no training checkpoint of this
            version.
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
            f"{'; '.join(damaged)}. That leaves no checkpoint to go on from: bring one back from a copy, or remove "
            f"{'it' if len(damaged) == 1 else 'them'} to train this stage from its beginning"
        )
    return None


def load_checkpoint(checkpoint: Checkpoint, state: TrainingState) -> None:
    """Restores models and optimisers in place.

    Args:
        checkpoint: of the same run; see `Checkpoint.refuse_another_run`.

    Raises:
        CheckpointError: its tensors do not fit.
    """
    tensors = _read(checkpoint)
    for name, model in state.models.items():
        _load_model(model, _with_prefix(tensors, f"model.{name}."), checkpoint.path)
    for name, optimiser in state.optimisers.items():
        _load_optimiser(optimiser, _with_prefix(tensors, f"optimiser.{name}."))


def newest_checkpoint(folder: Path) -> Checkpoint:
    """The newest sound checkpoint of a folder.

    Raises:
        CheckpointError: there is none.
    """
    found = find_checkpoint(folder)
    if found is None:
        raise CheckpointError(f"{folder} holds no training checkpoint; train that stage first")
    return found


def load_generator(folder: Path, kind: type[Generator], name: str) -> Generator:
    """The generator that a stage left in a folder: its newest sound checkpoint's, a moving average before the model.

    Args:
        name: of the model in the checkpoint.

    Raises:
        CheckpointError: no checkpoint there, or it does not hold that generator.
    """
    checkpoint = newest_checkpoint(folder)
    for damaged in checkpoint.damaged:
        log.warning("%s; %s is taken from %s, the one before", damaged, name.upper(), checkpoint.path.name)
    tensors = _read(checkpoint)
    own = _with_prefix(tensors, f"model.{name}_average.") or _with_prefix(tensors, f"model.{name}.")
    generator = kind(checkpoint.config.model)
    _load_model(generator, own, checkpoint.path)
    return generator


def checksum(metadata: Mapping[str, str], tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A CRC-32 of all that a checkpoint holds.

    It finds every error of a disk or of a copy that is shorter than 32 bits, and all but one in 4 billion others. It
    takes a second a gigabyte, a half or a third of what a cryptographic digest takes; it is no defence against forgery.

    Args:
        metadata: its entry "checksum" is left out.
        tensors: on the CPU, by name, in the order of the names.
    """
    told = {key: value for key, value in metadata.items() if key != "checksum"}
    value = zlib.crc32(json.dumps(told, sort_keys=True).encode())
    for key, tensor in tensors:
        value = zlib.crc32(f"{key} {tensor.dtype} {list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"crc32 {value:08x}"


@lru_cache(maxsize=64)
def _examine(path: Path, size: int, changed: int) -> tuple[str | None, dict[str, str]]:
    """What is wrong with a checkpoint, if anything, and its metadata; once for as long as the file does not change."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path}: expected a {FORMAT!r}, got {metadata.get('format')!r}; was it made by another version? "
                    f"Train into another folder"
                )
            tensors = ((key, file.get_tensor(key)) for key in sorted(file.keys()))
            found, expected = checksum(metadata, tensors), metadata.get("checksum")
    except (SafetensorError, OSError) as error:
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


def _load_optimiser(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, entry = key.partition(".")
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            # Adam's fused kernel walks parameter and state side by side: they must lie in memory alike (channels_last).
            value = torch.empty_like(parameter).copy_(value)
        state.setdefault(int(index), {})[entry] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
