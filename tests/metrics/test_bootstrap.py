from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from pg2lib import DataError
from pg2lib.metrics import bootstrap
from pg2lib.metrics.bootstrap import bootstrap_intervals, bootstrap_means, paired_differences


def scores(seed: int, pairs: int = 400, columns: int = 2) -> torch.Tensor:
    return torch.randn(pairs, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_means_are_those_of_the_pairs_drawn() -> None:
    values = scores(0, pairs=17)
    drawn = torch.randint(17, (50, 17), generator=torch.Generator().manual_seed(3))
    assert torch.allclose(bootstrap_means(values, resamples=50, seed=3), values[drawn].mean(dim=1))


def test_intervals_are_numpys_percentiles_and_near_the_normal_theory() -> None:
    values = scores(1)
    low, high = bootstrap_intervals(values)
    means = bootstrap_means(values).numpy()
    assert np.allclose(np.percentile(means, [2.5, 97.5], axis=0), [low.numpy(), high.numpy()])
    half = 1.96 * values.std(dim=0) / math.sqrt(len(values))
    assert torch.allclose(high - low, 2 * half, rtol=0.1)


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda g: g.normal(size=(80, 200)), 0.0),
        (lambda g: g.uniform(size=(80, 200)), 0.5),
        (lambda g: g.exponential(size=(80, 200)), 1.0),
        (lambda g: g.uniform(size=(80, 200)) < 0.3, 0.3),
    ],
    ids=["normal", "uniform", "exponential", "yes or no"],
)
def test_the_truth_lies_inside_about_19_times_in_20(
    draw: Callable[[np.random.Generator], np.ndarray], truth: float
) -> None:
    """Each column is a sample of its own. Of 200, 190 are expected; the binomial leaves this range once in 400."""
    values = torch.from_numpy(draw(np.random.default_rng(0)).astype(np.float64))
    low, high = bootstrap_intervals(values, resamples=400)
    assert 180 <= int(((low < truth) & (truth < high)).sum()) <= 198


def test_the_same_seed_draws_the_same_however_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    values = scores(2)
    whole = bootstrap_intervals(values, seed=1)
    assert torch.equal(whole, bootstrap_intervals(values, seed=1))
    assert not torch.equal(whole, bootstrap_intervals(values, seed=2))
    monkeypatch.setattr(bootstrap, "CHUNK", 1000)
    assert torch.allclose(bootstrap_means(values, 50)[:2], bootstrap_means(values, 2))


def test_a_pair_without_a_score_counts_nowhere() -> None:
    values = scores(3, pairs=60)
    values[10:, 1] = torch.nan
    low, high = bootstrap_intervals(values)
    assert low[1] < values[:10, 1].mean() < high[1]
    assert high[1] - low[1] > 2 * (high[0] - low[0])
    values[:, 1] = torch.nan
    assert bootstrap_intervals(values)[:, 1].isnan().all()
    with pytest.raises(DataError, match="at least one pair"):
        bootstrap_means(values[:0])


def test_paired_differences_know_who_won() -> None:
    second = scores(4, columns=3).abs()
    first = second + 0.01
    first[:100] = second[:100]
    up, down, near = paired_differences(first, second, ["higher", "lower", "near 1"])
    assert (up.pairs, up.won, up.tied) == (400, 0.75, 0.25)
    assert (down.won, down.tied) == (0, 0.25)
    assert up.mean == pytest.approx(0.0075) and up.low < up.mean < up.high and up.low > 0
    # 0.01 more is nearer to 1 for whoever lies half of that below it.
    assert near.won == pytest.approx(float((second[100:, 2] < 0.995).double().sum() / 400))


def test_pairing_is_what_makes_small_differences_certain() -> None:
    """Two models that differ by .02 on every pair: certain over pairs, invisible between the two intervals."""
    second = scores(5, columns=1)
    first = second + 0.02 + 0.01 * scores(6, columns=1)
    (difference,) = paired_differences(first, second, ["higher"])
    assert difference.low > 0.015
    assert bootstrap_intervals(first)[0, 0] < bootstrap_intervals(second)[1, 0]


def test_missing_scores_are_missing_for_both() -> None:
    first, second = scores(7, columns=1), scores(8, columns=1)
    first[:5], second[5:15] = torch.nan, torch.nan
    (difference,) = paired_differences(first, second, ["higher"])
    assert difference.pairs == 385
    assert difference.mean == pytest.approx(float((first[15:] - second[15:]).mean()))
    with pytest.raises(DataError, match="every column needs"):
        paired_differences(first * torch.nan, second, ["higher"])
    with pytest.raises(DataError, match=r"\(pairs, 1\)"):
        paired_differences(first, second[:3], ["higher"])
