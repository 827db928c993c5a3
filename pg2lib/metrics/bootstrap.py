"""How sure a mean is: bootstrap intervals, and the paired comparison of two models on the same pairs.

The pairs are drawn again with replacement, all columns with the same draw, and the mean is taken of every draw
(percentile bootstrap). Pairs that share a person are not independent, and the draw treats them as if they were: the
interval says how well these figures are known for pairs like these, and is too narrow for other people.

References:
    Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pg2lib.errors import DataError

RESAMPLES = 2000
CONFIDENCE = 0.95
CHUNK = 2**22
"""Draws of a pair that are held in memory at once."""

Better = Literal["higher", "lower", "near 1"]
"""What makes a score the better of two."""


@dataclass(frozen=True)
class PairedDifference:
    """What one model scores over another, on the same pairs.

    Attributes:
        mean: mean over pairs of first minus second.
        low, high: bootstrap 95 % interval of that mean; one that leaves out 0 is a difference beyond chance.
        won: share of pairs in [0, 1] on which the first is better.
        tied: share of pairs on which both score the same.
        pairs: that both have a score for.
    """

    mean: float
    low: float
    high: float
    won: float
    tied: float
    pairs: int


def bootstrap_means(
    scores: Float[Tensor, "pairs columns"], resamples: int = RESAMPLES, seed: int = 0
) -> Float[Tensor, "resamples columns"]:
    """The means of the columns over pairs drawn again with replacement, float64, on the CPU.

    Memory does not grow with `resamples` times the pairs.

    Args:
        scores: NaN = a pair without that score, which counts nowhere.
        seed: the same seed gives the same draws, and so do two calls with as many pairs.

    Raises:
        DataError: no pair.
    """
    pairs = len(scores)
    if not pairs:
        raise DataError("there is no pair to take a mean over")
    values = scores.detach().cpu().double()
    present = (~values.isnan()).double()
    values = values.nan_to_num(nan=0.0)
    generator = torch.Generator().manual_seed(seed)
    means = []
    chunk = max(1, CHUNK // pairs)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = torch.randint(pairs, (size, pairs), generator=generator)
        times = torch.zeros(size, pairs, dtype=torch.float64)
        times.scatter_add_(1, drawn, torch.ones((), dtype=torch.float64).expand_as(drawn))
        means.append((times @ values) / (times @ present))
    return torch.cat(means)


def bootstrap_intervals(
    scores: Float[Tensor, "pairs columns"], resamples: int = RESAMPLES, seed: int = 0
) -> Float[Tensor, "2 columns"]:
    """Lower and upper end of the 95 % interval of each column's mean; NaN where no pair has the score.

    Args:
        scores, resamples, seed: as in `bootstrap_means`.
    """
    ends = torch.tensor([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], dtype=torch.float64)
    # A draw that leaves out every pair that has the score has no mean.
    return bootstrap_means(scores, resamples, seed).nanquantile(ends, dim=0)


def paired_differences(
    first: Float[Tensor, "pairs columns"],
    second: Float[Tensor, "pairs columns"],
    better: list[Better],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[PairedDifference]:
    """First minus second on the same pairs, column by column.

    Args:
        first, second: scores of two models, a row a pair; NaN = missing, and then missing for both.
        better: for each column, what makes a score the better of two.

    Raises:
        DataError: the two differ in shape, or a column has no pair that both have a score for.
    """
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] != len(better):
        raise DataError(
            f"paired scores must be (pairs, {len(better)}) alike, got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    first, second = first.double(), second.double()
    differences = first - second
    if bool(differences.isnan().all(dim=0).any()):
        raise DataError("some column has no pair that both have a score for")
    low, high = bootstrap_intervals(differences, resamples, seed).tolist()
    results = []
    for column, rule in enumerate(better):
        both = ~differences[:, column].isnan()
        gain = {
            "higher": differences[both, column],
            "lower": -differences[both, column],
            "near 1": (second[both, column] - 1).abs() - (first[both, column] - 1).abs(),
        }[rule]
        results.append(
            PairedDifference(
                mean=float(differences[both, column].mean()),
                low=low[column],
                high=high[column],
                won=float((gain > 0).double().mean()),
                tied=float((gain == 0).double().mean()),
                pairs=int(both.sum()),
            )
        )
    return results
