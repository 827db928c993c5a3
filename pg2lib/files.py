"""Finding files, and writing them atomically."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TextIO

from pg2lib.errors import DataError

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


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`. It replaces `path` if the block succeeds, and is removed if not.

    Every call has its own temporary path, so that threads, processes and machines can write the same file at the same
    time. Its name contains the process, so that files left by a killed process can be recognised.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_UMASK)  # safetensors makes files that only their owner can read
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: str | PathLike[str]) -> Iterator[TextIO]:
    """Give a UTF-8 text file to write. It replaces `path` if the block succeeds."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file
        file.flush()


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
