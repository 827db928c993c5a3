"""Damaged and hostile image files, read through every public path: how many are refused, and does anything else happen?

    python tests/torture/images.py --files 10000 --seed 0

Each file starts as a valid picture of a format that this Pillow writes, and is then changed in one of the `CHANGES`. A
file passes if it is loaded, or refused with a `PG2Error` that names it, while the process grows by no more than
`MOST_MEMORY`. One line of JSON is printed at the end; the exit status is 1 if anything escaped. A file that escaped is
kept if `--keep` names a folder. A file that takes longer than `--seconds` ends the run with a traceback.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import json
import logging
import random
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, features

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from pg2lib.errors import PG2Error  # noqa: E402
from pg2lib.images import MAX_BYTES, load_image, load_photo, pil_from_tensor, size_of  # noqa: E402

SIZE = (37, 29)
"""Width and height of the valid pictures."""

LYING = (0, 1, 2, 255, 5000, 11_000, 23_170, 65_500, 65_535, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
"""Widths, heights and lengths that a damaged header may give."""

BOMB = zlib.compress(bytes(40_000_000), 9)
"""40 kB that expand to 40 MB."""

MOST_MEMORY = MAX_BYTES
"""Bytes by which the memory of the process may grow at its peak."""


EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010F], EXIF[0x8769] = 1, "maker", {0x9003: "2020:01:01 00:00:00"}
"""Orientation, the maker of the camera, and the time."""


# ---- valid files


def picture() -> Image.Image:
    """Return a picture with smooth and with sharp parts, RGB."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    pixels = np.stack((x * 6, y * 8, (x // 5 + y // 5) % 2 * 200), axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def seeds() -> dict[str, bytes]:
    """Return valid files by name."""
    rgb, found = picture(), {}
    grey = rgb.convert("L")
    wide = np.asarray(grey).astype(np.uint16) * 257

    def add(name: str, image: Image.Image, format: str, **options: object) -> None:
        buffer = io.BytesIO()
        image.copy().save(buffer, format, **options)
        found[name] = buffer.getvalue()

    add("jpeg", rgb, "JPEG", exif=EXIF, icc_profile=bytes(300))
    add("jpeg progressive", rgb, "JPEG", progressive=True, quality=95)
    add("jpeg grey", grey, "JPEG")
    add("jpeg cmyk", rgb.convert("CMYK"), "JPEG")
    add("jpeg restarts", rgb, "JPEG", restart_marker_rows=1, subsampling=0)
    add("mpo", rgb, "MPO", save_all=True, append_images=[rgb.rotate(180)])
    add("png", rgb, "PNG", exif=EXIF, icc_profile=bytes(300), dpi=(72, 72))
    add("png palette", rgb.quantize(16), "PNG", transparency=3)
    add("png 16 bits", Image.fromarray(wide), "PNG", transparency=7)
    add("png one bit", rgb.convert("1"), "PNG")
    add("png alpha", rgb.convert("RGBA"), "PNG")
    add("apng", rgb, "PNG", save_all=True, append_images=[rgb.rotate(180)], duration=50)
    add("gif", rgb, "GIF", transparency=2)
    add("gif animated", rgb, "GIF", save_all=True, append_images=[rgb.rotate(180)], interlace=1)
    add("bmp", rgb, "BMP")
    add("bmp palette", rgb.quantize(16), "BMP")
    found["bmp rle"] = _rle_bmp()
    add("ppm", rgb, "PPM")
    add("pgm 16 bits", Image.fromarray(wide.astype(np.int32)), "PPM")
    add("pfm", Image.fromarray(wide.astype(np.float32) / 65535), "PPM")
    found["pgm text"] = b"P2 3 2 9 # grey\n0 1 2 3 4 5\n"
    found["pbm text"] = b"P1 3 2\n0 1 0 1 1 0\n"
    found["pgm 7 levels"] = b"P5 37 29 6\n" + bytes(37 * 29)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        add(f"tiff {compression}", rgb, "TIFF", compression=compression)
    add("tiff group4", rgb.convert("1"), "TIFF", compression="group4")
    add("tiff float", Image.fromarray(wide.astype(np.float32)), "TIFF")
    add("tiff 16 bits", Image.fromarray(wide), "TIFF", compression="tiff_lzw")
    add("tiff 32 bits", Image.fromarray(wide.astype(np.int32)), "TIFF")
    add("tiff cmyk", rgb.convert("CMYK"), "TIFF")
    add("tiff lab", _lab(rgb), "TIFF")
    add("tiff pages", rgb, "TIFF", save_all=True, append_images=[grey], tiffinfo={274: 6})
    found["tiff tiles"] = tiled_tiff(np.asarray(grey))
    add("ico", rgb, "ICO")
    add("dib", rgb, "DIB")
    add("tga", rgb, "TGA")
    if features.check("webp"):
        add("webp", rgb, "WEBP", exif=EXIF)
        add("webp lossless", rgb.convert("RGBA"), "WEBP", lossless=True)
        add("webp animated", rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)])
    if features.check("avif"):
        add("avif", rgb, "AVIF", exif=EXIF)
        add("avif alpha", rgb.convert("RGBA"), "AVIF")
    if features.check("jpg_2000"):
        add("jpeg 2000", rgb, "JPEG2000")
        add("jpeg 2000 stream", rgb, "JPEG2000", no_jp2=True, tile_size=(16, 16))
    try:
        import pillow_heif
    except ImportError:
        return found
    buffer = io.BytesIO()
    pillow_heif.from_pillow(rgb).save(buffer, exif=EXIF.tobytes(), quality=90)
    return found | {"heic": buffer.getvalue()}


