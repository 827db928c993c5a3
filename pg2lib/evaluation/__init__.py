"""Scoring a pipeline on pairs (section 4.3): a row a pair, streamed, and a report; and comparing two reports.

A number never travels alone: the report carries the pair count, the metric dialect, the networks that judged, the
model, the code's commit and the hardware. Reports that were not taken alike are not compared.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from pg2lib.data.pairs import PairTable
from pg2lib.data.store import ImageStore, PairBatch
from pg2lib.errors import DataError, NoPersonError
from pg2lib.files import atomic_write
from pg2lib.images import pil_from_tensor, to_uint8
from pg2lib.metrics.bootstrap import Better, PairedDifference, bootstrap_intervals, paired_differences
from pg2lib.metrics.inception import (
    SPLITS,
    ClassProbabilities,
    FeatureMoments,
    FrechetDistance,
    InceptionNetwork,
    InceptionScore,
    fid,
)
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

RESULTS = ("refined", "coarse", "condition")
"""What is scored against the target image: the refined result, G1 alone, and the condition image copied unchanged."""

REAL = "target"
"""The real images, among the sets that networks and the detector judge."""


ABSENT = "–"
"""In a table, where there is no figure."""


@dataclass(frozen=True)
class Metric:
    """How a metric that scores every pair is shown and read.

    Attributes:
        title: in tables.
        decimals: in tables.
        better: what makes a score the better of two.
    """

    title: str
    decimals: int
    better: Better


METRICS: Mapping[str, Metric] = {
    "ssim": Metric("SSIM", 4, "higher"),
    "mask_ssim": Metric("mask-SSIM", 4, "higher"),
    "l1": Metric("L1", 2, "lower"),
    "masked_l1": Metric("masked L1", 2, "lower"),
    "psnr": Metric("PSNR", 2, "higher"),
    "sharpness": Metric("sharpness", 3, "near 1"),
    "lpips": Metric("LPIPS", 4, "lower"),
}
"""In the order of tables and columns; each is described where it is defined, in `pg2lib.metrics`.

