"""Pose files of other tools: read as poses, or imported into the field's CSV.

The format is told from the content of a file, never from its name. `pg2lib.data.pose_formats` has one module per family
of formats.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from pg2lib.data.keypoint_csv import NOBODY, Preparation, check_csv, csv_row, write_rows
from pg2lib.data.names import canonical_name, checked_name, image_key, posix_path
from pg2lib.data.pose_formats.content import is_image, read_bytes, text_of
from pg2lib.data.pose_formats.found import MIN_SCORE, Found, poses_of
from pg2lib.data.pose_formats.json_formats import coco_annotations, field, people_in_json
from pg2lib.data.pose_formats.skeleton import person_in_picture
from pg2lib.data.pose_formats.text_formats import people_in_text
from pg2lib.errors import DataError
from pg2lib.files import files_below
from pg2lib.json_files import MAX_BYTES, MAX_VALUES, parse_json
from pg2lib.pose import Pose

log = logging.getLogger(__name__)

NamedPoses = tuple[str, Sequence[Pose]]
"""An image's name as the CSV has it, and the poses of the people in it, the most prominent one first."""

OPENPOSE_ENDING = "_keypoints.json"

SUFFIXES = frozenset({".json", ".txt", ".csv"})
"""The files of a folder that `read_pose_files` reads."""

MAX_IMPORT_BYTES, MAX_IMPORT_VALUES = 1_000_000_000, 100_000_000
"""The largest file of keypoints that is imported, such as COCO's annotations of a data set, and its most values."""


def read_poses(
    path: str | PathLike[str], canvas: tuple[int, int] | None = None, min_score: float = MIN_SCORE
) -> list[Pose]:
    """Read the poses in a file of any format of the field.

    Known formats are the JSON of OpenPose, ControlNet and the pose editors of sd-webui and ComfyUI, COCO (annotations
    and results), AlphaPose, MMPose, Ultralytics, MediaPipe and `Pose.to_json`; YOLO's pose labels; the pose text of
    PIDM and NTED; the field's keypoint CSV; and pictures of one skeleton in OpenPose's colours.

    Whether coordinates are pixels or fractions of the image is decided for the whole file. Joints outside the canvas
    are kept.

    Args:
        path: The file. Pickles and weights are never loaded.
        canvas: (height, width) in pixels of the images that the file speaks of. It is used if the file does not say it,
            and needed if the coordinates are fractions then. Otherwise the canvas is the smallest that holds the joints
            of everyone in an image, or the usual one of Market-1501 and DeepFashion in a CSV or pose text.
        min_score: Keypoints with a lower confidence, v or visibility are missing.

    Returns:
        One pose per person. Images and frames keep the order of the file; in each the people are ordered by the sum of
        the scores of their joints, times their size. The list is empty if the file says that there is nobody.

    Raises:
        DataError: If the file does not exist, is too large, malformed or in no known format. The message names the file
            and the place in it, and what the file looks like.
    """
    file = Path(path)
    content = read_bytes(file)
    if is_image(content):
        person = person_in_picture(file)
        if person is None:
            raise DataError(
                f"{file} is a picture, not a pose file; pg2lib.detect_pose finds the pose of a person in a photo, and "
                f"skeletons are read from a plain background"
            )
        return _all_poses([person], None)
    return _all_poses(_found_in(text_of(content, str(file)), str(file), min_score), canvas)


def parse_poses(
    text: str, canvas: tuple[int, int] | None = None, min_score: float = MIN_SCORE, where: str = "the text"
) -> list[Pose]:
    """Read the poses in text, such as JSON that a user pastes.

    Args:
        text: The content of a file of any format that `read_poses` knows, except a picture.
        canvas: As in `read_poses`.
        min_score: As in `read_poses`.
        where: What messages call the text.

    Returns:
        One pose per person, in the order of `read_poses`.

    Raises:
        DataError: If the text is malformed or in no known format.
    """
    if len(text) > MAX_BYTES:
        raise DataError(
            f"{where} has more than {MAX_BYTES // 10**6} million characters; expected the poses of a few images"
        )
    # Refuses what looks like something else. A lone surrogate, which no file can hold, becomes a question mark.
    text = text_of(text.encode("utf-8", "replace"), where)
    return _all_poses(_found_in(text, where, min_score), canvas)


def is_photo(path: str | PathLike[str]) -> bool:
    """Return whether a file is an image, and no picture of a skeleton, which `read_poses` reads.

    Raises:
        DataError: If the file cannot be read.
    """
    return is_image(read_bytes(Path(path), MAX_IMPORT_BYTES)) and person_in_picture(Path(path)) is None


