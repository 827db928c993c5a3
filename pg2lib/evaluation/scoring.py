"""The loop that `evaluate` and `score_images` share: images of pairs go batch by batch into a collection of metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pg2lib import metrics
from pg2lib.data.pairs import PairTable
from pg2lib.data.people import PersonTable
from pg2lib.data.store import PairBatch
from pg2lib.errors import DataError, NoPersonError
from pg2lib.evaluation.report import (
    METRICS,
    REAL,
    RESULTS,
    TARGET_IMAGES,
    TRAIN_IMAGES,
    EvaluationReport,
    FrechetFigure,
    InceptionFigure,
    ScoredFiles,
    SetScores,
)
from pg2lib.evaluation.scores import PairScores, pairs_digest
from pg2lib.files import atomic_write
from pg2lib.images import pil_from_tensor, tensor_from_pil, to_uint8
from pg2lib.metrics.inception import SPLITS, InceptionNetwork
from pg2lib.metrics.perceptual import PerceptualNetwork
from pg2lib.metrics.pose import PoseScores
from pg2lib.metrics.ssim import Dialect, check_dialect
from pg2lib.pose import JOINTS
from pg2lib.provenance import provenance
from pg2lib.raster import render_pose_masks

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

    from pg2lib.detect import PoseDetector
    from pg2lib.metrics import FrechetInceptionDistance, ImageMetric, InceptionScore

MASKS = ("target", "condition")
"""Whose pose mask the masked metrics use: that of the target image (paper) or of the condition image (released
script)."""


@dataclass(frozen=True)
class EvaluationOptions:
    """What `evaluate` and `score_images` compute besides the metrics that need no network, and how.

    Attributes:
        dialect: dialect of SSIM and mask-SSIM (see `pg2lib.metrics.ssim`).
        inception: network for Inception Score, mask-IS and FID (see `pg2lib.metrics.inception`); None leaves them out.
        lpips: network for LPIPS (see `pg2lib.metrics.perceptual`); None leaves it out.
        detector: detects poses in the results and in the target images, to compare them with the target poses; None
            leaves the pose accuracy out.
        pose_pairs: number of pairs, drawn at random, in whose images poses are detected.
        judged: the results of `evaluate` that Inception network and detector see, in addition to the target images; of
            ``refined``, ``coarse`` and ``condition``. `score_images` judges the images that it scores.
        batch_size: number of pairs that are generated and scored at once.
        seed: random seed of the draw and of the bootstrap.
        width: score only this many columns in the middle of the images: 176 of DeepFashion's 256, as much of the field
            does. None scores the whole canvas in `evaluate`, and the width of the results in `score_images`.
        train_images: FID is the distance to all of these images, which is the field's habit; None takes the target
            images of the pairs.

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
    width: int | None = None
    train_images: PersonTable | None = None

    def __post_init__(self) -> None:
        check_dialect(self.dialect)
        if not set(self.judged) <= set(RESULTS):
            raise DataError(f"judged must be among {', '.join(RESULTS)}, got {', '.join(self.judged)}")
        if self.batch_size < 1:
            raise DataError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.width is not None and self.width < 1:
            raise DataError(f"width must be at least 1 pixel, got {self.width}")


def detector_name(detector: PoseDetector) -> str:
    """Return the name of a detector in reports: its settings if it has any, else its class."""
    return str(getattr(detector, "settings", type(detector).__name__))


