"""What the folder of a table holds, and where.

::

    TABLE/ROW/                     the training run of a row, such as G1-L1 (see `pg2lib.training.run`)
              STAGE/starts.jsonl   hardware, commit and command, one line per start of the training (see `history`)
              report.json          the scores of the row
              report.stamp.json    what they were made from
              pairs.csv            the scores of every pair
              extremes.jpg         pairs on which the row is furthest ahead of the other rows, and furthest behind
              also/LIST/           report.json, report.stamp.json and pairs.csv of each further list of test pairs
          table1.md, .csv, .tex    the table; also-LIST.md, .csv, .tex for each further list
          figure4.jpg              one column per pair: condition image, target pose, target image, and every result
          figure6.jpg              failure cases: the pairs with the lowest mask-SSIM of the full model
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pg2lib.config import TABLE1_ROWS, PG2Config
from pg2lib.errors import DataError
from pg2lib.evaluation import EvaluationReport
from pg2lib.json_files import MAX_BYTES, checked, read_json, read_limited
from pg2lib.training import check

FULL_MODEL = "G1+G2+D"

ALSO = "also"
"""Folder of the scores on further lists of test pairs."""


def list_name(title: str) -> str:
    """Return the folder name of a list of test pairs, from its title in the reports."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def scores_folder(table: Path, row: str, also: str | None = None) -> Path:
    """Return the folder of a row's scores on the table's own pairs, or on the list that `list_name` calls `also`."""
    return table / row / ALSO / also if also else table / row


def stage1_folder(table: Path, row: str) -> Path:
    """Return the folder of a row's stage I: the full model starts from that of the row with the pose mask loss."""
    return table / ("G1-poseMaskLoss" if row == FULL_MODEL else row) / "stage1"


def row_stages(table: Path, row: str, config: PG2Config) -> list[check.Stage]:
    """Return the stages of a row in their order, from the configuration of the row."""
    return check.stages_of(config, table / row, stage1_folder(table, row))


def logged_stages(table: Path) -> list[check.Stage]:
    """Return every stage in a table's folder whose training has begun; a stage that two rows share comes once."""
    stages: dict[Path, check.Stage] = {}
    for row in TABLE1_ROWS:
        path = table / row / "config.json"
        for stage in row_stages(table, row, PG2Config.load(path)) if path.is_file() else ():
            if (stage.folder / "log.jsonl").is_file():
                stages.setdefault(stage.folder, stage)
    return list(stages.values())


def read_report(folder: Path) -> EvaluationReport:
    """Read the report.json of a folder.

    Raises:
        DataError: There is none, or the file is not a report on the refined results of a pipeline.
    """
    path = folder / "report.json"
    try:
        report = EvaluationReport.from_json(read_limited(path, MAX_BYTES))
        for name, part in {"figures": report.figures, "sets": report.sets, "poses": report.poses}.items():
            if "refined" not in part and (part or name == "figures"):
                raise DataError(f"it has no {name} of the refined results")
        return report
    except (DataError, FileNotFoundError) as error:
        raise DataError(
            f"{path} cannot be read: {error}. Remove it if it is damaged, and make the table again: trained rows are "
            f"only scored"
        ) from error


def read_stamp(folder: Path) -> dict[str, Any]:
    """Read what the report of a folder was made from; empty if the file is missing or damaged."""
    try:
        stamp: dict[str, Any] = checked(dict[str, Any], read_json(folder / "report.stamp.json"), "the stamp")
    except (DataError, FileNotFoundError):
        return {}
    return stamp
