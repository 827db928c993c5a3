from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from pg2lib import DataError, NoPersonError, Pose, read_keypoints
from pg2lib.data.prepare import prepare


class Detector:
    """Finds the same person everywhere but in black pictures, and counts how often it is asked."""

    def __init__(self, pose: Pose) -> None:
        self.pose, self.asked = pose, 0

    def detect(self, image: Image.Image) -> SimpleNamespace:
        self.asked += 1
        if image.getextrema() == ((0, 0),) * 3:
            raise NoPersonError("nobody")
        return SimpleNamespace(pose=self.pose)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, colour in (("a.jpg", "red"), ("b.png", "black"), ("deep/c.jpg", "blue")):
        Image.new("RGB", (64, 128), colour).save(tmp_path / "in" / name)
    (tmp_path / "in" / "d.jpg").write_text("no picture")
    (tmp_path / "in" / "notes.txt").write_text("not looked at")
    return tmp_path / "in"


def test_keypoints_and_what_is_missing_are_written(folder: Path, standing: Pose) -> None:
    csv = folder.parent / "k.csv"
    done: list[tuple[int, int]] = []
    result = prepare(folder, csv, Detector(standing), lambda *progress: done.append(progress))
    table = read_keypoints(csv, (128, 64), person_of=lambda name: name)
    assert table.names == ("a.jpg", "deep/c.jpg")
    assert table.pose(1) == standing
    assert (result.found, result.without_person, [name for name, _ in result.unreadable]) == (2, ("b.png",), ["d.jpg"])
    assert "d.jpg" in result.missing_file.read_text() and "b.png\tno person found" in result.missing_file.read_text()
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["in", "k.csv", "k.missing.txt"]


def test_a_run_that_is_stopped_goes_on_and_does_nothing_twice(folder: Path, standing: Pose) -> None:
    csv, detector = folder.parent / "k.csv", Detector(standing)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(folder, csv, detector, stop)
    assert not csv.exists()
    journal = folder.parent / "k.csv.journal"
    journal.write_text(journal.read_text() + '{"name": "cut sho')
    prepare(folder, csv, detector)
    assert detector.asked == 3  # a, b, c; d cannot be decoded
    assert len(read_keypoints(csv, (128, 64), person_of=lambda name: name)) == 2
    assert not journal.exists()


def test_folders_without_images(tmp_path, standing: Pose) -> None:
    with pytest.raises(DataError, match="no folder"):
        prepare(tmp_path / "nowhere", tmp_path / "k.csv", Detector(standing))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        prepare(tmp_path / "empty", tmp_path / "k.csv", Detector(standing))
