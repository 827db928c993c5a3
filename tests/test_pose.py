from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib.errors import DataError
from pg2lib.images import Crop, turn_photo
from pg2lib.pose import (
    BLAZEPOSE_TO_JOINTS,
    COCO17_TO_JOINTS,
    DRAWN_LIMBS,
    JOINT_COLOURS,
    JOINTS,
    MASK_LIMBS,
    Pose,
    flip_permutation,
    visible_part,
)


def random_pose(seed: int, canvas: tuple[int, int] = (128, 64)) -> Pose:
    generator = torch.Generator().manual_seed(seed)
    xy = torch.rand(18, 2, generator=generator) * torch.tensor([canvas[1], canvas[0]]) - 0.5
    xy[torch.rand(18, generator=generator) < 0.3] = math.nan
    return Pose(xy, canvas)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_pose_turns_with_its_image(degrees: int) -> None:
    image = Image.new("L", (7, 5))
    image.putpixel((2, 1), 255)
    xy = torch.full((18, 2), torch.nan)
    xy[0] = torch.tensor((2.0, 1.0))
    turned, pose = turn_photo(image, degrees), Pose(xy, (5, 7)).turn(degrees)
    assert pose.canvas == (turned.height, turned.width)
    x, y = (round(value) for value in pose.xy[0].tolist())
    assert turned.getpixel((x, y)) == 255
    assert pose.turn((360 - degrees) % 360) == Pose(xy, (5, 7))


def test_the_limbs_are_the_papers() -> None:
    assert (len(MASK_LIMBS), len(set(map(frozenset, MASK_LIMBS))), len(DRAWN_LIMBS)) == (23, 23, 17)
    named = {frozenset((JOINTS[a], JOINTS[b])) for a, b in MASK_LIMBS}
    assert frozenset(("right hip", "right shoulder")) in named
    assert frozenset(("right wrist", "right elbow")) in named
    assert frozenset(("right wrist", "left wrist")) not in named


def test_flip_swaps_exactly_the_left_and_right_joints() -> None:
    for joint, other in enumerate(flip_permutation()):
        swapped = JOINTS[joint].replace("right", "LEFT").replace("left", "right").replace("LEFT", "left")
        assert JOINTS[other] == swapped


@pytest.mark.parametrize("seed", range(5))
def test_flip_twice_is_the_same_pose(seed: int) -> None:
    pose = random_pose(seed)
    assert torch.allclose(pose.flip().flip().xy, pose.xy, atol=1e-5, equal_nan=True)


def test_flip_follows_the_pixels(standing: Pose) -> None:
    picture = standing.draw()
    mirrored = np.asarray(picture)[:, ::-1]
    flipped = np.asarray(standing.flip().draw())
    # The colours of left and right change places, the drawing's outline does not.
    assert ((mirrored > 60).any(axis=2) == (flipped > 60).any(axis=2)).mean() > 0.95


@pytest.mark.parametrize("seed", range(5))
def test_resize_there_and_back(seed: int) -> None:
    pose = random_pose(seed)
    assert torch.allclose(pose.resize((321, 77)).resize((128, 64)).xy, pose.xy, atol=1e-4, equal_nan=True)


def test_resize_keeps_pixel_centres() -> None:
    """The centre of the upper left pixel, doubled, is the middle of the four pixels it becomes."""
    pose = Pose(torch.zeros(18, 2), (10, 10)).resize((20, 20))
    assert torch.equal(pose.xy, torch.full((18, 2), 0.5))


def test_resize_and_crop_agree(standing: Pose) -> None:
    crop = Crop(left=-0.5, top=-0.5, right=63.5, bottom=127.5, canvas=(256, 128))
    assert torch.allclose(standing.crop(crop).xy, standing.resize((256, 128)).xy, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_json_round_trip(seed: int) -> None:
    pose = random_pose(seed)
    again = Pose.from_json(pose.to_json())
    assert again == pose
    assert hash(again) == hash(pose)
    assert json.loads(pose.to_json())["keypoints"].count(None) == int((~pose.visible).sum())


def test_poses_that_differ_are_not_equal(standing: Pose) -> None:
    moved = standing.xy.clone()
    moved[3, 0] += 1
    assert Pose(moved, standing.canvas) != standing
    assert Pose(standing.xy, (128, 65)) != standing
    assert standing != "a pose"


@pytest.mark.parametrize(
    ("xy", "canvas", "message"),
    [
        (torch.zeros(17, 2), (128, 64), r"got shape \(17, 2\)"),
        ("text", (128, 64), r"\(18, 2\) array"),
        (torch.full((18, 2), math.inf), (128, 64), r"nose: .*got \(inf, inf\)"),
        (torch.tensor([[math.nan, 3.0]] * 18), (128, 64), r"nose: .*got \(nan, 3\.0\)"),
        (torch.zeros(18, 2), (0, 64), r"canvas \(height, width\).*got \(0, 64\)"),
        (torch.zeros(18, 2), 128, r"canvas \(height, width\).*got 128"),
    ],
)
def test_invalid_poses_are_refused(xy: object, canvas: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Pose(xy, canvas)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ('{"canvas": [1, 1], "joints": []}', "unknown field 'joints'"),
        ("[]", "canvas.*keypoints.*got a list of 0"),
        ('{"canvas": [1, 1], "keypoints": []}', "keypoints.* 18 entries"),
        (json.dumps({"canvas": [9, 9], "keypoints": [[1, 2, 3]] * 18}), "a list of 3"),
    ],
)
def test_invalid_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Pose.from_json(text)


