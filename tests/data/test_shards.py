"""Shards of a folder, and their merging."""

from __future__ import annotations

from pathlib import Path

import pytest

from pg2lib import ConfigError, DataError
from pg2lib.data.prepare import prepare
from pg2lib.data.shards import Shard, merge_shards
from tests.data.conftest import Painted, necks, paint, stop_at


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 41])
def test_every_image_belongs_to_one_shard(count: int) -> None:
    names = [f"{i}.jpg" for i in range(40)]
    parts = [list(Shard(number, count).of(names)) for number in range(1, count + 1)]
    assert [name for part in parts for name in part] == names
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shards_are_written_as_on_the_command_line_and_sort_in_their_order() -> None:
    assert Shard.parse("3/16") == Shard(3, 16) and str(Shard(3, 16)) == "3/16"
    assert Shard(3, 16).csv(Path("to/keypoints.csv")) == Path("to/keypoints.shard-03-of-16.csv")
    for text in ("3", "0/16", "17/16", "a/b", "3/16/2", "-1/16"):
        with pytest.raises(ConfigError, match="such as 3/16|numbered from 1"):
            Shard.parse(text)


def make_shards(folder: Path, csv: Path, detector: Painted, numbers: tuple[int, ...] = (1, 2, 3)) -> None:
    for number in numbers:
        prepare(folder, csv, detector, 1, Shard(number, 3))


def test_shards_merge_into_what_one_run_writes(forty: Path, detector: Painted) -> None:
    (forty / "20.png").write_text("no picture")
    whole = prepare(forty, forty.parent / "whole.csv", detector, 1)
    csv = forty.parent / "out" / "k.csv"
    make_shards(forty, csv, detector, (2, 3, 1))
    merged = merge_shards(forty, csv)
    assert csv.read_bytes() == (forty.parent / "whole.csv").read_bytes()
    assert sorted(merged.missing_file.read_text().splitlines()) == sorted(whole.missing_file.read_text().splitlines())
    assert (merged.found, merged.without_person) == (whole.found, whole.without_person)
    assert [name for name, _ in merged.unreadable] == ["20.png"]
    assert sorted(path.name for path in csv.parent.iterdir()) == ["k.csv", "k.missing.txt"], "the parts are removed"


def test_more_shards_than_images(folder: Path, detector: Painted) -> None:
    for number in range(1, 10):
        prepare(folder, folder.parent / "k.csv", detector, 1, Shard(number, 9))
    merge_shards(folder, folder.parent / "k.csv")
    assert necks(folder.parent / "k.csv") == {"a.jpg": 1, "deep/c.jpg": 3}


def test_a_complete_shard_is_not_done_again_and_a_stopped_one_goes_on(forty: Path, detector: Painted) -> None:
    csv = forty.parent / "k.csv"
    first = prepare(forty, csv, detector, 1, Shard(1, 3))
    assert prepare(forty, csv, detector, 1, Shard(1, 3)) == first
    assert len(detector.asked) == 13
    with pytest.raises(KeyboardInterrupt):
        prepare(forty, csv, detector, 1, Shard(2, 3), stop_at(5))
    prepare(forty, csv, detector, 1, Shard(2, 3))
    assert len(detector.asked) == 13 + 13
    paint(forty / "40.png", (41, 0, 0))
    prepare(forty, csv, detector, 1, Shard(1, 3))
    assert len(detector.asked) == 13 + 13 + 13, "another list of images is another part"


def test_a_merge_says_which_parts_are_missing_and_writes_nothing(forty: Path, detector: Painted) -> None:
    csv = forty.parent / "k.csv"
    with pytest.raises(DataError, match=r"k\.csv has no shard.*--shard 1/16"):
        merge_shards(forty, csv)
    make_shards(forty, csv, detector, (2,))
    with pytest.raises(KeyboardInterrupt):
        prepare(forty, csv, detector, 1, Shard(3, 3), stop_at(5))
    with pytest.raises(DataError, match=r"\b2 of 3\b.*\b1, 3\b.*--shard 1/3"):
        merge_shards(forty, csv)
    assert not csv.exists()


def test_a_merge_refuses_parts_that_do_not_belong_together(forty: Path, detector: Painted) -> None:
    csv = forty.parent / "k.csv"
    make_shards(forty, csv, detector)
    prepare(forty, csv, detector, 1, Shard(1, 2))
    with pytest.raises(DataError, match="of 2 and of 3"):
        merge_shards(forty, csv)
    for path in forty.parent.glob("k.shard-1-of-2*"):
        path.unlink()
    prepare(forty, csv, Painted(detector.log, settings="crayon"), 1, Shard(2, 3))
    with pytest.raises(DataError, match="crayon; painted"):
        merge_shards(forty, csv)
    make_shards(forty, csv, detector, (2,))
    paint(forty / "40.png", (41, 0, 0))
    make_shards(forty, csv, detector, (3,))
    with pytest.raises(DataError, match=r"\b2 of 3\b.*\b1, 2\b.*--shard 1/3"):
        merge_shards(forty, csv)
    make_shards(forty, csv, detector, (1, 2))
    assert merge_shards(forty, csv).found == 39


@pytest.mark.parametrize("damage", ["a row lost", "a row twice", "a row of another part", "the file lost"])
def test_a_merge_refuses_a_damaged_part(forty: Path, detector: Painted, damage: str) -> None:
    csv = forty.parent / "k.csv"
    make_shards(forty, csv, detector)
    part = csv.with_name("k.shard-2-of-3.csv")
    lines = part.read_text().splitlines(keepends=True)
    if damage == "the file lost":
        part.unlink()
    elif damage == "a row lost":
        part.write_text("".join(lines[:-1]))
    elif damage == "a row twice":
        part.write_text("".join([*lines, lines[-1]]))
    else:
        part.write_text("".join(lines + csv.with_name("k.shard-1-of-3.csv").read_text().splitlines(True)[1:2]))
    with pytest.raises(DataError, match=r"k\.shard-2-of-3\.csv "):
        merge_shards(forty, csv)
    assert not csv.exists() and csv.with_name("k.shard-1-of-3.csv").exists()
