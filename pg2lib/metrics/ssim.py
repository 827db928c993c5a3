"""SSIM and mask-SSIM (section 4.3), in the dialects of the papers that are compared with one another.

All score uint8 RGB images over every window that lies inside, take the mean over windows and channels, and give one
figure an image. They differ in the rest, so figures of different dialects cannot be compared:

- ``released``: as the authors scored, with scikit-image's defaults of 2017: 7x7 uniform window, sample covariance, data
  range 255.
- ``pose-gan``: Siarohin et al. 2018, ``test.py``: Gaussian window (sigma 1.5, 11 pixels wide), population covariance,
  and as data range that of the generated image. A result of little contrast is judged by smaller constants.
- ``gfla``: Ren et al. 2020, ``metrics.py``: 51x51 uniform window, sample covariance, images in [0, 1] with data range
  1, which is the same as 255 for [0, 255].

References:
    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity",
    IEEE Transactions on Image Processing 13(4), 2004.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pg2lib.errors import DataError
from pg2lib.metrics.pixel import check_images, check_mask

Dialect = Literal["released", "pose-gan", "gfla"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
WINDOWS_PX: Mapping[Dialect, int] = {"released": 7, "pose-gan": 11, "gfla": 51}
"""Side of the window that each dialect slides over the images."""

SIGMA_PX = 1.5
"""Standard deviation of the Gaussian window of ``pose-gan``."""

WINDOW_PX = WINDOWS_PX["released"]
CHUNK_PIXELS = 8 * 128 * 64
"""Pixels worked on at once on a CPU, so that they stay in its cache."""

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(
    generated: UInt8[Tensor, "batch 3 height width"],
    target: UInt8[Tensor, "batch 3 height width"],
    dialect: Dialect = "released",
) -> Float[Tensor, "batch"]:
    """Structural similarity of each pair of images, at most 1.

    Args:
        generated, target: uint8 [0, 255], with sides of at least the dialect's window (`WINDOWS_PX`).
        dialect: see the top of this module. In ``pose-gan`` the order of the two images matters.

    Raises:
        DataError: an unknown dialect, another type, or shapes that differ or are not (batch, 3, height, width).
    """
    _check_dialect(dialect)
    check_images(generated, target, WINDOWS_PX[dialect])
    score = _SCORES[dialect]
    on_cpu = generated.device.type == "cpu"
    size = max(1, CHUNK_PIXELS // (generated.shape[2] * generated.shape[3]) if on_cpu else len(generated))
    parts = [score(x, y) for x, y in zip(torch.split(generated, size), torch.split(target, size), strict=True)]
    return torch.cat(parts)


def _ssim(generated: Tensor, target: Tensor) -> Tensor:
    batch, channels, height, width = generated.shape
    n = WINDOW_PX**2
    # All in whole numbers below 2^31, so exact, and in one flat piece of memory, where a row down is `width` places on.
    x, y = generated.reshape(-1).int(), target.reshape(-1).int()
    sum_x, sum_y, sum_squares, sum_xy = (
        _sums_of_seven(_sums_of_seven(values, width), 1) for values in (x, y, x * x + y * y, x * y)
    )
    means = sum_x * sum_y  # n² times the product of the means
    squared_means = (sum_x * sum_x).addcmul_(sum_y, sum_y)  # n² times the sum of their squares
    covariance = sum_xy.mul_(n).sub_(means)  # n (n - 1) times
    variances = sum_squares.mul_(n).sub_(squared_means)  # n (n - 1) times their sum
    # Above and below the line the same factors, which cancel out.
    c1, c2 = n**2 * C1, n * (n - 1) * C2
    similarity = means.float().mul_(2).add_(c1).mul_(covariance.float().mul_(2).add_(c2))
    similarity /= squared_means.float().add_(c1).mul_(variances.float().add_(c2))
    # Windows that run over the end of a row or of an image are none.
    inside = (batch, channels, height - WINDOW_PX + 1, width - WINDOW_PX + 1)
    strides = (channels * height * width, height * width, width, 1)
    return similarity.as_strided(inside, strides).mean(dim=2).mean(dim=(1, 2))  # in one go it sums less exactly


def _ssim_pose_gan(generated: Tensor, target: Tensor) -> Tensor:
    # An image of one colour has range 0, and the quotient would be 0 / 0; one grey level is the least difference.
    data_range = (generated.amax(dim=(1, 2, 3)) - generated.amin(dim=(1, 2, 3))).clamp_min(1).double().view(-1, 1, 1, 1)
    side = WINDOWS_PX["pose-gan"]
    heights = [math.exp(-0.5 * ((i - side // 2) / SIGMA_PX) ** 2) for i in range(side)]
    weights = [height / sum(heights) for height in heights]

    def mean(values: Tensor) -> Tensor:
        return _weighted(_weighted(values, weights, dim=-2), weights, dim=-1)

    return _ssim_of_means(generated, target, mean, data_range, covariance_factor=1.0)


def _ssim_gfla(generated: Tensor, target: Tensor) -> Tensor:
    side = WINDOWS_PX["gfla"]

    def mean(values: Tensor) -> Tensor:
        return _run_sums(_run_sums(values, side, dim=-2), side, dim=-1) / side**2

    return _ssim_of_means(generated, target, mean, 255.0, covariance_factor=side**2 / (side**2 - 1))


def _ssim_of_means(
    generated: Tensor,
    target: Tensor,
    mean: Callable[[Tensor], Tensor],
    data_range: float | Tensor,
    covariance_factor: float,
) -> Tensor:
    """The formula of Wang et al. in float64, with any window.

    Args:
        mean: mean over every window that lies inside.
        covariance_factor: n / (n - 1) for the sample covariance of n pixels, 1 for the population covariance.
    """
    x, y = generated.double(), target.double()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y = mean(x), mean(y)
    variances = covariance_factor * (mean(x * x) + mean(y * y) - mean_x**2 - mean_y**2)
    covariance = covariance_factor * (mean(x * y) - mean_x * mean_y)
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))
    return similarity.mean(dim=(1, 2, 3)).float()


_SCORES: Mapping[Dialect, Callable[[Tensor, Tensor], Tensor]] = {
    "released": _ssim,
    "pose-gan": _ssim_pose_gan,
    "gfla": _ssim_gfla,
}


def mask_ssim(
    generated: UInt8[Tensor, "batch 3 height width"],
    target: UInt8[Tensor, "batch 3 height width"],
    mask: Tensor,
    dialect: Dialect = "released",
) -> Float[Tensor, "batch"]:
    """SSIM over the whole frame after both images are multiplied by the pose mask (section 4.3).

    Args:
        generated, target: as in `ssim`.
        mask: {0, 1} of any dtype, (batch, 1, height, width): the target's pose mask.
        dialect: as in `ssim`.

    Raises:
        DataError: as `ssim`, or a mask of another shape or with other values.
    """
    _check_dialect(dialect)
    check_images(generated, target, WINDOWS_PX[dialect])
    check_mask(mask, generated)
    body = mask.to(torch.uint8)
    # Contiguous, for in channels_last every three pixels would be multiplied on their own.
    return ssim(generated.contiguous() * body, target.contiguous() * body, dialect)


def _check_dialect(dialect: str) -> None:
    if dialect not in DIALECTS:
        raise DataError(f"the metric dialect must be one of {', '.join(DIALECTS)}, got {dialect!r}")


def _sums_of_seven(values: Tensor, step: int) -> Tensor:
    """Sums over every run of 7 places, `step` apart, where it starts: 4 + 2 + 1, in four additions instead of six."""
    two = values[:-step] + values[step:]
    four = two[: -2 * step] + two[2 * step :]
    six = four[: -2 * step].add_(two[4 * step :])
    return six[:-step].add_(values[6 * step :])


def _weighted(values: Tensor, weights: Sequence[float], dim: int) -> Tensor:
    """Weighted sums over every run along one dimension."""
    places = values.shape[dim] - len(weights) + 1
    total = weights[0] * values.narrow(dim, 0, places)
    for start, weight in enumerate(weights[1:], start=1):
        total.add_(values.narrow(dim, start, places), alpha=weight)
    return total


def _run_sums(values: Tensor, length: int, dim: int) -> Tensor:
    """Sums over every run of `length` along one dimension; of whole numbers in float64 exact."""
    sums = values.cumsum(dim)
    rest = sums.shape[dim] - length
    first = sums.narrow(dim, length - 1, 1)
    return torch.cat([first, sums.narrow(dim, length, rest) - sums.narrow(dim, 0, rest)], dim)
