"""One run at a time in a folder."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pg2lib import CheckpointError
from pg2lib.processes import started
from pg2lib.training import lock
from pg2lib.training.lock import Holder, hold, refuse_if_held
from tests.conftest import ROOT

HOLDS = "import sys, time; from pathlib import Path; from pg2lib.training.lock import hold\n"
HOLDS += "with hold(Path(sys.argv[1])): print('holds', flush=True); time.sleep(600)"


def holder_process(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "holds\n"
    return process


def leave(folder: Path, **changes: object) -> Path:
    """A lock as this process would have left it, but for some changes."""
    path = folder / ".lock"
    path.write_text(json.dumps(json.loads(Holder.this_process().write()) | changes))
    return path


def silent_for(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    process = holder_process(tmp_path)
    try:
        for attempt in (lambda: refuse_if_held(tmp_path), lambda: hold(tmp_path).__enter__()):
            with pytest.raises(CheckpointError, match=rf"\b{process.pid}\b.*{os.uname().nodename}"):
                attempt()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("reaped", [True, False])
def test_what_a_killed_process_leaves_is_taken_over_with_a_word(tmp_path: Path, caplog, reaped: bool) -> None:
    """Also while the killed one is a zombie, as its parent has not looked yet."""
    process = holder_process(tmp_path)
    process.kill()
    if reaped:
        process.wait()
    else:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    refuse_if_held(tmp_path)
    with caplog.at_level(logging.WARNING), hold(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert f"left by process {process.pid}" in caplog.text
    assert list(tmp_path.iterdir()) == []
    process.wait()
    process.stdout.close()


def test_another_process_with_the_number_of_the_dead_one_holds_nothing(tmp_path: Path) -> None:
    leave(tmp_path, pid=os.getppid(), started="before it began")
    with hold(tmp_path):
        pass
    leave(tmp_path, pid=os.getppid(), started=started(os.getppid()))
    with pytest.raises(CheckpointError, match="in use"), hold(tmp_path):
        pass


@pytest.mark.parametrize("elsewhere", [{"host": "node-7"}, {"space": "pid:[1]"}])
def test_a_lock_of_another_machine_or_container_counts_until_it_falls_silent(tmp_path: Path, elsewhere) -> None:
    path = leave(tmp_path, pid=1_999_999_999, **elsewhere)
    with pytest.raises(CheckpointError, match=rf"s ago.* remove {path}"), hold(tmp_path):
        pass
    silent_for(path, lock.SILENT_SECONDS + 5)
    with hold(tmp_path):
        pass


def test_a_lock_that_a_kill_left_empty_counts_until_it_falls_silent(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.touch()
    with pytest.raises(CheckpointError, match="in use by an unknown process"), hold(tmp_path):
        pass
    silent_for(path, lock.SILENT_SECONDS + 5)
    with hold(tmp_path):
        pass


def test_the_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    with hold(tmp_path):
        silent_for(tmp_path / ".lock", 1000)
        deadline = time.monotonic() + 30
        while (tmp_path / ".lock").stat().st_mtime < time.time() - 500:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_lock_that_has_become_anothers_is_left_to_it(tmp_path: Path) -> None:
    with hold(tmp_path):
        path = leave(tmp_path, pid=1, host="node-7")
    assert json.loads(path.read_text())["host"] == "node-7"


def test_nothing_stays_of_a_folder_that_nothing_came_of(tmp_path: Path) -> None:
    with hold(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_only_half_written_files_of_the_dead_are_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "samples").mkdir()
    left = [
        tmp_path / f".step-00000500.safetensors.{dead.pid}-0123abcd.part",
        tmp_path / "samples" / f".step-00000500.png.{dead.pid}.part",
        tmp_path / f".log.jsonl.{os.getpid()}.part",  # of a process before, that had the number this one has
    ]
    kept = [
        tmp_path / f".step-00000500.safetensors.{os.getppid()}-0123abcd.part",
        tmp_path / "step-00000500.safetensors",
        tmp_path / f"notes.{dead.pid}.part",
    ]
    for path in (*left, *kept):
        path.touch()
    with hold(tmp_path):
        assert [path.exists() for path in left] == [False] * 3
        assert [path.exists() for path in kept] == [True] * 3


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(CheckpointError, match=r"run cannot be written"), hold(tmp_path / "run"):
        pass


def test_when_a_process_began() -> None:
    assert started(os.getpid()) == started(os.getpid()) != started(1)
    assert started(2**30) is started(2**70) is None


def test_a_process_that_misses_a_few_touches_is_not_taken_for_dead() -> None:
    """On a busy machine or a slow network file system some touches come late."""
    assert lock.BEAT_SECONDS * 5 <= lock.SILENT_SECONDS