@dataclass(frozen=True)
class ScoringBatch:
    """The images of a batch of pairs, to be scored.

    Attributes:
        images: results by name, and the target images under `REAL`.
        mask: pose masks {0, 1} of the masked metrics.
        target_xy: keypoints of the target poses in pixels, x first; NaN = missing.
    """

    images: Mapping[str, UInt8[Tensor, "batch 3 height width"]]
    mask: Float[Tensor, "batch 1 height width"]
    target_xy: Float[Tensor, "batch 18 2"]

    @classmethod
    def of(cls, batch: PairBatch, generated: Mapping[str, Tensor], mask_from: str) -> ScoringBatch:
        """Put together the images that were generated for a batch and those of the batch itself.

        Args:
            generated: results by name, in [-1, 1] or uint8.
            mask_from: one of `MASKS`.
        """
        canvas = batch.target_image.shape[-2:]
        mask = batch.target_mask
        if mask_from == "condition":
            mask = render_pose_masks(batch.condition_xy, (canvas[0], canvas[1]))
        images = {**generated, "condition": batch.condition_image, REAL: batch.target_image}
        return cls(
            {name: image if image.dtype == torch.uint8 else to_uint8(image) for name, image in images.items()},
            mask,
            batch.target_xy,
        )

    def middle(self, width: int) -> ScoringBatch:
        """Return the columns in the middle of the images."""
        columns = middle_columns(self.mask.shape[-1], width)
        return ScoringBatch(
            {name: image[..., columns] for name, image in self.images.items()},
            self.mask[..., columns],
            self.target_xy - self.target_xy.new_tensor((columns.start, 0)),
        )


@dataclass(frozen=True)
class Subject:
    """What is scored, and how the report describes it.

    Attributes:
        batches: yields the images of some pairs, on the whole canvas.
        results: names of the results that are scored, in the order of the report.
        judged: those that Inception network and detector see.
        model: for the report.
        mask_from: one of `MASKS`.
        files: for the report.
    """

    batches: Callable[[PairTable], Iterable[ScoringBatch]]
    results: Sequence[str]
    judged: Sequence[str]
    model: Mapping[str, Any]
    mask_from: str
    files: ScoredFiles | None = None


def score(
    subject: Subject,
    pairs: PairTable,
    data_name: str,
    csv_path: str | PathLike[str] | None,
    options: EvaluationOptions,
    on_progress: Callable[[int, int], None] | None,
) -> EvaluationReport:
    """Score images batch by batch, and discard them. The arguments are those of `evaluate`."""
    start, canvas = time.perf_counter(), _check(pairs, options)
    pose_pairs = _draw_pose_pairs(pairs, options)
    train_images = options.train_images if options.inception is not None else None
    total = len(pairs) + len(pose_pairs) + (len(train_images) if train_images is not None else 0)
    progress = _Progress(total, on_progress)
    scored = {result: metrics.pair_metrics(options.dialect, options.lpips) for result in subject.results}
    sets = _InceptionScores(options.inception, subject.judged, train_images) if options.inception is not None else None
    with atomic_write(csv_path) if csv_path is not None else nullcontext() as file:
        for batch in _cropped(subject, pairs, canvas):
            for result, collection in scored.items():
                collection.update(generated=batch.images[result], target=batch.images[REAL], mask=batch.mask)
            if sets is not None:
                sets.update(batch.images, batch.mask)
            progress.advance(len(batch.mask))
        scores = _pair_scores(scored, pairs)
        if file is not None:
            scores.write(file)
    if sets is not None:
        sets.read_train_images(options.batch_size, canvas[1], progress)
    return EvaluationReport(
        figures=scores.figures(subject.results, options.seed),
        pairs=len(pairs),
        dialect=options.dialect,
        mask_from=subject.mask_from,
        model=subject.model,
        data=data_name,
        provenance=provenance(),
        pairs_digest=pairs_digest(scores.names),
        sets=sets.figures() if sets is not None else {},
        poses=_detect_poses(subject, pose_pairs, canvas, options.detector, progress),
        lpips=options.lpips.name if options.lpips is not None else None,
        detector=detector_name(options.detector) if options.detector is not None else None,
        canvas=canvas,
        files=subject.files,
        seconds=round(time.perf_counter() - start, 1),
    )


def middle_columns(width: int, columns: int) -> slice:
    """Return the slice of the columns in the middle of images; of an odd rest, one more is cut off at the right."""
    left = (width - columns) // 2
    return slice(left, left + columns)


