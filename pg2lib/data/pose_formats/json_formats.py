"""Poses in JSON, told from the fields that a file has and never from its name.

| fields | written by |
|---|---|
| ``people``, ``pose_keypoints_2d``, sometimes ``canvas_width`` | OpenPose, ControlNet, sd-webui and ComfyUI editors |
| ``people``, ``pose_keypoints`` | OpenPose before 1.3 |
| ``bodies``, ``joints`` | AlphaPose, ``--format cmu`` |
| ``candidate``, ``subset``, sometimes in ``bodies`` | pytorch-openpose, DWPose |
| ``annotations``, ``images`` | COCO |
| list of ``image_id``, ``keypoints`` | COCO results, AlphaPose |
| list of ``keypoints``, ``keypoint_scores``; ``instances``; ``instance_info``; ``predictions`` | MMPose |
| list of ``keypoints``, ``scores`` | ViTPose of transformers |
| ``keypoints`` of ``x``, ``y``, ``visible`` | Ultralytics |
| ``x``, ``y``, ``visibility`` 33 times; ``landmarks``, ``pose_landmarks`` | MediaPipe |
| ``keypoints``, ``width``, ``height``; bare lists of points | older editors |
| ``canvas``, ``keypoints`` | `pg2lib.Pose.to_json` |

References:
    OpenPose ``doc/02_output.md``; cocodataset.org, "Data format" and "Results format"; AlphaPose ``docs/output.md``;
    MMPose "Inference with existing models"; MediaPipe "Pose landmark detection".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from pg2lib.data.pose_formats.found import LAYOUTS, MIN_SCORE, OTHER_LAYOUTS, Found, Point, checked_canvas, found_person
from pg2lib.errors import DataError
from pg2lib.json_files import shown
from pg2lib.pose import JOINTS

LARGEST_NUMBER = 1e9
"""No coordinate, score or size in a pose file is larger."""

COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""COCO's 17 keypoints, as its ``categories`` list them."""

_LANDMARKS = ("pose_landmarks", "poseLandmarks", "landmarks", "landmark", "image_landmarks")
_PERSON = ("pose_keypoints_2d", "pose_keypoints", "joints", "keypoints")
_SCORES = ("keypoint_scores", "keypoints_scores", "kp_score")
_IMAGE = ("image_id", "image_name", "file_name", "imgname", "image")

_LOOKS = {
    "nodes": "a workflow of ComfyUI, not a pose; save the pose itself (POSE_KEYPOINT)",
    "shapes": "LabelMe's annotations; export them as COCO keypoints",
    "world_landmarks": "MediaPipe's world landmarks, in metres; write its normalised landmarks",
    "pose_world_landmarks": "MediaPipe's world landmarks, in metres; write its normalised landmarks",
    "worldLandmarks": "MediaPipe's world landmarks, in metres; write its normalised landmarks",
    "images": "COCO without annotations; name the file that has them",
    "animals": "the poses of animals",
    "_name_or_path": "the configuration of a model",
    "model": "the configuration of a model",
    "header": "the scene of a 3-D editor; export the pose as JSON of OpenPose",
    "cells": "a notebook",
}


@dataclass(frozen=True)
class _Place:
    """Where the reader is in a file, and what the levels above said about the image."""

    file: str
    min_score: float
    path: str = ""
    canvas: tuple[int, int] | None = None
    image: str | None = None
    frame: int = 0

    @property
    def where(self) -> str:
        """The file and the place in it, such as ``a.json: people[0].pose_keypoints_2d``."""
        return f"{self.file}: {self.path.lstrip('.')}" if self.path else self.file

    def at(self, name: str | int) -> _Place:
        """The place of an item of the value here: a field's name or a number in a list."""
        return replace(self, path=f"{self.path}[{name}]" if isinstance(name, int) else f"{self.path}.{_key(name)}")


def people_in_json(value: Any, where: str, min_score: float = MIN_SCORE) -> list[Found]:
    """Return everyone in JSON of any known format, in the order of the file.

    Args:
        value: What the JSON holds.
        where: The file, for messages.
        min_score: Keypoints with a lower score are missing.

    Raises:
        DataError: If the format is not known, or if a field is malformed. The message names the place.
    """
    return list(_people(value, _Place(where, min_score)))


