"""DeepFashion In-shop (Liu et al., "DeepFashion: Powering Robust Clothes Recognition and Retrieval with Rich
Annotations", CVPR 2016; In-shop Clothes Retrieval Benchmark) in every layout in which it circulates.

| layout | an image |
|---|---|
| original | ``In-shop Clothes Retrieval Benchmark/Img/img/WOMEN/Dresses/id_00000002/02_1_front.jpg``, 256x256, padded |
| without the upper folders | ``Img/img/WOMEN/...``, ``img/WOMEN/...`` |
| high resolution | ``img_highres/WOMEN/...``, about 750x1101 |
| ``fashion`` | ``fashion/WOMEN/...`` |
| flattened | ``fashionWOMENTees_Tanksid0000783805_7additional.jpg``, 256x256 or cropped to a width of 176 |
| flattened, older | ``fasionMENTeesTanksid0000347017_3back.jpg``: no underscore in the category, or none at all |

The images of one data set may be spread over several of these layouts, and keypoint CSVs, lists and pair files may use
any of the spellings: `pg2lib.data.names.image_key` makes them equal. The canvas is 256x256. An image of another size is
letterboxed onto white when it is loaded, much like the benchmark's own images, so that one of width 176 moves by 40
pixels.

An item is a garment, and an outfit is one of its colours (``id_00000002/02``). 99 of the 7,982 item numbers occur in
two categories (such as a cardigan that is also listed as a sweater); the keys of items keep categories apart.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pg2lib.data.keypoint_csv import read_keypoints
from pg2lib.data.names import DEEPFASHION_VIEWS, DeepFashionName, canonical_name, image_key, parse_deepfashion
from pg2lib.data.people import PersonTable, Skipped
from pg2lib.errors import DataError, MissingKeypointsError
from pg2lib.files import files_below

CANVAS = (256, 256)
FILL = (255, 255, 255)
"""The colour that images of another size are letterboxed on: the benchmark's own padding."""

SPLITS = ("train", "test")
PERSONS = ("outfit", "item")
PARTITION = "list_eval_partition.txt"
PARTITION_HEADER = ["image_name", "item_id", "evaluation_status"]
SPLIT_OF_STATUS = {"train": "train", "query": "test", "gallery": "test"}

KEYPOINT_FILES = (
    "fashion-annotation-{split}.csv",
    "fasion-annotation-{split}.csv",
    "fashion-resize-annotation-{split}.csv",
    "fasion-resize-annotation-{split}.csv",
    "keypoints-{split}.csv",
    "keypoints-{split}-partial.csv",
    "keypoints-{split}-*.csv",
)
"""Names of keypoint CSVs in the order in which they are tried: published annotations before detected ones."""

KEYPOINTS_OF_BOTH = "keypoints.csv"
"""Tried last, and only if a list tells the splits apart."""

_NARROW = 176
_NOSE_AND_NECK = (0, 1)
_LEVELS_ABOVE = 3
"""Levels above a folder of images that are searched for lists, which may be beside the benchmark's folder: three levels
above ``In-shop Clothes Retrieval Benchmark/Img/img``."""

log = logging.getLogger(__name__)


