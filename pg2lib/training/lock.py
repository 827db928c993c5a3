"""One run at a time in a folder: a lock file that names the process which writes there.

The file appears with ``O_EXCL``, so of two processes one gets it. A killed process leaves its lock behind. On the same
machine such a lock is told apart by the process it names: it runs no longer, or one that began at another time has its
number. Of a process on another machine only its sign of life can be seen: it touches the file every `BEAT_SECONDS`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pg2lib.errors import CheckpointError
from pg2lib.processes import started

log = logging.getLogger(__name__)

NAME = ".lock"
BEAT_SECONDS = 30.0
SILENT_SECONDS = 300.0
"""After so long without a sign of life, a process on another machine is taken for dead."""

PART = re.compile(r"^\..+\.(\d+)(-\w+)?\.part$")
"""The name of a file that a process has begun to write, with its number; see `pg2lib.files.atomic_path`."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        space: in which processes are numbered: containers on one host may count theirs apart.
        started: see `pg2lib.processes.started`.
        since: when it took the lock, local time.
    """

    pid: int
    host: str
    space: str
    started: str
    since: str

    @classmethod
    def this_process(cls) -> Holder:
        """As this process writes itself down."""
        pid = os.getpid()
        return cls(pid, socket.gethostname(), _space(), started(pid) or "", time.strftime("%Y-%m-%d %H:%M:%S"))

    @classmethod
    def read(cls, text: str) -> Holder | None:
        """The inverse of `write`; None for a lock that a process was killed over, or that has been damaged."""
        try:
            values = json.loads(text)
            return cls(int(values["pid"]), *(str(values[key]) for key in ("host", "space", "started", "since")))
        except (ValueError, TypeError, KeyError):
            return None

    def write(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self)) + "\n"

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, which took the lock at {self.since}"


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which is made where it is missing; removes what dead processes left half-written.

    Raises:
        CheckpointError: another process holds it, or the folder cannot be written.
    """
    made = not folder.exists()
    path, holder = folder / NAME, Holder.this_process()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _create(path, holder)
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be written ({error.strerror}): give a folder that can be, or mend its permissions"
        ) from error
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, descriptor, over), daemon=True)
    beat.start()
    try:
        for place in (folder, folder / "samples", folder / "pipeline"):
            _remove_parts(place)
        yield
    finally:
        over.set()
        beat.join()
        os.close(descriptor)
        if _text(path) == holder.write():  # a user may have removed it, and another run taken the folder
            path.unlink(missing_ok=True)
        if made:
            with suppress(OSError):  # it is not empty, unless nothing came of the run
                folder.rmdir()


def refuse_if_held(folder: Path) -> None:
    """Changes nothing.

    Raises:
        CheckpointError: another process holds the lock of the folder.
    """
    text = _text(folder / NAME)
    reason = None if text is None else _why_held(folder / NAME, text)
    if reason is not None:
        raise CheckpointError(reason)


def _create(path: Path, holder: Holder) -> int:
    """The lock file, new and open; one that a dead process left is taken over."""
    while True:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _take_over(path)
            continue
        try:
            os.write(descriptor, holder.write().encode())
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        return descriptor


def _take_over(path: Path) -> None:
    """Removes a lock that was left behind.

    Raises:
        CheckpointError: it was not.
    """
    text = _text(path)
    if text is None:
        return  # it has just been removed
    reason = _why_held(path, text)
    if reason is not None:
        raise CheckpointError(reason)
    # Moved aside and looked at again: another process may have taken it over in the meantime.
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if _text(aside) == text:
            log.warning("%s was left by %s; it no longer runs, and the lock is taken over", path, _who(text))
            aside.unlink()
        else:
            aside.rename(path)


def _why_held(path: Path, text: str) -> str | None:
    """Why the folder of a lock cannot be used; None for a lock that was left behind."""
    holder = Holder.read(text)
    busy = f"{path.parent} is in use by {_who(text)}: one run at a time can write there"
    if holder is not None and (holder.host, holder.space) == (socket.gethostname(), _space()) and holder.started:
        now = started(holder.pid)
        if now == holder.started:
            return f"{busy}. Wait for its end, stop it, or give another folder"
        if now != "":
            return None
    try:
        silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
    if silent > SILENT_SECONDS:
        return None
    return (
        f"{busy}, and its last sign of life is {max(0.0, silent):.0f} s old. If that process is gone, remove {path}, "
        f"or wait until the lock has been silent for {SILENT_SECONDS:.0f} s; otherwise give another folder"
    )


def _who(text: str) -> str:
    holder = Holder.read(text)
    return "a process that its lock does not name" if holder is None else str(holder)


def _space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _beat(path: Path, descriptor: int, over: threading.Event) -> None:
    """Touches the lock until the run is over. By its descriptor: a file of that name may be another's by now."""
    target = descriptor if os.utime in os.supports_fd else path
    while not over.wait(BEAT_SECONDS):
        with suppress(OSError):
            os.utime(target)


def _remove_parts(folder: Path) -> None:
    """Removes files that dead processes began to write. This process, which holds the lock, writes none yet."""
    for path in folder.glob(".*.part"):
        part = PART.match(path.name)
        if part is not None and (int(part[1]) == os.getpid() or started(int(part[1])) is None):
            log.info("%s, which a process that was killed left half-written, is removed", path)
            path.unlink(missing_ok=True)
