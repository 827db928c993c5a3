"""What is installed, and what is right or wrong with a data folder: one finding a line, with what to do.

A check is a small function that takes the data as `Examined` and yields findings; `CHECKS` and `KEYPOINT_CHECKS` list
them in the order in which they are told.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from pg2lib.data.deepfashion import KEYPOINT_FILES, PARTITION, audit_split, read_list
from pg2lib.data.locate import find_data, is_name
from pg2lib.data.market1501 import FOLDERS
from pg2lib.data.names import canonical_name, image_key, parse_deepfashion
from pg2lib.data.pairs import make_pairs, read_pairs
from pg2lib.data.people import CSV_HEADER, PersonTable
from pg2lib.data.prepare import IMAGE_SUFFIXES
from pg2lib.data.read import SYNTHETIC, Layout, layout_of, read_people, title_of
from pg2lib.errors import DataError, PG2Error
from pg2lib.files import lies_in
from pg2lib.images import image_grid, load_image
from pg2lib.metrics.pose import OFF, keypoint_agreement
from pg2lib.pose import JOINTS
from pg2lib.provenance import provenance

OPTIONAL = {
    "mediapipe": "finding poses in photos (the demo, prepare, generate)",
    "gradio": "the demo",
    "onnxruntime": "a faster CPU backend, and export to ONNX",
    "jupyterlab": "the notebooks",
}
EXTRA_OF = {"mediapipe": "pose", "gradio": "demo", "onnxruntime": "onnx", "jupyterlab": "notebooks"}

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class Known:
    """Counts of a split as its authors, or the lists that everybody uses, have it.

    Attributes:
        whole: what is counted.
        images: all of them, whether they have keypoints or not.
        people: None where it depends on who counts as one.
        pairs: ordered pairs under the rules "all" and "torso", with the annotations that everybody uses.
    """

    whole: str
    images: int
    people: int | None = None
    pairs: tuple[int, int] | None = None


MARKET1501: dict[Split, Known] = {
    "train": Known("the original's train split", 12_936, 751, (296_938, 263_632)),
    "test": Known("the original's test split", 13_115, 750),
}
"""Without junk and distractors."""

USUAL_LISTS: dict[Split, Known] = {
    "train": Known("the usual train list", 48_674),
    "test": Known("the usual test list", 4_038),
}
"""DeepFashion by train.lst and test.lst."""

PARTITION_FILE: dict[Split, Known] = {
    "train": Known("the benchmark's train images", 25_882),
    "test": Known("the benchmark's query and gallery images", 14_218 + 12_612),
}
"""DeepFashion by list_eval_partition.txt."""

IN_SHOP_IMAGES = 52_712

USUAL_TEST_PAIRS: dict[Layout, int] = {"market1501": 12_000, "deepfashion": 8_570}
"""In the test pair files that most papers after PG2 use."""

SAMPLE = 500
"""So many images of a split are decoded, and all when the examination is thorough."""

ENOUGH = 10
"""People below this number are too few to say how most of them stand."""

REACH = 0.65
"""Keypoints that keep to this part of both sides of the canvas were taken on smaller images."""

MIDDLE = (0.4, 0.6)
"""Where the middle of most people lies, as a fraction of the width: crops show people in their middle."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Attributes:
        level: "ok"; "note": worth knowing, and right or wrong depending on what was meant; "WRONG": to be mended.
        text: what was found.
        remedy: what to do; empty where nothing has to be done.
    """

    level: Literal["ok", "note", "WRONG"]
    text: str
    remedy: str = ""

    @property
    def wrong(self) -> bool:
        """Whether something has to be done."""
        return self.level == "WRONG"

    def __str__(self) -> str:
        return f"{self.level:<5}  {self.text}" + (f"  ->  {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Examined:
    """The data that the checks look at, read once.

    Attributes:
        root: the folder.
        layout: of the data in it.
        tables: the splits that could be read.
        refused: why the others could not.
        detected: keypoint CSV of a detector, to compare with the annotations.
        thorough: decode every image.
    """

    root: Path
    layout: Layout
    tables: dict[Split, PersonTable]
    refused: dict[Split, Exception]
    detected: Path | None = None
    thorough: bool = False

    @property
    def synthetic(self) -> bool:
        """Whether pg2lib made these people: then the counts of the original say nothing."""
        return (self.root / SYNTHETIC).is_file()

    def known(self, split: Split) -> Known | None:
        """What there should be; None where nobody can tell."""
        if self.synthetic or self.layout == "photos":
            return None
        if self.layout == "market1501":
            return MARKET1501[split]
        if self.find(f"{split}.lst"):
            return USUAL_LISTS[split]
        return PARTITION_FILE[split] if self.find(PARTITION) else None

    def find(self, pattern: str) -> list[Path]:
        """Files of the data folder, at any depth, or beside it, by their names."""
        return [path for path in self.listing if fnmatchcase(path.name, pattern)] + sorted(
            self.root.parent.glob(pattern)
        )

    @cached_property
    def listing(self) -> list[Path]:
        """Every file of the data folder."""
        return list(_files_below(self.root))

    @cached_property
    def files(self) -> dict[Path, ImageFile]:
        """Every image file of the tables, read from its first byte to its last but not decoded."""
        paths = [path for table in self.tables.values() for path in table.paths or ()]
        with ThreadPoolExecutor() as pool:
            return dict(zip(paths, pool.map(ImageFile.read, paths), strict=True))


@dataclass(frozen=True)
class ImageFile:
    """What the bytes of an image file say without being decoded.

    Attributes:
        size: in bytes; 0 when it cannot be read.
        digest: of all its bytes.
        whole: it ends as a JPEG or PNG has to.
    """

    size: int
    digest: bytes
    whole: bool

    @classmethod
    def read(cls, path: Path) -> ImageFile:
        """Reads the file; one that cannot be read counts as empty."""
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        end = content[-64:]
        whole = (content.startswith(b"\xff\xd8") and b"\xff\xd9" in end) or b"IEND" in end
        return cls(len(content), hashlib.blake2b(content, digest_size=16).digest(), whole)


def examine_installation() -> list[Finding]:
    """Versions, hardware, optional packages, and whether the checkpoints that ship load."""
    from pg2lib.pipeline import PG2Pipeline, shipped_checkpoints

    origin = provenance()
    findings = [
        Finding("ok", f"pg2lib {origin['pg2lib']}, torch {origin['torch']}, Python {platform.python_version()}"),
        Finding("ok", f"computes on {origin['hardware']}"),
    ]
    for package, purpose in OPTIONAL.items():
        try:
            findings.append(Finding("ok", f"{package} {importlib.metadata.version(package)}, for {purpose}"))
        except importlib.metadata.PackageNotFoundError:
            remedy = f'if wanted: pip install "pg2lib[{EXTRA_OF[package]}]"'
            findings.append(Finding("note", f"{package} is not installed; it is for {purpose}", remedy))
    for name in shipped_checkpoints():
        try:
            findings.append(Finding("ok", f"the checkpoint {name} loads: {PG2Pipeline.from_pretrained(name)!r}"))
        except PG2Error as error:
            findings.append(Finding("WRONG", f"the checkpoint {name} does not load: {error}", "install pg2lib again"))
    return findings


def examine_data(
    root: str | PathLike[str],
    detected: str | PathLike[str] | None = None,
    thorough: bool = False,
    picture: str | PathLike[str] | None = None,
) -> list[Finding]:
    """What is in a data folder of any layout, what is missing, and the mistakes people make.

    It does not raise: what a reader refuses, and what the file system does, are findings too.

    Args:
        root: the data set as unpacked, a folder above it, or a name that `find_data` knows.
        detected: keypoint CSV of a detector: compared with the annotations that come with the data, and used in their
            stead where there are none.
        thorough: decode every image instead of a sample.
        picture: file to draw 16 people with their skeletons into.
    """
    try:
        examined = _read(find_data(root), Path(detected) if detected is not None else None, thorough)
    except (PG2Error, OSError) as error:
        return [Finding("WRONG", str(error), _where_to_look(Path(root)))]
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check(examined)
        except (PG2Error, OSError) as error:
            findings.append(Finding("WRONG", str(error), "mend that, and run the doctor again"))
    if picture is not None:
        findings.append(_draw(examined, Path(picture)))
    return findings


def _draw(examined: Examined, file: Path) -> Finding:
    if file.exists() and lies_in(file, examined.root):
        return Finding("WRONG", f"no picture {file}: it is there already, among the data", "name a file elsewhere")
    for split, table in examined.tables.items():
        try:
            picture_of_people(table).save(file)
        except (PG2Error, OSError, ValueError) as error:
            return Finding("WRONG", f"{split}: no picture {file}: {error}", "mend that; pictures end in .png or .jpg")
        return Finding("ok", f"{split}: people with their skeletons are in {file}", "look whether they fit")
    return Finding("WRONG", f"no picture {file}: no people could be read", "mend what is said above")


def picture_of_people(table: PersonTable, count: int = 16, columns: int = 8, seed: int = 0) -> Image.Image:
    """People of a table with their skeletons, each another person as far as there are so many.

    Args:
        table: read with paths.
        seed: of the draw; images without a joint are not drawn.

    Raises:
        DataError: no image has a joint, or one that was drawn cannot be loaded.
    """
    rows = (~_without_joint(table)).nonzero().flatten().tolist()
    if not rows:
        raise DataError(f"{table!r} has no joint in any image, so there is no skeleton to draw")
    random.Random(seed).shuffle(rows)
    first_of: dict[str, int] = {}
    for row in rows:
        first_of.setdefault(table.persons[row], row)
    others = [row for row in rows if first_of[table.persons[row]] != row]
    chosen = [*first_of.values(), *others][:count]
    factor = max(1, round(256 / max(table.canvas)))
    size = (table.canvas[0] * factor, table.canvas[1] * factor)
    pictures = [
        table.pose(row).resize(size).draw(table.load(row).resize(size[::-1], Image.Resampling.BICUBIC))
        for row in chosen
    ]
    blank = Image.new("RGB", size[::-1], "white")
    columns = min(columns, len(pictures))
    pictures += [blank] * (-len(pictures) % columns)
    return image_grid([pictures[start : start + columns] for start in range(0, len(pictures), columns)])


def _read(root: Path, detected: Path | None, thorough: bool) -> Examined:
    layout = layout_of(root)
    tables, refused = _read_splits(root, None)
    if not tables and detected is not None:
        tables, refused = _read_splits(root, detected)
        detected = None
    return Examined(root, layout, tables, refused, detected, thorough)


def _read_splits(root: Path, csv: Path | None) -> tuple[dict[Split, PersonTable], dict[Split, Exception]]:
    tables: dict[Split, PersonTable] = {}
    refused: dict[Split, Exception] = {}
    for split in SPLITS:
        try:
            tables[split] = read_people(root, split, csv)
        except (DataError, OSError) as error:
            refused[split] = error
    return tables, refused


def _files_below(root: Path) -> Iterator[Path]:
    """All files, in the order of their names; links are followed, but no folder is looked at twice."""
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders.sort()
        if (real := os.path.realpath(folder)) in seen:
            subfolders.clear()
            continue
        seen.add(real)
        yield from (Path(folder, file) for file in sorted(files))


# What is there, and how much of it


def _layout(examined: Examined) -> Iterator[Finding]:
    yield Finding("ok", f"{examined.root}: {title_of(examined.root)}")
    if examined.layout == "deepfashion" and not examined.synthetic:
        images = {image_key(path.as_posix()) for path in examined.find("*.jpg") if parse_deepfashion(path.as_posix())}
        part = len(images) < IN_SHOP_IMAGES
        yield Finding(
            "note" if part else "ok", f"{len(images):,} of the benchmark's {IN_SHOP_IMAGES:,} images are here"
        )


def _refused(examined: Examined) -> Iterator[Finding]:
    splits_of: dict[str, list[Split]] = defaultdict(list)
    for split, error in examined.refused.items():
        splits_of[str(error)].append(split)
    for message, splits in splits_of.items():
        text = f"{' and '.join(splits)}: {message}"
        if examined.tables and _is_absent(examined, splits[0], message):
            yield Finding("note", text, f"fine if the {splits[0]} split is not wanted")
        else:
            yield Finding("WRONG", text, _remedy(examined.root, message))


def _is_absent(examined: Examined, split: Split, message: str) -> bool:
    """Whether nothing of a split is there: somebody may want the other alone."""
    if examined.layout == "photos":
        return False
    if examined.layout == "market1501":
        return not any(path.parent.name == FOLDERS[split] for path in examined.listing)
    lists = examined.find(f"{split}.lst")
    if not lists:
        return "no keypoints:" in message
    try:
        members = {image_key(name) for name in read_list(lists[0])}
    except DataError:
        return False
    return not any(image_key(path.as_posix()) in members for path in examined.listing)


def _counts(examined: Examined) -> Iterator[Finding]:
    for split, table in examined.tables.items():
        people = len(set(table.persons))
        here = len(table) + sum(skip.reason.startswith(("no keypoints", "flat")) for skip in table.skipped)
        text = f"{split}: {len(table):,} images of {people:,} people with keypoints"
        known = examined.known(split)
        if known is None:
            yield Finding("ok", text)
        elif here == known.images and known.people in (people, None):
            yield Finding("ok", f"{text}, all of {known.whole}")
        elif here > known.images:
            yield Finding(
                "WRONG", f"{split}: {here:,} images, but {known.whole} has {known.images:,}",
                "take out what does not belong: another split, augmented or renamed copies",
            )  # fmt: skip
        else:
            yield Finding(
                "note", f"{text}; {here:,} of the {known.images:,} images of {known.whole} are here",
                "fine if a part is meant; otherwise unpack the archive again",
            )  # fmt: skip


def _pairs(examined: Examined) -> Iterator[Finding]:
    for split, table in examined.tables.items():
        try:
            pairs = len(make_pairs(table, "all")), _torso_pairs(table)
        except DataError as error:
            yield Finding("WRONG", f"{split}: {error}", "training needs people with two images or more")
            continue
        text = f"{split}: {pairs[0]:,} pairs (all), {pairs[1]:,} with both shoulders and hips in both images (torso)"
        known = examined.known(split)
        if known is None or known.pairs is None or known.pairs == pairs or len(table) < known.images:
            yield Finding("ok", text)
        else:
            usual = " and ".join(f"{count:,}" for count in known.pairs)
            yield Finding("note", f"{text}; the usual annotations give {usual}", "say beside a score whose they are")


def _torso_pairs(table: PersonTable) -> int:
    try:
        return len(make_pairs(table, "torso"))
    except DataError:
        return 0


def _pair_files(examined: Examined) -> Iterator[Finding]:
    table = examined.tables.get("test")
    if table is None:
        return
    for path in examined.find("*pairs-test*.csv"):
        pairs = read_pairs(path, table, skip_unknown=True)
        usual = USUAL_TEST_PAIRS.get(examined.layout)
        whole = "" if examined.synthetic or usual is None else f"; the usual file has {usual:,}"
        text = f"test: {path.name} has {len(pairs):,} pairs whose images are both here{whole}"
        if pairs.skipped:
            text += f", {len(pairs.skipped):,} others ({pairs.skipped[0].reason})"
        yield Finding("note" if pairs.skipped else "ok", text)


WHY_LEFT_OUT = {
    "keypoints without an image": "fine if a part of the images is meant; otherwise files are missing",
    "not a Market-1501 name": "if it belongs to the data, give it its original name",
    "found a second time": "the first is taken; take the copies away",
}


def _left_out(examined: Examined) -> Iterator[Finding]:
    for split, table in examined.tables.items():
        names_of: dict[str, list[str]] = defaultdict(list)
        for skip in table.skipped:
            again = skip.reason.startswith("the same image as")
            names_of["found a second time" if again else skip.reason].append(skip.name)
        without_image = names_of.get("keypoints without an image", [])
        for reason, names in names_of.items():
            text = f"{split}: {len(names):,} left out, {reason} (such as {names[0]})"
            if reason in ("junk", "distractor") or reason.startswith("flat"):
                yield Finding("ok", text)
            elif not reason.startswith("no keypoints"):
                yield Finding("note", text, WHY_LEFT_OUT.get(reason, ""))
            elif len(without_image) > len(names) / 2:
                yield Finding("WRONG", text, f"names differ: the CSV has {without_image[0]}; make them the same")
            else:
                most = len(names) > (len(names) + len(table)) / 10
                yield Finding("WRONG" if most else "note", text, "python -m pg2lib prepare makes a CSV of all images")


def _people(examined: Examined) -> Iterator[Finding]:
    for split, table in examined.tables.items():
        images = Counter(table.persons)
        alone = [person for person, count in images.items() if count == 1]
        if alone:
            yield Finding(
                "note", f"{split}: people with one image only: {len(alone):,} of {len(images):,} (such as {alone[0]})",
                "they make no pair and are not trained on",
            )  # fmt: skip


def _both_sides(examined: Examined) -> Iterator[Finding]:
    if len(examined.tables) < 2:
        return
    train, test = (examined.tables[split] for split in SPLITS)
    shared = sorted(set(train.persons) & set(test.persons))
    if shared:
        yield Finding(
            "WRONG", f"{len(shared):,} of {len(set(test.persons)):,} test people are in train too (such as "
            f"{shared[0]})", "a score on people who were trained on says nothing: take them out of one of the two",
        )  # fmt: skip
    if examined.layout == "deepfashion" and (audit := audit_split(train, test)).items:
        yield Finding(
            "note", f"{len(audit.items):,} of {audit.test_items:,} test items are in train too (such as "
            f"{audit.items[0]})",
            "the usual split is like that; --leak-free (leak_free=True) leaves them out of train",
        )  # fmt: skip


# Keypoints: every check takes a table and its title


def _keypoints(examined: Examined) -> Iterator[Finding]:
    for split, table in examined.tables.items():
        yield from _examine_keypoints(split, table)


def _examine_keypoints(title: str, table: PersonTable) -> Iterator[Finding]:
    """`KEYPOINT_CHECKS`, up to the first mistake: the later ones would tell it again in other words."""
    for check in KEYPOINT_CHECKS:
        findings = list(check(title, table))
        yield from findings
        if any(finding.wrong for finding in findings):
            return


def _no_joint(title: str, table: PersonTable) -> Iterator[Finding]:
    empty = _without_joint(table)
    count = int(empty.sum())
    if count == len(table):
        yield Finding(
            "WRONG", f"{title}: all {count:,} images have no joint at all, every coordinate is -1",
            "the detector found nobody anywhere: make the CSV again with python -m pg2lib prepare",
        )  # fmt: skip
    elif count > len(table) / 3:
        yield Finding(
            "WRONG", f"{title}: {count:,} of {len(table):,} images have no joint at all{_such_as(table, empty)}",
            "the detector misses too many: make the CSV again with python -m pg2lib prepare, which tries small and "
            "tight crops again",
        )  # fmt: skip
    else:
        yield Finding("ok", f"{title}: {count:,} of {len(table):,} images have no joint at all")


def _zeros(title: str, table: PersonTable) -> Iterator[Finding]:
    zeros = (table.xy == 0).all(dim=-1).sum(dim=-1)
    several = zeros > 1  # one joint may well lie in the corner, two never do
    if bool(several.any()):
        yield Finding(
            "WRONG", f"{title}: {int(several.sum()):,} images have two or more joints at (0, 0)"
            f"{_such_as(table, several)}", "these joints are missing, which the CSV says with -1: write -1 for them",
        )  # fmt: skip


def _on_their_side(title: str, table: PersonTable) -> Iterator[Finding]:
    trunk = table.xy[:, [8, 11]].mean(dim=1) - table.xy[:, 1]  # from the neck to the hips
    known = ~trunk.isnan().any(dim=1)
    lying = known & (trunk[:, 0].abs() > trunk[:, 1].abs())
    if _most(lying, known):
        yield Finding(
            "WRONG", f"{title}: {int(lying.sum()):,} of {int(known.sum()):,} people lie on their side"
            f"{_such_as(table, lying)}", "x and y are swapped: the CSV has y first; exchange its two columns",
        )  # fmt: skip
    upside_down = known & (trunk[:, 1] < -trunk[:, 0].abs())
    if _most(upside_down, known):
        yield Finding(
            "WRONG", f"{title}: {int(upside_down.sum()):,} of {int(known.sum()):,} people stand on their head"
            f"{_such_as(table, upside_down)}", "y counts from the top of the image: write height - 1 - y",
        )  # fmt: skip


def _other_canvas(title: str, table: PersonTable) -> Iterator[Finding]:
    height, width = table.canvas
    x, y = table.xy.unbind(-1)
    outside = ((x > width - 0.5) | (y > height - 0.5) | (x < -0.5) | (y < -0.5)).any(dim=1)
    remedy = (
        f"the keypoints were taken on images of another size, not {width} wide and {height} high: scale them, or make "
        "them again on these images with python -m pg2lib prepare"
    )
    if bool(outside.any()):
        text = f"{title}: {int(outside.sum()):,} of {len(table):,} images have keypoints outside the canvas"
        reach = f", up to x = {_highest(x):.0f} and y = {_highest(y):.0f}"
        most = float(outside.float().mean()) > 0.05
        yield Finding(
            "WRONG" if most else "note", text + reach + _such_as(table, outside),
            remedy if most else "joints outside are not drawn",
        )  # fmt: skip
        if most:
            return
    people = ~_without_joint(table)
    if int(people.sum()) < ENOUGH:
        return
    right, bottom = (float(side[people].nan_to_num(nan=-1.0).amax(dim=1).quantile(0.99)) for side in (x, y))
    if right < REACH * width and bottom < REACH * height:
        yield Finding(
            "WRONG", f"{title}: people fill only a corner: keypoints end at x = {right:.0f} of {width} and "
            f"y = {bottom:.0f} of {height}", remedy,
        )  # fmt: skip
        return
    middle = float(x[people].nanmedian(dim=1).values.median()) / (width - 1)
    if not MIDDLE[0] < middle < MIDDLE[1]:
        shift = (middle - 0.5) * (width - 1)
        yield Finding(
            "WRONG", f"{title}: people stand {abs(shift):.0f} px {'right' if shift > 0 else 'left'} of the middle of "
            "the images", "the keypoints were taken on padded images, or these are padded and those were not "
            f"(DeepFashion: 176 of 256 px, 40 on each side): {'take' if shift > 0 else 'add'} {abs(shift):.0f} px "
            f"{'from' if shift > 0 else 'to'} every x",
        )  # fmt: skip


def _sides(title: str, table: PersonTable) -> Iterator[Finding]:
    """Whoever shows the nose faces the camera, mostly, and so has the right on the left of the picture."""
    x = table.xy[..., 0]
    shoulders, hips, eyes, ears = (x[:, left] - x[:, right] for right, left in ((2, 5), (8, 11), (14, 15), (16, 17)))
    facing = ~x[:, 0].isnan() & ~shoulders.isnan()
    swapped = facing & (shoulders < 0)
    if _most(swapped, facing):
        yield Finding(
            "WRONG", f"{title}: of {int(facing.sum()):,} people who show their nose, {int(swapped.sum()):,} have the "
            f"right shoulder on the right of the picture{_such_as(table, swapped)}",
            "left and right are swapped, or the images are flipped and the keypoints are not: exchange the joints "
            + _list_of((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17)),
        )  # fmt: skip
        return
    for name, gap, joints in (("hips", hips, (8, 11)), ("eyes", eyes, (14, 15)), ("ears", ears, (16, 17))):
        known = ~gap.isnan() & ~shoulders.isnan()
        against = known & (gap * shoulders < 0)
        if _most(against, known):
            yield Finding(
                "WRONG", f"{title}: {int(against.sum()):,} of {int(known.sum()):,} people have their {name} the other "
                f"way round than their shoulders{_such_as(table, against)}",
                f"left and right are swapped for the {name} alone: exchange joints {joints[0]} "
                f"({JOINTS[joints[0]]}) and {joints[1]} ({JOINTS[joints[1]]})",
            )  # fmt: skip


KEYPOINT_CHECKS: tuple[Callable[[str, PersonTable], Iterator[Finding]], ...] = (
    _no_joint,
    _zeros,
    _on_their_side,
    _other_canvas,
    _sides,
)


def _without_joint(table: PersonTable) -> Bool[Tensor, "rows"]:
    return table.xy.isnan().flatten(1).all(dim=1)


def _most(chosen: Bool[Tensor, "rows"], among: Bool[Tensor, "rows"]) -> bool:
    """Whether more than half of enough people are of a kind."""
    people = int(among.sum())
    return people >= ENOUGH and int(chosen.sum()) > people / 2


def _such_as(table: PersonTable, chosen: Bool[Tensor, "rows"]) -> str:
    return f" (such as {table.names[int(chosen.nonzero()[0])]})"


def _highest(values: Float[Tensor, "rows 18"]) -> float:
    return float(values[~values.isnan()].max())


def _list_of(*pairs: tuple[int, int]) -> str:
    return ", ".join(f"{a} and {b}" for a, b in pairs)


# Image files


def _images(examined: Examined) -> Iterator[Finding]:
    """Empty files, damaged ones and ones of another size. All are read, but only suspects and a sample decoded."""
    for split, table in examined.tables.items():
        paths = table.paths or ()
        empty = [path for path in paths if examined.files[path].size == 0]
        if empty:
            yield Finding(
                "WRONG", f"{split}: empty or unreadable image files: {len(empty):,} of {len(paths):,} (such as "
                f"{empty[0]})", "unpack or copy them again: the disk was full, or the copy was cut short",
            )  # fmt: skip
        full = [path for path in paths if examined.files[path].size > 0]
        sample = full if examined.thorough else random.Random(0).sample(full, min(SAMPLE, len(full)))
        suspects = [path for path in full if not examined.files[path].whole]
        looked_at = list(dict.fromkeys((*suspects, *sample)))
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without holding the interpreter's lock
            looks = dict(zip(looked_at, pool.map(_size_or_error, looked_at), strict=True))
        damaged = [path for path, look in looks.items() if isinstance(look, DataError)]
        if damaged:
            yield Finding(
                "WRONG", f"{split}: damaged images: {len(damaged):,} of {len(looks):,} looked at (such as "
                f"{looks[damaged[0]]})", "unpack or copy them again, or leave them out with --skip-corrupt",
            )  # fmt: skip
        yield from _other_sizes(split, table, {path: look for path, look in looks.items() if isinstance(look, tuple)})
        if not damaged and not empty:
            decoded = "all" if len(looks) == len(paths) else f"{len(looks):,} of {len(paths):,}"
            yield Finding(
                "ok", f"{split}: no image file is empty or cut short; {decoded} were decoded",
                "" if decoded == "all" else "--thorough decodes all",
            )  # fmt: skip


def _size_or_error(path: Path) -> tuple[int, int] | DataError:
    try:
        return load_image(path).size
    except DataError as error:
        return error


def _other_sizes(split: Split, table: PersonTable, sizes: dict[Path, tuple[int, int]]) -> Iterator[Finding]:
    height, width = table.canvas
    others = [path for path, size in sizes.items() if size != (width, height)]
    if not others:
        return
    first = sizes[others[0]]
    text = (
        f"{split}: {len(others):,} of {len(sizes):,} images looked at are not {width} wide and {height} high "
        f"(such as {others[0]}: {first[0]} and {first[1]})"
    )
    if table.fill is not None:
        yield Finding("note", text, "they are fitted onto that size when they are loaded")
    else:
        yield Finding("WRONG", text, "take the original images; scaled or cropped ones do not fit the keypoints")


def _duplicates(examined: Examined) -> Iterator[Finding]:
    shown: dict[Path, tuple[Split, str, str]] = {}
    for split, table in examined.tables.items():
        for path, name, person in zip(table.paths or (), table.names, table.persons, strict=True):
            shown[path] = split, name, person
    groups: dict[bytes, list[tuple[Split, str, str]]] = defaultdict(list)
    for path, entry in shown.items():
        if examined.files[path].size:
            groups[examined.files[path].digest].append(entry)
    copies = [group for group in groups.values() if len(group) > 1]
    if not copies:
        return
    people = sum(len({person for _, _, person in group}) > 1 for group in copies)
    splits = sum(len({split for split, _, _ in group}) > 1 for group in copies)
    (_, first, _), (_, second, _) = copies[0][:2]
    yield Finding(
        "WRONG", f"{sum(map(len, copies)):,} image files have the same content as another (such as {first} and "
        f"{second})" + (f"; {people:,} times under two people" if people else "")
        + (f"; {splits:,} times in train and in test" if splits else ""),
        "keep one of each, with its row in the CSV",
    )  # fmt: skip


def _repeated_keypoints(examined: Examined) -> Iterator[Finding]:
    """Rows that are equal to the pixel, of images that are not: those who copied the image have been told."""
    for split, table in examined.tables.items():
        rows_of: dict[bytes, list[int]] = defaultdict(list)
        for row, points in enumerate(table.xy.numpy()):
            if np.nan_to_num(points).any():  # nothing but missing joints, however they are written, is no copy
                rows_of[points.tobytes()].append(row)
        content = [examined.files[path].digest for path in table.paths or ()]
        groups = [rows for rows in rows_of.values() if len({content[row] for row in rows}) > 1]
        if groups:
            first, second = (table.names[row] for row in groups[0][:2])
            yield Finding(
                "WRONG", f"{split}: {sum(map(len, groups)):,} images share their keypoints to the pixel with another "
                f"(such as {first} and {second})", "rows were copied: detect these images again",
            )  # fmt: skip


# Detected keypoints against the annotations


def _agreement(examined: Examined) -> Iterator[Finding]:
    """The detector's CSV that was passed, or those that lie beside DeepFashion's published keypoints."""
    refusals: list[DataError] = []
    compared = False
    for split, table in examined.tables.items():
        reference, title, others = table, "the annotations", []
        if examined.layout == "deepfashion" and (csvs := _keypoint_files(examined, split)):
            reference, title, others = read_people(examined.root, split, csvs[0]), csvs[0].name, csvs[1:]
        for csv in others if examined.detected is None else [examined.detected]:
            try:
                found = read_people(examined.root, split, csv)
            except DataError as error:
                refusals.append(error)
                continue
            yield from (finding for finding in _examine_keypoints(csv.name, found) if finding.wrong)
            yield from _compare(f"{split}: {csv.name} against {title}", found, reference, csv)
            compared = True
    if refusals and not compared:  # a CSV of one split is refused by the other
        yield Finding("WRONG", str(refusals[0]), _remedy(examined.root, str(refusals[0])))


def _keypoint_files(examined: Examined, split: Split) -> list[Path]:
    """DeepFashion's, the published before the detected."""
    return list(dict.fromkeys(csv for pattern in KEYPOINT_FILES for csv in examined.find(pattern.format(split=split))))


