"""The log of a training stage, ``log.jsonl``: one JSON object per step, with its losses."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

import pandas as pd

from pg2lib.errors import DataError
from pg2lib.files import LineFile, atomic_write
from pg2lib.json_files import read_json_lines

LOG_FIELDS = ("stage", "step", "images_per_second", "seconds")
"""The keys of a line that are not losses. "seconds" counts from the last start or resume of the run."""


def read_log(path: str | PathLike[str]) -> pd.DataFrame:
    """Read a ``log.jsonl``: one row per step; one column per loss, and the columns of `LOG_FIELDS`.

    A last line that a kill cut short is discarded.

    Raises:
        DataError: There is no such file, it has no complete line, or a line is damaged.
    """
    if not Path(path).is_file():
        raise DataError(f"there is no training log {path}; a run writes one from its first step")
    lines = read_json_lines(path, "step", "seconds")
    if not lines:
        raise DataError(f"the training log {path} is empty: no step has been done yet")
    log: pd.DataFrame = pd.DataFrame(lines)
    return log


def open_log(path: Path, before: int) -> LineFile:
    """Open a log for a run whose next step is `before`.

    The steps from `before` on, which a run did after its last checkpoint, are removed from the log: the run repeats
    them.

    Raises:
        DataError: A line is damaged.
        WriteError: The log cannot be written.
    """
    kept = [line for line in read_json_lines(path, "step", "seconds") if line["step"] < before]
    with atomic_write(path) as file:
        file.writelines(json.dumps(line) + "\n" for line in kept)
    return LineFile(path)


def logged_seconds(path: Path) -> float:
    """Return how long a stage was trained, all its resumed pieces together; 0 where there is no log."""
    seconds = pd.Series([line["seconds"] for line in read_json_lines(path, "step", "seconds")], dtype=float)
    last_of_piece = seconds > seconds.shift(-1, fill_value=0.0)  # a resumed run counts from zero again
    return round(float(seconds[last_of_piece].sum()), 1)
