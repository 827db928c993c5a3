"""``log.jsonl``: how it is read, cut back when a run resumes, and summed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pg2lib.errors import DataError
from pg2lib.training.log import LOG_FIELDS, logged_seconds, open_log, read_log


def line(step: int, seconds: float = 1.0, **losses: float) -> str:
    fields = {"stage": 1, "step": step, **losses, "images_per_second": 5.0, "seconds": seconds}
    return json.dumps(fields) + "\n"


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines))
    return path


def test_a_log_is_one_row_per_step_and_one_column_per_loss(tmp_path: Path) -> None:
    log = read_log(write(tmp_path / "log.jsonl", line(1, d=0.5, g2=2), line(2, d=0.25, g2=1)))
    assert set(log) == {*LOG_FIELDS, "d", "g2"}
    assert (log["step"].tolist(), log["d"].tolist(), log["g2"].tolist()) == ([1, 2], [0.5, 0.25], [2, 1])


def test_a_last_line_that_was_cut_short_is_discarded(tmp_path: Path) -> None:
    log = read_log(write(tmp_path / "log.jsonl", line(1), line(2), line(3)[:-9]))
    assert log["step"].tolist() == [1, 2]


@pytest.mark.parametrize("damaged", ["{", '{"step": 2}', '{"step": "two", "seconds": 1}', "[2, 1]", "", "\0\0"])
def test_another_damaged_line_is_named(tmp_path: Path, damaged: str) -> None:
    path = write(tmp_path / "log.jsonl", line(1), damaged + "\n", line(3))
    for read in (read_log, logged_seconds, lambda path: open_log(path, before=4)):
        with pytest.raises(DataError, match=r"log\.jsonl, line 2\b"):
            read(path)


def test_a_log_without_a_step_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        read_log(tmp_path / "gone.jsonl")
    with pytest.raises(DataError, match=r"empty\.jsonl"):
        read_log(write(tmp_path / "empty.jsonl", line(1)[:-9]))


def test_a_resumed_run_continues_its_log_at_its_next_step(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", *map(line, (1, 2, 3, 4)), line(5)[:-9])
    with open_log(path, before=3) as file:
        file.add(line(3, seconds=7.0).rstrip())
    assert path.read_text() == line(1) + line(2) + line(3, seconds=7.0)
    with open_log(tmp_path / "new.jsonl", before=1) as file:
        file.add(line(1).rstrip())
    assert (tmp_path / "new.jsonl").read_text() == line(1)


def test_the_seconds_of_all_pieces_of_a_run_are_added(tmp_path: Path) -> None:
    seconds = [10.0, 20.0, 5.0, 6.5, 6.5, 3.0]
    path = write(tmp_path / "log.jsonl", *(line(step, time) for step, time in enumerate(seconds, start=1)))
    assert logged_seconds(path) == 20.0 + 6.5 + 3.0
    assert logged_seconds(tmp_path / "gone.jsonl") == 0.0
