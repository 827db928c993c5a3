"""One's own photos, a folder a person, as a data set.

photos/anna/beach.jpg          of any size, one person in each
photos/ben/kitchen.png
  │ prepare       finds the keypoints of every photo
  │ crop_photos   cuts the person out, framed as training images are
  ▼
people/anna/beach.png          all of one size
people/ben/kitchen.png
people/keypoints.csv           the field's CSV, in the crops' pixels
  ▼ read_photos
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Literal

import torch

from pg2lib.data.people import PersonTable, Skipped, read_keypoints, write_keypoints
from pg2lib.errors import DataError
from pg2lib.files import atomic_path
from pg2lib.images import load_image
from pg2lib.pipeline import Framing
from pg2lib.pose import Pose

KEYPOINTS = "keypoints.csv"

FRAMING = Framing(x=0.51, y={"nose": 0.113, "neck": 0.208, "hips": 0.501, "knees": 0.705, "ankles": 0.884})
"""Where Market-1501 shows people: means over the annotations of its train split."""

TEST_SHARE = 0.1
"""Share of the people who are kept for testing, at least one."""

log = logging.getLogger(__name__)


def crop_photos(
    photos: str | PathLike[str],
    keypoints: str | PathLike[str],
    folder: str | PathLike[str],
    canvas: tuple[int, int],
    framing: Framing = FRAMING,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Cuts the person out of every photo that has keypoints, and writes the data set that `read_photos` reads.

    A crop may reach beyond its photo, whose edge is then repeated. ``keypoints.csv`` comes last: a run that was stopped
    leaves no data set, and is done again.

    Args:
        photos: a folder a person; what lies deeper belongs to the person of the outermost folder.
        keypoints: CSV in the photos' own pixels, named by the path below `photos`, as `prepare` writes it with
            ``names="paths"``.
        folder: of the data set; made where there is none.
        canvas: (height, width) of the crops; that of the model, such as (128, 64) or (256, 256).
        framing: where the crops show the person.
        on_progress: called with (photos done, photos in all).

    Returns:
        How many images the data set has.

    Raises:
        DataError: a photo that lies in no person's folder, is missing or damaged, two photos whose crops would have
            one name, or keypoints without a joint in any photo.
    """
    source, target = Path(photos), Path(folder)
    found = read_keypoints(keypoints, canvas, person_of=lambda name: name.partition("/")[0])
    rows = [row for row in range(len(found)) if not bool(found.xy[row].isnan().all())]
    if not rows:
        raise DataError(f"{keypoints} has no joint in any photo of {source}, so there is nobody to cut out")
    (target / KEYPOINTS).unlink(missing_ok=True)
    names: dict[str, str] = {}
    poses: list[tuple[str, Pose]] = []
    for done, row in enumerate(rows, start=1):
        photo = found.names[row]
        if "/" not in photo:
            raise DataError(f"{source / photo} lies in no person's folder: move it to {source}/<person>/{photo}")
        name = Path(photo).with_suffix(".png").as_posix()
        if name in names:
            raise DataError(f"{source / photo} and {source / names[name]} would both become {name}; rename one")
        names[name] = photo
        poses.append((name, _crop(source / photo, found.xy[row], target / name, canvas, framing)))
        if on_progress is not None:
            on_progress(done, len(rows))
    write_keypoints(target / KEYPOINTS, poses)
    return len(poses)


def _crop(photo: Path, xy: torch.Tensor, target: Path, canvas: tuple[int, int], framing: Framing) -> Pose:
    """Writes the crop of one photo and returns its pose."""
    picture = load_image(photo)
    crop = framing.crop(Pose(xy, (picture.height, picture.width)), canvas)
    with atomic_path(target) as temporary:
        crop.apply(picture).save(temporary, "PNG")
    return Pose(crop.to_canvas(xy), canvas)


def read_photos(root: str | PathLike[str], split: Literal["train", "test"] | None = None) -> PersonTable:
    """The people of a folder that `crop_photos` made, or of any laid out like it.

    The split is by person: a tenth of the people, at least one, are the test split. Who that is depends on the names
    alone.

    Args:
        root: holds ``keypoints.csv`` and a folder a person, with images of one size.
        split: None takes everybody.

    Raises:
        DataError: no such folder or CSV, no image, or a split of a single person.
    """
    root = Path(root)
    csv = root / KEYPOINTS
    if not csv.is_file():
        raise DataError(
            f"{root} has no {KEYPOINTS}: make it with python -m pg2lib prepare PHOTOS --crop 128x64 --out DIR"
        )
    if split not in ("train", "test", None):
        raise DataError(f"split must be train, test or None, got {split!r}")
    table = read_keypoints(csv, (0, 0), person_of=lambda name: name.partition("/")[0])
    chosen = set(table.persons) if split is None else _people_of(split, set(table.persons), root)
    present = [(root / name).is_file() for name in table.names]
    rows = [row for row, person in enumerate(table.persons) if person in chosen and present[row]]
    if not rows:
        raise DataError(f"{csv}: not one of its images is in {root}")
    image = load_image(root / table.names[rows[0]])
    gone = [
        Skipped(name, "keypoints without an image")
        for name, there in zip(table.names, present, strict=True)
        if not there
    ]
    table = table.select(rows, gone)
    paths = tuple(root / name for name in table.names)
    table = replace(table, canvas=(image.height, image.width), paths=paths)
    log.info("%s: %s", root, table)
    return table


def _people_of(split: Literal["train", "test"], people: set[str], root: Path) -> set[str]:
    if len(people) < 2:
        raise DataError(
            f"{root} shows one person only, who cannot be split into train and test; read it without a split"
        )
    drawn = sorted(people, key=lambda person: hashlib.sha256(person.encode()).digest())
    test = set(drawn[: math.ceil(TEST_SHARE * len(drawn))])
    return test if split == "test" else people - test
