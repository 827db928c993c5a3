"""One image of one synthetic person, with the exact pose and silhouette."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter

from pg2lib.data.synthetic.body import (
    Action,
    Array,
    Body,
    Draws,
    draw_action,
    draw_angles,
    keypoints_3d,
    pose_bones,
    rotation,
)
from pg2lib.data.synthetic.figure import build
from pg2lib.data.synthetic.render import SUPERSAMPLING, Camera, Layer, Light, render
from pg2lib.data.synthetic.scenes import STREET_CAMERAS, StreetCamera, ground_shadow, street, studio
from pg2lib.data.synthetic.surface import GROUPS, Mesh
from pg2lib.errors import DataError
from pg2lib.pose import JOINTS, Pose
from pg2lib.raster import render_pose_masks

Look = Literal["market", "studio"]
Shot = Literal["full", "half", "close"]

CANVAS: Mapping[Look, tuple[int, int]] = {"market": (128, 64), "studio": (256, 256)}
"""(height, width) of each look."""

_HIDDEN_M = 0.055
"""A joint is hidden by another part of the body that is nearer to the camera by this distance."""
_HIDDEN_FACE_M = 0.028
"""The same for eyes, ears and nose, which lie on the surface and may be hidden by the head itself."""
_MISSED = {"wrist": 0.17, "elbow": 0.05, "ankle": 0.07, "knee": 0.02, "shoulder": 0.02, "hip": 0.03, "nose": 0.08,
           "eye": 0.10, "ear": 0.04, "neck": 0.01}  # fmt: skip
"""How often a detector misses a joint that is not hidden, in small blurred images."""


@dataclass(frozen=True, eq=False)
class SyntheticPerson:
    """An image with the exact pose and silhouette of its person.

    Attributes:
        image: RGB, of the size of the look's canvas.
        pose: 18 joints in pixels. Joints are missing if they are hidden (see `surface.GROUPS`) or outside the image;
            in the `market` look some more are, as a detector misses them in small images.
        silhouette: bool, (height, width): the person with clothes, hair and bag.
        angles: Joint angles in degrees (`body.ANGLES`).
        yaw_deg: Direction that the person faces: 0 the camera, 90 the left of the image, 180 away.
        action: What the person does.
        camera: 1 to 6 in the `market` look, 0 in the studio.
        shot: How much of the person the image is meant to show.
    """

    image: Image.Image
    pose: Pose
    silhouette: npt.NDArray[np.bool_]
    angles: Mapping[str, float]
    yaw_deg: float
    action: Action
    camera: int
    shot: Shot

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.image.save(buffer, "PNG")
        return buffer.getvalue()


def render_person(
    identity: int,
    view: int,
    look: Look = "market",
    *,
    camera: int | None = None,
    shot: Shot | None = None,
    yaw_deg: float | None = None,
    action: Action | None = None,
) -> SyntheticPerson:
    """Render one person. The same arguments give the same pixels on every machine.

    Args:
        identity: Seed of the body, skin, hair, clothes, textures, shoes and bag.
        view: Seed of the pose, the camera, the background and the light, and of the arguments below that are None.
        look: "market" is a 128x64 crop from one of six street cameras, "studio" a 256x256 image on a light backdrop.
        camera: 1 to 6, in the "market" look only.
        shot: How much of the person the image shows.
        yaw_deg: Direction that the person faces: 0 the camera, 90 the left of the image, 180 away.
        action: What the person does.

    Raises:
        DataError: If the look, camera, shot or action is unknown.
    """
    _check(look, camera, shot, action)
    draws = Draws("pg2lib view", look, view)
    chosen_action, chosen_camera = draw_action(draws), 1 + int(draws.uniform(0, 6))
    action = action or (chosen_action if look == "market" or chosen_action != "walking" else "standing")
    angles = draw_angles(action, Draws("pg2lib pose", look, view, action))
    number = (camera or chosen_camera) if look == "market" else 0
    chosen_shot: Shot = draws.choice(get_args(Shot), (0.9, 0.1, 0.0) if look == "market" else (0.5, 0.35, 0.15))
    shot = shot or chosen_shot
    chosen_yaw = _draw_yaw(draws, STREET_CAMERAS[number - 1] if number else None, action)
    yaw = chosen_yaw if yaw_deg is None else yaw_deg

    person, mesh = build(identity, 1 if look == "market" else 2)
    canvas = CANVAS[look]
    posed, joints = _stand(person.body, mesh, angles, yaw, action == "sitting")
    eye = _camera(draws, look, number, shot, posed, joints, canvas)
    light = _light(draws, look)
    layer = render(mesh, person, posed, eye, light, canvas)
    casting = posed if action == "sitting" else np.delete(posed, mesh.bench, axis=0)
    pixels = _background(draws, look, number, eye, light, casting, canvas)
    pixels = pixels * (1 - layer.coverage[..., None]) + layer.colour
    xy = _seen_joints(joints, eye, layer, canvas)
    pose = Pose(xy, canvas).inside()
    if look == "market":
        pose = _missed(pose, draws)
    return SyntheticPerson(
        image=_exposed(pixels, STREET_CAMERAS[number - 1] if number else None, draws),
        pose=pose,
        silhouette=layer.silhouette >= 0.5,
        angles=angles,
        yaw_deg=yaw,
        action=action,
        camera=number,
        shot=shot,
    )


def _check(look: str, camera: int | None, shot: str | None, action: str | None) -> None:
    if look not in CANVAS:
        raise DataError(f"look must be one of {', '.join(CANVAS)}, got {look!r}")
    if camera is not None and (look != "market" or not 1 <= camera <= len(STREET_CAMERAS)):
        raise DataError(f"camera must be 1 to {len(STREET_CAMERAS)}, in the market look only; got {camera!r} ({look})")
    for name, value, known in (("shot", shot, get_args(Shot)), ("action", action, get_args(Action))):
        if value is not None and value not in known:
            raise DataError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def _draw_yaw(draws: Draws, camera: StreetCamera | None, action: Action) -> float:
    """Draw a direction: along the ways past a street camera, or the front, the sides and the back in the studio."""
    main = draws.choice(camera.yaw_deg if camera else (0, 0, 0, 0, 45, -45, 90, -90, 180, 150, -150))
    loose = draws.uniform(-180, 180)
    if action == "sitting":
        return draws.uniform(-75, 75)
    if camera is not None and draws.chance(0.25):
        return loose
    return main + draws.normal(0, 18 if camera else 12)


def _stand(
    body: Body, mesh: Mesh, angles: Mapping[str, float], yaw_deg: float, seated: bool = False
) -> tuple[Array, Array]:
    """Return posed vertices and joints. The lower shoe is on the ground, and the middle of pelvis and neck over the
    origin. A bench is placed under a seated person.
    """
    bones = pose_bones(body, angles, yaw_deg)
    posed, joints = mesh.posed(bones), keypoints_3d(body, bones)
    # shoes and not the lowest vertices: a bag may hang lower
    shift = np.array((joints[1, 0] * 0.5, posed[mesh.shoes, 1].min(), joints[1, 2] * 0.5))
    posed, joints = posed - shift, joints - shift
    if seated:
        block = mesh.rest[mesh.bench] * (0.55, joints[[8, 11], 1].mean() - 0.050 * body.height_m, 0.44)
        middle = joints[[8, 11]].mean(0) * (1, 0, 1)
        posed[mesh.bench] = (block - (0, 0, 0.03)) @ rotation("y", -yaw_deg).T + middle
    else:
        posed[mesh.bench] = joints[8]
    return posed, joints


def _camera(
    draws: Draws, look: Look, number: int, shot: Shot, posed: Array, joints: Array, canvas: tuple[int, int]
) -> Camera:
    """Draw a camera and its window around the person, like the slightly inaccurate box of a person detector."""
    if look == "market":
        street_camera = STREET_CAMERAS[number - 1]
        view = Camera(draws.uniform(*street_camera.distance_m), street_camera.height_m, 1.0)
    else:
        view = Camera(draws.uniform(3.6, 4.6), draws.uniform(1.05, 1.5), 0.95)
    points, _ = view.project(posed)
    (left, top), (right, bottom) = points.min(0), points.max(0)
    spots, _ = view.project(joints)
    hip, knee = spots[[8, 11], 1].mean(), spots[[9, 12], 1].mean()
    if shot == "half":
        bottom = hip + (knee - hip) * draws.uniform(0.0, 1.1)
    elif shot == "close":
        bottom = spots[1, 1] + (hip - spots[1, 1]) * draws.uniform(0.35, 1.0)
    tall, wide = bottom - top, right - left
    aspect = canvas[1] / canvas[0]
    if look == "market":
        above, below = draws.normal(0.045, 0.03), draws.normal(0.03, 0.035)
        box = tall * (1 + above + below)
        box = max(box, min(wide * 0.92 / aspect, 1.25 * box))
        centre_x, y0 = (left + right) / 2 + draws.normal(0, 0.035) * box, top - above * tall
    else:
        above = draws.uniform(0.04, 0.09) if shot == "full" else draws.uniform(0.03, 0.09)
        below = draws.uniform(0.04, 0.08) if shot == "full" else 0.0
        box = tall * (1 + above + below)
        if shot == "full":
            box = max(box, wide * 1.04)
        centre_x, y0 = (left + right) / 2 + draws.normal(0, 0.02) * box, top - above * tall
        if shot != "full":
            centre_x = 0.5 * centre_x + 0.5 * spots[1, 0]
    scale = canvas[0] / box
    return replace(view, scale=scale, offset=(canvas[1] / 2 - 0.5 - centre_x * scale, -0.5 - y0 * scale))


def _light(draws: Draws, look: Look) -> Light:
    around, up = math.radians(draws.uniform(-65, 65)), math.radians(draws.uniform(35, 65))
    direction = (math.sin(around) * math.cos(up), math.sin(up), math.cos(around) * math.cos(up))
    warm = draws.normal(0, 0.02)
    if look == "studio":
        return Light(direction, draws.uniform(0.34, 0.46), draws.uniform(0.70, 0.78), (1 + warm, 1.0, 1 - warm))
    return Light(direction, draws.uniform(0.2, 0.6), draws.uniform(0.58, 0.72), (1 + warm, 1.0, 1 - warm))


def _background(
    draws: Draws, look: Look, number: int, eye: Camera, light: Light, casting: Array, canvas: tuple[int, int]
) -> Array:
    """Draw the scene, sometimes with another person, and the shadow of the points `casting` on the ground."""
    sun = np.array(light.direction)
    if look == "studio":
        pixels = studio(eye, draws, canvas)
        shadow = ground_shadow(casting, eye, sun, canvas, 5.0)
        return pixels * (1 - 0.32 * shadow[..., None])
    pixels = street(number, eye, draws, canvas) * draws.uniform(0.95, 1.2)
    if draws.chance(0.15):
        pixels = _with_neighbour(pixels, draws, eye, light, canvas)
    shadow = ground_shadow(casting, eye, sun, canvas, 1.6)
    return pixels * (1 - 0.45 * shadow[..., None])


def _with_neighbour(pixels: Array, draws: Draws, eye: Camera, light: Light, canvas: tuple[int, int]) -> Array:
    """Draw another person, farther away at one edge of the image."""
    person, mesh = build(-1 - int(draws.uniform(0, 40)), 1)
    posed, _ = _stand(person.body, mesh, draw_angles("walking", draws), draws.uniform(-180, 180))
    edge = draws.choice((-1, 1)) * draws.uniform(0.42, 0.55) * canvas[1]
    away = draws.uniform(0.4, 2.5)
    side = (canvas[1] / 2 + edge - eye.offset[0]) / eye.scale * (eye.distance_m + away)
    layer = render(mesh, person, posed + np.array((side, 0.0, -away)), eye, light, canvas)
    return pixels * (1 - layer.coverage[..., None]) + layer.colour


_OWN_GROUP = {"elbow": "arm", "wrist": "arm", "knee": "leg", "ankle": "leg"}


def _seen_joints(joints: Array, eye: Camera, layer: Layer, canvas: tuple[int, int]) -> torch.Tensor:
    """Return the pixels of the joints, NaN where another surface is clearly in front of one."""
    points, depth = eye.project(joints)
    xy = torch.from_numpy(points).float()
    n = SUPERSAMPLING
    for i, name in enumerate(JOINTS):
        column, row = (int(np.rint((value + 0.5) * n - 0.5)) for value in points[i])
        if not (0 <= row < canvas[0] * n and 0 <= column < canvas[1] * n):
            continue
        side, _, part = name.rpartition(" ")
        group = GROUPS[layer.group[row, column]] if layer.group[row, column] >= 0 else "nothing"
        nearer = depth[i] - layer.depth[row, column]
        if part in ("nose", "eye", "ear"):
            hidden = nearer > _HIDDEN_FACE_M
        elif part in _OWN_GROUP:
            own = group in (f"{side} {_OWN_GROUP[part]}", "skirt", "nothing")
            hidden = not own and nearer > _HIDDEN_M
        else:
            hidden = False  # the trunk shows where neck, shoulders and hips are from any side
        if hidden:
            xy[i] = torch.nan
    return xy


def _missed(pose: Pose, draws: Draws) -> Pose:
    """Return the pose without some of the joints."""
    xy = pose.xy.clone()
    for i, name in enumerate(JOINTS):
        if draws.chance(_MISSED[name.rpartition(" ")[2]]):
            xy[i] = torch.nan
    return Pose(xy, pose.canvas)


def _exposed(pixels: Array, camera: StreetCamera | None, draws: Draws) -> Image.Image:
    """Apply the effects of the lens, the sensor and JPEG compression."""
    if camera is None:
        return _to_image(pixels)
    pixels = pixels * np.array(camera.cast) * draws.uniform(0.98, 1.18)
    pixels = 0.48 + (pixels - 0.48) * draws.uniform(1.0, 1.3)
    image = _to_image(pixels).filter(ImageFilter.GaussianBlur(camera.blur_px * draws.uniform(0.6, 1.5)))
    noise = np.random.RandomState(draws.integer()).random_sample((*image.size[::-1], 3)) * 2 - 1
    noisy = np.asarray(image, dtype=np.float64) + camera.noise * 1.7 * noise
    return _to_image(through_jpeg(np.clip(noisy, 0, 255), draws.uniform(0.5, 1.6)) / 255)


def _to_image(pixels: Array) -> Image.Image:
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))


_COSINES = np.array([[math.cos((2 * x + 1) * u * math.pi / 16) * math.sqrt((1 if u == 0 else 2) / 8) for x in range(8)]
                     for u in range(8)])  # fmt: skip
_STEPS = 10 + 7.5 * (np.arange(8)[:, None] + np.arange(8)[None, :])
_TO_YCC = np.array(((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)))
_FROM_YCC = np.array(((1, 0, 1.402), (1, -0.344136, -0.714136), (1, 1.772, 0)))


def through_jpeg(pixels: Array, strength: float) -> Array:
    """Add the artefacts of JPEG compression. A codec of its own makes them the same with every version of Pillow.

    Args:
        pixels: (height, width, 3), in [0, 255]; both sides are multiples of 8.
        strength: 1 corresponds to a quality of about 75.
    """
    height, width, _ = pixels.shape
    ycc = pixels @ _TO_YCC.T
    ycc[..., 1:] = ycc[..., 1:].reshape(height // 2, 2, width // 2, 2, 2).mean(axis=(1, 3)).repeat(2, 0).repeat(2, 1)
    blocks = ycc.reshape(height // 8, 8, width // 8, 8, 3).transpose(0, 2, 4, 1, 3)
    steps = _STEPS * strength * np.array((0.5, 0.9, 0.9))[:, None, None]
    coefficients = np.rint(_COSINES @ blocks @ _COSINES.T / steps) * steps
    decoded = (_COSINES.T @ coefficients @ _COSINES).transpose(0, 3, 1, 4, 2).reshape(height, width, 3)
    restored: Array = decoded @ _FROM_YCC.T
    return restored


def mask_iou(look: Look = "market", people: int = 50, views: int = 2, seed: int = 0, shot: Shot | None = None) -> float:
    """Return the mean intersection over union of the pose mask M_B (Ma et al. 2017, Eq. 1) and the true silhouette.

    Args:
        look: As in `render_person`.
        people: Number of identities, from `seed` on.
        views: Number of images of each.
        seed: The first identity.
        shot: Use only images of this shot; any by default.
    """
    ious = []
    for identity in range(seed, seed + people):
        for view in range(views):
            person = render_person(identity, identity * views + view, look, shot=shot)
            mask = render_pose_masks(person.pose.xy[None], person.pose.canvas)[0, 0].numpy() > 0.5
            union = (mask | person.silhouette).sum()
            ious.append(float((mask & person.silhouette).sum() / max(1, union)))
    return sum(ious) / len(ious)
