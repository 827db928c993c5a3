"""The network that distinguishes backs from fronts: its weights, and its accuracy on Market-1501."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pg2lib.data.market1501 import read_market1501
from pg2lib.detect import backs


@pytest.mark.parametrize(
    ("problem", "key"),
    [("Missing", "0.weight"), ("Missing", "1.running_var"), ("Missing", "16.bias"), ("Unexpected", "17.weight")],
)
def test_weights_of_another_network_are_refused(monkeypatch: pytest.MonkeyPatch, problem: str, key: str) -> None:
    tensors = load_file(backs.WEIGHTS)
    if problem == "Missing":
        del tensors[key]
    else:
        tensors[key] = torch.zeros(1)
    monkeypatch.setattr(backs, "load_file", lambda path: tensors)
    with pytest.raises(RuntimeError, match=rf'{problem} key\(s\) in state_dict: "{key}"'):
        backs.load_back_network.__wrapped__()


def test_the_odds_are_the_mean_of_the_crop_and_its_mirror_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the network gives them, positive for a back; what it sees is 64 rows of 32 pixels in [-1, 1]."""
    seen: list[torch.Tensor] = []

    def network(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch)
        return torch.tensor([[3.0], [0.5]])

    monkeypatch.setattr(backs, "load_back_network", lambda: network)
    crop = Image.new("RGB", (64, 128), "black")
    crop.paste("white", (0, 0, 32, 128))
    assert backs.back_odds(crop) == 1.75
    (batch,) = seen
    assert batch.shape == (2, 3, 64, 32)
    assert (batch[0, :, :, 0] == 1).all() and (batch[0, :, :, -1] == -1).all()
    assert torch.equal(batch[1], batch[0].flip(-1))


def test_the_network_distinguishes_backs_from_fronts(market1501_root: Path) -> None:
    """On test people, whom the network has not seen. The labels are the shoulders of the annotations."""
    table = read_market1501(market1501_root, "test")
    assert table.paths is not None
    facing = table.xy[:, 5, 0] - table.xy[:, 2, 0]
    rows = (facing.abs() > 8).nonzero().flatten().numpy()
    right = [
        (backs.back_odds(Image.open(table.paths[row])) > 0) == bool(facing[row] < 0)
        for row in np.random.default_rng(0).choice(rows, 200, replace=False).tolist()
    ]
    assert statistics.mean(right) > 0.85
