"""Preparing a folder: what is written, interruptions and resuming, and worker processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from pg2lib import ConfigError, DataError, PG2Error, Pose, read_keypoints
from pg2lib.data.pose_files import import_keypoints
from pg2lib.data.prepare import prepare
from pg2lib.data.shards import Shard, merge_shards
from pg2lib.files import IMAGE_SUFFIXES
from tests.conftest import ROOT, STANDING
from tests.data.conftest import FORTY, MAGENTA, Painted, necks, paint, stop_at

# ---- what is written


def test_keypoints_and_what_is_missing_are_written(folder: Path, detector: Painted, standing: Pose) -> None:
    csv = folder.parent / "out" / "k.csv"
    done: list[tuple[int, int]] = []
    result = prepare(folder, csv, detector, 1, on_progress=lambda *progress: done.append(progress))
    table = read_keypoints(csv, (128, 64), person_of=lambda name: name)
    assert table.names == ("a.jpg", "deep/c.jpg")
    assert torch.equal(table.xy[1, 2:], standing.xy[2:]) and necks(csv) == {"a.jpg": 1, "deep/c.jpg": 3}
    assert (result.found, result.without_person, [name for name, _ in result.unreadable]) == (2, ("b.png",), ["d.jpg"])
    assert result.csv == csv
    listed = result.missing_file.read_text().splitlines()
    assert listed[0] == "b.png\tno person found" and listed[1].startswith("d.jpg\t")
    assert listed[2:] == ["notes.txt\tnot an image, by its suffix .txt"] == ["\t".join(item) for item in result.unused]
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert sorted(path.name for path in csv.parent.iterdir()) == ["k.csv", "k.missing.txt"]


def test_every_suffix_is_used_and_every_other_file_is_listed(tmp_path: Path, detector: Painted) -> None:
    used = [f"{number}{suffix}" for number, suffix in enumerate(sorted(IMAGE_SUFFIXES))]
    for name in used:
        paint(tmp_path / "in" / "anna" / name, (1, 0, 0))  # the content is told by itself
    (tmp_path / "in" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    reasons = {"b.MOV": "a video", "c.dng": "a raw photo", "d": "no suffix", "e.svg": "not an image", "odd\nname": "no"}
    for name in (*reasons, ".hidden", "k.csv.journal"):
        (tmp_path / "in" / name).touch()
    result = prepare(tmp_path / "in", tmp_path / "in" / "k.csv", detector, 1)
    assert result.found == len(used)
    assert [name for name, _ in result.unreadable] == ["IMG_1.HEIC"] and "HEIC photo" in result.unreadable[0][1]
    unused = dict(result.unused)
    assert list(unused) == ["b.MOV", "c.dng", "d", "e.svg", r"'odd\nname'"]
    assert all(reason in found for reason, found in zip(reasons.values(), unused.values(), strict=True))
    assert len(result.missing_file.read_text().splitlines()) == 6


def test_the_files_of_shards_are_not_listed_as_unused(tmp_path: Path, detector: Painted) -> None:
    for number in range(2):
        paint(tmp_path / f"{number}.png", (number + 1, 0, 0))
    (tmp_path / "notes.txt").touch()
    for number in (1, 2):
        assert prepare(tmp_path, tmp_path / "k.csv", detector, 1, Shard(number, 2)).unused == ()
    unused = merge_shards(tmp_path, tmp_path / "k.csv").unused
    assert [name for name, _ in unused] == ["asked.log", "notes.txt"]


def test_a_list_of_an_earlier_run_does_not_outlive_it(folder: Path, detector: Painted) -> None:
    csv, shard = folder.parent / "k.csv", Shard(1, 1)
    missing_file = prepare(folder, csv, detector, 1, shard).missing_file
    assert missing_file.exists()
    for name in ("b.png", "d.jpg"):
        (folder / name).unlink()
    assert prepare(folder, csv, detector, 1, shard).missing_file is None
    assert not missing_file.exists()


@pytest.mark.parametrize("name", ["k.csv", "k.missing.txt", "link.csv"])
def test_a_file_that_is_there_is_not_replaced(folder: Path, detector: Painted, name: str) -> None:
    csv, shard = folder.parent / name.replace(".missing.txt", ".csv"), Shard(1, 2)
    if name == "link.csv":
        csv.symlink_to(folder.parent / "nowhere.csv")
    else:
        (folder.parent / name).write_text("somebody's own")
    for run in (
        lambda: prepare(folder, csv, detector, 1),
        lambda: prepare(folder, csv, detector, 1, shard),
        lambda: merge_shards(folder, csv),
        lambda: import_keypoints([("a.jpg", None)], csv),
    ):
        with pytest.raises(DataError, match=rf"{name} exists already"):
            run()
    assert detector.asked == []
    assert name == "link.csv" or (folder.parent / name).read_text() == "somebody's own"


def test_an_image_is_not_replaced_by_its_keypoints(folder: Path, detector: Painted) -> None:
    before = (folder / "a.jpg").read_bytes()
    with pytest.raises(DataError, match=r"a\.jpg exists already"):
        prepare(folder, folder / "a.jpg", detector, 1)
    assert (folder / "a.jpg").read_bytes() == before


@pytest.mark.parametrize("content", ["", "not a journal", "not a journal\n", "[1, 2"])
def test_a_file_where_the_journal_goes_is_left_as_it_is(folder: Path, detector: Painted, content: str) -> None:
    (folder.parent / "k.csv.journal").write_text(content)
    if not content:
        assert prepare(folder, folder.parent / "k.csv", detector, 1).found == 2
        return
    with pytest.raises(DataError, match=r"k\.csv\.journal is the journal of .* format None"):
        prepare(folder, folder.parent / "k.csv", detector, 1)
    assert (folder.parent / "k.csv.journal").read_text() == content


def test_a_run_that_was_stopped_between_its_files_replaces_them(folder: Path, detector: Painted) -> None:
    csv = folder.parent / "k.csv"
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, csv, detector, 1, on_progress=stop_at(2))
    csv.with_name("k.missing.txt").write_text("half\tof it")
    assert prepare(folder, csv, detector, 1).found == 2
    assert len(csv.with_name("k.missing.txt").read_text().splitlines()) == 3


def test_one_damaged_file_stops_nothing_whatever_its_decoder_raises(folder: Path, detector: Painted) -> None:
    (folder / "e.jpg").write_bytes(bytes.fromhex("716f69660000003c000000640301fedc1e1edc7f1ec8"))  # QOI: IndexError
    (folder / "f.png").write_bytes(b"DDS " + b"\x7c" + bytes(123))
    result = prepare(folder, folder.parent / "k.csv", detector, 1)
    assert [name for name, _ in result.unreadable] == ["d.jpg", "e.jpg", "f.png"]
    assert result.found == 2


def test_keypoints_of_a_photo_that_was_reduced_are_in_the_pixels_of_its_file(
    tmp_path: Path, detector: Painted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg2lib.images.PHOTO_PIXELS", 64 * 128)
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64 * 4, 128 * 4), (100, 0, 0)).save(tmp_path / "in" / "a.jpg")
    prepare(tmp_path / "in", tmp_path / "k.csv", detector, 1)
    table = read_keypoints(tmp_path / "k.csv", (512, 256), person_of=lambda name: name)
    expected = Pose(STANDING, (128, 64)).resize((512, 256)).xy
    assert torch.allclose(table.xy[0, 2:], expected[2:], atol=0.51)


def test_names_are_those_of_the_fields_csv_and_flat_garments_are_left_out(tmp_path: Path, detector: Painted) -> None:
    item = tmp_path / "img" / "WOMEN" / "Dresses" / "id_00000002"
    for number, view in enumerate(("front", "flat", "back"), start=1):
        paint(item / f"02_{number}_{view}.jpg", (number, 0, 0))
    paint(tmp_path / "img" / "more" / "0002_c1s1_000451_03.jpg", (9, 0, 0))
    result = prepare(tmp_path / "img", tmp_path / "k.csv", detector, 1)
    assert (result.found, result.flat) == (3, 1)
    assert necks(tmp_path / "k.csv") == {
        "fashionWOMENDressesid0000000202_1front.jpg": 1,
        "fashionWOMENDressesid0000000202_3back.jpg": 3,
        "0002_c1s1_000451_03.jpg": 9,
    }


@pytest.mark.parametrize("below", ["img/WOMEN", "img/WOMEN/Dresses", "img/WOMEN/Dresses/id_00000002"])
@pytest.mark.parametrize("inside", [False, True], ids=["by its path", "as the current folder"])
def test_a_folder_in_the_midst_of_deepfashion_gives_the_same_names(
    tmp_path: Path, detector: Painted, monkeypatch: pytest.MonkeyPatch, below: str, inside: bool
) -> None:
    item = tmp_path / "img" / "WOMEN" / "Dresses" / "id_00000002"
    for number, view in enumerate(("front", "flat"), start=1):
        paint(item / f"02_{number}_{view}.jpg", (number, 0, 0))
    if inside:
        monkeypatch.chdir(tmp_path / below)
    result = prepare("." if inside else tmp_path / below, tmp_path / "k.csv", detector, 1)
    assert necks(tmp_path / "k.csv") == {"fashionWOMENDressesid0000000202_1front.jpg": 1}
    assert (result.flat, detector.asked) == (1, [1])


def test_two_images_of_one_name_are_refused_before_any_work(tmp_path: Path, detector: Painted) -> None:
    for kind in ("img", "img_highres"):
        paint(tmp_path / "in" / kind / "MEN" / "Denim" / "id_00000080" / "01_1_front.jpg", (1, 0, 0))
    with pytest.raises(DataError, match=r"img/MEN/\S+ and img_highres/MEN/\S+ are both fashionMENDenim.*one by one"):
        prepare(tmp_path / "in", tmp_path / "k.csv", detector, 1)
    assert detector.asked == []


def test_hidden_files_are_not_looked_at_and_links_are_followed_once(tmp_path: Path, detector: Painted) -> None:
    paint(tmp_path / "elsewhere" / "b.jpg", (2, 0, 0))
    paint(tmp_path / "in" / "a.JPEG", (1, 0, 0))
    paint(tmp_path / "in" / "._a.jpg", (3, 0, 0))
    paint(tmp_path / "in" / ".trash" / "c.jpg", (4, 0, 0))
    (tmp_path / "in" / "Thumbs.db").write_bytes(b"\0")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    prepare(tmp_path / "in", tmp_path / "k.csv", detector, 1)
    assert necks(tmp_path / "k.csv") == {"a.JPEG": 1, "link/b.jpg": 2}


def test_folders_that_cannot_be_prepared(tmp_path: Path, detector: Painted) -> None:
    with pytest.raises(DataError, match="no folder"):
        prepare(tmp_path / "nowhere", tmp_path / "k.csv", detector)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        prepare(tmp_path / "empty", tmp_path / "k.csv", detector)
    paint(tmp_path / "in" / "two\nlines.png", (1, 0, 0))
    with pytest.raises(DataError, match=r"'two\\nlines.png' does not fit into a keypoint CSV"):
        prepare(tmp_path / "in", tmp_path / "k.csv", detector)
    (tmp_path / "in" / "two\nlines.png").unlink()
    paint(tmp_path / "in" / "a.png", (1, 0, 0))
    with pytest.raises(DataError, match="is a folder; name the CSV"):
        prepare(tmp_path / "in", tmp_path / "empty", detector)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        prepare(tmp_path / "in", tmp_path / "k.csv", detector, workers=0)


# ---- stopping and going on


def test_a_run_that_is_stopped_goes_on_and_does_nothing_twice(forty: Path, detector: Painted) -> None:
    csv, journal = forty.parent / "k.csv", forty.parent / "k.csv.journal"
    for stopped_at in (10, 25):
        with pytest.raises(KeyboardInterrupt):
            prepare(forty, csv, detector, 1, on_progress=stop_at(stopped_at))
        assert not csv.exists()
        assert len([json.loads(line) for line in journal.read_text().splitlines()]) == 1 + stopped_at
        with journal.open("a") as file:
            file.write('["39.png", "cut sho')  # The next line must not be glued to it.
    done: list[tuple[int, int]] = []
    prepare(forty, csv, detector, 1, on_progress=lambda *progress: done.append(progress))
    assert necks(csv) == FORTY
    assert detector.asked == [0 if i in (7, 23) else i + 1 for i in range(40)]
    assert done == [(count, 40) for count in range(25, 41)]
    assert not journal.exists()


def test_a_run_that_was_killed_before_its_first_line_was_whole_starts_anew(folder: Path, detector: Painted) -> None:
    (folder.parent / "k.csv.journal").write_text('{"format": 3, "ima')
    prepare(folder, folder.parent / "k.csv", detector, 1)
    assert detector.asked == [1, 0, 3]


def test_images_that_came_or_went_meanwhile(folder: Path, detector: Painted) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, folder.parent / "k.csv", detector, 1, on_progress=stop_at(2))
    (folder / "a.jpg").unlink()
    paint(folder / "0.png", (7, 0, 0))
    prepare(folder, folder.parent / "k.csv", detector, 1)
    assert necks(folder.parent / "k.csv") == {"0.png": 7, "deep/c.jpg": 3}


def test_a_journal_of_something_else_is_refused(folder: Path, detector: Painted) -> None:
    csv, journal = folder.parent / "k.csv", folder.parent / "k.csv.journal"
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, csv, detector, 1, on_progress=stop_at(2))
    before = journal.read_bytes()
    shutil.copytree(folder, folder.parent / "other")
    with pytest.raises(DataError, match=rf"k.csv.journal .* with images '{folder}', not '{folder.parent / 'other'}'"):
        prepare(folder.parent / "other", csv, detector, 1)
    with pytest.raises(DataError, match="with detector 'painted', not 'crayon'.*delete the journal"):
        prepare(folder, csv, Painted(detector.log, settings="crayon"), 1)
    assert journal.read_bytes() == before
    journal.write_text('{"name": "a.jpg", "row": "of an older format"}\n')
    with pytest.raises(DataError, match="with format None, not 3"):
        prepare(folder, csv, detector, 1)


# ---- processes


def test_worker_processes_write_what_one_process_writes(forty: Path, detector: Painted) -> None:
    one, two = forty.parent / "one.csv", forty.parent / "two.csv"
    prepare(forty, one, Painted(forty.parent / "one.log"), 1)
    done: list[tuple[int, int]] = []
    result = prepare(forty, two, detector, 2, on_progress=lambda *progress: done.append(progress))
    assert two.read_bytes() == one.read_bytes()
    assert result.without_person == ("07.png", "23.png")
    assert sorted(detector.asked) == sorted([*FORTY.values(), 0, 0])
    assert done == [(count, 40) for count in range(1, 41)]
    assert os.getpid() not in detector.pids and len(detector.pids) <= 2


def test_a_detector_that_cannot_be_made_is_one_clear_error(forty: Path, detector: Painted) -> None:
    broken = Painted(detector.log, broken="install the detector first")
    with pytest.raises(PG2Error, match="^install the detector first$"):
        prepare(forty, forty.parent / "k.csv", broken, 2)


def test_a_worker_that_dies_is_an_error_that_names_its_image_and_keeps_the_journal(
    forty: Path, detector: Painted
) -> None:
    csv = forty.parent / "k.csv"
    paint(forty / "30.png", MAGENTA)
    with pytest.raises(PG2Error, match=r"worker process died.*30\.png.*fewer than 2 workers"):
        prepare(forty, csv, detector, 2)
    journal = [json.loads(line) for line in (forty.parent / "k.csv.journal").read_text().splitlines()]
    assert len(journal) > 20
    (forty / "30.png").unlink()
    rest = Painted(forty.parent / "rest.log")
    prepare(forty, csv, rest, 1)
    assert necks(csv) == {name: y for name, y in FORTY.items() if name != "30.png"}
    assert len(rest.asked) == 39 - (len(journal) - 1)


def alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes end")
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_interrupted_with_two_workers_it_leaves_none_behind_and_goes_on(
    forty: Path, detector: Painted, blow: signal.Signals
) -> None:
    csv, journal = forty.parent / "k.csv", forty.parent / "k.csv.journal"
    code = (
        "import sys; from pathlib import Path\n"
        "from pg2lib.data.prepare import prepare; from tests.data.conftest import Painted\n"
        f"try: prepare({str(forty)!r}, {str(csv)!r}, Painted(Path({str(detector.log)!r}), seconds=0.2), 2)\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (journal.exists() and journal.read_text().count("\n") > 4) and time.monotonic() < deadline:
            time.sleep(0.02)
        if blow == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGINT)  # Ctrl-C reaches every process of the terminal.
        _, errors = process.communicate(timeout=60)
        workers = detector.pids
        while any(map(alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(map(alive, workers))
    finally:
        process.kill()
    assert process.returncode == (130 if blow == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in errors
    assert not csv.exists()
    done = journal.read_text().count("\n") - 1
    assert 4 <= done < 40
    rest = Painted(forty.parent / "rest.log")
    prepare(forty, csv, rest, 1)
    assert necks(csv) == FORTY
    assert len(rest.asked) == 40 - done
