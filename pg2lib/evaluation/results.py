"""Image files that another method generated: which pair each belongs to, and how it becomes an image of the canvas.

The field names such files after both images of the pair, in several ways:

| name | written by |
|---|---|
| ``FROM_TO.png`` | scripts of users |
| ``FROM_2_TO_vis.jpg`` | GFLA and methods built on it |
| ``FROM_to_TO.png`` | methods that adapted it |
| ``FROM.jpg___TO.jpg_vis.png`` | PATN and methods built on it: five panels, of which the right one is the result |
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from os import PathLike
from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from pg2lib.data.pairs import PairTable, RowFinder
from pg2lib.data.people import PersonTable
from pg2lib.errors import DataError
from pg2lib.evaluation.panels import MOST_PANELS, Panels, find_panels
from pg2lib.evaluation.report import Unscored
from pg2lib.files import IMAGE_SUFFIXES, files_below, is_lfs_pointer
from pg2lib.images import load_image, tensor_from_pil

Pair = tuple[int, int]
"""Rows of the condition and of the target image."""

NARROW = 176 / 256
"""The aspect ratio of DeepFashion's images without most of their padding, as much of the field uses them."""

_WHITE = (255, 255, 255)
_BETWEEN = ("2", "to")
_TOKEN = re.compile(r"[^\W_]+")
_NO_TOKENS = frozenset(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES)
_DEEPFASHION_PREFIX = re.compile(r"^(?:img|fash?ion)(?=(?:wo)?men)")


