"""One step of Adam, one of the moving average, and the flips of a run, against what they should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pg2lib import ImageStore, PG2Config, make_pairs, read_market1501
from pg2lib.config import Stage1Config
from pg2lib.pose import flip_xy
from pg2lib.training import stages
from pg2lib.training.feed import PairOrder


def test_three_steps_of_adam() -> None:
    """Kingma and Ba, algorithm 1, with the betas of section 4.1."""
    stage = Stage1Config(lr=0.01)
    model = torch.nn.Linear(2, 1, bias=False)
    start = model.weight.detach().double().numpy().copy()
    optimiser = stages._adam(model, stage, stage.lr)
    gradients = np.array([[[0.3, -2.0]], [[0.1, 0.5]], [[-0.7, 0.2]]])
    m = v = np.zeros((1, 2))
    expected = start
    for t, gradient in enumerate(gradients, 1):
        model.weight.grad = torch.tensor(gradient, dtype=torch.float32)
        optimiser.step()
        m, v = 0.5 * m + 0.5 * gradient, 0.999 * v + 0.001 * gradient**2
        expected = expected - 0.01 * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        assert np.allclose(model.weight.detach().numpy(), expected, atol=1e-6)


def test_a_step_of_the_moving_average() -> None:
    """average <- decay * average + (1 - decay) * weights, with (1 + step) / (10 + step) in place of a longer memory."""
    average, model = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    for step, decay in ((100_000, 0.9), (0, 0.1)):
        torch.nn.init.constant_(average.weight, 1.0)
        torch.nn.init.constant_(model.weight, 3.0)
        stages._update_average(average, model, 0.9, step)
        assert average.weight.item() == pytest.approx(decay * 1.0 + (1 - decay) * 3.0)
        assert model.weight.item() == 3.0


@pytest.mark.parametrize("flip", [True, False])
def test_the_batches_of_a_run_are_flipped_by_its_coins(
    flip: bool, tiny_market1501: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reaches the loss: images, keypoints and heatmaps of a pair flipped together, about half of the pairs."""
    store = ImageStore.open(read_market1501(tiny_market1501, "train"))
    pairs = make_pairs(store.table)
    seen = []
    see = stages._seen
    monkeypatch.setattr(stages, "_seen", lambda config, batch: seen.append(batch) or see(config, batch))
    settings = {"model.base_width": 4, "model.bottleneck": 4, "stage1.steps": 6, "stage1.flip": flip}
    config = PG2Config.preset("fast").override(settings)
    stages.train_stage1(config, store, pairs, tmp_path)
    order, flipped = PairOrder(len(pairs), 8, seed=0), 0
    for step, batch in enumerate(seen[:6]):
        indices, coins = order(step)
        plain = store.batch(pairs, indices)
        for i, coin in enumerate((coins & flip).tolist()):
            expected = plain.target_image[i].flip(-1) if coin else plain.target_image[i]
            assert torch.equal(batch.target_image[i], expected)
            xy = flip_xy(plain.target_xy[i], 64) if coin else plain.target_xy[i]
            assert torch.equal(batch.target_xy[i], xy)
            flipped += coin
    assert 12 < flipped < 36 if flip else flipped == 0
