"""Scores of images on pairs (section 4.3): of a pipeline, or of files that another method wrote.

A report keeps each figure together with the number of pairs, the SSIM dialect, the networks, the model, the commit and
the hardware. Reports of different evaluations are only compared if all of these allow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path

from pg2lib.data.pairs import PairTable
from pg2lib.data.store import ImageStore
from pg2lib.errors import DataError
from pg2lib.evaluation.compare import ReportComparison, compare_reports, compare_shared_pairs
from pg2lib.evaluation.report import GENERATED, RESULTS, EvaluationReport, Figure, ScoredFiles
from pg2lib.evaluation.results import find_results
from pg2lib.evaluation.scores import PairScores
from pg2lib.evaluation.scoring import MASKS, EvaluationOptions, ScoringBatch, Subject, detector_name, score
from pg2lib.pipeline import PG2Pipeline

__all__ = [
    "EvaluationOptions",
    "EvaluationReport",
    "Figure",
    "PairScores",
    "ReportComparison",
    "compare_reports",
    "compare_shared_pairs",
    "detector_name",
    "evaluate",
    "score_images",
]


def evaluate(
    pipeline: PG2Pipeline,
    store: ImageStore,
    pairs: PairTable,
    data_name: str,
    csv_path: str | PathLike[str] | None = None,
    options: EvaluationOptions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Score the refined result, the coarse result and the condition image of every pair against the target image.

    Images are discarded batch by batch. In a distributed run, call it on one process; nothing is synchronised.

    Args:
        store: images of the pairs' table, on the model's canvas.
        data_name: name of the pairs in the report.
        csv_path: file for the scores of every pair (`PairScores`).
        options: dialect, networks, pose detection and batch size; the defaults if None.
        on_progress: called with (pairs done, pairs in total). Pairs whose poses are detected count twice, and every
            training image that FID reads counts as a pair.

    Raises:
        DataError: The images are not on the model's canvas, the pairs belong to another table, or there is no pair, or
            fewer than splits of the Inception Score.
    """
    options = options or EvaluationOptions()
    mask_from = pipeline.config.evaluation.mask_from
    if store.table.canvas != pipeline.config.model.canvas:
        wanted = pipeline.config.model.canvas
        raise DataError(f"the images must have the model's canvas {wanted}, got {store.table.canvas}")
    store = store.to(pipeline.device)

    def batches(some: PairTable) -> Iterator[ScoringBatch]:
        for batch in store.batches(some, options.batch_size):
            output = pipeline.generate_pairs(batch)
            yield ScoringBatch.of(batch, {"refined": output.refined, "coarse": output.coarse}, mask_from)

    model = {"name": pipeline.name, "config": pipeline.config.to_dict()}
    subject = Subject(batches, RESULTS, options.judged, model, mask_from)
    return score(subject, pairs, data_name, csv_path, options, on_progress)


def score_images(
    folder: str | PathLike[str],
    store: ImageStore,
    pairs: PairTable,
    data_name: str,
    csv_path: str | PathLike[str] | None = None,
    options: EvaluationOptions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    names: str | PathLike[str] | None = None,
    panels: int | None = None,
    stretch: bool = False,
    mask_from: str = "target",
    method: str | None = None,
) -> EvaluationReport:
    """Score image files that any method generated, and the condition images, against the target images.

    A file belongs to a pair by its name: ``FROM_TO.png``, ``FROM_2_TO_vis.jpg``, ``FROM___TO_vis.png`` and the like,
    where FROM and TO are the names of condition and target image in any of DeepFashion's spellings. Pairs without a
    result, files of no pair and doubtful files are left out, and listed in `EvaluationReport.files`.

    If a file shows several panels side by side or one below the other, the last one is the result. It is resized to the
    height of the canvas with a Lanczos filter, its aspect ratio kept, and scored at its own width: 256 or 176 on
    DeepFashion. ``options.width`` chooses another width. Narrower images are centred on the data's background colour,
    and of wider ones the middle is scored.

    Args:
        folder: the image files; subfolders are searched as well.
        store, pairs, data_name, csv_path, options, on_progress: as in `evaluate`. The results have the columns
            ``generated_<metric>`` in the CSV file.
        names: CSV file with the columns ``from``, ``to`` and ``file``, the path of the result below the folder, for
            files whose names do not say what they are.
        panels: number of panels of every file; None finds it from the size of the files.
        stretch: resize the results to the scored width whatever their aspect ratio, for methods that work on images
            which were stretched to a square.
        mask_from: whose pose mask the masked metrics use, "target" (paper) or "condition" (released script).
        method: name of the method in the report; None takes the name of the folder.

    Raises:
        DataError: No file is the result of a pair, the size of the files fits no number of panels, a file or the table
            of names cannot be read, an argument is out of range, or as in `evaluate`.
    """
    options = options or EvaluationOptions()
    if mask_from not in MASKS:
        raise DataError(f"mask_from must be one of {', '.join(MASKS)}, got {mask_from!r}")
    store.check(pairs)
    width = options.width or pairs.table.canvas[1]
    results = find_results(folder, pairs, names, panels, stretch_to=width if stretch else None)
    options = replace(options, width=options.width or results.panel_width)

    def batches(some: PairTable) -> Iterator[ScoringBatch]:
        for batch in store.batches(some, options.batch_size):
            generated = results.read(batch.from_rows.tolist(), batch.to_rows.tolist()).to(store.device)
            yield ScoringBatch.of(batch, {GENERATED: generated}, mask_from)

    files = ScoredFiles(results.listed, results.size, results.rule, results.unscored)
    model = {"name": method or Path(folder).resolve().name}
    subject = Subject(batches, (GENERATED, "condition"), (GENERATED,), model, mask_from, files)
    return score(subject, results.pairs, data_name, csv_path, options, on_progress)
