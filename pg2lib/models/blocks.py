"""Convolution blocks that G1 and G2 are made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the resolution, or halves it with stride 2."""
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1)


def relu(x: Tensor) -> Tensor:
    """ReLU of what a convolution just made, in its own memory: a second copy of a wide layer takes time to write."""
    return F.relu(x, inplace=True)


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each with ReLU. With `residual` the input is added after the second ReLU."""

    def __init__(self, channels_in: int, channels_out: int, residual: bool) -> None:
        super().__init__()
        if residual and channels_in != channels_out:
            raise ValueError(f"a residual block keeps its width, got {channels_in} and {channels_out}")
        self.conv1 = conv3x3(channels_in, channels_out)
        self.conv2 = conv3x3(channels_out, channels_out)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels_in, height, width) to (batch, channels_out, height, width)."""
        y = relu(self.conv2(relu(self.conv1(x))))
        return x + y if self.residual else y


def xavier_init(model: nn.Module) -> None:
    """Glorot-uniform weights and zero biases everywhere, as the released code starts G1 and G2."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
