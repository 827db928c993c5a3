"""Images: conversion between uint8 and [-1, 1], reading of files, crops, and grids of pictures.

Tensors are (..., 3, height, width), RGB. Pixel centres lie at integers, so an image of width W spans x from -0.5 to
W - 0.5. No other module of the package converts between uint8 and [-1, 1] by itself.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageDraw, ImageFile, ImageFont
from torch import Tensor

from pg2lib.errors import DataError
from pg2lib.images.formats import FORMATS, ImageBytes, check_decoder, is_decoded_by_rows, open_image
from pg2lib.images.levels import check_memory, levels_of, megabytes, pil_from_array, to_rgb

ImageLike = Image.Image | NDArray[np.generic] | str | PathLike[str]

MAX_BYTES = 1_000_000_000
"""The memory that reading an image may take: enough for a PNG or JPEG of 125 megapixels. No larger file is read."""

PHOTO_PIXELS = 32_000_000
"""The most pixels of a picture that `load_photo` returns. A reduced photo keeps more than a quarter of them, so
a person of a tenth of its height is still some 250 pixels high, as high as a model's canvas."""

LONGEST_SIDE_PX = 65_536
"""Of a crop with a longer side, only the part that shows the photo is resampled."""

log = logging.getLogger(__name__)


def from_uint8(image: UInt8[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch 3 height width"]:
    """Convert uint8 [0, 255] to float32 [-1, 1]."""
    return image.float() / 127.5 - 1


def to_uint8(image: Float[Tensor, "*batch 3 height width"]) -> UInt8[Tensor, "*batch 3 height width"]:
    """Convert float [-1, 1] to uint8 [0, 255]. Values are rounded, and clamped if they lie outside."""
    return ((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def tensor_from_pil(image: Image.Image) -> UInt8[Tensor, "3 height width"]:
    """Convert a picture to a uint8 RGB tensor."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def pil_from_tensor(image: Tensor) -> Image.Image:
    """Convert a tensor (3, height, width), uint8 or float in [-1, 1], to an RGB picture.

    Raises:
        DataError: the tensor has another shape or type.
    """
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise DataError(f"an image tensor must have shape (3, height, width), got {tuple(image.shape)}")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise DataError(f"an image tensor must be uint8 or float in [-1, 1], got {image.dtype}")
    if image.dtype != torch.uint8:
        image = to_uint8(image)
    return Image.fromarray(image.detach().permute(1, 2, 0).cpu().numpy(), mode="RGB")


def load_image(image: ImageLike) -> Image.Image:
    """Load any image as an upright RGB picture of 8 bits per channel, without metadata.

    The EXIF orientation is applied; EXIF data that cannot be parsed are ignored. Transparent images are laid on white.
    Images of more than 8 bits are converted to 8 bits (see `levels_of`).

    Args:
        image: a PIL image, the path of a file in one of `FORMATS`, or an array of shape (height, width),
            (height, width, 1), (height, width, 3) or (height, width, 4). Array values are uint8 in [0, 255], uint16 in
            [0, 65535] or float in [0, 1].

    Raises:
        DataError: the file does not exist, has another format, is damaged or needs more memory than `MAX_BYTES`; or the
            array has another shape, type or range.
    """
    return _load(image, None, MAX_BYTES)[0]


def load_photo(image: ImageLike, max_bytes: int = MAX_BYTES) -> tuple[Image.Image, tuple[int, int]]:
    """Load an image as `load_image` does, reduced to at most `PHOTO_PIXELS`.

    A larger photo is reduced to a half, a quarter, an eighth and so on of its size. A JPEG is decoded at that size
    directly, which needs little memory. To convert a pose on a reduced picture to pixels of the file, call
    `Pose.resize` with the returned size.

    Args:
        image: as in `load_image`.
        max_bytes: the memory that reading a file may take.

    Returns:
        The picture, and (height, width) of the upright photo at its full size.

    Raises:
        DataError: as for `load_image`.
    """
    return _load(image, PHOTO_PIXELS, max_bytes)


def size_of(path: str | PathLike[str]) -> tuple[int, int]:
    """Return (height, width) of an image file as it is stored, without decoding it.

    Raises:
        DataError: as for `load_image`.
    """
    with _opened(Path(path)) as file:
        return open_image(file, Path(path))[0].size[::-1]


def _load(image: ImageLike, max_pixels: int | None, max_bytes: int) -> tuple[Image.Image, tuple[int, int]]:
    """Return the upright RGB picture, reduced to `max_pixels`, and its (height, width) before the reduction."""
    if isinstance(image, np.ndarray):
        with _naming("an image array"):
            picture = pil_from_array(image, max_bytes)
            return _upright_rgb(picture, picture.size, max_pixels)
    if isinstance(image, Image.Image):
        with _naming("the image"):
            needed = 4 * math.prod(_reduced(image.size, _factor(image.size, max_pixels)))
            if isinstance(image, ImageFile.ImageFile) and image.tile:  # opened, but not decoded yet
                check_decoder(image)
                needed = _memory_needed(image, image.size, FORMATS.get(image.format or "", 0), max_pixels)
            check_memory(image.size, needed, max_bytes)
            return _upright_rgb(image, image.size, max_pixels)
    if isinstance(image, Tensor):
        raise DataError("an image must be a PIL image, a NumPy array or a path, got a tensor: use pil_from_tensor")
    if not isinstance(image, str | PathLike):
        raise DataError(f"an image must be a PIL image, a NumPy array or a path, got {type(image).__name__}")
    path = Path(image)
    with _opened(path) as file:
        opened, name = open_image(file, path)
        check_decoder(opened)
        size = opened.size
        factor = _factor(size, max_pixels)
        if factor > 1 and name == "JPEG":
            opened.draft(None, _reduced(size, factor))
        needed = _memory_needed(opened, size, FORMATS[name], max_pixels)
        if needed > max_bytes and name == "JPEG" and is_decoded_by_rows(path):
            needed = _memory_needed(opened, size, 0, max_pixels)
        check_memory(size, needed, max_bytes)
        opened.load()
        return _upright_rgb(opened, size, max_pixels)


@contextmanager
def _opened(path: Path) -> Iterator[ImageBytes]:
    """Open an image file. Every exception becomes a DataError that names it."""
    with _naming(str(path)):
        if path.exists() and not path.is_file():
            raise DataError("is not a file: expected an image file")  # reading a pipe or a device might never end
        with ImageBytes(path) as file:
            if file.length > MAX_BYTES:
                raise DataError(f"has {megabytes(file.length)}, but only {megabytes(MAX_BYTES)} are allowed")
            yield file


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Convert every exception to a DataError that names the image: on damaged files, decoders raise any exception."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"no image file {name}") from error
    except DataError as error:
        raise DataError(f"{name} {error}") from error
    except Exception as error:
        raise DataError(f"{name} cannot be read: {str(error) or type(error).__name__}") from error


def _memory_needed(image: Image.Image, size: tuple[int, int], extra: int, max_pixels: int | None) -> int:
    """Return the most bytes that it takes to decode and convert an image that is opened.

    Pillow needs four bytes per pixel, the decoder `extra` more. During the conversion both pictures are in memory.
    """
    decoded, kept = math.prod(image.size), math.prod(_reduced(image.size, _factor(image.size, max_pixels)))
    return max(extra * math.prod(size) + 4 * decoded, 4 * (decoded + kept))


def _factor(size: tuple[int, int], max_pixels: int | None) -> int:
    """Return the power of two by which a picture must be reduced."""
    factor = 1
    while max_pixels is not None and math.prod(_reduced(size, factor)) > max_pixels:
        factor *= 2
    return factor


def _reduced(size: tuple[int, int], factor: int) -> tuple[int, int]:
    """Return the size of a reduced picture, rounded up as libjpeg and Pillow do."""
    return -(-size[0] // factor), -(-size[1] // factor)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that makes a picture upright, by EXIF orientation."""

_QUARTER_TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""

_REVERSED = (3, 4, 6, 7)
"""EXIF orientations whose first row becomes the last row or column."""

_STRIP_PIXELS = 1 << 20


def _upright_rgb(
    image: Image.Image, size: tuple[int, int], max_pixels: int | None
) -> tuple[Image.Image, tuple[int, int]]:
    """Convert a picture to upright RGB, in strips, so that no third picture is in memory.

    Args:
        image: decoded, at its full size or reduced by its decoder.
        size: (width, height) of the file.
        max_pixels: the picture is reduced by a power of two until it has no more pixels.

    Returns:
        The new picture, and (height, width) of the upright file.

    Raises:
        DataError: the picture has no pixels.
    """
    if 0 in image.size:
        raise DataError(f"has {image.width}x{image.height} pixels; expected one or more")
    orientation, levels = _orientation(image), levels_of(image)
    factor = _factor(image.size, max_pixels)
    if image.mode == "RGB" and "transparency" not in image.info and orientation not in _TURNS and factor == 1:
        picture = image.copy()
        picture.info = {}
        return picture, size[::-1]
    reduced = _reduced(image.size, factor)
    turned = orientation in _QUARTER_TURNED
    upright = Image.new("RGB", reduced[::-1] if turned else reduced)
    rows = max(1, _STRIP_PIXELS // image.width // factor) * factor
    for top in range(0, image.height, rows):
        strip = to_rgb(image.crop((0, top, image.width, min(top + rows, image.height))), levels)
        if factor > 1:
            strip = strip.reduce(factor)
        place = top // factor
        if orientation in _REVERSED:
            place = reduced[1] - place - strip.height
        if orientation in _TURNS:
            strip = strip.transpose(_TURNS[orientation])
        upright.paste(strip, (place, 0) if turned else (0, place))
    return upright, size if turned else size[::-1]


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8. It is 1, upright, if the EXIF data are missing or cannot be parsed."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
    except Exception as error:  # on invalid data, the parser raises any exception
        log.info("the EXIF data are ignored, as they cannot be parsed: %s", error)
        return 1
    return found if isinstance(found, int) else 1


def turn_photo(photo: Image.Image, degrees: int) -> Image.Image:
    """Return a photo turned clockwise.

    Args:
        photo: the photo as it was loaded.
        degrees: 0, 90, 180 or 270.

    Raises:
        DataError: another angle.
    """
    turns = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
    if degrees not in (0, *turns):
        raise DataError(f"a photo is turned clockwise by 0, 90, 180 or 270 degrees, got {degrees!r}")
    return photo.transpose(turns[degrees]) if degrees else photo


def fit(image: Image.Image, canvas: tuple[int, int], fill: tuple[int, int, int]) -> Image.Image:
    """Resize a picture to fit a canvas, centre it, and fill the rest with one colour.

    A picture of the canvas's size is returned as it is. A narrower picture of the canvas's height is only padded, by
    whole pixels.

    Args:
        image: RGB.
        canvas: (height, width) in pixels.
        fill: RGB of the rest, [0, 255].
    """
    if (image.height, image.width) == canvas:
        return image
    width, height, left, top = _placement((image.height, image.width), canvas)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    fitted = Image.new("RGB", canvas[::-1], fill)
    fitted.paste(image, (left, top))
    return fitted


def fit_points(
    xy: Float[Tensor, "*points 2"], size: tuple[int, int], canvas: tuple[int, int]
) -> Float[Tensor, "*points 2"]:
    """Convert points from the pixels of a picture to those of the canvas on which `fit` places it.

    Args:
        xy: x first.
        size: (height, width) of the picture.
        canvas: (height, width).
    """
    width, height, left, top = _placement(size, canvas)
    scale = xy.new_tensor((width / size[1], height / size[0]))
    return (xy + 0.5) * scale - 0.5 + xy.new_tensor((left, top))


def _placement(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the width, height, left and top of a picture of `size` (height, width) fitted to the canvas."""
    scale = min(canvas[0] / size[0], canvas[1] / size[1])
    width, height = max(1, round(size[1] * scale)), max(1, round(size[0] * scale))
    return width, height, (canvas[1] - width) // 2, (canvas[0] - height) // 2


@dataclass(frozen=True)
class Crop:
    """A rectangle of a photo that is resampled to a canvas. Beyond the photo, its edge pixels are replicated.

    Attributes:
        left, top, right, bottom: edges in pixels of the photo, whose own edges lie at -0.5 and size - 0.5.
        canvas: (height, width) in pixels to which the rectangle is resampled.

    Raises:
        DataError: the rectangle is less than one pixel wide or high, or not finite; or the canvas has no pixels.
    """

    left: float
    top: float
    right: float
    bottom: float
    canvas: tuple[int, int]

    def __post_init__(self) -> None:
        if not (1 <= self.right - self.left < math.inf and 1 <= self.bottom - self.top < math.inf):
            raise DataError(f"a crop must be at least one pixel wide and high, and finite, got {self}")
        if min(self.canvas) < 1:
            raise DataError(f"the canvas of a crop must be at least one pixel wide and high, got {self}")

    @classmethod
    def around(cls, x: float, y: float, height: float, canvas: tuple[int, int]) -> Crop:
        """Make the rectangle centred on (x, y) that is `height` photo pixels high and has the canvas's aspect ratio."""
        half_height, half_width = height / 2, height / 2 * canvas[1] / canvas[0]
        return cls(x - half_width, y - half_height, x + half_width, y + half_height, canvas)

    @property
    def scale(self) -> tuple[float, float]:
        """Canvas pixels per photo pixel, (x, y)."""
        return self.canvas[1] / (self.right - self.left), self.canvas[0] / (self.bottom - self.top)

    def resized(self, size: tuple[int, int], to: tuple[int, int]) -> Crop:
        """Return the crop of the same part after the photo is resized from `size` to `to`, both (height, width)."""
        scale_y, scale_x = to[0] / size[0], to[1] / size[1]
        return replace(
            self,
            left=(self.left + 0.5) * scale_x - 0.5,
            top=(self.top + 0.5) * scale_y - 0.5,
            right=(self.right + 0.5) * scale_x - 0.5,
            bottom=(self.bottom + 0.5) * scale_y - 0.5,
        )

    def apply(self, image: Image.Image) -> Image.Image:
        """Crop a picture and resample it to the canvas.

        The memory that this takes is limited by the sizes of the picture and the canvas, however large the crop is.
        """
        width, height = self.right - self.left, self.bottom - self.top
        too_long = max(width, height) > max(LONGEST_SIDE_PX, *image.size)
        if too_long or width * height > max(PHOTO_PIXELS, image.width * image.height):
            return self._resample_overlap(image)
        return self._resample(image)

    def _resample(self, image: Image.Image) -> Image.Image:
        # The resampling filter needs one more pixel on each side.
        left, top = math.floor(self.left) - 1, math.floor(self.top) - 1
        right, bottom = math.ceil(self.right) + 2, math.ceil(self.bottom) + 2
        columns = np.arange(left, right).clip(0, image.width - 1)
        rows = np.arange(top, bottom).clip(0, image.height - 1)
        part = Image.new("RGB", (int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1))
        part.paste(image if image.mode == "RGB" else image.convert("RGB"), (-int(columns[0]), -int(rows[0])))
        pixels = np.asarray(part)[rows - rows[0]][:, columns - columns[0]]
        box = (self.left + 0.5 - left, self.top + 0.5 - top, self.right + 0.5 - left, self.bottom + 0.5 - top)
        return Image.fromarray(pixels).resize((self.canvas[1], self.canvas[0]), Image.Resampling.LANCZOS, box=box)

    def _resample_overlap(self, image: Image.Image) -> Image.Image:
        """Resample only that part of the canvas that shows the picture, and repeat its edge pixels around it."""
        # The picture is reduced first, so that no more than 16 of its pixels make one of the canvas.
        across, down = (max(1, math.floor(1 / (8 * scale))) for scale in self.scale)
        reduced = image.convert("RGB").reduce((min(across, image.width), min(down, image.height)))
        crop = self.resized((down, across), (1, 1))
        corners = torch.tensor([(-0.5, -0.5), (reduced.width - 0.5, reduced.height - 0.5)], dtype=torch.float64)
        (left, top), (right, bottom) = crop.to_canvas(corners).tolist()
        first_x, last_x = _shown(left, right, crop.scale[0], self.canvas[1])
        first_y, last_y = _shown(top, bottom, crop.scale[1], self.canvas[0])
        edges = crop.to_photo(torch.tensor([(first_x, first_y), (last_x, last_y)], dtype=torch.float64) - 0.5)
        (left, top), (right, bottom) = edges.tolist()
        inner = Crop(left, top, right, bottom, (last_y - first_y, last_x - first_x))._resample(reduced)
        around = ((first_y, self.canvas[0] - last_y), (first_x, self.canvas[1] - last_x), (0, 0))
        return Image.fromarray(np.pad(np.asarray(inner), around, mode="edge"))

    def to_canvas(self, xy: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points 2"]:
        """Convert points from photo pixels to canvas pixels."""
        origin, scale = xy.new_tensor((self.left, self.top)), xy.new_tensor(self.scale)
        return (xy - origin) * scale - 0.5

    def to_photo(self, xy: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points 2"]:
        """Convert points from canvas pixels to photo pixels: the inverse of `to_canvas`."""
        origin, scale = xy.new_tensor((self.left, self.top)), xy.new_tensor(self.scale)
        return (xy + 0.5) / scale + origin


def _shown(first: float, last: float, scale: float, size: int) -> tuple[int, int]:
    """Return the range of canvas pixels, at least one, that a picture from `first` to `last` affects on an axis.

    Args:
        first, last: edges of the picture, in pixels of the canvas.
        scale: canvas pixels per pixel of the picture.
        size: of the canvas, in pixels.
    """
    reach = 3 * max(1.0, scale) + 1  # of the resampling filter
    start = min(max(0, math.floor(first - reach)), size - 1)
    return start, max(start + 1, min(size, math.ceil(last + reach) + 1))


def image_grid(
    rows: Sequence[Sequence[Image.Image | Tensor]],
    titles: Sequence[str] = (),
    names: Sequence[str] = (),
    padding_px: int = 4,
    scale: int = 1,
) -> Image.Image:
    """Arrange pictures of one size in rows and columns, on white.

    Args:
        rows: pictures, or tensors as in `pil_from_tensor`. All rows have the same length.
        titles: one per column, drawn above it; or none.
        names: one per row, drawn to its left; or none.
        padding_px: the gap between pictures.
        scale: integer factor by which every picture is enlarged, without smoothing.

    Raises:
        DataError: there is no picture; or the lengths of rows, the sizes of pictures, or the numbers of titles and
            names do not match.
    """
    pictures = [[pil_from_tensor(p) if isinstance(p, Tensor) else p for p in row] for row in rows]
    if not pictures or not pictures[0]:
        raise DataError("a grid needs at least one picture")
    sizes = {picture.size for row in pictures for picture in row}
    labels = (len(titles) in (0, len(pictures[0]))) and (len(names) in (0, len(pictures)))
    if len(sizes) > 1 or len({len(row) for row in pictures}) > 1 or not labels:
        raise DataError(
            f"a grid needs rows of one length, one title per column, one name per row and pictures of one size, got "
            f"rows of {[len(row) for row in pictures]}, {len(titles)} titles, {len(names)} names, sizes {sorted(sizes)}"
        )
    width, height = (side * scale for side in sizes.pop())
    font_px = max(9, min(14, width // 6))
    font = ImageFont.load_default(size=font_px)
    # The corner of the first picture, and the step from one picture to the next.
    left = padding_px + (round(max(map(font.getlength, names))) + 2 * padding_px if names else 0)
    top = padding_px + (font_px + 2 * padding_px if titles else 0)
    step_x, step_y = width + padding_px, height + padding_px
    grid = Image.new("RGB", (left + len(pictures[0]) * step_x, top + len(pictures) * step_y), "white")
    draw = ImageDraw.Draw(grid)
    for column, title in enumerate(titles):
        draw.text((left + column * step_x + width / 2, padding_px), title, fill="black", font=font, anchor="ma")
    for row_number, name in enumerate(names):
        middle = top + row_number * step_y + height / 2
        draw.text((left - padding_px, middle), name, fill="black", font=font, anchor="rm")
    for i, row in enumerate(pictures):
        for j, picture in enumerate(row):
            enlarged = picture.resize((width, height), Image.Resampling.NEAREST)
            grid.paste(enlarged, (left + j * step_x, top + i * step_y))
    return grid
