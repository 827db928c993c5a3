"""The doctor: data that are as they should be, and copies of them broken on purpose, each in one way."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from pg2lib import DataError
from pg2lib import doctor as doctor_module
from pg2lib.cli import main
from pg2lib.data.keypoint_csv import CSV_HEADER
from pg2lib.data.read import read_people
from pg2lib.doctor import Finding, examine_data, picture_of_people
from pg2lib.pose import SWAPPED_BY_FLIP
from tests.conftest import STANDING

Row = tuple[str, list[int], list[int]]
"""Name, y, x."""


def draw_pose(draw: random.Random, canvas: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Somebody who faces the camera, never twice the same; a wrist or an ankle is missing at times."""
    scale = canvas[0] / 128
    aside = (canvas[1] - 64 * scale) / 2 + draw.randint(-3, 3)
    y, x = [], []
    for joint, (standing_x, standing_y) in enumerate(STANDING):
        missing = joint in (4, 7, 10, 13) and draw.random() < 0.2
        jitter = 1 if joint in (0, 14, 15, 16, 17) else 2
        x.append(-1 if missing else round(standing_x * scale + aside) + draw.randint(-jitter, jitter))
        y.append(-1 if missing else round(standing_y * scale) + draw.randint(-2, 2))
    return y, x


def draw_image(path: Path, draw: random.Random, canvas: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(draw.getrandbits(32)).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(canvas[::-1]).save(path)


def write_csv(csv: Path, rows: list[Row], header: str = CSV_HEADER) -> None:
    csv.write_text(header + "\n" + "".join(f"{name}: {json.dumps(y)}: {json.dumps(x)}\n" for name, y, x in rows))


def read_csv(csv: Path) -> list[Row]:
    fields = (line.rsplit(": ", 2) for line in csv.read_text().splitlines()[1:])
    return [(name, json.loads(y), json.loads(x)) for name, y, x in fields]


def make_market(root: Path) -> Path:
    """Ten people to train on and six to test on, three images each."""
    draw = random.Random(0)
    for split, people in (("train", range(2, 12)), ("test", range(50, 56))):
        rows = []
        for person in people:
            for number in range(3):
                name = f"{person:04d}_c{number + 1}s1_000{number}51_01.jpg"
                draw_image(root / f"bounding_box_{split}" / name, draw, (128, 64))
                rows.append((name, *draw_pose(draw, (128, 64))))
        write_csv(root / f"market-annotation-{split}.csv", rows)
    return root


def make_deepfashion(root: Path) -> Path:
    """Ten outfits to train on and five to test on, three views each, in the original layout with lists."""
    draw = random.Random(1)
    for split, items in (("train", range(1, 11)), ("test", range(21, 26))):
        rows = []
        for item in items:
            for number, view in enumerate(("front", "side", "back"), start=1):
                path = root / f"img/WOMEN/Dresses/id_{item:08d}/01_{number}_{view}.jpg"
                draw_image(path, draw, (256, 256))
                rows.append((f"fashionWOMENDressesid{item:08d}01_{number}{view}.jpg", *draw_pose(draw, (256, 256))))
        write_csv(root / f"keypoints-{split}.csv", rows)
        (root / f"{split}.lst").write_text("".join(f"{name}\n" for name, _, _ in rows))
    return root


@pytest.fixture(scope="module")
def market_original(tmp_path_factory) -> Path:
    return make_market(tmp_path_factory.mktemp("market") / "Market-1501-v15.09.15")


@pytest.fixture(scope="module")
def deepfashion_original(tmp_path_factory) -> Path:
    return make_deepfashion(tmp_path_factory.mktemp("deepfashion") / "deepfashion")


@pytest.fixture
def market(market_original: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(market_original, tmp_path / "Market-1501-v15.09.15"))


@pytest.fixture
def deepfashion(deepfashion_original: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(deepfashion_original, tmp_path / "deepfashion"))


def wrong(findings: list[Finding]) -> list[str]:
    return [str(finding) for finding in findings if finding.wrong]


def told(findings: list[Finding]) -> str:
    return "\n".join(map(str, findings))


# The ways in which people break Market-1501


def in_train_csv(change: Callable[[Row], Row]) -> Callable[[Path], None]:
    def break_it(root: Path) -> None:
        csv = root / "market-annotation-train.csv"
        write_csv(csv, [change(row) for row in read_csv(csv)])

    return break_it


def each(values: list[int], change: Callable[[int], int]) -> list[int]:
    return [-1 if value == -1 else change(value) for value in values]


def exchanged(row: Row, pairs: tuple[tuple[int, int], ...]) -> Row:
    name, y, x = row
    order = list(range(18))
    for a, b in pairs:
        order[a], order[b] = b, a
    return name, [y[joint] for joint in order], [x[joint] for joint in order]


def train_images(root: Path) -> list[Path]:
    return sorted((root / "bounding_box_train").iterdir())


def wrong_splits_csv(root: Path) -> None:
    shutil.copy(root / "market-annotation-test.csv", root / "market-annotation-train.csv")


def images_renamed(root: Path) -> None:
    for number, path in enumerate(train_images(root)):
        path.rename(path.with_name(f"{number:05d}.jpg"))


def endings_changed(root: Path) -> None:
    """As does who converts the images; the names are Market-1501's no more."""
    for path in train_images(root):
        path.rename(path.with_suffix(".png"))


def copied_under_another_name(root: Path) -> None:
    first = train_images(root)[0]
    copy = first.with_name("0011" + first.name[4:].replace("_01.jpg", "_02.jpg"))
    shutil.copy(first, copy)
    csv = root / "market-annotation-train.csv"
    rows = read_csv(csv)
    write_csv(csv, [*rows, (copy.name, *rows[0][1:])])


def rows_copied(root: Path) -> None:
    csv = root / "market-annotation-train.csv"
    rows = read_csv(csv)
    write_csv(csv, [*rows[:-1], (rows[-1][0], *rows[0][1:])])


def truncated(root: Path) -> None:
    for path in train_images(root)[:2]:
        path.write_bytes(path.read_bytes()[:-200])


def emptied(root: Path) -> None:
    train_images(root)[0].write_bytes(b"")


def resized(root: Path) -> None:
    for path in train_images(root):
        Image.open(path).resize((128, 256)).save(path)


def with_commas(root: Path) -> None:
    csv = root / "market-annotation-train.csv"
    rows = (f'{name},"{y}","{x}"\n' for name, y, x in read_csv(csv))
    csv.write_text("name,keypoints_y,keypoints_x\n" + "".join(rows))


def without_header(root: Path) -> None:
    csv = root / "market-annotation-train.csv"
    csv.write_text("".join(csv.read_text().splitlines(keepends=True)[1:]))


def x_first_by_its_header(root: Path) -> None:
    csv = root / "market-annotation-train.csv"
    write_csv(csv, [(name, x, y) for name, y, x in read_csv(csv)], "name:keypoints_x:keypoints_y")


def utf16(root: Path) -> None:
    csv = root / "market-annotation-train.csv"
    csv.write_bytes(csv.read_text().encode("utf-16"))


def web_page(root: Path) -> None:
    (root / "market-annotation-train.csv").write_text("<!DOCTYPE html>\n<html>Please sign in</html>\n")


def rows_twice(root: Path) -> None:
    csv = root / "market-annotation-train.csv"
    rows = read_csv(csv)
    write_csv(csv, [*rows, *rows[:2]])


def train_person_in_test(root: Path) -> None:
    csv = root / "market-annotation-test.csv"
    draw = random.Random(2)
    name = "0002_c6s1_000951_01.jpg"
    draw_image(root / "bounding_box_test" / name, draw, (128, 64))
    write_csv(csv, [*read_csv(csv), (name, *draw_pose(draw, (128, 64)))])


def no_csv(root: Path) -> None:
    (root / "market-annotation-train.csv").unlink()


def half_the_rows(root: Path) -> None:
    csv = root / "market-annotation-train.csv"
    write_csv(csv, read_csv(csv)[:15])


MISTAKES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "x and y swapped": (
        in_train_csv(lambda row: (row[0], row[2], row[1])),
        "train: 30 of 30 people lie on their side (such as 0002_", "x and y are swapped: the CSV has y first",
    ),
    "upside down": (
        in_train_csv(lambda row: (row[0], each(row[1], lambda y: 127 - y), row[2])),
        "30 of 30 people stand on their head", "write height - 1 - y",
    ),
    "left and right swapped": (
        in_train_csv(lambda row: exchanged(row, SWAPPED_BY_FLIP)),
        "of 30 people who show their nose, 30 have the right shoulder on the right", "exchange the joints 2 and 5,",
    ),
    "eyes swapped": (
        in_train_csv(lambda row: exchanged(row, ((14, 15),))),
        "have their eyes the other way round than their shoulders", "exchange joints 14 (right eye) and 15 (left eye)",
    ),
    "ears swapped": (
        in_train_csv(lambda row: exchanged(row, ((16, 17),))),
        "have their ears the other way round than their shoulders", "exchange joints 16 (right ear) and 17 (left ear)",
    ),
    "all -1": (
        in_train_csv(lambda row: (row[0], [-1] * 18, [-1] * 18)),
        "all 30 images have no joint at all, every coordinate is -1", "make the CSV again with",
    ),
    "keypoints of larger images": (
        in_train_csv(lambda row: (row[0], each(row[1], lambda y: 2 * y), each(row[2], lambda x: 4 * x))),
        "30 of 30 images have keypoints outside the canvas, up to x = ", "taken on images of another size, not 64 wide",
    ),
    "keypoints of smaller images": (
        in_train_csv(lambda row: (row[0], each(row[1], lambda y: y // 2), each(row[2], lambda x: x // 2))),
        "people fill only a corner: keypoints end at x = ", "taken on images of another size, not 64 wide",
    ),
    "keypoints of padded images": (
        in_train_csv(lambda row: (row[0], row[1], each(row[2], lambda x: min(63, x + 16)))),
        "px right of the middle of the images", "from every x",
    ),
    "0 instead of -1": (
        in_train_csv(lambda row: (row[0], [0] * 4 + row[1][4:], [0] * 4 + row[2][4:])),
        "30 images have two or more joints at (0, 0)", "write -1 for them",
    ),
    "names hold a folder": (
        in_train_csv(lambda row: ("bounding_box_train/" + row[0], row[1], row[2])),
        "market-annotation-train.csv:2: 'bounding_box_train/0002", "the names hold a folder (bounding_box_train/0002",
    ),
    "17 joints": (
        in_train_csv(lambda row: (row[0], row[1][:17], row[2][:17])),
        "keypoints_y must be a list of 18 numbers", "the rows have 17 joints, not 18",
    ),
    "names match no file": (
        images_renamed, "have no image in common", "the CSV writes 0002_c1s1_000051_01.jpg and the like, the files are",
    ),
    "other endings": (endings_changed, "have no image in common", "make the endings the same"),
    "wrong split's CSV": (
        wrong_splits_csv, "have no image in common", "18 of its 18 names are images of another split (such as ",
    ),
    "copied image": (
        copied_under_another_name,
        "2 image files have the same content as another (such as 0002_c1s1_000051_01.jpg and 0011_c1s1_000051_02.jpg); "
        "1 times under two people", "keep one of each",
    ),
    "copied rows": (rows_copied, "2 images share their keypoints to the pixel", "detect these images again"),
    "truncated images": (truncated, "train: damaged images: 2 of 30 looked at", "unpack or copy them again"),
    "empty image": (emptied, "train: empty or unreadable image files: 1 of 30", "unpack or copy them again"),
    "other image size": (resized, "30 of 30 images looked at are not 64 wide and 128 high", "take the original images"),
    "commas": (with_commas, "annotation-train.csv:1: expected the header", "the separator is ',' and has to be ':'"),
    "no header": (without_header, "annotation-train.csv:1: expected the header", "the header is missing: make name:"),
    "x first": (x_first_by_its_header, "expected the header", "x comes before y: exchange the two columns"),
    "UTF-16": (utf16, "cannot be read as a keypoint CSV", "save it as UTF-8"),
    "web page": (web_page, "expected the header", "this is a web page"),
    "rows twice": (rows_twice, "is already on line 2", "2 names stand there more than once: leave one row of each"),
    "person in both splits": (train_person_in_test, "1 of 7 test people are in train too (such as 0002)", "take them"),
    "no CSV": (no_csv, "no keypoints: market-annotation-train.csv", "python -m pg2lib prepare makes them"),
    "half the rows": (half_the_rows, "15 left out, no keypoints in market-annotation-train.csv", "prepare makes a CSV"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_finding_that_names_it_and_the_remedy(mistake: str, market: Path) -> None:
    break_it, text, remedy = MISTAKES[mistake]
    break_it(market)
    found = wrong(examine_data(market))
    assert len(found) == 1, found
    said, _, advice = found[0].partition("  ->  ")
    assert text in said
    assert remedy in advice


def test_what_the_doctor_advises_against_commas_works(market: Path) -> None:
    with_commas(market)
    csv = market / "market-annotation-train.csv"
    assert "pandas.read_csv(file, sep=',').to_csv(file, sep=':', index=False)" in "\n".join(wrong(examine_data(market)))
    pandas.read_csv(csv, sep=",").to_csv(csv, sep=":", index=False)
    assert wrong(examine_data(market)) == []


def test_a_healthy_part_of_market1501_has_nothing_wrong(market: Path) -> None:
    findings = examine_data(market)
    assert wrong(findings) == []
    assert "train: 30 images of 10 people with keypoints; 30 of the 12,936 images of the original's" in told(findings)
    assert "test: 36 pairs (all), 36 with both shoulders and hips in both images (torso)" in told(findings)


def test_byte_order_mark_and_windows_newlines_are_no_mistake(market: Path) -> None:
    csv = market / "market-annotation-train.csv"
    csv.write_bytes(b"\xef\xbb\xbf" + csv.read_bytes().replace(b"\n", b"\r\n"))
    assert wrong(examine_data(market)) == []


def test_junk_and_distractors_are_counted_and_people_of_one_image(market: Path) -> None:
    first = sorted((market / "bounding_box_test").iterdir())[0]
    for name in ("-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg", "0000_c1s1_000151_02.jpg"):
        shutil.copy(first, first.with_name(name))
    for other in sorted((market / "bounding_box_test").glob("0055_*"))[1:]:
        other.unlink()
    findings = examine_data(market)
    assert wrong(findings) == []
    assert "test: 1 left out, junk (such as -1_c1s1_000401_03.jpg)" in told(findings)
    assert "test: 2 left out, distractor" in told(findings)
    assert "test: 2 left out, keypoints without an image (such as 0055_" in told(findings)
    assert "test: people with one image only: 1 of 6 (such as 0055)" in told(findings)


def test_more_images_than_the_original_are_wrong(market: Path, monkeypatch) -> None:
    known = doctor_module.Known("the original's train split", 29, 10)
    monkeypatch.setitem(doctor_module.MARKET1501, "train", known)
    assert "30 images, but the original's train split has 29" in "\n".join(wrong(examine_data(market)))


def test_synthetic_people_are_not_compared_with_the_original(market: Path) -> None:
    (market / "synthetic.json").write_text("{}")
    assert "12,936" not in told(examine_data(market))
    assert "synthetic" in told(examine_data(market))


def test_a_missing_split_is_right_for_who_does_not_want_it(market: Path) -> None:
    shutil.rmtree(market / "bounding_box_test")
    findings = examine_data(market)
    assert wrong(findings) == []
    assert "fine if the test split is not wanted" in told(findings)


def test_only_the_thorough_examination_decodes_what_looks_whole(market: Path, monkeypatch) -> None:
    monkeypatch.setattr(doctor_module, "SAMPLE", 0)
    victim = train_images(market)[7]
    victim.write_bytes(b"\xff\xd8" + b"no JPEG at all" * 20 + b"\xff\xd9")
    assert wrong(examine_data(market)) == []
    (found,) = wrong(examine_data(market, thorough=True))
    assert "damaged images: 1 of 30 looked at" in found and victim.name in found


# DeepFashion


def test_a_healthy_part_of_deepfashion_has_nothing_wrong(deepfashion: Path) -> None:
    findings = examine_data(deepfashion)
    assert wrong(findings) == []
    assert "45 of the benchmark's 52,712 images are here" in told(findings)
    assert "30 of the 48,674 images of the usual train list are here" in told(findings)


def test_items_on_both_sides_are_noted_and_outfits_are_wrong(deepfashion: Path) -> None:
    moved = "img/WOMEN/Dresses/id_00000001/01_1_front.jpg"
    other_colour = moved.replace("/01_1", "/02_1")
    draw_image(deepfashion / other_colour, random.Random(3), (256, 256))
    name = "fashionWOMENDressesid0000000102_1front.jpg"
    csv, listed = deepfashion / "keypoints-test.csv", deepfashion / "test.lst"
    write_csv(csv, [*read_csv(csv), (name, *draw_pose(random.Random(4), (256, 256)))])
    listed.write_text(listed.read_text() + name + "\n")
    findings = examine_data(deepfashion)
    assert wrong(findings) == []
    assert "1 of 6 test items are in train too (such as fashionWOMENDressesid00000001)" in told(findings)
    assert "leak_free=True" in told(findings)

    outfit = "fashionWOMENDressesid0000000101_1front.jpg"
    write_csv(
        csv, [*read_csv(csv), *(row for row in read_csv(deepfashion / "keypoints-train.csv") if row[0] == outfit)]
    )
    listed.write_text(listed.read_text() + outfit + "\n")
    (found,) = wrong(examine_data(deepfashion))
    assert "1 of 7 test people are in train too (such as fashionWOMENDressesid0000000101)" in found


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda row: (row[0], row[2], row[1]), "30 of 30 people lie on their side"),
        (lambda row: (row[0], each(row[1], lambda y: y // 2), each(row[2], lambda x: x // 2)), "fill only a corner"),
        (lambda row: (row[0], row[1], each(row[2], lambda x: x + 40)), "px right of the middle of the images"),
        (lambda row: (row[0], each(row[1], lambda y: 4 * y), row[2]), "keypoints outside"),
        (lambda row: exchanged(row, SWAPPED_BY_FLIP), "have the right shoulder on the right of the picture"),
    ],
)
def test_mistakes_in_deepfashions_keypoints(change, text: str, deepfashion: Path) -> None:
    csv = deepfashion / "keypoints-train.csv"
    write_csv(csv, [change(row) for row in read_csv(csv)])
    (found,) = wrong(examine_data(deepfashion))
    assert text in found


@pytest.mark.parametrize("spelling", ["fasion", "fashion"])
def test_both_spellings_of_deepfashion_are_read(spelling: str, deepfashion: Path) -> None:
    csv = deepfashion / "keypoints-train.csv"
    csv.write_text(csv.read_text().replace("fashion", spelling))
    assert wrong(examine_data(deepfashion)) == []


def test_the_wrong_splits_csv_of_deepfashion(deepfashion: Path) -> None:
    shutil.copy(deepfashion / "keypoints-test.csv", deepfashion / "keypoints-train.csv")
    (found,) = wrong(examine_data(deepfashion))
    assert "15 of its 15 names are images of another split" in found


def test_images_of_another_size_are_noted_where_they_are_fitted(deepfashion: Path) -> None:
    path = next((deepfashion / "img").rglob("*.jpg"))
    Image.open(path).crop((40, 0, 216, 256)).save(path)
    findings = examine_data(deepfashion)
    assert wrong(findings) == []
    assert re.search(
        r"note .* 1 of \d+ images looked at are not 256 wide and 256 high \(such as .*: 176 and 256\)", told(findings)
    )


def test_a_missing_test_split_of_deepfashion_is_fine_and_a_broken_one_is_not(deepfashion: Path) -> None:
    csv = deepfashion / "keypoints-test.csv"
    good = csv.read_text()
    csv.write_text(good.replace("[", "(", 1))
    assert "keypoints-test.csv:2" in "\n".join(wrong(examine_data(deepfashion)))
    csv.write_text(good)
    for item in range(21, 26):
        shutil.rmtree(deepfashion / f"img/WOMEN/Dresses/id_{item:08d}")
    findings = examine_data(deepfashion)
    assert wrong(findings) == []
    assert "fine if the test split is not wanted" in told(findings)


# Detected keypoints against the annotations


def test_detected_keypoints_are_compared_with_the_annotations(market: Path, tmp_path: Path) -> None:
    rows = read_csv(market / "market-annotation-train.csv")
    away = [(name, each(y, lambda v: v + 1), x) for name, y, x in rows[:20]]
    csv = tmp_path / "detected.csv"
    write_csv(csv, away)
    (tmp_path / "detected.missing.txt").write_text("".join(f"{name}\tno person found\n" for name, _, _ in rows[20:25]))
    findings = examine_data(market, detected=csv)
    assert wrong(findings) == []
    # Five of 25 were not found, the other five were not looked at; a pixel is 0.8 % of 128.
    assert "train: detected.csv against the annotations: 25 people: 20.0% not found, median error 0.8%" in told(
        findings
    )

    write_csv(csv, [exchanged(row, SWAPPED_BY_FLIP) for row in rows])
    found = "\n".join(wrong(examine_data(market, detected=csv)))
    assert "one of the two has left and right swapped" in found

    write_csv(csv, rows, "keypoints")
    assert "expected the header" in "\n".join(wrong(examine_data(market, detected=csv)))


def test_keypoints_that_are_passed_stand_in_for_annotations_that_are_not_there(market: Path, tmp_path: Path) -> None:
    csv = tmp_path / "detected.csv"
    rows = read_csv(market / "market-annotation-train.csv") + read_csv(market / "market-annotation-test.csv")
    write_csv(csv, rows)
    for split in ("train", "test"):
        (market / f"market-annotation-{split}.csv").unlink()
    assert len(wrong(examine_data(market))) == 2
    assert wrong(examine_data(market, detected=csv)) == []


def test_published_and_detected_keypoints_side_by_side_are_compared(deepfashion: Path) -> None:
    rows = read_csv(deepfashion / "keypoints-train.csv")
    write_csv(
        deepfashion / "keypoints-train-detector.csv", [(name, each(y, lambda v: v + 4), x) for name, y, x in rows]
    )
    findings = told(examine_data(deepfashion))
    assert "train: keypoints-train-detector.csv against keypoints-train.csv: 30 people: 0.0% not found" in findings
    assert "median error 1.6%" in findings


# Other folders


def test_a_missing_folder_and_one_of_something_else(tmp_path: Path) -> None:
    (found,) = wrong(examine_data(tmp_path / "nowhere"))
    assert "no folder" in found and "pass the unpacked data set" in found
    (found,) = wrong(examine_data(tmp_path))
    assert "there is no image in it" in found
    draw_image(tmp_path / "anna" / "beach.jpg", random.Random(0), (300, 200))
    (found,) = wrong(examine_data(tmp_path))
    assert "python -m pg2lib prepare" in found
    (tmp_path / "img.zip").write_bytes(b"PK")
    (found,) = wrong(examine_data(tmp_path))
    assert "unpack img.zip" in found


def test_a_folder_a_person(tmp_path: Path) -> None:
    draw = random.Random(5)
    rows = []
    for person in ("anna", "ben", "cleo"):
        for number in range(4):
            draw_image(tmp_path / person / f"{number}.png", draw, (128, 64))
            rows.append((f"{person}/{number}.png", *draw_pose(draw, (128, 64))))
    write_csv(tmp_path / "keypoints.csv", rows)
    findings = examine_data(tmp_path)
    assert wrong(findings) == []
    assert "train: 8 images of 2 people with keypoints" in told(findings)
    for path in (tmp_path / "anna" / "0.png", tmp_path / "ben" / "2.png"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = wrong(examine_data(tmp_path))
    assert len(found) == 2
    assert all("image file is truncated" in line for line in found)


def test_whatever_a_file_holds_the_doctor_speaks(market: Path) -> None:
    """Bytes of the CSV cut, changed and doubled at random: findings, and no exception."""
    draw = random.Random(0)
    csv = market / "market-annotation-train.csv"
    good = csv.read_bytes()
    for _ in range(40):
        start, end = sorted(draw.sample(range(len(good)), 2))
        end = min(end, start + draw.choice((1, 5, 300, len(good))))
        middle = draw.choice((b"", b"\xff\x00", b"-1", b"1e999", b"NaN", b"[", b": ", good[start:end] * 2))
        csv.write_bytes(good[:start] + middle + good[end:])
        assert examine_data(market)


# The picture


def test_the_picture_shows_sixteen_different_people(market: Path) -> None:
    table = read_people(market)
    picture = picture_of_people(table, count=8, columns=4)
    assert picture.size == (4 * (128 + 4) + 4, 2 * (256 + 4) + 4)
    again, other = picture_of_people(table, count=8, columns=4), picture_of_people(table, count=8, columns=4, seed=1)
    assert picture.tobytes() == again.tobytes() != other.tobytes()
    # With one image a person in the table, drawing as many as there are people takes all of them.
    first_images = table.select(range(0, len(table), 3))
    everybody = picture_of_people(first_images, count=10, columns=1)
    cells = {everybody.crop((4, 4 + 260 * k, 132, 260 + 260 * k)).tobytes() for k in range(10)}
    assert len(cells) == 10


def test_there_is_no_picture_of_nobody(market: Path) -> None:
    table = read_people(market)
    table.xy.fill_(torch.nan)
    with pytest.raises(DataError, match="no skeleton to draw"):
        picture_of_people(table)


# The command line


def test_the_exit_code_says_whether_anything_is_wrong(market: Path, tmp_path: Path, capsys) -> None:
    picture = tmp_path / "people.png"
    assert main(["doctor", "--data", str(market), "--picture", str(picture)]) == 0
    assert f"people with their skeletons are in {picture}" in capsys.readouterr().out
    assert Image.open(picture).width > 8 * 128
    assert main(["doctor", "--data", str(market), "--picture", str(tmp_path / "people.txt")]) == 1
    image = next((market / "bounding_box_train").iterdir())
    before = image.read_bytes()
    assert main(["doctor", "--data", str(market), "--picture", str(image)]) == 1
    assert f"no picture {image}: it is there already, among the data" in capsys.readouterr().out
    assert image.read_bytes() == before
    emptied(market)
    assert main(["doctor", "--data", str(market)]) == 1
    assert "WRONG  train: empty" in capsys.readouterr().out


def test_options_about_data_want_data(capsys) -> None:
    assert main(["doctor", "--picture", "people.png"]) == 1
    assert "add --data FOLDER" in capsys.readouterr().err


# The real data


def test_real_market1501_has_nothing_wrong(market1501_root: Path) -> None:
    findings = examine_data(market1501_root)
    assert wrong(findings) == []
    assert "train: 12,936 images of 751 people with keypoints, all of the original's train split" in told(findings)
    assert "train: 296,938 pairs (all), 263,632 with both shoulders and hips" in told(findings)
    assert "test: 3,819 left out, junk" in told(findings) and "test: 2,798 left out, distractor" in told(findings)


def test_real_deepfashion_has_nothing_wrong(deepfashion_root: Path) -> None:
    findings = examine_data(deepfashion_root)
    assert wrong(findings) == []
    assert "of the benchmark's 52,712 images are here" in told(findings)
