"""The dialects of SSIM against scikit-image and plain NumPy, and what padding with white does to each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from pg2lib import DataError, mask_ssim, ssim
from pg2lib.metrics.ssim import DIALECTS, WINDOWS_PX


def pairs(seed: int, height: int = 64, width: int = 56, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that have something in common, of other contrast and brightness."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, height // 8 + 1, width // 8 + 1, generator=generator)
    target = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear") * 255
    noise = torch.randn(target.shape, generator=generator) * 12
    return (0.6 * target + 40 + noise).clamp(0, 255).byte(), target.byte()


def pictures(*images: torch.Tensor) -> list[tuple[np.ndarray, ...]]:
    return [tuple(image.permute(1, 2, 0).numpy() for image in pair) for pair in zip(*images, strict=True)]


def test_pose_gan_is_scikit_image_with_its_settings() -> None:
    x, y = pairs(0)
    expected = [
        structural_similarity(
            b, a, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2,
            data_range=float(a.max()) - float(a.min()),
        )
        for a, b in pictures(x, y)
    ]  # fmt: skip
    assert np.allclose(ssim(x, y, "pose-gan").numpy(), expected, atol=1e-6)
    assert not torch.allclose(ssim(x, y, "pose-gan"), ssim(y, x, "pose-gan"), atol=1e-4)


def test_gfla_is_scikit_image_on_images_in_0_1() -> None:
    x, y = pairs(1, 60, 58)
    expected = [
        structural_similarity(a / 255, b / 255, win_size=51, data_range=1.0, channel_axis=2) for a, b in pictures(x, y)
    ]
    assert np.allclose(ssim(x, y, "gfla").numpy(), expected, atol=1e-6)


def wang(x: np.ndarray, y: np.ndarray, window: np.ndarray, factor: float, data_range: float) -> float:
    """Equation 13 of Wang et al. in float64, on images (3, height, width), over the windows that lie inside.

    Args:
        window: weights that sum to 1.
        factor: n / (n - 1) for the sample covariance of n pixels, else 1.
    """
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    p, q = (
        np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), window.shape, (1, 2)) for image in (x, y)
    )

    def mean(values: np.ndarray) -> np.ndarray:
        return (values * window).sum(axis=(-2, -1))

    mean_p, mean_q = mean(p), mean(q)
    off_p, off_q = p - mean_p[..., None, None], q - mean_q[..., None, None]  # two passes: nothing cancels
    variances, covariance = factor * (mean(off_p**2) + mean(off_q**2)), factor * mean(off_p * off_q)
    light = (2 * mean_p * mean_q + c1) / (mean_p**2 + mean_q**2 + c1)
    return float((light * (2 * covariance + c2) / (variances + c2)).mean())


def in_float64(x: torch.Tensor, y: torch.Tensor, dialect: str) -> list[float]:
    """The dialects as section 6 and the descriptions of the three scripts have them."""
    bell = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    scores = []
    for a, b in zip(x.numpy(), y.numpy(), strict=True):
        match dialect:
            case "released":
                scores.append(wang(a, b, np.full((7, 7), 1 / 49), 49 / 48, 255))
            case "pose-gan":
                # A generated image of one colour has no range; one grey level stands for it.
                scores.append(
                    wang(a, b, np.outer(bell, bell) / bell.sum() ** 2, 1, max(1, int(a.max()) - int(a.min())))
                )
            case "gfla":
                scores.append(wang(a / 255, b / 255, np.full((51, 51), 51**-2), 51**2 / (51**2 - 1), 1))
    return scores


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_in_float64_on_odd_sizes_constant_images_and_masks_of_one_pixel(dialect: str) -> None:
    x, y = pairs(8, 55, 53, count=5)
    x[1], y[2], y[3] = 128, 7, x[3]
    x[4], y[4] = 255, 0
    assert np.allclose(ssim(x, y, dialect).numpy(), in_float64(x, y, dialect), rtol=0, atol=1e-6)
    mask = torch.zeros(5, 1, 55, 53)
    mask[0, :, 20:48, 11:40] = 1
    mask[1, :, 0, 0] = mask[2, :, 27, 26] = mask[3:, :, 54, 52] = 1
    seen = [image * mask.byte() for image in (x, y)]
    assert np.allclose(mask_ssim(x, y, mask, dialect).numpy(), in_float64(*seen, dialect), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_knows_equal_images_and_masks(dialect: str) -> None:
    x, y = pairs(3)
    assert torch.allclose(ssim(x, x, dialect), torch.ones(3), atol=1e-6)
    mask = torch.zeros(3, 1, 64, 56)
    assert torch.allclose(mask_ssim(x, y, mask, dialect), torch.ones(3))  # black on black, of range 0
    mask[:, :, :40] = 1
    assert torch.equal(mask_ssim(x, y, mask, dialect), ssim(x * mask.byte(), y * mask.byte(), dialect))


def test_dialects_disagree_and_the_default_is_the_authors() -> None:
    x, y = pairs(4)
    scores = {dialect: ssim(x, y, dialect) for dialect in DIALECTS}
    assert torch.equal(scores["released"], ssim(x, y))
    for other in ("pose-gan", "gfla"):
        assert (scores[other] - scores["released"]).abs().min() > 0.01


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_dialect_looks_at_the_figures_it_makes(dialect: str) -> None:
    """On a GPU that would wait for them; the meta device has none to look at, and refuses."""
    x = torch.empty(2, 3, 64, 56, dtype=torch.uint8, device="meta")
    assert ssim(x, x, dialect).shape == (2,)


def test_what_a_dialect_cannot_score_is_refused() -> None:
    x, y = pairs(5)
    with pytest.raises(DataError, match=r"released, pose-gan, gfla.*'gaussian'"):
        ssim(x, y, "gaussian")
    with pytest.raises(DataError, match="dialect must be one of"):
        mask_ssim(x, y, torch.ones(3, 1, 64, 56), "gaussian")
    with pytest.raises(DataError, match="at least 51 pixels"):
        ssim(x[..., :50], y[..., :50], "gfla")


def padded(image: torch.Tensor) -> torch.Tensor:
    """A 176-pixel-wide DeepFashion crop, as it is padded to 256: 40 white columns on each side."""
    return torch.nn.functional.pad(image, (40, 40), value=255)


def similarity_map(x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """scikit-image's map of a pair in the released dialect, over the windows that lie inside: (rows, columns)."""
    ((a, b),) = pictures(x, y)
    _, full = structural_similarity(a, b, channel_axis=2, full=True)
    return full[3:-3, 3:-3].mean(axis=2)


