"""Poses: 18 keypoints on a canvas, in OpenPose's COCO order (Ma et al. 2017, section 3.1, and the released code).

Coordinates are pixels, x first, with pixel centres at integers. A missing joint is a NaN row, so visibility follows
from the coordinates and never contradicts them.
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
from pg2lib.json_files import checked_fields, parse_json, read_json, shown

JOINTS = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip
"""The names of the 18 joints, in order."""

MASK_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17), (1, 16), (1, 17), (8, 11), (11, 5), (8, 2), (16, 17),
)  # fmt: skip
"""The 23 pairs of joints whose limbs form the pose mask (released code)."""

DRAWN_LIMBS = MASK_LIMBS[:17]
"""The 17 pairs of joints that are drawn as limbs of a skeleton, as is usual for OpenPose."""

SWAPPED_BY_FLIP = ((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17))
"""Pairs of left and right joints, which change places when an image is flipped."""

MAX_SIDE = 65_535
"""The largest height and width of a canvas that is read, in pixels."""

FAR_OUTSIDE = 10
"""A coordinate this many times the longer side of the canvas away from its corner is an error in what was read."""

JOINT_COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255),
    (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
"""The RGB colour of each joint in a drawing (OpenPose)."""

BLAZEPOSE_TO_JOINTS = ((0,), (11, 12), (12,), (14,), (16,), (11,), (13,), (15,), (24,), (26,), (28,), (23,), (25,),
                       (27,), (5,), (2,), (8,), (7,))  # fmt: skip
"""For each joint, the BlazePose landmarks (of 33) whose mean it is."""

COCO17_TO_JOINTS = ((0,), (5, 6), (6,), (8,), (10,), (5,), (7,), (9,), (12,), (14,), (16,), (11,), (13,), (15,), (2,),
                    (1,), (4,), (3,))  # fmt: skip
"""For each joint, the COCO keypoints (of 17) whose mean it is."""

FARTHEST_PX = 1e6
"""Coordinates beyond this, far outside any canvas, are treated as this, so that what is computed stays finite."""

VisiblePart = Literal[
    "full body", "down to the knees", "upper body", "head and shoulders", "head only", "no head", "legs only", "nobody"
]
"""The part of a person that a pose shows."""


def flip_permutation() -> list[int]:
    """Return, for each of the 18 joints, the joint that takes its place when the image is flipped left to right."""
    permutation = list(range(len(JOINTS)))
    for a, b in SWAPPED_BY_FLIP:
        permutation[a], permutation[b] = b, a
    return permutation


def flip_xy(xy: Float[Tensor, "*batch 18 2"], width: int) -> Float[Tensor, "*batch 18 2"]:
    """Return the keypoints in the image flipped left to right.

    x becomes width - 1 - x, and left and right joints change places.

    Args:
        xy: pixels, x first; NaN rows are missing joints.
        width: of the image, in pixels.
    """
    x, y = xy.index_select(-2, _flip_permutation_on(xy.device)).unbind(-1)
    return torch.stack((width - 1 - x, y), dim=-1)


@lru_cache
def _flip_permutation_on(device: torch.device) -> Tensor:
    """Return `flip_permutation` as a tensor, cached on each device, so that no batch waits for a copy."""
    return torch.tensor(flip_permutation(), device=device)


@dataclass(frozen=True, eq=False)
class Pose:
    """18 keypoints of one person on a canvas.

    Attributes:
        xy: float (18, 2), pixels, x first; a missing joint is (NaN, NaN). Joints may lie outside the canvas. The
            constructor accepts anything that `torch.as_tensor` converts to this shape, and keeps a copy.
        canvas: (height, width) in pixels.

    Raises:
        DataError: `xy` has another shape, an infinite coordinate or a joint with only one coordinate; or the canvas is
            not (height, width) with at least one pixel.
    """

    xy: Float[Tensor, "18 2"]
    canvas: tuple[int, int]

    def __post_init__(self) -> None:
        try:
            xy = torch.as_tensor(self.xy, dtype=torch.float32).detach().clone()
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise DataError(f"a pose needs an (18, 2) array of x, y in pixels: {error}") from error
        if xy.shape != (len(JOINTS), 2):
            raise DataError(f"a pose needs an (18, 2) array of x, y in pixels, got shape {tuple(xy.shape)}")
        for joint, (x, y) in zip(JOINTS, xy.tolist(), strict=True):
            if math.isinf(x) or math.isinf(y) or math.isnan(x) != math.isnan(y):
                raise DataError(
                    f"{joint}: expected two finite coordinates, or two NaN for a missing joint, got ({x}, {y})"
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
        """Whether each joint is present."""
        return ~self.xy.isnan().any(dim=-1)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The bounding box (left, top, right, bottom) of the joints that are present, in pixels.

        Raises:
            DataError: no joint is present.
        """
        points = self.xy[self.visible]
        if not len(points):
            raise DataError("a pose without joints has no box")
        (left, top), (right, bottom) = points.amin(0).tolist(), points.amax(0).tolist()
        return left, top, right, bottom

    def flip(self) -> Pose:
        """Return the pose in the image flipped left to right."""
        return Pose(flip_xy(self.xy, self.canvas[1]), self.canvas)

    def turn(self, degrees: int) -> Pose:
        """Return the pose in the image turned clockwise by 0, 90, 180 or 270 degrees."""
        (height, width), (x, y) = self.canvas, self.xy.unbind(dim=-1)
        turned = {0: (x, y), 90: (height - 1 - y, x), 180: (width - 1 - x, height - 1 - y), 270: (y, width - 1 - x)}
        return Pose(torch.stack(turned[degrees], dim=-1), (width, height) if degrees in (90, 270) else self.canvas)

    def resize(self, canvas: tuple[int, int]) -> Pose:
        """Return the pose in the image resized to `canvas` (height, width).

        Resizing scales pixel areas, so a coordinate c becomes (c + 0.5) * scale - 0.5.
        """
        height, width = _checked_canvas(canvas)
        scale = self.xy.new_tensor((width / self.canvas[1], height / self.canvas[0]))
        return Pose((self.xy + 0.5) * scale - 0.5, (height, width))

    def crop(self, crop: Crop) -> Pose:
        """Return the pose on the canvas of a crop of its image. Joints outside the crop are kept."""
        return Pose(crop.to_canvas(self.xy), crop.canvas)

    def checked(self) -> Pose:
        """Return the pose itself, after a check of what was read or detected.

        Raises:
            DataError: a joint is too far away from the canvas (see `far_outside`).
        """
        for joint, point in zip(JOINTS, self.xy.tolist(), strict=True):
            if not math.isnan(point[0]):
                _refuse_far(joint, point, self.canvas)
        return self

    def inside(self) -> Pose:
        """Return the pose with the joints outside its canvas missing."""
        keep = _lie_inside(self.xy, self.canvas)
        return Pose(torch.where(keep[:, None], self.xy, torch.nan), self.canvas)

    def draw(self, image: Image.Image | None = None, background: str = "black") -> Image.Image:
        """Draw the skeleton.

        Args:
            image: to draw over, of the canvas's size. It is not changed. None: draw on a plain background.
            background: the colour of the plain background, as Pillow names it.

        Raises:
            DataError: the image is not of the canvas's size.
        """
        height, width = self.canvas
        if image is None:
            picture = Image.new("RGB", (width, height), background)
        elif image.size != (width, height):
            raise DataError(
                f"the pose needs an image of {width}x{height} pixels to draw over, got {image.width}x{image.height}; "
                f"resize the pose or the image"
            )
        else:
            picture = image.convert("RGB").copy()
        # On a small canvas, the skeleton is drawn four times as large and then reduced, which smooths thin limbs.
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
        """Return ``{"canvas": [height, width], "keypoints": [[x, y] or null, ...]}`` with 18 keypoints."""
        return json.dumps(self.to_values())

    def to_values(self) -> dict[str, Any]:
        """Return what `to_json` writes, as JSON values."""
        keypoints = [None if math.isnan(x) else [x, y] for x, y in self.xy.tolist()]
        return {"canvas": list(self.canvas), "keypoints": keypoints}

    @classmethod
    def from_json(cls, text: str) -> Pose:
        """Read what `to_json` wrote.

        Raises:
            DataError: the text is not JSON, or see `from_values`.
        """
        return cls.from_values(parse_json(text, "the pose", finite=False))

    @classmethod
    def from_values(cls, values: Any) -> Pose:
        """Read what `to_values` returned.

        Raises:
            DataError: the values are not of that form, a side of the canvas is not from 1 to `MAX_SIDE`, or a joint is
                too far away from the canvas (see `far_outside`).
        """
        kinds = {"canvas": tuple[int, int], "keypoints": tuple[tuple[float, float] | None, ...]}
        fields = checked_fields(
            kinds, values, 'expected a pose, {"canvas": [height, width], "keypoints": [[x, y] or null, ...]}'
        )
        canvas, keypoints = fields["canvas"], fields["keypoints"]
        if len(keypoints) != len(JOINTS):
            raise DataError(f"the field keypoints of a pose needs {len(JOINTS)} entries, in order: {', '.join(JOINTS)}")
        if not all(1 <= side <= MAX_SIDE for side in canvas):
            raise DataError(f"expected a canvas of 1 to {MAX_SIDE:,} pixels in height and width, got {list(canvas)}")
        for joint, point in zip(JOINTS, keypoints, strict=True):
            if point is not None:
                _refuse_far(joint, point, canvas)
        rows: Any = [(math.nan, math.nan) if point is None else point for point in keypoints]
        return cls(rows, canvas)

    @classmethod
    def from_blazepose(
        cls, xy: Float[Tensor, "33 2"], visibility: Float[Tensor, "33"], canvas: tuple[int, int], threshold: float = 0.5
    ) -> Pose:
        """Convert MediaPipe's 33 landmarks in pixels.

        Landmarks below the visibility threshold or outside the canvas are missing. The neck is the middle of both
        shoulders.
        """
        return cls._from_other(xy, visibility >= threshold, canvas, BLAZEPOSE_TO_JOINTS)

    @classmethod
    def from_coco17(
        cls, xy: Float[Tensor, "17 2"], visibility: Float[Tensor, "17"], canvas: tuple[int, int], threshold: float = 0.5
    ) -> Pose:
        """Convert COCO's 17 keypoints in pixels.

        Keypoints below the visibility threshold or outside the canvas are missing. The neck is the middle of both
        shoulders.
        """
        return cls._from_other(xy, visibility >= threshold, canvas, COCO17_TO_JOINTS)

    @classmethod
    def _from_other(
        cls, xy: Tensor, present: Tensor, canvas: tuple[int, int], sources: Sequence[tuple[int, ...]]
    ) -> Pose:
        known = torch.where((present & _lie_inside(xy, canvas))[:, None], xy, torch.nan)
        # A mean with NaN is NaN, so the neck is missing when a shoulder is.
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
    entries = read_json(Path(__file__).parent / "presets.json")
    return {name: Pose.from_values(entry) for name, entry in entries.items()}


