"""Keypoints for a folder of images: the pose detector over every one of them, into the field's CSV.

A journal beside the CSV takes one line an image as it is done, so that a run that is stopped goes on where it was; the
CSV appears at the end, whole.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg2lib.data.people import CSV_HEADER, csv_row
from pg2lib.errors import DataError, NoPersonError
from pg2lib.files import atomic_write
from pg2lib.images import load_image

if TYPE_CHECKING:
    from pg2lib.detect import PoseDetector

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


@dataclass(frozen=True)
class Preparation:
    """What `prepare` did.

    Attributes:
        found: images with a pose in the CSV.
        without_person: images in which nobody was found.
        unreadable: images that could not be decoded, with the reason.
        missing_file: where both are listed; None when there are none.
    """

    found: int
    without_person: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    missing_file: Path | None


def prepare(
    images: str | PathLike[str],
    csv: str | PathLike[str],
    detector: PoseDetector,
    on_progress: Callable[[int, int], None] | None = None,
) -> Preparation:
    """Finds the pose in every image of a folder and its subfolders, and writes the field's keypoint CSV.

    Names in the CSV are paths relative to the folder. Images without a person, and unreadable ones, are not in the CSV
    but in ``<csv name>.missing.txt`` beside it, one a line with the reason.

    Args:
        detector: anything with `PoseDetector`'s method.
        on_progress: called with (images done, images in all).

    Raises:
        DataError: no such folder, or no image in it.
    """
    folder, target = Path(images), Path(csv)
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES
    )
    if not names:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    journal = target.with_name(target.name + ".journal")
    done = {name: entry for name, entry in _read_journal(journal) if name in set(names)}
    if done:
        log.info("%d of %d images were done before", len(done), len(names))
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8") as file:
        for count, name in enumerate(names, start=1):
            if name not in done:
                done[name] = _detect(folder / name, name, detector)
                file.write(json.dumps({"name": name, **done[name]}) + "\n")
                file.flush()
            if on_progress is not None:
                on_progress(count, len(names))
    return _finish(names, done, target, journal)


def _detect(path: Path, name: str, detector: PoseDetector) -> dict[str, str]:
    try:
        return {"row": csv_row(name, detector.detect(load_image(path)).pose)}
    except NoPersonError:
        return {"nobody": "no person found"}
    except DataError as error:
        return {"unreadable": str(error)}


def _read_journal(journal: Path) -> Iterator[tuple[str, dict[str, str]]]:
    if not journal.exists():
        return
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            entry: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue  # the line that a kill cut short
        yield entry.pop("name"), entry


def _finish(names: list[str], done: dict[str, dict[str, str]], target: Path, journal: Path) -> Preparation:
    rows = [done[name]["row"] for name in names if "row" in done[name]]
    nobody = tuple(name for name in names if "nobody" in done[name])
    unreadable = tuple((name, done[name]["unreadable"]) for name in names if "unreadable" in done[name])
    with atomic_write(target) as file:
        file.write(CSV_HEADER + "\n")
        file.writelines(row + "\n" for row in rows)
    missing = target.with_name(target.stem + ".missing.txt")
    if nobody or unreadable:
        with atomic_write(missing) as file:
            file.writelines(f"{name}\tno person found\n" for name in nobody)
            file.writelines(f"{name}\t{reason}\n" for name, reason in unreadable)
    else:
        missing.unlink(missing_ok=True)
    journal.unlink()
    return Preparation(len(rows), nobody, unreadable, missing if nobody or unreadable else None)
