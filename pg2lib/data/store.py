"""ImageStore: every image decoded once to uint8, memory-mapped or on the device; batches are drawn from it.

A folder may hold the files of many tables, and several processes may open one table at the same time:

- ``images-<table>-<state>.u8`` holds the pixels and ``mattes-<table>-<state>.u8`` the mattes, row by row. ``<table>``
  is a digest of the paths of the images, ``<state>`` one of their sizes and times of change besides, so no table reads
  the pixels of another.
- Each file is written row after row under a name that ends in ``.growing``, and renamed when it is complete. Its length
  says how many rows are done, so an interrupted build resumes there. Processes that write the same file write the same
  bytes to the same places.
- ``images-<table>-<state>.json`` lists the images that cannot be used. When damaged, it is rebuilt from the pixels.
- When images have changed, the files of their earlier state are removed after the new pixels are complete.
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
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from queue import SimpleQueue
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pg2lib.data.pairs import PairTable
from pg2lib.data.people import PersonTable, Skipped
from pg2lib.errors import DataError
from pg2lib.files import atomic_write
from pg2lib.images import from_uint8
from pg2lib.matte import MatteFinder, check_mediapipe
from pg2lib.pose import MASK_LIMBS, flip_xy
from pg2lib.processes import cpu_count
from pg2lib.raster import render_heatmaps, render_pose_masks

log = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

FORMAT = 2
"""Increase it when the files get another format, or `MatteFinder` gives other mattes."""

AT_ONCE = 32
"""Images that a thread takes at a time. Handing over small images one by one takes as long as decoding them."""

NO_MATTE = 255
"""The value of every pixel of a matte that could not be found: the whole image counts as the person."""

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class PairBatch:
    """A batch of pairs, all on one device.

    Attributes:
        condition_image, target_image: [-1, 1].
        target_heatmaps: {0, 1}.
        target_mask: {0, 1}, 1 = body.
        condition_xy, target_xy: keypoints in pixels, x first, NaN = missing; flipped where the images are.
        from_rows, to_rows: rows of the PersonTable.
        condition_matte, target_matte: [0, 1], 1 = person; all ones where no matte was found. None: the store has none.
    """

    condition_image: Float[Tensor, "batch 3 height width"]
    target_image: Float[Tensor, "batch 3 height width"]
    target_heatmaps: Float[Tensor, "batch 18 height width"]
    target_mask: Float[Tensor, "batch 1 height width"]
    condition_xy: Float[Tensor, "batch 18 2"]
    target_xy: Float[Tensor, "batch 18 2"]
    from_rows: Int64[Tensor, "batch"]
    to_rows: Int64[Tensor, "batch"]
    condition_matte: Float[Tensor, "batch 1 height width"] | None = None
    target_matte: Float[Tensor, "batch 1 height width"] | None = None

    def __len__(self) -> int:
        return len(self.from_rows)

    def __repr__(self) -> str:
        values = ((entry.name, getattr(self, entry.name)) for entry in fields(self))
        shapes = (f"{name} {tuple(value.shape)}" for name, value in values if value is not None)
        return f"PairBatch({', '.join(shapes)})"


class StoredImages(NamedTuple):
    """Some images as they are stored: pixels, and mattes where the store has them."""

    pixels: UInt8[Tensor, "batch height width 3"]
    mattes: UInt8[Tensor, "batch height width"] | None


class ImageStore:
    """The decoded images of a PersonTable and the batches made of them.

    Open one with `ImageStore.open`. Make pairs from ``store.table``, which lacks the images that could not be used.

    Attributes:
        table: the people whose images are in the store, in its order.
        device: where batches are made.
    """

    def __init__(
        self,
        table: PersonTable,
        pixels: UInt8[Tensor, "images height width 3"],
        device: torch.device | str = "cpu",
        mattes: UInt8[Tensor, "images height width"] | None = None,
    ) -> None:
        self.table = table
        self.device = torch.device(device)
        self._pixels = pixels
        self._mattes = mattes
        self._xy = table.xy.to(self.device)
        limbs = torch.tensor(MASK_LIMBS)
        lengths = (table.xy[:, limbs[:, 0]] - table.xy[:, limbs[:, 1]]).norm(dim=-1)
        self._max_limb_px = math.ceil(float(lengths.nan_to_num(nan=0.0).max())) + 1.0 if len(table) else 0.0

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"ImageStore({self.table!r}, batches on {self.device})"

    @classmethod
    def open(
        cls,
        table: PersonTable,
        folder: str | PathLike[str] | None = None,
        device: torch.device | str = "cpu",
        resident: bool | None = None,
        skip_corrupt: bool = False,
        on_progress: OnProgress | None = None,
        mattes: bool = False,
    ) -> ImageStore:
        """Decodes the images of a table, or finds them decoded.

        Args:
            table: read with paths.
            folder: where the pixels are kept, in a file that is memory-mapped, and rebuilt when an image file has
                changed. Several tables can share a folder, with and without mattes, and several processes can open
                it at the same time. An interrupted build resumes. None decodes into memory.
            device: where batches are made.
            resident: hold all pixels on the device; by default they are when it is a GPU and they take less than a
                third of its free memory.
            skip_corrupt: leave out images that cannot be decoded or are not of the table's canvas; they are logged and
                counted in ``store.table.skipped``. Otherwise they are refused, all named in one error.
            on_progress: called while decoding, and again from the first image while finding mattes.
            mattes: give batches the mattes of their images: which pixels are the person (see `pg2lib.matte`). They are
                found here, once for all images, and kept beside the pixels. An image whose matte cannot be found gets
                all ones.

        Raises:
            DataError: a table without paths, a missing image, corrupt ones (see `skip_corrupt`), or a folder that
                cannot be written or is too full.
            PG2Error: `mattes` are to be found and MediaPipe is not installed.
        """
        if table.paths is None:
            raise DataError("the table was read without images; read it with read_people, which knows their paths")
        files = None if folder is None else _Files.of(table, Path(folder))
        if mattes and (files is None or _map(files.mattes, (len(table), *table.canvas)) is None):
            check_mediapipe()
        pixels, corrupt = _open_pixels(table, files, on_progress)
        if corrupt and not skip_corrupt:
            listed = "; ".join(list(corrupt.values())[:10])  # each names its file
            raise DataError(
                f"{len(corrupt)} of {len(table)} images cannot be used: {listed}. Mend them, or leave them out with "
                f"skip_corrupt=True (--skip-corrupt)"
            )
        found = _open_mattes(pixels, corrupt, files, on_progress) if mattes else None
        if corrupt:
            log.warning("%d images cannot be used and are left out: %s", len(corrupt), list(corrupt.values())[:10])
            good = [row for row in range(len(table)) if row not in corrupt]
            table = table.select(
                good, [Skipped(table.names[row], "unusable", reason) for row, reason in corrupt.items()]
            )
            pixels, found = pixels[good], None if found is None else found[good]
        on_cpu = cls(table, torch.from_numpy(pixels), mattes=None if found is None else torch.from_numpy(found))
        return on_cpu.to(device, resident)

    def to(self, device: torch.device | str, resident: bool | None = None) -> ImageStore:
        """The same images, with batches made on another device.

        Args:
            resident: as in `open`.
        """
        device = torch.device(device)
        if resident is None:
            if device == self.device:
                return self
            size = self._pixels.numel() + (0 if self._mattes is None else self._mattes.numel())
            resident = device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] / 3
        pixels, mattes = self._pixels, self._mattes
        if resident or pixels.is_cuda:
            pixels, mattes = pixels.to(device), None if mattes is None else mattes.to(device)
        return ImageStore(self.table, pixels, device, mattes)

    @property
    def resident(self) -> bool:
        """Whether the images are on the device on which batches are made."""
        return self.pixels_device.type == self.device.type  # "cpu" and "cpu:0" are one device

    @property
    def pixels_device(self) -> torch.device:
        """Where the images are."""
        return self._pixels.device

    @property
    def has_mattes(self) -> bool:
        """Whether batches have mattes."""
        return self._mattes is not None

    def images(self, rows: Int64[Tensor, "batch"]) -> UInt8[Tensor, "batch 3 height width"]:
        """Images of some rows, on the device, in channels_last memory format."""
        return self._place(self._take(self._pixels, rows.to(self.pixels_device))).permute(0, 3, 1, 2)

    def read(self, rows: Int64[Tensor, "batch"]) -> StoredImages:
        """Some rows where all images are: on the device, or in pinned memory from which they go there."""
        return StoredImages(
            self._take(self._pixels, rows), None if self._mattes is None else self._take(self._mattes, rows)
        )

    def _take(self, stored: Tensor, rows: Tensor) -> Tensor:
        taken = stored[rows]
        return taken if self.resident else taken.pin_memory()

    def batch(
        self,
        pairs: PairTable,
        indices: Int64[Tensor, "batch"],
        flips: Bool[Tensor, "batch"] | None = None,
    ) -> PairBatch:
        """Images, heatmaps and masks of some pairs.

        Args:
            pairs: made from this store's table.
            indices: which of the pairs.
            flips: pairs to flip left to right: condition, target, keypoints and mask together; None flips none.

        Raises:
            DataError: the pairs belong to another table.
        """
        self.check(pairs)
        rows = pairs.from_rows[indices], pairs.to_rows[indices]
        return self.assemble(*rows, flips, *(self.read(side.to(self.pixels_device)) for side in rows))

    def check(self, pairs: PairTable) -> None:
        """Refuses pairs of another table with a DataError."""
        if pairs.table is not self.table:
            raise DataError("the pairs belong to another table than the store's; make them from store.table")

    def assemble(
        self,
        from_rows: Int64[Tensor, "batch"],
        to_rows: Int64[Tensor, "batch"],
        flips: Bool[Tensor, "batch"] | None,
        condition: StoredImages,
        target: StoredImages,
    ) -> PairBatch:
        """A batch of images that `read` gave."""
        from_rows, to_rows = self._place(from_rows), self._place(to_rows)
        condition_xy, target_xy = self._xy[from_rows], self._xy[to_rows]
        if flips is not None:
            flips = self._place(flips)
            width = self.table.canvas[1]
            condition_xy, target_xy = (
                torch.where(flips.view(-1, 1, 1), flip_xy(xy, width), xy) for xy in (condition_xy, target_xy)
            )
        condition_image, condition_matte = self._to_floats(condition, flips)
        target_image, target_matte = self._to_floats(target, flips)
        return PairBatch(
            condition_image=condition_image,
            target_image=target_image,
            target_heatmaps=render_heatmaps(target_xy, self.table.canvas),
            target_mask=render_pose_masks(target_xy, self.table.canvas, max_limb_px=self._max_limb_px),
            condition_xy=condition_xy,
            target_xy=target_xy,
            from_rows=from_rows,
            to_rows=to_rows,
            condition_matte=condition_matte,
            target_matte=target_matte,
        )

    def _to_floats(
        self, stored: StoredImages, flips: Bool[Tensor, "batch"] | None
    ) -> tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch 1 height width"] | None]:
        """Images in [-1, 1] and mattes in [0, 1] on the device, flipped together."""
        image = from_uint8(self._place(stored.pixels).permute(0, 3, 1, 2))
        matte = None if stored.mattes is None else self._place(stored.mattes).unsqueeze(1).float() / 255
        if flips is None:
            return image, matte
        flips = flips.view(-1, 1, 1, 1)
        return (
            torch.where(flips, image.flip(-1), image),
            None if matte is None else torch.where(flips, matte.flip(-1), matte),
        )

    def _place(self, tensor: Tensor) -> Tensor:
        """The tensor on the device of the batches; out of pinned memory nothing waits for it."""
        return tensor.to(self.device, non_blocking=True)

    def batches(self, pairs: PairTable, batch_size: int) -> Iterator[PairBatch]:
        """All pairs in order, not flipped; the last batch may be smaller."""
        for start in range(0, len(pairs), batch_size):
            yield self.batch(pairs, torch.arange(start, min(start + batch_size, len(pairs))))


# ---- what is found once: pixels and mattes


def _open_pixels(
    table: PersonTable, files: _Files | None, on_progress: OnProgress | None
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The pixels of a table, and what is wrong with the rows that cannot be used."""
    shape = (len(table), *table.canvas, 3)

    def decode(first: int) -> Generator[NDArray[np.uint8], None, None]:
        # Pillow decodes without holding the interpreter's lock.
        return _in_order(lambda rows: _decode(table, rows), _parts(first, len(table)))

    if files is None:
        pixels = _in_memory(shape, decode, on_progress)
        return pixels, _unusable(table, pixels)
    corrupt = files.read_index(len(table))
    if corrupt is None or _map(files.pixels, shape) is None:
        with _written_to(files.folder):
            pixels = _in_file(files.pixels, shape, decode, on_progress, "r+")
            corrupt = _unusable(table, pixels)
            files.write_index(corrupt)
        files.remove_outdated()
    return _in_file(files.pixels, shape, decode, on_progress), corrupt


