"""People who are too small in a photo for BlazePose: the photo is searched again in tiles.

BlazePose looks for people in a picture of 224x224 pixels, and misses those whose height is less than about a fifth of
the picture's longer side. The tiles of this module are squares that overlap, first of a half and then of a quarter of
that side. A detection in a tile counts if a look at its surroundings finds the same person again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from PIL import Image

from pg2lib.detect.looks import LOOKS, LandmarkFinder, Landmarks, look_at, reduce_image
from pg2lib.detect.person import (
    MAX_PEOPLE,
    MIN_JOINTS,
    Detection,
    detection_of,
    is_plausible,
    is_same_person,
    joint_count,
    most_prominent,
    search_people,
)
from pg2lib.errors import NoPersonError

TILE_SIDES = (1 / 2, 1 / 4)
"""Sides of the tiles, as fractions of the picture's longer side, in the order in which they are tried."""

MIN_TILE_PX = 192
"""Smaller tiles are not searched: a person in one of them would hardly be recognisable."""

MAX_STEP = 0.6
"""The largest distance of two neighbouring tiles, in sides: who is smaller than 0.4 sides lies wholly in a tile."""

MIN_HEIGHT, MIN_HEIGHT_AGAIN = 0.15, 0.3
"""The lowest height of a person in a tile, and of the same person in the picture of their surroundings."""

SURROUNDINGS = 1.8
"""Side of the square in which a person is looked for again, in heights of that person."""

MIN_CONFIDENCE = 0.8
"""The lowest confidence of a person who is found in a tile."""

Square = tuple[int, int, int]
"""Left, top and side in pixels."""


def search_thoroughly(
    image: Image.Image,
    find: LandmarkFinder,
    search: Callable[[Image.Image, LandmarkFinder], list[Detection]] = search_people,
) -> list[Detection]:
    """Find people in a picture as a whole and, only if nobody is found, in tiles.

    Args:
        image: RGB, of any size.
        find: the landmark finder to call.
        search: searches the picture as a whole.

    Raises:
        NoPersonError: nobody is found.
    """
    try:
        return search(image, find)
    except NoPersonError:
        if people := search_tiles(image, find):
            return people
        raise


def search_tiles(image: Image.Image, find: LandmarkFinder) -> list[Detection]:
    """Search a picture in tiles for people who are not found in the picture as a whole.

    Smaller tiles are searched only if larger ones show nobody. A person who is found in several tiles counts once.

    Args:
        image: RGB, of any size.
        find: the landmark finder to call.

    Returns:
        Up to `MAX_PEOPLE` people, the largest first, in pixels of the image. Their `Detection.attempt` is the number of
        looks, plus the index in `TILE_SIDES`.
    """
    for level, share in enumerate(TILE_SIDES):
        side = round(share * max(image.size))
        if side < MIN_TILE_PX:
            break
        people: list[Detection] = []
        for square in tiles_of(image.size, side):
            person = _confirmed(image, square, find, len(LOOKS) + level)
            if person is not None and not any(is_same_person(person, other) for other in people):
                people.append(person)
        if people:
            return most_prominent(people)[:MAX_PEOPLE]
    return []


def tiles_of(size: tuple[int, int], side: int) -> Iterator[Square]:
    """Yield squares that cover a picture of `size` (width, height). At the picture's edges they are cut off."""
    for top in _starts(size[1], side):
        for left in _starts(size[0], side):
            yield left, top, side


def _starts(length: int, side: int) -> list[int]:
    """Return evenly spaced starts of tiles along an axis."""
    steps = math.ceil(max(0, length - side) / (MAX_STEP * side))
    return [round(number * (length - side) / steps) for number in range(steps + 1)] if steps else [0]


def _confirmed(image: Image.Image, square: Square, find: LandmarkFinder, attempt: int) -> Detection | None:
    """Look for a person in a square, and again in the surroundings of the person who is found there."""
    first = _look(image, square, find, attempt, MIN_HEIGHT)
    if first is None:
        return None
    left, top, right, bottom = first.pose.box
    side = max(16, round(SURROUNDINGS * max(bottom - top, right - left)))
    around = (round((left + right - side) / 2), round((top + bottom - side) / 2), side)
    again = _look(image, around, find, attempt, MIN_HEIGHT_AGAIN)
    return again if again is not None and is_same_person(first, again) else None


def _look(
    image: Image.Image, square: Square, find: LandmarkFinder, attempt: int, min_height: float
) -> Detection | None:
    """Return the person in the part of a square that lies in the picture, in pixels of the picture."""
    left, top = max(0, square[0]), max(0, square[1])
    part = image.crop((left, top, min(image.width, square[0] + square[2]), min(image.height, square[1] + square[2])))
    picture = reduce_image(part)
    seen = look_at(picture, LOOKS[0], find)
    if seen is None or not is_plausible(seen, (picture.height, picture.width), min_height):
        return None
    scale = part.width / picture.width
    xy = (seen.xy.float() + 0.5) * scale - 0.5 + seen.xy.new_tensor((left, top))
    person = detection_of(Landmarks(xy, seen.visibility), image, image, attempt)
    return person if joint_count(person.pose) >= MIN_JOINTS and person.confidence >= MIN_CONFIDENCE else None
