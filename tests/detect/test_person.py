"""Which detections are believed, who faces the camera, and several people, with a scripted landmark finder."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib.detect.looks import LOOKS, Landmarks, Look
from pg2lib.detect.person import (
    Box,
    Detection,
    detect_person,
    is_plausible,
    is_same_person,
    search_people,
)
from pg2lib.errors import NoPersonError
from pg2lib.pose import JOINTS, Pose

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


def joint(detection: Detection, name: str) -> tuple[float, float]:
    x, y = detection.pose.xy[JOINTS.index(name)].tolist()
    return x, y


def test_the_pose_of_a_large_photo_has_the_photos_size() -> None:
    script = Script(lambda picture: landmarks_in((0, 0, picture.width, picture.height)))
    detection = detect_person(grey(3000, 4500), script)
    assert script.shown[0][0] == (683, 1024)
    assert detection.pose.canvas == (4500, 3000)
    expected = Pose.from_blazepose(person_in((-0.5, -0.5, 2999.5, 4499.5)), torch.ones(33), (4500, 3000))
    # The person fills 683x1024 from centre to centre, so half a pixel of the reduced picture is missing on each side.
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


def even(image: Image.Image) -> float:
    """Replaces `back_odds`: front and back are equally likely."""
    return 0.0


def is_back(detection: Detection) -> bool:
    """Whether the left shoulder is on the left of the picture."""
    return joint(detection, "left shoulder") < joint(detection, "right shoulder")


@pytest.mark.parametrize(("height", "attempt"), [(191, 1), (192, 0)])
def test_a_tight_crop_is_only_searched_with_a_border(height: int, attempt: int) -> None:
    assert detect_person(grey(64, height), Script(from_behind), odds_of_back=even).attempt == attempt


def test_in_a_tight_crop_a_second_look_may_correct_a_front() -> None:
    backs = [attempt for attempt, look in enumerate(LOOKS) if look.sees_backs]
    sizes = [((1280, 1536), 0.1), ((480, 576), 0.1), ((320, 384), 0.1)]
    corrected = Script(in_the_middle, in_the_middle, from_behind)
    detection = detect_person(grey(64, 128), corrected, odds_of_back=even)
    assert detection.attempt == backs[1] and is_back(detection)
    assert corrected.shown == [((614, 870), 0.5), *sizes[:2]]
    for second in (None, in_the_middle, upside_down):
        confirmed = Script(in_the_middle, *[second] * 3)
        detection = detect_person(grey(64, 128), confirmed, odds_of_back=even)
        assert detection.attempt == 1 and not is_back(detection)
        assert confirmed.shown == [((614, 870), 0.5), *sizes]


def test_what_is_surely_a_front_is_not_looked_at_again() -> None:
    script = Script(in_the_middle, from_behind)
    assert not is_back(detect_person(grey(64, 128), script, odds_of_back=lambda _: -1.5))
    assert len(script.shown) == 1


def test_sides_are_exchanged_where_the_odds_contradict_the_detection() -> None:
    front = detect_person(grey(64, 128), Script(in_the_middle), odds_of_back=even)
    back = detect_person(grey(64, 128), Script(in_the_middle), odds_of_back=lambda _: 2.5)
    assert is_back(back)
    assert joint(back, "left ankle") == joint(front, "right ankle")
    missing = {name for name, seen in zip(JOINTS, back.pose.visible.tolist(), strict=True) if not seen}
    assert missing == {"nose", "right eye", "left eye"}, "a back shows no face"
    turned = detect_person(grey(64, 128), Script(from_behind), odds_of_back=lambda _: -3.5)
    assert not is_back(turned) and int(turned.pose.visible.sum()) == 18
    assert is_back(detect_person(grey(64, 128), Script(from_behind), odds_of_back=lambda _: -2.5))
    assert not is_back(detect_person(grey(64, 128), Script(in_the_middle), odds_of_back=lambda _: 1.5))


def test_a_body_almost_in_side_view_is_not_confirmed_as_a_back() -> None:
    def turned_by(torsos: float) -> Callable[[Image.Image], Landmarks]:
        def find(picture: Image.Image) -> Landmarks:
            found = from_behind(picture)
            middle, torso = picture.width / 2, float(found.xy[LEFT_HIP, 1] - found.xy[LEFT_SHOULDER, 1])
            width = float(found.xy[RIGHT_SHOULDER, 0] - found.xy[LEFT_SHOULDER, 0])
            found.xy[:, 0] = middle + (found.xy[:, 0] - middle) * torsos * torso / width
            return found

        return find

    for torsos, back in ((0.09, False), (0.11, True)):
        script = Script(in_the_middle, turned_by(torsos))
        assert is_back(detect_person(grey(256, 256), script)) is back


def test_the_odds_of_a_back_are_not_estimated_in_larger_pictures() -> None:
    def refuse(image: Image.Image) -> float:
        raise AssertionError(f"asked for {image.size}")

    small = Script(in_the_middle, in_the_middle, from_behind)
    assert is_back(detect_person(grey(256, 256), small, odds_of_back=refuse)), "a picture of 256 px is looked at again"
    assert not is_back(detect_person(grey(400, 600), Script(in_the_middle, from_behind), odds_of_back=refuse))


def test_a_second_look_is_not_taken_again_nor_at_a_photo() -> None:
    script = Script(*[None] * (len(LOOKS) - 2), in_the_middle)
    assert detect_person(grey(64, 128), script, odds_of_back=even).attempt == len(LOOKS) - 1
    assert len(script.shown) == len(LOOKS) - 1, "that look sees backs itself, and there is none after it"
    photo = Script(in_the_middle, from_behind)
    assert detect_person(grey(400, 600), photo).attempt == 0
    assert len(photo.shown) == 1


def test_the_picture_as_it_is_is_believed_and_other_looks_only_if_plausible() -> None:
    assert detect_person(grey(400, 600), Script(upside_down)).attempt == 0
    assert detect_person(grey(400, 600), Script(None, upside_down, in_the_middle)).attempt == 2


def test_nobody_is_an_error_with_size_and_attempts() -> None:
    script = Script(None, upside_down, None, upside_down)
    with pytest.raises(NoPersonError) as error:
        detect_person(grey(400, 600), script)
    assert len(script.shown) == len(LOOKS)
    assert f"400x600 pixels in {len(LOOKS)} attempts" in str(error.value)
    with pytest.raises(NoPersonError, match=f"64x128 pixels in {len(LOOKS) - 1} attempts"):
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


@pytest.mark.parametrize(
    ("seen", "attempt"),
    [([NOSE, LEFT_SHOULDER, LEFT_ELBOW], 1), ([NOSE, LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST], 0)],
)
def test_detections_with_fewer_than_four_joints_are_discarded(seen: list[int], attempt: int) -> None:
    def hardly_visible(picture: Image.Image) -> Landmarks:
        found = in_the_middle(picture)
        found.visibility[:] = 0
        found.visibility[seen] = 1
        return found

    assert detect_person(grey(400, 600), Script(hardly_visible, in_the_middle)).attempt == attempt


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
def test_a_plausible_person_is_upright_and_fills_the_crop(xy: torch.Tensor, plausible: bool) -> None:
    assert is_plausible(Landmarks(xy, torch.ones(33)), (128, 64)) is plausible


def rotated(degrees: float) -> torch.Tensor:
    """Somebody who leans, about the middle of the crop."""
    angle, middle = math.radians(degrees), torch.tensor([32.0, 64.0])
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return (person_in(STANDING_BOX) - middle) @ turn.T + middle


TORSO_PX = 0.3 * 120
"""From shoulders to hips of the person in `STANDING_BOX`."""


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        pytest.param(rotated(36), rotated(38), id="leaning by 37 degrees"),
        pytest.param(rotated(-36), rotated(-38), id="leaning to the other side"),
        pytest.param(
            altered(LEFT_ELBOW=(45.2, 28 + 1.35 * TORSO_PX), LEFT_WRIST=(45.2, 60)),
            altered(LEFT_ELBOW=(45.2, 28 + 1.45 * TORSO_PX), LEFT_WRIST=(45.2, 60)),
            id="an upper arm of 1.4 torsos",
        ),
        pytest.param(altered(NOSE=(32, 27)), altered(NOSE=(32, 29)), id="a nose as high as the shoulders"),
        pytest.param(person_in((10, 30, 54, 104)), person_in((10, 30, 54, 102)), id="half of the crop's height"),
    ],
)
def test_the_bounds_of_what_is_plausible(inside: torch.Tensor, outside: torch.Tensor) -> None:
    assert is_plausible(Landmarks(inside, torch.ones(33)), (128, 64))
    assert not is_plausible(Landmarks(outside, torch.ones(33)), (128, 64))


def test_invisible_landmarks_do_not_make_a_person_large() -> None:
    visibility = torch.zeros(33)
    visibility[:13] = 1  # Head and shoulders of a whole body.
    assert not is_plausible(Landmarks(person_in(STANDING_BOX), visibility), (128, 64))


# ---- several people

RED, BLUE, GREEN, PINK, AQUA = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 255), (0, 255, 255)


def people_of_colour(picture: Image.Image, min_confidence: float) -> Landmarks | None:
    """Finds the first block of a pure colour, as BlazePose finds one person at a time."""
    pixels = np.asarray(picture)
    for colour in (RED, BLUE, GREEN, PINK, AQUA):
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


@pytest.mark.parametrize(("shift", "same"), [(45.0, True), (55.0, False)])
def test_two_detections_are_one_person_if_more_than_half_of_one_lies_in_the_other(shift: float, same: bool) -> None:
    """Apart from the arms, the person is 100 pixels wide."""
    xy = torch.full((18, 2), math.nan)
    xy[[2, 5, 10, 13]] = torch.tensor([[100.0, 50], [200, 50], [100, 350], [200, 350]])
    wide = xy.clone()
    wide[7] = torch.tensor([400.0, 50])
    moved = Pose(wide + torch.tensor([shift, 0.0]), (400, 600))
    assert is_same_person(Detection(Pose(xy, (400, 600)), 0, 1.0), Detection(moved, 0, 1.0)) is same


def test_at_most_four_people_are_found() -> None:
    row = [(colour, (20 + 160 * i, 100, 100 + 160 * i, 500)) for i, colour in enumerate((RED, BLUE, GREEN, PINK, AQUA))]
    assert [len(search_people(scene(*row[:count]), people_of_colour)) for count in (3, 4, 5)] == [3, 4, 4]


def test_a_tight_crop_is_searched_for_one_person() -> None:
    crop = scene((RED, (100, 50, 300, 550)), (BLUE, (500, 50, 700, 550))).resize((128, 96))
    script_calls: list[float] = []

    def find(picture: Image.Image, min_confidence: float) -> Landmarks | None:
        script_calls.append(min_confidence)
        return people_of_colour(picture, min_confidence)

    assert [person.attempt for person in search_people(crop, find)] == [1]
    assert len(script_calls) in (1, 1 + sum(look.sees_backs for look in LOOKS)), "looks that check for a back"


def test_a_person_whom_only_a_later_look_finds_is_found() -> None:
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
        assert is_back(found[0]) is back, size
