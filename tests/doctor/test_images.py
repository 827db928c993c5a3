"""Image files broken on purpose: cut short, emptied, scaled, copied."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pg2lib.doctor import examine_data, images
from pg2lib.doctor.findings import ImageFile
from tests.doctor.conftest import assert_only_mistake, read_csv, told, train_images, write_csv, wrong


def truncated(root: Path) -> None:
    for path in train_images(root)[:2]:
        path.write_bytes(path.read_bytes()[:-200])


def emptied(root: Path) -> None:
    train_images(root)[0].write_bytes(b"")


def resized(root: Path) -> None:
    for path in train_images(root):
        Image.open(path).resize((128, 256)).save(path)


def copied_under_another_name(root: Path) -> None:
    first = train_images(root)[0]
    copy = first.with_name("0011" + first.name[4:].replace("_01.jpg", "_02.jpg"))
    shutil.copy(first, copy)
    csv = root / "market-annotation-train.csv"
    rows = read_csv(csv)
    write_csv(csv, [*rows, (copy.name, *rows[0][1:])])


def copied_to_the_other_split(root: Path) -> None:
    first = train_images(root)[0]
    copy = root / "bounding_box_test" / first.name.replace("0002", "0050").replace("_01.jpg", "_02.jpg")
    shutil.copy(first, copy)
    csv = root / "market-annotation-test.csv"
    write_csv(csv, [*read_csv(csv), (copy.name, *read_csv(root / "market-annotation-train.csv")[0][1:])])


MISTAKES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "truncated": (truncated, "^train: 2 of 30 .* damaged", "copy.*--skip-corrupt"),
    "empty": (emptied, "^train: 1 of 30 .* empty .*0002_c1", "copy"),
    "other size": (resized, "^train: 30 of 30 .* not 64 .* and 128 .*: 128 wide and 256", "original images"),
    "copied": (
        copied_under_another_name,
        r"^2 image files .*0002_c1s1_000051_01.jpg and 0011_c1s1_000051_02.jpg\); .*different people: 1$", "Keep one",
    ),
    "copied to the other split": (copied_to_the_other_split, "different people: 1; .*both splits: 1$", "Keep one"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_finding_with_its_remedy(mistake: str, market: Path) -> None:
    break_it, text, remedy = MISTAKES[mistake]
    break_it(market)
    assert_only_mistake(examine_data(market), text, remedy)


def test_only_the_thorough_examination_decodes_images_that_look_complete(market: Path, monkeypatch) -> None:
    monkeypatch.setattr(images, "SAMPLE", 0)
    victim = train_images(market)[7]
    victim.write_bytes(b"\xff\xd8" + b"no JPEG at all" * 20 + b"\xff\xd9")
    findings = examine_data(market)
    assert wrong(findings) == []
    assert "--thorough" in told(findings)
    assert_only_mistake(examine_data(market, thorough=True), f"1 of 30 .*{victim.name}", "copy")


def test_images_of_another_size_are_noted_where_they_are_padded(deepfashion: Path) -> None:
    path = next((deepfashion / "img").rglob("*.jpg"))
    Image.open(path).crop((40, 0, 216, 256)).save(path)
    findings = examine_data(deepfashion)
    assert wrong(findings) == []
    assert re.search(r"note .* 1 of \d+ decoded images are not 256 .* and 256 .*: 176 wide and 256", told(findings))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_an_image_file_is_complete_with_its_end(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    Image.effect_noise((64, 64), 50).save(path)
    complete = ImageFile.read(path)
    assert complete.whole and complete.size == path.stat().st_size
    path.write_bytes(path.read_bytes()[:-100])
    assert not ImageFile.read(path).whole
    assert ImageFile.read(tmp_path / "nowhere.jpg").size == 0
