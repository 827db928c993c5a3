"""Poses: 18 keypoints on a canvas, in OpenPose's COCO order (section 3.1 of the paper and the released code).

Coordinates are pixels, x first, pixel centres at integers. A missing joint is a NaN row, so visibility is derived and
never disagrees with the coordinates.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from torch import Tensor

from pg2lib.errors import DataError
from pg2lib.images import Crop

JOINTS = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip
"""Names of the 18 joints, in order."""

MASK_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17), (1, 16), (1, 17), (8, 11), (11, 5), (8, 2), (16, 17),
)  # fmt: skip
"""The 23 joint pairs whose limbs make the pose mask (released code)."""

DRAWN_LIMBS = MASK_LIMBS[:17]
"""The usual 17 joint pairs of a drawn skeleton."""

SWAPPED_BY_FLIP = ((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17))
"""Left and right joints that change places when an image is flipped."""

JOINT_COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255),
    (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
"""RGB of each joint in a drawing (OpenPose)."""

BLAZEPOSE_TO_JOINTS = ((0,), (11, 12), (12,), (14,), (16,), (11,), (13,), (15,), (24,), (26,), (28,), (23,), (25,),
                       (27,), (5,), (2,), (8,), (7,))  # fmt: skip
"""For each joint, the BlazePose landmarks (of 33) whose mean it is."""

COCO17_TO_JOINTS = ((0,), (5, 6), (6,), (8,), (10,), (5,), (7,), (9,), (12,), (14,), (16,), (11,), (13,), (15,), (2,),
                    (1,), (4,), (3,))  # fmt: skip
"""For each joint, the COCO keypoints (of 17) whose mean it is."""

VisiblePart = Literal[
    "full body", "down to the knees", "upper body", "head and shoulders", "head only", "no head", "legs only", "nobody"
]
"""The part of a person that a pose shows."""


def flip_permutation() -> list[int]:
    """For each of the 18 joints, the joint that takes its place when the image is flipped left to right."""
    permutation = list(range(len(JOINTS)))
    for a, b in SWAPPED_BY_FLIP:
        permutation[a], permutation[b] = b, a
    return permutation


def flip_xy(xy: Float[Tensor, "*batch 18 2"], width: int) -> Float[Tensor, "*batch 18 2"]:
    """Keypoints of the left-right flipped image: x becomes width - 1 - x, left and right joints change places."""
    x, y = xy.index_select(-2, _flip_permutation_on(xy.device)).unbind(-1)
    return torch.stack((width - 1 - x, y), dim=-1)


@lru_cache
def _flip_permutation_on(device: torch.device) -> Tensor:
    """Kept on each device, so that no batch waits for it to be copied there."""
    return torch.tensor(flip_permutation(), device=device)


@dataclass(frozen=True, eq=False)
class Pose:
    """18 keypoints of one person on a canvas.

    Attributes:
        xy: float (18, 2), pixels, x first; a missing joint is (NaN, NaN). Anything that torch can turn into such a
            tensor is accepted. Joints may lie outside the canvas.
        canvas: (height, width) in pixels.

    Raises:
        DataError: another shape, an infinite coordinate, a joint with only one coordinate, or an empty canvas.
    """

    xy: Float[Tensor, "18 2"]
    canvas: tuple[int, int]

    def __post_init__(self) -> None:
        try:
            xy = torch.as_tensor(self.xy, dtype=torch.float32).detach().clone()
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"a pose needs an (18, 2) array of x, y in pixels: {error}") from error
        if xy.shape != (len(JOINTS), 2):
            raise DataError(f"a pose needs an (18, 2) array of x, y in pixels, got shape {tuple(xy.shape)}")
        for joint, (x, y) in zip(JOINTS, xy.tolist(), strict=True):
            if math.isinf(x) or math.isinf(y) or math.isnan(x) != math.isnan(y):
                raise DataError(
                    f"{joint}: ({x}, {y}) is no keypoint; a joint has two finite coordinates, or two NaN when missing"
                )
        object.__setattr__(self, "xy", xy)
        object.__setattr__(self, "canvas", _checked_canvas(self.canvas))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pose):
            return NotImplemented
        return self.canvas == other.canvas and torch.equal(self.xy.nan_to_num(nan=-1e9), other.xy.nan_to_num(nan=-1e9))

    def __hash__(self) -> int:
        return hash((self.canvas, self.to_json()))

    def __repr__(self) -> str:
        missing = [name for name, seen in zip(JOINTS, self.visible.tolist(), strict=True) if not seen]
        return (
            f"Pose({len(JOINTS) - len(missing)} of {len(JOINTS)} joints on {self.canvas[0]}x{self.canvas[1]}"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + ")"
        )

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        scale = max(1, round(256 / max(self.canvas)))
        self.resize((self.canvas[0] * scale, self.canvas[1] * scale)).draw().save(buffer, "PNG")
        return buffer.getvalue()

    @property
    def visible(self) -> Bool[Tensor, "18"]:
        """Which joints are present."""
        return ~self.xy.isnan().any(dim=-1)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of the joints that are present.

        Raises:
            DataError: no joint is.
        """
        points = self.xy[self.visible]
        if not len(points):
            raise DataError("the pose has no joint at all")
        (left, top), (right, bottom) = points.amin(0).tolist(), points.amax(0).tolist()
        return left, top, right, bottom

    def flip(self) -> Pose:
        """The pose in the left-right flipped image."""
        return Pose(flip_xy(self.xy, self.canvas[1]), self.canvas)

    def resize(self, canvas: tuple[int, int]) -> Pose:
        """The pose in the image resized to `canvas`; pixel areas are kept, so a centre c becomes (c + 0.5) s - 0.5."""
        height, width = _checked_canvas(canvas)
        scale = self.xy.new_tensor((width / self.canvas[1], height / self.canvas[0]))
        return Pose((self.xy + 0.5) * scale - 0.5, (height, width))

    def crop(self, crop: Crop) -> Pose:
        """The pose on the canvas of a crop of its image. Joints outside stay, outside."""
        return Pose(crop.to_canvas(self.xy), crop.canvas)

    def inside(self) -> Pose:
        """The pose with joints outside its canvas missing."""
        height, width = self.canvas
        x, y = self.xy.unbind(-1)
        keep = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
        return Pose(torch.where(keep[:, None], self.xy, torch.nan), self.canvas)

    def draw(self, image: Image.Image | None = None, background: str = "black") -> Image.Image:
        """The skeleton, over `image` (of the canvas's size) or on a plain background.

        Raises:
            DataError: the image is not of the canvas's size.
        """
        height, width = self.canvas
        if image is None:
            picture = Image.new("RGB", (width, height), background)
        elif image.size != (width, height):
            raise DataError(f"the pose lives on {width}x{height} pixels, the image has {image.size[0]}x{image.size[1]}")
        else:
            picture = image.convert("RGB").copy()
        # Drawn four times as large and reduced, so that thin limbs are smooth on a small canvas.
        factor = 4 if max(self.canvas) <= 512 else 1
        layer = Image.new("RGBA", (width * factor, height * factor))
        draw = ImageDraw.Draw(layer)
        thickness = max(1, round(max(self.canvas) / 90 * factor))
        points = [None if math.isnan(x) else ((x + 0.5) * factor, (y + 0.5) * factor) for x, y in self.xy.tolist()]
        for a, b in DRAWN_LIMBS:
            start, end = points[a], points[b]
            if start is not None and end is not None:
                draw.line((start, end), fill=(*JOINT_COLOURS[b], 220), width=thickness)
        for point, colour in zip(points, JOINT_COLOURS, strict=True):
            if point is not None:
                draw.circle(point, radius=thickness, fill=(*colour, 255))
        layer = layer.resize((width, height), Image.Resampling.BOX)
        picture.paste(layer, mask=layer)
        return picture

    def to_json(self) -> str:
        """``{"canvas": [height, width], "keypoints": [[x, y] or null, ...]}``, 18 entries."""
        keypoints = [None if math.isnan(x) else [x, y] for x, y in self.xy.tolist()]
        return json.dumps({"canvas": list(self.canvas), "keypoints": keypoints})

    @classmethod
    def from_json(cls, text: str) -> Pose:
        """The inverse of `to_json`.

        Raises:
            DataError: not JSON, or not of that form.
        """
        try:
            values: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"the pose is not JSON: {error}") from error
        if not isinstance(values, dict) or set(values) != {"canvas", "keypoints"}:
            raise DataError('a pose in JSON is {"canvas": [height, width], "keypoints": [[x, y] or null, ...]}')
        keypoints = values["keypoints"]
        if not isinstance(keypoints, list) or len(keypoints) != len(JOINTS):
            raise DataError(f"a pose in JSON has {len(JOINTS)} keypoints, in order: {', '.join(JOINTS)}")
        rows: Any = [(math.nan, math.nan) if point is None else point for point in keypoints]
        return cls(rows, values["canvas"])

    @classmethod
    def from_blazepose(
        cls, xy: Float[Tensor, "33 2"], visibility: Float[Tensor, "33"], canvas: tuple[int, int], threshold: float = 0.5
    ) -> Pose:
        """From MediaPipe's 33 landmarks in pixels; below the visibility threshold or outside the canvas is missing."""
        return cls._from_other(xy, visibility >= threshold, canvas, BLAZEPOSE_TO_JOINTS)

    @classmethod
    def from_coco17(
        cls, xy: Float[Tensor, "17 2"], visibility: Float[Tensor, "17"], canvas: tuple[int, int], threshold: float = 0.5
    ) -> Pose:
        """From COCO's 17 keypoints in pixels; below the visibility threshold or outside the canvas is missing."""
        return cls._from_other(xy, visibility >= threshold, canvas, COCO17_TO_JOINTS)

    @classmethod
    def _from_other(
        cls, xy: Tensor, present: Tensor, canvas: tuple[int, int], sources: Sequence[tuple[int, ...]]
    ) -> Pose:
        height, width = canvas
        x, y = xy.unbind(-1)
        inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
        known = torch.where((present & inside)[:, None], xy, torch.nan)
        # The mean of a NaN row is NaN: the neck is missing when a shoulder is.
        return cls(torch.stack([known[list(source)].mean(dim=0) for source in sources]), canvas)


