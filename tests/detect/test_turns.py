"""Photos that lie on their side or stand on their head: the anatomy of poses, and looks at the turned photo."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image

from pg2lib.detect import Detection, suggested_turn
from pg2lib.detect.turns import find_turn, upright_turn
from pg2lib.errors import DataError, NoPersonError
from pg2lib.images import turn_photo
from pg2lib.pose import JOINTS, Pose
from tests.conftest import STANDING

CANVAS = (300, 200)
UPRIGHT = Pose(torch.tensor(STANDING, dtype=torch.float32) * 2 + 10, CANVAS)
MARK = (255, 0, 0)
"""Colour of the pixel in the upper left corner of the upright photo."""


def rotated(pose: Pose, degrees: float) -> Pose:
    """Rotate a pose clockwise about its neck."""
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return Pose((pose.xy - pose.xy[1]) @ turn.T + pose.xy[1], pose.canvas)


def only(pose: Pose, *names: str) -> Pose:
    """Leave out the joints whose names contain none of the words."""
    keep = torch.tensor([any(word in joint for word in names) for joint in JOINTS])
    return Pose(torch.where(keep[:, None], pose.xy, torch.nan), pose.canvas)


@pytest.mark.parametrize(
    ("lies", "turn"), [(0, 0), (59, 0), (-59, 0), (61, 270), (90, 270), (-90, 90), (-61, 90), (180, 180), (140, 180)]
)
@pytest.mark.parametrize("parts", [("",), ("nose", "neck", "shoulder", "hip"), ("nose", "neck"), ("neck", "hip")])
def test_a_pose_tells_how_its_photo_must_be_turned(lies: int, turn: int, parts: tuple[str, ...]) -> None:
    standing = UPRIGHT.xy.clone()
    standing[:, 0] = standing[1, 0]  # a person as thin as a line, so that all parts have the same angle
    assert upright_turn([only(rotated(Pose(standing, CANVAS), lies), *parts)]) == turn


def test_who_bends_over_is_upright() -> None:
    upper = ("nose", "neck", "shoulder", "elbow", "wrist", "eye", "ear")
    bent = UPRIGHT.xy.clone()
    hips = bent[[8, 11]].mean(dim=0)
    for number, joint in enumerate(JOINTS):
        if any(part in joint for part in upper):
            x, y = (bent[number] - hips).tolist()
            bent[number] = hips + torch.tensor((-y, x))
    assert upright_turn([Pose(bent, CANVAS)]) == 0
    assert upright_turn([Pose(bent, CANVAS).turn(180)]) == 180


@pytest.mark.parametrize(("leans", "turn"), [(40, 0), (50, 90)])
def test_who_sits_with_stretched_legs_has_an_upright_trunk_up_to_45_degrees(leans: int, turn: int) -> None:
    angle = math.radians(leans)
    along = torch.tensor([math.sin(angle), math.cos(angle)])
    xy = torch.full((18, 2), torch.nan)
    xy[1] = torch.tensor([50.0, 50.0])
    xy[0], xy[[8, 11]] = xy[1] - 12 * along, xy[1] + 50 * along
    xy[[10, 13]] = xy[8] + torch.tensor([90.0, 0.0])
    assert upright_turn([Pose(xy, CANVAS)]) == turn


def test_a_pose_that_does_not_tell_turns_nothing() -> None:
    assert upright_turn([]) == 0
    assert upright_turn([Pose(torch.full((18, 2), torch.nan), CANVAS)]) == 0
    assert upright_turn([only(rotated(UPRIGHT, 180), "ankle", "elbow")]) == 0


def test_the_largest_people_decide() -> None:
    small = Pose(UPRIGHT.xy / 3, CANVAS)
    assert upright_turn([rotated(UPRIGHT, 180), small]) == 180
    assert upright_turn([UPRIGHT, rotated(small, 180)]) == 0
    assert upright_turn([UPRIGHT, rotated(UPRIGHT, 180)]) == 0


class Looks:
    """In a detector's place: somebody is found where the photo is upright, and it is counted how often it looks."""

    def __init__(self, attempt: int = 0, confidence: float = 0.9, lies: float = 0) -> None:
        self.attempt, self.confidence, self.lies, self.count = attempt, confidence, lies, 0

    def detect(self, image: Image.Image) -> Detection:
        self.count += 1
        if image.getpixel((0, 0)) != MARK:
            raise NoPersonError("nobody")
        return Detection(rotated(UPRIGHT, self.lies), self.attempt, self.confidence)


def photo(turned: int = 0, size: tuple[int, int] = (200, 300)) -> Image.Image:
    upright = Image.new("RGB", size)
    upright.putpixel((0, 0), MARK)
    return turn_photo(upright, turned)


@pytest.mark.parametrize(("turned", "back"), [(90, 270), (180, 180), (270, 90)])
def test_the_turn_undoes_how_the_photo_was_turned(turned: int, back: int) -> None:
    for people, count in (([], 3), ([Detection(UPRIGHT.turn(turned), 0, 0.9)], 1)):
        looks = Looks()
        assert find_turn(photo(turned), people, looks.detect) == back
        assert looks.count == count
        assert suggested_turn(photo(turned), people, looks) == back, "with a detector of one's own"


def test_a_photo_with_upright_people_is_not_looked_at_again() -> None:
    looks = Looks()
    assert find_turn(photo(), [Detection(UPRIGHT, 3, 0.3)], looks.detect) == 0
    assert looks.count == 0


def test_a_photo_stays_if_nobody_is_upright_in_the_turned_photo() -> None:
    lying = [Detection(UPRIGHT.turn(90), 0, 0.9)]
    assert find_turn(photo(180), lying, Looks().detect) == 0, "nobody is found in it"
    assert find_turn(photo(90), lying, Looks(lies=90).detect) == 0, "they lie on their side in it as well"


def test_where_nobody_is_found_only_a_sure_detection_turns_the_photo() -> None:
    for doubtful in (Looks(attempt=1), Looks(confidence=0.79)):
        assert find_turn(photo(90), [], doubtful.detect) == 0
        assert find_turn(photo(90), [Detection(UPRIGHT.turn(90), 0, 0.9)], doubtful.detect) == 270
    assert find_turn(photo(90), [], Looks(confidence=0.81).detect) == 270


def test_a_tight_crop_without_a_person_is_not_turned() -> None:
    for height, count in ((191, 0), (192, 3)):
        looks = Looks()
        find_turn(photo(180, (64, height)), [], looks.detect)
        assert looks.count == count


def test_a_detector_that_places_a_joint_far_away_is_refused() -> None:
    xy = UPRIGHT.xy.clone()
    xy[4] = torch.tensor([1e4, 0.0])
    with pytest.raises(DataError, match="right wrist: expected coordinates within .* pixels, 10 times the canvas"):
        Detection(Pose(xy, (200, 100)), 0, 0.9)