def _check(pairs: PairTable, options: EvaluationOptions) -> tuple[int, int]:
    """Return the (height, width) at which images are scored."""
    height, width = pairs.table.canvas
    if not len(pairs):
        raise DataError("an evaluation needs at least one pair, got none")
    if options.inception is not None and len(pairs) < SPLITS:
        raise DataError(f"an Inception Score over {SPLITS} splits needs at least as many pairs, got {len(pairs)}")
    if options.width is not None and options.width > width:
        raise DataError(f"width must be at most that of the images, {width} pixels, got {options.width}")
    train = options.train_images
    if train is not None and train.canvas != pairs.table.canvas:
        raise DataError(f"train_images must have the canvas of the pairs, {pairs.table.canvas}, got {train.canvas}")
    return height, options.width or width


def _draw_pose_pairs(pairs: PairTable, options: EvaluationOptions) -> PairTable:
    if options.detector is None:
        return pairs.select(torch.arange(0))
    return pairs.sample(min(options.pose_pairs, len(pairs)), options.seed)


def _cropped(subject: Subject, pairs: PairTable, canvas: tuple[int, int]) -> Iterator[ScoringBatch]:
    for batch in subject.batches(pairs):
        yield batch.middle(canvas[1])


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


class _InceptionScores:
    """Inception Score, mask-IS and FID of several sets of images, as far as the network has the outputs for them.

    The network runs once for all metrics of a set, so the metrics take its outputs instead of images.

    Args:
        judged: names of the results.
        train_images: the real images of FID; None takes the target images of the pairs.
    """

    def __init__(self, network: InceptionNetwork, judged: Sequence[str], train_images: PersonTable | None) -> None:
        self.network, self.train_images, self.images = network, train_images, 0
        self.whole, self.masked = (
            {
                name: metrics.InceptionScore(nn.Identity(), compute_on_cpu=True, sync_on_compute=False)
                for name in (*judged, REAL)
            }
            for _ in range(2)
        )
        self.fid: dict[str, FrechetInceptionDistance] = {}

    def update(self, images: Mapping[str, Tensor], mask: Tensor) -> None:
        self.images += len(mask)
        self.device = mask.device
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
                if self.train_images is None:
                    self.fid[name].update(real.double().cpu(), real=True)
                self.fid[name].update(generated.double().cpu(), real=False)

    def read_train_images(self, batch_size: int, width: int, progress: _Progress) -> None:
        """Add the features of the training images to FID, if it is the distance to them."""
        if self.train_images is None or not self.fid:
            return
        columns, count = middle_columns(self.train_images.canvas[1], width), len(self.train_images)
        for start in range(0, count, batch_size):
            rows = range(start, min(start + batch_size, count))
            images = torch.stack([tensor_from_pil(self.train_images.load(row)) for row in rows])
            _, features = self.network(images[..., columns].to(self.device))
            assert features is not None
            for fid in self.fid.values():
                fid.update(features.double().cpu(), real=True)
            progress.advance(len(rows))

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
        return FrechetFigure(
            distance,
            images=self.images,
            real_images=self.images if self.train_images is None else len(self.train_images),
            features=len(metric.real_features_sum),
            network=self.network.name,
            resize=self.network.resize,
            real=TARGET_IMAGES if self.train_images is None else TRAIN_IMAGES,
        )


class _GivenFeatures(nn.Identity):
    """Stands in for the network of `FrechetInceptionDistance` when the metric is updated with features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def _detect_poses(
    subject: Subject, pairs: PairTable, canvas: tuple[int, int], detector: PoseDetector | None, progress: _Progress
) -> dict[str, PoseScores]:
    """Measure how well each set of images shows the target poses; return nothing without a detector."""
    if detector is None:
        return {}
    judged = {name: metrics.PoseAccuracy(canvas[0]) for name in (*subject.judged, REAL)}
    for batch in _cropped(subject, pairs, canvas):
        for name, accuracy in judged.items():
            found_xy = torch.stack([_detect(detector, image) for image in batch.images[name]])
            accuracy.update(found_xy, batch.target_xy.cpu())
        progress.advance(len(batch.mask))
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
