"""The comparison of two evaluation reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pandas as pd
import torch

from pg2lib.errors import DataError
from pg2lib.evaluation.report import METRICS, EvaluationReport, any_score
from pg2lib.evaluation.scores import PairScores, pairs_digest
from pg2lib.metrics.bootstrap import PairedDifference, paired_differences
from pg2lib.tables import markdown_table


@dataclass(frozen=True)
class ReportComparison:
    """The differences between two reports.

    Attributes:
        first, second: names of the models.
        pairs: number of pairs.
        differences: first minus second, by result and metric, for the metrics that both reports have.
        paired: the same pair by pair, with intervals and shares of pairs won; empty without the scores of the pairs.
    """

    first: str
    second: str
    pairs: int
    differences: Mapping[str, Mapping[str, float]]
    paired: Mapping[str, Mapping[str, PairedDifference]]

    def to_markdown(self) -> str:
        """Return a Markdown table with one row per result and metric, and the number of pairs below it."""
        rows = []
        for result, metrics in self.differences.items():
            for name, difference in metrics.items():
                metric = METRICS[name]
                signed = f"+.{metric.decimals}f"
                row = {
                    "result": result,
                    "metric": metric.title,
                    f"{self.first} minus {self.second}": f"{difference:{signed}}",
                }
                if self.paired:
                    pair = self.paired[result][name]
                    row["95 % interval"] = f"[{pair.low:{signed}}, {pair.high:{signed}}]"
                    row[f"pairs won by {self.first}"] = f"{pair.won:.1%}"
                rows.append(row)
        return f"{markdown_table(pd.DataFrame(rows))}\n\n{self.pairs:,} pairs.\n"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def compare_reports(
    first: EvaluationReport,
    second: EvaluationReport,
    first_scores: PairScores | None = None,
    second_scores: PairScores | None = None,
    seed: int = 0,
) -> ReportComparison:
    """Compare the figures of two models that were evaluated in the same way.

    Args:
        first_scores, second_scores: the ``pairs.csv`` of both evaluations. With them, the comparison is paired.
        seed: random seed of the bootstrap.

    Raises:
        DataError: The reports differ in dialect, mask, pairs or network, or the scores belong to other pairs. The
            message names what differs.
    """
    differing = list(_what_differs(first, second))
    if differing:
        raise DataError(f"these two reports cannot be compared: they differ in {'; '.join(differing)}")
    common = {
        result: [name for name in METRICS if name in first.figures[result] and name in second.figures[result]]
        for result in first.figures
        if result in second.figures
    }
    paired: Mapping[str, Mapping[str, PairedDifference]] = {}
    if first_scores is not None or second_scores is not None:
        if first_scores is None or second_scores is None:
            raise DataError("a paired comparison needs the scores of both models' pairs, got those of one model")
        _check_scores(first, first_scores)
        _check_scores(second, second_scores)
        paired = _compare_pairs(common, first_scores, second_scores, seed)
    return ReportComparison(
        first=first.model["name"],
        second=second.model["name"],
        pairs=first.pairs,
        differences={
            result: {name: first.figures[result][name].mean - second.figures[result][name].mean for name in names}
            for result, names in common.items()
        },
        paired=paired,
    )


def compare_shared_pairs(
    first: EvaluationReport,
    second: EvaluationReport,
    first_scores: PairScores,
    second_scores: PairScores,
    seed: int = 0,
) -> ReportComparison:
    """Compare two models on the pairs that both have results for, as `compare_reports` does.

    Inception Scores, FID and pose accuracy describe whole sets of images, and are not part of the comparison.

    Args:
        first_scores, second_scores: the ``pairs.csv`` of both evaluations.
        seed: random seed of the bootstrap.

    Raises:
        DataError: The evaluations have no pair in common, or `compare_reports` refuses to compare them.
    """
    _check_scores(first, first_scores)
    _check_scores(second, second_scores)
    there = set(second_scores.names)
    names = [pair for pair in dict.fromkeys(first_scores.names) if pair in there]
    if not names:
        raise DataError(
            f"{first.model['name']} and {second.model['name']} have no pair in common: score both with the same pair "
            f"file"
        )
    first_scores, second_scores = first_scores.select(names), second_scores.select(names)
    first, second = _summarise(first, first_scores, seed), _summarise(second, second_scores, seed)
    return compare_reports(first, second, first_scores, second_scores, seed)


def _summarise(report: EvaluationReport, scores: PairScores, seed: int) -> EvaluationReport:
    """Return a report with the figures of some of its pairs."""
    figures = scores.figures(tuple(report.figures), seed)
    return replace(report, figures=figures, pairs=len(scores.names), pairs_digest=pairs_digest(scores.names))


def _check_scores(report: EvaluationReport, scores: PairScores) -> None:
    if report.pairs_digest not in (None, pairs_digest(scores.names)):
        raise DataError(f"the scores belong to other pairs than the report of {report.model['name']}")


def _compare_pairs(
    common: Mapping[str, list[str]], first: PairScores, second: PairScores, seed: int
) -> dict[str, dict[str, PairedDifference]]:
    if first.names != second.names:
        raise DataError("the two files hold the scores of different pairs, or in a different order")
    paired = {}
    for result, names in common.items():
        one, other = (torch.stack([scores[f"{result}_{name}"] for name in names], dim=1) for scores in (first, second))
        better = [METRICS[name].better for name in names]
        paired[result] = dict(zip(names, paired_differences(one, other, better, seed=seed), strict=True))
    return paired


def _what_differs(first: EvaluationReport, second: EvaluationReport) -> Iterator[str]:
    if first.dialect != second.dialect:
        yield f"SSIM dialect: {first.dialect} and {second.dialect}"
    if first.mask_from != second.mask_from:
        yield f"the image that the mask belongs to: {first.mask_from} and {second.mask_from}"
    if first.canvas and second.canvas and first.canvas != second.canvas:
        yield f"(height, width) of the scored images: {first.canvas} and {second.canvas}"
    if first.pairs != second.pairs:
        yield f"pair count: {first.pairs} and {second.pairs}"
    elif first.pairs_digest and second.pairs_digest:
        if first.pairs_digest != second.pairs_digest:
            yield f"pairs: {first.data} and {second.data}, whose file names differ"
    elif first.data != second.data:  # without digests, the name of the data has to identify the pairs
        yield f"pairs: {first.data} and {second.data}"
    if first.lpips and second.lpips and first.lpips != second.lpips:
        yield f"LPIPS network: {first.lpips} and {second.lpips}"
    one, other = any_score(first), any_score(second)
    if one is not None and other is not None and (one.network, one.resize) != (other.network, other.resize):
        yield f"Inception network: {one.network} ({one.resize}) and {other.network} ({other.resize})"
    if first.detector and second.detector and first.detector != second.detector:
        yield f"pose detector: {first.detector} and {second.detector}"
