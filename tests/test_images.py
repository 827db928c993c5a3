from __future__ import annotations

import io
import math
import os
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, features
from skimage.color import rgb2lab

from pg2lib import images
from pg2lib.errors import DataError
from pg2lib.files import IMAGE_SUFFIXES
from pg2lib.images import (
    Crop,
    fit,
    fit_points,
    from_uint8,
    image_grid,
    load_image,
    load_photo,
    pil_from_tensor,
    size_of,
    tensor_from_pil,
    to_uint8,
)
from pg2lib.images.formats import FORMATS, is_decoded_by_rows
from tests.conftest import ROOT


def test_every_grey_level_survives_the_round_trip() -> None:
    levels = torch.arange(256, dtype=torch.uint8).repeat(3, 4, 1)
    assert torch.equal(to_uint8(from_uint8(levels)), levels)
    assert from_uint8(levels).min() == -1
    assert from_uint8(levels).max() == 1


def test_overshoot_is_clamped() -> None:
    assert to_uint8(torch.tensor([-3.0, 0.0, 3.0]).view(3, 1, 1)).flatten().tolist() == [0, 128, 255]


def test_tensor_and_picture_are_the_same_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    tensor = tensor_from_pil(Image.fromarray(pixels))
    assert tensor.shape == (3, 5, 7)
    assert np.array_equal(np.asarray(pil_from_tensor(tensor)), pixels)


def test_exif_orientation_is_applied(tmp_path) -> None:
    image = Image.new("RGB", (4, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise to be upright
    image.save(tmp_path / "turned.png", exif=exif)
    upright = load_image(tmp_path / "turned.png")
    assert upright.size == (2, 4)
    assert upright.getpixel((1, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (2, 2), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("LA", (2, 2), (0, 0)), (255, 255, 255)),
        (Image.new("L", (2, 2), 7), (7, 7, 7)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("CMYK", (2, 2), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 65535, np.uint16)), (255, 255, 255)),
        (np.full((2, 2), 0.5), (128, 128, 128)),
        (np.full((2, 2, 1), 9, np.uint8), (9, 9, 9)),
        (np.full((2, 2, 4), (1, 2, 3, 255), np.uint8), (1, 2, 3)),
        (np.full((2, 2, 3), 65535, np.uint16), (255, 255, 255)),
        (np.full((2, 2, 3), 128 * 257, ">u2"), (128, 128, 128)),
        (np.full((2, 2), 0.5, ">f4"), (128, 128, 128)),
        (Image.new("I", (2, 2), 128 * 257), (128, 128, 128)),
        (Image.fromarray(np.full((2, 2), 65407, np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 65406, np.uint16)), (254, 254, 254)),
        (Image.new("I;16B", (2, 2), 128 * 257), (128, 128, 128)),
        (Image.new("F", (2, 2), 0.5), (128, 128, 128)),
        (Image.new("LA", (2, 2), (100, 51)), (224, 224, 224)),
        (Image.new("PA", (2, 2), (0, 0)), (255, 255, 255)),
        (Image.new("PA", (2, 2), (0, 255)), (0, 0, 0)),
        (Image.new("La", (2, 2), (20, 51)), (224, 224, 224)),
        (Image.new("RGBa", (2, 2), (20, 0, 51, 51)), (224, 204, 255)),
        (Image.new("YCbCr", (2, 2), (76, 85, 255)), (254, 0, 0)),
        (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), (255, 0, 0)),
        (Image.new("HSV", (2, 2), (0, 255, 255)), (255, 0, 0)),
        (Image.new("P", (2, 2), 0), (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(image: Image.Image | np.ndarray, expected: tuple[int, int, int]) -> None:
    loaded = load_image(image)
    assert (loaded.mode, loaded.size, loaded.getpixel((1, 1))) == ("RGB", (2, 2), expected)


def test_a_palette_with_transparency_lies_on_white() -> None:
    image = Image.new("P", (2, 2), 0)
    image.putpalette([10, 20, 30] * 256)
    image.info["transparency"] = 0
    assert load_image(image).getpixel((0, 0)) == (255, 255, 255)


def test_lab_is_converted_as_scikit_image_converts_it() -> None:
    if not features.check("littlecms2"):
        pytest.skip("needs a Pillow with littlecms2")
    colours = np.array([[[200, 30, 40], [20, 180, 60], [128, 128, 128]]], np.uint8)
    lab = rgb2lab(colours)
    levels = np.stack([lab[..., 0] * 2.55, lab[..., 1] + 128, lab[..., 2] + 128], axis=-1).round().astype(np.uint8)
    image = Image.merge("LAB", [Image.fromarray(level) for level in np.moveaxis(levels, -1, 0)])
    assert np.abs(np.asarray(load_image(image)).astype(int) - colours).max() <= 12


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.float32), [0, 100, 255]),
        (np.array([[0, 128 * 257, 65535]], np.float32), [0, 128, 255]),
        (np.array([[-1, 0, 1]], np.float32), [0, 128, 255]),
        (np.array([[-300, 0, 300]], np.float32), [0, 128, 255]),
        (np.array([[-7, -7, -7]], np.float32), [0, 0, 0]),
        (np.array([[1e30, 1e30, 1e30]], np.float32), [0, 0, 0]),
        (np.array([[-3e38, 0, 3e38]], np.float32), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[0, 128 * 257, 65535]], np.int32), [0, 128, 255]),
        (np.array([[-1, 0, 1]], np.int32), [0, 128, 255]),
        (np.array([[0, 50_000, 100_000]], np.int32), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.uint16), [0, 0, 1]),
    ],
)
def test_the_levels_of_a_tiff_are_told_from_the_whole_picture(
    tmp_path, monkeypatch: pytest.MonkeyPatch, values: np.ndarray, expected: list[int]
) -> None:
    monkeypatch.setattr(images, "_STRIP_PIXELS", 1)  # one row at a time
    Image.fromarray(values.T).save(tmp_path / "a.tif")
    assert np.asarray(load_image(tmp_path / "a.tif"))[:, 0].tolist() == [[level] * 3 for level in expected]


