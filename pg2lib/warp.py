"""The part warp: body parts of the condition image, moved to where the target pose has them.

A small U-Net cannot move texture far: its skip connections hand on pixels where they were. Both poses are known,
however, so each part's motion is known too. Moving parts by simple transforms is Balakrishnan et al., "Synthesizing
Images of Humans in Unseen Poses" (CVPR 2018); Siarohin et al., "Deformable GANs for Pose-based Human Image Generation"
(CVPR 2018), do the same with features.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import grid_sample

from pg2lib.pose import JOINTS

SHOULDERS, HIPS, KNEES, FACE = (2, 5), (8, 11), (9, 12), (0, 14, 15, 16, 17)
NOSE, NECK = 0, 1


class Part(NamedTuple):
    """A part of the body: from the joints `start` to the joints `end`, grown by `radius` torso lengths."""

    name: str
    layer: int  # a greater one lies on top
    start: tuple[int, ...]
    end: tuple[int, ...]
    radius: float


LAP, TORSO, HEAD = 0, 5, 6
PARTS = (
    Part("lap", 0, HIPS, KNEES, 0.10),
    Part("right thigh", 1, (8,), (9,), 0.24),
    Part("left thigh", 1, (11,), (12,), 0.24),
    Part("right shin", 2, (9,), (10,), 0.20),
    Part("left shin", 2, (12,), (13,), 0.20),
    Part("torso", 3, SHOULDERS, HIPS, 0.10),
    Part("head", 4, (NECK,), FACE, 0.36),
    Part("right upper arm", 5, (2,), (3,), 0.16),
    Part("left upper arm", 5, (5,), (6,), 0.16),
    Part("right forearm", 6, (3,), (4,), 0.14),
    Part("left forearm", 6, (6,), (7,), 0.14),
)
"""The parts, lowest first. Parts of one layer are a left and a right one: a pixel belongs to the nearer."""

MAX_STRETCH = 2.5
"""Lap and torso move by an affine map while its singular values differ by less than this, else by a similarity."""

SCALE_BOUNDS = (0.6, 1.6)
"""How far the scale of head and limbs may be from the torso's."""

SURELY_PERSON = 0.9
"""Where parts meet, one whose matte is at least this lies over those whose matte is not, so that the backdrop beside an
arm does not hide the torso."""

ROWS_OF_CELLS = 128
"""On a canvas of so many rows or fewer every pixel has its own part; on a larger one squares of pixels share theirs."""

FARTHEST_PX = 1e5
"""Joints are looked for no farther away than this, so that sums of squares stay finite and exact enough."""


@torch.no_grad()
def warp_parts(
    condition_image: Float[Tensor, "batch 3 height width"],
    condition_xy: Float[Tensor, "batch 18 2"],
    target_xy: Float[Tensor, "batch 18 2"],
    matte: Float[Tensor, "batch 1 height width"] | None = None,
) -> tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch 1 height width"]]:
    """Body parts of the condition image, moved from the condition pose to the target pose.

    Each part is fitted to the joints that both poses have, and missing when these do not determine its motion. It needs
    two joints; the head also needs the nose in both poses or in neither, so that no face lies on the back of a head.
    Parts lie over each other in the order of `PARTS`. No gradient is computed, and autocast changes nothing.

    Args:
        condition_image: in [-1, 1].
        condition_xy: the pose in the condition image, in pixels, x first, pixel centres at integers; a missing joint is
            a NaN row. Joints may lie outside the image.
        target_xy: the pose to move to, likewise.
        matte: 1 where the condition image shows the person, 0 where it shows the background. None: 1 everywhere.

    Returns:
        The warped image, float32 in [-1, 1] and 0 where no part lies; and its coverage, float32 in [0, 1]: the matte
        moved in the same way, 0 where no part lies or where a part comes from outside the condition image.

    References:
        Balakrishnan et al., CVPR 2018; Siarohin et al., CVPR 2018.
    """
    with torch.autocast(condition_image.device.type, enabled=False):
        layers = condition_image.float()
        if matte is not None:
            layers = torch.cat((layers, matte.float()), dim=1)
        condition_xy, condition_known = _finite(condition_xy)
        target_xy, target_known = _finite(target_xy)
        grid, covered = _grid(condition_xy, condition_known, target_xy, target_known, layers[:, 3:], layers.shape[2:])
        moved = grid_sample(layers, grid, padding_mode="border", align_corners=False)
        moved = torch.where(covered[:, None], moved, 0)
    return moved[:, :3], moved[:, 3:] if matte is not None else covered[:, None].float()


