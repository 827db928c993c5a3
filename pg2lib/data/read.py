"""Finding a data set on this machine, recognising its layout, and reading it as a PersonTable."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Literal, TypeGuard

from pg2lib.data import market1501
from pg2lib.data.deepfashion import read_deepfashion
from pg2lib.data.market1501 import read_market1501
from pg2lib.data.names import parse_deepfashion
from pg2lib.data.people import PersonTable
from pg2lib.data.photos import KEYPOINTS, read_photos
from pg2lib.errors import DataError
from pg2lib.files import IMAGE_SUFFIXES

Layout = Literal["market1501", "dukemtmc", "deepfashion", "photos"]

TITLES: dict[Layout, str] = {
    "market1501": "Market-1501",
    "dukemtmc": "DukeMTMC-reID",
    "deepfashion": "DeepFashion In-shop",
    "photos": "own photos",
}

SYNTHETIC = "synthetic.json"
"""Marks a folder of synthetic people, which has the layout of a real data set."""

VARIABLE = "PG2_DATA"
"""Environment variable that names the folder of the data."""

HOW_TO_GET_IT: dict[Layout, str] = {
    "market1501": """\
Market-1501 (Zheng et al., ICCV 2015) is for research only: it must not be redistributed or used commercially. Its
authors provide it as Market-1501-v15.09.15.zip. The keypoints, market-annotation-train.csv and -test.csv, come from
https://github.com/tengteng95/Pose-Transfer or from `python -m pg2lib prepare`. Put the unpacked archive and the CSVs
into a folder data/market1501, or name their folder with PG2_DATA=/that/folder.""",
    "deepfashion": """\
DeepFashion In-shop (Liu et al., CVPR 2016) is for research only: it must not be redistributed or used commercially. Its
authors provide it as Img/img.zip, with a password for those who sign its agreement. Keypoints come with the code of
many papers, or from `python -m pg2lib prepare`. Put the unpacked archive and the CSVs into a folder data/deepfashion,
or name their folder with PG2_DATA=/that/folder.""",
}

_DEPTH = 5
"""Levels below a root that are searched: ``In-shop Clothes Retrieval Benchmark/Img/img/WOMEN``, and one more."""

_MOST_FOLDERS = 300
_MOST_FILES = 20
"""Limits of the search in a huge tree: folders in all, and images in each."""


def layout_of(root: str | PathLike[str]) -> Layout:
    """Return the layout of the data in a folder or below it.

    Raises:
        DataError: If there is no such folder, or no data set of a known layout in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    for folder in _folders(root, depth=3):
        if (found := market1501.data_set_in(folder)) is not None:
            return found
    if any(_is_deepfashion(folder) for folder in _folders(root, _DEPTH)):
        return "deepfashion"
    if (root / KEYPOINTS).is_file():
        return "photos"
    raise DataError(
        f"{root} holds no known data set: neither Market-1501 or DukeMTMC-reID (a folder bounding_box_train or "
        f"bounding_box_test; also train or test, with files named 0224_c6s1_055726_02.jpg or 0005_c2_f0046985.jpg), "
        f"nor DeepFashion In-shop (folders MEN and WOMEN, or images named "
        f"fashionWOMENDressesid0000000202_1front.jpg), nor photos (one folder per person, and {KEYPOINTS})"
    )


def is_synthetic(root: str | PathLike[str]) -> bool:
    """Return whether a folder holds synthetic people, which have the layout of a real data set."""
    return (Path(root) / SYNTHETIC).is_file()


def title_of(root: str | PathLike[str]) -> str:
    """Return the title of the data in a folder, for the name of a run or a report.

    Raises:
        DataError: As `layout_of`.
    """
    layout = layout_of(root)
    return f"synthetic people ({layout} layout)" if is_synthetic(root) else TITLES[layout]


