"""Filling a hole in a photo with texture that is copied from its surroundings.

Patches of the hole are compared with patches of the surroundings on small copies of the photo, from coarse to fine,
and the hole takes the colours of the best ones (Wexler, Shechtman and Irani, "Space-Time Completion of Video", PAMI
2007). Neighbours are then made to agree on where they are copied from, and the copies are made at the full resolution,
as by He and Sun, "Statistics of Patch Offsets for Image Completion" (ECCV 2012). `cv2.inpaint` makes no texture, and
the methods of `cv2.xphoto` that make some take seconds for one photo.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

Offsets = Int64[Tensor, "2 rows columns"]
"""For each pixel of a small copy, how far below and to the right of it lies what it is copied from, in its pixels."""

PATCH, REACH = 5, 2
"""Side of the patches and their reach around the middle, in pixels of the small copies."""

LEVELS = ((16, 1.5), (32, 1.2), (64, 0.9))
"""For each small copy, its longest side in pixels, and what vertical distance between a patch and its copy counts
beside differences of colour, in longest sides: the ground stays below and the sky above."""

HORIZONTAL = 0.07
"""What horizontal distance counts in comparison with vertical distance."""

ROUNDS = 5
"""How often patches are compared and colours are taken on each small copy."""

JUMPS = (4, 2, 1) * 3
"""From how far away offsets are proposed, one after the other, until neighbours agree."""

AGREEMENT, SHORTNESS = 0.002, 0.0002
"""What each neighbour with the same offset, and each pixel of an offset's length, counts beside the mean squared
difference of the patches: pieces are copied as a whole, and from nearby."""

SMALLEST_SHARE = 0.15
"""The least share of the canvas that can be copied from. A smaller one would be repeated like tiles."""


@torch.no_grad()
def fill_with_texture(
    image: Float[Tensor, "3 height width"],
    hole: Bool[Tensor, "1 height width"],
    usable: Bool[Tensor, "1 height width"],
) -> Float[Tensor, "3 height width"] | None:
    """Fill a hole by copying from its surroundings.

    Args:
        image: [-1, 1], the hole filled with smooth colours, which the search starts from.
        hole: the pixels to fill.
        usable: the pixels that may be copied; those of the hole never are.

    Returns:
        The image with the hole filled; None if too little of it can be copied, or the canvas is too small.
    """
    height, width = image.shape[1:]
    usable = usable & ~hole
    offsets: Tensor | None = None
    if usable.float().mean() >= SMALLEST_SHARE:
        for side, distance_weight in LEVELS:
            cell = math.ceil(max(height, width) / side)
            if height % cell == width % cell == 0 and min(height, width) // cell > PATCH:
                offsets = _search(image, hole, usable, cell, distance_weight, offsets)
    return None if offsets is None else torch.where(hole, _copied(image, offsets), image)


def _search(
    image: Float[Tensor, "3 height width"],
    hole: Bool[Tensor, "1 height width"],
    usable: Bool[Tensor, "1 height width"],
    cell: int,
    distance_weight: float,
    offsets: Tensor | None,
) -> Offsets | None:
    """Find what the hole is copied from, on a copy of the image that is `cell` times smaller.

    Args:
        distance_weight: see `LEVELS`.
        offsets: what a search on a smaller copy found.

    Returns:
        The offsets, zero where no patch touches the hole; None if no patch can be copied, or none has to be.
    """
    small = F.avg_pool2d(image[None], cell)
    gap = F.max_pool2d(hole.float(), cell)[0] > 0
    # Patches that reach beyond the border cannot be copied; those of the hole are completed by its mirror image.
    blocked = F.pad(F.max_pool2d((~usable).float(), cell), [REACH] * 4, value=1.0)
    whole = (F.max_pool2d(blocked, PATCH, stride=1)[0] == 0).flatten()
    sources = whole.nonzero()[:, 0]
    targets = (F.max_pool2d(gap[None].float(), PATCH, stride=1, padding=REACH)[0] > 0).flatten().nonzero()[:, 0]
    if not len(sources) or not len(targets):
        return None
    pixels = _pixels(gap.shape)
    place = pixels.T / max(gap.shape) * torch.tensor([distance_weight, distance_weight * HORIZONTAL])

    def features(filled: Tensor) -> Float[Tensor, "pixels features"]:
        return torch.cat((_patches(filled) / PATCH, place), dim=1)

    own, own_features = _patches(small), features(small)
    known = own_features[sources]
    half_square = known.square().sum(dim=1) / 2
    filled = small
    if offsets is not None:
        larger = F.interpolate(offsets[None].float(), size=gap.shape, mode="nearest")[0]
        larger *= gap.shape[0] / offsets.shape[1]
        row, column = _moved(pixels, larger.round().long().flatten(1), gap.shape)
        filled = torch.where(gap, small[:, :, row, column].view_as(small), small)
    for _ in range(ROUNDS):
        nearest = sources[(features(filled)[targets] @ known.T - half_square).argmax(dim=1)]
        filled = torch.where(gap, _voted(own[nearest], targets, gap.shape), small)
    found = torch.zeros_like(pixels)
    found[:, targets] = pixels[:, nearest] - pixels[:, targets]
    wanted = features(filled)[targets]
    return _agreed(found.view(2, *gap.shape), targets, wanted, own_features, whole)


def _pixels(size: torch.Size) -> Int64[Tensor, "2 pixels"]:
    """Return row and column of each pixel."""
    return torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij")).flatten(1)


def _moved(pixels: Tensor, offsets: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    """Return row and column of the pixels that lie by `offsets` from others, kept in the image."""
    row, column = (pixels + offsets).unbind(0)
    return row.clamp(0, size[0] - 1), column.clamp(0, size[1] - 1)


def _patches(image: Float[Tensor, "1 3 rows columns"]) -> Float[Tensor, "pixels features"]:
    """Return the patch around each pixel."""
    return F.unfold(F.pad(image, [REACH] * 4, mode="reflect"), PATCH)[0].T


def _voted(patches: Tensor, targets: Tensor, size: torch.Size) -> Float[Tensor, "1 3 rows columns"]:
    """Return for each pixel the mean of what the patches over it propose.

    Args:
        patches: (targets, features), the patch that is copied to each target.
        targets: indices of the pixels in the middle of them.
        size: (rows, columns).
    """
    votes = patches.new_zeros(1, patches.shape[1] + PATCH**2, size[0] * size[1])
    votes[0, : -(PATCH**2), targets] = patches.T
    votes[0, -(PATCH**2) :, targets] = 1
    total = F.fold(votes, (size[0] + 2 * REACH, size[1] + 2 * REACH), PATCH)[..., REACH:-REACH, REACH:-REACH]
    return total[:, :3] / total[:, 3:].clamp_min(1)


def _agreed(offsets: Offsets, targets: Tensor, wanted: Tensor, features: Tensor, whole: Tensor) -> Offsets:
    """Let neighbours agree on their offsets: each pixel tries those of pixels around it.

    Args:
        offsets: those found by each pixel alone.
        targets: indices of the pixels that have one.
        wanted: features of the patches of the filled image at the targets.
        features: features of the patches of the image at all pixels.
        whole: which of these patches can be copied.
    """
    size = offsets.shape[1:]
    here = _pixels(size)[:, targets]
    steps = torch.tensor([(i, j) for i in (0, -1, 1) for j in (0, -1, 1)])

    def around(jump: int) -> Int64[Tensor, "9 2 targets"]:
        row, column = (here + jump * steps[:, :, None]).unbind(1)
        return offsets[:, row.clamp(0, size[0] - 1), column.clamp(0, size[1] - 1)].transpose(0, 1)

    for turn, jump in enumerate(JUMPS):
        proposed, neighbours = around(jump), around(1)[1:]
        row, column = (here + proposed).unbind(1)
        inside = (row >= 0) & (row < size[0]) & (column >= 0) & (column < size[1])
        index = row.clamp(0, size[0] - 1) * size[1] + column.clamp(0, size[1] - 1)
        cost = (features[index] - wanted).square().sum(dim=2)
        cost -= AGREEMENT * (proposed[:, None] == neighbours).all(dim=2).sum(dim=1)
        cost += SHORTNESS * torch.linalg.vector_norm(proposed.float(), dim=1)
        best = torch.where(inside & whole[index], cost, torch.inf).argmin(dim=0)
        # Every other pixel, as on a chessboard, so that neighbours do not exchange their offsets.
        moves = here.sum(dim=0) % 2 == turn % 2
        chosen = proposed.gather(0, best.expand(1, 2, -1))[0]
        offsets[:, here[0, moves], here[1, moves]] = chosen[:, moves]
    return offsets


def _copied(image: Float[Tensor, "3 height width"], offsets: Offsets) -> Float[Tensor, "3 height width"]:
    """Copy at full resolution: a weighted mean of what the nine cells around each pixel propose.

    The weights are a quadratic B-spline over the distance from the middle of a cell, so that no cell has an edge.
    """
    size = image.shape[1:]
    cell = size[0] // offsets.shape[1]
    pixels = _pixels(size)
    around = F.pad(offsets[None].float(), [1] * 4, mode="replicate")[0].long() * cell
    off_middle = (pixels % cell + 0.5) / cell - 0.5
    weights = torch.stack(
        ((0.5 - off_middle).square() / 2, 0.75 - off_middle.square(), (0.5 + off_middle).square() / 2)
    )
    total = torch.zeros_like(image)
    for down in range(3):
        for right in range(3):
            row, column = pixels // cell + torch.tensor([[down], [right]])
            from_row, from_column = _moved(pixels, around[:, row, column], size)
            weight = weights[down, 0] * weights[right, 1]
            total += (weight * image[:, from_row, from_column]).view_as(image)
    return total
