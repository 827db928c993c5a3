from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from pg2lib import DataError, PersonTable, Pose, make_pairs, read_keypoints, read_market1501, read_pairs, write_pairs
from pg2lib.data.names import person_of
from pg2lib.data.people import write_keypoints

HEADER = "name:keypoints_y:keypoints_x\n"
GOOD = json.dumps([1] * 18)


def write(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    file = tmp_path / "keypoints.csv"
    file.write_text(header + "".join(row + "\n" for row in rows))
    return file


def test_y_comes_first_and_minus_one_is_missing(tmp_path) -> None:
    y, x = [10, -1, *range(16)], [20, -1, *range(30, 46)]
    table = read_keypoints(write(tmp_path, f"0002_c1s1_000451_03.jpg: {y}: {x}"), (128, 64))
    assert (len(table), table.names, table.persons) == (1, ("0002_c1s1_000451_03.jpg",), ("0002",))
    assert table.xy[0, 0].tolist() == [20, 10]
    assert table.xy[0, 1].isnan().all()
    assert table.xy[0, 2].tolist() == [30, 0]
    assert table.pose(0).visible.sum() == 17


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"0002_c1s1_000451_03.jpg: {GOOD}", r"keypoints\.csv:2: expected name"),
        (f"0002_c1s1_000451_03.jpg: [1, 2]: {GOOD}", r":2: keypoints_y must be a list of 18"),
        (f"0002_c1s1_000451_03.jpg: {GOOD}: [1, 2", r":2: keypoints_x is not a JSON list"),
        (f"0002_c1s1_000451_03.jpg: {GOOD}: {json.dumps(['a'] * 18)}", r":2: keypoints_x holds 'a'"),
        (f"0002_c1s1_000451_03.jpg: {GOOD}: {[math.nan] * 18}".replace("nan", "NaN"), r":2: keypoints_x holds nan"),
        (f"0002_c1s1_000451_03.jpg: {GOOD}: {json.dumps([-1] + [1] * 17)}", r":2: nose has y = 1 and x = -1"),
        (f"../x.png: {GOOD}: {GOOD}", r":2: the name '../x\.png' .* does not lie below the folder of the images"),
        (f"anna/../../x.png: {GOOD}: {GOOD}", r":2: the name 'anna/../../x\.png' .* does not lie below"),
        (f"/tmp/x.png: {GOOD}: {GOOD}", r":2: the name '/tmp/x\.png' .* does not lie below"),
        (f".: {GOOD}: {GOOD}", r":2: the name '\.' .* does not lie below"),
        (f"a\0b.png: {GOOD}: {GOOD}", r":2: the name 'a\\x00b\.png' .* does not lie below"),
        (f"holiday.jpg: {GOOD}: {GOOD}", r":2: 'holiday.jpg' is neither a Market-1501"),
    ],
)
def test_a_malformed_row_is_named_with_file_and_line(tmp_path, row: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_keypoints(write(tmp_path, row), (128, 64))


def test_other_files_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"no keypoint file .*nowhere\.csv"):
        read_keypoints(tmp_path / "nowhere.csv", (128, 64))
    with pytest.raises(DataError, match=r":1: expected the header .*got 'from,to'"):
        read_keypoints(write(tmp_path, header="from,to\n"), (128, 64))
    row = f"0002_c1s1_000451_03.jpg: {GOOD}: {GOOD}"
    with pytest.raises(DataError, match=r":3: 0002_c1s1_000451_03\.jpg stands on line 2 already"):
        read_keypoints(write(tmp_path, row, row), (128, 64))


def test_own_names_with_a_rule_of_ones_own(tmp_path) -> None:
    file = write(tmp_path, f"anna_1.jpg: {GOOD}: {GOOD}", "", f"bert_1.jpg: {GOOD}: {GOOD}")
    table = read_keypoints(file, (128, 64), person_of=lambda name: name.split("_")[0])
    assert table.persons == ("anna", "bert")


def test_what_is_written_is_read_back(tmp_path, standing: Pose) -> None:
    outside = standing.xy.clone()
    outside[4] = torch.tensor([70.0, 10.0])
    names = ("0002_c1s1_000451_03.jpg", "0002_c1s1_000451_04.jpg")
    poses = zip(names, (standing, Pose(outside, (128, 64))), strict=True)
    write_keypoints(tmp_path / "k.csv", poses)
    table = read_keypoints(tmp_path / "k.csv", (128, 64))
    assert table.names == names
    assert table.pose(0) == standing
    assert table.pose(1).visible.tolist().count(False) == 1


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("0224_c6s1_055726_02.jpg", "0224"),
        ("-1_c1s1_000401_03.jpg", "-1"),
        ("1488_c5s3_071737_01.jpg.jpg", "1488"),
        ("fashionWOMENTees_Tanksid0000783805_7additional.jpg", "fashionWOMENTees_Tanksid0000783805"),
        ("fasionMENTeesTanksid0000347017_3back.jpg", "fasionMENTeesTanksid0000347017"),
        ("0224_c7s1_055726_02.jpg", None),
        ("Thumbs.db", None),
    ],
)
def test_whose_image_a_file_name_says(name: str, person: str | None) -> None:
    assert person_of(name) == person


def table_of(*persons: str) -> PersonTable:
    names = tuple(f"{i}.jpg" for i in range(len(persons)))
    return PersonTable(names, persons, torch.ones(len(persons), 18, 2), (128, 64))


