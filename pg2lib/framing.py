"""How people stand in the training images, and the crop that places the person of a photo alike."""

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
"""Points down the middle of the body and the joints they are the mean of; arms say nothing about framing."""


HEAD_ABOVE, SHOES_BELOW, BESIDE = 0.35, 0.2, 0.1
"""What no joint marks, in torso lengths: the top of the head above eyes and ears, shoes below the ankles, and the body
beside its joints."""


@dataclass(frozen=True)
class Framing:
    """How people stand in the training images, so that a photo is cropped alike.

    Attributes:
        x: mean place of the midline, as a share of the width.
        y: mean place of each midline point that the training images show, as a share of the height.
    """

    x: float
    y: Mapping[str, float]

    @classmethod
    def of(cls, xy: Float[Tensor, "rows 18 2"], canvas: tuple[int, int]) -> Framing:
        """Measured on the keypoints of a data set whose images have `canvas` (height, width) pixels.

        A midline point that no row shows is left out: on people cut off at the waist, knees and ankles are.

        Raises:
            DataError: no row shows any midline point, or a coordinate is infinite.
        """
        if bool(xy.isinf().any()):
            raise DataError(f"row {int(xy.isinf().any(-1).any(-1).nonzero()[0])} has an infinite coordinate")
        points = {name: xy[:, list(joints)].mean(dim=1) for name, joints in MIDLINE.items()}
        seen = {name: point for name, point in points.items() if not bool(point.isnan().any(-1).all())}
        if not seen:
            raise DataError(
                f"not one of {len(xy):,} rows shows the {', '.join(MIDLINE)} of anybody, so how people stand in these "
                f"images cannot be measured; expected at least one of these"
            )
        x = torch.cat([point[:, 0] for point in seen.values()]).nanmean()
        y = {name: float((point[:, 1].nanmean() + 0.5) / canvas[0]) for name, point in seen.items()}
        return cls(float((x + 0.5) / canvas[1]), y)

    @classmethod
    def from_dict(cls, values: Any) -> Framing:
        """The inverse of `dataclasses.asdict`.

        Raises:
            DataError: not such values, or not one midline point.
        """
        match values:
            case {"x": x, "y": dict(y), **others} if not others and y.keys() <= MIDLINE.keys() and y:
                numbers = [x, *y.values()]
                if all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers):
                    return cls(float(x), {name: float(place) for name, place in y.items()})
        raise DataError(
            f"framing: expected a number x, and in y numbers for some of {', '.join(MIDLINE)}; got {values!r}"
        )

    def crop(self, pose: Pose, canvas: tuple[int, int]) -> Crop:
        """The crop of a photo that places the person of `pose` like the people in the training images.

        Height and top edge are the least-squares fit of the midline points that are visible and that the framing
        knows; the crop grows where a joint, the top of the head or the shoes would fall outside it.

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
        # Move, never squeeze, when a part of the body still lies outside.
        dx = max(0.0, right - crop.right) - max(0.0, crop.left - left)
        dy = max(0.0, bottom - crop.bottom) - max(0.0, crop.top - top)
        return replace(crop, left=crop.left + dx, right=crop.right + dx, top=crop.top + dy, bottom=crop.bottom + dy)


def _body_box(pose: Pose) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of the joints that are present, with room for the head, the shoes and the sides.

    Raises:
        DataError: the pose has no joint.
    """
    left, top, right, bottom = pose.box
    unit = float(torso_length(pose.xy.nan_to_num(0.0)[None], pose.visible[None], round(bottom - top) + 1))
    heights = pose.xy[:, 1]
    face, ankles = heights[[0, 14, 15, 16, 17]], heights[[10, 13]]
    if not bool(face.isnan().all()):
        top = min(top, float(face.nan_to_num(math.inf).min()) - HEAD_ABOVE * unit)
    if not bool(ankles.isnan().all()):
        bottom = max(bottom, float(ankles.nan_to_num(-math.inf).max()) + SHOES_BELOW * unit)
    return left - BESIDE * unit, top, right + BESIDE * unit, bottom
