"""The pipeline folder on disk: finding, reading and writing it.

A *pipeline folder* is how a trained model is shared. It holds ``config.json`` and ``model.safetensors``, nothing
pickled, and ``model.onnx`` if onnxruntime is to run the model.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pg2lib.config import DEFAULT_CHECKPOINT, PG2Config
from pg2lib.errors import CheckpointError, ConfigError, DataError, WriteError
from pg2lib.files import atomic_path, is_lfs_pointer, sha256_of
from pg2lib.framing import Framing
from pg2lib.json_files import checked_fields, read_json, shown
from pg2lib.models import G1, G2

log = logging.getLogger(__name__)

FORMAT = "pg2lib pipeline 1"
CONFIG_NAME, WEIGHTS_NAME, ONNX_NAME = "config.json", "model.safetensors", "model.onnx"
SHIPPED = Path(__file__).parent / "weights"
RECORD = {
    "data": str,
    "images": int,
    "pairs": int,
    "seconds": dict[str, float],
    "hardware": str,
    "from": dict[str, Any],
}
"""Entries of a record of the training that something reads, each of which may be missing."""

_PICKLES = frozenset({".pth", ".pt", ".ckpt", ".bin", ".pkl"})
HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
"""``owner/name`` or ``owner/name@revision``."""


# -- Finding -----------------------------------------------------------------------------------------------------------


def shipped_checkpoints() -> dict[str, Path]:
    """Return the pipeline folders that ship with pg2lib, by name."""
    return {path.parent.name: path.parent for path in sorted(SHIPPED.glob(f"*/{CONFIG_NAME}"))}


def find_folder(
    name_or_folder: str | PathLike[str] | None, revision: str | None = None, with_onnx: bool = False
) -> Path:
    """Return the folder that `PG2Pipeline.from_pretrained` reads; a hub id is downloaded.

    Args:
        name_or_folder, revision: see `PG2Pipeline.from_pretrained`.
        with_onnx: also download ``model.onnx``, if the hub has it.

    Raises:
        CheckpointError: there is no such folder or hub id, or two revisions are given.
    """
    if name_or_folder is None:
        name_or_folder = DEFAULT_CHECKPOINT
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    shipped = shipped_checkpoints()
    if str(name_or_folder) in shipped:
        return shipped[str(name_or_folder)]
    if folder.is_file():
        raise CheckpointError(
            f"{folder} is a file; expected a pipeline folder, which holds {CONFIG_NAME} and {WEIGHTS_NAME}. PyTorch "
            f"files (.pth, .pt, .ckpt) are never loaded, as they can run code"
        )
    match = HUB_ID.fullmatch(str(name_or_folder))
    if match is None:
        raise CheckpointError(
            f"expected a folder, a checkpoint that ships with pg2lib ({', '.join(shipped)}) or a hub id (owner/name or "
            f"owner/name@revision), got {str(name_or_folder)!r}"
        )
    hub_id, named = match.groups()
    if revision is not None and named not in (None, revision):
        raise CheckpointError(f"{name_or_folder} names the revision {named!r}, and revision= is {revision!r}: give one")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [CONFIG_NAME, WEIGHTS_NAME] + [ONNX_NAME] * with_onnx
    try:
        return Path(snapshot_download(hub_id, revision=revision or named, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"there is no folder {str(name_or_folder)!r}, and the hub id cannot be downloaded: {error}"
        ) from error


# -- Reading -----------------------------------------------------------------------------------------------------------


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` of a pipeline folder.

    Returns:
        The objects "config", "framing" and "training", and the text "sha256" or None: early folders have no digest.

    Raises:
        CheckpointError: it is missing, cannot be read, has another format, or a field is missing or of another type.
    """
    path = folder / CONFIG_NAME
    try:
        values = read_json(path, error=CheckpointError)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} is not a pipeline folder: it has no {CONFIG_NAME}. (A training run writes its pipeline to the "
            f"subfolder 'pipeline' when both stages are done.)"
        ) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        if (folder / "pipeline" / CONFIG_NAME).is_file():
            raise CheckpointError(f"{folder} is not a pipeline folder; name {folder / 'pipeline'}, which is one")
        got = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(f"{path}: expected the format {FORMAT!r}, got {got!r}; was it made by another version?")
    kinds = {"config": dict[str, Any], "framing": dict[str, Any], "training": dict[str, Any], "sha256": str | None}
    optional = ("training", "sha256")
    fields = checked_fields(kinds, values, str(path), "", CheckpointError, optional, others=True)
    record = fields.get("training", {})
    checked_fields(RECORD, record, str(path), "training", CheckpointError, RECORD, others=True)
    start = record.get("from", {})
    checked_fields({"sha256": str}, start, str(path), "training.from", CheckpointError, ("sha256",), others=True)
    return {"training": {}, "sha256": None, **fields}


def described(folder: Path, values: Mapping[str, Any]) -> tuple[PG2Config, Framing]:
    """Return the configuration and the framing in what `read_config` read from a folder.

    Raises:
        CheckpointError: they have another form, or a value is not allowed.
    """
    try:
        return PG2Config.from_dict(values["config"]), Framing.from_dict(values["framing"])
    except (ConfigError, DataError) as error:
        raise CheckpointError(f"{folder / CONFIG_NAME} does not describe a pipeline: {error}") from error


