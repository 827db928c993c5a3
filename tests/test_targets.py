"""Target poses: presets, files and poses, and whose limb lengths they have."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from pg2lib import DataError, Pose, pose_presets, retarget
from pg2lib.framing import Framing
from pg2lib.limbs import bone_lengths
from pg2lib.targets import frame_pose, read_target, read_targets

CANVAS = (128, 64)
FRAMING = Framing(x=0.5, y={"nose": 0.125, "neck": 0.2, "hips": 0.49, "knees": 0.69, "ankles": 0.89})
WAVING = pose_presets()["waving"]


def nobody(image: Image.Image) -> list:
    raise AssertionError("no image is looked at")


@pytest.fixture
def slim() -> Pose:
    """Shoulders that are narrower than those of the presets."""
    xy = pose_presets()["standing, front"].xy.clone()
    xy[2:8, 0] += torch.tensor((3.0, 3, 3, -3, -3, -3))
    return Pose(xy, CANVAS)


def test_presets_take_the_persons_lengths_and_other_poses_keep_theirs(slim: Pose) -> None:
    preset, given = read_targets(["waving", WAVING], CANVAS, FRAMING, nobody, slim)
    assert given == WAVING
    assert preset == retarget(WAVING, slim)
    assert bone_lengths(preset)["shoulder"] == pytest.approx(bone_lengths(slim)["shoulder"])


def test_a_strength_holds_for_all_poses(slim: Pose) -> None:
    assert read_targets(["waving", WAVING], CANVAS, FRAMING, nobody, slim, 0.0) == [WAVING, WAVING]
    assert read_targets(["waving", WAVING], CANVAS, FRAMING, nobody, slim, 0.5) == [retarget(WAVING, slim, 0.5)] * 2
    with pytest.raises(DataError, match="strength .*1.5"):
        read_targets(["waving"], CANVAS, FRAMING, nobody, slim, 1.5)


def test_a_preset_is_itself_where_the_person_is_not_known() -> None:
    assert read_targets(["waving"], CANVAS, FRAMING, nobody) == [WAVING]


def test_longer_limbs_stay_in_the_picture(standing: Pose) -> None:
    """With the person's long legs the feet would leave the canvas, so the pose is framed again."""
    xy = standing.xy.clone()
    xy[[9, 12], 1] += 8
    xy[[10, 13], 1] += 20
    tall = Pose(xy, (200, 64))
    longer = retarget(WAVING, tall)
    assert float(longer.xy[10, 1]) > 127.5
    pose = read_targets(["waving"], CANVAS, FRAMING, nobody, tall)[0]
    assert pose.canvas == CANVAS
    assert bool((pose.xy[[10, 13], 1] < 127.5).all())
    assert bone_lengths(pose)["shank"] == pytest.approx(bone_lengths(longer)["shank"], rel=1e-4)


def test_a_name_that_is_no_preset_lists_them() -> None:
    with pytest.raises(DataError, match=r"'wavin'; the presets are: standing, front; .*waving"):
        read_target("wavin", nobody)
    with pytest.raises(DataError, match="wavin.jpg"):
        read_target("wavin.jpg", nobody)


def test_a_pose_on_another_canvas_is_framed(standing: Pose) -> None:
    assert frame_pose(standing, CANVAS, FRAMING) == standing
    large = standing.resize((1280, 640))
    framed = frame_pose(large, CANVAS, FRAMING)
    assert framed == large.crop(FRAMING.crop(large, CANVAS))
