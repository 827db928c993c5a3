"""Keypoints broken on purpose, each table in one way; and a detector's keypoints against the annotations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pg2lib.data.keypoint_csv import read_keypoints
from pg2lib.data.people import PersonTable
from pg2lib.doctor import examine_data
from pg2lib.doctor.findings import Finding
from pg2lib.doctor.keypoints import examine_table, without_joint
from pg2lib.pose import SWAPPED_BY_FLIP
from tests.doctor.conftest import (
    Row,
    assert_only_mistake,
    change_rows,
    each,
    exchanged,
    read_csv,
    told,
    write_csv,
    wrong,
)

TRAIN = "market-annotation-train.csv"


@pytest.fixture
def rows(market_original: Path) -> list[Row]:
    """30 people who stand upright and face the camera."""
    return read_csv(market_original / TRAIN)


def table_of(rows: list[Row], folder: Path) -> PersonTable:
    write_csv(folder / "table.csv", rows)
    return read_keypoints(folder / "table.csv", (128, 64))


def examine(rows: list[Row], folder: Path) -> list[Finding]:
    return list(examine_table("train", table_of(rows, folder)))


MISTAKES: dict[str, tuple[Callable[[Row], Row], str, str]] = {
    "x and y exchanged": (
        lambda row: (row[0], row[2], row[1]), r"^train: 30 of 30 .* side .*0002_c1", "keypoints_y and keypoints_x",
    ),
    "upside down": (
        lambda row: (row[0], each(row[1], lambda y: 127 - y), row[2]), "30 of 30 .* head", "height - 1 - y",
    ),
    "left and right exchanged": (
        lambda row: exchanged(row, SWAPPED_BY_FLIP), "30 of 30 .* right shoulder", "2 and 5, 3 and 6, .*16 and 17",
    ),
    "hips exchanged": (lambda row: exchanged(row, ((8, 11),)), "hips of 30 of 30", "8 .right hip. and 11 .left hip."),
    "eyes exchanged": (lambda row: exchanged(row, ((14, 15),)), "eyes of 30 of 30", "14 .right eye. and 15 .left eye."),
    "ears exchanged": (lambda row: exchanged(row, ((16, 17),)), "ears of 30 of 30", "16 .right ear. and 17 .left ear."),
    "all -1": (lambda row: (row[0], [-1] * 18, [-1] * 18), "30 of 30 images have no joint .* -1", "pg2lib prepare"),
    "keypoints of larger images": (
        lambda row: (row[0], each(row[1], lambda y: 2 * y), each(row[2], lambda x: 4 * x)),
        "30 of 30 .* outside the canvas", "not 64 .* and 128 high",
    ),
    "keypoints of smaller images": (
        lambda row: (row[0], each(row[1], lambda y: y // 2), each(row[2], lambda x: x // 2)),
        r"corner .* x = \d+ of 64 and y = \d+ of 128", "not 64 .* and 128 high",
    ),
    "keypoints moved to the right": (
        lambda row: (row[0], row[1], each(row[2], lambda x: min(63, x + 16))), "16 pixels right", "Subtract 16 from",
    ),
    "keypoints moved to the left": (
        lambda row: (row[0], row[1], each(row[2], lambda x: max(0, x - 16))), "16 pixels left", "Add 16 to",
    ),
    "0 instead of -1": (
        lambda row: (row[0], [0] * 4 + row[1][4:], [0] * 4 + row[2][4:]), r"30 images .* \(0, 0\)", "-1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_finding_with_its_remedy(mistake: str, rows: list[Row], tmp_path: Path) -> None:
    change, text, remedy = MISTAKES[mistake]
    assert wrong(examine(rows, tmp_path)) == []
    assert_only_mistake(examine([change(row) for row in rows], tmp_path), text, remedy)


def test_a_mistake_in_half_of_the_rows_or_among_nine_people_is_none(rows: list[Row], tmp_path: Path) -> None:
    mistaken = [exchanged(row, ((8, 11),)) for row in rows]
    assert wrong(examine(mistaken[:15] + rows[15:], tmp_path)) == []
    assert len(wrong(examine(mistaken[:16] + rows[16:], tmp_path))) == 1
    assert wrong(examine(mistaken[:9], tmp_path)) == []
    assert len(wrong(examine(mistaken[:10], tmp_path))) == 1


def test_more_than_a_third_without_a_joint_is_wrong(rows: list[Row], tmp_path: Path) -> None:
    empty = [(name, [-1] * 18, [-1] * 18) for name, _, _ in rows]
    (finding,) = examine(empty[:10] + rows[10:], tmp_path)
    assert finding.level == "ok" and "10 of 30" in finding.text
    assert_only_mistake(examine(empty[:11] + rows[11:], tmp_path), "11 of 30 images have no joint", "pg2lib prepare")


def test_few_keypoints_outside_are_noted(rows: list[Row], tmp_path: Path) -> None:
    def outside(row: Row) -> Row:
        return row[0], [200, *row[1][1:]], row[2]

    (_, finding) = examine([outside(rows[0]), *rows[1:]], tmp_path)
    assert finding.level == "note" and "1 of 30" in finding.text and "y = 200" in finding.text
    assert len(wrong(examine([*map(outside, rows[:2]), *rows[2:]], tmp_path))) == 1


def test_without_joint_is_a_row_of_missing_joints(rows: list[Row], tmp_path: Path) -> None:
    one = [-1] * 17 + [5]
    table = table_of([(rows[0][0], [-1] * 18, [-1] * 18), (rows[1][0], one, one), rows[2]], tmp_path)
    assert without_joint(table).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda row: (row[0], row[2], row[1]), "30 of 30 people lie on their side"),
        (lambda row: (row[0], each(row[1], lambda y: y // 2), each(row[2], lambda x: x // 2)), "corner"),
        (lambda row: (row[0], row[1], each(row[2], lambda x: x + 40)), "40 pixels right"),
        (lambda row: (row[0], each(row[1], lambda y: 4 * y), row[2]), "keypoints-train.csv: .* outside 256x256"),
        (lambda row: exchanged(row, SWAPPED_BY_FLIP), "right shoulder"),
    ],
)
def test_mistakes_in_deepfashions_keypoints(change, text: str, deepfashion: Path) -> None:
    change_rows(deepfashion / "keypoints-train.csv", change)
    assert_only_mistake(examine_data(deepfashion), text, "")


def test_copied_rows_are_one_finding(market: Path) -> None:
    rows = read_csv(market / TRAIN)
    write_csv(market / TRAIN, [*rows[:-1], (rows[-1][0], *rows[0][1:])])
    assert_only_mistake(examine_data(market), f"2 images .* same keypoints .*{rows[0][0]}", "Detect")


# A detector's keypoints against the annotations


def test_detected_keypoints_are_compared_with_the_annotations(market: Path, tmp_path: Path) -> None:
    rows = read_csv(market / TRAIN)
    away = [(name, each(y, lambda v: v + 1), x) for name, y, x in rows[:20]]
    csv = tmp_path / "detected.csv"
    write_csv(csv, away)
    (tmp_path / "detected.missing.txt").write_text("".join(f"{name}\tno person found\n" for name, _, _ in rows[20:25]))
    findings = examine_data(market, detected=csv)
    assert wrong(findings) == []
    # Five of 25 were not found, the other five were not searched; one pixel is 0.8 % of 128.
    assert "train: detected.csv against the annotations: 25 people: 20.0% not found, median error 0.8%" in told(
        findings
    )

    write_csv(csv, [exchanged(row, SWAPPED_BY_FLIP) for row in rows])
    assert "detected.csv against the annotations" in told(wrong(examine_data(market, detected=csv)))

    write_csv(csv, rows, "keypoints")
    assert_only_mistake(examine_data(market, detected=csv), "detected.csv:1: .*header", "")


def test_a_detectors_csv_that_does_not_exist_is_a_finding(market: Path, tmp_path: Path) -> None:
    assert_only_mistake(examine_data(market, detected=tmp_path / "nowhere.csv"), "nowhere.csv", "again")


def test_detected_keypoints_replace_missing_annotations(market: Path, tmp_path: Path) -> None:
    csv = tmp_path / "detected.csv"
    write_csv(csv, read_csv(market / TRAIN) + read_csv(market / "market-annotation-test.csv"))
    for split in ("train", "test"):
        (market / f"market-annotation-{split}.csv").unlink()
    assert len(wrong(examine_data(market))) == 2
    assert wrong(examine_data(market, detected=csv)) == []
    write_csv(csv, read_csv(csv), "name,keypoints_y,keypoints_x")
    found = wrong(examine_data(market, detected=csv))
    assert found and all("','" in finding.remedy for finding in found)


def test_published_and_detected_keypoints_are_compared(deepfashion: Path) -> None:
    shutil.copy(deepfashion / "keypoints-train.csv", deepfashion / "keypoints-train-detector.csv")
    change_rows(
        deepfashion / "keypoints-train-detector.csv", lambda row: (row[0], each(row[1], lambda y: y + 4), row[2])
    )
    findings = told(examine_data(deepfashion))
    assert "train: keypoints-train-detector.csv against keypoints-train.csv: 30 people: 0.0% not found" in findings
    assert "median error 1.6%" in findings
