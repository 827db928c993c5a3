"""How people stand in training images, and the crop that frames a photo in the same way."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pg2lib import DataError, Pose, pose_presets
from pg2lib.framing import LEAST_PART, MIDLINE, Framing, part_of
from pg2lib.images import Crop
from tests.conftest import STANDING
from tests.strategies import keypoints, quick

CANVAS = (128, 64)
LEGS = [9, 10, 12, 13]


def people(shift: float = 0.0, hidden: tuple[int, ...] | list[int] = ()) -> Tensor:
    """Keypoints of two people, a little apart, on images of CANVAS."""
    xy = torch.tensor(STANDING, dtype=torch.float32)
    both = torch.stack((xy, xy + 2)) + torch.tensor([shift, 0.0])
    both[:, list(hidden)] = math.nan
    return both


@pytest.mark.parametrize("shift", [-14.0, 0.0, 9.0])
def test_a_photo_is_cropped_so_that_the_person_stands_off_the_middle_as_in_the_data(shift: float) -> None:
    """The person is thrice as large in the photo, and on the other side of it."""
    framing = Framing.of(people(shift), CANVAS)
    assert framing.x == pytest.approx((32 + 1 + shift + 0.5) / 64)
    photo = Pose(
        torch.tensor(STANDING, dtype=torch.float32) * 3 + torch.tensor([700.0 - 20 * shift, 90.0]), (600, 1800)
    )
    placed = photo.crop(framing.crop(photo, CANVAS))
    for name, joints in MIDLINE.items():
        x, y = (placed.xy[list(joints)].mean(dim=0) + 0.5).tolist()
        assert x / 64 == pytest.approx(framing.x, abs=0.03), name
        assert y / 128 == pytest.approx(framing.y[name], abs=0.03), name


def test_points_that_nobody_shows_are_left_out_and_the_others_stay_where_they_are() -> None:
    whole, cut = Framing.of(people(), CANVAS), Framing.of(people(hidden=LEGS), CANVAS)
    assert list(cut.y) == ["nose", "neck", "hips"]
    assert cut.y == {name: pytest.approx(whole.y[name]) for name in cut.y}


def test_a_point_between_two_joints_needs_both() -> None:
    """One hip alone lies beside the middle of the body."""
    framing = Framing.of(people(hidden=[8]), CANVAS)
    assert list(framing.y) == ["nose", "neck", "knees", "ankles"]
    assert framing.x == pytest.approx((32 + 1 + 0.5) / 64)


def test_one_row_that_shows_a_point_is_enough() -> None:
    xy = people()
    xy[1, LEGS] = math.nan
    assert Framing.of(xy, CANVAS).y["ankles"] == pytest.approx((STANDING[10][1] + 0.5) / 128)


@pytest.mark.parametrize("known", [["hips"], ["nose", "neck"], ["nose", "neck", "hips"], ["neck", "ankles"]])
def test_the_crop_works_with_the_points_there_are(known: list[str], standing: Pose) -> None:
    """A point that the framing does not know is not used: moving it changes nothing."""
    whole = Framing.of(people(), CANVAS)
    framing = Framing(whole.x, {name: whole.y[name] for name in known})
    photo = Pose(standing.xy * 2 + 40, (400, 300))
    crop = framing.crop(photo, CANVAS)
    assert torch.equal(photo.crop(crop).inside().visible, photo.visible)
    if "neck" not in known:
        moved = photo.xy.clone()
        moved[1] += torch.tensor([6.0, 10.0])
        assert framing.crop(Pose(moved, (400, 300)), CANVAS) == crop


def test_people_of_whom_nothing_is_seen_are_refused() -> None:
    with pytest.raises(DataError, match="none of 2 rows"):
        Framing.of(people(hidden=range(18)), CANVAS)
    infinite = people()
    infinite[1, 4, 0] = math.inf
    with pytest.raises(DataError, match="row 1 has an infinite"):
        Framing.of(infinite, CANVAS)


def test_what_is_read_back_is_what_was_written() -> None:
    for framing in (Framing.of(people(), CANVAS), Framing.of(people(hidden=LEGS), CANVAS)):
        assert Framing.from_dict(asdict(framing)) == framing
    assert Framing.from_dict({"x": 1, "y": {"neck": 0}}) == Framing(1.0, {"neck": 0.0})


@pytest.mark.parametrize(
    "values",
    [
        None, [], {}, {"x": 0.5}, {"x": 0.5, "y": {}}, {"x": 0.5, "y": [0.1]}, {"x": None, "y": {"neck": 0.2}},
        {"x": math.nan, "y": {"neck": 0.2}}, {"x": 0.5, "y": {"neck": math.inf}}, {"x": 0.5, "y": {"neck": "0.2"}},
        {"x": 0.5, "y": {"elbows": 0.2}}, {"x": 0.5, "y": {"neck": True}}, {"x": 0.5, "y": {"neck": 0.2}, "z": 1},
    ],
)  # fmt: skip
def test_what_is_no_framing_is_refused(values: object) -> None:
    with pytest.raises(DataError, match="framing: expected a number x"):
        Framing.from_dict(values)


def test_the_crop_has_room_for_the_head_and_the_shoes(standing: Pose) -> None:
    """Even where the framing itself, of people without margins, would cut them off."""
    tight = Framing(0.5, {"nose": 0.02, "neck": 0.15, "hips": 0.5, "knees": 0.75, "ankles": 0.99})
    photo = Pose(standing.xy * 3 + torch.tensor([400.0, 200.0]), (1200, 1000))
    crop = tight.crop(photo, CANVAS)
    torso = float((photo.xy[[2, 5]].mean(0) - photo.xy[[8, 11]].mean(0)).norm())
    highest, lowest = float(photo.xy[[14, 15, 16, 17], 1].min()), float(photo.xy[[10, 13], 1].max())
    assert crop.top <= highest - 0.34 * torso
    assert crop.bottom >= lowest + 0.19 * torso
    assert crop.bottom - crop.top < 1.5 * (lowest - highest)


@pytest.mark.parametrize(
    "missing", [[], [9, 10, 12, 13], [8, 9, 10, 11, 12, 13], [0, 14, 15, 16, 17], list(range(2, 18))]
)
def test_framing_keeps_every_joint_inside_and_the_aspect(standing: Pose, missing: list[int]) -> None:
    xy = standing.xy * 2.5 + torch.tensor([100.0, 40.0])
    xy[missing] = math.nan
    pose = Pose(xy, (480, 640))
    crop = Framing.of(people(), CANVAS).crop(pose, (128, 64))
    assert crop.scale[0] == pytest.approx(crop.scale[1])
    assert torch.equal(pose.crop(crop).inside().visible, pose.visible)


def test_arms_held_wide_still_fit(standing: Pose) -> None:
    xy = standing.xy.clone()
    xy[4], xy[7] = torch.tensor([-60.0, 30.0]), torch.tensor([140.0, 30.0])
    crop = Framing.of(people(), CANVAS).crop(Pose(xy, (128, 64)), (128, 64))
    assert torch.equal(Pose(xy, (128, 64)).crop(crop).inside().visible, torch.ones(18, dtype=torch.bool))


def test_framing_is_measured_on_the_data(standing: Pose) -> None:
    framing = Framing.of(torch.stack((standing.xy, standing.xy + 2)), (128, 64))
    assert framing.y["neck"] == pytest.approx((float(standing.xy[1, 1]) + 1 + 0.5) / 128)
    assert framing.x == pytest.approx((32 + 1 + 0.5) / 64)


@pytest.mark.parametrize(
    ("right", "left"),
    [((-60.0, 30.0), (140.0, 30.0)), ((20.0, -60.0), (44.0, -60.0)), ((20.0, 190.0), (44.0, 190.0))],
    ids=["stretched to the sides", "raised", "lowered"],
)
def test_the_crop_has_room_for_the_hands(standing: Pose, right: tuple[float, float], left: tuple[float, float]) -> None:
    """A hand, for which there is no keypoint, reaches beyond the wrist."""
    xy = standing.xy.clone()
    xy[4], xy[7] = torch.tensor([right, left])
    crop = Framing.of(people(), CANVAS).crop(Pose(xy, CANVAS), CANVAS)
    torso = float((xy[[2, 5]].mean(0) - xy[[8, 11]].mean(0)).norm())
    (first_x, first_y), (last_x, last_y) = xy.amin(0).tolist(), xy.amax(0).tolist()
    assert crop.left <= first_x - 0.09 * torso and crop.right >= last_x + 0.09 * torso
    assert crop.top <= first_y - 0.09 * torso and crop.bottom >= last_y + 0.09 * torso


PHOTO = (480, 640)
SOMEBODY = keypoints(PHOTO).filter(lambda xy: bool(xy.isfinite().any())).map(lambda xy: Pose(xy, PHOTO))


@quick
@given(SOMEBODY)
def test_any_pose_is_inside_its_crop_and_comes_back_from_it(pose: Pose) -> None:
    crop = Framing.of(people(), CANVAS).crop(pose, CANVAS)
    assert crop.scale[0] == pytest.approx(crop.scale[1])
    placed = pose.crop(crop)
    assert torch.equal(placed.inside().visible, pose.visible)
    torch.testing.assert_close(crop.to_photo(placed.xy), pose.xy, equal_nan=True, rtol=1e-4, atol=1e-2)


@quick
@given(st.sets(st.integers(0, 17), max_size=12), st.sampled_from([1.5, 4.0]), st.integers(-300, 300))
def test_the_crop_moves_and_grows_with_the_person(hidden: set[int], scale: float, shift: int) -> None:
    """Within a pixel or two, as a person whose torso is not seen has one that depends on their box in whole pixels."""
    framing = Framing.of(people(), CANVAS)
    xy = torch.tensor(STANDING) * 2.3
    xy[list(hidden)] = math.nan
    crop, moved = (framing.crop(Pose(points, PHOTO), CANVAS) for points in (xy, xy * scale + shift))
    edges = torch.tensor([[c.left, c.top, c.right, c.bottom] for c in (crop, moved)])
    assert float((edges[0] * scale + shift - edges[1]).abs().max()) < 0.5 * scale


@quick
@given(SOMEBODY)
def test_the_crop_of_a_flipped_person_is_the_flipped_crop(pose: Pose) -> None:
    framing = Framing.of(people(5.0), CANVAS)
    mirrored = Framing(1 - framing.x, framing.y)
    crop, flipped = framing.crop(pose, CANVAS), mirrored.crop(pose.flip(), CANVAS)
    edges = (crop.left, crop.right, crop.top, crop.bottom)
    width = PHOTO[1] - 1
    assert edges == pytest.approx((width - flipped.right, width - flipped.left, flipped.top, flipped.bottom), abs=0.01)


# ---- what a photo shows of a person


def half_length(standing: Pose, scale: float = 3.0) -> Pose:
    """A portrait whose lower edge cuts the person off between hips and knees; the photo is 300 pixels wide."""
    xy = standing.xy * scale + torch.tensor([50.0, 40.0])
    xy[LEGS] = math.nan
    return Pose(xy, (round(75 * scale + 40), 300))


@pytest.mark.parametrize("canvas", [(128, 64), (256, 256)])
def test_a_half_length_portrait_stays_one(standing: Pose, canvas: tuple[int, int]) -> None:
    framing, photo = Framing.of(people(), CANVAS), half_length(standing)
    assert framing.crop(photo, canvas).bottom > photo.canvas[0] + 50, "it would go on to where the feet would be"
    crop = framing.crop_to_seen(photo, canvas)
    assert crop.bottom == pytest.approx(photo.canvas[0] - 0.5)
    assert torch.equal(photo.crop(crop).inside().visible, photo.visible)
    assert (crop.right - crop.left) / (crop.bottom - crop.top) == pytest.approx(canvas[1] / canvas[0])
    assert crop.bottom - crop.top < framing.crop(photo, canvas).bottom - framing.crop(photo, canvas).top


def test_somebody_from_head_to_foot_is_framed_as_always(standing: Pose) -> None:
    framing = Framing.of(people(), CANVAS)
    for size in ((400, 300), (390, 300)):  # in the second, the shoes touch the lower edge
        photo = Pose(standing.xy * 3 + torch.tensor([50.0, 40.0]), size)
        assert framing.crop_to_seen(photo, CANVAS) == framing.crop(photo, CANVAS)


def test_a_person_cut_off_well_above_the_edge_of_the_photo_is_framed_as_always(standing: Pose) -> None:
    """Behind a table, for example."""
    framing, photo = Framing.of(people(), CANVAS), half_length(standing)
    photo = Pose(photo.xy, (900, 300))
    assert framing.crop_to_seen(photo, CANVAS) == framing.crop(photo, CANVAS)


def test_legs_alone_are_framed_from_the_upper_edge(standing: Pose) -> None:
    xy = standing.xy * 3 + torch.tensor([50.0, -170.0])
    xy[[0, 1, 2, 3, 4, 5, 6, 7, 14, 15, 16, 17]] = math.nan
    photo = Pose(xy, (250, 300))
    framing = Framing.of(people(), CANVAS)
    assert framing.crop(photo, CANVAS).top < -50
    assert framing.crop_to_seen(photo, CANVAS).top == pytest.approx(-0.5)


def test_a_head_alone_gets_the_height_of_its_photo(standing: Pose) -> None:
    """One point of the midline does not tell how large the person is."""
    xy = torch.full((18, 2), math.nan)
    xy[[0, 14, 15]] = standing.xy[[0, 14, 15]] * 4
    crop = Framing.of(people(), CANVAS).crop_to_seen(Pose(xy, (300, 400)), CANVAS)
    assert (crop.top, crop.bottom) == (-0.5, 299.5)


def test_wide_arms_are_kept_and_the_rest_lies_above_the_head(standing: Pose) -> None:
    photo = half_length(standing)
    xy = photo.xy.clone()
    xy[4], xy[7] = torch.tensor([4.0, 120.0]), torch.tensor([295.0, 120.0])
    crop = Framing.of(people(), CANVAS).crop_to_seen(Pose(xy, photo.canvas), CANVAS)
    assert crop.left <= 4 and crop.right >= 295
    assert crop.bottom == pytest.approx(photo.canvas[0] - 0.5) and crop.top < -100


# ---- half-length portraits, and target poses for them


@pytest.mark.parametrize("canvas", [(128, 64), (256, 256)])
def test_a_portrait_shows_what_the_photo_shows(standing: Pose, canvas: tuple[int, int]) -> None:
    framing, photo = Framing.of(people(), CANVAS), half_length(standing)
    assert framing.portrait(photo, canvas) == framing.crop_to_seen(photo, canvas)


def test_who_is_no_portrait(standing: Pose) -> None:
    framing, photo = Framing.of(people(), CANVAS), half_length(standing)
    whole = Pose(standing.xy * 3 + torch.tensor([50.0, 40.0]), (400, 300))
    behind_a_table = Pose(photo.xy, (900, 300))
    feet_beyond_the_edge = Pose(whole.xy, (350, 300))
    headless = photo.xy.clone()
    headless[[0, 14, 15, 16, 17]] = math.nan
    for pose in (whole, behind_a_table, feet_beyond_the_edge, Pose(headless, photo.canvas)):
        assert framing.portrait(pose, CANVAS) is None


def test_a_head_with_shoulders_does_not_fill_the_canvas(standing: Pose) -> None:
    """It is no smaller a part of a person than the training images show."""
    framing = Framing.of(people(), CANVAS)
    xy = standing.xy * 6
    xy[[3, 4, 6, 7, 8, 11, *LEGS]] = math.nan
    photo = Pose(xy, (180, 400))
    whole, part = framing.crop(photo, CANVAS), framing.portrait(photo, CANVAS)
    assert part is not None and part.bottom - part.top == pytest.approx(LEAST_PART * (whole.bottom - whole.top))
    assert framing.crop_to_seen(photo, CANVAS).bottom < part.bottom


@pytest.mark.parametrize("name", sorted(pose_presets()))
def test_a_target_pose_is_placed_like_the_portrait(standing: Pose, name: str) -> None:
    """The lower edge stays; the person is as large as in the photo, or smaller where head and arms need the room."""
    framing, photo, canvas = Framing.of(people(), CANVAS), half_length(standing), (256, 256)
    whole, part = framing.crop(photo, canvas), framing.portrait(photo, canvas)
    assert part is not None
    target = pose_presets()[name]
    usual, placed = framing.place(target, canvas), framing.place(target, canvas, part_of(whole, part))
    assert usual == target.crop(framing.crop(target, canvas))
    upper = [1, 2, 3, 4, 5, 6, 7, 0, 14, 15, 16, 17]
    assert torch.equal(placed.inside().visible[upper], target.visible[upper])
    zoom = float((placed.xy[8] - placed.xy[1]).norm() / (usual.xy[8] - usual.xy[1]).norm())
    full = (whole.bottom - whole.top) / (part.bottom - part.top)
    assert 1 < zoom <= full * 1.001
    edge = part_of(whole, part).bottom
    assert float(placed.xy[8, 1] - 255.5) / zoom == pytest.approx(float(usual.xy[8, 1]) - edge, abs=0.1)


def test_a_pose_without_an_upper_body_is_placed_too(standing: Pose) -> None:
    framing = Framing.of(people(), CANVAS)
    xy = torch.full((18, 2), math.nan)
    xy[[8, 9, 10]] = standing.xy[[8, 9, 10]]
    part = Crop(10.0, 0.0, 42.0, 64.0, CANVAS)
    placed = framing.place(Pose(xy, (300, 100)), CANVAS, part)
    assert placed == framing.place(Pose(xy, (300, 100)), CANVAS).crop(part)
