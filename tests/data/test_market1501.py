"""Market-1501 in its original layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pg2lib import DataError, Pose, make_pairs, read_keypoints, read_market1501, read_pairs
from pg2lib.data.keypoint_csv import write_keypoints
from pg2lib.data.market1501 import data_set_in
from pg2lib.data.read import layout_of, read_people, title_of
from tests.conftest import STANDING


def test_market1501_reader_skips_and_counts_what_is_no_person(tiny_market1501: Path) -> None:
    folder = tiny_market1501 / "bounding_box_train"
    image = next(folder.iterdir()).read_bytes()
    for name in ("-1_c1s1_000401_03.jpg", "0000_c1s1_000401_03.jpg", "0009_c1s1_000401_03.jpg", "me.jpg", "Thumbs.db"):
        (folder / name).write_bytes(image)
    gone = sorted(folder.glob("0002_*"))[0]
    gone.unlink()
    table = read_market1501(tiny_market1501, "train")
    assert (len(table), len(set(table.persons))) == (11, 3)
    assert {skip.name: skip.kind for skip in table.skipped} == {
        "-1_c1s1_000401_03.jpg": "junk",
        "0000_c1s1_000401_03.jpg": "distractor",
        "0009_c1s1_000401_03.jpg": "no keypoints",
        "me.jpg": "unknown name",
        gone.name: "no image",
    }
    assert all(path.is_file() and path.name == name for path, name in zip(table.paths, table.names, strict=True))


def test_market1501_is_found_below_the_folder_given(tiny_market1501: Path) -> None:
    assert len(read_market1501(tiny_market1501.parent, "train", tiny_market1501 / "market-annotation-train.csv")) == 12


def test_market1501_that_is_not_there(tiny_market1501: Path, tmp_path) -> None:
    with pytest.raises(DataError, match="no folder bounding_box_test"):
        read_market1501(tiny_market1501, "test")
    with pytest.raises(DataError, match="no folder .*nowhere"):
        read_market1501(tmp_path / "nowhere", "train")
    (tiny_market1501 / "market-annotation-train.csv").unlink()
    with pytest.raises(DataError, match=r"market-annotation-train\.csv is not in .*prepare"):
        read_market1501(tiny_market1501, "train")


def test_the_counts_of_the_real_market1501(market1501_root: Path) -> None:
    """Section 4.1 and the widely used pair list."""
    train = read_market1501(market1501_root, "train")
    assert (len(train), len(set(train.persons)), train.skipped) == (12_936, 751, ())
    assert (len(make_pairs(train, "all")), len(make_pairs(train, "torso"))) == (296_938, 263_632)
    test = read_market1501(market1501_root, "test")
    assert (len(test) + len(test.skipped), len(set(test.persons))) == (19_732, 750)
    assert len(read_pairs(market1501_root / "market-pairs-test.csv", test)) == 12_000
    alone = read_keypoints(market1501_root / "market-annotation-train.csv", (128, 64))
    assert len(make_pairs(alone, "torso")) == 263_632


def move(root: Path, change: Callable[[Path], Path]) -> None:
    for path in list((root / "bounding_box_train").iterdir()):
        path.rename(change(path))


def test_a_data_set_kept_as_png_in_patns_folders(tiny_market1501: Path) -> None:
    before = read_market1501(tiny_market1501, "train")
    move(tiny_market1501, lambda path: path.with_suffix(".png"))
    copy = sorted((tiny_market1501 / "bounding_box_train").iterdir())[0]
    shutil.copy(copy, copy.with_suffix(".webp"))
    (tiny_market1501 / "bounding_box_train").rename(tiny_market1501 / "train")
    table = read_market1501(tiny_market1501, "train")
    assert (table.names, table.persons) == (before.names, before.persons)
    assert torch.equal(table.xy, before.xy)
    assert {path.suffix for path in table.paths} == {".png"}
    assert [(skip.name, skip.kind) for skip in table.skipped] == [(copy.with_suffix(".webp").name, "duplicate")]


def test_a_folder_called_train_needs_known_names(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "p01_001.jpg").touch()
    assert data_set_in(tmp_path / "train") is None
    (tmp_path / "train" / "0002_c1s1_000451_03.png").touch()
    assert data_set_in(tmp_path / "train") == "market1501"
    assert data_set_in(tmp_path) is None and data_set_in(tmp_path / "nowhere") is None


def make_duke(root: Path, size: tuple[int, int]) -> Path:
    """Write two images of `size` (width, height), with a white square around the nose."""
    folder = root / "bounding_box_train"
    folder.mkdir(parents=True)
    scale = size[1] / 128
    rows = []
    for frame in (46985, 47105):
        pose = Pose(torch.tensor(STANDING, dtype=torch.float32) * scale, size[::-1])
        x, y = (round(value) for value in pose.xy[0].tolist())
        image = Image.new("RGB", size)
        image.paste((255, 255, 255), (x - 4, y - 4, x + 5, y + 5))
        image.save(folder / f"0005_c2_f{frame:07d}.jpg")
        rows.append((f"0005_c2_f{frame:07d}.jpg", pose))
    write_keypoints(root / "market-annotation-train.csv", rows)
    return root


def test_dukemtmc_is_read_with_images_of_any_size(tmp_path: Path) -> None:
    root = make_duke(tmp_path / "duke", (150, 256))
    assert (layout_of(root), title_of(root)) == ("dukemtmc", "DukeMTMC-reID")
    table = read_people(root, "train")
    assert (table.persons, table.canvas) == (("0005", "0005"), (128, 64))
    x, y = (round(value) for value in table.xy[0, 0].tolist())
    image = table.load(0)
    assert image.size == (64, 128)
    assert min(image.getpixel((x, y))) > 200 and max(image.getpixel((x, y + 8))) < 50
    assert image.getpixel((0, 0)) == (128, 128, 128)


def test_dukemtmc_of_the_canvas_is_read_as_it_is(tmp_path: Path) -> None:
    table = read_market1501(make_duke(tmp_path, (64, 128)), "train")
    assert table.fill is None
    assert torch.equal(table.xy[0], torch.tensor(STANDING, dtype=torch.float32))
    table.paths[0].write_bytes(b"")
    assert read_market1501(tmp_path, "train").fill is None, "loading says what is wrong"


def test_why_nobody_is_left_is_said(tiny_market1501: Path) -> None:
    folder = tiny_market1501 / "bounding_box_train"
    move(tiny_market1501, lambda path: path.with_name("9" + path.name[1:]))
    with pytest.raises(DataError, match="have no image in common; is the CSV that of the train split"):
        read_market1501(tiny_market1501, "train")
    move(tiny_market1501, lambda path: path.with_name("0000" + path.name[4:]))
    with pytest.raises(DataError, match=r"shows nobody: all 4 images are junk .* distractors"):
        read_market1501(tiny_market1501, "train")
    move(tiny_market1501, lambda path: path.with_name("me" + path.name))
    with pytest.raises(DataError, match=r"no file with a name such as .* but such as me0000_.*original names"):
        read_market1501(tiny_market1501, "train")
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(DataError, match="holds no image"):
        read_market1501(tiny_market1501, "train")
