"""Preparing a folder: what is written, stopping and going on, worker processes, shards and their merging."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from pg2lib import ConfigError, DataError, NoPersonError, PG2Error, Pose, read_keypoints
from pg2lib.data.imports import import_keypoints
from pg2lib.data.prepare import Shard, merge_shards, prepare
from tests.conftest import ROOT, STANDING

BLACK, MAGENTA = (0, 0, 0), (255, 0, 255)


@dataclass(frozen=True)
class Painted:
    """Makes detectors, and is one: finds a person in every picture but black ones, and dies of magenta ones.

    The neck is as far down as the picture is red, so that poses tell which picture they are of. `log` takes a line for
    each picture: the process and the redness.
    """

    log: Path
    seconds: float = 0
    settings: str = "painted"
    broken: str = ""

    def __call__(self) -> Painted:
        if self.broken:
            raise PG2Error(self.broken)
        return self

    def __enter__(self) -> Painted:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def detect(self, image: Image.Image) -> SimpleNamespace:
        colour = image.getpixel((0, 0))
        with self.log.open("a") as file:
            file.write(f"{os.getpid()} {colour[0]}\n")
        time.sleep(self.seconds)
        if colour == BLACK:
            raise NoPersonError("nobody")
        if colour == MAGENTA:
            os._exit(9)
        xy = torch.tensor(STANDING, dtype=torch.float32)
        xy[1, 1] = colour[0]
        return SimpleNamespace(pose=Pose(xy, (image.height, image.width)))

    @property
    def asked(self) -> list[int]:
        """The redness of each picture that was looked at, in order."""
        return [int(line.split()[1]) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    @property
    def pids(self) -> set[int]:
        return {int(line.split()[0]) for line in self.log.read_text().splitlines()}


@pytest.fixture
def detector(tmp_path: Path) -> Painted:
    return Painted(tmp_path / "asked.log")


def paint(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 128), colour).save(path, "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.jpg, b.png and deep/c.jpg, 1, 0 (black) and 3 red; d.jpg, which is no image; notes."""
    paint(tmp_path / "in" / "a.jpg", (1, 0, 0))
    paint(tmp_path / "in" / "b.png", BLACK)
    paint(tmp_path / "in" / "deep" / "c.jpg", (3, 0, 0))
    (tmp_path / "in" / "d.jpg").write_text("no picture")
    (tmp_path / "in" / "notes.txt").write_text("not looked at")
    return tmp_path / "in"


@pytest.fixture
def forty(tmp_path: Path) -> Path:
    """00.png to 39.png, 1 to 40 red but for 07 and 23, which are black."""
    for i in range(40):
        paint(tmp_path / "forty" / f"{i:02d}.png", BLACK if i in (7, 23) else (i + 1, 0, 0))
    return tmp_path / "forty"


def necks(csv: Path) -> dict[str, int]:
    table = read_keypoints(csv, (128, 64), person_of=lambda name: name)
    return {name: int(y) for name, y in zip(table.names, table.xy[:, 1, 1].tolist(), strict=True)}


FORTY = {f"{i:02d}.png": i + 1 for i in range(40) if i not in (7, 23)}

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
    assert listed[0] == "b.png\tno person found" and listed[1].startswith("d.jpg\t") and len(listed) == 2
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert sorted(path.name for path in csv.parent.iterdir()) == ["k.csv", "k.missing.txt"]


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
    with pytest.raises(DataError, match=r"k\.csv\.journal is the journal of an unfinished run with format None"):
        prepare(folder, folder.parent / "k.csv", detector, 1)
    assert (folder.parent / "k.csv.journal").read_text() == content


def test_a_run_that_was_stopped_between_its_files_replaces_them(folder: Path, detector: Painted) -> None:
    csv = folder.parent / "k.csv"
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, csv, detector, 1, on_progress=stop_at(2))
    csv.with_name("k.missing.txt").write_text("half\tof it")
    assert prepare(folder, csv, detector, 1).found == 2
    assert len(csv.with_name("k.missing.txt").read_text().splitlines()) == 2


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
    with pytest.raises(DataError, match=r"'two\\nlines.png' cannot stand in a keypoint CSV"):
        prepare(tmp_path / "in", tmp_path / "k.csv", detector)
    (tmp_path / "in" / "two\nlines.png").unlink()
    paint(tmp_path / "in" / "a.png", (1, 0, 0))
    with pytest.raises(DataError, match="is a folder; name the CSV"):
        prepare(tmp_path / "in", tmp_path / "empty", detector)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        prepare(tmp_path / "in", tmp_path / "k.csv", detector, workers=0)


# ---- stopping and going on


def stop_at(count: int) -> Callable[[int, int], None]:
    def on_progress(done: int, total: int) -> None:
        if done == count:
            raise KeyboardInterrupt

    return on_progress


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
    (folder.parent / "k.csv.journal").write_text('{"format": 2, "ima')
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
    with pytest.raises(DataError, match="with format None, not 2"):
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
        "from pg2lib.data.prepare import prepare; from tests.data.test_prepare import Painted\n"
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


# ---- shards


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 41])
def test_every_image_belongs_to_one_shard(count: int) -> None:
    names = [f"{i}.jpg" for i in range(40)]
    parts = [list(Shard(number, count).of(names)) for number in range(1, count + 1)]
    assert [name for part in parts for name in part] == names
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shards_are_written_as_on_the_command_line_and_sort_in_their_order() -> None:
    assert Shard.parse("3/16") == Shard(3, 16) and str(Shard(3, 16)) == "3/16"
    assert Shard(3, 16).csv(Path("to/keypoints.csv")) == Path("to/keypoints.shard-03-of-16.csv")
    for text in ("3", "0/16", "17/16", "a/b", "3/16/2", "-1/16"):
        with pytest.raises(ConfigError, match="such as 3/16|numbered from 1"):
            Shard.parse(text)


