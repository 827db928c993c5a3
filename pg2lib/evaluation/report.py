"""The evaluation report: its figures, its JSON form and its Markdown tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any, Literal

import pandas as pd

from pg2lib.files import atomic_write
from pg2lib.json_files import Scalar, checked, checked_fields, parse_json
from pg2lib.metrics.bootstrap import Better
from pg2lib.metrics.pose import PoseScores
from pg2lib.tables import markdown_table

RESULTS = ("refined", "coarse", "condition")
"""The images that are scored against the target image: the refined result, the coarse result of G1 alone, and the
condition image copied unchanged."""

REAL = "target"
"""The key of the real images among the sets of images that networks and detectors judge."""

GENERATED = "generated"
"""The name of another method's results, where those of a pipeline are called refined and coarse."""

TARGET_IMAGES, TRAIN_IMAGES = "target images", "train images"
"""The real images that FID compares with: the target images of the pairs, or all training images."""

UnscoredKind = Literal["missing", "extra", "doubtful"]

MOST_LISTED = 20
"""The most pairs and files that a Markdown report lists as left out."""


@dataclass(frozen=True)
class Metric:
    """How a per-pair metric is printed and compared.

    Attributes:
        title: the name in tables.
        decimals: the number of decimals in tables.
        better: which of two scores is the better one.
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
    "masked_sharpness": Metric("masked sharpness", 3, "near 1"),
    "lpips": Metric("LPIPS", 4, "lower"),
}
"""The per-pair metrics in the order of tables and columns. `pg2lib.metrics` defines each of them.

