"""The file formats that are read: how a file is opened without decoding it, and what other files are."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from pg2lib.errors import DataError

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
"""The file formats that are read, and how many bytes per pixel their decoders need at most besides the picture itself
(measured with Pillow 12.3).

JPEG includes the MPO files of phones, of which the first picture is read. HEIF, the format of iPhones (HEIC), needs
pillow-heif. Other formats that Pillow knows are refused: their files can start a program (EPS), contain files of other
formats (ICO, ICNS), or are rarely photos.
"""

SLOW_PIXELS = 16_000_000
"""The most pixels of a picture that Pillow decodes in Python, which may take a second per million pixels."""

_SLOW_DECODERS = ("bmp_rle", "ppm", "ppm_plain")

_HEAD = 64
"""Bytes from which the format of a file is told."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")

_OTHER_FILES = {
    b"version https://git-lfs": "is a Git LFS pointer and not the image itself: run git lfs pull to fetch that",
    b"\x1aE\xdf\xa3": "is a video: save a frame of it as a picture, and use that",
    b"%PDF": "is a PDF: save the page as a PNG or JPEG, and use that",
    b"%!PS": "is PostScript: save it as a PNG or JPEG, and use that",
    b"8BPS": "is a Photoshop file: export it as a PNG or JPEG, and use that",
    b"PK\x03\x04": "is a ZIP archive: unpack it",
    b"<!doctype html": "is a web page and not an image: download the image itself",
    b"<html": "is a web page and not an image: download the image itself",
}
"""What files are that often take the place of an image, by their first bytes. Tags are compared in lower case."""


class ImageBytes(io.BufferedReader):
    """A file that never prepares for more bytes than it has, whatever lengths its headers give.

    Attributes:
        length: bytes in the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.length = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes; all that are left if it is negative or None."""
        return super().read(size if size is None else min(size, self.length))


def open_image(file: BinaryIO, path: Path) -> tuple[ImageFile.ImageFile, str]:
    """Return the picture of a file, not decoded yet, and the name of its format.

    `Image.open` is not used, as it has its own limit on the size and warns about some sizes.

    Raises:
        DataError: the format is not one of `FORMATS`, is a variant that Pillow does not read, or needs a package that
            is not installed. The message continues the name of the file.
    """
    Image.init()
    head = file.read(_HEAD)
    if _brand(head) in _HEIF_BRANDS:  # first, as other code of the process may have registered a reader with Pillow
        file.seek(0)
        return _open_heif(file, path), "HEIF"
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory is None or accepts is None or not (verdict := accepts(head[:16])):
            continue
        if isinstance(verdict, str):
            raise DataError(f"cannot be read: {verdict}")
        file.seek(0)
        try:
            return (_open_avif(factory, file, path) if name == "AVIF" else factory(file, str(path))), name
        except SyntaxError as error:
            if name != "TIFF" or "unknown pixel mode" not in str(error):
                raise
            raise DataError(
                "is a TIFF of a kind that Pillow cannot read, such as colours as floats, or floats of 64 bits: save it "
                "as a PNG"
            ) from error
    raise DataError(_what_else(head))


def _brand(head: bytes) -> bytes:
    """Return the major brand of an ISO media file, which HEIC, AVIF, MP4 and MOV files are; empty for other files."""
    return head[8:12] if head[4:8] == b"ftyp" else b""


def _open_avif(factory: Callable[..., ImageFile.ImageFile], file: BinaryIO, path: Path) -> ImageFile.ImageFile:
    """Open an AVIF photo. Its decoder refuses photos with invalid EXIF data, which are then opened without these."""
    try:
        return factory(file, str(path))
    except Exception:  # on damaged files, the decoder raises any exception
        file.seek(0)
        content = file.read()
        # The entry of an item: "infe", its version, flags, number and protection, and the type of the item.
        without = re.sub(rb"(infe.{8})Exif", rb"\1free", content, flags=re.DOTALL)
        if without == content:
            raise
        return factory(io.BytesIO(without), str(path))


def _open_heif(file: BinaryIO, path: Path) -> ImageFile.ImageFile:
    """Open a HEIC photo. pillow-heif is not registered with Pillow, which other code of the process also uses."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise DataError(
            'is a HEIC photo, which pillow-heif reads: pip install "pg2lib[heif]", or save the photo as a JPEG'
        ) from error
    open_heif: Callable[[BinaryIO, str], Any] = HeifImageFile
    try:
        opened: ImageFile.ImageFile = open_heif(file, str(path))
    except Exception as error:  # on damaged files, the decoder raises any exception
        raise DataError(
            f"is a HEIC photo that is damaged or incomplete ({error}): copy it again, or save it as a JPEG"
        ) from error
    return opened


def _what_else(head: bytes) -> str:
    """Return what a file is that is not read, as the end of a sentence that starts with its name."""
    if not head:
        return "is empty: copy it again"
    brand = _brand(head)
    if brand in _AVIF_BRANDS:
        return "is an AVIF photo, which this Pillow cannot read: pip install --upgrade pillow, or save it as a JPEG"
    if brand == b"crx ":
        return "is a raw photo: save it as a JPEG, and use that"
    if brand or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return _OTHER_FILES[b"\x1aE\xdf\xa3"]
    for start, what in _OTHER_FILES.items():
        if head.startswith(start) or head.lstrip().lower().startswith(start):
            return what
    return f"is not an image in one of the supported formats ({', '.join(FORMATS)})"


def check_decoder(image: ImageFile.ImageFile) -> None:
    """Refuse a large picture that Pillow decodes in Python: compressed BMPs, and PPMs in text or of unusual levels.

    Raises:
        DataError: it has more than `SLOW_PIXELS`. The message continues the name of the file.
    """
    if not image.tile or (decoder := image.tile[0][0]) not in _SLOW_DECODERS:
        return
    # A compressed BMP may skip 255 rows at once, and the decoder fills as many.
    pixels = image.width * (max(image.height, 256) if decoder == "bmp_rle" else image.height)
    if pixels > SLOW_PIXELS:
        raise DataError(
            f"has {image.width}x{image.height} pixels in an old encoding that is slow to decode: save it as a PNG"
        )


def is_decoded_by_rows(jpeg: Path) -> bool:
    """Return whether a JPEG stores the whole image in one scan, without anything unusual in its headers.

    libjpeg decodes such files row by row. For all others it keeps the coefficients of the whole image in memory.
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
