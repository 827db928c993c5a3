"""From landmarks to people: which detections to believe, and who faces the camera.

The functions here call a landmark finder, such as BlazePose, once for each look of `pg2lib.detect.looks`. Every look
after the first also finds people where there are none, so its detections must resemble an upright person who fills the
picture (`is_plausible`). In small pictures BlazePose sees faces in the backs of heads and then exchanges left and
right, so a front is confirmed by other looks, and in tight crops by a network that distinguishes backs from fronts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image, ImageDraw

from pg2lib.detect.backs import back_odds
from pg2lib.detect.looks import (
    LOOKS,
    MIRRORED_LANDMARKS,
    LandmarkFinder,
    Landmarks,
    Look,
    look_at,
    mean_colour,
    reduce_image,
)
from pg2lib.errors import NoPersonError
from pg2lib.pose import BLAZEPOSE_TO_JOINTS, JOINTS, Pose

TIGHT_CROP_PX = 192
"""A picture whose longer side is shorter counts as a crop around one person. It is only searched with a border."""

SMALL_PX = 320
"""In a picture whose longer side is shorter, a person who faces the camera is looked at again."""

VISIBILITY_THRESHOLD = 0.5
"""A joint is missing where BlazePose estimates a lower visibility."""

MIN_JOINTS = 4
"""Detections with fewer joints inside the picture are discarded."""

MIN_BACK = 0.1
"""A look that checks for a back confirms one if the left shoulder is this far to the left of the right shoulder, in
torso lengths."""

SURELY_FRONT, NOT_SURELY_FRONT, SURELY_BACK = -3.0, -1.0, 2.0
"""Thresholds on `back_odds`. Below the first, a back is changed to a front. Above the second, a front is looked at
again. Above the third, a front that no other look corrected is changed to a back."""

MAX_PEOPLE = 4
"""The most people that `search_people` looks for."""

_FACE_WITHOUT_EARS = [0, 1, 2, 3, 4, 5, 6, 9, 10]

_ARMS = [i for i, name in enumerate(JOINTS) if name.endswith(("elbow", "wrist"))]

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels."""


@dataclass(frozen=True)
class Detection:
    """A person found in a picture.

    Attributes:
        pose: on the canvas of the original picture. Joints outside it and hardly visible joints are missing.
        attempt: index in `LOOKS` of the look that found the person: 0 for the picture as it is. Later looks are less
            certain. Higher numbers stand for the tiles of `pg2lib.detect.tiles`.
        confidence: mean visibility in [0, 1] of the joints that are present, as estimated by BlazePose.

    Raises:
        DataError: a joint is too far away from the canvas (see `pg2lib.pose.far_outside`).
    """

    pose: Pose
    attempt: int
    confidence: float

    def __post_init__(self) -> None:
        self.pose.checked()

    @property
    def area(self) -> float:
        """The area of the box around the joints, in square pixels; the largest person is the most prominent."""
        return _area(self.pose.box)


class PoseDetector(Protocol):
    """Anything that finds a person in an RGB picture."""

    def detect(self, image: Image.Image) -> Detection:
        """Find the most prominent person.

        Raises:
            NoPersonError: nobody is found.
        """
        ...


def detect_person(
    image: Image.Image,
    find: LandmarkFinder,
    odds_of_back: Callable[[Image.Image], float] = back_odds,
    max_looks: int = len(LOOKS),
) -> Detection:
    """Find the most prominent person in a picture, in three steps: find, doubt, decide.

    Args:
        image: RGB, of any size.
        find: the landmark finder to call.
        odds_of_back: estimates the log odds of a back in tight crops.
        max_looks: how many of `LOOKS` are tried.

    Raises:
        NoPersonError: no look finds a person.
    """
    picture = reduce_image(image)
    tight, small = max(image.size) < TIGHT_CROP_PX, max(image.size) < SMALL_PX
    looks = [(attempt, look) for attempt, look in enumerate(LOOKS[:max_looks]) if look.border or not tight]

    # Find: the first look that shows a believable person.
    attempt, landmarks = next(_believable(image, picture, looks, find), (-1, None))
    if landmarks is None:
        raise NoPersonError(
            f"found nobody in the picture of {image.width}x{image.height} pixels in {len(looks)} attempts. Use a "
            f"picture in which one person stands upright, is well lit and fills most of the height"
        )

    # Doubt: a front in a small picture may be a back. Unless the network is sure, the looks that see backs check it.
    odds = odds_of_back(image) if tight else 0.0
    if small and _facing(landmarks) > 0 and odds > NOT_SURELY_FRONT:
        later = [(number, look) for number, look in looks if number > attempt and look.sees_backs]
        sightings = _believable(image, picture, later, find)
        backs = ((number, seen) for number, seen in sightings if _facing(seen) < -MIN_BACK)
        attempt, landmarks = next(backs, (attempt, landmarks))

    # Decide: left and right change places where the network is sure of the opposite.
    facing = _facing(landmarks)
    if (facing > 0 and odds > SURELY_BACK) or (facing < 0 and odds < SURELY_FRONT):
        landmarks = _with_sides_exchanged(landmarks)
    return detection_of(landmarks, picture, image, attempt)


