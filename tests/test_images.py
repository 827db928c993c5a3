from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib.errors import DataError
from pg2lib.images import Crop, from_uint8, image_grid, load_image, pil_from_tensor, tensor_from_pil, to_uint8


def test_every_grey_level_survives_the_way_there_and_back() -> None:
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


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 5), np.uint8), "shape"),
        (np.zeros((0, 2), np.uint8), "shape"),
        (np.full((2, 2), 2.0), r"must lie in \[0, 1\]"),
        (np.full((2, 2), np.nan), r"must lie in \[0, 1\]"),
        (np.zeros((2, 2), np.int64), "uint8, uint16 or float"),
    ],
)
def test_arrays_that_are_no_image(array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_image(array)


def test_files_that_are_no_image_are_named(tmp_path) -> None:
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


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("side", "message"), [(12, r"\(144 pixels\) exceeds limit of 100"), (20, "exceeds limit of 200")]
)
def test_pictures_that_pillow_thinks_too_large_are_refused(tmp_path, monkeypatch, side: int, message: str) -> None:
    Image.new("RGB", (side, side)).save(tmp_path / "huge.png")
    Image.new("RGB", (10, 10)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=rf"huge\.png is too large: .*{message}"):
        load_image(tmp_path / "huge.png")
    assert load_image(tmp_path / "large.png").size == (10, 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert load_image(tmp_path / "huge.png").size == (side, side)


def test_loading_does_not_touch_the_filters_of_warnings_which_all_threads_share(tmp_path, monkeypatch) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "small.png")
    before, during, opened = list(warnings.filters), [], Image.open
    monkeypatch.setattr(Image, "open", lambda path: (during.append(list(warnings.filters)), opened(path))[1])
    load_image(tmp_path / "small.png")
    assert during == [before]


def test_a_picture_of_a_user_is_left_as_it_is() -> None:
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


@pytest.mark.parametrize("size", [(100, 30), (30, 100), (128, 64), (1, 1)])
def test_letterbox_holds_the_whole_photo_and_cut_undoes_it(size: tuple[int, int]) -> None:
    crop = Crop.letterbox(size, (128, 64))
    assert crop.left <= -0.5 + 1e-6 and crop.top <= -0.5 + 1e-6
    assert crop.right >= size[1] - 0.5 - 1e-6 and crop.bottom >= size[0] - 0.5 - 1e-6
    scale_x, scale_y = crop.scale
    assert scale_x == pytest.approx(scale_y)
    photo = Image.new("RGB", (size[1], size[0]), (10, 200, 30))
    cut = crop.cut(crop.apply(photo), size)
    assert cut.size == photo.size
    assert np.abs(np.asarray(cut).astype(int) - np.asarray(photo)).max() <= 1


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
