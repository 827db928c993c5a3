"""People as pose files describe them, and the poses on a canvas that they become.

Every reader of a format returns `Found`; `poses_of` decides for all of them what is missing, whether coordinates are
pixels or fractions, which canvas they are on, and who comes first.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from pg2lib.errors import DataError
from pg2lib.pose import BLAZEPOSE_TO_JOINTS, COCO17_TO_JOINTS, JOINTS, MAX_SIDE, Pose, far_outside

log = logging.getLogger(__name__)

MIN_SCORE = 0.05
"""A keypoint with a lower score is missing, whatever the format calls the score: OpenPose's and AlphaPose's confidence,
COCO's v, MediaPipe's visibility. OpenPose does not draw such keypoints either (``render_threshold``)."""

LARGEST_FRACTION = 3
"""If no coordinate of a file is larger, its coordinates are fractions of the image, some of joints outside of it: in
pixels, a whole person would stand on three pixels."""

BODY_25_TO_JOINTS = tuple((point,) for point in (*range(8), *range(9, 19)))
"""For each joint its point in OpenPose's BODY_25, in which the middle of the hips is point 8 and the feet come last."""

LAYOUTS = {
    17: COCO17_TO_JOINTS,
    18: tuple((joint,) for joint in range(len(JOINTS))),
    25: BODY_25_TO_JOINTS,
    26: COCO17_TO_JOINTS,
    33: BLAZEPOSE_TO_JOINTS,
    133: COCO17_TO_JOINTS,
    136: COCO17_TO_JOINTS,
}
"""For each number of keypoints of a person the points whose mean each joint is: COCO, OpenPose's COCO model, BODY_25,
Halpe, MediaPipe, COCO-WholeBody, Halpe with face and hands. Those of Halpe and WholeBody begin with COCO's 17."""

OTHER_LAYOUTS = {
    14: "CrowdPose's or LSP's",
    15: "those of OpenPose's MPI model",
    16: "MPII's",
    19: "those of CMU's Panoptic Studio",
    21: "those of one hand",
    24: "SMPL's",
    68: "those of a face",
    70: "those of a face",
    468: "those of MediaPipe's face mesh",
    478: "those of MediaPipe's face mesh",
}
"""Numbers of keypoints that are not a pose of 18 joints, and what they look like."""

Point = tuple[float, float, float] | None
"""(x, y, score) of a keypoint; None if it is missing."""


@dataclass(frozen=True)
class Found:
    """One person in a pose file.

    Attributes:
        xy: Float (18, 2), x first, in the units of the file; a missing joint is (NaN, NaN).
        scores: Float (18,) in [0, 1]; 0 for a missing joint.
        where: The file and the place in it, for messages.
        canvas: (height, width) of the image, if the file says so.
        usual_canvas: (height, width) of the images that such files speak of, used if nothing else is known.
        image: The name of the image, if the file says so.
        frame: Number of the image, where a file of several images does not name them.
        fractions: Whether coordinates are fractions of the image; None if the format does not define it.
    """

    xy: Float[Tensor, "18 2"]
    scores: Float[Tensor, "18"]
    where: str
    canvas: tuple[int, int] | None = None
    usual_canvas: tuple[int, int] | None = None
    image: str | None = None
    frame: int = 0
    fractions: bool | None = None

    @cached_property
    def points(self) -> Float[Tensor, "present 2"]:
        """The joints that are present."""
        return self.xy[~self.xy[:, 0].isnan()]


def found_person(points: Sequence[Point], where: str, min_score: float = MIN_SCORE) -> Found:
    """Return the 18 joints of a person with any known number of keypoints.

    Args:
        points: As many as one of `LAYOUTS` has. Points at (0, 0) and (-1, -1) are missing: so the field marks them.
        where: The file and the place in it, for messages.
        min_score: Keypoints with a lower score are missing.

    Raises:
        DataError: If no layout has that many keypoints. The message names what they look like.
    """
    if not 0 <= min_score <= 1:
        raise DataError(f"the least score of a keypoint is {min_score}; expected a number from 0 to 1")
    layout = LAYOUTS.get(len(points))
    if layout is None:
        looks = f", which look like {OTHER_LAYOUTS[len(points)]}" if len(points) in OTHER_LAYOUTS else ""
        raise DataError(
            f"{where} has {len(points)} keypoints{looks}; expected {', '.join(map(str, LAYOUTS))}: the layouts of "
            f"COCO, OpenPose, MediaPipe and Halpe"
        )
    known: list[Point] = [
        point if point and point[2] >= max(min_score, 1e-6) and point[:2] not in ((0, 0), (-1, -1)) else None
        for point in points
    ]
    xy, scores = [], []
    for sources in layout:
        joined = [point for point in (known[source] for source in sources) if point]
        if len(joined) < len(sources):  # A neck needs both shoulders.
            joined = []
        x, y = (math.fsum(point[axis] for point in joined) / len(joined) if joined else math.nan for axis in (0, 1))
        xy.append((x, y))
        scores.append(min((min(point[2], 1.0) for point in joined), default=0.0))
    return Found(torch.tensor(xy), torch.tensor(scores), where)


