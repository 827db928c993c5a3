"""Photos that lie on their side or stand on their head, in the pipeline and in the preparation of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import NoPersonError, PG2Config, PG2Pipeline, Pose, build_models, read_keypoints
from pg2lib.cli import main
from pg2lib.condition import Photo
from pg2lib.data.keypoint_csv import write_keypoints
from pg2lib.data.photos import crop_photos, prepare_photos, read_photos
from pg2lib.data.prepare import prepare
from pg2lib.detect import Detection
from pg2lib.framing import Framing
from pg2lib.images import turn_photo
from tests.conftest import STANDING

FRAMING = Framing(x=0.5, y={"nose": 0.125, "neck": 0.2, "hips": 0.49, "knees": 0.69, "ankles": 0.89})
UPRIGHT = Pose(torch.tensor(STANDING, dtype=torch.float32) + 20, (180, 120))


def photo_of_somebody() -> Image.Image:
    """Noise with a red upper left corner, which tells the detector where the head is."""
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (180, 120, 3), dtype=np.uint8))
    photo.paste((255, 0, 0), (0, 0, 30, 30))
    return photo


class Corner:
    """A detector, and what makes it: finds a person at any angle, or only upright ones."""

    def __init__(self, at_any_angle: bool) -> None:
        self.at_any_angle, self.settings = at_any_angle, "corner"

    def __call__(self) -> Corner:
        return self

    def __enter__(self) -> Corner:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def detect(self, image: Image.Image) -> Detection:
        for turn in (0, 90, 180, 270) if self.at_any_angle else (0,):
            if turn_photo(image, (360 - turn) % 360).getpixel((8, 8)) == (255, 0, 0):
                pose = UPRIGHT.turn(turn)
                return Detection(pose.resize((image.height, image.width)), attempt=0, confidence=0.9)
        raise NoPersonError("nobody")


@pytest.fixture(params=[True, False], ids=["found at any angle", "found upright"])
def detector(request: pytest.FixtureRequest) -> Corner:
    return Corner(request.param)


@pytest.fixture
def pipe(detector: Corner) -> PG2Pipeline:
    torch.manual_seed(0)
    config = PG2Config.preset("fast").override({"model.base_width": 4, "model.bottleneck": 8})
    g1, g2, _ = build_models(config)
    return PG2Pipeline(g1, g2, config, FRAMING, {}, detector)


@pytest.fixture
def big_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo of 180 pixels does not count as a tight crop, in which nobody is looked for at other angles."""
    monkeypatch.setattr("pg2lib.detect.turns.TIGHT_CROP_PX", 100)


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_a_photo_is_turned_until_the_person_is_upright(pipe: PG2Pipeline, big_enough: None, turned: int) -> None:
    upright = pipe.look(photo_of_somebody())
    view = pipe.look(turn_photo(photo_of_somebody(), turned))
    assert (upright.turn, view.turn) == (0, -turned % 360)
    assert torch.equal(view.condition_image, upright.condition_image)
    assert view.condition_pose == upright.condition_pose
    photo, people = pipe.find_upright(turn_photo(photo_of_somebody(), turned))
    assert photo.turn == view.turn and [person.pose for person in people] == [UPRIGHT]


def test_a_photo_stays_as_it_is_if_the_caller_says_so_or_gives_what_belongs_to_it(big_enough: None) -> None:
    torch.manual_seed(0)
    config = PG2Config.preset("fast").override({"model.base_width": 4, "model.bottleneck": 8})
    pipe = PG2Pipeline(*build_models(config)[:2], config, FRAMING, {}, Corner(at_any_angle=True))
    photo = turn_photo(photo_of_somebody(), 180)
    lying = UPRIGHT.turn(180)
    assert pipe.look(photo).turn == 180
    for given in ({"turn": 0}, {"box": (0, 0, 120, 180)}, {"condition_pose": lying}, {"matte": photo},
                  {"people": [Detection(lying, 0, 0.9)]}):  # fmt: skip
        view = pipe.look(photo, **given)
        assert view.turn == 0 and view.photo_poses == [lying], given
    assert pipe.look(Photo.load(photo)).turn == 0
    assert pipe.find_people(photo)[0].pose == lying


def test_nobody_at_any_angle_is_an_error(pipe: PG2Pipeline, big_enough: None) -> None:
    with pytest.raises(NoPersonError):
        pipe.look(Image.new("RGB", (120, 180)))


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_prepare_turns_photos_and_crops_them_upright(
    detector: Corner, big_enough: None, tmp_path: Path, turned: int
) -> None:
    for person in ("anna", "ben"):
        (tmp_path / "photos" / person).mkdir(parents=True)
        turn_photo(photo_of_somebody(), turned if person == "ben" else 0).save(tmp_path / "photos" / person / "a.png")
    summary, count = prepare_photos(tmp_path / "photos", tmp_path / "people", (128, 64), detector, 1)
    assert count == 2 and summary.turned == ((("ben/a.png", -turned % 360),) if turned else ())
    in_file = read_keypoints(tmp_path / "people" / "photos.csv", (0, 0), person_of=lambda name: name)
    assert in_file.names == ("anna/a.png", "ben/a.png")
    torch.testing.assert_close(in_file.xy[1], UPRIGHT.turn(turned).xy, atol=0.6, rtol=0)
    table = read_photos(tmp_path / "people")
    assert np.array_equal(np.asarray(table.load(0)), np.asarray(table.load(1)))
    torch.testing.assert_close(table.xy[0], table.xy[1], atol=0.6, rtol=0)


def test_an_interrupted_run_remembers_what_it_turned(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        turn_photo(photo_of_somebody(), 180).save(tmp_path / "in" / name)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "in", tmp_path / "k.csv", Corner(True), 1, on_progress=stop)
    assert prepare(tmp_path / "in", tmp_path / "k.csv", Corner(True), 1).turned == (("a.png", 180), ("b.png", 180))


@pytest.mark.parametrize("crop", [[], ["--crop", "128x64"]])
def test_the_command_names_the_photos_that_are_not_upright(
    tmp_path: Path, crop: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "ben").mkdir(parents=True)
    turn_photo(photo_of_somebody(), 270).save(tmp_path / "in" / "ben" / "a.png")
    monkeypatch.setattr("pg2lib.detect.MediaPipeDetector", Corner(True))
    out = "people" if crop else "k.csv"
    assert main(["prepare", f"{tmp_path}/in", "--out", f"{tmp_path}/{out}", "--workers", "1", *crop]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "urned clockwise" in line]
    assert "a.png (90 degrees)" in line
    assert line.startswith("Turned") == bool(crop)


def test_keypoints_of_a_lying_person_crop_the_turned_photo(tmp_path: Path) -> None:
    for name, turned in (("anna", 0), ("ben", 180)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        turn_photo(photo_of_somebody(), turned).save(tmp_path / "photos" / name / "a.png")
    write_keypoints(tmp_path / "k.csv", [("anna/a.png", UPRIGHT), ("ben/a.png", UPRIGHT.turn(180))])
    crop_photos(tmp_path / "photos", tmp_path / "k.csv", tmp_path / "people", (128, 64))
    table = read_photos(tmp_path / "people")
    assert np.array_equal(np.asarray(table.load(0)), np.asarray(table.load(1)))
