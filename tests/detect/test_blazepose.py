"""MediaPipe's BlazePose on real photos."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pg2lib.data.market1501 import read_market1501
from pg2lib.detect import Detection, MediaPipeDetector, blazepose, detect_pose, find_people, suggested_turn
from pg2lib.detect.looks import LOOKS
from pg2lib.errors import NoPersonError
from pg2lib.images import Crop, load_image, turn_photo
from pg2lib.pose import JOINTS, Pose, visible_part
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def detector() -> Iterator[MediaPipeDetector]:
    pytest.importorskip("mediapipe.python.solutions.pose", reason="needs mediapipe with its models")
    with MediaPipeDetector() as opened:
        yield opened


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    data = pytest.importorskip("skimage.data", reason="needs the pictures that come with scikit-image")
    return Image.fromarray(data.astronaut())


@pytest.fixture(scope="module")
def photos() -> Path:
    named = os.environ.get("PG2_DATA")
    candidates = [Path(named) / "photos"] if named else [base / "shared" / "data" / "photos" for base in ROOT.parents]
    for folder in candidates:
        if folder.is_dir():
            return folder
    pytest.skip(f"needs the test photos, in {' or '.join(map(str, candidates))}")


def joint(detection: Detection, name: str) -> tuple[float, float]:
    x, y = detection.pose.xy[JOINTS.index(name)].tolist()
    return x, y


def test_fractions_of_the_picture_become_pixels_whose_centres_are_whole_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The middle of eight columns lies between the fourth and the fifth, at 3.5."""
    marks = [SimpleNamespace(x=0.5, y=0.25, visibility=0.75)] * 33
    found = SimpleNamespace(pose_landmarks=SimpleNamespace(landmark=marks))
    monkeypatch.setattr(blazepose, "load_solution", lambda name, purpose: None)
    monkeypatch.setattr(MediaPipeDetector, "_graph", lambda self, _: SimpleNamespace(process=lambda pixels: found))
    landmarks = MediaPipeDetector()._find(Image.new("RGB", (8, 4)), 0.5)
    assert landmarks.xy.tolist() == [[3.5, 0.5]] * 33 and landmarks.visibility.tolist() == [0.75] * 33


def test_the_astronaut(detector: MediaPipeDetector, astronaut: Image.Image) -> None:
    detection = detector.detect(astronaut)
    assert detection.attempt == 0
    assert joint(detection, "nose") == pytest.approx((223, 128), abs=10)
    assert joint(detection, "right eye") == pytest.approx((203, 111), abs=12)
    assert joint(detection, "left eye") == pytest.approx((243, 111), abs=12)
    assert visible_part(detection.pose) in ("head and shoulders", "upper body")
    assert not detection.pose.visible[[JOINTS.index("left ankle"), JOINTS.index("right knee")]].any()


def test_the_mirrored_astronaut_is_the_mirrored_pose(detector: MediaPipeDetector, astronaut: Image.Image) -> None:
    mirrored = detector.detect(astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).pose
    pose = detector.detect(astronaut).pose.flip()
    both = pose.visible & mirrored.visible
    assert int(both.sum()) >= 6
    assert float((pose.xy - mirrored.xy)[both].norm(dim=1).mean()) < 12


def test_the_size_of_a_photo_hardly_matters(detector: MediaPipeDetector, astronaut: Image.Image) -> None:
    pose = detector.detect(astronaut).pose
    for side in (200, 2048):
        other = detector.detect(astronaut.resize((side, side))).pose
        assert other.canvas == (side, side)
        both = pose.visible & other.visible
        assert int(both.sum()) >= 6
        distance = (other.resize((512, 512)).xy - pose.xy)[both].norm(dim=1)
        assert float(distance.mean()) < 10


def test_coffee_is_nobody(detector: MediaPipeDetector) -> None:
    data = pytest.importorskip("skimage.data", reason="needs the pictures that come with scikit-image")
    with pytest.raises(NoPersonError, match="600x400"):
        detector.detect(Image.fromarray(data.coffee()))