def read_deepfashion(
    root: str | PathLike[str],
    split: Literal["train", "test"],
    keypoints: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    person: Literal["outfit", "item"] = "outfit",
    leak_free: bool = False,
    flat: bool = False,
    keypoints_width: Literal[256, 176] | None = None,
) -> PersonTable:
    """Read the images of one split with their keypoints, on a canvas of 256x256.

    ``train.lst`` and ``test.lst`` determine the split (flattened names, one per line: the usual split of pose transfer,
    48,674 and 4,038 images); without them ``list_eval_partition.txt`` (test is query and gallery); without it the
    keypoint CSVs. All are searched in `root`, in the folders of the images, in up to three folders above each, and in
    the subfolder ``Eval`` of these.

    ``PersonTable.skipped`` lists the images of the split that are left out, and keypoints without an image. An image
    whose keypoints have no joint is kept with an empty pose.

    Args:
        root: A folder in any of the layouts, or one above it. An image found twice is taken from where it is found
            first, in the order of `files_below`.
        split: "train" or "test".
        keypoints: CSVs, of which the first with a joint of an image counts. By default all `KEYPOINT_FILES`.
        person: What counts as one person: an "outfit" (an item in one colour) or an "item" (in all colours).
        leak_free: Drop from the train split the images whose item number is also in the test split. The test split
            stays as it is, so that scores stay comparable. The usual split shares items (see `audit_split`).
        flat: Keep the ``flat`` views, which show a garment without a person. The usual test pairs contain a few, in
            which a detector saw a person; without them read the pair file with ``skip_unknown``.
        keypoints_width: Width of the images on which the keypoints were annotated; 176 shifts x by 40. By default it is
            inferred for each CSV: 256 if any x is 176 or more, else by whether noses and necks are near 128 or 88.

    Raises:
        DataError: If there is no such folder; if images, keypoints or a list are missing; if a file is malformed (the
            message names the line); if a view is unknown; if keypoints are outside the images; or if no image is left.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 - links stay as they are: lists are beside the link
    _check_choice("split", split, SPLITS)
    _check_choice("person", person, PERSONS)
    _check_choice("keypoints_width", keypoints_width, (256, 176, None))
    images, duplicates = _find_images(root)
    folders = _folders_around(root, images.values())
    listed = _listed(folders, split)
    csvs = _find_keypoints(folders, split, listed is not None) if keypoints is None else _as_paths(keypoints)
    annotated = _merge([_read_on_canvas(csv, keypoints_width) for csv in csvs])
    members = set(annotated) if listed is None else {name.image_key for name in listed}
    leaking = _test_items(folders) if leak_free and split == "train" else frozenset()
    sources = ", ".join(csv.name for csv in csvs)
    kept, skipped = _choose(images, members, annotated, leaking, flat, sources)
    if not kept:
        raise DataError(
            f"no image is left of the {split} split: of {len(images):,} in {root}, {len(members & set(images)):,} are "
            f"of that split and {len(annotated.keys() & images.keys()):,} have keypoints in {sources}; is that the CSV "
            f"of the {split} split, and are its images unpacked?"
        )
    skipped = [skip for key, skip in duplicates if key in members] + skipped
    skipped += _unused(annotated, images, members, split)
    table = _table(kept, annotated, person, skipped)
    log.info("%s, %s: %s", root, split, table)
    return table


def _choose(
    images: Mapping[str, _Image],
    members: Container[str],
    annotated: Container[str],
    leaking: Container[str],
    flat: bool,
    sources: str,
) -> tuple[dict[str, _Image], list[Skipped]]:
    """Return the images of the split to keep, by name, and those to leave out."""
    kept: dict[str, _Image] = {}
    skipped: list[Skipped] = []
    for key, image in images.items():
        if key not in members:
            continue
        name = canonical_name(image.path.as_posix())
        if image.name.view == "flat" and not flat:
            skipped.append(Skipped(name, "flat", "flat: no person"))
        elif image.name.item in leaking:
            skipped.append(Skipped(name, "shared item", "its item is also in the test split"))
        elif key not in annotated:
            skipped.append(Skipped(name, "no keypoints", f"no keypoints in {sources}"))
        else:
            kept[name] = image
    return kept, skipped


def _unused(
    annotated: Mapping[str, _Annotation], images: Container[str], members: Container[str], split: str
) -> Iterator[Skipped]:
    """Yield the keypoints of images that are missing or outside the split."""
    for key, row in annotated.items():
        if key not in images:
            yield Skipped(row.name, "no image", "keypoints without an image")
        elif key not in members:
            yield Skipped(row.name, "other split", f"keypoints of an image outside the {split} split")


def _table(
    images: Mapping[str, _Image], annotated: Mapping[str, _Annotation], person: str, skipped: Iterable[Skipped]
) -> PersonTable:
    return PersonTable(
        names=tuple(images),
        persons=_persons((image.name for image in images.values()), person),
        xy=torch.stack([annotated[image.name.image_key].xy for image in images.values()]),
        canvas=CANVAS,
        paths=tuple(image.path for image in images.values()),
        skipped=tuple(skipped),
        fill=FILL,
    )


@dataclass(frozen=True)
class SplitAudit:
    """The outfits and items that a train and a test split share.

    Attributes:
        train_images, test_images: Number of images on each side.
        test_outfits, test_items: Number of different outfits and items on the test side.
        outfits: Keys of the outfits on both sides.
        items: Keys of the items on both sides, with categories kept apart: 503 of 930 in the usual split.
        item_numbers: The same without regard to category, as `leak_free` of `read_deepfashion` counts: 513 of 930.
    """

    train_images: int
    test_images: int
    test_outfits: int
    test_items: int
    outfits: tuple[str, ...]
    items: tuple[str, ...]
    item_numbers: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.train_images:,} train and {self.test_images:,} test images; of the test split, "
            f"{len(self.outfits):,} of {self.test_outfits:,} outfits and {len(self.items):,} of {self.test_items:,} "
            f"items are also in train ({len(self.item_numbers):,} by item number alone)"
        )


def audit_split(train: PersonTable | Iterable[str], test: PersonTable | Iterable[str]) -> SplitAudit:
    """Find the outfits and items that a train and a test split share.

    Args:
        train, test: Tables, or names of images in any spelling (`read_list`).

    Raises:
        DataError: If a name is not that of a DeepFashion image.
    """
    ours, theirs = _parse_all(train), _parse_all(test)
    outfits = {name.outfit_key for name in theirs}
    items = {name.item_key for name in theirs}
    return SplitAudit(
        train_images=len(ours),
        test_images=len(theirs),
        test_outfits=len(outfits),
        test_items=len(items),
        outfits=tuple(sorted(outfits & {name.outfit_key for name in ours})),
        items=tuple(sorted(items & {name.item_key for name in ours})),
        item_numbers=tuple(sorted({name.item for name in theirs} & {name.item for name in ours})),
    )


def read_list(path: str | PathLike[str]) -> tuple[str, ...]:
    """Read the names in a list such as ``train.lst``, one per line, in the spelling of the list.

    Raises:
        DataError: If there is no such file, or if a line is not the name of a DeepFashion image.
    """
    path = Path(path)
    names = []
    for number, line in _lines(path):
        if parse_deepfashion(line) is None:
            raise DataError(f"{path}:{number}: {line[:80]!r} is not the name of a DeepFashion In-shop image")
        names.append(line)
    return tuple(names)


def read_partition(path: str | PathLike[str]) -> dict[str, str]:
    """Read ``list_eval_partition.txt``: a count, the header ``image_name item_id evaluation_status``, and rows.

    Returns:
        Image name, in the spelling of the file -> "train", "query" or "gallery".

    Raises:
        DataError: If there is no such file, or if a line is malformed, repeated or inconsistent. The message names the
            file and the line.
    """
    path = Path(path)
    lines = list(_lines(path))
    if not lines or not re.fullmatch("[0-9]{1,9}", lines[0][1]):
        raise DataError(f"{path}:1: expected the number of images, got {lines[0][1][:60] if lines else ''!r}")
    if len(lines) < 2 or lines[1][1].split() != PARTITION_HEADER:
        got = lines[1][1][:60] if len(lines) > 1 else ""
        raise DataError(f"{path}:2: expected the header {' '.join(PARTITION_HEADER)!r}, got {got!r}")
    status_of: dict[str, str] = {}
    for number, line in lines[2:]:
        where = f"{path}:{number}"
        fields = line.split()
        if len(fields) != len(PARTITION_HEADER):
            raise DataError(f"{where}: expected {' '.join(PARTITION_HEADER)}, got {line[:80]!r}")
        name, item, status = fields
        parsed = parse_deepfashion(name)
        if parsed is None:
            raise DataError(f"{where}: {name!r} is not the name of a DeepFashion In-shop image")
        if item != f"id_{parsed.item}":
            raise DataError(f"{where}: item_id is {item}, but the image {name} is of id_{parsed.item}")
        if status not in SPLIT_OF_STATUS:
            raise DataError(f"{where}: evaluation_status must be one of {', '.join(SPLIT_OF_STATUS)}, got {status!r}")
        if name in status_of:
            raise DataError(f"{where}: {name} is in the file already")
        status_of[name] = status
    if len(status_of) != int(lines[0][1]):
        raise DataError(f"{path}: line 1 says {lines[0][1]} images, {len(status_of)} follow; the file is incomplete")
    return status_of


@dataclass(frozen=True)
class _Image:
    name: DeepFashionName
    path: Path


@dataclass(frozen=True)
class _Annotation:
    name: str
    xy: Float[Tensor, "18 2"]


def _check_choice(field: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        raise DataError(f"{field} must be one of {', '.join(map(str, choices))}, got {value!r}")


def _find_images(root: Path) -> tuple[dict[str, _Image], list[tuple[str, Skipped]]]:
    """Return every image below an absolute folder by its key, and (key, file) of those found again.

    The folder may be below that of the gender, so names depend on the whole path.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    images: dict[str, _Image] = {}
    duplicates: list[tuple[str, Skipped]] = []
    for path in files_below(root):
        name = parse_deepfashion(path.as_posix())
        if name is None:
            continue
        if name.view not in DEEPFASHION_VIEWS:
            raise DataError(
                f"{path}: expected one of the views {', '.join(DEEPFASHION_VIEWS)}, got {name.view!r}; rename the "
                f"file, or move it away"
            )
        first = images.setdefault(name.image_key, _Image(name, path)).path
        if first != path:
            reason = f"the same image as {first.relative_to(root)}"
            duplicates.append((name.image_key, Skipped(str(path.relative_to(root)), "duplicate", reason)))
    if not images:
        raise DataError(
            f"{root} holds no DeepFashion In-shop image. Looked in it and below for "
            f"WOMEN/Dresses/id_00000002/02_1_front.jpg (in 'In-shop Clothes Retrieval Benchmark/Img/img', img, "
            f"img_highres, fashion or any other folder), fashionWOMENTees_Tanksid0000783805_7additional.jpg and "
            f"fasionMENTeesTanksid0000347017_3back.jpg: unpack Img/img.zip and pass its folder, or one above it"
        )
    return images, duplicates


