"""The pose in a picture of a skeleton, told by OpenPose's colours of the joints.

Each joint is a disc of one of 18 colours (`JOINT_COLOURS`), on a plain background, as OpenPose's COCO model, ControlNet
and `Pose.draw` paint it. A pose is returned only if everything fits: one disc per colour, discs of one size, and limbs
between them.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pg2lib.data.pose_formats.found import Found
from pg2lib.errors import DataError
from pg2lib.images import load_photo
from pg2lib.pose import DRAWN_LIMBS, JOINT_COLOURS

_TOLERANCE = 24
"""How far a disc's pixels may be from their colour in each channel. Limbs are darker by 35 or more."""

_MIN_COLOURS = 4
"""A picture with discs of fewer colours is no skeleton."""

_MIN_JOINTS = 8
_MIN_SIDE = 200
_MIN_SIDE_JPEG = 512
"""Least longer side of a picture: in smaller ones, and in small JPEGs, discs are too small or too blurred."""
_MAX_PIXELS = 16_000_000
_PLAIN = 0.6
"""Least part of the pixels that have the colour of the background."""

_HUES = 8
"""In a picture of a skeleton in colours that are not known, at least so many of 12 hues each colour a good part."""

Pixels = NDArray[np.int64]


def person_in_picture(path: Path) -> Found | None:
    """Return the pose that a picture of a skeleton shows; None for a photo or another picture.

    Raises:
        DataError: If the picture cannot be decoded, or if it is a skeleton that cannot be read reliably: of several
            people, with hands, in other colours, or too small.
    """
    loaded, (height, width) = load_photo(path)
    if height * width > _MAX_PIXELS:
        return None
    picture = np.asarray(loaded).astype(np.int16)
    background = _background(picture)
    if background is None:
        return None
    discs = _discs(picture)
    if len(discs) < _MIN_COLOURS:
        if _is_rainbow(picture[np.abs(picture - background).max(axis=2) > 40]):
            raise _unreadable(path, "its colours are not those of OpenPose's COCO model and of ControlNet")
        return None
    smallest = _MIN_SIDE_JPEG if path.read_bytes()[:2] == b"\xff\xd8" else _MIN_SIDE
    if max(height, width) < smallest:
        raise _unreadable(path, f"it has fewer than {smallest} pixels on its longer side")
    if any(len(found) > 1 for found in discs.values()):
        raise _unreadable(path, "it shows several people, or hands, or is drawn in other colours")
    blobs = {joint: found[0] for joint, found in discs.items()}
    if len(blobs) < _MIN_JOINTS:
        raise _unreadable(path, f"{len(blobs)} of 18 joints have the colours of OpenPose's COCO model")
    radius = float(np.median([_extent(blob) for blob in blobs.values()])) / 2
    drawn = np.abs(picture - background).max(axis=2) > 40
    xy = np.full((len(JOINT_COLOURS), 2), math.nan)
    for joint, blob in blobs.items():
        if _extent(blob) > 3 * radius + 2:
            raise _unreadable(path, "its joints are not discs of one size")
        xy[joint] = _centre(blob, drawn, radius)
    if not _has_limbs(xy, drawn):
        raise _unreadable(path, "no limbs are drawn between its joints")
    tensor = torch.from_numpy(xy).float()
    return Found(tensor, (~tensor[:, 0].isnan()).float(), str(path), (height, width), fractions=False)


def _discs(picture: NDArray[np.int16]) -> dict[int, list[Pixels]]:
    """Return the pixels of the discs of each joint's colour."""
    vivid = (picture.max(axis=2) >= 255 - _TOLERANCE) & (picture.min(axis=2) <= _TOLERANCE)
    pixels = picture[vivid]
    nearest, joint_of = np.full(len(pixels), _TOLERANCE + 1, np.int16), np.full(len(pixels), -1, np.int8)
    for joint, colour in enumerate(JOINT_COLOURS):  # one after the other: a large plain picture may be vivid all over
        away = np.abs(pixels - np.array(colour, np.int16)).max(axis=1)
        closer = away < nearest
        nearest[closer], joint_of[closer] = away[closer], joint
    joints = np.full(picture.shape[:2], -1, np.int8)
    joints[vivid] = joint_of
    discs = {joint: _blobs(joints == joint) for joint in np.unique(joints[joints >= 0]).tolist()}
    return {joint: found for joint, found in discs.items() if found}


def _unreadable(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} looks like a picture of a skeleton, which cannot be read reliably: {reason}. Give the pose as JSON, "
        f"which OpenPose, ControlNet and the pose editors also write"
    )


