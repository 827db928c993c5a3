"""Photos that lie on their side or stand on their head, and do not say so in their EXIF data.

BlazePose finds people at any angle, so the pose that was found tells how the photo must be turned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pg2lib.detect.looks import reduce_image
from pg2lib.detect.person import TIGHT_CROP_PX, Detection
from pg2lib.errors import NoPersonError
from pg2lib.images import turn_photo
from pg2lib.pose import JOINTS, Pose

Turn = Literal[0, 90, 180, 270]
"""Degrees clockwise."""

LYING, LEANING = 60.0, 45.0
"""Smallest angles in degrees, against upright, of a person from head to foot and of their trunk and legs, for which a
photo is turned. Somebody who bends over or sits has an upright trunk or upright legs."""

MIN_CONFIDENCE = 0.8
"""The lowest confidence of a person for whom a photo is turned in which nobody is found otherwise. They must also be
found in the turned photo as it is, without a border: looks with a border see a person in the silhouette of a horse."""

_MIDLINE = tuple(
    [JOINTS.index(name) for name in names]
    for names in (
        ("nose", "right eye", "left eye", "right ear", "left ear"),
        ("neck",),
        ("right hip", "left hip"),
        ("right knee", "left knee"),
        ("right ankle", "left ankle"),
    )
)
"""The joints whose means lie on the line from head to foot."""


def upright_turn(poses: Sequence[Pose]) -> Turn:
    """Return by how many degrees clockwise a photo must be turned for its people to be upright.

    Large people count more than small ones.

    Args:
        poses: poses of the people in pixels of the photo.

    Returns:
        0 if they are upright; also if they bend over, or if the poses do not tell.
    """
    upright, lying = 0.0, torch.zeros(2)
    for pose in poses:
        whole, *parts = _midline(pose)
        if _leans(whole, LYING) and all(_leans(part, LEANING) for part in parts if part.any()):
            lying += whole
        else:
            upright += float(whole.norm())
    if float(lying.norm()) <= upright:
        return 0
    turns: tuple[Turn, ...] = (0, 90, 180, 270)
    return turns[round(_angle(lying) / 90) % 4]


def _midline(pose: Pose) -> tuple[Float[Tensor, "2"], Float[Tensor, "2"], Float[Tensor, "2"]]:
    """Return the vectors from the head to the lowest point of the midline, along the trunk, and along the legs.

    A vector whose ends are not both visible is (0, 0).
    """
    points = [pose.xy[joints].nanmean(dim=0) for joints in _MIDLINE]
    visible = [point for point in points if not point.isnan().any()]
    whole = visible[-1] - visible[0] if visible else torch.zeros(2)
    _, neck, hips, knees, ankles = points
    legs = torch.where(ankles.isnan(), knees, ankles) - hips
    return whole, (hips - neck).nan_to_num(0.0), legs.nan_to_num(0.0)


def _angle(vector: Float[Tensor, "2"]) -> float:
    """Return the direction of a vector in degrees: 0 if it points down in the photo, 90 if to the right."""
    x, y = vector.tolist()
    return math.degrees(math.atan2(x, y))


def _leans(vector: Float[Tensor, "2"], degrees: float) -> bool:
    """Return whether a vector points down less closely than by an angle. One of length 0 does not lean."""
    return bool(vector.any()) and abs(_angle(vector)) >= degrees


def find_turn(image: Image.Image, people: Sequence[Detection], detect: Callable[[Image.Image], Detection]) -> Turn:
    """Return by how many degrees clockwise a photo should be turned, after a look at the turned photo.

    Other orientations are looked at only if the people do not stand upright, or if there are none.

    Args:
        image: RGB.
        people: the people found in the image; empty if nobody was found.
        detect: finds the most prominent person in a picture, or raises NoPersonError.

    Returns:
        0 if the photo is upright, or if no person stands upright in the turned photo.
    """
    turns: Sequence[Turn] = (90, 180, 270)
    if people:
        turns = [turn] if (turn := upright_turn([person.pose for person in people])) else []
    elif max(image.size) < TIGHT_CROP_PX:
        return 0
    picture = reduce_image(image)
    upright: dict[Turn, float] = {}
    for turn in turns:
        try:
            person = detect(turn_photo(picture, turn))
        except NoPersonError:
            continue
        whole = _midline(person.pose)[0]
        sure = person.attempt == 0 and person.confidence >= MIN_CONFIDENCE
        if bool(whole.any()) and not _leans(whole, LYING) and (people or sure):
            upright[turn] = person.confidence
    return max(upright, key=lambda turn: upright[turn], default=0)
