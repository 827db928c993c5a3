"""Commands that train models: train, table1 and results."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg2lib.cli.inputs import PAIR_RULES, choose_pairs, open_detector, open_store, read_split
from pg2lib.cli.options import (
    add_command,
    add_config,
    add_data,
    add_flat,
    add_hardware,
    add_metrics,
    add_skip_corrupt,
    count,
    positive,
    progress_bar,
)
from pg2lib.config import TABLE1_ROWS
from pg2lib.errors import ConfigError
from pg2lib.json_files import parse_json

if TYPE_CHECKING:
    from pg2lib.config import PG2Config
    from pg2lib.data.pairs import PairTable
    from pg2lib.data.store import ImageStore
    from pg2lib.pipeline import PG2Pipeline


def add_commands(commands: Any) -> None:
    """Add the commands of this module to the command line."""
    _add_train(commands)
    _add_table1(commands)
    _add_results(commands)


def _add_train(commands: Any) -> None:
    parser = add_command(
        commands, "train", _train, "train a model, or resume an interrupted run",
        "python -m pg2lib train --data Market-1501-v15.09.15 --config compact --out runs/compact",
    )  # fmt: skip
    add_data(parser, split="train", cache="OUT/cache")
    add_config(
        parser, None, "market1501; with --from, that of the pipeline with a tenth of its learning rates and steps"
    )
    parser.add_argument(
        "--from", dest="start", metavar="FOLDER_OR_NAME",
        help="fine-tune this pipeline instead of starting from random weights: a pipeline folder, name of a checkpoint "
        "that ships with pg2lib, or Hugging Face Hub id. The model stays that of the pipeline",
    )  # fmt: skip
    parser.add_argument(
        "--row", metavar="MODEL",
        help=f"train this model of the paper's Table 1: {', '.join(TABLE1_ROWS)} (default: the model that the "
        "configuration describes)",
    )  # fmt: skip
    parser.add_argument(
        "--pairs", default="torso", metavar="RULE_OR_FILE",
        help=f"pairs to train on: {PAIR_RULES} or a pair file (default: %(default)s)",
    )  # fmt: skip
    add_hardware(parser)
    parser.add_argument(
        "--sample-every", type=count, default=500, metavar="STEPS",
        help="steps between grids of sample images; 0 writes none (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint-every", type=positive, default=500, metavar="STEPS",
        help="steps between checkpoints (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER",
        help="folder of the run; a run that was interrupted there is resumed",
    )  # fmt: skip
    parser.add_argument(
        "--restart", choices=("stage1", "stage2", "one-stage"),
        help="if this stage cannot be resumed with the present settings, move it, all that follows it and the pipeline "
        "to OUT/earlier-1 (or the next number), and train it from the start",
    )  # fmt: skip


def _train(options: argparse.Namespace) -> int:
    from pg2lib.data.read import find_data, title_of
    from pg2lib.training.check import check_run, stages_of
    from pg2lib.training.run import Reports, make_accelerator, on_main, train

    accelerator = make_accelerator(options.precision, options.cpu, options.compile)
    with accelerator.main_process_first():
        start = _load_start(options)
    config = _train_config(options, start)
    # Before the cache is written. `train` checks the rest, for which it needs the pairs.
    on_main(accelerator, lambda: check_run(config, options.out, start=start, restart=options.restart))
    if start is not None and accelerator.is_main_process:
        schedule = (
            f"{stage.folder.name} for {stage.settings.steps:,} steps at a learning rate of {stage.settings.lr:g}"
            for stage in stages_of(config, options.out)
        )
        print(f"Fine-tuning {start!r}: {', '.join(schedule)}")
    root = find_data(options.data)
    with accelerator.main_process_first():
        cache = (options.cache or options.out / "cache") / options.split
        table = read_split(options, root)
        store = open_store(table, cache, accelerator.device, options.skip_corrupt, config.model.matte)
    name = f"{title_of(root)} {options.split}, pair rule {options.pairs}"
    reports = Reports(sample_every=options.sample_every, checkpoint_every=options.checkpoint_every)
    pairs = choose_pairs(options.pairs, store)
    pipeline = train(
        config, store, pairs, options.out, name, reports, accelerator, start=start, restart=options.restart
    )
    if accelerator.is_main_process:
        print(f"The trained pipeline is in {options.out / 'pipeline'}: {pipeline!r}")
    return 0


def _load_start(options: argparse.Namespace) -> PG2Pipeline | None:
    """Load the pipeline that `train` fine-tunes, if it fine-tunes one."""
    if options.start is None:
        return None
    from pg2lib.files import lies_in
    from pg2lib.pipeline import PG2Pipeline

    if lies_in(options.start, options.out / "pipeline"):
        raise ConfigError(f"--from {options.start}: a run in --out {options.out} would replace it; name another --out")
    return PG2Pipeline.from_pretrained(options.start, "cpu")


def _train_config(options: argparse.Namespace, start: PG2Pipeline | None) -> PG2Config:
    """Return the configuration that the options of `train` describe."""
    from pg2lib.config import PG2Config
    from pg2lib.training.start import fine_tuning

    if start is not None and options.config is None:
        config = fine_tuning(start.config)
    else:
        config = PG2Config.load(options.config or "market1501")
    return (config.row(options.row) if options.row else config).override(assignments(options.set))


def _add_table1(commands: Any) -> None:
    parser = add_command(
        commands, "table1", _table1, "train and score the models of the paper's Table 1",
        "python -m pg2lib table1 --data Market-1501-v15.09.15 --out runs/table1",
    )  # fmt: skip
    parser.add_argument(
        "--data", default="synthetic", metavar="FOLDER",
        help="data set: a folder, or market1501 or deepfashion as in train; or synthetic, which draws synthetic people "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--profile", choices=("full", "fast"), default="full",
        help="full: the paper's model and training schedule; fast: a small model that trains within minutes on a "
        "laptop (default: %(default)s)",
    )  # fmt: skip
    add_config(parser, None, "chosen by profile and image size")
    parser.add_argument(
        "--rows", nargs="+", metavar="MODEL", help=f"models to train, of {', '.join(TABLE1_ROWS)} (default: all)"
    )
    parser.add_argument(
        "--pairs", choices=("all", "torso"), default="torso",
        help=f"pairs to train on: {PAIR_RULES} (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--test-pairs", nargs="+", default=["all"], metavar="RULE_OR_FILE",
        help="pairs to score: all, torso or a pair file. From a longer list, evaluation.pairs of the configuration are "
        "drawn at random. Give several lists to score on each: the first makes the table, and every other a table "
        "of its own, also-NAME.md (default: all)",
    )  # fmt: skip
    add_flat(parser)
    add_metrics(parser)
    add_skip_corrupt(parser)
    add_hardware(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER",
        help="folder for the models, the table and its pictures; an interrupted run is resumed",
    )  # fmt: skip


def _table1(options: argparse.Namespace) -> int:
    from pg2lib.data.pairs import make_pairs
    from pg2lib.data.read import read_people, title_of
    from pg2lib.evaluation import EvaluationOptions
    from pg2lib.metrics.inception import load_inception
    from pg2lib.table1 import Origin, choose_config, make_table1
    from pg2lib.training.check import refuse_foreign
    from pg2lib.training.run import make_accelerator, on_main

    accelerator = make_accelerator(options.precision, options.cpu, options.compile)
    on_main(accelerator, lambda: refuse_foreign(options.out))
    with accelerator.main_process_first():
        root = _table1_data(options)
        train, test = read_people(root, "train"), read_people(root, "test", flat=options.flat)
        config = choose_config(options.config, options.profile, train.canvas).override(assignments(options.set))
        store, test_store = (
            open_store(
                table, options.out / "cache" / split, accelerator.device, options.skip_corrupt, config.model.matte
            )
            for split, table in (("train", train), ("test", test))
        )
    lists = _test_lists(options.test_pairs, f"{title_of(root)} test", test_store, config.evaluation.pairs)
    inception = load_inception(options.inception, accelerator.device) if options.inception else None
    origin = Origin.of(root, options.pairs, _command_line(options, accelerator.num_processes))
    with open_detector(options.pose_pairs if accelerator.is_main_process else 0) as detector:
        table = make_table1(
            config, store, make_pairs(store.table, options.pairs), test_store, lists, options.out, origin,
            options.rows or tuple(TABLE1_ROWS),
            EvaluationOptions(inception=inception, detector=detector, pose_pairs=options.pose_pairs), accelerator,
        )  # fmt: skip
    if accelerator.is_main_process:
        print(table.to_markdown(), end="")
    return 0


def _table1_data(options: argparse.Namespace) -> Path:
    """Return the folder of the data, after drawing synthetic people if they are asked for and not there yet."""
    from pg2lib.data.read import find_data
    from pg2lib.data.synthetic import write_market1501

    if options.data != "synthetic":
        return find_data(options.data)
    people, test_people = {"full": (400, 60), "fast": (48, 12)}[options.profile]
    bar = progress_bar("drawing", "image")
    return write_market1501(options.out / "people", people, test_people, on_progress=bar)


def _test_lists(rules_or_files: Sequence[str], data: str, store: ImageStore, most: int) -> dict[str, PairTable]:
    """Return the lists of pairs to score, by their name in the reports; at most `most` pairs of each."""
    from pg2lib.table1.folder import list_name

    lists: dict[str, PairTable] = {}
    for rule_or_file in rules_or_files:
        pairs, name = choose_pairs(rule_or_file, store), f"{data}, pairs {Path(rule_or_file).name}"
        if most < len(pairs):
            pairs = pairs.sample(most, seed=0)
            name += f", {most:,} drawn with seed 0"
        if list_name(name) in map(list_name, lists):
            raise ConfigError(
                f"--test-pairs: the scores of two lists would both be stored as {list_name(name)!r}; give each list "
                f"once, and rename files whose names differ in punctuation or case only"
            )
        lists[name] = pairs
    return lists


def _command_line(options: argparse.Namespace, processes: int) -> str:
    """Return the command that was run, without the path of Python."""
    start = ["python"] if processes == 1 else ["torchrun", "--nproc_per_node", str(processes)]
    return shlex.join([*start, "-m", "pg2lib", *map(str, options.arguments)])


def _add_results(commands: Any) -> None:
    parser = add_command(
        commands, "results", _results, "write one page with the tables, settings and training times of table1 runs",
        "python -m pg2lib results runs/table1 runs/table1-deepfashion --out RESULTS.md",
    )  # fmt: skip
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="output folder of table1; the run need not be finished"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("RESULTS.md"), metavar="FILE",
        help="Markdown file to write; its pictures go into a folder of the same name in lower case, such as results/ "
        "(default: %(default)s)",
    )  # fmt: skip


def _results(options: argparse.Namespace) -> int:
    from pg2lib.table1.page import write_results

    write_results(options.runs, options.out)
    print(f"Wrote {options.out} ({len(options.runs)} run{'s' if len(options.runs) > 1 else ''})")
    return 0


def assignments(settings: Sequence[str]) -> dict[str, Any]:
    """Parse the values of ``--set`` for `PG2Config.override`.

    Args:
        settings: strings of the form KEY=VALUE. A value that is not valid JSON is taken as a string.

    Raises:
        ConfigError: a string has no ``=``.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set: expected KEY=VALUE, such as stage1.steps=100, got {setting!r}")
        try:
            values[key] = parse_json(text, "--set", error=ConfigError)
        except ConfigError:
            values[key] = text
    return values