def _lab(rgb: Image.Image) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(
        rgb, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert converted is not None
    return converted


def _rle_bmp() -> bytes:
    data = b"\x05\x01\x00\x00" * 6 + b"\x00\x02\x01\x01\x00\x01"
    palette = bytes(range(64)) * 16
    head = struct.pack("<IiiHHIIiiII", 40, 8, 6, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(data), 0, 0, 54 + 1024) + head + palette + data


def tiled_tiff(grey: np.ndarray, tile: tuple[int, int] = (16, 16), said: tuple[int, int] | None = None) -> bytes:
    """Return a TIFF of 8-bit grey in tiles, compressed by zlib.

    Args:
        grey: the picture.
        tile: (width, height) of a tile.
        said: what the header says of it, if that is a lie.
    """
    height, width = grey.shape
    across, down = -(-width // tile[0]), -(-height // tile[1])
    padded = np.zeros((down * tile[1], across * tile[0]), np.uint8)
    padded[:height, :width] = grey
    tiles = [
        zlib.compress(padded[y * tile[1] : (y + 1) * tile[1], x * tile[0] : (x + 1) * tile[0]].tobytes())
        for y in range(down)
        for x in range(across)
    ]
    said_width, said_height = said or tile
    start = 8 + 2 + 12 * 10 + 4
    lists = start + 8 * len(tiles)
    offsets = [lists + sum(map(len, tiles[:i])) for i in range(len(tiles))]
    count = len(tiles)
    tags = [(256, 1, width), (257, 1, height), (258, 1, 8), (259, 1, 8), (262, 1, 1), (277, 1, 1)]
    tags += [(322, 1, said_width), (323, 1, said_height)]
    tags += [(324, count, start if count > 1 else offsets[0])]
    tags += [(325, count, start + 4 * count if count > 1 else len(tiles[0]))]
    entries = b"".join(struct.pack("<HHII", tag, 4, number, value) for tag, number, value in tags)
    body = struct.pack(f"<{2 * count}I", *offsets, *map(len, tiles)) + b"".join(tiles)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + body


# ---- changes


def flip_bits(content: bytes, rng: random.Random) -> bytes:
    """Flip up to 16 bits, near the start in half of the files."""
    changed = bytearray(content)
    end = len(changed) if rng.random() < 0.5 else min(len(changed), 200)
    for _ in range(rng.randint(1, 16)):
        changed[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut_off(content: bytes, rng: random.Random) -> bytes:
    """Cut the file short, or append noise."""
    if rng.random() < 0.2:
        return content + rng.randbytes(rng.choice((1, 100, 100_000)))
    return content[: rng.randrange(len(content))]


def set_extremes(content: bytes, rng: random.Random) -> bytes:
    """Overwrite one or two numbers of the header by extreme ones."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 2)):
        size, order = rng.choice((1, 2, 4)), rng.choice(("little", "big"))
        start = rng.randrange(min(len(changed), 400))
        changed[start : start + size] = (rng.choice(LYING) % (1 << 8 * size)).to_bytes(size, order)
    return bytes(changed)


def splice(content: bytes, rng: random.Random) -> bytes:
    """Delete, repeat or move a part, or put a part of another file in its place."""
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    other = rng.choice(list(SEEDS.values()))
    first, last = sorted(rng.randrange(len(other) + 1) for _ in range(2))
    part = rng.choice((b"", content[start:end] * rng.randint(2, 40), other[first:last], other))
    return content[:start] + part + content[end:]


def lie_about_size(content: bytes, rng: random.Random) -> bytes:
    """Replace the width, the height or both, wherever the format keeps them."""
    changed = bytearray(content)
    for place in rng.choice(list(_sizes(content)) or [[(0, "<I")]]):
        if rng.random() < 0.7:
            start, code = place
            value = rng.choice(LYING) % (1 << 8 * struct.calcsize(code))
            changed[start : start + struct.calcsize(code)] = struct.pack(code, value)
    if content.startswith(b"\x89PNG"):
        return png_of(list(_chunks(bytes(changed))))
    if content[:1] == b"P" and content[1:2].isdigit():
        return content.replace(b"37 29", f"{rng.choice(LYING)} {rng.choice(LYING)}".encode(), 1)
    return bytes(changed)


def _sizes(content: bytes) -> Iterator[list[tuple[int, str]]]:
    """Yield the places of a width and a height, with the code by which `struct` packs each."""
    if content.startswith(b"\x89PNG"):
        yield [(16, ">I"), (20, ">I")]
        if (frame := content.find(b"fcTL")) > 0:
            yield [(frame + 8, ">I"), (frame + 12, ">I"), (frame + 16, ">I")]
    elif content.startswith(b"\xff\xd8"):
        for marker in (b"\xff\xc0", b"\xff\xc2"):
            if (frame := content.find(marker)) > 0:
                yield [(frame + 5, ">H"), (frame + 7, ">H")]
    elif content.startswith(b"GIF"):
        yield [(6, "<H"), (8, "<H")]
        if (frame := content.find(b",\0\0\0\0")) > 0:
            yield [(frame + 5, "<H"), (frame + 7, "<H")]
    elif content.startswith(b"BM"):
        yield [(18, "<I"), (22, "<I")]
    elif content.startswith((b"II*\0", b"MM\0*")):
        start = struct.unpack_from("<I", content, 4)[0]
        for entry in range(start + 2, len(content) - 12, 12):
            if struct.unpack_from("<H", content, entry)[0] in (256, 257, 258, 277, 278, 322, 323):
                yield [(entry + 8, "<I")]
    elif content.startswith(b"RIFF"):
        yield [(24, "<I"), (27, "<I")] if content[12:16] == b"VP8X" else [(21, "<I")]
        yield [(26, "<H"), (28, "<H")]
    elif content.startswith(b"\xff\x4f") or content[4:8] == b"jP  ":
        start = content.find(b"\xff\x51")
        yield [(start + 6, ">I"), (start + 10, ">I")]
        yield [(start + 22, ">I"), (start + 26, ">I")]
        if (start := content.find(b"ihdr")) > 0:
            yield [(start + 4, ">I"), (start + 8, ">I")]
    elif (start := content.find(b"ispe")) > 0:
        yield [(start + 8, ">I"), (start + 12, ">I")]


def change_parts(content: bytes, rng: random.Random) -> bytes:
    """Change what is inside a chunk of a PNG, a segment of a JPEG or an entry of a TIFF; other files: set extremes."""
    if content.startswith(b"\x89PNG"):
        chunks = list(_chunks(content))
        number = rng.randrange(len(chunks))
        name, data = chunks[number]
        if rng.random() < 0.5 or not data:
            kinds = (b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"fdAT", b"pHYs",
                     b"gAMA", b"cHRM", b"sBIT", b"IDAT", b"IHDR")  # fmt: skip
            inside = (BOMB, b"x\0\0" + BOMB, b"x\0\1\0\0\0" + BOMB, b"", b"x", rng.randbytes(rng.randint(1, 60)))
            chunks.insert(number, (rng.choice(kinds), rng.choice(inside)))
        else:
            chunks[number] = (name, flip_bits(data, rng) if rng.random() < 0.7 else cut_off(data, rng))
        return png_of(chunks)
    if content.startswith(b"\xff\xd8"):
        return with_segment(content, rng.choice((*range(0xC0, 0xF0), 0xFE)), _segment(rng))
    if content.startswith(b"II*\0"):
        changed, start = bytearray(content), struct.unpack_from("<I", content, 4)[0]
        if start + 14 > len(content):
            return set_extremes(content, rng)
        entry = start + 2 + 12 * rng.randrange(max(1, struct.unpack_from("<H", content, start)[0]))
        what = rng.choice(((0, "<H", 65_535), (2, "<H", 14), (4, "<I", 1 << 32), (8, "<I", 1 << 32)))
        place, code, limit = what
        struct.pack_into(
            code, changed, min(entry + place, len(changed) - 4), rng.choice((*LYING, rng.getrandbits(32))) % limit
        )
        return bytes(changed)
    return set_extremes(content, rng)


def _segment(rng: random.Random) -> bytes:
    heads = (b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0", b"MPF\0II*\0\x08\0\0\0", b"ICC_PROFILE\0", b"JFIF", b"Adobe",
             b"", b"ICC_PROFILE\0\1\2", b"Photoshop 3.0\0008BIM",
             b'http://ns.adobe.com/xap/1.0/\0tiff:Orientation="9')  # fmt: skip
    return rng.choice(heads) + rng.randbytes(rng.choice((0, 1, 2, 7, 40, 5000)))


def with_segment(content: bytes, marker: int, data: bytes) -> bytes:
    """Return a JPEG with a segment after its first marker."""
    return content[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data + content[2:]


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        yield content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        place += 12 + length


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG of chunks, with right lengths and checksums."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip_bits,
    cut_off,
    set_extremes,
    splice,
    lie_about_size,
    change_parts,
)

SEEDS = seeds()


# ---- metadata that are junk, in a picture that is whole


def junk_exif(rng: random.Random) -> bytes:
    """Return EXIF data that no camera writes."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x0128], exif[0x8769] = 1, 72.0, 2, {0x9003: "2020", 0x927C: rng.randbytes(40)}
    body = exif.tobytes()
    kind = rng.randrange(5)
    if kind == 0:
        return b"Exif\0\0" + rng.randbytes(rng.randint(0, 80))
    if kind == 1:
        return rng.randbytes(rng.randint(1, 80))
    if kind == 2:
        return cut_off(body, rng)[:60_000] or b"x"
    return (flip_bits if kind == 3 else set_extremes)(body, rng)


def with_junk(rng: random.Random, name: str = "") -> tuple[str, bytes]:
    """Return a whole picture with junk metadata, and its name, one of `WHOLE`."""
    name = name or rng.choice(list(WHOLE))
    junk, buffer, rgb = junk_exif(rng), io.BytesIO(), picture()
    if name in ("mpf", "xmp"):
        head = {"mpf": b"MPF\0", "xmp": b"http://ns.adobe.com/xap/1.0/\0"}[name]
        return name, with_segment(SEEDS["jpeg grey"], 0xE2 if name == "mpf" else 0xE1, head + junk)
    if name == "jpeg":
        return name, with_segment(SEEDS["jpeg grey"], 0xE1, b"Exif\0\0" + junk)
    if name == "png":
        chunks = list(_chunks(SEEDS["png alpha"]))
        return name, png_of([chunks[0], (b"eXIf", junk), *chunks[1:]])
    if name == "avif":  # Pillow writes no EXIF data that it cannot parse
        start, length = SEEDS["avif"].index(EXIF.tobytes()[6:]), len(EXIF.tobytes()) - 6
        return name, SEEDS["avif"][:start] + junk[:length].ljust(length, b"\xff") + SEEDS["avif"][start + length :]
    if name == "heic":
        import pillow_heif

        pillow_heif.from_pillow(rgb).save(buffer, exif=junk, quality=90)
    else:
        rgb.save(buffer, name.upper(), exif=junk)
    return name, buffer.getvalue()


WHOLE = {"jpeg": "jpeg grey", "mpf": "jpeg grey", "xmp": "jpeg grey", "png": "png alpha"}
WHOLE |= {name: name for name in ("webp", "avif", "heic") if name in SEEDS}
"""The valid file to whose pixels those of `with_junk` must be equal, by name."""


# ---- arrays, tensors and pictures


def odd_object(rng: random.Random) -> object:
    """Return an array, a tensor or a PIL image, of a kind that people have and of kinds that nobody has."""
    kind = rng.randrange(4)
    if kind == 3:
        return odd_picture(rng)
    shape = rng.choice(((), (0,), (7,), (5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4), (3, 5, 7), (1, 3, 5, 7), (0, 7),
                        (5, 0, 3), (5, 7, 2), (1, 1), (1, 1, 3), (1, 4000), (4000, 1, 3)))  # fmt: skip
    value = rng.choice((0, 1, 0.5, 255, 256, -1, 65_535, 1e30, -1e30, float("nan"), float("inf")))
    if kind == 2:
        return (
            torch.zeros(shape)
            .add(value)
            .to(rng.choice((torch.uint8, torch.float16, torch.float64, torch.int64, torch.bool)))
        )
    codes = ("?", "u1", "i1", "<u2", ">u2", "u4", "i8", "<f2", "<f4", ">f4", "f8", "g", "c8", "O", "S3", "U2", "M8[s]",
             "m8[s]", [("r", "u1"), ("g", "u1")])  # fmt: skip
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dtype = np.dtype(rng.choice(codes))
        array = np.zeros(shape, dtype)
        if dtype.kind in "uifc" and array.size:
            array[...] = np.full(shape, value).astype(dtype)
    way = rng.randrange(6)
    if way == 0 and array.ndim:
        return array[::-1]
    if way == 1:
        return array.T
    if way == 2 and array.ndim > 1:
        return array.swapaxes(0, 1)[::2]
    if way == 3:
        huge = rng.choice(((1 << 20, 1 << 20), (1 << 20, 1 << 20, 3), (1, 1 << 40), (1 << 16, 1 << 14)))
        return np.broadcast_to(np.zeros((), dtype), huge)
    if way == 4:
        return np.ma.masked_array(array, mask=np.ones(array.shape, bool))
    return array


def odd_picture(rng: random.Random) -> Image.Image:
    """Return a PIL image of any mode, some empty, some with junk in `info`."""
    modes = ("1", "L", "P", "PA", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F",
             "I;16", "I;16L", "I;16B", "I;16N")  # fmt: skip
    mode, size = rng.choice(modes), rng.choice(((5, 7), (1, 1), (0, 5), (5, 0), (0, 0), (4000, 1), (1, 4000)))
    image = Image.new(mode, size)
    if mode in ("I", "F") and rng.random() < 0.8:
        image = Image.new(mode, size, rng.choice((-1, 1, 255, 65_535, 1 << 30)) if mode == "I" else rng.choice(
            (-1.0, 0.5, 1e-40, 1e30, 3e38, float("nan"), float("inf"))))  # fmt: skip
    if rng.random() < 0.4:
        image.info["transparency"] = rng.choice(
            (0, 255, -1, 1 << 40, b"", b"\0\xff", bytes(256), (1, 2, 3), (1,), "x", None, 0.5)
        )
    if rng.random() < 0.4:
        image.info["exif"] = rng.choice((b"", b"junk", "text", 7, junk_exif(rng)))
    if rng.random() < 0.2:
        image.info["xmp"] = rng.choice((b'tiff:Orientation="6', "text", 7, None))
    if rng.random() < 0.1:
        image.close()
    return image


# ---- the run


@dataclass
class Tally:
    """What happened."""

    files: int = 0
    accepted: int = 0
    refused: int = 0
    escapes: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    peak: int = 0
    start: int = 0

    def line(self) -> str:
        """Return the figures as one line of JSON."""
        return json.dumps(
            {
                "files": self.files,
                "accepted": self.accepted,
                "refused": self.refused,
                "escapes": dict(self.escapes),
                "slowest_s": round(self.slowest[0], 2),
                "slowest": self.slowest[1],
                "start_mb": self.start // 1_000_000,
                "peak_mb": self.peak // 1_000_000,
            }
        )


def peak_memory() -> int:
    """Return the most bytes that the process has held in memory; 0 where that is not known."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def escape_of(read: Callable[[], object], named: str = "") -> str | None:
    """Return what escaped from a call: "" if it returned, None if it was refused as it should be.

    Args:
        read: the call. What it returns must be a picture with at least one pixel, or sizes above 0.
        named: what the message of a refusal must contain.
    """
    try:
        result = read()
    except PG2Error as error:
        if isinstance(error.__cause__, MemoryError):
            return "asked for too much memory"
        return None if named in str(error) else f"a refusal that does not name the file: {error}"[:150]
    except (Exception, RecursionError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {Path(place.filename).name}:{place.name}: {error}"[:150]
    image = result[0] if isinstance(result, tuple) else result
    if isinstance(image, Image.Image):
        if image.mode != "RGB" or 0 in image.size or image.info:
            return f"a picture of mode {image.mode}, size {image.size}, info {sorted(map(str, image.info))}"
        image.getpixel((image.width - 1, image.height - 1))
    return ""


def read_file(path: Path) -> list[str | None]:
    """Read a file in every way, and return what `escape_of` says of each."""

    def opened_by_pillow() -> object:
        try:
            image = Image.open(path)
        except Exception:  # Pillow's own refusal, before this library has seen anything
            raise PG2Error from None
        with image:
            return load_photo(image)

    def header() -> object:
        if min(size_of(path)) < 1:
            raise AssertionError("a size of 0")
        return None

    return [
        escape_of(lambda: load_image(path), str(path)),
        escape_of(lambda: load_photo(str(path)), str(path)),
        escape_of(header, str(path)),
        escape_of(opened_by_pillow),
    ]


def read_whole(path: Path, seed: str) -> str | None:
    """Read a picture with junk metadata, which must be as the file without them, apart from how it is turned."""
    loaded: list[Image.Image] = []
    outcome = escape_of(lambda: loaded.append(load_image(path)) or loaded[0])
    if outcome is None:
        return "a whole picture was refused"
    path.write_bytes(SEEDS[seed])
    expected = load_image(path)
    turned = [expected, *(expected.transpose(way) for way in Image.Transpose)]
    if not outcome and loaded[0].tobytes() not in {each.tobytes() for each in turned}:
        return "a whole picture came out differently"
    return outcome


def read_object(thing: object) -> list[str | None]:
    """Read an array, a tensor or a picture in every way."""
    outcomes = [escape_of(lambda: load_image(thing)), escape_of(lambda: load_photo(thing))]  # type: ignore[arg-type]
    if isinstance(thing, torch.Tensor):
        outcomes.append(escape_of(lambda: pil_from_tensor(thing)))
    return outcomes


def run(files: int, seed: int, folder: Path, keep: Path | None = None, seconds: float = 60) -> Tally:
    """Make files and objects, read them, and count what happens.

    Args:
        files: how many to make. One in ten is an object in memory, another one has junk metadata.
        seed: of the random choices.
        folder: gets the file that is being read.
        keep: gets the files that escaped.
        seconds: after which a file ends the process.
    """
    tally, path = Tally(peak=peak_memory(), start=peak_memory()), folder / "file.jpg"
    for number in range(files):
        rng = random.Random(f"{seed} {number}")
        kind = rng.randrange(10)
        name, content, thing = "", b"", None
        if kind == 0:
            thing = odd_object(rng)
            name = f"object {number}: {type(thing).__name__}"
        elif kind == 1:
            name, content = with_junk(rng)
        else:
            change, name = rng.choice(CHANGES), rng.choice(list(SEEDS))
            content = change(SEEDS[name], rng)
            if rng.random() < 0.2:
                content = rng.choice(CHANGES)(content or b"x", rng)
            name = f"{name}, {change.__name__}, {number}"
        path.write_bytes(content)
        if seconds:
            faulthandler.dump_traceback_later(seconds, exit=True)
        before, start = tally.peak, time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == 0:
                outcomes = read_object(thing)
            else:
                outcomes = [read_whole(path, WHOLE[name])] if kind == 1 else read_file(path)
        took, tally.peak = time.perf_counter() - start, peak_memory()
        faulthandler.cancel_dump_traceback_later()
        if tally.peak > max(before, tally.start + MOST_MEMORY):
            outcomes.append(f"{tally.peak / 1e6:,.0f} MB in memory")
        tally.files += 1
        tally.refused += outcomes[0] is None
        tally.accepted += outcomes[0] == ""
        tally.slowest = max(tally.slowest, (took, name))
        for escape in {text.replace(str(path), "FILE") for text in outcomes if text}:
            tally.escapes[escape] += 1
            print(f"{name}: {escape}", flush=True)
            if keep is not None and content:
                (keep / f"{seed}-{number}").write_bytes(content)
    return tally


def main() -> int:
    """Run the campaign; return 1 if anything escaped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the files that escaped")
    parser.add_argument("--seconds", type=float, default=60, help="the most that one file may take")
    options = parser.parse_args()
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    logging.getLogger("pg2lib").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        tally = run(options.files, options.seed, Path(folder), options.keep, options.seconds)
    print(tally.line())
    return 1 if tally.escapes else 0


if __name__ == "__main__":
    sys.exit(main())
