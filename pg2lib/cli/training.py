"""Commands that train and score models: train, evaluate, table1, results."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg2lib.cli.options import add_command, add_data, add_weights, count, open_store, positive, progress_bar
from pg2lib.config import MARKET1501_CHECKPOINT
from pg2lib.errors import ConfigError

if TYPE_CHECKING:
    from pg2lib.data.pairs import PairTable
    from pg2lib.data.store import ImageStore
    from pg2lib.detect import PoseDetector


def add_commands(commands: Any) -> None:
    """Adds the commands of this module."""
    _add_train(commands)
    _add_evaluate(commands)
    _add_table1(commands)
    _add_results(commands)


def _add_train(commands: Any) -> None:
    parser = add_command(
        commands, "train", _train, "train both stages, or go on where a run stopped",
        "python -m pg2lib train --data Market-1501-v15.09.15 --config compact --out runs/compact",
    )  # fmt: skip
    add_data(parser, "train")
    parser.add_argument("--config", default="market1501", help="preset or JSON file (default: %(default)s)")
    parser.add_argument(
        "--row", help="train the model of this row of Table 1, such as G1-L1 or G1+D (default: G1+G2+D)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. stage1.steps=100; repeatable"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--pairs", default="torso", help="rule all or torso, or a pair file (default: %(default)s)")
    _add_speed(parser)
    parser.add_argument(
        "--sample-every", type=int, default=500, metavar="STEPS", help="picture grids (default: %(default)s)"
    )
    parser.add_argument("--checkpoint-every", type=int, default=500, metavar="STEPS", help="(default: %(default)s)")
    parser.add_argument("--cpu", action="store_true", help="use no GPU")


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
        store = open_store(options, options.cache or options.out / "cache", accelerator.device, config)
    pairs = _pairs(options.pairs, store)
    name = f"{_title(options)} {options.split}, pair rule {options.pairs}"
    reports = Reports(sample_every=options.sample_every, checkpoint_every=options.checkpoint_every)
    pipeline = train(config, store, pairs, options.out, name, reports, accelerator)
    if accelerator.is_main_process:
        print(f"{pipeline!r} is in {options.out / 'pipeline'}")
    return 0


def _add_evaluate(commands: Any) -> None:
    parser = add_command(
        commands, "evaluate", _evaluate, "score a pipeline on test pairs",
        "python -m pg2lib evaluate --data Market-1501-v15.09.15 --pairs market-pairs-test.csv --out report/",
    )  # fmt: skip
    add_data(parser, "test")
    add_weights(parser, MARKET1501_CHECKPOINT)
    parser.add_argument("--pairs", default="all", help="rule all or torso, or a pair file (default: %(default)s)")
    parser.add_argument(
        "--count", type=positive, help="score this many pairs, drawn at random (default: all; evaluation.pairs of the "
        "configuration is for table1 alone)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    parser.add_argument("--batch-size", type=positive, default=32, help="(default: %(default)s)")
    parser.add_argument(
        "--dialect", choices=("released", "pose-gan", "gfla"), default="released",
        help="whose SSIM; figures of different dialects cannot be compared (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--inception", metavar="NAME_OR_FILE", help="also Inception Score, mask-IS and FID: inception2015, or a "
        "TorchScript file",
    )  # fmt: skip
    parser.add_argument("--lpips", choices=("alex", "vgg", "squeeze"), help="also LPIPS, with this network")
    _add_pose_pairs(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for report.json, report.md and pairs.csv")


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
    store = open_store(options, options.cache, pipeline.device, pipeline.config)
    pairs = _pairs(options.pairs, store)
    name = f"{_title(options)} {options.split}, pairs {Path(options.pairs).name}"
    if options.count is not None:
        pairs = pairs.sample(options.count, options.seed)
        name += f", {options.count:,} drawn with seed {options.seed}"
    with _detector(options.pose_pairs) as detector:
        report = evaluate(
            pipeline, store, pairs, name, scores, options.batch_size,
            progress_bar("scoring", "pair"), dialect=options.dialect, inception=inception, lpips=lpips,
            detector=detector, pose_pairs=options.pose_pairs, seed=options.seed,
        )  # fmt: skip
    report.save(report_json)
    report_md.write_text(report.to_markdown(), encoding="utf-8")
    print(report.to_markdown(), end="")
    return 0


def _add_table1(commands: Any) -> None:
    parser = add_command(
        commands, "table1", _table1, "train and score every model of the paper's Table 1",
        "python -m pg2lib table1 --data Market-1501-v15.09.15 --out runs/table1",
    )  # fmt: skip
    parser.add_argument(
        "--data", default="synthetic", help="as in train; synthetic draws people (default: %(default)s)"
    )
    parser.add_argument(
        "--profile", choices=("full", "fast"), default="full",
        help="full: the paper's schedule; fast: minutes on a laptop (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--config", help="preset or JSON file (default: what the profile and the image size say)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. stage1.steps=100; repeatable"
    )
    parser.add_argument("--rows", nargs="+", help="only these, such as G1-L1 G1+D (default: all six)")
    parser.add_argument("--pairs", default="torso", help="to train on: all or torso (default: %(default)s)")
    parser.add_argument(
        "--test-pairs", nargs="+", default=["all"], help="to score on: rule or pair file (default: all); where there "
        "are more than evaluation.pairs, that many are drawn; of several, the first makes the table, and each of the "
        "others a table also-NAME.md",
    )  # fmt: skip
    parser.add_argument(
        "--flat", action="store_true", help="DeepFashion: keep test images of garments alone, which test pair files "
        "list",
    )  # fmt: skip
    parser.add_argument(
        "--inception", metavar="NAME_OR_FILE", help="as in evaluate; without it IS and mask-IS stay empty"
    )
    _add_pose_pairs(parser)
    parser.add_argument("--skip-corrupt", action="store_true", help="leave out images that cannot be decoded")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, the table and its pictures")
    parser.add_argument("--cpu", action="store_true", help="use no GPU")
    _add_speed(parser)


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


def _table1_data(options: argparse.Namespace) -> Path:
    """The folder of the data; synthetic people are drawn where there are none yet."""
    from pg2lib.data.locate import find_data
    from pg2lib.data.synthetic import write_market1501

    if options.data != "synthetic":
        return find_data(options.data)
    people, test_people = {"full": (400, 60), "fast": (48, 12)}[options.profile]
    bar = progress_bar("drawing", "image")
    return write_market1501(options.out / "people", people, test_people, on_progress=bar)


def _command_line(options: argparse.Namespace, processes: int) -> str:
    """What was given to the shell, but for the path of Python."""
    start = ["python"] if processes == 1 else ["torchrun", "--nproc_per_node", str(processes)]
    return shlex.join([*start, "-m", "pg2lib", *map(str, options.arguments)])


def _add_results(commands: Any) -> None:
    parser = add_command(
        commands, "results", _results, "write what runs of table1 gave, and what they took, as one page",
        "python -m pg2lib results runs/table1 runs/table1-deepfashion --out RESULTS.md",
    )  # fmt: skip
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder that table1 wrote, finished or not")
    parser.add_argument(
        "--out", type=Path, default=Path("RESULTS.md"),
        help="page to write; its pictures go into a folder beside it that has its name (default: %(default)s)",
    )  # fmt: skip


def _results(options: argparse.Namespace) -> int:
    from pg2lib.results import write_results

    write_results(options.runs, options.out)
    print(f"{options.out}: {len(options.runs)} run{'s' if len(options.runs) > 1 else ''}")
    return 0


def _add_pose_pairs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pose-pairs", type=count, default=0, metavar="COUNT", help="also detect the pose again, on so many pairs, "
        "and compare it with the target pose (default: %(default)s)",
    )  # fmt: skip


def _add_speed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=("auto", "no", "bf16"),
        default="auto",
        help="auto: bf16 on a GPU that has it; bf16 also pays on a CPU that multiplies in it (AVX512-BF16, AMX)",
    )
    parser.add_argument("--compile", action="store_true", help="use torch.compile, for a GPU; see make_accelerator")


@contextmanager
def _detector(pose_pairs: int) -> Iterator[PoseDetector | None]:
    """What finds the poses of so many pairs again; None for none."""
    if not pose_pairs:
        yield None
        return
    from pg2lib.detect import MediaPipeDetector

    with MediaPipeDetector() as detector:
        yield detector


def _title(options: argparse.Namespace) -> str:
    from pg2lib.data.locate import find_data
    from pg2lib.data.read import title_of

    return title_of(find_data(options.data))


def _pairs(rule_or_file: str, store: ImageStore) -> PairTable:
    from pg2lib.data.pairs import make_pairs, read_pairs

    match rule_or_file:
        case "all" | "torso" as rule:
            return make_pairs(store.table, rule)
        case file:
            return read_pairs(file, store.table)


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
