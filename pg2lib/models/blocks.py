"""The convolution blocks of G1 and G2, and batch norm over several processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F


def conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """Build a 3x3 convolution that keeps the resolution, or halves it with stride 2."""
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1)


def relu(x: Tensor) -> Tensor:
    """Apply ReLU in place, which saves a copy of a wide layer."""
    return F.relu(x, inplace=True)


class Stem(nn.Conv2d):
    """A 3x3 convolution over blocks of `stem_px` x `stem_px` pixels, each block stacked on channels.

    Its weights are those of a convolution after ``F.pixel_unshuffle(x, stem_px)``. It runs as one strided convolution
    of the image, which gives the same values without writing the stacked image. With ``stem_px=1`` it is a plain 3x3
    convolution.
    """

    def __init__(self, channels_in: int, channels_out: int, stem_px: int) -> None:
        super().__init__(channels_in * stem_px**2, channels_out, kernel_size=3)
        self.stem_px = stem_px

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels_in, height, width) to (batch, channels_out, height / stem_px, width / stem_px)."""
        weight = F.pixel_shuffle(self.weight, self.stem_px)  # (out, in, 3 * stem_px, 3 * stem_px)
        return F.conv2d(x, weight, self.bias, stride=self.stem_px, padding=self.stem_px)


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each followed by ReLU. With `residual` the input is added after the second ReLU."""

    def __init__(self, channels_in: int, channels_out: int, residual: bool) -> None:
        super().__init__()
        if residual and channels_in != channels_out:
            raise ValueError(f"a residual block needs channels_in = channels_out, got {channels_in} and {channels_out}")
        self.conv1 = conv3x3(channels_in, channels_out)
        self.conv2 = conv3x3(channels_out, channels_out)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels_in, height, width) to (batch, channels_out, height, width)."""
        y = relu(self.conv2(relu(self.conv1(x))))
        return x + y if self.residual else y


class _OfAllProcesses(torch.autograd.Function):
    """Gather a tensor from all processes; the backward pass sums their gradients of this process's tensor."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        tensors = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
        distributed.all_gather(tensors, tensor)
        return torch.stack(tensors)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(gradient)
        return gradient[distributed.get_rank()]


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, which must be of equal size.

    It makes training on several processes equivalent to training on one. Unlike ``torch.nn.SyncBatchNorm`` it also
    works on CPUs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise this process's (batch, channels, height, width)."""
        several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        return self._over_all(x) if self.training and several else super().forward(x)

    def _over_all(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        variances, means = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
        share = torch.stack((means, variances))  # (2, channels)
        shares: Tensor = _OfAllProcesses.apply(share)  # type: ignore[no-untyped-call]
        mean = shares[:, 0].mean(dim=0)
        variance = shares[:, 1].mean(dim=0) + shares[:, 0].var(dim=0, correction=0)
        with torch.no_grad():
            values = x.numel() // x.shape[1] * len(shares)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * values / (values - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (x * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


def xavier_init(model: nn.Module) -> None:
    """Initialise all layers with Glorot-uniform weights and zero biases, as the released code does for G1 and G2."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
