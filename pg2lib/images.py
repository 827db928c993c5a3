"""Images in and out: uint8 and [-1, 1], files of every mode, crops and letterboxes that can be undone, grids.

The sole home of 127.5. Tensors are (..., 3, height, width), RGB. Pixel centres lie at integers, so an image of width W
spans x from -0.5 to W - 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from torch import Tensor

from pg2lib.errors import DataError

ImageLike = Image.Image | NDArray[np.generic] | str | PathLike[str]


def from_uint8(image: UInt8[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch 3 height width"]:
    """uint8 [0, 255] to float32 [-1, 1]."""
    return image.float() / 127.5 - 1


def to_uint8(image: Float[Tensor, "*batch 3 height width"]) -> UInt8[Tensor, "*batch 3 height width"]:
    """Float [-1, 1] to uint8 [0, 255], rounded; values outside are clamped."""
    return ((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def tensor_from_pil(image: Image.Image) -> UInt8[Tensor, "3 height width"]:
    """An RGB picture as a uint8 tensor."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def pil_from_tensor(image: Tensor) -> Image.Image:
    """A uint8 or a [-1, 1] float tensor of shape (3, height, width) as a picture."""
    if image.dtype != torch.uint8:
        image = to_uint8(image)
    return Image.fromarray(image.detach().permute(1, 2, 0).cpu().numpy(), mode="RGB")