def read_weights(folder: Path, sha256: str | None) -> dict[str, Tensor]:
    """Read the weights of a pipeline folder, as float32.

    Args:
        folder: the pipeline folder.
        sha256: digest of the file according to the caller or to ``config.json``. None skips the check: early folders
            have no digest.

    Raises:
        CheckpointError: the file is missing, damaged, not the one that the digest belongs to, or has NaN or infinite
            weights.
    """
    path = folder / WEIGHTS_NAME
    try:
        if is_lfs_pointer(path):
            raise CheckpointError(f"{path} is a Git LFS pointer and not the weights themselves; run git lfs pull")
        with safe_open(path, framework="pt") as file:
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        others = [key for key, tensor in stored.items() if not tensor.is_floating_point()]
        if others:
            raise CheckpointError(f"{path} holds {stored[others[0]].dtype} in {shown(others[0])}, not floating point")
        # Copies: a process that maps a file dies when somebody overwrites the file.
        tensors = {key: tensor.to(torch.float32, copy=True) for key, tensor in stored.items()}
        found = sha256_of(path)
    except FileNotFoundError as error:
        pickles = sorted(file.name for file in folder.glob("*") if file.suffix in _PICKLES)
        hint = f". {pickles[0]} is a PyTorch file, which is never loaded, as it can run code" if pickles else ""
        raise CheckpointError(f"{folder} is not a pipeline folder: it has no {WEIGHTS_NAME}{hint}") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from error
    bad = _not_finite(tensors)
    if bad:
        raise CheckpointError(f"{path} holds NaN or infinite weights in {', '.join(bad[:5])}")
    if sha256 is not None and found != sha256:
        raise CheckpointError(
            f"{path} is damaged or not the expected file: expected the SHA-256 {sha256!r}, which {CONFIG_NAME} or the "
            f"caller names, got {found!r}; copy or download the folder again"
        )
    return tensors


def load_generators(folder: Path, config: PG2Config, sha256: str | None) -> tuple[G1, G2 | None]:
    """Build the generators of a configuration with the weights of a pipeline folder.

    Raises:
        CheckpointError: the weights cannot be read, or do not fit the configuration.
    """
    with torch.device("meta"):  # no time is spent on initial weights
        g1, g2 = G1(config.model), G2(config.model) if config.networks == "G1+G2+D" else None
    tensors = read_weights(folder, sha256)
    for name, generator in (("g1", g1), ("g2", g2)):
        if generator is None:
            continue
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        try:
            generator.load_state_dict(own, assign=True)
        except RuntimeError as error:
            raise CheckpointError(
                f"{folder / WEIGHTS_NAME} does not hold the {name.upper()} that {CONFIG_NAME} describes: {error}"
            ) from error
    return g1, g2


def checkpoint_of(folder: Path, name: str, sha256: str | None) -> tuple[str, str]:
    """Return what recipes say about a pipeline: its name, and the SHA-256 of its weights file.

    Args:
        folder: the pipeline folder.
        name: what the pipeline was loaded by. If that is a folder, recipes have the folder's own name and not its
            path, which may say who the user is.
        sha256: digest according to ``config.json``; None for early folders, which have none.
    """
    public = folder.resolve().name if Path(name).is_dir() else name
    return public, sha256 or sha256_of(folder / WEIGHTS_NAME)


# -- Writing -----------------------------------------------------------------------------------------------------------


def write_folder(
    folder: str | PathLike[str], weights: Mapping[str, Tensor], values: Mapping[str, Any], dtype: torch.dtype | None
) -> None:
    """Write a pipeline folder; ``config.json`` comes last, so that an incomplete folder cannot be loaded.

    Args:
        folder: made if it does not exist; a pipeline in it is replaced.
        weights: float tensors by name.
        values: what ``config.json`` says about them, as JSON values.
        dtype: type of the weights on disk. None means float16, or float32 if float16 cannot hold them.

    Raises:
        CheckpointError: `dtype` cannot hold the weights, the folder cannot be written, or it is not for a pipeline (see
            `refuse_destination`). The folder keeps what it had.
    """
    path = Path(folder)
    refuse_destination(path)
    tensors = _of_type(weights, dtype or torch.float16)
    overflowing = _not_finite(tensors)
    if overflowing and dtype is None:
        log.warning("float16 cannot hold %s: the weights are saved as float32", ", ".join(overflowing[:5]))
        tensors = _of_type(weights, torch.float32)
        overflowing = _not_finite(tensors)
    if overflowing:
        remedy = "" if dtype in (None, torch.float32) else "; save as torch.float32"
        raise CheckpointError(f"{dtype or torch.float32} cannot hold {', '.join(overflowing[:5])}{remedy}")
    try:
        # Both files are complete before either replaces an old one.
        with atomic_path(path / CONFIG_NAME) as config_file, atomic_path(path / WEIGHTS_NAME) as weights_file:
            write_tensors(weights_file, tensors, {"format": FORMAT})
            described = {"format": FORMAT, **values, "sha256": sha256_of(weights_file)}
            config_file.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    except WriteError as error:
        raise CheckpointError(f"the pipeline cannot be saved: {error}") from error


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:  # it says the number of the system's error in its text alone
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(number and int(number[1]), os.strerror(int(number[1])) if number else str(error)) from error


def refuse_destination(folder: str | PathLike[str]) -> None:
    """Refuse a folder whose ``config.json`` belongs to something else than a pipeline, such as a training run.

    Raises:
        CheckpointError: it has such a ``config.json``.
    """
    path = Path(folder) / CONFIG_NAME
    if not path.exists():
        return
    try:
        values = read_json(path, error=CheckpointError)
    except (CheckpointError, FileNotFoundError):
        values = None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} does not belong to a pipeline (expected the format {FORMAT!r}), and saving a pipeline here would "
            f"replace it; save into another folder, or remove that file"
        )


def _of_type(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", dtype).contiguous() for name, value in weights.items()}


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold NaN or infinity."""
    return [key for key, value in tensors.items() if not bool(value.isfinite().all())]
