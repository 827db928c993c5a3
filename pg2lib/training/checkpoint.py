"""Training checkpoints: everything a run needs to go on, in one safetensors file that appears whole or not at all.

The file holds the tensors of the models, their moving averages and the optimisers; its metadata hold the step, the
configuration and what the run was trained on. Nothing else is needed: the order of the pairs and the flips are a
function of seed and step (`PairOrder`), and the loops draw no other random number. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from pg2lib.config import AugmentConfig, ModelConfig, PG2Config, Stage1Config, Stage2Config
from pg2lib.errors import CheckpointError
from pg2lib.files import atomic_path

log = logging.getLogger(__name__)

FORMAT = "pg2lib training checkpoint 1"
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


def save_checkpoint(folder: Path, step: int, state: TrainingState, config: PG2Config, keep: int = 2) -> Path:
    """Writes ``step-<step>.safetensors`` and removes all but the newest `keep` checkpoints.

    Args:
        step: steps done so far.
    """
    tensors: dict[str, Tensor] = {}
    for name, model in state.models.items():
        tensors |= {f"model.{name}.{key}": value for key, value in model.state_dict().items()}
    for name, optimiser in state.optimisers.items():
        for index, values in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{name}.{index}.{key}": torch.as_tensor(value) for key, value in values.items()}
    metadata = {
        "format": FORMAT,
        "step": str(step),
        "config": config.to_json(),
        "identity": json.dumps(state.identity, sort_keys=True),
    }
    path = folder / f"step-{step:08d}.safetensors"
    with atomic_path(path) as temporary:
        save_file({key: value.detach().contiguous() for key, value in tensors.items()}, temporary, metadata)
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest step first."""
    return sorted(path for path in folder.glob("step-*.safetensors") if FILE_NAME.match(path.name))


def load_checkpoint(path: Path, state: TrainingState) -> int:
    """Restores models and optimisers in place, and returns the number of steps done.

    Raises:
        CheckpointError: not a training checkpoint, damaged, or of a run with other settings or data; the message names
            what differs.
    """
    tensors, metadata = _read(path)
    missing = {key: DEFAULTS[key] for key in state.identity if key in DEFAULTS}
    # A setting that counts for nothing in this run may have counted when the checkpoint was written.
    theirs = {
        key: value
        for key, value in (missing | json.loads(metadata["identity"])).items()
        if key in state.identity or key not in DEFAULTS
    }
    differing = sorted(
        key for key in theirs.keys() | state.identity.keys() if theirs.get(key) != state.identity.get(key)
    )
    if differing:
        listed = "; ".join(f"{key}: {theirs.get(key)!r} then, {state.identity.get(key)!r} now" for key in differing)
        raise CheckpointError(
            f"{path} is of another run ({listed}). Train into another folder, or restore those settings"
        )
    for name, model in state.models.items():
        _load_model(model, _with_prefix(tensors, f"model.{name}."), path)
    for name, optimiser in state.optimisers.items():
        _load_optimiser(optimiser, _with_prefix(tensors, f"optimiser.{name}."))
    return int(metadata["step"])


def load_model(path: Path, names: Sequence[str], model: nn.Module) -> None:
    """Restores one model of a checkpoint in place.

    Args:
        names: the first of them that the checkpoint has is taken.

    Raises:
        CheckpointError: not a training checkpoint, damaged, or its tensors do not fit the model.
    """
    tensors, _ = _read(path)
    found = [own for name in names if (own := _with_prefix(tensors, f"model.{name}."))]
    _load_model(model, found[0] if found else {}, path)


def read_config(path: Path) -> PG2Config:
    """The configuration that a checkpoint was trained with."""
    return PG2Config.from_json(_read(path)[1]["config"])


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(f"{path} is not a {FORMAT!r}")
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint {path}") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged: {error}. Remove it to go on from the one before") from error


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
