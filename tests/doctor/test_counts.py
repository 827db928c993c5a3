"""What the doctor counts, and what it says about parts, extra images and people in both splits."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from pg2lib.doctor import examine_data, findings
from pg2lib.doctor.findings import SPLITS, Known
from tests.doctor.conftest import (
    assert_only_mistake,
    draw_image,
    draw_pose,
    read_csv,
    told,
    train_images,
    write_csv,
    wrong,
)


def test_a_part_of_market1501_has_nothing_wrong(market: Path) -> None:
    found = examine_data(market)
    assert wrong(found) == []
    assert "train: 30 images of 10 people with keypoints; 30 of the 12,936 images" in told(found)
    assert "test: 36 pairs (rule all), 36 with both shoulders and hips" in told(found)


def test_byte_order_mark_and_windows_newlines_are_no_mistake(market: Path) -> None:
    csv = market / "market-annotation-train.csv"
    csv.write_bytes(b"\xef\xbb\xbf" + csv.read_bytes().replace(b"\n", b"\r\n"))
    assert wrong(examine_data(market)) == []


def test_what_readers_leave_out_is_counted_and_people_with_one_image(market: Path) -> None:
    first = sorted((market / "bounding_box_test").iterdir())[0]
    for name in ("-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg", "0000_c1s1_000151_02.jpg", "holiday.jpg"):
        shutil.copy(first, first.with_name(name))
    for other in sorted((market / "bounding_box_test").glob("0055_*"))[1:]:
        other.unlink()
    found = examine_data(market)
    assert wrong(found) == []
    assert "ok     test: junk images (person -1) left out: 1 (for example -1_c1s1_000401_03.jpg)" in told(found)
    assert "ok     test: distractors (person 0000) left out: 2" in told(found)
    assert "note   test: keypoints without an image left out: 2 (for example 0055_" in told(found)
    assert "note   test: files with other names than the data set's left out: 1 (for example holiday.jpg)" in told(
        found
    )
    assert "note   test: 1 of 6 people have only one image (for example 0055)" in told(found)


@pytest.mark.parametrize(("rows", "level"), [(27, "note"), (26, "WRONG")])
def test_more_than_a_tenth_of_the_images_without_keypoints_is_wrong(rows: int, level: str, market: Path) -> None:
    csv = market / "market-annotation-train.csv"
    write_csv(csv, read_csv(csv)[:rows])
    (finding,) = (finding for finding in examine_data(market) if "images without keypoints" in finding.text)
    assert finding.level == level
    assert f"left out: {30 - rows} " in finding.text
    assert "python -m pg2lib prepare" in finding.remedy


def test_images_without_keypoints_beside_keypoints_without_images_have_other_names(market: Path) -> None:
    for path in train_images(market)[:15]:
        path.rename(path.with_name(path.name.replace("_01.jpg", "_02.jpg")))
    assert_only_mistake(examine_data(market), "images without keypoints left out: 15", "0002_c1s1_000051_01.jpg")


def test_more_images_than_the_original_are_wrong(market: Path, monkeypatch) -> None:
    monkeypatch.setitem(findings.MARKET1501, "train", Known("the original", 29, 10))
    assert_only_mistake(examine_data(market), "^train: 30 images, but the original has 29", "Remove")


def test_the_complete_original_is_recognised_and_other_annotations_are_noted(market: Path, monkeypatch) -> None:
    monkeypatch.setitem(findings.MARKET1501, "train", Known("the original", 30, 10, (60, 60)))
    assert "10 people with keypoints; the original is complete" in told(examine_data(market))
    assert "the usual annotations give" not in told(examine_data(market))
    monkeypatch.setitem(findings.MARKET1501, "train", Known("the original", 30, 10, (60, 59)))
    assert "(rule torso); the usual annotations give 60 and 59" in told(examine_data(market))


def test_synthetic_people_are_not_compared_with_the_original(market: Path) -> None:
    (market / "synthetic.json").write_text("{}")
    assert "12,936" not in told(examine_data(market))
    assert "synthetic" in told(examine_data(market))


def test_people_without_two_images_make_no_pair(market: Path) -> None:
    for path in train_images(market):
        if "_c1" not in path.name:
            path.unlink()
    assert_only_mistake(examine_data(market), "^train: ", "two or more images")


def test_pair_files_are_counted(market: Path) -> None:
    names = [name for name, _, _ in read_csv(market / "market-annotation-test.csv")]
    pairs = market / "market-pairs-test.csv"
    pairs.write_text(f"from,to\n{names[0]},{names[1]}\n")
    assert "all 1 pairs in market-pairs-test.csv" in told(examine_data(market))
    pairs.write_text(f"from,to\n{names[0]},{names[1]}\n{names[0]},unknown.jpg\n")
    (finding,) = (finding for finding in examine_data(market) if "market-pairs" in finding.text)
    assert finding.level == "note"
    assert "1 of the 2 pairs" in finding.text and "12,000" in finding.text
    assert "market-pairs-test.csv:3" in finding.remedy and "unknown.jpg" in finding.remedy


def test_a_missing_split_is_noted(market: Path) -> None:
    shutil.rmtree(market / "bounding_box_test")
    (finding,) = (finding for finding in examine_data(market) if "bounding_box_test" in finding.text)
    assert finding.level == "note" and "test split" in finding.remedy


def test_no_split_at_all_is_wrong(market: Path) -> None:
    for folder in ("bounding_box_train", "bounding_box_test"):
        shutil.rmtree(market / folder)
        (market / folder).mkdir()
    found = wrong(examine_data(market))
    assert [finding.remedy for finding in found] == [f"Unpack the images of the {split} split." for split in SPLITS]


def test_people_in_both_splits_are_wrong(market: Path) -> None:
    csv = market / "market-annotation-test.csv"
    draw = random.Random(2)
    name = "0002_c6s1_000951_01.jpg"
    draw_image(market / "bounding_box_test" / name, draw, (128, 64))
    write_csv(csv, [*read_csv(csv), (name, *draw_pose(draw, (128, 64)))])
    assert_only_mistake(examine_data(market), "^1 of 7 test people .* train split .*0002", "Remove")


# DeepFashion


def test_a_part_of_deepfashion_has_nothing_wrong(deepfashion: Path) -> None:
    found = examine_data(deepfashion)
    assert wrong(found) == []
    assert "45 of the benchmark's 52,712 images are here" in told(found)
    assert "30 of the 48,674 images of the usual train.lst are here" in told(found)


def test_items_in_both_splits_are_noted_and_outfits_are_wrong(deepfashion: Path) -> None:
    moved = "img/WOMEN/Dresses/id_00000001/01_1_front.jpg"
    other_colour = moved.replace("/01_1", "/02_1")
    draw_image(deepfashion / other_colour, random.Random(3), (256, 256))
    name = "fashionWOMENDressesid0000000102_1front.jpg"
    csv, listed = deepfashion / "keypoints-test.csv", deepfashion / "test.lst"
    write_csv(csv, [*read_csv(csv), (name, *draw_pose(random.Random(4), (256, 256)))])
    listed.write_text(listed.read_text() + name + "\n")
    found = examine_data(deepfashion)
    assert wrong(found) == []
    assert "1 of 6 test items also occur in the train split (for example fashionWOMENDressesid00000001)" in told(found)
    assert "leak_free=True" in told(found)

    outfit = "fashionWOMENDressesid0000000101_1front.jpg"
    write_csv(
        csv, [*read_csv(csv), *(row for row in read_csv(deepfashion / "keypoints-train.csv") if row[0] == outfit)]
    )
    listed.write_text(listed.read_text() + outfit + "\n")
    assert_only_mistake(examine_data(deepfashion), "^1 of 7 test people .*fashionWOMENDressesid0000000101", "Remove")


@pytest.mark.parametrize("spelling", ["fasion", "fashion"])
def test_both_spellings_of_deepfashion_are_read(spelling: str, deepfashion: Path) -> None:
    csv = deepfashion / "keypoints-train.csv"
    csv.write_text(csv.read_text().replace("fashion", spelling))
    assert wrong(examine_data(deepfashion)) == []


def test_a_missing_test_split_of_deepfashion_is_noted_and_a_broken_one_is_wrong(deepfashion: Path) -> None:
    csv = deepfashion / "keypoints-test.csv"
    good = csv.read_text()
    csv.write_text(good.replace("[", "(", 1))
    assert_only_mistake(examine_data(deepfashion), "keypoints-test.csv:2", "")
    csv.write_text(good)
    for item in range(21, 26):
        shutil.rmtree(deepfashion / f"img/WOMEN/Dresses/id_{item:08d}")
    found = examine_data(deepfashion)
    assert wrong(found) == []
    assert "if you do not need the test split" in told(found)


def test_without_lists_a_split_without_keypoints_is_noted(deepfashion: Path) -> None:
    for name in ("train.lst", "test.lst", "keypoints-test.csv"):
        (deepfashion / name).unlink()
    found = examine_data(deepfashion)
    assert wrong(found) == []
    assert "if you do not need the test split" in told(found)


# The real data


def test_real_market1501_has_nothing_wrong(market1501_root: Path) -> None:
    found = examine_data(market1501_root)
    assert wrong(found) == []
    assert "train: 12,936 images of 751 people with keypoints; Market-1501's train split is complete" in told(found)
    assert "train: 296,938 pairs (rule all), 263,632 with both shoulders and hips" in told(found)
    assert "junk images (person -1) left out: 3,819" in told(found)
    assert "distractors (person 0000) left out: 2,798" in told(found)


def test_real_deepfashion_has_nothing_wrong(deepfashion_root: Path) -> None:
    found = examine_data(deepfashion_root)
    assert wrong(found) == []
    assert "of the benchmark's 52,712 images are here" in told(found)


def test_dukemtmc_is_not_measured_by_market1501s_counts(market: Path) -> None:
    def renamed(name: str) -> str:
        person, camera, frame = name.split("_")[:3]
        return f"{person}_{camera[:2]}_f0{frame}.jpg"

    for split in SPLITS:
        for path in list((market / f"bounding_box_{split}").iterdir()):
            path.rename(path.with_name(renamed(path.name)))
        csv = market / f"market-annotation-{split}.csv"
        write_csv(csv, [(renamed(name), y, x) for name, y, x in read_csv(csv)])
    found = examine_data(market)
    assert wrong(found) == []
    assert f"ok     DukeMTMC-reID in {market}" in told(found)
    assert "ok     train: 30 images of 10 people with keypoints\n" in told(found)


def test_pidms_pair_list_is_checked(deepfashion: Path) -> None:
    names = [f"img/WOMEN/Dresses/id_000000{item}/01_{view}.png" for item in (21, 22) for view in ("1_front", "2_side")]
    (deepfashion / "test_pairs.txt").write_text(f"{names[0]},{names[1]}\n{names[3]},{names[2]},{names[3]}\n")
    found = examine_data(deepfashion)
    assert wrong(found) == []
    assert "test: both images are here for all 3 pairs in test_pairs.txt" in told(found)


def test_people_cut_off_at_the_waist_are_noted(market: Path) -> None:
    """They can be trained on; the default pairs cannot be made of them."""
    csv = market / "market-annotation-train.csv"
    rows = [
        (name, *([-1 if joint in (8, 9, 10, 11, 12, 13) else value for joint, value in enumerate(axis)] for axis in xy))
        for name, *xy in read_csv(csv)
    ]
    write_csv(csv, rows)
    noted = [finding for finding in examine_data(market) if finding.level == "note" and "train" in finding.text]
    assert any("no image shows hips or knees or ankles" in finding.text for finding in noted)
    assert any("0 with both shoulders and hips" in f.text and "--pairs all" in f.remedy for f in noted)


def test_people_of_whom_only_arms_are_seen_cannot_be_trained_on(market: Path) -> None:
    csv = market / "market-annotation-train.csv"
    rows = [
        (name, *([value if joint in (3, 4) else -1 for joint, value in enumerate(axis)] for axis in xy))
        for name, *xy in read_csv(csv)
    ]
    write_csv(csv, rows)
    assert any(f.wrong and "rows shows any of these points" in f.text for f in examine_data(market))
