"""Who is on which photo, by folders and by names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pg2lib import DataError, Pose, make_pairs
from pg2lib.data.photo_people import PersonFrom, tell_people_apart
from pg2lib.data.photos import crop_photos, prepare_photos, read_photos
from pg2lib.data.read import layout_of
from tests.data.conftest import Painted, paint

CANVAS = (128, 64)
IN_SPLITS = [f"{split}/{person}_{number:03d}.jpg" for split, people in (("train", "ab"), ("test", "cd"))
             for person in people for number in (1, 2)]  # fmt: skip


def folder_of(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root / "photos"


def people_in(root: Path, names: list[str], person_from: PersonFrom | None = None) -> dict[tuple[str, str], int]:
    people = tell_people_apart(folder_of(root, names), person_from)
    return {key: len(paths) for key, paths in people.photos.items()}


@pytest.mark.parametrize(
    ("names", "people"),
    [
        (["anna/a.jpg", "anna/trips/b.png", "ben/a.HEIC"], {("", "anna"): 2, ("", "ben"): 1}),
        (["anna/p01_1.jpg", "anna/p02_1.jpg"], {("", "anna"): 2}),
        (IN_SPLITS, {("train", "a"): 2, ("train", "b"): 2, ("test", "c"): 2, ("test", "d"): 2}),
        ([name.replace("test/", "Val/") for name in IN_SPLITS],
         {("train", "a"): 2, ("train", "b"): 2, ("test", "c"): 2, ("test", "d"): 2}),
        ([name for name in IN_SPLITS if "train" in name], {("", "a"): 2, ("", "b"): 2}),
        (["train/anna/a.jpg", "test/ben/x/a.jpg"], {("train", "anna"): 1, ("test", "ben"): 1}),
        (["train/0002_c1s1_000451_03.jpg", "train/0002_c1s1_000551_01.jpg", "train/0007_c2s3_000001_01.jpg",
          "test/0009_c1s1_000001_01.jpg"], {("train", "0002"): 2, ("train", "0007"): 1, ("test", "0009"): 1}),
    ],
)  # fmt: skip
def test_people_are_told_apart(tmp_path: Path, names: list[str], people: dict[tuple[str, str], int]) -> None:
    assert people_in(tmp_path, names) == people


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"{split}/IMG_{number}.jpg" for split in ("train", "test") for number in range(4)], "train look like splits"),
        (
            ["train/a_front_1.jpg", "train/a_front_2.jpg", "train/b_side_1.jpg", "train/a_side_1.jpg"],
            "look like splits",
        ),
        (["train/anna.jpg", "test/ben.jpg"], "may not start with the person"),
        (["train/anna/a.jpg", "test/ben_1.jpg"], "some photos are in a person's folder and some are not"),
        (["train/a.jpg", "anna/b.jpg"], "the folder train may be a person or a split"),
        (["all/anna/a.jpg", "all/ben/b.jpg"], "all photos are in the one folder all"),
    ],
)
def test_doubts_are_asked_with_what_each_answer_gives(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=rf"{message}.*--person-from folder gives \d.*--person-from name gives \d"):
        people_in(tmp_path, names)
    assert people_in(tmp_path, names, "name")
    assert people_in(tmp_path, names, "folder")


def test_an_answer_is_followed(tmp_path: Path) -> None:
    names = ["train/anna_1.jpg", "train/anna-2.jpg", "test/ben 1.jpg", "test/ben.2.jpg"]
    assert people_in(tmp_path, names, "name") == {("test", "ben"): 2, ("train", "anna"): 2}
    assert people_in(tmp_path, names, "folder") == {("", "test"): 2, ("", "train"): 2}
    assert people_in(tmp_path / "2", ["anna_1.jpg", "x/anna_2.jpg"], "name") == {("", "anna"): 2}
    with pytest.raises(DataError, match=r"anna_1\.jpg is in no person's folder.*--person-from name"):
        people_in(tmp_path / "2", ["anna_1.jpg"], "folder")
    with pytest.raises(DataError, match=r"_1\.jpg does not start with a person"):
        people_in(tmp_path / "3", ["_1.jpg"], "name")
    with pytest.raises(DataError, match="person_from must be"):
        people_in(tmp_path / "3", ["_1.jpg"], "face")


def test_what_was_understood_is_said(tmp_path: Path) -> None:
    assert str(tell_people_apart(folder_of(tmp_path, IN_SPLITS))).splitlines() == [
        "8 photos of 4 people, told apart by the file names, up to the first _, -, . or blank",
        "  train: 2 people: a (2), b (2)",
        "  test: 2 people: c (2), d (2)",
    ]
    many = [f"p{number}/a.jpg" for number in range(9)]
    shown = str(tell_people_apart(folder_of(tmp_path / "many", many)))
    assert shown == (
        "9 photos of 9 people, told apart by their folders\n  p0 (1), p1 (1), p2 (1), p3 (1), p4 (1), p5 (1) ..."
    )


@pytest.mark.parametrize("nested", [False, True])
def test_photos_in_splits_keep_their_splits_and_people(tmp_path: Path, detector: Painted, nested: bool) -> None:
    names = [name.replace("_", "/", 1) for name in IN_SPLITS] if nested else IN_SPLITS
    for number, name in enumerate(names, start=1):
        paint(tmp_path / "photos" / name, (number, 0, 0))
    shown: list[str] = []

    def understood(people: object) -> None:
        assert not (tmp_path / "out").exists(), "nothing is written before"
        shown.append(str(people))

    prepare_photos(tmp_path / "photos", tmp_path / "out", CANVAS, detector, 1, on_people=understood)
    assert len(shown) == 1 and "train: 2 people" in shown[0]
    assert layout_of(tmp_path / "out") == "photos"
    for split, persons in (("train", ["a", "b"]), ("test", ["c", "d"])):
        table = read_photos(tmp_path / "out", split)
        assert sorted(set(table.persons)) == persons and len(table) == 4
        assert len(make_pairs(table)) == 4
    assert len(set(read_photos(tmp_path / "out").persons)) == 4


def test_in_doubt_nothing_is_written(tmp_path: Path, detector: Painted) -> None:
    for name in ("train/IMG_1.jpg", "test/IMG_2.jpg"):
        paint(tmp_path / "photos" / name, (1, 0, 0))
    with pytest.raises(DataError, match="in doubt"):
        prepare_photos(tmp_path / "photos", tmp_path / "out", CANVAS, detector, 1)
    assert not (tmp_path / "out").exists() and detector.asked == []
    prepare_photos(tmp_path / "photos", tmp_path / "out", CANVAS, detector, 1, person_from="folder")
    assert sorted(set(read_photos(tmp_path / "out").persons)) == ["test", "train"]


def test_keypoints_of_a_photo_that_is_gone_are_refused(tmp_path: Path, detector: Painted) -> None:
    from pg2lib.data.keypoint_csv import write_keypoints

    paint(tmp_path / "photos" / "anna" / "a.jpg", (1, 0, 0))
    pose = Pose(torch.full((18, 2), 9.0), CANVAS)
    write_keypoints(tmp_path / "k.csv", [("anna/a.jpg", pose), ("anna/b.jpg", pose)])
    with pytest.raises(DataError, match=r"no image file .*anna/b\.jpg, which .*k\.csv names"):
        crop_photos(tmp_path / "photos", tmp_path / "k.csv", tmp_path / "out", CANVAS)
