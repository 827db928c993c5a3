"""The figure of one identity as surfaces: trunk, head, hair, limbs, hands, shoes, garments and bag.

All numbers are body heights in the rest pose: y from the sole (0) to the crown (1), x to the left, z forward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pg2lib.data.synthetic.body import BONES, Array, Body, mix
from pg2lib.data.synthetic.clothes import Identity, step
from pg2lib.data.synthetic.surface import (
    Mesh,
    Row,
    Surfaces,
    hanging_weights,
    limb_weights,
    rigid,
    trunk_weights,
    tube,
)

_PELVIS, _CHEST, _HEAD = (BONES.index(name) for name in ("pelvis", "chest", "head"))
_FIRST_OF_ARM = {side: BONES.index(f"{side} upper arm") for side in ("right", "left")}
_FIRST_OF_LEG = {side: BONES.index(f"{side} thigh") for side in ("right", "left")}


@lru_cache(maxsize=32)
def build(seed: int, detail: int) -> tuple[Identity, Mesh]:
    """Return the person of a seed, and their surfaces.

    Args:
        seed: Of the identity.
        detail: 1 for small images, 2 for large ones.
    """
    person = Identity.draw(seed)
    surfaces = Surfaces(person, detail)
    _add_trunk(surfaces)
    _add_head(surfaces)
    _add_hair(surfaces)
    for sign, side in ((-1, "right"), (1, "left")):
        _add_arm(surfaces, sign, side)
        _add_leg(surfaces, sign, side)
    _add_bag(surfaces)
    _add_bench(surfaces)
    return person, surfaces.mesh()


_TRUNK = (
    # y, half width, front, back: masculine; then the same, feminine
    (0.897, 0.0315, 0.029, 0.031, 0.0265, 0.0255, 0.027),
    (0.865, 0.0320, 0.029, 0.032, 0.0270, 0.0250, 0.027),
    (0.843, 0.0370, 0.030, 0.037, 0.0315, 0.0270, 0.031),
    (0.829, 0.0640, 0.035, 0.045, 0.0560, 0.0310, 0.039),
    (0.814, 0.0920, 0.042, 0.052, 0.0800, 0.0380, 0.046),
    (0.792, 0.1010, 0.051, 0.057, 0.0870, 0.0480, 0.052),
    (0.760, 0.1010, 0.062, 0.060, 0.0860, 0.0640, 0.054),
    (0.725, 0.0975, 0.066, 0.059, 0.0840, 0.0740, 0.053),
    (0.690, 0.0910, 0.063, 0.056, 0.0790, 0.0620, 0.050),
    (0.650, 0.0840, 0.060, 0.051, 0.0715, 0.0520, 0.047),
    (0.615, 0.0820, 0.058, 0.049, 0.0715, 0.0500, 0.047),
    (0.575, 0.0870, 0.058, 0.056, 0.0860, 0.0540, 0.059),
    (0.540, 0.0920, 0.059, 0.068, 0.0960, 0.0570, 0.073),
    (0.505, 0.0925, 0.057, 0.071, 0.0985, 0.0550, 0.077),
    (0.475, 0.0800, 0.048, 0.056, 0.0840, 0.0480, 0.060),
    (0.455, 0.0350, 0.028, 0.030, 0.0350, 0.0280, 0.030),
)


def _trunk_rows(
    body: Body, ease: float, top: float, bottom: float, flare: float = 0.0, over_legs: float = 0.0
) -> list[Row]:
    """Return sections of the trunk between two heights.

    Args:
        body: The proportions.
        ease: Distance of a garment from the skin.
        top, bottom: The heights.
        flare: Additional distance per body height downwards.
        over_legs: Least distance of a garment from the skin of the thighs; 0 ignores the thighs.
    """
    keys = np.array(_TRUNK)
    f = body.femininity
    heights = np.unique(np.concatenate((keys[:, 0][(keys[:, 0] < top) & (keys[:, 0] > bottom)], (top, bottom))))[::-1]
    rows: list[Row] = []
    for y in heights:
        half, front, back = (
            mix(
                float(np.interp(y, keys[::-1, 0], keys[::-1, column])),
                float(np.interp(y, keys[::-1, 0], keys[::-1, column + 3])),
                f,
            )
            for column in (1, 2, 3)
        )
        soft = 1.0 if y < 0.80 else max(0.0, (0.84 - y) / 0.04)
        belly = math.exp(-(((y - 0.60) / 0.075) ** 2))
        half *= 1 + (body.girth - 1) * soft * 0.9
        front *= 1 + (body.girth - 1) * soft * (1 + 1.6 * belly)
        back *= 1 + (body.girth - 1) * soft
        if over_legs and y < 0.62:
            leg, near = _leg_radius(body, min(y, 0.50)) + over_legs, float(step(0.0, 0.11, np.array(0.62 - y)))
            half = max(half, mix(half, body.hip_x + leg, near))
            front, back = max(front, mix(front, leg, near)), max(back, mix(back, leg + 0.004, near))
        loose = ease * (1.0 if y < 0.80 else max(0.15, (0.845 - y) / 0.045)) + flare * max(0.0, 0.70 - y)
        lean = 0.012 * max(0.0, y - 0.83) / 0.06
        rows.append((y, 0, lean - 0.004, half + loose, front + loose, back + loose))
    return rows


def _add_trunk(surfaces: Surfaces) -> None:
    person, n = surfaces.person, surfaces.count_of
    body = person.body
    below = "dress" if person.bottom == "dress" else "bottom"
    ease = 0.004 + 0.007 * person.fit
    surfaces.add(tube(_trunk_rows(body, 0.004, 0.63, 0.455), n(12), n(28), 2.3), trunk_weights, below, "trunk")
    hem = 0.612 if person.tucked or person.bottom == "dress" else person.hem
    flare = 0.0 if person.tucked else 0.03 * person.fit
    trousers = 0.007 + 0.008 * person.fit if person.bottom in ("trousers", "shorts") else 0.0
    rows = _trunk_rows(body, ease, 0.897, hem, flare, trousers)
    if hem > 0.6:  # the edge is turned inwards
        y, x, z, half, front, back = rows[-1]
        rows.append((y - 0.004, x, z, half - 0.012, front - 0.012, back - 0.012))
    surfaces.add(tube(rows, n(30), n(32), 2.3), hanging_weights(body, 0.35), "top", "trunk", two_sided=True)
    if person.top == "jacket":
        opening = 14 + 22 * person.neckline
        rows = _trunk_rows(body, ease + 0.011, 0.842, 0.47 + 0.1 * (person.hem - 0.5), 0.04, trousers)
        grid = tube(rows, n(26), n(32), 2.3, (opening, 360 - opening))
        surfaces.add(grid, hanging_weights(body, 0.4), "jacket", "trunk", closed=False, two_sided=True)
    if person.bottom in ("skirt", "dress"):
        _add_skirt(surfaces)


def _add_skirt(surfaces: Surfaces) -> None:
    person, n = surfaces.person, surfaces.count_of
    hem = person.bottom_length
    ease = 0.006 + 0.007 * person.fit
    rows = _trunk_rows(person.body, ease, 0.618, 0.500, 0.0, 0.002)
    y, x, z, half, front, back = rows[0]
    rows[0] = (y, x, z, half - 0.010, front - 0.010, back - 0.010)  # the edge is tucked under the top
    _, _, z, half, front, back = rows[-1]
    wider = (0.05 + 0.22 * person.fit) * (1 if hem > 0.25 else 0.4)
    for share in (0.2, 0.45, 0.7, 1.0):
        y = 0.50 + (hem - 0.50) * share
        out = wider * (0.50 - y) * (0.4 + 0.6 * share)
        rows.append((y, 0, z, half + out, front + 0.8 * out + 0.004, back + 0.8 * out - 0.008 * share))
    grid = tube(rows, n(22), n(40), 2.1)
    angle = np.arctan2(grid[..., 0], grid[..., 2])
    fold = 1 + 0.05 * person.fit * step(0.0, 0.2, 0.53 - grid[..., 1]) * np.cos(angle * 11 + 1)
    grid = np.stack((grid[..., 0] * fold, grid[..., 1], grid[..., 2] * fold), axis=-1)
    material = "dress" if person.bottom == "dress" else "bottom"
    surfaces.add(grid, hanging_weights(person.body, 0.92), material, "skirt", two_sided=True)


_ARM = (
    # y, radius: masculine, feminine
    (0.820, 0.004, 0.004), (0.815, 0.0155, 0.0135), (0.801, 0.0265, 0.0225), (0.775, 0.0320, 0.0258),
    (0.735, 0.0300, 0.0235), (0.685, 0.0255, 0.0205), (0.645, 0.0235, 0.0190), (0.605, 0.0255, 0.0200),
    (0.560, 0.0220, 0.0175), (0.520, 0.0175, 0.0145), (0.498, 0.0160, 0.0135),
)  # fmt: skip


def _limb_rows(
    keys: Sequence[Row], body: Body, x: float, z: float, ease: float, bottom: float, shoulder: bool = False
) -> list[Row]:
    """Return sections of a limb down to a height, at a distance `ease` from the skin; a shoulder slopes to the neck."""
    rows: list[Row] = []
    table = np.array(keys)[::-1]
    heights = [row[0] for row in keys if row[0] > bottom] + [bottom]
    for y in heights:
        masculine, feminine = (float(np.interp(y, table[:, 0], table[:, column])) for column in (1, 2))
        radius = mix(masculine, feminine, body.femininity) * (0.45 + 0.55 * body.girth)
        inwards = 0.30 * max(0.0, y - 0.768) if shoulder else 0.0
        radius += ease * min(1.0, max(0.1, (0.820 - y) / 0.075)) if shoulder else ease
        rows.append((y, x - math.copysign(inwards, x), z, radius * 0.96, radius, radius))
    return rows


def _add_arm(surfaces: Surfaces, sign: int, side: str) -> None:
    person, n = surfaces.person, surfaces.count_of
    body, group = person.body, f"{side} arm"
    first = _FIRST_OF_ARM[side]
    x = sign * body.shoulder_x
    weights = limb_weights(body, first, 0.028)
    rows = _limb_rows(_ARM, body, x, -0.006, 0.0, 0.496, shoulder=True)
    surfaces.add(tube(rows, n(26), n(14)), weights, "skin", group)
    _add_hand(surfaces, sign, group, x, first + 2)
    if person.sleeve > 0:
        end = 0.808 - 0.168 * min(1.0, person.sleeve) - 0.140 * max(0.0, person.sleeve - 1)
        ease = (0.003 + 0.007 * person.fit) if person.top != "jacket" else 0.011
        rows = _limb_rows(_ARM, body, x, -0.006, ease, end, shoulder=True)
        opening = 0.005 * person.fit if person.sleeve < 1 else 0.003
        y, cx, cz, a, f, b = rows[-1]
        rows[-1] = (y, cx, cz, a + opening, f + opening, b + opening)
        material = "jacket" if person.top == "jacket" else "sleeve"
        surfaces.add(tube(rows, n(22), n(16)), weights, material, group, two_sided=True)


def _add_hand(surfaces: Surfaces, sign: int, group: str, x: float, bone: int) -> None:
    """Add a mitten with slightly curled fingers and a thumb; the palm faces the thigh."""
    n = surfaces.count_of
    size = mix(1.05, 0.93, surfaces.person.body.femininity)
    curl = (0.0, 0.0, 0.0, 0.001, 0.004, 0.009, 0.011)
    thick = (0.0140, 0.0130, 0.0125, 0.0110, 0.0090, 0.0070, 0.001)
    wide = (0.0145, 0.0180, 0.0225, 0.0225, 0.0200, 0.0150, 0.001)
    down = (0.508, 0.492, 0.472, 0.452, 0.428, 0.408, 0.402)
    rows = [
        (0.508 + (y - 0.508) * size, x - sign * c, -0.004, t * size, w * size, w * size)
        for y, t, w, c in zip(down, thick, wide, curl, strict=True)
    ]
    surfaces.add(tube(rows, n(12), n(14), 2.4), rigid(bone), "hand", group)
    thumb: list[Row] = [
        (y, x - sign * inwards, z, radius, radius, radius)
        for y, inwards, z, radius in (
            (0.488, 0.002, 0.006, 0.003), (0.482, 0.003, 0.011, 0.008), (0.462, 0.006, 0.021, 0.0065),
            (0.445, 0.009, 0.024, 0.0055), (0.437, 0.010, 0.024, 0.001),
        )
    ]  # fmt: skip
    surfaces.add(tube(thumb, n(8), n(8)), rigid(bone), "skin", group)


_LEG = (
    (0.545, 0.010, 0.010), (0.538, 0.034, 0.036), (0.520, 0.0490, 0.0490), (0.485, 0.0545, 0.0540),
    (0.440, 0.0530, 0.0515), (0.390, 0.0480, 0.0475), (0.335, 0.0410, 0.0400), (0.295, 0.0350, 0.0330),
    (0.270, 0.0340, 0.0320), (0.245, 0.0330, 0.0310), (0.205, 0.0345, 0.0320), (0.165, 0.0315, 0.0295),
    (0.110, 0.0240, 0.0220), (0.065, 0.0195, 0.0175), (0.035, 0.0195, 0.0175),
)  # fmt: skip


def _leg_radius(body: Body, y: float) -> float:
    """Return the radius of the bare thigh, in body heights."""
    return _limb_rows(_LEG, body, 0.0, 0.0, 0.0, y)[-1][4]


def _calf(rows: list[Row]) -> list[Row]:
    """Shape the calf, behind the shin bone, and the kneecap in front."""
    shaped: list[Row] = []
    for y, x, z, a, f, b in rows:
        calf = math.exp(-(((y - 0.195) / 0.05) ** 2))
        knee = math.exp(-(((y - 0.278) / 0.02) ** 2))
        shaped.append((y, x, z, a, f - 0.003 * calf + 0.003 * knee, b + 0.006 * calf))
    return shaped


def _add_leg(surfaces: Surfaces, sign: int, side: str) -> None:
    person, n = surfaces.person, surfaces.count_of
    body, group = person.body, f"{side} leg"
    first = _FIRST_OF_LEG[side]
    x = sign * body.hip_x
    weights = limb_weights(body, first, 0.035)
    covered = person.bottom == "trousers" and person.bottom_length < 0.08
    if not covered:
        surfaces.add(tube(_calf(_limb_rows(_LEG, body, x, -0.004, 0, 0.035)), n(28), n(16)), weights, "leg", group)
    if person.bottom in ("trousers", "shorts"):
        end = person.bottom_length
        wide = 0.004 + 0.009 * person.fit
        rows = [
            (y, cx, cz, a + extra, f + extra, b + extra)
            for y, cx, cz, a, f, b in _calf(_limb_rows(_LEG, body, x, -0.004, 0.003, end))
            for extra in [wide * float(step(0.0, 0.25, np.array(0.50 - y))) * (1.3 if person.bottom == "shorts" else 1)]
        ]
        surfaces.add(tube(rows, n(28), n(18)), weights, "bottom", group, two_sided=True)
    _add_shoe(surfaces, sign, group, x, first + 2)


def _add_shoe(surfaces: Surfaces, sign: int, group: str, x: float, bone: int) -> None:
    """Add a tube along the foot with a flat sole."""
    n = surfaces.count_of
    size = mix(1.03, 0.94, surfaces.person.body.femininity)
    length = ((-0.040, 0.004, 0.020), (-0.037, 0.016, 0.040), (-0.022, 0.0215, 0.052), (0.000, 0.0225, 0.056),
              (0.022, 0.0225, 0.050), (0.045, 0.0250, 0.038), (0.070, 0.0275, 0.0295), (0.092, 0.0255, 0.024),
              (0.106, 0.0170, 0.0175), (0.1115, 0.008, 0.013))  # fmt: skip
    rows: list[Row] = [
        (z * size, 0.0, top * size / 2, half * size, top * size / 2, top * size / 2) for z, half, top in length
    ]
    heel, toe = rows[0], rows[-1]
    rows = [(heel[0], 0, heel[2], 0, 0, 0), *rows, (toe[0], 0, toe[2], 0, 0, 0)]
    lying = tube(rows[::-1], n(18), n(16), 2.7)  # along y; laid down below
    grid = np.stack((-lying[..., 0], lying[..., 2], lying[..., 1]), axis=-1)
    toe_out = sign * 0.03 * np.maximum(0, grid[..., 2])
    grid = np.stack((grid[..., 0] + x + toe_out, grid[..., 1], grid[..., 2] - 0.004), axis=-1)
    surfaces.add(grid, rigid(bone), "shoe", group)


_HEAD_ROWS: tuple[Row, ...] = (
    # y, x, z of the centre, half width, front, back
    (1.000, 0, 0.000, 0.002, 0.002, 0.002), (0.9985, 0, 0.000, 0.013, 0.016, 0.018),
    (0.993, 0, 0.000, 0.0255, 0.030, 0.034), (0.983, 0, 0.001, 0.0355, 0.0415, 0.0475),
    (0.968, 0, 0.002, 0.0425, 0.0495, 0.0565), (0.950, 0, 0.003, 0.0450, 0.0525, 0.0600),
    (0.933, 0, 0.003, 0.0448, 0.0520, 0.0590), (0.917, 0, 0.004, 0.0432, 0.0520, 0.0540),
    (0.903, 0, 0.007, 0.0405, 0.0500, 0.0460), (0.890, 0, 0.013, 0.0355, 0.0435, 0.0380),
    (0.878, 0, 0.022, 0.0270, 0.0330, 0.0300), (0.871, 0, 0.031, 0.0175, 0.0215, 0.0220),
    (0.867, 0, 0.037, 0.0060, 0.0080, 0.0080),
)  # fmt: skip


_head_weights = rigid(_HEAD)


def _add_head(surfaces: Surfaces) -> None:
    n = surfaces.count_of
    grid = tube(_HEAD_ROWS, n(38), n(36), 2.15, crowd_front=0.45)
    x, y, z = grid[..., 0], grid[..., 1], grid[..., 2]
    front = z > 0.02
    bridge = step(0.905, 0.911, y) * np.clip((0.948 - y) / 0.036, 0, 1)
    nose = 0.0165 * bridge * np.exp(-((x / (0.0048 + 0.003 * step(0.93, 0.906, y))) ** 2))
    sockets = -0.0042 * np.exp(-(((np.abs(x) - 0.0175) / 0.010) ** 2) - ((y - 0.935) / 0.007) ** 2)
    lips = 0.0028 * np.exp(-((x / 0.013) ** 2) - ((y - 0.892) / 0.006) ** 2)
    brow = 0.0020 * np.exp(-((x / 0.03) ** 2) - ((y - 0.947) / 0.007) ** 2)
    chin = 0.0030 * np.exp(-((x / 0.012) ** 2) - ((y - 0.874) / 0.006) ** 2)
    z = z + front * (nose + sockets + lips + brow + chin)
    surfaces.add(np.stack((x, y, z), axis=-1), _head_weights, "face", "head", head=True)
    for sign in (-1, 1):
        ear: list[Row] = [
            (0.940, sign * 0.044, -0.004, 0.001, 0.001, 0.001), (0.937, sign * 0.046, -0.004, 0.004, 0.008, 0.009),
            (0.925, sign * 0.046, -0.003, 0.005, 0.008, 0.009), (0.913, sign * 0.044, -0.001, 0.004, 0.006, 0.006),
            (0.909, sign * 0.043, 0.001, 0.001, 0.001, 0.001),
        ]  # fmt: skip
        surfaces.add(tube(ear, n(8), n(10)), _head_weights, "skin", "head", head=True)


def _scalp(surfaces: Surfaces, hairline: Sequence[tuple[float, float]], thickness: float, crown: float) -> Array:
    """Return a shell over the skull from the crown down to a hairline.

    Args:
        surfaces: The figure, for its level of detail.
        hairline: (angle in degrees from the front, height that the shell reaches down to).
        thickness: Distance from the skull at the sides.
        crown: Distance from the skull on top.
    """
    n = surfaces.count_of
    rows, segments = n(18), n(40)
    angle = 2 * np.pi * np.arange(segments) / segments
    away = np.abs(np.degrees(np.where(angle > np.pi, angle - 2 * np.pi, angle)))
    angles, heights = np.array(hairline).T
    edge = np.interp(away, angles, heights)
    down = np.linspace(0, 1, rows)[:, None] ** 0.8
    y = 1.0 - (1.0 - edge) * down
    keys = np.array(_HEAD_ROWS)[::-1]
    z, half, ahead, behind = (np.interp(y, keys[:, 0], keys[:, column]) for column in (2, 3, 4, 5))
    out = thickness * step(0.0, 0.25, down) * (1 - 0.75 * step(0.75, 1.0, np.broadcast_to(down, y.shape)))
    sine, cosine = np.sin(angle), np.cos(angle)
    depth = np.where(cosine > 0, ahead, behind)
    lift = crown * step(0.955, 1.0, y)
    return np.stack(((half + out) * sine, y + lift, z + (depth + out) * cosine), axis=-1)


def _add_hair(surfaces: Surfaces) -> None:
    person = surfaces.person
    long = person.hair in ("bob", "long")
    volume = 0.005 + 0.006 * person.hair_length
    if person.hair == "bald":
        return
    if person.hair == "cap":
        shell = _scalp(surfaces, ((0, 0.9665), (60, 0.9625), (100, 0.945), (180, 0.935)), 0.009, 0.010)
        surfaces.add(shell, _head_weights, "cap", "head", two_sided=True, head=True)
        _add_visor(surfaces)
        volume = 0.004
    low = 0.885 if person.hair in ("short", "cap", "bob", "long") else 0.895
    line = [(0.0, 0.978), (25.0, 0.976), (42.0, 0.964), (58.0, 0.950), (72.0, 0.928), (84.0, 0.918), (92.0, 0.940),
            (106.0, 0.936), (122.0, 0.905), (145.0, low), (180.0, low)]  # fmt: skip
    if long:
        line = [(0.0, 0.980), (20.0, 0.976), (40.0, 0.962), (58.0, 0.940), (72.0, 0.915), (90.0, 0.905), (180.0, 0.885)]
    shell = _scalp(surfaces, line, volume + (0.004 if long else 0), volume + 0.004)
    if person.hair != "cap":
        surfaces.add(shell, _head_weights, "hair", "head", two_sided=True, head=True)
    else:
        surfaces.add(shell - (0, 0.004, 0), _head_weights, "hair", "head", two_sided=True, head=True)
    if long:
        _add_curtain(surfaces, volume)
    if person.hair == "ponytail":
        _add_tail(surfaces)


def _add_visor(surfaces: Surfaces) -> None:
    n = surfaces.count_of
    across = np.radians(np.linspace(-62, 62, n(14)))[None, :]
    out = np.linspace(0, 1, n(6))[:, None]
    reach = 0.053 + out * 0.042 * np.cos(across * 1.25)
    x = 0.050 * np.sin(across) * (1 + 0.05 * out)
    z = 0.004 + reach * np.cos(across)
    y = 0.9675 - 0.010 * out - 0.006 * np.sin(across) ** 2
    grid = np.stack(np.broadcast_arrays(x, y, z), axis=-1)
    surfaces.add(grid, _head_weights, "cap", "head", closed=False, two_sided=True, head=True)


def _falling_weights(rest: Array) -> Array:
    """Weights of long hair, which follows the head above and the back below."""
    table = np.zeros((len(rest), len(BONES)))
    fall = step(0.0, 0.09, 0.87 - rest[:, 1])
    table[:, _HEAD], table[:, _CHEST] = 1 - fall, fall
    return table


def _add_curtain(surfaces: Surfaces, volume: float) -> None:
    """Add hair that falls around the back of the head from one temple to the other."""
    person, n = surfaces.person, surfaces.count_of
    end = 0.872 - 0.018 * person.hair_length if person.hair == "bob" else 0.80 - 0.10 * person.hair_length
    v = volume + 0.004
    rows: list[Row] = [
        (0.972, 0, 0.002, 0.039 + v, 0.045 + v, 0.052 + v), (0.950, 0, 0.003, 0.045 + v, 0.0525 + v, 0.060 + v),
        (0.925, 0, 0.003, 0.045 + v, 0.052 + v, 0.059 + v), (0.900, 0, 0.000, 0.044 + v, 0.050 + v, 0.055 + v),
    ]  # fmt: skip
    if person.hair == "bob":
        rows += [(0.885, 0, 0.0, 0.046 + v, 0.046 + v, 0.054 + v), (end, 0, 0.0, 0.040 + v, 0.040 + v, 0.047 + v)]
    else:
        rows += [(0.870, 0, -0.004, 0.048 + v, 0.045, 0.054 + v), (0.830, 0, -0.010, 0.058 + v, 0.045, 0.056 + v),
                 (0.80, 0, -0.012, 0.060 + v, 0.045, 0.060 + v),
                 (end - 0.005, 0, -0.012, 0.052 + v, 0.040, 0.060 + v)]  # fmt: skip
    grid = tube(rows, n(20), n(34), 2.2, (64, 296))
    angle = np.arctan2(grid[..., 0], grid[..., 2])
    wave = 1 + 0.025 * np.cos(angle * 13) * step(0.0, 0.06, 0.93 - grid[..., 1])
    grid = np.stack((grid[..., 0] * wave, grid[..., 1], grid[..., 2] * wave), axis=-1)
    surfaces.add(grid, _falling_weights, "hair", "head", closed=False, two_sided=True, head=True)


def _add_tail(surfaces: Surfaces) -> None:
    person, n = surfaces.person, surfaces.count_of
    end = 0.86 - 0.10 * person.hair_length
    rows: list[Row] = [
        (0.975, 0, -0.058, 0.004, 0.004, 0.004), (0.968, 0, -0.068, 0.012, 0.012, 0.012),
        (0.945, 0, -0.082, 0.017, 0.015, 0.016), (0.90, 0, -0.086, 0.019, 0.015, 0.016),
        (end + 0.02, 0, -0.082, 0.013, 0.011, 0.012), (end, 0, -0.080, 0.002, 0.002, 0.002),
    ]  # fmt: skip
    surfaces.add(tube(rows, n(16), n(12)), _falling_weights, "hair", "head", head=True)


def _add_bag(surfaces: Surfaces) -> None:
    person, n = surfaces.person, surfaces.count_of
    body = person.body
    if person.bag == "backpack":
        back = _trunk_rows(body, 0.008, 0.75, 0.70)[0][5]
        z = -back - 0.042
        rows: list[Row] = [
            (0.815, 0, z + 0.012, 0.004, 0.004, 0.004), (0.812, 0, z + 0.008, 0.055, 0.030, 0.028),
            (0.795, 0, z, 0.074, 0.044, 0.036), (0.72, 0, z, 0.080, 0.046, 0.044), (0.65, 0, z, 0.082, 0.046, 0.048),
            (0.628, 0, z, 0.076, 0.044, 0.042), (0.622, 0, z, 0.004, 0.004, 0.004),
        ]  # fmt: skip
        surfaces.add(tube(rows, n(18), n(24), 3.6), rigid(_CHEST), "bag", "bag")
    elif person.bag == "shoulder bag":
        x = person.bag_side * (body.hip_x + 0.078)
        rows = [(0.535, x, -0.01, 0.004, 0.01, 0.01), (0.532, x, -0.01, 0.020, 0.060, 0.060),
                (0.49, x, -0.01, 0.026, 0.066, 0.066), (0.44, x, -0.01, 0.026, 0.066, 0.066),
                (0.436, x, -0.01, 0.004, 0.01, 0.01)]  # fmt: skip
        surfaces.add(tube(rows, n(12), n(20), 4.0), rigid(_PELVIS), "bag", "bag")
    elif person.bag == "handbag":
        bone = BONES.index("right load" if person.bag_side < 0 else "left load")
        x = person.bag_side * (body.shoulder_x + 0.002)
        rows = [(0.408, x, 0, 0.003, 0.004, 0.004), (0.375, x, 0, 0.004, 0.030, 0.030),
                (0.372, x, 0, 0.016, 0.052, 0.052), (0.33, x, 0, 0.022, 0.064, 0.064),
                (0.295, x, 0, 0.024, 0.068, 0.068), (0.290, x, 0, 0.004, 0.01, 0.01)]  # fmt: skip
        surfaces.add(tube(rows, n(12), n(20), 3.0), rigid(bone), "bag", "bag")


def _add_bench(surfaces: Surfaces) -> None:
    """Add a block to sit on. It follows no bone: it is placed under a person who sits, and has no size otherwise."""
    rows: list[Row] = [(1.0, 0, 0, 0.001, 0.001, 0.001), (1.0, 0, 0, 0.5, 0.5, 0.5), (0.0, 0, 0, 0.5, 0.5, 0.5)]
    grid = np.concatenate([tube(rows[i : i + 2], 4, 32, 30.0) for i in (0, 1)])

    def weights(rest: Array) -> Array:
        return np.zeros((len(rest), len(BONES)))

    surfaces.add(grid, weights, "bench", "bench")
