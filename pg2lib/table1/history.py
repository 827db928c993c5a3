"""What the training of a table's rows took: steps and wall time of every stage, and on what hardware."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pg2lib.files import atomic_write
from pg2lib.json_files import read_json_lines
from pg2lib.provenance import provenance
from pg2lib.table1.folder import logged_stages
from pg2lib.training.check import Stage
from pg2lib.training.checkpoint import find_checkpoint
from pg2lib.training.log import read_log

if TYPE_CHECKING:
    from accelerate import Accelerator

START = ["device", "processes", "hardware", "torch", "commit", "command"]
"""Fields of a line of ``starts.jsonl``, besides "after", the steps done before, and the rest of `provenance`."""


def note_start(stage: Stage, accelerator: Accelerator, command: str | None) -> None:
    """Append a line to the ``starts.jsonl`` of a stage that is about to be trained; do nothing if it is finished."""
    found = find_checkpoint(stage.folder)
    after = found.step if found is not None else 0
    if after >= stage.settings.steps:
        return
    machine = {"device": accelerator.device.type, "processes": accelerator.num_processes}
    path = stage.folder / "starts.jsonl"
    lines = [*read_json_lines(path), {"after": after, **machine, "command": command, **provenance()}]
    with atomic_write(path) as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def read_history(table: Path) -> pd.DataFrame:
    """Return what trained the stages in a table's folder: one row per stage, machine, code and command.

    The columns are "stage" (the folder, such as "G1-L1/stage1"), "steps" (those done here), "of" (steps of the whole
    stage), "wall minutes", "device minutes" (wall minutes multiplied by the number of processes), and those of `START`,
    "unknown" where nothing is recorded. Steps that were repeated after an interruption count once.

    Raises:
        ConfigError, DataError: A configuration, log or ``starts.jsonl`` is damaged.
    """
    empty: pd.DataFrame = pd.DataFrame(columns=["stage", "steps", "of", "wall minutes", "device minutes", *START])
    histories = [_stage_history(stage)[list(empty)] for stage in logged_stages(table)]
    return pd.concat(histories, ignore_index=True) if histories else empty


def _stage_history(stage: Stage) -> pd.DataFrame:
    lines = read_json_lines(stage.folder / "starts.jsonl", "after", "processes")
    starts: pd.DataFrame = pd.DataFrame(lines, columns=["after", *START])
    log = read_log(stage.folder / "log.jsonl").assign(start=-1)
    for start, after in starts["after"].items():
        log.loc[log["step"] > after, "start"] = start  # a start did the steps after it, up to the next start
    # "seconds" counts from zero again after every start, of which some may not have been noted.
    piece = ((log["start"].diff() != 0) | (log["seconds"].diff() < 0)).cumsum()
    pieces = log.groupby(piece).agg(start=("start", "last"), steps=("step", "size"), seconds=("seconds", "last"))
    pieces = pieces.join(starts, on="start").fillna({"processes": 1}).fillna(dict.fromkeys(START, "unknown"))
    history: pd.DataFrame = pieces.groupby(START, sort=False, as_index=False)[["steps", "seconds"]].sum()
    history["stage"], history["of"] = f"{stage.folder.parent.name}/{stage.folder.name}", stage.settings.steps
    history["processes"] = history["processes"].astype(int)
    history["wall minutes"] = history["seconds"] / 60
    history["device minutes"] = history["wall minutes"] * history["processes"]
    return history
