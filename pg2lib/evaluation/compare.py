"""Per-pair scores on disk, and the comparison of two evaluation reports."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TextIO

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from pg2lib.errors import DataError
from pg2lib.evaluation.report import METRICS, EvaluationReport, any_score, markdown_table
from pg2lib.metrics.bootstrap import PairedDifference, paired_differences


@dataclass(frozen=True, eq=False)
class PairScores:
    """The scores of every pair, as ``pairs.csv`` holds them.

    Attributes:
        names: file names of the condition and the target image of each pair.
        columns: ``<result>_<metric>``, such as ``refined_ssim``.
        values: float64 (pairs, columns); NaN where a pair lacks the metric.
    """

    names: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    values: Float[Tensor, "pairs columns"]

    @classmethod
    def read(cls, path: str | PathLike[str]) -> PairScores:
        """Read a file that `write` wrote.

        Raises:
            DataError: The file is missing, or holds something else.
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

    def write(self, file: TextIO) -> None:
        """Write one CSV row per pair: from, to, and the scores with six decimals, empty where missing."""
        frame = pd.DataFrame(self.values.numpy(), columns=list(self.columns))
        frame.insert(0, "from", [first for first, _ in self.names])
        frame.insert(1, "to", [second for _, second in self.names])
        frame.to_csv(file, index=False, float_format="%.6f", lineterminator="\n")

    def __getitem__(self, column: str) -> Float[Tensor, "pairs"]:
        """Return the scores of one column, such as ``refined_ssim``."""
        if column not in self.columns:
            raise DataError(f"there is no column {column!r}; there are {', '.join(self.columns)}")
        return self.values[:, self.columns.index(column)]


@dataclass(frozen=True)
class ReportComparison:
    """The differences between two reports.

    Attributes:
        first, second: names of the models.
        differences: first minus second, by result and metric, for the metrics that both reports have.
        paired: the same pair by pair, with intervals and shares of pairs won; empty without the scores of the pairs.
    """

    first: str
    second: str
    differences: Mapping[str, Mapping[str, float]]
    paired: Mapping[str, Mapping[str, PairedDifference]]

    def to_markdown(self) -> str:
        """Return a Markdown table with one row per result and metric."""
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
        return markdown_table(pd.DataFrame(rows)) + "\n"

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
        differences={
            result: {name: first.figures[result][name].mean - second.figures[result][name].mean for name in names}
            for result, names in common.items()
        },
        paired=paired,
    )


def pairs_digest(names: Iterable[tuple[str, str]]) -> str:
    """Return a SHA-256 of the file names of pairs, in their order."""
    digest = hashlib.sha256()
    for first, second in names:
        digest.update(f"{first}\0{second}\n".encode())
    return digest.hexdigest()


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
