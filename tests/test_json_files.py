"""JSON within limits, and checked against the fields that are expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from pg2lib.json_files import read_json_lines


@pytest.mark.parametrize(
    ("text", "read"),
    [("", []), ('{"n": 1}\n{"n": 2}\n', [1, 2]), ('{"n": 1}\n{"n": 2}', [1, 2]), ('{"n": 1}\n{"n": 2', [1])],
)
def test_a_last_line_counts_where_it_is_whole(tmp_path: Path, text: str, read: list[int]) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    assert [line["n"] for line in read_json_lines(tmp_path / "log.jsonl", "n")] == read
