"""Clothes, hair and colours of one identity, and the texture of each material.

A texture is a function of the position on the body in the rest pose (`surface.Mesh.rest`, in body heights), so stripes
follow a limb that bends, a logo stays on the chest, and straps run over both shoulders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pg2lib.data.synthetic.body import Array, Body, Draws

RGB = tuple[float, float, float]

Pattern = Literal["plain", "stripes", "pinstripes", "check", "dots", "logo", "block", "flowers"]
Hair = Literal["bald", "short", "bob", "long", "ponytail", "cap"]
Top = Literal["sleeveless", "short sleeves", "long sleeves", "jacket"]
Bottom = Literal["trousers", "shorts", "skirt", "dress"]
Bag = Literal["none", "backpack", "shoulder bag", "handbag"]

_SKINS = ("f3cfb3", "ebbf9c", "e2ae87", "d29b74", "b97f59", "8f5d3f", "6b4430", "523325")
_HAIRS = ("15110f", "1d1714", "2b1e17", "3f2a1c", "5b3b22", "8a6238", "b98f57", "7a3b22", "8e8a86")
_CLOTHES = (
    "16181c", "2a2d33", "55585d", "8b8e92", "e9e8e4", "f6f6f4", "b3202c", "d8452f", "e97f2e", "efc23f", "f2e3a0",
    "2f7d4a", "69a85b", "3c8f8a", "2f6fb2", "5aa3dd", "23407e", "1d2748", "6b3f8f", "a878b8", "e58aa8", "f2bfcb",
    "7a2438", "8a5a35", "c9a87c", "d9cbb2",
)  # fmt: skip
_BOTTOMS = (
    "15171b", "23262e", "1f2d4d", "33507f", "5b7ca8", "8da7c7", "3c3a38", "6b6a66", "b7a17c", "cdbb98", "e6e2d8",
    "4b4a35", "5a3b2a",
)  # fmt: skip
_SHOES = ("17181a", "f2f1ee", "3a2a20", "8c5a36", "23304f", "a12a30", "777b80", "d8d4cc")


@dataclass(frozen=True)
class Fabric:
    """The colours and the pattern of a garment; `scale` is the period of the pattern in body heights."""

    colour: RGB
    second: RGB
    pattern: Pattern = "plain"
    scale: float = 0.04


@dataclass(frozen=True)
class Identity:
    """One person: the body, and everything else that stays the same in all views.

    Attributes:
        hair_length, neckline, fit: From 0 to 1: short to long, open to closed, tight to wide.
        beard: From 0 (none) to 1.
        sleeve: 0 is none, 1 ends at the elbow, 2 at the wrist.
        hem, bottom_length, sock_height: Where the top, the bottom and the socks end, in body heights from the sole.
        tucked: Whether the top is worn inside the bottom.
        bag_side: -1 is the right, 1 the left.
    """

    body: Body
    skin: RGB
    hair: Hair
    hair_colour: RGB
    hair_length: float
    beard: float
    lips: RGB
    eyes: RGB
    top: Top
    sleeve: float
    top_fabric: Fabric
    jacket: Fabric
    neckline: float
    tucked: bool
    hem: float
    bottom: Bottom
    bottom_fabric: Fabric
    bottom_length: float
    fit: float
    shoes: RGB
    soles: RGB
    socks: RGB
    sock_height: float
    bag: Bag
    bag_side: int
    bag_colour: RGB

    @classmethod
    def draw(cls, seed: int) -> Identity:
        """Draw the person of a seed."""
        draws = Draws("pg2lib identity", seed)
        body = Body.draw(draws)
        feminine = body.femininity > 0.5
        skin = _shade(_rgb(draws.choice(_SKINS, (3, 4, 4, 3, 2, 1, 1, 1))), draws.normal(1, 0.03))
        top_colour, second = _two_colours(draws, _CLOTHES)
        # Weights in the order of the literals above.
        pattern: Pattern = draws.choice(get_args(Pattern), (0.36, 0.14, 0.03, 0.10, 0.06, 0.17, 0.08, 0.06))
        bottom: Bottom = draws.choice(get_args(Bottom), (0.4, 0.2, 0.2, 0.2) if feminine else (0.66, 0.34, 0, 0))
        top: Top = draws.choice(get_args(Top), (0.24, 0.42, 0.2, 0.14) if feminine else (0.07, 0.53, 0.2, 0.2))
        sleeve = {
            "sleeveless": 0.0,
            "short sleeves": draws.uniform(0.36, 0.62),
            "long sleeves": draws.uniform(1.9, 2.0) if draws.chance(0.75) else draws.uniform(1.2, 1.5),
            "jacket": draws.uniform(1.9, 2.0),
        }[top]
        lower = _bottom_fabric(draws, bottom)
        hair: Hair = draws.choice(
            get_args(Hair), (0, 0.08, 0.22, 0.42, 0.24, 0.04) if feminine else (0.08, 0.72, 0, 0.03, 0, 0.17)
        )
        bag: Bag = draws.choice(get_args(Bag), (0.55, 0.22, 0.15, 0.08))
        return cls(
            body=body,
            skin=skin,
            hair=hair,
            hair_colour=_rgb(draws.choice(_HAIRS, (6, 5, 4, 3, 2, 1.2, 1, 0.6, 0.8))),
            hair_length=draws.uniform(0, 1),
            beard=0.0 if feminine else draws.choice((0.0, 0.25, 0.8), (0.6, 0.25, 0.15)),
            lips=_blend(skin, _rgb("b0303c"), draws.uniform(0.45, 0.8) if feminine else draws.uniform(0.2, 0.35)),
            eyes=_rgb(draws.choice(("241712", "3a2616", "35506b", "4a5c3a"), (5, 3, 1, 1))),
            top=top,
            sleeve=sleeve,
            top_fabric=Fabric(top_colour, second, pattern, draws.uniform(0.026, 0.05)),
            jacket=Fabric(
                _rgb(draws.choice(_CLOTHES[:5] + _BOTTOMS[2:7] + ("7a2438", "2f7d4a", "c9a87c"))), top_colour
            ),
            neckline=draws.uniform(0, 1),
            tucked=draws.chance(0.25) or bottom == "skirt",
            hem=draws.uniform(0.485, 0.525),
            bottom=bottom,
            bottom_fabric=lower,
            bottom_length={
                "trousers": 0.035 if draws.chance(0.85) else 0.10,
                "shorts": draws.uniform(0.30, 0.42) if feminine else draws.uniform(0.26, 0.34),
                "skirt": draws.choice((0.37, 0.30, 0.16), (3, 3, 1)),
                "dress": draws.choice((0.37, 0.31, 0.14), (4, 3, 1)),
            }[bottom],
            fit=draws.uniform(0.15, 1),
            shoes=_rgb(draws.choice(_SHOES)),
            soles=_rgb(draws.choice(("f0efeb", "2a2826"), (2, 1))),
            socks=_rgb(draws.choice(("f0efec", "22242a", "8a8c90"), (3, 2, 1))),
            sock_height=draws.choice((0.0, 0.07, 0.15), (4, 3, 1)),
            bag=bag,
            bag_side=draws.choice((-1, 1)),
            bag_colour=_rgb(
                draws.choice(("16181c", "23262e", "1f2d4d", "8a5a35", "b3202c", "3c8f8a", "c9a87c", "69a85b"))
            ),
        )


def _bottom_fabric(draws: Draws, bottom: Bottom) -> Fabric:
    colour = _rgb(draws.choice(_BOTTOMS))
    if bottom != "skirt":
        return Fabric(colour, _rgb("d9d9d4"), "plain")
    patterns: tuple[Pattern, ...] = ("plain", "check", "dots", "stripes")
    return Fabric(*_two_colours(draws, _CLOTHES), draws.choice(patterns, (5, 2, 1, 1)), 0.035)


def _rgb(text: str) -> RGB:
    red, green, blue = (0.045 + 0.94 * int(text[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return red, green, blue


def _shade(colour: RGB, factor: float) -> RGB:
    red, green, blue = (min(1.0, part * factor) for part in colour)
    return red, green, blue


def _blend(a: RGB, b: RGB, share: float) -> RGB:
    red, green, blue = (x + (y - x) * share for x, y in zip(a, b, strict=True))
    return red, green, blue


def _two_colours(draws: Draws, colours: tuple[str, ...]) -> tuple[RGB, RGB]:
    """Draw two colours of clearly different brightness."""
    first = _rgb(draws.choice(colours))
    others = [other for other in map(_rgb, colours) if abs(_luma(other) - _luma(first)) > 0.22]
    return first, draws.choice(others)


def _luma(colour: RGB) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def step(low: float, high: float, x: Array) -> Array:
    """Return 0 below `low`, 1 above `high`, and a smooth transition between them."""
    t = np.clip((x - low) / (high - low), 0, 1)
    smooth: Array = t * t * (3 - 2 * t)
    return smooth


def paint(base: Array, colour: RGB | Array, share: Array) -> Array:
    """Blend `colour` over `base`; where `share` is 1, the colour alone remains."""
    painted: Array = base + (np.asarray(colour) - base) * share[:, None]
    return painted


def texture(material: str, person: Identity, rest: Array) -> Array:
    """Return the colours of a material at points of the rest pose, (points, 3), in [0, 1].

    Args:
        material: One of `surface.MATERIALS`.
        person: Who wears it.
        rest: (points, 3), in body heights: x to the left, y up from the sole, z forward.
    """
    if material == "skin":
        return _plain(person.skin, rest)
    if material == "hand":
        return _hand(person, rest)
    if material == "face":
        return _face(person, rest)
    if material == "hair":
        return _strands(person.hair_colour, rest)
    if material == "top":
        return _trunk(person, rest)
    if material == "sleeve":
        return fabric(person.top_fabric, rest, np.sign(rest[:, 0]) * person.body.shoulder_x, 0.032)
    if material == "jacket":
        return _jacket(person, rest)
    if material == "bottom":
        return _bottom(person, rest)
    if material == "dress":
        return fabric(person.top_fabric, rest)
    if material == "leg":
        return _leg(person, rest)
    if material == "shoe":
        return _shoe(person, rest)
    if material == "bag":
        return _bag(person, rest)
    if material == "cap":
        return _plain(person.jacket.colour, rest)
    if material == "bench":
        return _plain((0.62, 0.58, 0.52), rest)
    raise AssertionError(material)


def _plain(colour: RGB, rest: Array) -> Array:
    return np.tile(np.asarray(colour, dtype=np.float64), (len(rest), 1))


def fabric(cloth: Fabric, rest: Array, axis_x: Array | None = None, radius: float = 0.085) -> Array:
    """Return the colours of a fabric around the trunk, or around a limb whose axis is at `axis_x`."""
    x, up, z = rest.T
    colours = _plain(cloth.colour, rest)
    across = np.arctan2(x if axis_x is None else x - axis_x, z + 0.004) * radius
    period = cloth.scale
    if cloth.pattern == "stripes":
        return paint(colours, cloth.second, _bands(up, period))
    if cloth.pattern == "pinstripes":
        return paint(colours, cloth.second, 0.8 * _bands(across, 0.018, 0.22))
    if cloth.pattern == "check":
        colours = paint(colours, cloth.second, 0.5 * _bands(up, period, 0.45))
        return paint(colours, cloth.second, 0.5 * _bands(across, period, 0.45))
    if cloth.pattern == "dots":
        row = np.floor(up / (period * 0.7))
        dx = (across / period + 0.5 * (row % 2)) % 1 - 0.5
        dy = (up / (period * 0.7)) % 1 - 0.5
        return paint(colours, cloth.second, 1 - step(0.055, 0.10, dx * dx + 0.5 * dy * dy))
    if cloth.pattern == "flowers":
        wave = np.sin(across * 190 + 3 * np.sin(up * 120)) * np.sin(up * 170 + 2.5 * np.sin(across * 140 + 1))
        return paint(colours, cloth.second, step(0.25, 0.45, wave))
    if cloth.pattern == "block":
        return paint(colours, cloth.second, step(0.722, 0.724, up) - step(0.768, 0.770, up))
    if cloth.pattern == "logo" and axis_x is None:
        return _logo(cloth, colours, rest)
    return colours


def _bands(at: Array, period: float, share: float = 0.5) -> Array:
    phase = np.abs((at / period) % 1 - 0.5) * 2
    return 1 - step(share - 0.05, share + 0.05, phase)


def _logo(cloth: Fabric, colours: Array, rest: Array) -> Array:
    """Draw a ring with a bar below it on the chest, in front only."""
    x, y, z = rest.T
    front = (z > 0) & (np.abs(x) < 0.08)
    disc = 1 - step(0.0255, 0.0275, np.hypot(x, y - 0.742))
    hole = 1 - step(0.0125, 0.0145, np.hypot(x, y - 0.742))
    bar = (1 - step(0.040, 0.042, np.abs(x))) * (1 - step(0.0055, 0.0075, np.abs(y - 0.697)))
    return paint(colours, cloth.second, np.where(front, np.maximum(disc - hole, bar), 0.0))


def _trunk(person: Identity, rest: Array) -> Array:
    """Return the top from the hem to the collar, and the skin above it."""
    x, y, z = rest.T
    aside = np.abs(x)
    colours = _straps(person, fabric(person.top_fabric, rest), rest)
    front = z > -0.004
    if person.top == "sleeveless":
        depth = 0.775 if person.body.femininity > 0.5 else 0.79
        bare = (aside > 0.066) & (y > 0.758) | (y > np.where(front, depth, 0.80)) & (aside < 0.044)
    elif person.neckline < 0.25 and person.top != "jacket":  # V
        bare = y > np.where(front, 0.785 + 1.3 * aside, 0.836)
    elif person.neckline < 0.55:  # buttoned, with a collar
        collar = (y > 0.822) & (y < 0.848)
        colours = paint(colours, _shade(person.top_fabric.colour, 0.85), collar.astype(np.float64))
        opening = front & (y > 0.80) & (aside < 0.4 * (y - 0.80))
        placket = front & (aside < 0.0035)
        colours = paint(colours, person.top_fabric.second, 0.45 * placket)
        bare = opening | (y > 0.848)
    else:
        bare = y > np.where(front, 0.822 + 0.15 * aside, 0.836)
        trim = ~bare & (y > np.where(front, 0.816 + 0.15 * aside, 0.831)) & (aside < 0.07)
        colours = colours * (1 - 0.14 * trim[:, None])
    return paint(colours, person.skin, bare.astype(np.float64))


def _straps(person: Identity, colours: Array, rest: Array) -> Array:
    """Draw the straps of a bag over the garment."""
    x, y, z = rest.T
    if person.bag == "backpack":
        strap = (np.abs(np.abs(x) - 0.060) < 0.011) & (y > 0.66) & (z > -0.01)
        return paint(colours, _shade(person.bag_colour, 0.8), strap.astype(np.float64))
    if person.bag == "shoulder bag":
        across = x * person.bag_side  # from the bag's hip to the other shoulder
        strap = np.abs((y - 0.50) - (0.11 - across) * 1.75) < 0.016
        return paint(colours, _shade(person.bag_colour, 0.8), strap.astype(np.float64))
    return colours


def _jacket(person: Identity, rest: Array) -> Array:
    x, y, z = rest.T
    colours = _plain(person.jacket.colour, rest)
    lapel = (z > 0.02) & (y > 0.70) & (np.abs(x) < 0.02 + 0.12 * (y - 0.66))
    seam = (np.abs(y - 0.58) < 0.003) & (z > 0) & (np.abs(np.abs(x) - 0.06) < 0.02)
    colours = colours * (1 - 0.2 * lapel[:, None]) * (1 - 0.3 * seam[:, None])
    return _straps(person, colours, rest)


def _bottom(person: Identity, rest: Array) -> Array:
    x, y, z = rest.T
    cloth = person.bottom_fabric
    colours = fabric(cloth, rest)
    if person.bottom in ("trousers", "shorts"):
        pocket = (np.abs(y - 0.555 - 0.4 * (np.abs(x) - 0.07)) < 0.003) & (z > 0) & (np.abs(x) > 0.05)
        fly = (np.abs(x) < 0.002) & (z > 0) & (y > 0.50)
        colours = colours * (1 - 0.25 * (pocket | fly)[:, None])
    if person.tucked and person.bottom != "skirt":
        belt = (y > 0.596) & (y < 0.612)
        colours = paint(colours, _shade(person.shoes, 0.5), belt.astype(np.float64))
    return colours


def _hand(person: Identity, rest: Array) -> Array:
    """Dark lines separate the fingers."""
    _, y, z = rest.T
    between = np.abs((z + 0.004) / 0.0098 % 1 - 0.5) < 0.09
    lines = (between & (y < 0.450) & (np.abs(z + 0.004) < 0.016)).astype(np.float64)
    return paint(_plain(person.skin, rest), _shade(person.skin, 0.62), lines)


def _leg(person: Identity, rest: Array) -> Array:
    """Bare with socks below the hem; cloth above it, where a moving leg may push through the garment."""
    colours = _plain(person.skin, rest)
    colours = paint(colours, person.socks, (rest[:, 1] < person.sock_height).astype(np.float64))
    if person.bottom == "trousers":
        return colours
    cloth = person.top_fabric if person.bottom == "dress" else person.bottom_fabric
    return paint(colours, fabric(cloth, rest), (rest[:, 1] > person.bottom_length + 0.015).astype(np.float64))


def _shoe(person: Identity, rest: Array) -> Array:
    _, y, z = rest.T
    colours = _plain(person.shoes, rest)
    colours = paint(colours, person.soles, (y < 0.0068).astype(np.float64))
    laces = (y > 0.030) & (z > 0.025) & (z < 0.07) & (np.sin(z * 700) > 0.2)
    return paint(colours, person.soles, 0.7 * laces)


def _bag(person: Identity, rest: Array) -> Array:
    y = rest[:, 1]
    colours = _plain(person.bag_colour, rest)
    if person.bag == "backpack":
        pocket = (np.abs(y - 0.685) < 0.003) | (np.abs(y - 0.775) < 0.002)
    elif person.bag == "shoulder bag":
        pocket = np.abs(y - 0.488) < 0.003
    else:
        pocket = np.abs(y - 0.360) < 0.002
    seamed: Array = colours * (1 - 0.45 * pocket[:, None])
    return seamed


def _strands(colour: RGB, rest: Array) -> Array:
    x, y, z = rest.T
    angle = np.arctan2(x, z)
    wave = 0.5 * np.sin(angle * 46 + 2 * np.sin(y * 90)) + 0.5 * np.sin(angle * 27 + y * 40)
    strands: Array = np.asarray(colour) * (1 + 0.13 * wave)[:, None]
    return strands


def _face(person: Identity, rest: Array) -> Array:
    """Eyes, brows, mouth, nostrils, cheeks and beard, on the front of the head."""
    x, y, z = rest.T
    aside = np.abs(x)
    colours = _plain(person.skin, rest)
    skin = np.asarray(person.skin)
    front = step(0.02, 0.035, z)
    cheek = np.exp(-(((aside - 0.026) / 0.011) ** 2) - ((y - 0.910) / 0.010) ** 2)
    colours = paint(colours, skin * (1.0, 0.80, 0.78), 0.35 * cheek * front)
    if person.beard:
        jaw = (1 - step(0.893, 0.905, y + 0.25 * np.maximum(0, 0.02 - aside))) * step(0.0, 0.02, z)
        moustache = np.exp(-(((y - 0.9015) / 0.003) ** 2)) * (1 - step(0.013, 0.018, aside)) * front
        shadow = np.maximum(jaw * step(0.868, 0.872, y), moustache)
        colours = paint(colours, _blend(person.hair_colour, person.skin, 0.2), person.beard * shadow)
    socket = np.exp(-(((aside - 0.0175) / 0.011) ** 2) - ((y - 0.9365) / 0.0065) ** 2)
    colours = paint(colours, skin * 0.62, 0.45 * socket * front)
    side_of_nose = np.exp(-(((aside - 0.010) / 0.0035) ** 2) - ((y - 0.916) / 0.012) ** 2)
    colours = paint(colours, skin * 0.68, 0.4 * side_of_nose * front)
    nostril = np.exp(-(((aside - 0.0052) / 0.0024) ** 2) - ((y - 0.9055) / 0.0018) ** 2)
    colours = paint(colours, skin * 0.35, 0.75 * nostril * front)
    eye_x, eye_y = (aside - 0.0178) / 0.0088, (y - 0.9338) / 0.0040
    opening = (1 - step(0.8, 1.1, eye_x**2 + eye_y**2)) * front
    colours = paint(colours, (0.93, 0.92, 0.90), opening)
    iris = 1 - step(0.75, 1.15, ((aside - 0.0178) / 0.0039) ** 2 + ((y - 0.9340) / 0.0039) ** 2)
    colours = paint(colours, person.eyes, iris * opening)
    lash = np.exp(-(((y - 0.9375 + 0.0017 * eye_x**2) / 0.0013) ** 2)) * (1 - step(1.0, 1.25, np.abs(eye_x)))
    colours = paint(colours, skin * 0.16, 0.9 * lash * front)
    brow_line = 0.9475 - 5.5 * (aside - 0.020) ** 2 * 10
    brow = np.exp(-(((y - brow_line) / 0.0022) ** 2)) * step(0.006, 0.009, aside) * (1 - step(0.027, 0.031, aside))
    colours = paint(colours, _blend(person.hair_colour, (0.1, 0.07, 0.05), 0.5), 0.85 * brow * front)
    mouth = 1 - step(0.7, 1.1, (x / 0.0145) ** 2 + ((y - 0.8925) / 0.0052) ** 2)
    colours = paint(colours, person.lips, 0.85 * mouth * front)
    line = np.exp(-(((y - 0.8928 - 6 * x * x) / 0.0010) ** 2)) * (1 - step(0.0125, 0.0155, aside))
    return paint(colours, np.asarray(person.lips) * 0.4, 0.85 * line * front)
