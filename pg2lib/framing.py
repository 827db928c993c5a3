"""How people stand in the training images, and the crop that frames the person of a photo in the same way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pg2lib.errors import DataError
from pg2lib.images import Crop
from pg2lib.pose import FARTHEST_PX, Pose
from pg2lib.warp import torso_length

MIDLINE = {"nose": (0,), "neck": (1,), "hips": (8, 11), "knees": (9, 12), "ankles": (10, 13)}
"""Points along the middle of the body, and the joints whose mean each of them is. Arms say nothing about framing."""

HEAD_ABOVE, SHOES_BELOW, SIDES = 0.35, 0.2, 0.1
"""Room for the body beyond its joints, in torso lengths: the head above eyes and ears, shoes below the ankles, and on
all sides, as for a hand that is raised above the head."""

FACE, ARMS, ANKLES = (0, 14, 15, 16, 17), (2, 3, 4, 5, 6, 7), (10, 13)

LEAST_PART, MOST_PART = 0.45, 0.95
"""How much of the height of the usual framing a half-length portrait shows at least, and from where on it is none."""


@dataclass(frozen=True)
class Framing:
    """How people stand in the training images.

    Attributes:
        x: mean position of the midline, as a fraction of the width.
        y: mean position of each midline point that the training images show, as a fraction of the height.
    """

    x: float
    y: Mapping[str, float]

    @classmethod
    def of(cls, xy: Float[Tensor, "rows 18 2"], canvas: tuple[int, int]) -> Framing:
        """Measure the framing of a data set.

        Midline points that no row shows are left out. If all people are cut off at the waist, for example, knees and
        ankles are.

        Args:
            xy: keypoints in pixels, x first, NaN = missing.
            canvas: (height, width) of the images in pixels.

        Raises:
            DataError: no row shows any midline point, or a coordinate is infinite.
        """
        if bool(xy.isinf().any()):
            row = int(xy.isinf().any(-1).any(-1).nonzero()[0])
            raise DataError(f"expected finite keypoints, or NaN where one is missing; row {row} has an infinite one")
        points = {name: xy[:, list(joints)].mean(dim=1) for name, joints in MIDLINE.items()}
        seen = {name: point for name, point in points.items() if not bool(point.isnan().any(-1).all())}
        if not seen:
            raise DataError(
                f"expected somebody whose {', '.join(MIDLINE)} are visible, to measure how people stand in the images; "
                f"none of {len(xy):,} rows shows any of these points"
            )
        x = torch.cat([point[:, 0] for point in seen.values()]).nanmean()
        y = {name: float((point[:, 1].nanmean() + 0.5) / canvas[0]) for name, point in seen.items()}
        return cls(float((x + 0.5) / canvas[1]), y)

    @classmethod
    def from_dict(cls, values: Any) -> Framing:
        """Read what `dataclasses.asdict` gives.

        Raises:
            DataError: `values` has another form, or no midline point.
        """
        match values:
            case {"x": x, "y": dict(y), **others} if not others and y.keys() <= MIDLINE.keys() and y:
                numbers = [x, *y.values()]
                if all(isinstance(n, int | float) and not isinstance(n, bool) and abs(n) <= 10 for n in numbers):
                    return cls(float(x), {name: float(place) for name, place in y.items()})
        raise DataError(
            f"framing: expected a number x, and in y numbers for some of {', '.join(MIDLINE)}, all of them fractions "
            f"of the canvas; got {str(values)[:200]}"
        )

    def crop(self, pose: Pose, canvas: tuple[int, int]) -> Crop:
        """Return the crop of a photo that places a person like the people in the training images.

        Height and top edge are the least-squares fit to the visible midline points. The crop is enlarged and moved
        where a joint, the top of the head or the shoes would otherwise lie outside it.

        Args:
            pose: pose of the person, in pixels of the photo.
            canvas: (height, width) in pixels that the crop is resized to.

        Raises:
            DataError: the pose has no joint.
        """
        box = left, top, right, bottom = _body_box(pose)
        found = self._points(pose)
        height = smallest = _smallest_height(box, canvas)
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        if found:
            middle_x = float(torch.stack([point[0] for point in found.values()]).mean())
        if len(found) >= 2:
            place = torch.tensor([self.y[name] for name in found])
            y = torch.stack([point[1] for point in found.values()])
            spread = place - place.mean()
            height = max(smallest, float((spread * (y - y.mean())).sum() / spread.square().sum()))
            middle_y = float(y.mean() - (place.mean() - 0.5) * height)
        crop = Crop.around(middle_x + (0.5 - self.x) * height * canvas[1] / canvas[0], middle_y, height, canvas)
        return _moved_to(box, crop)

    def crop_to_seen(self, pose: Pose, canvas: tuple[int, int]) -> Crop:
        """Return the crop of a photo that shows what the photo shows of a person.

        Somebody from head to foot is framed as by `crop`. Where an edge of the photo cuts off the feet or the head, the
        crop ends at that edge, and not where they would be; so a half-length portrait stays one. If the person is too
        wide for that, the crop extends beyond the photo on the side of the head, or below somebody without a head. If
        at most one midline point is visible, which does not tell how large the person is, the crop is as high as the
        photo.

        Args:
            pose: pose of the person, in pixels of the photo; its canvas is the size of the photo.
            canvas: (height, width) in pixels that the crop is resized to.

        Raises:
            DataError: the pose has no joint.
        """
        crop = self.crop(pose, canvas)
        left, box_top, right, box_bottom = _body_box(pose)
        first, last = -0.5, pose.canvas[0] - 0.5
        size_known = len(self._points(pose)) >= 2
        top, bottom = (crop.top, crop.bottom) if size_known else (first, last)
        seen = pose.visible
        if not bool(seen[list(FACE)].any()):
            top, box_top = max(top, first), max(box_top, first)
        if not bool(seen[list(ANKLES)].any()):
            bottom, box_bottom = min(bottom, last), min(box_bottom, last)
        if (top, bottom) == (crop.top, crop.bottom):
            return crop
        box = left, box_top, right, box_bottom
        height = max(bottom - top, _smallest_height(box, canvas))
        middle_y = top + height / 2 if bottom == crop.bottom else bottom - height / 2
        off_middle = (0.5 - self.x) * canvas[1] / canvas[0]
        middle_x = (crop.left + crop.right) / 2 + (height - (crop.bottom - crop.top)) * off_middle
        return _moved_to(box, Crop.around(middle_x, middle_y, height, canvas))

    def portrait(self, pose: Pose, canvas: tuple[int, int]) -> Crop | None:
        """Return the crop of a photo that shows the head of a person but not their feet; None for all others.

        It is that of `crop_to_seen`, but shows at least `LEAST_PART` of the height of `crop`.

        Args:
            pose, canvas: see `crop_to_seen`.

        Raises:
            DataError: the pose has no joint.
        """
        seen = pose.visible
        if not bool(seen[list(FACE)].any()) or bool(seen[list(ANKLES)].any()):
            return None
        whole, part = self.crop(pose, canvas), self.crop_to_seen(pose, canvas)
        height, least = part.bottom - part.top, LEAST_PART * (whole.bottom - whole.top)
        if height < least:
            part = Crop.around((part.left + part.right) / 2, part.top + least / 2, least, canvas)
        return part if max(height, least) < MOST_PART * (whole.bottom - whole.top) else None

    def crop_of_photo(self, pose: Pose, canvas: tuple[int, int], portraits: bool) -> tuple[Crop, Crop | None]:
        """Return the crop of a photo, and the part of the usual framing that it shows, see `place`; None if all of it.

        Args:
            pose, canvas: see `crop_to_seen`.
            portraits: whether half-length portraits stay half-length.

        Raises:
            DataError: the pose has no joint.
        """
        whole = self.crop(pose, canvas)
        part = self.portrait(pose, canvas) if portraits else None
        return (whole, None) if part is None else (part, part_of(whole, part))

    def place(self, pose: Pose, canvas: tuple[int, int], portrait: Crop | None = None) -> Pose:
        """Return a pose as a person would stand in the training images.

        Args:
            pose: on a canvas of its own.
            canvas: (height, width) in pixels of the result.
            portrait: the part of that canvas that a half-length portrait shows, which becomes all of the canvas. It is
                enlarged as by `with_room`.

        Raises:
            DataError: the pose has no joint.
        """
        placed = pose.crop(self.crop(pose, canvas))
        return placed if portrait is None else placed.crop(with_room(portrait, [placed]))

    def _points(self, pose: Pose) -> dict[str, Float[Tensor, "2"]]:
        """Return the midline points that both the pose and the training images show."""
        xy = pose.xy.clamp(-FARTHEST_PX, FARTHEST_PX)
        points = {name: xy[list(MIDLINE[name])].mean(dim=0) for name in self.y}
        return {name: point for name, point in points.items() if not bool(point.isnan().any())}


def part_of(whole: Crop, part: Crop) -> Crop:
    """Return one crop of a photo in pixels of the canvas of another."""
    corners = torch.tensor([(part.left, part.top), (part.right, part.bottom)], dtype=torch.float64)
    (left, top), (right, bottom) = whole.to_canvas(corners).tolist()
    return Crop(left, top, right, bottom, part.canvas)


def with_room(portrait: Crop, poses: Iterable[Pose]) -> Crop:
    """Enlarge a half-length portrait where a head or an arm would lie outside, up to the size of the canvas.

    Its lower edge stays.

    Args:
        portrait: a part of the canvas.
        poses: on that canvas.
    """
    boxes = []
    for pose in poses:
        upper = torch.full_like(pose.xy, math.nan)
        upper[[1, *FACE, *ARMS]] = pose.xy[[1, *FACE, *ARMS]]
        if bool(upper.isfinite().any()):
            boxes.append(_body_box(Pose(upper, pose.canvas)))
    if not boxes:
        return portrait
    lefts, tops, rights, _ = zip(*boxes, strict=True)
    bottom = portrait.bottom
    box = min(lefts), min(*tops, bottom - 8), max(rights), bottom
    needed = min(_smallest_height(box, portrait.canvas), portrait.canvas[0])
    height = max(portrait.bottom - portrait.top, needed)
    crop = Crop.around((portrait.left + portrait.right) / 2, bottom - height / 2, height, portrait.canvas)
    return _moved_to(box, crop)


Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge in pixels."""