def load_image(image: ImageLike) -> Image.Image:
    """Any image as an upright RGB picture.

    Applies the EXIF orientation, lays transparent images on white, and reduces 16-bit ones to 8 bits.

    Args:
        image: a PIL image, a path, or an array: (height, width), (height, width, 1), (height, width, 3 or 4); uint8 [0,
            255], uint16 [0, 65535], or float [0, 1].

    Raises:
        DataError: no such file, not an image, truncated, or an array of another shape, type or range.
    """
    if isinstance(image, Image.Image):
        return _upright_rgb(image, "the image")
    if isinstance(image, np.ndarray):
        return _upright_rgb(_pil_from_array(image), "the array")
    if not isinstance(image, str | PathLike):
        raise DataError(f"an image must be a PIL image, a NumPy array or a path, got {type(image).__name__}")
    path = Path(image)
    try:
        with Image.open(path) as opened:
            _refuse_bomb(opened)
            return _upright_rgb(opened, str(path))
    except FileNotFoundError as error:
        raise DataError(f"no image file {path}") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not an image that Pillow can read") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is too large: {error}") from error
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _refuse_bomb(image: Image.Image) -> None:
    """Refuses what Pillow only warns of, with the same words.

    Making its warning an error would for the time being change the filters of all threads.
    """
    pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most:
        raise Image.DecompressionBombError(
            f"Image size ({pixels} pixels) exceeds limit of {most} pixels, could be decompression bomb DOS attack."
        )


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    """A new RGB picture."""
    try:
        image = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name} cannot be decoded: {error}") from error
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray((values / 65535 * 255).round().clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _pil_from_array(array: NDArray[np.generic]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or 0 in array.shape:
        raise DataError(f"an image array must have shape (height, width) or (height, width, 3 or 4), got {array.shape}")
    if array.dtype == np.uint8:
        values = np.asarray(array, dtype=np.uint8)
    elif array.dtype == np.uint16:
        values = (array.astype(np.float64) / 65535 * 255).round().astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        numbers = array.astype(np.float64)
        if not np.isfinite(numbers).all() or numbers.min() < 0 or numbers.max() > 1:
            raise DataError(
                f"a float image array must lie in [0, 1], got [{numbers.min():.4g}, {numbers.max():.4g}]; "
                f"pass uint8 for [0, 255]"
            )
        values = (numbers * 255).round().astype(np.uint8)
    else:
        raise DataError(f"an image array must be uint8, uint16 or float in [0, 1], got {array.dtype}")
    return Image.fromarray(np.ascontiguousarray(values))


def fit(image: Image.Image, canvas: tuple[int, int], fill: tuple[int, int, int]) -> Image.Image:
    """The whole picture, as large as the canvas allows and centred on it, on a ground of one colour.

    A picture of the canvas's size is returned as it is; one of its height alone is only padded, at whole pixels.

    Args:
        image: RGB.
        canvas: (height, width).
        fill: RGB of the ground.
    """
    height, width = canvas
    if image.size == (width, height):
        return image
    scale = min(height / image.height, width / image.width)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    fitted = Image.new("RGB", (width, height), fill)
    fitted.paste(image, ((width - size[0]) // 2, (height - size[1]) // 2))
    return fitted


@dataclass(frozen=True)
class Crop:
    """A rectangle of a photo, resampled to a canvas; it may reach beyond the photo, whose border is then replicated.

    Attributes:
        left, top, right, bottom: edges in the photo's pixels; the photo's own edges are -0.5 and size - 0.5.
        canvas: (height, width) the rectangle is resampled to.
    """

    left: float
    top: float
    right: float
    bottom: float
    canvas: tuple[int, int]

    def __post_init__(self) -> None:
        if not (self.right - self.left >= 1 and self.bottom - self.top >= 1):
            raise DataError(f"a crop must be at least one pixel wide and high, got {self}")

    @classmethod
    def letterbox(cls, size: tuple[int, int], canvas: tuple[int, int]) -> Crop:
        """The whole photo of `size` (height, width), centred and padded to the canvas's aspect ratio."""
        return cls.around((size[1] - 1) / 2, (size[0] - 1) / 2, max(size[0], size[1] * canvas[0] / canvas[1]), canvas)

    @classmethod
    def around(cls, x: float, y: float, height: float, canvas: tuple[int, int]) -> Crop:
        """The rectangle centred on (x, y), `height` pixels high, with the canvas's aspect ratio."""
        half_height, half_width = height / 2, height / 2 * canvas[1] / canvas[0]
        return cls(x - half_width, y - half_height, x + half_width, y + half_height, canvas)

    @property
    def scale(self) -> tuple[float, float]:
        """Canvas pixels per photo pixel, (x, y)."""
        return self.canvas[1] / (self.right - self.left), self.canvas[0] / (self.bottom - self.top)

    def apply(self, image: Image.Image) -> Image.Image:
        """The cropped and resampled picture, (height, width) = canvas."""
        # One pixel more on every side feeds the resampling filter.
        left, top = math.floor(self.left) - 1, math.floor(self.top) - 1
        right, bottom = math.ceil(self.right) + 2, math.ceil(self.bottom) + 2
        columns = np.arange(left, right).clip(0, image.width - 1)
        rows = np.arange(top, bottom).clip(0, image.height - 1)
        pixels = np.asarray(image.convert("RGB"))[rows][:, columns]
        box = (self.left + 0.5 - left, self.top + 0.5 - top, self.right + 0.5 - left, self.bottom + 0.5 - top)
        return Image.fromarray(pixels).resize((self.canvas[1], self.canvas[0]), Image.Resampling.LANCZOS, box=box)

    def to_canvas(self, xy: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points 2"]:
        """Points of the photo, in canvas pixels."""
        origin, scale = xy.new_tensor((self.left, self.top)), xy.new_tensor(self.scale)
        return (xy - origin) * scale - 0.5

    def to_photo(self, xy: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points 2"]:
        """Points of the canvas, in photo pixels: undoes `to_canvas`."""
        origin, scale = xy.new_tensor((self.left, self.top)), xy.new_tensor(self.scale)
        return (xy + 0.5) / scale + origin

    def cut(self, result: Image.Image, size: tuple[int, int]) -> Image.Image:
        """The part of a canvas picture that lies on the photo of `size` (height, width), at the photo's resolution."""
        left, top = max(0, round(self.left + 0.5)), max(0, round(self.top + 0.5))
        right, bottom = min(size[1], round(self.right + 0.5)), min(size[0], round(self.bottom + 0.5))
        if right <= left or bottom <= top:
            raise DataError(f"{self} does not meet a photo of {size[1]}x{size[0]} pixels")
        scale_x, scale_y = self.scale
        box = (
            max(0.0, (left - 0.5 - self.left) * scale_x),
            max(0.0, (top - 0.5 - self.top) * scale_y),
            min(float(self.canvas[1]), (right - 0.5 - self.left) * scale_x),
            min(float(self.canvas[0]), (bottom - 0.5 - self.top) * scale_y),
        )
        return result.resize((right - left, bottom - top), Image.Resampling.LANCZOS, box=box)


def image_grid(
    rows: Sequence[Sequence[Image.Image | Tensor]],
    titles: Sequence[str] = (),
    names: Sequence[str] = (),
    padding_px: int = 4,
    scale: int = 1,
) -> Image.Image:
    """Pictures of one size in rows and columns, on white.

    Args:
        rows: pictures, or tensors as in `pil_from_tensor`; every row as long as the first.
        titles: one a column, drawn above it.
        names: one a row, drawn before it.
        padding_px: the gap between pictures.
        scale: enlarges every picture by this whole factor, without smoothing.

    Raises:
        DataError: no picture, rows of different lengths, or pictures of different sizes.
    """
    pictures = [[pil_from_tensor(p) if isinstance(p, Tensor) else p for p in row] for row in rows]
    if not pictures or not pictures[0]:
        raise DataError("a grid needs at least one picture")
    sizes = {picture.size for row in pictures for picture in row}
    labels = (len(titles) in (0, len(pictures[0]))) and (len(names) in (0, len(pictures)))
    if len(sizes) > 1 or len({len(row) for row in pictures}) > 1 or not labels:
        raise DataError(
            f"a grid needs rows of one length, a title a column, a name a row and pictures of one size, got rows of "
            f"{[len(row) for row in pictures]}, {len(titles)} titles, {len(names)} names, sizes {sorted(sizes)}"
        )
    width, height = (side * scale for side in sizes.pop())
    font_px = max(9, min(14, width // 6))
    font = ImageFont.load_default(size=font_px)
    head = font_px + 2 * padding_px if titles else 0
    margin = round(max(map(font.getlength, names))) + 2 * padding_px if names else 0
    grid = Image.new(
        "RGB",
        (
            len(pictures[0]) * (width + padding_px) + padding_px + margin,
            len(pictures) * (height + padding_px) + padding_px + head,
        ),
        "white",
    )
    draw = ImageDraw.Draw(grid)
    for column, title in enumerate(titles):
        centre = margin + padding_px + column * (width + padding_px) + width / 2
        draw.text((centre, padding_px), title, fill="black", font=font, anchor="ma")
    for row_number, name in enumerate(names):
        middle = head + padding_px + row_number * (height + padding_px) + height / 2
        draw.text((margin, middle), name, fill="black", font=font, anchor="rm")
    for i, row in enumerate(pictures):
        for j, picture in enumerate(row):
            corner = (margin + padding_px + j * (width + padding_px), head + padding_px + i * (height + padding_px))
            grid.paste(picture.resize((width, height), Image.Resampling.NEAREST), corner)
    return grid
