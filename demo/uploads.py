"""Photos as arguments of events: files that were uploaded to the page, and no others.

Gradio compares a path with its upload cache only where the request itself declares the path to be an upload, and
fetches what such a path names by ``http://``. Whoever sends the request has the choice, so the check is made here.
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
"""Paths of gradio that the page does not use, and that fetch what an address names or hand a file to other programs."""

NOT_UPLOADED = (
    "Choose the {label} again. It must be a file that was uploaded to this page within the last hour, of at most "
    "{megabytes} MB."
)
NO_FILE_HERE = "Choose again under {label!r}: it takes one of the choices on the page, and no file."


class UploadsOnly(gr.Blocks):
    """Blocks whose events take files from the upload cache alone, whichever way a request reaches them."""

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, explicit_call: bool = False
    ) -> list[Any]:
        """Checks the arguments before gradio looks at them: it would fetch and open what they name."""
        checked = [self.check(block, value) for block, value in zip(block_fn.inputs, inputs, strict=False)]
        arguments: list[Any] = await super().preprocess_data(block_fn, checked, state, explicit_call)
        return arguments

    def check(self, block: Any, value: Any) -> Any:
        """An argument that gradio may look at.

        Raises:
            gr.Error: a file that was not uploaded here, or one where none is taken.
        """
        label = str(block.label)
        if isinstance(block, gr.Image):
            if value is None:
                return None
            path = find_upload(value, self.GRADIO_CACHE)
            if path is None:
                text = NOT_UPLOADED.format(label=label.lower(), megabytes=MAX_BYTES // 2**20)
                raise gr.Error(text, print_exception=False)
            # Only this: neither an address nor a name that came with it means anything from here on.
            return {"path": str(path), "meta": {"_type": "gradio.FileData"}}
        if value is not None and not isinstance(value, str):
            raise gr.Error(NO_FILE_HERE.format(label=label), print_exception=False)
        return value


def find_upload(value: object, cache: str | os.PathLike[str]) -> Path | None:
    """The uploaded file that the argument of a request names.

    Args:
        value: of any kind; an upload is an object whose "path" is what the upload was answered with.
        cache: the folder that uploads are stored in.

    Returns:
        Where the file truly lies, or None for anything but a regular file in the cache of at most `MAX_BYTES`.
    """
    given = value.get("path") if isinstance(value, dict) else None
    if not isinstance(given, str):
        return None
    try:
        # First without the file system, so that nothing outside the cache is as much as looked up.
        if not Path(os.path.abspath(given)).is_relative_to(os.path.abspath(cache)):  # noqa: PTH100
            return None
        path = Path(given).resolve(strict=True)
        if not path.is_relative_to(Path(cache).resolve()):  # by a link
            return None
        status = path.stat()
    except (OSError, ValueError, RuntimeError):  # there is none, a name that none can have, links in a circle
        return None
    return path if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES else None


def photo_input(label: str, elem_id: str, height: int) -> gr.Image:
    """A place for a photo, which an event of `UploadsOnly` receives as the path of the file just as it was uploaded."""
    image = gr.Image(
        label=label, elem_id=elem_id, type="filepath", image_mode=None, height=height, buttons=["fullscreen"]
    )
    # Otherwise gradio opens the file first, and shows an error of its own where it is no picture.
    image.preprocess = path_of  # type: ignore[method-assign]
    return image


def path_of(payload: ImageData | None) -> str | None:
    """Where an uploaded file lies."""
    return None if payload is None else payload.path