def _folders_around(root: Path, images: Iterable[_Image]) -> list[Path]:
    """Return where lists and keypoints are searched: the root, the folders of images, and the folders above them."""
    places = {image.path.parents[0 if parse_deepfashion(image.path.name) else 3] for image in images}
    folders = [root]
    for place in sorted(places):
        folders += [place, *list(place.parents)[:_LEVELS_ABOVE]]
    return list(dict.fromkeys((*folders, root.parent)))


def _first_file(folders: Iterable[Path], name: str) -> Path | None:
    return next(
        (path for folder in folders for path in (folder / name, folder / "Eval" / name) if path.is_file()), None
    )


def _as_paths(keypoints: str | PathLike[str] | Sequence[str | PathLike[str]]) -> list[Path]:
    return [Path(keypoints)] if isinstance(keypoints, str | PathLike) else [Path(csv) for csv in keypoints]


def _find_keypoints(folders: Sequence[Path], split: str, is_listed: bool) -> list[Path]:
    patterns = (*KEYPOINT_FILES, KEYPOINTS_OF_BOTH) if is_listed else KEYPOINT_FILES
    found = _keypoint_files(folders, patterns, split)
    if not found:
        raise MissingKeypointsError(
            f"no keypoints: none of {', '.join(patterns).format(split=split)} is in "
            f"{', '.join(str(folder) for folder in folders)}. Pass the files, or make one with python -m pg2lib prepare"
        )
    return found


