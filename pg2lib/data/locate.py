"""Finding a data set on this machine."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import TypeGuard

from pg2lib.data.read import TITLES, Layout, layout_of
from pg2lib.errors import DataError

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
