"""The part warp: what stays, what moves with the joints, what is missing with them, and that nothing is ever NaN."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pg2lib import Pose, warp_parts
from pg2lib.pose import JOINTS, flip_permutation, flip_xy
from pg2lib.warp import PAIRS, PARTS, _boxes, _spans
from tests.strategies import keypoints, quick

SIZE = 96


@pytest.fixture
def xy(standing: Pose) -> torch.Tensor:
    """Somebody who faces the camera, well inside a canvas of 96x96; their right is on the left of the picture."""
    return (standing.xy * 0.7 + torch.tensor([25.0, 5.0]))[None]


@pytest.fixture
def photo() -> torch.Tensor:
    """Smooth, different everywhere, and never near 0, so that what was read where can be told."""
    y, x = torch.meshgrid(torch.arange(SIZE) / SIZE, torch.arange(SIZE) / SIZE, indexing="ij")
    return torch.stack((0.2 + 0.7 * x, 0.2 + 0.7 * y, 0.5 + 0.4 * torch.sin(6 * x + 9 * y)))[None]


def turned(xy: torch.Tensor, degrees: float, scale: float, shift: tuple[float, float]) -> torch.Tensor:
    """Joints turned and scaled about the middle of the canvas, then shifted."""
    angle, centre = math.radians(degrees), (SIZE - 1) / 2
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return (xy - centre) @ turn.T * scale + centre + torch.tensor(shift)


def without(xy: torch.Tensor, *joints: str) -> torch.Tensor:
    xy = xy.clone()
    xy[:, [JOINTS.index(joint) for joint in joints]] = math.nan
    return xy


def at(coverage: torch.Tensor, point: torch.Tensor) -> float:
    """The coverage of the pixel that holds a point (x, y)."""
    x, y = point.round().int().tolist()
    return float(coverage[0, 0, y, x])


def test_the_same_pose_gives_the_photo_inside_the_coverage(xy: torch.Tensor, photo: torch.Tensor) -> None:
    warped, coverage = warp_parts(photo, xy, xy)
    assert warped.shape == (1, 3, SIZE, SIZE) and coverage.shape == (1, 1, SIZE, SIZE)
    assert set(coverage.round(decimals=4).unique().tolist()) == {0.0, 1.0}
    assert 0.1 < coverage.mean() < 0.5
    torch.testing.assert_close(warped, photo * coverage, atol=1e-4, rtol=0)
    for joint in xy[0]:
        assert at(coverage, joint) == pytest.approx(1)


@pytest.mark.parametrize(
    ("degrees", "scale", "shift"),
    [(0, 1, (6, -4)), (25, 1, (0, 0)), (90, 1, (3, 2)), (-160, 0.8, (0, 5)), (10, 1.2, (-2, 0))],
)
def test_a_rigid_motion_of_the_joints_moves_the_photo(
    xy: torch.Tensor, degrees: float, scale: float, shift: tuple[float, float]
) -> None:
    """Of a photo whose colours are its coordinates, each covered pixel says where it came from."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    places = torch.stack((x, y)).float()
    warped, coverage = warp_parts(torch.cat((places, places[:1]))[None] / SIZE, xy, turned(xy, degrees, scale, shift))
    there = turned(torch.eye(2), degrees, scale, shift)  # the map's columns, less its offset
    origin = turned(torch.zeros(1, 2), degrees, scale, shift)
    source = torch.linalg.solve((there - origin).T, places.flatten(1) - origin.T).view(2, SIZE, SIZE)
    inner = (coverage[0, 0] > 0.999).expand(2, -1, -1)
    assert inner[0].sum() > 600
    torch.testing.assert_close(warped[0, :2][inner] * SIZE, source[inner], atol=0.01, rtol=0)


@pytest.mark.parametrize("wrong", ["condition_image", "condition_xy", "target_xy", "matte"])
def test_shapes_that_do_not_fit_are_refused(wrong: str) -> None:
    arguments = {
        "condition_image": torch.zeros(2, 3, 64, 32),
        "condition_xy": torch.zeros(2, 18, 2),
        "target_xy": torch.zeros(2, 18, 2),
        "matte": torch.zeros(2, 1, 64, 32),
    }
    with pytest.raises(ValueError, match=f"^{wrong}: expected the shape"):
        warp_parts(**arguments | {wrong: arguments[wrong][..., :-1] if "xy" in wrong else arguments[wrong][:, :0]})


