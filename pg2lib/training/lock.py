"""A lock file in a folder, so that one run at a time writes there.

The file names the process that holds the lock. It is created with ``O_EXCL``, so that only one of two processes gets
it. A process that is killed leaves its lock behind. On the same machine such a lock is recognised by the process that
it names: no process has that number, or one that was started at another time. A process on another machine is taken to
be alive as long as it touches the file, which it does every `BEAT_SECONDS`.
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

from pg2lib.errors import CheckpointError, DataError, way_out
from pg2lib.files import remove_leftovers
from pg2lib.json_files import checked, parse_json
from pg2lib.processes import started

log = logging.getLogger(__name__)

NAME = ".lock"
BEAT_SECONDS = 30.0
SILENT_SECONDS = 300.0
"""A process on another machine that has not touched its lock for so long is taken to be dead."""

MOST_CHARACTERS = 10_000
"""No lock is longer; of another file only so much is read."""

PART = re.compile(r"^\..+\.(\d+)(-\w+)?\.part$")
"""The name of a lock that is moved aside, or of a file that an earlier version of pg2lib was writing, with the number
of the process."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        pid: Its number.
        host: The name of its machine.
        space: The namespace of its number: containers on one host number their processes separately.
        started: When it was started; see `pg2lib.processes.started`.
        since: When it took the lock, in local time.
    """

    pid: int
    host: str
    space: str
    started: str
    since: str

    @classmethod
    def this_process(cls) -> Holder:
        """Return the entry of this process."""
        pid = os.getpid()
        return cls(pid, socket.gethostname(), _space(), started(pid) or "", time.strftime("%Y-%m-%d %H:%M:%S"))

    @classmethod
    def read(cls, text: str) -> Holder | None:
        """Read the content of a lock; None where it is incomplete or damaged."""
        try:
            holder: Holder = checked(cls, parse_json(text, NAME), NAME)
        except DataError:
            return None
        return holder if 0 < holder.pid < 2**31 else None

    def write(self) -> str:
        """Return the content of a lock; the inverse of `read`."""
        return json.dumps(asdict(self)) + "\n"

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, which took the lock at {self.since}"


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. Create the folder where it is missing; remove unfinished work of dead processes.

    Raises:
        CheckpointError: Another process holds the lock, or the folder cannot be written.
    """
    made = not folder.exists()
    path, holder = folder / NAME, Holder.this_process()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _create(path, holder)
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be written: {error.strerror}. {way_out(error)}, then start again"
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
        if _text(path) == holder.write():  # a user may have removed it, and another run may hold its own
            path.unlink(missing_ok=True)
        if made:
            with suppress(OSError):  # it is empty only where the run wrote nothing
                folder.rmdir()


def refuse_if_held(folder: Path) -> None:
    """Raise an error where another process holds the lock of a folder. Changes nothing.

    Raises:
        CheckpointError: Another process holds the lock, or the lock cannot be read.
    """
    try:
        text = _text(folder / NAME)
    except OSError as error:
        raise CheckpointError(f"{folder / NAME} cannot be read ({error.strerror}): remove it") from error
    reason = None if text is None else _why_held(folder / NAME, text)
    if reason is not None:
        raise CheckpointError(reason)


def _create(path: Path, holder: Holder) -> int:
    """Create and open the lock file; take over one that a dead process left."""
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
    """Remove a lock that a dead process left.

    Raises:
        CheckpointError: The process that holds it is alive.
    """
    text = _text(path)
    if text is None:
        return  # it has just been removed
    reason = _why_held(path, text)
    if reason is not None:
        raise CheckpointError(reason)
    # It is moved aside and read again: another process may have taken it over in the meantime.
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if _text(aside) == text:
            log.warning("%s was left by %s, which no longer runs; the lock is taken over", path, _who(text))
            aside.unlink()
        else:
            aside.rename(path)


def _why_held(path: Path, text: str) -> str | None:
    """Return why the folder of a lock cannot be used; None for a lock that a dead process left."""
    holder = Holder.read(text)
    busy = f"{path.parent} is in use by {_who(text)}: one run at a time can write there"
    if holder is not None and (holder.host, holder.space) == (socket.gethostname(), _space()) and holder.started:
        now = started(holder.pid)
        if now == holder.started:
            return f"{busy}. Wait until it has finished, stop it, or name another folder"
        if now != "":
            return None
    try:
        silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
    if silent > SILENT_SECONDS:
        return None
    return (
        f"{busy}. It touched its lock {max(0.0, silent):.0f} s ago. If that process is gone, remove {path}, or wait "
        f"until the lock is {SILENT_SECONDS:.0f} s old; otherwise name another folder"
    )


def _who(text: str) -> str:
    holder = Holder.read(text)
    return "an unknown process" if holder is None else str(holder)


def _space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _text(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MOST_CHARACTERS)
    except FileNotFoundError:
        return None


def _beat(path: Path, descriptor: int, over: threading.Event) -> None:
    """Touch the lock until the run is over, by its descriptor: another process may own a file of that name by now."""
    target = descriptor if os.utime in os.supports_fd else path
    while not over.wait(BEAT_SECONDS):
        with suppress(OSError):
            os.utime(target)


def _remove_parts(folder: Path) -> None:
    """Remove the unfinished work of dead processes. This process, which holds the lock, has not begun any yet."""
    remove_leftovers(folder)
    for path in folder.glob(".*.part"):
        part = PART.match(path.name)
        if part is not None and path.is_file() and (int(part[1]) == os.getpid() or started(int(part[1])) is None):
            log.info("removed %s, the incomplete file of a process that was killed", path)
            path.unlink(missing_ok=True)
