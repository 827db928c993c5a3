"""The two layers of an image: its backdrop without the person, and the person's colours without the backdrop."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

SMALLEST_WEIGHT = 1e-3
"""Least divisor of a weighted mean: if no pixel at all is known, the fill is grey."""

SURELY_PERSON = 0.95
"""From this value of the matte on, a pixel shows nothing but the person."""

PERSON_REACH_PX = 4
"""How far the colours of people are continued beyond their edge for the part warp."""


class Backdrop(NamedTuple):
    """The backdrops of a batch of images.

    Attributes:
        image: (batch, 3, height, width), [-1, 1].
        known: (batch, 1, 1, 1), the share of pixels that show the backdrop, [0, 1]. Where it is 0, as with a matte of
            ones, the image is grey.
    """

    image: Tensor
    known: Tensor


def backdrop_of(
    image: Float[Tensor, "batch 3 height width"],
    matte: Float[Tensor, "batch 1 height width"],
    inside: Bool[Tensor, "batch 1 height width"] | None = None,
) -> Backdrop:
    """Remove the people from images, and fill their places from the surroundings.

    The fill comes from a pyramid of weighted means ("push-pull", Gortler et al., "The Lumigraph", SIGGRAPH 1996): each
    level averages the known pixels of the finer one, and fills those that the finer level does not know.

    Args:
        image: [-1, 1].
        matte: mattes of the people, [0, 1].
        inside: which pixels show the photo; pixels beyond its edge are filled, too.
    """
    size = image.shape[-2:]
    person = matte if inside is None else matte.maximum((~inside).float())
    # At half the resolution, which is enough for a fill and takes a quarter of the time. Pixels near the edge of the
    # matte still show a little of the person.
    person = F.max_pool2d(person, 2, ceil_mode=True)
    known = (_widened(person, F.max_pool2d, reach=2) < 0.05).float()
    levels = [(F.avg_pool2d(image, 2, ceil_mode=True) * known, known)]
    while min(levels[-1][0].shape[-2:]) > 1:
        colour, weight = (F.avg_pool2d(x, 2, ceil_mode=True) for x in levels[-1])
        levels.append((colour, weight))
    filled = levels[-1][0] / levels[-1][1].clamp_min(SMALLEST_WEIGHT)
    for colour, weight in reversed(levels[:-1]):
        filled = colour + (1 - weight) * _enlarged(filled, colour.shape[-2:])
    soft = _enlarged(_widened(known, F.avg_pool2d, reach=1) * known, size)
    return Backdrop(_enlarged(filled, size).lerp(image, soft), known.mean(dim=(1, 2, 3), keepdim=True))


def person_of(
    image: Float[Tensor, "batch 3 height width"],
    matte: Float[Tensor, "batch 1 height width"],
    reach_px: int = PERSON_REACH_PX,
) -> Float[Tensor, "batch 3 height width"]:
    """Continue the colours of the people a few pixels beyond their edge.

    Pixels at the edge of the matte mix the person with the backdrop. Where the part warp moves them onto another part
    of the body, they would show as a seam.

    Args:
        image: [-1, 1].
        matte: mattes of the people, [0, 1]. Where they are 1, the image stays.
        reach_px: how far beyond their edge. Farther away, the image stays.
    """
    known = (matte >= SURELY_PERSON).float()
    sure = torch.cat((image * known, known), dim=1)
    # At half the resolution, as in `backdrop_of`.
    near = _widened(F.avg_pool2d(sure, 2, ceil_mode=True), F.avg_pool2d, reach_px // 2)
    colour, weight = torch.split(_enlarged(near, image.shape[-2:]), [3, 1], dim=1)
    continued = torch.where(weight > SMALLEST_WEIGHT, colour / weight.clamp_min(SMALLEST_WEIGHT), image)
    return torch.where(known > 0, image, continued)


def _widened(image: Tensor, pool: Callable[..., Tensor], reach: int) -> Tensor:
    """Return the greatest value, or the mean, of the square of pixels within `reach`: first rows, then columns."""
    size = 2 * reach + 1
    rows = pool(F.pad(image, [reach, reach, 0, 0], mode="replicate"), (1, size), stride=1)
    return pool(F.pad(rows, [0, 0, reach, reach], mode="replicate"), (size, 1), stride=1)


def _enlarged(image: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)