def coco_annotations(value: Any, where: str, min_score: float = MIN_SCORE) -> tuple[list[str], list[Found]]:
    """Return the names of the images in COCO's annotations, and everyone in them.

    Crowds and objects without keypoints are left out.

    Raises:
        DataError: If a field is missing or malformed, if the keypoints are not COCO's 17, if two images have one id, or
            if an annotation belongs to no image.
    """
    place = _Place(where, min_score)
    annotations = field(value, "annotations", list, where)
    images: dict[int | str, _Place] = {}
    for number, image in enumerate(field(value, "images", list, where)):
        inside = place.at("images").at(number)
        name = field(image, "file_name", str, inside.where)
        height, width = (field(image, side, (int, float), inside.where) for side in ("height", "width"))
        image_id = field(image, "id", (int, str), inside.where)
        if image_id in images:
            raise DataError(f"{inside.where}.id {shown(image_id)} stands twice among the images")
        images[image_id] = replace(place, image=name, canvas=checked_canvas(height, width, inside.where))
    categories = value.get("categories")
    for category in categories if isinstance(categories, list) else []:
        _check_names(category.get("keypoints") if isinstance(category, dict) else None, f"{where}: categories")
    found = []
    for number, annotation in enumerate(annotations):
        inside = place.at("annotations").at(number)
        image_id = field(annotation, "image_id", (int, str), inside.where)
        if image_id not in images:
            raise DataError(f"{inside.where}.image_id is {shown(image_id)}, which is not among the images")
        if "keypoints" in annotation:
            inside = replace(images[image_id], path=f"{inside.path}.keypoints")
            points = _points(field(annotation, "keypoints", list, inside.where), inside.where)
            found.append(_found(points, inside))
    return [str(place.image) for place in images.values()], found


