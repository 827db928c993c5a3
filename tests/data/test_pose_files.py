"""OpenPose's and COCO's JSON become the field's CSV."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from pg2lib import DataError, Pose, read_keypoints
from pg2lib.data.pose_files import import_keypoints, read_coco, read_openpose
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
    ((name, pose),) = read_openpose(tmp_path)
    assert name == "a.jpg"
    assert torch.equal(pose.xy, standing.xy)
    assert pose.canvas == (113, 47), "the smallest that holds the joints"


def test_coco_takes_the_neck_from_the_shoulders(tmp_path: Path, standing: Pose) -> None:
    file = coco(tmp_path / "coco.json", {"image_id": 7, "keypoints": triples(COCO, 2)})
    ((name, pose),) = read_coco(file)
    assert (name, pose.canvas) == ("a.jpg", (128, 64))
    expected = standing.xy.clone()
    expected[1] = expected[[2, 5]].mean(dim=0)
    assert torch.equal(pose.xy, expected)


def test_unlikely_and_unlabelled_keypoints_are_missing(tmp_path: Path) -> None:
    values = triples(JOINTS, 0.9, missing=("left wrist",))
    values[3 * JOINTS.index("nose") + 2] = 0.04
    openpose(tmp_path, "a", values)
    ((_, pose),) = read_openpose(tmp_path)
    assert {name for name, seen in zip(JOINTS, pose.visible.tolist(), strict=True) if not seen} == {
        "nose",
        "left wrist",
    }
    ((_, pose),) = read_openpose(tmp_path, min_confidence=0.01)
    assert int(pose.visible.sum()) == 17
    annotation = {"image_id": 7, "keypoints": triples(COCO, 1, missing=("left shoulder", "nose"))}
    ((_, pose),) = read_coco(coco(tmp_path / "coco.json", annotation))
    missing = {name for name, seen in zip(JOINTS, pose.visible.tolist(), strict=True) if not seen}
    assert missing == {"nose", "left shoulder", "neck"}, "a neck needs both shoulders; v = 1 is labelled, if hidden"


@pytest.mark.parametrize("order", [(0.5, 1.0, 0.25), (1.0, 0.25, 0.5)])
def test_of_several_people_the_largest_is_taken(tmp_path: Path, standing: Pose, order: tuple[float, ...]) -> None:
    openpose(tmp_path, "a", *(triples(JOINTS, 0.6 if scale == 1 else 0.9, scale) for scale in order))
    ((_, pose),) = read_openpose(tmp_path)
    assert torch.equal(pose.xy, standing.xy)
    annotations = [{"image_id": 7, "keypoints": triples(COCO, 2, scale)} for scale in order]
    ((_, pose),) = read_coco(coco(tmp_path / "coco.json", *annotations))
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
        ('{"people": 3}', r"a_keypoints.json\.people has the wrong type: '3'"),
        ('{"people": [{}]}', r"people\[0\] has no field 'pose_keypoints_2d'"),
        (
            '{"people": [{"pose_keypoints_2d": [1, 2]}]}',
            r"people\[0\]\.pose_keypoints_2d: expected 54 or 75.*got 2",
        ),
        (
            json.dumps({"people": [{"pose_keypoints_2d": [[], *[0] * 53]}]}),
            r"people\[0\]\.pose_keypoints_2d holds \[\], which is not a finite number",
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
        ({"image_id": 7, "keypoints": [1, 2, 3]}, {}, r"annotations\[0\]\.keypoints: expected 51 numbers.*got 3"),
        ({"image_id": 7, "keypoints": [math.nan] * 51}, {}, r"annotations\[0\]\.keypoints holds nan"),
        ({"keypoints": [0] * 51}, {}, r"annotations\[0\] has no field 'image_id'"),
        ({"image_id": 8, "keypoints": [0] * 51}, {}, "image_id 8 of an annotation is not among the images"),
        ({"image_id": 7, "keypoints": [0] * 51}, {"height": "128"}, r"images\[0\]\.height has the wrong type: '128'"),
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
    assert list(read_coco(file)) == [("a.jpg", None)]
    with pytest.raises(DataError, match="no file"):
        list(read_coco(tmp_path / "nowhere.json"))
    file.write_text("[]")
    with pytest.raises(DataError, match="has no field 'annotations'"):
        list(read_coco(file))


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        openpose(tmp_path / folder, "0002_c1s1_000451_03", triples(JOINTS, 0.9))
    with pytest.raises(DataError, match=r"0002_c1s1_000451_03\.jpg occurs twice"):
        import_keypoints(read_openpose(tmp_path), tmp_path / "k.csv")
    assert not (tmp_path / "k.csv").exists()


def test_two_spellings_of_one_image_are_refused(tmp_path: Path) -> None:
    names = ("fashionMENTees_Tanksid0000347017_3back", "fasionMENTeesTanksid0000347017_3back")
    for name in names:
        openpose(tmp_path, name, triples(JOINTS, 0.9))
    with pytest.raises(DataError, match=rf"{names[1]}\.jpg occurs twice"):
        import_keypoints(read_openpose(tmp_path), tmp_path / "k.csv")
    assert not (tmp_path / "k.csv").exists()


def test_an_id_that_stands_twice_among_cocos_images_is_refused(tmp_path: Path) -> None:
    image = {"file_name": "a.jpg", "width": 64, "height": 128}
    images = [{"id": 7, **image}, {"id": 8, **image}, {"id": 7, **image, "file_name": "b.jpg"}]
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": []}))
    with pytest.raises(DataError, match=r"coco\.json: images\[2\]\.id 7 occurs twice among the images"):
        list(read_coco(tmp_path / "coco.json"))


@pytest.mark.parametrize(
    "name",
    ["../x.jpg", "/tmp/x.jpg", "anna/../../x.jpg", "two\nlines.jpg", "two\u2028lines.jpg", "a\ttab.jpg", "blank.jpg "],
)
@pytest.mark.parametrize("visible", [2, 0])
def test_a_name_that_no_row_can_hold_is_refused(tmp_path: Path, name: str, visible: int) -> None:
    file = coco(tmp_path / "coco.json", {"image_id": 7, "keypoints": triples(COCO, visible)}, file_name=name)
    with pytest.raises(DataError, match=re.escape(f"the name {name!r} does not fit into a keypoint CSV")):
        import_keypoints(read_coco(file), tmp_path / "k.csv")
    assert not (tmp_path / "k.csv").exists()
