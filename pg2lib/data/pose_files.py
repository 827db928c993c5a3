"""Pose files of other tools: OpenPose's JSON and COCO's, and their conversion to the field's CSV.

Coordinates stay as they are in the files, in pixels of the image that the tool was given. Since an image of the field's
CSV shows one person, the person whose joints span the largest box is chosen.

References:
    OpenPose's output format (``doc/02_output.md`` of CMU-Perceptual-Computing-Lab/openpose); COCO's keypoint
    annotations (cocodataset.org, "Data format").
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pg2lib.data.keypoint_csv import NOBODY, Preparation, check_csv, csv_row, write_rows
from pg2lib.data.names import canonical_name, checked_name, image_key
from pg2lib.errors import DataError
from pg2lib.files import files_below
from pg2lib.pose import JOINTS, Pose

NamedPose = tuple[str, Pose | None]
"""The name of an image in the CSV, and the pose in it; None if there is no person."""

OPENPOSE_ENDING = "_keypoints.json"

BODY_25_TO_JOINTS = (*range(8), *range(9, 19))
"""For each joint its index in OpenPose's BODY_25, which has the middle of the hips at index 8, and the feet at the end.
The 18-point COCO model has our order."""

MIN_CONFIDENCE = 0.05
"""Keypoints with a lower confidence are missing. OpenPose does not draw them either (``render_threshold``)."""


def read_openpose(
    folder: str | PathLike[str], suffix: str = ".jpg", min_confidence: float = MIN_CONFIDENCE
) -> Iterator[NamedPose]:
    """Read the results of OpenPose: ``<image>_keypoints.json`` for each image, written with ``--write_json``.

    The models with 18 points (COCO) and 25 points (BODY_25) are supported. The files do not contain the size of the
    image, so the canvas of a pose is the smallest that holds its joints.

    Args:
        folder: Searched with its subfolders. Images are named by `canonical_name` of the path below it.
        suffix: The suffix of the images, which the files do not contain either.
        min_confidence: Joints with a lower confidence are missing.

    Yields:
        The name and the pose of each image.

    Raises:
        DataError: If there is no such folder or no such file in it, or if a file is malformed. The message names the
            file and the field.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"no folder {root}; expected the folder of OpenPose's JSON files, one for each image")
    files = sorted(path for path in files_below(root, {".json"}) if path.name.endswith(OPENPOSE_ENDING))
    if not files:
        raise DataError(f"{root} holds no *{OPENPOSE_ENDING}, which OpenPose's --write_json makes")
    for file in files:
        relative = file.relative_to(root).as_posix().removesuffix(OPENPOSE_ENDING) + suffix
        people = _field(_load(file), "people", list, str(file))
        candidates = [
            _openpose_person(person, f"{file}: people[{number}]", min_confidence)
            for number, person in enumerate(people)
        ]
        yield canonical_name(relative), _on_smallest_canvas(_largest(candidates))


def _openpose_person(person: Any, where: str, min_confidence: float) -> Tensor:
    """Return the keypoints of one person, (18, 2), NaN where a joint is missing."""
    values = _numbers(_field(person, "pose_keypoints_2d", list, where), f"{where}.pose_keypoints_2d", (0, 54, 75))
    if not len(values):  # only hands or a face were detected
        return torch.full((len(JOINTS), 2), torch.nan)
    points = values.view(-1, 3)
    if len(points) != len(JOINTS):
        points = points[list(BODY_25_TO_JOINTS)]
    xy = torch.where(points[:, 2:] >= max(min_confidence, 1e-6), points[:, :2], torch.nan)
    present = xy[~xy.isnan()]
    if len(present) > 2 and float(present.abs().max()) <= 1:
        raise DataError(
            f"{where}.pose_keypoints_2d holds fractions of the image, not pixels; run OpenPose with --keypoint_scale 0"
        )
    return xy


