"""The user's own photos, one folder per person, as a data set. Other arrangements: see `pg2lib.data.photo_people`.

photos/anna/beach.jpg          of any size, one person in each
photos/ben/kitchen.png
  │ prepare       finds the keypoints of every photo
  │ crop_photos   cuts the person out, framed as training images are
  ▼
people/anna/beach.png          all of one size
people/ben/kitchen.png
people/keypoints.csv           the field's CSV, in the crops' pixels
people/.written.txt            the files written, so that another run may replace these and no others
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

from pg2lib.cutout import crop_on_backdrop
from pg2lib.data.keypoint_csv import UNKNOWN_CANVAS, Preparation, missing_file, read_keypoints, write_keypoints
from pg2lib.data.people import PersonTable, Skipped
from pg2lib.data.photo_people import PersonFrom, PhotoPeople, tell_people_apart
from pg2lib.data.prepare import DetectorFactory, prepare
from pg2lib.detect.turns import upright_turn
from pg2lib.errors import DataError
from pg2lib.files import atomic_path, atomic_write, lies_in
from pg2lib.framing import Framing
from pg2lib.images import load_image, load_photo, turn_photo
from pg2lib.pose import Pose, far_outside

KEYPOINTS = "keypoints.csv"
PHOTOS = "photos.csv"
RECORD = ".written.txt"

FRAMING = Framing(x=0.51, y={"nose": 0.113, "neck": 0.208, "hips": 0.501, "knees": 0.705, "ankles": 0.884})
"""How Market-1501 frames people: means over the annotations of its train split."""

TEST_SHARE = 0.1
"""Share of the people in the test split, rounded up."""

OnPeople = Callable[[PhotoPeople], None]
"""Called with what was understood, before anything is written."""

OnProgress = Callable[[int, int], None]
"""Called with (photos done, photos in all)."""

log = logging.getLogger(__name__)


def prepare_photos(
    photos: str | PathLike[str],
    folder: str | PathLike[str],
    canvas: tuple[int, int],
    detector: DetectorFactory,
    workers: int | None = None,
    on_detect: OnProgress | None = None,
    on_crop: OnProgress | None = None,
    person_from: PersonFrom | None = None,
    on_people: OnPeople | None = None,
) -> tuple[Preparation, int]:
    """Detect the person in every photo (`prepare`) and crop the photos to them (`crop_photos`).

    Files that must not be replaced, and folders that leave in doubt who is on the photos, are refused before the
    detection starts.

    Args:
        photos, folder, canvas: As in `crop_photos`. The folder also gets ``photos.csv``, the keypoints in the pixels of
            the photos.
        detector, workers: As in `prepare`.
        on_detect, on_crop: Called with (photos done, photos in all).
        person_from: What tells people apart, as in `tell_people_apart`.
        on_people: Called with the people, before anything is written.

    Returns:
        The result of `prepare`, and the number of images in the data set.

    Raises:
        DataError: As `prepare` and `crop_photos`.
    """
    source, target = Path(photos), Path(folder)
    _refuse_overlap(source, target)
    people = tell_people_apart(source, person_from)
    record = _Record(target)
    mine = [csv.name for csv in (target / PHOTOS, missing_file(target / PHOTOS))]
    record.refuse_others([KEYPOINTS, *mine, *people.crops().values()])
    if on_people is not None:
        on_people(people)
    record.add(mine)
    if not (target / f"{PHOTOS}.journal").exists():  # otherwise an interrupted run resumes
        for name in mine:
            (target / name).unlink(missing_ok=True)
    summary = prepare(source, target / PHOTOS, detector, workers, None, on_detect, "paths")
    return summary, crop_photos(source, summary.csv, target, canvas, on_progress=on_crop, person_from=person_from)


def crop_photos(
    photos: str | PathLike[str],
    keypoints: str | PathLike[str],
    folder: str | PathLike[str],
    canvas: tuple[int, int],
    framing: Framing = FRAMING,
    on_progress: OnProgress | None = None,
    person_from: PersonFrom | None = None,
) -> int:
    """Crop every photo that has keypoints to the person, and write the data set that `read_photos` reads.

    A photo in which the person lies on their side or stands on their head is turned first. A half-length portrait gives
    a half-length crop, see `pg2lib.framing.Framing.crop_to_seen`. A crop may extend beyond its photo, and shows a plain
    backdrop there. ``keypoints.csv`` is written last, so that an interrupted run leaves no data set. A run replaces the
    files that earlier runs recorded in the folder, and no other file.

    Args:
        photos: One folder per person. Photos in deeper folders belong to the person of the outermost one. The outermost
            folders may also be splits (see `pg2lib.data.photo_people`).
        keypoints: CSV in the pixels of the photos, named by the paths below `photos`, as `prepare` writes it with
            ``names="paths"``.
        folder: The data set, neither in the folder of the photos nor above it. It is made if it does not exist.
        canvas: (height, width) of the crops and of the model, such as (128, 64) or (256, 256).
        framing: Where the crops show the person.
        on_progress: Called with (photos done, photos in all).
        person_from: What tells people apart, as in `tell_people_apart`.

    Returns:
        The number of images in the data set.

    Raises:
        DataError: If `folder` is, is in or holds that of the photos; if a file that no earlier run wrote would be
            replaced; if it is in doubt who is on a photo; if a photo is missing or damaged, or has keypoints outside of
            it; if two photos would have crops of the same name; or if no photo has a joint.
    """
    source, target = Path(photos), Path(folder)
    _refuse_overlap(source, target)
    found = read_keypoints(keypoints, UNKNOWN_CANVAS, person_of=_outermost_folder)
    crops = tell_people_apart(source, person_from).crops()
    rows: dict[str, int] = {}
    for row in (~found.xy.isnan().flatten(1).all(1)).nonzero().flatten().tolist():
        if found.names[row] not in crops:
            raise DataError(f"no image file {source / found.names[row]}, which {keypoints} names")
        rows[crops[found.names[row]]] = row
    if not rows:
        raise DataError(f"{keypoints} has no joint in any photo of {source}, so there is nobody to crop to")
    record = _Record(target)
    record.refuse_others([KEYPOINTS, *rows])
    record.add([KEYPOINTS, *rows])
    (target / KEYPOINTS).unlink(missing_ok=True)
    poses: list[tuple[str, Pose]] = []
    for name, row in rows.items():
        poses.append((name, _crop(source / found.names[row], found.xy[row], target / name, canvas, framing)))
        if on_progress is not None:
            on_progress(len(poses), len(rows))
    write_keypoints(target / KEYPOINTS, poses)
    return len(poses)


def _outermost_folder(name: str) -> str:
    return name.partition("/")[0]


def _refuse_overlap(photos: Path, folder: Path) -> None:
    if lies_in(folder, photos) or lies_in(photos, folder):
        raise DataError(
            f"{folder} is, is in or holds the folder of the photos, {photos}, and crops must not mix with photos: name "
            f"a separate folder"
        )


class _Record:
    """The files of a folder that this module wrote and may replace: a text file with one name per line.

    A name is recorded before its file is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / RECORD
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{folder} is a file; expected the folder of the data set")
        try:
            self._names = set(self._path.read_text(encoding="utf-8").splitlines())
        except FileNotFoundError:
            self._names = set()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self._path}, the record of replaceable files, cannot be read: {error}") from error

    def refuse_others(self, names: Sequence[str]) -> None:
        """Refuse to replace files that are not in the record.

        Raises:
            DataError: If one of the files exists and is not in the record, or if a link leads out of the folder.
        """
        for name in names:
            path = self._folder / name
            if path.is_symlink() or not path.parent.resolve().is_relative_to(self._folder.resolve()):
                raise DataError(f"{path} would be written through a link, to {path.resolve()}: remove the link")
            if path.exists() and name not in self._names:
                raise DataError(
                    f"{path} exists already, and no earlier run wrote it: move it away, or name another folder"
                )

    def add(self, names: Iterable[str]) -> None:
        """Add names to the record."""
        self._names.update(names)
        with atomic_write(self._path) as file:
            file.writelines(f"{name}\n" for name in sorted(self._names))