def test_white_padding_lifts_the_released_ssim_as_the_windows_count() -> None:
    """Exactly: of 250 windows a row, 170 see the crop alone, 68 white alone (each 1), and 12 both."""
    x, y = pairs(6, 256, 176, count=1)
    alone, whole = float(ssim(x, y)), float(ssim(padded(x), padded(y)))
    columns = similarity_map(padded(x), padded(y)).mean(axis=0)
    assert len(columns) == 250
    assert np.allclose(columns[:34], 1) and np.allclose(columns[-34:], 1)
    both = np.concatenate([columns[34:40], columns[-40:-34]]).mean()
    assert columns[40:-40].mean() == pytest.approx(alone, abs=1e-5)
    assert whole == pytest.approx((170 * alone + 68 + 12 * both) / 250, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_rule_of_thumb_holds_for_the_released_dialect(seed: int) -> None:
    """(176 S + 80) / 256 counts pixels instead of windows. With border windows between S and 1 it is off by at most
    .0405 (1 - S): too high where they are like the crop, by .0075 (1 - S) too low where they are like the white."""
    x, y = pairs(seed, 256, 176)
    alone, whole = ssim(x, y), ssim(padded(x), padded(y))
    excess = (whole - (176 * alone + 80) / 256) / (1 - alone)
    assert (alone < 0.9).all()
    assert (excess > -0.0405 - 1e-4).all() and (excess < 0.0075 + 1e-4).all()


def test_the_rule_of_thumb_breaks_in_the_other_dialects() -> None:
    """pose-gan: white widens the data range of a result of little contrast, which lifts the score once more. gfla: no
    window of 51 fits into 40 white columns, so that no part of the score is white's alone."""
    x, y = pairs(7, 256, 176)
    faint = (x // 4 + 90).byte()
    excess = {}
    for dialect in DIALECTS:
        alone, whole = ssim(faint, y, dialect), ssim(padded(faint), padded(y), dialect)
        excess[dialect] = (whole - (176 * alone + 80) / 256) / (1 - alone)
    assert (excess["released"].abs() < 0.0075).all()
    assert (excess["pose-gan"] > 0.03).all()
    assert WINDOWS_PX["gfla"] > 40 and (excess["gfla"] < -0.0075).all()