def test_pairs_are_all_ordered_pairs_of_one_person() -> None:
    pairs = make_pairs(table_of("a", "b", "a", "c", "a", "b"))
    found = {(int(a), int(b)) for a, b in zip(pairs.from_rows, pairs.to_rows, strict=True)}
    assert found == {(0, 2), (2, 0), (0, 4), (4, 0), (2, 4), (4, 2), (1, 5), (5, 1)}
    assert len(pairs) == len(found)


def test_torso_wants_shoulders_and_hips_in_both() -> None:
    table = table_of("a", "a", "a")
    table.xy[2, 8] = math.nan
    assert len(make_pairs(table, "all")) == 6
    assert len(make_pairs(table, "torso")) == 2
    table.xy[:, 0] = math.nan  # the nose says nothing
    assert len(make_pairs(table, "torso")) == 2


def test_no_pair_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="nobody has two images"):
        make_pairs(table_of("a", "b"))
    with pytest.raises(DataError, match="pair rule must be one of all, torso, got 'every'"):
        make_pairs(table_of("a", "a"), "every")


def test_pair_files_round_trip(tmp_path) -> None:
    pairs = make_pairs(table_of("a", "a", "a", "b", "b")).sample(5, seed=3)
    write_pairs(tmp_path / "pairs.csv", pairs)
    again = read_pairs(tmp_path / "pairs.csv", pairs.table)
    assert torch.equal(again.from_rows, pairs.from_rows)
    assert torch.equal(again.to_rows, pairs.to_rows)


def test_pair_files_with_mistakes(tmp_path) -> None:
    table, file = table_of("a", "a"), tmp_path / "p.csv"
    file.write_text("from,to\n0.jpg,1.jpg\n0.jpg,9.jpg\n")
    with pytest.raises(DataError, match=r"p\.csv:3: 9\.jpg is not in"):
        read_pairs(file, table)
    kept = read_pairs(file, table, skip_unknown=True)
    assert (len(kept), [str(skip.name) for skip in kept.skipped]) == (1, ["p.csv:3"])
    file.write_text("to,from\n")
    with pytest.raises(DataError, match=r"p\.csv:1: expected the header 'from,to'"):
        read_pairs(file, table)
    file.write_text("from,to\n0.jpg\n")
    with pytest.raises(DataError, match=r"p\.csv:2: expected two names"):
        read_pairs(file, table)
    file.write_text("from,to\n8.jpg,9.jpg\n")
    with pytest.raises(DataError, match="not one pair"):
        read_pairs(file, table, skip_unknown=True)


def test_samples_are_seeded_and_without_repeats() -> None:
    pairs = make_pairs(table_of(*"aaaa"))
    first, second = pairs.sample(7, seed=1), pairs.sample(7, seed=1)
    assert torch.equal(first.from_rows, second.from_rows)
    assert len(set(zip(first.from_rows.tolist(), first.to_rows.tolist(), strict=True))) == 7
    assert not torch.equal(pairs.sample(7, seed=2).from_rows, first.from_rows)
    with pytest.raises(DataError, match="cannot draw 13 pairs from 12"):
        pairs.sample(13, seed=0)


def test_market1501_reader_skips_and_counts_what_is_no_person(tiny_market1501: Path) -> None:
    folder = tiny_market1501 / "bounding_box_train"
    image = next(folder.iterdir()).read_bytes()
    for name in ("-1_c1s1_000401_03.jpg", "0000_c1s1_000401_03.jpg", "0009_c1s1_000401_03.jpg", "me.jpg", "Thumbs.db"):
        (folder / name).write_bytes(image)
    gone = sorted(folder.glob("0002_*"))[0]
    gone.unlink()
    table = read_market1501(tiny_market1501, "train")
    assert (len(table), len(set(table.persons))) == (11, 3)
    assert {skip.name: skip.reason for skip in table.skipped} == {
        "-1_c1s1_000401_03.jpg": "junk",
        "0000_c1s1_000401_03.jpg": "distractor",
        "0009_c1s1_000401_03.jpg": "no keypoints in market-annotation-train.csv",
        "me.jpg": "not a Market-1501 name",
        gone.name: "keypoints without an image",
    }
    assert all(path.is_file() and path.name == name for path, name in zip(table.paths, table.names, strict=True))


def test_market1501_is_found_below_the_folder_given(tiny_market1501: Path) -> None:
    assert len(read_market1501(tiny_market1501.parent, "train", tiny_market1501 / "market-annotation-train.csv")) == 12


def test_market1501_that_is_not_there(tiny_market1501: Path, tmp_path) -> None:
    with pytest.raises(DataError, match="no folder bounding_box_test"):
        read_market1501(tiny_market1501, "test")
    with pytest.raises(DataError, match="no folder .*nowhere"):
        read_market1501(tmp_path / "nowhere", "train")
    (tiny_market1501 / "market-annotation-train.csv").unlink()
    with pytest.raises(DataError, match=r"market-annotation-train\.csv is not in .*prepare"):
        read_market1501(tiny_market1501, "train")


def test_the_counts_of_the_real_market1501(market1501_root: Path) -> None:
    """Section 4.1 and the widely used pair list."""
    train = read_market1501(market1501_root, "train")
    assert (len(train), len(set(train.persons)), train.skipped) == (12_936, 751, ())
    assert (len(make_pairs(train, "all")), len(make_pairs(train, "torso"))) == (296_938, 263_632)
    test = read_market1501(market1501_root, "test")
    assert (len(test) + len(test.skipped), len(set(test.persons))) == (19_732, 750)
    assert len(read_pairs(market1501_root / "market-pairs-test.csv", test)) == 12_000
    alone = read_keypoints(market1501_root / "market-annotation-train.csv", (128, 64))
    assert len(make_pairs(alone, "torso")) == 263_632