def visible_part(pose: Pose) -> VisiblePart:
    """Return the part of a person that a pose shows, judged by the joints that are present.

    One joint of a left and right pair is enough. A pose without shoulders is "head only" or "legs only". With
    shoulders, but without eyes, ears and nose, it has "no head". Otherwise its lowest joint decides: an ankle makes it
    the "full body", a knee "down to the knees", a hip the "upper body", and a shoulder "head and shoulders". "nobody"
    is a pose without joints.
    """
    has = dict(zip(JOINTS, pose.visible.tolist(), strict=True))
    head = has["nose"] or has["right eye"] or has["left eye"] or has["right ear"] or has["left ear"]
    shoulders = has["right shoulder"] or has["left shoulder"]
    hips, knees, ankles = (has[f"right {part}"] or has[f"left {part}"] for part in ("hip", "knee", "ankle"))
    if not any(has.values()):
        return "nobody"
    if not shoulders:
        return "legs only" if hips or knees or ankles else "head only"
    if not head:
        return "no head"
    if ankles:
        return "full body"
    if knees:
        return "down to the knees"
    return "upper body" if hips else "head and shoulders"


def pose_presets() -> dict[str, Pose]:
    """Load the target poses that come with the package, by name."""
    entries = json.loads((Path(__file__).parent / "presets.json").read_text(encoding="utf-8"))
    return {name: Pose.from_json(json.dumps(entry)) for name, entry in entries.items()}


def _checked_canvas(canvas: Sequence[int]) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in canvas)
    except (TypeError, ValueError) as error:
        raise DataError(f"a canvas is (height, width) in pixels, got {canvas!r}") from error
    if height < 1 or width < 1:
        raise DataError(f"a canvas is (height, width) in pixels, got {canvas!r}")
    return height, width