def _finite(xy: Tensor) -> tuple[Float[Tensor, "batch 18 2"], Bool[Tensor, "batch 18"]]:
    """Keypoints with 0 for the missing ones, and which are there."""
    xy = xy.float()
    known = xy.isfinite().all(dim=-1)
    return torch.where(known[..., None], xy, 0).clamp(-FARTHEST_PX, FARTHEST_PX), known


def _grid(
    condition_xy: Tensor,
    condition_known: Tensor,
    target_xy: Tensor,
    target_known: Tensor,
    matte: Float[Tensor, "batch channels height width"],
    size: Sequence[int],
) -> tuple[Float[Tensor, "batch height width 2"], Bool[Tensor, "batch height width"]]:
    """Where each pixel of the target comes from, for `grid_sample`, and where that is a part inside the image."""
    height, width = size
    batch, device = len(target_xy), target_xy.device
    both = condition_known & target_known
    unit = torso_length(target_xy, target_known, height)
    torso_scale = torso_length(condition_xy, both, height) / torso_length(target_xy, both, height)
    matrix, offset, present = _motions(condition_xy, target_xy, both, torso_scale)
    present[:, HEAD] &= condition_known[:, NOSE] == target_known[:, NOSE]

    # Pixels to the coordinates of grid_sample: -1 and 1 are the outer edges of the first and the last pixel.
    sides = torch.tensor((width, height), device=device)
    matrix, offset = matrix * (2 / sides)[:, None], (2 * offset + 1) / sides - 1
    top = _top_parts(_regions(target_xy, target_known, unit), present, matrix, offset, matte, height, width)

    # Each pixel looks up the motion of its part.
    motions = torch.cat((matrix.flatten(2), offset), dim=2)  # (batch, part, 6)
    rows = top.clamp_min(1) - 1 + torch.arange(batch, device=device)[:, None, None] * len(PARTS)
    chosen = motions.flatten(0, 1).index_select(0, rows.flatten()).view(batch, height, width, 6)
    x, y = torch.arange(width, device=device), torch.arange(height, device=device)[:, None]
    grid = torch.stack(
        [chosen[..., 2 * i] * x + chosen[..., 2 * i + 1] * y + chosen[..., 4 + i] for i in (0, 1)], dim=-1
    )
    return grid, (top > 0) & (grid.abs().amax(dim=-1) < 1)