def read_coco(file: str | PathLike[str]) -> Iterator[NamedPose]:
    """Read annotations in COCO's format: a JSON file with ``images``, and ``annotations`` of 17 keypoints (x, y, v).

    Keypoints with v = 0 or outside the image are missing. The neck is the middle of the shoulders. Images without an
    annotation show no person.

    Args:
        file: The JSON file. Images are named by `canonical_name` of their ``file_name``.

    Yields:
        The name and the pose of each image.

    Raises:
        DataError: If there is no such file, or if it is malformed. The message names the field.
    """
    path = Path(file)
    values = _load(path)
    people: dict[Any, list[Any]] = {}
    for number, annotation in enumerate(_field(values, "annotations", list, str(path))):
        where = f"{path}: annotations[{number}]"
        image_id = _field(annotation, "image_id", (int, str), where)
        if "keypoints" in annotation:  # crowds and objects have none
            keypoints = _field(annotation, "keypoints", list, where)
            people.setdefault(image_id, []).append(_numbers(keypoints, f"{where}.keypoints", (51,)).view(17, 3))
    ids: set[Any] = set()
    for number, image in enumerate(_field(values, "images", list, str(path))):
        where = f"{path}: images[{number}]"
        name = canonical_name(_field(image, "file_name", str, where))
        canvas = _field(image, "height", int, where), _field(image, "width", int, where)
        if min(canvas) < 1:
            raise DataError(f"{where} has a height of {canvas[0]} and a width of {canvas[1]} pixels")
        image_id = _field(image, "id", (int, str), where)
        if image_id in ids:
            raise DataError(f"{where}.id {image_id!r} occurs twice among the images")
        ids.add(image_id)
        found = people.pop(image_id, [])
        poses = [Pose.from_coco17(points[:, :2], points[:, 2], canvas, threshold=1e-6) for points in found]
        xy = _largest([pose.xy for pose in poses])
        yield name, None if xy is None else Pose(xy, canvas)
    if people:
        raise DataError(f"{path}: the image_id {next(iter(people))!r} of an annotation is not among the images")


def import_keypoints(poses: Iterable[NamedPose], csv: str | PathLike[str]) -> Preparation:
    """Write the field's CSV of what `read_openpose` or `read_coco` yields, and the list of images without a person.

    Args:
        poses: Name and pose of each image.
        csv: The file to write, which must not exist.

    Raises:
        DataError: If two images have the same name, if a name does not fit into a row, if the file exists already, or
            if the reader raises it.
    """
    check_csv(Path(csv))
    rows: dict[str, str] = {}
    keys: set[str] = set()
    for name, pose in poses:
        if image_key(name) in keys:
            raise DataError(f"{name} occurs twice; import its folders one by one")
        keys.add(image_key(checked_name(name, str(csv))))
        rows[name] = csv_row(name, pose) if pose is not None and bool(pose.inside().visible.any()) else ""
    missing = [(name, NOBODY) for name, row in rows.items() if not row]
    return write_rows(Path(csv), [row for row in rows.values() if row], missing)


def _largest(candidates: Sequence[Tensor]) -> Tensor | None:
    """Return the keypoints whose joints span the largest box, (18, 2); None if there is no joint."""
    present = [xy for xy in candidates if not xy.isnan().all()]
    return max(present, key=_area, default=None)


def _area(xy: Tensor) -> float:
    """Return the area of the box around the joints that are present, in pixels."""
    points = xy[~xy.isnan().any(dim=-1)]
    return float((points.amax(dim=0) - points.amin(dim=0) + 1).prod())


def _on_smallest_canvas(xy: Tensor | None) -> Pose | None:
    if xy is None:
        return None
    x, y = xy[~xy.isnan().any(dim=-1)].amax(dim=0).tolist()
    return Pose(xy, (max(1, math.ceil(y) + 1), max(1, math.ceil(x) + 1)))


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"no file {file}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as JSON: {error}") from error


def _field(values: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    if not isinstance(values, dict) or name not in values:
        raise DataError(f"{where} has no field {name!r}")
    if not isinstance(values[name], kind):
        raise DataError(f"{where}.{name} has the wrong type: {str(values[name])[:40]!r}")
    return values[name]


def _numbers(values: list[Any], where: str, lengths: tuple[int, ...]) -> Tensor:
    if len(values) not in lengths:
        expected = " or ".join(map(str, filter(None, lengths)))
        raise DataError(f"{where}: expected {expected} numbers, x, y and confidence per keypoint, got {len(values)}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(f"{where} holds {value!r}, which is not a finite number")
    return torch.tensor(values, dtype=torch.float32)
