"""JSON within limits, and checked against the fields that are expected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from pg2lib.errors import CheckpointError, DataError
from pg2lib.json_files import MAX_DEPTH, checked, checked_fields, parse_json, read_json, read_json_lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON: Expecting property name"),
        ("[" * 100_000, "nested"),
        ("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "nested more than 32"),
        ('{"a":' * 5_000 + "1" + "}" * 5_000, "nested"),
        ("9" * 5_000, "a whole number of 5,000 digits"),
        ("-1" + "0" * 400, "digits"),
        ("[1e400]", "the number 1e400, which is too large"),
        ("1e39", "the number 1e39"),
        ("[NaN]", "holds NaN"),
        ("-Infinity", "holds -Infinity"),
        ('"\\uD800"', "half a surrogate pair"),
        ('"\ud800"', "half a surrogate pair"),
        (b'{"a": "\xff"}', "not text in UTF-8: byte 0xff at 7"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        ("[" + "[]," * 2_500_001 + "1]", "more than 5,000,000 values"),
    ],
)
def test_json_beyond_the_limits_is_refused(content: str | bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"a\.json .*{message}"):
        parse_json(content, "a.json", error=CheckpointError)


def test_json_within_the_limits_is_read() -> None:
    values = {"a": [1, -2.5, True, None, "é\U0001f600"], "deep": [[[[[]]]]], "large": 2**64, "tiny": 1e-300}
    assert parse_json(json.dumps(values), "a.json") == values
    assert parse_json(json.dumps(values).encode("utf-8-sig"), "a.json") == values
    assert parse_json("[NaN, Infinity]", "a.json", finite=False)[1] == float("inf")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "nowhere.json")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(DataError, match="not a regular file"):
            read_json(path)
    (tmp_path / "a.json").write_text("[1, 2, 3]")
    with pytest.raises(DataError, match="a.json has more than 8e-06 MB"):
        read_json(tmp_path / "a.json", max_bytes=8)


class Point(NamedTuple):
    x: float
    y: float = 0.0


@dataclass(frozen=True)
class Picture:
    name: str
    size: tuple[int, int]
    points: tuple[Point, ...] = ()
    kind: Literal["photo", "drawing"] = "photo"
    scores: Mapping[str, float | None] | None = None

    def __post_init__(self) -> None:
        if self.size[0] < 1:
            raise DataError("size must be positive")


def test_objects_become_dataclasses() -> None:
    values = {"name": "a", "size": [2, 3], "points": [{"x": 1}, {"x": 1, "y": 2.5}], "scores": {"l1": None, "ssim": 1}}
    expected = Picture("a", (2, 3), (Point(1), Point(1, 2.5)), scores={"l1": None, "ssim": 1})
    assert checked(Picture, values, "a.json") == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 1}, "a.json: name: expected a text, got 1"),
        ({"size": [1]}, "size: expected a list of 2, got a list of 1"),
        ({"size": [1, True]}, r"size\[1\]: expected a whole number, got True"),
        ({"size": [0, 1]}, "size must be positive"),
        ({"points": {"x": 1}}, "points: expected a list, got an object of 1 fields"),
        ({"points": [{"y": 1}]}, r"no field 'points\[0\]\.x'"),
        ({"points": [{"x": "1x"}]}, r"points\[0\]\.x: expected a number, got '1x'"),
        ({"kind": ["photo"]}, "kind: expected one of 'photo', 'drawing', got a list of 1"),
        ({"scores": {"l1": []}}, r"scores\.l1: expected a number or null, got a list of 0"),
        ({"scores": 1}, "scores: expected an object or null, got 1"),
        ({"nmae": "b"}, "unknown field 'nmae' .did you mean 'name'"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        checked(Picture, {"name": "a", "size": [2, 3], **changes}, "a.json")


def test_fields_may_be_optional_and_others_present() -> None:
    assert checked_fields({"a": int, "b": str}, {"a": 1, "c": 2}, "", optional=("b",), others=True) == {"a": 1}
    with pytest.raises(DataError, match="no field 'in.b'"):
        checked_fields({"a": int, "b": str}, {"a": 1}, "a.json", "in")


def test_importing_it_brings_in_nothing_but_the_standard_library() -> None:
    code = "import sys, pg2lib.json_files; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "numpy", "pydantic"}.isdisjoint(loaded)


# ---- JSON lines


@pytest.mark.parametrize(
    ("text", "read"),
    [("", []), ('{"n": 1}\n{"n": 2}\n', [1, 2]), ('{"n": 1}\n{"n": 2}', [1, 2]), ('{"n": 1}\n{"n": 2', [1])],
)
def test_a_last_line_counts_where_it_is_whole(tmp_path: Path, text: str, read: list[int]) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    assert [line["n"] for line in read_json_lines(tmp_path / "log.jsonl", "n")] == read


@pytest.mark.parametrize(
    "line",
    ['{"n": "1x"}', '{"n": true}', '{"n": "2"}', "{}", "[1]", "", '{"n": 1, "a": []}', '{"n": NaN}', "\ufffd", "{"],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "log.jsonl").write_text('{"n": 1}\n' + line + '\n{"n": 3}\n')
    with pytest.raises(DataError, match=r"log\.jsonl, line 2,"):
        read_json_lines(tmp_path / "log.jsonl", "n")


def test_lines_end_at_line_breaks_alone(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"n": 1, "said": "a\u2028b\x85c"}\n')
    assert read_json_lines(tmp_path / "log.jsonl", "n") == [{"n": 1, "said": "a\u2028b\x85c"}]