def _believable(
    image: Image.Image, picture: Image.Image, looks: Sequence[tuple[int, Look]], find: LandmarkFinder
) -> Iterator[tuple[int, Landmarks]]:
    """Take one look after the other, and yield the believable landmarks with the number of the look that found them.

    Without a border everything is believable, with a border only what is plausible. `MIN_JOINTS` must be present.
    """
    for attempt, look in looks:
        landmarks = look_at(picture, look, find)
        if landmarks is None or (look.border and not is_plausible(landmarks, (picture.height, picture.width))):
            continue
        if joint_count(detection_of(landmarks, picture, image, attempt).pose) >= MIN_JOINTS:
            yield attempt, landmarks


def is_plausible(landmarks: Landmarks, canvas: tuple[int, int], min_height: float = 0.5) -> bool:
    """Return whether landmarks could be an upright person who fills a tight crop.

    The torso reaches from the middle of the shoulders to the middle of the hips. It must lean less than 37 degrees, the
    nose must be above the shoulders, and no segment of an arm or leg may be longer than 1.4 torso lengths (the longest
    in Market-1501 has 1.1). The visible landmarks must span the given share of the picture's height.

    Args:
        landmarks: in pixels of the picture, without the border of a look.
        canvas: (height, width) of the picture.
        min_height: the smallest height of the visible landmarks, as a share of the picture's height.
    """
    xy = landmarks.xy
    shoulders, hips = xy[[11, 12]].mean(dim=0), xy[[23, 24]].mean(dim=0)
    torso = float((hips - shoulders).norm())
    visible = xy[landmarks.visibility > VISIBILITY_THRESHOLD, 1]
    if torso == 0 or len(visible) < MIN_JOINTS:
        return False
    segments = torch.tensor([(11, 13), (12, 14), (13, 15), (14, 16), (23, 25), (24, 26), (25, 27), (26, 28)])
    longest = float((xy[segments[:, 0]] - xy[segments[:, 1]]).norm(dim=1).max())
    return (
        float(hips[1] - shoulders[1]) >= 0.8 * torso
        and float(xy[0, 1]) <= float(shoulders[1])
        and longest <= 1.4 * torso
        and float(visible.max() - visible.min()) >= min_height * canvas[0]
    )


def _facing(landmarks: Landmarks) -> float:
    """Return how far the left shoulder is to the right of the right shoulder in the picture, in torso lengths.

    Positive for a person who faces the camera, negative for a back, near 0 in a side view.
    """
    xy = landmarks.xy
    torso = float((xy[[23, 24]].mean(dim=0) - xy[[11, 12]].mean(dim=0)).norm())
    return float(xy[11, 0] - xy[12, 0]) / max(torso, 1.0)


def _with_sides_exchanged(landmarks: Landmarks) -> Landmarks:
    """Exchange left and right, as for the same body seen from the other side. A back shows only the ears of a face."""
    exchanged = Landmarks(landmarks.xy[MIRRORED_LANDMARKS], landmarks.visibility[MIRRORED_LANDMARKS].clone())
    if _facing(exchanged) < 0:
        exchanged.visibility[_FACE_WITHOUT_EARS] = 0
    return exchanged