def field(values: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Return a field of a JSON object.

    Raises:
        DataError: If there is no such field, or if it is of another kind.
    """
    if not isinstance(values, dict) or name not in values:
        raise DataError(f"{where} has no field {name!r}")
    if not isinstance(values[name], kind) or isinstance(values[name], bool):
        raise DataError(f"{where}.{name} is {shown(values[name])}, which is of another kind than expected")
    return values[name]


def _people(value: Any, place: _Place) -> Iterator[Found]:
    """Yield everyone in a value: a file, a frame, a person or a list of them."""
    if isinstance(value, list):
        yield from _people_in_list(value, place)
    elif isinstance(value, dict):
        yield from _people_in_fields(value, place)
    else:
        raise DataError(f"{place.where} holds {shown(value)}; expected the pose of a person")


def _people_in_list(values: list[Any], place: _Place) -> Iterator[Found]:
    if not values:
        return
    if _is_flat(values) or _is_points(values):
        yield _found(_points(values, place.where), place)
        return
    frames = any(_is_frame(item) for item in values)
    for number, item in enumerate(values):
        inside = place.at(number)
        yield from _people(item, replace(inside, frame=number) if frames else inside)


def _people_in_fields(values: dict[str, Any], place: _Place) -> Iterator[Found]:
    place = replace(place, canvas=_canvas(values, place) or place.canvas)
    if set(values) == {"canvas", "keypoints"}:
        yield _own(values, place)
    elif isinstance(values.get("bodies"), dict):
        yield from _candidates(values["bodies"], place.at("bodies"))
    elif "annotations" in values:
        yield from coco_annotations(values, place.where, place.min_score)[1]
    elif "people" in values or "bodies" in values:
        name = "people" if "people" in values else "bodies"
        for number, person in enumerate(field(values, name, list, place.where)):
            yield from _person(person, place.at(name).at(number))
    elif "instance_info" in values:
        meta = values.get("meta_info")
        names = meta.get("keypoint_id2name") if isinstance(meta, dict) else None
        _check_names(list(names.values()) if isinstance(names, dict) else None, f"{place.where}: meta_info")
        yield from _people(values["instance_info"], place.at("instance_info"))
    elif "candidate" in values and "subset" in values:
        yield from _candidates(values, place)
    elif nested := next((name for name in ("instances", "predictions", *_LANDMARKS) if name in values), None):
        yield from _people(values[nested], place.at(nested))
    elif any(name in values for name in _PERSON):
        yield from _person(values, place)
    elif values and all(_is_frame(item) or _is_points(item) for item in values.values()):
        for name, item in values.items():  # By the name of the image, as AlphaPose does, or of the pose.
            yield from _people(item, replace(place.at(name), image=name))
    elif values:
        looks = next((looks for name, looks in _LOOKS.items() if name in values), None)
        fields = ", ".join(shown(name) for name in list(values)[:6])
        guess = f"looks like {looks}" if looks else "is in no known format"
        raise DataError(
            f"{place.where} {guess}; it has the fields {fields}. Expected JSON of OpenPose, ControlNet, COCO, "
            f"AlphaPose, MMPose, MediaPipe or pg2lib"
        )


def _person(values: Any, place: _Place) -> Iterator[Found]:
    """Yield the person of an object of OpenPose, COCO, AlphaPose, MMPose or Ultralytics; an editor's holds several."""
    name = next((name for name in _PERSON if isinstance(values, dict) and name in values), "pose_keypoints_2d")
    if not isinstance(values, dict) or name not in values:
        raise DataError(f"{place.where} has no field {name!r}")
    place = _in_image(values, place)
    keypoints, inside = values[name], place.at(name)
    if keypoints is None or keypoints == []:  # No body was looked for, but hands or a face.
        return
    if isinstance(keypoints, dict):
        columns = [field(keypoints, axis, list, inside.where) for axis in ("x", "y")]
        columns.append(keypoints.get("visible") or [1.0] * len(columns[0]))
        if len({len(_list(column, inside.where)) for column in columns}) > 1:
            raise DataError(f"{inside.where} has x, y and visible of different lengths")
        keypoints = [list(row) for row in zip(*columns, strict=True)]
    keypoints = _list(keypoints, inside.where)
    if not _is_flat(keypoints) and not _is_points(keypoints):
        yield from _people(keypoints, inside)
        return
    points = _points(keypoints, inside.where)
    scores = next((values[key] for key in _SCORES if key in values), None)
    if scores is None and isinstance(own := values.get("scores"), list) and len(own) == len(points):
        scores = own
    if scores is not None:
        if any(isinstance(item, list) and len(item) > 2 for item in keypoints):
            raise DataError(f"{inside.where} holds 3-D keypoints; expected x and y in the image")
        points = _scored(points, _list(scores, inside.where), inside.where)
    yield _found(points, inside)


def _in_image(values: dict[str, Any], place: _Place) -> _Place:
    """Return a place that knows the image of a person, if the person's fields say so."""
    image = next((values[key] for key in _IMAGE if key in values), None)
    if isinstance(image, str) and image:
        return replace(place, image=image)
    if isinstance(image, int) and not isinstance(image, bool):
        return replace(place, frame=image)
    return place


def _own(values: dict[str, Any], place: _Place) -> Found:
    """Return a person of `Pose.to_json`, in which any coordinate is one."""
    canvas = _list(values["canvas"], f"{place.where}: canvas")
    keypoints = _list(values["keypoints"], f"{place.where}: keypoints")
    if len(canvas) != 2 or len(keypoints) != len(JOINTS):
        raise DataError(
            f'{place.where} has {len(keypoints)} keypoints; expected {{"canvas": [height, width], "keypoints": '
            f"[[x, y] or null, ...]}} with {len(JOINTS)} keypoints, in order: {', '.join(JOINTS)}"
        )
    size = checked_canvas(canvas[0], canvas[1], f"{place.where}: canvas")
    xy = torch.full((len(JOINTS), 2), torch.nan)
    for number, point in enumerate(keypoints):
        if point is not None:
            where = f"{place.where}: keypoints[{number}]"
            pair = [_number(value, where) for value in _list(point, where)]
            if len(pair) != 2:
                raise DataError(f"{where} has {len(pair)} numbers; expected x and y")
            xy[number] = torch.tensor(pair)
    scores = (~xy[:, 0].isnan()).float()
    return Found(xy, scores, place.where, size, image=place.image, frame=place.frame, fractions=False)


def _candidates(values: dict[str, Any], place: _Place) -> Iterator[Found]:
    """Yield the people of pytorch-openpose: rows of ``subset`` number points of ``candidate``, -1 where missing."""
    candidates = field(values, "candidate", list, place.where)
    points = []
    for number, candidate in enumerate(candidates):  # x, y, score, number
        where = place.at("candidate").at(number).where
        points.append(_point(_list(candidate, where)[:3], where))
    for number, row in enumerate(field(values, "subset", list, place.where)):
        inside = place.at("subset").at(number)
        if len(_list(row, inside.where)) < len(JOINTS):
            raise DataError(f"{inside.where} has {len(row)} numbers; expected one for each of {len(JOINTS)} joints")
        person: list[Point] = []
        for value in row[: len(JOINTS)]:
            index = int(_number(value, inside.where))
            if index >= len(points):
                raise DataError(f"{inside.where} speaks of candidate {index}; there are {len(points)}")
            person.append(points[index] if index >= 0 else None)
        yield _found(person, inside)


def _found(points: Sequence[Point], place: _Place) -> Found:
    person = found_person(points, place.where, place.min_score)
    return replace(person, canvas=place.canvas, image=place.image, frame=place.frame)


def _canvas(values: dict[str, Any], place: _Place) -> tuple[int, int] | None:
    """Return the (height, width) that an image or frame states."""
    for height, width in (("canvas_height", "canvas_width"), ("height", "width"), ("image_height", "image_width")):
        if values.get(height) is not None and values.get(width) is not None:
            return checked_canvas(values[height], values[width], place.where)
    return None


def _is_flat(values: list[Any]) -> bool:
    """Return whether a list holds the numbers of keypoints one after another."""
    return any(isinstance(item, int | float) for item in values)


def _is_points(value: Any) -> bool:
    """Return whether a value is a list of keypoints, each a list of numbers, MediaPipe's x and y, or missing."""
    return (
        isinstance(value, list)
        and any(item is not None for item in value)
        and all(
            item is None
            or (isinstance(item, dict) and "x" in item and "y" in item)
            or (isinstance(item, list) and 2 <= len(item) <= 4 and all(isinstance(n, int | float | None) for n in item))
            for item in value
        )
    )


def _is_frame(value: Any) -> bool:
    """Return whether an item of a list is an image of its own, and not one of several people in an image."""
    if isinstance(value, dict):
        return any(name in value for name in ("people", "bodies", "instances", "predictions", *_LANDMARKS))
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "keypoints" in value[0]


def _points(values: list[Any], where: str) -> list[Point]:
    """Return keypoints from a flat list of numbers, or from a list of points."""
    if not _is_flat(values):
        points = [_point(value, f"{where}[{number}]") for number, value in enumerate(values)]
        return _without_depth(points) if len(points) == 33 else points
    for size in (3, 2, 4):
        count, rest = divmod(len(values), size)
        if rest == 0 and count in LAYOUTS:
            return _points([values[at : at + size] for at in range(0, len(values), size)], where)
    known = next((f", which look like {look}" for n, look in OTHER_LAYOUTS.items() if len(values) == 3 * n), "")
    raise DataError(
        f"{where} has {len(values)} numbers{known}; expected x, y and confidence of each keypoint, 54 numbers for 18 "
        f"keypoints, 51 for COCO's 17 or 75 for BODY_25"
    )


def _point(value: Any, where: str) -> Point:
    """Return a keypoint from (x, y), (x, y, score), or MediaPipe's (x, y, z, visibility)."""
    if value is None:
        return None
    if isinstance(value, dict):
        visibility = value.get("visibility", value.get("score", value.get("confidence")))
        value = [value.get("x"), value.get("y"), 1.0 if visibility is None else visibility]
    if not 2 <= len(_list(value, where)) <= 4:
        raise DataError(f"{where} has {len(value)} numbers; expected x, y and a score")
    if value[0] is None or value[1] is None:
        return None
    score = value[-1] if len(value) > 2 else 1.0
    return _number(value[0], where), _number(value[1], where), _number(0.0 if score is None else score, where)


def _without_depth(points: list[Point]) -> list[Point]:
    """Return MediaPipe's landmarks, with a third number that is a depth and not a visibility replaced by 1."""
    if all(point is None or 0 <= point[2] <= 1 for point in points):
        return points
    return [point and (point[0], point[1], 1.0) for point in points]


def _scored(points: list[Point], scores: list[Any], where: str) -> list[Point]:
    """Return keypoints with the scores of a list of their own."""
    flat = [_list(score, where) if isinstance(score, list) else [score] for score in scores]
    if len(points) != len(flat) or any(len(score) != 1 for score in flat):
        raise DataError(f"{where} has {len(points)} keypoints and {len(flat)} scores; expected one score for each")
    return [point and (point[0], point[1], _number(score[0], where)) for point, score in zip(points, flat, strict=True)]


def _check_names(names: Any, where: str) -> None:
    """Refuse 17 keypoints that a file names, and that are not COCO's in COCO's order."""
    if not isinstance(names, list) or len(names) != len(COCO_NAMES):
        return
    given = [str(name).lower().replace(" ", "_").replace("-", "_") for name in names]
    for number, (name, expected) in enumerate(zip(given, COCO_NAMES, strict=True)):
        if name != expected:
            raise DataError(
                f"{where} names keypoint {number} {shown(names[number])}; expected {expected}: the 17 keypoints "
                f"must be COCO's, in COCO's order"
            )


def _number(value: Any, where: str) -> float:
    """Return a finite number of a sensible size."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_NUMBER:
        raise DataError(f"{where} holds {shown(value)}, which is not a finite number of a sensible size")
    return float(value)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{where} is {shown(value)}; expected a list")
    return value


def _key(name: str) -> str:
    return repr(name[:40])[1:-1]
