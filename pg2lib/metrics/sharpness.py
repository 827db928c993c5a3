"""Sharpness: the fine detail of a generated image relative to the real one. SSIM does not measure it; it rewards blur.

References:
    Subbarao, Choi, Nikzad, "Focusing techniques", Optical Engineering 32(11), 1993 (energy of the image gradient).
"""

from __future__ import annotations

from jaxtyping import Float, UInt8
from torch import Tensor

from pg2lib.metrics.pixel import check_images, check_mask


def sharpness(
    generated: UInt8[Tensor, "batch 3 height width"], target: UInt8[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch"]:
    """Return the gradient energy of each generated image divided by that of its target.

    A value of 1 means equally sharp, less means blurred, more means noisy. The two images need not show the same thing
    in the same place.

    Returns:
        Values >= 0; NaN if the target has a single colour, which leaves nothing to compare with.

    Raises:
        DataError: The images are not uint8, differ in shape, or are not (batch, 3, height, width) with sides of at
            least two pixels.
    """
    check_images(generated, target, smallest_px=2)
    energy = gradient_energy(target)
    return gradient_energy(generated) / energy.where(energy > 0, float("nan"))


def masked_sharpness(
    generated: UInt8[Tensor, "batch 3 height width"], target: UInt8[Tensor, "batch 3 height width"], mask: Tensor
) -> Float[Tensor, "batch"]:
    """Return the gradient energy inside the mask of each generated image divided by that of its target.

    Only differences between two pixels of the mask count, so the border of the mask adds no edge.

    Args:
        generated, target: as in `sharpness`.
        mask: {0, 1} of any dtype, (batch, 1, height, width).

    Returns:
        Values >= 0; NaN if the mask is empty, or the target has a single colour inside it.

    Raises:
        DataError: As in `sharpness`, or the mask has another shape or other values.
    """
    check_images(generated, target, smallest_px=2)
    check_mask(mask, generated)
    energy = gradient_energy(target, mask)
    return gradient_energy(generated, mask) / energy.where(energy > 0, float("nan"))


def gradient_energy(image: UInt8[Tensor, "batch 3 height width"], mask: Tensor | None = None) -> Float[Tensor, "batch"]:
    """Return the sum, over pixels and channels, of the squared differences to the next pixel on the right and below.

    Args:
        mask: {0, 1} (batch, 1, height, width); a difference counts if both of its pixels are 1.

    Returns:
        Squared grey levels.
    """
    pixels = image.float()
    across, down = pixels.diff(dim=-1).square(), pixels.diff(dim=-2).square()
    if mask is not None:
        body = mask.float()
        across *= body[..., 1:] * body[..., :-1]
        down *= body[..., 1:, :] * body[..., :-1, :]
    return across.sum(dim=(1, 2, 3)) + down.sum(dim=(1, 2, 3))
