"""The command line, ``python -m pg2lib COMMAND``: thin over the library's functions.

Exit codes: 0 done, 1 something a user can mend (one line says what), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg2lib.config import DEFAULT_CHECKPOINT, MARKET1501_CHECKPOINT
from pg2lib.errors import ConfigError, DataError, PG2Error

if TYPE_CHECKING:
    from pg2lib.config import PG2Config
    from pg2lib.data.pairs import PairTable
    from pg2lib.data.store import ImageStore
    from pg2lib.detect import PoseDetector
    from pg2lib.pose import Pose


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code.

    Args:
        arguments: by default those of the process.
    """
    options = _parser().parse_args(arguments)
    options.arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except PG2Error as error:
        print(f"pg2lib: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pg2lib: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pg2lib", description="Pose Guided Person Image Generation (Ma et al. 2017).")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on the way")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    synthesize = _command(
        commands, "synthesize", _synthesize, "draw synthetic people, kept on disk as a real data set is",
        "python -m pg2lib synthesize --look market --out data/synthetic",
    )  # fmt: skip
    synthesize.add_argument(
        "--look", choices=("market", "studio"), default="market",
        help="market: 128x64, as Market-1501; studio: 256x256, as DeepFashion (default: %(default)s)",
    )  # fmt: skip
    synthesize.add_argument("--people", type=int, default=400, help="in the train split (default: %(default)s)")
    synthesize.add_argument("--test-people", type=int, default=60, help="in the test split (default: %(default)s)")
    synthesize.add_argument("--seed", type=int, default=0, help="another gives other people (default: %(default)s)")
    synthesize.add_argument("--workers", type=int, help="processes (default: a core each)")
    synthesize.add_argument("--out", type=Path, required=True, help="folder to make")

    prepare = _command(
        commands, "prepare", _prepare, "find the pose of every image in a folder and write the keypoint CSV",
        "python -m pg2lib prepare photos/ --out keypoints.csv",
    )  # fmt: skip
    prepare.add_argument(
        "images", type=Path, help="folder of images, searched with its subfolders; or what --format reads"
    )
    prepare.add_argument(
        "--out",
        type=Path,
        required=True,
        help="keypoint CSV to write, which must not exist; images without a person go beside it",
    )
    prepare.add_argument("--workers", type=int, help="processes that detect (default: one a CPU)")
    prepare.add_argument(
        "--shard", metavar="NUMBER/COUNT", help="do one part, such as 3/16, into OUT.shard-03-of-16.csv; all alike"
    )
    prepare.add_argument("--merge", action="store_true", help="put the parts of all shards together and remove them")
    prepare.add_argument(
        "--crop", metavar="HEIGHTxWIDTH", help="IMAGES are own photos, a folder a person: make --out a folder of "
        "crops to train on, such as 128x64, apart from the photos",
    )  # fmt: skip
    prepare.add_argument(
        "--format", choices=("images", "auto", "openpose", "coco"), default="images",
        help="images: detect poses; auto: import a pose file of any known format, or a folder of them; openpose: "
        "import a folder of OpenPose JSON files; coco: import COCO keypoint annotations (default: %(default)s)",
    )  # fmt: skip
    prepare.add_argument(
        "--suffix", default=".jpg",
        help="file name suffix of the images, for pose files that do not name them (default: %(default)s)",
    )  # fmt: skip
    prepare.add_argument(
        "--min-score", type=float, metavar="SCORE",
        help="with another format than images: keypoints with a lower confidence are missing (default: 0.05)",
    )  # fmt: skip
    prepare.add_argument(
        "--canvas", metavar="HEIGHTxWIDTH",
        help="with --format auto or openpose: size of the images in pixels, for pose files that hold fractions of it",
    )  # fmt: skip

    train = _command(
        commands, "train", _train, "train both stages, or go on where a run stopped",
        "python -m pg2lib train --data Market-1501-v15.09.15 --config compact --out runs/compact",
    )  # fmt: skip
    _add_data(train, "train")
    train.add_argument("--config", default="market1501", help="preset or JSON file (default: %(default)s)")
    train.add_argument("--row", help="train the model of this row of Table 1, such as G1-L1 or G1+D (default: G1+G2+D)")
    train.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. stage1.steps=100; repeatable"
    )
    train.add_argument("--out", type=Path, required=True, help="folder of the run")
    train.add_argument("--pairs", default="torso", help="rule all or torso, or a pair file (default: %(default)s)")
    _add_speed(train)
    train.add_argument(
        "--sample-every", type=int, default=500, metavar="STEPS", help="picture grids (default: %(default)s)"
    )
    train.add_argument("--checkpoint-every", type=int, default=500, metavar="STEPS", help="(default: %(default)s)")
    train.add_argument("--cpu", action="store_true", help="use no GPU")

    evaluate = _command(
        commands, "evaluate", _evaluate, "score a pipeline on test pairs",
        "python -m pg2lib evaluate --data Market-1501-v15.09.15 --pairs market-pairs-test.csv --out report/",
    )  # fmt: skip
    _add_data(evaluate, "test")
    _add_weights(evaluate, MARKET1501_CHECKPOINT)
    evaluate.add_argument("--pairs", default="all", help="rule all or torso, or a pair file (default: %(default)s)")
    evaluate.add_argument(
        "--count", type=_positive, help="score this many pairs, drawn at random (default: all; evaluation.pairs of the "
        "configuration is for table1 alone)",
    )  # fmt: skip
    evaluate.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    evaluate.add_argument("--batch-size", type=_positive, default=32, help="(default: %(default)s)")
    evaluate.add_argument(
        "--dialect", choices=("released", "pose-gan", "gfla"), default="released",
        help="whose SSIM; figures of different dialects cannot be compared (default: %(default)s)",
    )  # fmt: skip
    evaluate.add_argument(
        "--inception", metavar="NAME_OR_FILE", help="also Inception Score, mask-IS and FID: inception2015, or a "
        "TorchScript file",
    )  # fmt: skip
    evaluate.add_argument("--lpips", choices=("alex", "vgg", "squeeze"), help="also LPIPS, with this network")
    _add_pose_pairs(evaluate)
    evaluate.add_argument("--out", type=Path, required=True, help="folder for report.json, report.md and pairs.csv")

    table1 = _command(
        commands, "table1", _table1, "train and score every model of the paper's Table 1",
        "python -m pg2lib table1 --data Market-1501-v15.09.15 --out runs/table1",
    )  # fmt: skip
    table1.add_argument(
        "--data", default="synthetic", help="as in train; synthetic draws people (default: %(default)s)"
    )
    table1.add_argument(
        "--profile", choices=("full", "fast"), default="full",
        help="full: the paper's schedule; fast: minutes on a laptop (default: %(default)s)",
    )  # fmt: skip
    table1.add_argument("--config", help="preset or JSON file (default: what the profile and the image size say)")
    table1.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. stage1.steps=100; repeatable"
    )
    table1.add_argument("--rows", nargs="+", help="only these, such as G1-L1 G1+D (default: all six)")
    table1.add_argument("--pairs", default="torso", help="to train on: all or torso (default: %(default)s)")
    table1.add_argument(
        "--test-pairs", nargs="+", default=["all"], help="to score on: rule or pair file (default: all); where there "
        "are more than evaluation.pairs, that many are drawn; of several, the first makes the table, and each of the "
        "others a table also-NAME.md",
    )  # fmt: skip
    table1.add_argument(
        "--flat", action="store_true", help="DeepFashion: keep test images of garments alone, which test pair files "
        "list",
    )  # fmt: skip
    table1.add_argument(
        "--inception", metavar="NAME_OR_FILE", help="as in evaluate; without it IS and mask-IS stay empty"
    )
    _add_pose_pairs(table1)
    table1.add_argument("--skip-corrupt", action="store_true", help="leave out images that cannot be decoded")
    table1.add_argument("--out", type=Path, required=True, help="folder of the runs, the table and its pictures")
    table1.add_argument("--cpu", action="store_true", help="use no GPU")
    _add_speed(table1)

    results = _command(
        commands, "results", _results, "write what runs of table1 gave, and what they took, as one page",
        "python -m pg2lib results runs/table1 runs/table1-deepfashion --out RESULTS.md",
    )  # fmt: skip
    results.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder that table1 wrote, finished or not")
    results.add_argument(
        "--out", type=Path, default=Path("RESULTS.md"),
        help="page to write; its pictures go into a folder beside it that has its name (default: %(default)s)",
    )  # fmt: skip

    generate = _command(
        commands, "generate", _generate, "put the person of a photo into another pose",
        "python -m pg2lib generate me.jpg --pose somebody.jpg --out result.png",
    )  # fmt: skip
    generate.add_argument("image", type=Path, help="photo of the person")
    generate.add_argument(
        "--pose", type=Path, action="append", required=True, help="image to take the target pose from, or a pose in "
        "JSON; repeatable",
    )  # fmt: skip
    generate.add_argument(
        "--out", type=Path, required=True, help="picture to write; of several poses OUT-1.png, OUT-2.png ..."
    )
    generate.add_argument(
        "--grid", action="store_true", help="write all steps side by side, not the refined result alone"
    )
    generate.add_argument("--no-crop", action="store_true", help="the image already is a model canvas")
    generate.add_argument(
        "--background", metavar="photo|plain|FILE",
        help="set the result into the photo's own background (the default for photos), leave the plain backdrop of the "
        "model, or set it into a picture; for models with mattes",
    )  # fmt: skip
    _add_weights(generate, DEFAULT_CHECKPOINT)
    generate.add_argument(
        "--backend", choices=("torch", "onnxruntime"), default="torch",
        help="what runs the networks; onnxruntime can be faster on a CPU, once export was run (default: %(default)s)",
    )  # fmt: skip

    export = _command(
        commands, "export", _export, "write a pipeline's networks as an ONNX file",
        "python -m pg2lib export runs/compact/pipeline",
    )  # fmt: skip
    export.add_argument(
        "weights", nargs="?", metavar="FOLDER_OR_NAME", default=DEFAULT_CHECKPOINT,
        help="pipeline folder, shipped name or hub id (default: %(default)s, as in generate)",
    )  # fmt: skip
    export.add_argument(
        "--out", type=Path, metavar="FILE", help="(default: model.onnx in the pipeline's folder, where generate "
        "--backend onnxruntime looks for it)",
    )  # fmt: skip

    doctor = _command(
        commands, "doctor", _doctor, "say what is installed, and what is right or wrong with the data",
        "python -m pg2lib doctor --data Market-1501-v15.09.15",
    )  # fmt: skip
    doctor.add_argument("--data", help="data to examine: a folder of any layout, or market1501, deepfashion")
    doctor.add_argument(
        "--keypoints", type=Path, metavar="CSV", help="a detector's keypoints, to compare with the annotations"
    )
    doctor.add_argument("--picture", type=Path, metavar="PNG", help="draw 16 people with their skeletons")
    doctor.add_argument("--thorough", action="store_true", help="decode every image, not a sample")
    return parser


