"""MediaPipe as this package uses it: imported on first use, and quiet.

Only this module imports ``mediapipe``.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from pg2lib.errors import PG2Error

log = logging.getLogger(__name__)

_CHATTER = (
    b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    b"Feedback manager requires a model with a single signature inference.",
    b"Using NORM_RECT without IMAGE_DIMENSIONS is only supported for the square ROI.",
)
"""Lines that MediaPipe's C++ code writes to stderr on every run, at any log level that the environment sets. The last
one does not matter here, as BlazePose's region of interest is square."""

_stderr_lock = threading.Lock()


def load_solution(name: str, purpose: str) -> Any:
    """Import a module of ``mediapipe.solutions``.

    Args:
        name: such as "pose".
        purpose: what the module is needed for; the error message begins with it.

    Raises:
        PG2Error: MediaPipe is not installed, or is a version without its own models.
    """
    try:
        return importlib.import_module(f"mediapipe.python.solutions.{name}")
    except ImportError as error:
        raise PG2Error(
            f"{purpose} needs MediaPipe 0.10.21, a version that carries its models. "
            f'Install it with: pip install "pg2lib[pose]" ({error})'
        ) from error


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop the lines that MediaPipe writes to stderr on every run. All other lines appear when the block ends.

    Where this module logs at DEBUG level, nothing is dropped or delayed. Use that to see what was written before a
    crash in C++.
    """
    if log.isEnabledFor(logging.DEBUG):
        yield
        return
    with _stderr_lock:
        yield from _filter_stderr()


def _filter_stderr() -> Iterator[None]:
    try:
        sys.stderr.flush()
        stderr = os.dup(2)
    except (OSError, AttributeError, ValueError):  # the process has no stderr
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held.read().splitlines(keepends=True):
                if not any(known in line for known in _CHATTER):
                    os.write(2, line)