LPIPS needs a network, the others are always there. A pair without a pose mask has no masked L1, and a target of one
colour no sharpness: such pairs count in no figure of these.
"""

PSNR_CEILING_DB = 100.0
"""A result that equals the target has an infinite PSNR; it counts as this, so that the mean stays a number."""


@dataclass(frozen=True)
class Figure:
    """A metric over pairs.

    Attributes:
        mean, std: mean and standard deviation over pairs.
        interval: bootstrap 95 % interval of the mean; None in reports of pg2lib before it had them.
        pairs: that have the metric; None in such reports.
    """

    mean: float
    std: float
    interval: tuple[float, float] | None = None
    pairs: int | None = None


@dataclass(frozen=True)
class SetScores:
    """What an Inception network says of a set of images; None is what its outputs do not give.

    Attributes:
        inception_score: of the images; its deviation is over splits, not over pairs.
        mask_inception_score: likewise, of the images multiplied by the pose mask.
        fid: distance to the target images; None for these themselves.
    """

    inception_score: InceptionScore | None
    mask_inception_score: InceptionScore | None
    fid: FrechetDistance | None


@dataclass(frozen=True)
class EvaluationReport:
    """Figures and all that is needed to read them.

    Attributes:
        figures: by result (see RESULTS), then by metric (see METRICS).
        pairs: how many were scored.
        dialect: of SSIM and mask-SSIM; figures of different dialects cannot be compared.
        mask_from: whose pose mask mask-SSIM and masked L1 used, "target" (paper) or "condition" (released script).
        model: what the pipeline is called, and its configuration.
        data: what the pairs are called.
        seconds: wall time of the evaluation.
        provenance: version, commit, library versions and hardware.
        pairs_digest: SHA-256 of the pairs' names in order, which tells whether two reports scored the same pairs; None
            in reports of pg2lib before it had them.
        sets: by result, and under "target" for the real images, what an Inception network says of them; empty without.
        poses: likewise, how well the images show the target poses; the detector's own error is under "target".
        lpips: the network behind LPIPS; None without.
        detector: what found the poses; None without.
    """

    figures: Mapping[str, Mapping[str, Figure]]
    pairs: int
    dialect: str
    mask_from: str
    model: Mapping[str, Any]
    data: str
    seconds: float
    provenance: Mapping[str, Any]
    pairs_digest: str | None = None
    sets: Mapping[str, SetScores] = field(default_factory=dict)
    poses: Mapping[str, PoseAccuracy] = field(default_factory=dict)
    lpips: str | None = None
    detector: str | None = None

    def to_json(self) -> str:
        """The report as indented JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> EvaluationReport:
        """The inverse of `to_json`; reads the reports of earlier versions too.

        Raises:
            DataError: not a report.
        """
        try:
            values = json.loads(text)
            figures = {
                result: {metric: _figure(**figure) for metric, figure in metrics.items()}
                for result, metrics in values.pop("figures").items()
            }
            sets = {name: _set_scores(**scores) for name, scores in values.pop("sets", {}).items()}
            poses = {name: PoseAccuracy(**scores) for name, scores in values.pop("poses", {}).items()}
            return cls(figures=figures, sets=sets, poses=poses, **values)
        except (json.JSONDecodeError, TypeError, AttributeError, KeyError) as error:
            raise DataError(f"this is not an evaluation report: {error!r}") from error

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the report as JSON, whole or not at all."""
        with atomic_write(path) as file:
            file.write(self.to_json())

    def to_markdown(self) -> str:
        """The figures as tables, with what they stand for below them."""
        shown = [name for name in METRICS if any(name in metrics for metrics in self.figures.values())]
        lines = _table(
            ["result", *(METRICS[name].title for name in shown)],
            [[result, *(_cell(metrics.get(name), name) for name in shown)] for result, metrics in self.figures.items()],
        )
        if self.sets:
            lines += [
                "",
                *_table(["images", "IS", "mask-IS", "FID"], [_set_row(*entry) for entry in self.sets.items()]),
            ]
        if self.poses:
            head = ["images", "PCKh@0.5", "mean error", "joints missing", "nobody found"]
            lines += ["", *_table(head, [_pose_row(*entry) for entry in self.poses.items()])]
        intervals = any(figure.interval for metrics in self.figures.values() for figure in metrics.values())
        code = f"pg2lib {self.provenance['pg2lib']}, commit {self.provenance['commit'] or 'unknown'}"
        lines += [
            "",
            f"{self.data}, {self.pairs:,} pairs, mean ± standard deviation over pairs"
            f"{' [bootstrap 95 % interval of the mean]' if intervals else ''}; dialect `{self.dialect}`, "
            f"mask from the {self.mask_from}; {''.join(self._judges())}model {self.model['name']}; {code}; "
            f"{self.provenance['hardware']}; {self.seconds:.0f} s.",
        ]
        return "\n".join(lines) + "\n"

    def _judges(self) -> Iterator[str]:
        """What stands behind the figures that networks and detectors gave."""
        if "l1" in next(iter(self.figures.values()), {}):
            yield "L1 in grey levels, PSNR in dB, sharpness as gradient energy over the target's; "
        if self.lpips:
            yield f"LPIPS by {self.lpips}; "
        score = any_score(self)
        if score is not None:
            splits = f", ± of IS over {score.splits} splits, not pairs" if isinstance(score, InceptionScore) else ""
            yield f"IS and FID by {score.network} on {score.images:,} images, size {score.resize}{splits}; "
        for accuracy in list(self.poses.values())[:1]:
            yield (
                f"poses by {self.detector} on {accuracy.images:,} images, PCKh on the {accuracy.images_with_head:,} "
                f"whose target pose has a head, mean error as a share of the image's height; "
            )

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


@dataclass(frozen=True, eq=False)
class PairScores:
    """The rows of a ``pairs.csv``.

    Attributes:
        names: file names of the condition and the target image of each pair.
        columns: ``<result>_<metric>``.
        values: float64 (pairs, columns); NaN where a pair lacks the metric.
    """

    names: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    values: Float[Tensor, "pairs columns"]

    @classmethod
    def read(cls, path: str | PathLike[str]) -> PairScores:
        """Reads what `evaluate` wrote.

        Raises:
            DataError: no such file, or another kind of file.
        """
        try:
            with Path(path).open(encoding="utf-8", newline="") as file:
                head, *rows = list(csv.reader(file))
            if head[:2] != ["from", "to"] or not rows:
                raise ValueError("it must have the columns from, to and scores, and at least one pair")
            values = [[float(cell) if cell else float("nan") for cell in row[2:]] for row in rows]
            return cls(
                names=tuple((row[0], row[1]) for row in rows),
                columns=tuple(head[2:]),
                values=torch.tensor(values, dtype=torch.float64).view(len(rows), len(head) - 2),
            )
        except (OSError, ValueError, IndexError, RuntimeError) as error:
            raise DataError(f"{path} holds no scores of pairs: {error}") from error

    def __getitem__(self, column: str) -> Float[Tensor, "pairs"]:
        """The scores of one column, such as ``refined_ssim``."""
        if column not in self.columns:
            raise DataError(f"there is no column {column!r}; there are {', '.join(self.columns)}")
        return self.values[:, self.columns.index(column)]


@dataclass(frozen=True)
class ReportComparison:
    """Two reports side by side.

    Attributes:
        first, second: names of the models.
        differences: first minus second, means by result and metric, for what both reports have.
        paired: the same over pairs, with interval and share of pairs won; empty without the scores of the pairs.
    """

    first: str
    second: str
    differences: Mapping[str, Mapping[str, float]]
    paired: Mapping[str, Mapping[str, PairedDifference]]

    def to_markdown(self) -> str:
        """A row a result and metric."""
        rows = []
        for result, metrics in self.differences.items():
            for name, difference in metrics.items():
                decimals = METRICS[name].decimals
                row = [result, METRICS[name].title, f"{difference:+.{decimals}f}"]
                if self.paired:
                    pair = self.paired[result][name]
                    row += [f"[{pair.low:+.{decimals}f}, {pair.high:+.{decimals}f}]", f"{pair.won:.1%}"]
                rows.append(row)
        more = ["95 % interval", f"pairs won by {self.first}"] if self.paired else []
        return "\n".join(_table(["result", "metric", f"{self.first} minus {self.second}", *more], rows)) + "\n"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def compare_reports(
    first: EvaluationReport,
    second: EvaluationReport,
    first_scores: PairScores | None = None,
    second_scores: PairScores | None = None,
    seed: int = 0,
) -> ReportComparison:
    """What one model scores over another, if both were scored alike.

    Args:
        first_scores, second_scores: the ``pairs.csv`` of both, for the paired comparison.
        seed: of the bootstrap.

    Raises:
        DataError: the reports differ in dialect, mask, pairs or network, or the scores are of other pairs; the message
            names what differs.
    """
    differing = list(_what_differs(first, second))
    if differing:
        raise DataError(f"these two reports cannot be compared: they differ in {'; '.join(differing)}")
    common = {
        result: [name for name in METRICS if name in first.figures[result] and name in second.figures[result]]
        for result in first.figures
        if result in second.figures
    }
    paired: dict[str, dict[str, PairedDifference]] = {}
    if first_scores is not None or second_scores is not None:
        if first_scores is None or second_scores is None:
            raise DataError("a paired comparison needs the scores of both models' pairs")
        for report, scores in ((first, first_scores), (second, second_scores)):
            if report.pairs_digest not in (None, _digest(scores.names)):
                raise DataError(f"the scores are of other pairs than the report of {report.model['name']}")
        if first_scores.names != second_scores.names:
            raise DataError("the two files hold the scores of different pairs, or in another order")
        for result, names in common.items():
            columns = [f"{result}_{name}" for name in names]
            one, other = (
                torch.stack([scores[column] for column in columns], dim=1) for scores in (first_scores, second_scores)
            )
            better = [METRICS[name].better for name in names]
            paired[result] = dict(zip(names, paired_differences(one, other, better, seed=seed), strict=True))
    return ReportComparison(
        first=first.model["name"],
        second=second.model["name"],
        differences={
            result: {name: first.figures[result][name].mean - second.figures[result][name].mean for name in names}
            for result, names in common.items()
        },
        paired=paired,
    )


def _what_differs(first: EvaluationReport, second: EvaluationReport) -> Iterator[str]:
    for name, what in (("dialect", "dialect"), ("mask_from", "the side the mask is from"), ("pairs", "pair count")):
        values = getattr(first, name), getattr(second, name)
        if values[0] != values[1]:
            yield f"{what}: {values[0]} and {values[1]}"
    if first.pairs == second.pairs:
        if first.pairs_digest and second.pairs_digest:
            if first.pairs_digest != second.pairs_digest:
                yield f"pairs: {first.data} and {second.data}, whose names are not the same"
        elif first.data != second.data:  # a report of an earlier version knows its pairs by this name alone
            yield f"pairs: {first.data} and {second.data}"
    if first.lpips and second.lpips and first.lpips != second.lpips:
        yield f"LPIPS network: {first.lpips} and {second.lpips}"
    one, other = any_score(first), any_score(second)
    if one is not None and other is not None and (one.network, one.resize) != (other.network, other.resize):
        yield f"Inception network: {one.network} ({one.resize}) and {other.network} ({other.resize})"
    if first.detector and second.detector and first.detector != second.detector:
        yield f"pose detector: {first.detector} and {second.detector}"


def any_score(report: EvaluationReport) -> InceptionScore | FrechetDistance | None:
    """One of the figures that a report's Inception network gave: all are by the same network; None without one."""
    scores = (score for entry in report.sets.values() for score in (entry.inception_score, entry.fid))
    return next((score for score in scores if score is not None), None)


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
        pairs_digest=_digest(pairs.names(i) for i in range(len(pairs))),
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


