"""The doctor as a whole: any input, the picture of people, the installation, the command line."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import random
from pathlib import Path

import pytest
import torch
from PIL import Image

from pg2lib import CheckpointError, DataError
from pg2lib import doctor as doctor_module
from pg2lib.cli import main
from pg2lib.data.read import read_people
from pg2lib.doctor import examine_data, examine_installation, picture_of_people
from pg2lib.doctor.findings import Finding, report
from pg2lib.pipeline import PG2Pipeline
from tests.doctor.conftest import draw_image, draw_pose, told, write_csv, wrong


def test_a_finding_shows_its_remedy_on_a_line_of_its_own() -> None:
    assert str(Finding("ok", "train: 3 images")) == "ok     train: 3 images"
    assert str(Finding("WRONG", "no images", "Unpack them.")) == "WRONG  no images\n       Unpack them."


def test_a_report_starts_with_a_summary_and_what_is_wrong() -> None:
    right, note, mistake = Finding("ok", "a"), Finding("note", "b"), Finding("WRONG", "c")
    assert report([right]).splitlines()[0] == "Nothing is wrong."
    assert report([right, note]).startswith("Nothing is wrong. ")
    summary, _, *lines = report([right, note, mistake, right]).splitlines()
    assert "WRONG" in summary
    assert lines == [str(mistake), str(note), str(right), str(right)]


def test_photos_in_one_folder_per_person(tmp_path: Path) -> None:
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
    assert all("truncated" in finding.text for finding in found)


def test_whatever_a_csv_contains_the_doctor_answers(market: Path) -> None:
    """Random bytes of the CSV are cut, changed and repeated: there are findings, and no exception."""
    draw = random.Random(0)
    csv = market / "market-annotation-train.csv"
    good = csv.read_bytes()
    for _ in range(25):
        start, end = sorted(draw.sample(range(len(good)), 2))
        end = min(end, start + draw.choice((1, 5, 300, len(good))))
        middle = draw.choice((b"", b"\xff\x00", b"-1", b"1e999", b"NaN", b"[", b": ", good[start:end] * 2))
        csv.write_bytes(good[:start] + middle + good[end:])
        assert examine_data(market)


# The installation


def test_packages_and_checkpoints_that_are_missing_are_named(monkeypatch) -> None:
    version = importlib.metadata.version

    def without_gradio(package: str) -> str:
        if package == "gradio":
            raise importlib.metadata.PackageNotFoundError
        return version(package) if package == "torch" else "1.0"

    def refuse(name: str, device: str) -> PG2Pipeline:
        raise CheckpointError(f"{name} is damaged")

    monkeypatch.setattr(importlib.metadata, "version", without_gradio)
    monkeypatch.setattr(doctor_module, "shipped_checkpoints", lambda: {"market1501-compact": Path()})
    monkeypatch.setattr(PG2Pipeline, "from_pretrained", refuse)
    findings = examine_installation()
    (note,) = (finding for finding in findings if finding.level == "note")
    assert "gradio" in note.text and "pg2lib[demo]" in note.remedy
    (found,) = wrong(findings)
    assert "market1501-compact is damaged" in found.text


# The picture


def test_the_picture_shows_different_people(market: Path) -> None:
    table = read_people(market)
    picture = picture_of_people(table, count=8, columns=4)
    assert picture.size == (4 * (128 + 4) + 4, 2 * (256 + 4) + 4)
    again, other = picture_of_people(table, count=8, columns=4), picture_of_people(table, count=8, columns=4, seed=1)
    assert picture.tobytes() == again.tobytes() != other.tobytes()
    # Of a table with one image per person, a picture of as many images shows everyone.
    first_images = table.select(range(0, len(table), 3))
    everybody = picture_of_people(first_images, count=10, columns=1)
    cells = {everybody.crop((4, 4 + 260 * k, 132, 260 + 260 * k)).tobytes() for k in range(10)}
    assert len(cells) == 10


def test_there_is_no_picture_of_nobody(market: Path) -> None:
    table = read_people(market)
    table.xy.fill_(torch.nan)
    with pytest.raises(DataError, match="no joint"):
        picture_of_people(table)


# The command line


def test_the_exit_code_tells_whether_anything_is_wrong(market: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(doctor_module, "shipped_checkpoints", dict)
    picture = tmp_path / "people.png"
    assert main(["doctor", "--data", str(market), "--picture", str(picture)]) == 0
    assert str(picture) in capsys.readouterr().out
    assert Image.open(picture).width > 8 * 128
    assert main(["doctor", "--data", str(market), "--picture", str(tmp_path / "people.txt")]) == 1
    image = next((market / "bounding_box_train").iterdir())
    before = image.read_bytes()
    assert main(["doctor", "--data", str(market), "--picture", str(image)]) == 1
    assert f"no picture was written to {image}" in capsys.readouterr().out
    assert image.read_bytes() == before
    image.write_bytes(b"")
    assert main(["doctor", "--data", str(market)]) == 1
    assert "WRONG  train: 1 of 30 image files are empty" in capsys.readouterr().out


def test_options_about_data_need_data(capsys) -> None:
    assert main(["doctor", "--picture", "people.png"]) == 1
    assert "--data FOLDER" in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_picture(market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    picture = tmp_path / "people.png"
    picture.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    last = examine_data(market, picture=picture)[-1]
    assert last.level == "WRONG" and str(picture) in last.text and "No space left" in last.text
    assert picture.read_bytes() == b"old"
