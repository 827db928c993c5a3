"""What to do when a data set, or a file of it, cannot be read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from pg2lib.data.keypoint_csv import CSV_HEADER
from pg2lib.data.names import image_key
from pg2lib.data.photo_people import SPLITS
from pg2lib.data.read import is_name, layout_of
from pg2lib.doctor.findings import Examined, Split
from pg2lib.errors import DataError
from pg2lib.files import IMAGE_SUFFIXES, files_below
from pg2lib.pose import JOINTS

ARCHIVES = frozenset({".zip", ".tar", ".gz", ".7z", ".rar"})

RUN_AGAIN = "Correct this, then run the doctor again."


def remedy(examined: Examined, split: Split, csvs: Sequence[Path]) -> str:
    """Return what to do about a split that cannot be read, after a tolerant look at its keypoint CSVs.

    Args:
        csvs: The CSVs that the reader may have refused; none if it found none.
    """
    for csv in csvs:
        if (mistake := _mistake_in_csv(csv)) is not None:
            return mistake
    if not examined.members(split):
        return f"Unpack the images of the {split} split."
    if not csvs:
        return "Put the keypoint CSV into the data folder, or make it with python -m pg2lib prepare."
    if examined.layout != "photos":
        for csv in csvs:
            if (mistake := _mistake_in_names(csv, examined, split)) is not None:
                return mistake
    return RUN_AGAIN


def _mistake_in_csv(csv: Path) -> str | None:
    try:
        content = csv.read_bytes()
    except OSError:
        return None
    if content.lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        return "This is a web page saved under the name of the CSV. Download the file itself."
    if content.startswith(b"version https://git-lfs"):
        return "This is a Git LFS pointer to the file. Run git lfs pull to fetch the file itself."
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "The file is encoded in UTF-16. Save it as UTF-8."
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    if not lines:
        return "The file is empty. Make it again with python -m pg2lib prepare."
    return _mistake_in_header(lines[0]) or _mistake_in_rows(lines[1:])


def _mistake_in_header(line: str) -> str | None:
    header = line.replace(" ", "").replace('"', "")
    columns = CSV_HEADER.split(":")
    if (separator := re.sub(r"\w", "", header)[:1]) != ":" and header.split(separator or None) == columns:
        return (
            f"The columns are separated by {separator!r} instead of ':'. Convert the file: "
            f"pandas.read_csv(file, sep={separator!r}).to_csv(file, sep=':', index=False)"
        )
    if header.split(":") == [columns[0], *reversed(columns[1:])]:
        return f"The x column comes before the y column. Exchange the two, so that the header is {CSV_HEADER}."
    if re.fullmatch(r"[^:]+:\s*\[.*\]\s*:\s*\[.*\]\s*", line):
        return f"The header is missing. Insert {CSV_HEADER} as the first line."
    return None


def _mistake_in_rows(lines: list[str]) -> str | None:
    names = Counter(_names(lines))
    repeated = sum(count > 1 for count in names.values())
    if repeated:
        return f"{repeated:,} names occur in more than one row. Keep one row of each."
    joints = Counter(line.count(",") // 2 + 1 for line in lines[:19] if line.count("[") == 2)
    if joints and (count := joints.most_common(1)[0][0]) != len(JOINTS):
        return (
            f"The rows have {count} joints instead of {len(JOINTS)}. To import a detector's own JSON, use python -m "
            "pg2lib prepare --format openpose or --format coco."
        )
    return None


def _names(lines: Iterable[str]) -> list[str]:
    """Return the names in the rows of a keypoint CSV, whatever else is wrong with the rows."""
    return [line.rsplit(":", 2)[0].strip() for line in lines if line.strip()]


def _mistake_in_names(csv: Path, examined: Examined, split: Split) -> str | None:
    """Say why the names of a CSV are not those of the images of its split; None where some of them are."""
    try:
        lines = csv.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        return None
    names, files, members = _names(lines[1:]), examined.images(), examined.members(split)
    if not names or not files or any(image_key(name) in members for name in names):
        return None
    found = [name for name in names if image_key(name) in files]
    if found:
        return (
            f"{len(found):,} of the {len(names):,} names in {csv.name} are images of another split (for example "
            f"{files[image_key(found[0])]}). Replace it with the CSV of the {split} split."
        )
    stems = {Path(name).stem: name for name in files}
    renamed = next((name for name in names if Path(name).stem in stems), None)
    if renamed is not None:
        return f"The CSV names {renamed}, but the file is {stems[Path(renamed).stem]}. Make the suffixes the same."
    file = next(iter((members or files).values()))
    return f"The CSV has names such as {names[0]}, but the files have names such as {file.name}. Make them the same."


def where_to_look(root: Path) -> str:
    """Return what to do with a folder in which no data set, or more than one, was recognised."""
    try:
        layout_of(root)
    except (DataError, OSError):
        pass
    else:
        return "Pass the folder of one of them."
    try:
        return _what_lies_in(root)
    except OSError as error:
        return f"Make it readable: {error}"


def _what_lies_in(root: Path) -> str:
    default = "Pass the unpacked data set, or a folder above it."
    if is_name(str(root)) or not root.is_dir():
        return default
    archive = next((path for path in root.iterdir() if path.suffix.lower() in ARCHIVES), None)
    if archive is not None:
        return f"Unpack {archive.name}."
    image = next((path for path in files_below(root) if path.suffix.lower() in IMAGE_SUFFIXES), None)
    if image is None:
        return f"The folder contains no image. {default}"
    crop = f"python -m pg2lib prepare {root} --crop 128x64 --out DIR"
    if image.parent == root:
        return (
            f"If these are your own photos, move each person's into a folder of their own, then run {crop}. If the "
            "file names start with the person, as in p01_001.jpg, add --person-from name instead."
        )
    if image.relative_to(root).parts[0].lower() in SPLITS:
        splits = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and folder.name.lower() in SPLITS)
        what = "a split" if len(splits) == 1 else "splits"
        return f"If these are your own photos, with {' and '.join(splits)} as {what}, run {crop}"
    if image.parent.parent == root:
        return f"If these are your own photos, with one folder per person, run {crop}"
    return f"The name of {image.relative_to(root)} belongs to no known data set. Keep the original names and folders."
