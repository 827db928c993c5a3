"""ImageStore: every image decoded once to uint8, in memory, memory-mapped, or on the GPU; batches are drawn from it.

`pg2lib.data.store_files` describes the files.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pg2lib.data.pairs import PairTable
from pg2lib.data.people import PersonTable, Skipped
from pg2lib.data.store_files import OnProgress, StoreFiles, map_rows, rows_in_file, rows_in_memory, writing_to
from pg2lib.errors import DataError
from pg2lib.files import remove_leftovers
from pg2lib.images import from_uint8
from pg2lib.matte import MatteFinder, check_mediapipe
from pg2lib.pose import MASK_LIMBS, flip_xy
from pg2lib.processes import cpu_count
from pg2lib.raster import render_heatmaps, render_pose_masks

log = logging.getLogger(__name__)

BLOCK_SIZE = 32
"""Images that a thread takes at a time. Handing over small images one by one takes as long as decoding them."""

NO_MATTE = 255
"""The value of every pixel of a matte that could not be found: the whole image counts as the person."""

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class PairBatch:
    """A batch of pairs, all on one device.

    Attributes:
        condition_image, target_image: In [-1, 1].
        target_heatmaps: In {0, 1}.
        target_mask: In {0, 1}; 1 is the body.
        condition_xy, target_xy: Keypoints in pixels, x first; NaN marks a missing joint. Flipped where the images are.
        from_rows, to_rows: Rows of the PersonTable.
        condition_matte, target_matte: In [0, 1]; 1 is the person. All ones where no matte was found. None if the store
            has no mattes.
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
    """Images as they are stored: the pixels, and the mattes if the store has them."""

    pixels: UInt8[Tensor, "images height width 3"]
    mattes: UInt8[Tensor, "images height width"] | None

    def each(self, function: Callable[[Tensor], Tensor]) -> StoredImages:
        """Apply a function to both."""
        return StoredImages(function(self.pixels), None if self.mattes is None else function(self.mattes))


