"""Evaluation of a pipeline on pairs of images (section 4.3): scores per pair, a report, and comparisons of reports.

A report keeps each figure together with the number of pairs, the SSIM dialect, the networks, the model, the commit and
the hardware. Reports of different evaluations are only compared if all of these allow it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from pg2lib import metrics
from pg2lib.data.pairs import PairTable
from pg2lib.data.store import ImageStore, PairBatch
from pg2lib.errors import DataError, NoPersonError
from pg2lib.evaluation.compare import PairScores, ReportComparison, compare_reports, pairs_digest
from pg2lib.evaluation.report import (
    METRICS,
    REAL,
    RESULTS,
    EvaluationReport,
    Figure,
    FrechetFigure,
    InceptionFigure,
    SetScores,
)
from pg2lib.files import atomic_write
from pg2lib.images import pil_from_tensor, to_uint8
from pg2lib.metrics.bootstrap import bootstrap_intervals
from pg2lib.metrics.inception import SPLITS, InceptionNetwork
from pg2lib.metrics.perceptual import PerceptualNetwork
from pg2lib.metrics.pose import PoseScores
from pg2lib.metrics.ssim import Dialect, check_dialect
from pg2lib.pipeline import PG2Pipeline
from pg2lib.pose import JOINTS
from pg2lib.provenance import provenance
from pg2lib.raster import render_pose_masks

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

    from pg2lib.detect import PoseDetector
    from pg2lib.metrics import FrechetInceptionDistance, ImageMetric, InceptionScore

__all__ = [
    "EvaluationOptions",
    "EvaluationReport",
    "Figure",
    "PairScores",
    "ReportComparison",
    "compare_reports",
    "detector_name",
    "evaluate",
]


@dataclass(frozen=True)
class EvaluationOptions:
    """What `evaluate` computes besides the metrics that need no network, and how.

    Attributes:
        dialect: dialect of SSIM and mask-SSIM (see `pg2lib.metrics.ssim`).
        inception: network for Inception Score, mask-IS and FID (see `pg2lib.metrics.inception`); None leaves them out.
        lpips: network for LPIPS (see `pg2lib.metrics.perceptual`); None leaves it out.
        detector: detects poses in the results and in the target images, to compare them with the target poses; None
            leaves the pose accuracy out.
        pose_pairs: number of pairs, drawn at random, in whose images poses are detected.
        judged: the results that Inception network and detector see, in addition to the target images; of ``refined``,
            ``coarse`` and ``condition``.
        batch_size: number of pairs that are generated and scored at once.
        seed: random seed of the draw and of the bootstrap.

    Raises:
        DataError: An option is out of range.
    """

    dialect: Dialect = "released"
    inception: InceptionNetwork | None = None
    lpips: PerceptualNetwork | None = None
    detector: PoseDetector | None = None
    pose_pairs: int = 200
    judged: Sequence[str] = ("refined",)
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        check_dialect(self.dialect)
        if not set(self.judged) <= set(RESULTS):
            raise DataError(f"judged must be among {', '.join(RESULTS)}, got {', '.join(self.judged)}")
        if self.batch_size < 1:
            raise DataError(f"batch_size must be at least 1, got {self.batch_size}")


def detector_name(detector: PoseDetector) -> str:
    """Return the name of a detector in reports: its settings if it has any, else its class."""
    return str(getattr(detector, "settings", type(detector).__name__))


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
        on_progress: called with (pairs done, pairs in total). Pairs whose poses are detected count twice.

    Raises:
        DataError: The images are not on the model's canvas, the pairs belong to another table, or there is no pair, or
            fewer than splits of the Inception Score.
    """
    options = options or EvaluationOptions()
    _check(pipeline, store, pairs, options)
    start = time.perf_counter()
    store = store.to(pipeline.device)
    pose_pairs = _draw_pose_pairs(pairs, options)
    progress = _Progress(len(pairs) + len(pose_pairs), on_progress)
    scored = {result: metrics.pair_metrics(options.dialect, options.lpips) for result in RESULTS}
    sets = _InceptionScores(options.inception, (*options.judged, REAL)) if options.inception is not None else None
    with atomic_write(csv_path) if csv_path is not None else nullcontext() as file:
        for batch in store.batches(pairs, options.batch_size):
            images, mask = _generate(pipeline, batch)
            for result, collection in scored.items():
                collection.update(generated=images[result], target=images[REAL], mask=mask)
            if sets is not None:
                sets.update(images, mask)
            progress.advance(len(batch))
        scores = _pair_scores(scored, pairs)
        if file is not None:
            scores.write(file)
    poses = _detect_poses(pipeline, store, pose_pairs, options, progress)
    return EvaluationReport(
        figures=_figures(scores, options.seed),
        pairs=len(pairs),
        dialect=options.dialect,
        mask_from=pipeline.config.evaluation.mask_from,
        model={"name": pipeline.name, "config": pipeline.config.to_dict()},
        data=data_name,
        provenance=provenance(),
        pairs_digest=pairs_digest(scores.names),
        sets=sets.figures() if sets is not None else {},
        poses=poses,
        lpips=options.lpips.name if options.lpips is not None else None,
        detector=detector_name(options.detector) if options.detector is not None else None,
        seconds=round(time.perf_counter() - start, 1),
    )