def _digest(names: Iterable[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for first, second in names:
        digest.update(f"{first}\0{second}\n".encode())
    return digest.hexdigest()


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


def _figure(mean: float, std: float, interval: Sequence[float] | None = None, pairs: int | None = None) -> Figure:
    return Figure(mean, std, (interval[0], interval[1]) if interval is not None else None, pairs)


def _set_scores(
    inception_score: dict[str, Any] | None, mask_inception_score: dict[str, Any] | None, fid: dict[str, Any] | None
) -> SetScores:
    return SetScores(
        InceptionScore(**inception_score) if inception_score is not None else None,
        InceptionScore(**mask_inception_score) if mask_inception_score is not None else None,
        FrechetDistance(**fid) if fid is not None else None,
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def _cell(figure: Figure | None, metric: str) -> str:
    if figure is None:
        return ABSENT
    decimals = METRICS[metric].decimals
    cell = f"{figure.mean:.{decimals}f} ± {figure.std:.{decimals}f}"
    if figure.interval is None:
        return cell
    low, high = figure.interval
    return f"{cell} [{low:.{decimals}f}, {high:.{decimals}f}]"


def _set_row(name: str, scores: SetScores) -> list[str]:
    cells = [
        f"{score.mean:.3f} ± {score.std:.3f}" if score is not None else ABSENT
        for score in (scores.inception_score, scores.mask_inception_score)
    ]
    return [name, *cells, f"{scores.fid.distance:.2f}" if scores.fid is not None else ABSENT]


def _pose_row(name: str, accuracy: PoseAccuracy) -> list[str]:
    shares = (accuracy.pckh, accuracy.mean_error, accuracy.joints_missing, accuracy.not_found)
    return [name, *(f"{share:.1%}" if share is not None else ABSENT for share in shares)]