def test_the_pose_keeps_its_own_copy() -> None:
    xy = torch.zeros(18, 2)
    pose = Pose(xy, (10, 10))
    xy += 5
    assert torch.equal(pose.xy, torch.zeros(18, 2))


def test_inside_drops_what_lies_outside() -> None:
    xy = torch.full((18, 2), 5.0)
    xy[0], xy[1], xy[2], xy[3] = (torch.tensor(p) for p in ([-0.6, 5.0], [9.4, 5.0], [9.6, 5.0], [5.0, -0.4]))
    visible = Pose(xy, (10, 10)).inside().visible.tolist()
    assert visible == [False, True, False, *[True] * 15]


def test_drawing_puts_each_joint_in_its_colour() -> None:
    for joint in range(18):
        xy = torch.full((18, 2), math.nan)
        xy[joint] = torch.tensor([20.0, 30.0])
        drawn = np.asarray(Pose(xy, (64, 64)).draw())
        assert tuple(drawn[30, 20]) == JOINT_COLOURS[joint]
        assert drawn[:24].max() == 0


def test_drawing_over_an_image_leaves_the_image_alone(standing: Pose) -> None:
    image = Image.new("RGB", (64, 128), (9, 9, 9))
    drawn = standing.draw(image)
    assert image.getextrema() == ((9, 9), (9, 9), (9, 9))
    assert drawn.getpixel((63, 127)) == (9, 9, 9)
    with pytest.raises(DataError, match="64x128 pixels.*got 10x10"):
        standing.draw(Image.new("RGB", (10, 10)))


def test_a_pose_shows_itself(standing: Pose) -> None:
    assert standing._repr_png_().startswith(b"\x89PNG")
    hidden = standing.xy.clone()
    hidden[0] = math.nan
    assert repr(Pose(hidden, (128, 64))) == "Pose(17 of 18 joints on 128x64; missing: nose)"


BLAZEPOSE = {0: "nose", 11: "left shoulder", 12: "right shoulder", 13: "left elbow", 14: "right elbow",
             15: "left wrist", 16: "right wrist", 23: "left hip", 24: "right hip", 25: "left knee", 26: "right knee",
             27: "left ankle", 28: "right ankle", 2: "left eye", 5: "right eye", 7: "left ear",
             8: "right ear"}  # fmt: skip
COCO17 = dict(enumerate(["nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder",
                         "left elbow", "right elbow", "left wrist", "right wrist", "left hip", "right hip",
                         "left knee", "right knee", "left ankle", "right ankle"]))  # fmt: skip


@pytest.mark.parametrize(
    ("landmarks", "count", "convert", "table"),
    [
        (BLAZEPOSE, 33, Pose.from_blazepose, BLAZEPOSE_TO_JOINTS),
        (COCO17, 17, Pose.from_coco17, COCO17_TO_JOINTS),
    ],
)
def test_other_detectors_landmarks_land_on_the_joint_of_that_name(landmarks, count, convert, table) -> None:
    xy = torch.arange(count * 2, dtype=torch.float32).view(count, 2)
    pose = convert(xy, torch.ones(count), (200, 200))
    by_name = {name: xy[index] for index, name in landmarks.items()}
    by_name["neck"] = (by_name["left shoulder"] + by_name["right shoulder"]) / 2
    for joint, name in enumerate(JOINTS):
        assert torch.equal(pose.xy[joint], by_name[name]), name
    assert len(table) == 18


def test_unsure_and_outside_landmarks_are_missing_and_the_neck_with_a_shoulder() -> None:
    xy, sure = torch.full((33, 2), 50.0), torch.ones(33)
    sure[11] = 0.4  # left shoulder
    sure[13] = 0.5  # left elbow: at the threshold, not below it
    xy[16] = torch.tensor([50.0, 100.0])  # right wrist, one pixel below the last row
    pose = Pose.from_blazepose(xy, sure, (100, 100))
    missing = {name for name, seen in zip(JOINTS, pose.visible.tolist(), strict=True) if not seen}
    assert missing == {"left shoulder", "neck", "right wrist"}


@pytest.mark.parametrize(
    ("joints", "part"),
    [
        (JOINTS, "full body"),
        ([name for name in JOINTS if "ankle" not in name], "down to the knees"),
        ([name for name in JOINTS if "ankle" not in name and name != "left knee"], "down to the knees"),
        ([name for name in JOINTS if "ankle" not in name and "knee" not in name], "upper body"),
        (["nose", "left ear", "neck", "left shoulder", "right shoulder", "left elbow"], "head and shoulders"),
        (["nose", "left eye", "right ear"], "head only"),
        (["left shoulder", "right shoulder", "neck", "left hip", "left knee", "left ankle"], "no head"),
        (["left hip", "right hip", "left knee"], "legs only"),
        ([], "nobody"),
    ],
)
def test_the_visible_part_in_plain_words(joints: list[str], part: str) -> None:
    xy = [(5.0, 5.0) if name in joints else (math.nan, math.nan) for name in JOINTS]
    assert visible_part(Pose(torch.tensor(xy), (20, 20))) == part
