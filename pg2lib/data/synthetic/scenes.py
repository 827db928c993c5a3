"""Backgrounds: six street cameras, each with its own scene, and a photo studio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pg2lib.data.synthetic.body import Array, Draws
from pg2lib.data.synthetic.render import Camera

Ground = Literal["tiles", "asphalt", "bricks", "grass"]
Far = Literal["wall", "hedge", "windows", "fence"]


@dataclass(frozen=True)
class StreetCamera:
    """A camera of the `market` look and its scene.

    Attributes:
        height_m: Height above the ground.
        distance_m: Distances of the nearest and of the farthest person.
        yaw_deg: The directions that people mostly face, seen from the camera, with a deviation of 18 degrees. One in
            four faces any direction. People who sit face the camera within 75 degrees.
        cast: RGB factors.
        blur_px: Radius of the blur on the 128x64 canvas.
        noise: Standard deviation of the noise, of 255.
        ground: What covers the ground.
        far: What closes the scene.
    """

    height_m: float
    distance_m: tuple[float, float]
    yaw_deg: tuple[float, ...]
    cast: tuple[float, float, float]
    blur_px: float
    noise: float
    ground: Ground
    far: Far


STREET_CAMERAS = (
    StreetCamera(2.9, (6.0, 10.0), (20, 200, -25, 160, 180), (1.00, 1.00, 0.98), 0.35, 2.0, "tiles", "windows"),
    StreetCamera(2.6, (5.5, 9.0), (0, 180, 90, -90, 180), (0.97, 1.00, 1.04), 0.45, 2.5, "asphalt", "hedge"),
    StreetCamera(2.2, (5.0, 8.0), (-60, 120, -120, 150), (1.04, 1.00, 0.95), 0.35, 2.0, "bricks", "wall"),
    StreetCamera(3.2, (6.5, 11.0), (45, -135, 180, 135), (0.98, 1.02, 0.99), 0.55, 3.0, "tiles", "fence"),
    StreetCamera(2.4, (5.0, 8.5), (-90, 90, 0, 180, 170), (1.02, 0.99, 1.01), 0.40, 2.0, "asphalt", "windows"),
    StreetCamera(1.9, (6.0, 10.0), (150, -30, 180, 190, 0), (0.95, 0.98, 1.02), 0.70, 3.5, "grass", "hedge"),
)
"""Cameras 1 to 6."""

_PX = 520.0
"""Pixels of a panorama per unit of the image plane (one metre at a distance of one metre)."""
_HORIZON = 215
_SIZE = (760, 1400)


def street(camera: int, view: Camera, draws: Draws, canvas: tuple[int, int]) -> Array:
    """Return a window of the scene of street camera 1 to 6, (height, width, 3), in [0, 1]."""
    panorama = _panorama(camera)
    zoom = _PX / view.scale
    width, height = canvas[1] * zoom, canvas[0] * zoom
    left = draws.uniform(0, max(1.0, _SIZE[1] - width))
    top = min(max(0.0, _HORIZON - (view.horizon + 0.5) * zoom), _SIZE[0] - height)
    box = (left, top, min(left + width, _SIZE[1]), min(top + height, _SIZE[0]))
    cut = panorama.resize((canvas[1], canvas[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(cut, dtype=np.float64) / 255


@lru_cache(maxsize=6)
def _panorama(camera: int) -> Image.Image:
    street_camera = STREET_CAMERAS[camera - 1]
    draws = Draws("pg2lib scene", camera)
    noise = np.random.RandomState(draws.integer())
    picture = _ground(street_camera, noise)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))
    _draw_far(image, street_camera, draws)
    for _ in range(2 if street_camera.ground == "asphalt" else 0):
        _car(ImageDraw.Draw(image), draws.uniform(0, _SIZE[1] - 300), _row(16.5, street_camera), _PX / 16.5, draws)
    things = sorted(
        ((draws.uniform(11, 17), draws.uniform(-100, _SIZE[1]), draws.choice(_THINGS)) for _ in range(38)),
        reverse=True,
    )
    for distance, x, thing in things:
        away = max(distance, 14.5) if thing is _passer_by else distance
        thing(ImageDraw.Draw(image), x, _row(away, street_camera), _PX / away, draws)
    image = image.filter(ImageFilter.GaussianBlur(0.7))
    grain = _smooth_noise(noise, _SIZE, (3, 8))[..., None] * 0.12
    pixels = np.asarray(image, dtype=np.float64) / 255 * (1 + grain)
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))


def _row(distance: float, camera: StreetCamera) -> float:
    return _HORIZON + _PX * camera.height_m / distance


def _smooth_noise(noise: np.random.RandomState, size: tuple[int, int], cells: tuple[int, ...]) -> Array:
    """Sum enlarged random fields to values of about [-1, 1]."""
    total = np.zeros(size)
    for cell in cells:
        field = noise.random_sample((size[0] // cell + 2, size[1] // cell + 2)) * 255
        small = Image.fromarray(field.round().astype(np.uint8))
        large = small.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        total += (np.asarray(large, dtype=np.float64) / 255 - 0.5) * 2 / len(cells)
    return total


def _ground(camera: StreetCamera, noise: np.random.RandomState) -> Array:
    """Draw the sky, and the ground in perspective."""
    row, column = np.mgrid[0 : _SIZE[0], 0 : _SIZE[1]].astype(np.float64)
    below = np.maximum(row - _HORIZON, 0.5)
    depth = camera.height_m * _PX / below
    x, z = (column - _SIZE[1] / 2) / _PX * depth, depth
    fine = _smooth_noise(noise, _SIZE, (3, 9, 40))
    if camera.ground == "grass":
        path = 1 / (1 + np.exp(np.clip(8 * (np.abs(x + 0.15 * z) - 1.6), -30, 30)))
        colour = _mixed((0.36, 0.41, 0.27), (0.58, 0.56, 0.52), path)
        colour *= (1 + (0.30 - 0.2 * path) * fine)[..., None]
    elif camera.ground == "asphalt":
        colour = np.ones((*_SIZE, 3)) * (0.44, 0.45, 0.46) * (1 + 0.10 * fine)[..., None]
        kerb = (np.abs(z - 9.0) < 0.12).astype(np.float64)
        colour = colour + kerb[..., None] * 0.25
    else:
        side = 0.6 if camera.ground == "tiles" else 0.35
        base = (0.60, 0.59, 0.57) if camera.ground == "tiles" else (0.58, 0.47, 0.42)
        stagger = 0.5 * (np.floor(z / side) % 2)
        u, v = x / side + stagger, z / side
        joint = np.maximum(np.abs(u % 1 - 0.5), np.abs(v % 1 - 0.5)) > 0.46
        shade = np.sin(np.floor(u) * 12.9898 + np.floor(v) * 78.233) * 0.05
        fade = np.clip(9 / z - 0.35, 0, 1)
        colour = np.ones((*_SIZE, 3)) * base
        colour *= (1 + fade * (shade - 0.22 * joint) + 0.06 * fine)[..., None]
    sky = np.clip(row / _HORIZON, 0, 1)[..., None] * 0.12 + np.array((0.66, 0.72, 0.78))
    return np.where((row < _HORIZON)[..., None], sky, colour)


def _mixed(a: tuple[float, ...], b: tuple[float, ...], share: Array) -> Array:
    mixed: Array = np.array(a) + (np.array(b) - np.array(a)) * share[..., None]
    return mixed


def _tone(*parts: float) -> tuple[int, int, int]:
    red, green, blue = (int(min(255.0, max(0.0, part)) + 0.5) for part in parts)
    return red, green, blue


def _draw_far(image: Image.Image, camera: StreetCamera, draws: Draws) -> None:
    """Draw what closes the scene at a distance of 17 m."""
    draw = ImageDraw.Draw(image)
    foot, metre = _row(17, camera), _PX / 17
    width = image.width
    if camera.far == "hedge":
        draw.rectangle((0, foot - 5 * metre, width, foot), _tone(52, 62, 44))
        for _ in range(6000):
            x, up = draws.uniform(-20, width + 20), draws.uniform(0, 1) ** 0.7 * 6.5 * metre
            size, light = draws.uniform(1.5, 7), draws.uniform(0.5, 1.3)
            draw.ellipse(
                (x - size, foot - up - size, x + size, foot - up + size), _tone(74 * light, 86 * light, 60 * light)
            )
    elif camera.far == "fence":
        draw.rectangle((0, 0, width, foot - 0.3 * metre), _tone(128, 138, 128))
        for _ in range(1500):
            x, y, size = draws.uniform(0, width), draws.uniform(0, foot - 1.5 * metre), draws.uniform(2, 10)
            light = draws.uniform(0.7, 1.2)
            draw.ellipse((x - size, y - size, x + size, y + size), _tone(100 * light, 110 * light, 94 * light))
        for x in range(0, width, 14):
            draw.line((x, foot - 2.0 * metre, x, foot), _tone(70, 74, 76), 2)
        for up in (0.15, 1.9):
            draw.line((0, foot - up * metre, width, foot - up * metre), _tone(70, 74, 76), 4)
    else:
        base = (148, 140, 130) if camera.far == "wall" else (112, 114, 118)
        draw.rectangle((0, 0, width, foot), _tone(*base))
        draw.rectangle((0, foot - 0.5 * metre, width, foot), _tone(*(0.72 * part for part in base)))
        at = -draws.uniform(0, 60)
        while at < width:
            wide = draws.uniform(1.4, 3.0) * metre
            if camera.far == "windows":
                light = draws.uniform(0.25, 0.7)
                draw.rectangle(
                    (at, foot - 3.2 * metre, at + wide, foot - 0.55 * metre),
                    _tone(100 * light, 110 * light, 122 * light),
                )
                draw.rectangle(
                    (at, foot - 3.2 * metre, at + wide, foot - 0.55 * metre), outline=_tone(60, 62, 66), width=3
                )
                at += wide + draws.uniform(0.1, 1.0) * metre
            else:
                draw.line((at, 0, at, foot), _tone(118, 110, 102), 3)
                at += wide
        if camera.far == "wall":
            for up in range(0, 9):
                draw.line((0, foot - up * 0.8 * metre, width, foot - up * 0.8 * metre), _tone(122, 114, 106), 2)


def _bicycle(draw: ImageDraw.ImageDraw, x: float, foot: float, metre: float, draws: Draws) -> None:
    wheel, dark = 0.33 * metre, _tone(34, 34, 38)
    paint = _tone(*draws.choice(((40, 60, 130), (150, 40, 40), (60, 60, 64), (200, 200, 200), (30, 110, 80))))
    back, front = (x, foot - wheel), (x + 1.05 * metre, foot - wheel)
    seat, bar = (x + 0.3 * metre, foot - 0.85 * metre), (x + 0.85 * metre, foot - 0.95 * metre)
    crank = (x + 0.45 * metre, foot - 0.3 * metre)
    for cx, cy in (back, front):
        draw.ellipse((cx - wheel, cy - wheel, cx + wheel, cy + wheel), outline=dark, width=max(2, round(0.05 * metre)))
    for a, b in ((back, crank), (crank, seat), (crank, bar), (seat, bar), (bar, front), (back, seat)):
        draw.line((*a, *b), paint, max(2, round(0.05 * metre)))
    draw.line((seat[0] - 0.13 * metre, seat[1], seat[0] + 0.13 * metre, seat[1]), dark, max(2, round(0.07 * metre)))


def _tree(draw: ImageDraw.ImageDraw, x: float, foot: float, metre: float, draws: Draws) -> None:
    trunk = 0.14 * metre
    draw.rectangle((x - trunk, foot - 4.2 * metre, x + trunk, foot), _tone(84, 70, 58))
    for _ in range(90):
        angle, far = draws.uniform(0, 2 * math.pi), draws.uniform(0, 1) ** 0.5
        cx, cy = x + 1.5 * metre * far * math.cos(angle), foot - 3.9 * metre + 1.1 * metre * far * math.sin(angle)
        size, light = draws.uniform(0.15, 0.4) * metre, draws.uniform(0.6, 1.25)
        draw.ellipse((cx - size, cy - size, cx + size, cy + size), _tone(76 * light, 90 * light, 60 * light))


def _pole(draw: ImageDraw.ImageDraw, x: float, foot: float, metre: float, draws: Draws) -> None:
    tone = draws.uniform(60, 170)
    draw.rectangle((x - 0.06 * metre, 0, x + 0.06 * metre, foot), _tone(tone, tone, tone + 4))


def _bin(draw: ImageDraw.ImageDraw, x: float, foot: float, metre: float, draws: Draws) -> None:
    tone = draws.choice(((52, 84, 62), (70, 72, 78), (120, 82, 50)))
    draw.rectangle((x - 0.3 * metre, foot - 0.9 * metre, x + 0.3 * metre, foot), _tone(*tone))
    draw.rectangle(
        (x - 0.3 * metre, foot - 0.98 * metre, x + 0.3 * metre, foot - 0.85 * metre), _tone(*(0.7 * t for t in tone))
    )


def _car(draw: ImageDraw.ImageDraw, x: float, foot: float, metre: float, draws: Draws) -> None:
    paint = _tone(*draws.choice(((196, 198, 200), (58, 60, 66), (120, 60, 60), (92, 104, 126), (150, 152, 154))))
    dark, glass, m = _tone(34, 34, 36), _tone(66, 74, 82), metre
    draw.rectangle((x + 0.2 * m, foot - 0.3 * m, x + 4.0 * m, foot - 0.08 * m), dark)
    draw.rounded_rectangle((x, foot - 0.98 * m, x + 4.2 * m, foot - 0.22 * m), 0.25 * m, paint)
    for roof, colour in ((0.0, paint), (0.09, glass)):
        draw.polygon([(x + (0.55 + roof) * m, foot - 0.95 * m), (x + (1.2 + roof) * m, foot - (1.5 - roof) * m),
                      (x + (2.9 - roof) * m, foot - (1.5 - roof) * m), (x + (3.7 - roof) * m, foot - 0.95 * m)],
                     colour)  # fmt: skip
    draw.line((x + 2.05 * m, foot - 1.45 * m, x + 2.05 * m, foot - 0.3 * m), dark, 2)
    for cx in (x + 0.85 * m, x + 3.35 * m):
        draw.ellipse((cx - 0.32 * m, foot - 0.64 * m, cx + 0.32 * m, foot), dark)
        draw.ellipse((cx - 0.17 * m, foot - 0.49 * m, cx + 0.17 * m, foot - 0.15 * m), _tone(150, 152, 156))


def _passer_by(draw: ImageDraw.ImageDraw, x: float, foot: float, metre: float, draws: Draws) -> None:
    """Draw a person far away."""
    m, stride = metre, draws.uniform(0.05, 0.3) * metre
    light, dim = draws.uniform(45, 190), draws.uniform(30, 85)
    top = _tone(*(light + draws.uniform(-28, 28) for _ in range(3)))
    dark = _tone(*(dim + draws.uniform(-8, 8) for _ in range(3)))
    for side in (-1, 1):
        draw.line((x, foot - 0.85 * m, x + side * stride, foot), dark, max(2, round(0.15 * m)))
        draw.line(
            (x + side * 0.17 * m, foot - 1.35 * m, x + side * 0.25 * m, foot - 0.85 * m), top, max(2, round(0.1 * m))
        )
    draw.rounded_rectangle((x - 0.2 * m, foot - 1.42 * m, x + 0.2 * m, foot - 0.78 * m), 0.1 * m, top)
    draw.ellipse((x - 0.09 * m, foot - 1.68 * m, x + 0.09 * m, foot - 1.43 * m), _tone(170, 132, 108))
    draw.pieslice((x - 0.1 * m, foot - 1.70 * m, x + 0.1 * m, foot - 1.46 * m), 180, 360, _tone(28, 24, 22))


_THINGS = (_bicycle, _bicycle, _bicycle, _bicycle, _tree, _pole, _pole, _bin, _passer_by, _passer_by)


def studio(view: Camera, draws: Draws, canvas: tuple[int, int]) -> Array:
    """Return a light backdrop that runs into the floor, (height, width, 3), in [0, 1]."""
    tone = draws.uniform(0.87, 0.965)
    tint = np.array((1.0, 1.0, 1.0)) + draws.uniform(-0.012, 0.012) * np.array((1.0, 0.2, -1.0))
    height, width = canvas
    row, column = np.mgrid[0:height, 0:width].astype(np.float64)
    centre = draws.uniform(0.35, 0.65) * width
    glow = np.exp(-(((column - centre) / (0.8 * width)) ** 2) - ((row - 0.42 * height) / (0.8 * height)) ** 2)
    floor = view.horizon + view.scale * view.height_m / (view.distance_m + 2.2)
    below = 1 / (1 + np.exp(np.clip(-(row - floor) / 5, -40, 40)))
    shade = tone * (0.955 + 0.05 * glow) - draws.uniform(0.01, 0.045) * below
    light: Array = np.clip(shade[..., None] * tint, 0, 1)
    return light


def ground_shadow(posed: Array, view: Camera, sun: Array, canvas: tuple[int, int], softness_px: float) -> Array:
    """Return how dark a person's shadow makes the ground, (height, width), in [0, 1].

    Args:
        posed: (V, 3), points of the person's surface, in metres, in world axes.
        view: The camera.
        sun: Direction towards the light, in world axes.
        canvas: (height, width).
        softness_px: Radius of the blur.
    """
    flat = posed - np.outer(posed[:, 1] / max(0.35, sun[1]), sun)
    flat[:, 1] = 0
    points, _ = view.project(flat)
    column, row = np.rint(points).astype(np.int64).T
    pad = 24
    inside = (row >= -pad) & (row < canvas[0] + pad) & (column >= -pad) & (column < canvas[1] + pad)
    weight = np.exp(-posed[:, 1] / 0.55)
    field = np.zeros((canvas[0] + 2 * pad, canvas[1] + 2 * pad))
    np.add.at(field, (row[inside] + pad, column[inside] + pad), weight[inside])
    field = np.minimum(1, field / 3)
    soft = Image.fromarray((field * 255).round().astype(np.uint8)).filter(ImageFilter.GaussianBlur(softness_px))
    shadow: Array = np.minimum(1, np.asarray(soft, dtype=np.float64)[pad:-pad, pad:-pad] / 255 * 1.25)
    return shadow