def poses_of(found: Iterable[Found], canvas: tuple[int, int] | None = None) -> dict[tuple[str | None, int], list[Pose]]:
    """Return the poses of everyone in a file, or in the files of a folder.

    Whether coordinates are pixels or fractions is decided once for all of them. Fractions become pixels, and a message
    is logged. A canvas that nobody knows is the smallest one that holds the joints of all people in an image.

    Args:
        found: Everyone. People without a joint are left out.
        canvas: (height, width) of the images, used for files that do not say it.

    Returns:
        The poses by image: name and number. In each image the most prominent person comes first (see `prominence`).

    Raises:
        DataError: If the coordinates are fractions of an unknown canvas, if only some are, or if joints are far outside
            the canvas.
    """
    if canvas is not None:
        canvas = checked_canvas(*canvas, "canvas")
    images: dict[tuple[str | None, int], list[Found]] = {}
    for person in found:
        if len(person.points):
            images.setdefault((person.image, person.frame), []).append(person)
    fractions = _are_fractions(list(images.values()), canvas)
    poses: dict[tuple[str | None, int], list[Pose]] = {}
    for image, people in images.items():
        placed = [_in_pixels(person, canvas, fractions) for person in people]
        if fractions and not poses:
            log.warning("%s: taken as fractions of the image and scaled to its size in pixels", people[0].where)
        smallest = _smallest_canvas(placed)
        placed.sort(key=prominence, reverse=True)
        poses[image] = [Pose(person.xy, person.canvas or _usual(person) or smallest) for person in placed]
    return poses


def prominence(person: Found) -> float:
    """Return how much of a person an image shows: the sum of the joints' scores, times the diagonal of their box.

    Three stray joints of low confidence count little, and so does somebody complete in the background.
    """
    width, height = (person.points.amax(dim=0) - person.points.amin(dim=0)).tolist()
    return float(person.scores.sum()) * math.hypot(width + 1, height + 1)


def checked_canvas(height: object, width: object, where: str) -> tuple[int, int]:
    """Return a canvas whose sides are whole numbers from 1 to `MAX_SIDE`.

    Raises:
        DataError: For anything else.
    """
    sides = []
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, int | float) or not 1 <= side <= MAX_SIDE or side % 1:
            raise DataError(
                f"{where} has a height of {str(height)[:20]} and a width of {str(width)[:20]}; expected whole numbers "
                f"of pixels from 1 to {MAX_SIDE:,}"
            )
        sides.append(int(side))
    return sides[0], sides[1]


def _are_fractions(images: Sequence[Sequence[Found]], canvas: tuple[int, int] | None) -> bool:
    """Return whether the coordinates of formats that do not define it are fractions: all of them or none."""
    undefined = [people for people in ([p for p in image if p.fractions is None] for image in images) if people]
    if not undefined:
        return False
    fractional = [people for people in undefined if _look_fractional(people, canvas)]
    largest = max(float(person.points.abs().max()) for people in undefined for person in people)
    if largest > LARGEST_FRACTION:
        mixed = next((people[0] for people in fractional if sum(len(person.points) for person in people) > 2), None)
        if mixed is not None:
            raise DataError(
                f"{mixed.where} holds fractions of the image, while other images of the same source hold pixels (up to "
                f"{largest:.0f}); write all of them in pixels"
            )
        return False
    if not fractional:
        return False
    _refuse_signed(undefined)
    return True


def _look_fractional(people: Sequence[Found], canvas: tuple[int, int] | None) -> bool:
    """Return whether the coordinates of an image's people can only be fractions. One joint does not tell."""
    points = torch.cat([person.points for person in people])
    sized = canvas is not None or people[0].canvas is not None
    return float(points.abs().max()) <= LARGEST_FRACTION and (len(points) > 1 or sized)


def _refuse_signed(images: Sequence[Sequence[Found]]) -> None:
    """Refuse OpenPose's scale from -1 to 1, in which the middle of the image is 0."""
    points = torch.cat([person.points for people in images for person in people])
    if float((points < -0.05).any(dim=1).float().mean()) > 0.25:
        raise DataError(
            f"{images[0][0].where} holds coordinates from -1 to 1 (OpenPose's --keypoint_scale 4 or 5); expected "
            f"pixels: run OpenPose with --keypoint_scale 0"
        )


def _in_pixels(person: Found, canvas: tuple[int, int] | None, fractions: bool) -> Found:
    """Return a person in pixels, with the canvas if it is known."""
    known = person.canvas or canvas
    if person.fractions if person.fractions is not None else fractions:
        if known is None:
            raise DataError(
                f"{person.where} holds fractions of the image, and the file does not say how large the image is; give "
                f"its size in pixels: canvas=(height, width), prepare --canvas HEIGHTxWIDTH, or generate --pose-canvas "
                f"HEIGHTxWIDTH. OpenPose writes pixels with --keypoint_scale 0"
            )
        person = replace(person, xy=person.xy * torch.tensor([known[1], known[0]], dtype=torch.float32))
    limit = far_outside(known) if known else MAX_SIDE
    if float(person.points.abs().max()) > limit:
        size = f"{known[0]} pixels in height and {known[1]} in width" if known else f"no more than {MAX_SIDE:,} pixels"
        raise DataError(
            f"{person.where} has a joint at {float(person.points.abs().max()):.0f} pixels; expected an image of {size}"
        )
    return replace(person, canvas=known)


def _usual(person: Found) -> tuple[int, int] | None:
    """Return the usual canvas of a format if it holds the person."""
    if person.usual_canvas is None:
        return None
    height, width = person.usual_canvas
    limits = torch.tensor([width - 0.5, height - 0.5])
    return person.usual_canvas if bool(((person.points < limits) & (person.points > -0.5)).all()) else None


def _smallest_canvas(people: Sequence[Found]) -> tuple[int, int]:
    """Return the smallest canvas that holds the joints of all people in an image."""
    x, y = torch.cat([person.points for person in people]).amax(dim=0).tolist()
    return max(1, math.ceil(y) + 1), max(1, math.ceil(x) + 1)