class ImageStore:
    """The decoded images of a PersonTable and the batches made of them.

    Open one with `ImageStore.open`. Make pairs from ``store.table``, which lacks the images that could not be used.

    Args:
        table: The people.
        pixels: Their images.
        device: Where batches are made.
        mattes: Mattes of the same images.
        stored_rows: For each row of the table, its row among the images; the same row by default.

    Attributes:
        table: The people whose images are in the store.
        device: Where batches are made.
    """

    def __init__(
        self,
        table: PersonTable,
        pixels: UInt8[Tensor, "images height width 3"],
        device: torch.device | str = "cpu",
        mattes: UInt8[Tensor, "images height width"] | None = None,
        stored_rows: Int64[Tensor, "rows"] | None = None,
    ) -> None:
        self.table = table
        self.device = torch.device(device)
        self._stored = StoredImages(pixels, mattes)
        self._stored_rows = (torch.arange(len(table)) if stored_rows is None else stored_rows).to(pixels.device)
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
        """Decode the images of a table, or open them if they were decoded before.

        Args:
            table: Read with image paths.
            folder: Keeps the pixels in a file that is memory-mapped, and rebuilt if an image file has changed. Several
                tables can share a folder, with and without mattes, and several processes can open it at the same time.
                An interrupted build resumes. None decodes into memory.
            device: Where batches are made.
            resident: Hold all pixels on the device. By default they are held on a GPU if they take less than a third of
                its free memory.
            skip_corrupt: Leave out images that cannot be decoded or have another size than the table's canvas. They are
                logged and listed in ``store.table.skipped``. Otherwise they are refused, all named in one error.
            on_progress: Called while decoding, and again from the first image while finding mattes.
            mattes: Give batches the mattes of their images, which tell the pixels of the person (see `pg2lib.matte`).
                They are found once for all images and kept with the pixels. An image whose matte cannot be found gets
                all ones.

        Raises:
            DataError: If the table has no paths, if an image is missing or corrupt (see `skip_corrupt`), or if the
                folder cannot be written or is too full.
            PG2Error: If `mattes` have to be found and MediaPipe is not installed.
        """
        if table.paths is None:
            raise DataError("the table was read without images; read it with read_people, which knows their paths")
        files = None if folder is None else StoreFiles.of(table, Path(folder))
        if mattes and (files is None or map_rows(files.mattes, (len(table), *table.canvas)) is None):
            check_mediapipe()
        pixels, corrupt = _open_pixels(table, files, on_progress)
        if corrupt and not skip_corrupt:
            listed = "; ".join(list(corrupt.values())[:10])  # each names its file
            raise DataError(
                f"{len(corrupt)} of {len(table)} images cannot be used: {listed}. Repair them, or leave them out with "
                f"skip_corrupt=True (--skip-corrupt)"
            )
        found = torch.from_numpy(_open_mattes(pixels, corrupt, files, on_progress)) if mattes else None
        good = [row for row in range(len(table)) if row not in corrupt]
        if corrupt:
            log.warning("%d images cannot be used and are left out: %s", len(corrupt), list(corrupt.values())[:10])
            skipped = (Skipped(table.names[row], "unusable", reason) for row, reason in corrupt.items())
            table = table.select(good, skipped)
        store = cls(table, torch.from_numpy(pixels), mattes=found, stored_rows=torch.tensor(good, dtype=torch.int64))
        return store.to(device, resident)

    def to(self, device: torch.device | str, resident: bool | None = None) -> ImageStore:
        """Return a store of the same images that makes batches on another device.

        Args:
            device: Where batches are made.
            resident: As in `open`.
        """
        device = torch.device(device)
        stored = self._stored
        if resident is None:
            if device == self.device:
                return self
            size = stored.pixels.numel() + (0 if stored.mattes is None else stored.mattes.numel())
            resident = device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] / 3
        if resident or stored.pixels.is_cuda:
            stored = stored.each(lambda tensor: tensor.to(device))
        return ImageStore(self.table, stored.pixels, device, stored.mattes, self._stored_rows)

    @property
    def resident(self) -> bool:
        """Whether the images are on the device on which batches are made."""
        return self.pixels_device.type == self.device.type  # "cpu" and "cpu:0" are one device

    @property
    def pixels_device(self) -> torch.device:
        """Where the images are."""
        return self._stored.pixels.device

    @property
    def has_mattes(self) -> bool:
        """Whether batches have mattes."""
        return self._stored.mattes is not None

    def images(self, rows: Int64[Tensor, "batch"]) -> UInt8[Tensor, "batch 3 height width"]:
        """Return images of some rows, on the device, in channels_last memory format."""
        return self._place(self.read(rows.to(self.pixels_device)).pixels).permute(0, 3, 1, 2)

    def read(self, rows: Int64[Tensor, "batch"]) -> StoredImages:
        """Read some rows, where the images are. On the CPU for a GPU they are in pinned memory."""
        taken = self._stored_rows[rows]
        read = self._stored.each(lambda tensor: tensor[taken])
        return read if self.resident else read.each(Tensor.pin_memory)

    def batch(
        self,
        pairs: PairTable,
        indices: Int64[Tensor, "batch"],
        flips: Bool[Tensor, "batch"] | None = None,
    ) -> PairBatch:
        """Make a batch of some pairs: images, heatmaps and masks.

        Args:
            pairs: Made from this store's table.
            indices: Which of the pairs.
            flips: Which of them to flip left to right: condition, target, keypoints and mask together. None flips none.

        Raises:
            DataError: If the pairs belong to another table.
        """
        self.check(pairs)
        rows = pairs.from_rows[indices], pairs.to_rows[indices]
        return self.assemble(*rows, flips, *(self.read(side.to(self.pixels_device)) for side in rows))

    def check(self, pairs: PairTable) -> None:
        """Raise a DataError if the pairs belong to another table."""
        if pairs.table is not self.table:
            raise DataError("the pairs belong to another table than the store; make them from store.table")

    def assemble(
        self,
        from_rows: Int64[Tensor, "batch"],
        to_rows: Int64[Tensor, "batch"],
        flips: Bool[Tensor, "batch"] | None,
        condition: StoredImages,
        target: StoredImages,
    ) -> PairBatch:
        """Make a batch of images that `read` returned."""
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
        """Return images in [-1, 1] and mattes in [0, 1] on the device, flipped together."""
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
        """Copy a tensor to the device of the batches; from pinned memory without waiting."""
        return tensor.to(self.device, non_blocking=True)

    def batches(self, pairs: PairTable, batch_size: int) -> Iterator[PairBatch]:
        """Yield all pairs in order, not flipped. The last batch may be smaller."""
        for start in range(0, len(pairs), batch_size):
            yield self.batch(pairs, torch.arange(start, min(start + batch_size, len(pairs))))


