"""Heatmaps and pose masks of keypoints, computed in batches on the device of the keypoints.

The pixels are those of the authors' released routine (``convert_market.py``). A disc is centred on a whole pixel, the
coordinates truncated towards zero, and contains the pixels within a Euclidean distance of `radius_px`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from pg2lib.pose import FARTHEST_PX, MASK_LIMBS

CLOSING_PX = 5
"""Side of the square with which a pose mask is closed (released code)."""

Combine = Callable[[Tensor, Tensor], Tensor]
"""`torch.maximum` (union, dilation) or `torch.minimum` (erosion). Masks are uint8, which torch processes fastest."""


def render_heatmaps(
    xy: Float[Tensor, "batch 18 2"], canvas: tuple[int, int], radius_px: int = 4
) -> Float[Tensor, "batch 18 height width"]:
    """Render one heatmap per joint: 1 within `radius_px` of the keypoint, 0 elsewhere (Ma et al. 2017, section 3.1).

    Args:
        xy: pixels, x first. NaN or infinite joints are missing, and their heatmaps are all zero. Of a joint outside the
            canvas, the part of the disc that lies on the canvas is rendered.
        canvas: (height, width) in pixels.
        radius_px: radius of the discs.

    Returns:
        float32 in {0, 1}.
    """
    height, width = canvas
    # Coordinates are truncated towards zero; missing joints are placed far outside any canvas.
    x, y = xy.nan_to_num(nan=-FARTHEST_PX).clamp(-FARTHEST_PX, FARTHEST_PX).trunc().float().unbind(-1)
    columns = (torch.arange(width, device=xy.device) - x[..., None]).square()  # (batch, 18, width)
    rows = radius_px**2 - (torch.arange(height, device=xy.device) - y[..., None]).square()  # (batch, 18, height)
    heatmaps = torch.empty(*xy.shape[:2], height, width, device=xy.device)
    return torch.le(columns[..., None, :], rows[..., None], out=heatmaps)  # 1 and 0 without an extra bool tensor


def render_pose_masks(
    xy: Float[Tensor, "batch 18 2"], canvas: tuple[int, int], radius_px: int = 4, max_limb_px: float | None = None
) -> Float[Tensor, "batch 1 height width"]:
    """Render the pose mask M_B: discs along 23 limbs, then a 5x5 closing (Ma et al. 2017, section 3.1 and Figure 3).

    A limb is drawn if both its joints are present, as discs at both ends and at i/n of its length for i = 1..n-1, where
    n = int(length / radius_px). Time and memory are limited by the size of the canvas, however far away joints are.

    Args:
        xy: pixels, x first. NaN or infinite joints are missing. Joints may lie outside the canvas.
        canvas: (height, width) in pixels.
        radius_px: radius of the discs.
        max_limb_px: an upper bound on the length of all limbs in `xy`. Without it, the greatest length is copied from
            the device, which waits for it.

    Returns:
        float32 in {0, 1}: 1 = body.
    """
    # Double precision keeps the truncated centres on the same side of whole numbers as in the released code.
    xy = xy.double().nan_to_num(math.nan, math.nan, math.nan).clamp(-FARTHEST_PX, FARTHEST_PX)
    ends = xy.index_select(1, _limb_ends(xy.device)).view(len(xy), len(MASK_LIMBS), 2, 2)
    start, end = ends[:, :, None, 0], ends[:, :, None, 1]  # (batch, 23, 1, 2)
    way = end - start  # NaN when an end is missing
    parts = (torch.linalg.vector_norm(way, dim=-1, keepdim=True) / radius_px).trunc().clamp_min(1)
    if max_limb_px is not None:
        most = max(1, int(max_limb_px / radius_px))
    else:
        most = int(parts.nan_to_num(nan=1.0).max()) if len(xy) else 1
    # Discs lie at least a radius apart, so no limb has more of them near the canvas than this.
    most_near = math.ceil(math.hypot(*(side + 2 * (radius_px + 2) for side in canvas)) / radius_px) + 4
    i = torch.arange(min(most, most_near) + 1, dtype=torch.float64, device=xy.device)[:, None]
    if most > most_near:
        i = i + _first_near(start, way, parts, canvas, radius_px + 2)
    centres = torch.where(i >= parts, end, start + way * i / parts)  # (batch, 23, most + 1, 2)
    return _close(_stamp_discs(centres.flatten(1, 2), canvas, radius_px)).float()[:, None]


def _first_near(start: Tensor, way: Tensor, parts: Tensor, canvas: tuple[int, int], margin: int) -> Tensor:
    """Return the number of the last point of each limb before it comes within a margin of the canvas, 0 if none is.

    Args:
        start, way: (batch, limbs, 1, 2), NaN where an end is missing.
        parts: number of parts of each limb, (batch, limbs, 1, 1).
        canvas: (height, width) in pixels.
        margin: in pixels.
    """
    far = start.new_tensor((canvas[1] + margin, canvas[0] + margin))
    enters = torch.minimum((-margin - start) / way, (far - start) / way)  # on each axis, as a fraction of the way
    return (enters.nan_to_num(nan=0.0).amax(dim=-1, keepdim=True).clamp(0, 1) * parts - 1).floor().clamp_min(0)


@lru_cache
def _limb_ends(device: torch.device) -> Tensor:
    """Return the joints at the start and end of each limb, cached on each device, so that no batch waits for a copy."""
    return torch.tensor(MASK_LIMBS, device=device).flatten()


def _stamp_discs(centres: Tensor, canvas: tuple[int, int], radius_px: int) -> Tensor:
    """Return the union of discs around centres (batch, points, 2), as a uint8 mask (batch, height, width) in {0, 1}."""
    # A margin holds centres outside the canvas whose discs reach it. Missing points go to its outer edge, where discs
    # do not reach the canvas.
    batch, margin = len(centres), radius_px + 1
    height, width = canvas[0] + 2 * margin, canvas[1] + 2 * margin
    x, y = centres.nan_to_num(nan=-margin).unbind(-1)
    x, y = x.clamp(-margin, canvas[1] + radius_px).long(), y.clamp(-margin, canvas[0] + radius_px).long()
    origin = torch.arange(batch, device=centres.device)[:, None] * (height * width) + margin * (width + 1)
    tail = 2 * margin * (width + 1)  # as far as a disc reaches
    flat = torch.zeros(batch * height * width + tail, dtype=torch.uint8, device=centres.device)
    flat.index_fill_(0, (x.add(y, alpha=width) + origin).flatten(), 1)
    # A disc is a stack of centred runs, one per row. So points are widened to runs, then runs are shifted and united.
    # In flat memory this is fast, and what crosses the end of a row lands in the margin, which is cut off.
    runs = [flat]  # runs[reach] holds runs of length 2 * reach + 1, shifted to the left by `reach`
    for _ in range(radius_px):
        runs.append(_combine(runs[-1], 3, step=1, how=torch.maximum))
    body = torch.zeros(batch * height * width, dtype=torch.uint8, device=centres.device)
    for dy in range(-radius_px, radius_px + 1):
        reach = math.isqrt(radius_px**2 - dy**2)
        start = (margin + dy) * width + margin - reach
        torch.maximum(body, runs[reach][start : start + len(body)], out=body)
    return body.view(batch, height, width)[:, : canvas[0], : canvas[1]]


def _close(mask: Tensor) -> Tensor:
    """Close a uint8 mask (batch, height, width) with a square. Pixels outside the mask are ignored."""
    return _in_squares(_in_squares(mask, torch.maximum, outside=0), torch.minimum, outside=1)


def _in_squares(mask: Tensor, how: Combine, outside: int) -> Tensor:
    """Return the maximum or minimum in the square around each pixel of a mask (batch, height, width)."""
    padded = pad(mask, [CLOSING_PX // 2] * 4, value=outside)
    _, height, width = padded.shape
    flat = _combine(padded.flatten(), CLOSING_PX, step=width, how=how)
    flat = _combine(flat, CLOSING_PX, step=1, how=how)
    return flat.as_strided(mask.shape, (height * width, width, 1))


def _combine(flat: Tensor, length: int, step: int, how: Combine) -> Tensor:
    """Return, for each place, the maximum or minimum of `length` values that start there and lie `step` apart."""
    done = 1
    while done < length:
        more = min(done, length - done)  # doubles the length, or adds what is left
        flat = how(flat[: -more * step], flat[more * step :])
        done += more
    return flat
