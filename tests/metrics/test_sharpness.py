from __future__ import annotations

import numpy as np
import pytest
import torch

from pg2lib import DataError
from pg2lib.metrics.sharpness import gradient_energy, sharpness


def noise(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 24, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_energy_is_that_of_numpys_differences() -> None:
    image = noise(0)
    values = image.numpy().astype(float)
    expected = sum((np.diff(values, axis=axis) ** 2).sum(axis=(1, 2, 3)) for axis in (2, 3))
    assert np.allclose(gradient_energy(image).numpy(), expected)


def test_blur_lowers_it_contrast_squares_it_and_place_does_not_matter() -> None:
    target = noise(0)
    assert torch.allclose(sharpness(target, target), torch.ones(3))
    assert torch.allclose(sharpness(target.flip(-1), target), torch.ones(3))
    halved = (target // 2 * 2 // 2).byte()
    assert torch.allclose(sharpness(halved, target // 2 * 2), torch.full((3,), 0.25))
    blurred = torch.nn.functional.avg_pool2d(target.float(), 3, 1, 1, count_include_pad=False).round().byte()
    assert (sharpness(blurred, target) < 0.3).all()
    noisy = (target.int() + noise(1).int() - 128).clamp(0, 255).byte()
    assert (sharpness(noisy, target) > 1).all()


def test_a_target_of_one_colour_has_nothing_to_compare_with() -> None:
    target = noise(0)
    target[1] = 7
    assert sharpness(noise(1), target).isnan().tolist() == [False, True, False]


def test_an_image_without_neighbours_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 pixels a side"):
        sharpness(noise(0)[..., :1], noise(1)[..., :1])
