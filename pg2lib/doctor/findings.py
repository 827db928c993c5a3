"""What the checks examine (`Examined`) and what they report (`Finding`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Literal

from pg2lib.data.deepfashion import KEYPOINT_FILES, KEYPOINTS_OF_BOTH, PARTITION, read_list
from pg2lib.data.market1501 import FOLDERS
from pg2lib.data.names import canonical_name, image_key
from pg2lib.data.people import PersonTable
from pg2lib.data.photos import KEYPOINTS
from pg2lib.data.read import SYNTHETIC, Layout, layout_of, read_people
from pg2lib.errors import DataError
from pg2lib.files import IMAGE_SUFFIXES, files_below

Split = Literal["train", "test"]
Level = Literal["WRONG", "note", "ok"]
LEVELS: tuple[Level, ...] = ("WRONG", "note", "ok")
SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class Known:
    """The published counts of one split.

    Attributes:
        name: what the split is called.
        images: number of images, with or without keypoints.
        people: number of people; None where it depends on the definition of a person.
        pairs: number of ordered pairs under the rules "all" and "torso" with the usual annotations; None if unknown.
    """

    name: str
    images: int
    people: int | None = None
    pairs: tuple[int, int] | None = None


MARKET1501: dict[Split, Known] = {
    "train": Known("Market-1501's train split", 12_936, 751, (296_938, 263_632)),
    "test": Known("Market-1501's test split", 13_115, 750),
}
"""Without junk and distractors."""

USUAL_LISTS: dict[Split, Known] = {
    "train": Known("the usual train.lst", 48_674),
    "test": Known("the usual test.lst", 4_038),
}
"""DeepFashion split by train.lst and test.lst."""

PARTITION_FILE: dict[Split, Known] = {
    "train": Known("the benchmark's train set", 25_882),
    "test": Known("the benchmark's query and gallery sets", 14_218 + 12_612),
}
"""DeepFashion split by list_eval_partition.txt."""


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        level: "ok"; "note" for what is right or wrong depending on the user's intention; "WRONG" for what has to be
            corrected.
        text: what was found.
        remedy: what to do about it; empty where nothing has to be done.
    """

    level: Level
    text: str
    remedy: str = ""

    @property
    def wrong(self) -> bool:
        """Whether something has to be corrected."""
        return self.level == "WRONG"

    def __str__(self) -> str:
        """Return the finding on one line, followed by its remedy on an indented line."""
        return f"{self.level:<5}  {self.text}" + (f"\n       {self.remedy}" if self.remedy else "")


def report(findings: Sequence[Finding]) -> str:
    """Return findings as text: a summary first, then what is wrong, then the notes, then what is right."""
    levels = [finding.level for finding in findings]
    if "WRONG" in levels:
        summary = "Something is wrong. Correct what is marked WRONG, then run the doctor again."
    elif "note" in levels:
        summary = "Nothing is wrong. Check whether what is marked note is what you intend."
    else:
        summary = "Nothing is wrong."
    return "\n".join((summary, "", *map(str, sorted(findings, key=lambda finding: LEVELS.index(finding.level)))))


