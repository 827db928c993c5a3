"""Commands that make and examine data: synthesize, prepare, doctor."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pg2lib.cli.options import add_command, progress_bar
from pg2lib.errors import ConfigError


def add_commands(commands: Any) -> None:
    """Adds the commands of this module."""
    _add_synthesize(commands)
    _add_prepare(commands)
    _add_doctor(commands)


def _add_synthesize(commands: Any) -> None:
    parser = add_command(
        commands, "synthesize", _synthesize, "draw synthetic people, kept on disk as a real data set is",
        "python -m pg2lib synthesize --look market --out data/synthetic",
    )  # fmt: skip
    parser.add_argument(
        "--look", choices=("market", "studio"), default="market",
        help="market: 128x64, as Market-1501; studio: 256x256, as DeepFashion (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--people", type=int, default=400, help="in the train split (default: %(default)s)")
    parser.add_argument("--test-people", type=int, default=60, help="in the test split (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another gives other people (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="processes (default: a core each)")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")


def _synthesize(options: argparse.Namespace) -> int:
    from pg2lib.data.synthetic import write_deepfashion, write_market1501

    write = {"market": write_market1501, "studio": write_deepfashion}[options.look]
    write(
        options.out, people=options.people, test_people=options.test_people, seed=options.seed,
        workers=options.workers, on_progress=progress_bar("drawing", "image"),
    )  # fmt: skip
    print(f"{options.out}: read it with --data {options.out}")
    return 0


def _add_prepare(commands: Any) -> None:
    parser = add_command(
        commands, "prepare", _prepare, "find the pose of every image in a folder and write the keypoint CSV",
        "python -m pg2lib prepare photos/ --out keypoints.csv",
    )  # fmt: skip
    parser.add_argument(
        "images", type=Path, help="folder of images, searched with its subfolders; or what --format reads"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="keypoint CSV to write, which must not exist; images without a person go beside it",
    )
    parser.add_argument("--workers", type=int, help="processes that detect (default: one a CPU)")
    parser.add_argument(
        "--shard", metavar="NUMBER/COUNT", help="do one part, such as 3/16, into OUT.shard-03-of-16.csv; all alike"
    )
    parser.add_argument("--merge", action="store_true", help="put the parts of all shards together and remove them")
    parser.add_argument(
        "--crop", metavar="HEIGHTxWIDTH", help="IMAGES are own photos, a folder a person: make --out a folder of "
        "crops to train on, such as 128x64, apart from the photos",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("images", "openpose", "coco"), default="images",
        help="openpose: IMAGES is a folder of its JSON files; coco: a JSON file of 17 keypoints a person (default: "
        "%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--suffix", default=".jpg", help="with openpose, how the images' names end (default: %(default)s)"
    )


def _prepare(options: argparse.Namespace) -> int:
    from pg2lib.data.imports import import_keypoints, read_coco, read_openpose
    from pg2lib.data.photos import prepare_photos
    from pg2lib.data.prepare import Shard, merge_shards, prepare
    from pg2lib.detect import MediaPipeDetector

    ways = {"--shard": options.shard, "--merge": options.merge, "--crop": options.crop}
    given = [name for name, value in ways.items() if value] + ["--format"] * (options.format != "images")
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} do not go together")
    out: Path = options.out
    detecting = progress_bar("detecting", "image")
    if options.format == "openpose":
        summary = import_keypoints(read_openpose(options.images, options.suffix), out)
    elif options.format == "coco":
        summary = import_keypoints(read_coco(options.images), out)
    elif options.merge:
        summary = merge_shards(options.images, out)
    elif options.crop:
        canvas, cropping = _canvas(options.crop), progress_bar("cropping", "photo")
        summary, count = prepare_photos(
            options.images, out, canvas, MediaPipeDetector, options.workers, detecting, cropping
        )
        print(f"{count:,} crops of {canvas[0]}x{canvas[1]} pixels in {out}")
    else:
        shard = Shard.parse(options.shard) if options.shard else None
        summary = prepare(options.images, out, MediaPipeDetector, options.workers, shard, detecting)
    print(
        f"{summary.found:,} poses in {summary.csv}; {len(summary.without_person):,} images without a person, "
        f"{len(summary.unreadable):,} unreadable"
        + (f", {summary.flat:,} garments without a person left out" if summary.flat else "")
        + (f": see {summary.missing_file}" if summary.missing_file else "")
    )
    return 0


def _canvas(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ConfigError(f"--crop {text!r}: expected HEIGHTxWIDTH in pixels, such as 128x64")
    return int(height), int(width)


def _add_doctor(commands: Any) -> None:
    parser = add_command(
        commands, "doctor", _doctor, "say what is installed, and what is right or wrong with the data",
        "python -m pg2lib doctor --data Market-1501-v15.09.15",
    )  # fmt: skip
    parser.add_argument("--data", help="data to examine: a folder of any layout, or market1501, deepfashion")
    parser.add_argument(
        "--keypoints", type=Path, metavar="CSV", help="a detector's keypoints, to compare with the annotations"
    )
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw 16 people with their skeletons")
    parser.add_argument("--thorough", action="store_true", help="decode every image, not a sample")


def _doctor(options: argparse.Namespace) -> int:
    from pg2lib.doctor import examine_data, examine_installation

    if options.data is None and (options.keypoints or options.picture or options.thorough):
        raise ConfigError("--keypoints, --picture and --thorough are about data: add --data FOLDER")
    findings = examine_installation()
    if options.data is not None:
        findings += examine_data(options.data, options.keypoints, options.thorough, options.picture)
    for finding in findings:
        print(finding)
    return 1 if any(finding.wrong for finding in findings) else 0
