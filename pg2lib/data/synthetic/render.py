"""Rendering of posed surfaces: a perspective camera, a depth buffer of triangles, light and soft shadows.

Everything is NumPy in float64, so that the same seeds give the same pixels on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pg2lib.data.synthetic.body import Array
from pg2lib.data.synthetic.clothes import Identity, texture
from pg2lib.data.synthetic.surface import GROUPS, MATERIALS, Mesh

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SUPERSAMPLING = 2
"""Samples per pixel in each direction."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera on the z axis that looks at the person, and the part of its image that is the canvas.

    Attributes:
        distance_m: Distance from the person along the ground.
        height_m: Height above the ground.
        target_m: The height it looks at.
        scale: Canvas pixels per unit of the image plane at distance 1.
        offset: Canvas x, y of the optical axis.
    """

    distance_m: float
    height_m: float
    target_m: float
    scale: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)

    @property
    def pitch(self) -> float:
        """The angle at which it looks down, in radians."""
        return math.atan2(self.height_m - self.target_m, self.distance_m)

    def view(self, points: Array) -> Array:
        """Convert world points to camera axes: x right, y up, z towards the camera."""
        return self.turn(points - np.array((0, self.height_m, self.distance_m)))

    def turn(self, directions: Array) -> Array:
        """Convert world directions to camera axes."""
        c, s = math.cos(self.pitch), math.sin(self.pitch)
        x, y, z = directions.T
        return np.stack((x, y * c - z * s, y * s + z * c), axis=1)

    def project(self, points: Array) -> tuple[Array, Array]:
        """Project world points: (N, 2) canvas pixels with centres at integers, and depths, (N,), in metres."""
        x, y, z = self.view(points).T
        depth = np.maximum(-z, 0.05)
        plane = np.stack((x / depth, -y / depth), axis=1)
        return plane * self.scale + np.array(self.offset), depth

    @property
    def horizon(self) -> float:
        """Canvas y of the horizon."""
        return self.offset[1] - math.tan(self.pitch) * self.scale


@dataclass(frozen=True)
class Light:
    """One sun or lamp, and the sky.

    Attributes:
        direction: Unit vector towards the light, in world axes.
        strength, ambient: Intensity of the light and of the sky.
        colour: RGB factors of the light.
    """

    direction: tuple[float, float, float]
    strength: float
    ambient: float
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Layer:
    """A rendered person without a background.

    Attributes:
        colour: (height, width, 3), in [0, 1], premultiplied by the coverage.
        coverage: (height, width), in [0, 1].
        silhouette: (height, width), in [0, 1], the coverage of the person without a bench.
        depth: (2 height, 2 width), metres to the nearest surface at each sample; inf where there is none.
        group: (2 height, 2 width), index into GROUPS; -1 where there is no surface.
    """

    colour: Array
    coverage: Array
    silhouette: Array
    depth: Array
    group: Ints


def render(mesh: Mesh, person: Identity, posed: Array, camera: Camera, light: Light, canvas: tuple[int, int]) -> Layer:
    """Render a posed person."""
    n = SUPERSAMPLING
    height, width = canvas[0] * n, canvas[1] * n
    points, depth = camera.project(posed)
    samples = (points + 0.5) * n - 0.5
    pixel, face, share = rasterise(samples, depth, mesh.faces, mesh.two_sided, (height, width))
    lining = mesh.two_sided[face] & (_doubled_area(samples, mesh.faces[face]) > 0)
    corners = mesh.faces[face]

    def at(values: Array) -> Array:
        interpolated: Array = np.einsum("pk,pkc->pc", share, values[corners])
        return interpolated

    rest, place = at(mesh.rest), at(camera.view(posed))
    normal = at(camera.turn(mesh.normals(posed)))
    normal /= np.maximum(_length(normal), 1e-9)
    toward = -place / _length(place)
    normal[_dot(normal, toward) < 0] *= -1
    material, group = mesh.material[face], mesh.group[face]
    colours = np.empty((len(pixel), 3))
    for index in np.flatnonzero(np.bincount(material)):
        here = material == index
        colours[here] = texture(MATERIALS[index], person, rest[here])
    buffer = np.full(height * width, np.inf)
    buffer[pixel] = -place[:, 2]
    lit = _shade(colours, normal, toward, rest, material, camera, light)
    lit *= _shadows(buffer.reshape(height, width), pixel, place, normal, camera, light)[:, None]
    lit *= np.where(lining, 0.55, 1.0)[:, None]
    image, cover, body = np.zeros((height * width, 3)), np.zeros(height * width), np.zeros(height * width)
    image[pixel], cover[pixel], body[pixel] = np.clip(lit, 0, 1), 1, group != GROUPS.index("bench")
    groups = np.full(height * width, -1, dtype=np.int64)
    groups[pixel] = group

    def smaller(values: Array) -> Array:
        blocks = values.reshape(canvas[0], n, canvas[1], n, -1)
        mean: Array = np.add.reduce([blocks[:, i, :, j] for i in range(n) for j in range(n)]) / n**2
        return mean

    return Layer(
        colour=smaller(image),
        coverage=smaller(cover)[..., 0],
        silhouette=smaller(body)[..., 0],
        depth=buffer.reshape(height, width),
        group=groups.reshape(height, width),
    )


def rasterise(
    points: Array, depth: Array, faces: Ints, two_sided: Bools, size: tuple[int, int]
) -> tuple[Ints, Ints, Array]:
    """Find the nearest triangle at every sample.

    Args:
        points: (V, 2), sample coordinates, x first, centres at integers.
        depth: (V,), positive distances.
        faces: (F, 3), anticlockwise seen from outside.
        two_sided: (F,), whether triangles seen from behind are drawn.
        size: (height, width) in samples.

    Returns:
        Flat sample indices (P,), the face at each (P,), and the perspective-correct weights of its corners (P, 3).
    """
    height, width = size
    x, y = points[:, 0][faces], points[:, 1][faces]  # (F, 3)
    area = _doubled_area(points, faces)
    (left, right), (top, bottom) = _box(x, width), _box(y, height)
    seen = (right >= left) & (bottom >= top) & ((area < -1e-9) | two_sided & (area > 1e-9))
    span = np.maximum(right - left, bottom - top) + 1
    nearness = 1 / depth
    found: list[tuple[Ints, Ints, Array]] = []
    lower = 0
    for upper in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512, 1024):
        which = np.flatnonzero(seen & (span > lower) & (span <= upper))
        lower = upper
        if len(which):
            found.append(_cover(which, upper, x, y, area, (left, right, top, bottom), width))
    pixel, face, share = (np.concatenate(parts) for parts in zip(*found, strict=True))
    share = share * nearness[faces[face]]
    near = share[:, 0] + share[:, 1] + share[:, 2]
    nearest = np.zeros(height * width)
    np.maximum.at(nearest, pixel, near)
    visible = np.flatnonzero(near == nearest[pixel])
    winner = np.full(height * width, -1, dtype=np.int64)
    winner[pixel[visible]] = visible  # the last of equally near ones
    pixels = np.flatnonzero(winner >= 0)
    chosen = winner[pixels]
    return pixels, face[chosen], share[chosen] / near[chosen, None]


def _doubled_area(points: Array, faces: Ints) -> Array:
    """Return twice the area of triangles on the canvas, negative if they are seen from outside, as y points down."""
    x, y = points[:, 0][faces], points[:, 1][faces]
    doubled: Array = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    return doubled


def _box(at: Array, size: int) -> tuple[Array, Array]:
    """Return the first and the last sample that each triangle can cover along one axis."""
    a, b, c = at.T
    low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    return np.maximum(np.ceil(low), 0), np.minimum(np.floor(high), size - 1)


def _cover(
    which: Ints, side: int, x: Array, y: Array, area: Array, box: tuple[Array, Array, Array, Array], width: int
) -> tuple[Ints, Ints, Array]:
    """Return the samples inside triangles whose boxes have sides of at most `side` samples, and barycentric weights."""
    left, right, top, bottom = (edge[which] for edge in box)
    along = np.arange(side, dtype=np.float64)
    px, py = (left[:, None] + along)[:, None, :], (top[:, None] + along)[:, :, None]
    (x0, x1, x2), (y0, y1, y2) = x[which].T[:, :, None, None], y[which].T[:, :, None, None]
    inverse = (1 / area[which])[:, None, None]
    # Affine in the position of the sample; the three weights sum to 1.
    w0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * inverse
    w1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * inverse
    w2 = 1 - w0 - w1
    inside = (w0 >= 0) & (w1 >= 0) & (w2 >= -1e-12)
    inside &= (px <= right[:, None, None]) & (py <= bottom[:, None, None])
    triangle, row, column = np.nonzero(inside)
    pixel = (top[triangle].astype(np.int64) + row) * width + left[triangle].astype(np.int64) + column
    return pixel, which[triangle], np.stack((w0[inside], w1[inside], w2[inside]), axis=1)


def _dot(a: Array, b: Array) -> Array:
    """Return the dot products of rows; faster than a sum over such a short axis."""
    product: Array = np.einsum("pc,pc->p", a, b)
    return product


def _length(a: Array) -> Array:
    length: Array = np.sqrt(_dot(a, a))[:, None]
    return length


_CREASES = ((0.64, 0.04, 0.20), (0.53, 0.03, 0.14), (0.275, 0.04, 0.22), (0.06, 0.04, 0.30), (0.45, 0.5, 0.06))


def _shade(
    colours: Array, normal: Array, toward: Array, rest: Array, material: Ints, camera: Camera, light: Light
) -> Array:
    """Add the light of the sky, wrapped diffuse light, a rim and a slight shine; clothes get wrinkles."""
    cloth = np.isin(material, [MATERIALS.index(name) for name in ("top", "sleeve", "jacket", "bottom", "dress")])
    normal = normal.copy()
    x, y, z = rest[cloth].T
    # Cloth creases at the elbows, waist, crotch, knees and ankles.
    where = sum(size * np.exp(-(((y - at) / wide) ** 2)) for at, wide, size in _CREASES)
    wrinkle = (
        where * np.sin(150 * y + 3 * np.sin(47 * x + 23 * y) + 2 * np.sin(71 * z)) * np.sin(31 * y - 60 * x + 20 * z)
    )
    normal[cloth, 1] += wrinkle
    normal[cloth, 0] += 0.5 * wrinkle
    normal /= _length(normal)
    direction = camera.turn(np.array([light.direction]))[0]
    wrapped = np.clip((normal @ direction + 0.35) / 1.35, 0, None) ** 1.2
    sky = light.ambient * (0.86 + 0.14 * normal[:, 1])
    facing = np.clip(_dot(normal, toward), 0, 1)
    edge = 0.86 + 0.14 * facing**0.6
    rim = 0.05 * (1 - facing) ** 3
    half = direction + toward
    half /= _length(half)
    shiny = np.isin(
        material, [MATERIALS.index(name) for name in ("skin", "hand", "face", "leg", "hair", "shoe", "bag")]
    )
    shine = np.where(shiny, 0.07, 0.012) * np.clip(_dot(normal, half), 0, 1) ** 24
    amount = (sky + light.strength * wrapped) * edge
    lit: Array = colours * amount[:, None] * np.array(light.colour) + (rim + shine)[:, None] * light.strength
    return lit


def _shadows(buffer: Array, pixel: Ints, place: Array, normal: Array, camera: Camera, light: Light) -> Array:
    """Return the factors by which the depth buffer shadows surfaces from the light and the sky.

    Shadows are soft, so they are computed for one sample per pixel and shared by its other samples.
    """
    height, width = buffer.shape
    n = SUPERSAMPLING
    row, column = np.divmod(pixel, width)
    block = row // n * (width // n) + column // n
    one = np.flatnonzero((row % n == 0) & (column % n == 0))
    place, normal = place[one], normal[one]
    direction = camera.turn(np.array([light.direction]))[0]
    start = place + 0.012 * normal
    blocked = np.zeros(len(one))
    for distance in (0.02, 0.035, 0.05, 0.07, 0.09, 0.12, 0.15, 0.19):
        behind = _behind(buffer, start + distance * direction, camera)
        blocked = np.maximum(blocked, np.where((behind > 0.006) & (behind < 0.16), 1 - 3 * distance, 0))
    shade, known = np.zeros((2, height // n, width // n))
    known.flat[block[one]] = 1
    shade.flat[block[one]] = (1 - 0.34 * light.strength * blocked) * (
        1 - 0.30 * _ambient_occlusion(buffer, place, camera)
    )
    total, count = _box_sum(shade).ravel()[block], _box_sum(known).ravel()[block]
    spread: Array = np.where(count > 0, total / np.maximum(count, 1), 1.0)
    return spread


def _box_sum(values: Array) -> Array:
    """Return the sum over the 3x3 neighbourhood of each pixel."""
    padded = np.pad(values, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total: Array = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return total


def _ambient_occlusion(buffer: Array, place: Array, camera: Camera) -> Array:
    """Return the share of the samples around a point that are slightly nearer to the camera."""
    total = np.zeros(len(place))
    for k in range(10):
        angle, radius = 2.399963 * k, 0.085 * math.sqrt((k + 0.5) / 10)
        around = place + np.array((math.cos(angle) * radius, math.sin(angle) * radius, 0.0))
        nearer = _behind(buffer, around, camera)
        total += np.where((nearer > 0.02) & (nearer < 0.35), np.minimum(1, (nearer - 0.02) / 0.05), 0)
    return total / 10


def _behind(buffer: Array, place: Array, camera: Camera) -> Array:
    """Return how far points, in camera axes, lie behind the visible surface; 0 outside the image."""
    height, width = buffer.shape
    n = SUPERSAMPLING
    x, y, z = place.T
    column = np.rint((camera.offset[0] + 0.5 - x / z * camera.scale) * n - 0.5).astype(np.int64)
    row = np.rint((camera.offset[1] + 0.5 + y / z * camera.scale) * n - 0.5).astype(np.int64)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    behind: Array = np.where(inside, -z - buffer[np.where(inside, row, 0), np.where(inside, column, 0)], 0)
    return behind
