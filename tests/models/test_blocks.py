"""The blocks of the networks that a single process does not show."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pg2lib.models import blocks
from pg2lib.models.blocks import GlobalBatchNorm2d


def test_batch_norm_of_two_processes_is_torchs_own_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process has half of the batch; output, running mean and running variance are those of the whole."""
    generator = torch.Generator().manual_seed(0)
    images = 2 * torch.randn(6, 4, 3, 2, generator=generator) + torch.arange(4.0)[:, None, None]
    images[:3] += 1  # the halves differ
    whole = nn.BatchNorm2d(4)
    nn.init.normal_(whole.weight)
    nn.init.normal_(whole.bias)
    halves = images.chunk(2)
    gathered = torch.stack([torch.stack((h.mean(dim=(0, 2, 3)), h.var(dim=(0, 2, 3), correction=0))) for h in halves])
    monkeypatch.setattr(blocks.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(blocks.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(blocks._OfAllProcesses, "apply", lambda share: gathered)
    for _ in range(2):  # the running statistics move twice
        expected = whole(images)
    for half, part in zip(halves, expected.chunk(2), strict=True):
        norm = GlobalBatchNorm2d(4)
        norm.weight, norm.bias = whole.weight, whole.bias
        for _ in range(2):
            output = norm(half)
        torch.testing.assert_close(output, part)
        torch.testing.assert_close(norm.running_mean, whole.running_mean)
        torch.testing.assert_close(norm.running_var, whole.running_var)