def read_target_pose(path: str | PathLike[str], canvas: tuple[int, int] | None = None, number: int = 0) -> Pose | None:
    """Read one pose of a file.

    Args:
        path: A pose file, or an image.
        canvas: As in `read_poses`.
        number: Which of several poses, from 1 in the order of `read_poses`. 0 takes the first, and a message says so.

    Returns:
        None for a photo, in which a pose detector has to look.

    Raises:
        DataError: If a pose file has nobody, if it has no pose of that number, or whatever `read_poses` raises.
    """
    file = Path(path)
    if is_photo(file):
        return None
    poses = read_poses(file, canvas)
    if not poses:
        raise DataError(f"{file} holds no pose; expected the pose of one person")
    if not 0 <= number <= len(poses):
        raise DataError(f"{file} holds {len(poses)} poses; expected the number of one of them, got {number}")
    if len(poses) > 1 and not number:
        log.warning("%s: the first of %d poses is used; --pose-number N chooses another", file, len(poses))
    return poses[max(number, 1) - 1]


def read_openpose(
    folder: str | PathLike[str],
    suffix: str = ".jpg",
    min_score: float = MIN_SCORE,
    canvas: tuple[int, int] | None = None,
) -> Iterator[NamedPoses]:
    """Read OpenPose's results: a folder with ``<image>_keypoints.json`` for each image, written with ``--write_json``.

    Args:
        folder: Searched with its subfolders. Names are those of `canonical_name` for the path below it.
        suffix: How the names of the images end, which the files do not say.
        min_score: Keypoints with a lower confidence are missing.
        canvas: (height, width) of all images, as in `read_poses`.

    Returns:
        Names and poses of all images, in the order of the files.

    Raises:
        DataError: If there is no such folder or no such file in it, or if a file is malformed; see `read_poses`.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(
            f"no folder {root}; OpenPose's results are a folder with a JSON file for each image. prepare --format auto "
            f"imports single files"
        )
    files = [path for path in files_below(root, {".json"}) if path.name.endswith(OPENPOSE_ENDING)]
    if not files:
        raise DataError(f"{root} holds no *{OPENPOSE_ENDING}, as OpenPose's --write_json makes them")
    named: dict[str, list[Found]] = {}
    for file in sorted(files):
        value = _json_of(text_of(read_bytes(file), str(file)), str(file))
        field(value, "people", list, str(file))
        _add(named, _name_of(file, root, suffix), people_in_json(value, str(file), min_score))
    yield from _named_poses(named, canvas)


def read_coco(file: str | PathLike[str], min_score: float = MIN_SCORE) -> Iterator[NamedPoses]:
    """Read annotations of COCO: a JSON file with ``images`` and ``annotations`` of 17 keypoints (x, y, v) each.

    The neck is the middle of the shoulders. Images without an annotation have nobody.

    Args:
        file: The JSON file. Names are those of `canonical_name` for ``file_name``.
        min_score: Keypoints with a lower v are missing.

    Returns:
        Names and poses of all images, in the order of the file.

    Raises:
        DataError: If there is no such file, or if it is malformed; see `read_poses`.
    """
    path = Path(file)
    value = _json_of(text_of(read_bytes(path, MAX_IMPORT_BYTES), str(path)), str(path), MAX_IMPORT_VALUES)
    if not isinstance(value, dict) or "annotations" not in value:
        raise DataError(
            f"{path} has no field 'annotations', which COCO's annotations have; prepare --format auto imports other "
            f"formats, too"
        )
    named: dict[str, list[Found]] = {}
    _add_coco(named, value, str(path), min_score)
    yield from _named_poses(named, None)


def read_pose_files(
    path: str | PathLike[str],
    suffix: str = ".jpg",
    min_score: float = MIN_SCORE,
    canvas: tuple[int, int] | None = None,
) -> Iterator[NamedPoses]:
    """Read a pose file of any format, or a folder of them, with the names of the images.

    Args:
        path: A file, or a folder that is searched with its subfolders for `SUFFIXES`. An image that a file does not
            name is called like the file, without ``_keypoints``.
        suffix: How the names of such images end.
        min_score: Keypoints with a lower score are missing.
        canvas: (height, width) of all images, as in `read_poses`.

    Returns:
        Names and poses of all images.

    Raises:
        DataError: If there is no such file, if a folder holds none, if a file speaks of several images without naming
            them, or whatever `read_poses` raises.
    """
    root = Path(path)
    files = sorted(files_below(root, SUFFIXES)) if root.is_dir() else [root]
    if not files:
        raise DataError(f"{root} holds no pose file ({', '.join(sorted(SUFFIXES))})")
    named: dict[str, list[Found]] = {}
    for file in files:
        text = text_of(read_bytes(file, MAX_IMPORT_BYTES), str(file))
        value = _json_of(text, str(file), MAX_IMPORT_VALUES) if _is_json(text) else None
        if isinstance(value, dict) and "annotations" in value:
            _add_coco(named, value, str(file), min_score)
            continue
        people = (
            people_in_json(value, str(file), min_score)
            if _is_json(text)
            else people_in_text(text, str(file), min_score)
        )
        unnamed = [person for person in people if person.image is None]
        if len({person.frame for person in unnamed}) > 1:
            raise DataError(
                f"{file} holds the poses of several images and does not name them; write one file per image, or give "
                f"annotations that name the images (COCO: images and annotations)"
            )
        if unnamed or not people:
            _add(named, _name_of(file, root if root.is_dir() else file.parent, suffix), unnamed)
        by_image: dict[str, list[Found]] = {}
        for person in people:
            if person.image is not None:
                by_image.setdefault(person.image, []).append(person)
        for image, in_image in by_image.items():
            _add(named, canonical_name(posix_path(image)), in_image)
    yield from _named_poses(named, canvas)


def import_keypoints(poses: Iterable[NamedPoses], csv: str | PathLike[str]) -> Preparation:
    """Write what `read_openpose`, `read_coco` or `read_pose_files` reads as the field's CSV.

    A row has one person: the most prominent one of an image. Images without a person are listed next to the CSV.

    Args:
        poses: Names and poses of images.
        csv: The file to write.

    Returns:
        What was written, and how many other people were passed over.

    Raises:
        DataError: If two images have one name, if a name cannot stand in a row, if the file exists already, or whatever
            the reader raises.
    """
    check_csv(Path(csv))
    rows: dict[str, str] = {}
    keys: set[str] = set()
    others = 0
    for name, people in poses:
        if image_key(name) in keys:
            raise _twice(name)
        keys.add(image_key(checked_name(name, str(csv))))
        inside = [pose for pose in people if bool(pose.inside().visible.any())]
        rows[name] = csv_row(name, inside[0]) if inside else ""
        others += len(inside[1:])
    missing = [(name, NOBODY) for name, row in rows.items() if not row]
    written = write_rows(Path(csv), [row for row in rows.values() if row], missing)
    return replace(written, passed_over=others)


def _found_in(text: str, where: str, min_score: float) -> list[Found]:
    """Return everyone in text of any format."""
    if _is_json(text):
        return people_in_json(_json_of(text, where), where, min_score)
    return people_in_text(text, where, min_score)


def _json_of(text: str, where: str, max_values: int = MAX_VALUES) -> Any:
    """Return what JSON holds. NaN may stand where no keypoint is read from."""
    return parse_json(text, where, finite=False, max_values=max_values)


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")


def _all_poses(found: list[Found], canvas: tuple[int, int] | None) -> list[Pose]:
    return [pose for poses in poses_of(found, canvas).values() for pose in poses]


def _add_coco(named: dict[str, list[Found]], value: Any, where: str, min_score: float) -> None:
    """Add the images and people of COCO's annotations."""
    images, found = coco_annotations(value, where, min_score)
    by_image: dict[str, list[Found]] = {image: [] for image in images}
    if len(by_image) < len(images):
        raise _twice(next(image for number, image in enumerate(images) if image in images[:number]))
    for person in found:
        by_image[str(person.image)].append(person)
    for image, people in by_image.items():
        _add(named, canonical_name(posix_path(image)), people)


def _add(named: dict[str, list[Found]], name: str, people: list[Found]) -> None:
    if name in named:
        raise _twice(name)
    named[name] = [replace(person, image=name, frame=0) for person in people]


def _twice(name: str) -> DataError:
    return DataError(f"{name} comes twice; import the folders it is in one by one")


def _named_poses(named: dict[str, list[Found]], canvas: tuple[int, int] | None) -> Iterator[NamedPoses]:
    """Yield the poses of each image, all of them decided together."""
    poses = poses_of((person for people in named.values() for person in people), canvas)
    for name in named:
        yield name, poses.get((name, 0), [])


def _name_of(file: Path, root: Path, suffix: str) -> str:
    """Return the name of the image that a pose file is about."""
    if not re.fullmatch(r"\.?[A-Za-z0-9]+", suffix):
        raise DataError(f"the suffix of the images is {suffix!r}; expected one such as .jpg or png")
    stem = file.relative_to(root).with_suffix("").as_posix().removesuffix("_keypoints")
    return canonical_name(f"{stem}.{suffix.lstrip('.')}")