LPIPS needs a network; the others are always computed. A pair without a pose mask has no masked metrics, and a target of
one colour has no sharpness. The figures of a metric cover only the pairs that have it.
"""


@dataclass(frozen=True)
class Figure:
    """A metric summarised over pairs.

    Attributes:
        mean, std: mean and (population) standard deviation over pairs.
        interval: bootstrap 95 % interval of the mean; None if the report does not give it.
        pairs: number of pairs that have the metric; None if the report does not give it.
    """

    mean: float
    std: float
    interval: tuple[float, float] | None = None
    pairs: int | None = None


@dataclass(frozen=True)
class InceptionFigure:
    """The Inception Score of a set of images: at least 1, at most the number of classes, higher is better.

    Attributes:
        mean, std: mean and (population) standard deviation over the splits.
        splits: number of parts that the images were divided into, in their order.
        images: number of images.
        network: name of the network that classified them.
        resize: how the network resizes images.
    """

    mean: float
    std: float
    splits: int
    images: int
    network: str
    resize: str


@dataclass(frozen=True)
class FrechetFigure:
    """The Fréchet Inception Distance (FID) of two sets of images: 0 for equal feature mean and covariance.

    A small number of images increases the distance, so distances over different numbers of images are not comparable.
    With fewer images than features, the covariance does not have full rank.

    Attributes:
        distance: squared distance of the two Gaussians, the usual FID; lower is better.
        images, real_images: number of images of each set.
        features: length of the feature vector.
        network: name of the network that computed the features.
        resize: how the network resizes images.
        real: which images the real ones are: `TARGET_IMAGES` or `TRAIN_IMAGES`. Distances to different images are not
            comparable.
    """

    distance: float
    images: int
    real_images: int
    features: int
    network: str
    resize: str
    real: str = TARGET_IMAGES


@dataclass(frozen=True)
class SetScores:
    """What an Inception network says about a set of images. A figure is None if the network lacks the output for it.

    Attributes:
        inception_score: Inception Score of the images.
        mask_inception_score: Inception Score of the images multiplied by the pose mask.
        fid: distance to the real images (`FrechetFigure.real`); None for the target images themselves.
    """

    inception_score: InceptionFigure | None
    mask_inception_score: InceptionFigure | None
    fid: FrechetFigure | None


@dataclass(frozen=True)
class Unscored:
    """A pair or a file that `pg2lib.evaluation.score_images` left out.

    Attributes:
        kind: "missing" is a pair without a result; "extra" a file that belongs to no pair of the list; "doubtful" a
            file of which it is not certain what it shows.
        name: "FROM -> TO" for a missing pair, otherwise the path of the file in the folder of the results.
        reason: why it was left out.
    """

    kind: UnscoredKind
    name: str
    reason: str


@dataclass(frozen=True)
class ScoredFiles:
    """The files behind the report of `pg2lib.evaluation.score_images`.

    Attributes:
        listed: number of different pairs in the list of pairs, with those that could not be scored.
        size: (height, width) of every file in pixels.
        rule: how a file becomes the image that is scored.
        unscored: pairs without a result, and files that were left out.
    """

    listed: int
    size: tuple[int, int]
    rule: str
    unscored: tuple[Unscored, ...]

    def to_markdown(self) -> str:
        """Return a paragraph about the files, and a list of what was left out, shortened to `MOST_LISTED` lines."""
        counts = Counter(entry.kind for entry in self.unscored)
        text = (
            f"Of {self.listed:,} listed pairs, {counts['missing']:,} are missing; {counts['extra']:,} extra and "
            f"{counts['doubtful']:,} doubtful files were left out. Every scored file has {self.size[1]}x{self.size[0]} "
            f"pixels; {self.rule}."
        )
        lines = [f"- {entry.kind}: `{entry.name}`: {entry.reason}" for entry in self.unscored[:MOST_LISTED]]
        if len(self.unscored) > MOST_LISTED:
            lines.append(f"- and {len(self.unscored) - MOST_LISTED:,} more, which the JSON report lists")
        return "\n\n".join([text, *(["\n".join(lines)] if lines else [])])


@dataclass(frozen=True)
class EvaluationReport:
    """The figures of an evaluation, together with everything needed to interpret them.

    Attributes:
        figures: by result (see `RESULTS`), then by metric (see `METRICS`).
        pairs: number of pairs scored.
        dialect: the dialect of SSIM and mask-SSIM. Figures of different dialects are not comparable.
        mask_from: whose pose mask the masked metrics use: "target" (paper) or "condition" (released script).
        model: name and configuration of the pipeline.
        data: name of the pairs.
        seconds: wall time of the evaluation.
        provenance: version, commit, library versions and hardware.
        pairs_digest: SHA-256 of the pairs' names in order, which identifies the pairs; None if the report does not
            give it.
        sets: scores from an Inception network, by result, and under "target" for the real images; empty without one.
        poses: pose accuracy, likewise. The figures under "target" are the detector's own error.
        lpips: name of the LPIPS network; None without one.
        detector: name of the pose detector; None without one.
        canvas: (height, width) of the images as they were scored, in pixels; None if the report does not give it.
        files: the files of another method that were scored; None for a pipeline.
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
    poses: Mapping[str, PoseScores] = field(default_factory=dict)
    lpips: str | None = None
    detector: str | None = None
    canvas: tuple[int, int] | None = None
    files: ScoredFiles | None = None

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> EvaluationReport:
        """Read a report that `to_json` wrote.

        Raises:
            DataError: The text is not a report; the message names the field that is wrong.
        """
        where = "this is not an evaluation report"
        report: EvaluationReport = checked(cls, parse_json(text, where, finite=False), where)
        checked_fields({"name": str}, report.model, where, "model", others=True)
        checked(dict[str, Scalar], report.provenance, where, "provenance")
        needed = {"pg2lib": str, "commit": str | None, "hardware": str}
        checked_fields(needed, report.provenance, where, "provenance", others=True)
        return report

    def save(self, path: str | PathLike[str]) -> None:
        """Write the report as JSON. An existing file is replaced only once the new one is complete."""
        with atomic_write(path) as file:
            file.write(self.to_json())

    def to_markdown(self) -> str:
        """Return the figures as Markdown tables, followed by what they mean and where they come from."""
        tables = [_pair_table(self.figures)]
        if self.sets:
            tables.append(_set_table(self.sets))
        if self.poses:
            tables.append(_pose_table(self.poses))
        files = [self.files.to_markdown()] if self.files else []
        return "\n\n".join([*map(markdown_table, tables), " ".join(self._notes()), *files]) + "\n"

    def _notes(self) -> Iterator[str]:
        """The sentences below the tables."""
        figures = [figure for metrics in self.figures.values() for figure in metrics.values()]
        interval = " [bootstrap 95 % interval of the mean]" if any(figure.interval for figure in figures) else ""
        yield f"{self.data}, {self.pairs:,} pairs: mean ± standard deviation over pairs{interval}."
        yield f"SSIM dialect `{self.dialect}`, pose mask of the {self.mask_from} image."
        if self.canvas:
            yield f"The images were scored at {self.canvas[0]}x{self.canvas[1]} pixels (height x width)."
        if any("l1" in metrics for metrics in self.figures.values()):
            yield "L1 is in grey levels (0 to 255), PSNR in dB, and sharpness is relative to the target image (1)."
        if self.lpips:
            yield f"LPIPS network: {self.lpips}."
        score = any_score(self)
        if score is not None:
            splits = (
                f"; IS ± standard deviation over {score.splits} splits" if isinstance(score, InceptionFigure) else ""
            )
            yield f"IS and FID network: {score.network}, resize {score.resize}, {score.images:,} images{splits}."
        for distance in [scores.fid for scores in self.sets.values() if scores.fid is not None][:1]:
            yield f"FID is the distance to {distance.real_images:,} {distance.real}."
        for accuracy in list(self.poses.values())[:1]:
            yield (
                f"Poses were detected by {self.detector} in {accuracy.images:,} images. PCKh@0.5 covers the "
                f"{accuracy.images_with_head:,} images whose target pose has a head; the mean error is relative to the "
                f"image height."
            )
        code = f"pg2lib {self.provenance['pg2lib']}, commit {self.provenance['commit'] or 'unknown'}"
        yield f"Model {self.model['name']}; {code}; {self.provenance['hardware']}; {self.seconds:.0f} s."

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def any_score(report: EvaluationReport) -> InceptionFigure | FrechetFigure | None:
    """Return one of the figures from the report's Inception network, which is the same for all; None without one."""
    scores = (score for entry in report.sets.values() for score in (entry.inception_score, entry.fid))
    return next((score for score in scores if score is not None), None)


