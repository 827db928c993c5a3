"""Finding files, and writing them atomically."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import BinaryIO, TextIO

from pg2lib.errors import DataError, WriteError

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        *(".png", ".apng"),
        *(".tif", ".tiff"),
        *(".heic", ".heif", ".hif", ".heics", ".heifs"),
        *(".avif", ".avifs"),
        *(".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
        *(".webp", ".bmp", ".gif"),
    }
)
"""The suffixes of the formats that `pg2lib.images` reads, in lower case."""

_UMASK = os.umask(0o022)
os.umask(_UMASK)

PART = re.compile(r"^\..+\.\d+-[0-9a-f]{8}\.part$")
"""The name of a folder of unfinished work, with the number of the process that made it; see `part_of`."""

_LOCK = "lock"


@contextmanager
def writing(path: str | PathLike[str]) -> Iterator[None]:
    """Raise the errors of the file system that prevent writing a file or folder as a `WriteError` that names it.

    An error about another file, such as one that is read in the block, is raised unchanged.
    """
    try:
        yield
    except OSError as error:
        # A failed write names no file, unlike a failed open, and a failed copy names the file that it reads first.
        name = error.filename if error.filename2 is None else error.filename2
        about = Path(path if name is None else str(name))
        ours = Path(path).parent in (about, *about.parents) or about in Path(path).parents
        if isinstance(error, WriteError) or not ours:
            raise
        raise WriteError(error.errno, error.strerror or str(error), str(path)) from error


@contextmanager
def part_of(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a new hidden folder beside `path` for unfinished work. It is removed at the end, with what it holds.

    A killed process leaves its folder behind, and the next process that writes beside it removes it. The folder of a
    live process is recognised, on any machine, by a lock that ends with its process.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers_once(target.parent.absolute())
    part, lock = _new_part(target)
    try:
        yield part
    finally:
        lock.close()
        shutil.rmtree(part, ignore_errors=True)


def _new_part(target: Path) -> tuple[Path, BinaryIO]:
    """Make a folder for unfinished work, and return it with its lock, which closing the file releases."""
    while True:
        part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        part.mkdir()
        try:
            lock = (part / _LOCK).open("wb")
        except FileNotFoundError:
            continue  # another process took the folder for a leftover
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        if (part / _LOCK).exists():
            return part, lock
        lock.close()


def remove_leftovers(folder: str | PathLike[str]) -> None:
    """Remove the unfinished work that killed processes left in a folder; see `part_of`."""
    if sys.platform == "win32":
        return  # it has no locks that end with their process
    for part in Path(folder).glob(".*.part"):
        if not PART.match(part.name) or part.is_symlink() or not part.is_dir():
            continue
        try:
            with (part / _LOCK).open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(part, ignore_errors=True)
        except OSError:
            continue  # its process is alive, or another process has removed it, or the file system has no locks
        shutil.rmtree(part, ignore_errors=True)  # a network file system keeps an open file in the folder
        log.info("removed %s, the unfinished work of a process that was killed", part)


@lru_cache(maxsize=1024)
def _remove_leftovers_once(folder: Path) -> None:
    """Remove leftovers when this process first writes to a folder. Listing a large folder for every file is slow."""
    remove_leftovers(folder)


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a temporary path for a file that replaces `path` if the block succeeds, and is removed if not.

    Every call has its own temporary path, so that threads, processes and machines can write the same file at the same
    time. It lies in a folder of its own (see `part_of`), since some libraries write files of their own beside it.

    Raises:
        WriteError: The file cannot be written.
    """
    target = Path(path)
    with writing(target), part_of(target) as part:
        temporary = part / target.name
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_UMASK)  # safetensors makes files that only their owner can read
        temporary.replace(target)


@contextmanager
def atomic_write(path: str | PathLike[str]) -> Iterator[TextIO]:
    """Give a UTF-8 text file to write. It replaces `path` if the block succeeds.

    Raises:
        WriteError: The file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file
        file.flush()


class LineFile:
    """A text file to whose end lines are written, each at once. Close it, or use it as a context manager.

    A process that is killed, or a disk that becomes full, may leave the start of a last line.

    Args:
        path: The file, which need not exist.

    Raises:
        WriteError: The file cannot be written.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        with writing(path):
            self._file = self.path.open("ab", buffering=0)  # a buffer would be written once more on closing

    def __enter__(self) -> LineFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add(self, line: str) -> None:
        """Write a line, given without its line break."""
        data = f"{line}\n".encode()
        with writing(self.path):
            while data:
                data = data[self._file.write(data) :]


def files_below(
    folder: str | PathLike[str],
    suffixes: Collection[str] | None = None,
    on_error: Callable[[OSError], None] | None = None,
) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders.

    The files of a folder come before those of its subfolders, both sorted by name. Hidden files and folders are
    skipped. Links to folders are followed, and no folder is visited twice.

    Args:
        folder: Yields nothing if it does not exist.
        suffixes: Yield only files with one of these suffixes, such as `IMAGE_SUFFIXES`: in lower case, compared
            without regard to case.
        on_error: Called with the error of a folder that cannot be listed. By default the folder is skipped.
    """
    visited = set()
    for parent, subfolders, names in os.walk(folder, onerror=on_error, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and (suffixes is None or os.path.splitext(name)[1].lower() in suffixes):  # noqa: PTH122 - quicker than a Path
                yield Path(parent, name)


def lies_in(path: str | PathLike[str], folder: str | PathLike[str]) -> bool:
    """Return whether a path is a folder or is in it, whatever links or case of letters the two paths use.

    Args:
        path: Need not exist.
        folder: If it does not exist, the result is False.
    """
    real = Path(path).resolve()
    return Path(folder).exists() and any(place.exists() and place.samefile(folder) for place in (real, *real.parents))


def refuse_to_replace(out: str | PathLike[str], inputs: Iterable[str | PathLike[str]]) -> None:
    """Keep a command from replacing a file that it reads.

    Args:
        out: The file to write.
        inputs: The files to read, under any of their names. Those that do not exist are ignored.

    Raises:
        DataError: If `out` is one of them.
    """
    target = Path(out)
    for path in map(Path, inputs):
        if target.exists() and path.exists() and target.samefile(path):
            raise DataError(f"{path} is read, and writing {target} would replace it: name another file")


def is_lfs_pointer(path: str | PathLike[str]) -> bool:
    """Return whether a file is the pointer that Git LFS leaves in place of a large file until ``git lfs pull``."""
    start = b"version https://git-lfs"
    with Path(path).open("rb") as file:
        return file.read(len(start)) == start


def sha256_of(path: str | PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
