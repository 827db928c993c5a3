"""People who are too small for the picture as a whole, with a landmark finder that misses whoever is small."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib.detect import tiles
from pg2lib.detect.looks import LOOKS, Landmarks
from pg2lib.detect.person import Box, Detection, detection_of, search_people
from pg2lib.detect.tiles import TILE_SIDES, Square, search_thoroughly, search_tiles, tiles_of
from pg2lib.errors import NoPersonError
from tests.detect.test_person import BLUE, RED, landmarks_in


class Nearsighted:
    """Finds the tallest block of a pure colour that is at least a fifth as high as the picture is long."""

    def __init__(self, tallest: float = 1.0) -> None:
        self.tallest, self.looks = tallest, 0

    def __call__(self, picture: Image.Image, min_confidence: float) -> Landmarks | None:
        self.looks += 1
        pixels = np.asarray(picture)[::2, ::2]
        boxes: list[Box] = []
        for colour in (RED, BLUE):
            rows, columns = np.nonzero((pixels == colour).all(axis=2))
            if len(rows):
                boxes.append((2 * columns.min(), 2 * rows.min(), 2 * columns.max(), 2 * rows.max()))
        heights = [(box[3] - box[1]) / max(picture.size) for box in boxes]
        seen = [box for height, box in sorted(zip(heights, boxes, strict=True)) if 0.2 < height < self.tallest]
        return landmarks_in(seen[-1]) if seen else None


def scene(*people: tuple[tuple[int, int, int], tuple[int, int, int, int]]) -> Image.Image:
    picture = Image.new("RGB", (800, 600), (90, 90, 90))
    for colour, box in people:
        picture.paste(colour, box)
    return picture


@pytest.mark.parametrize(("height", "level"), [(100, 0), (56, 1)])
@pytest.mark.parametrize("place", [(10, 5), (395, 280), (750, 490)])
def test_a_small_person_is_found_wherever_they_stand(height: int, level: int, place: tuple[int, int]) -> None:
    left, top = place
    picture = scene((RED, (left, top, left + height // 3, top + height)))
    (person,) = search_tiles(picture, Nearsighted())
    assert person.attempt == len(LOOKS) + level
    assert person.pose.canvas == (600, 800)
    found_left, found_top, found_right, found_bottom = person.pose.box
    assert left <= found_left and found_right <= left + height // 3
    assert found_top == pytest.approx(top + 0.08 * height, abs=3)
    assert found_bottom == pytest.approx(top + 0.96 * height, abs=3)


def test_somebody_in_several_tiles_counts_once_and_the_largest_person_comes_first() -> None:
    people = search_tiles(scene((RED, (300, 250, 330, 340)), (BLUE, (500, 200, 535, 310))), Nearsighted())
    assert [round(person.pose.box[0], -2) for person in people] == [500, 300]


def test_who_is_not_found_again_in_their_surroundings_does_not_count() -> None:
    picture = scene((RED, (350, 250, 380, 350)))
    assert search_tiles(picture, Nearsighted(tallest=0.5)) == []
    assert len(search_tiles(picture, Nearsighted(tallest=0.7))) == 1


@pytest.mark.parametrize(("hidden_from", "people"), [(25, 0), (27, 1)])
def test_of_whom_little_is_seen_in_their_surroundings_does_not_count(hidden_from: int, people: int) -> None:
    """From the head to the hips a person measures 0.27 of their surroundings, down to the knees 0.42."""
    see = Nearsighted()

    def cut_off(picture: Image.Image, min_confidence: float) -> Landmarks | None:
        found = see(picture, min_confidence)
        if found is not None and float(found.xy[:, 1].max() - found.xy[:, 1].min()) > 0.4 * picture.height:
            found.visibility[hidden_from:] = 0
        return found

    picture = scene((RED, (350, 250, 380, 350))).crop((50, 0, 750, 525))  # too small for the smaller tiles
    assert len(search_tiles(picture, cut_off)) == people


@pytest.mark.parametrize(("confidence", "people"), [(0.79, 0), (0.81, 1)])
def test_who_is_seen_unsurely_in_a_tile_does_not_count(confidence: float, people: int) -> None:
    see = Nearsighted()

    def unsure(picture: Image.Image, min_confidence: float) -> Landmarks | None:
        found = see(picture, min_confidence)
        return found and Landmarks(found.xy, torch.full((33,), confidence))

    assert len(search_tiles(scene((RED, (350, 250, 380, 350))), unsure)) == people


def test_at_most_four_people_are_found_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def somebody(image: Image.Image, square: Square, find: object, attempt: int) -> Detection:
        left, top, side = square
        seen = landmarks_in((left + 0.4 * side, top + 0.4 * side, left + 0.6 * side, top + 0.6 * side))
        return detection_of(seen, image, image, attempt)

    monkeypatch.setattr(tiles, "_confirmed", somebody)
    assert len(list(tiles_of((800, 600), 400))) == 6
    assert len(search_tiles(scene(), Nearsighted())) == 4


def test_a_person_who_is_found_in_the_whole_picture_is_found_as_before_and_no_tile_is_searched() -> None:
    picture = scene((RED, (350, 150, 450, 450)), (BLUE, (500, 200, 535, 310)))
    before, after = Nearsighted(), Nearsighted()
    assert search_thoroughly(picture, after) == search_people(picture, before)
    assert after.looks == before.looks


def test_tiles_are_searched_if_the_whole_picture_shows_nobody() -> None:
    picture = scene((RED, (350, 250, 380, 350)))
    with pytest.raises(NoPersonError):
        search_people(picture, Nearsighted())
    assert search_thoroughly(picture, Nearsighted()) == search_tiles(picture, Nearsighted())
    with pytest.raises(NoPersonError, match="800x600"):
        search_thoroughly(scene(), Nearsighted())


def test_small_pictures_are_not_searched_in_tiles() -> None:
    for size, looks in (((382, 382), 0), ((384, 384), 9), ((128, 64), 0)):
        finder = Nearsighted()
        assert search_tiles(Image.new("RGB", size), finder) == []
        assert finder.looks == looks, size


@pytest.mark.parametrize("size", [(1600, 1200), (900, 1600), (1000, 200), (640, 640)])
@pytest.mark.parametrize("share", TILE_SIDES)
def test_whoever_is_smaller_than_four_tenths_of_a_tile_lies_wholly_in_one(size: tuple[int, int], share: float) -> None:
    side = round(share * max(size))
    squares = list(tiles_of(size, side))
    small = int(0.4 * side)
    for left in range(0, size[0] - small, 23):
        for top in range(0, max(1, size[1] - small), 23):
            assert any(x <= left and left + small <= x + side and y <= top and top + small <= y + side
                       for x, y, _ in squares), (left, top)  # fmt: skip
