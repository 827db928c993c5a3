"""Coordinates anywhere, even infinite or not a number: what is made of them is limited by the size of the canvas."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from pg2lib import Pose, render_heatmaps, render_pose_masks, viz, warp_parts
from pg2lib.cutout import crop_on_backdrop, matte_of_one
from pg2lib.data.people import PersonTable
from pg2lib.data.photos import FRAMING
from pg2lib.data.store import ImageStore
from pg2lib.errors import PG2Error
from pg2lib.video import frame_poses
from tests.conftest import STANDING
from tests.test_raster import reference_mask

CANVAS = (64, 48)
BODY = torch.tensor(STANDING, dtype=torch.float32) * 0.5

NUMBERS = st.one_of(
    st.floats(-1e30, 1e30),
    st.sampled_from((1e4, -1e4, 1e6, 1e9, 1e30, -1e30, 3e38, -3e38, 0.0, math.inf, -math.inf, math.nan)),
    st.floats(-100, 200),
)
ODD_JOINTS = st.lists(st.tuples(st.integers(0, 17), NUMBERS, NUMBERS), min_size=1, max_size=18)

few = settings(max_examples=20, derandomize=True, deadline=None)


def with_joints(joints: list[tuple[int, float, float]]) -> torch.Tensor:
    xy = BODY.clone()
    for joint, x, y in joints:
        xy[joint] = torch.tensor((x, y))
    return xy


@contextmanager
def little_memory(most: int) -> Iterator[None]:
    """Fail if torch makes a tensor of more bytes."""

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            for each in made if isinstance(made, tuple | list) else [made]:
                if isinstance(each, torch.Tensor):
                    assert each.untyped_storage().nbytes() <= most, f"{function} made {tuple(each.shape)}"
            return made

    with Sizes():
        yield


@few
@given(ODD_JOINTS)
def test_heatmaps_and_pose_masks_are_limited_by_the_canvas(joints: list[tuple[int, float, float]]) -> None:
    xy = torch.stack((with_joints(joints), BODY))
    with little_memory(500_000):
        heatmaps, masks = render_heatmaps(xy, CANVAS), render_pose_masks(xy, CANVAS)
        bounded = render_pose_masks(xy, CANVAS, max_limb_px=1e30)
    assert set(heatmaps.unique().tolist()) | set(masks.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(masks, bounded)
    assert torch.equal(masks[1], render_pose_masks(BODY[None], CANVAS)[0]), "one pose does not touch another"
    missing = ~xy[0].isfinite().all(dim=-1)
    assert heatmaps[0, missing].sum() == 0


@settings(max_examples=6, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 17), st.floats(-1500, 1500), st.floats(-1500, 1500)), min_size=1, max_size=3))
def test_limbs_that_lead_far_away_have_the_pixels_of_the_released_routine(
    joints: list[tuple[int, float, float]],
) -> None:
    xy = with_joints(joints)
    assert np.array_equal(render_pose_masks(xy[None], CANVAS)[0, 0].numpy(), reference_mask(xy.tolist(), CANVAS))


@few
@given(ODD_JOINTS, st.booleans())
def test_the_part_warp_is_limited_by_the_canvas(joints: list[tuple[int, float, float]], condition: bool) -> None:
    odd, image, matte = with_joints(joints)[None], torch.rand(1, 3, *CANVAS), torch.rand(1, 1, *CANVAS)
    first, second = (odd, BODY[None]) if condition else (BODY[None], odd)
    with little_memory(2_000_000):
        warped, coverage = warp_parts(image, first, second, matte)
    assert warped.isfinite().all() and coverage.isfinite().all()
    assert coverage.min() >= 0 and coverage.max() <= 1


@few
@given(ODD_JOINTS)
def test_poses_are_framed_cropped_cut_out_and_drawn_or_refused(joints: list[tuple[int, float, float]]) -> None:
    photo = Image.new("RGB", (CANVAS[1], CANVAS[0]), (10, 20, 30))
    tracemalloc.start()
    with little_memory(4_000_000):
        try:
            pose = Pose(with_joints(joints), CANVAS)
            for crop in (FRAMING.crop(pose, (128, 64)), FRAMING.crop_to_seen(pose, (128, 64))):
                assert crop_on_backdrop(crop, photo).size == (64, 128)
                pose.crop(crop).inside()
            assert pose.draw().size == pose.draw(photo).size == photo.size
            plain = Pose(BODY, CANVAS)
            for one, other in ((pose, plain), (plain, pose)):
                matte = matte_of_one(torch.ones(1, *CANVAS), one, [other])
                assert matte.isfinite().all()
            assert len(frame_poses([plain, pose, plain], FRAMING, (128, 64))) == 3
        except PG2Error:
            pass  # an infinite coordinate, or half a joint
    assert tracemalloc.get_traced_memory()[1] < 200_000_000
    tracemalloc.stop()


def test_a_far_person_takes_nothing_from_a_matte() -> None:
    """Their distances are so large that they would not be numbers."""
    plain = Pose(BODY, CANVAS)
    assert matte_of_one(torch.ones(1, *CANVAS), plain, [Pose(BODY + 1e30, CANVAS)]).min() == 1


def test_one_far_coordinate_in_a_table_does_not_fill_the_memory() -> None:
    xy = BODY[None].repeat(8, 1, 1)
    xy[3, 4, 0] = 1e6
    xy[5, 7] = 1e30
    table = PersonTable(tuple(f"{i}.png" for i in range(8)), ("a",) * 8, xy, CANVAS)
    store = ImageStore(table, torch.zeros(8, *CANVAS, 3, dtype=torch.uint8))
    images, rows = store.read(torch.arange(8)), torch.arange(8)
    with little_memory(2_000_000):
        batch = store.assemble(rows, rows, None, images, images)
    assert torch.equal(batch.target_mask[0], render_pose_masks(BODY[None], CANVAS)[0])


@few
@given(ODD_JOINTS)
def test_figures_show_any_coordinates(joints: list[tuple[int, float, float]]) -> None:
    try:
        pose = Pose(with_joints(joints), CANVAS)
    except PG2Error:
        return
    photo = Image.new("RGB", (CANVAS[1], CANVAS[0]))
    assert viz.show_heatmaps(photo, pose).picture.width < 4000
    assert viz.show_pose_masks(torch.zeros(1, 3, *CANVAS, dtype=torch.uint8), pose.xy[None]).picture.width < 4000
