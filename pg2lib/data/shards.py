"""The images of a folder, and its division into shards that several machines prepare and one merges."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from pg2lib.data.keypoint_csv import FLAT, Preparation, check_csv, missing_file, write_rows
from pg2lib.data.names import canonical_name, checked_name, image_key, is_a_line, parse_deepfashion
from pg2lib.errors import ConfigError, DataError
from pg2lib.files import IMAGE_SUFFIXES, files_below
from pg2lib.json_files import checked, read_json

Names = Literal["field", "paths"]
"""How a CSV names images: "field" uses the field's names (`canonical_name`), "paths" the paths below the folder."""

MOST_SHARDS = 100_000
"""The most shards that a folder is divided into."""

_MOST_NUMBERS = 20
"""Number of shards that an error message lists."""

_ABOUT_POSES = "Pose files of other programs are imported with --format auto"

_OTHER_FILES = {
    "a video: save frames of it as pictures": (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".3gp"),
    "a raw photo: save it as a JPEG": (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".srw", ".pef"),
}
"""Files that people keep among photos, and what to do about them, by suffix."""


@dataclass(frozen=True)
class Listing:
    """The images of a folder, sorted by path.

    Attributes:
        folder: The folder.
        paths: CSV name -> POSIX path relative to the folder.
        unused: (relative path, reason) of every other file, except hidden ones.
    """

    folder: Path
    paths: dict[str, str]
    unused: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> str:
        """The SHA-256 of the names in their order, which tells one list of images from another."""
        return hashlib.sha256("\n".join(self.paths).encode()).hexdigest()

    def unused_besides(self, csv: Path) -> tuple[tuple[str, str], ...]:
        """Return the files that are not used, without those that writing a CSV in this folder makes."""
        folder = csv.parent.resolve()
        own = {path for path, _ in self.unused if PurePosixPath(path).name.startswith(csv.stem)}
        own = {path for path in own if (self.folder / path).parent.resolve() == folder}
        return tuple(item for item in self.unused if item[0] not in own)


def list_images(folder: Path, names: Names = "field") -> Listing:
    """List the images of a folder and its subfolders, without hidden files.

    Raises:
        DataError: If there is no such folder or no image in it, if a subfolder cannot be listed, if two images have the
            same name, or if a name does not fit into a CSV.
    """
    if not folder.is_dir():
        if folder.is_file():
            raise DataError(f"{folder} is a file; expected a folder of images. {_ABOUT_POSES}")
        raise DataError(f"no folder {folder}")

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be listed: {error.strerror}") from error

    above = folder.absolute().as_posix()
    paths: dict[str, str] = {}
    path_of_key: dict[str, str] = {}
    unused: list[tuple[str, str]] = []
    for relative in sorted(path.relative_to(folder).as_posix() for path in files_below(folder, on_error=refuse)):
        if (reason := _why_no_image(relative)) is not None:
            unused.append((relative if is_a_line(relative) else repr(relative), reason))
            continue
        name = relative
        if names == "field":
            # The folder may be WOMEN or one below it, so the name also depends on the folders above.
            parsed = parse_deepfashion(f"{above}/{relative}")
            if parsed is not None and parsed.view == "flat":
                unused.append((relative, FLAT))
                continue
            name = canonical_name(relative if parsed is None else f"{above}/{relative}")
        key = image_key(name)
        if key in path_of_key:
            raise DataError(
                f"{folder}: {path_of_key[key]} and {relative} are both {name} in a keypoint CSV; prepare their folders "
                f"one by one, or remove one of the two"
            )
        path_of_key[key] = relative
        paths[checked_name(name, str(folder))] = relative
    if not paths:
        first = f"; {unused[0][0]} is {unused[0][1]}" if unused else ""
        hint = f". {_ABOUT_POSES}" if any(path.endswith(".json") for path, _ in unused) else ""
        raise DataError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}){first}{hint}")
    return Listing(folder, paths, tuple(unused))


