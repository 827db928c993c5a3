"""DeepFashion In-shop (Liu et al., "DeepFashion: Powering Robust Clothes Recognition and Retrieval with Rich
Annotations", CVPR 2016; In-shop Clothes Retrieval Benchmark) in every layout it is passed around in.

| layout | an image |
|---|---|
| original | ``In-shop Clothes Retrieval Benchmark/Img/img/WOMEN/Dresses/id_00000002/02_1_front.jpg``, 256x256, padded |
| without the upper folders | ``Img/img/WOMEN/...``, ``img/WOMEN/...`` |
| high resolution | ``img_highres/WOMEN/...``, about 750x1101 |
| ``fashion`` | ``fashion/WOMEN/...`` |
| flattened | ``fashionWOMENTees_Tanksid0000783805_7additional.jpg``, 256x256 or cut to 176 wide |
| flattened, older | ``fasionMENTeesTanksid0000347017_3back.jpg``: no underscore in the category, or none at all |

Images of one data set may lie in several of these, and keypoint CSVs, lists and pair files may use any of the
spellings: all of them meet in `pg2lib.data.names.image_key`. Every image is shown on 256x256: one of another size is
letterboxed onto white when it is loaded, much as the benchmark's own images are, so that a 176-wide one moves by 40
pixels.

An item is a garment, an outfit one of its colours (``id_00000002/02``). 99 of the 7,982 item numbers stand under two
categories (a cardigan that is also listed as a sweater); keys of items keep the categories apart.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
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
from pg2lib.errors import DataError
from pg2lib.files import files_below

CANVAS = (256, 256)
FILL = (255, 255, 255)
"""The ground that images of another size are letterboxed on: the benchmark's own padding."""

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
"""Where keypoints are looked for: published annotations before detected ones."""

KEYPOINTS_OF_BOTH = "keypoints.csv"
"""Looked for last, and only where a list says which image is of which split."""

_NARROW = 176
_NOSE_AND_NECK = (0, 1)
_LEVELS_ABOVE = 3
"""How far above a folder of images its lists may lie: those of ``In-shop Clothes Retrieval Benchmark/Img/img`` lie
beside the benchmark's folder."""

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
    """The images of one split with their keypoints, on a canvas of 256x256.

    The split is what ``train.lst`` and ``test.lst`` say (flattened names, one a line: the usual split of pose transfer,
    48,674 and 4,038 images); without them what ``list_eval_partition.txt`` says (test = query and gallery); without it
    what the keypoint CSVs hold. They are looked for in `root`, in the folders of the images and up to three above, and
    in ``Eval`` there.

    Skipped, and counted in ``PersonTable.skipped``, are of the images of the split the ``flat`` views (a garment
    without a person), those found a second time, those without keypoints and those that `leak_free` drops; and
    keypoints without an image. An image whose keypoints hold no joint at all stays: its pose is empty.

    Args:
        root: a folder in any of the layouts, or one above it. The same image found twice is taken where it is found
            first; folders and files are walked in the order of their names.
        split: "train" or "test".
        keypoints: CSVs. The first with a joint of an image wins, so published annotations come before detected ones. By
            default all KEYPOINT_FILES that lie where the lists do.
        person: who is one person: "outfit" (an item in one colour, what pairs are made of) or "item" (in all colours).
        leak_free: drop from the train split every image whose item number stands in the test split, which stays as it
            is, so that figures stay comparable. The usual split shares items (see `audit_split`).
        flat: keep the flat views. A few stand in the usual test pairs, because a detector saw somebody in them; without
            them read the pair file with ``skip_unknown``.
        keypoints_width: the width of the images that the CSVs speak of; 176 shifts x by 40. None tells it from each
            CSV: 256 if any x is 176 or more, else by whether noses and necks lie around 128 or 88.

    Raises:
        DataError: no such folder; no image, keypoints or list where they are looked for; a malformed file, named with
            its line; an unknown view; keypoints outside the images; or no image left.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 - links stay as they are, lists lie beside the link
    _check_choice("split", split, SPLITS)
    _check_choice("person", person, PERSONS)
    _check_choice("keypoints_width", keypoints_width, (256, 176, None))
    images, twice = _find_images(root)
    folders = _folders_around(root, images.values())
    listed = _listed(folders, split)
    csvs = _find_keypoints(folders, split, listed is not None) if keypoints is None else _as_paths(keypoints)
    sources = ", ".join(csv.name for csv in csvs)
    annotated = _merge([_read_on_canvas(csv, keypoints_width) for csv in csvs])
    members = set(annotated) if listed is None else {name.image_key for name in listed}
    leaking = _test_items(folders) if leak_free and split == "train" else frozenset()

    skipped = [
        Skipped(str(path.relative_to(root)), "duplicate", f"the same image as {images[key].path.relative_to(root)}")
        for key, path in twice
        if key in members
    ]
    kept: dict[str, _Image] = {}
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
    for key, row in annotated.items():
        if key not in images:
            skipped.append(Skipped(row.name, "no image", "keypoints without an image"))
        elif key not in members:
            skipped.append(Skipped(row.name, "other split", f"keypoints of an image outside the {split} split"))
    if not kept:
        raise DataError(
            f"not one image is left of the {split} split: of {len(images):,} in {root}, {len(members & set(images)):,} "
            f"are of that split and {len(annotated.keys() & images.keys()):,} have keypoints in {sources}; is that the "
            f"CSV of the {split} split, and are its images unpacked?"
        )
    table = PersonTable(
        names=tuple(kept),
        persons=_persons((image.name for image in kept.values()), person),
        xy=torch.stack([annotated[image.name.image_key].xy for image in kept.values()]),
        canvas=CANVAS,
        paths=tuple(image.path for image in kept.values()),
        skipped=tuple(skipped),
        fill=FILL,
    )
    log.info("%s, %s: %s", root, split, table)
    return table


@dataclass(frozen=True)
class SplitAudit:
    """Which people stand on both sides of a split.

    Attributes:
        train_images, test_images: images on each side.
        test_outfits, test_items: how many different ones the test side has.
        outfits: keys of the outfits on both sides.
        items: keys of the items on both sides, categories kept apart: 503 of 930 in the usual split.
        item_numbers: the same without regard to category, as `read_deepfashion` takes it for `leak_free`: 513 of 930.
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
            f"items also stand in train ({len(self.item_numbers):,} by item number alone)"
        )


