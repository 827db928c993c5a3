"""How people stand in the training images, and the crop that frames the person of a photo in the same way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pg2lib.errors import DataError
from pg2lib.images import Crop
from pg2lib.pose import Pose
from pg2lib.warp import torso_length

MIDLINE = {"nose": (0,), "neck": (1,), "hips": (8, 11), "knees": (9, 12), "ankles": (10, 13)}
"""Points along the middle of the body, and the joints whose mean each of them is. Arms say nothing about framing."""

HEAD_ABOVE, SHOES_BELOW, SIDES = 0.35, 0.2, 0.1
"""Room for the body beyond its joints, in torso lengths: the head above eyes and ears, shoes below the ankles, and the
sides."""

FACE, ANKLES = (0, 14, 15, 16, 17), (10, 13)


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
        left, top, right, bottom = _body_box(pose)
        found = {name: pose.xy[list(MIDLINE[name])].mean(dim=0) for name in self.y}
        found = {name: point for name, point in found.items() if not bool(point.isnan().any())}
        smallest = 1.02 * max(bottom - top, (right - left) * canvas[0] / canvas[1], 8.0)
        height, middle_x, middle_y = smallest, (left + right) / 2, (top + bottom) / 2
        if found:
            middle_x = float(torch.stack([point[0] for point in found.values()]).mean())
        if len(found) >= 2:
            place = torch.tensor([self.y[name] for name in found])
            y = torch.stack([point[1] for point in found.values()])
            spread = place - place.mean()
            height = max(smallest, float((spread * (y - y.mean())).sum() / spread.square().sum()))
            middle_y = float(y.mean() - (place.mean() - 0.5) * height)
        crop = Crop.around(middle_x + (0.5 - self.x) * height * canvas[1] / canvas[0], middle_y, height, canvas)
        # The crop is large enough by now; it moves if a part of the body still lies outside.
        dx = max(0.0, right - crop.right) - max(0.0, crop.left - left)
        dy = max(0.0, bottom - crop.bottom) - max(0.0, crop.top - top)
        return replace(crop, left=crop.left + dx, right=crop.right + dx, top=crop.top + dy, bottom=crop.bottom + dy)


def _body_box(pose: Pose) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom) of the visible joints, with room for the head, the shoes and the sides.

    Raises:
        DataError: the pose has no joint.
    """
    left, top, right, bottom = pose.box
    unit = float(torso_length(pose.xy.nan_to_num(0.0)[None], pose.visible[None], round(bottom - top) + 1))
    heights = pose.xy[:, 1]
    face, ankles = heights[list(FACE)], heights[list(ANKLES)]
    if not bool(face.isnan().all()):
        top = min(top, float(face.nan_to_num(math.inf).min()) - HEAD_ABOVE * unit)
    if not bool(ankles.isnan().all()):
        bottom = max(bottom, float(ankles.nan_to_num(-math.inf).max()) + SHOES_BELOW * unit)
    return left - SIDES * unit, top, right + SIDES * unit, bottom
