"""Poses that take a person's proportions, and poses between two poses."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pg2lib.errors import DataError
from pg2lib.limbs import HIPS, ORDER, PARENTS, ROOT, TYPICAL, bone_lengths, interpolate, retarget
from pg2lib.pose import JOINTS, Pose, pose_presets
from tests.strategies import keypoints, quick

PRESETS = pose_presets()
FRONT, WAVING = PRESETS["standing, front"], PRESETS["waving"]


def bone(pose: Pose, end: int) -> torch.Tensor:
    return pose.xy[end] - pose.xy[PARENTS[end]]


def person(**factors: float) -> Pose:
    """The preset that stands, groups of its bones longer by a factor."""
    xy = FRONT.xy.clone()
    scale = {end: factors.get(name.replace(" ", "_"), 1.0) for name, (ends, _) in TYPICAL.items() for end in ends}
    for joint in ORDER:
        xy[joint] = xy[PARENTS[joint]] + scale.get(joint, 1.0) * (FRONT.xy[joint] - FRONT.xy[PARENTS[joint]])
    return Pose(xy, FRONT.canvas)


@pytest.mark.parametrize("name", PRESETS)
def test_a_pose_keeps_its_own_proportions(name: str) -> None:
    torch.testing.assert_close(
        retarget(PRESETS[name], PRESETS[name]).xy, PRESETS[name].xy, equal_nan=True, rtol=0, atol=1e-4
    )


def test_limbs_take_the_persons_lengths_and_keep_their_angles() -> None:
    changed = retarget(WAVING, person(forearm=1.2, shank=1.25, shoulder=0.9))
    for end in ORDER:
        if end in (4, 7):
            factor = 1.2
        elif end in (10, 13):
            factor = 1.25
        elif end in (2, 5):
            factor = 0.9
        else:
            factor = 1.0
        torch.testing.assert_close(bone(changed, end), factor * bone(WAVING, end), rtol=0.02, atol=0.05)


def test_neck_and_hips_stay_where_they_are() -> None:
    changed = retarget(WAVING, person(shank=1.3))
    torch.testing.assert_close(changed.xy[ROOT], WAVING.xy[ROOT])
    torch.testing.assert_close(changed.xy[list(HIPS)].mean(0), WAVING.xy[list(HIPS)].mean(0))


def test_strength_goes_from_none_to_all_of_it() -> None:
    tall = person(shank=1.3)
    none, half, whole = (retarget(WAVING, tall, strength) for strength in (0.0, 0.5, 1.0))
    torch.testing.assert_close(none.xy, WAVING.xy, equal_nan=True)
    torch.testing.assert_close(half.xy, (none.xy + whole.xy) / 2, equal_nan=True)
    with pytest.raises(DataError, match="strength"):
        retarget(WAVING, tall, 1.1)


def test_size_and_place_of_the_person_in_the_photo_do_not_matter() -> None:
    slim = person(shoulder=0.85)
    far = Pose(slim.xy * 0.3 + 40, (400, 300))
    torch.testing.assert_close(retarget(WAVING, far).xy, retarget(WAVING, slim).xy, equal_nan=True, rtol=0, atol=1e-3)


def test_a_forearm_towards_the_camera_does_not_shorten_the_target() -> None:
    foreshortened = person().xy.clone()
    for wrist, elbow in ((4, 3), (7, 6)):
        foreshortened[wrist] = foreshortened[elbow] + 1.0
    seen = bone_lengths(Pose(foreshortened, FRONT.canvas))
    assert seen["forearm"] == pytest.approx(0.8 * TYPICAL["forearm"][1])


def test_what_the_photo_does_not_show_stays_as_it_is() -> None:
    upper = person(shank=1.3).xy.clone()
    upper[[10, 13]] = math.nan
    changed = retarget(FRONT, Pose(upper, FRONT.canvas))
    torch.testing.assert_close(changed.xy, FRONT.xy, equal_nan=True, rtol=0, atol=1e-3)
    upper[list(HIPS)] = math.nan  # no trunk to measure with
    assert bone_lengths(Pose(upper, FRONT.canvas)) == {}
    changed = retarget(WAVING, Pose(upper, FRONT.canvas))
    torch.testing.assert_close(changed.xy, WAVING.xy, equal_nan=True, rtol=0, atol=1e-3)


def test_a_missing_joint_stays_missing_and_its_children_move_along() -> None:
    xy = WAVING.xy.clone()
    xy[JOINTS.index("right elbow")] = math.nan
    changed = retarget(Pose(xy, WAVING.canvas), person(shoulder=1.2))
    assert torch.equal(changed.visible, Pose(xy, WAVING.canvas).visible)
    assert (changed.xy[2] - xy[2]).norm() > 1
    shoulder_to_wrist = xy[4] - xy[2]
    torch.testing.assert_close(changed.xy[4] - changed.xy[2], shoulder_to_wrist, rtol=0.1, atol=0.5)


def test_an_animation_begins_and_ends_with_its_poses() -> None:
    frames = interpolate(FRONT, WAVING, 5)
    assert len(frames) == 5
    for frame, pose in ((frames[0], FRONT), (frames[-1], WAVING)):
        torch.testing.assert_close(frame.xy, pose.xy, equal_nan=True, rtol=0, atol=1e-4)
    with pytest.raises(DataError, match="2 frames"):
        interpolate(FRONT, WAVING, 1)


def test_limbs_do_not_shrink_on_the_way() -> None:
    """A straight line between the two places of a wrist would pass close to the elbow."""
    middle = interpolate(FRONT, WAVING, 3)[1]
    for end in (3, 4, 9, 10):
        lengths = [float(bone(pose, end).norm()) for pose in (FRONT, middle, WAVING)]
        assert lengths[1] == pytest.approx((lengths[0] + lengths[2]) / 2, rel=1e-4)


def test_bones_turn_by_the_shorter_way() -> None:
    xy = FRONT.xy.clone()
    ends = []
    for degrees in (170.0, -170.0):
        xy[4] = xy[3] + 10 * torch.tensor((math.cos(math.radians(degrees)), math.sin(math.radians(degrees))))
        ends.append(Pose(xy, FRONT.canvas))
    forearm = bone(interpolate(*ends, 3)[1], 4)
    torch.testing.assert_close(forearm, torch.tensor((-10.0, 0.0)), rtol=0, atol=1e-4)


def test_a_joint_of_one_pose_alone_is_there_in_its_half() -> None:
    xy = WAVING.xy.clone()
    xy[4] = math.nan
    frames = interpolate(FRONT, Pose(xy, WAVING.canvas), 4)
    assert [bool(frame.visible[4]) for frame in frames] == [True, True, False, False]


def test_the_frames_live_on_the_first_canvas() -> None:
    frames = interpolate(FRONT, WAVING.resize((256, 128)), 2)
    assert {frame.canvas for frame in frames} == {FRONT.canvas}
    torch.testing.assert_close(frames[1].xy, WAVING.xy, equal_nan=True, rtol=0, atol=1e-3)


def test_no_limb_grows_by_more_than_a_bound() -> None:
    """A keypoint that a detector misplaced does no more than 1.6."""
    changed = retarget(WAVING, person(shank=5.0))
    for end in (10, 13):
        torch.testing.assert_close(bone(changed, end), 1.6 * bone(WAVING, end), rtol=1e-3, atol=1e-3)


def test_the_face_grows_with_the_head() -> None:
    changed = retarget(WAVING, person(head=1.3))
    factor = bone(changed, 0).norm() / bone(WAVING, 0).norm()
    assert factor > 1.2
    for end in (14, 15, 16, 17):
        torch.testing.assert_close(bone(changed, end), factor * bone(WAVING, end), rtol=1e-3, atol=1e-3, equal_nan=True)


def test_hips_widen_about_their_middle_and_take_the_legs_along() -> None:
    wide = FRONT.xy.clone()
    middle = wide[list(HIPS)].mean(dim=0)
    for hip, *leg in ((8, 9, 10), (11, 12, 13)):
        wide[[hip, *leg]] += 0.4 * (FRONT.xy[hip] - middle)
    changed = retarget(FRONT, Pose(wide, FRONT.canvas))
    before, after = (float(pose.xy[11, 0] - pose.xy[8, 0]) for pose in (FRONT, changed))
    assert after == pytest.approx(1.4 * before, rel=0.01)
    torch.testing.assert_close(changed.xy[list(HIPS)].mean(0), middle)
    for end in (9, 10, 12, 13):
        torch.testing.assert_close(bone(changed, end), bone(FRONT, end), rtol=0.01, atol=0.02)


CANVAS = (128, 64)
POSES = keypoints(CANVAS).map(lambda xy: Pose((xy * 16).round() / 16, CANVAS))
"""In sixteenths of a pixel, which a flip keeps exactly: rounding would turn bones of next to no length."""


def chain(end: int) -> list[int]:
    """The joints above one in the tree, the nearest first."""
    return [PARENTS[end], *chain(PARENTS[end])] if end in PARENTS else []


BONES = [(end, above) for end in ORDER for above in chain(end)]
"""A joint hangs on the nearest joint above it that is there."""


def angle(pose: Pose, end: int, above: int) -> float:
    x, y = (pose.xy[end] - pose.xy[above]).tolist()
    return math.atan2(y, x)


def assert_same_pose(got: Pose, expected: Pose) -> None:
    torch.testing.assert_close(got.xy, expected.xy, equal_nan=True, rtol=1e-4, atol=2e-3)
    assert got.canvas == expected.canvas


@quick
@given(POSES, POSES)
def test_retargeting_keeps_the_angle_of_every_limb_and_the_ratio_of_its_length_within_bounds(
    target: Pose, person: Pose
) -> None:
    changed = retarget(target, person)
    assert torch.equal(changed.visible, target.visible)
    for end, parent in PARENTS.items():
        if parent == ROOT and end in HIPS:
            continue  # hips move away from their middle, not from the neck
        before, after = bone(target, end), bone(changed, end)
        if bool(before.isnan().any()) or float(before.norm()) < 1e-3:
            continue
        ratio = float(after.norm() / before.norm())
        assert 0.6 - 1e-3 <= ratio <= 1.6 + 1e-3
        torch.testing.assert_close(after, ratio * before, rtol=1e-3, atol=5e-3)


@quick
@given(POSES, POSES)
def test_retargeting_commutes_with_flips(target: Pose, person: Pose) -> None:
    assert_same_pose(retarget(target.flip(), person.flip()), retarget(target, person).flip())


@quick
@given(POSES, POSES, st.sampled_from([2, 4, 6]))
def test_animations_reach_their_ends_and_run_backwards_and_mirrored(first: Pose, last: Pose, frames: int) -> None:
    """With an even number of frames, none lies half-way, where a joint of one pose alone would have to be there or not.

    A bone that turns half round has two shorter ways.
    """
    half_turns = [
        abs(math.pi - abs(math.remainder(angle(last, *bone) - angle(first, *bone), 2 * math.pi))) < 1e-3
        for bone in BONES
    ]
    there = interpolate(first, last, frames)
    assert_same_pose(there[0], first)
    assert_same_pose(there[-1], last)
    if any(half_turns) or not (first.visible & last.visible)[ROOT]:
        return
    for backwards, mirrored, frame in zip(
        interpolate(last, first, frames)[::-1], interpolate(first.flip(), last.flip(), frames), there, strict=True
    ):
        assert_same_pose(backwards, frame)
        assert_same_pose(mirrored, frame.flip())


def test_a_bone_without_length_takes_the_angle_of_the_other_pose() -> None:
    xy = FRONT.xy.clone()
    xy[4] = xy[3]
    middle = interpolate(Pose(xy, FRONT.canvas), FRONT, 3)[1]
    torch.testing.assert_close(bone(middle, 4), bone(FRONT, 4) / 2, rtol=0, atol=1e-3)