def _decode(table: PersonTable, rows: range) -> NDArray[np.uint8]:
    """Images of some rows; 0 where one cannot be used."""
    block = np.zeros((len(rows), *table.canvas, 3), dtype=np.uint8)
    for place, row in enumerate(rows):
        with suppress(DataError):  # `_unusable` finds the row, and the reason.
            block[place] = np.asarray(table.load(row))
    return block


def _unusable(table: PersonTable, pixels: NDArray[np.uint8]) -> dict[int, str]:
    """Decodes the images again whose pixels are all 0, and returns what is wrong with those that fail, by row."""
    wrong = {}
    for row in np.flatnonzero(~pixels[:, 0].any(axis=(1, 2))).tolist():
        if pixels[row].any():
            continue
        try:
            pixels[row] = np.asarray(table.load(row))  # It is black, or could not be read the first time.
        except DataError as error:
            wrong[row] = str(error)
    return wrong


def _open_mattes(
    pixels: NDArray[np.uint8], unusable: Container[int], files: _Files | None, on_progress: OnProgress | None
) -> NDArray[np.uint8]:
    """The mattes of all images."""

    def find(first: int) -> Generator[NDArray[np.uint8], None, None]:
        return _find_mattes(pixels, unusable, first)

    if files is None:
        return _in_memory(pixels.shape[:3], find, on_progress)
    with _written_to(files.folder):
        return _in_file(files.mattes, pixels.shape[:3], find, on_progress)