def _check(pipeline: PG2Pipeline, store: ImageStore, pairs: PairTable, options: EvaluationOptions) -> None:
    if store.table.canvas != pipeline.config.model.canvas:
        wanted = pipeline.config.model.canvas
        raise DataError(f"the images must have the model's canvas {wanted}, got {store.table.canvas}")
    if not len(pairs):
        raise DataError("an evaluation needs at least one pair, got none")
    if options.inception is not None and len(pairs) < SPLITS:
        raise DataError(f"an Inception Score over {SPLITS} splits needs at least as many pairs, got {len(pairs)}")


def _draw_pose_pairs(pairs: PairTable, options: EvaluationOptions) -> PairTable:
    if options.detector is None:
        return pairs.select(torch.arange(0))
    return pairs.sample(min(options.pose_pairs, len(pairs)), options.seed)


def _generate(pipeline: PG2Pipeline, batch: PairBatch) -> tuple[dict[str, Tensor], Tensor]:
    """Return the uint8 results and target images of a batch by name, and the pose masks to score with."""
    output = pipeline.generate_pairs(batch)
    mask = batch.target_mask
    if pipeline.config.evaluation.mask_from == "condition":
        mask = render_pose_masks(batch.condition_xy, pipeline.config.model.canvas)
    images = {
        "refined": output.refined,
        "coarse": output.coarse,
        "condition": batch.condition_image,
        REAL: batch.target_image,
    }
    return {name: to_uint8(image) for name, image in images.items()}, mask


def _pair_scores(scored: Mapping[str, MetricCollection], pairs: PairTable) -> PairScores:
    """Collect the scores of every pair from the metrics of every result."""
    columns = {
        f"{result}_{name}": cast("ImageMetric", collection[name]).scores
        for result, collection in scored.items()
        for name in METRICS
        if name in collection
    }
    return PairScores(
        names=tuple(pairs.names(i) for i in range(len(pairs))),
        columns=tuple(columns),
        values=torch.stack(list(columns.values()), dim=1).cpu().double(),
    )


def _figures(scores: PairScores, seed: int) -> dict[str, dict[str, Figure]]:
    """Summarise every metric of every result over the pairs that have it; leave out metrics that no pair has."""
    counts = (~scores.values.isnan()).sum(dim=0)
    means = scores.values.nanmean(dim=0)
    stds = (scores.values - means).square().nanmean(dim=0).sqrt()
    intervals = bootstrap_intervals(scores.values, seed=seed)
    summaries = zip(counts.tolist(), means.tolist(), stds.tolist(), *intervals.tolist(), strict=True)
    figures = {
        column: Figure(mean, std, (low, high), count)
        for column, (count, mean, std, low, high) in zip(scores.columns, summaries, strict=True)
        if count
    }
    return {
        result: {name: figures[column] for name in METRICS if (column := f"{result}_{name}") in figures}
        for result in RESULTS
    }