def _crop(photo: Path, xy: torch.Tensor, target: Path, canvas: tuple[int, int], framing: Framing) -> Pose:
    """Write the crop of one photo, turned if the person is not upright, and return its pose."""
    picture, size = load_photo(photo)
    pose = Pose(xy, size)
    if pose.inside() != pose:
        raise DataError(
            f"{photo} has {size[1]}x{size[0]} pixels, and its keypoints lie outside: detect them again, in this photo"
        )
    pose = pose.resize((picture.height, picture.width))
    if turn := upright_turn([pose]):
        picture, pose = turn_photo(picture, turn), pose.turn(turn)
    crop = framing.crop_to_seen(pose, canvas)
    with atomic_path(target) as temporary:
        crop_on_backdrop(crop, picture).save(temporary, "PNG")
    return pose.crop(crop)


def read_photos(root: str | PathLike[str], split: Literal["train", "test"] | None = None) -> PersonTable:
    """Read the people of a folder that `crop_photos` made, or of one with the same layout.

    The people are split as they were given, if the folder holds ``train/<person>/...`` and ``test/<person>/...`` and
    nothing else. Otherwise a tenth of the people, at least one, are the test split. It depends on their names alone.

    Args:
        root: Holds ``keypoints.csv`` and one folder per person, with images of one size.
        split: None reads everybody.

    Raises:
        DataError: If there is no such folder, CSV or image, or if a single person would be split.
    """
    root = Path(root)
    csv = root / KEYPOINTS
    if not csv.is_file():
        raise DataError(
            f"{root} has no {KEYPOINTS}: make it with python -m pg2lib prepare PHOTOS --crop 128x64 --out DIR"
        )
    if split not in ("train", "test", None):
        raise DataError(f"split must be train, test or None, got {split!r}")
    table, splits = _with_splits(read_keypoints(csv, UNKNOWN_CANVAS, person_of=_outermost_folder), root, split)
    present = [(root / name).is_file() for name in table.names]
    rows = [row for row, its_split in enumerate(splits) if its_split == split and present[row]]
    if not rows:
        raise DataError(f"{csv}: none of its images is in {root}")
    image = load_image(root / table.names[rows[0]])
    gone = [
        Skipped(name, "no image", "keypoints without an image")
        for name, there in zip(table.names, present, strict=True)
        if not there
    ]
    table = table.select(rows, gone)
    for name, pose in zip(table.names, table.xy, strict=True):
        largest = far_outside(image.size)
        if bool((pose.abs() > largest).any()):
            raise DataError(f"{csv}: {name} has a joint more than {largest:,} pixels away from the corner of the image")
    paths = tuple(root / name for name in table.names)
    table = replace(table, canvas=(image.height, image.width), paths=paths)
    log.info("%s: %s", root, table)
    return table


def _with_splits(
    table: PersonTable, root: Path, split: Literal["train", "test"] | None
) -> tuple[PersonTable, list[str | None]]:
    """Return the table with the person of each row, and the split of each row; None if everybody is read."""
    parts = [name.split("/") for name in table.names]
    if {each[0] for each in parts} == {"train", "test"} and all(len(each) > 2 for each in parts):
        table = replace(table, persons=tuple(each[1] for each in parts))
        return table, [None if split is None else each[0] for each in parts]
    if split is None:
        return table, [None] * len(table)
    test = _test_people(set(table.persons), root)
    return table, ["test" if person in test else "train" for person in table.persons]


def _test_people(people: set[str], root: Path) -> set[str]:
    if len(people) < 2:
        raise DataError(
            f"{root} shows one person only, and people cannot be split into train and test; read it without a split"
        )
    drawn = sorted(people, key=lambda person: hashlib.sha256(person.encode()).digest())
    return set(drawn[: math.ceil(TEST_SHARE * len(drawn))])