def figure_cell(figure: Figure | None, decimals: int) -> str | None:
    """Return "mean ± std [low, high]" for a table; None without a figure."""
    if figure is None:
        return None
    cell = f"{figure.mean:.{decimals}f} ± {figure.std:.{decimals}f}"
    if figure.interval is None:
        return cell
    low, high = figure.interval
    return f"{cell} [{low:.{decimals}f}, {high:.{decimals}f}]"


def _pair_table(figures: Mapping[str, Mapping[str, Figure]]) -> pd.DataFrame:
    columns: dict[str, list[str | None]] = {}
    for name, metric in METRICS.items():
        if any(name in row for row in figures.values()):
            columns[metric.title] = [figure_cell(row.get(name), metric.decimals) for row in figures.values()]
    frame: pd.DataFrame = pd.DataFrame({"result": list(figures), **columns})
    return frame


def _set_table(sets: Mapping[str, SetScores]) -> pd.DataFrame:
    def cell(score: InceptionFigure | None) -> str | None:
        return None if score is None else f"{score.mean:.3f} ± {score.std:.3f}"

    rows = [
        {
            "images": name,
            "IS": cell(scores.inception_score),
            "mask-IS": cell(scores.mask_inception_score),
            "FID": None if scores.fid is None else f"{scores.fid.distance:.2f}",
        }
        for name, scores in sets.items()
    ]
    frame: pd.DataFrame = pd.DataFrame(rows)
    return frame


def _pose_table(poses: Mapping[str, PoseScores]) -> pd.DataFrame:
    def cell(share: float | None) -> str | None:
        return None if share is None else f"{share:.1%}"

    rows = [
        {
            "images": name,
            "PCKh@0.5": cell(scores.pckh),
            "mean error": cell(scores.mean_error),
            "joints missing": cell(scores.joints_missing),
            "nobody found": cell(scores.not_found),
        }
        for name, scores in poses.items()
    ]
    frame: pd.DataFrame = pd.DataFrame(rows)
    return frame
