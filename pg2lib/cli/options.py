"""What several commands share: options, the types of their values, and progress bars."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pg2lib.config import all_presets
from pg2lib.errors import ConfigError


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str, example: str
) -> argparse.ArgumentParser:
    """Add a command to the command line.

    Args:
        commands: the result of `argparse.ArgumentParser.add_subparsers`.
        name: name of the command.
        run: function that runs the command and returns the exit code.
        summary: one line for the list of commands and for the command's own help.
        example: command line shown below the command's options.

    Returns:
        The command's parser, to which its options are added.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def add_data(parser: argparse.ArgumentParser, split: str, cache: str, option: str = "--data") -> None:
    """Add the options that select a data set.

    Args:
        parser: parser of the command.
        split: default split, ``"train"`` or ``"test"``.
        cache: where decoded images are kept by default, for the help text.
        option: the option that names the folder.
    """
    parser.add_argument(
        option, dest="data", required=True, metavar="FOLDER",
        help="folder of Market-1501, DeepFashion or your own photos; or market1501 or deepfashion, which are searched "
        "for in the folder named by the environment variable PG2_DATA, or else in data/",
    )  # fmt: skip
    parser.add_argument(
        "--split", choices=("train", "test"), default=split, help="split of the data to read (default: %(default)s)"
    )
    parser.add_argument(
        "--keypoints", type=Path, action="append", metavar="CSV",
        help="keypoint CSV; for DeepFashion, repeat the option to give several (default: the files stored with the "
        "data)",
    )  # fmt: skip
    parser.add_argument(
        "--person", choices=("outfit", "item"), default="outfit",
        help="DeepFashion only: images count as the same person if they show the same outfit (an item in one colour) "
        "or the same item in any colour (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--leak-free", action="store_true",
        help="DeepFashion only: drop training images of items that also occur in the test split",
    )  # fmt: skip
    add_flat(parser)
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help=f"folder for decoded images (default: {cache})")
    add_skip_corrupt(parser)


def add_flat(parser: argparse.ArgumentParser) -> None:
    """Add ``--flat``."""
    parser.add_argument(
        "--flat", action="store_true",
        help='DeepFashion only: keep the "flat" images, which show a garment without a person; some published lists '
        "of test pairs contain a few of them",
    )  # fmt: skip


def add_skip_corrupt(parser: argparse.ArgumentParser) -> None:
    """Add ``--skip-corrupt``."""
    parser.add_argument(
        "--skip-corrupt", action="store_true",
        help="leave out images that cannot be decoded or have the wrong size, instead of stopping with an error",
    )  # fmt: skip


def add_config(parser: argparse.ArgumentParser, default: str | None, shown_default: str) -> None:
    """Add ``--config`` and ``--set``.

    Args:
        parser: parser of the command.
        default: preset that is used without the option.
        shown_default: the same for the help text.
    """
    parser.add_argument(
        "--config", default=default, metavar="PRESET_OR_FILE",
        help=f"configuration: a JSON file or one of the presets {', '.join(all_presets())} (default: {shown_default})",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="change one value of the configuration, such as stage1.steps=100; repeatable",
    )  # fmt: skip


def add_hardware(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose device and precision for training."""
    parser.add_argument(
        "--precision", choices=("auto", "no", "bf16"), default="auto",
        help="auto: bf16 mixed precision on a GPU that supports it, otherwise float32; no: float32; bf16: bf16 mixed "
        "precision, which also speeds up CPUs with AMX (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--compile", action="store_true",
        help="compile the models with torch.compile, which takes about a minute per stage and needs Triton on a GPU or "
        "a C++ compiler on a CPU",
    )  # fmt: skip
    parser.add_argument("--cpu", action="store_true", help="train on the CPU even if there is a GPU")


def add_weights(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the options that choose a trained pipeline and the device to run it on."""
    parser.add_argument(
        "--weights", default=default, metavar="FOLDER_OR_NAME",
        help="pipeline folder, name of a checkpoint that ships with pg2lib, or Hugging Face Hub id (default: "
        "%(default)s)",
    )  # fmt: skip
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", help="torch device, such as cpu, cuda or cuda:1 (default: a GPU if there is one)")


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Add the options for metrics that need another network."""
    parser.add_argument(
        "--inception", metavar="NAME_OR_FILE",
        help="also compute Inception Score, mask-IS and FID with this network: inception2015, or a TorchScript file",
    )  # fmt: skip
    parser.add_argument(
        "--pose-pairs", type=count, default=0, metavar="COUNT",
        help="also measure pose accuracy on this many randomly drawn pairs: detect the pose in the result and compare "
        "it with the target pose (default: %(default)s)",
    )  # fmt: skip


def count(text: str) -> int:
    """Convert the value of an option to a number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """Convert the value of an option to a number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def share(text: str) -> float:
    """Convert the value of an option to a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value


def canvas_of(text: str, option: str) -> tuple[int, int]:
    """Convert the value of an option to (height, width) in pixels.

    Raises:
        ConfigError: it is something else.
    """
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ConfigError(f"{option}: expected HEIGHTxWIDTH in pixels, such as 128x64, got {text!r}")
    return int(height), int(width)


_bars: set[Any] = set()
"""The progress bars that are on the screen."""


@contextmanager
def closing_bars() -> Iterator[None]:
    """Close the progress bars of a block that ends, so that an error message has a line of its own."""
    try:
        yield
    finally:
        while _bars:
            _bars.pop().close()


def progress_bar(what: str, unit: str) -> Callable[[int, int], None]:
    """Return a callback for (number done, total number) that draws a progress bar.

    The bar is closed when everything is done. A later call starts a new bar.
    """
    from tqdm import tqdm

    bar: tqdm[Any] | None = None

    def on_progress(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=total, desc=what, unit=unit, dynamic_ncols=True)
            _bars.add(bar)
        bar.update(done - bar.n)
        if done == total:
            _bars.discard(bar)
            bar.close()
            bar = None

    return on_progress
