"""The field's keypoint CSV, read and written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from pg2lib import DataError, Pose, read_keypoints, write_keypoints

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
        (f"0002_c1s1_000451_03.jpg: {GOOD}: [1, 2", r":2: keypoints_x cannot be read as JSON"),
        (f"0002_c1s1_000451_03.jpg: {GOOD}: {json.dumps(['a'] * 18)}", r":2: keypoints_x holds 'a'"),
        (f"0002_c1s1_000451_03.jpg: {GOOD}: {[math.nan] * 18}".replace("nan", "NaN"), r":2: keypoints_x holds nan"),
        (f"0002_c1s1_000451_03.jpg: {GOOD}: {json.dumps([-1] + [1] * 17)}", r":2: nose has y = 1 and x = -1"),
        (f"../x.png: {GOOD}: {GOOD}", r":2: the name '../x\.png' .* does not lie below the folder of the images"),
        (f"anna/../../x.png: {GOOD}: {GOOD}", r":2: the name 'anna/../../x\.png' .* does not lie below"),
        (f"/tmp/x.png: {GOOD}: {GOOD}", r":2: the name '/tmp/x\.png' .* does not lie below"),
        (f".: {GOOD}: {GOOD}", r":2: the name '\.' .* does not lie below"),
        (f"a\0b.png: {GOOD}: {GOOD}", r":2: the name 'a\\x00b\.png' .* does not lie below"),
        (f"holiday.jpg: {GOOD}: {GOOD}", r":2: 'holiday.jpg' .*person_of="),
        (f"{'a' * 300}.jpg: {GOOD}: {GOOD}", r":2: .* at most 255 bytes"),
        (f"0002_c1s1_000451_03.jpg: {GOOD}: {json.dumps([1e6] * 18)}", r":2: keypoints_x holds 1000000.0, .* 1,280 "),
    ],
)
def test_a_malformed_row_is_named_with_file_and_line(tmp_path, row: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_keypoints(write(tmp_path, row), (128, 64))


def test_other_files_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"no keypoint file .*nowhere\.csv"):
        read_keypoints(tmp_path / "nowhere.csv", (128, 64))
    with pytest.raises(DataError, match=r"keypoints\.csv:1: .*'from,to'"):
        read_keypoints(write(tmp_path, header="from,to\n"), (128, 64))
    row = f"0002_c1s1_000451_03.jpg: {GOOD}: {GOOD}"
    with pytest.raises(DataError, match=r"keypoints\.csv:3: 0002_c1s1_000451_03\.jpg.*\bline 2\b"):
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


@pytest.mark.parametrize("shift", [-0.4, 0.4, 0.6])
def test_coordinates_are_written_as_the_nearest_whole_pixel(tmp_path, standing: Pose, shift: float) -> None:
    moved = Pose(standing.xy + shift, (128, 64))
    write_keypoints(tmp_path / "k.csv", [("0002_c1s1_000451_03.jpg", moved)])
    assert torch.equal(read_keypoints(tmp_path / "k.csv", (128, 64)).xy[0], standing.xy + round(shift))


def test_a_joint_in_the_outer_half_of_a_border_pixel_is_on_that_pixel(tmp_path) -> None:
    """And not at -1, which would be a missing joint, or beyond the last column."""
    xy = torch.full((18, 2), math.nan)
    xy[0], xy[1] = torch.tensor([-0.45, 127.45]), torch.tensor([63.45, -0.45])
    write_keypoints(tmp_path / "k.csv", [("0002_c1s1_000451_03.jpg", Pose(xy, (128, 64)))])
    read = read_keypoints(tmp_path / "k.csv", (128, 64)).xy[0]
    assert read[:2].tolist() == [[0, 127], [63, 0]] and read[2:].isnan().all()