def test_a_tiff_that_pillow_cannot_read_is_named(tmp_path) -> None:
    """Floats of 64 bits."""
    tags = [(256, 2), (257, 1), (258, 64), (259, 1), (262, 1), (273, 200), (277, 1), (278, 1), (279, 16), (339, 3)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(head.ljust(200, b"\0") + bytes(16))
    with pytest.raises(DataError, match=r"a\.tif is a TIFF .*floats of 64"):
        load_image(tmp_path / "a.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_a_tiff_of_values_that_are_no_numbers_is_refused(tmp_path, value: float, place: int) -> None:
    values = np.zeros((1, 2), np.float32)
    values[0, place] = value
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif holds values that are infinite or not a number"):
        load_image(tmp_path / "a.tif")


def test_the_transparent_level_of_a_grey_png_of_16_bits_lies_on_white(tmp_path) -> None:
    grey = Image.fromarray(np.array([[0, 5, 300]], np.uint16))
    grey.save(tmp_path / "a.png", transparency=5)
    assert [load_image(tmp_path / "a.png").getpixel((x, 0))[0] for x in range(3)] == [0, 255, 1]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"", b"junk", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x01\0\x12\x01\x05\0"])
def test_invalid_exif_data_are_ignored(tmp_path, exif: bytes) -> None:
    NOISE.save(tmp_path / "a.jpg", exif=b"Exif\0\0" + exif)
    assert load_image(tmp_path / "a.jpg").size == NOISE.size


def test_loading_a_loaded_photo_does_not_turn_it_again(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    NOISE.save(tmp_path / "a.png", exif=exif)
    once = load_image(tmp_path / "a.png")
    assert load_image(once).tobytes() == once.tobytes()
    assert once.info == {}


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 5), np.uint8), "shape"),
        (np.zeros((0, 2), np.uint8), "shape"),
        (np.full((2, 2), 2.0), r"an image array holds floats .*must lie in \[0, 1\]"),
        (np.full((2, 2), np.nan), r"must lie in \[0, 1\]"),
        (np.zeros((2, 2), np.int64), "uint8, uint16 or float"),
        (np.ma.masked_array(np.zeros((2, 2)), mask=True), "masked"),
        (np.broadcast_to(np.float32(0), (1 << 20, 1 << 20)), "1048576x1048576 pixels.* 1,000 MB are allowed"),
    ],
)
def test_invalid_arrays_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_image(array)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture_without_pixels_is_refused(size: tuple[int, int], mode: str) -> None:
    with pytest.raises(DataError, match=f"the image has {size[0]}x{size[1]} pixels"):
        load_image(Image.new(mode, size))


