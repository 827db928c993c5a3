"""Scoring a pipeline on pairs (section 4.3): a row a pair, streamed, and a report; and comparing two reports.

A number never travels alone: the report carries the pair count, the metric dialect, the networks that judged, the
model, the code's commit and the hardware. Reports that were not taken alike are not compared.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from os import PathLike
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pg2lib.data.pairs import PairTable
from pg2lib.data.store import ImageStore, PairBatch
from pg2lib.errors import DataError, NoPersonError
from pg2lib.evaluation.compare import PairScores, ReportComparison, compare_reports, pairs_digest
from pg2lib.evaluation.report import METRICS, REAL, RESULTS, EvaluationReport, Figure, SetScores
from pg2lib.files import atomic_write
from pg2lib.images import pil_from_tensor, to_uint8
from pg2lib.metrics.bootstrap import bootstrap_intervals
from pg2lib.metrics.inception import SPLITS, ClassProbabilities, FeatureMoments, InceptionNetwork, fid
from pg2lib.metrics.perceptual import PerceptualNetwork
from pg2lib.metrics.pixel import l1, masked_l1, psnr
from pg2lib.metrics.pose import PoseAccuracy, pose_accuracy
from pg2lib.metrics.sharpness import sharpness
from pg2lib.metrics.ssim import Dialect, mask_ssim, ssim
from pg2lib.pipeline import PG2Pipeline
from pg2lib.pose import JOINTS
from pg2lib.provenance import provenance
from pg2lib.raster import render_pose_masks

if TYPE_CHECKING:
    from pg2lib.detect import PoseDetector

__all__ = [
    "EvaluationReport",
    "Figure",
    "PairScores",
    "ReportComparison",
    "compare_reports",
    "detector_name",
    "evaluate",
]

PSNR_CEILING_DB = 100.0
"""A result that equals the target has an infinite PSNR; it counts as this, so that the mean stays a number."""


def detector_name(detector: PoseDetector) -> str:
    """What a detector is called in reports: its settings where it has any to tell."""
    return str(getattr(detector, "settings", type(detector).__name__))


def evaluate(
    pipeline: PG2Pipeline,
    store: ImageStore,
    pairs: PairTable,
    data_name: str,
    csv_path: str | PathLike[str] | None = None,
    batch_size: int = 32,
    on_progress: Callable[[int, int], None] | None = None,
    dialect: Dialect = "released",
    inception: InceptionNetwork | None = None,
    lpips: PerceptualNetwork | None = None,
    detector: PoseDetector | None = None,
    pose_pairs: int = 200,
    judged: Sequence[str] = ("refined",),
    seed: int = 0,
) -> EvaluationReport:
    """Scores the refined result, the coarse result and the condition image against the target image of every pair.

    Images are let go of batch by batch; a row of scores a pair is kept, and the class probabilities where there is an
    Inception network.

    Args:
        store: images of the pairs' table, on the model's canvas.
        data_name: what the pairs are called in the report.
        csv_path: a CSV to write with a row a pair: from, to, and a column a result and metric, empty where the pair
            lacks the metric.
        on_progress: called with (pairs done, pairs in all); those whose poses are looked at are done twice.
        dialect: of SSIM and mask-SSIM.
        inception: for Inception Score, mask-IS and FID (see `pg2lib.metrics.inception`).
        lpips: for LPIPS (see `pg2lib.metrics.perceptual`), one more metric a pair.
        detector: finds poses in the results and in the target images, to compare with the target poses.
        pose_pairs: on so many pairs, drawn at random; detecting is slow.
        judged: the results that Inception network and detector look at, beside the target images.
        seed: of the draw and of the bootstrap.

    Raises:
        DataError: images of another size than the model's canvas, pairs of another table, or too few pairs for the
            splits of an Inception Score.
    """
    if store.table.canvas != pipeline.config.model.canvas:
        raise DataError(f"the images are {store.table.canvas}, the model wants {pipeline.config.model.canvas} pixels")
    if not set(judged) <= set(RESULTS):
        raise DataError(f"what is judged must be among {', '.join(RESULTS)}, got {', '.join(judged)}")
    if inception is not None and len(pairs) < SPLITS:
        raise DataError(f"an Inception Score over {SPLITS} splits needs at least as many pairs, got {len(pairs)}")
    store = store.to(pipeline.device)
    start = time.perf_counter()
    metrics = [name for name in METRICS if name != "lpips" or lpips is not None]
    columns = [f"{result}_{metric}" for result in RESULTS for metric in metrics]
    judges = {name: _InceptionJudge(inception) for name in (*judged, REAL)} if inception is not None else {}
    looks = pairs.sample(min(pose_pairs, len(pairs)), seed) if detector is not None else None
    progress = _Progress(len(pairs) + (len(looks) if looks is not None else 0), on_progress)

    rows: list[Tensor] = []
    with atomic_write(csv_path) if csv_path is not None else nullcontext() as file:
        writer = csv.writer(file, lineterminator="\n") if file is not None else None
        if writer is not None:
            writer.writerow(("from", "to", *columns))
        for batch in store.batches(pairs, batch_size):
            images, mask = _images(pipeline, batch)
            scores = _scores(images, mask, dialect, lpips).cpu()
            rows.append(scores)
            for name, judge in judges.items():
                judge.update(images[name], mask)
            if writer is not None:
                names = store.table.names
                for first, second, row in zip(
                    batch.from_rows.tolist(), batch.to_rows.tolist(), scores.double().tolist(), strict=True
                ):
                    cells = ("" if math.isnan(score) else f"{score:.6f}" for score in row)
                    writer.writerow((names[first], names[second], *cells))
            progress.advance(len(batch))

    poses: dict[str, PoseAccuracy] = {}
    if looks is not None and detector is not None:
        poses = _judge_poses(pipeline, store, looks, detector, (*judged, REAL), batch_size, progress)

    figures = dict(zip(columns, _figures(rows, seed), strict=True))
    return EvaluationReport(
        figures={
            result: {metric: figure for metric in metrics if (figure := figures[f"{result}_{metric}"]) is not None}
            for result in RESULTS
        },
        pairs=len(pairs),
        dialect=dialect,
        mask_from=pipeline.config.evaluation.mask_from,
        model={"name": pipeline.name, "config": pipeline.config.to_dict()},
        data=data_name,
        seconds=round(time.perf_counter() - start, 1),
        provenance=provenance(),
        pairs_digest=pairs_digest(pairs.names(i) for i in range(len(pairs))),
        sets={name: judge.scores(judges[REAL]) for name, judge in judges.items()},
        poses=poses,
        lpips=lpips.name if lpips is not None else None,
        detector=detector_name(detector) if detector is not None else None,
    )


def _images(pipeline: PG2Pipeline, batch: PairBatch) -> tuple[dict[str, Tensor], Tensor]:
    """uint8 images of a batch, results and target, by name; and the pose masks to score with."""
    output = pipeline.generate_pairs(batch)
    mask = batch.target_mask
    if pipeline.config.evaluation.mask_from == "condition":
        mask = render_pose_masks(batch.condition_xy, pipeline.config.model.canvas)
    images = {
        "refined": output.refined, "coarse": output.coarse, "condition": batch.condition_image,
        REAL: batch.target_image,
    }  # fmt: skip
    return {name: to_uint8(image) for name, image in images.items()}, mask


def _scores(images: Mapping[str, Tensor], mask: Tensor, dialect: Dialect, lpips: PerceptualNetwork | None) -> Tensor:
    """(batch, results x metrics), in the order of RESULTS and METRICS; NaN where a pair lacks the metric."""
    target = images[REAL]
    columns = []
    for result in RESULTS:
        generated = images[result]
        columns += [
            ssim(generated, target, dialect),
            mask_ssim(generated, target, mask, dialect),
            l1(generated, target),
            masked_l1(generated, target, mask),
            psnr(generated, target, data_range=255).clamp_max(PSNR_CEILING_DB),
            sharpness(generated, target),
        ]
        if lpips is not None:
            columns.append(lpips(generated, target))
    return torch.stack(columns, dim=1)


def _figures(batches: Sequence[Tensor], seed: int) -> list[Figure | None]:
    """A figure for every column of scores; None where no pair has the metric."""
    columns = batches[0].shape[1]
    sums, squares, counts = (torch.zeros(columns, dtype=torch.float64) for _ in range(3))
    for scores in batches:
        values = scores.double().nan_to_num(nan=0.0)
        sums += values.sum(dim=0)
        squares += values.square().sum(dim=0)
        counts += (~scores.isnan()).sum(dim=0)
    means = sums / counts
    deviations = (squares / counts - means.square()).clamp_min(0).sqrt()
    intervals = bootstrap_intervals(torch.cat(list(batches)), seed=seed)
    rows = zip(means.tolist(), deviations.tolist(), *intervals.tolist(), counts.tolist(), strict=True)
    return [Figure(mean, std, (low, high), int(count)) if count else None for mean, std, low, high, count in rows]


class _InceptionJudge:
    """What an Inception network has seen of one set of images."""

    def __init__(self, network: InceptionNetwork) -> None:
        self.network = network
        self.whole, self.masked = ClassProbabilities(), ClassProbabilities()
        self.moments = FeatureMoments()

    def update(self, images: Tensor, mask: Tensor) -> None:
        logits, features = self.network(images)
        if features is not None:
            self.moments.update(features)
        if logits is not None:
            self.whole.update(logits)
            masked, _ = self.network(images * mask.to(torch.uint8))
            assert masked is not None
            self.masked.update(masked)

    def scores(self, real: _InceptionJudge) -> SetScores:
        has_logits, has_features = len(self.whole) > 0, self.moments.images > 0
        return SetScores(
            inception_score=self.whole.score(self.network) if has_logits else None,
            mask_inception_score=self.masked.score(self.network) if has_logits else None,
            fid=fid(self.moments, real.moments, self.network) if has_features and self is not real else None,
        )


class _Progress:
    """Counts pairs and tells who wants to know."""

    def __init__(self, total: int, listener: Callable[[int, int], None] | None) -> None:
        self.done, self.total, self.listener = 0, total, listener

    def advance(self, pairs: int) -> None:
        self.done += pairs
        if self.listener is not None:
            self.listener(self.done, self.total)


def _judge_poses(
    pipeline: PG2Pipeline,
    store: ImageStore,
    pairs: PairTable,
    detector: PoseDetector,
    judged: Sequence[str],
    batch_size: int,
    progress: _Progress,
) -> dict[str, PoseAccuracy]:
    """How well each set of images shows the target poses."""
    found: dict[str, list[Tensor]] = {name: [] for name in judged}
    for batch in store.batches(pairs, batch_size):
        images, _ = _images(pipeline, batch)
        for name in judged:
            found[name] += [_detect(detector, image) for image in images[name]]
        progress.advance(len(batch))
    target_xy = store.table.xy[pairs.to_rows]
    return {name: pose_accuracy(torch.stack(xy), target_xy, store.table.canvas[0]) for name, xy in found.items()}


def _detect(detector: PoseDetector, image: Tensor) -> Tensor:
    """Keypoints (18, 2) in pixels; all missing where there is nobody."""
    try:
        return detector.detect(pil_from_tensor(image)).pose.xy
    except NoPersonError:
        return torch.full((len(JOINTS), 2), torch.nan)