def far_outside(canvas: tuple[int, int]) -> int:
    """Return the largest absolute coordinate that a reader accepts on a canvas (height, width), in pixels.

    It is `FAR_OUTSIDE` times the longer side. Joints outside of an image are usual; farther away they are errors, which
    would only take time and memory.
    """
    return FAR_OUTSIDE * max(canvas)


def _refuse_far(joint: str, point: Sequence[float], canvas: tuple[int, int]) -> None:
    """Refuse coordinates that are NaN, or too far away from a canvas; see `far_outside`."""
    if not all(abs(value) <= far_outside(canvas) for value in point):
        raise DataError(
            f"{joint}: expected coordinates within {far_outside(canvas):,} pixels, {FAR_OUTSIDE} times the canvas, got "
            f"({', '.join(map(shown, point))})"
        )


def _lie_inside(xy: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Return which of the points (n, 2) lie on the area of the canvas's pixels; NaN does not."""
    height, width = canvas
    x, y = xy.unbind(-1)
    return (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)


def _checked_canvas(canvas: Sequence[int]) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in canvas)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"expected a canvas (height, width) in pixels, each at least 1, got {canvas!r}") from error
    if height < 1 or width < 1:
        raise DataError(f"expected a canvas (height, width) in pixels, each at least 1, got {canvas!r}")
    return height, width