def audit_split(train: PersonTable | Iterable[str], test: PersonTable | Iterable[str]) -> SplitAudit:
    """Says which outfits and items stand on both sides of a split.

    Args:
        train, test: tables, or names of images in any spelling (`read_list`).

    Raises:
        DataError: a name that is not DeepFashion's.
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
    """The names in a list such as ``train.lst``: one a line, as they are spelt there.

    Raises:
        DataError: no such file, or a line that is not the name of a DeepFashion image, with file and line.
    """
    path = Path(path)
    names = []
    for number, line in _lines(path):
        if parse_deepfashion(line) is None:
            raise DataError(f"{path}:{number}: {line[:80]!r} is not the name of a DeepFashion In-shop image")
        names.append(line)
    return tuple(names)


def read_partition(path: str | PathLike[str]) -> dict[str, str]:
    """The benchmark's ``list_eval_partition.txt``: a count, the header ``image_name item_id evaluation_status``, rows.

    Returns:
        Image name, as it stands there -> "train", "query" or "gallery".

    Raises:
        DataError: no such file, or a line that is malformed, repeated or contradicts itself or the count; with file and
            line.
    """
    path = Path(path)
    lines = list(_lines(path))
    if not lines or not lines[0][1].isdecimal():
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
            raise DataError(f"{where}: {name} stands in the file already")
        status_of[name] = status
    if len(status_of) != int(lines[0][1]):
        raise DataError(f"{path}: line 1 says {lines[0][1]} images, {len(status_of)} follow; the file is not whole")
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


def _find_images(root: Path) -> tuple[dict[str, _Image], list[tuple[str, Path]]]:
    """Every image below an absolute folder by its key, and those found again.

    The folder may lie below that of the gender, which only the whole path names.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    images: dict[str, _Image] = {}
    twice: list[tuple[str, Path]] = []
    for path in files_below(root):
        name = parse_deepfashion(path.as_posix())
        if name is None:
            continue
        if name.view not in DEEPFASHION_VIEWS:
            raise DataError(
                f"{path} shows the view {name.view!r}; DeepFashion has {', '.join(DEEPFASHION_VIEWS)}: rename the "
                f"file, or move it away"
            )
        if name.image_key in images:
            twice.append((name.image_key, path))
        else:
            images[name.image_key] = _Image(name, path)
    if not images:
        raise DataError(
            f"{root} holds no DeepFashion In-shop image. Looked in it and below for "
            f"WOMEN/Dresses/id_00000002/02_1_front.jpg (in 'In-shop Clothes Retrieval Benchmark/Img/img', img, "
            f"img_highres, fashion or any other folder), fashionWOMENTees_Tanksid0000783805_7additional.jpg and "
            f"fasionMENTeesTanksid0000347017_3back.jpg: unpack Img/img.zip and pass its folder, or one above it"
        )
    return images, twice


