"""G1, G2 and D against a forward pass in NumPy that is written from sections 2 and 3 of the specification alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pg2lib import build_models
from pg2lib.config import ModelConfig

Array = NDArray[np.float64]

TINY = ModelConfig(
    height=32, width=16, base_width=3, bottleneck=4, discriminator_width=2, discriminator_norm="spectral"
)


class Weights:
    """The parameters of a model by name, in double precision."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.values = {key: value.detach().double().numpy() for key, value in model.state_dict().items()}

    def conv(self, name: str, x: Array, stride: int = 1) -> Array:
        """A convolution that keeps the size at stride 1, by the definition: a sum over the places of the kernel."""
        kernel, bias = self.values[f"{name}.weight"], self.values[f"{name}.bias"]
        reach = kernel.shape[2] // 2
        padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
        return np.einsum("chwij,ocij->ohw", windows, kernel) + bias[:, None, None]

    def linear(self, name: str, x: Array) -> Array:
        return self.values[f"{name}.weight"] @ x + self.values[f"{name}.bias"]

    def double_conv(self, name: str, x: Array, residual: bool) -> Array:
        y = relu(self.conv(f"{name}.conv2", relu(self.conv(f"{name}.conv1", x))))
        return x + y if residual else y


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def doubled(x: Array) -> Array:
    return x.repeat(2, axis=1).repeat(2, axis=2)


def g1_by_hand(g1: torch.nn.Module, seen: Array, config: ModelConfig) -> Array:
    """Encoder of residual blocks, two linear layers, decoder of residual blocks at the stacked width, 1x1 after x2."""
    w, n, skips = Weights(g1), config.blocks, []
    x = relu(w.conv("first", seen))
    for i in range(n):
        x = w.double_conv(f"encoder.{i}", x, residual=True)
        skips.append(x)
        if i < n - 1:
            x = relu(w.conv(f"down.{i}", x, stride=2))
    x = w.linear("expand", w.linear("squeeze", x.reshape(-1)))
    x = x.reshape(config.base_width, config.height >> (n - 1), config.width >> (n - 1))
    for i in range(n):
        x = w.double_conv(f"decoder.{i}", np.concatenate((x, skips[n - 1 - i])), residual=True)
        if i < n - 1:
            x = relu(w.conv(f"up.{i}", doubled(x)))
    return w.conv("last", x)


def g2_by_hand(g2: torch.nn.Module, seen: Array, config: ModelConfig) -> Array:
    """N - 2 blocks without residuals or linear layers; the last does not halve, the outermost skip is a choice."""
    w, n, skips = Weights(g2), config.blocks - 2, []
    x = relu(w.conv("first", seen))
    for i in range(n):
        x = w.double_conv(f"encoder.{i}", x, residual=False)
        skips.append(x)
        if i < n - 1:
            x = relu(w.conv(f"down.{i}", x, stride=2))
    for i in range(n):
        x = x if i == 0 else doubled(x)
        if i < n - 1 or config.g2_outer_skip:
            x = np.concatenate((x, skips[n - 1 - i]))
        x = w.double_conv(f"decoder.{i}", x, residual=False)
    return w.conv("last", x)


def d_by_hand(d: torch.nn.Module, x: Array, depth: int) -> float:
    """5x5 convolutions of stride 2 with LeakyReLU 0.2, weights divided by their spectral norm, then one logit."""
    w = Weights(d)
    for i in range(depth):
        layer = d.convs[i]
        w.values[f"convs.{i}.weight"] = layer.weight.detach().double().numpy()  # as the parametrization gives it
        w.values[f"convs.{i}.bias"] = layer.bias.detach().double().numpy()
        x = w.conv(f"convs.{i}", x, stride=2)
        x = np.where(x > 0, x, 0.2 * x)
    return float(d.last.weight.detach().double().numpy()[0] @ x.reshape(-1)) + float(d.last.bias.detach())


@pytest.fixture
def models() -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module]:
    """Seeded; biases are zero at first, which would hide one that is left out."""
    torch.manual_seed(0)
    made = build_models(dataclasses.replace(TINY, g2_outer_skip=True))
    for model in made:
        for parameter in model.parameters():
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, std=0.1)
    return tuple(model.eval() for model in made)


def draw(channels: int) -> torch.Tensor:
    return torch.randn(1, channels, 32, 16, generator=torch.Generator().manual_seed(channels))


def test_g1(models) -> None:
    image, heatmaps = draw(3), (draw(18) > 1).float()
    seen = torch.cat((image, heatmaps), dim=1)[0].double().numpy()
    with torch.no_grad():
        assert np.allclose(models[0](image, heatmaps)[0], g1_by_hand(models[0], seen, TINY), atol=1e-4)


@pytest.mark.parametrize("outer_skip", [False, True])
def test_g2(outer_skip: bool) -> None:
    config = ModelConfig(height=64, width=32, base_width=3, g2_outer_skip=outer_skip)  # two blocks
    torch.manual_seed(1)
    g2 = build_models(config)[1].eval()
    image, coarse = (torch.randn(1, 3, 64, 32) for _ in range(2))
    seen = torch.cat((image, coarse), dim=1)[0].double().numpy()
    with torch.no_grad():
        assert np.allclose(g2(image, coarse)[0], g2_by_hand(g2, seen, config), atol=1e-4)


def test_d(models) -> None:
    pair = draw(6)
    with torch.no_grad():
        by_hand = d_by_hand(models[2], pair[0].double().numpy(), depth=len(models[2].convs))
        assert float(models[2](pair)) == pytest.approx(by_hand, abs=1e-4)


def test_d_is_initialised_as_dcgan() -> None:
    """Truncated normal weights of deviation 0.02, no farther than two deviations out, and biases of zero."""
    torch.manual_seed(0)
    d = build_models(ModelConfig(discriminator_width=32))[2]
    for layer in (*d.convs[1:], d.last):
        assert float(layer.weight.detach().std()) == pytest.approx(
            0.0176, rel=0.05
        )  # of a normal cut at two deviations
        assert 0.035 < float(layer.weight.detach().abs().max()) <= 0.04
        assert not layer.bias.any()
