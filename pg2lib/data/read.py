"""Any data set on disk as a PersonTable: which layout a folder has, and the reader that goes with it."""

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

Layout = Literal["market1501", "deepfashion", "photos"]

TITLES: dict[Layout, str] = {"market1501": "Market-1501", "deepfashion": "DeepFashion In-shop", "photos": "own photos"}

SYNTHETIC = "synthetic.json"
"""Lies in a folder of synthetic people, which has one of the layouts and is not what its names say."""

VARIABLE = "PG2_DATA"
"""Environment variable that says where the data lie."""

HOW_TO_GET_IT: dict[Layout, str] = {
    "market1501": """\
Market-1501 (Zheng et al., ICCV 2015) is for research only: it must not be passed on or used commercially. Its authors
give it away as Market-1501-v15.09.15.zip; the keypoints, market-annotation-train.csv and -test.csv, come from
https://github.com/tengteng95/Pose-Transfer or from `python -m pg2lib prepare`. Put the unpacked archive and the CSVs
into a folder data/market1501, or say where they are: PG2_DATA=/that/folder.""",
    "deepfashion": """\
DeepFashion In-shop (Liu et al., CVPR 2016) is for research only: it must not be passed on or used commercially. Its
authors give it away as Img/img.zip, with a password for who signs its agreement; keypoints come with many papers' code,
or from `python -m pg2lib prepare`. Put the unpacked archive and the CSVs into a folder data/deepfashion, or say where
they are: PG2_DATA=/that/folder.""",
}

_DEPTH = 5
"""How far below a root images may lie: ``In-shop Clothes Retrieval Benchmark/Img/img/WOMEN``, and one folder more."""

_FOLDERS_LOOKED_AT = 300
_FILES_LOOKED_AT = 20


def layout_of(root: str | PathLike[str]) -> Layout:
    """The layout of the data in a folder, or in one further down.

    Raises:
        DataError: no such folder, or none of the layouts.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    if any(folder.name in market1501.FOLDERS.values() for folder in _folders(root, depth=3)):
        return "market1501"
    if any(_is_deepfashion(folder) for folder in _folders(root, _DEPTH)):
        return "deepfashion"
    if (root / KEYPOINTS).is_file():
        return "photos"
    raise DataError(
        f"{root} holds no data set that is known here: neither Market-1501 (a folder "
        f"{' or '.join(market1501.FOLDERS.values())}), nor DeepFashion In-shop (folders MEN and WOMEN, or images named "
        f"fashionWOMENDressesid0000000202_1front.jpg), nor a folder a person beside a {KEYPOINTS}"
    )


def title_of(root: str | PathLike[str]) -> str:
    """What the data of a folder are called: in the name of a run or report.

    Raises:
        DataError: as `layout_of`.
    """
    layout = layout_of(root)
    return f"synthetic people ({layout} layout)" if (Path(root) / SYNTHETIC).is_file() else TITLES[layout]


def read_people(
    root: str | PathLike[str],
    split: Literal["train", "test"] = "train",
    keypoints: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    person: Literal["outfit", "item"] = "outfit",
    leak_free: bool = False,
    flat: bool = False,
) -> PersonTable:
    """The images of one split of any data set with their keypoints, by the reader of its layout.

    Args:
        root: Market-1501 or DeepFashion In-shop as unpacked, what `pg2lib.data.photos` made, or a folder above.
        split: "train" or "test".
        keypoints: CSV to read instead of the one beside the data; several for DeepFashion only.
        person, leak_free, flat: of DeepFashion, see `read_deepfashion`.

    Raises:
        DataError: no data set there, an argument that its layout does not have, or what the reader finds wrong.
    """
    layout = layout_of(root)
    if layout == "deepfashion":
        return read_deepfashion(root, split, keypoints, person, leak_free, flat)
    if person != "outfit" or leak_free or flat:
        raise DataError(f"person, leak_free and flat are of DeepFashion; {root} holds {TITLES[layout]}")
    if layout == "market1501":
        if keypoints is not None and not isinstance(keypoints, str | PathLike):
            raise DataError(f"Market-1501 takes one keypoint CSV a split, got {len(keypoints)}")
        return read_market1501(root, split, keypoints)
    if keypoints is not None:
        raise DataError(f"a folder of photos has its keypoints in {KEYPOINTS}; put them there")
    return read_photos(root, split)


def find_data(data: str | PathLike[str] = "market1501", start: str | PathLike[str] | None = None) -> Path:
    """The folder of a data set, or one above it: what `read_people` takes as its root.

    A name is looked for in the folder that the environment variable PG2_DATA names, which may also be the data set
    itself; without the variable in ``data/<name>`` and then ``shared/data/<name>``, of `start` and every folder above.

    Args:
        data: "market1501", "deepfashion", or a folder, which may also hold one of that name.
        start: by default the current folder.

    Raises:
        DataError: it is in none of these places; the message names them, and how to get the data. A place that was
            named but has no images is an error too: nothing else is taken in its stead.
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
    """Whether this is what a data set is called, and not the path of a folder."""
    return data in HOW_TO_GET_IT


def _in_folder(folder: Path) -> Path:
    """A folder somebody named, or the data set of a known name in it."""
    inside = [folder / name for name in HOW_TO_GET_IT if _layout(folder / name) == name]
    if len(inside) > 1:
        raise DataError(f"{folder} holds {' and '.join(path.name for path in inside)}: name one of these folders")
    if inside:
        return inside[0]
    layout_of(folder)  # says what is wrong with a folder that holds nothing
    return folder


def _layout(folder: Path) -> Layout | None:
    try:
        return layout_of(folder)
    except DataError:
        return None


def _folders(root: Path, depth: int) -> Iterator[Path]:
    """`root` and the folders below it, the nearest first; not every one of a huge tree."""
    return islice(_every_folder(root, depth), _FOLDERS_LOOKED_AT)


def _every_folder(root: Path, depth: int) -> Iterator[Path]:
    level = [root]
    for _ in range(depth + 1):
        yield from level
        level = [Path(entry.path) for folder in level for entry in _entries(folder) if entry.is_dir()]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from error


def _is_deepfashion(folder: Path) -> bool:
    if folder.name in ("MEN", "WOMEN"):
        return True
    images = (entry.name for entry in _entries(folder) if entry.name.endswith(".jpg"))
    return any(parse_deepfashion(name) is not None for name in islice(images, _FILES_LOOKED_AT))
