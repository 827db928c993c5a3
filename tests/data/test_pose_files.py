"""Pose files of every format become poses, and rows of the field's CSV."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pg2lib import DataError, Pose, parse_poses, read_keypoints, read_poses
from pg2lib.data.pose_files import import_keypoints, read_coco, read_openpose, read_pose_files, read_target_pose
from pg2lib.data.pose_formats.content import MAX_BYTES
from pg2lib.data.pose_formats.found import found_person
from pg2lib.pose import JOINTS
from tests.conftest import STANDING

BODY_25 = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "middle of the hips", "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle", "right eye",
    "left eye", "right ear", "left ear", *("feet",) * 6,
)  # fmt: skip
"""As OpenPose's documentation lists it."""

COCO = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
)  # fmt: skip
"""As COCO's documentation lists it."""

POINTS = dict(zip(JOINTS, STANDING, strict=True))


def triples(names: tuple[str, ...], third: float, scale: float = 1, missing: tuple[str, ...] = ()) -> list[float]:
    values: list[float] = []
    for name in names:
        x, y = POINTS.get(name, (1, 1))
        values += [0, 0, 0] if name in missing else [x * scale, y * scale, third]
    return values


def openpose(folder: Path, name: str, *people: list[float]) -> Path:
    file = folder / f"{name}_keypoints.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": values} for values in people]}))
    return file


def coco(file: Path, *annotations: dict[str, Any], **image: Any) -> Path:
    images = [{"id": 7, "file_name": "a.jpg", "width": 64, "height": 128, **image}]
    file.write_text(json.dumps({"images": images, "annotations": list(annotations)}))
    return file


@pytest.mark.parametrize("names", [JOINTS, BODY_25], ids=["COCO, 18 points", "BODY_25"])
def test_openpose_of_both_models(tmp_path: Path, standing: Pose, names: tuple[str, ...]) -> None:
    openpose(tmp_path, "a", triples(names, 0.9))
    ((name, (pose,)),) = read_openpose(tmp_path)
    assert name == "a.jpg"
    assert torch.equal(pose.xy, standing.xy)
    assert pose.canvas == (113, 47), "the smallest that holds the joints"


def test_coco_takes_the_neck_from_the_shoulders(tmp_path: Path, standing: Pose) -> None:
    file = coco(tmp_path / "coco.json", {"image_id": 7, "keypoints": triples(COCO, 2)})
    ((name, (pose,)),) = read_coco(file)
    assert (name, pose.canvas) == ("a.jpg", (128, 64))
    expected = standing.xy.clone()
    expected[1] = expected[[2, 5]].mean(dim=0)
    assert torch.equal(pose.xy, expected)


def test_unlikely_and_unlabelled_keypoints_are_missing(tmp_path: Path) -> None:
    values = triples(JOINTS, 0.9, missing=("left wrist",))
    values[3 * JOINTS.index("nose") + 2] = 0.04
    openpose(tmp_path, "a", values)
    ((_, (pose,)),) = read_openpose(tmp_path)
    assert {name for name, seen in zip(JOINTS, pose.visible.tolist(), strict=True) if not seen} == {
        "nose",
        "left wrist",
    }
    ((_, (pose,)),) = read_openpose(tmp_path, min_score=0.01)
    assert int(pose.visible.sum()) == 17
    annotation = {"image_id": 7, "keypoints": triples(COCO, 1, missing=("left shoulder", "nose"))}
    ((_, (pose,)),) = read_coco(coco(tmp_path / "coco.json", annotation))
    missing = {name for name, seen in zip(JOINTS, pose.visible.tolist(), strict=True) if not seen}
    assert missing == {"nose", "left shoulder", "neck"}, "a neck needs both shoulders; v = 1 is labelled, if hidden"


@pytest.mark.parametrize("order", [(0.5, 1.0, 0.25), (1.0, 0.25, 0.5)])
def test_of_several_people_the_largest_is_taken(tmp_path: Path, standing: Pose, order: tuple[float, ...]) -> None:
    openpose(tmp_path, "a", *(triples(JOINTS, 0.6 if scale == 1 else 0.9, scale) for scale in order))
    ((_, (pose, *others)),) = read_openpose(tmp_path)
    assert len(others) == 2
    assert torch.equal(pose.xy, standing.xy)
    annotations = [{"image_id": 7, "keypoints": triples(COCO, 2, scale)} for scale in order]
    ((_, (pose, *_)),) = read_coco(coco(tmp_path / "coco.json", *annotations))
    assert torch.equal(pose.xy[2:], standing.xy[2:])


