"""Files that show several images: how these are arranged, and where the result lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST_PANELS = 6
"""The most panels that are told by the size of a file."""

MOST_GAP = 16
"""The widest gap and border that are told by the size of a file, in pixels."""

TOLERANCE = 0.01
"""How far the width of a panel may be from its aspect ratio: images of 1101x750 pixels become 256x174, not 256x176."""


@dataclass(frozen=True)
class Panels:
    """How the images in a file are arranged. The last one, on the right or at the bottom, is the result.

    Attributes:
        count: number of images.
        stacked: whether they are one below the other, and not side by side.
        gap: pixels between two images.
        border: pixels around all of them.
    """

    count: int = 1
    stacked: bool = False
    gap: int = 0
    border: int = 0

    def __str__(self) -> str:
        if self.count == 1:
            return "the whole image is"
        place, last = ("one below the other", "lowest") if self.stacked else ("side by side", "right")
        frame = f", with gaps of {self.gap} and a border of {self.border} pixels" if self.gap or self.border else ""
        return f"of {self.count} images {place}{frame}, the {last} one is"

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return (left, top, right, bottom) of the result in a file of this size."""
        length = (height if self.stacked else width) - 2 * self.border - self.gap * (self.count - 1)
        right, bottom = width - self.border, height - self.border
        if self.stacked:
            return self.border, bottom - length // self.count, right, bottom
        return right - length // self.count, self.border, right, bottom


def find_panels(
    size: tuple[int, int], height: int, widths: Sequence[int], counts: Iterable[int] | None = None
) -> tuple[Panels, int] | None:
    """Tell from the size of a file how many images it shows, and how they are arranged.

    Images side by side without a gap may be of any size. Stacked ones, and those with gaps such as `torchvision`'s
    ``save_image`` leaves them, must have the size of the scored images.

    Args:
        size: (height, width) of the file in pixels.
        height: that of the scored images.
        widths: the possible widths of the scored images, the likelier ones first.
        counts: the possible numbers of images; None means up to `MOST_PANELS`.

    Returns:
        The arrangement and the width of the scored images, or None if nothing fits.
    """
    numbers = list(range(1, MOST_PANELS + 1) if counts is None else counts)
    possible = [(count, width) for count in numbers for width in widths]
    fitting = [
        (panels, width)
        for stacked in (False, True)
        for count, width in possible
        if (panels := _of_size(size, (height, width), count, stacked)) is not None
    ]
    if fitting:
        return min(fitting, key=lambda found: found[0].gap + found[0].border)
    for count, width in possible:
        expected = count * width * size[0] / height
        if abs(size[1] - expected) <= TOLERANCE * expected:
            return Panels(count), width
    return None


def _of_size(size: tuple[int, int], image: tuple[int, int], count: int, stacked: bool) -> Panels | None:
    """Return how images of exactly this size (height, width) lie in a file; None if they do not fit."""
    if count == 1:
        return Panels() if size == image and not stacked else None
    along, across = (0, 1) if stacked else (1, 0)
    border, odd = divmod(size[across] - image[across], 2)
    if odd or not 0 <= border <= MOST_GAP:
        return None
    gap, rest = divmod(size[along] - 2 * border - count * image[along], count - 1)
    return Panels(count, stacked, gap, border) if not rest and 0 <= gap <= MOST_GAP else None
