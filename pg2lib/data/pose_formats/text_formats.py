"""Poses in plain text: the field's keypoint CSV, the pose text of PIDM and NTED, and YOLO's labels."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import takewhile

import torch

from pg2lib.data.deepfashion import CANVAS as DEEPFASHION_CANVAS
from pg2lib.data.deepfashion import width_of_images
from pg2lib.data.keypoint_csv import CSV_HEADER, parse_row
from pg2lib.data.market1501 import CANVAS as MARKET1501_CANVAS
from pg2lib.data.names import MARKET1501_NAME, parse_deepfashion
from pg2lib.data.pose_formats.found import LAYOUTS, MIN_SCORE, Found, Point, found_person
from pg2lib.errors import DataError

_CSV_ROW = re.compile(r"[^\[\]]+:\s*\[[^\[\]]*\]\s*:\s*\[[^\[\]]*\]\s*")
_IMAGE_NAME = re.compile(r"\.(jpe?g|png)\b|^from,to\s*$", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf(inity)?)", re.IGNORECASE)

MOST_CHARACTERS = 10_000
"""The longest line that is read."""

_YOLO_COUNTS = {5 + 17 * size + more: size for size in (2, 3) for more in (0, 1, 2)}
"""Numbers on a line of YOLO's labels, and those of each of 17 keypoints: after class and box, and before the confidence
and the number of a track that a prediction may have."""


def people_in_text(text: str, where: str, min_score: float = MIN_SCORE) -> list[Found]:
    """Return everyone in text of any known format, in the order of the file.

    Args:
        text: Not JSON.
        where: The file, for messages.
        min_score: Keypoints with a lower score are missing.

    Raises:
        DataError: If the format is not known, or if a line is malformed. The message names the line.
    """
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    long = next((number for number, line in lines if len(line) > MOST_CHARACTERS), None)
    if long is not None:
        raise DataError(
            f"{where}:{long} has more than {MOST_CHARACTERS:,} characters; expected the keypoints of a person"
        )
    first = lines[0][1]
    header = first.replace(" ", "").strip() == CSV_HEADER
    if header or _CSV_ROW.fullmatch(first):
        return _people_in_csv(lines[1:] if header else lines, where)
    if first.lstrip().startswith("#"):  # A comment, as numpy.savetxt writes it.
        lines = lines[len(list(takewhile(lambda line: line[1].lstrip().startswith("#"), lines))) :]
    rows = [(number, re.split(r"[\s,;]+", line.strip(" \t\r,;"))) for number, line in lines]
    if not rows or not all(_NUMBER.fullmatch(value) for value in rows[0][1]):
        guess = "looks like a list of images" if _IMAGE_NAME.search(first) else "is in no known format"
        raise DataError(
            f"{where} {guess}; it begins with {first[:60]!r}. Expected JSON, a keypoint CSV with the header "
            f"{CSV_HEADER}, YOLO's pose labels, or 18 lines of x and y"
        )
    numbers = [_numbers(values, f"{where}:{number}") for number, values in rows]
    widths = {len(row) for row in numbers}
    if widths <= set(_YOLO_COUNTS):
        return [_yolo(row, f"{where}:{number}", min_score) for (number, _), row in zip(rows, numbers, strict=True)]
    if len(widths) == 1 and widths <= {2, 3} and len(rows) in LAYOUTS:
        return [_pose_text(numbers, where, min_score)]
    raise DataError(
        f"{where} has {len(rows)} lines of {' or '.join(map(str, sorted(widths)[:4]))} numbers; expected 18 lines of x "
        f"and y, or YOLO's pose labels: lines of {' or '.join(map(str, sorted(_YOLO_COUNTS)))} numbers"
    )


def _people_in_csv(lines: list[tuple[int, str]], where: str) -> list[Found]:
    """Return the people of the field's CSV, one per row.

    Images of Market-1501 have 128x64 pixels. Those of DeepFashion have 256x256 or 256x176: the keypoints of the whole
    file tell.
    """
    found = []
    for number, line in lines:
        place = f"{where}:{number}"
        name, keypoints = parse_row(line, place)
        xy = torch.tensor(keypoints)
        scores = (~xy[:, 0].isnan()).float()
        found.append(Found(xy, scores, place, image=name, fractions=False))
    names = [str(person.image) for person in found]
    usual: tuple[int, int] | None = None
    if names and all(parse_deepfashion(name) for name in names):
        usual = DEEPFASHION_CANVAS[0], width_of_images(torch.stack([person.xy for person in found]))
    elif all(MARKET1501_NAME.match(name.rpartition("/")[2]) for name in names):
        usual = MARKET1501_CANVAS
    return [replace(person, usual_canvas=usual) for person in found]


def _pose_text(rows: list[list[float]], where: str, min_score: float) -> Found:
    """Return the person of PIDM's and NTED's pose text: a line of x and y for each joint, -1 where it is missing.

    It speaks of DeepFashion's images, 256x256 or cut to 256x176; the place of nose and neck tells which.
    """
    points: list[Point] = [(row[0], row[1], row[2] if len(row) > 2 else 1.0) for row in rows]
    person = found_person([point if point and -1 not in point[:2] else None for point in points], where, min_score)
    return replace(person, usual_canvas=(DEEPFASHION_CANVAS[0], width_of_images(person.xy[None])))


def _yolo(row: list[float], where: str, min_score: float) -> Found:
    """Return the person of one of YOLO's lines: class, box, and 17 keypoints as fractions of the image."""
    size = _YOLO_COUNTS[len(row)]
    values = row[5 : 5 + 17 * size]
    if row[0] % 1 or row[0] < 0 or not all(-1 <= value <= 2 for value in row[1:5]):
        raise DataError(f"{where} begins with {row[:5]}; expected YOLO's class and box in fractions of the image")
    points: list[Point] = [
        (values[at], values[at + 1], values[at + 2] if size == 3 else 1.0) for at in range(0, len(values), size)
    ]
    return replace(found_person(points, where, min_score), fractions=True)


def _numbers(values: list[str], where: str) -> list[float]:
    """Return the numbers of a line."""
    numbers = []
    for value in values:
        number = float(value) if len(value) <= 40 and _NUMBER.fullmatch(value) else math.nan
        if not abs(number) <= 1e9:
            raise DataError(f"{where} holds {value[:40]!r}, which is not a finite number of a sensible size")
        numbers.append(number)
    return numbers