@dataclass(frozen=True, eq=False)
class ResultFiles:
    """The results of another method.

    Attributes:
        pairs: the pairs that have a result, in the order of their list.
        paths: the file of each of these pairs.
        size: (height, width) of every file in pixels.
        panels: the images that every file shows.
        panel_width: width in pixels to which a panel is resized; its height becomes that of the canvas.
        listed: number of different pairs in the list.
        unscored: pairs without a result, and files that are left out.
    """

    pairs: PairTable
    paths: Mapping[Pair, Path]
    size: tuple[int, int]
    panels: Panels
    panel_width: int
    listed: int
    unscored: tuple[Unscored, ...]

    @property
    def rule(self) -> str:
        """How a file becomes an image of the canvas, in words."""
        height, width = self.size
        left, top, right, bottom = self.panels.box(width, height)
        canvas_height = self.pairs.table.canvas[0]
        if (right - left, bottom - top) == (self.panel_width, canvas_height):
            return f"{self.panels} scored as it is"
        return f"{self.panels} resized to {self.panel_width}x{canvas_height} pixels with a Lanczos filter"

    def read(self, from_rows: Iterable[int], to_rows: Iterable[int]) -> UInt8[Tensor, "batch 3 height width"]:
        """Return the results of some pairs on the canvas.

        Raises:
            DataError: A file is damaged.
        """
        pairs = zip(from_rows, to_rows, strict=True)
        return torch.stack([tensor_from_pil(self._load(self.paths[pair])) for pair in pairs])

    def _load(self, path: Path) -> Image.Image:
        picture = load_image(path)
        picture = picture.crop(self.panels.box(picture.width, picture.height))
        height, width = self.pairs.table.canvas
        if picture.size != (self.panel_width, height):
            picture = picture.resize((self.panel_width, height), Image.Resampling.LANCZOS)
        if self.panel_width == width:
            return picture
        padded = Image.new("RGB", (width, height), self.pairs.table.fill or _WHITE)
        padded.paste(picture, ((width - self.panel_width) // 2, 0))
        return padded


def find_results(
    folder: str | PathLike[str],
    pairs: PairTable,
    names: str | PathLike[str] | None = None,
    panels: int | None = None,
    stretch_to: int | None = None,
) -> ResultFiles:
    """Find the result of every pair in a folder.

    Args:
        folder, pairs, names, panels: as in `pg2lib.evaluation.score_images`.
        stretch_to: width in pixels to which every panel is resized; None keeps the aspect ratio.

    Raises:
        DataError: No file is the result of a pair, or the arguments do not fit the files.
    """
    folder = Path(folder)
    files = {path.relative_to(folder).as_posix(): path for path in files_below(folder, IMAGE_SUFFIXES)}
    if not files:
        raise DataError(f"{folder} must be a folder with the results as image files, and holds none")
    wanted = set(zip(pairs.from_rows.tolist(), pairs.to_rows.tolist(), strict=True))
    claims = _read_names(Path(names), pairs.table) if names is not None else _parse_names(files, pairs.table)
    by_pair, unscored = _assign(claims, files, wanted, pairs.table)
    chosen, size, doubts = _choose(by_pair, files)
    unscored += doubts
    if not chosen:
        raise DataError(_nothing_found(folder, unscored))
    doubtful = {pair for entry in unscored if entry.kind == "doubtful" for pair in claims.get(entry.name, ())}
    unscored += [
        Unscored("missing", _text(pair, pairs.table), f"the folder has no file {claimed}" if claimed else "no file")
        for pair in sorted(wanted - chosen.keys() - doubtful)
        for claimed in [by_pair.get(pair, [""])[0]]
    ]
    unscored += [Unscored("missing", skipped.name, f"{skipped.reason} in the data") for skipped in pairs.skipped]
    arrangement, width = _panels(size, pairs.table, panels, stretch_to, folder)
    rows = zip(pairs.from_rows.tolist(), pairs.to_rows.tolist(), strict=True)
    found = pairs.select(torch.tensor([index for index, pair in enumerate(rows) if pair in chosen]))
    listed = len(wanted) + len(pairs.skipped)
    return ResultFiles(found, chosen, size, arrangement, width, listed, tuple(unscored))


# ---- names


def _parse_names(files: Iterable[str], table: PersonTable) -> dict[str, set[Pair]]:
    """Return for each file all pairs of images that its name can stand for."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(table.names):
        rows_of[_key(_tokens(name))].append(row)
    return {file: set(_readings(_tokens(file.rpartition("/")[2]), rows_of)) for file in files}


def _readings(tokens: Sequence[str], rows_of: Mapping[str, list[int]]) -> Iterator[Pair]:
    """Yield all pairs of images between whose names a name can be cut."""
    if tokens and tokens[-1] == "vis":
        tokens = tokens[:-1]
    for cut in range(1, len(tokens)):
        first = rows_of.get(_key(tokens[:cut]), ())
        for start in (cut, cut + 1) if first and tokens[cut] in _BETWEEN else (cut,):
            yield from product(first, rows_of.get(_key(tokens[start:]), ()))


def _tokens(name: str) -> list[str]:
    """Return the runs of letters and digits in a name, in lower case, without the suffixes of images."""
    return [token for token in _TOKEN.findall(name.lower()) if token not in _NO_TOKENS]


def _key(tokens: Sequence[str]) -> str:
    """Return what all spellings of the name of an image have in common."""
    return _DEEPFASHION_PREFIX.sub("", "".join(tokens))


def _read_names(path: Path, table: PersonTable) -> dict[str, set[Pair]]:
    """Read a table of names. A file may belong to one pair only."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table of names: {error}") from error
    missing = {"from", "to", "file"} - set(columns)
    if missing:
        raise DataError(f"{path}:1: expected the columns from, to and file, got {', '.join(columns)[:80]}")
    find = RowFinder(table)
    claims: dict[str, set[Pair]] = defaultdict(set)
    for number, row in enumerate(rows, start=2):
        if not (row["from"] and row["to"] and row["file"]):
            raise DataError(f"{path}:{number}: expected a name in each of the columns from, to and file, got {row}")
        first, second = find(row["from"]), find(row["to"])
        if first is not None and second is not None:
            claims[row["file"].replace("\\", "/").removeprefix("./")].add((first, second))
    return claims


# ---- files


def _assign(
    claims: Mapping[str, set[Pair]], files: Collection[str], wanted: Collection[Pair], table: PersonTable
) -> tuple[dict[Pair, list[str]], list[Unscored]]:
    """Return the files of each pair, and the files that belong to no pair or to several."""
    by_pair: dict[Pair, list[str]] = defaultdict(list)
    unscored: list[Unscored] = []
    for file in sorted({*files, *claims}):
        readings = claims.get(file, set())
        fitting = sorted(pair for pair in readings if pair in wanted)
        if len(fitting) == 1:
            by_pair[fitting[0]].append(file)
        elif fitting:
            texts = "; ".join(_text(pair, table) for pair in fitting[:3])
            unscored.append(Unscored("doubtful", file, f"stands for {len(fitting)} pairs: {texts}"))
        elif file in files:
            reason = f"{_text(min(readings), table)} is not in the list of pairs" if readings else "belongs to no pair"
            unscored.append(Unscored("extra", file, reason))
    return by_pair, unscored


def _choose(
    by_pair: Mapping[Pair, list[str]], files: Mapping[str, Path]
) -> tuple[dict[Pair, Path], tuple[int, int], list[Unscored]]:
    """Return the file of each pair that has exactly one, the size that most files have, and the doubtful files."""
    doubts: list[Unscored] = []
    single: dict[Pair, str] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for pair, candidates in by_pair.items():
        there = [file for file in candidates if file in files]
        if len(there) > 1:
            doubts += [Unscored("doubtful", file, f"{len(there)} files stand for this pair") for file in there]
        for file in there if len(there) == 1 else ():
            try:
                sizes[file] = _size(files[file])
                single[pair] = file
            except DataError as error:
                doubts.append(Unscored("doubtful", file, str(error)))
    if not single:
        return {}, (0, 0), doubts
    ((size, count),) = Counter(sizes.values()).most_common(1)
    for file, (height, width) in sizes.items():
        if (height, width) != size:
            reason = f"has {width}x{height} pixels, but {count} of {len(sizes)} files have {size[1]}x{size[0]}"
            doubts.append(Unscored("doubtful", file, reason))
    return {pair: files[file] for pair, file in single.items() if sizes[file] == size}, size, doubts


def _size(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image file without decoding it."""
    if is_lfs_pointer(path):
        raise DataError("is a Git LFS pointer and not the image itself; run git lfs pull")
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception as error:  # on damaged files, decoders raise any exception
        raise DataError("cannot be read as an image") from error


def _panels(
    size: tuple[int, int], table: PersonTable, panels: int | None, stretch_to: int | None, folder: Path
) -> tuple[Panels, int]:
    """Return how the images in files of a size are arranged, and the width to which one is resized."""
    if panels is not None and not 1 <= panels <= size[1]:
        raise DataError(f"panels must be at least 1 and at most the width of the files, got {panels}")
    if stretch_to is not None:
        return Panels(panels or 1), stretch_to
    height, width = table.canvas
    # Only images that were padded to the canvas can have results without the padding.
    widths = [width, round(height * NARROW)] if table.fill is not None else [width]
    found = find_panels(size, height, widths, None if panels is None else [panels])
    if found is not None:
        return found
    shapes = " or ".join(f"{panel}x{height}" for panel in widths)
    raise DataError(
        f"{folder}: expected images shaped like {shapes} pixels (width x height), or up to {MOST_PANELS} of them side "
        f"by side or one below the other, got {size[1]}x{size[0]}. Cut the results out of the files; or give the "
        f"number of panels with panels (--panels), and allow another aspect ratio with stretch (--stretch)"
    )


def _nothing_found(folder: Path, unscored: Sequence[Unscored]) -> str:
    listed = "; ".join(f"{entry.name}: {entry.reason}" for entry in unscored[:3])
    return (
        f"{folder}: no file is the result of a pair ({listed}). Expected names such as FROM_TO.png, FROM_2_TO.jpg or "
        f"FROM___TO_vis.png with the names of the pair's images; check that data, split and pair file are those of "
        f"the results, or give a table of names (--names)"
    )


def _text(pair: Pair, table: PersonTable) -> str:
    return f"{table.names[pair[0]]} -> {table.names[pair[1]]}"