def read_people(
    root: str | PathLike[str],
    split: Literal["train", "test"] = "train",
    keypoints: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    person: Literal["outfit", "item"] = "outfit",
    leak_free: bool = False,
    flat: bool = False,
) -> PersonTable:
    """Read the images of one split of any data set with their keypoints, with the reader of its layout.

    Args:
        root: The folder of Market-1501, DukeMTMC-reID, DeepFashion In-shop or photos prepared by `pg2lib.data.photos`.
            For all but the last also a folder above it.
        split: "train" or "test".
        keypoints: CSV to read instead of the one found with the data. DeepFashion takes several.
        person, leak_free, flat: For DeepFashion only, see `read_deepfashion`.

    Raises:
        DataError: If there is no data set, if its layout does not have one of the arguments, or if the reader refuses
            the data.
    """
    layout = layout_of(root)
    if layout == "deepfashion":
        return read_deepfashion(root, split, keypoints, person, leak_free, flat)
    if person != "outfit" or leak_free or flat:
        raise DataError(f"person, leak_free and flat are for DeepFashion only, but {root} holds {TITLES[layout]}")
    if layout in ("market1501", "dukemtmc"):
        if keypoints is not None and not isinstance(keypoints, str | PathLike):
            raise DataError(f"{TITLES[layout]} takes one keypoint CSV per split, got {len(keypoints)}")
        return read_market1501(root, split, keypoints)
    if keypoints is not None:
        raise DataError(f"photos have their keypoints in {root}/{KEYPOINTS}; put the CSV there")
    return read_photos(root, split)


def find_data(data: str | PathLike[str] = "market1501", start: str | PathLike[str] | None = None) -> Path:
    """Find the folder of a data set, or one above it, for `read_people`.

    A name is searched in the folder that the environment variable PG2_DATA names, which may also be the data set
    itself. Without the variable it is searched in ``data/<name>``, then in ``shared/data/<name>``, of `start` and of
    every folder above it.

    Args:
        data: "market1501", "deepfashion", or a folder, which may also hold a folder of one of these names.
        start: The current folder by default.

    Raises:
        DataError: If the data are in none of these places. The message lists the places, and how to get the data.
            A folder that was named explicitly and holds no data is an error, too; no other folder is searched.
    """
    name = str(data)
    if not is_name(name):
        return _in_folder(Path(data))
    named = os.environ.get(VARIABLE)
    if named:
        candidates = [Path(named) / name, Path(named)]
    else:
        here = Path(start or Path.cwd()).resolve()
        above = [here, *here.parents]
        candidates = [base / below / name for below in ("data", Path("shared", "data")) for base in above]
    for candidate in candidates:
        if _layout(candidate) == name:
            return candidate
    looked_in = ", ".join(map(str, candidates))
    raise DataError(f"no {TITLES[name]} in {looked_in}.\n{HOW_TO_GET_IT[name]}")


def is_name(data: str) -> TypeGuard[Layout]:
    """Return whether this is the name of a data set, and not the path of a folder."""
    return data in HOW_TO_GET_IT


def _in_folder(folder: Path) -> Path:
    """Return a folder that was named explicitly, or the data set of a known name in it."""
    inside = [folder / name for name in HOW_TO_GET_IT if _layout(folder / name) == name]
    if len(inside) > 1:
        raise DataError(f"{folder} holds {' and '.join(path.name for path in inside)}: name one of these folders")
    if inside:
        return inside[0]
    layout_of(folder)  # raises if the folder holds no data
    return folder


def _layout(folder: Path) -> Layout | None:
    try:
        return layout_of(folder)
    except DataError:
        return None


def _folders(root: Path, depth: int) -> Iterator[Path]:
    """Yield `root` and the folders below it, the nearest first, up to a limit."""
    return islice(_every_folder(root, depth), _MOST_FOLDERS)


def _every_folder(root: Path, depth: int) -> Iterator[Path]:
    level = [root]
    for _ in range(depth + 1):
        yield from level
        level = [Path(entry.path) for folder in level for entry in _entries(folder) if entry.is_dir()]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from error


def _is_deepfashion(folder: Path) -> bool:
    if folder.name in ("MEN", "WOMEN"):
        return True
    images = (entry.name for entry in _entries(folder) if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES)
    return any(parse_deepfashion(name) is not None for name in islice(images, _MOST_FILES))