def _command(
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


def _add_data(parser: argparse.ArgumentParser, split: str) -> None:
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


def _add_pose_pairs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pose-pairs", type=_count, default=0, metavar="COUNT", help="also detect the pose again, on so many pairs, "
        "and compare it with the target pose (default: %(default)s)",
    )  # fmt: skip


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number from 0 up, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number from 1 up, got {text!r}")
    return int(text)


def _add_speed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=("auto", "no", "bf16"),
        default="auto",
        help="auto: bf16 on a GPU that has it; bf16 also pays on a CPU that multiplies in it (AVX512-BF16, AMX)",
    )
    parser.add_argument("--compile", action="store_true", help="use torch.compile, for a GPU; see make_accelerator")


def _add_weights(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--weights", default=default, help="pipeline folder, shipped name or hub id (default: %(default)s)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: a GPU if there is one)")


def _synthesize(options: argparse.Namespace) -> int:
    from pg2lib.data.synthetic import write_deepfashion, write_market1501

    write = {"market": write_market1501, "studio": write_deepfashion}[options.look]
    write(
        options.out, people=options.people, test_people=options.test_people, seed=options.seed,
        workers=options.workers, on_progress=_progress_bar("drawing", "image"),
    )  # fmt: skip
    print(f"{options.out}: read it with --data {options.out}")
    return 0


