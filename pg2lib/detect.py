"""From a photo to a pose: MediaPipe, asked again where its first look finds nobody.

BlazePose, the network behind MediaPipe, was made for whole photos. In a tight crop, such as those of Market-1501, it
misses more than half of the people; with a border around the crop, and the crop mirrored, it finds nearly all. So a
detector takes a list of looks (`LOOKS`) at the picture. What a retry finds has to look like an upright person who fills
the picture (`is_plausible`), because retries also see people where there are none.

The module costs nothing to import: ``mediapipe`` is loaded by the first detector that is made.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageOps
from torch import Tensor

from pg2lib.errors import DataError, NoPersonError, PG2Error
from pg2lib.images import Crop, ImageLike, load_image
from pg2lib.pose import BLAZEPOSE_TO_JOINTS, JOINTS, Pose

logger = logging.getLogger(__name__)

WORKING_SIDES_PX = (512, 1024)
"""Pictures are enlarged or reduced until their longer side lies in this range, then looked at."""

TIGHT_CROP_PX = 192
"""A picture whose longer side is shorter is taken for a crop around one person, and never looked at as it is."""

VISIBILITY_THRESHOLD = 0.5
"""Landmarks that MediaPipe thinks less visible are missing joints."""

MIN_JOINTS = 4
"""A find with fewer joints in the picture is none."""

MAX_PEOPLE = 4
"""`find_people` stops after so many."""

Framing = Literal[
    "full body", "down to the knees", "upper body", "head and shoulders", "head only", "no head", "legs only", "nobody"
]
"""How much of a person a pose shows."""


@dataclass(frozen=True)
class Detection:
    """A person found in a picture.

    Attributes:
        pose: on the canvas of the original picture; joints outside it, or hardly visible, are missing.
        attempt: index in `LOOKS` of the look that found the person; 0 is the picture as it is, and later looks are less
            certain.
        confidence: mean visibility in [0, 1] of the joints that are present, as MediaPipe estimates it.
    """

    pose: Pose
    attempt: int
    confidence: float


class PoseDetector(Protocol):
    """Anything that finds a person in an RGB picture."""

    def detect(self, image: Image.Image) -> Detection:
        """The most prominent person.

        Raises:
            NoPersonError: there is none.
        """
        ...


@dataclass(frozen=True, eq=False)
class Landmarks:
    """What BlazePose says of one person.

    Attributes:
        xy: float (33, 2), pixels of the picture that was looked at, x first; may lie outside.
        visibility: float (33,) in [0, 1].
    """

    xy: Float[Tensor, "33 2"]
    visibility: Float[Tensor, "33"]


LandmarkFinder = Callable[[Image.Image, float], Landmarks | None]
"""Picture and least detection confidence -> the landmarks of the most prominent person, or None."""


@dataclass(frozen=True)
class Look:
    """One way to show a picture to BlazePose.

    Attributes:
        border: width of the border laid around the picture, as a fraction of its longer side.
        fill: what the border repeats: the picture's edge pixels, or its mean colour.
        mirrored: left and right change places.
        min_confidence: of BlazePose's person detector.
    """

    border: float = 0.0
    fill: Literal["edge", "mean"] = "edge"
    mirrored: bool = False
    min_confidence: float = 0.5

    def __str__(self) -> str:
        if not self.border:
            return "as it is"
        repeated = "edge pixels" if self.fill == "edge" else "its mean colour"
        return f"with a border of {self.border:.0%} of {repeated}" + (", mirrored" if self.mirrored else "")


LOOKS = (
    Look(),
    Look(0.35, "edge"),
    Look(0.50, "mean"),
    Look(0.50, "mean", mirrored=True),
    Look(0.35, "edge", mirrored=True),
    Look(0.75, "mean", min_confidence=0.1),
    Look(1.00, "mean", min_confidence=0.1),
)
"""In the order in which they are tried. Chosen on 300 training crops of Market-1501."""

_MIRRORED_LANDMARKS = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9] + [i + 1 if i % 2 else i - 1 for i in range(11, 33)]
"""The BlazePose landmark that takes the place of each when the picture is mirrored."""


def is_plausible(landmarks: Landmarks, canvas: tuple[int, int]) -> bool:
    """Whether landmarks could be an upright person who fills a tight crop: the test for what a retry finds.

    Measured against the torso, from the middle of the shoulders to that of the hips: it leans less than 37 degrees, the
    nose is above the shoulders, no part of an arm or leg is longer than 1.4 of it (in Market-1501 the longest is 1.1).
    The visible landmarks span at least 45 % of the picture's height.

    Args:
        landmarks: in pixels of the original picture.
        canvas: its (height, width).
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
        and float(visible.max() - visible.min()) >= 0.45 * canvas[0]
    )


