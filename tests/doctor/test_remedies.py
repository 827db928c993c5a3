"""CSVs and folders that cannot be read, and what the doctor advises."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest
from PIL import Image

from pg2lib.data.keypoint_csv import CSV_HEADER
from pg2lib.doctor import examine_data
from tests.doctor.conftest import (
    assert_only_mistake,
    change_rows,
    draw_image,
    read_csv,
    told,
    train_images,
    write_csv,
    wrong,
)


def train_csv(root: Path) -> Path:
    return root / "market-annotation-train.csv"


def wrong_splits_csv(root: Path) -> None:
    shutil.copy(root / "market-annotation-test.csv", train_csv(root))


def images_renamed(root: Path) -> None:
    for number, path in enumerate(train_images(root)):
        path.rename(path.with_name(f"{number:05d}.jpg"))


def without_suffix(root: Path) -> None:
    change_rows(train_csv(root), lambda row: (row[0].removesuffix(".jpg"), row[1], row[2]))


def kept_as_png(root: Path) -> None:
    for path in train_images(root):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()


def rows_of_png(root: Path) -> None:
    change_rows(train_csv(root), lambda row: (row[0].replace(".jpg", ".png"), row[1], row[2]))


def names_with_folder(root: Path) -> None:
    change_rows(train_csv(root), lambda row: ("bounding_box_train/" + row[0], row[1], row[2]))


def names_of_windows(root: Path) -> None:
    change_rows(train_csv(root), lambda row: ("data\\bounding_box_train\\" + row[0], row[1], row[2]))


def folders_of_patn(root: Path) -> None:
    for split in ("train", "test"):
        (root / f"bounding_box_{split}").rename(root / split)


@pytest.mark.parametrize(
    "change", [kept_as_png, rows_of_png, names_with_folder, names_of_windows, folders_of_patn], ids=lambda f: f.__name__
)
def test_what_is_kept_in_another_way_is_no_mistake(market: Path, change: Callable[[Path], None]) -> None:
    change(market)
    found = examine_data(market)
    assert wrong(found) == []
    assert "train: 30 images of 10 people with keypoints; 30 of the 12,936 images" in told(found)


def joints_17(root: Path) -> None:
    change_rows(train_csv(root), lambda row: (row[0], row[1][:17], row[2][:17]))


def with_commas(root: Path) -> None:
    rows = (f'{name},"{y}","{x}"\n' for name, y, x in read_csv(train_csv(root)))
    train_csv(root).write_text("name,keypoints_y,keypoints_x\n" + "".join(rows))


def without_header(root: Path) -> None:
    train_csv(root).write_text("".join(train_csv(root).read_text().splitlines(keepends=True)[1:]))


def x_first_by_its_header(root: Path) -> None:
    rows = read_csv(train_csv(root))
    write_csv(train_csv(root), [(name, x, y) for name, y, x in rows], "name:keypoints_x:keypoints_y")


def utf16(root: Path) -> None:
    train_csv(root).write_bytes(train_csv(root).read_text().encode("utf-16"))


def web_page(root: Path) -> None:
    train_csv(root).write_text("<!DOCTYPE html>\n<html>Please sign in</html>\n")


def lfs_pointer(root: Path) -> None:
    train_csv(root).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def emptied(root: Path) -> None:
    train_csv(root).write_text("")


def rows_twice(root: Path) -> None:
    rows = read_csv(train_csv(root))
    write_csv(train_csv(root), [*rows, *rows[:2]])


def one_bad_row(root: Path) -> None:
    train_csv(root).write_text(train_csv(root).read_text().replace("[", "(", 1))


def no_csv(root: Path) -> None:
    train_csv(root).unlink()


def csv_elsewhere(root: Path) -> None:
    """Move the CSV to where the reader does not look, with rows that would be wrong."""
    wrong_splits_csv(root)
    (root / "a" / "b").mkdir(parents=True)
    train_csv(root).rename(root / "a" / "b" / train_csv(root).name)


MISTAKES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "17 joints": (joints_17, "keypoints_y", "17 .* 18.*--format openpose"),
    "names match no file": (images_renamed, "^train: ", r"0002_c1s1_000051_01.jpg.*0000\d.jpg"),
    "no suffix": (without_suffix, "^train: ", "_01, .*_01.jpg.*suffix"),
    "wrong split's CSV": (wrong_splits_csv, "^train: ", "18 of the 18 .*another split.*bounding_box_test.*train split"),
    "commas": (with_commas, "train.csv:1: ", "','.*':'"),
    "no header": (without_header, "train.csv:1: ", f"header.*{CSV_HEADER}"),
    "x first": (x_first_by_its_header, "train.csv:1: ", f"[eE]xchange.*{CSV_HEADER}"),
    "UTF-16": (utf16, "train.csv", "UTF-8"),
    "web page": (web_page, "train.csv:1: ", "web page"),
    "LFS pointer": (lfs_pointer, "train.csv:1: ", "git lfs pull"),
    "empty": (emptied, "train.csv:1: ", "empty"),
    "rows twice": (rows_twice, "train.csv:32: ", "2 names.*one row"),
    "one bad row": (one_bad_row, "train.csv:2: ", "^Correct this"),
    "CSV elsewhere": (csv_elsewhere, "market-annotation-train.csv", "^Put the keypoint CSV"),
    "no CSV": (no_csv, "market-annotation-train.csv", "python -m pg2lib prepare"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_finding_with_its_remedy(mistake: str, market: Path) -> None:
    break_it, text, remedy = MISTAKES[mistake]
    break_it(market)
    assert_only_mistake(examine_data(market), text, remedy)


def test_the_advice_about_commas_works(market: Path) -> None:
    with_commas(market)
    (found,) = wrong(examine_data(market))
    assert "pandas.read_csv(file, sep=',').to_csv(file, sep=':', index=False)" in found.remedy
    pandas.read_csv(train_csv(market), sep=",").to_csv(train_csv(market), sep=":", index=False)
    assert wrong(examine_data(market)) == []


def test_the_wrong_splits_csv_of_deepfashion(deepfashion: Path) -> None:
    shutil.copy(deepfashion / "keypoints-test.csv", deepfashion / "keypoints-train.csv")
    assert_only_mistake(examine_data(deepfashion), "^train: ", "15 of the 15 .*another split")


def test_each_kind_of_folder_without_data_has_its_advice(tmp_path: Path) -> None:
    assert_only_mistake(examine_data(tmp_path / "nowhere"), "nowhere", "unpacked data set")
    assert_only_mistake(examine_data(tmp_path), "", "no image")
    photo = tmp_path / "beach.jpg"
    draw_image(photo, random.Random(0), (300, 200))
    assert_only_mistake(examine_data(tmp_path), "", "folder of their own.*python -m pg2lib prepare")
    (tmp_path / "anna").mkdir()
    photo = photo.rename(tmp_path / "anna" / "beach.jpg")
    assert_only_mistake(examine_data(tmp_path), "", "one folder per person.*python -m pg2lib prepare")
    (tmp_path / "anna" / "2026").mkdir()
    photo = photo.rename(tmp_path / "anna" / "2026" / "beach.jpg")
    assert_only_mistake(examine_data(tmp_path), "", "anna/2026/beach.jpg.*original names")
    (tmp_path / "Test").mkdir()
    photo.rename(tmp_path / "Test" / "anna_1.jpg")
    assert_only_mistake(examine_data(tmp_path), "", "Test as a split.*python -m pg2lib prepare")
    (tmp_path / "train").mkdir()
    assert_only_mistake(examine_data(tmp_path), "", "Test and train as splits")
    (tmp_path / "img.zip").write_bytes(b"PK")
    assert_only_mistake(examine_data(tmp_path), "", "Unpack img.zip")


def test_a_folder_with_two_data_sets_asks_for_one(market_original: Path, deepfashion_original: Path, tmp_path) -> None:
    shutil.copytree(market_original, tmp_path / "market1501")
    shutil.copytree(deepfashion_original, tmp_path / "deepfashion")
    assert_only_mistake(examine_data(tmp_path), "market1501 and deepfashion", "one of them")
