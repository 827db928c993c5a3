"""SSIM and mask-SSIM as the authors scored them: the ``released`` dialect (section 4.3 and the released scoring
script).

uint8 RGB, 7x7 uniform window, sample covariance, data range 255, no padding, mean over pixels and channels, one figure
an image: scikit-image's `structural_similarity` with ``channel_axis`` and its other defaults.

References:
    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity",
    IEEE Transactions on Image Processing 13(4), 2004.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pg2lib.errors import DataError

DIALECT = "released"
WINDOW_PX = 7
CHUNK_PIXELS = 4 * 128 * 64
"""Pixels worked on at once on a CPU, so that they stay in its cache."""

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(
    generated: UInt8[Tensor, "batch 3 height width"], target: UInt8[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch"]:
    """Structural similarity of each pair of images, at most 1.

    Args:
        generated, target: uint8 [0, 255], at least 7x7 pixels.

    Raises:
        DataError: another type, or shapes that differ or are not (batch, 3, height, width).
    """
    _check_images(generated, target)
    on_cpu = generated.device.type == "cpu"
    size = max(1, CHUNK_PIXELS // (generated.shape[2] * generated.shape[3]) if on_cpu else len(generated))
    parts = [_ssim(x, y) for x, y in zip(torch.split(generated, size), torch.split(target, size), strict=True)]
    return torch.cat(parts)


def _ssim(generated: Tensor, target: Tensor) -> Tensor:
    x, y = generated.float(), target.float()
    n = WINDOW_PX**2
    # Window sums of whole numbers below 2^24 are exact in float32; the products of sums below 2^31 are exact in int32.
    sum_x, sum_y, sum_xx, sum_yy, sum_xy = (_window_sums(values) for values in (x, y, x * x, y * y, x * y))
    product_xx, product_yy, product_xy = sum_x * sum_x, sum_y * sum_y, sum_x * sum_y
    unit = 1.0 / (n * (n - 1))
    var_x = (n * sum_xx - product_xx).float() * unit
    var_y = (n * sum_yy - product_yy).float() * unit
    cov_xy = (n * sum_xy - product_xy).float() * unit
    mean_product, mean_squares = product_xy.float() / n**2, (product_xx + product_yy).float() / n**2
    similarity = (2 * mean_product + C1) * (2 * cov_xy + C2) / ((mean_squares + C1) * (var_x + var_y + C2))
    return similarity.mean(dim=(1, 2, 3))


def mask_ssim(
    generated: UInt8[Tensor, "batch 3 height width"],
    target: UInt8[Tensor, "batch 3 height width"],
    mask: Tensor,
) -> Float[Tensor, "batch"]:
    """SSIM over the whole frame after both images are multiplied by the pose mask (section 4.3).

    Args:
        generated, target: as in `ssim`.
        mask: {0, 1} of any dtype, (batch, 1, height, width): the target's pose mask.

    Raises:
        DataError: as `ssim`, or a mask of another shape or with other values.
    """
    _check_images(generated, target)
    if mask.shape != (len(generated), 1, *generated.shape[2:]):
        raise DataError(f"the mask must have shape (batch, 1, height, width) like the images, got {tuple(mask.shape)}")
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise DataError("the mask must hold 0 and 1 only")
    body = mask.to(torch.uint8)
    return ssim(generated * body, target * body)


def _window_sums(values: Tensor) -> Tensor:
    """Sums over every 7x7 window that lies inside, as int32."""
    return _sums_of_seven(_sums_of_seven(values, dim=-2), dim=-1).int()


def _sums_of_seven(values: Tensor, dim: int) -> Tensor:
    """Sums over every run of 7 along one dimension: 4 + 2 + 1, in four additions instead of six."""
    size = values.shape[dim]
    two = values.narrow(dim, 0, size - 1) + values.narrow(dim, 1, size - 1)
    four = two.narrow(dim, 0, size - 3) + two.narrow(dim, 2, size - 3)
    six = four.narrow(dim, 0, size - 5) + two.narrow(dim, 4, size - 5)
    return six.narrow(dim, 0, size - 6) + values.narrow(dim, 6, size - 6)


def _check_images(generated: Tensor, target: Tensor) -> None:
    for name, image in (("generated", generated), ("target", target)):
        if image.dtype != torch.uint8:
            raise DataError(
                f"{name} must be uint8 [0, 255], got {image.dtype}; pg2lib.images.to_uint8 converts from [-1, 1]"
            )
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < WINDOW_PX:
            raise DataError(
                f"{name} must have shape (batch, 3, height, width), at least {WINDOW_PX} pixels a side, "
                f"got {tuple(image.shape)}"
            )
    if generated.shape != target.shape:
        raise DataError(f"generated {tuple(generated.shape)} and target {tuple(target.shape)} differ in shape")
