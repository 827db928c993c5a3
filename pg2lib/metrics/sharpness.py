"""Sharpness: how much of the real image's fine detail the generated one has. SSIM does not see it; it rewards blur.

References:
    Subbarao, Choi, Nikzad, "Focusing techniques", Optical Engineering 32(11), 1993 (energy of the image gradient).
"""

from __future__ import annotations

from jaxtyping import Float, UInt8
from torch import Tensor

from pg2lib.metrics.pixel import check_images


def sharpness(
    generated: UInt8[Tensor, "batch 3 height width"], target: UInt8[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch"]:
    """Gradient energy of the generated image over the real one's: 1 is as sharp, less is blurred, more is noisy.

    The energy is the sum, over pixels and channels, of the squared differences to the next pixel on the right and
    below. The two need not show the same thing in the same place.

    Returns:
        Not negative; NaN where the real image has one colour, and so nothing to compare with.

    Raises:
        DataError: another type, or shapes that differ or are not (batch, 3, height, width) of two pixels a side.
    """
    check_images(generated, target, smallest_px=2)
    energy = gradient_energy(target)
    return gradient_energy(generated) / energy.where(energy > 0, float("nan"))


def gradient_energy(image: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch"]:
    """Sum of the squared differences to the next pixel on the right and below, in squared grey levels."""
    pixels = image.float()
    across = pixels.diff(dim=-1).square().sum(dim=(1, 2, 3))
    down = pixels.diff(dim=-2).square().sum(dim=(1, 2, 3))
    return across + down
