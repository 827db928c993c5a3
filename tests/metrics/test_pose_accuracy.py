"""PCKh, mean error and missing rate against a loop, and what missing heads and people do to them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pg2lib import DataError
from pg2lib.metrics.pose import head_sizes, pose_accuracy
from tests.conftest import STANDING

XY = torch.tensor(STANDING, dtype=torch.float32)
NOSE, NECK, EYES_AND_EARS = 0, 1, [14, 15, 16, 17]


def crowd(count: int, seed: int, noise_px: float, missing: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    xy = XY + noise_px * torch.randn(count, 18, 2, generator=generator)
    xy[torch.rand(count, 18, generator=generator) < missing] = torch.nan
    return xy


def test_figures_are_those_of_a_loop() -> None:
    target, found = crowd(50, 0, 2, 0.3), crowd(50, 1, 5, 0.2)
    target[3:6], found[5:9] = torch.nan, torch.nan
    correct, wanted, errors, missing, joints, people, heads, absent = 0, 0, [], 0, 0, 0, 0, 0
    for t, f in zip(target.tolist(), found.tolist(), strict=True):
        present = [i for i in range(18) if not math.isnan(t[i][0])]
        if not present:
            continue
        people += 1
        absent += all(math.isnan(x) for x, _ in f)
        face = [t[i] for i in (NOSE, *EYES_AND_EARS) if i in present]
        head = None
        if face and NECK in present:
            head = math.dist(t[NECK], [sum(axis) / len(face) for axis in zip(*face, strict=True)])
            heads += 1
        for i in present:
            distance = math.dist(t[i], f[i])
            joints += 1
            missing += math.isnan(distance)
            if not math.isnan(distance):
                errors.append(distance)
            if head is not None:
                wanted += 1
                correct += distance <= head / 2
    accuracy = pose_accuracy(found, target, 128)
    assert (accuracy.images, accuracy.images_with_head) == (people, heads) == (47, heads)
    assert 0 < heads < people and 0.1 < correct / wanted < 0.9
    assert accuracy.pckh == pytest.approx(correct / wanted)
    assert accuracy.mean_error == pytest.approx(sum(errors) / len(errors) / 128, rel=1e-6)
    assert accuracy.joints_missing == pytest.approx(missing / joints)
    assert accuracy.not_found == pytest.approx(absent / people) and absent == 3


def test_the_head_reaches_from_neck_to_face() -> None:
    standing = XY[None]
    assert float(head_sizes(standing)) == pytest.approx(28 - (16 + 14 + 14 + 15 + 15) / 5)
    back = standing.clone()
    back[:, [NOSE, *EYES_AND_EARS[:2]]] = torch.nan
    assert float(head_sizes(back)) == pytest.approx(13)  # ears alone
    for joints in ([NECK], [NOSE, *EYES_AND_EARS]):
        headless = standing.clone()
        headless[:, joints] = torch.nan
        assert head_sizes(headless).isnan().all()


def test_half_a_head_away_is_right_and_a_little_more_is_wrong() -> None:
    target = XY[None].repeat(2, 1, 1)
    half = float(head_sizes(target)[0]) / 2
    found = target.clone()
    found[0, :, 0] += half - 0.01
    found[1, :, 0] += half + 0.01
    assert pose_accuracy(found, target, 128).pckh == 0.5


def test_perfect_and_empty_detections() -> None:
    target = crowd(10, 2, 2, 0.0)
    perfect = pose_accuracy(target, target, 128)
    assert (perfect.pckh, perfect.mean_error, perfect.joints_missing, perfect.not_found) == (1, 0, 0, 0)
    nobody = pose_accuracy(torch.full_like(target, torch.nan), target, 128)
    assert (nobody.pckh, nobody.mean_error, nobody.joints_missing, nobody.not_found) == (0, None, 1, 1)


def test_poses_without_a_head_are_in_all_figures_but_pckh() -> None:
    target = XY[None].repeat(3, 1, 1)
    target[:, NECK] = torch.nan
    accuracy = pose_accuracy(target + 3, target, 100)
    assert (accuracy.images, accuracy.images_with_head, accuracy.pckh) == (3, 0, None)
    assert accuracy.mean_error == pytest.approx(math.sqrt(18) / 100)
    nothing = pose_accuracy(target, torch.full_like(target, torch.nan), 100)
    assert (nothing.images, nothing.pckh, nothing.mean_error, nothing.not_found) == (0, None, None, 0)


def test_joints_beyond_the_target_pose_count_nowhere() -> None:
    target = XY[None].repeat(2, 1, 1)
    target[:, 2:8] = torch.nan
    accuracy = pose_accuracy(XY[None].repeat(2, 1, 1), target, 128)
    assert (accuracy.pckh, accuracy.joints_missing) == (1, 0)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(images, 18, 2\)"):
        pose_accuracy(torch.zeros(3, 17, 2), torch.zeros(3, 17, 2), 128)