def _find_mattes(
    pixels: NDArray[np.uint8], unusable: Container[int], first: int
) -> Generator[NDArray[np.uint8], None, None]:
    """The mattes from a row on, in blocks. MediaPipe runs without holding the interpreter's lock."""
    with ExitStack() as closed_at_end:
        finders: SimpleQueue[MatteFinder] = SimpleQueue()
        for _ in range(cpu_count()):
            finders.put(closed_at_end.enter_context(MatteFinder()))

        def find(rows: range) -> NDArray[np.uint8]:
            block = np.full((len(rows), *pixels.shape[1:3]), NO_MATTE, dtype=np.uint8)
            finder = finders.get()
            try:
                for place, row in enumerate(rows):
                    if row not in unusable:
                        block[place] = finder.find(Image.fromarray(pixels[row]))
            finally:
                finders.put(finder)
            return block

        yield from _in_order(find, _parts(first, len(pixels)))


def _parts(first: int, rows: int) -> list[range]:
    return [range(start, min(start + AT_ONCE, rows)) for start in range(first, rows, AT_ONCE)]


def _in_order(function: Callable[[T], U], items: Iterable[T]) -> Generator[U, None, None]:
    """The results of a function that runs in threads, in the order of the items. Only a few wait to be used."""
    running: deque[Future[U]] = deque()
    with ThreadPoolExecutor(cpu_count()) as pool:
        try:
            for item in items:
                running.append(pool.submit(function, item))
                if len(running) > 2 * cpu_count():
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


