"""A small form of the campaign in `tests/torture/images.py`."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib.condition import Photo
from pg2lib.data.people import PersonTable
from pg2lib.data.pose_formats.skeleton import person_in_picture
from pg2lib.data.store import ImageStore
from pg2lib.doctor.images import _decode
from pg2lib.errors import DataError
from pg2lib.images import load_image
from tests.torture import images as torture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow has to say of damage


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    tally = torture.run(250, seed=1, folder=tmp_path, seconds=0)
    assert not tally.escapes
    assert tally.files == tally.accepted + tally.refused == 250
    assert min(tally.accepted, tally.refused) > 60, "the changes are neither harmless nor fatal"


@pytest.mark.parametrize("name", torture.SEEDS)
def test_the_files_that_are_damaged_are_valid_at_first(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(torture.SEEDS[name])
    if name in ("ico", "dib", "tga"):
        with pytest.raises(DataError, match="not an image in one of the supported formats"):
            load_image(tmp_path / "file")
    else:
        load_image(tmp_path / "file")


def test_an_escape_is_noticed(tmp_path: Path) -> None:
    def raises() -> None:
        raise KeyError("x")

    assert "KeyError" in str(torture.escape_of(raises))
    assert "mode L" in str(torture.escape_of(lambda: Image.new("L", (1, 1))))
    assert torture.escape_of(lambda: load_image(tmp_path / "none"), "another name") not in ("", None)
    assert torture.escape_of(lambda: load_image(tmp_path / "none"), "none") is None


@pytest.mark.parametrize("said", [(65_536, 65_536), (1 << 20, 1 << 12), (16, 1 << 28)])
def test_a_tiff_whose_tiles_claim_gigabytes_takes_little_memory(tmp_path: Path, said: tuple[int, int]) -> None:
    grey = np.zeros((40, 40), np.uint8)
    (tmp_path / "right.tif").write_bytes(torture.tiled_tiff(grey))
    assert load_image(tmp_path / "right.tif").size == (40, 40)
    (tmp_path / "lie.tif").write_bytes(torture.tiled_tiff(grey, said=said))
    before = torture.peak_memory()
    outcome = torture.escape_of(lambda: load_image(tmp_path / "lie.tif"), "lie.tif")
    assert outcome in ("", None)
    assert torture.peak_memory() - before < 300_000_000


@pytest.mark.parametrize("chunk", [b"zTXt", b"iTXt", b"iCCP"])
def test_text_and_profiles_that_expand_are_not_expanded(tmp_path: Path, chunk: bytes) -> None:
    head = {b"zTXt": b"x\0\0", b"iTXt": b"x\0\1\0\0\0", b"iCCP": b"x\0\0"}[chunk]
    first, *rest = torture._chunks(torture.SEEDS["png alpha"])
    (tmp_path / "bomb.png").write_bytes(torture.png_of([first, (chunk, head + torture.BOMB), *rest]))
    before = torture.peak_memory()
    assert torture.escape_of(lambda: load_image(tmp_path / "bomb.png"), "bomb.png") in ("", None)
    assert torture.peak_memory() - before < 30_000_000


@pytest.mark.parametrize("name", torture.WHOLE)
def test_junk_metadata_are_harmless(tmp_path: Path, name: str) -> None:
    for number in range(12):
        kind, content = torture.with_junk(random.Random(f"{name} {number}"), name)
        (tmp_path / "file").write_bytes(content)
        assert torture.read_whole(tmp_path / "file", torture.WHOLE[kind]) == ""


def test_junk_exif_data_are_harmless_where_a_data_set_or_a_photo_is_read(tmp_path: Path) -> None:
    path, canvas = tmp_path / "a.jpg", torture.SIZE[::-1]
    path.write_bytes(torture.with_segment(torture.SEEDS["jpeg grey"], 0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"))
    assert Photo.load(path).size == canvas
    table = PersonTable(("a.jpg",), ("anna",), torch.zeros(1, 18, 2), canvas, paths=(path,))
    assert len(ImageStore.open(table)) == 1
    assert _decode([path]) == ({path: torture.SIZE}, [])


def test_a_large_picture_in_one_pure_colour_takes_little_memory_as_a_pose(tmp_path: Path) -> None:
    side = 1200
    picture = Image.new("RGB", (side, side), (255, 0, 0))
    picture.putpixel((5, 5), (0, 255, 0))
    picture.save(tmp_path / "red.png")
    tracemalloc.start()
    assert person_in_picture(tmp_path / "red.png") is None
    assert tracemalloc.get_traced_memory()[1] < 50 * side**2, (
        "with all colours at once it takes some 200 bytes per pixel"
    )
    tracemalloc.stop()