def _smallest_height(box: Box, canvas: tuple[int, int]) -> float:
    """Return the height of the smallest crop that holds a box."""
    left, top, right, bottom = box
    return 1.02 * max(bottom - top, (right - left) * canvas[0] / canvas[1], 8.0)


def _moved_to(box: Box, crop: Crop) -> Crop:
    """Return a crop that is large enough for a box, moved if a part of the box still lies outside."""
    left, top, right, bottom = box
    dx = max(0.0, right - crop.right) - max(0.0, crop.left - left)
    dy = max(0.0, bottom - crop.bottom) - max(0.0, crop.top - top)
    return replace(crop, left=crop.left + dx, right=crop.right + dx, top=crop.top + dy, bottom=crop.bottom + dy)


def _body_box(pose: Pose) -> Box:
    """Return (left, top, right, bottom) of the visible joints, with room for the head, the shoes and the hands.

    Raises:
        DataError: the pose has no joint.
    """
    pose = replace(pose, xy=pose.xy.clamp(-FARTHEST_PX, FARTHEST_PX))
    left, top, right, bottom = pose.box
    unit = float(torso_length(pose.xy.nan_to_num(0.0)[None], pose.visible[None], round(bottom - top) + 1))
    left, top, right, bottom = left - SIDES * unit, top - SIDES * unit, right + SIDES * unit, bottom + SIDES * unit
    heights = pose.xy[:, 1]
    face, ankles = heights[list(FACE)], heights[list(ANKLES)]
    if not bool(face.isnan().all()):
        top = min(top, float(face.nan_to_num(math.inf).min()) - HEAD_ABOVE * unit)
    if not bool(ankles.isnan().all()):
        bottom = max(bottom, float(ankles.nan_to_num(-math.inf).max()) + SHOES_BELOW * unit)
    return left, top, right, bottom