def _why_no_image(path: str) -> str | None:
    """Return what a file is by its suffix; None for an image."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return None
    known = (what for what, suffixes in _OTHER_FILES.items() if suffix in suffixes)
    other = f"not an image, by its suffix {suffix}" if suffix else "not an image, as it has no suffix"
    return next(known, other)


@dataclass(frozen=True, order=True)
class Shard:
    """One of several blocks of the sorted list of images, all of the same length up to one image.

    Attributes:
        number: From 1 to `count`.
        count: Number of shards.

    Raises:
        ConfigError: If `number` is out of range.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(f"shard {self}: {self.count} shards are numbered from 1 to {self.count}")
        if self.count > MOST_SHARDS:
            raise ConfigError(f"shard {self}: expected at most {MOST_SHARDS:,} shards")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse the form used on the command line, ``3/16``.

        Raises:
            ConfigError: If the text has another form, or the number is out of range.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None:
            raise ConfigError(f"shard {text!r}: expected NUMBER/COUNT, such as 3/16 for the third of sixteen shards")
        return cls(int(match[1]), int(match[2]))

    def of(self, names: Sequence[str]) -> Sequence[str]:
        """Return the names that belong to this shard."""
        return names[(self.number - 1) * len(names) // self.count : self.number * len(names) // self.count]

    def csv(self, whole: Path) -> Path:
        """Return the path of this shard of a CSV: ``keypoints.shard-03-of-16.csv``."""
        number = str(self.number).zfill(len(str(self.count)))
        return whole.with_name(f"{whole.stem}.shard-{number}-of-{self.count}{whole.suffix}")


class Part(NamedTuple):
    """What a complete shard was made of, recorded in a JSON file beside its CSV.

    Attributes:
        shard: As on the command line.
        images: `Listing.digest` of the whole folder.
        detector: Its settings.
    """

    shard: str
    images: str
    detector: str


def part_file(csv: Path) -> Path:
    """Return the path of the record that marks a shard as complete: ``keypoints.shard-03-of-16.json``."""
    return csv.with_name(f"{csv.stem}.json")


def read_part(csv: Path) -> Part | None:
    """Read the record of a shard; None if the shard is not complete.

    Raises:
        DataError: If the record is damaged.
    """
    path = part_file(csv)
    try:
        part: Part = checked(Part, read_json(path), str(path))
    except FileNotFoundError:
        return None
    except DataError as error:
        raise DataError(f"{path} is damaged ({error}); remove it and make the shard again") from error
    return part


def read_results(csv: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Read the rows of a shard, and (name, reason) of its images without keypoints.

    Raises:
        DataError: If the files of the shard cannot be read.
    """
    listed = missing_file(csv)
    try:
        rows = csv.read_text(encoding="utf-8").splitlines()[1:]
        lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the shard {csv} cannot be read: {error}; remove {part_file(csv)} and make it again"
        ) from error
    return rows, [(name, reason) for name, _, reason in (line.partition("\t") for line in lines)]


def merge_shards(images: str | PathLike[str], csv: str | PathLike[str]) -> Preparation:
    """Merge the shards of a CSV into what `prepare` writes without shards, then remove them.

    Args:
        images: The folder that was prepared in shards.
        csv: The file that was passed with every shard.

    Raises:
        DataError: If the CSV exists already, if a shard is missing (the message gives the numbers), incomplete or
            damaged, or if the shards come from different divisions, from different detectors or from another list of
            images than the folder holds now.
    """
    listed = list_images(Path(images))
    names, target = list(listed.paths), Path(csv)
    check_csv(target)
    shards = _complete_shards(target, listed)
    rows: list[str] = []
    missing: list[tuple[str, str]] = []
    for shard in shards:
        its_rows, its_missing = read_results(shard.csv(target))
        present = [row.rsplit(":", 2)[0] for row in its_rows] + [name for name, _ in its_missing]
        expected = shard.of(names)
        if sorted(present) != sorted(expected):
            wrong = sorted(set(present) ^ set(expected)) or ["names that it holds twice"]
            raise DataError(
                f"{shard.csv(target)} does not hold its {len(expected):,} images, see {wrong[0]}; remove the shard and "
                f"make it again with --shard {shard}"
            )
        rows += its_rows
        missing += its_missing
    result = write_rows(target, rows, missing, listed.unused_besides(target))
    for shard in shards:
        part = shard.csv(target)
        for path in (part_file(part), part, missing_file(part)):
            path.unlink(missing_ok=True)
    return result


def _complete_shards(csv: Path, listed: Listing) -> list[Shard]:
    """Return all shards of a CSV in order, after a check that they belong together and to the images listed."""
    pattern = re.compile(re.escape(csv.stem) + r"\.shard-(\d{1,9})-of-(\d{1,9})\.json")
    matches = (pattern.fullmatch(path.name) for path in csv.parent.glob(f"{glob.escape(csv.stem)}.shard-*.json"))
    shards = sorted(Shard(int(match[1]), int(match[2])) for match in matches if match)
    if not shards:
        raise DataError(f"{csv} has no shard, such as {Shard(1, 16).csv(csv).name}: make them with --shard 1/16 etc.")
    counts = sorted({shard.count for shard in shards})
    if len(counts) > 1:
        raise DataError(
            f"{csv} has shards of {' and of '.join(map(str, counts))} side by side; remove those of one division"
        )
    absent = sorted(set(range(1, counts[0] + 1)) - {shard.number for shard in shards})
    if absent:
        raise DataError(
            f"{csv}: {len(absent)} of {counts[0]} shards are missing or incomplete: {_again(absent, counts[0])}"
        )
    parts = {shard.number: read_part(shard.csv(csv)) for shard in shards}
    outdated = [number for number, part in parts.items() if part is None or part.images != listed.digest]
    if outdated:
        raise DataError(
            f"{csv}: {len(outdated)} of {counts[0]} shards were made from another list of images than {listed.folder} "
            f"holds now: {_again(outdated, counts[0])}"
        )
    detectors = sorted({part.detector for part in parts.values() if part is not None})
    if len(detectors) > 1:
        raise DataError(f"{csv} has shards by different detectors ({'; '.join(detectors)}); make all with one of them")
    return shards


def _again(numbers: Sequence[int], count: int) -> str:
    """Return the numbers of some shards and how to make them."""
    listed = ", ".join(map(str, numbers[:_MOST_NUMBERS])) + (" ..." if len(numbers) > _MOST_NUMBERS else "")
    return f"{listed}; make them with --shard {numbers[0]}/{count}" + (" etc." if len(numbers) > 1 else "")