# ---- where it is kept


Make = Callable[[int], Generator[NDArray[np.uint8], None, None]]
"""Row -> all rows from that one on, in order, in blocks."""


def _in_memory(shape: tuple[int, ...], make: Make, on_progress: OnProgress | None) -> NDArray[np.uint8]:
    """All rows in an array."""
    rows, done = np.empty(shape, dtype=np.uint8), 0
    with closing(make(0)) as blocks:
        for block in blocks:
            rows[done : done + len(block)] = block
            done = _tell(on_progress, done, len(block), len(rows))
    return rows


def _in_file(
    path: Path, shape: tuple[int, ...], make: Make, on_progress: OnProgress | None, mode: Literal["c", "r+"] = "c"
) -> NDArray[np.uint8]:
    """All rows in a file, which is made where it is not there."""
    while (rows := _map(path, shape, mode)) is None:
        _grow(path, shape, make, on_progress)
    return rows


def _map(path: Path, shape: tuple[int, ...], mode: Literal["c", "r+"] = "c") -> NDArray[np.uint8] | None:
    """A file's rows, memory-mapped; None where there is no such file or one of another size.

    Args:
        mode: "r+" writes changes to the file; "c" does not, and is for reading, as torch wants a writable array.
    """
    try:
        with path.open("rb" if mode == "c" else "r+b") as file:
            if os.fstat(file.fileno()).st_size != math.prod(shape):
                return None
            return np.memmap(file, dtype=np.uint8, mode=mode, shape=shape)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _grow(path: Path, shape: tuple[int, ...], make: Make, on_progress: OnProgress | None) -> None:
    """Writes a file of rows, resuming an interrupted build.

    The file is not memory-mapped while it is written: a full disk makes a write fail with an error, but kills a process
    that touches a map.
    """
    total, row_bytes = shape[0], math.prod(shape[1:])
    growing = path.with_name(f"{path.name}.growing")
    growing.parent.mkdir(parents=True, exist_ok=True)
    # Opened and made in one go: between the two another process may give the file its name.
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
                done = _tell(on_progress, done, len(block), total)
        file.truncate()
        os.fsync(file.fileno())
    with suppress(FileNotFoundError):  # Another process was first, with the same bytes.
        growing.replace(path)


