"""Agreement of detected poses with reference poses of the same images.

Against annotations, it measures the detector (`keypoint_agreement`). Against the target poses of generated images, it
measures the generator (`pose_accuracy`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pg2lib.errors import DataError
from pg2lib.pose import JOINTS, flip_permutation

OFF = 0.1
"""A detection is off, that is, shows another pose, if its mean joint error exceeds this share of the image height."""

HEAD_SHARE = 0.5
"""A joint is correct if its error is at most this fraction of the head size: PCKh@0.5."""

NECK = JOINTS.index("neck")
FACE = [i for i, name in enumerate(JOINTS) if name == "nose" or name.endswith(("eye", "ear"))]


@dataclass(frozen=True)
class KeypointAgreement:
    """Agreement of detected poses with reference poses of the same images.

    The error of a detection is the mean distance between the joints that it shares with the reference, as a fraction of
    the image height. It is infinite if they share none.

    Attributes:
        compared: number of people, that is, of images whose reference has a joint.
        not_found: share of them, in [0, 1], for whom nothing was detected.
        median_error: median error of the detections; NaN without any.
        off: share of the detections, in [0, 1], with an error above `OFF`.
        swapped: share of the detections, in [0, 1], that fit better with left and right exchanged. Some do by chance,
            mostly in side views; if nearly all do, the detections or the references have left and right exchanged.
    """

    compared: int
    not_found: float
    median_error: float
    off: float
    swapped: float

    def __str__(self) -> str:
        return (
            f"{self.compared:,} people: {self.not_found:.1%} not found, median error {self.median_error:.1%} of the "
            f"height, {self.off:.1%} of detections off by more than {OFF:.0%}, {self.swapped:.1%} fit better with "
            "left and right exchanged"
        )


@dataclass(frozen=True)
class PoseScores:
    """How well images show the target poses, as a pose detector sees it.

    Compare these figures with those of the real images, whose error is the detector's own and thus the best attainable.
    PCKh follows Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR 2014,
    with the head size of `head_sizes`. Other papers on this task (Zhu et al. 2019, ``calPCKH_market.py``) use the sides
    of the box around neck and face, with x and y apart: their PCKh is not comparable with this one.

    Attributes:
        images: number of images whose target pose has a joint.
        pckh: share in [0, 1] of the target joints that were detected within half the head size; joints that were not
            detected count as wrong. None if no target pose has a head to measure.
        images_with_head: number of images that `pckh` covers. All other figures cover all images.
        mean_error: mean distance of the joints that both poses have, as a fraction of the image height; None without
            any.
        joints_missing: share of the target joints that were not detected, alone or with the whole person.
        not_found: share of the images in which nobody was detected.
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
    """Compare detected poses with reference poses of the same images.

    Images whose reference has no joint are left out.

    Args:
        found_xy: detected keypoints in pixels, x first, NaN = missing; all NaN if nobody was detected.
        reference_xy: reference keypoints in the same pixels.
        height: image height in pixels; one number, or one per image.

    Raises:
        DataError: The keypoints differ in shape, or are not (images, 18, 2).
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
    """Return the size of each head in pixels: the distance from the neck to the mean of nose, eyes and ears.

    Missing joints of the face are left out of the mean. MPII measures heads by an annotated box; keypoints have no box,
    and this distance is closest to its height.

    Returns:
        One size per image; NaN if the neck or the whole face is missing.
    """
    sizes: Tensor = (xy[:, FACE].nanmean(dim=1) - xy[:, NECK]).norm(dim=-1)
    return sizes


def pose_accuracy(
    found_xy: Float[Tensor, "images 18 2"], target_xy: Float[Tensor, "images 18 2"], height: float
) -> PoseScores:
    """Compare the poses detected in images with the poses that the images should show.

    Joints that the target pose lacks are ignored. Images whose target pose has no joint are left out.

    Args:
        found_xy: detected keypoints in pixels, x first, NaN = missing; all NaN if nobody was detected.
        target_xy: target keypoints in the same pixels.
        height: image height in pixels.

    Raises:
        DataError: The keypoints differ in shape, or are not (images, 18, 2).
    """
    _check_keypoints(found_xy, target_xy)
    people = _has_joint(target_xy)
    found, target = found_xy[people].double(), target_xy[people].double()
    wanted = ~target.isnan().any(dim=-1)
    distances = (found - target).norm(dim=-1)  # NaN if either lacks the joint
    shared = wanted & ~distances.isnan()
    sizes = head_sizes(target)
    with_head = sizes.isfinite()
    near = distances[with_head] <= HEAD_SHARE * sizes[with_head, None]
    return PoseScores(
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
            f"detected and reference keypoints must both have shape (images, {len(JOINTS)}, 2), got "
            f"{tuple(found_xy.shape)} and {tuple(reference_xy.shape)}"
        )


def _has_joint(xy: Tensor) -> Tensor:
    return (~xy.isnan().any(dim=-1)).any(dim=-1)


def _errors(found: Tensor, reference: Tensor) -> Tensor:
    """Mean distance in pixels over the joints that both have, float64 (images,); infinite without any."""
    distances = (found.double() - reference.double()).norm(dim=-1)
    errors: Tensor = distances.nanmean(dim=-1).nan_to_num(nan=torch.inf)
    return errors


def _share(chosen: Tensor) -> float:
    return float(chosen.double().mean()) if len(chosen) else 0.0