def _keypoint_files(folders: Sequence[Path], patterns: Iterable[str], split: str) -> list[Path]:
    """Return the files that match, in the order of the patterns, without shards that are not merged yet."""
    found = (
        path for pattern in patterns for folder in folders for path in sorted(folder.glob(pattern.format(split=split)))
    )
    return [path for path in dict.fromkeys(found) if ".shard-" not in path.name]


def _read_on_canvas(csv: Path, width: Literal[256, 176] | None) -> PersonTable:
    """Read a keypoint CSV, and shift x if it belongs to images of width 176."""
    table = read_keypoints(csv, CANVAS, person_of=_outfit)
    used = width_of_images(table.xy) if width is None else width
    outside = ((table.xy < 0) | (table.xy > torch.tensor([used, CANVAS[0]]))).flatten(1).any(1).nonzero().flatten()
    if len(outside):
        raise DataError(
            f"{csv}: {table.names[int(outside[0])]} and {len(outside) - 1:,} others have keypoints outside {used}x"
            f"{CANVAS[0]} (width x height); scale keypoints of other images, such as img_highres, onto 256x256 first"
        )
    how = "inferred from the keypoints" if width is None else "as given"
    log.info("%s: keypoints on images %d pixels wide (%s)", csv, used, how)
    return replace(table, xy=table.xy + torch.tensor([(CANVAS[1] - used) / 2, 0.0]))


