"""Keypoints to heatmaps and pose masks, batched, on the device the keypoints are on.

The same pixels as the authors' released routine (``convert_market.py``): every disc has a whole-pixel centre, the
coordinate truncated towards zero, and holds the pixels within a Euclidean distance of `radius_px`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from pg2lib.pose import MASK_LIMBS

CLOSING_PX = 5
"""Side of the square that closes the gaps of a pose mask (released code)."""


def render_heatmaps(
    xy: Float[Tensor, "batch 18 2"], canvas: tuple[int, int], radius_px: int = 4
) -> Float[Tensor, "batch 18 height width"]:
    """One channel a joint: 1 within `radius_px` of the keypoint, 0 elsewhere (section 3.1).

    Args:
        xy: pixels, x first; NaN rows are missing joints and give an all-zero channel. A joint outside the canvas gives
            the part of its disc that reaches in.
        canvas: (height, width) in pixels.

    Returns:
        float32 in {0, 1}.
    """
    batch, joints, _ = xy.shape
    height, width = canvas
    offsets = _disc(radius_px, xy.device)
    x, y = (_centres(xy)[..., None, :] + offsets).unbind(-1)  # (batch, 18, pixels of a disc)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    channel = torch.arange(batch * joints, device=xy.device).view(batch, joints, 1)
    # Pixels that fall outside are written to one spare place at the end.
    index = torch.where(inside, (channel * height + y) * width + x, batch * joints * height * width)
    flat = torch.zeros(batch * joints * height * width + 1, device=xy.device)
    flat.index_fill_(0, index.flatten(), 1.0)
    return flat[:-1].view(batch, joints, height, width)


def render_pose_masks(
    xy: Float[Tensor, "batch 18 2"], canvas: tuple[int, int], radius_px: int = 4, max_limb_px: float | None = None
) -> Float[Tensor, "batch 1 height width"]:
    """The pose mask M_B, 1 = body: discs along 23 limbs, then a 5x5 morphological closing (section 3.1, Figure 3).

    A limb is drawn when both its joints are present: discs at both ends and at i/n of the way for i = 1..n-1, n =
    int(length / radius_px).

    Args:
        xy: pixels, x first; NaN rows are missing joints. Joints may lie outside the canvas.
        canvas: (height, width) in pixels.
        max_limb_px: an upper bound on the length of any limb in `xy`. Without it the longest is read back from the
            device.

    Returns:
        float32 in {0, 1}.
    """
    # Double precision: a disc's centre is truncated, and must not fall on the other side of a whole number.
    start, end = (xy.index_select(1, joints).double() for joints in _limb_ends(xy.device))  # (batch, 23, 2)
    length = (end - start).square().sum(-1).sqrt()  # NaN when an end is missing
    if max_limb_px is None:
        max_limb_px = float(length.nan_to_num(nan=0.0).max()) if length.numel() else 0.0
    parts = (length / radius_px).nan_to_num(nan=0.0).trunc()[..., None, None]  # n, (batch, 23, 1, 1)
    i = torch.arange(1, max(2, int(max_limb_px / radius_px)), device=xy.device).double()[:, None]
    between = start[..., None, :] + (end - start)[..., None, :] * i / parts  # (batch, 23, n - 1, 2)
    between = torch.where(i < parts, between, torch.nan)
    ends = torch.where(
        length.isnan()[..., None, None], torch.nan, torch.stack((start, end), dim=2)
    )  # (batch, 23, 2, 2)
    centres = torch.cat((ends, between), dim=2).flatten(1, 2)
    return _close(_stamp_discs(centres, canvas, radius_px)).float()[:, None]


@lru_cache
def _limb_ends(device: torch.device) -> tuple[Tensor, Tensor]:
    """The joints at which limbs start and end. Kept on each device, so that no batch waits for them to be copied."""
    start, end = torch.tensor(MASK_LIMBS, device=device).unbind(1)
    return start, end


@lru_cache
def _disc(radius_px: int, device: torch.device) -> Tensor:
    """(x, y) offsets of the pixels within `radius_px` of a centre: 49 of them for a radius of 4."""
    side = torch.arange(-radius_px, radius_px + 1)
    y, x = torch.meshgrid(side, side, indexing="ij")
    inside = x.square() + y.square() <= radius_px**2
    return torch.stack((x[inside], y[inside]), dim=-1).to(device)


def _centres(xy: Tensor) -> Tensor:
    """Whole-pixel centres, truncated towards zero; missing joints go far outside any canvas."""
    return xy.nan_to_num(nan=-1e6).clamp(-1e6, 1e6).trunc().long()


def _stamp_discs(centres: Tensor, canvas: tuple[int, int], radius_px: int) -> Tensor:
    """The union of discs around (batch, points, 2) centres: bool (batch, height, width)."""
    batch = len(centres)
    height, width = canvas[0] + 2 * radius_px, canvas[1] + 2 * radius_px  # a disc centred outside may reach in
    x, y = (_centres(centres) + radius_px).unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    image = torch.arange(batch, device=centres.device)[:, None]
    index = torch.where(inside, (image * height + y) * width + x, batch * height * width)
    flat = torch.zeros(batch * height * width + 1, dtype=torch.bool, device=centres.device)
    flat.index_fill_(0, index.flatten(), True)
    # A disc is a stack of centred runs, one a row: spread the points sideways by each run's reach, then shift and
    # unite.
    # In one flat piece of memory that is quick; what runs over the end of a row lands in the margin, which is cut off.
    runs = [flat[:-1]]
    for _ in range(radius_px):
        runs.append(_spread(runs[-1], dim=0))
    body = torch.zeros(batch, *canvas, dtype=torch.bool, device=centres.device)
    for dy in range(-radius_px, radius_px + 1):
        run = runs[math.isqrt(radius_px**2 - dy**2)].view(batch, height, width)
        body |= run[:, radius_px + dy : radius_px + dy + canvas[0], radius_px : radius_px + canvas[1]]
    return body


def _close(mask: Tensor) -> Tensor:
    """Morphological closing of a bool (batch, height, width) mask by a square; what lies outside has no say."""
    for _ in range(CLOSING_PX // 2):
        mask = _spread(_spread(mask, dim=-1), dim=-2)
    outside = ~mask
    for _ in range(CLOSING_PX // 2):  # erosion is the dilation of what is outside
        outside = _spread(_spread(outside, dim=-1), dim=-2)
    return ~outside


def _spread(mask: Tensor, dim: int) -> Tensor:
    """Dilation of a bool mask by one pixel either way along one dimension."""
    spread = mask.clone()
    inner = mask.shape[dim] - 1
    spread.narrow(dim, 1, inner).bitwise_or_(mask.narrow(dim, 0, inner))
    spread.narrow(dim, 0, inner).bitwise_or_(mask.narrow(dim, 1, inner))
    return spread