def _top_parts(
    regions: tuple[Tensor, ...],
    present: Bool[Tensor, "batch part"],
    matrix: Float[Tensor, "batch part 2 2"],
    offset: Float[Tensor, "batch part 2"],
    matte: Float[Tensor, "batch channels height width"],
    height: int,
    width: int,
) -> Int64[Tensor, "batch height width"]:
    """For every pixel 1 + the index of the part that lies there, 0 where none does.

    Of the parts whose regions meet, that is the topmost which surely brings something of the person; where none does,
    the topmost of all.
    """
    device = present.device
    cell = max(1, height // ROWS_OF_CELLS)
    x = (torch.arange(width // cell, device=device) + 0.5) * cell - 0.5
    y = ((torch.arange(height // cell, device=device) + 0.5) * cell - 0.5)[:, None]

    def plane(slope: Tensor, at_zero: Tensor) -> Tensor:
        """slope[0] x + slope[1] y + at_zero at every cell."""
        return slope[:, 0, None, None] * x + (slope[:, 1, None, None] * y + at_zero[:, None, None])

    # Region coordinates in radii, from the centre: along the axis and across it.
    centre, axis, half_length, half_width, radius = regions
    along, across = axis / radius, torch.stack((-axis[..., 1], axis[..., 0]), dim=-1) / radius
    along_0, across_0 = -(along * centre).sum(-1), -(across * centre).sum(-1)
    half_length, half_width = half_length / radius[..., 0], half_width / radius[..., 0]

    shape = len(present), len(y), len(x)
    top, bringing = torch.zeros(2, *shape, dtype=torch.uint8, device=device)
    for i, part in enumerate(PARTS):
        if i == 0 or part.layer != PARTS[i - 1].layer:
            nearest, nearest_bringing = x.new_ones(2, *shape)
        u = plane(along[:, i], along_0[:, i]).abs_().sub_(half_length[:, i, None, None]).relu_()
        v = plane(across[:, i], across_0[:, i]).abs_().sub_(half_width[:, i, None, None]).relu_()
        distance = u.mul_(u).addcmul_(v, v)
        here = (distance < nearest) & present[:, i, None, None]
        top.masked_fill_(here, i + 1)
        nearest = torch.where(here, distance, nearest)
        if matte.shape[1]:
            from_x, from_y = (plane(matrix[:, i, axis_number], offset[:, i, axis_number]) for axis_number in (0, 1))
            here = (distance < nearest_bringing) & present[:, i, None, None] & _surely_person(matte, from_x, from_y)
            bringing.masked_fill_(here, i + 1)
            nearest_bringing = torch.where(here, distance, nearest_bringing)
    top = torch.where(bringing > 0, bringing, top).long()
    return top if cell == 1 else top.repeat_interleave(cell, 1).repeat_interleave(cell, 2)


def _surely_person(matte: Tensor, from_x: Tensor, from_y: Tensor) -> Bool[Tensor, "batch rows columns"]:
    """Whether the matte says person at coordinates of `grid_sample`, at the nearest pixel."""
    height, width = matte.shape[2:]
    column, row = ((from_x + 1) * (width / 2)).floor(), ((from_y + 1) * (height / 2)).floor()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
    return (matte.flatten(1).gather(1, place.flatten(1)).view_as(place) >= SURELY_PERSON) & inside


def torso_length(xy: Tensor, known: Tensor, height: int) -> Float[Tensor, " batch"]:
    """Middle of the shoulders to middle of the hips, or an estimate of that from the joints that are known."""

    def distance(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        (middle_a, any_a), (middle_b, any_b) = _middle(xy, known, a), _middle(xy, known, b)
        length = torch.linalg.vector_norm(middle_a - middle_b, dim=-1)
        return length, any_a & any_b & (length > 1)

    length = torch.full_like(xy[:, 0, 0], height / 4)
    for a, b, ratio in (((NOSE,), (NECK,), 2.0), ((2,), (5,), 1.3), (SHOULDERS, HIPS, 1.0)):
        found, usable = distance(a, b)
        length = torch.where(usable, ratio * found, length)
    return length


def _middle(xy: Tensor, known: Tensor, joints: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The mean of those of the joints that are known, and whether any is."""
    chosen = list(joints)
    weight = known[:, chosen, None].float()
    count = weight.sum(dim=1)
    return (xy[:, chosen] * weight).sum(dim=1) / count.clamp_min(1), count[:, 0] > 0


def _motions(condition_xy: Tensor, target_xy: Tensor, both: Tensor, torso_scale: Tensor) -> tuple[Tensor, ...]:
    """For every part the map from the target to the condition image: 2x2 matrix, offset, and whether there is one.

    Least squares over the joints that both poses have, about their means.
    """
    device = target_xy.device
    weight = (_members(device) & both[:, None]).float()[..., None]  # (batch, part, 18, 1)
    count = weight.sum(dim=2)  # (batch, part, 1)
    target_mean = (weight * target_xy[:, None]).sum(dim=2) / count.clamp_min(1)
    condition_mean = (weight * condition_xy[:, None]).sum(dim=2) / count.clamp_min(1)
    p = (target_xy[:, None] - target_mean[:, :, None]) * weight
    q = (condition_xy[:, None] - condition_mean[:, :, None]) * weight
    pp = (p[..., :, None] * p[..., None, :]).sum(dim=2)  # (batch, part, 2, 2)
    qp = (q[..., :, None] * p[..., None, :]).sum(dim=2)
    spread = pp[..., 0, 0] + pp[..., 1, 1]
    usable = spread > 0.5  # px^2: the joints do not all coincide

    # Affine: qp inverse(pp).
    determinant = pp[..., 0, 0] * pp[..., 1, 1] - pp[..., 0, 1] * pp[..., 1, 0]
    flat = determinant <= 1e-4 * spread.square()  # all on a line
    cofactors = torch.stack((pp[..., 1, 1], -pp[..., 0, 1], -pp[..., 1, 0], pp[..., 0, 0]), dim=-1).view_as(pp)
    products = (qp[..., :, :, None] * cofactors[..., None, :, :]).sum(dim=-2)
    affine = products / torch.where(flat, 1.0, determinant)[..., None, None]
    area = (affine[..., 0, 0] * affine[..., 1, 1] - affine[..., 0, 1] * affine[..., 1, 0]).abs()
    # With singular values s and t: (s^2 + t^2) / (s t) < r + 1 / r is s / t < r.
    even = affine.square().sum(dim=(-2, -1)) < (MAX_STRETCH + 1 / MAX_STRETCH) * area
    is_affine = _broad(device) & (count[..., 0] >= 3) & ~flat & even

    # Similarity: the complex number sum(conj(p) q) / sum(|p|^2), which is scale and rotation.
    real = (qp[..., 0, 0] + qp[..., 1, 1]) / torch.where(usable, spread, 1.0)
    imaginary = (qp[..., 1, 0] - qp[..., 0, 1]) / torch.where(usable, spread, 1.0)
    scale = torch.hypot(real, imaginary)
    turns = usable & (scale > 1e-4)
    # Head and limbs keep near the torso's scale, and are not turned where their joints coincide.
    low, high = (bound * torso_scale[:, None] for bound in SCALE_BOUNDS)
    bounded = torch.where(usable, torch.minimum(torch.maximum(scale, low), high), torso_scale[:, None])
    wanted = torch.where(_broad(device), scale, bounded)
    real = torch.where(turns, real / scale.clamp_min(1e-4), 1.0) * wanted
    imaginary = torch.where(turns, imaginary / scale.clamp_min(1e-4), 0.0) * wanted
    similar = torch.stack((real, -imaginary, imaginary, real), dim=-1).view_as(pp)

    matrix = torch.where(is_affine[..., None, None], affine, similar)
    offset = condition_mean - (matrix * target_mean[..., None, :]).sum(dim=-1)
    present = (count[..., 0] >= 2) & (~_broad(device) | turns)
    return matrix, offset, present


def _regions(target_xy: Tensor, target_known: Tensor, unit: Tensor) -> tuple[Tensor, ...]:
    """For every part the box round its joints, along its axis: centre, axis, half length and width, and its growth."""
    device = target_xy.device

    def middle(members: Tensor) -> tuple[Tensor, Tensor]:
        weight = (members & target_known[:, None]).float()[..., None]
        count = weight.sum(dim=2)
        return (weight * target_xy[:, None]).sum(dim=2) / count.clamp_min(1), count > 0

    (start, any_start), (end, any_end) = middle(_members(device, "start")), middle(_members(device, "end"))
    way = end - start
    length = torch.linalg.vector_norm(way, dim=-1, keepdim=True)
    down = way.new_tensor((0.0, 1.0))
    axis = torch.where(any_start & any_end & (length > 1e-3), way / length.clamp_min(1e-3), down)

    member = _members(device) & target_known[:, None]  # (batch, part, 18)
    s = (axis[:, :, None] * target_xy[:, None]).sum(dim=-1)
    t = axis[:, :, None, 0] * target_xy[:, None, :, 1] - axis[:, :, None, 1] * target_xy[:, None, :, 0]
    far = 4 * FARTHEST_PX
    low_s, high_s = torch.where(member, s, far).amin(dim=-1), torch.where(member, s, -far).amax(dim=-1)
    low_t, high_t = torch.where(member, t, far).amin(dim=-1), torch.where(member, t, -far).amax(dim=-1)
    high_s[:, TORSO] += torch.where(any_end[:, TORSO, 0], 0.0, unit)  # the hips are missing
    # The head is a disc round the face.
    head = (
        (axis[:, HEAD] * end[:, HEAD]).sum(dim=-1),
        axis[:, HEAD, 0] * end[:, HEAD, 1] - axis[:, HEAD, 1] * end[:, HEAD, 0],
    )
    low_s[:, HEAD] = high_s[:, HEAD] = head[0]
    low_t[:, HEAD] = high_t[:, HEAD] = head[1]
    s, t = (low_s + high_s)[..., None] / 2, (low_t + high_t)[..., None] / 2
    centre = s * axis + t * torch.stack((-axis[..., 1], axis[..., 0]), dim=-1)
    radius = unit[:, None, None] * way.new_tensor([part.radius for part in PARTS])[:, None]
    return centre, axis, (high_s - low_s).relu() / 2, (high_t - low_t).relu() / 2, radius


@lru_cache
def _members(device: torch.device, which: str = "all") -> Bool[Tensor, "part 18"]:
    """Which joints are a part's. Kept on each device, so that no batch waits for it to be copied there."""
    members = torch.zeros(len(PARTS), len(JOINTS), dtype=torch.bool)
    for row, part in zip(members, PARTS, strict=True):
        row[list({"all": part.start + part.end, "start": part.start, "end": part.end}[which])] = True
    return members.to(device)


@lru_cache
def _broad(device: torch.device) -> Bool[Tensor, " part"]:
    """Which parts are broad enough for an affine map, and set the scale for the others."""
    return torch.tensor([part.name in ("lap", "torso") for part in PARTS], device=device)