def _tell(on_progress: OnProgress | None, done: int, more: int, total: int) -> int:
    """Reports images one by one, and returns how many are done."""
    if on_progress is not None:
        for number in range(done + 1, done + more + 1):
            on_progress(number, total)
    return done + more


@contextmanager
def _written_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the image store cannot be written to {folder}: {error}. Free some space there or mend its permissions, "
            f"and run the same again, which resumes; or keep the store in another folder (--cache)"
        ) from error


@dataclass(frozen=True)
class _Files:
    """The files of a table in a folder.

    Attributes:
        table: a digest of the paths of its images, and of its canvas and fill.
        fingerprint: `fingerprint` of the table.
        asked_at: when the fingerprint was taken, in seconds since the epoch.
    """

    folder: Path
    table: str
    fingerprint: str
    asked_at: float

    @classmethod
    def of(cls, table: PersonTable, folder: Path) -> _Files:
        asked_at = time.time()
        return cls(folder, *_digests(table), asked_at)

    @property
    def _state(self) -> str:
        return hashlib.sha256(f"{FORMAT} {self.fingerprint}".encode()).hexdigest()[:12]

    def _path(self, what: str, suffix: str) -> Path:
        return self.folder / f"{what}-{self.table[:12]}-{self._state}{suffix}"

    @property
    def pixels(self) -> Path:
        return self._path("images", ".u8")

    @property
    def mattes(self) -> Path:
        return self._path("mattes", ".u8")

    @property
    def index(self) -> Path:
        return self._path("images", ".json")

    def read_index(self, rows: int) -> dict[int, str] | None:
        """Which rows cannot be used, and why; None where the file is missing, damaged, or of another table."""
        try:
            known = json.loads(self.index.read_text(encoding="utf-8"))
            corrupt = {int(row): str(reason) for row, reason in known["corrupt"].items()}
            good = known["fingerprint"] == self.fingerprint and all(0 <= row < rows for row in corrupt)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return corrupt if good else None

    def write_index(self, corrupt: dict[int, str]) -> None:
        with atomic_write(self.index) as file:
            json.dump({"fingerprint": self.fingerprint, "corrupt": corrupt}, file)

    def remove_outdated(self) -> None:
        """Removes the files of an earlier state of the same images. A process that has them open keeps them."""
        for path in self.folder.glob(f"*-{self.table[:12]}-*"):
            if self._state in path.name:
                continue
            try:
                if path.stat().st_mtime < self.asked_at:  # A later file may be of a later state.
                    path.unlink()
                    log.info("removed %s: the images have changed since it was built", path)
            except OSError as error:
                log.warning("%s is out of date, and cannot be removed: %s", path, error)


def fingerprint(table: PersonTable) -> str:
    """A SHA-256 of a table's canvas and fill and of its image files' places, sizes and times of change.

    Args:
        table: read with paths.

    Raises:
        DataError: a file is missing or cannot be asked.
    """
    return _digests(table)[1]


def _digests(table: PersonTable) -> tuple[str, str]:
    """A SHA-256 of a table's canvas, fill and image paths; and its `fingerprint`."""
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
