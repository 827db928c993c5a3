"""What the training took: every step counts once, with the machine that did it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pg2lib import DataError, PG2Config
from pg2lib.config import TABLE1_ROWS
from pg2lib.table1.folder import logged_stages, row_stages
from pg2lib.table1.history import note_start, read_history
from pg2lib.training.log import logged_seconds
from tests.table1.conftest import EPYC, H200, write_log, write_starts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The configurations of all rows, and no training yet."""
    for row in TABLE1_ROWS:
        (tmp_path / row).mkdir()
        (tmp_path / row / "config.json").write_text(PG2Config.preset("fast").row(row).to_json())
    return tmp_path


def test_minutes_are_seconds_over_sixty_times_the_processes_of_each_machine(folder: Path) -> None:
    stage = folder / "G1-L1" / "stage1"
    write_log(stage, 20.0, 40.0, 60.0, 10.0, 30.0, 6.0, 12.0)
    write_starts(
        stage, {"after": 0, **H200}, {"after": 3, **H200, "processes": 2}, {"after": 3, **H200, "processes": 4},
        {"after": 5, **EPYC},
    )  # fmt: skip
    history = read_history(folder)
    columns = ["stage", "steps", "of", "wall minutes", "device minutes", "device", "processes", "hardware"]
    assert history[columns].values.tolist() == [
        ["G1-L1/stage1", 3, 60, 1.0, 1.0, "cuda", 1, "NVIDIA H200"],
        ["G1-L1/stage1", 2, 60, 0.5, 2.0, "cuda", 4, "NVIDIA H200"],
        ["G1-L1/stage1", 2, 60, 0.2, 0.2, "cpu", 1, "AMD EPYC, 2 threads"],
    ]
    assert history[["torch", "commit"]].drop_duplicates().values.tolist() == [["2.9", "abc"]]


def test_the_pieces_of_a_stage_add_up(folder: Path) -> None:
    """Four pieces, of which the third began without a note of its start: "seconds" starts again from zero."""
    stage = folder / "G1-L1" / "stage1"
    write_log(stage, 20.0, 50.0, 60.0, 30.0, 90.0, 40.0)
    write_starts(stage, {"after": 0, **H200}, {"after": 2, **H200}, {"after": 5, **H200})
    history = read_history(folder)
    assert history[["steps", "wall minutes"]].values.tolist() == [[6, 4.0]]


def test_without_starts_the_machine_is_unknown_and_the_time_is_that_of_the_log(folder: Path) -> None:
    stage = folder / "G1+D" / "one-stage"
    write_log(stage, 30.0, 90.0, 60.0)
    history = read_history(folder)
    assert history[["stage", "device", "hardware", "commit"]].values.tolist() == [["G1+D/one-stage", *["unknown"] * 3]]
    assert history[["steps", "wall minutes", "device minutes"]].values.tolist() == [[3, 2.5, 2.5]]
    assert logged_seconds(stage / "log.jsonl") == 150.0


def test_code_without_a_commit_has_an_unknown_one(folder: Path) -> None:
    write_log(folder / "G1-L1" / "stage1", 1.0)
    write_starts(folder / "G1-L1" / "stage1", {"after": 0, **H200, "commit": None})
    assert read_history(folder)["commit"].tolist() == ["unknown"]


def test_a_stage_that_rows_share_counts_once(folder: Path) -> None:
    write_log(folder / "G1-poseMaskLoss" / "stage1", 60.0)
    write_log(folder / "G1+G2+D" / "stage2", 120.0)
    assert read_history(folder)["stage"].tolist() == ["G1-poseMaskLoss/stage1", "G1+G2+D/stage2"]
    assert read_history(folder)["device minutes"].sum() == 3.0


def test_nothing_trained_is_no_history(folder: Path) -> None:
    assert len(read_history(folder)) == 0
    assert logged_stages(folder) == []


@pytest.mark.parametrize("damaged", ['{"after": "now", "processes": 1}', '{"after": 0}', "{"])
def test_a_damaged_start_is_named(folder: Path, damaged: str) -> None:
    stage = folder / "G1-L1" / "stage1"
    write_log(stage, 1.0)
    (stage / "starts.jsonl").write_text(damaged + "\n")
    with pytest.raises(DataError, match=r"G1-L1/stage1/starts\.jsonl, line 1\b"):
        read_history(folder)


def test_starts_are_appended(folder: Path) -> None:
    (stage,) = row_stages(folder, "G1-L1", PG2Config.preset("fast").row("G1-L1"))
    accelerator = SimpleNamespace(device=SimpleNamespace(type="cuda"), num_processes=4)
    for command in ("first", None):
        note_start(stage, accelerator, command)
    lines = list(map(json.loads, (stage.folder / "starts.jsonl").read_text().splitlines()))
    assert [(line["after"], line["device"], line["processes"]) for line in lines] == [(0, "cuda", 4)] * 2
    assert [line["command"] for line in lines] == ["first", None]
    assert {"pg2lib", "commit", "torch", "hardware"} <= set(lines[0])
