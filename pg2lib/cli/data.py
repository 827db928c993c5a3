"""Commands that prepare and check data: synthesize, prepare and doctor."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg2lib.cli.options import add_command, canvas_of, progress_bar
from pg2lib.errors import ConfigError

if TYPE_CHECKING:
    from pg2lib.data.keypoint_csv import Preparation
    from pg2lib.data.photo_people import PhotoPeople

MOST_LISTED = 10
"""Number of files that are not used which `prepare` prints; all are in the list that it writes."""


def add_commands(commands: Any) -> None:
    """Add the commands of this module to the command line."""
    _add_synthesize(commands)
    _add_prepare(commands)
    _add_doctor(commands)


def _add_synthesize(commands: Any) -> None:
    parser = add_command(
        commands, "synthesize", _synthesize, "draw a data set of synthetic people",
        "python -m pg2lib synthesize --look market --out data/synthetic",
    )  # fmt: skip
    parser.add_argument(
        "--look", choices=("market", "studio"), default="market",
        help="market: 128x64 pixels, stored like Market-1501; studio: 256x256 pixels, stored like DeepFashion "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--people", type=int, default=400, metavar="COUNT", help="people in the train split (default: %(default)s)"
    )
    parser.add_argument(
        "--test-people", type=int, default=60, metavar="COUNT", help="people in the test split (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--workers", type=int, metavar="COUNT", help="worker processes (default: one per CPU core)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to create")


def _synthesize(options: argparse.Namespace) -> int:
    from pg2lib.data.synthetic import write_deepfashion, write_market1501

    write = {"market": write_market1501, "studio": write_deepfashion}[options.look]
    write(
        options.out, people=options.people, test_people=options.test_people, seed=options.seed,
        workers=options.workers, on_progress=progress_bar("drawing", "image"),
    )  # fmt: skip
    print(f"The synthetic people are in {options.out}. Train on them with --data {options.out}")
    return 0


def _add_prepare(commands: Any) -> None:
    parser = add_command(
        commands, "prepare", _prepare, "detect the pose in every image of a folder and write a keypoint CSV",
        "python -m pg2lib prepare photos/ --out keypoints.csv",
    )  # fmt: skip
    parser.add_argument(
        "images", type=Path, metavar="IMAGES",
        help="folder of images, searched with its subfolders; with --format, the pose files to import",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="CSV",
        help="keypoint CSV to write, which must not exist yet; every file without a pose is listed next to it with the "
        "reason, in a file that ends in .missing.txt",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=int, metavar="COUNT", help="worker processes that detect poses (default: one per CPU core)"
    )
    parser.add_argument(
        "--shard", metavar="NUMBER/COUNT",
        help="process one part of the images only, such as 3/16 for the third of sixteen parts; run once per part, on "
        "any number of machines, and then once with --merge",
    )  # fmt: skip
    parser.add_argument("--merge", action="store_true", help="merge the CSVs of all shards into one and delete them")
    parser.add_argument(
        "--crop", metavar="HEIGHTxWIDTH",
        help="make a data set to train on from your own photos, one folder per person: crop every photo to the person "
        "at this size in pixels, such as 128x64; --out is then the folder of the data set, which must lie outside the "
        "folder of the photos",
    )  # fmt: skip
    parser.add_argument(
        "--person-from", choices=("folder", "name"),
        help="with --crop: what tells people apart. folder: the outermost folder is the person, or the second one if "
        "the outermost ones are splits such as train and test; name: the file name up to the first _, -, . or blank "
        "(default: folder, or name for photos that are in train and test directly; stops if that leaves doubts)",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("images", "auto", "openpose", "coco"), default="images",
        help="images: detect poses; auto: import a pose file of any known format, or a folder of them; openpose: "
        "import a folder of OpenPose JSON files; coco: import COCO keypoint annotations (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--suffix", default=".jpg",
        help="file name suffix of the images, for pose files that do not name them (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--min-score", type=float, metavar="SCORE",
        help="when poses are imported: keypoints with a lower confidence are missing (default: 0.05)",
    )  # fmt: skip
    parser.add_argument(
        "--canvas", metavar="HEIGHTxWIDTH",
        help="with --format auto or openpose: size of the images in pixels, for pose files that hold fractions of it",
    )  # fmt: skip


def _prepare(options: argparse.Namespace) -> int:
    from pg2lib.data.pose_files import import_keypoints, read_coco, read_openpose, read_pose_files
    from pg2lib.data.pose_formats.found import MIN_SCORE
    from pg2lib.data.prepare import prepare
    from pg2lib.data.shards import Shard, merge_shards
    from pg2lib.detect import MediaPipeDetector

    modes = {"--shard": options.shard, "--merge": options.merge, "--crop": options.crop}
    given = [name for name, value in modes.items() if value] + ["--format"] * (options.format != "images")
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} cannot be combined; give one of them")
    if options.format == "images" and (options.min_score is not None or options.canvas):
        raise ConfigError("--min-score and --canvas are for pose files; add --format auto to import them")
    if options.format == "coco" and options.canvas:
        raise ConfigError("--canvas: COCO's annotations say how large their images are; leave the option out")
    if options.person_from and not options.crop:
        raise ConfigError("--person-from needs --crop, which makes a data set of people")
    out: Path = options.out
    min_score = MIN_SCORE if options.min_score is None else options.min_score
    size = canvas_of(options.canvas, "--canvas") if options.canvas else None
    if options.format == "openpose":
        summary = import_keypoints(read_openpose(options.images, options.suffix, min_score, size), out)
    elif options.format == "coco":
        summary = import_keypoints(read_coco(options.images, min_score), out)
    elif options.format == "auto":
        summary = import_keypoints(read_pose_files(options.images, options.suffix, min_score, size), out)
    elif options.merge:
        summary = merge_shards(options.images, out)
    elif options.crop:
        summary = _crop(options)
    else:
        shard = Shard.parse(options.shard) if options.shard else None
        detecting = progress_bar("detecting", "image")
        summary = prepare(options.images, out, MediaPipeDetector, options.workers, shard, detecting)
    _report(summary)
    if turned := summary.turned:
        listed = ", ".join(f"{name} ({degrees} degrees)" for name, degrees in turned[:MOST_LISTED])
        more = f" and {len(turned) - MOST_LISTED:,} more" if len(turned) > MOST_LISTED else ""
        what = "Turned clockwise" if options.crop else "Not upright, and to be turned clockwise"
        print(f"{what}, so that the person is upright: {listed}{more}")
    return 0


def _crop(options: argparse.Namespace) -> Preparation:
    from pg2lib.data.photos import prepare_photos
    from pg2lib.detect import MediaPipeDetector

    canvas = canvas_of(options.crop, "--crop")
    understood: list[PhotoPeople] = []

    def show(people: PhotoPeople) -> None:
        print(people)
        understood.append(people)

    summary, count = prepare_photos(
        options.images, options.out, canvas, MediaPipeDetector, options.workers, progress_bar("detecting", "image"),
        progress_bar("cropping", "photo"), options.person_from, show,
    )  # fmt: skip
    print(f"{count:,} crops of {canvas[0]}x{canvas[1]} pixels in {options.out}")
    if gone := understood[0].without(dict(summary.missing)):
        print(f"No photo could be used of {', '.join(gone[:MOST_LISTED])}")
    return summary


def _report(summary: Preparation) -> None:
    """Print what was found, and the first files that are not used with the reasons."""
    from pg2lib.data.keypoint_csv import FLAT, NOBODY

    others = [(name, reason) for name, reason in summary.unused if reason != FLAT]
    print(
        f"{_counted(summary.found, 'pose')} in {summary.csv}; {_counted(len(summary.without_person), 'image')} without "
        f"a person, {len(summary.unreadable):,} unreadable"
        + (f", {_counted(len(others), 'other file')}" if others else "")
        + (f" (listed in {summary.missing_file})" if summary.missing_file else "")
        + (f"; {_counted(summary.flat, 'image')} of garments without a person skipped" if summary.flat else "")
        + (f"; other people in the images passed over: {summary.passed_over:,}" if summary.passed_over else "")
    )
    left_out = [*summary.unreadable, *others, *((name, NOBODY) for name in summary.without_person)]
    for name, reason in left_out[:MOST_LISTED]:
        print(f"  {reason}" if name in reason else f"  {name}: {reason}")
    if len(left_out) > MOST_LISTED:
        print(f"  and {len(left_out) - MOST_LISTED:,} more")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _add_doctor(commands: Any) -> None:
    parser = add_command(
        commands, "doctor", _doctor, "check the installation and, with --data, a data set",
        "python -m pg2lib doctor --data Market-1501-v15.09.15",
    )  # fmt: skip
    parser.add_argument(
        "--data", metavar="FOLDER", help="data set to check: a folder, or market1501 or deepfashion as in train"
    )
    parser.add_argument(
        "--keypoints", type=Path, metavar="CSV",
        help="keypoints found by a detector, to compare with the annotations of the data",
    )  # fmt: skip
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw 16 people with their poses into this file")
    parser.add_argument("--thorough", action="store_true", help="decode every image instead of a sample")


def _doctor(options: argparse.Namespace) -> int:
    from pg2lib.doctor import examine_data, examine_installation, report

    if options.data is None and (options.keypoints or options.picture or options.thorough):
        raise ConfigError("--keypoints, --picture and --thorough need a data set: add --data FOLDER")
    findings = examine_installation()
    if options.data is not None:
        findings += examine_data(options.data, options.keypoints, options.thorough, options.picture)
    print(report(findings))
    return 1 if any(finding.wrong for finding in findings) else 0
