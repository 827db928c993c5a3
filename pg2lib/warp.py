"""The part warp: body parts of the condition image, moved to their places in the target pose.

A small U-Net cannot move texture far, because its skip connections pass pixels on in place. Both poses are known,
however, and so is the motion of each body part. Balakrishnan et al., "Synthesizing Images of Humans in Unseen Poses"
(CVPR 2018), move parts by simple transforms; Siarohin et al., "Deformable GANs for Pose-based Human Image Generation"
(CVPR 2018), do the same with features.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from pg2lib.backdrop import SURELY_PERSON
from pg2lib.pose import JOINTS

NOSE, NECK = 0, 1
SHOULDERS, HIPS, KNEES, FACE = (2, 5), (8, 11), (9, 12), (0, 14, 15, 16, 17)


class Part(NamedTuple):
    """A part of the body: its joints, and the region that it fills in the target.

    The region is a box with a rounded margin; that of a limb is a capsule. The box is the smallest around the joints
    whose axis points from the joints `start` to the joints `end`. That of the head surrounds the face alone. Lengths
    are in torso lengths of the target; they were fitted to the error of the warped image on pairs of DeepFashion.

    Attributes:
        layer: parts of higher layers lie on top.
        margin: width of the rounded margin.
        before: extension of the box at its start, as down to the chin.
        beyond: extension of the box at its end, as for the hand past the wrist.
        instead: extension of the box at its end if no joint of `end` is known.
        half_width: least half width of the box, as a body is not flat from the side.
    """

    name: str
    layer: int
    start: tuple[int, ...]
    end: tuple[int, ...]
    margin: float
    before: float = 0.0
    beyond: float = 0.0
    instead: float = 0.0
    half_width: float = 0.0


PARTS = (
    Part("lap", 0, HIPS, KNEES, 0.15, instead=0.6, half_width=0.08),  # skirts and shorts
    Part("right thigh", 1, (8,), (9,), 0.20),
    Part("left thigh", 1, (11,), (12,), 0.20),
    Part("right shin", 2, (9,), (10,), 0.18),
    Part("left shin", 2, (12,), (13,), 0.18),
    Part("torso", 3, SHOULDERS, HIPS, 0.13, instead=1.0, half_width=0.08),
    Part("head", 4, (NECK,), FACE, 0.22, before=0.1),
    Part("right upper arm", 5, (2,), (3,), 0.12),
    Part("left upper arm", 5, (5,), (6,), 0.12),
    Part("right forearm", 6, (3,), (4,), 0.10, beyond=0.15),
    Part("left forearm", 6, (6,), (7,), 0.10, beyond=0.15),
)
"""The parts, lowest first. Where a right and a left part of one layer meet, each keeps the side nearer to it."""

LAP, TORSO, HEAD = 0, 5, 6
PAIRS = ((1, 2), (3, 4), (7, 8), (9, 10))
"""Indices of the right and the left part, for each layer that has two."""

MAX_STRETCH = 2.5
"""Lap and torso move by an affine map if the ratio of its singular values is below this, else by a similarity."""

SCALE_BOUNDS = (0.6, 1.6)
"""Bounds of the scale of a similarity, relative to the ratio of the torso lengths."""

FARTHEST_PX = 1e5
"""Coordinates are clamped to this magnitude, so that sums of squares stay finite and precise."""

MATTE_CELL_PX = 2
"""The matte is looked up once for each square of this side."""

OUTSIDE = -3.0
"""A coordinate of `grid_sample` outside of every image."""


@torch.no_grad()
def warp_parts(
    condition_image: Float[Tensor, "batch 3 height width"],
    condition_xy: Float[Tensor, "batch 18 2"],
    target_xy: Float[Tensor, "batch 18 2"],
    matte: Float[Tensor, "batch 1 height width"] | None = None,
) -> tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch 1 height width"]]:
    """Move the body parts of the condition image from the condition pose to the target pose.

    The motion of a part is fitted to the joints of the part that both poses have. A part with fewer than two such
    joints is left out. The head is left out if only one of the poses shows the nose, as a face must not lie on the back
    of a head. Parts later in `PARTS` lie on top of earlier ones. No gradient is computed, and autocast has no effect.

    Args:
        condition_image: in [-1, 1].
        condition_xy: the pose in the condition image, in pixels, x first, pixel centres at integers; NaN = missing.
            Joints may lie outside the image.
        target_xy: the pose to move to, likewise.
        matte: 1 where the condition image shows the person, 0 where it shows background. None means 1 everywhere.

    Returns:
        warped: float32 in [-1, 1]; 0 where no part lies.
        coverage: float32 in [0, 1], the matte moved in the same way. It is 0 where no part lies, and where a part comes
            from outside the condition image.

    Raises:
        ValueError: a shape does not fit the condition image.

    References:
        Balakrishnan et al., CVPR 2018; Siarohin et al., CVPR 2018.
    """
    _check_shapes(condition_image, condition_xy, target_xy, matte)
    with torch.autocast(condition_image.device.type, enabled=False):
        image = condition_image.float()
        grid = _grid(*_finite(condition_xy), *_finite(target_xy), image, None if matte is None else matte.float())
        # Written as 1 and 0 directly: by way of bool it takes ten times as long.
        extent = grid.abs().amax(dim=-1)
        inside = torch.lt(extent, 1, out=torch.empty_like(extent))[:, None]
        layers = image if matte is None else torch.cat((image, matte.float()), dim=1)
        moved = grid_sample(layers, grid, padding_mode="border", align_corners=False).mul_(inside)
    return moved[:, :3], inside if matte is None else moved[:, 3:]


def _check_shapes(condition_image: Tensor, condition_xy: Tensor, target_xy: Tensor, matte: Tensor | None) -> None:
    """Refuse arguments of `warp_parts` that do not fit together.

    Raises:
        ValueError: a shape is not the expected one.
    """
    if condition_image.ndim != 4 or condition_image.shape[1] != 3:
        raise ValueError(
            f"condition_image: expected the shape (batch, 3, height, width), got {tuple(condition_image.shape)}"
        )
    batch, _, height, width = condition_image.shape
    keypoints, one_channel = (batch, len(JOINTS), 2), (batch, 1, height, width)
    for name, tensor, shape in (
        ("condition_xy", condition_xy, keypoints),
        ("target_xy", target_xy, keypoints),
        ("matte", matte, one_channel),
    ):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name}: expected the shape {shape}, got {tuple(tensor.shape)}")


def _finite(xy: Tensor) -> tuple[Float[Tensor, "batch 18 2"], Bool[Tensor, "batch 18"]]:
    """Return keypoints with 0 in place of missing ones, and which are known."""
    xy = xy.float()
    known = xy.isfinite().all(dim=-1)
    return torch.where(known[..., None], xy, 0.0).clamp(-FARTHEST_PX, FARTHEST_PX), known


def _grid(
    condition_xy: Tensor,
    condition_known: Tensor,
    target_xy: Tensor,
    target_known: Tensor,
    image: Tensor,
    matte: Tensor | None,
) -> Float[Tensor, "batch height width 2"]:
    """Return where each pixel of the target comes from, in the coordinates of `grid_sample`."""
    height, width = image.shape[2:]
    both = condition_known & target_known
    condition_torso, target_torso = torso_length(
        torch.stack((condition_xy, target_xy)), torch.stack((condition_known, target_known)), height
    )
    matrix, offset, present = _motions(condition_xy, target_xy, both, condition_torso / target_torso)
    present[:, HEAD] &= condition_known[:, NOSE] == target_known[:, NOSE]
    boxes = _boxes(target_xy, target_known, target_torso)
    brings = None if matte is None else _brings_the_person(matrix, offset, matte)
    part = _part_of_pixels(boxes, present, brings, height, width)

    # Along a row, the coordinate of each part is slope * x + start. Part 0 means no part, and lies outside.
    x, y = torch.arange(width, device=part.device), torch.arange(height, device=part.device)
    grid = matrix.new_empty(2, *part.shape)
    for i, size in enumerate((width, height)):
        # The outer edges of the first and the last pixel are at -1 and 1.
        slope = matrix[..., i, 0] * (2 / size)
        start = (matrix[..., i, 1, None] * y + offset[..., i, None] + 0.5) * (2 / size) - 1
        slope = pad(slope, (1, 0))[:, None].expand(-1, height, -1)
        start = pad(start, (0, 0, 1, 0), value=OUTSIDE).transpose(1, 2)
        torch.addcmul(start.gather(2, part), slope.gather(2, part), x, out=grid[i])
    return grid.permute(1, 2, 3, 0)


def torso_length(
    xy: Float[Tensor, "*batch 18 2"], known: Bool[Tensor, "*batch 18"], height: int
) -> Float[Tensor, "*batch"]:
    """Return the distance from the middle of the shoulders to the middle of the hips, in pixels.

    If it is unknown, it is estimated from the distance of the shoulders or that of nose and neck; and if these are
    unknown, it is a quarter of the height.

    Args:
        xy: keypoints in pixels, x first, finite.
        known: which of them count.
        height: height of the canvas in pixels.
    """
    constants = _constants(xy.device)
    ends, any_known = _middles(xy, known, constants.measured)
    distance = torch.linalg.vector_norm(ends[..., ::2, :] - ends[..., 1::2, :], dim=-1)
    distance = torch.where(any_known[..., ::2] & any_known[..., 1::2], distance, 0.0)
    hips, shoulders, nose = distance.unbind(-1)
    # Some views foreshorten one of them; the longer estimate is the better one.
    estimate = torch.maximum(1.3 * shoulders, 2 * nose)
    length = torch.where(estimate > 1, estimate, height / 4)
    return torch.where(hips > 1, hips, length)


def _middles(
    xy: Float[Tensor, "*batch 18 2"], known: Bool[Tensor, "*batch 18"], groups: Bool[Tensor, "groups 18"]
) -> tuple[Float[Tensor, "*batch groups 2"], Bool[Tensor, "*batch groups"]]:
    """Return the mean of the known joints of each group, and whether there is any."""
    chosen = (groups & known[..., None, :]).float()
    count = chosen.sum(dim=-1)
    return (chosen[..., None] * xy[..., None, :, :]).sum(dim=-2) / count.clamp_min(1)[..., None], count > 0


def _motions(
    condition_xy: Tensor, target_xy: Tensor, both: Tensor, torso_scale: Tensor
) -> tuple[Float[Tensor, "batch part 2 2"], Float[Tensor, "batch part 2"], Bool[Tensor, "batch part"]]:
    """Return the map of each part from target to condition image, as matrix and offset, and whether there is one.

    It is the least-squares fit to the joints that both poses have: p in the target and q in the condition image,
    relative to their means.
    """
    constants = _constants(target_xy.device)
    broad, torso_scale = constants.broad, torso_scale[:, None]
    shared = (constants.members & both[:, None])[..., None].float()  # (batch, part, 18, 1)
    count = shared.sum(dim=2)  # (batch, part, 1)
    xy = torch.cat((target_xy, condition_xy), dim=-1)[:, None]  # (batch, 1, 18, 4)
    means = (xy * shared).sum(dim=2) / count.clamp_min(1)
    pq = (xy - means[:, :, None]) * shared
    products = (pq[..., :, None] * pq[..., None, :2]).sum(dim=2)  # (batch, part, 4, 2)
    (pp_xx, pp_xy), (_, pp_yy), (qp_xx, qp_xy), (qp_yx, qp_yy) = (row.unbind(-1) for row in products.unbind(-2))
    count, target_mean, condition_mean = count[..., 0], means[..., :2], means[..., 2:]
    spread = pp_xx + pp_yy
    apart = spread > 0.5  # square pixels: not all joints coincide
    spread = torch.where(apart, spread, 1.0)

    # Affine: sum(q p^T) sum(p p^T)^-1.
    det_pp, det_qp = pp_xx * pp_yy - pp_xy * pp_xy, qp_xx * qp_yy - qp_xy * qp_yx
    in_line = det_pp <= 1e-4 * spread.square()
    det_pp = torch.where(in_line, 1.0, det_pp)
    affine = _matrix(
        qp_xx * pp_yy - qp_xy * pp_xy,
        qp_xy * pp_xx - qp_xx * pp_xy,
        qp_yx * pp_yy - qp_yy * pp_xy,
        qp_yy * pp_xx - qp_yx * pp_xy,
    )
    affine = affine / det_pp[..., None, None]
    # For singular values s > t, s / t < r is (s^2 + t^2) / (s t) < r + 1 / r.
    even = affine.square().sum(dim=(-2, -1)) < (MAX_STRETCH + 1 / MAX_STRETCH) * (det_qp / det_pp).abs()
    is_affine = broad & (count >= 3) & ~in_line & even

    # Similarity: scale and rotation are the complex number sum(conj(p) q) / sum(|p|^2). If the person has turned
    # around, lap, torso and head are mirrored, sum(p q) / sum(|p|^2); otherwise they would come to lie upside down.
    mirrored = constants.two_sided & torch.where(in_line, qp_xx + qp_yy < 0, det_qp < 0)
    sign = torch.where(mirrored, -1.0, 1.0)
    real, imaginary = (qp_xx + sign * qp_yy) / spread, (qp_yx - sign * qp_xy) / spread
    scale = torch.hypot(real, imaginary)
    turns = apart & (scale > 1e-4)  # otherwise the angle is undefined
    low, high = SCALE_BOUNDS
    bounded = torch.where(apart, scale.clamp(low * torso_scale, high * torso_scale), torso_scale)
    stretch = bounded / scale.clamp_min(1e-4)
    real, imaginary = torch.where(turns, real * stretch, bounded), torch.where(turns, imaginary * stretch, 0.0)
    similarity = _matrix(real, -sign * imaginary, imaginary, sign * real)

    matrix = torch.where(is_affine[..., None, None], affine, similarity)
    offset = condition_mean - (matrix * target_mean[..., None, :]).sum(dim=-1)
    present = (count >= 2) & (turns | ~broad)
    # Without knees the lap moves with the torso.
    knees = both[:, KNEES[0]] | both[:, KNEES[1]]
    matrix[:, LAP] = torch.where(knees[:, None, None], matrix[:, LAP], matrix[:, TORSO])
    offset[:, LAP] = torch.where(knees[:, None], offset[:, LAP], offset[:, TORSO])
    present[:, LAP] = torch.where(knees, present[:, LAP], present[:, TORSO])
    return matrix, offset, present


def _matrix(xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor) -> Float[Tensor, "batch part 2 2"]:
    return torch.stack((xx, xy, yx, yy), dim=-1).view(*xx.shape, 2, 2)


class Boxes(NamedTuple):
    """Boxes with rounded margins, in pixels: all points within `margin` of a box along `axis`, a unit vector."""

    centre: Float[Tensor, "batch part 2"]
    axis: Float[Tensor, "batch part 2"]
    half_length: Float[Tensor, "batch part"]
    half_width: Float[Tensor, "batch part"]
    margin: Float[Tensor, "batch part"]


def _boxes(target_xy: Tensor, target_known: Tensor, torso_length: Tensor) -> Boxes:
    """Return the regions of all parts, whether they have a motion or not."""
    constants = _constants(target_xy.device)
    middles, any_known = _middles(target_xy, target_known, constants.ends)
    (start, end), (any_start, any_end) = middles.chunk(2, dim=1), any_known.chunk(2, dim=1)
    length = torch.linalg.vector_norm(end - start, dim=-1)
    has_way = any_start & any_end & (length > 1e-3)
    axis = torch.where(has_way[..., None], (end - start) / length.clamp_min(1e-3)[..., None], constants.down)
    axis[:, LAP] = torch.where(any_end[:, LAP, None], axis[:, LAP], axis[:, TORSO])
    axis_x, axis_y = axis.unbind(-1)

    member = constants.boxed & target_known[:, None]  # (batch, part, 18)
    x, y = target_xy[:, None].unbind(-1)
    along, across = axis_x[..., None] * x + axis_y[..., None] * y, axis_x[..., None] * y - axis_y[..., None] * x
    place = torch.stack((along, across))
    least = torch.where(member, place, torch.inf).amin(dim=-1)
    most = torch.where(member, place, -torch.inf).amax(dim=-1)
    unit = torso_length[:, None]
    least[0] -= unit * constants.before
    most[0] += unit * (constants.beyond + torch.where(any_end, 0.0, constants.instead))
    middle, half = torch.where(member.any(dim=-1), torch.stack((least + most, most - least)) / 2, 0.0)
    centre = torch.stack((middle[0] * axis_x - middle[1] * axis_y, middle[0] * axis_y + middle[1] * axis_x), dim=-1)
    return Boxes(centre, axis, half[0], half[1].maximum(unit * constants.half_width), unit * constants.margin)


def _brings_the_person(
    matrix: Float[Tensor, "batch part 2 2"], offset: Float[Tensor, "batch part 2"], matte: Tensor
) -> UInt8[Tensor, "batch part rows width"]:
    """Return 255 where a part surely shows the person, else 0.

    It does where the nearest pixel of the matte and the eight around it are at least `SURELY_PERSON`. Where parts
    overlap, it lies on top of those that do not. Otherwise the backdrop next to an arm would hide the torso.

    The matte is looked up once for each square of `MATTE_CELL_PX`, so there is one row for each row of squares.
    """
    height, width = matte.shape[2:]
    cell = MATTE_CELL_PX if height % MATTE_CELL_PX == width % MATTE_CELL_PX == 0 else 1
    # Integers with all bits set, of as many bytes as a square is wide; in the end a rim of zeros surrounds the matte.
    sure = torch.ge(matte, SURELY_PERSON, out=torch.empty_like(matte)).neg_().to({1: torch.int8, 2: torch.int16}[cell])
    sure = pad(sure, (1, 1, 1, 1), value=-1)
    # Pixels at the edge of the person are left out, as a square may reach beyond it.
    sure[:, :, 1:-1] &= sure[:, :, :-2] & sure[:, :, 2:]
    sure[..., 1:-1] &= sure[..., :-2] & sure[..., 2:]
    sure[:, :, :: height + 1] = 0
    sure[..., :: width + 1] = 0
    sure = sure.flatten(1)
    column, row = (
        _pixels(matrix[:, :, i], offset[:, :, i] + 1, height, width, cell).clamp_(0, size + 1).round_()
        for i, size in enumerate((width, height))
    )
    place = row.mul_(width + 2).add_(column).long()
    return sure.gather(1, place.flatten(1)).view(place.shape).view(torch.uint8)


def _pixels(
    slope: Float[Tensor, "batch part 2"], start: Float[Tensor, "batch part"], height: int, width: int, cell: int
) -> Float[Tensor, "batch part rows columns"]:
    """Evaluate a plane, start + slope_x x + slope_y y, in the middle of each square of `cell` pixels."""
    x, y = ((torch.arange(side // cell, device=slope.device) + 0.5) * cell - 0.5 for side in (width, height))
    return (slope[..., 0, None] * x)[:, :, None] + (slope[..., 1, None] * y + start[..., None])[..., None]


def _part_of_pixels(
    boxes: Boxes, present: Tensor, brings: UInt8[Tensor, "batch part rows width"] | None, height: int, width: int
) -> Int64[Tensor, "batch height width"]:
    """Return 1 + the index of the part on top of each pixel, 0 if there is none.

    Parts that surely show the person lie on top of the others.

    Regions are convex, so each fills one span of a row. Spans are looked up in a table of rows of bytes, which is
    several times faster than comparing every pixel.
    """
    constants, table = _constants(boxes.centre.device), _rows_from(width, boxes.centre.device)

    def rows(first: Tensor) -> UInt8[Tensor, "batch part height width"]:
        return table.index_select(0, first.flatten().long()).view(*first.shape, width)

    left, right = _spans(boxes, height)
    first = left.ceil().clamp(0, width)
    stop = torch.where(present[..., None], (right.floor() + 1).clamp(0, width).maximum(first), first)
    inside = rows(first).bitwise_xor_(rows(stop))

    # A left part gives way on the right part's side of the line half-way between their centres.
    right_centre, left_centre = (boxes.centre.index_select(1, parts)[:, :, None] for parts in constants.pairs)
    way_x, way_y = (left_centre - right_centre).unbind(-1)
    middle_x, middle_y = ((left_centre + right_centre) / 2).unbind(-1)
    cut = middle_x - way_y / _not_zero(way_x) * (torch.arange(height, device=way_x.device) - middle_y)
    is_after = way_x >= 0
    keeps = rows(torch.where(is_after, cut.floor() + 1, cut.ceil()).clamp(0, width))
    keeps ^= torch.where(is_after, 0, 255).to(torch.uint8)[..., None]
    for i, (right_part, left_part) in enumerate(PAIRS):
        inside[:, left_part] &= keeps[:, i].bitwise_or_(~inside[:, right_part])

    inside &= constants.number
    top = inside.amax(dim=1)
    if brings is not None:
        inside = inside.view(*brings.shape[:3], height // brings.shape[2], width)
        sure = inside.bitwise_and_(brings[:, :, :, None]).amax(dim=1).view_as(top)
        top = torch.where(sure > 0, sure, top)
    return top.long()


def _spans(boxes: Boxes, height: int) -> tuple[Float[Tensor, "batch part height"], Float[Tensor, "batch part height"]]:
    """Return the least and the greatest x of each region in each row; inf and -inf if it does not reach the row.

    A box with a rounded margin is the union of two boxes, one longer and one wider, and of a disc at each corner.
    """
    y = torch.arange(height, device=boxes.centre.device) - boxes.centre[..., 1, None, None]  # (batch, part, 1, height)
    axis_x, axis_y = (component[..., None, None] for component in boxes.axis.unbind(-1))
    half_length, half_width, margin = boxes.half_length[..., None], boxes.half_width[..., None], boxes.margin[..., None]
    # |axis_x x + axis_y y| <= length and |axis_x y - axis_y x| <= width
    length = torch.cat((half_length + margin, half_length), dim=-1)[..., None]
    width = torch.cat((half_width, half_width + margin), dim=-1)[..., None]
    safe_x, safe_y = _not_zero(axis_x), _not_zero(axis_y)
    along, across = -axis_y / safe_x * y, axis_x / safe_y * y
    box_left = torch.maximum(along - length / safe_x.abs(), across - width / safe_y.abs())
    box_right = torch.minimum(along + length / safe_x.abs(), across + width / safe_y.abs())

    corner = torch.cat((half_length, half_length, -half_length, -half_length), dim=-1)[..., None]
    side = torch.cat((half_width, -half_width, half_width, -half_width), dim=-1)[..., None]
    reach = margin[..., None].square() - (y - corner * axis_y - side * axis_x).square()
    reach = torch.where(reach >= 0, reach.clamp_min(0).sqrt(), -torch.inf)
    disc_x = corner * axis_x - side * axis_y

    left, right = torch.cat((box_left, disc_x - reach), dim=2), torch.cat((box_right, disc_x + reach), dim=2)
    filled = left <= right
    left = torch.where(filled, left, torch.inf).amin(dim=2)
    right = torch.where(filled, right, -torch.inf).amax(dim=2)
    return left + boxes.centre[..., 0, None], right + boxes.centre[..., 0, None]


def _not_zero(values: Tensor) -> Tensor:
    """Replace divisors near 0 by a small number of the same sign."""
    return torch.where(values.abs() < 1e-6, torch.where(values < 0, -1e-6, 1e-6), values)


@lru_cache(maxsize=8)
def _rows_from(width: int, device: torch.device) -> UInt8[Tensor, "starts width"]:
    """Return width + 1 rows: row i is 255 from pixel i on, and 0 before."""
    return torch.full((width + 1, width), 255, dtype=torch.uint8, device=device).triu()


class _Constants(NamedTuple):
    """`PARTS` as tensors."""

    members: Bool[Tensor, "part 18"]
    boxed: Bool[Tensor, "part 18"]
    ends: Bool[Tensor, "parts 18"]  # the start of each part, then the end of each
    pairs: tuple[Tensor, ...]  # the right parts, and the left ones
    broad: Bool[Tensor, " part"]  # which parts may move by an affine map
    two_sided: Bool[Tensor, " part"]  # which may be mirrored
    margin: Float[Tensor, " part"]
    before: Float[Tensor, " part"]
    beyond: Float[Tensor, " part"]
    instead: Float[Tensor, " part"]
    half_width: Float[Tensor, " part"]
    number: UInt8[Tensor, "part 1 1"]
    measured: Bool[Tensor, "6 18"]  # three pairs of groups of joints, by whose distances the torso is measured
    down: Float[Tensor, "2"]


@lru_cache
def _constants(device: torch.device) -> _Constants:
    """Return the constants on a device; they are copied there once."""

    def groups(*groups: tuple[int, ...]) -> Tensor:
        return torch.tensor([[joint in group for joint in range(len(JOINTS))] for group in groups], device=device)

    return _Constants(
        groups(*(part.start + part.end for part in PARTS)),
        groups(*(part.end if part.end == FACE else part.start + part.end for part in PARTS)),
        groups(*(part.start for part in PARTS), *(part.end for part in PARTS)),
        tuple(torch.tensor(PAIRS, device=device).unbind(dim=1)),
        torch.tensor([i in (LAP, TORSO) for i in range(len(PARTS))], device=device),
        torch.tensor([i in (LAP, TORSO, HEAD) for i in range(len(PARTS))], device=device),
        torch.tensor([part.margin for part in PARTS], device=device),
        torch.tensor([part.before for part in PARTS], device=device),
        torch.tensor([part.beyond for part in PARTS], device=device),
        torch.tensor([part.instead for part in PARTS], device=device),
        torch.tensor([part.half_width for part in PARTS], device=device),
        torch.arange(1, len(PARTS) + 1, dtype=torch.uint8, device=device)[:, None, None],
        groups(SHOULDERS, HIPS, *((shoulder,) for shoulder in SHOULDERS), (NECK,), (NOSE,)),
        torch.tensor((0.0, 1.0), device=device),
    )
