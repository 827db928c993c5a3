"""The part warp: what stays, what moves with the joints, what is missing with them, and that nothing is ever NaN."""

from __future__ import annotations

import math

import pytest
import torch

from pg2lib import Pose, warp_parts
from pg2lib.pose import JOINTS, flip_xy
from pg2lib.warp import PARTS

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


def test_flips_commute_with_it(xy: torch.Tensor, photo: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    target = xy + 4 * torch.randn(1, 18, 2, generator=generator)
    matte = torch.rand(1, 1, SIZE, SIZE, generator=generator)
    plain = warp_parts(photo, xy, target, matte)
    flipped = warp_parts(photo.flip(-1), flip_xy(xy, SIZE), flip_xy(target, SIZE), matte.flip(-1))
    for a, b in zip(plain, flipped, strict=True):
        # Rounding may move a pixel over the border of a part.
        assert ((a - b.flip(-1)).abs() > 1e-3).float().mean() < 1e-3


@pytest.mark.parametrize("missing_in", ["condition", "target"])
def test_a_missing_joint_takes_its_own_parts_only(xy: torch.Tensor, photo: torch.Tensor, missing_in: str) -> None:
    part = without(xy, "left wrist")
    poses = (part, xy) if missing_in == "condition" else (xy, part)
    _, whole = warp_parts(photo, xy, xy)
    warped, coverage = warp_parts(photo, *poses)
    assert at(whole, xy[0, 7]) > 0.99 and at(coverage, xy[0, 7]) == 0
    lost = (whole - coverage)[0, 0] > 0.5
    y, x = lost.nonzero().unbind(1)
    elbow, wrist = xy[0, 6], xy[0, 7]
    assert (y > elbow[1] - 1).all() and (x > torch.minimum(elbow[0], wrist[0]) - 6).all()
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


def test_the_torso_turns_round_with_its_shoulders_and_hips(xy: torch.Tensor, photo: torch.Tensor) -> None:
    """Left and right change places from front to back: what is up stays up."""
    target = xy.clone()
    target[:, [2, 5, 8, 11]] = xy[:, [5, 2, 11, 8]]
    warped, coverage = warp_parts(photo, xy, target)
    high, low = (
        (2 * xy[0, a] + xy[0, b]) / 3 + (2 * xy[0, c] + xy[0, d]) / 3 for a, b, c, d in ((2, 8, 5, 11), (8, 2, 11, 5))
    )
    for point in (high / 2, low / 2):
        x, y = point.round().int().tolist()
        assert coverage[0, 0, y, x] > 0.99
        torch.testing.assert_close(warped[0, 1, y, x], photo[0, 1, y, x], atol=0.02, rtol=0)


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
    assert warp_parts(*(t[:0] for t in (images, condition, target)))[0].shape == (0, 3, SIZE, SIZE)


def broken_poses(kind: str, xy: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    many = xy + 10 * torch.randn(24, 18, 2, generator=generator)
    if kind == "missing at random":
        many[torch.rand(24, 18, generator=generator) < 0.5] = math.nan
    elif kind == "all at one place":
        many[:] = 40.0
    elif kind == "limbs without length":
        many[:, [3, 4, 6, 7, 9, 10, 12, 13]] = many[:, [2, 2, 5, 5, 8, 8, 11, 11]]
    elif kind == "all on a line":
        many[..., 0] = 30.0
    elif kind == "far outside":
        many = many * torch.logspace(0, 30, 24)[:, None, None]
    elif kind == "one huge joint":
        many[torch.arange(24), torch.arange(24) % 18] = 1e30
    elif kind == "infinite":
        many[torch.arange(24), torch.arange(24) % 18, 0] = math.inf
    elif kind == "half a joint":
        many[torch.arange(24), torch.arange(24) % 18, 1] = math.nan
    elif kind == "nobody":
        many[:] = math.nan
    return many


KINDS = ("missing at random", "all at one place", "limbs without length", "all on a line", "far outside",
         "one huge joint", "infinite", "half a joint", "nobody", "whole")  # fmt: skip


@pytest.mark.parametrize("condition", KINDS)
def test_no_pose_gives_nan_or_leaves_the_range(condition: str, xy: torch.Tensor) -> None:
    image = torch.rand(24, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for target in KINDS:
        warped, coverage = warp_parts(image, broken_poses(condition, xy), broken_poses(target, xy))
        assert warped.isfinite().all() and coverage.isfinite().all()
        assert warped.abs().max() <= 1 + 1e-5
        assert coverage.min() >= 0 and coverage.max() <= 1 + 1e-5
        if "nobody" in (condition, target):
            assert coverage.sum() == 0 and warped.abs().sum() == 0


def test_it_is_float32_without_gradient_under_autocast(xy: torch.Tensor, photo: torch.Tensor) -> None:
    plain = warp_parts(photo, xy, xy + 3)
    with torch.autocast("cpu", torch.bfloat16):
        under = warp_parts(photo.requires_grad_(), xy, xy + 3)
    for a, b in zip(plain, under, strict=True):
        assert torch.equal(a, b) and b.dtype == torch.float32 and not b.requires_grad


def test_every_part_has_its_own_joints_and_layers_only_rise() -> None:
    layers = [part.layer for part in PARTS]
    assert layers == sorted(layers)
    assert len({part.name for part in PARTS}) == len(PARTS) == 11


def test_the_backdrop_beside_an_arm_does_not_hide_the_torso(standing: Pose) -> None:
    """The arms hang out of the matte; where their regions lie over the torso's, the torso shows."""
    pose = standing.resize((256, 128))
    matte = torch.zeros(1, 1, 256, 128)
    matte[:, :, 56:126, 48:82] = 1  # the torso alone
    image = torch.where(matte > 0, 1.0, -1.0).expand(1, 3, -1, -1)
    warped, coverage = warp_parts(image, pose.xy[None], pose.xy[None], matte)
    torso = (slice(None), slice(None), slice(70, 110), slice(52, 78))
    assert (coverage[torso] == 1).all() and (warped[torso] == 1).all()
