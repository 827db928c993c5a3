"""What several commands read: data, pairs, and the pose detector."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg2lib.cli.options import progress_bar

if TYPE_CHECKING:
    from pg2lib.data.pairs import PairTable
    from pg2lib.data.people import PersonTable
    from pg2lib.data.store import ImageStore
    from pg2lib.detect import PoseDetector

PAIR_RULES = (
    "all (every ordered pair of two images of one person), torso (those in which both shoulders and both hips are "
    "visible in both images)"
)
"""For help texts: the names of the pair rules, and what they mean."""


def read_split(options: argparse.Namespace, root: Path) -> PersonTable:
    """Read the images and keypoints that the options of `add_data` select."""
    from pg2lib.data.read import read_people

    keypoints = options.keypoints[0] if options.keypoints and len(options.keypoints) == 1 else options.keypoints
    return read_people(root, options.split, keypoints, options.person, options.leak_free, options.flat)


def open_store(
    table: PersonTable, cache: Path | None, device: Any, skip_corrupt: bool, mattes: bool = False
) -> ImageStore:
    """Decode the images of a table and show progress. The arguments are those of `ImageStore.open`."""
    from pg2lib.data.store import ImageStore

    bar = progress_bar("decoding, then mattes" if mattes else "decoding", "image")
    return ImageStore.open(table, cache, device, skip_corrupt=skip_corrupt, on_progress=bar, mattes=mattes)


def choose_pairs(rule_or_file: str, store: ImageStore, skip_unknown: bool = False) -> PairTable:
    """Make the pairs of a rule, or read those of a pair file.

    Args:
        rule_or_file: "all", "torso", or the path of a pair file.
        store: images to pair.
        skip_unknown: see `pg2lib.data.pairs.read_pairs`.
    """
    from pg2lib.data.pairs import make_pairs, read_pairs

    match rule_or_file:
        case "all" | "torso" as rule:
            return make_pairs(store.table, rule)
        case file:
            return read_pairs(file, store.table, skip_unknown)


@contextmanager
def open_detector(pose_pairs: int) -> Iterator[PoseDetector | None]:
    """Open the pose detector, unless there are no pairs to detect poses on."""
    if not pose_pairs:
        yield None
        return
    from pg2lib.detect import MediaPipeDetector

    with MediaPipeDetector() as detector:
        yield detector
