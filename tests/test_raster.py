"""Heatmaps and pose masks, compared with a plain version of the released routine: loops and scikit-image's closing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.morphology import dilation, erosion
from torch import Tensor
from torch.nn.functional import max_pool2d

from pg2lib import render_heatmaps, render_pose_masks
from pg2lib.data.keypoint_csv import read_keypoints
from pg2lib.pose import MASK_LIMBS, flip_permutation, flip_xy
from tests.strategies import batches, keypoints, quick

RADIUS_PX = 4


def stamp(image: np.ndarray, y: float, x: float, radius_px: int = RADIUS_PX) -> None:
    height, width = image.shape
    for i in range(-radius_px, radius_px + 1):
        for j in range(-radius_px, radius_px + 1):
            row, column = int(y) + i, int(x) + j
            if math.sqrt(i * i + j * j) <= radius_px and 0 <= row < height and 0 <= column < width:
                image[row, column] = 1


def reference_heatmaps(xy: list[list[float]], canvas: tuple[int, int], radius_px: int = RADIUS_PX) -> np.ndarray:
    maps = np.zeros((18, *canvas))
    for joint, (x, y) in enumerate(xy):
        if not math.isnan(x):
            stamp(maps[joint], y, x, radius_px)
    return maps


def reference_mask(xy: list[list[float]], canvas: tuple[int, int], radius_px: int = RADIUS_PX) -> np.ndarray:
    mask = np.zeros(canvas)
    for a, b in MASK_LIMBS:
        (x0, y0), (x1, y1) = xy[a], xy[b]
        if math.isnan(x0) or math.isnan(x1):
            continue
        stamp(mask, y0, x0, radius_px)
        stamp(mask, y1, x1, radius_px)
        parts = int(math.sqrt((x0 - x1) ** 2 + (y0 - y1) ** 2) / radius_px)
        for i in range(1, parts):
            stamp(mask, y0 + (y1 - y0) * i / parts, x0 + (x1 - x0) * i / parts, radius_px)
    square = np.ones((5, 5))
    return erosion(dilation(mask, square), square)


def assert_same_pixels(xy: torch.Tensor, canvas: tuple[int, int], radius_px: int = RADIUS_PX) -> None:
    heatmaps, masks = render_heatmaps(xy, canvas, radius_px), render_pose_masks(xy, canvas, radius_px)
    for i, pose in enumerate(xy.tolist()):
        assert np.array_equal(heatmaps[i].numpy(), reference_heatmaps(pose, canvas, radius_px))
        assert np.array_equal(masks[i, 0].numpy(), reference_mask(pose, canvas, radius_px))


def scattered_poses(canvas: tuple[int, int], seed: int) -> torch.Tensor:
    """Joints anywhere on the canvas and around it, some of them missing."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([canvas[1], canvas[0]])
    xy = torch.rand(6, 18, 2, generator=generator) * size * 1.4 - 0.2 * size
    xy[torch.rand(6, 18, generator=generator) < 0.3] = math.nan
    return xy


@pytest.mark.parametrize("canvas", [(128, 64), (256, 256), (40, 50), (23, 17)])
@pytest.mark.parametrize("whole", [True, False])
def test_same_pixels_as_the_released_routine_off_canvas_and_missing_joints_included(
    canvas: tuple[int, int], whole: bool
) -> None:
    xy = scattered_poses(canvas, seed=canvas[0] + whole)
    assert_same_pixels(xy.round() if whole else xy, canvas)


@pytest.mark.parametrize("radius_px", [1, 2, 3, 6])
def test_discs_of_other_radii(radius_px: int) -> None:
    assert_same_pixels(scattered_poses((64, 48), seed=radius_px), (64, 48), radius_px)


def test_no_pose_at_all_gives_no_picture() -> None:
    empty = torch.empty(0, 18, 2)
    assert render_heatmaps(empty, (128, 64)).shape == (0, 18, 128, 64)
    assert render_pose_masks(empty, (128, 64)).shape == (0, 1, 128, 64)


def test_joints_far_away_are_in_no_picture() -> None:
    xy = torch.full((1, 18, 2), math.nan)
    xy[0, 1:3] = torch.tensor([[1e30, 20.0], [1e30, 1e30]])
    assert render_heatmaps(xy, (64, 64)).sum() == 0
    assert render_pose_masks(xy, (64, 64), max_limb_px=100.0).sum() == 0


def test_same_pixels_on_real_annotations(market1501_root) -> None:
    table = read_keypoints(market1501_root / "market-annotation-train.csv", (128, 64))
    assert_same_pixels(table.xy[::650], (128, 64))


