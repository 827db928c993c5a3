"""How well the poses a detector finds agree with reference poses of the same images.

References are annotations, to judge the detector, or the target poses of generated images, to judge the generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pg2lib.errors import DataError
from pg2lib.pose import JOINTS, flip_permutation

OFF = 0.1
"""A find whose mean joint error is larger than this fraction of the image's height is off: it shows another pose."""

HEAD_SHARE = 0.5
"""A joint is correct when it lies within this fraction of the size of the head: PCKh at 0.5."""

NECK = JOINTS.index("neck")
FACE = [i for i, name in enumerate(JOINTS) if name == "nose" or name.endswith(("eye", "ear"))]


@dataclass(frozen=True)
class KeypointAgreement:
    """Poses found, against reference poses of the same images.

    The error of a find is the mean distance between its joints and the reference's, over the joints that both have, as
    a fraction of the image's height; infinite where they share none.

    Attributes:
        compared: people, that is images whose reference has a joint.
        not_found: share of them in [0, 1] for whom nothing was found.
        median_error: median over the finds; NaN when there is none.
        off: share of the finds in [0, 1] whose error is larger than `OFF`.
        swapped: share of the finds in [0, 1] that fit better with left and right exchanged. Some do by chance, in side
            views most of all; where nearly all do, one of the two has its sides wrong.
    """

    compared: int
    not_found: float
    median_error: float
    off: float
    swapped: float

    def __str__(self) -> str:
        return (
            f"{self.compared:,} people: {self.not_found:.1%} not found, median error {self.median_error:.1%} of the "
            f"height, {self.off:.1%} of finds off by more than {OFF:.0%}, {self.swapped:.1%} fit better with left and "
            "right exchanged"
        )


@dataclass(frozen=True)
class PoseAccuracy:
    """How well images show the poses they should, as a detector sees it.

    To be read beside the detector's own accuracy on real images, which is the best that can be had. PCKh is that of
    Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR 2014, with the head
    measured by `head_sizes`. Other papers on this task (Zhu et al. 2019, ``calPCKH_market.py``) take the sides of the
    box around neck and face, x and y apart: their PCKh cannot be compared with this one.

    Attributes:
        images: whose target pose has a joint.
        pckh: share in [0, 1] of the target poses' joints that were found within half the size of the target's head; a
            joint that was not found is not correct. None where no target pose has a head to measure.
        images_with_head: that `pckh` is taken over; the others are in all the figures but that one.
        mean_error: mean distance over the joints that both have, as a fraction of the image's height; None without any.
        joints_missing: share of the target poses' joints that were not found, be it with the whole person.
        not_found: share of the images in which nobody was found.
    """

    images: int
    pckh: float | None
    images_with_head: int
    mean_error: float | None
    joints_missing: float
    not_found: float


def keypoint_agreement(
    found_xy: Float[Tensor, "images 18 2"],
    reference_xy: Float[Tensor, "images 18 2"],
    height: float | Float[Tensor, "images"],
) -> KeypointAgreement:
    """Compares the poses found in images with reference poses of the same images, row by row.

    Images whose reference has no joint are left out.

    Args:
        found_xy: pixels, x first, NaN = missing; a row of NaN alone where nobody was found.
        reference_xy: in the same pixels.
        height: of the images, in those pixels; one number, or one an image.

    Raises:
        DataError: the two differ in shape, or are not (images, 18, 2).
    """
    _check_keypoints(found_xy, reference_xy)
    heights = torch.as_tensor(height, dtype=torch.float64).expand(len(reference_xy))
    people = _has_joint(reference_xy)
    found = people & _has_joint(found_xy)
    errors = _errors(found_xy[found], reference_xy[found]) / heights[found]
    exchanged = _errors(found_xy[found][:, flip_permutation()], reference_xy[found]) / heights[found]
    return KeypointAgreement(
        compared=int(people.sum()),
        not_found=_share(~found[people]),
        median_error=float(errors.median()) if len(errors) else float("nan"),
        off=_share(errors > OFF),
        swapped=_share(exchanged < errors),
    )


def head_sizes(xy: Float[Tensor, "images 18 2"]) -> Float[Tensor, "images"]:
    """The size of each head in pixels: from the neck, the middle of the shoulders, to the mean of the face's joints.

    Nose, eyes and ears count, those of them that are present. MPII measures heads by a box that was drawn around each;
    keypoints have no box, and this distance is nearest to its upright side.

    Returns:
        NaN where the neck is missing, or all of the face.
    """
    sizes: Tensor = (xy[:, FACE].nanmean(dim=1) - xy[:, NECK]).norm(dim=-1)
    return sizes


def pose_accuracy(
    found_xy: Float[Tensor, "images 18 2"], target_xy: Float[Tensor, "images 18 2"], height: float
) -> PoseAccuracy:
    """Compares the poses a detector finds in images with the poses that the images should show.

    Joints that the target pose lacks count nowhere. Images whose target pose has no joint are left out.

    Args:
        found_xy: pixels, x first, NaN = missing; a row of NaN alone where nobody was found.
        target_xy: in the same pixels.
        height: of the images, in those pixels.

    Raises:
        DataError: the two differ in shape, or are not (images, 18, 2).
    """
    _check_keypoints(found_xy, target_xy)
    people = _has_joint(target_xy)
    found, target = found_xy[people].double(), target_xy[people].double()
    wanted = ~target.isnan().any(dim=-1)
    distances = (found - target).norm(dim=-1)  # NaN where either lacks the joint
    shared = wanted & ~distances.isnan()
    sizes = head_sizes(target)
    with_head = sizes.isfinite()
    near = distances[with_head] <= HEAD_SHARE * sizes[with_head, None]
    return PoseAccuracy(
        images=len(target),
        pckh=_share(near[wanted[with_head]]) if bool(with_head.any()) else None,
        images_with_head=int(with_head.sum()),
        mean_error=float(distances[shared].mean() / height) if bool(shared.any()) else None,
        joints_missing=_share(~shared[wanted]),
        not_found=_share(~_has_joint(found)),
    )


def _check_keypoints(found_xy: Tensor, reference_xy: Tensor) -> None:
    if found_xy.shape != reference_xy.shape or reference_xy.shape[1:] != (len(JOINTS), 2):
        raise DataError(
            f"keypoints to compare must be (images, {len(JOINTS)}, 2) alike, got found {tuple(found_xy.shape)} and "
            f"reference {tuple(reference_xy.shape)}"
        )


def _has_joint(xy: Tensor) -> Tensor:
    return (~xy.isnan().any(dim=-1)).any(dim=-1)


def _errors(found: Tensor, reference: Tensor) -> Tensor:
    """Mean distance in pixels over the joints both have, float64 (images,); infinite where there is none."""
    distances = (found.double() - reference.double()).norm(dim=-1)
    errors: Tensor = distances.nanmean(dim=-1).nan_to_num(nan=torch.inf)
    return errors


def _share(chosen: Tensor) -> float:
    return float(chosen.double().mean()) if len(chosen) else 0.0
