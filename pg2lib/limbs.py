"""Change poses: give a target pose the proportions of a person, and move from one pose to another.

Both work on a tree of bones with the neck as its root, so that limbs keep their angles when their lengths change and
keep their lengths when their angles change.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pg2lib.errors import DataError
from pg2lib.pose import JOINTS, Pose

ROOT = JOINTS.index("neck")
HIPS = (JOINTS.index("right hip"), JOINTS.index("left hip"))

PARENTS = {
    0: 1, 2: 1, 3: 2, 4: 3, 5: 1, 6: 5, 7: 6, 8: 1, 9: 8, 10: 9, 11: 1, 12: 11, 13: 12, 14: 0, 15: 0, 16: 14, 17: 15,
}  # fmt: skip
"""For every joint but the neck, the joint that it hangs on; parents come before their children in `ORDER`."""

ORDER = (0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)

TYPICAL = {
    "head": ((0,), 0.40),
    "hip": (HIPS, 0.18),
    "shoulder": ((2, 5), 0.31),
    "upper arm": ((3, 6), 0.57),
    "forearm": ((4, 7), 0.50),
    "thigh": ((9, 12), 0.82),
    "shank": ((10, 13), 0.76),
}
"""Groups of bones: the joints at their ends, and their typical length in lengths of the trunk.

The trunk goes from the neck to the middle of the hips, the head from the neck to the nose, the hip from the middle of
the hips. The lengths are medians over the 1,583 train images of DeepFashion In-shop in which all joints of a person who
faces the camera are annotated.
"""

SHORTEST = 0.8
"""What the shortest bones of people measure, in typical lengths. A bone that looks shorter points towards the camera or
away from it, so its true length is not known and this bound stands for it."""

RATIOS = (0.6, 1.6)
"""Bounds of the factor by which a bone is lengthened: a keypoint that a detector misplaced does no more than this."""


def retarget(target_pose: Pose, condition_pose: Pose, strength: float = 1.0) -> Pose:
    """Give a target pose the limb lengths of the person in the condition image.

    Every limb keeps its angle. Its length is multiplied by the ratio of the person's limb to the target's, both
    measured in lengths of the trunk, so the size of the target pose does not change. The longer of the left and right
    limb counts, because the shorter one may point towards the camera. The neck and the middle of the hips stay where
    they are.

    Args:
        target_pose: the pose to change. A joint that is missing stays missing.
        condition_pose: of the person. A limb that it does not show leaves the target's as it is.
        strength: 0 returns the target pose, 1 gives it the person's lengths; values between interpolate.

    Returns:
        A pose on the canvas of `target_pose`. Joints may leave the canvas.

    Raises:
        DataError: `strength` lies outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise DataError(f"strength must lie in [0, 1], got {strength}")
    target, person = bone_lengths(target_pose), bone_lengths(condition_pose)
    scale = dict.fromkeys(ORDER, 1.0)
    for name, (ends, _) in TYPICAL.items():
        if name in target and name in person:
            ratio = min(max(person[name] / target[name], RATIOS[0]), RATIOS[1])
            scale.update(dict.fromkeys(ends, 1 + strength * (ratio - 1)))
    scale.update(dict.fromkeys((14, 15, 16, 17), scale[0]))  # the face grows with the head
    xy = target_pose.xy
    middle = xy[list(HIPS)].mean(dim=0)
    moved = xy.clone()
    for joint in ORDER:
        parent = _ancestor(xy, joint)
        if joint in HIPS and "hip" in target:
            moved[joint] = middle + scale[joint] * (xy[joint] - middle)
        elif parent is not None:
            moved[joint] = moved[parent] + scale[joint] * (xy[joint] - xy[parent])
    return Pose(moved, target_pose.canvas)


def bone_lengths(pose: Pose) -> dict[str, float]:
    """Length of each group of bones (`TYPICAL`) in lengths of the trunk, at least that of the shortest people's bones.

    A group that the pose does not show is absent; without a trunk the dictionary is empty.
    """
    middle = pose.xy[list(HIPS)].mean(dim=0)
    trunk = float(torch.linalg.vector_norm(pose.xy[ROOT] - middle))
    if math.isnan(trunk) or trunk == 0:
        return {}
    lengths = {}
    for name, (ends, typical) in TYPICAL.items():
        bones = torch.stack([pose.xy[end] - (middle if end in HIPS else pose.xy[PARENTS[end]]) for end in ends])
        seen = torch.linalg.vector_norm(bones, dim=1) / trunk
        seen = seen[~seen.isnan()]
        if len(seen):
            lengths[name] = max(float(seen.max()), SHORTEST * typical)
    return lengths


def interpolate(first: Pose, last: Pose, frames: int) -> list[Pose]:
    """Move from one pose to another, both included.

    The neck moves along a straight line. Every bone turns by the shorter way while its length changes evenly, so limbs
    do not shrink on the way. A joint that only one of the poses has is present in the half of the frames next to it.

    Args:
        first: its canvas is the canvas of every frame.
        last: resized to that canvas.
        frames: at least 2.

    Raises:
        DataError: fewer than 2 frames.
    """
    if frames < 2:
        raise DataError(f"an animation from one pose to another needs at least 2 frames, got {frames}")
    last = last.resize(first.canvas)
    shares = [frame / (frames - 1) for frame in range(frames)]
    return [Pose(_between(first.xy, last.xy, share), first.canvas) for share in shares]


def _between(first: Tensor, last: Tensor, share: float) -> Tensor:
    """The keypoints of one frame; `share` is 0 at the first pose and 1 at the last."""
    nearer = first if share < 0.5 else last
    xy = torch.full_like(first, torch.nan)
    both = ~(first.isnan() | last.isnan()).any(dim=1)
    for joint in (ROOT, *ORDER):
        if bool(nearer[joint].isnan().any()):
            continue
        parent = None if joint == ROOT else _ancestor(xy, joint)
        if parent is not None and bool(both[joint]) and bool(both[parent]):
            xy[joint] = xy[parent] + _turned(first[joint] - first[parent], last[joint] - last[parent], share)
        elif parent is not None:
            xy[joint] = xy[parent] + nearer[joint] - nearer[parent]
        else:
            xy[joint] = torch.lerp(first[joint], last[joint], share) if bool(both[joint]) else nearer[joint]
    return xy


def _turned(first: Tensor, last: Tensor, share: float) -> Tensor:
    """A bone between two bones: its angle by the shorter way, its length evenly. One without length has no angle."""
    length = (1 - share) * math.hypot(*first.tolist()) + share * math.hypot(*last.tolist())
    with_angle = (first if bool(first.any()) else last, last if bool(last.any()) else first)
    start, end = (math.atan2(float(bone[1]), float(bone[0])) for bone in with_angle)
    turn = math.remainder(end - start, 2 * math.pi)
    angle = start + share * turn
    return first.new_tensor((length * math.cos(angle), length * math.sin(angle)))


def _ancestor(xy: Tensor, joint: int) -> int | None:
    """The nearest joint above `joint` in the tree that is present; None where there is none or `joint` is missing."""
    if bool(xy[joint].isnan().any()) and joint not in PARENTS:
        return None
    parent = PARENTS.get(joint)
    while parent is not None and bool(xy[parent].isnan().any()):
        parent = PARENTS.get(parent)
    return parent
