"""Arguments of events: files only if they were uploaded to the page, and nothing else that gradio would take for one.

Gradio checks that a path lies in its upload cache only if the request declares the path to be an upload, and it fetches
paths that begin with ``http://``. The sender of the request decides both, so the check is made here.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.state_holder import SessionState

MAX_BYTES = 32 * 2**20

CLOSED = re.compile(r"/gradio_api/(file[=/]https?:|proxy=|process_recording)", re.IGNORECASE)
"""Paths of gradio that fetch URLs or pass a file to other programs. The page does not use them."""

FILES = ("photo", "file", "video", "recipe")
"""Arguments that are files."""

MAX_DEPTH = 8
"""How deep values lie in an argument that is no file; a list of poses has five levels."""

NOT_UPLOADED = (
    "Choose the {name} again. It must be a file that was uploaded to this page within the last hour, of at most "
    "{megabytes} MB."
)
NO_FILE_HERE = "{name}: a file, or anything like it, is not accepted here."


class UploadsOnly(gr.Blocks):
    """Blocks whose events accept only files from the upload cache, on every route by which a request reaches them."""

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, explicit_call: bool = False
    ) -> list[Any]:
        """Check the arguments before gradio, which would fetch and open what they name."""
        checked = [
            self.check(str(getattr(block, "label", "")), value)
            for block, value in zip(block_fn.inputs, inputs, strict=False)
        ]
        # No session is given on: gradio would keep the last arguments and results of every session in memory.
        arguments: list[Any] = await super().preprocess_data(block_fn, checked, None, explicit_call)
        return arguments

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: list[Any] | dict[Any, Any], state: SessionState | None
    ) -> list[Any]:
        """Send results without keeping them, see `preprocess_data`."""
        results: list[Any] = await super().postprocess_data(block_fn, predictions, None)
        return results

    def check(self, name: str, value: Any) -> Any:
        """Return an argument that is safe to pass to gradio.

        Args:
            name: of the argument; `FILES` are files, all others are JSON values without any.
            value: what came.

        Raises:
            gr.Error: it names a file that was not uploaded here, or a file where none is accepted.
        """
        if name not in FILES:
            if resembles_file(value):
                raise gr.Error(NO_FILE_HERE.format(name=name), print_exception=False)
            return value
        if value is None:
            return None
        path = find_upload(value, self.GRADIO_CACHE)
        if path is None:
            text = NOT_UPLOADED.format(name=name, megabytes=MAX_BYTES // 2**20)
            raise gr.Error(text, print_exception=False)
        # Only the path is passed on, no URL or file name that came with it.
        return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def resembles_file(value: object) -> bool:
    """Return whether a JSON value is, or contains, something that gradio could take for a file.

    That is an object with other keys than those of a pose, or whatever lies deeper than `MAX_DEPTH`.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        objects = [each for each in level if isinstance(each, dict)]
        if any(not set(each) <= {"canvas", "keypoints"} for each in objects):
            return True
        level = [inner for each in objects for inner in each.values()] + [
            inner for each in level if isinstance(each, list) for inner in each
        ]
        if not level:
            return False
    return True


def find_upload(value: object, cache: str | os.PathLike[str]) -> Path | None:
    """Return the uploaded file that the argument of a request names.

    Args:
        value: anything; an upload is an object whose "path" is the path that the server answered the upload with.
        cache: folder in which uploads are stored.

    Returns:
        The path of the file, with links resolved; None for anything but a regular file in the cache of at most
        `MAX_BYTES`.
    """
    given = value.get("path") if isinstance(value, dict) else None
    if not isinstance(given, str):
        return None
    try:
        # First compare the text alone, so that the file system is not asked about anything outside the cache.
        if not Path(os.path.abspath(given)).is_relative_to(os.path.abspath(cache)):  # noqa: PTH100
            return None
        path = Path(given).resolve(strict=True)
        if not path.is_relative_to(Path(cache).resolve()):  # reached by a link
            return None
        status = path.stat()
    except (OSError, ValueError, RuntimeError):  # no such file, an impossible name, or a circle of links
        return None
    return path if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES else None
