"""Pixelwise metrics: L1, L1 inside the pose mask, and PSNR; and the input checks that all image metrics share."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pg2lib.errors import DataError


def l1(
    generated: UInt8[Tensor, "batch 3 height width"], target: UInt8[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch"]:
    """Return the mean absolute difference over pixels and channels of each pair, in grey levels [0, 255].

    The released ``score.py`` computes it in the same way. Other papers divide by 255, or work on images in [-1, 1].

    Raises:
        DataError: The images are not uint8, differ in shape, or are not (batch, 3, height, width).
    """
    check_images(generated, target)
    return _difference(generated, target).abs().mean(dim=(1, 2, 3))


def masked_l1(
    generated: UInt8[Tensor, "batch 3 height width"], target: UInt8[Tensor, "batch 3 height width"], mask: Tensor
) -> Float[Tensor, "batch"]:
    """Return the mean absolute difference over the pixels of the mask, in grey levels [0, 255].

    The released ``score_mask.py`` sets pixels outside the mask to black and divides by the number of all pixels, which
    favours small people. Here the sum is divided by the number of pixels in the mask.

    Args:
        mask: {0, 1} of any dtype, (batch, 1, height, width).

    Returns:
        One value per pair; NaN if the mask is empty.

    Raises:
        DataError: As in `l1`, or the mask has another shape or other values.
    """
    check_images(generated, target)
    check_mask(mask, generated)
    body = mask.float()
    pixels = body.sum(dim=(1, 2, 3)) * generated.shape[1]
    return (_difference(generated, target).abs() * body).sum(dim=(1, 2, 3)) / pixels


def psnr(
    generated: UInt8[Tensor, "batch 3 height width"], target: UInt8[Tensor, "batch 3 height width"], data_range: float
) -> Float[Tensor, "batch"]:
    """Return the peak signal-to-noise ratio of each pair in dB: ``10 log10(data_range² / mean squared error)``.

    Args:
        data_range: largest possible difference between two pixels: 255 for uint8.

    Returns:
        One value per pair, with the error taken over pixels and channels; infinite if the images are equal.

    Raises:
        DataError: As in `l1`, or the data range is not positive.
    """
    check_images(generated, target)
    if not data_range > 0:
        raise DataError(f"data_range must be positive (255 for uint8 images), got {data_range}")
    error = _difference(generated, target).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(data_range**2 / error)


def _difference(generated: Tensor, target: Tensor) -> Tensor:
    return generated.float() - target.float()


def check_images(generated: Tensor, target: Tensor, smallest_px: int = 1) -> None:
    """Check that two tensors are batches of uint8 images of the same shape.

    Raises:
        DataError: The images are not uint8, differ in shape, are not (batch, 3, height, width), or have a side shorter
            than `smallest_px`.
    """
    for name, image in (("generated", generated), ("target", target)):
        if image.dtype != torch.uint8:
            raise DataError(
                f"{name} must be uint8 [0, 255], got {image.dtype}; pg2lib.images.to_uint8 converts from [-1, 1]"
            )
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < smallest_px:
            raise DataError(
                f"{name} must have shape (batch, 3, height, width) with sides of at least {smallest_px} pixels, "
                f"got {tuple(image.shape)}"
            )
    if generated.shape != target.shape:
        raise DataError(
            f"generated and target must have the same shape, got {tuple(generated.shape)} and {tuple(target.shape)}"
        )


def check_mask(mask: Tensor, images: Tensor) -> None:
    """Check that a tensor holds a binary mask for each image.

    Raises:
        DataError: The shape is not (batch, 1, height, width), or there are values other than 0 and 1.
    """
    if mask.shape != (len(images), 1, *images.shape[2:]):
        raise DataError(f"the mask must have shape (batch, 1, height, width) like the images, got {tuple(mask.shape)}")
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise DataError("the mask must contain only 0 and 1, got other values")
