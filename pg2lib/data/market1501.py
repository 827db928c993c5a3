"""Market-1501 in its original layout: ``bounding_box_train`` and ``bounding_box_test``, 128x64 JPEG."""

from __future__ import annotations

import logging
from os import PathLike
from pathlib import Path
from typing import Literal

import torch

from pg2lib.data.keypoint_csv import read_keypoints
from pg2lib.data.names import MARKET1501_NAME
from pg2lib.data.people import PersonTable, SkipKind, Skipped
from pg2lib.errors import DataError, MissingKeypointsError

CANVAS = (128, 64)
FOLDERS = {"train": "bounding_box_train", "test": "bounding_box_test"}
NOT_A_PERSON: dict[str, SkipKind] = {"-1": "junk", "0000": "distractor"}

log = logging.getLogger(__name__)


def read_market1501(
    root: str | PathLike[str], split: Literal["train", "test"], keypoints: str | PathLike[str] | None = None
) -> PersonTable:
    """Read the images of one split with their keypoints.

    ``PersonTable.skipped`` lists junk (-1), distractors (0000), files with other names, images without a row in the CSV
    and rows without an image. An image whose row has no joint is kept with an empty pose.

    Args:
        root: The folder with ``bounding_box_train``, or one above it.
        split: "train" (751 people) or "test" (750 people).
        keypoints: The CSV. By default ``market-annotation-<split>.csv`` in `root`, beside it, or beside the image
            folder.

    Raises:
        DataError: If the folder or the CSV is missing, if the CSV is malformed, or if no image is left.
    """
    images = _find_images(Path(root), split)
    csv = Path(keypoints) if keypoints is not None else _find_keypoints(Path(root), images, split)
    annotated = read_keypoints(csv, CANVAS)
    skipped: list[Skipped] = []
    rows: list[int] = []
    paths: list[Path] = []
    for path in sorted(images.iterdir()):
        if path.name == "Thumbs.db":
            continue
        match = MARKET1501_NAME.match(path.name)
        not_a_person = None if match is None else NOT_A_PERSON.get(match["person"])
        row = annotated.row(path.name)
        if match is None:
            skipped.append(Skipped(path.name, "unknown name", "not a Market-1501 name"))
        elif not_a_person is not None:
            skipped.append(Skipped(path.name, not_a_person, not_a_person))
        elif row is None:
            skipped.append(Skipped(path.name, "no keypoints", f"no keypoints in {csv.name}"))
        else:
            rows.append(row)
            paths.append(path)
    present = {path.name for path in paths} | {skip.name for skip in skipped}
    skipped += [
        Skipped(name, "no image", "keypoints without an image") for name in annotated.names if name not in present
    ]
    if not rows:
        raise DataError(f"{images} and {csv} have no image in common; is the CSV that of the {split} split?")
    table = PersonTable(
        names=tuple(annotated.names[row] for row in rows),
        persons=tuple(annotated.persons[row] for row in rows),
        xy=annotated.xy[torch.tensor(rows)],
        canvas=CANVAS,
        paths=tuple(paths),
        skipped=tuple(skipped),
    )
    log.info("%s: %s", images, table)
    return table


def _find_images(root: Path, split: str) -> Path:
    if split not in FOLDERS:
        raise DataError(f"split must be one of {', '.join(FOLDERS)}, got {split!r}")
    folder = FOLDERS[split]
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    for candidate in (root / folder, *sorted(root.glob(f"*/{folder}")), *sorted(root.glob(f"*/*/{folder}"))):
        if candidate.is_dir():
            return candidate
    raise DataError(f"{root} has no folder {folder}: pass the unpacked Market-1501-v15.09.15, or a folder above it")


def _find_keypoints(root: Path, images: Path, split: str) -> Path:
    name = f"market-annotation-{split}.csv"
    folders = list(dict.fromkeys((root, images.parent, images.parent.parent, root.parent)))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise MissingKeypointsError(
        f"no keypoints: {name} is not in {', '.join(str(folder) for folder in folders)}. "
        f"Pass the file, or make it with python -m pg2lib prepare"
    )
