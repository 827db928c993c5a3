"""The scores of every pair: on disk, and summarised."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TextIO

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from pg2lib.errors import DataError
from pg2lib.evaluation.report import METRICS, Figure
from pg2lib.metrics.bootstrap import bootstrap_intervals


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
            if head[:2] != ["from", "to"] or len(head) < 3 or not rows:
                raise ValueError("it must have the columns from, to and scores, and at least one pair")
            values = [[float(cell) if cell else float("nan") for cell in row[2:]] for row in rows]
            return cls(
                names=tuple((row[0], row[1]) for row in rows),
                columns=tuple(head[2:]),
                values=torch.tensor(values, dtype=torch.float64).view(len(rows), len(head) - 2),
            )
        except (OSError, ValueError, IndexError, RuntimeError, csv.Error) as error:
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

    def select(self, names: Iterable[tuple[str, str]]) -> PairScores:
        """Return the scores of some pairs, in the order given."""
        row_of = {pair: row for row, pair in enumerate(self.names)}
        chosen = tuple(names)
        return PairScores(chosen, self.columns, self.values[[row_of[pair] for pair in chosen]])

    def figures(self, results: Sequence[str], seed: int) -> dict[str, dict[str, Figure]]:
        """Summarise every metric of every result over the pairs that have it; leave out metrics that no pair has.

        Args:
            results: names of the results, in the order of the report.
            seed: random seed of the bootstrap.
        """
        counts = (~self.values.isnan()).sum(dim=0)
        means = self.values.nanmean(dim=0)
        stds = (self.values - means).square().nanmean(dim=0).sqrt()
        intervals = bootstrap_intervals(self.values, seed=seed)
        summaries = zip(counts.tolist(), means.tolist(), stds.tolist(), *intervals.tolist(), strict=True)
        figures = {
            column: Figure(mean, std, (low, high), count)
            for column, (count, mean, std, low, high) in zip(self.columns, summaries, strict=True)
            if count
        }
        return {
            result: {name: figures[column] for name in METRICS if (column := f"{result}_{name}") in figures}
            for result in results
        }


def pairs_digest(names: Iterable[tuple[str, str]]) -> str:
    """Return a SHA-256 of the file names of pairs, in their order."""
    digest = hashlib.sha256()
    for first, second in names:
        digest.update(f"{first}\0{second}\n".encode())
    return digest.hexdigest()