def _background(picture: NDArray[np.int16]) -> NDArray[np.int16] | None:
    """Return the colour of a plain background; None for a photo."""
    border = np.concatenate((picture[0], picture[-1], picture[:, 0], picture[:, -1]))
    colour: NDArray[np.int16] = np.median(border, axis=0).astype(np.int16)
    plain = float((np.abs(picture - colour).max(axis=2) <= 16).mean())
    return colour if _PLAIN <= plain < 1 else None


def _is_rainbow(pixels: NDArray[np.int16]) -> bool:
    """Return whether pixels have pure colours of many hues, such as OpenPose's BODY_25 in its blended colours."""
    highest, lowest = pixels.max(axis=1, initial=0), pixels.min(axis=1, initial=255)
    pure = pixels[(highest > 60) & (lowest < 0.4 * highest)].astype(np.float64)
    if len(pure) < max(200, 0.8 * len(pixels)):
        return False
    red, green, blue = pure.T
    hue = np.arctan2(math.sqrt(3) * (green - blue), 2 * red - green - blue)
    counts = np.histogram(hue, bins=12, range=(-math.pi, math.pi))[0]
    return int((counts >= 0.015 * len(pure)).sum()) >= _HUES


def _blobs(mask: NDArray[np.bool_]) -> list[Pixels]:
    """Return the pixels (x, y) of each disc of a colour: connected, and not much smaller than the largest.

    Single pixels and thin lines, where two other colours blend into this one, are left out.
    """
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    rows, columns = inner.nonzero()
    if len(rows) > 50_000:
        return []
    left = set(zip(columns.tolist(), rows.tolist(), strict=True))
    blobs = []
    while left:
        queue, blob = [left.pop()], []
        while queue:
            x, y = queue.pop()
            blob.append((x, y))
            for neighbour in [(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]:
                if neighbour in left:
                    left.remove(neighbour)
                    queue.append(neighbour)
        blobs.append(np.array(blob))
    largest = max(map(len, blobs), default=0)
    return [blob for blob in blobs if len(blob) >= 0.4 * largest]


def _extent(blob: Pixels) -> int:
    """Return the longer side of a blob's box, with the pixel that `_blobs` takes off at both ends."""
    return int((blob.max(axis=0) - blob.min(axis=0)).max()) + 3


def _centre(blob: Pixels, drawn: NDArray[np.bool_], radius: float) -> tuple[float, float]:
    """Return the centre (x, y) of a disc, part of which others may cover.

    A disc that is covered is laid where it holds most of the blob, and least of the background.
    """
    low, high = blob.min(axis=0), blob.max(axis=0)
    if len(blob) >= 0.9 * math.pi * (radius - 1) ** 2 and (high - low).min() + 3 >= 1.8 * radius:
        x, y = blob.mean(axis=0).tolist()
        return x, y
    reach = math.ceil(radius)
    steps = np.arange(-reach, reach + 1)
    inside = steps[:, None] ** 2 + steps**2 <= radius**2
    disc = np.stack(np.meshgrid(steps, steps), axis=-1)[inside]
    height, width = drawn.shape
    best, centre = -math.inf, (0.0, 0.0)
    for x in range(int(low[0]) - reach, int(high[0]) + reach + 1):
        for y in range(int(low[1]) - reach, int(high[1]) + reach + 1):
            held = int((((blob - (x, y)) ** 2).sum(axis=1) <= max(radius - 1, 1) ** 2).sum())
            pixels = disc + np.array((x, y))
            seen = pixels[((pixels >= 0) & (pixels < (width, height))).all(axis=1)]
            score = held - int((~drawn[seen[:, 1], seen[:, 0]]).sum())
            middle = (blob.mean(axis=0) - (x, y)).tolist()
            rated = score - 1e-3 * math.hypot(*middle)
            if rated > best:
                best, centre = rated, (float(x), float(y))
    return centre


def _has_limbs(xy: NDArray[np.float64], drawn: NDArray[np.bool_]) -> bool:
    """Return whether lines are drawn between the joints: along all limbs but one."""
    height, width = drawn.shape
    missing = count = 0
    for a, b in DRAWN_LIMBS:
        if np.isnan(xy[[a, b]]).any():
            continue
        line = xy[a] + (xy[b] - xy[a]) * np.linspace(0, 1, 50)[:, None]
        x, y = line.round().astype(int).T
        count += 1
        missing += float(drawn[y.clip(0, height - 1), x.clip(0, width - 1)].mean()) < 0.9
    return count >= _MIN_JOINTS // 2 and missing <= 1