def _prepare(options: argparse.Namespace) -> int:
    from pg2lib.data.photos import prepare_photos
    from pg2lib.data.pose_files import import_keypoints, read_coco, read_openpose, read_pose_files
    from pg2lib.data.pose_formats.found import MIN_SCORE
    from pg2lib.data.prepare import prepare
    from pg2lib.data.shards import Shard, merge_shards
    from pg2lib.detect import MediaPipeDetector

    ways = {"--shard": options.shard, "--merge": options.merge, "--crop": options.crop}
    given = [name for name, value in ways.items() if value] + ["--format"] * (options.format != "images")
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} do not go together")
    out: Path = options.out
    detecting = _progress_bar("detecting", "image")
    min_score = MIN_SCORE if options.min_score is None else options.min_score
    size = _canvas(options.canvas, "--canvas") if options.canvas else None
    if options.format == "openpose":
        summary = import_keypoints(read_openpose(options.images, options.suffix, min_score, size), out)
    elif options.format == "coco":
        summary = import_keypoints(read_coco(options.images, min_score), out)
    elif options.format == "auto":
        summary = import_keypoints(read_pose_files(options.images, options.suffix, min_score, size), out)
    elif options.merge:
        summary = merge_shards(options.images, out)
    elif options.crop:
        canvas, cropping = _canvas(options.crop, "--crop"), _progress_bar("cropping", "photo")
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
        + (f", {summary.passed_over:,} other people passed over" if summary.passed_over else "")
        + (f": see {summary.missing_file}" if summary.missing_file else "")
    )
    return 0