def test_the_csv_has_the_fields_names_and_a_list_of_images_without_a_person(tmp_path: Path) -> None:
    folder = tmp_path / "json"
    openpose(folder / "img/WOMEN/Dresses/id_00000002", "02_1_front", triples(JOINTS, 0.9))
    openpose(folder, "0002_c1s1_000451_03", triples(BODY_25, 0.9))
    openpose(folder, "0002_c1s1_000551_01")
    openpose(folder, "0002_c1s1_000651_01", [], triples(JOINTS, 0.01))
    result = import_keypoints(read_openpose(folder), tmp_path / "k.csv")
    table = read_keypoints(tmp_path / "k.csv", (128, 64))
    assert set(table.names) == {"fashionWOMENDressesid0000000202_1front.jpg", "0002_c1s1_000451_03.jpg"}
    assert all(torch.equal(pose.xy, torch.tensor(STANDING).float()) for pose in table.poses())
    assert (result.found, set(result.without_person)) == (2, {f"0002_c1s1_000{n}51_01.jpg" for n in (5, 6)})
    assert result.missing_file.read_text().count("no person found") == 2


def test_pixels_stay_pixels_however_large_the_image_is(tmp_path: Path) -> None:
    openpose(tmp_path, "a", triples(JOINTS, 0.9, scale=30.5))
    import_keypoints(read_openpose(tmp_path, ".png"), tmp_path / "k.csv")
    table = read_keypoints(tmp_path / "k.csv", (4000, 2000), person_of=lambda name: name)
    assert table.names == ("a.png",)
    torch.testing.assert_close(table.xy[0], torch.tensor(STANDING).float() * 30.5, atol=0.51, rtol=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "a_keypoints.json cannot be read as JSON"),
        ("{}", "a_keypoints.json has no field 'people'"),
        ('{"people": 3}', r"a_keypoints.json\.people is 3"),
        ('{"people": [{}]}', r"people\[0\] has no field 'pose_keypoints_2d'"),
        ('{"people": [{"pose_keypoints_2d": [1, 2]}]}', r"people\[0\]\.pose_keypoints_2d has 2 numbers"),
        (
            json.dumps({"people": [{"pose_keypoints_2d": [0, [], *[0] * 52]}]}),
            r"people\[0\]\.pose_keypoints_2d\[0\] holds a list",
        ),
        (
            json.dumps({"people": [{"pose_keypoints_2d": [0.5] * 54}]}),
            r"people\[0\]\.pose_keypoints_2d holds fractions.*--keypoint_scale 0",
        ),
    ],
)
def test_malformed_openpose_names_the_file_and_the_field(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a_keypoints.json").write_text(text)
    with pytest.raises(DataError, match=message):
        list(read_openpose(tmp_path))


def test_places_without_openpose_results(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        list(read_openpose(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"holds no \*_keypoints\.json"):
        list(read_openpose(tmp_path))


@pytest.mark.parametrize(
    ("annotation", "image", "message"),
    [
        ({"image_id": 7, "keypoints": [1, 2, 3]}, {}, r"annotations\[0\]\.keypoints has 3 numbers"),
        ({"image_id": 7, "keypoints": [math.nan] * 51}, {}, r"annotations\[0\]\.keypoints\[0\] holds nan"),
        ({"keypoints": [0] * 51}, {}, r"annotations\[0\] has no field 'image_id'"),
        ({"image_id": 8, "keypoints": [0] * 51}, {}, r"annotations\[0\]\.image_id is 8, which is not among the images"),
        ({"image_id": 7, "keypoints": [0] * 51}, {"height": "128"}, r"images\[0\]\.height is '128'"),
        ({"image_id": 7, "keypoints": [0] * 51}, {"height": 0}, r"images\[0\] has a height of 0"),
    ],
)
def test_malformed_coco_names_the_file_and_the_field(
    tmp_path: Path, annotation: dict[str, Any], image: dict[str, Any], message: str
) -> None:
    file = coco(tmp_path / "coco.json", annotation, **image)
    with pytest.raises(DataError, match=message):
        list(read_coco(file))


def test_coco_images_without_annotations_or_keypoints_have_nobody(tmp_path: Path) -> None:
    file = coco(tmp_path / "coco.json", {"image_id": 7, "bbox": [1, 2, 3, 4], "iscrowd": 1})
    assert list(read_coco(file)) == [("a.jpg", [])]
    with pytest.raises(DataError, match="no file"):
        list(read_coco(tmp_path / "nowhere.json"))
    file.write_text("[]")
    with pytest.raises(DataError, match="has no field 'annotations'"):
        list(read_coco(file))


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        openpose(tmp_path / folder, "0002_c1s1_000451_03", triples(JOINTS, 0.9))
    with pytest.raises(DataError, match=r"0002_c1s1_000451_03\.jpg comes twice"):
        import_keypoints(read_openpose(tmp_path), tmp_path / "k.csv")
    assert not (tmp_path / "k.csv").exists()


def test_two_spellings_of_one_image_are_refused(tmp_path: Path) -> None:
    names = ("fashionMENTees_Tanksid0000347017_3back", "fasionMENTeesTanksid0000347017_3back")
    for name in names:
        openpose(tmp_path, name, triples(JOINTS, 0.9))
    with pytest.raises(DataError, match=rf"{names[1]}\.jpg comes twice"):
        import_keypoints(read_openpose(tmp_path), tmp_path / "k.csv")
    assert not (tmp_path / "k.csv").exists()


def test_an_id_that_stands_twice_among_cocos_images_is_refused(tmp_path: Path) -> None:
    image = {"file_name": "a.jpg", "width": 64, "height": 128}
    images = [{"id": 7, **image}, {"id": 8, **image}, {"id": 7, **image, "file_name": "b.jpg"}]
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": []}))
    with pytest.raises(DataError, match=r"coco\.json: images\[2\]\.id 7 stands twice among the images"):
        list(read_coco(tmp_path / "coco.json"))


@pytest.mark.parametrize(
    "name",
    ["../x.jpg", "/tmp/x.jpg", "anna/../../x.jpg", "two\nlines.jpg", "two\u2028lines.jpg", "a\ttab.jpg", "blank.jpg "],
)
@pytest.mark.parametrize("visible", [2, 0])
def test_a_name_that_no_row_can_hold_is_refused(tmp_path: Path, name: str, visible: int) -> None:
    file = coco(tmp_path / "coco.json", {"image_id": 7, "keypoints": triples(COCO, visible)}, file_name=name)
    with pytest.raises(DataError, match=re.escape(f"k.csv: the name {name!r}")):
        import_keypoints(read_coco(file), tmp_path / "k.csv")
    assert not (tmp_path / "k.csv").exists()


# Reading a file of any format


COCO_WITH_NECK = Pose(
    [(32, 28) if name == "neck" else POINTS[name] for name in JOINTS],
    (128, 64),
)
"""The standing person with the neck where COCO's shoulders put it."""

BLAZEPOSE = {
    0: "nose", 11: "left shoulder", 12: "right shoulder", 13: "left elbow", 14: "right elbow", 15: "left wrist",
    16: "right wrist", 23: "left hip", 24: "right hip", 25: "left knee", 26: "right knee", 27: "left ankle",
    28: "right ankle", 2: "left eye", 5: "right eye", 7: "left ear", 8: "right ear",
}  # fmt: skip
"""As MediaPipe's documentation lists them."""

CANVAS = {"canvas_height": 128, "canvas_width": 64}


def landmarks(scale: tuple[float, float] = (1 / 64, 1 / 128)) -> list[dict[str, float]]:
    placed = [POINTS.get(BLAZEPOSE.get(number, ""), (1, 1)) for number in range(33)]
    return [{"x": x * scale[0], "y": y * scale[1], "z": -0.2, "visibility": 0.98} for x, y in placed]


def pairs(names: tuple[str, ...]) -> list[list[float]]:
    return [list(POINTS.get(name, (1, 1))) for name in names]


def yolo(names: tuple[str, ...], *more: float, size: int = 3) -> str:
    values = [v for x, y in pairs(names) for v in (x / 64, y / 128, 0.9)[:size]]
    return " ".join(f"{value:.6f}" for value in (0, 0.5, 0.5, 0.4, 0.8, *values, *more)).replace("0.000000", "0", 1)


def body(values: list[float], **more: Any) -> dict[str, Any]:
    return {"pose_keypoints_2d": values, "face_keypoints_2d": None, **more}


FRACTIONS = [v for x, y, c in zip(*[iter(triples(JOINTS, 1.0))] * 3, strict=True) for v in (x / 64, y / 128, c)]
POSE_TEXT = "".join(f"{x} {y}\n" for x, y in pairs(JOINTS))
CSV = f"name:keypoints_y:keypoints_x\n0002_c1s1_000451_03.jpg: {[y for _, y in STANDING]}: {[x for x, _ in STANDING]}\n"

OPENPOSE_ORDER = {
    "OpenPose, BODY_25": json.dumps({"version": 1.3, "people": [body(triples(BODY_25, 0.9))]}),
    "OpenPose, COCO": json.dumps({"version": 1.3, "people": [body(triples(JOINTS, 0.9))]}),
    "OpenPose before 1.3": json.dumps({"version": 1.0, "people": [{"pose_keypoints": triples(JOINTS, 0.9)}]}),
    "ControlNet, pixels": json.dumps({"people": [body(triples(JOINTS, 1.0))], **CANVAS}),
    "ControlNet, fractions": json.dumps({"people": [body(FRACTIONS)], **CANVAS}),
    "ComfyUI": json.dumps([{"version": "ap10k", "animals": [], "people": [body(triples(JOINTS, 1.0))], **CANVAS}]),
    "an editor's people": json.dumps({"people": [body(triples(JOINTS, 1))], "width": 64, "height": 128}),
    "an editor's keypoints": json.dumps({"width": 64, "height": 128, "keypoints": [pairs(JOINTS)]}),
    "points": json.dumps(pairs(JOINTS)),
    "people of points": json.dumps([pairs(JOINTS)]),
    "poses by name": json.dumps({"standing": pairs(JOINTS)}),
    "pytorch-openpose": json.dumps(
        {
            "candidate": [[*point, 0.9, number] for number, point in enumerate(pairs(JOINTS))],
            "subset": [[*range(18), 30.1, 18]],
        }
    ),
    "DWPose": json.dumps(
        {
            "bodies": {
                "candidate": [[x / 64, y / 128] for x, y in pairs(JOINTS)],
                "subset": [[*map(float, range(18))]],
            },
            "hands": [],
            "faces": [],
        }
    ),
    "AlphaPose, cmu": json.dumps(
        {"a.jpg": {"version": "AlphaPose v0.3", "bodies": [{"joints": triples(JOINTS, 0.9)}]}}
    ),
    "AlphaPose, open": json.dumps({"a.jpg": {"people": [{"pose_keypoints_2d": triples(JOINTS, 0.9)}]}}),
    "pose text": POSE_TEXT,
    "pose text with scores": "".join(f"{x:.18e} {y:.18e} 1.0\n" for x, y in pairs(JOINTS)),
    "keypoint CSV": CSV,
    "keypoint CSV, no header": CSV.partition("\n")[2],
    "pg2lib": Pose(STANDING, (128, 64)).to_json(),
}
"""The standing person in each format with 18 joints in the order of OpenPose."""

COCO_ORDER = {
    "COCO annotations": json.dumps(
        {
            "images": [{"id": 7, "file_name": "a.jpg", "width": 64, "height": 128}],
            "categories": [{"id": 1, "name": "person", "keypoints": [name.replace(" ", "_") for name in COCO]}],
            "annotations": [{"image_id": 7, "keypoints": triples(COCO, 2)}],
        }
    ),
    "COCO results": json.dumps([{"image_id": 7, "category_id": 1, "keypoints": triples(COCO, 0.8), "score": 0.9}]),
    "AlphaPose": json.dumps(
        [{"image_id": "a.jpg", "keypoints": triples(COCO, 0.8), "score": 3.1, "box": [1, 2, 3, 4]}]
    ),
    "AlphaPose, Halpe 26": json.dumps([{"image_id": "a.jpg", "keypoints": triples(COCO, 0.8) + [9, 9, 0.9] * 9}]),
    "MMPose": json.dumps([{"keypoints": pairs(COCO), "keypoint_scores": [0.9] * 17, "bbox": [[1, 2, 3, 4]]}]),
    "MMPose, WholeBody": json.dumps([{"keypoints": pairs(COCO) + [[9, 9]] * 116, "keypoint_scores": [0.9] * 133}]),
    "ViTPose": json.dumps([{"keypoints": pairs(COCO), "scores": [0.9] * 17, "labels": [*range(17)]}]),
    "MMPose, demo": json.dumps(
        {
            "meta_info": {"keypoint_id2name": {str(n): name.replace(" ", "_") for n, name in enumerate(COCO)}},
            "instance_info": [{"keypoints": pairs(COCO), "keypoint_scores": [0.9] * 17}],
        }
    ),
    "MMPose, video": json.dumps(
        {"instance_info": [{"frame_id": 1, "instances": [{"keypoints": pairs(COCO), "keypoint_scores": [0.9] * 17}]}]}
    ),
    "MMPose, inferencer": json.dumps({"predictions": [[{"keypoints": pairs(COCO), "keypoint_scores": [0.9] * 17}]]}),
    "Ultralytics": json.dumps(
        [
            {
                "name": "person",
                "box": {"x1": 1.0},
                "keypoints": dict(zip("xy", map(list, zip(*pairs(COCO), strict=True)), strict=True))
                | {"visible": [0.9] * 17},
            }
        ]
    ),
    "MoveNet": json.dumps({"keypoints": [{"x": x, "y": y, "score": 0.9} for x, y in pairs(COCO)]}),
    "MediaPipe": json.dumps(landmarks()),
    "MediaPipe, several people": json.dumps({"landmarks": [landmarks()], "worldLandmarks": [[]]}),
    "MediaPipe, a message": json.dumps({"pose_landmarks": {"landmark": landmarks()}}),
    "MediaPipe, lists with depth": json.dumps([[p["x"], p["y"], p["z"], p["visibility"]] for p in landmarks()]),
    "MediaPipe, pixels": json.dumps(landmarks((1, 1))),
    "YOLO": yolo(COCO),
    "YOLO, prediction with a track": yolo(COCO, 0.93, 4),
    "YOLO without visibility": yolo(COCO, size=2),
}
"""The standing person in each format without a neck."""


@pytest.mark.parametrize("name", [*OPENPOSE_ORDER, *COCO_ORDER])
@pytest.mark.parametrize("suffix", ["json", "txt", ""])
def test_the_format_is_told_from_the_content(tmp_path: Path, standing: Pose, name: str, suffix: str) -> None:
    text = OPENPOSE_ORDER.get(name) or COCO_ORDER[name]
    (tmp_path / f"a.{suffix}").write_text(text)
    (pose,) = read_poses(tmp_path / f"a.{suffix}", canvas=(128, 64))
    expected = standing if name in OPENPOSE_ORDER else COCO_WITH_NECK
    torch.testing.assert_close(pose.xy, expected.xy, atol=1e-3, rtol=0)
    assert pose.canvas == (128, 64)


@pytest.mark.parametrize("name", ["ControlNet, pixels", "ControlNet, fractions", "ComfyUI", "an editor's keypoints"])
def test_the_files_canvas_is_taken_before_another(name: str) -> None:
    assert parse_poses(OPENPOSE_ORDER[name], canvas=(999, 999))[0].canvas == (128, 64)


@pytest.mark.parametrize(
    ("text", "canvas"),
    [
        (OPENPOSE_ORDER["OpenPose, COCO"], (113, 47)),
        (COCO_ORDER["COCO annotations"], (128, 64)),
        (CSV, (128, 64)),
        (CSV.replace("0002_c1s1_000451_03", "fashionMENTees_Tanksid0000347017_3back"), (256, 176)),
        (CSV.replace("0002_c1s1_000451_03", "holiday"), (113, 47)),
        (POSE_TEXT, (256, 176)),
        ("".join(f"{x + 96} {y}\n" for x, y in pairs(JOINTS)), (256, 256)),
        ("".join(f"{x * 8} {y * 8}\n" for x, y in pairs(JOINTS)), (897, 369)),
    ],
)
def test_a_canvas_that_nobody_gives(text: str, canvas: tuple[int, int]) -> None:
    assert parse_poses(text)[0].canvas == canvas


@pytest.mark.parametrize("name", ["MediaPipe", "YOLO", "ControlNet, fractions"])
def test_fractions_need_a_canvas(name: str) -> None:
    text = (OPENPOSE_ORDER | COCO_ORDER)[name].replace("canvas_height", "unknown")
    with pytest.raises(DataError, match=r"fractions.*canvas=\(height, width\).*--canvas.*--pose-canvas"):
        parse_poses(text)


def test_one_joint_outside_does_not_turn_fractions_into_pixels(caplog: pytest.LogCaptureFixture) -> None:
    """The ankle lies just below the frame."""
    values = list(FRACTIONS)
    values[3 * JOINTS.index("left ankle") + 1] = 1.11
    (pose,) = parse_poses(json.dumps({"people": [body(values)], **CANVAS}))
    assert pose.xy[JOINTS.index("left ankle"), 1] == pytest.approx(1.11 * 128)
    assert float(pose.xy.max()) > 100
    assert "fractions" in caplog.text


def test_fractions_and_pixels_are_decided_for_the_whole_file_and_folder(tmp_path: Path) -> None:
    near = [9, 9, 0.9, *[0] * 51]
    far = triples(JOINTS, 0.9)
    assert [int(p.visible.sum()) for p in parse_poses(json.dumps({"people": [body(far), body(near)]}))] == [18, 1]
    mixed = json.dumps([{"people": [body(far)], **CANVAS}, {"people": [body(FRACTIONS)], **CANVAS}])
    with pytest.raises(DataError, match=r"\[1\].people\[0\].*fractions.*while other images"):
        parse_poses(mixed)
    openpose(tmp_path, "a", far)
    openpose(tmp_path, "b", [1, 2, 0.9, *[0] * 51])
    assert dict(read_openpose(tmp_path))["b.jpg"][0].xy[0].tolist() == [1, 2], "one joint says nothing against pixels"
    openpose(tmp_path, "c", FRACTIONS)
    with pytest.raises(DataError, match=r"c_keypoints\.json.*fractions"):
        list(read_openpose(tmp_path))


def test_openpose_scale_from_minus_one_to_one_is_named() -> None:
    values = [v if number % 3 == 2 else 2 * v - 1 for number, v in enumerate(FRACTIONS)]
    with pytest.raises(DataError, match=r"--keypoint_scale 4"):
        parse_poses(json.dumps({"people": [body(values)]}), canvas=(128, 64))


def test_several_people_and_frames() -> None:
    """Frames keep their order; in a frame a complete person comes before stray joints that span the image."""
    stray = triples(JOINTS, 0.0)
    for joint, (x, y) in enumerate([(1, 1), (60, 120), (30, 60)]):
        stray[3 * joint : 3 * joint + 3] = x, y, 0.12
    small = triples(JOINTS, 0.9, scale=0.5)
    frames = [{"people": [body(stray), body(small)], **CANVAS}, {"people": [], **CANVAS}]
    poses = parse_poses(json.dumps([*frames, {"people": [body(triples(JOINTS, 1.0))], **CANVAS}]))
    assert [int(pose.visible.sum()) for pose in poses] == [18, 3, 18]
    assert float(poses[0].xy.max()) < float(poses[2].xy.max())


def test_a_person_who_is_unsure_comes_after_one_of_the_same_size_who_is_not() -> None:
    unsure, sure = triples(JOINTS, 0.3), [v + 10 * (n % 3 == 0) for n, v in enumerate(triples(JOINTS, 0.9))]
    first, second = parse_poses(json.dumps({"people": [body(unsure), body(sure)]}))
    assert float(first.xy[0, 0] - second.xy[0, 0]) == 10


def test_a_neck_is_no_surer_than_the_less_sure_shoulder() -> None:
    scores = [0.9 if name != "left shoulder" else 0.3 for name in COCO]
    found = found_person([(x, y, score) for (x, y), score in zip(pairs(COCO), scores, strict=True)], "a.json")
    assert float(found.scores[JOINTS.index("neck")]) == pytest.approx(0.3)


@pytest.mark.parametrize("point", [(0, 0, 0.9), (-1, -1, 0.9), (20, 30, 0)])
def test_keypoints_that_formats_mark_as_missing_are_missing_at_any_threshold(point: tuple[float, ...]) -> None:
    values = [*triples(JOINTS, 0.9)[:-3], *point]
    (pose,) = parse_poses(json.dumps({"people": [body(values)], **CANVAS}), min_score=0.0)
    assert pose.visible.tolist() == [True] * 17 + [False]


def test_nobody_is_no_error_for_a_reader() -> None:
    for text in (
        '{"people": []}',
        "[]",
        '{"people": [{"pose_keypoints_2d": []}]}',
        json.dumps({"people": [body(None)]}),
    ):
        assert parse_poses(text) == []


SCORED: dict[str, Callable[[float], Any]] = {
    "OpenPose": lambda score: {"people": [body([*triples(JOINTS, 0.9)[:-1], score])]},
    "COCO": lambda score: (
        json.loads(COCO_ORDER["COCO annotations"])
        | {"annotations": [{"image_id": 7, "keypoints": [*triples(COCO, 2)[:-1], score]}]}
    ),
    "AlphaPose": lambda score: [{"image_id": "a.jpg", "keypoints": [*triples(COCO, 0.9)[:-1], score]}],
    "MMPose": lambda score: [{"keypoints": pairs(COCO), "keypoint_scores": [*[0.9] * 16, score]}],
    "MediaPipe": lambda score: [{**mark, "visibility": score if n == 28 else 1} for n, mark in enumerate(landmarks())],
}
"""JSON with the standing person, and the score of one joint."""


@pytest.mark.parametrize("name", SCORED)
def test_one_threshold_holds_for_all_formats(name: str) -> None:
    def visible(score: float, **options: float) -> int:
        return int(parse_poses(json.dumps(SCORED[name](score)), (128, 64), **options)[0].visible.sum())

    assert (visible(0.05), visible(0.049), visible(0.02)) == (18, 17, 17)
    assert (visible(0.02, min_score=0.01), visible(0.4, min_score=0.5)) == (18, 17)
    text = OPENPOSE_ORDER["points"]
    with pytest.raises(DataError, match="least score"):
        parse_poses(text, (128, 64), min_score=1.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (b"PK\x03\x04" + b"\0" * 26 + b"archive/data.pkl", "PyTorch"),
        (b"PK\x03\x04" + b"\0" * 26 + b"xy.npy", "NumPy"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"\x80\x04\x95\x00", "pickle"),
        (b"\x93NUMPY\x01\0", "NumPy"),
        (b"\x40\0\0\0\0\0\0\0" + b'{"a": 1}', "safetensors"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "video"),
        (b"\x1a\x45\xdf\xa3webm", "video"),
        (b"%YAML:1.0\n---\n", "--write_json"),
        (b"HIERARCHY\nROOT Hips\n", "BVH"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"%PDF-1.7", "PDF"),
        (b"\xff\xfe\x00\xd8", "UTF-8"),
        (b"", "empty"),
        (b"from,to\na.jpg,b.jpg\n", "list of images"),
        (b"0 0.5 0.5 0.2 0.2\n", "YOLO"),
        (b"1 2\n3 4\n", "2 lines of 2"),
        (b"two words", "no known format"),
        (b'{"nodes": [], "links": []}', "ComfyUI"),
        (b'{"shapes": [], "imagePath": "a.jpg"}', "LabelMe"),
        (b'{"pose_world_landmarks": []}', "world landmarks"),
        (b'{"whatever": 1}', "whatever"),
        (b'"text"', "no known format"),
        (json.dumps([[1, 2]] * 16).encode(), "MPII"),
        (json.dumps({"people": [body([1] * 63)]}).encode(), "one hand"),
        (json.dumps([{"keypoints": [[1, 2, 3]] * 17, "keypoint_scores": [1] * 17}]).encode(), "3-D"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_poses(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(error.value)


def test_keypoints_in_another_order_are_refused() -> None:
    names = ["nose", "head_bottom", "head_top", *(name.replace(" ", "_") for name in COCO[3:])]
    values = json.loads(COCO_ORDER["COCO annotations"]) | {"categories": [{"keypoints": names}]}
    with pytest.raises(DataError, match=r"categories names keypoint 1 'head_bottom'; expected left_eye"):
        parse_poses(json.dumps(values))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "JSON"),
        ("[" * 40 + "1" + "]" * 40, "levels deep"),
        ("[" + "9" * 5000 + "]", "JSON"),
        (json.dumps(pairs(JOINTS)).replace("32, 16", "1e400, 16"), "holds the number 1e400"),
        (json.dumps(pairs(JOINTS)).replace("32, 16", "NaN, 16"), r"\[0\] holds nan"),
        (json.dumps(pairs(JOINTS)).replace("32, 16", "1" + "0" * 400 + ", 16"), "a whole number of 401 digits"),
        (json.dumps(pairs(JOINTS)).replace("32, 16", "1e6, 16"), "at 1000000 pixels"),
        (json.dumps(pairs(JOINTS)).replace("32, 16", "true, 16"), r"\[0\] holds True"),
        (OPENPOSE_ORDER["ControlNet, pixels"].replace("64}", "1e9}"), "a width of 1000000000"),
        (OPENPOSE_ORDER["ControlNet, pixels"].replace("64}", "0}"), "a width of 0"),
        (POSE_TEXT.replace("32 16", "nan 16"), ":1 holds 'nan'"),
        (CSV.replace("[16,", "[1e400,"), ":2: keypoints_y .*1e400"),
        (Pose(STANDING, (128, 64)).to_json().replace("[32.0, 16.0]", "[32.0]"), r"keypoints\[0\] has 1 numbers"),
    ],
)
def test_numbers_and_nesting_are_bounded(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_poses(text)


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no file"):
        read_poses(tmp_path / "nowhere.json")
    with pytest.raises(DataError, match="is a folder"):
        read_poses(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DataError, match="not a regular file"):
        read_poses(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(DataError, match="more than 64 MB"):
        read_poses(tmp_path / "large")
    monkeypatch.setattr("pg2lib.data.pose_files.MAX_BYTES", 10)
    with pytest.raises(DataError, match="the text has more than"):
        parse_poses(POSE_TEXT)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_text_with_a_byte_order_mark(tmp_path: Path, standing: Pose, encoding: str) -> None:
    (tmp_path / "a.json").write_text(standing.to_json(), encoding=encoding)
    assert read_poses(tmp_path / "a.json") == [standing]


NASTY = st.sampled_from(
    [None, True, -1, 0, 1e400, math.nan, 10**400, 1e6, -1e300, "x", "\ud800", "", [], {}, [[]], {"x": {}}, [None] * 18]
)


def replaced(value: Any, target: int, new: Any, count: list[int]) -> Any:
    """The value with its `target`-th item, counted in depth-first order, replaced."""
    count[0] += 1
    if count[0] == target:
        return new
    if isinstance(value, list):
        return [replaced(item, target, new, count) for item in value]
    if isinstance(value, dict):
        return {key: replaced(item, target, new, count) for key, item in value.items()}
    return value


@settings(derandomize=True, max_examples=300, deadline=None, database=None)
@given(st.sampled_from([*OPENPOSE_ORDER, *COCO_ORDER]), st.integers(1, 80), NASTY, st.integers(0, 400), st.booleans())
def test_damaged_files_give_poses_or_a_data_error(name: str, target: int, new: Any, cut: int, canvas: bool) -> None:
    text = (OPENPOSE_ORDER | COCO_ORDER)[name]
    if text[0] in "[{" and cut % 3:
        text = json.dumps(replaced(json.loads(text), target % 30 if cut % 2 else target, new, [0]))
    elif cut % 2:
        text = text[: len(text) * cut // 400] + str(new)[:400] + text[len(text) * cut // 400 + 1 :]
    else:
        text = text[:cut]
    try:
        poses = parse_poses(text, (128, 64) if canvas else None)
    except DataError as error:
        assert len(str(error)) < 1000
        return
    assert all(isinstance(pose, Pose) for pose in poses)


# Pictures of skeletons


def test_a_drawn_skeleton_is_read_back(tmp_path: Path, standing: Pose) -> None:
    pose = standing.resize((512, 256))
    for background in ("black", "white"):
        pose.draw(background=background).save(tmp_path / "a.png")
        (read,) = read_poses(tmp_path / "a.png")
        assert read.canvas == (512, 256)
        torch.testing.assert_close(read.xy, pose.xy, atol=1.5, rtol=0)
    half = Pose(torch.where(torch.arange(18)[:, None] % 8 == 4, torch.nan, pose.xy), pose.canvas)
    half.draw().save(tmp_path / "a.jpg", quality=90)
    (read,) = read_poses(tmp_path / "a.jpg")
    torch.testing.assert_close(read.xy, half.xy, atol=2, rtol=0, equal_nan=True)


def test_skeletons_that_cannot_be_read_ask_for_json(tmp_path: Path, standing: Pose) -> None:
    large = standing.resize((512, 256))
    other = Pose(large.xy / 2, large.canvas)
    swapped = Image.fromarray(np.asarray(large.draw())[..., ::-1])
    for picture, reason in (
        (standing.draw().resize((64, 128)), "fewer than 200 pixels"),
        (other.draw(large.draw()), "several people"),
        (swapped, "no limbs"),
    ):
        picture.save(tmp_path / "a.png")
        with pytest.raises(DataError, match=rf"a\.png .*{reason}.*JSON"):
            read_poses(tmp_path / "a.png")


def test_a_skeleton_in_blended_colours_asks_for_json(tmp_path: Path, standing: Pose) -> None:
    """OpenPose blends its colours with the background: on black they have 60 % of their brightness."""
    picture = Image.eval(standing.resize((512, 256)).draw(), lambda value: round(0.6 * value))
    picture.save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png looks like a picture of a skeleton.*colours.*JSON"):
        read_target_pose(tmp_path / "a.png")


def test_vitposes_scores_tell_what_is_missing() -> None:
    (pose,) = parse_poses(json.dumps([{"keypoints": pairs(COCO), "scores": [0.9] * 16 + [0.01]}]))
    assert not pose.visible[JOINTS.index("right ankle")] and int(pose.visible.sum()) == 17


def test_one_of_several_poses_is_the_target(tmp_path: Path, standing: Pose, caplog) -> None:
    frames = [{"people": [body([value + shift for value in triples(JOINTS, 1)])], **CANVAS} for shift in (0, 1)]
    (tmp_path / "a.json").write_text(json.dumps(frames))
    first, second = (read_target_pose(tmp_path / "a.json", number=number) for number in (1, 2))
    assert not caplog.records
    assert read_target_pose(tmp_path / "a.json") == first != second
    assert "the first of 2 poses is used; --pose-number" in caplog.text
    with pytest.raises(DataError, match="holds 2 poses; .* got 3"):
        read_target_pose(tmp_path / "a.json", number=3)


def test_a_photo_is_left_to_the_detector(tmp_path: Path, standing: Pose) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="detect_pose"):
        read_poses(tmp_path / "a.png")
    assert read_target_pose(tmp_path / "a.png") is None
    (tmp_path / "b.json").write_text(OPENPOSE_ORDER["pg2lib"])
    assert read_target_pose(tmp_path / "b.json") == standing
    (tmp_path / "b.json").write_text('{"people": []}')
    with pytest.raises(DataError, match="no pose"):
        read_target_pose(tmp_path / "b.json")


# Importing files of any format


def names_in(path: Path, **options: Any) -> dict[str, int]:
    return {name: len(poses) for name, poses in read_pose_files(path, **options)}


def test_files_of_any_format_are_imported(tmp_path: Path) -> None:
    poses = tmp_path / "pose/WOMEN/Dresses/id_00000002"
    poses.mkdir(parents=True)
    (poses / "02_1_front.txt").write_text(POSE_TEXT)
    assert names_in(tmp_path / "pose") == {"fashionWOMENDressesid0000000202_1front.jpg": 1}
    (poses / "02_1_front.txt").unlink()
    (tmp_path / "pose/x_keypoints.json").write_text(OPENPOSE_ORDER["OpenPose, COCO"])
    (tmp_path / "pose/nobody.json").write_text('{"people": []}')
    (tmp_path / "pose/b.json").write_text(COCO_ORDER["AlphaPose"])
    expected = {"x.png": 1, "nobody.png": 0, "a.jpg": 1}
    assert names_in(tmp_path / "pose", suffix="png") == expected
    with pytest.raises(DataError, match="suffix"):
        names_in(tmp_path / "pose", suffix="../x")
    (tmp_path / "k.csv").write_text(CSV)
    assert names_in(tmp_path / "k.csv") == {"0002_c1s1_000451_03.jpg": 1}
    (tmp_path / "coco.json").write_text(COCO_ORDER["COCO annotations"])
    assert names_in(tmp_path / "coco.json") == {"a.jpg": 1}


def test_images_without_names_and_places_without_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pose file"):
        names_in(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps([{"people": [body(triples(JOINTS, 1.0))], **CANVAS}] * 2))
    with pytest.raises(DataError, match=r"a\.json holds the poses of several images"):
        names_in(tmp_path)


def test_fractions_are_imported_with_a_canvas(tmp_path: Path, standing: Pose) -> None:
    openpose(tmp_path, "a", FRACTIONS)
    ((_, (pose,)),) = read_pose_files(tmp_path, canvas=(128, 64))
    torch.testing.assert_close(pose.xy, standing.xy, atol=1e-3, rtol=0)


@pytest.mark.parametrize("suffix", ["png", ".png"])
def test_a_suffix_has_one_dot(tmp_path: Path, suffix: str) -> None:
    openpose(tmp_path, "plain", triples(JOINTS, 0.9))
    assert [name for name, _ in read_openpose(tmp_path, suffix)] == ["plain.png"]


def test_paths_of_windows(tmp_path: Path) -> None:
    annotation = {"image_id": 7, "keypoints": triples(COCO, 2)}
    file = coco(tmp_path / "coco.json", annotation, file_name="bounding_box_train\\0002_c1s1_000451_03.jpg")
    assert [name for name, _ in read_coco(file)] == ["0002_c1s1_000451_03.jpg"]
    file = coco(tmp_path / "coco.json", annotation, file_name="anna\\beach.jpg")
    assert [name for name, _ in read_coco(file)] == ["anna/beach.jpg"]
    file = coco(tmp_path / "coco.json", annotation, file_name="C:\\data\\beach.jpg")
    with pytest.raises(DataError, match="below the folder of the images"):
        import_keypoints(read_coco(file), tmp_path / "k.csv")


def test_people_who_are_passed_over_are_counted(tmp_path: Path) -> None:
    openpose(tmp_path, "a", *(triples(JOINTS, 0.9, scale) for scale in (0.5, 1, 0.25)))
    openpose(tmp_path, "b", triples(JOINTS, 0.9), triples(JOINTS, 0.01))
    assert import_keypoints(read_openpose(tmp_path), tmp_path / "k.csv").passed_over == 2
