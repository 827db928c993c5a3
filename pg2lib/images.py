"""Images in and out: uint8 and [-1, 1], files of every mode, crops and letterboxes that can be undone, grids.

The sole home of 127.5. Tensors are (..., 3, height, width), RGB. Pixel centres lie at integers, so an image of width W
spans x from -0.5 to W - 0.5.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageDraw, ImageFile, ImageFont
from torch import Tensor

from pg2lib.errors import DataError

ImageLike = Image.Image | NDArray[np.generic] | str | PathLike[str]

FORMATS = {
    "JPEG": 6,
    "PNG": 0,
    "WEBP": 14,
    "AVIF": 16,
    "BMP": 0,
    "GIF": 0,
    "TIFF": 8,
    "PPM": 8,
    "JPEG2000": 24,
    "HEIF": 16,
}
"""The formats of image files that are opened, and the bytes a pixel that their decoders take besides the picture, at
their worst (measured with Pillow 12.3).

JPEG includes the MPO files of phones, of which the first picture is taken; HEIF needs pillow-heif, registered by the
caller. Pillow knows more formats. They stay closed, as their files can start a program (EPS), hold files of other
formats (ICO, ICNS), or are hardly photos.
"""

MAX_BYTES = 1_000_000_000
"""Memory that opening an image may take: enough for 125 megapixels of PNG or JPEG at their full size."""

PHOTO_PIXELS = 32_000_000
"""The most that `load_photo` returns. What is left of a larger photo has more than a quarter of them, so that somebody
a tenth as high as the photo still has some 250 pixels, which is all that a model takes."""

log = logging.getLogger(__name__)


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
    """Any image as an upright RGB picture of 8 bits, with nothing but its pixels.

    Applies the EXIF orientation (EXIF data that cannot be read are passed over), lays transparent images on white, and
    reduces 16 bits and floats to 8.

    Args:
        image: a PIL image, the path of a file in one of `FORMATS`, or an array: (height, width), (height, width, 1),
            (height, width, 3 or 4). Its values, or those of a grey picture of more than 8 bits: uint8 [0, 255], 16-bit
            or wider integers [0, 65535], or float [0, 1].

    Raises:
        DataError: no such file, of no such format, damaged, larger than `MAX_BYTES` allows, or an array of another
            shape, type or range.
    """
    return _load(image, None, MAX_BYTES)[0]


def load_photo(image: ImageLike, max_bytes: int = MAX_BYTES) -> tuple[Image.Image, tuple[int, int]]:
    """A photo to find people in and to cut them out of: as `load_image`, but of no more than `PHOTO_PIXELS`.

    A larger one comes at a half, a quarter, an eighth and so on of its size. A JPEG is decoded at that size at once,
    and needs little memory. The pixels of the picture then are not those of the file: `Pose.resize` to the returned
    size brings a pose into the pixels of the file.

    Args:
        image: as in `load_image`.
        max_bytes: of memory that opening a file may take.

    Returns:
        The picture, and (height, width) of the upright photo at its full size.

    Raises:
        DataError: as `load_image`.
    """
    return _load(image, PHOTO_PIXELS, max_bytes)


def _load(image: ImageLike, max_pixels: int | None, max_bytes: int) -> tuple[Image.Image, tuple[int, int]]:
    """The upright RGB picture, reduced to `max_pixels`, and (height, width) before it was reduced."""
    if isinstance(image, np.ndarray):
        image = _pil_from_array(image)
    if isinstance(image, Image.Image):
        with _naming("the image"):
            return _upright_rgb(image, image.size, max_pixels)
    if not isinstance(image, str | PathLike):
        raise DataError(f"an image must be a PIL image, a NumPy array or a path, got {type(image).__name__}")
    path = Path(image)
    with _naming(str(path)), path.open("rb") as file:
        opened, name = _open(file, path)
        size = opened.size
        factor = _factor(size, max_pixels)
        if factor > 1:
            opened.draft(None, _reduced(size, factor))  # of a JPEG; others stay as they are
        needed = _memory_needed(opened, size, FORMATS[name], max_pixels)
        if needed > max_bytes and name == "JPEG" and _is_decoded_by_rows(path):
            needed = _memory_needed(opened, size, 0, max_pixels)
        if needed > max_bytes:
            raise DataError(
                f"has {size[0]}x{size[1]} pixels, and decoding them takes up to {_megabytes(needed)} of memory, more "
                f"than the {_megabytes(max_bytes)} that are allowed: make the picture smaller"
            )
        opened.load()
        return _upright_rgb(opened, size, max_pixels)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Makes a DataError that names the image of whatever is raised: of a damaged file decoders raise anything."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"no image file {name}") from error
    except DataError as error:
        raise DataError(f"{name} {error}") from error
    except Exception as error:
        raise DataError(f"{name} cannot be read: {str(error) or type(error).__name__}") from error


def _open(file: BinaryIO, path: Path) -> tuple[ImageFile.ImageFile, str]:
    """The picture, not decoded yet, and its format of `FORMATS`.

    Not by `Image.open`, which has a limit of its own and for some sizes a warning.

    Raises:
        DataError: another format.
    """
    Image.init()
    head = file.read(16)
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory is None or accepts is None or not (verdict := accepts(head)):
            continue
        if isinstance(verdict, str):
            raise DataError(f"cannot be read: {verdict}")
        file.seek(0)
        return factory(file, str(path)), name
    raise DataError(f"is not an image of a format that is read here ({', '.join(FORMATS)})")


def _memory_needed(image: Image.Image, size: tuple[int, int], extra: int, max_pixels: int | None) -> int:
    """Bytes, at most, for an image that is opened and not decoded.

    A pixel takes four bytes in Pillow, the decoder `extra` more, and there are two pictures while one is made of the
    other.
    """
    decoded, kept = math.prod(image.size), math.prod(_reduced(image.size, _factor(image.size, max_pixels)))
    return max(extra * math.prod(size) + 4 * decoded, 4 * (decoded + kept))


def _is_decoded_by_rows(jpeg: Path) -> bool:
    """Whether a JPEG has all it holds in one scan: of any other libjpeg keeps all coefficients while it decodes.

    False where its headers hold anything unusual.
    """
    with jpeg.open("rb") as file:
        file.seek(2)
        components = b""
        while len(head := file.read(4)) == 4 and head[0] == 0xFF:
            marker, body = head[1], file.read(max(0, int.from_bytes(head[2:], "big") - 2))
            if marker in (0xC0, 0xC1):  # the frame of a baseline or extended sequential JPEG
                components = body[5:6]
            elif marker == 0xDA:  # the first scan
                return body[:1] == components
            elif marker not in (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)):  # tables, comments, applications' data
                return False
    return False


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def _factor(size: tuple[int, int], max_pixels: int | None) -> int:
    """The power of two by which a picture is reduced."""
    factor = 1
    while max_pixels is not None and math.prod(_reduced(size, factor)) > max_pixels:
        factor *= 2
    return factor


def _reduced(size: tuple[int, int], factor: int) -> tuple[int, int]:
    """As libjpeg and Pillow round: the last pixels may be of fewer."""
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
"""What makes a picture upright, by its EXIF orientation."""

_LIES = (5, 6, 7, 8)
"""EXIF orientations whose pictures are turned by a quarter."""

_FROM_THE_END = (3, 4, 6, 7)
"""EXIF orientations whose first row comes last, as a row or a column."""

_STRIP_PIXELS = 1 << 20


def _upright_rgb(
    image: Image.Image, size: tuple[int, int], max_pixels: int | None
) -> tuple[Image.Image, tuple[int, int]]:
    """A new RGB picture, made in strips so that no third one is in memory, and the upright form of `size`.

    Args:
        image: decoded; as it is, or drafted.
        size: (width, height) of the file.
    """
    orientation = _orientation(image)
    factor = _factor(image.size, max_pixels)
    if image.mode == "RGB" and "transparency" not in image.info and orientation not in _TURNS and factor == 1:
        picture = image.copy()
        picture.info = {}
        return picture, size[::-1]
    reduced = _reduced(image.size, factor)
    lies = orientation in _LIES
    upright = Image.new("RGB", reduced[::-1] if lies else reduced)
    rows = max(1, _STRIP_PIXELS // image.width // factor) * factor
    for top in range(0, image.height, rows):
        strip = _rgb(image.crop((0, top, image.width, min(top + rows, image.height))))
        if factor > 1:
            strip = strip.reduce(factor)
        place = top // factor
        if orientation in _FROM_THE_END:
            place = reduced[1] - place - strip.height
        if orientation in _TURNS:
            strip = strip.transpose(_TURNS[orientation])
        upright.paste(strip, (place, 0) if lies else (0, place))
    return upright, size if lies else size[::-1]


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1, which is upright, where the EXIF data are missing or cannot be read."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
    except Exception as error:  # of junk, whatever its parser stumbles over
        log.info("EXIF data that cannot be read: %s", error)
        return 1
    return found if isinstance(found, int) else 1


def _rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode in RGB, on white where it is transparent."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        levels = _eight_bits(values)
        if "transparency" in image.info:  # the one level of a grey PNG that is
            levels = np.where(values == image.info["transparency"], np.uint8(255), levels)
        return Image.fromarray(levels).convert("RGB")
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


def _eight_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Levels of 0 to 255, rounded, of integers in [0, 65535] or floats in [0, 1]; in rows, to need little memory.

    Raises:
        DataError: other values.
    """
    most = 1 if np.issubdtype(values.dtype, np.floating) else 65535
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= most):
        what, instead = ("floats", "[0, 1]") if most == 1 else ("integers", "[0, 65535]")
        raise DataError(
            f"holds {what} in [{low:.6g}, {high:.6g}], and an image of {what} must lie in {instead}; scale them, or "
            f"use uint8 for [0, 255]"
        )
    levels = np.empty(values.shape, np.uint8)
    for row, level in zip(values, levels, strict=True):
        # (v + 128) // 257 is v / 65535 * 255, rounded.
        level[...] = (row * 255).round() if most == 1 else (row.astype(np.int64) + 128) // 257
    return levels


