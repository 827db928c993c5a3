"""What no score of pairs depends on: the order and size of batches, flips of both images, exchanged sides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from torch import Tensor

from pg2lib import metrics
from pg2lib.metrics.pose import keypoint_agreement, pose_accuracy
from pg2lib.metrics.ssim import DIALECTS
from pg2lib.pose import flip_xy
from tests.strategies import batches, quick

Score = Callable[[Tensor, Tensor, Tensor], Tensor]

SCORES: dict[str, Score] = {
    **{f"SSIM {d}": lambda x, y, mask, d=d: metrics.ssim(x, y, d) for d in DIALECTS},
    **{f"mask-SSIM {d}": lambda x, y, mask, d=d: metrics.mask_ssim(x, y, mask, d) for d in DIALECTS},
    "L1": lambda x, y, mask: metrics.l1(x, y),
    "masked L1": metrics.masked_l1,
    "PSNR": lambda x, y, mask: metrics.psnr(x, y, 255),
    "sharpness": lambda x, y, mask: metrics.sharpness(x, y),
    "masked sharpness": metrics.masked_sharpness,
}


def noise(seed: int, channels: int, levels: int) -> Tensor:
    """Uint8 images of 53x57 pixels."""
    return torch.randint(
        levels, (4, channels, 53, 57), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


X, Y, MASK = noise(0, 3, 256), noise(1, 3, 256), noise(2, 1, 2)
X[1], Y[2] = Y[1], 200  # an equal pair, and a target of one colour
MASK[3] = 0  # nobody


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_that_of_its_pair(name: str) -> None:
    score, order = SCORES[name], [2, 0, 3, 1]
    alone = torch.cat([score(X[i : i + 1], Y[i : i + 1], MASK[i : i + 1]) for i in range(4)])
    together = score(X[order], Y[order], MASK[order])
    assert torch.allclose(together, alone[order], rtol=1e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    "move",
    [lambda image: image.flip(-1), lambda image: image.flip(-2), lambda image: image.mT],
    ids=["left to right", "upside down", "transposed"],
)
def test_flips_of_both_images_change_no_score(name: str, move: Callable[[Tensor], Tensor]) -> None:
    score = SCORES[name]
    moved = score(*(move(image) for image in (X, Y, MASK)))
    assert torch.allclose(moved, score(X, Y, MASK), rtol=1e-5, atol=1e-6, equal_nan=True)


CANVAS = (64, 48)


def figures(of: object) -> list[float]:
    return [math.nan if value is None else float(value) for value in asdict(of).values()]


@quick
@given(batches(CANVAS), batches(CANVAS))
def test_pose_scores_are_those_of_the_flipped_poses_in_any_order(found: Tensor, target: Tensor) -> None:
    count = min(len(found), len(target))
    poses = (found[:count], target[:count])
    for score in (pose_accuracy, keypoint_agreement):
        expected = pytest.approx(figures(score(*poses, 64)), rel=1e-5, abs=1e-5, nan_ok=True)
        assert figures(score(*(flip_xy(xy, CANVAS[1]) for xy in poses), 64)) == expected
        assert figures(score(*(xy.flip(0) for xy in poses), 64)) == expected