def make_shards(folder: Path, csv: Path, detector: Painted, numbers: tuple[int, ...] = (1, 2, 3)) -> None:
    for number in numbers:
        prepare(folder, csv, detector, 1, Shard(number, 3))


def test_shards_merge_into_what_one_run_writes(forty: Path, detector: Painted) -> None:
    (forty / "20.png").write_text("no picture")
    whole = prepare(forty, forty.parent / "whole.csv", detector, 1)
    csv = forty.parent / "out" / "k.csv"
    make_shards(forty, csv, detector, (2, 3, 1))
    merged = merge_shards(forty, csv)
    assert csv.read_bytes() == (forty.parent / "whole.csv").read_bytes()
    assert sorted(merged.missing_file.read_text().splitlines()) == sorted(whole.missing_file.read_text().splitlines())
    assert (merged.found, merged.without_person) == (whole.found, whole.without_person)
    assert [name for name, _ in merged.unreadable] == ["20.png"]
    assert sorted(path.name for path in csv.parent.iterdir()) == ["k.csv", "k.missing.txt"], "the parts are removed"


def test_more_shards_than_images(folder: Path, detector: Painted) -> None:
    for number in range(1, 10):
        prepare(folder, folder.parent / "k.csv", detector, 1, Shard(number, 9))
    merge_shards(folder, folder.parent / "k.csv")
    assert necks(folder.parent / "k.csv") == {"a.jpg": 1, "deep/c.jpg": 3}


def test_a_complete_shard_is_not_done_again_and_a_stopped_one_goes_on(forty: Path, detector: Painted) -> None:
    csv = forty.parent / "k.csv"
    first = prepare(forty, csv, detector, 1, Shard(1, 3))
    assert prepare(forty, csv, detector, 1, Shard(1, 3)) == first
    assert len(detector.asked) == 13
    with pytest.raises(KeyboardInterrupt):
        prepare(forty, csv, detector, 1, Shard(2, 3), stop_at(5))
    prepare(forty, csv, detector, 1, Shard(2, 3))
    assert len(detector.asked) == 13 + 13
    paint(forty / "40.png", (41, 0, 0))
    prepare(forty, csv, detector, 1, Shard(1, 3))
    assert len(detector.asked) == 13 + 13 + 13, "another list of images is another part"


def test_a_merge_says_which_parts_are_missing_and_writes_nothing(forty: Path, detector: Painted) -> None:
    csv = forty.parent / "k.csv"
    with pytest.raises(DataError, match=r"no part of .*k\.csv.*--shard 1/16"):
        merge_shards(forty, csv)
    make_shards(forty, csv, detector, (2,))
    with pytest.raises(KeyboardInterrupt):
        prepare(forty, csv, detector, 1, Shard(3, 3), stop_at(5))
    with pytest.raises(DataError, match=r"of 3 parts 2 are missing or unfinished: 1, 3; .*--shard 1/3 and so on"):
        merge_shards(forty, csv)
    assert not csv.exists()


def test_a_merge_refuses_parts_that_do_not_belong_together(forty: Path, detector: Painted) -> None:
    csv = forty.parent / "k.csv"
    make_shards(forty, csv, detector)
    prepare(forty, csv, detector, 1, Shard(1, 2))
    with pytest.raises(DataError, match="of 2 and of 3, lie side by side"):
        merge_shards(forty, csv)
    for path in forty.parent.glob("k.shard-1-of-2*"):
        path.unlink()
    prepare(forty, csv, Painted(detector.log, settings="crayon"), 1, Shard(2, 3))
    with pytest.raises(DataError, match="different detectors .crayon; painted."):
        merge_shards(forty, csv)
    make_shards(forty, csv, detector, (2,))
    paint(forty / "40.png", (41, 0, 0))
    make_shards(forty, csv, detector, (3,))
    with pytest.raises(DataError, match="2 of 3 parts were made from another list of images .* 1, 2; .*--shard 1/3"):
        merge_shards(forty, csv)
    make_shards(forty, csv, detector, (1, 2))
    assert merge_shards(forty, csv).found == 39


@pytest.mark.parametrize("damage", ["a row lost", "a row twice", "a row of another part", "the file lost"])
def test_a_merge_refuses_a_damaged_part(forty: Path, detector: Painted, damage: str) -> None:
    csv = forty.parent / "k.csv"
    make_shards(forty, csv, detector)
    part = csv.with_name("k.shard-2-of-3.csv")
    lines = part.read_text().splitlines(keepends=True)
    if damage == "the file lost":
        part.unlink()
    elif damage == "a row lost":
        part.write_text("".join(lines[:-1]))
    elif damage == "a row twice":
        part.write_text("".join([*lines, lines[-1]]))
    else:
        part.write_text("".join(lines + csv.with_name("k.shard-1-of-3.csv").read_text().splitlines(True)[1:2]))
    with pytest.raises(DataError, match=r"k\.shard-2-of-3\.csv .*(make it again|make the part again)"):
        merge_shards(forty, csv)
    assert not csv.exists() and csv.with_name("k.shard-1-of-3.csv").exists()