def _pil_from_array(array: NDArray[np.generic]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or 0 in array.shape:
        raise DataError(f"an image array must have shape (height, width) or (height, width, 3 or 4), got {array.shape}")
    if array.dtype == np.uint8:
        values = np.asarray(array, dtype=np.uint8)
    elif array.dtype == np.uint16 or np.issubdtype(array.dtype, np.floating):
        with _naming("the array"):
            values = _eight_bits(array)
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

    def resized(self, size: tuple[int, int], to: tuple[int, int]) -> Crop:
        """The same part of a photo that is resized from `size` to `to`, both (height, width)."""
        scale_y, scale_x = to[0] / size[0], to[1] / size[1]
        return replace(
            self,
            left=(self.left + 0.5) * scale_x - 0.5,
            top=(self.top + 0.5) * scale_y - 0.5,
            right=(self.right + 0.5) * scale_x - 0.5,
            bottom=(self.bottom + 0.5) * scale_y - 0.5,
        )

    def apply(self, image: Image.Image) -> Image.Image:
        """The cropped and resampled picture, (height, width) = canvas."""
        # One pixel more on every side feeds the resampling filter.
        left, top = math.floor(self.left) - 1, math.floor(self.top) - 1
        right, bottom = math.ceil(self.right) + 2, math.ceil(self.bottom) + 2
        columns = np.arange(left, right).clip(0, image.width - 1)
        rows = np.arange(top, bottom).clip(0, image.height - 1)
        part = Image.new("RGB", (int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1))
        part.paste(image if image.mode == "RGB" else image.convert("RGB"), (-int(columns[0]), -int(rows[0])))
        pixels = np.asarray(part)[rows - rows[0]][:, columns - columns[0]]
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