def test_a_tensor_is_no_image_but_becomes_one() -> None:
    with pytest.raises(DataError, match="got a tensor: use pil_from_tensor"):
        load_image(torch.zeros(3, 2, 2))
    with pytest.raises(DataError, match=r"shape \(3, height, width\), got \(2, 2, 3\)"):
        pil_from_tensor(torch.zeros(2, 2, 3))
    with pytest.raises(DataError, match="uint8 or float"):
        pil_from_tensor(torch.zeros(3, 2, 2, dtype=torch.int64))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path, tmp_path / "pipe.jpg"):
        with pytest.raises(DataError, match="is not a file"):
            load_image(path)
        with pytest.raises(DataError, match="is not a file"):
            size_of(path)


def test_errors_name_the_file(tmp_path) -> None:
    with pytest.raises(DataError, match=r"no image file .*nowhere\.png"):
        load_image(tmp_path / "nowhere.png")
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(DataError, match=r"text\.jpg is not an image"):
        load_image(tmp_path / "text.jpg")
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
    (tmp_path / "half.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(DataError, match=r"half\.jpg cannot be"):
        load_image(tmp_path / "half.jpg")


# ---- damaged files, and formats that are not opened


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


QOI = bytes.fromhex("716f69660000003c000000640301fedc1e1edc7f1ec8")
"""Pillow raises IndexError while it decodes this."""

DDS = b"DDS " + struct.pack("<7I", 124, 0x1007, 8, 8, 0, 0, 0) + bytes(44) + struct.pack("<2I", 32, 0x800) + bytes(80)
"""Pillow raises NotImplementedError while it opens this."""


@pytest.mark.parametrize("content", [QOI, DDS], ids=["qoi", "dds"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_formats_that_are_not_photos_are_refused_whatever_their_name(tmp_path, content: bytes, suffix: str) -> None:
    with pytest.raises((IndexError, NotImplementedError, ValueError)):  # what Pillow itself says
        Image.open(io.BytesIO(content)).load()
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\{suffix} is not an image.*JPEG, PNG"):
        load_image(tmp_path / f"a{suffix}")


def test_an_eps_starts_no_program(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr("subprocess.Popen", lambda *arguments, **options: started.append(arguments))
    (tmp_path / "a.jpg").write_bytes(encoded(Image.new("RGB", (8, 8)), "EPS"))
    with pytest.raises(DataError, match=r"a\.jpg is PostScript"):
        load_image(tmp_path / "a.jpg")
    assert started == []


def test_an_avif_that_its_decoder_cannot_read_is_named(tmp_path) -> None:
    if not features.check("avif"):
        pytest.skip("needs a Pillow with AVIF")
    content = encoded(Image.effect_noise((64, 64), 90).convert("RGB"), "AVIF")
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.jpg cannot be read: \w+"):
        load_image(tmp_path / "a.jpg")


def test_an_avif_with_junk_in_its_exif_data_is_read(tmp_path) -> None:
    if not features.check("avif"):
        pytest.skip("needs a Pillow with AVIF")
    exif = Image.Exif()
    exif[0x010F] = "maker"
    content, body = encoded(NOISE, "AVIF", exif=exif), exif.tobytes()[6:]
    assert body in content
    (tmp_path / "whole.avif").write_bytes(content)
    (tmp_path / "junk.avif").write_bytes(content.replace(body, b"\xff" * len(body)))
    assert load_image(tmp_path / "junk.avif").tobytes() == load_image(tmp_path / "whole.avif").tobytes()
    assert size_of(tmp_path / "junk.avif") == (40, 24)


NOISE = Image.effect_noise((24, 40), 90).convert("RGB")
FILES = {
    "JPEG": encoded(NOISE, "JPEG"),
    "MPO": encoded(NOISE, "MPO", save_all=True, append_images=[NOISE.rotate(180)]),
    "PNG": encoded(NOISE, "PNG"),
    "WEBP": encoded(NOISE, "WEBP", lossless=True),
    "BMP": encoded(NOISE, "BMP"),
    "GIF": encoded(NOISE.convert("L"), "GIF"),
    "TIFF": encoded(NOISE, "TIFF", compression="tiff_lzw"),
    "PPM": encoded(NOISE, "PPM"),
}
FILES |= {
    name: encoded(NOISE, name) for name, codec in (("AVIF", "avif"), ("JPEG2000", "jpg_2000")) if features.check(codec)
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow has to say of damage
@pytest.mark.parametrize("format", FILES)
def test_every_format_opens_and_however_it_is_damaged_the_file_is_named(tmp_path, format: str) -> None:
    content, path = FILES[format], tmp_path / "a.jpg"
    path.write_bytes(content)
    assert load_image(path).tobytes() == Image.open(io.BytesIO(content)).convert("RGB").tobytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 8):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged[: random.integers(1, len(content) + 1)])
        try:
            load_image(path)
        except DataError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\n<!DOCTYPE html><title>404</title>", "a web page"),
        (b"\0\0\0\x18ftypisom\0\0\2\0", "a video"),
        (b"\0\0\0\x14ftypqt  \0\0\2\0", "a video"),
        (b"RIFF\0\0\0\0AVI LIST", "a video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "a raw photo"),
        (b"%PDF-1.7", "a PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"PK\3\4", "unpack it"),
    ],
)
def test_other_files_are_named_with_what_to_do(tmp_path, content: bytes, message: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.jpg .*{message}"):
        load_image(tmp_path / "a.jpg")


def test_the_suffixes_are_those_of_the_formats() -> None:
    Image.init()
    registered = {suffix for suffix, format in Image.EXTENSION.items() if format in FORMATS}
    assert registered <= IMAGE_SUFFIXES
    assert IMAGE_SUFFIXES - registered <= {".mpo", ".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif"}


HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.mark.parametrize("registered", [False, True])
def test_a_heic_photo_is_read(tmp_path, registered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where other code, such as gradio, has registered pillow-heif with Pillow."""
    heif = pytest.importorskip("pillow_heif")
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    if registered:
        heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((40, 64, 3), np.uint8)
    pixels[:20, :32] = (200, 30, 60)
    heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "a.HEIC", quality=90, exif=exif.tobytes())
    loaded = load_image(tmp_path / "a.HEIC")
    assert (loaded.size, loaded.info) == ((40, 64), {})
    assert np.abs(np.subtract(loaded.getpixel((30, 10)), (200, 30, 60))).max() < 12
    assert max(loaded.getpixel((10, 50))) < 12
    (tmp_path / "cut.heic").write_bytes((tmp_path / "a.HEIC").read_bytes()[:200])
    with pytest.raises(DataError, match=r"cut\.heic is a HEIC photo that is damaged or incomplete"):
        load_image(tmp_path / "cut.heic")


def test_a_heic_photo_without_pillow_heif_says_what_it_is(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.jpg").write_bytes(HEIC_HEAD)
    with pytest.raises(DataError, match=r"a\.jpg is a HEIC photo.*pg2lib\[heif\].*JPEG"):
        load_image(tmp_path / "a.jpg")


# ---- large files


def test_a_file_that_would_take_too_much_memory_is_refused_before_it_is_decoded(tmp_path) -> None:
    pixels = 40_000
    header = struct.pack(">IIBBBBB", pixels, pixels, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 9) + b"IDAT" + b"x" * 13)
    with pytest.raises(DataError, match=r"bomb\.png has 40000x40000 pixels.* 12,800 MB.* 1,000 MB"):
        load_image(tmp_path / "bomb.png")


def test_a_picture_that_pillow_has_opened_but_not_decoded_has_the_same_limit(tmp_path) -> None:
    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    content = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 9) + b"IDAT" + b"x" * 13
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of its size
        opened = Image.open(io.BytesIO(content))
    with opened, pytest.raises(DataError, match=r"the image has 12000x12000 pixels.* 1,152 MB"):
        load_image(opened)


@pytest.mark.parametrize("size", [(16_000_000, 1), (5000, 5000)])
def test_a_small_compressed_bmp_cannot_make_the_decoder_fill_the_memory(tmp_path, size: tuple[int, int]) -> None:
    """It may say that 255 rows of a picture are skipped that has one."""
    skips = b"\0\2\xff\xff" * 2 + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, *size, 1, 8, 1, len(skips), 0, 0, 256, 0)
    content = b"BM" + struct.pack("<IHHI", 54 + 1024 + len(skips), 0, 0, 54 + 1024) + head + bytes(1024) + skips
    (tmp_path / "a.bmp").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.bmp has .* slow to decode: save it as a PNG"):
        load_image(tmp_path / "a.bmp")
    with Image.open(tmp_path / "a.bmp") as opened, pytest.raises(DataError, match="slow to decode"):
        load_photo(opened)


def test_a_length_in_a_header_is_not_believed(tmp_path) -> None:
    """A box of JPEG 2000 may claim 2^63 bytes, for which Pillow asks at once."""
    box = struct.pack(">I4sQ", 1, b"xxxx", (1 << 62) + 16)
    (tmp_path / "a.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 " + box)
    with pytest.raises(DataError, match=r"a\.jp2 cannot be read: (?!MemoryError)"):
        load_image(tmp_path / "a.jp2")


def test_a_file_larger_than_the_limit_is_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    NOISE.resize((1000, 1000)).save(tmp_path / "a.bmp")
    monkeypatch.setattr(images, "MAX_BYTES", 2_000_000)
    with pytest.raises(DataError, match=r"a\.bmp has 3 MB, but only 2 MB are allowed"):
        load_image(tmp_path / "a.bmp")


def test_the_limit_is_one_of_memory_and_not_pillows(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(images, "_STRIP_PIXELS", 50)
    NOISE.save(tmp_path / "a.png")
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as warned:
        assert load_image(tmp_path / "a.png").size == NOISE.size
        assert load_photo(tmp_path / "a.png", max_bytes=8 * 24 * 40)[0].size == NOISE.size
        with pytest.raises(DataError, match=r"a\.png has 24x40 pixels"):
            load_photo(tmp_path / "a.png", max_bytes=8 * 24 * 40 - 1)
    assert not warned
    assert warnings.filters == before, "all threads share them"


@pytest.mark.parametrize(
    ("options", "allowed"),
    [({}, True), ({"subsampling": 0}, True), ({"progressive": True}, False)],
    ids=["baseline", "4:4:4", "progressive"],
)
def test_only_a_jpeg_that_is_decoded_row_by_row_needs_the_memory_of_its_reduced_size_alone(
    tmp_path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], allowed: bool
) -> None:
    monkeypatch.setattr(images, "PHOTO_PIXELS", 1000)
    NOISE.resize((240, 400)).save(tmp_path / "a.jpg", **options)  # an eighth is 30x50
    if allowed:
        assert load_photo(tmp_path / "a.jpg", max_bytes=8 * 30 * 50)[0].size == (15, 25)
    else:
        with pytest.raises(DataError, match="240x400"):
            load_photo(tmp_path / "a.jpg", max_bytes=6 * 240 * 400)


def test_a_jpeg_in_several_scans_counts_as_a_progressive_one(tmp_path) -> None:
    content = encoded(NOISE, "JPEG")
    scan = content.index(b"\xff\xda")
    several = content[:scan] + b"\xff\xda\x00\x08\x01" + content[scan + 5 :]  # says that one component comes first
    for name, bytes_ in (("one.jpg", content), ("several.jpg", several), ("short.jpg", content[: scan + 3])):
        (tmp_path / name).write_bytes(bytes_)
        assert is_decoded_by_rows(tmp_path / name) == (name == "one.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_large_photo_is_reduced_as_it_lies_and_points_follow(
    tmp_path, monkeypatch: pytest.MonkeyPatch, orientation: int, format: str
) -> None:
    monkeypatch.setattr(images, "PHOTO_PIXELS", 120 * 80)
    monkeypatch.setattr(images, "_STRIP_PIXELS", 1000)  # several strips
    pixels = np.zeros((250, 330, 3), np.uint8)
    pixels[40:56, 200:216] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a").write_bytes(encoded(Image.fromarray(pixels), format, exif=exif))
    picture, size = load_photo(tmp_path / "a")
    upright = load_image(tmp_path / "a")
    assert size == (upright.height, upright.width)
    assert picture.size == tuple(-(-side // 4) for side in upright.size)
    middles = [np.argwhere(np.asarray(image)[:, :, 1] > 127).mean(axis=0) for image in (picture, upright)]
    assert np.allclose((middles[0] + 0.5) * 4 - 0.5, middles[1], atol=2.5), "the last pixels may average fewer"
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "a"))
    assert upright.tobytes() == expected.tobytes()


PEAK = """
import resource, sys
from pg2lib.images import load_image, load_photo
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
before = peak()
{"load_image": load_image, "load_photo": load_photo}[sys.argv[1]](sys.argv[2])
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the module resource")
@pytest.mark.parametrize(
    ("mode", "function", "most"),
    [("I;16", "load_image", 7), ("RGBA", "load_photo", 6.2)],  # 28 and 16 where all of it is converted at once
)
def test_few_bytes_per_pixel_are_needed(tmp_path, mode: str, function: str, most: float) -> None:
    side = 6000
    Image.new(mode, (side, side)).save(tmp_path / "a.png", compress_level=1)
    command = [sys.executable, "-c", PEAK, function, str(tmp_path / "a.png")]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(done.stdout) / side**2 < most


def test_loading_a_picture_copies_it() -> None:
    image = Image.new("RGB", (2, 2))
    loaded = load_image(image)
    loaded.putpixel((0, 0), (9, 9, 9))
    assert image.getpixel((0, 0)) == (0, 0, 0)


def test_a_crop_of_whole_pixels_copies_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    crop = Crop(left=4.5, top=2.5, right=12.5, bottom=18.5, canvas=(16, 8))
    assert np.array_equal(np.asarray(crop.apply(Image.fromarray(pixels))), pixels[3:19, 5:13])


def test_a_crop_beyond_the_photo_repeats_its_border() -> None:
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[:, 0], pixels[:, -1] = 100, 200
    crop = Crop(left=-8.5, top=-0.5, right=17.5, bottom=9.5, canvas=(10, 26))
    cropped = np.asarray(crop.apply(Image.fromarray(pixels)))
    assert (cropped[:, :8] == 100).all()
    assert (cropped[:, -7:] == 200).all()


@pytest.mark.parametrize(("left", "top"), [(-40.5, 3.5), (49.5, 3.5), (3.5, -90.5), (3.5, 49.5)])
def test_a_crop_outside_the_photo_shows_its_border(left: float, top: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    crop = Crop(left, top, left + 4, top + 4, canvas=(4, 4))
    columns, rows = ((np.arange(4) + round(start + 0.5)).clip(0, 9) for start in (left, top))
    assert np.array_equal(np.asarray(crop.apply(Image.fromarray(pixels))), pixels[rows][:, columns])


CROPS_BEYOND = [
    Crop(-40.25, -70.5, 99.5, 130.25, (64, 48)),
    Crop(-300.3, -10.5, 35.1, 900.2, (50, 70)),
    Crop(-2000.0, -3000.7, 5000.2, 8000.9, (128, 64)),
    Crop(-20.5, 3.2, 70.4, 11.7, (90, 30)),
    Crop(4.1, 3.3, 25.6, 21.9, (40, 40)),
    Crop(200.5, -50.5, 300.5, 20.5, (32, 32)),
]


@pytest.mark.parametrize("crop", CROPS_BEYOND)
def test_a_crop_is_the_same_if_only_the_part_that_shows_the_photo_is_resampled(
    crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).normal(128, 90, (30, 40, 3)).clip(0, 255).astype(np.uint8)
    photo = Image.fromarray(noise).resize((60, 45), Image.Resampling.BICUBIC)
    whole = np.asarray(crop.apply(photo)).astype(int)
    monkeypatch.setattr("pg2lib.images.PHOTO_PIXELS", 0)
    part = np.asarray(crop.apply(photo)).astype(int)
    assert part.shape == whole.shape
    if max(1 / scale for scale in crop.scale) < 16:
        assert np.abs(part - whole).max() <= 1
    else:  # the photo is reduced in two steps
        assert np.abs(part - whole).mean() < 0.5


@pytest.mark.parametrize("size", [1e4, 1e6, 1e9])
def test_a_huge_crop_takes_little_memory(size: float) -> None:
    photo = Image.new("RGB", (300, 200), (200, 40, 30))
    tracemalloc.start()
    cropped = Crop(-size, -2 * size, size, 2 * size, (128, 64)).apply(photo)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert cropped.size == (64, 128)
    assert cropped.getcolors() == [(64 * 128, (200, 40, 30))]


@pytest.mark.parametrize("long", [1e5, 3e7, 1e30])
def test_a_long_and_narrow_crop_takes_little_memory(long: float) -> None:
    photo = Image.new("RGB", (30, 20), (200, 40, 30))
    for crop in (Crop(3.5, -long, 5.5, long, (64, 32)), Crop(-long, 3.5, long, 5.5, (64, 32))):
        tracemalloc.start()
        cropped = crop.apply(photo)
        assert tracemalloc.get_traced_memory()[1] < 5e6
        tracemalloc.stop()
        assert cropped.getcolors() == [(64 * 32, (200, 40, 30))]


def test_points_follow_the_pixels_of_a_crop() -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[12:16, 20:24] = 255  # its middle is (21.5, 13.5)
    crop = Crop(left=9.5, top=3.5, right=49.5, bottom=23.5, canvas=(80, 160))
    bright = np.argwhere(np.asarray(crop.apply(Image.fromarray(pixels)))[:, :, 0] > 127)
    middle = torch.tensor(bright.mean(axis=0)[::-1].copy(), dtype=torch.float32)
    assert torch.allclose(crop.to_canvas(torch.tensor([21.5, 13.5])), middle, atol=0.2)


def test_to_photo_undoes_to_canvas() -> None:
    crop = Crop(left=-3.25, top=10.5, right=90.75, bottom=200.5, canvas=(128, 64))
    points = torch.rand(18, 2) * 200
    assert torch.allclose(crop.to_photo(crop.to_canvas(points)), points, atol=1e-3)


def test_a_crop_around_a_point_has_the_canvas_aspect_ratio() -> None:
    crop = Crop.around(50, 70, height=40, canvas=(128, 64))
    assert (crop.left, crop.top, crop.right, crop.bottom) == (40, 50, 60, 90)
    assert crop.scale == (3.2, 3.2)


def test_the_crop_of_a_resized_photo_shows_the_same_part() -> None:
    photo = Image.effect_noise((60, 40), 90).convert("RGB")
    crop = Crop(left=9.5, top=3.5, right=49.5, bottom=23.5, canvas=(40, 80))
    doubled = photo.resize((120, 80), Image.Resampling.NEAREST)
    resized = crop.resized((40, 60), (80, 120))
    assert resized.canvas == crop.canvas
    pixels = np.asarray(photo)[4:24, 10:50].repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(np.asarray(resized.apply(doubled)), pixels)


@pytest.mark.parametrize("edge", [math.inf, math.nan])
def test_a_crop_that_is_not_finite_is_refused(edge: float) -> None:
    with pytest.raises(DataError, match="and finite"):
        Crop(0, 0, edge, 10, canvas=(4, 4))
    with pytest.raises(DataError, match="canvas of a crop"):
        Crop(0, 0, 10, 10, canvas=(0, 4))


@pytest.mark.parametrize(("right", "bottom"), [(9.4, 30.0), (30.0, 9.4), (3.0, 30.0)])
def test_a_crop_of_less_than_a_pixel_is_refused(right: float, bottom: float) -> None:
    with pytest.raises(DataError, match="at least one pixel"):
        Crop(left=8.5, top=8.5, right=right, bottom=bottom, canvas=(4, 4))


def test_fit_keeps_the_proportions_and_fills_the_rest() -> None:
    fitted = np.asarray(fit(Image.new("RGB", (20, 80), "red"), (40, 40), fill=(1, 2, 3)))
    assert fitted.shape == (40, 40, 3)
    assert (fitted[:, 15:25] == (255, 0, 0)).all()
    assert (fitted[:, :15] == (1, 2, 3)).all() and (fitted[:, 25:] == (1, 2, 3)).all()


@pytest.mark.parametrize("size", [(30, 20), (9, 40), (300, 200), (10, 20)])
def test_points_follow_a_picture_that_is_fitted(size: tuple[int, int]) -> None:
    """The edges of the picture, at -0.5 and size - 0.5, become those of what is not filled."""
    fitted = np.asarray(fit(Image.new("RGB", size), (20, 30), (255, 255, 255)))[:, :, 0] < 128
    rows, columns = np.nonzero(fitted)
    edges = torch.tensor([[-0.5, -0.5], [size[0] - 0.5, size[1] - 0.5]])
    found = fit_points(edges, size[::-1], (20, 30))
    assert found.tolist() == [[columns.min() - 0.5, rows.min() - 0.5], [columns.max() + 0.5, rows.max() + 0.5]]


def test_grid_places_pictures_row_by_row() -> None:
    colours = [["red", "lime"], ["blue", "white"]]
    grid = image_grid([[Image.new("RGB", (8, 16), c) for c in row] for row in colours], padding_px=2, scale=2)
    assert grid.size == (2 * 18 + 2, 2 * 34 + 2)
    assert [grid.getpixel((10, 10)), grid.getpixel((28, 10)), grid.getpixel((10, 50))] == [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
    ]


def test_grid_refuses_pictures_of_different_sizes() -> None:
    with pytest.raises(DataError, match="pictures of one size"):
        image_grid([[Image.new("RGB", (8, 8)), Image.new("RGB", (8, 9))]])
    with pytest.raises(DataError, match="at least one picture"):
        image_grid([])
