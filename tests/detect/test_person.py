"""Detection: looks and their undoing, what counts as a person, several people; then MediaPipe itself on real photos."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pg2lib.data.market1501 import read_market1501
from pg2lib.detect import person as detect
from pg2lib.detect.person import (
    LOOKS,
    Box,
    Detection,
    Landmarks,
    Look,
    MediaPipeDetector,
    describe_framing,
    detect_person,
    detect_pose,
    find_people,
    is_plausible,
    look_at,
    search_people,
)
from pg2lib.errors import NoPersonError, PG2Error
from pg2lib.pose import JOINTS, Pose

ROOT = Path(__file__).resolve().parents[2]

NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, LEFT_WRIST = 0, 11, 12, 13, 15
LEFT_HIP, LEFT_KNEE, LEFT_ANKLE = 23, 25, 27


def person_in(box: Box) -> torch.Tensor:
    """The 33 landmarks (x, y) of somebody who stands upright, faces the camera and fills (left, top, right, bottom)."""
    left, top, right, bottom = box
    xy = torch.tensor([[0.5, 0.08]]).repeat(33, 1)
    xy[0, 1] = 0.1
    for x, side in ((0.8, 0), (0.2, 1)):  # Their left is on the picture's right.
        xy[LEFT_SHOULDER + side] = torch.tensor((x, 0.2))
        xy[LEFT_ELBOW + side] = torch.tensor((x, 0.36))
        xy[LEFT_WRIST + side] = torch.tensor((x, 0.5))
        xy[LEFT_HIP + side] = torch.tensor((x, 0.5))
        xy[LEFT_KNEE + side] = torch.tensor((x, 0.74))
        xy[LEFT_ANKLE + side] = torch.tensor((x, 0.96))
    return xy * torch.tensor((right - left, bottom - top)) + torch.tensor((left, top))


def landmarks_in(box: Box) -> Landmarks:
    return Landmarks(person_in(box), torch.ones(33))


class Script:
    """A landmark finder that answers from a list and remembers what it was shown."""

    def __init__(self, *answers: Callable[[Image.Image], Landmarks | None] | None) -> None:
        self.answers = list(answers)
        self.shown: list[tuple[tuple[int, int], float]] = []

    def __call__(self, picture: Image.Image, min_confidence: float) -> Landmarks | None:
        self.shown.append((picture.size, min_confidence))
        answer = self.answers.pop(0) if self.answers else None
        return answer(picture) if answer else None


def in_the_middle(picture: Image.Image) -> Landmarks:
    """A person in the part of the picture that is the photo, however wide the border."""
    width, height = picture.size
    return landmarks_in((width * 0.4, height * 0.33, width * 0.6, height * 0.67))


def from_behind(picture: Image.Image) -> Landmarks:
    found = in_the_middle(picture)
    return Landmarks(torch.tensor((picture.width, 0.0)) + found.xy * torch.tensor((-1.0, 1.0)), found.visibility)


def upside_down(picture: Image.Image) -> Landmarks:
    found = in_the_middle(picture)
    return Landmarks(torch.tensor((0.0, picture.height)) + found.xy * torch.tensor((1.0, -1.0)), found.visibility)


def grey(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (90, 90, 90))


# ---- looks, and the way back


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("size", [(64, 128), (256, 256), (700, 430)])
def test_a_dot_that_the_finder_sees_comes_back_where_it_was_painted(look: Look, size: tuple[int, int]) -> None:
    dots = {"left": (size[0] // 4, size[1] // 3), "right": (size[0] // 4 * 3, size[1] // 2)}
    photo = Image.new("RGB", size)
    radius = max(2, max(size) // 40)
    for (x, y), colour in zip(dots.values(), ((255, 0, 0), (0, 0, 255)), strict=True):
        photo.paste(colour, (x - radius, y - radius, x + radius + 1, y + radius + 1))
    seen_px = 0

    def centre(values: np.ndarray) -> tuple[float, float]:
        weights = np.where(values > 128, values, 0).astype(float)
        rows, columns = np.indices(values.shape)
        return (columns * weights).sum() / weights.sum(), (rows * weights).sum() / weights.sum()

    def find(picture: Image.Image, min_confidence: float) -> Landmarks:
        nonlocal seen_px
        assert min_confidence == look.min_confidence
        seen_px = max(picture.size)
        pixels = np.asarray(picture)
        seen = sorted((centre(pixels[:, :, 0]), centre(pixels[:, :, 2])))
        xy = torch.zeros(33, 2)
        # Somebody who faces the camera has their left on the picture's right, mirrored or not.
        xy[RIGHT_SHOULDER], xy[LEFT_SHOULDER] = torch.tensor(seen)
        return Landmarks(xy, torch.linspace(0, 1, 33))

    found = look_at(photo, look, find)
    assert found is not None
    assert look.longest_px in (None, seen_px)
    atol = 0.3 * max(1, max(size) * (1 + 2 * look.border) / seen_px)  # a third of a pixel, of the coarser picture
    torch.testing.assert_close(found.xy[RIGHT_SHOULDER], torch.tensor(dots["left"]).float(), atol=atol, rtol=0)
    torch.testing.assert_close(found.xy[LEFT_SHOULDER], torch.tensor(dots["right"]).float(), atol=atol, rtol=0)
    mirrored = torch.linspace(0, 1, 33)[[LEFT_SHOULDER, RIGHT_SHOULDER]]
    seen = found.visibility[[LEFT_SHOULDER, RIGHT_SHOULDER]]
    torch.testing.assert_close(seen.flip(0) if look.mirrored else seen, mirrored)


def test_the_way_back_from_a_padded_and_enlarged_crop_is_exact() -> None:
    """64x128 with 35 % of 128 = 44.8 px on each side, enlarged 4 times: 614 (not 614.4) x 870 (not 870.4)."""
    shown = torch.tensor(((10.5 + 44.8) * 614 / 153.6 - 0.5, (20.5 + 44.8) * 870 / 217.6 - 0.5))
    script = Script(lambda _: Landmarks(shown.expand(33, 2), torch.ones(33)))
    found = look_at(grey(64, 128), Look(0.35), script)
    assert script.shown == [((614, 870), 0.5)]
    assert found is not None
    torch.testing.assert_close(found.xy, torch.tensor((10.0, 20.0)).expand(33, 2), atol=1e-4, rtol=0)


def test_a_border_repeats_the_edge_or_the_mean_colour() -> None:
    photo = grey(64, 128)
    photo.paste((250, 0, 0), (0, 0, 64, 64))  # The mean of it is (170, 45, 45).
    corners: dict[str, tuple[int, ...]] = {}

    def corner_of(look: Look) -> tuple[int, ...]:
        def find(picture: Image.Image, min_confidence: float) -> None:
            pixel = picture.getpixel((3, 3))
            assert isinstance(pixel, tuple)
            corners[look.fill] = pixel

        look_at(photo, look, find)
        return corners[look.fill]

    assert corner_of(Look(0.35, "edge")) == (250, 0, 0)
    assert corner_of(Look(0.5, "mean")) == (170, 45, 45)


def test_a_huge_photo_is_reduced_and_the_pose_comes_back_at_its_size() -> None:
    script = Script(lambda picture: landmarks_in((0, 0, picture.width, picture.height)))
    detection = detect_person(grey(3000, 4500), script)
    assert script.shown[0][0] == (683, 1024)
    assert detection.pose.canvas == (4500, 3000)
    expected = Pose.from_blazepose(person_in((-0.5, -0.5, 2999.5, 4499.5)), torch.ones(33), (4500, 3000))
    # The finder's person fills 683x1024 from centre to centre, so half a working pixel is lost on either side.
    torch.testing.assert_close(detection.pose.xy, expected.xy, atol=4.5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (5, 7)])
def test_pictures_of_absurd_shapes_have_nobody(size: tuple[int, int]) -> None:
    with pytest.raises(NoPersonError, match=f"{size[0]}x{size[1]} pixels"):
        detect_person(grey(*size), Script())


# ---- which look is believed


def test_looks_come_in_order_and_the_attempt_says_which_one_found_the_person() -> None:
    for attempt in range(len(LOOKS)):
        script = Script(*[None] * attempt, in_the_middle)
        assert detect_person(grey(400, 600), script).attempt == attempt
        assert [confidence for _, confidence in script.shown] == [look.min_confidence for look in LOOKS[: attempt + 1]]
    assert LOOKS[0] == Look(), "attempt 0 is the picture as it is"
    widths = [size[0] for (size, _), look in zip(script.shown, LOOKS, strict=True) if look.longest_px is None]
    assert widths[0] == min(widths), "borders make the picture larger"


def test_a_tight_crop_is_never_looked_at_as_it_is() -> None:
    script = Script(from_behind)
    assert detect_person(grey(64, 128), script, odds_of_back=even).attempt == 1
    assert script.shown == [((614, 870), 0.5)]


def even(image: Image.Image) -> float:
    """In the place of `back_odds`: it could be either."""
    return 0.0


def left_of(detection: Detection) -> bool:
    """Whether the left shoulder is on the left, as in a back."""
    return joint(detection, "left shoulder") < joint(detection, "right shoulder")


def test_in_a_tight_crop_a_second_look_may_see_that_a_front_is_a_back() -> None:
    backs = [attempt for attempt, look in enumerate(LOOKS) if look.sees_backs]
    sizes = [((1280, 1536), 0.1), ((480, 576), 0.1), ((320, 384), 0.1)]
    corrected = Script(in_the_middle, in_the_middle, from_behind)
    detection = detect_person(grey(64, 128), corrected, odds_of_back=even)
    assert detection.attempt == backs[1] and left_of(detection)
    assert corrected.shown == [((614, 870), 0.5), *sizes[:2]]
    for second in (None, in_the_middle, upside_down):
        confirmed = Script(in_the_middle, *[second] * 3)
        detection = detect_person(grey(64, 128), confirmed, odds_of_back=even)
        assert detection.attempt == 1 and not left_of(detection)
        assert confirmed.shown == [((614, 870), 0.5), *sizes]


def test_what_is_surely_a_front_is_not_looked_at_again() -> None:
    script = Script(in_the_middle, from_behind)
    assert not left_of(detect_person(grey(64, 128), script, odds_of_back=lambda _: -1.5))
    assert len(script.shown) == 1


def test_left_and_right_are_exchanged_where_the_odds_are_against_the_find() -> None:
    front = detect_person(grey(64, 128), Script(in_the_middle), odds_of_back=even)
    back = detect_person(grey(64, 128), Script(in_the_middle), odds_of_back=lambda _: 2.5)
    assert left_of(back)
    assert joint(back, "left ankle") == joint(front, "right ankle")
    missing = {name for name, seen in zip(JOINTS, back.pose.visible.tolist(), strict=True) if not seen}
    assert missing == {"nose", "right eye", "left eye"}, "a back shows no face"
    turned = detect_person(grey(64, 128), Script(from_behind), odds_of_back=lambda _: -3.5)
    assert not left_of(turned) and int(turned.pose.visible.sum()) == 18
    assert left_of(detect_person(grey(64, 128), Script(from_behind), odds_of_back=lambda _: -2.5))


def test_nobody_asks_for_the_odds_in_larger_pictures() -> None:
    def refuse(image: Image.Image) -> float:
        raise AssertionError(f"asked for {image.size}")

    small = Script(in_the_middle, in_the_middle, from_behind)
    assert left_of(detect_person(grey(256, 256), small, odds_of_back=refuse)), "a picture of 256 px is looked at again"
    assert not left_of(detect_person(grey(400, 600), Script(in_the_middle, from_behind), odds_of_back=refuse))


def test_a_second_look_is_not_taken_again_nor_at_a_photo() -> None:
    script = Script(*[None] * (len(LOOKS) - 2), in_the_middle)
    assert detect_person(grey(64, 128), script, odds_of_back=even).attempt == len(LOOKS) - 1
    assert len(script.shown) == len(LOOKS) - 1, "that look sees backs itself, and there is none after it"
    photo = Script(in_the_middle, from_behind)
    assert detect_person(grey(400, 600), photo).attempt == 0
    assert len(photo.shown) == 1


def test_a_first_look_is_believed_as_it_is_and_a_retry_only_where_it_is_plausible() -> None:
    assert detect_person(grey(400, 600), Script(upside_down)).attempt == 0
    assert detect_person(grey(400, 600), Script(None, upside_down, in_the_middle)).attempt == 2


def test_nobody_is_an_error_that_says_what_was_tried() -> None:
    script = Script(None, upside_down, None, upside_down)
    with pytest.raises(NoPersonError) as error:
        detect_person(grey(400, 600), script)
    assert len(script.shown) == len(LOOKS)
    assert str(error.value) == (
        f"found nobody in the picture of 400x600 pixels, looking at it as it is, then with {len(LOOKS) - 1} different "
        "borders, mirrored and not; 2 times there was something, but no plausible person. Try a picture in which one "
        "person is upright, well lit and large"
    )
    with pytest.raises(NoPersonError, match=f"looking at it with {len(LOOKS) - 1} different borders"):
        detect_person(grey(64, 128), Script())


def test_joints_outside_the_photo_or_hardly_visible_are_missing() -> None:
    def half_outside(picture: Image.Image) -> Landmarks:
        found = landmarks_in((0, 0, picture.width, 1.5 * picture.height))
        found.visibility[NOSE] = 0.4
        found.visibility[LEFT_WRIST] = 0.6
        return found

    detection = detect_person(grey(600, 600), Script(half_outside))
    missing = {name for name, seen in zip(JOINTS, detection.pose.visible.tolist(), strict=True) if not seen}
    assert missing == {"nose", "left knee", "right knee", "left ankle", "right ankle"}
    assert detection.confidence == pytest.approx((12 * 1 + 0.6) / 13)


def test_a_find_with_three_joints_in_the_picture_is_none() -> None:
    def mostly_outside(picture: Image.Image) -> Landmarks:
        found = in_the_middle(picture)
        found.visibility[:] = 0
        found.visibility[[NOSE, LEFT_SHOULDER, LEFT_ELBOW]] = 1
        return found

    assert detect_person(grey(400, 600), Script(mostly_outside, in_the_middle)).attempt == 1


STANDING_BOX: Box = (10, 4, 54, 124)


def altered(**points: tuple[float, float]) -> torch.Tensor:
    xy = person_in(STANDING_BOX)
    for name, point in points.items():
        xy[globals()[name]] = torch.tensor(point)
    return xy


@pytest.mark.parametrize(
    ("xy", "plausible"),
    [
        pytest.param(person_in(STANDING_BOX), True, id="standing"),
        pytest.param(person_in((10, 40, 54, 120)), True, id="half as high as the crop"),
        pytest.param(person_in((10, 4, 30, 60)), False, id="tiny"),
        pytest.param(128 - person_in(STANDING_BOX), False, id="upside down"),
        pytest.param(person_in((4, 10, 124, 54)).flip(1), False, id="lying"),
        pytest.param(altered(NOSE=(32, 60)), False, id="nose in the belly"),
        pytest.param(altered(LEFT_WRIST=(38, 120)), False, id="an arm to the feet"),
        pytest.param(altered(LEFT_ANKLE=(-90, 90)), False, id="a leg three metres long"),
        pytest.param(torch.full((33, 2), 30.0), False, id="one point"),
    ],
)
def test_what_a_retry_finds_must_be_an_upright_person_who_fills_the_crop(xy: torch.Tensor, plausible: bool) -> None:
    assert is_plausible(Landmarks(xy, torch.ones(33)), (128, 64)) is plausible


def test_invisible_landmarks_do_not_make_a_person_large() -> None:
    visibility = torch.zeros(33)
    visibility[:13] = 1  # Head and shoulders of a whole body.
    assert not is_plausible(Landmarks(person_in(STANDING_BOX), visibility), (128, 64))


@pytest.mark.parametrize(
    ("problem", "key"),
    [("Missing", "0.weight"), ("Missing", "1.running_var"), ("Missing", "16.bias"), ("Unexpected", "17.weight")],
)
def test_the_weights_that_tell_backs_must_be_those_of_the_network(
    monkeypatch: pytest.MonkeyPatch, problem: str, key: str
) -> None:
    tensors = load_file(ROOT / "pg2lib" / "weights" / "facing" / "model.safetensors")
    if problem == "Missing":
        del tensors[key]
    else:
        tensors[key] = torch.zeros(1)
    monkeypatch.setattr(detect, "load_file", lambda path: tensors)
    with pytest.raises(RuntimeError, match=rf'{problem} key\(s\) in state_dict: "{key}"'):
        detect._back_network.__wrapped__()


# ---- several people

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)


def people_of_colour(picture: Image.Image, min_confidence: float) -> Landmarks | None:
    """Finds the first block of a pure colour that is left, as BlazePose finds one person at a time."""
    pixels = np.asarray(picture)
    for colour in (RED, BLUE, GREEN):
        rows, columns = np.nonzero((np.abs(pixels.astype(int) - colour) < 30).all(axis=2))
        if len(rows) > 500:
            return landmarks_in((columns.min(), rows.min(), columns.max(), rows.max()))
    return None


def scene(*people: tuple[tuple[int, int, int], tuple[int, int, int, int]]) -> Image.Image:
    picture = grey(800, 600)
    for colour, box in people:
        picture.paste(colour, box)
    return picture


def test_several_people_come_largest_first() -> None:
    people = search_people(
        scene((RED, (50, 200, 150, 400)), (BLUE, (300, 50, 500, 550)), (GREEN, (600, 150, 740, 500))), people_of_colour
    )
    lefts = [person.pose.box[0] for person in people]
    assert [300 < left < 500 for left in lefts] == [True, False, False]
    assert 600 < lefts[1] < 740 and 50 < lefts[2] < 150


def test_somebody_far_behind_does_not_count() -> None:
    people = search_people(scene((RED, (50, 50, 110, 180)), (BLUE, (300, 50, 500, 550))), people_of_colour)
    assert len(people) == 1
    assert people[0].pose.box[0] > 300


def test_an_arm_across_a_neighbour_does_not_hide_them() -> None:
    def with_a_long_arm(picture: Image.Image, min_confidence: float) -> Landmarks | None:
        found = people_of_colour(picture, min_confidence)
        if found is not None and float(found.xy[NOSE, 0]) < 300:
            found.xy[LEFT_WRIST, 0] = 700
        return found

    people = search_people(scene((RED, (100, 50, 250, 550)), (BLUE, (500, 50, 650, 550))), with_a_long_arm)
    assert sorted(joint(person, "nose")[0] > 300 for person in people) == [False, True]


def test_one_person_seen_again_is_one_person() -> None:
    assert len(search_people(grey(800, 600), lambda picture, _: in_the_middle(picture))) == 1


def test_no_more_people_than_asked_for() -> None:
    two = scene((RED, (50, 50, 150, 400)), (BLUE, (300, 50, 500, 550)))
    assert len(search_people(two, people_of_colour, most=1)) == 1


def test_a_tight_crop_holds_one_person_whoever_stands_behind() -> None:
    crop = scene((RED, (100, 50, 300, 550)), (BLUE, (500, 50, 700, 550))).resize((128, 96))
    script_calls: list[float] = []

    def find(picture: Image.Image, min_confidence: float) -> Landmarks | None:
        script_calls.append(min_confidence)
        return people_of_colour(picture, min_confidence)

    assert [person.attempt for person in search_people(crop, find)] == [1]
    assert len(script_calls) in (1, 1 + sum(look.sees_backs for look in LOOKS)), "one find, and looks for its back"


def test_a_person_whom_only_a_retry_finds_is_still_found() -> None:
    script = Script(None, None, in_the_middle)
    assert [person.attempt for person in search_people(grey(400, 600), script)] == [1]
    with pytest.raises(NoPersonError):
        search_people(grey(400, 600), Script())


def test_one_person_in_a_small_picture_is_who_detect_person_finds() -> None:
    def a_back_taken_for_a_front(picture: Image.Image, min_confidence: float) -> Landmarks:
        return in_the_middle(picture) if min_confidence == 0.5 else from_behind(picture)

    for size, back in (((256, 256), True), ((319, 200), True), ((320, 320), False)):
        found = search_people(grey(*size), a_back_taken_for_a_front)
        assert found == [detect_person(grey(*size), a_back_taken_for_a_front)]
        assert left_of(found[0]) is back, size


# ---- framing


@pytest.mark.parametrize(
    ("joints", "framing"),
    [
        (JOINTS, "full body"),
        ([name for name in JOINTS if "ankle" not in name], "down to the knees"),
        ([name for name in JOINTS if "ankle" not in name and name != "left knee"], "down to the knees"),
        ([name for name in JOINTS if "ankle" not in name and "knee" not in name], "upper body"),
        (["nose", "left ear", "neck", "left shoulder", "right shoulder", "left elbow"], "head and shoulders"),
        (["nose", "left eye", "right ear"], "head only"),
        (["left shoulder", "right shoulder", "neck", "left hip", "left knee", "left ankle"], "no head"),
        (["left hip", "right hip", "left knee"], "legs only"),
        ([], "nobody"),
    ],
)
def test_framing_in_plain_words(joints: list[str], framing: str) -> None:
    xy = [(5.0, 5.0) if name in joints else (math.nan, math.nan) for name in JOINTS]
    assert describe_framing(Pose(torch.tensor(xy), (20, 20))) == framing


# ---- the way MediaPipe is loaded


def test_without_mediapipe_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.pose", None)
    with pytest.raises(PG2Error, match=r'pip install "pg2lib\[pose\]"'):
        MediaPipeDetector()


def test_only_the_known_chatter_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="stop"), detect.chatter_held_back():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
        os.write(2, b"F0000 graph.cc:1] Check failed: a real error\n")
        raise RuntimeError("stop")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "F0000 graph.cc:1] Check failed: a real error\nafterwards\n"


# ---- MediaPipe


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


def test_the_astronaut(detector: MediaPipeDetector, astronaut: Image.Image) -> None:
    detection = detector.detect(astronaut)
    assert detection.attempt == 0
    assert joint(detection, "nose") == pytest.approx((223, 128), abs=10)
    assert joint(detection, "right eye") == pytest.approx((203, 111), abs=12)
    assert joint(detection, "left eye") == pytest.approx((243, 111), abs=12)
    assert describe_framing(detection.pose) in ("head and shoulders", "upper body")
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
    """In a process of its own, as MediaPipe says most things only once; `detector` is asked for its skip alone."""
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
    """Read off the photo by eye."""
    skier = find_people(photos / "000000000785.jpg")[0]
    assert describe_framing(skier.pose) == "full body"
    assert joint(skier, "nose") == pytest.approx((371, 82), abs=8)
    assert joint(skier, "right wrist") == pytest.approx((302, 181), abs=15)
    assert joint(skier, "right ankle") == pytest.approx((406, 344), abs=25)


def test_backs_are_told_from_fronts(market1501_root: Path) -> None:
    """Of test people, whom the network has not seen, by the shoulders of the annotations."""
    table = read_market1501(market1501_root, "test")
    assert table.paths is not None
    facing = table.xy[:, 5, 0] - table.xy[:, 2, 0]
    rows = (facing.abs() > 8).nonzero().flatten().numpy()
    right = [
        (detect.back_odds(Image.open(table.paths[row])) > 0) == bool(facing[row] < 0)
        for row in np.random.default_rng(0).choice(rows, 200, replace=False).tolist()
    ]
    assert statistics.mean(right) > 0.85


def test_market1501_crops(detector: MediaPipeDetector, market1501_root: Path) -> None:
    """Against the annotations that come with the data, on 40 crops."""
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
