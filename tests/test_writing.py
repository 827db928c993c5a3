"""Processes that are killed while they write, full disks and read-only folders."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pg2lib.errors import PG2Error, WriteError
from pg2lib.files import LineFile, atomic_path, atomic_write, part_of, remove_leftovers, writing
from pg2lib.training.lock import hold
from tests.conftest import ROOT

WRITES = """
import sys
from pathlib import Path
from pg2lib.files import atomic_path
with atomic_path(Path(sys.argv[1])) as path:
    (path.parent / ".tmpA1b2C3").write_bytes(bytes(1000))  # as safetensors does
    print("writes", flush=True)
    sys.stdin.read()
"""

locks = pytest.mark.skipif(sys.platform == "win32", reason="needs locks that end with their process")


@contextmanager
def writer(target: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing a file."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(target)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "writes\n"
            yield process
        finally:
            process.kill()


@locks
@pytest.mark.parametrize("clean", [remove_leftovers, lambda folder: atomic_write(folder / "other").__enter__(), None])
def test_the_unfinished_work_of_the_dead_is_removed_and_that_of_the_living_kept(tmp_path: Path, clean) -> None:
    """By itself, when a process first writes to a folder, and when a run starts there."""
    with writer(tmp_path / "dies") as dead, writer(tmp_path / "lives"):
        dead.kill()
        dead.wait()
        (left,) = tmp_path.glob(".dies.*.part")
        (kept,) = tmp_path.glob(".lives.*.part")
        assert (left / ".tmpA1b2C3").is_file()
        if clean is None:
            with hold(tmp_path):
                pass
        else:
            clean(tmp_path)
        assert not left.exists()
        assert (kept / ".tmpA1b2C3").is_file()


@locks
def test_what_only_looks_like_unfinished_work_is_left(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data").touch()
    (tmp_path / ".link.1-0123abcd.part").symlink_to(tmp_path / "elsewhere")
    for name in (".market.part", "notes.1-0123abcd.part", ".a.1-0123.part"):
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.rglob("*"))
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_unfinished_work_that_another_process_takes_for_a_leftover_is_begun_again(tmp_path: Path, monkeypatch) -> None:
    mkdir, made = Path.mkdir, []

    def mkdir_and_lose(path: Path, *arguments: object, **options: object) -> None:
        mkdir(path, *arguments, **options)
        if path.name.endswith(".part"):
            made.append(path)
            if len(made) == 1:
                remove_leftovers(tmp_path)

    monkeypatch.setattr(Path, "mkdir", mkdir_and_lose)
    with part_of(tmp_path / "result") as part:
        assert part.is_dir() and (sys.platform == "win32" or part == made[1] != made[0])
    assert list(tmp_path.iterdir()) == []


def test_files_that_a_library_leaves_beside_the_temporary_one_go_with_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "weights.safetensors") as temporary:
        (temporary.parent / ".tmpA1b2C3").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "Free some space"),
        (errno.EROFS, "Make the folder writable"),
        (errno.EACCES, "Make the folder writable"),
        (errno.EIO, "Correct this"),
    ],
)
def test_an_error_of_writing_names_the_file_and_a_way_out_and_the_old_file_stays(
    tmp_path: Path, number: int, way_out: str
) -> None:
    target = tmp_path / "result.csv"
    target.write_text("old")
    with pytest.raises(WriteError) as caught, atomic_path(target) as temporary:
        raise OSError(number, os.strerror(number), str(temporary))
    assert str(caught.value).startswith(f"{target} cannot be written: {os.strerror(number)}. {way_out}")
    assert caught.value.errno == number and isinstance(caught.value, PG2Error)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # from a worker process
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_an_error_of_reading_another_file_is_not_one_of_writing(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), writing(tmp_path / "result.csv"):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/image.jpg")


def test_a_copy_that_fails_is_about_the_file_that_it_writes(tmp_path: Path) -> None:
    with (
        pytest.raises(WriteError, match=rf"{tmp_path}/copy\.jpg cannot be written"),
        atomic_path(tmp_path / "copy.jpg") as temporary,
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/image.jpg", None, str(temporary))


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"file/report\.json cannot be written: "):
        atomic_write(tmp_path / "file" / "report.json").__enter__()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_line_on_a_full_disk_is_an_error_once_and_closing_is_none() -> None:
    with pytest.raises(WriteError, match=r"/dev/full cannot be written: No space left"):
        LineFile("/dev/full").add("a line")
    with LineFile("/dev/full") as file, pytest.raises(WriteError):
        file.add("a line")


def test_lines_are_written_at_once_after_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("1\n")
    with LineFile(tmp_path / "log") as file:
        file.add("zwölf")
        assert (tmp_path / "log").read_text(encoding="utf-8") == "1\nzwölf\n"