def test_four_threads_take_turns(detector: MediaPipeDetector, astronaut: Image.Image) -> None:
    expected = detector.detect(astronaut).pose
    found: list[Pose] = []
    threads = [threading.Thread(target=lambda: found.append(detect_pose(astronaut))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_a_closed_detector_opens_again(astronaut: Image.Image, detector: MediaPipeDetector) -> None:
    before = detector.detect(astronaut)
    detector.close()
    assert detector.detect(astronaut) == before


def test_arrays_and_files_are_taken_too(detector: MediaPipeDetector, astronaut: Image.Image, tmp_path: Path) -> None:
    astronaut.save(tmp_path / "photo.png")
    expected = detector.detect(astronaut).pose
    assert detect_pose(tmp_path / "photo.png") == detect_pose(np.asarray(astronaut)) == expected


def test_a_run_writes_nothing_to_stderr(detector: MediaPipeDetector) -> None:
    """In its own process, as MediaPipe writes most lines only once. `detector` skips the test without MediaPipe."""
    pytest.importorskip("skimage", reason="needs the pictures that come with scikit-image")
    code = (
        "import skimage.data\n"
        "from pg2lib import detect_pose\n"
        "assert 'mediapipe' not in __import__('sys').modules\n"
        "print(detect_pose(skimage.data.astronaut()[:, 100:]))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert run.stdout.startswith("Pose("), run.stderr
    assert run.stderr == ""


@pytest.mark.parametrize(
    ("name", "people"),
    [
        ("000000000785.jpg", 1),
        ("000000196141.jpg", 2),
        ("000000197388.jpg", 3),
        ("astronaut.png", 1),
        ("messi.jpg", 2),
        ("person.jpg", 1),
    ],
)
def test_people_in_photos(detector: MediaPipeDetector, photos: Path, name: str, people: int) -> None:
    found = find_people(photos / name)
    assert len(found) == people
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (person.pose.box for person in found)]
    assert areas == sorted(areas, reverse=True)
    assert detect_pose(photos / name) == found[0].pose


@pytest.mark.parametrize("name", ["coffee.png", "dog.jpg"])
def test_photos_without_people(detector: MediaPipeDetector, photos: Path, name: str) -> None:
    with pytest.raises(NoPersonError):
        detect_pose(photos / name)


def test_joints_of_the_skier_lie_where_they_should(detector: MediaPipeDetector, photos: Path) -> None:
    """The expected positions were read off the photo by eye."""
    skier = find_people(photos / "000000000785.jpg")[0]
    assert visible_part(skier.pose) == "full body"
    assert joint(skier, "nose") == pytest.approx((371, 82), abs=8)
    assert joint(skier, "right wrist") == pytest.approx((302, 181), abs=15)
    assert joint(skier, "right ankle") == pytest.approx((406, 344), abs=25)


def test_the_skier_is_found_far_away(detector: MediaPipeDetector, photos: Path) -> None:
    """The photo is continued on all sides, so that it is a third as wide as the picture."""
    near = load_image(photos / "000000000785.jpg")
    whole = Crop(-640, -425, 1280, 850, (1275, 1920))
    (skier,) = find_people(whole.apply(near))
    assert skier.attempt >= len(LOOKS)
    expected = find_people(near)[0].pose.crop(whole)
    assert int(skier.pose.visible.sum()) >= 16
    assert float((skier.pose.xy - expected.xy).norm(dim=1).nanmedian()) < 8


@pytest.mark.parametrize("name", ["000000000785.jpg", "astronaut.png", "messi.jpg"])
@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_photos_on_their_side_or_head(detector: MediaPipeDetector, photos: Path, name: str, turned: int) -> None:
    photo = turn_photo(load_image(photos / name), turned)
    assert suggested_turn(photo, detector.find_people(photo), detector) == -turned % 360


def test_the_silhouette_of_a_horse_turns_no_photo(detector: MediaPipeDetector) -> None:
    data = pytest.importorskip("skimage.data", reason="needs the pictures that come with scikit-image")
    assert suggested_turn(Image.fromarray(data.horse()), []) == 0


def test_market1501_crops(detector: MediaPipeDetector, market1501_root: Path) -> None:
    """Compared with the annotations that come with the data, on 40 crops."""
    table = read_market1501(market1501_root, "train")
    assert table.paths is not None
    errors: list[float] = []
    for row in np.random.default_rng(0).choice(len(table), 40, replace=False).tolist():
        try:
            found = detector.detect(Image.open(table.paths[row])).pose.xy
        except NoPersonError:
            continue
        distances = (found - table.xy[row]).norm(dim=1)
        errors.append(float(distances[~distances.isnan()].mean()) / 128)
    assert len(errors) >= 34
    assert statistics.median(errors) < 0.04
