"""What is installed, and what is right or wrong with a data folder: one finding a line, with what to do."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from pg2lib.data.market1501 import FOLDERS, read_market1501
from pg2lib.data.pairs import make_pairs
from pg2lib.data.people import PersonTable
from pg2lib.errors import DataError, PG2Error
from pg2lib.provenance import provenance

OPTIONAL = {
    "mediapipe": "finding poses in photos (the demo, prepare, generate)",
    "gradio": "the demo",
    "jupyterlab": "the notebooks",
}
EXTRA_OF = {"mediapipe": "pose", "gradio": "demo", "jupyterlab": "notebooks"}

MARKET1501_COUNTS = {"train": (12_936, 751, 296_938, 263_632), "test": (13_115, 750, None, None)}
"""Known images, people, pairs under the rule "all" and under "torso"; without junk and distractors."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Attributes:
        wrong: something has to be done.
        text: what was found.
        remedy: what to do; empty where nothing has to be done.
    """

    wrong: bool
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{'WRONG' if self.wrong else 'ok   '}  {self.text}" + (f"  ->  {self.remedy}" if self.remedy else "")


def examine_installation() -> list[Finding]:
    """Versions, hardware, optional packages, and whether the checkpoint that ships loads."""
    from pg2lib.pipeline import PG2Pipeline

    origin = provenance()
    findings = [
        Finding(False, f"pg2lib {origin['pg2lib']}, torch {origin['torch']}, Python {platform.python_version()}"),
        Finding(False, f"computes on {origin['hardware']}"),
    ]
    for package, purpose in OPTIONAL.items():
        try:
            findings.append(Finding(False, f"{package} {importlib.metadata.version(package)}, for {purpose}"))
        except importlib.metadata.PackageNotFoundError:
            remedy = f'if wanted: pip install "pg2lib[{EXTRA_OF[package]}]"'
            findings.append(Finding(False, f"{package} is not installed; it is for {purpose}", remedy))
    try:
        findings.append(Finding(False, f"the checkpoint that ships loads: {PG2Pipeline.from_pretrained()!r}"))
    except PG2Error as error:
        findings.append(Finding(True, f"the checkpoint that ships does not load: {error}", "install pg2lib again"))
    return findings


def examine_data(root: str | PathLike[str]) -> list[Finding]:
    """Both splits of Market-1501: counts against the known ones, what was skipped and why, suspicious keypoints."""
    if not Path(root).is_dir():
        return [
            Finding(True, f"there is no folder {root}", "pass the unpacked Market-1501-v15.09.15, or a folder above it")
        ]
    findings: list[Finding] = []
    for split in FOLDERS:
        try:
            table = read_market1501(root, "train" if split == "train" else "test")
        except DataError as error:
            findings.append(Finding(True, f"{split}: {error}", "see the message"))
            continue
        findings += _compare_counts(split, table)
        findings += _skipped(split, table)
        findings += _keypoints(split, table)
    return findings


def _compare_counts(split: str, table: PersonTable) -> Iterator[Finding]:
    counts: dict[str, tuple[int, int | None]] = {}
    images, people, every, torso = MARKET1501_COUNTS[split]
    counts["images"] = (len(table), images)
    counts["people"] = (len(set(table.persons)), people)
    counts["pairs (all)"] = (len(make_pairs(table, "all")), every)
    try:
        counts["pairs (torso)"] = (len(make_pairs(table, "torso")), torso)
    except DataError:
        counts["pairs (torso)"] = (0, torso)
    for what, (found, known) in counts.items():
        wrong = known is not None and found != known
        expected = "" if known is None else f" (the original has {known:,})"
        yield Finding(
            wrong, f"{split}: {found:,} {what}{expected}", "files are missing or not original" if wrong else ""
        )


def _skipped(split: str, table: PersonTable) -> Iterator[Finding]:
    for reason, count in Counter(skip.reason for skip in table.skipped).most_common():
        expected = reason in ("junk", "distractor") or (split == "test" and reason == "keypoints without an image")
        example = next(skip.name for skip in table.skipped if skip.reason == reason)
        yield Finding(not expected, f"{split}: {count:,} skipped, {reason} (such as {example})")


def _keypoints(split: str, table: PersonTable) -> Iterator[Finding]:
    height, width = table.canvas
    x, y = table.xy.unbind(-1)
    outside = ((x > width - 0.5) | (y > height - 0.5) | (x < -0.5) | (y < -0.5)).any(dim=1)
    if bool(outside.any()):
        yield Finding(
            True, f"{split}: {int(outside.sum()):,} images have keypoints outside {height}x{width}",
            "the keypoints were taken on images of another size, or x and y are swapped",
        )  # fmt: skip
    neck, hips = table.xy[:, 1], table.xy[:, [8, 11]].mean(dim=1)
    upright = ((hips - neck)[:, 1] > (hips - neck)[:, 0].abs())[~(hips - neck).isnan().any(dim=1)]
    if len(upright) and float(upright.float().mean()) < 0.5:
        yield Finding(True, f"{split}: most people lie on their side", "x and y are swapped: the CSV has y first")
    empty = int(table.xy.isnan().all(dim=2).all(dim=1).sum())
    everything = empty == len(table)
    yield Finding(
        everything, f"{split}: {empty:,} images have no joint at all",
        "the detector found nobody anywhere; make the CSV again with python -m pg2lib prepare" if everything else "",
    )  # fmt: skip