def test_flips_commute_with_it(xy: torch.Tensor, photo: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    target = xy + 4 * torch.randn(1, 18, 2, generator=generator)
    matte = torch.rand(1, 1, SIZE, SIZE, generator=generator)
    plain = warp_parts(photo, xy, target, matte)
    flipped = warp_parts(photo.flip(-1), flip_xy(xy, SIZE), flip_xy(target, SIZE), matte.flip(-1))
    for a, b in zip(plain, flipped, strict=True):
        # Rounding may move a pixel over the border of a part.
        assert ((a - b.flip(-1)).abs() > 1e-3).float().mean() < 1e-3


@quick
@given(keypoints((SIZE, SIZE)), st.integers(-20, 20), st.integers(-20, 20))
def test_any_pose_that_moves_as_a_whole_moves_the_photo(xy: torch.Tensor, right: int, down: int) -> None:
    """By whole pixels, so that each covered pixel is one of the photo; (0, 0) leaves it in place."""
    photo = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) + 0.5
    warped, coverage = warp_parts(photo, xy[None], xy[None] + torch.tensor([right, down]))
    moved = torch.roll(photo, (down, right), dims=(2, 3)) * coverage
    torch.testing.assert_close(warped, moved, atol=5e-3, rtol=0)
    if bool(xy[[2, 5, 8, 11]].isfinite().all()):
        x, y = (xy[[2, 5, 8, 11]].mean(dim=0) + torch.tensor([right, down])).round().int().tolist()
        from_photo = 0 <= x - right < SIZE and 0 <= y - down < SIZE
        if from_photo and 0 <= x < SIZE and 0 <= y < SIZE:
            assert coverage[0, 0, y, x] == 1  # the middle of the torso