class _InceptionScores:
    """Inception Score, mask-IS and FID of several sets of images, as far as the network has the outputs for them.

    The network runs once for all metrics of a set, so the metrics take its outputs instead of images.
    """

    def __init__(self, network: InceptionNetwork, sets: Sequence[str]) -> None:
        self.network, self.images = network, 0
        self.whole, self.masked = (
            {name: metrics.InceptionScore(nn.Identity(), compute_on_cpu=True, sync_on_compute=False) for name in sets}
            for _ in range(2)
        )
        self.fid: dict[str, FrechetInceptionDistance] = {}

    def update(self, images: Mapping[str, Tensor], mask: Tensor) -> None:
        self.images += len(mask)
        features = {}
        for name in self.whole:
            logits, features[name] = self.network(images[name])
            if logits is not None:
                masked_logits, _ = self.network(images[name] * mask.to(torch.uint8))
                assert masked_logits is not None
                self.whole[name].update(logits)
                self.masked[name].update(masked_logits)
        real = features.pop(REAL)
        for name, generated in features.items():
            if generated is not None and real is not None:
                if name not in self.fid:
                    given = _GivenFeatures(generated.shape[1])
                    self.fid[name] = metrics.FrechetInceptionDistance(given, sync_on_compute=False)
                self.fid[name].update(real.double().cpu(), real=True)
                self.fid[name].update(generated.double().cpu(), real=False)

    def figures(self) -> dict[str, SetScores]:
        return {
            name: SetScores(
                inception_score=self._inception_figure(self.whole[name]),
                mask_inception_score=self._inception_figure(self.masked[name]),
                fid=self._frechet_figure(self.fid[name]) if name in self.fid else None,
            )
            for name in self.whole
        }

    def _inception_figure(self, metric: InceptionScore) -> InceptionFigure | None:
        if not metric.update_called:
            return None
        mean, std = map(float, metric.compute())
        return InceptionFigure(mean, std, metric.splits, self.images, self.network.name, self.network.resize)

    def _frechet_figure(self, metric: FrechetInceptionDistance) -> FrechetFigure:
        distance = max(0.0, float(metric.compute()))  # rounding can make the distance of equal sets negative
        features = len(metric.real_features_sum)
        return FrechetFigure(distance, self.images, self.images, features, self.network.name, self.network.resize)


class _GivenFeatures(nn.Identity):
    """Stands in for the network of `FrechetInceptionDistance` when the metric is updated with features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def _detect_poses(
    pipeline: PG2Pipeline, store: ImageStore, pairs: PairTable, options: EvaluationOptions, progress: _Progress
) -> dict[str, PoseScores]:
    """Measure how well each set of images shows the target poses; return nothing without a detector."""
    if options.detector is None:
        return {}
    judged = {name: metrics.PoseAccuracy(store.table.canvas[0]) for name in (*options.judged, REAL)}
    for batch in store.batches(pairs, options.batch_size):
        images, _ = _generate(pipeline, batch)
        for name, accuracy in judged.items():
            found_xy = torch.stack([_detect(options.detector, image) for image in images[name]])
            accuracy.update(found_xy, batch.target_xy.cpu())
        progress.advance(len(batch))
    return {name: accuracy.scores for name, accuracy in judged.items()}


def _detect(detector: PoseDetector, image: Tensor) -> Tensor:
    """Return the keypoints (18, 2) of the person in an image, in pixels; all missing if there is nobody."""
    try:
        return detector.detect(pil_from_tensor(image)).pose.xy
    except NoPersonError:
        return torch.full((len(JOINTS), 2), torch.nan)


class _Progress:
    """Counts pairs, and passes the count on."""

    def __init__(self, total: int, listener: Callable[[int, int], None] | None) -> None:
        self.done, self.total, self.listener = 0, total, listener

    def advance(self, pairs: int) -> None:
        self.done += pairs
        if self.listener is not None:
            self.listener(self.done, self.total)
