from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pg2lib import DataError, PG2Error
from pg2lib.files import sha256_of
from pg2lib.metrics.perceptual import BACKBONES, PerceptualNetwork, load_lpips
from pg2lib.metrics.weights import SHA256


class Distance(nn.Module):
    """Mean absolute difference in [-1, 1], in the shape that LPIPS has."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        assert x.dtype == y.dtype == torch.float32
        return (x - y).abs().mean(dim=(1, 2, 3), keepdim=True)


def test_images_are_shown_in_minus_1_to_1_and_a_distance_a_pair_comes_back() -> None:
    black = torch.zeros(3, 3, 8, 4, dtype=torch.uint8)
    network = PerceptualNetwork("mean", Distance())
    assert network(black, black + 255).tolist() == [2, 2, 2]
    assert network(black, black).tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="must be uint8"):
        network(black.float(), black)
    with pytest.raises(DataError, match=r"\bsum\b.*\b3 distances.*\(\)"):
        PerceptualNetwork("sum", nn.MSELoss())(black, black)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_distances_that_are_not_finite_are_refused(value: float) -> None:
    """As weights that were cut off give them; a NaN would count as a pair that lacks LPIPS."""

    class Broken(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.tensor([0.5, value, 0.25])

    black = torch.zeros(3, 3, 8, 4, dtype=torch.uint8)
    with pytest.raises(DataError, match=r"\bbroken\b.*finite.*\b1 of 3\b"):
        PerceptualNetwork("broken", Broken())(black, black)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's folder for weights, empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_missing_weights_and_package_are_named(backbone: str, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = hub / BACKBONES[backbone]
    with pytest.raises(PG2Error, match=weights.name) as error:
        load_lpips(backbone)
    assert str(weights) in str(error.value) and "pip install lpips" in str(error.value)
    weights.touch()
    with pytest.raises(PG2Error, match=f"{weights.name} is damaged or not the published file"):
        load_lpips(backbone)
    monkeypatch.setitem(SHA256, weights.name, sha256_of(weights))
    monkeypatch.setitem(sys.modules, "lpips", None)  # as if it were not installed
    with pytest.raises(PG2Error, match=r"torchvision.*pip install lpips"):
        load_lpips(backbone)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(PG2Error, match="alex, vgg, squeeze, got 'inception'"):
        load_lpips("inception")


def test_the_package_is_asked_for_the_backbone(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's interface, in place of the package."""

    class Lpips(Distance):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            assert (net, verbose) == ("vgg", False)

    package = types.ModuleType("lpips")
    package.LPIPS = Lpips
    monkeypatch.setitem(sys.modules, "lpips", package)
    (hub / BACKBONES["vgg"]).touch()
    monkeypatch.setitem(SHA256, BACKBONES["vgg"], sha256_of(hub / BACKBONES["vgg"]))
    network = load_lpips("vgg")
    assert network.name == "lpips 0.1 vgg" and not network.module.training