def _canvas(text: str, option: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ConfigError(f"{option} {text!r}: expected HEIGHTxWIDTH in pixels, such as 128x64")
    return int(height), int(width)


def _train(options: argparse.Namespace) -> int:
    from pg2lib.config import PG2Config
    from pg2lib.training.check import check_run
    from pg2lib.training.run import Reports, make_accelerator, on_main, train

    config = PG2Config.load(options.config)
    config = (config.row(options.row) if options.row else config).override(assignments(options.set))
    accelerator = make_accelerator(options.precision, options.cpu, options.compile)
    # Before the cache is written; once the pairs are known, `train` checks the rest.
    on_main(accelerator, lambda: check_run(config, options.out))
    with accelerator.main_process_first():
        store = _open_store(options, options.cache or options.out / "cache", accelerator.device, config)
    pairs = _pairs(options.pairs, store)
    name = f"{_title(options)} {options.split}, pair rule {options.pairs}"
    reports = Reports(sample_every=options.sample_every, checkpoint_every=options.checkpoint_every)
    pipeline = train(config, store, pairs, options.out, name, reports, accelerator)
    if accelerator.is_main_process:
        print(f"{pipeline!r} is in {options.out / 'pipeline'}")
    return 0


def _table1(options: argparse.Namespace) -> int:
    from pg2lib.config import TABLE1_ROWS
    from pg2lib.data.pairs import make_pairs
    from pg2lib.data.read import read_people, title_of
    from pg2lib.data.store import ImageStore
    from pg2lib.metrics.inception import load_inception
    from pg2lib.table1 import also_name, choose_config, make_table1, published_name
    from pg2lib.training.check import refuse_foreign
    from pg2lib.training.run import Reports, make_accelerator, on_main

    accelerator = make_accelerator(options.precision, options.cpu, options.compile)
    on_main(accelerator, lambda: refuse_foreign(options.out))
    with accelerator.main_process_first():
        root = _table1_data(options)
        train, test = read_people(root, "train"), read_people(root, "test", flat=options.flat)
        config = choose_config(options.config, options.profile, train.canvas).override(assignments(options.set))
        store, test_store = (
            ImageStore.open(
                table,
                options.out / "cache" / split,
                accelerator.device,
                skip_corrupt=options.skip_corrupt,
                mattes=config.model.matte,
            )
            for split, table in (("train", train), ("test", test))
        )
    train_name = f"{title_of(root)} train, pair rule {options.pairs}"
    lists: dict[str, PairTable] = {}
    for rule_or_file in options.test_pairs:
        pairs, name = _pairs(rule_or_file, test_store), f"{title_of(root)} test, pairs {Path(rule_or_file).name}"
        if config.evaluation.pairs < len(pairs):
            pairs = pairs.sample(config.evaluation.pairs, seed=0)
            name += f", {len(pairs):,} drawn with seed 0"
        if also_name(name) in map(also_name, lists):
            raise ConfigError(
                f"--test-pairs: two lists would be kept as {also_name(name)!r}; give each once, in files whose names "
                f"differ in a letter or number"
            )
        lists[name] = pairs
    test_name = next(iter(lists))
    with _detector(options.pose_pairs if accelerator.is_main_process else 0) as detector:
        table = make_table1(
            config, store, make_pairs(store.table, options.pairs), test_store, lists.pop(test_name), options.out,
            train_name, test_name, published_name(root), options.rows or tuple(TABLE1_ROWS), Reports(), accelerator,
            load_inception(options.inception, accelerator.device) if options.inception else None,
            command=_command_line(options, accelerator.num_processes), also=lists,
            detector=detector, pose_pairs=options.pose_pairs,
        )  # fmt: skip
    if accelerator.is_main_process:
        print(table.to_markdown(), end="")
    return 0


@contextmanager
def _detector(pose_pairs: int) -> Iterator[PoseDetector | None]:
    """What finds the poses of so many pairs again; None for none."""
    if not pose_pairs:
        yield None
        return
    from pg2lib.detect import MediaPipeDetector

    with MediaPipeDetector() as detector:
        yield detector


def _command_line(options: argparse.Namespace, processes: int) -> str:
    """What was given to the shell, but for the path of Python."""
    start = ["python"] if processes == 1 else ["torchrun", "--nproc_per_node", str(processes)]
    return shlex.join([*start, "-m", "pg2lib", *map(str, options.arguments)])


def _results(options: argparse.Namespace) -> int:
    from pg2lib.results import write_results

    write_results(options.runs, options.out)
    print(f"{options.out}: {len(options.runs)} run{'s' if len(options.runs) > 1 else ''}")
    return 0


def _table1_data(options: argparse.Namespace) -> Path:
    """The folder of the data; synthetic people are drawn where there are none yet."""
    from pg2lib.data.read import find_data
    from pg2lib.data.synthetic import write_market1501

    if options.data != "synthetic":
        return find_data(options.data)
    people, test_people = {"full": (400, 60), "fast": (48, 12)}[options.profile]
    bar = _progress_bar("drawing", "image")
    return write_market1501(options.out / "people", people, test_people, on_progress=bar)


def _evaluate(options: argparse.Namespace) -> int:
    from pg2lib.evaluation import evaluate
    from pg2lib.files import refuse_to_replace
    from pg2lib.metrics.inception import load_inception
    from pg2lib.metrics.perceptual import load_lpips
    from pg2lib.pipeline import PG2Pipeline

    scores, report_json, report_md = (options.out / name for name in ("pairs.csv", "report.json", "report.md"))
    for path in (scores, report_json, report_md):
        refuse_to_replace(path, [options.pairs, *(options.keypoints or [])])
    pipeline = PG2Pipeline.from_pretrained(options.weights, options.device)
    inception = load_inception(options.inception, pipeline.device) if options.inception else None
    lpips = load_lpips(options.lpips, pipeline.device) if options.lpips else None
    store = _open_store(options, options.cache, pipeline.device, pipeline.config)
    pairs = _pairs(options.pairs, store)
    name = f"{_title(options)} {options.split}, pairs {Path(options.pairs).name}"
    if options.count is not None:
        pairs = pairs.sample(options.count, options.seed)
        name += f", {options.count:,} drawn with seed {options.seed}"
    with _detector(options.pose_pairs) as detector:
        report = evaluate(
            pipeline, store, pairs, name, scores, options.batch_size,
            _progress_bar("scoring", "pair"), dialect=options.dialect, inception=inception, lpips=lpips,
            detector=detector, pose_pairs=options.pose_pairs, seed=options.seed,
        )  # fmt: skip
    report.save(report_json)
    report_md.write_text(report.to_markdown(), encoding="utf-8")
    print(report.to_markdown(), end="")
    return 0


def _generate(options: argparse.Namespace) -> int:
    from pg2lib.files import atomic_path, refuse_to_replace
    from pg2lib.output import output_grid
    from pg2lib.pipeline import PG2Pipeline

    out: Path = options.out
    if options.grid or len(options.pose) == 1:
        paths = [out]
    else:
        paths = [out.with_stem(f"{out.stem}-{number}") for number in range(1, len(options.pose) + 1)]
    picture_format = _picture_format(out)
    for path in paths:
        refuse_to_replace(path, [options.image, *options.pose])
    targets = [_target_pose(path) for path in options.pose]
    pipeline = PG2Pipeline.from_pretrained(options.weights, options.device, backend=options.backend)
    outputs = pipeline(options.image, targets, crop=not options.no_crop, background=options.background)
    pictures = [output_grid(outputs, scale=2)] if options.grid else [output.to_pil() for output in outputs]
    for path, picture in zip(paths, pictures, strict=True):
        with atomic_path(path) as temporary:
            picture.save(temporary, picture_format)
        print(
            f"{path}: {picture.width}x{picture.height} pixels, "
            f"made in {sum(output.seconds for output in outputs) / len(pictures) * 1000:.0f} ms by {pipeline.name}"
        )
    return 0


def _target_pose(path: Path) -> Pose | Path:
    from pg2lib.data.pose_files import read_target_pose

    return read_target_pose(path) or path


def _export(options: argparse.Namespace) -> int:
    from pg2lib.files import refuse_to_replace
    from pg2lib.onnx_model import export_onnx
    from pg2lib.pipeline import CONFIG_NAME, ONNX_NAME, WEIGHTS_NAME, PG2Pipeline, find_folder

    folder = find_folder(options.weights)
    out: Path = options.out or folder / ONNX_NAME
    refuse_to_replace(out, [folder / CONFIG_NAME, folder / WEIGHTS_NAME])
    export_onnx(PG2Pipeline.from_pretrained(folder, "cpu"), out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    return 0


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


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """What ``--set KEY=VALUE`` sets, as `PG2Config.override` takes it.

    Raises:
        ConfigError: no ``=``.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair!r}: expected KEY=VALUE, such as stage1.steps=100")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text  # a bare word is a string
    return values


def _open_store(options: argparse.Namespace, cache: Path | None, device: Any, config: PG2Config) -> ImageStore:
    from pg2lib.data.read import find_data, read_people
    from pg2lib.data.store import ImageStore

    keypoints = options.keypoints[0] if options.keypoints and len(options.keypoints) == 1 else options.keypoints
    root = find_data(options.data)
    table = read_people(root, options.split, keypoints, options.person, options.leak_free, options.flat)
    return ImageStore.open(
        table,
        cache / options.split if cache is not None else None,
        device,
        skip_corrupt=options.skip_corrupt,
        on_progress=_progress_bar("decoding, then mattes" if config.model.matte else "decoding", "image"),
        mattes=config.model.matte,
    )


def _title(options: argparse.Namespace) -> str:
    from pg2lib.data.read import find_data, title_of

    return title_of(find_data(options.data))


def _pairs(rule_or_file: str, store: ImageStore) -> PairTable:
    from pg2lib.data.pairs import make_pairs, read_pairs

    match rule_or_file:
        case "all" | "torso" as rule:
            return make_pairs(store.table, rule)
        case file:
            return read_pairs(file, store.table)


def _picture_format(path: Path) -> str:
    from PIL import Image

    formats = Image.registered_extensions()
    if path.suffix.lower() not in formats:
        raise DataError(f"{path}: {path.suffix or 'no ending'} is no picture format; end it in .png or .jpg")
    return formats[path.suffix.lower()]


def _progress_bar(what: str, unit: str) -> Callable[[int, int], None]:
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
