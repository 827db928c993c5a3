"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pg2lib.config import PG2Config
    from pg2lib.data.store import ImageStore


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def add_data(parser: argparse.ArgumentParser, split: str) -> None:
    parser.add_argument(
        "--data", required=True, help="folder of Market-1501, DeepFashion or own photos, as unpacked; or market1501, "
        "deepfashion: looked for in PG2_DATA and data/",
    )  # fmt: skip
    parser.add_argument("--split", choices=("train", "test"), default=split, help="(default: %(default)s)")
    parser.add_argument(
        "--keypoints", type=Path, action="append", help="keypoint CSV (default: those that lie by the data); repeatable"
    )
    parser.add_argument(
        "--person", choices=("outfit", "item"), default="outfit", help="DeepFashion: whose pairs (default: outfit)"
    )
    parser.add_argument(
        "--leak-free", action="store_true", help="DeepFashion: no item of the test split in the train split"
    )
    parser.add_argument(
        "--flat", action="store_true", help="DeepFashion: keep images of garments alone, which test pair files list"
    )
    parser.add_argument(
        "--cache", type=Path, help="folder for the decoded images (default: in memory, or with the run)"
    )
    parser.add_argument("--skip-corrupt", action="store_true", help="leave out images that cannot be decoded")


def add_weights(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--weights", default=default, help="pipeline folder, shipped name or hub id (default: %(default)s)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: a GPU if there is one)")


def count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number from 0 up, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number from 1 up, got {text!r}")
    return int(text)


def open_store(options: argparse.Namespace, cache: Path | None, device: Any, config: PG2Config) -> ImageStore:
    from pg2lib.data.locate import find_data
    from pg2lib.data.read import read_people
    from pg2lib.data.store import ImageStore

    keypoints = options.keypoints[0] if options.keypoints and len(options.keypoints) == 1 else options.keypoints
    root = find_data(options.data)
    table = read_people(root, options.split, keypoints, options.person, options.leak_free, options.flat)
    return ImageStore.open(
        table,
        cache / options.split if cache is not None else None,
        device,
        skip_corrupt=options.skip_corrupt,
        on_progress=progress_bar("decoding, then mattes" if config.model.matte else "decoding", "image"),
        mattes=config.model.matte,
    )


def progress_bar(what: str, unit: str) -> Callable[[int, int], None]:
    """A progress callback that draws a bar from its first call to its last, and a new one when counting starts anew."""
    from tqdm import tqdm

    bar: tqdm[Any] | None = None

    def on_progress(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=total, desc=what, unit=unit, dynamic_ncols=True)
        bar.update(done - bar.n)
        if done == total:
            bar.close()
            bar = None

    return on_progress
