"""Pixel by pixel: L1, L1 over the pose mask, and PSNR; and the checks that all metrics of image pairs share."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pg2lib.errors import DataError


def l1(
    generated: UInt8[Tensor, "batch 3 height width"], target: UInt8[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch"]:
    """Mean absolute difference over pixels and channels, in grey levels [0, 255], as the released ``score.py`` has it.

    Other papers divide by 255, or take the mean over [-1, 1].

    Raises:
        DataError: another type, or shapes that differ or are not (batch, 3, height, width).
    """
    check_images(generated, target)
    return _difference(generated, target).abs().mean(dim=(1, 2, 3))


def masked_l1(
    generated: UInt8[Tensor, "batch 3 height width"], target: UInt8[Tensor, "batch 3 height width"], mask: Tensor
) -> Float[Tensor, "batch"]:
    """Mean absolute difference over the pixels of the mask alone, in grey levels [0, 255].

    The released ``score_mask.py`` blackens what lies outside the mask and divides by all pixels, which makes small
    people look well drawn; here the sum is divided by the mask's own pixels.

    Args:
        mask: {0, 1} of any dtype, (batch, 1, height, width).

    Returns:
        NaN where the mask is empty.

    Raises:
        DataError: as `l1`, or a mask of another shape or with other values.
    """
    check_images(generated, target)
    check_mask(mask, generated)
    body = mask.float()
    pixels = body.sum(dim=(1, 2, 3)) * generated.shape[1]
    return (_difference(generated, target).abs() * body).sum(dim=(1, 2, 3)) / pixels


def psnr(
    generated: UInt8[Tensor, "batch 3 height width"], target: UInt8[Tensor, "batch 3 height width"], data_range: float
) -> Float[Tensor, "batch"]:
    """Peak signal-to-noise ratio in dB, ``10 log10(data_range² / mean squared error)``, the error over all channels.

    Args:
        data_range: the largest difference two pixels can have: 255 for uint8.

    Returns:
        Infinite where the images are equal.

    Raises:
        DataError: as `l1`, or a data range that is not positive.
    """
    check_images(generated, target)
    if not data_range > 0:
        raise DataError(f"data_range must be positive (255 for uint8 images), got {data_range}")
    error = _difference(generated, target).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(data_range**2 / error)


def _difference(generated: Tensor, target: Tensor) -> Tensor:
    return generated.float() - target.float()


def check_images(generated: Tensor, target: Tensor, smallest_px: int = 1) -> None:
    """Refuses what is no batch of image pairs.

    Raises:
        DataError: another type than uint8, or shapes that differ, are not (batch, 3, height, width), or have a side
            shorter than `smallest_px`.
    """
    for name, image in (("generated", generated), ("target", target)):
        if image.dtype != torch.uint8:
            raise DataError(
                f"{name} must be uint8 [0, 255], got {image.dtype}; pg2lib.images.to_uint8 converts from [-1, 1]"
            )
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < smallest_px:
            raise DataError(
                f"{name} must have shape (batch, 3, height, width), at least {smallest_px} pixels a side, "
                f"got {tuple(image.shape)}"
            )
    if generated.shape != target.shape:
        raise DataError(f"generated {tuple(generated.shape)} and target {tuple(target.shape)} differ in shape")


def check_mask(mask: Tensor, images: Tensor) -> None:
    """Refuses what is no mask of these images.

    Raises:
        DataError: another shape than (batch, 1, height, width), or other values than 0 and 1.
    """
    if mask.shape != (len(images), 1, *images.shape[2:]):
        raise DataError(f"the mask must have shape (batch, 1, height, width) like the images, got {tuple(mask.shape)}")
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise DataError("the mask must hold 0 and 1 only")
