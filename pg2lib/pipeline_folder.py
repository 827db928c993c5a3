"""The pipeline folder on disk: where it lies, and what is in it.

A *pipeline folder* is what a finished model is shared as: ``config.json`` and ``model.safetensors``, nothing pickled.
``model.onnx`` lies beside them where onnxruntime is to run it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pg2lib.config import DEFAULT_CHECKPOINT
from pg2lib.errors import CheckpointError
from pg2lib.files import sha256_of

FORMAT = "pg2lib pipeline 1"
CONFIG_NAME, WEIGHTS_NAME, ONNX_NAME = "config.json", "model.safetensors", "model.onnx"
SHIPPED = Path(__file__).parent / "weights"
HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")


def refuse_destination(folder: str | PathLike[str]) -> None:
    """Refuses a folder whose ``config.json`` a pipeline must not replace, such as that of a training run.

    Raises:
        CheckpointError: it has a ``config.json`` that is not a pipeline's.
    """
    path = Path(folder) / CONFIG_NAME
    if not path.exists():
        return
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not that of a pipeline (of the format {FORMAT!r}), and a pipeline there would replace it; save "
            f"into another folder, or remove that file"
        )


def find_folder(
    name_or_folder: str | PathLike[str] | None, revision: str | None = None, with_onnx: bool = False
) -> Path:
    """The folder that `PG2Pipeline.from_pretrained` reads, downloaded where a hub id is given.

    Args:
        name_or_folder, revision: as there.
        with_onnx: download ``model.onnx`` too, where the hub has it.

    Raises:
        CheckpointError: no such folder or hub id.
    """
    if name_or_folder is None:
        name_or_folder = DEFAULT_CHECKPOINT
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    shipped = shipped_checkpoints()
    if str(name_or_folder) in shipped:
        return shipped[str(name_or_folder)]
    if not HUB_ID.match(str(name_or_folder)):
        raise CheckpointError(
            f"{str(name_or_folder)!r} is no folder, no checkpoint that ships ({', '.join(shipped)}) and no hub id "
            f"(owner/name)"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [CONFIG_NAME, WEIGHTS_NAME] + [ONNX_NAME] * with_onnx
    try:
        return Path(snapshot_download(str(name_or_folder), revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"there is no folder {str(name_or_folder)!r}, and it cannot be downloaded from the hub: {error}"
        ) from error


def shipped_checkpoints() -> dict[str, Path]:
    """The pipeline folders that ship with pg2lib, by name."""
    return {path.parent.name: path.parent for path in sorted(SHIPPED.glob(f"*/{CONFIG_NAME}"))}


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` of a pipeline folder.

    Raises:
        CheckpointError: it is missing, is not JSON, or has another format.
    """
    path = folder / CONFIG_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} is not a pipeline folder: it has no {CONFIG_NAME}. (A training run keeps its pipeline in the "
            f"folder 'pipeline' once both stages are done.)"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        got = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(f"{path}: expected the format {FORMAT!r}, got {got!r}; was it made by another version?")
    return values


def read_weights(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """The weights of a pipeline folder.

    Args:
        sha256: of the file, as ``config.json`` has it; None in folders from before it had.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        found = sha256_of(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} is not a pipeline folder: it has no {WEIGHTS_NAME}") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {error}") from error
    bad = not_finite(tensors)
    if bad:
        raise CheckpointError(f"{path} holds NaN or infinite weights in {', '.join(bad[:5])}")
    if sha256 is not None and found != sha256:
        raise CheckpointError(
            f"{path} is damaged, or not the file that {CONFIG_NAME} belongs to: expected the SHA-256 {sha256!r}, got "
            f"{found!r}. Copy or download the folder again"
        )
    return tensors


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of those that have NaN or infinity."""
    return [key for key, value in tensors.items() if not bool(value.isfinite().all())]
