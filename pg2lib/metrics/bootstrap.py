"""Uncertainty of a mean: bootstrap intervals, and the paired comparison of two models on the same pairs.

The percentile bootstrap resamples the pairs with replacement, with the same draws for all columns, and computes the
mean of every resample. Pairs that share a person are not independent, but the bootstrap treats them as if they were:
the interval holds for pairs of the same people, and is too narrow for other people.

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
"""Number of drawn pairs that are held in memory at once."""

Better = Literal["higher", "lower", "near 1"]
"""Which of two scores is the better one."""


@dataclass(frozen=True)
class PairedDifference:
    """The difference between the scores of two models on the same pairs.

    Attributes:
        mean: mean over pairs of first minus second.
        low, high: bootstrap 95 % interval of the mean; the difference is significant if it excludes 0.
        won: share of the pairs, in [0, 1], on which the first model is better.
        tied: share of the pairs on which both score the same.
        pairs: number of pairs that both have a score for.
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
    """Return the column means of resampled pairs, float64, on the CPU.

    Args:
        scores: one row per pair; NaN = a pair without the score, which is ignored.
        resamples: number of bootstrap resamples. Memory does not grow with it times the number of pairs.
        seed: random seed. The draws depend on the seed and the number of pairs alone.

    Raises:
        DataError: There is no pair.
    """
    pairs = len(scores)
    if not pairs:
        raise DataError("a mean needs at least one pair, got none")
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
    """Return the lower and upper ends of the 95 % interval of each column mean; NaN if no pair has the score.

    Args:
        scores, resamples, seed: as in `bootstrap_means`.
    """
    ends = torch.tensor([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], dtype=torch.float64)
    # A resample without any pair that has the score has no mean.
    return bootstrap_means(scores, resamples, seed).nanquantile(ends, dim=0)


def paired_differences(
    first: Float[Tensor, "pairs columns"],
    second: Float[Tensor, "pairs columns"],
    better: list[Better],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[PairedDifference]:
    """Compare the scores of two models on the same pairs, column by column.

    Args:
        first, second: one row per pair. A pair without a score (NaN) of one model is left out for both.
        better: which of two scores is the better one, for each column.
        resamples, seed: as in `bootstrap_means`.

    Raises:
        DataError: The scores differ in shape, or no pair has both scores in some column.
    """
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] != len(better):
        raise DataError(
            f"paired scores must both have shape (pairs, {len(better)}), got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    first, second = first.double(), second.double()
    differences = first - second
    if bool(differences.isnan().all(dim=0).any()):
        raise DataError("every column needs at least one pair that both models have a score for")
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