def detection_of(landmarks: Landmarks, picture: Image.Image, image: Image.Image, attempt: int) -> Detection:
    """Convert landmarks in pixels of a reduced picture to a detection on the canvas of the image.

    Args:
        landmarks: in pixels of `picture`.
        picture: the image, or the image reduced.
        image: the image that the detection belongs to.
        attempt: see `Detection`.
    """
    scale = torch.tensor((image.width / picture.width, image.height / picture.height))
    xy = (landmarks.xy.float() + 0.5) * scale - 0.5
    pose = Pose.from_blazepose(xy, landmarks.visibility, (image.height, image.width), VISIBILITY_THRESHOLD)
    of_joints = torch.stack([landmarks.visibility[list(parts)].mean() for parts in BLAZEPOSE_TO_JOINTS])
    confidence = float(of_joints[pose.visible].mean()) if pose.visible.any() else 0.0
    return Detection(pose, attempt, confidence)


def search_people(image: Image.Image, find: LandmarkFinder) -> list[Detection]:
    """Find several people in one picture, the largest first.

    BlazePose finds one person at a time, so each person found is painted over before the next search. Another person
    counts if their height is at least a third of the tallest person's, and if they do not overlap a person found
    before. A tight crop is searched for one person only.

    Args:
        image: RGB, of any size.
        find: the landmark finder to call.

    Returns:
        At most `MAX_PEOPLE` people who are found in the picture as it is. If there are none, or only one in a small
        picture, the person that `detect_person` finds.

    Raises:
        NoPersonError: nobody is found.
    """
    people = _search_one_by_one(image, find) if max(image.size) >= TIGHT_CROP_PX else []
    if not people or (len(people) == 1 and max(image.size) < SMALL_PX):
        return [detect_person(image, find)]
    return most_prominent(people)


def most_prominent(people: Sequence[Detection]) -> list[Detection]:
    """Return those people, the largest first, whose height is at least a third of the tallest person's."""
    tallest = max((_height(person.pose) for person in people), default=0.0)
    near = [person for person in people if _height(person.pose) >= tallest / 3]
    return sorted(near, key=lambda person: person.area, reverse=True)


def is_same_person(a: Detection, b: Detection) -> bool:
    """Return whether two detections overlap by more than half, apart from the arms."""
    return _overlap(_core_box(a.pose), _core_box(b.pose)) > 0.5


def _search_one_by_one(image: Image.Image, find: LandmarkFinder) -> list[Detection]:
    people: list[Detection] = []
    picture = reduce_image(image)
    paint = mean_colour(picture)
    for _ in range(MAX_PEOPLE):
        landmarks = look_at(picture, LOOKS[0], find)
        if landmarks is None:
            break
        person = detection_of(landmarks, picture, image, attempt=0)
        if joint_count(person.pose) < MIN_JOINTS:
            break
        if not any(is_same_person(person, other) for other in people):
            people.append(person)
        picture = _paint_over(picture, person.pose.resize((picture.height, picture.width)), paint)
    return people


def _paint_over(picture: Image.Image, pose: Pose, paint: tuple[int, int, int]) -> Image.Image:
    """Paint over the box of a person's core, with a margin for hair, clothes and feet."""
    left, top, right, bottom = _core_box(pose)
    margin = 0.15 * max(right - left, bottom - top)
    painted = picture.copy()
    ImageDraw.Draw(painted).rectangle((left - margin, top - margin, right + margin, bottom + margin), fill=paint)
    return painted


def _core_box(pose: Pose) -> Box:
    """Return the box of head, trunk and legs. Arms are left out, as they may reach across another person."""
    core = pose.visible.clone()
    core[_ARMS] = False
    return Pose(torch.where(core[:, None], pose.xy, torch.nan), pose.canvas).box if core.any() else pose.box


def joint_count(pose: Pose) -> int:
    """Return how many joints are present."""
    return int(pose.visible.sum())


def _height(pose: Pose) -> float:
    _, top, _, bottom = pose.box
    return bottom - top


def _area(box: Box) -> float:
    """Return the area of a box in square pixels, 0 if a side is negative."""
    left, top, right, bottom = box
    return max(0.0, right - left) * max(0.0, bottom - top)


def _overlap(a: Box, b: Box) -> float:
    """Return the share of the smaller of two boxes that lies in the other."""
    left, top, right, bottom = zip(a, b, strict=True)
    smaller = min(_area(a), _area(b))
    return _area((max(left), max(top), min(right), min(bottom))) / smaller if smaller else 1.0