# ---- decoding and finding mattes


def _open_pixels(
    table: PersonTable, files: StoreFiles | None, on_progress: OnProgress | None
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Return the pixels of a table, and why images cannot be used, by row."""
    shape = (len(table), *table.canvas, 3)

    def decode(first: int) -> Generator[NDArray[np.uint8], None, None]:
        # Threads are enough: Pillow releases the interpreter's lock while it decodes.
        return _in_order(lambda rows: _decode(table, rows), _parts(first, len(table)))

    if files is None:
        pixels = rows_in_memory(shape, decode, on_progress)
        return pixels, _unusable(table, pixels)
    remove_leftovers(files.folder)
    corrupt = files.read_index(len(table))
    if corrupt is None or map_rows(files.pixels, shape) is None:
        with writing_to(files.folder):
            pixels = rows_in_file(files.pixels, shape, decode, on_progress, "r+")
            corrupt = _unusable(table, pixels)
            files.write_index(corrupt)
        files.remove_outdated()
    return rows_in_file(files.pixels, shape, decode, on_progress), corrupt


def _decode(table: PersonTable, rows: range) -> NDArray[np.uint8]:
    """Decode the images of some rows; those that cannot be used are all 0."""
    block = np.zeros((len(rows), *table.canvas, 3), dtype=np.uint8)
    for place, row in enumerate(rows):
        with suppress(DataError):  # `_unusable` finds the row and the reason
            block[place] = np.asarray(table.load(row))
    return block


def _unusable(table: PersonTable, pixels: NDArray[np.uint8]) -> dict[int, str]:
    """Decode again the images whose pixels are all 0, and return why some cannot be used, by row."""
    wrong = {}
    for row in np.flatnonzero(~pixels[:, 0].any(axis=(1, 2))).tolist():
        if pixels[row].any():
            continue
        try:
            pixels[row] = np.asarray(table.load(row))  # it is black, or failed the first time only
        except DataError as error:
            wrong[row] = str(error)
    return wrong


def _open_mattes(
    pixels: NDArray[np.uint8], unusable: Container[int], files: StoreFiles | None, on_progress: OnProgress | None
) -> NDArray[np.uint8]:
    """Return the mattes of all images."""

    def find(first: int) -> Generator[NDArray[np.uint8], None, None]:
        return _find_mattes(pixels, unusable, first)

    if files is None:
        return rows_in_memory(pixels.shape[:3], find, on_progress)
    with writing_to(files.folder):
        return rows_in_file(files.mattes, pixels.shape[:3], find, on_progress)


def _find_mattes(
    pixels: NDArray[np.uint8], unusable: Container[int], first: int
) -> Generator[NDArray[np.uint8], None, None]:
    """Yield the mattes from a row on, in blocks. MediaPipe releases the interpreter's lock while it runs."""
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
    return [range(start, min(start + BLOCK_SIZE, rows)) for start in range(first, rows, BLOCK_SIZE)]


def _in_order(function: Callable[[T], U], items: Iterable[T]) -> Generator[U, None, None]:
    """Yield the results of a function that runs in threads, in the order of the items. Few are held at a time."""
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
