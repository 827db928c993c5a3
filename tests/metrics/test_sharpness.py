from __future__ import annotations

import numpy as np
import pytest
import torch

from pg2lib import DataError
from pg2lib.metrics.sharpness import gradient_energy, masked_sharpness, sharpness


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


def test_masked_sharpness_is_that_of_the_pixels_inside() -> None:
    generated, target, mask = noise(0), noise(1), torch.zeros(3, 1, 24, 16)
    mask[:, :, 4:20, 3:11] = 1
    inside = (..., slice(4, 20), slice(3, 11))
    assert torch.allclose(masked_sharpness(generated, target, mask), sharpness(generated[inside], target[inside]))
    assert torch.allclose(masked_sharpness(generated, target, torch.ones_like(mask)), sharpness(generated, target))
    other = torch.where(mask.bool(), generated, noise(2))
    assert torch.equal(masked_sharpness(other, target, mask), masked_sharpness(generated, target, mask))


def test_masked_sharpness_needs_neighbours_inside_the_mask() -> None:
    mask = torch.zeros(3, 1, 24, 16)
    mask[1, :, 5, 5] = 1  # a single pixel has no neighbour
    mask[2, :, 5, 5:7] = 1
    scores = masked_sharpness(noise(0), noise(1), mask)
    assert scores.isnan().tolist() == [True, True, False]
    first, second = noise(0)[2, :, 5, 5:7].float(), noise(1)[2, :, 5, 5:7].float()
    expected = (first[:, 1] - first[:, 0]).square().sum() / (second[:, 1] - second[:, 0]).square().sum()
    assert float(scores[2]) == pytest.approx(float(expected))
    with pytest.raises(DataError, match="only 0 and 1"):
        masked_sharpness(noise(0), noise(1), mask / 2)


def test_a_target_of_one_colour_has_nothing_to_compare_with() -> None:
    target = noise(0)
    target[1] = 7
    assert sharpness(noise(1), target).isnan().tolist() == [False, True, False]


def test_an_image_without_neighbours_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 pixels"):
        sharpness(noise(0)[..., :1], noise(1)[..., :1])
