"""Market-1501, and DukeMTMC-reID, which has its layout: ``bounding_box_train`` and ``bounding_box_test``, 128x64 JPEG.

PATN (Zhu et al., "Progressive Pose Attention Transfer for Person Image Generation", CVPR 2019) and the code that builds
on it keep the images in ``train`` and ``test``.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Literal

import torch

from pg2lib.data.keypoint_csv import read_keypoints
from pg2lib.data.names import DUKEMTMC_NAME, MARKET1501_NAME, file_name_of, image_key, parse_reid
from pg2lib.data.people import PersonTable, SkipKind, Skipped
from pg2lib.errors import DataError, MissingKeypointsError
from pg2lib.images import fit_points, size_of

CANVAS = (128, 64)
FILL = (128, 128, 128)
"""The colour that images of another size are letterboxed on."""

FOLDERS = {"train": ("bounding_box_train", "train"), "test": ("bounding_box_test", "test")}
"""The folders of each split: the original one, and that of PATN, which counts only if its files have known names."""

NOT_A_PERSON: dict[str, SkipKind] = {"-1": "junk", "0000": "distractor"}

_MOST_FILES = 20
"""Number of files of a folder whose names are looked at."""

log = logging.getLogger(__name__)


def data_set_in(folder: Path) -> Literal["market1501", "dukemtmc"] | None:
    """Return of which data set a folder holds a split, by its own name and those of its first files."""
    if not any(folder.name in names for names in FOLDERS.values()) or not folder.is_dir():
        return None
    with os.scandir(folder) as entries:
        files = [entry.name for entry in islice(entries, _MOST_FILES)]
    if any(DUKEMTMC_NAME.match(name) for name in files):
        return "dukemtmc"
    original = any(folder.name == names[0] for names in FOLDERS.values())
    return "market1501" if original or any(MARKET1501_NAME.match(name) for name in files) else None


def read_market1501(
    root: str | PathLike[str], split: Literal["train", "test"], keypoints: str | PathLike[str] | None = None
) -> PersonTable:
    """Read the images of one split with their keypoints.

    ``PersonTable.skipped`` lists junk (-1), distractors (0000), files with other names, images of the same name but for
    the suffix, images without a row in the CSV and rows without an image. An image whose row has no joint is kept with
    an empty pose. The names of the CSV may have other suffixes than the files, and folders.

    Images of DukeMTMC-reID have different sizes. They are letterboxed onto 128x64 when they are loaded, and their
    keypoints follow.

    Args:
        root: The folder with ``bounding_box_train`` (or PATN's ``train``), or one above it.
        split: "train" or "test" (751 and 750 people in Market-1501).
        keypoints: The CSV, in the pixels of the files. By default ``market-annotation-<split>.csv`` in `root`, beside
            it, or beside the image folder.

    Raises:
        DataError: If the folder or the CSV is missing, if the CSV is malformed, or if no image is left.
    """
    images = _find_images(Path(root), split)
    csv = Path(keypoints) if keypoints is not None else _find_keypoints(Path(root), images, split)
    annotated = read_keypoints(csv, CANVAS)
    rows: dict[int, Path] = {}
    skipped: list[Skipped] = []
    for path in sorted(path for path in images.iterdir() if path.name != "Thumbs.db"):
        match, row = parse_reid(path.name), annotated.row(path.name)
        not_a_person = None if match is None else NOT_A_PERSON.get(match["person"])
        if match is None:
            skipped.append(Skipped(path.name, "unknown name", "not a name of Market-1501 or DukeMTMC-reID"))
        elif not_a_person is not None:
            skipped.append(Skipped(path.name, not_a_person, not_a_person))
        elif row is None:
            skipped.append(Skipped(path.name, "no keypoints", f"no keypoints in {csv.name}"))
        elif row in rows:
            skipped.append(Skipped(path.name, "duplicate", f"the same image as {rows[row].name}"))
        else:
            rows[row] = path
    present = {image_key(path.name) for path in rows.values()} | {image_key(skip.name) for skip in skipped}
    missing = [name for name in annotated.names if image_key(name) not in present]
    skipped += [Skipped(name, "no image", "keypoints without an image") for name in missing]
    if not rows:
        raise DataError(_why_nobody(images, csv, split, skipped))
    table = replace(annotated.select(list(rows), skipped), paths=tuple(rows.values()))
    table = replace(table, names=tuple(map(file_name_of, table.names)))
    if DUKEMTMC_NAME.match(table.names[0]):
        table = _letterboxed(table, rows.values())
    log.info("%s: %s", images, table)
    return table


def _why_nobody(images: Path, csv: Path, split: str, skipped: Iterable[Skipped]) -> str:
    """Return why no image of a folder is left."""
    kinds = Counter(skip.kind for skip in skipped if skip.kind != "no image")
    example = next((skip.name for skip in skipped if skip.kind == "unknown name"), None)
    if not kinds:
        return f"{images} holds no image"
    if kinds.keys() <= set(NOT_A_PERSON.values()):
        return (
            f"{images} shows nobody: all {kinds.total():,} images are junk (person -1) or distractors (person 0000); "
            f"is the whole split unpacked?"
        )
    if example is not None and "no keypoints" not in kinds:
        return (
            f"{images} has no file with a name such as 0224_c6s1_055726_02.jpg (Market-1501) or 0005_c2_f0046985.jpg "
            f"(DukeMTMC-reID), but such as {example}: give the files their original names"
        )
    return f"{images} and {csv} have no image in common; is the CSV that of the {split} split?"


def _letterboxed(table: PersonTable, paths: Iterable[Path]) -> PersonTable:
    """Return the table with the keypoints where they are after `PersonTable.load` has letterboxed the images.

    Damaged images are left as they are: loading them raises an error that says so.
    """
    sizes = []
    for path in paths:
        try:
            sizes.append(size_of(path))
        except DataError:
            sizes.append(table.canvas)
    if set(sizes) == {table.canvas}:
        return table
    xy = [fit_points(points, size, table.canvas) for points, size in zip(table.xy, sizes, strict=True)]
    return replace(table, xy=torch.stack(xy), fill=FILL)


def _find_images(root: Path, split: str) -> Path:
    if split not in FOLDERS:
        raise DataError(f"split must be one of {', '.join(FOLDERS)}, got {split!r}")
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    for name in FOLDERS[split]:
        for candidate in (root / name, *sorted(root.glob(f"*/{name}")), *sorted(root.glob(f"*/*/{name}"))):
            if data_set_in(candidate) is not None:
                return candidate
    raise DataError(
        f"{root} has no folder {FOLDERS[split][0]}: pass the unpacked Market-1501-v15.09.15, or a folder above it"
    )


def _find_keypoints(root: Path, images: Path, split: str) -> Path:
    name = f"market-annotation-{split}.csv"
    folders = list(dict.fromkeys((root, images.parent, images.parent.parent, root.parent)))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise MissingKeypointsError(
        f"no keypoints: {name} is not in {', '.join(str(folder) for folder in folders)}. "
        f"Pass the file, or make it with python -m pg2lib prepare {images} --out {images.parent / name}"
    )
