"""SSIM and mask-SSIM (section 4.3), in the dialects of different papers.

Every dialect scores uint8 RGB images over all windows that lie inside the image, and returns the mean over windows and
channels, one value per image. Otherwise they differ, so figures of different dialects are not comparable:

- ``released``: the authors' script, with scikit-image's defaults of 2017: 7x7 uniform window, sample covariance, data
  range 255.
- ``pose-gan``: Siarohin et al. 2018, ``test.py``: Gaussian window (sigma 1.5, 11 pixels wide), population covariance,
  and the range of the generated image as data range. A result with little contrast gets smaller constants.
- ``gfla``: Ren et al. 2020, ``metrics.py``: 51x51 uniform window, sample covariance, images in [0, 1] with data range
  1, which equals data range 255 for images in [0, 255].

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
"""Side of the window of each dialect."""

SIGMA_PX = 1.5
"""Standard deviation of the Gaussian window of ``pose-gan``."""

WINDOW_PX = WINDOWS_PX["released"]
CHUNK_PIXELS = 8 * 128 * 64
"""Number of pixels that a CPU processes at once, so that they fit into its cache."""

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(
    generated: UInt8[Tensor, "batch 3 height width"],
    target: UInt8[Tensor, "batch 3 height width"],
    dialect: Dialect = "released",
) -> Float[Tensor, "batch"]:
    """Return the structural similarity of each pair of images, at most 1.

    Args:
        generated, target: uint8 [0, 255], with sides of at least the dialect's window (`WINDOWS_PX`).
        dialect: see the description of this module. In ``pose-gan`` the order of the two images matters.

    Raises:
        DataError: The dialect is unknown, or the images are not uint8, differ in shape, are not
            (batch, 3, height, width), or are smaller than the window.
    """
    check_dialect(dialect)
    check_images(generated, target, WINDOWS_PX[dialect])
    score = _SCORES[dialect]
    on_cpu = generated.device.type == "cpu"
    size = max(1, CHUNK_PIXELS // (generated.shape[2] * generated.shape[3]) if on_cpu else len(generated))
    parts = [score(x, y) for x, y in zip(torch.split(generated, size), torch.split(target, size), strict=True)]
    return torch.cat(parts)


def _ssim(generated: Tensor, target: Tensor) -> Tensor:
    batch, channels, height, width = generated.shape
    n = WINDOW_PX**2
    # Integers below 2^31 keep the sums exact. In the flat tensor, the pixel below lies `width` places further on.
    x, y = generated.reshape(-1).int(), target.reshape(-1).int()
    sum_x, sum_y, sum_squares, sum_xy = (
        _sums_of_seven(_sums_of_seven(values, width), 1) for values in (x, y, x * x + y * y, x * y)
    )
    means = sum_x * sum_y  # n² times the product of the means
    squared_means = (sum_x * sum_x).addcmul_(sum_y, sum_y)  # n² times the sum of their squares
    covariance = sum_xy.mul_(n).sub_(means)  # n (n - 1) times
    variances = sum_squares.mul_(n).sub_(squared_means)  # n (n - 1) times their sum
    # Numerator and denominator carry the same factors, which cancel.
    c1, c2 = n**2 * C1, n * (n - 1) * C2
    similarity = means.float().mul_(2).add_(c1).mul_(covariance.float().mul_(2).add_(c2))
    similarity /= squared_means.float().add_(c1).mul_(variances.float().add_(c2))
    # Select the windows that do not run across the end of a row or of an image.
    inside = (batch, channels, height - WINDOW_PX + 1, width - WINDOW_PX + 1)
    strides = (channels * height * width, height * width, width, 1)
    return similarity.as_strided(inside, strides).mean(dim=2).mean(dim=(1, 2))  # two steps lose less precision


def _ssim_pose_gan(generated: Tensor, target: Tensor) -> Tensor:
    # An image of a single colour has range 0, which would give 0 / 0; use one grey level, the smallest difference.
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
    """Compute the formula of Wang et al. in float64, with any window.

    Args:
        mean: returns the mean over every window that lies inside the image.
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
    """Return the SSIM over the whole frame after both images are multiplied by the pose mask (section 4.3).

    Args:
        generated, target: as in `ssim`.
        mask: pose mask of the target, {0, 1} of any dtype, (batch, 1, height, width).
        dialect: as in `ssim`.

    Raises:
        DataError: As in `ssim`, or the mask has another shape or other values.
    """
    check_dialect(dialect)
    check_images(generated, target, WINDOWS_PX[dialect])
    check_mask(mask, generated)
    body = mask.to(torch.uint8)
    # In channels_last format the multiplication is slow, as it advances three values at a time.
    return ssim(generated.contiguous() * body, target.contiguous() * body, dialect)


def check_dialect(dialect: str) -> None:
    """Check the name of a dialect.

    Raises:
        DataError: The dialect is unknown.
    """
    if dialect not in DIALECTS:
        raise DataError(f"the SSIM dialect must be one of {', '.join(DIALECTS)}, got {dialect!r}")


def _sums_of_seven(values: Tensor, step: int) -> Tensor:
    """Sum seven values, `step` apart, from every position on: as 4 + 2 + 1, with four additions instead of six."""
    two = values[:-step] + values[step:]
    four = two[: -2 * step] + two[2 * step :]
    six = four[: -2 * step].add_(two[4 * step :])
    return six[:-step].add_(values[6 * step :])


def _weighted(values: Tensor, weights: Sequence[float], dim: int) -> Tensor:
    """Compute the weighted sum of every run of values along one dimension."""
    places = values.shape[dim] - len(weights) + 1
    total = weights[0] * values.narrow(dim, 0, places)
    for start, weight in enumerate(weights[1:], start=1):
        total.add_(values.narrow(dim, start, places), alpha=weight)
    return total


def _run_sums(values: Tensor, length: int, dim: int) -> Tensor:
    """Sum every run of `length` values along one dimension; exact for integers in float64."""
    sums = values.cumsum(dim)
    rest = sums.shape[dim] - length
    first = sums.narrow(dim, length - 1, 1)
    return torch.cat([first, sums.narrow(dim, length, rest) - sums.narrow(dim, 0, rest)], dim)
