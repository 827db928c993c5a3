"""Commands that score images: evaluate and score."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg2lib.cli.inputs import PAIR_RULES, choose_pairs, open_detector, open_store, read_split
from pg2lib.cli.options import (
    add_command,
    add_data,
    add_device,
    add_metrics,
    add_weights,
    positive,
    progress_bar,
)
from pg2lib.config import MARKET1501_CHECKPOINT
from pg2lib.errors import ConfigError

if TYPE_CHECKING:
    from pg2lib.evaluation import EvaluationOptions, EvaluationReport

SCORES, REPORT_JSON, REPORT_MD, COMPARISON = "pairs.csv", "report.json", "report.md", "comparison.md"


def add_commands(commands: Any) -> None:
    """Add the commands of this module to the command line."""
    _add_evaluate(commands)
    _add_score(commands)


def _add_evaluate(commands: Any) -> None:
    parser = add_command(
        commands, "evaluate", _evaluate, "score a trained pipeline on test pairs",
        "python -m pg2lib evaluate --data Market-1501-v15.09.15 --pairs market-pairs-test.csv --out report/",
    )  # fmt: skip
    add_data(parser, split="test", cache="none, images are decoded into memory")
    add_weights(parser, MARKET1501_CHECKPOINT)
    parser.add_argument(
        "--pairs", default="all", metavar="RULE_OR_FILE",
        help=f"pairs to score: {PAIR_RULES} or a pair file (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--count", type=positive,
        help="score this many pairs, drawn at random (default: all of them; evaluation.pairs of the configuration "
        "applies to table1 only)",
    )  # fmt: skip
    _add_scoring(parser, "the whole width")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER",
        help="folder for report.json, report.md, and pairs.csv with the scores of every pair",
    )  # fmt: skip


def _add_scoring(parser: argparse.ArgumentParser, default_width: str) -> None:
    """Add the options of the fields of `EvaluationOptions`."""
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed for drawing pairs and for bootstrap intervals (default: "
        "%(default)s)",
    )  # fmt: skip
    parser.add_argument("--batch-size", type=positive, default=32, help="pairs per batch (default: %(default)s)")
    parser.add_argument(
        "--width", type=positive, metavar="PIXELS",
        help="score only this many columns in the middle of the images, such as 176 of DeepFashion's 256; scores of "
        f"different widths cannot be compared (default: {default_width})",
    )  # fmt: skip
    parser.add_argument(
        "--dialect", choices=("released", "pose-gan", "gfla"), default="released",
        help="variant of SSIM: that of the authors' released code, of Pose-GAN or of GFLA; scores of different "
        "variants cannot be compared (default: %(default)s)",
    )  # fmt: skip
    add_metrics(parser)
    parser.add_argument(
        "--fid", choices=("targets", "train"), default="targets",
        help="real images that FID compares with, if there is --inception: the target images of the pairs, or all "
        "images of the train split (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--lpips", choices=("alex", "vgg", "squeeze"), help="also compute LPIPS with this network")


def _evaluate(options: argparse.Namespace) -> int:
    from pg2lib.data.read import find_data, title_of
    from pg2lib.evaluation import evaluate
    from pg2lib.pipeline import PG2Pipeline

    _keep_inputs([options.out], [options.pairs, *(options.keypoints or [])])
    pipeline = PG2Pipeline.from_pretrained(options.weights, options.device)
    root = find_data(options.data)
    cache = options.cache / options.split if options.cache else None
    name = f"{title_of(root)} {options.split}, pairs {Path(options.pairs).name}"
    with _scoring_options(options, root, pipeline.device) as scoring:
        table, mattes = read_split(options, root), pipeline.config.model.matte
        store = open_store(table, cache, pipeline.device, options.skip_corrupt, mattes)
        pairs = choose_pairs(options.pairs, store)
        if options.count is not None:
            pairs = pairs.sample(options.count, options.seed)
            name += f", {options.count:,} drawn with seed {options.seed}"
        bar = progress_bar("scoring", "pair")
        report = evaluate(pipeline, store, pairs, name, options.out / SCORES, scoring, bar)
    _write(report, options.out)
    print(report.to_markdown(), end="")
    return 0


def _add_score(commands: Any) -> None:
    parser = add_command(
        commands, "score", _score, "score the images that another method generated",
        "python -m pg2lib score results/ --targets DeepFashion --pairs fasion-pairs-test.csv --out report/",
    )  # fmt: skip
    parser.add_argument(
        "results", type=Path, nargs="+", metavar="RESULTS",
        help="folder of the images, whose names hold those of condition and target image: FROM_TO.png, "
        "FROM_2_TO_vis.jpg, FROM___TO_vis.png and the like. Of several images in a file, side by side or one "
        "below the other, the last one is scored. "
        "With two folders, the methods are also compared on the pairs that both have",
    )  # fmt: skip
    add_data(parser, split="test", cache="none, images are decoded into memory", option="--targets")
    parser.add_argument(
        "--pairs", required=True, metavar="RULE_OR_FILE", help=f"pairs to score: a pair file, or {PAIR_RULES}"
    )
    parser.add_argument(
        "--name", action="append", default=[], help="name of the method in the report, once per folder (default: name "
        "of the folder)",
    )  # fmt: skip
    parser.add_argument(
        "--names", type=Path, action="append", default=[], metavar="CSV",
        help="table with the columns from, to and file, for files with other names; once, or once per folder",
    )  # fmt: skip
    parser.add_argument(
        "--panels", type=positive, metavar="COUNT",
        help="number of images in every file (default: told by the size of the files)",
    )  # fmt: skip
    parser.add_argument(
        "--stretch", action="store_true",
        help="resize the results to the scored width whatever their aspect ratio, for methods that work on images "
        "stretched to a square",
    )  # fmt: skip
    parser.add_argument(
        "--mask-from", choices=("target", "condition"), default="target",
        help="image whose pose mask the masked metrics use (default: %(default)s)",
    )  # fmt: skip
    _add_scoring(parser, "the width of the results, or of the narrower ones")
    add_device(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER",
        help="folder for report.json, report.md, and pairs.csv with the scores of every pair; with two folders of "
        "results, for a folder of these per method, and comparison.md",
    )  # fmt: skip


def _score(options: argparse.Namespace) -> int:
    import torch

    from pg2lib.data.read import find_data, title_of
    from pg2lib.evaluation import score_images
    from pg2lib.evaluation.results import find_results

    folders: list[Path] = options.results
    methods, tables = _methods(folders, options.name), _tables(folders, options.names)
    outs = [options.out] if len(folders) == 1 else [options.out / method for method in methods]
    _keep_inputs([options.out, *outs], [options.pairs, *(options.keypoints or []), *options.names])
    root = find_data(options.data)
    cache = options.cache / options.split if options.cache else None
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    name = f"{title_of(root)} {options.split}, pairs {Path(options.pairs).name}"
    reports = []
    with _scoring_options(options, root, device) as scoring:
        store = open_store(read_split(options, root), cache, device, options.skip_corrupt)
        pairs = choose_pairs(options.pairs, store, skip_unknown=True)
        if len(folders) == 2 and scoring.width is None and not options.stretch:
            # Scores are only comparable at one width.
            found = (find_results(folders[i], pairs, tables[i], options.panels) for i in range(2))
            scoring = replace(scoring, width=min(results.panel_width for results in found))
        for folder, method, table, out in zip(folders, methods, tables, outs, strict=True):
            report = score_images(
                folder, store, pairs, name, out / SCORES, scoring, progress_bar(f"scoring {method}", "pair"),
                names=table, panels=options.panels, stretch=options.stretch, mask_from=options.mask_from, method=method,
            )  # fmt: skip
            _write(report, out)
            print(report.to_markdown())
            reports.append(report)
    if len(reports) == 2:
        _compare(reports, outs, options)
    return 0


def _compare(reports: Sequence[EvaluationReport], outs: Sequence[Path], options: argparse.Namespace) -> None:
    """Compare two methods on the pairs that both have; write and print the comparison."""
    from pg2lib.evaluation import PairScores, compare_shared_pairs
    from pg2lib.files import atomic_write

    (first, second), (one, other) = reports, (PairScores.read(out / SCORES) for out in outs)
    text = compare_shared_pairs(first, second, one, other, options.seed).to_markdown()
    with atomic_write(options.out / COMPARISON) as file:
        file.write(text)
    print(text, end="")


def _methods(folders: Sequence[Path], names: Sequence[str]) -> list[str]:
    """Return the names of the methods, which are also the names of folders."""
    if len(folders) > 2:
        raise ConfigError(f"score takes one or two folders of results, got {len(folders)}")
    if names and len(names) != len(folders):
        raise ConfigError(f"--name: expected one name per folder of results, {len(folders)}, got {len(names)}")
    methods = list(names) or [folder.resolve().name for folder in folders]
    unusable = any(method in ("", ".", "..") or Path(method).name != method for method in methods)
    if unusable or len({method.lower() for method in methods}) < len(methods):
        raise ConfigError(
            f"expected different names of methods, without a slash, got {', '.join(methods)}; give each a name with "
            f"--name"
        )
    return methods


def _tables(folders: Sequence[Path], tables: Sequence[Path]) -> list[Path | None]:
    """Return the table of names of each folder."""
    if len(tables) not in (0, 1, len(folders)):
        raise ConfigError(f"--names: expected one table, or one per folder of results, got {len(tables)}")
    return [tables[index] if len(tables) > 1 else next(iter(tables), None) for index in range(len(folders))]


def _keep_inputs(outs: Sequence[Path], inputs: Sequence[str | Path]) -> None:
    """Refuse to write the files of a report over one that is read."""
    from pg2lib.files import refuse_to_replace

    for out in outs:
        for name in (SCORES, REPORT_JSON, REPORT_MD, COMPARISON):
            refuse_to_replace(out / name, inputs)


@contextmanager
def _scoring_options(options: argparse.Namespace, root: Path, device: Any) -> Iterator[EvaluationOptions]:
    """Load the networks, and open the pose detector while images are scored."""
    from pg2lib.data.read import read_people
    from pg2lib.evaluation import EvaluationOptions
    from pg2lib.metrics.inception import load_inception
    from pg2lib.metrics.perceptual import load_lpips

    if options.fid == "train" and not options.inception:
        raise ConfigError("--fid train: FID needs a network, given with --inception")
    with open_detector(options.pose_pairs) as detector:
        yield EvaluationOptions(
            dialect=options.dialect,
            inception=load_inception(options.inception, device) if options.inception else None,
            lpips=load_lpips(options.lpips, device) if options.lpips else None,
            detector=detector,
            pose_pairs=options.pose_pairs,
            batch_size=options.batch_size,
            seed=options.seed,
            width=options.width,
            train_images=read_people(root, "train") if options.fid == "train" else None,
        )


def _write(report: EvaluationReport, folder: Path) -> None:
    from pg2lib.files import atomic_write

    report.save(folder / REPORT_JSON)
    with atomic_write(folder / REPORT_MD) as file:
        file.write(report.to_markdown())
