"""Any data set on disk as a PersonTable: which layout a folder has, and the reader that goes with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Literal

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