def _folders_around(root: Path, images: Iterable[_Image]) -> list[Path]:
    """Where lists and keypoints may lie: the root, the folders that hold the images, and those above them."""
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
        raise DataError(
            f"no keypoints: none of {', '.join(patterns).format(split=split)} is in "
            f"{', '.join(str(folder) for folder in folders)}. Pass the files, or make one with python -m pg2lib prepare"
        )
    return found


def _keypoint_files(folders: Sequence[Path], patterns: Iterable[str], split: str) -> list[Path]:
    """The files that match, in the order of the patterns; parts that wait to be merged are none."""
    found = (
        path for pattern in patterns for folder in folders for path in sorted(folder.glob(pattern.format(split=split)))
    )
    return [path for path in dict.fromkeys(found) if ".shard-" not in path.name]


def _read_on_canvas(csv: Path, width: Literal[256, 176] | None) -> PersonTable:
    """A keypoint CSV, x shifted where it speaks of images cut to 176 pixels."""
    table = read_keypoints(csv, CANVAS, person_of=_outfit)
    told = width_of_images(table.xy) if width is None else width
    outside = ((table.xy < 0) | (table.xy > torch.tensor([told, CANVAS[0]]))).flatten(1).any(1).nonzero().flatten()
    if len(outside):
        raise DataError(
            f"{csv}: {table.names[int(outside[0])]} and {len(outside) - 1:,} others have keypoints outside {told}x"
            f"{CANVAS[0]} (width x height); scale keypoints of other images, such as img_highres, onto 256x256 first"
        )
    how = "told from the keypoints" if width is None else "as given"
    log.info("%s: keypoints on images %d pixels wide (%s)", csv, told, how)
    return replace(table, xy=table.xy + torch.tensor([(CANVAS[1] - told) / 2, 0.0]))


def _outfit(name: str) -> str | None:
    parsed = parse_deepfashion(name)
    return parsed.outfit_key if parsed else None


def width_of_images(xy: Float[Tensor, "rows 18 2"]) -> Literal[256, 176]:
    """Whether keypoints were taken on images 256 or 176 wide: people stand in the middle, at 128 or at 88."""
    middle = xy[:, _NOSE_AND_NECK, 0]
    middle = middle[~middle.isnan()]
    if not len(middle) or (xy[..., 0] >= _NARROW).any():
        return 256
    return 176 if float(middle.median()) < (CANVAS[1] + _NARROW) / 4 else 256


def _merge(tables: Iterable[PersonTable]) -> dict[str, _Annotation]:
    """Keypoints by image key: of the first table that has a joint of the image, else of the first that has a row."""
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
    """What the lists say is in a split; None where there is no list."""
    lists = {each: _first_file(folders, f"{each}.lst") for each in SPLITS}
    path = lists[split]
    if path is not None:
        return _parse_all(read_list(path))
    other = next(filter(None, lists.values()), None)
    if other is not None:
        raise DataError(
            f"{other} is there, but no {split}.lst: the two make one split. Put the other there, or move this one away "
            f"to use {PARTITION} or the keypoint CSVs"
        )
    partition = _first_file(folders, PARTITION)
    if partition is None:
        return None
    return _parse_all(name for name, status in read_partition(partition).items() if SPLIT_OF_STATUS[status] == split)


def _test_items(folders: Sequence[Path]) -> frozenset[str]:
    """The numbers of all items in the test split: of the whole of it, not only of the images that are here."""
    listed = _listed(folders, "test")
    if listed is None:
        csvs = _keypoint_files(folders, KEYPOINT_FILES, "test")
        if not csvs:
            raise DataError(
                f"leak_free has to know the test split: there is neither test.lst nor {PARTITION} nor a keypoint CSV "
                f"of it in {', '.join(str(folder) for folder in folders)}; put one there"
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
    """Whose image each is: everything before ``_<n><view>``, in the spelling in which the person comes first."""
    spelt: dict[str, str] = {}
    persons = []
    for name in names:
        outfit = name.flat_name.rpartition("_")[0]
        key, text = (name.outfit_key, outfit) if person == "outfit" else (name.item_key, outfit[: -len(name.variant)])
        persons.append(spelt.setdefault(key, text))
    return tuple(persons)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a list of images: {error}") from error
    return ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip())
