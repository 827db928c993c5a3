from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from pg2lib import DataError
from pg2lib.metrics.pixel import l1, masked_l1, psnr


def noise(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_l1_is_the_mean_difference_in_grey_levels() -> None:
    x, y = noise(0), noise(1)
    expected = np.abs(x.numpy().astype(float) - y.numpy().astype(float)).mean(axis=(1, 2, 3))
    assert np.allclose(l1(x, y).numpy(), expected)
    assert l1(torch.zeros_like(x), torch.full_like(x, 255)).tolist() == [255] * 4  # uint8 would wrap round


def test_masked_l1_counts_the_pixels_of_the_mask_alone() -> None:
    x, y = noise(0), noise(1)
    mask = (torch.rand(4, 1, 32, 16, generator=torch.Generator().manual_seed(2)) < 0.3).float()
    expected = [
        np.abs(a.numpy().astype(float) - b.numpy().astype(float))[:, m[0].numpy() == 1].mean()
        for a, b, m in zip(x, y, mask, strict=True)
    ]
    assert np.allclose(masked_l1(x, y, mask).numpy(), expected)
    assert torch.allclose(masked_l1(x, y, torch.ones_like(mask)), l1(x, y))
    mask[1] = 0
    assert masked_l1(x, y, mask).isnan().tolist() == [False, True, False, False]


def test_psnr_is_scikit_images() -> None:
    x, y = noise(0), (noise(0).int() + noise(3) % 5).clamp(0, 255).byte()
    for data_range in (255, 100.0):
        expected = [
            peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=data_range) for a, b in zip(x, y, strict=True)
        ]
        assert np.allclose(psnr(x, y, data_range).numpy(), expected, atol=1e-4)
    assert psnr(x, x, 255).tolist() == [math.inf] * 4


def test_what_cannot_be_scored_is_refused() -> None:
    x, y = noise(0), noise(1)
    for metric in (l1, lambda a, b: psnr(a, b, 255), lambda a, b: masked_l1(a, b, torch.ones(4, 1, 32, 16))):
        with pytest.raises(DataError, match="generated must be uint8"):
            metric(x.float(), y)
        with pytest.raises(DataError, match="same shape"):
            metric(x, y[:2])
    with pytest.raises(DataError, match="data_range must be positive"):
        psnr(x, y, 0)
    with pytest.raises(DataError, match="mask must have shape"):
        masked_l1(x, y, torch.ones(4, 32, 16))
    with pytest.raises(DataError, match="only 0 and 1"):
        masked_l1(x, y, torch.full((4, 1, 32, 16), 2))