def detect_person(image: Image.Image, find: LandmarkFinder, looks: Sequence[Look] = LOOKS) -> Detection:
    """The first find among `looks` that can be believed: of the picture as it is any, of a retry a plausible one.

    Args:
        image: RGB, of any size. Tight crops (`TIGHT_CROP_PX`) are not looked at as they are.
        find: the landmark finder that is asked.
        looks: in the order in which to try them.

    Raises:
        NoPersonError: no look finds a person.
    """
    picture = _reduced(image)
    doubtful = 0
    for attempt, look in enumerate(looks):
        if not look.border and max(image.size) < TIGHT_CROP_PX:
            continue
        landmarks = look_at(picture, look, find)
        if landmarks is None:
            continue
        detection = _detection(landmarks, picture, image, attempt)
        retried = look.border > 0
        if int(detection.pose.visible.sum()) >= MIN_JOINTS and (
            not retried or is_plausible(landmarks, (picture.height, picture.width))
        ):
            return detection
        doubtful += 1
        logger.debug("look %d (%s) found no plausible person", attempt, look)
    raise NoPersonError(_nobody(image, doubtful))


def search_people(image: Image.Image, find: LandmarkFinder, most: int = MAX_PEOPLE) -> list[Detection]:
    """Several people in one picture, the largest first.

    BlazePose finds one person at a time, so whoever is found is painted over with the mean colour before the next look.
    A further find counts if it is a third as high as the largest person and is not somebody found before, seen again.
    In a tight crop only one person is looked for.

    Args:
        image: RGB, of any size.
        find: the landmark finder that is asked.
        most: stops after so many people.

    Returns:
        People found in the picture as it is; where there are none, the one person that `detect_person` finds by retrying;
        an empty list where it finds nobody.
    """
    people: list[Detection] = []
    picture = _reduced(image)
    if max(image.size) >= TIGHT_CROP_PX:
        colour = _mean_colour(picture)
        hidden = picture.copy()
        for _ in range(2 * most):
            landmarks = look_at(hidden, LOOKS[0], find)
            if landmarks is None:
                break
            found = _detection(landmarks, picture, image, attempt=0)
            if int(found.pose.visible.sum()) >= MIN_JOINTS and not any(_same(found, other) for other in people):
                people.append(found)
            ...
    return people


def look_at(image: Image.Image, look: Look, find: LandmarkFinder) -> Landmarks | None:
    """Shows a picture to a landmark finder in the way `look` says.

    Returns:
        Landmarks in pixels of `image`, with the border, enlarging and mirroring undone; None where nobody is found.
    """
    crop = _framed(image.size, look.border)
    picture = crop.apply(image)
    if look.border and look.fill == "mean":
        picture = _painted_outside(picture, crop, image)
    if look.mirrored:
        picture = ImageOps.mirror(picture)
    found = find(picture, look.min_confidence)
    if found is None:
        return None
    if look.mirrored:
        x, y = found.xy[_MIRRORED_LANDMARKS].unbind(dim=-1)
        xy = torch.stack((picture.width - 1 - x, y), dim=-1)
        found = Landmarks(xy, found.visibility[_MIRRORED_LANDMARKS])
    return Landmarks(crop.to_photo(found.xy), found.visibility)


def _framed(size: tuple[int, int], border: float) -> Crop:
    """The picture of `size` (width, height) with a border, brought to the working size."""
    width, height = size
    longest = max(size)
    scale = min(max(longest, WORKING_SIDES_PX[0]), WORKING_SIDES_PX[1]) / longest
    margin = border * longest
    canvas = (max(1, round((height + 2 * margin) * scale)), max(1, round((width + 2 * margin) * scale)))
    return Crop(-0.5 - margin, -0.5 - margin, width - 0.5 + margin, height - 0.5 + margin, canvas)


def _painted_outside(picture: Image.Image, crop: Crop, image: Image.Image) -> Image.Image:
    """The picture of a crop, with all that lies beyond the image in the image's mean colour."""
    corners = torch.tensor([(-0.5, -0.5), (image.width - 0.5, image.height - 0.5)], dtype=torch.float64)
    box = tuple(round(edge + 0.5) for edge in crop.to_canvas(corners).flatten().tolist())
    painted = Image.new("RGB", picture.size, _mean_colour(image))
    painted.paste(picture.crop(box), box[:2])
    return painted


def _mean_colour(image: Image.Image) -> tuple[int, int, int]:
    red, green, blue = np.asarray(image).mean(axis=(0, 1)).round().astype(int).tolist()
    return red, green, blue
