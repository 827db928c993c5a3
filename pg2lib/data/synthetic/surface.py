"""The surfaces of a person: tubes with elliptical cross-sections, which include capsules and ellipsoids.

Each is a grid of vertices with a material, a position on the body in the rest pose, and the bones that it follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pg2lib.data.synthetic.body import BONES, Array, Body
from pg2lib.data.synthetic.clothes import Identity, step

Ints = npt.NDArray[np.int64]
Row = Sequence[float]
Weights = Callable[[Array], Array]

MATERIALS = (
    "skin",
    "hand",
    "face",
    "hair",
    "top",
    "sleeve",
    "jacket",
    "bottom",
    "dress",
    "leg",
    "shoe",
    "bag",
    "cap",
    "bench",
)
GROUPS = ("trunk", "head", "right arm", "left arm", "right leg", "left leg", "skirt", "bag", "bench")
"""Parts of the body that can hide joints. Elbows, wrists, knees and ankles are hidden by all groups except their own
and the skirt; nose, eyes and ears by all groups, the head included. Neck, shoulders and hips are never hidden."""

_PELVIS, _CHEST, _HEAD, _RIGHT_ARM, _LEFT_ARM, _RIGHT_LEG, _LEFT_LEG = (
    BONES.index(name)
    for name in ("pelvis", "chest", "head", "right upper arm", "left upper arm", "right thigh", "left thigh")
)


@dataclass(frozen=True, eq=False)
class Mesh:
    """All surfaces of one person in the rest pose.

    Attributes:
        vertices: (V, 3), in metres, in the rest pose.
        rest: (V, 3), the same in body heights with an average head and average legs; textures are looked up there.
        weights: (V, 17), how much a vertex follows each bone; rows sum to 1.
        faces: (F, 3), triangles, anticlockwise seen from outside.
        material, group: (F,), indices into MATERIALS and GROUPS.
        two_sided: (F,), whether the inside can be seen.
        shoes, bench: Indices of the vertices of the shoes and of the bench.
        around, along: (V, 2), the neighbours of each vertex, whose differences span the tangent plane.
    """

    vertices: Array
    rest: Array
    weights: Array
    faces: Ints
    material: Ints
    group: Ints
    two_sided: npt.NDArray[np.bool_]
    around: Ints
    along: Ints
    shoes: Ints
    bench: Ints

    def posed(self, bones: Array) -> Array:
        """Move the vertices with the bones (linear blend skinning), (V, 3)."""
        maps = (self.weights @ bones.reshape(len(BONES), 12)).reshape(-1, 3, 4)
        moved: Array = np.einsum("vij,vj->vi", maps[:, :, :3], self.vertices) + maps[:, :, 3]
        return moved

    def normals(self, posed: Array) -> Array:
        """Return the outward unit normals of posed vertices, (V, 3)."""
        side = posed[self.around[:, 1]] - posed[self.around[:, 0]]
        down = posed[self.along[:, 1]] - posed[self.along[:, 0]]
        normal = np.cross(down, side)
        unit: Array = normal / np.maximum(np.sqrt((normal * normal).sum(1, keepdims=True)), 1e-12)
        return unit


def tube(
    rows: Sequence[Row],
    rings: int,
    segments: int,
    power: float = 2.0,
    span_deg: tuple[float, float] = (0, 360),
    crowd_front: float = 0.0,
) -> Array:
    """Return a grid of points around a vertical axis, (rings, segments, 3), in the order of `rows`.

    Args:
        rows: Key sections, interpolated smoothly: y, x, z of the centre, half width, depth in front, depth behind.
        rings: Number of sections.
        segments: Number of points per section.
        power: Exponent of the superellipse; 2 is an ellipse, more is boxier.
        span_deg: Range of angles; 0 is the front, 90 the left.
        crowd_front: From 0 to 1; moves points towards the front.
    """
    keys = np.array(rows, dtype=np.float64)
    y, x, z, half_width, ahead, behind = (_spline(keys, rings)[:, None, column] for column in range(6))
    half_width, ahead, behind = (np.maximum(side, 1e-5) for side in (half_width, ahead, behind))
    whole = span_deg[1] - span_deg[0] >= 360
    share = np.arange(segments) / (segments if whole else segments - 1)
    angle = np.radians(span_deg[0] + (span_deg[1] - span_deg[0]) * share)[None, :]
    angle = angle - crowd_front * np.sin(angle)
    sine, cosine = np.sin(angle), np.cos(angle)
    sine, cosine = (np.sign(part) * np.abs(part) ** (2 / power) for part in (sine, cosine))
    depth = np.where(cosine > 0, ahead, behind)
    return np.stack(np.broadcast_arrays(x + half_width * sine, y, z + depth * cosine), axis=-1)


def _spline(keys: Array, count: int) -> Array:
    """Interpolate the key rows by a Catmull-Rom spline, evenly spaced in the index."""
    at = np.linspace(0, len(keys) - 1, count)
    i = np.minimum(at.astype(np.int64), len(keys) - 2)
    t = (at - i)[:, None]
    p0, p1, p2, p3 = (keys[np.clip(i + k, 0, len(keys) - 1)] for k in (-1, 0, 1, 2))
    curve: Array = 0.5 * (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    return curve


class Surfaces:
    """Collects grids and joins them into a mesh."""

    def __init__(self, person: Identity, detail: int) -> None:
        self.person, self.detail = person, detail
        self.parts: list[tuple[Array, Array, Array, Ints, str, str, bool, Ints, Ints]] = []
        self.count = 0

    def count_of(self, number: int) -> int:
        """Return the number of rings or segments at this level of detail."""
        return number if self.detail > 1 else max(4, round(number * 0.54))

    def add(
        self,
        grid: Array,
        weights: Weights,
        material: str,
        group: str,
        closed: bool = True,
        two_sided: bool = False,
        head: bool = False,
    ) -> None:
        """Add one grid, in body heights. If it is `closed`, the last column meets the first."""
        rings, segments, _ = grid.shape
        index = np.arange(rings * segments).reshape(rings, segments) + self.count
        right = np.roll(index, -1, axis=1) if closed else np.concatenate((index[:, 1:], index[:, -1:]), axis=1)
        left = np.roll(index, 1, axis=1) if closed else np.concatenate((index[:, :1], index[:, :-1]), axis=1)
        above = np.concatenate((index[:1], index[:-1]))
        below = np.concatenate((index[1:], index[-1:]))
        columns = slice(None) if closed else slice(0, -1)
        a, b, c, d = index[:-1, columns], right[:-1, columns], below[:-1, columns], right[1:, columns]
        faces = np.concatenate((np.stack((a, c, b), -1).reshape(-1, 3), np.stack((b, c, d), -1).reshape(-1, 3)))
        rest = grid.reshape(-1, 3)
        body = self.person.body
        vertices = rest.copy()
        if head:
            pivot = np.array((0.0, 0.86, 0.0))
            vertices = pivot + (vertices - pivot) * body.head
        around = np.stack((left.ravel(), right.ravel()), axis=1)
        along = np.stack((above.ravel(), below.ravel()), axis=1)
        self.parts.append(
            (vertices * body.height_m, rest, weights(rest), faces, material, group, two_sided, around, along)
        )
        self.count += rings * segments

    def _vertices_of(self, material: str) -> Ints:
        found: Ints = np.unique(np.concatenate([part[3].ravel() for part in self.parts if part[4] == material]))
        return found

    def mesh(self) -> Mesh:
        """Join everything that was added."""
        vertices, rest, weights, faces, material, group, two_sided, around, along = zip(*self.parts, strict=True)
        sizes = [len(part) for part in faces]
        return Mesh(
            vertices=np.concatenate(vertices),
            rest=np.concatenate(rest),
            weights=np.concatenate(weights),
            faces=np.concatenate(faces),
            material=np.repeat([MATERIALS.index(name) for name in material], sizes),
            group=np.repeat([GROUPS.index(name) for name in group], sizes),
            two_sided=np.repeat(np.array(two_sided), sizes),
            around=np.concatenate(around),
            along=np.concatenate(along),
            shoes=self._vertices_of("shoe"),
            bench=self._vertices_of("bench"),
        )


def rigid(bone: int) -> Weights:
    """Return weights that follow a single bone."""

    def weights(rest: Array) -> Array:
        table = np.zeros((len(rest), len(BONES)))
        table[:, bone] = 1
        return table

    return weights


def trunk_weights(rest: Array) -> Array:
    """Blend pelvis and chest at the waist, and chest and head along the neck; shoulders rise with the arms."""
    x, y, _ = rest.T
    table = np.zeros((len(rest), len(BONES)))
    up, neck = step(0.54, 0.67, y), 0.85 * step(0.826, 0.885, y)
    table[:, _PELVIS], table[:, _CHEST], table[:, _HEAD] = 1 - up, up * (1 - neck), up * neck
    shoulder = 0.5 * step(0.050, 0.098, np.abs(x)) * step(0.745, 0.80, y)
    table *= (1 - shoulder)[:, None]
    table[:, _RIGHT_ARM] += np.where(x < 0, shoulder, 0)
    table[:, _LEFT_ARM] += np.where(x > 0, shoulder, 0)
    return table


def limb_weights(body: Body, first: int, softness: float) -> Weights:
    """Return weights along a limb of three bones, which blend smoothly at its joints."""
    joints = body.rest_joints()[:, 1] / body.height_m

    def weights(rest: Array) -> Array:
        y = rest[:, 1]
        table = np.zeros((len(rest), len(BONES)))
        second = 1 - step(joints[first + 1] - softness, joints[first + 1] + softness, y)
        third = 1 - step(joints[first + 2] - softness * 0.5, joints[first + 2] + softness * 0.5, y)
        table[:, first], table[:, first + 1], table[:, first + 2] = 1 - second, second * (1 - third), second * third
        return table

    return weights


def hanging_weights(body: Body, strength: float) -> Weights:
    """Return weights of a garment that hangs from the waist: it follows the trunk, and towards the hem the legs."""
    hip, knee = body.rest_joints()[[_RIGHT_LEG, _RIGHT_LEG + 1], 1] / body.height_m

    def weights(rest: Array) -> Array:
        x, y, z = rest.T
        table = trunk_weights(rest)
        # In front the cloth rises with the thigh from the hip on; the person sits on the back of it.
        start = hip + np.where(z > 0, 0.035, -0.01)
        drop = strength * step(0.0, 0.085, start - y)
        left = step(-0.055, 0.055, x)
        table *= (1 - drop)[:, None]
        below_knee = 1 - step(knee - 0.05, knee + 0.04, y)
        for first, share in ((_RIGHT_LEG, drop * (1 - left)), (_LEFT_LEG, drop * left)):
            table[:, first] += share * (1 - below_knee)
            table[:, first + 1] += share * below_knee
        return table

    return weights