def _compare(title: str, found: PersonTable, reference: PersonTable, csv: Path) -> Iterator[Finding]:
    """Images that the detector was not run on count for nothing: they are neither in its CSV nor in its other list."""
    list_of_missing = csv.with_name(f"{csv.stem}.missing.txt")
    lines = (
        list_of_missing.read_text(encoding="utf-8", errors="replace").splitlines() if list_of_missing.is_file() else []
    )
    nobody = {image_key(line.partition("\t")[0]) for line in lines}
    rows = [(row, found.row(name)) for row, name in enumerate(reference.names)]
    tried = [(row, place) for row, place in rows if place is not None or image_key(reference.names[row]) in nobody]
    if not tried:
        return
    empty = torch.full((len(JOINTS), 2), torch.nan)
    found_xy = torch.stack([empty if place is None else found.xy[place] for _, place in tried])
    agreement = keypoint_agreement(found_xy, reference.xy[[row for row, _ in tried]], reference.canvas[0])
    if agreement.compared >= ENOUGH and agreement.swapped > 0.5:
        yield Finding("WRONG", f"{title}: {agreement}", "one of the two has left and right swapped")
    elif agreement.median_error > OFF:
        yield Finding("WRONG", f"{title}: {agreement}", "one of the two is of other images, or of another size")
    else:
        yield Finding("ok", f"{title}: {agreement}")


