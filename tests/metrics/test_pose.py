"""Agreement of poses: the figures against those of a loop, and what exchanged sides and missing people do to them."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import Tensor

from pg2lib import DataError
from pg2lib.metrics.pose import keypoint_agreement
from pg2lib.pose import SWAPPED_BY_FLIP
from tests.conftest import STANDING

XY = torch.tensor(STANDING, dtype=torch.float32)


def crowd(count: int, seed: int = 0) -> Tensor:
    """People around the standing one, with some joints missing."""
    generator = torch.Generator().manual_seed(seed)
    xy = XY + 6 * torch.randn(count, 18, 2, generator=generator)
    xy[torch.rand(count, 18, generator=generator) < 0.3] = torch.nan
    return xy


def test_figures_are_those_of_a_loop() -> None:
    reference, found = crowd(60), crowd(60, seed=1)
    found[:7], reference[5:9] = torch.nan, torch.nan
    heights = torch.linspace(50, 200, 60)
    exchanged = list(range(18))
    for a, b in SWAPPED_BY_FLIP:
        exchanged[a], exchanged[b] = b, a
    errors, swapped, people, absent = [], 0, 0, 0

    def error(row: int, order: list[int]) -> float:
        pairs = [(found[row, order[joint]].tolist(), reference[row, joint].tolist()) for joint in range(18)]
        shared = [math.dist(a, b) for a, b in pairs if not math.isnan(a[0] + b[0])]
        return statistics.mean(shared) / float(heights[row])

    for row in range(60):
        if reference[row].isnan().all():
            continue
        people += 1
        if found[row].isnan().all():
            absent += 1
            continue
        errors.append(error(row, list(range(18))))
        swapped += error(row, exchanged) < errors[-1]
    agreement = keypoint_agreement(found, reference, heights)
    assert agreement.compared == people == 56
    assert agreement.not_found == pytest.approx(absent / people) and absent == 5
    assert agreement.median_error == pytest.approx(statistics.median_low(errors), rel=1e-6)
    assert agreement.off == pytest.approx(sum(e > 0.1 for e in errors) / len(errors))
    assert agreement.swapped == pytest.approx(swapped / len(errors))


def test_the_same_poses_agree() -> None:
    agreement = keypoint_agreement(crowd(20), crowd(20), 128)
    assert (agreement.not_found, agreement.median_error, agreement.off, agreement.swapped) == (0, 0, 0, 0)
    assert str(agreement).startswith("20 people: 0.0% not found, median error 0.0%")


def test_exchanged_sides_are_seen() -> None:
    exchanged = XY.clone()
    for a, b in SWAPPED_BY_FLIP:
        exchanged[[a, b]] = XY[[b, a]]
    poses = torch.stack([XY, exchanged, XY, exchanged])
    agreement = keypoint_agreement(poses, XY.expand(4, 18, 2), 128)
    assert agreement.swapped == 0.5


def test_a_detection_that_shares_no_joint_is_off_and_not_missing() -> None:
    found, reference = XY.clone(), XY.clone()
    found[9:], reference[:9] = torch.nan, torch.nan
    agreement = keypoint_agreement(torch.stack([found, XY, XY]), torch.stack([reference, XY, XY]), 128)
    assert (agreement.not_found, agreement.off, agreement.median_error) == (0, pytest.approx(1 / 3), 0)


def test_nobody_to_compare() -> None:
    nobody = torch.full((3, 18, 2), torch.nan)
    agreement = keypoint_agreement(crowd(3), nobody, 128)
    assert agreement.compared == 0 and math.isnan(agreement.median_error)
    agreement = keypoint_agreement(nobody, crowd(3), 128)
    assert (agreement.not_found, agreement.off) == (1, 0) and math.isnan(agreement.median_error)
    assert str(keypoint_agreement(nobody[:0], nobody[:0], 128)).startswith("0 people")


@pytest.mark.parametrize("shapes", [((3, 18, 2), (4, 18, 2)), ((3, 17, 2), (3, 17, 2)), ((18, 2), (18, 2))])
def test_other_shapes_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(DataError, match=r"\(images, 18, 2\)"):
        keypoint_agreement(torch.zeros(shapes[0]), torch.zeros(shapes[1]), 128)