@dataclass(frozen=True)
class Examined:
    """The data that the checks examine, read once.

    Attributes:
        root: the data folder.
        layout: the layout of its data.
        tables: the splits that could be read.
        refused: the reader's error for each of the other splits.
        keypoints: keypoint CSV that was read instead of the annotations; None for the annotations.
        detected: keypoint CSV of a detector, to be compared with the annotations.
        thorough: whether to decode every image.
    """

    root: Path
    layout: Layout
    tables: dict[Split, PersonTable]
    refused: dict[Split, Exception]
    keypoints: Path | None = None
    detected: Path | None = None
    thorough: bool = False

    @classmethod
    def read(cls, root: Path, detected: Path | None, thorough: bool) -> Examined:
        """Read both splits of a data folder, with `detected` in place of annotations if there are none.

        Raises:
            DataError: the folder does not exist or has no known layout.
        """
        layout = layout_of(root)
        tables, refused = _read_splits(root, None)
        if tables or detected is None:
            return cls(root, layout, tables, refused, detected=detected, thorough=thorough)
        tables, refused = _read_splits(root, detected)
        return cls(root, layout, tables, refused, keypoints=detected, thorough=thorough)

    @property
    def synthetic(self) -> bool:
        """Whether pg2lib generated these people, so that the published counts do not apply."""
        return (self.root / SYNTHETIC).is_file()

    def known(self, split: Split) -> Known | None:
        """Return the published counts of a split; None where there are none."""
        if self.synthetic or self.layout in ("photos", "dukemtmc"):
            return None
        if self.layout == "market1501":
            return MARKET1501[split]
        if self.find(f"{split}.lst"):
            return USUAL_LISTS[split]
        return PARTITION_FILE[split] if self.find(PARTITION) else None

    def find(self, pattern: str) -> list[Path]:
        """Return the files whose name matches `pattern`: anywhere in the data folder, then in the folder above."""
        inside = [path for path in self.listing if fnmatchcase(path.name, pattern)]
        return inside + sorted(self.root.parent.glob(pattern))

    @cached_property
    def listing(self) -> list[Path]:
        """Every file of the data folder."""
        return list(files_below(self.root))

    def images(self) -> dict[str, Path]:
        """Return the image files of the data folder by the name that a keypoint CSV gives them."""
        paths = (path for path in self.listing if path.suffix.lower() in IMAGE_SUFFIXES)
        return {image_key(canonical_name(path.as_posix())).rpartition("/")[2]: path for path in paths}

    def members(self, split: Split) -> dict[str, Path]:
        """Return those of `images` that belong to one split; all of them where nothing but the CSV tells."""
        images = self.images()
        if self.layout in ("market1501", "dukemtmc"):
            return {name: path for name, path in images.items() if path.parent.name in FOLDERS[split]}
        listed = self.listed(split)
        return images if listed is None else {name: path for name, path in images.items() if name in listed}

    def listed(self, split: Split) -> set[str] | None:
        """Return the images in DeepFashion's list of a split; None without a list that can be read."""
        lists = self.find(f"{split}.lst")
        try:
            return {image_key(name) for name in read_list(lists[0])} if lists else None
        except DataError:
            return None

    def keypoint_files(self, split: Split) -> list[Path]:
        """Return the keypoint CSVs of a split, published annotations before detected ones."""
        if self.keypoints is not None:
            return [self.keypoints]
        patterns: dict[Layout, tuple[str, ...]] = {
            "market1501": ("market-annotation-{split}.csv",),
            "dukemtmc": ("market-annotation-{split}.csv",),
            "deepfashion": (*KEYPOINT_FILES, KEYPOINTS_OF_BOTH),
            "photos": (KEYPOINTS,),
        }
        found = (csv for pattern in patterns[self.layout] for csv in self.find(pattern.format(split=split)))
        return list(dict.fromkeys(found))

    @cached_property
    def files(self) -> dict[Path, ImageFile]:
        """Every image file of the tables, read completely but not decoded."""
        paths = [path for table in self.tables.values() for path in table.paths or ()]
        with ThreadPoolExecutor() as pool:
            return dict(zip(paths, pool.map(ImageFile.read, paths), strict=True))


@dataclass(frozen=True)
class ImageFile:
    """What the bytes of an image file tell without decoding.

    Attributes:
        size: in bytes; 0 if the file cannot be read.
        digest: of all bytes.
        whole: whether it ends like a complete JPEG or PNG file.
    """

    size: int
    digest: bytes
    whole: bool

    @classmethod
    def read(cls, path: Path) -> ImageFile:
        """Read a file; one that cannot be read counts as empty."""
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        end = content[-64:]
        whole = (content.startswith(b"\xff\xd8") and b"\xff\xd9" in end) or b"IEND" in end
        return cls(len(content), hashlib.blake2b(content, digest_size=16).digest(), whole)


def _read_splits(root: Path, csv: Path | None) -> tuple[dict[Split, PersonTable], dict[Split, Exception]]:
    tables: dict[Split, PersonTable] = {}
    refused: dict[Split, Exception] = {}
    for split in SPLITS:
        try:
            tables[split] = read_people(root, split, csv)
        except (DataError, OSError) as error:
            refused[split] = error
    return tables, refused