def test_quarter_turns_commute_with_it(xy: torch.Tensor, photo: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(2)
    condition, target = (xy + 5 * torch.randn(1, 18, 2, generator=generator) for _ in range(2))
    matte = torch.rand(1, 1, SIZE, SIZE, generator=generator)
    plain = warp_parts(photo, condition, target, matte)
    poses = (Pose(pose[0], (SIZE, SIZE)).turn(90).xy[None] for pose in (condition, target))
    quarter = warp_parts(photo.rot90(-1, (2, 3)), *poses, matte.rot90(-1, (2, 3)))
    for a, b in zip(plain, quarter, strict=True):
        # Rounding may move a pixel over the border of a part.
        assert ((a.rot90(-1, (2, 3)) - b).abs() > 1e-3).float().mean() < 3e-3


@pytest.mark.parametrize("missing_in", ["condition", "target"])
def test_a_missing_joint_takes_its_own_parts_only(xy: torch.Tensor, photo: torch.Tensor, missing_in: str) -> None:
    part = without(xy, "left wrist")
    poses = (part, xy) if missing_in == "condition" else (xy, part)
    _, whole = warp_parts(photo, xy, xy)
    warped, coverage = warp_parts(photo, *poses)
    assert at(whole, xy[0, 7]) > 0.99 and at(coverage, xy[0, 7]) == 0
    lost = (whole - coverage)[0, 0] > 0.5
    y, x = lost.nonzero().unbind(1)
    elbow = xy[0, 6]
    assert (y > elbow[1] - 4).all() and (x > elbow[0] - 6).all()
    torch.testing.assert_close(warped, photo * coverage, atol=1e-4, rtol=0)


def test_a_part_moves_with_its_own_joints_and_no_other_does(xy: torch.Tensor, photo: torch.Tensor) -> None:
    """A raised right forearm brings the pixels of the forearm, and leaves the left one where it is."""
    target = xy.clone()
    elbow, wrist = target[0, 3].clone(), xy[0, 4]
    target[0, 4] = elbow + torch.tensor([[-1.0, 0.0], [0.0, -1.0]]) @ (wrist - elbow)
    warped, coverage = warp_parts(photo, xy, target)
    x, y = (elbow + (target[0, 4] - elbow) / 2).round().int().tolist()
    came_from = (xy[0, 3] + xy[0, 4]) / 2
    assert coverage[0, 0, y, x] > 0.99
    expected = torch.tensor([0.2 + 0.7 * came_from[0] / SIZE, 0.2 + 0.7 * came_from[1] / SIZE])
    torch.testing.assert_close(warped[0, :2, y, x], expected, atol=0.02, rtol=0)
    assert at(coverage, wrist) == 0 and at(coverage, xy[0, 7]) > 0.99


def test_no_face_on_the_back_of_a_head(xy: torch.Tensor, photo: torch.Tensor) -> None:
    back = without(xy, "nose", "right eye", "left eye")
    ears = (xy[0, 16] + xy[0, 17]) / 2
    for condition, target, head in ((xy, back, 0), (back, xy, 0), (back, back, 1), (xy, xy, 1)):
        _, coverage = warp_parts(photo, condition, target)
        assert at(coverage, ears) == pytest.approx(head)
        assert at(coverage, (xy[0, 2] + xy[0, 11]) / 2) > 0.99  # the torso is there


@pytest.mark.parametrize("missing", [(), ("right hip", "left hip", "right knee", "left knee")])
def test_a_torso_that_turns_round_is_mirrored_and_stays_upright(
    xy: torch.Tensor, photo: torch.Tensor, missing: tuple[str, ...]
) -> None:
    back = xy.clone()
    back[:, [2, 3, 4, 5, 6, 7, 8, 11]] = xy[:, [5, 6, 7, 2, 3, 4, 11, 8]]
    warped, coverage = warp_parts(photo, without(xy, *missing), without(back, *missing))
    right, left = xy[0, 2], xy[0, 5]
    for down in (4.0, 18.0):
        x, y = (right * 0.7 + left * 0.3 + torch.tensor([0.0, down])).round().int().tolist()
        mirrored_x = int((right + left)[0]) - x
        assert coverage[0, 0, y, x] > 0.99
        torch.testing.assert_close(warped[0, :2, y, x], photo[0, :2, y, mirrored_x], atol=0.02, rtol=0)


def test_a_profile_that_looks_the_other_way_is_mirrored(xy: torch.Tensor, photo: torch.Tensor) -> None:
    """A similarity of the face alone would lay the head on its side."""
    condition, target = without(xy, "right eye", "right ear"), without(xy, "right eye", "right ear")
    neck = condition[0, 1]
    condition[0, [0, 15, 17]] = neck + torch.tensor([[-6.0, -9.0], [-4.0, -11.0], [1.0, -10.0]])
    target[0, [0, 15, 17]] = neck + torch.tensor([[6.0, -9.0], [4.0, -11.0], [-1.0, -10.0]])
    warped, _ = warp_parts(photo, condition, target)
    for joint in (0, 15, 17):
        x, y = target[0, joint].round().int().tolist()
        expected = 0.2 + 0.7 * condition[0, joint] / SIZE
        torch.testing.assert_close(warped[0, :2, y, x], expected, atol=0.01, rtol=0)


def test_of_two_limbs_that_overlap_each_has_its_own_side(xy: torch.Tensor, photo: torch.Tensor) -> None:
    """The thighs' regions meet when somebody stands; the knees have changed places in the condition image."""
    condition = xy.clone()
    condition[:, 8:14] += torch.tensor([30.0, 0.0])
    condition[:, 11:14] -= torch.tensor([60.0, 0.0])
    warped, coverage = warp_parts(photo, condition, xy)
    middle = int((xy[0, 8, 0] + xy[0, 11, 0]) / 2)
    y = int((xy[0, 8, 1] + xy[0, 9, 1]) / 2)
    covered = coverage[0, 0, y] > 0.5
    x_read = (warped[0, 0, y] - 0.2) / 0.7 * SIZE
    x = torch.arange(SIZE)
    assert covered[middle - 4 : middle + 5].all()
    assert (x_read[(x <= middle) & covered] > SIZE / 2).all() and (x_read[(x > middle + 1) & covered] < SIZE / 2).all()


def test_without_knees_the_lap_hangs_from_the_torso(xy: torch.Tensor, photo: torch.Tensor) -> None:
    legless = without(xy, "right hip", "right knee", "left knee", "right ankle", "left ankle")
    hem = xy[0, 11] + torch.tensor([0.0, 12.0])  # half a torso below the hip
    for condition, target in ((xy, legless), (legless, xy), (legless, legless)):
        warped, coverage = warp_parts(photo, condition, target)
        assert at(coverage, hem) == pytest.approx(1)
        torch.testing.assert_close(warped, photo * coverage, atol=1e-4, rtol=0)


def test_a_body_that_is_one_point_of_the_photo_is_not_smeared_over_the_target(
    xy: torch.Tensor, photo: torch.Tensor
) -> None:
    point = xy.clone()
    point[:, [2, 5, *range(8, 14)]] = 40.0
    _, coverage = warp_parts(photo, point, xy)
    assert at(coverage, (xy[0, 2] + xy[0, 11]) / 2) == 0


def test_shoulders_seen_from_the_side_do_not_shrink_the_body(xy: torch.Tensor, photo: torch.Tensor) -> None:
    """The condition image ends above the hips; in the target the shoulders are all but in line."""
    condition = without(xy, *JOINTS[8:14])
    side = xy.clone()
    side[0, [2, 5], 0] = xy[0, 1, 0] + torch.tensor([-1.0, 1.0])
    warped, coverage = warp_parts(photo, condition, side)
    x, top, bottom = int(xy[0, 1, 0]), int(xy[0, 1, 1]), int(xy[0, 8, 1])
    assert (coverage[0, 0, top:bottom, x] > 0.99).all()
    rows_read = float(warped[0, 1, bottom, x] - warped[0, 1, top, x]) / 0.7 * SIZE
    assert 0.6 * (bottom - top) < rows_read < 1.7 * (bottom - top)


def test_coverage_follows_the_matte(xy: torch.Tensor, photo: torch.Tensor) -> None:
    matte = torch.zeros(1, 1, SIZE, SIZE)
    matte[..., : SIZE // 2] = 0.6
    shift = torch.tensor([7.0, 0.0])
    _, whole = warp_parts(photo, xy, xy + shift)
    warped, coverage = warp_parts(photo, xy, xy + shift, matte)
    expected = torch.cat((torch.zeros(1, 1, SIZE, 7), matte[..., :-7]), dim=-1) * whole
    torch.testing.assert_close(coverage, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(warped, warp_parts(photo, xy, xy + shift)[0])  # the image itself is not multiplied


def test_nothing_is_covered_by_what_lies_outside_the_photo(xy: torch.Tensor, photo: torch.Tensor) -> None:
    """The condition shows the right half of the body only; the target all of it."""
    beyond = torch.tensor([float(xy[0, 1, 0]), 0.0])
    _, coverage = warp_parts(photo, xy - beyond, xy)
    edge = int(xy[0, 1, 0])
    assert coverage[..., : edge - 1].abs().max() == 0
    assert coverage[..., edge + 1 :].sum() > 200


def test_a_batch_is_its_members_one_by_one(photo: torch.Tensor, xy: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(16, 3, SIZE, SIZE, generator=generator) * 2 - 1
    mattes = torch.rand(16, 1, SIZE, SIZE, generator=generator)
    condition, target = (xy + 8 * torch.randn(16, 18, 2, generator=generator) for _ in range(2))
    condition[torch.rand(16, 18, generator=generator) < 0.2] = math.nan
    condition[3], target[5] = math.nan, math.nan
    together = warp_parts(images, condition, target, mattes)
    for i in range(16):
        alone = warp_parts(*(t[i : i + 1] for t in (images, condition, target, mattes)))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[i : i + 1], b)
    assert together[1][3].sum() == together[1][5].sum() == 0 and together[0][3].abs().sum() == 0
    none = (images[:0], condition[:0], target[:0])
    for covered in (warp_parts(*none)[1], warp_parts(*none, mattes[:0])[1]):
        assert covered.shape == (0, 1, SIZE, SIZE)


def broken_poses(kind: str, xy: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    many, row = xy + 10 * torch.randn(6, 18, 2, generator=generator), torch.arange(6)
    match kind:
        case "missing at random":
            many[torch.rand(6, 18, generator=generator) < 0.5] = math.nan
        case "all at one place":
            many[:] = 40.0
        case "limbs without length":
            many[:, [3, 4, 6, 7, 9, 10, 12, 13]] = many[:, [2, 2, 5, 5, 8, 8, 11, 11]]
        case "all in a line":
            many[..., 0] = 30.0
        case "far outside":
            many *= torch.tensor([1e1, 1e3, 1e5, 1e10, 1e20, 1e30])[:, None, None]
        case "one huge joint":
            many[row, row * 3] = 1e30
        case "infinite":
            many[row, row * 3, 0] = math.inf
        case "half a joint":
            many[row, row * 3, 1] = math.nan
        case "nobody":
            many[:] = math.nan
    return many


KINDS = ("missing at random", "all at one place", "limbs without length", "all in a line", "far outside",
         "one huge joint", "infinite", "half a joint", "nobody", "whole")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_no_pose_gives_nan_or_leaves_the_range(kind: str, xy: torch.Tensor) -> None:
    """Poses of each kind as condition of poses of every kind."""
    target = torch.cat([broken_poses(other, xy) for other in KINDS])
    condition = broken_poses(kind, xy).repeat(len(KINDS), 1, 1)
    image = torch.rand(len(target), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    warped, coverage = warp_parts(image, condition, target)
    assert warped.isfinite().all() and coverage.isfinite().all()
    assert warped.abs().max() <= 1 + 1e-5
    assert coverage.min() >= 0 and coverage.max() <= 1 + 1e-5
    nobody = condition.isnan().all(dim=(1, 2)) | target.isnan().all(dim=(1, 2))
    assert coverage[nobody].sum() == 0 and warped[nobody].abs().sum() == 0


def test_it_is_float32_without_gradient_under_autocast(xy: torch.Tensor, photo: torch.Tensor) -> None:
    plain = warp_parts(photo, xy, xy + 3)
    with torch.autocast("cpu", torch.bfloat16):
        under = warp_parts(photo.requires_grad_(), xy, xy + 3)
    for a, b in zip(plain, under, strict=True):
        assert torch.equal(a, b) and b.dtype == torch.float32 and not b.requires_grad


def test_right_and_left_parts_are_alike_and_higher_layers_come_later() -> None:
    """The order of painting rests on it."""
    layers = [part.layer for part in PARTS]
    assert layers == sorted(layers)
    assert sorted(part for pair in PAIRS for part in pair) == [i for i, n in enumerate(layers) if layers.count(n) == 2]
    for right, left in ((PARTS[i], PARTS[j]) for i, j in PAIRS):
        assert right.name.removeprefix("right ") == left.name.removeprefix("left ")
        assert right._replace(name="", start=(), end=()) == left._replace(name="", start=(), end=())
        permutation = flip_permutation()
        assert [permutation[joint] for joint in right.start + right.end] == [*left.start, *left.end]


def test_regions_are_those_of_a_plain_restatement(xy: torch.Tensor) -> None:
    """A pixel is in a region when it is within the margin of the box: looked at one by one, without spans of rows."""
    generator = torch.Generator().manual_seed(3)
    target = xy + 12 * torch.randn(8, 18, 2, generator=generator)
    known = torch.ones(8, 18, dtype=torch.bool)
    boxes = _boxes(target, known, torch.full((8,), 30.0))
    left, right = _spans(boxes, SIZE)
    x = torch.arange(SIZE)
    ours = (x >= left[..., None]) & (x <= right[..., None])
    place = torch.stack(torch.meshgrid(x, x, indexing="xy"), dim=-1) - boxes.centre[:, :, None, None]
    along = (place * boxes.axis[:, :, None, None]).sum(-1).abs() - boxes.half_length[..., None, None]
    normal = torch.stack((-boxes.axis[..., 1], boxes.axis[..., 0]), dim=-1)
    across = (place * normal[:, :, None, None]).sum(-1).abs() - boxes.half_width[..., None, None]
    distance = torch.hypot(along.clamp_min(0), across.clamp_min(0)) - boxes.margin[..., None, None]
    clear = distance.abs() > 1e-3
    assert ours.float().mean() > 0.02
    assert torch.equal(ours[clear], distance[clear] < 0)


@pytest.mark.parametrize("canvas", [(256, 128), (255, 127)])
def test_the_backdrop_beside_an_arm_does_not_hide_the_torso(standing: Pose, canvas: tuple[int, int]) -> None:
    """The arms hang out of the matte; where their regions lie over the torso's, the torso shows."""
    pose = standing.resize(canvas)
    matte = torch.zeros(1, 1, *canvas)
    matte[:, :, 56:126, 48:82] = 1  # the torso alone
    image = torch.where(matte > 0, 1.0, -1.0).expand(1, 3, -1, -1)
    warped, coverage = warp_parts(image, pose.xy[None], pose.xy[None], matte)
    torso = (slice(None), slice(None), slice(70, 110), slice(52, 78))
    torch.testing.assert_close(coverage[torso], torch.ones_like(coverage[torso]))
    torch.testing.assert_close(warped[torso], torch.ones_like(warped[torso]))


@pytest.mark.parametrize("degrees", [20, 35, 60])
def test_no_gaps_at_the_edge_of_an_arm_in_front_of_the_torso(standing: Pose, degrees: float) -> None:
    """A thin arm that hung beside the body lies over the torso: behind its edge is the torso, not the backdrop."""
    condition = standing.resize((256, 128)).xy
    rows, columns = torch.meshgrid(torch.arange(256), torch.arange(128), indexing="ij")
    elbow, wrist = condition[3], condition[4]
    arm = ((rows >= elbow[1] - 20) & (rows <= wrist[1] + 20) & ((columns - elbow[0]).abs() < 4)).float()
    torso = ((rows > 52) & (rows < 130) & (columns > 44) & (columns < 86)).float()
    target = condition.clone()
    turn = torch.deg2rad(torch.tensor(float(degrees)))
    target[3] = torch.tensor([60.0, 75.0])
    target[4] = target[3] + (wrist - elbow).norm() * torch.stack((turn.sin(), turn.cos()))
    image = torch.zeros(1, 3, 256, 128)
    _, coverage = warp_parts(image, condition[None], target[None], torch.maximum(arm, torso)[None, None])
    inside = coverage[0, 0, 72:112, 52:78]
    assert (inside > 0.6).all(), f"{int((inside <= 0.6).sum())} gaps"


def sources(xy: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Where each pixel of the target comes from, (2, height, width), read from a photo that shows its coordinates."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    warped, _ = warp_parts(torch.stack((x, y, x)).float()[None] / SIZE, xy, target)
    return warped[0, :2] * SIZE


@pytest.mark.parametrize(("squeezed", "across"), [(2.2, 2.2), (2.8, 1.0)])
def test_a_torso_is_stretched_up_to_a_bound(xy: torch.Tensor, squeezed: float, across: float) -> None:
    """Somebody who turns aside looks narrower: 2.5 times at most, beyond which the torso keeps its proportions."""
    target = without(xy, *JOINTS[3:5], *JOINTS[6:8])  # arms would lie over the torso
    neck = float(xy[0, 1, 0])
    target[..., 0] = neck + (target[..., 0] - neck) / squeezed
    place = sources(xy, target)
    x, y = round(neck), round(float(xy[0, [2, 8], 1].mean()))
    over, down = (place[:, y, x + 1] - place[:, y, x - 1]) / 2, (place[:, y + 2, x] - place[:, y - 2, x]) / 4
    assert float(over[0]) / float(down[1]) == pytest.approx(across, rel=0.05)


@pytest.mark.parametrize(("longer", "scale"), [(1.4, 1.4), (3.0, 1.6), (0.75, 0.75), (0.3, 0.6)])
def test_a_limb_is_scaled_between_bounds(xy: torch.Tensor, longer: float, scale: float) -> None:
    """A forearm that points towards the camera in one of the pictures says little about its true length."""
    condition = xy.clone()
    condition[0, 4] = xy[0, 3] + longer * (xy[0, 4] - xy[0, 3])
    place = sources(condition, xy)
    middle, way = (xy[0, 3] + xy[0, 4]) / 2, xy[0, 4] - xy[0, 3]
    (x0, y0), (x1, y1) = ((middle + share * way).round().int().tolist() for share in (-0.25, 0.25))
    moved = (place[:, y1, x1] - place[:, y0, x0]).norm()
    assert float(moved) / math.dist((x0, y0), (x1, y1)) == pytest.approx(scale, rel=0.02)
