"""Photos as arguments of events: only files that were uploaded to the page.

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
from gradio.data_classes import ImageData
from gradio.state_holder import SessionState

MAX_BYTES = 32 * 2**20

CLOSED = re.compile(r"/gradio_api/(file[=/]https?:|proxy=|process_recording)", re.IGNORECASE)
"""Paths of gradio that fetch URLs or pass a file to other programs. The page does not use them."""

NOT_UPLOADED = (
    "Choose the {label} again. It must be a file that was uploaded to this page within the last hour, of at most "
    "{megabytes} MB."
)
NO_FILE_HERE = "Choose again under {label!r}: it takes one of the choices on the page, and no file."


class UploadsOnly(gr.Blocks):
    """Blocks whose events accept only files from the upload cache, on every route by which a request reaches them."""

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, explicit_call: bool = False
    ) -> list[Any]:
        """Check the arguments before gradio, which would fetch and open what they name."""
        checked = [self.check(block, value) for block, value in zip(block_fn.inputs, inputs, strict=False)]
        arguments: list[Any] = await super().preprocess_data(block_fn, checked, state, explicit_call)
        return arguments

    def check(self, block: Any, value: Any) -> Any:
        """Return an argument that is safe to pass to gradio.

        Raises:
            gr.Error: it names a file that was not uploaded here, or a file where none is accepted.
        """
        label = str(block.label)
        if isinstance(block, gr.Image):
            if value is None:
                return None
            path = find_upload(value, self.GRADIO_CACHE)
            if path is None:
                text = NOT_UPLOADED.format(label=label.lower(), megabytes=MAX_BYTES // 2**20)
                raise gr.Error(text, print_exception=False)
            # Only the path is passed on, no URL or file name that came with it.
            return {"path": str(path), "meta": {"_type": "gradio.FileData"}}
        if value is not None and not isinstance(value, str):
            raise gr.Error(NO_FILE_HERE.format(label=label), print_exception=False)
        return value


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


def photo_input(label: str, elem_id: str, height: int) -> gr.Image:
    """Make a place for a photo; an event of `UploadsOnly` receives the path of the file as it was uploaded."""
    image = gr.Image(
        label=label, elem_id=elem_id, type="filepath", image_mode=None, height=height, buttons=["fullscreen"]
    )
    # Otherwise gradio opens the file itself, and shows an error of its own if it is not a picture.
    image.preprocess = path_of  # type: ignore[method-assign]
    return image


def path_of(payload: ImageData | None) -> str | None:
    """Return the path of an uploaded file."""
    return None if payload is None else payload.path