def test_a_disc_has_49_pixels() -> None:
    xy = torch.full((1, 18, 2), math.nan)
    xy[0, 7] = torch.tensor([20.9, 30.2])
    heatmaps = render_heatmaps(xy, (64, 64))
    assert heatmaps.sum() == 49
    assert heatmaps[0, 7, 30, 20] == 1 and heatmaps[0, 7, 30, 24] == 1 and heatmaps[0, 7, 30, 25] == 0


def test_a_disc_at_the_corner_is_clipped_and_one_outside_reaches_in() -> None:
    xy = torch.full((1, 18, 2), math.nan)
    xy[0, 0] = torch.tensor([0.0, 0.0])
    xy[0, 1] = torch.tensor([-3.0, 10.0])
    heatmaps = render_heatmaps(xy, (64, 64))
    inside = sum(i * i + j * j <= 16 for i in range(5) for j in range(5))
    assert heatmaps[0, 0].sum() == inside
    assert heatmaps[0, 1].sum() == sum(i * i + j * j <= 16 for i in range(-4, 5) for j in (3, 4))


def test_missing_joints_give_nothing_and_a_lone_joint_no_mask() -> None:
    xy = torch.full((2, 18, 2), math.nan)
    xy[1, 4] = torch.tensor([30.0, 30.0])
    assert render_heatmaps(xy, (64, 64))[0].sum() == 0
    assert render_pose_masks(xy, (64, 64)).sum() == 0


def test_values_are_zero_and_one_and_batch_members_do_not_touch(standing) -> None:
    empty = torch.full((18, 2), math.nan)
    batch = torch.stack((standing.xy, empty, standing.xy))
    heatmaps, masks = render_heatmaps(batch, (128, 64)), render_pose_masks(batch, (128, 64))
    assert set(heatmaps.unique().tolist()) == set(masks.unique().tolist()) == {0.0, 1.0}
    assert heatmaps[1].sum() == masks[1].sum() == 0
    assert torch.equal(masks[0], masks[2])


def test_a_bound_on_the_limbs_changes_nothing(standing) -> None:
    free = render_pose_masks(standing.xy[None], (128, 64))
    assert torch.equal(render_pose_masks(standing.xy[None], (128, 64), max_limb_px=90.0), free)


SMALL = (23, 17)
"""A canvas with odd sides, so small that most limbs cross its border."""


@quick
@given(batches(SMALL, whole=True))
def test_flipping_whole_keypoints_flips_the_heatmaps(xy: Tensor) -> None:
    flipped = render_heatmaps(flip_xy(xy, SMALL[1]), SMALL)
    assert torch.equal(flipped, render_heatmaps(xy, SMALL).flip(-1)[:, flip_permutation()])


@quick
@given(batches(SMALL, whole=True))
def test_flipping_keypoints_flips_the_pose_mask_to_within_three_pixels(xy: Tensor) -> None:
    """Not exactly: centres along a limb are truncated, in one mask to the left and in the other to the right. Closing
    fills gaps of four pixels, so a gap that is one pixel wider may stay open."""
    flipped, mask = render_pose_masks(flip_xy(xy, SMALL[1]), SMALL), render_pose_masks(xy, SMALL).flip(-1)
    for one, other in ((flipped, mask), (mask, flipped)):
        assert (one <= max_pool2d(other, 7, stride=1, padding=3)).all()


@quick
@given(keypoints((60, 50), whole=True), st.integers(0, 37), st.integers(0, 33))
def test_a_canvas_is_a_window_on_the_heatmaps_of_a_larger_one(xy: Tensor, top: int, left: int) -> None:
    """Discs are cut off at the border, and nothing else changes there."""
    window = render_heatmaps(xy[None] - torch.tensor([left, top]), SMALL)
    whole = render_heatmaps(xy[None], (60, 50))
    assert torch.equal(window, whole[..., top : top + SMALL[0], left : left + SMALL[1]])


@quick
@given(batches(SMALL), st.lists(st.integers(0, 17), max_size=18))
def test_a_further_joint_only_adds_pixels(xy: Tensor, hidden: list[int]) -> None:
    fewer = xy.clone()
    fewer[:, hidden] = math.nan
    for render in (render_heatmaps, render_pose_masks):
        assert (render(fewer, SMALL) <= render(xy, SMALL)).all()


@quick
@given(batches(SMALL), st.randoms(use_true_random=False))
def test_a_batch_is_its_poses_in_any_order(xy: Tensor, random) -> None:
    order = random.sample(range(len(xy)), len(xy))
    for render in (render_heatmaps, render_pose_masks):
        alone = torch.cat([render(pose[None], SMALL) for pose in xy])
        assert torch.equal(render(xy[order], SMALL), alone[order])