CHECKS: tuple[Callable[[Examined], Iterator[Finding]], ...] = (
    _layout,
    _refused,
    _counts,
    _pairs,
    _pair_files,
    _left_out,
    _people,
    _both_sides,
    _keypoints,
    _images,
    _duplicates,
    _repeated_keypoints,
    _agreement,
)


# What to do when a file is not what it should be


def _remedy(root: Path, message: str) -> str:
    """What to do about a reader's refusal: looks at the CSV that it names, with a tolerant eye."""
    if "no keypoints:" in message:
        return "python -m pg2lib prepare makes them; or put the CSV there"
    near = [*root.glob("*.csv"), *root.glob("*/*.csv"), *root.parent.glob("*.csv")]
    named = [csv for csv in near if str(csv) in message] or [csv for csv in near if csv.name in message]
    if not named:
        return "mend that, and run the doctor again"
    csv = max(named, key=lambda path: len(str(path)))  # one path may begin like another
    mistake = _mistake_in_csv(csv)
    if mistake is None and re.search(r"CSV .*split|neither .* name", message):
        mistake = _mistake_in_names(csv, root, message)
    return mistake or "mend it, or make the file again"


def _mistake_in_csv(csv: Path) -> str | None:
    content = csv.read_bytes()
    if content.lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        return "this is a web page that was saved in its stead: download the file itself"
    if content.startswith(b"version https://git-lfs"):
        return "this is Git LFS's pointer to the file: git lfs pull fetches it"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "the file is UTF-16: save it as UTF-8"
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    if not lines:
        return "the file is empty: make it again with python -m pg2lib prepare"
    header = lines[0].replace(" ", "").replace('"', "")
    columns = CSV_HEADER.split(":")
    if (separator := re.sub(r"\w", "", header)[:1]) != ":" and header.split(separator or None) == columns:
        return (
            f"the separator is {separator!r} and has to be ':': "
            f"pandas.read_csv(file, sep={separator!r}).to_csv(file, sep=':', index=False)"
        )
    if header.split(":") == [columns[0], *reversed(columns[1:])]:
        return f"x comes before y: exchange the two columns, so that the header is {CSV_HEADER}"
    if re.fullmatch(r"[^:]+:\s*\[.*\]\s*:\s*\[.*\]\s*", lines[0]):
        return f"the header is missing: make {CSV_HEADER} the first line"
    names = Counter(line.rsplit(":", 2)[0].strip() for line in lines[1:] if line.strip())
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        return f"{len(twice):,} names stand there more than once: leave one row of each"
    joints = Counter(line.count(",") // 2 + 1 for line in lines[1:20] if line.count("[") == 2)
    if joints and (count := joints.most_common(1)[0][0]) != len(JOINTS):
        return (
            f"the rows have {count} joints, not {len(JOINTS)}: python -m pg2lib prepare --format openpose or coco "
            "imports a detector's own JSON"
        )
    return None


def _mistake_in_names(csv: Path, root: Path, message: str) -> str | None:
    """Why the names of a CSV are not those of the images."""
    lines = csv.read_text(encoding="utf-8-sig", errors="replace").splitlines()[1:]
    names = [line.rsplit(":", 2)[0].strip() for line in lines if line.strip()]
    images = [path for path in _files_below(root) if path.suffix.lower() in IMAGE_SUFFIXES]
    files = {image_key(canonical_name(path.as_posix())).rpartition("/")[2]: path for path in images}
    if not names or not files:
        return None
    if any(re.split(r"[/\\]", name)[-1] in files for name in names if re.search(r"[/\\]", name)):
        return f"the names hold a folder ({names[0]}): leave nothing but the file name"
    found = [name for name in names if image_key(name) in files]
    if found:
        return (
            f"{len(found):,} of its {len(names):,} names are images of another split (such as "
            f"{files[image_key(found[0])]}): put the CSV of this one there"
        )
    stems = {Path(name).stem: name for name in files}
    renamed = next((name for name in names if Path(name).stem in stems), None)
    if renamed is not None:
        return f"the CSV writes {renamed} where the file is {stems[Path(renamed).stem]}: make the endings the same"
    other = next((path for path in images if str(path.parent) in message), images[0])
    return f"the CSV writes {names[0]} and the like, the files are called {other.name} and the like: make them the same"


def _where_to_look(root: Path) -> str:
    """What to do with a folder in which no data set is recognised, or more than one."""
    try:
        layout_of(root)
    except (DataError, OSError):
        pass
    else:
        return "pass the folder of one of them"
    try:
        return _what_lies_there(root)
    except OSError as error:
        return f"make it readable: {error}"


def _what_lies_there(root: Path) -> str:
    default = "pass the unpacked data set, or a folder above it"
    if is_name(str(root)) or not root.is_dir():
        return default
    archives = [path for path in root.iterdir() if path.suffix.lower() in (".zip", ".tar", ".gz", ".7z", ".rar")]
    if archives:
        return f"unpack {archives[0].name}"
    image = next((path for path in _files_below(root) if path.suffix.lower() in IMAGE_SUFFIXES), None)
    if image is None:
        return f"there is no image in it; {default}"
    crops = f"python -m pg2lib prepare {root} --crop 128x64 --out DIR"
    if image.parent == root:
        return f"if these are own photos: put them into a folder a person, then {crops}"
    if image.parent.parent == root:
        return f"if these are own photos, a folder a person: {crops}"
    return f"images such as {image.relative_to(root)} have no name of a data set: keep the original names and folders"