def _outfit(name: str) -> str | None:
    parsed = parse_deepfashion(name)
    return parsed.outfit_key if parsed else None


def width_of_images(xy: Float[Tensor, "rows 18 2"]) -> Literal[256, 176]:
    """Infer the width of the annotated images: people are in the middle, at 128 of 256 or at 88 of 176 pixels."""
    middle = xy[:, _NOSE_AND_NECK, 0]
    middle = middle[~middle.isnan()]
    if not len(middle) or (xy[..., 0] >= _NARROW).any():
        return 256
    return 176 if float(middle.median()) < (CANVAS[1] + _NARROW) / 4 else 256


def _merge(tables: Iterable[PersonTable]) -> dict[str, _Annotation]:
    """Return keypoints by image key, from the first table with a joint of the image, else the first with a row."""
    rows = [
        (image_key(name), _Annotation(name, xy))
        for table in tables
        for name, xy in zip(table.names, table.xy, strict=True)
    ]
    merged: dict[str, _Annotation] = {}
    for key, annotation in sorted(rows, key=lambda row: bool(row[1].xy.isnan().all())):
        merged.setdefault(key, annotation)
    return merged


def _listed(folders: Sequence[Path], split: str) -> list[DeepFashionName] | None:
    """Return the images of a split according to the lists; None if there is no list."""
    lists = {each: _first_file(folders, f"{each}.lst") for each in SPLITS}
    path = lists[split]
    if path is not None:
        return _parse_all(read_list(path))
    other = next(filter(None, lists.values()), None)
    if other is not None:
        raise DataError(
            f"{other} exists without a {split}.lst, but a split needs both. Add the other list, or move this one away "
            f"to use {PARTITION} or the keypoint CSVs"
        )
    partition = _first_file(folders, PARTITION)
    if partition is None:
        return None
    return _parse_all(name for name, status in read_partition(partition).items() if SPLIT_OF_STATUS[status] == split)


def _test_items(folders: Sequence[Path]) -> frozenset[str]:
    """Return the numbers of all items in the test split, including those whose images are not here."""
    listed = _listed(folders, "test")
    if listed is None:
        csvs = _keypoint_files(folders, KEYPOINT_FILES, "test")
        if not csvs:
            raise DataError(
                f"leak_free needs the test split, but neither test.lst nor {PARTITION} nor a keypoint CSV of it is in "
                f"{', '.join(str(folder) for folder in folders)}; add one of them"
            )
        listed = [name for csv in csvs for name in _parse_all(read_keypoints(csv, CANVAS, person_of=_outfit))]
    return frozenset(name.item for name in listed)


def _parse_all(names: PersonTable | Iterable[str]) -> list[DeepFashionName]:
    parsed = []
    for name in names.names if isinstance(names, PersonTable) else names:
        one = parse_deepfashion(name)
        if one is None:
            raise DataError(f"{name!r} is not the name of a DeepFashion In-shop image")
        parsed.append(one)
    return parsed


def _persons(names: Iterable[DeepFashionName], person: str) -> tuple[str, ...]:
    """Return the person of each image: the name up to ``_<n><view>``, in the spelling of the person's first image."""
    spelt: dict[str, str] = {}
    persons = []
    for name in names:
        outfit = name.flat_name.rpartition("_")[0]
        key, text = (name.outfit_key, outfit) if person == "outfit" else (name.item_key, outfit[: -len(name.variant)])
        persons.append(spelt.setdefault(key, text))
    return tuple(persons)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Return the lines of a text file that are not blank, with their numbers from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a list of images: {error}") from error
    return ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip())
