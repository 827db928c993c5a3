"""The target poses that come with the package: they show what they are called."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import pg2lib
from pg2lib import Pose, pose_presets, render_heatmaps
from pg2lib.pose import JOINTS

PRESETS = pose_presets()
NOSE, NECK = JOINTS.index("nose"), JOINTS.index("neck")


def test_poses_json_is_a_dozen_or_more_poses_as_pose_writes_them() -> None:
    names: list[str] = []

    def remember(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names.extend(name for name, _ in pairs if name not in ("canvas", "keypoints"))
        return dict(pairs)

    entries = json.loads(
        (Path(pg2lib.__file__).parent / "presets.json").read_text(encoding="utf-8"), object_pairs_hook=remember
    )
    assert 12 <= len(entries) <= 16
    assert names == list(entries), "a name is given twice"
    for name, entry in entries.items():
        assert json.loads(Pose.from_json(json.dumps(entry)).to_json())["canvas"] == [128, 64], name
        assert len(entry["keypoints"]) == 18, name


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_lies_on_its_canvas_and_shows_a_whole_body(name: str) -> None:
    pose = PRESETS[name]
    assert pose.inside() == pose
    hidden = {joint for joint, seen in zip(JOINTS, pose.visible.tolist(), strict=True) if not seen}
    assert hidden <= {"nose", "right eye", "left eye", "right ear", "left ear"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_build_of_a_person(name: str) -> None:
    xy = PRESETS[name].xy
    ankles = xy[[10, 13], 1].max()
    assert xy[NECK, 1] < xy[[8, 11], 1].mean() < ankles, "neck above hips above the lower foot"
    # The longest limbs of these figures, as shares of 128 pixels: a torso .31, a thigh .21, an upper arm .16.
    for (a, b), longest in {(8, 9): 28, (11, 12): 28, (9, 10): 26, (12, 13): 26, (2, 3): 21, (5, 6): 21}.items():
        assert (xy[a] - xy[b]).norm() < longest, (JOINTS[a], JOINTS[b])
    assert 30 < (xy[NECK] - xy[[8, 11]].mean(dim=0)).norm() < 40


def test_no_two_presets_look_alike_to_the_model() -> None:
    heatmaps = {name: render_heatmaps(pose.xy[None], (128, 64))[0] for name, pose in PRESETS.items()}
    for (a, first), (b, second) in itertools.combinations(heatmaps.items(), 2):
        same = (first * second).sum() / torch.minimum(first.sum(), second.sum())
        assert same < 0.8, (a, b)


def test_left_and_right_are_as_seen_from_the_side_a_preset_names() -> None:
    facing = [name for name in PRESETS if "front" in name or name in ("arms raised", "waving", "hands on hips")]
    backs = [name for name in PRESETS if "back" in name]
    lefts, rights = ([n for n in PRESETS if n.endswith(side)] for side in ("left", "right"))
    assert len(facing) >= 4 and len(backs) >= 2 and len(lefts) >= 2 and len(rights) >= 2
    for name in facing:
        xy = PRESETS[name].xy
        assert xy[2, 0] < xy[5, 0] and xy[8, 0] < xy[11, 0] and xy[14, 0] < xy[15, 0], (
            f"{name}: own right is at small x"
        )
    for name in backs:
        xy = PRESETS[name].xy
        assert xy[2, 0] > xy[5, 0] and xy[8, 0] > xy[11, 0], f"{name}: own right is at large x"
        assert not PRESETS[name].visible[[NOSE, 14, 15]].any(), f"{name}: no face from behind"
    for name in lefts:
        assert PRESETS[name].xy[NOSE, 0] < PRESETS[name].xy[NECK, 0] - 4, name
        assert PRESETS[name].visible[[16, 17]].tolist() == [False, True], f"{name}: the left ear is the near one"
    for name in rights:
        assert PRESETS[name].xy[NOSE, 0] > PRESETS[name].xy[NECK, 0] + 4, name
        assert PRESETS[name].visible[[16, 17]].tolist() == [True, False], f"{name}: the right ear is the near one"


def test_presets_do_what_they_are_called() -> None:
    raised, hips, sitting = PRESETS["arms raised"].xy, PRESETS["hands on hips"].xy, PRESETS["sitting"].xy
    assert (raised[[4, 7], 1] < raised[NOSE, 1]).all()
    assert ((hips[[4, 7]] - hips[[8, 11]]).norm(dim=1) < 20).all()
    assert ((sitting[[9, 12], 1] - sitting[[8, 11], 1]).abs() < 10).all(), "thighs are level"
    stride = {name: float((pose.xy[10, 0] - pose.xy[13, 0]).abs()) for name, pose in PRESETS.items()}
    assert stride["walking left"] > 2 * stride["standing, facing left"]
    assert stride["walking right"] > 2 * stride["standing, facing right"]
