"""One's own photos, a folder a person, as a data set.

photos/anna/beach.jpg          of any size, one person in each
photos/ben/kitchen.png
  │ prepare       finds the keypoints of every photo
  │ crop_photos   cuts the person out, framed as training images are
  ▼
people/anna/beach.png          all of one size
people/ben/kitchen.png
people/keypoints.csv           the field's CSV, in the crops' pixels
people/.written.txt            which files these are, so that another run may replace them and no others
  ▼ read_photos
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Literal

import torch

from pg2lib.data.people import PersonTable, Skipped, read_keypoints, write_keypoints
from pg2lib.data.prepare import DetectorFactory, Preparation, keypoint_files, list_images, prepare
from pg2lib.errors import DataError
from pg2lib.files import atomic_path, atomic_write, lies_in
from pg2lib.images import load_image, load_photo
from pg2lib.pipeline import Framing
from pg2lib.pose import Pose

KEYPOINTS = "keypoints.csv"
PHOTOS = "photos.csv"
RECORD = ".written.txt"

FRAMING = Framing(x=0.51, y={"nose": 0.113, "neck": 0.208, "hips": 0.501, "knees": 0.705, "ankles": 0.884})
"""Where Market-1501 shows people: means over the annotations of its train split."""

TEST_SHARE = 0.1
"""Share of the people who are kept for testing, at least one."""

log = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]


def prepare_photos(
    photos: str | PathLike[str],
    folder: str | PathLike[str],
    canvas: tuple[int, int],
    detector: DetectorFactory,
    workers: int | None = None,
    on_detect: OnProgress | None = None,
    on_crop: OnProgress | None = None,
) -> tuple[Preparation, int]:
    """Finds the person in every photo (`prepare`) and cuts them out (`crop_photos`).

    What cannot be written is found out before the work is done.

    Args:
        photos, folder, canvas: as in `crop_photos`. The folder also gets ``photos.csv``, the keypoints in the photos'
            own pixels.
        detector, workers: as in `prepare`.
        on_detect, on_crop: called with (photos done, photos in all).

    Returns:
        What `prepare` did, and how many images the data set has.

    Raises:
        DataError: as `prepare` and `crop_photos`.
    """
    source, target = Path(photos), Path(folder)
    _refuse_overlap(source, target)
    record = _Record(target)
    mine = [csv.name for csv in keypoint_files(target / PHOTOS)]
    record.refuse_others([KEYPOINTS, *mine, *map(_name_of_crop, list_images(source, "paths").paths)])
    record.note(mine)
    if not (target / f"{PHOTOS}.journal").exists():  # else it is the journal's run that goes on
        for name in mine:
            (target / name).unlink(missing_ok=True)
    summary = prepare(source, target / PHOTOS, detector, workers, None, on_detect, "paths")
    return summary, crop_photos(source, summary.csv, target, canvas, on_progress=on_crop)


def crop_photos(
    photos: str | PathLike[str],
    keypoints: str | PathLike[str],
    folder: str | PathLike[str],
    canvas: tuple[int, int],
    framing: Framing = FRAMING,
    on_progress: OnProgress | None = None,
) -> int:
    """Cuts the person out of every photo that has keypoints, and writes the data set that `read_photos` reads.

    A crop may reach beyond its photo, whose edge is then repeated. ``keypoints.csv`` comes last: a run that was stopped
    leaves no data set, and is done again. It replaces what earlier runs wrote, of which the folder has a record, and no
    other file.

    Args:
        photos: a folder a person; what lies deeper belongs to the person of the outermost folder.
        keypoints: CSV in the photos' own pixels, named by the path below `photos`, as `prepare` writes it with
            ``names="paths"``.
        folder: of the data set, apart from the photos; made where there is none.
        canvas: (height, width) of the crops; that of the model, such as (128, 64) or (256, 256).
        framing: where the crops show the person.
        on_progress: called with (photos done, photos in all).

    Returns:
        How many images the data set has.

    Raises:
        DataError: a `folder` that is, lies in or holds the photos; a file in it that would be replaced and is not of an
            earlier run; a photo that lies in no person's folder, is missing or damaged, or has keypoints outside of it;
            two photos whose crops would have one name; or keypoints without a joint in any photo.
    """
    source, target = Path(photos), Path(folder)
    _refuse_overlap(source, target)
    found = read_keypoints(keypoints, canvas, person_of=lambda name: name.partition("/")[0])
    rows = [row for row in range(len(found)) if not bool(found.xy[row].isnan().all())]
    if not rows:
        raise DataError(f"{keypoints} has no joint in any photo of {source}, so there is nobody to cut out")
    names: dict[str, int] = {}
    for row in rows:
        photo = found.names[row]
        if "/" not in photo:
            raise DataError(f"{source / photo} lies in no person's folder: move it to {source}/<person>/{photo}")
        name = _name_of_crop(photo)
        if name in names:
            raise DataError(
                f"{source / photo} and {source / found.names[names[name]]} would both become {name}; rename one"
            )
        names[name] = row
    record = _Record(target)
    record.refuse_others([KEYPOINTS, *names])
    record.note([KEYPOINTS, *names])
    (target / KEYPOINTS).unlink(missing_ok=True)
    poses: list[tuple[str, Pose]] = []
    for name, row in names.items():
        poses.append((name, _crop(source / found.names[row], found.xy[row], target / name, canvas, framing)))
        if on_progress is not None:
            on_progress(len(poses), len(names))
    write_keypoints(target / KEYPOINTS, poses)
    return len(poses)


def _refuse_overlap(photos: Path, folder: Path) -> None:
    if lies_in(folder, photos) or lies_in(photos, folder):
        raise DataError(
            f"{folder} is, lies in or holds the folder of the photos, {photos}, which the crops must not come among: "
            f"name a folder apart from it"
        )


def _name_of_crop(photo: str) -> str:
    return Path(photo).with_suffix(".png").as_posix()


class _Record:
    """Which files of a folder this module wrote, and so may replace: a text file, one name a line.

    A name is noted before its file is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / RECORD
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{folder} is a file; name the folder for the data set")
        try:
            self._names = set(self._path.read_text(encoding="utf-8").splitlines())
        except FileNotFoundError:
            self._names = set()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self._path}, which says what may be replaced, cannot be read: {error}") from error

    def refuse_others(self, names: Sequence[str]) -> None:
        """Looks at the files that are to be written.

        Raises:
            DataError: one is there and is not in the record, or a link would lead it out of the folder.
        """
        for name in names:
            path = self._folder / name
            if path.is_symlink() or not path.parent.resolve().is_relative_to(self._folder.resolve()):
                raise DataError(f"{path} would be written through a link, to {path.resolve()}: remove the link")
            if path.exists() and name not in self._names:
                raise DataError(
                    f"{path} is there already, and no earlier run wrote it: move it away, or name another folder"
                )

    def note(self, names: Iterable[str]) -> None:
        """Adds names to the record."""
        self._names.update(names)
        with atomic_write(self._path) as file:
            file.writelines(f"{name}\n" for name in sorted(self._names))


def _crop(photo: Path, xy: torch.Tensor, target: Path, canvas: tuple[int, int], framing: Framing) -> Pose:
    """Writes the crop of one photo and returns its pose."""
    picture, size = load_photo(photo)
    pose = Pose(xy, size)
    if pose.inside() != pose:
        raise DataError(
            f"{photo} has {size[1]}x{size[0]} pixels, and its keypoints lie outside: find them anew, in this photo"
        )
    pose = pose.resize((picture.height, picture.width))
    crop = framing.crop(pose, canvas)
    with atomic_path(target) as temporary:
        crop.apply(picture).save(temporary, "PNG")
    return pose.crop(crop)


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
        Skipped(name, "no image", "keypoints without an image")
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
