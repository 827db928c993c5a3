"""What the training of a table's rows took: steps and wall time of every stage, and on what hardware."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pg2lib.files import atomic_write, read_json_lines
from pg2lib.provenance import provenance
from pg2lib.table1.folder import logged_stages
from pg2lib.training.check import Stage
from pg2lib.training.checkpoint import find_checkpoint
from pg2lib.training.log import read_log

if TYPE_CHECKING:
    from accelerate import Accelerator

MACHINE = ("device", "processes", "hardware", "torch", "commit")
"""Fields of a start that identify what trained."""


def note_start(stage: Stage, accelerator: Accelerator, command: str | None) -> None:
    """Append a line to the ``starts.jsonl`` of a stage that is about to be trained; do nothing if it is finished.

    The line has the number of steps done before ("after"), the type of device, the number of processes, the command,
    and `pg2lib.provenance`.
    """
    found = find_checkpoint(stage.folder)
    after = found.step if found is not None else 0
    if after >= stage.settings.steps:
        return
    machine = {"device": accelerator.device.type, "processes": accelerator.num_processes}
    path = stage.folder / "starts.jsonl"
    lines = [*read_json_lines(path), {"after": after, **machine, "command": command, **provenance()}]
    with atomic_write(path) as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def read_starts(folder: Path) -> pd.DataFrame:
    """Read the ``starts.jsonl`` of a stage: one row per start, no rows if there is no such file.

    Raises:
        DataError: A line is damaged.
    """
    lines = read_json_lines(folder / "starts.jsonl", "after", "processes")
    return pd.DataFrame(lines, columns=["after", "command", *MACHINE])


def read_history(table: Path) -> pd.DataFrame:
    """Return what trained the stages in a table's folder: one row per stage and machine.

    The columns are "stage" (the folder, such as "G1-L1/stage1"), "steps" (how many the machine did), "of" (steps of the
    whole stage), "seconds" (wall time), "minutes" (wall time of all processes together), and those of `MACHINE`. Steps
    that an interruption lost and that were repeated count once. A stage that was trained without `make_table1` has no
    starts: its machine is "unknown", and one process is assumed.

    Raises:
        ConfigError, DataError: A configuration, log or ``starts.jsonl`` is damaged.
    """
    columns = ["stage", "steps", "of", "seconds", "minutes", *MACHINE]
    histories = [_stage_history(stage) for stage in logged_stages(table)]
    return pd.concat(histories)[columns] if histories else pd.DataFrame(columns=columns)


def _stage_history(stage: Stage) -> pd.DataFrame:
    starts = read_starts(stage.folder).fillna({"commit": "unknown"})
    log = read_log(stage.folder / "log.jsonl").assign(start=-1)
    for start, after in starts["after"].items():
        log.loc[log["step"] > after, "start"] = start  # a start did the steps after it, up to the next start
    # "seconds" counts from zero again after every start, of which some may not have been noted.
    piece = ((log["start"].diff() != 0) | (log["seconds"].diff() < 0)).cumsum()
    pieces = log.groupby(piece).agg(start=("start", "last"), steps=("step", "size"), seconds=("seconds", "last"))
    machines = starts[list(MACHINE)].reindex(pieces["start"]).fillna({"processes": 1}).fillna("unknown")
    history = pd.concat([pieces.reset_index(drop=True), machines.reset_index(drop=True)], axis=1)
    history = history.groupby(list(MACHINE), sort=False, as_index=False)[["steps", "seconds"]].sum()
    return history.assign(
        stage=f"{stage.folder.parent.name}/{stage.folder.name}",
        of=stage.settings.steps,
        minutes=history["seconds"] / 60 * history["processes"],
    )
