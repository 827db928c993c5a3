"""Finding Market-1501 on this machine."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from pg2lib.data.market1501 import FOLDERS
from pg2lib.errors import DataError

VARIABLE = "PG2_DATA"
"""Environment variable that says where the data lie."""

NAME = "market1501"

HOW_TO_GET_IT = """\
Market-1501 (Zheng et al., ICCV 2015) is for research only: it must not be passed on or used commercially. Its authors
give it away as Market-1501-v15.09.15.zip; the keypoints, market-annotation-train.csv and -test.csv, come from
https://github.com/tengteng95/Pose-Transfer or from `python -m pg2lib prepare`. Put the unpacked archive and the CSVs
into a folder data/market1501, or say where they are: PG2_DATA=/that/folder."""


def find_data(folder: str | PathLike[str] | None = None, start: str | PathLike[str] | None = None) -> Path:
    """The folder with Market-1501's images, or one above it: what `read_market1501` takes as its root.

    It is `folder`, else the one that the environment variable PG2_DATA names; either may also be the folder that holds
    ``market1501``. With neither, ``data/market1501`` and then ``shared/data/market1501`` are looked for in `start` and
    in every folder above it.

    Args:
        start: by default the current folder.

    Raises:
        DataError: it is in none of these places; the message names them, and how to get the data. A place that was
            named but has no images is an error too: nothing else is taken in its stead.
    """
    named = folder if folder is not None else os.environ.get(VARIABLE) or None
    if named is not None:
        candidates = [Path(named) / NAME, Path(named)]
    else:
        here = Path(start or Path.cwd()).resolve()
        above = [here, *here.parents]
        candidates = [base / below / NAME for below in ("data", Path("shared", "data")) for base in above]
    for candidate in candidates:
        if _holds_images(candidate):
            return candidate
    looked_in = ", ".join(map(str, candidates))
    raise DataError(f"no Market-1501 ({' or '.join(FOLDERS.values())}) in {looked_in}.\n{HOW_TO_GET_IT}")


def _holds_images(folder: Path) -> bool:
    """Whether `read_market1501` would find a split here."""
    return folder.is_dir() and any(
        path.is_dir() for name in FOLDERS.values() for depth in ("", "*/", "*/*/") for path in folder.glob(depth + name)
    )
