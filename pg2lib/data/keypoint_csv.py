"""The field's keypoint CSV, and the list of files without keypoints that may come with it.

A row reads ``name: [y, ...]: [x, ...]``: two JSON lists of 18 numbers in pixels, y first. -1 marks a missing joint.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch

from pg2lib.data.names import checked_name
from pg2lib.data.names import person_of as person_of_name
from pg2lib.data.people import PersonTable
from pg2lib.errors import DataError, way_out
from pg2lib.files import atomic_write
from pg2lib.json_files import parse_json, read_limited, shown
from pg2lib.pose import JOINTS, MAX_SIDE, Pose, far_outside

CSV_HEADER = "name:keypoints_y:keypoints_x"

MISSING = -1
"""Marks a missing joint, in both lists of a row."""

UNKNOWN_CANVAS = (0, 0)
"""Stands for a canvas that is not known when a CSV is read, as every image may have its own."""

MAX_CSV_BYTES = 1_000_000_000
"""The largest keypoint CSV that is read: some five million rows."""

NOBODY = "no person found"
"""Reason in the list of images without keypoints; any other reason says why an image could not be read."""

FLAT = "a garment without a person (view flat)"
"""Reason of an image that is not used because its name says what it shows."""


@dataclass(frozen=True)
class Preparation:
    """A keypoint CSV that was written, and the files that are not in it.

    Attributes:
        csv: The file.
        found: Number of images with keypoints.
        missing: (name, reason) of each image without keypoints.
        unused: (path, reason) of each file that was not looked at. The reason is `FLAT`, or why it is no image.
        turned: (name, degrees) of each image that must be turned clockwise for the person to be upright. Images of a
            run that had been completed before are not listed.
        passed_over: Number of people that were left out because a row has one person and the image shows several.
    """

    csv: Path
    found: int
    missing: tuple[tuple[str, str], ...] = ()
    unused: tuple[tuple[str, str], ...] = ()
    passed_over: int = 0
    turned: tuple[tuple[str, int], ...] = ()

    @property
    def without_person(self) -> tuple[str, ...]:
        """Names of the images in which no person was found."""
        return tuple(name for name, reason in self.missing if reason == NOBODY)

    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """(name, reason) of each image that could not be decoded."""
        return tuple((name, reason) for name, reason in self.missing if reason != NOBODY)

    @property
    def flat(self) -> int:
        """Number of images that were left out because their names say that they show a garment and no person."""
        return sum(reason == FLAT for _, reason in self.unused)

    @property
    def missing_file(self) -> Path | None:
        """The list of the files that are not in the CSV; None if there are none."""
        return missing_file(self.csv) if self.missing or self.unused else None


def read_keypoints(
    csv: str | PathLike[str],
    canvas: tuple[int, int],
    person_of: Callable[[str], str | None] = person_of_name,
) -> PersonTable:
    """Read the field's keypoint CSV.

    Args:
        csv: The file, in UTF-8.
        canvas: (height, width) of the images on which the keypoints were annotated; `UNKNOWN_CANVAS` if they differ.
        person_of: Returns the person that a file name belongs to. The default knows the names of Market-1501 and the
            flattened names of DeepFashion.

    Returns:
        A table without image paths.

    Raises:
        DataError: If the file is missing or has another header, or if a row is malformed, is repeated, has a joint too
            far away from the canvas (see `pg2lib.pose.far_outside`), names an unknown person or has a name that leads
            out of the image folder. The message names the file and the line. One bad
            row refuses the whole file.
    """
    path = Path(csv)
    names: dict[str, int] = {}
    persons: list[str] = []
    points: list[list[tuple[float, float]]] = []
    for number, line in enumerate(_rows(path), start=2):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        name, keypoints = parse_row(line, where, canvas)
        checked_name(name, where)
        if name in names:
            raise DataError(f"{where}: {name} is already on line {names[name]}; remove one of the two rows")
        person = person_of(name)
        if person is None:
            raise DataError(
                f"{where}: {name!r} is neither a Market-1501 name nor a flattened DeepFashion name; for other names "
                f"pass person_of=, which returns whose image it is"
            )
        names[name] = number
        persons.append(person)
        points.append(keypoints)
    xy = torch.tensor(points, dtype=torch.float32).view(-1, len(JOINTS), 2)
    return PersonTable(tuple(names), tuple(persons), xy, canvas)


def _rows(path: Path) -> list[str]:
    """Return the lines of a keypoint CSV below its header."""
    try:
        lines = read_limited(path, MAX_CSV_BYTES).decode("utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"no keypoint file {path}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read as a keypoint CSV: {error}") from error
    if not lines or lines[0].replace(" ", "") != CSV_HEADER:
        raise DataError(f"{path}:1: expected the header {CSV_HEADER!r}, got {lines[0][:60] if lines else ''!r}")
    return lines[1:]


def parse_row(line: str, where: str, canvas: tuple[int, int] = UNKNOWN_CANVAS) -> tuple[str, list[tuple[float, float]]]:
    """Return the name and the (x, y) of each joint, NaN where it is missing.

    Raises:
        DataError: If the row is malformed, or has a joint too far away from the canvas.
    """
    largest = far_outside((MAX_SIDE, MAX_SIDE) if canvas == UNKNOWN_CANVAS else canvas)
    fields = line.rsplit(":", 2)
    if len(fields) != 3:
        raise DataError(f"{where}: expected name:[y, ...]:[x, ...], got {line[:60]!r}")
    columns = []
    for field_name, text in (("keypoints_y", fields[1]), ("keypoints_x", fields[2])):
        values = parse_json(text, f"{where}: {field_name}", finite=False)
        if not isinstance(values, list) or len(values) != len(JOINTS):
            raise DataError(f"{where}: {field_name} must be a list of {len(JOINTS)} numbers, got {text.strip()[:80]}")
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise DataError(f"{where}: {field_name} holds {shown(value)}, which is not a number")
            if not abs(value) <= largest:
                raise DataError(
                    f"{where}: {field_name} holds {value}, and no joint may be more than {largest:,} pixels away from "
                    f"the corner of the image; correct or remove the row"
                )
        columns.append(values)
    keypoints = []
    for joint, y, x in zip(JOINTS, *columns, strict=True):
        if (y == MISSING) != (x == MISSING):
            raise DataError(f"{where}: {joint} has y = {y} and x = {x}; a missing joint is -1 in both")
        keypoints.append((math.nan, math.nan) if x == MISSING else (float(x), float(y)))
    return fields[0].strip(), keypoints


def write_keypoints(csv: str | PathLike[str], poses: Iterable[tuple[str, Pose]]) -> None:
    """Write the field's keypoint CSV, atomically. Coordinates are rounded to whole pixels, as is usual in the field.

    Args:
        csv: The file to write.
        poses: (name, pose) of each image. Joints outside the canvas are written as missing.

    Raises:
        DataError: If a name does not fit into a row (see `checked_name`).
    """
    with atomic_write(csv) as file:
        file.write(CSV_HEADER + "\n")
        file.writelines(csv_row(name, pose) + "\n" for name, pose in poses)


def csv_row(name: str, pose: Pose) -> str:
    """Return one row of the field's keypoint CSV, without a line end.

    Raises:
        DataError: If the name does not fit into a row (see `checked_name`).
    """
    checked_name(name)
    x, y = (
        [MISSING if math.isnan(value) else round(value) for value in column] for column in pose.inside().xy.T.tolist()
    )
    return f"{name}: {json.dumps(y)}: {json.dumps(x)}"


def write_rows(
    csv: Path, rows: Sequence[str], missing: Sequence[tuple[str, str]], unused: Sequence[tuple[str, str]] = ()
) -> Preparation:
    """Write a keypoint CSV and the list of the files that are not in it, each atomically and the CSV last.

    Args:
        csv: The file to write.
        rows: Made by `csv_row`.
        missing: (name, reason) of each image without keypoints. The reason is `NOBODY`, or why the image could not be
            read.
        unused: (path, reason) of each file that was not looked at. If there are neither, an earlier list is removed.
    """
    if missing or unused:
        with atomic_write(missing_file(csv)) as file:
            file.writelines(f"{name}\t{reason}\n" for name, reason in (*missing, *unused))
    else:
        missing_file(csv).unlink(missing_ok=True)
    with atomic_write(csv) as file:
        file.writelines(f"{line}\n" for line in (CSV_HEADER, *rows))
    return Preparation(csv, len(rows), tuple(missing), tuple(unused))


def missing_file(csv: Path) -> Path:
    """Return the path of the list of files without keypoints: ``<name>.missing.txt`` beside the CSV."""
    return csv.with_name(f"{csv.stem}.missing.txt")


def check_csv(csv: Path, replace: bool = False) -> None:
    """Check that a CSV can be written, before the work starts, and make its folder.

    Args:
        csv: The file to write.
        replace: Allow the CSV and its list to exist: they are from an earlier run of the same work.

    Raises:
        DataError: If the CSV or its list exists and must not be replaced, or if it cannot be written.
    """
    if csv.is_dir():
        raise DataError(f"{csv} is a folder; name the CSV to write")
    existing = [str(path) for path in (csv, missing_file(csv)) if path.exists() or path.is_symlink()]
    if existing and not replace:
        raise DataError(
            f"{' and '.join(existing)} {'exist' if len(existing) > 1 else 'exists'} already and would be replaced: "
            f"name another CSV, or remove what is there"
        )
    try:
        csv.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{csv} cannot be written: {error.strerror}. {way_out(error)}") from error
