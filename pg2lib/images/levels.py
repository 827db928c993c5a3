"""Conversion of pictures of any mode, and of arrays, to RGB of 8 bits per channel."""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pg2lib.errors import DataError

Levels = tuple[float, float]
"""The values that become 0 and 255."""

SIXTEEN_BITS: Levels = (0, 65535)

log = logging.getLogger(__name__)


def levels_of(image: Image.Image) -> Levels | None:
    """Return which values of a grey picture of more than 8 bits are black and white; None for other pictures.

    Pictures of 16 bits use [0, 65535]. The range of integers of 32 bits (mode I) and of floats (mode F) is not part of
    the file, so it is the smallest usual range that holds all values: [0, 1] (floats only), [0, 255], [0, 65535], and
    [-1, 1] (floats only) where some are negative. Values in none of them are stretched from the lowest to the highest.

    Raises:
        DataError: a value is infinite or not a number. The message continues the name of the image.
    """
    if image.mode.startswith("I;16"):
        return SIXTEEN_BITS
    if image.mode not in ("I", "F"):
        return None
    low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]  # one channel: two numbers
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError("holds values that are infinite or not a number. Replace them")
    usual: list[Levels] = [(0, 255), SIXTEEN_BITS]
    if image.mode == "F":
        usual = [(0, 1), *usual, (-1, 1)]
    for levels in usual:
        if levels[0] <= low and high <= levels[1]:
            return levels
    log.warning("values from %g to %g are in no usual range: the lowest becomes black, the highest white", low, high)
    return low, high if high > low else low + max(1.0, abs(low))


def to_rgb(image: Image.Image, levels: Levels | None) -> Image.Image:
    """Convert a picture of any mode to RGB, on white where it is transparent.

    Args:
        image: of any mode.
        levels: `levels_of` the picture of which this is a part.
    """
    if levels is not None:
        values = np.asarray(image)
        grey = _eight_bits(values, levels)
        if "transparency" in image.info:  # the one grey level of a PNG that is transparent
            grey = np.where(values == image.info["transparency"], np.uint8(255), grey)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "LAB":
        return _rgb_from_lab(image)
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def _rgb_from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    picture = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert picture is not None
    return picture


def _eight_bits(values: NDArray[np.generic], levels: Levels) -> NDArray[np.uint8]:
    """Convert values to levels in [0, 255], row by row to save memory.

    Raises:
        DataError: a value is not a number.
    """
    low, high = levels
    grey = np.empty(values.shape, np.uint8)
    for row, converted in zip(values, grey, strict=True):
        scaled = (row.astype(np.float64) - low) * (255 / (high - low))
        if not np.isfinite(scaled).all():
            raise DataError("holds values that are infinite or not a number. Replace them")
        converted[...] = scaled.round().clip(0, 255)
    return grey


def check_memory(size: tuple[int, int], needed: int, allowed: int) -> None:
    """Refuse an image that takes too much memory.

    Args:
        size: (width, height) in pixels.
        needed, allowed: bytes.

    Raises:
        DataError: more is needed than allowed. The message continues the name of the image.
    """
    if needed > allowed:
        raise DataError(
            f"has {size[0]}x{size[1]} pixels, and reading them takes up to {megabytes(needed)} of memory, but only "
            f"{megabytes(allowed)} are allowed. Make the picture smaller"
        )


def megabytes(count: int) -> str:
    """Return a number of bytes in words."""
    return f"{count / 1e6:,.0f} MB"


def pil_from_array(array: NDArray[np.generic], max_bytes: int) -> Image.Image:
    """Convert an array of shape (height, width) or (height, width, 1, 3 or 4) to a picture of 8 bits.

    Raises:
        DataError: the array has another shape, type or range than `pg2lib.images.load_image` describes, has masked
            values, or takes more memory than `max_bytes`. The message continues the words "an image array".
    """
    if isinstance(array, np.ma.MaskedArray):
        raise DataError("must not be masked: replace the masked values, as by array.filled(0)")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or 0 in array.shape:
        raise DataError(f"must have shape (height, width) or (height, width, 3 or 4), got {array.shape}")
    height, width = array.shape[:2]
    check_memory((width, height), 8 * height * width, max_bytes)  # this picture, and the RGB picture made of it
    if array.dtype == np.uint8:
        values = np.asarray(array, dtype=np.uint8)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:  # of either byte order
        values = _eight_bits(array, SIXTEEN_BITS)
    elif np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):
            raise DataError(
                f"holds floats in [{low:.6g}, {high:.6g}], but floats must lie in [0, 1]. Scale them, or use uint8 for "
                f"[0, 255]"
            )
        values = _eight_bits(array, (0, 1))
    else:
        raise DataError(f"must be uint8, uint16 or float in [0, 1], got {array.dtype}")
    return Image.fromarray(np.ascontiguousarray(values))
