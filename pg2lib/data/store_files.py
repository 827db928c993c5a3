"""The files of an image store: arrays that are written row by row and then memory-mapped.

A folder may hold the files of many tables, and several processes may open one table at the same time:

- ``images-<table>-<state>.u8`` holds the pixels and ``mattes-<table>-<state>.u8`` the mattes, row by row. ``<table>``
  is a digest of the paths of the images, and ``<state>`` one of their sizes and modification times as well, so no table
  reads the pixels of another.
- Each file is written row after row under a name that ends in ``.growing``, and renamed when it is complete. Its length
  says how many rows are done, so an interrupted build resumes there. Processes that write the same file write the same
  bytes to the same places.
- ``images-<table>-<state>.json`` lists the images that cannot be used. If it is damaged, it is rebuilt from the pixels.
- When images have changed, the files of their earlier state are removed as soon as the new pixels are complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pg2lib.data.people import PersonTable
from pg2lib.errors import DataError
from pg2lib.files import atomic_write
from pg2lib.json_files import checked_fields, read_json

log = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

MakeRows = Callable[[int], Generator[NDArray[np.uint8], None, None]]
"""Takes a row and yields all rows from that one on, in order, in blocks."""

FORMAT = 2
"""Increase it when the files get another format, or `MatteFinder` gives other mattes."""


def rows_in_memory(shape: tuple[int, ...], make: MakeRows, on_progress: OnProgress | None) -> NDArray[np.uint8]:
    """Return all rows in an array of this shape."""
    rows, done = np.empty(shape, dtype=np.uint8), 0
    with closing(make(0)) as blocks:
        for block in blocks:
            rows[done : done + len(block)] = block
            done = _report(on_progress, done, len(block), len(rows))
    return rows


def rows_in_file(
    path: Path, shape: tuple[int, ...], make: MakeRows, on_progress: OnProgress | None, mode: Literal["c", "r+"] = "c"
) -> NDArray[np.uint8]:
    """Return all rows, memory-mapped from a file that is made if it does not exist. For `mode` see `map_rows`."""
    while (rows := map_rows(path, shape, mode)) is None:
        _grow(path, shape, make, on_progress)
    return rows


def map_rows(path: Path, shape: tuple[int, ...], mode: Literal["c", "r+"] = "c") -> NDArray[np.uint8] | None:
    """Memory-map the rows of a file; None if there is no such file or it has another size.

    Args:
        path: The file.
        shape: Of the array; the first axis counts the rows.
        mode: "r+" writes changes to the file. "c" (copy on write) does not; it is used for reading because torch wants
            a writable array.
    """
    try:
        with path.open("rb" if mode == "c" else "r+b") as file:
            size = math.prod(shape)
            if os.fstat(file.fileno()).st_size != size:
                return None
            if mode == "r+" and size and hasattr(os, "posix_fallocate"):
                # A copy of a store may have holes. On a full disk, touching one through a map kills the process.
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype=np.uint8, mode=mode, shape=shape)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _grow(path: Path, shape: tuple[int, ...], make: MakeRows, on_progress: OnProgress | None) -> None:
    """Write a file of rows, resuming an interrupted build.

    The file is not memory-mapped while it is written: on a full disk a write raises an error, but touching a map kills
    the process.
    """
    total, row_bytes = shape[0], math.prod(shape[1:])
    growing = path.with_name(f"{path.name}.growing")
    growing.parent.mkdir(parents=True, exist_ok=True)
    # One call opens or creates it: between two calls another process may rename it.
    with os.fdopen(os.open(growing, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        done = min(file.seek(0, os.SEEK_END) // row_bytes, total)
        missing, free = (total - done) * row_bytes, shutil.disk_usage(growing.parent).free
        if missing > free:
            raise OSError(
                errno.ENOSPC, f"{path.name} needs {missing / 1e6:,.1f} MB more and {free / 1e6:,.1f} MB are free"
            )
        if done:
            log.info("%s: resuming, %d of %d images are done", path, done, total)
            if on_progress is not None:
                on_progress(done, total)
        file.seek(done * row_bytes)
        with closing(make(done)) as blocks:
            for block in blocks:
                file.write(block.data)
                file.flush()
                done = _report(on_progress, done, len(block), total)
        file.truncate()
        os.fsync(file.fileno())
        # Another process may have been first, with the same bytes, and a third may have begun anew.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), growing.stat()):
                growing.replace(path)


def _report(on_progress: OnProgress | None, done: int, more: int, total: int) -> int:
    """Report images one by one, and return how many are done."""
    if on_progress is not None:
        for number in range(done + 1, done + more + 1):
            on_progress(number, total)
    return done + more


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Raise errors of the file system as a DataError that says what to do about the folder."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the image store cannot be written to {folder}: {error.strerror or error}. Free some space there or "
            f"correct its permissions, then run the same again, which resumes; or keep the store in another folder "
            f"(--cache)"
        ) from error


@dataclass(frozen=True)
class StoreFiles:
    """The files of one table in a folder.

    Attributes:
        folder: The folder.
        table: A digest of the table's canvas and fill and of the paths of its images.
        fingerprint: `fingerprint` of the table.
        read_at: When the fingerprint was taken, in seconds since the epoch.
    """

    folder: Path
    table: str
    fingerprint: str
    read_at: float

    @classmethod
    def of(cls, table: PersonTable, folder: Path) -> StoreFiles:
        """Return the files for the present state of a table's images."""
        read_at = time.time()
        return cls(folder, *_digests(table), read_at)

    @property
    def _state(self) -> str:
        return hashlib.sha256(f"{FORMAT} {self.fingerprint}".encode()).hexdigest()[:12]

    def _path(self, what: str, suffix: str) -> Path:
        return self.folder / f"{what}-{self.table[:12]}-{self._state}{suffix}"

    @property
    def pixels(self) -> Path:
        """The pixels: uint8, (images, height, width, 3)."""
        return self._path("images", ".u8")

    @property
    def mattes(self) -> Path:
        """The mattes: uint8, (images, height, width)."""
        return self._path("mattes", ".u8")

    @property
    def index(self) -> Path:
        """The list of images that cannot be used."""
        return self._path("images", ".json")

    def read_index(self, rows: int) -> dict[int, str] | None:
        """Return why images cannot be used, by row; None if the file is missing, damaged, or of another table."""
        kinds = {"fingerprint": str, "corrupt": dict[str, str]}
        try:
            known = checked_fields(kinds, read_json(self.index), str(self.index))
        except (DataError, FileNotFoundError):
            return None
        reasons = {row: known["corrupt"][str(row)] for row in range(rows) if str(row) in known["corrupt"]}
        good = known["fingerprint"] == self.fingerprint and len(reasons) == len(known["corrupt"])
        return reasons if good else None

    def write_index(self, corrupt: dict[int, str]) -> None:
        """Write why images cannot be used, by row."""
        with atomic_write(self.index) as file:
            json.dump({"fingerprint": self.fingerprint, "corrupt": corrupt}, file)

    def remove_outdated(self) -> None:
        """Remove the files of an earlier state of the same images. A process that has them open keeps them."""
        for path in self.folder.glob(f"*-{self.table[:12]}-*"):
            if self._state in path.name:
                continue
            try:
                if path.stat().st_mtime < self.read_at:  # a later file may be of a later state
                    path.unlink()
                    log.info("removed %s: the images have changed since it was built", path)
            except OSError as error:
                log.warning("%s is out of date, and cannot be removed: %s", path, error)


def fingerprint(table: PersonTable) -> str:
    """Return a SHA-256 of a table's canvas and fill and of the paths, sizes and modification times of its images.

    Args:
        table: Read with image paths.

    Raises:
        DataError: If the status of a file cannot be read.
    """
    return _digests(table)[1]


def _digests(table: PersonTable) -> tuple[str, str]:
    """Return a SHA-256 of a table's canvas, fill and image paths; and its `fingerprint`."""
    assert table.paths is not None
    places = hashlib.sha256(repr((table.canvas, table.fill)).encode())
    states = places.copy()
    for path in table.paths:
        try:
            state = path.stat()
        except OSError as error:
            raise DataError(f"the image {path} cannot be read: {error}") from error
        place = path.resolve()
        places.update(f"{place}\n".encode())
        states.update(f"{place}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return places.hexdigest(), states.hexdigest()
