"""ImageStore: every image decoded once to uint8, memory-mapped or on the device; batches are drawn from it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from pg2lib.data.pairs import PairTable
from pg2lib.data.people import PersonTable, Skipped
from pg2lib.errors import DataError
from pg2lib.files import atomic_path, atomic_write
from pg2lib.images import from_uint8
from pg2lib.pose import MASK_LIMBS, flip_xy
from pg2lib.processes import cpu_count
from pg2lib.raster import render_heatmaps, render_pose_masks

log = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

FORMAT = 1

DECODED_AT_ONCE = 32
"""Images a thread decodes without a word to the others, which for small ones would take as long as the decoding."""


@dataclass(frozen=True)
class PairBatch:
    """A batch of pairs, all on one device.

    Attributes:
        condition_image, target_image: [-1, 1].
        target_heatmaps: {0, 1}.
        target_mask: {0, 1}, 1 = body.
        condition_xy, target_xy: keypoints in pixels, x first, NaN = missing; flipped where the images are.
        from_rows, to_rows: rows of the PersonTable.
    """

    condition_image: Float[Tensor, "batch 3 height width"]
    target_image: Float[Tensor, "batch 3 height width"]
    target_heatmaps: Float[Tensor, "batch 18 height width"]
    target_mask: Float[Tensor, "batch 1 height width"]
    condition_xy: Float[Tensor, "batch 18 2"]
    target_xy: Float[Tensor, "batch 18 2"]
    from_rows: Int64[Tensor, "batch"]
    to_rows: Int64[Tensor, "batch"]

    def __len__(self) -> int:
        return len(self.from_rows)

    def __repr__(self) -> str:
        shapes = (f"{entry.name} {tuple(getattr(self, entry.name).shape)}" for entry in fields(self))
        return f"PairBatch({', '.join(shapes)})"


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
    ) -> None:
        self.table = table
        self.device = torch.device(device)
        self._pixels = pixels
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
    ) -> ImageStore:
        """Decodes the images of a table, or finds them decoded.

        Args:
            table: read with paths.
            folder: keeps the pixels in a file here, one folder a table, memory-mapped and rebuilt when any image file
                has changed; None decodes into memory.
            device: where batches are made.
            resident: hold all pixels on the device; by default they are when it is a GPU and they take less than a
                third of its free memory.
            skip_corrupt: leave out images that cannot be decoded or are not of the table's canvas; they are logged and
                counted in ``store.table.skipped``. Otherwise they are refused, all named in one error.
            on_progress: called while decoding.

        Raises:
            DataError: a table without paths, a missing image, or corrupt ones (see `skip_corrupt`).
        """
        if table.paths is None:
            raise DataError("the table was read without images; read it with read_people, which knows their paths")
        if folder is None:
            pixels = np.empty((len(table), *table.canvas, 3), dtype=np.uint8)
            corrupt = _decode(table, pixels, on_progress)
        else:
            pixels, corrupt = _open_or_build(table, Path(folder), on_progress)
        if corrupt and not skip_corrupt:
            listed = "; ".join(list(corrupt.values())[:10])  # each names its file
            raise DataError(
                f"{len(corrupt)} of {len(table)} images cannot be used: {listed}. Mend them, or leave them out with "
                f"skip_corrupt=True (--skip-corrupt)"
            )
        if corrupt:
            log.warning("%d images cannot be used and are left out: %s", len(corrupt), list(corrupt.values())[:10])
            good = [row for row in range(len(table)) if row not in corrupt]
            table = table.select(good, [Skipped(table.names[row], reason) for row, reason in corrupt.items()])
            pixels = pixels[good]
        return cls(table, torch.from_numpy(pixels)).to(device, resident)

    def to(self, device: torch.device | str, resident: bool | None = None) -> ImageStore:
        """The same images, with batches made on another device.

        Args:
            resident: as in `open`.
        """
        device = torch.device(device)
        if resident is None:
            if device == self.device:
                return self
            resident = device.type == "cuda" and self._pixels.numel() < torch.cuda.mem_get_info(device)[0] / 3
        move = resident or self._pixels.is_cuda
        return ImageStore(self.table, self._pixels.to(device) if move else self._pixels, device)

    @property
    def resident(self) -> bool:
        """Whether the images are on the device on which batches are made."""
        return self.pixels_device.type == self.device.type  # "cpu" and "cpu:0" are one device

    @property
    def pixels_device(self) -> torch.device:
        """Where the images are."""
        return self._pixels.device

    def images(self, rows: Int64[Tensor, "batch"]) -> UInt8[Tensor, "batch 3 height width"]:
        """Images of some rows, on the device, in channels_last memory format."""
        return self._place(self.read(rows.to(self.pixels_device))).permute(0, 3, 1, 2)

    def read(self, rows: Int64[Tensor, "batch"]) -> UInt8[Tensor, "batch height width 3"]:
        """Images of some rows where all images are: on the device, or in pinned memory from which they go there."""
        pixels = self._pixels[rows]
        return pixels if self.resident else pixels.pin_memory()

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
        condition_pixels: UInt8[Tensor, "batch height width 3"],
        target_pixels: UInt8[Tensor, "batch height width 3"],
    ) -> PairBatch:
        """A batch of images that `read` gave."""
        condition, target = (
            from_uint8(self._place(pixels).permute(0, 3, 1, 2)) for pixels in (condition_pixels, target_pixels)
        )
        from_rows, to_rows = self._place(from_rows), self._place(to_rows)
        condition_xy, target_xy = self._xy[from_rows], self._xy[to_rows]
        if flips is not None:
            flips = self._place(flips)
            condition, target = (torch.where(flips.view(-1, 1, 1, 1), x.flip(-1), x) for x in (condition, target))
            width = self.table.canvas[1]
            condition_xy, target_xy = (
                torch.where(flips.view(-1, 1, 1), flip_xy(xy, width), xy) for xy in (condition_xy, target_xy)
            )
        return PairBatch(
            condition_image=condition,
            target_image=target,
            target_heatmaps=render_heatmaps(target_xy, self.table.canvas),
            target_mask=render_pose_masks(target_xy, self.table.canvas, max_limb_px=self._max_limb_px),
            condition_xy=condition_xy,
            target_xy=target_xy,
            from_rows=from_rows,
            to_rows=to_rows,
        )

    def _place(self, tensor: Tensor) -> Tensor:
        """The tensor on the device of the batches; out of pinned memory nothing waits for it."""
        return tensor.to(self.device, non_blocking=True)

    def batches(self, pairs: PairTable, batch_size: int) -> Iterator[PairBatch]:
        """All pairs in order, not flipped; the last batch may be smaller."""
        for start in range(0, len(pairs), batch_size):
            yield self.batch(pairs, torch.arange(start, min(start + batch_size, len(pairs))))


def _decode(table: PersonTable, pixels: NDArray[np.uint8], on_progress: OnProgress | None) -> dict[int, str]:
    """Fills `pixels`; returns what is wrong with the rows that cannot be used."""

    def decode(rows: range) -> dict[int, str]:
        wrong = {}
        for row in rows:
            try:
                pixels[row] = np.asarray(table.load(row))
            except DataError as error:
                wrong[row] = str(error)
        return wrong

    corrupt: dict[int, str] = {}
    parts = [range(len(table))[start : start + DECODED_AT_ONCE] for start in range(0, len(table), DECODED_AT_ONCE)]
    with ThreadPoolExecutor(cpu_count()) as pool:  # Pillow decodes without holding the interpreter's lock
        for rows, wrong in zip(parts, pool.map(decode, parts), strict=True):
            corrupt |= wrong
            if on_progress is not None:
                for row in rows:
                    on_progress(row + 1, len(table))
    return corrupt


def _open_or_build(
    table: PersonTable, folder: Path, on_progress: OnProgress | None
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The pixel file of a table: ``images.u8``, with ``images.json``, written after it, that says what is in it."""
    assert table.paths is not None
    data, index = folder / "images.u8", folder / "images.json"
    shape = (len(table), *table.canvas, 3)
    files = fingerprint(table)
    known = _read_index(index)
    if known is None or known["fingerprint"] != files or data.stat().st_size != math.prod(shape):
        if known is not None:
            log.info("%s: the images have changed since it was built; building it again", data)
        index.unlink(missing_ok=True)  # from here to the last line the folder counts as not built
        with atomic_path(data) as temporary:
            pixels = np.memmap(temporary, dtype=np.uint8, mode="w+", shape=shape)
            corrupt = _decode(table, pixels, on_progress)
            pixels.flush()
        entry = {"format": FORMAT, "fingerprint": files, "shape": shape, "corrupt": corrupt}
        with atomic_write(index) as file:
            json.dump(entry, file)
    else:
        corrupt = {int(row): reason for row, reason in known["corrupt"].items()}
    # Copy-on-write, as torch wants a writable array; nobody writes.
    return np.memmap(data, dtype=np.uint8, mode="c", shape=shape), corrupt


def _read_index(index: Path) -> dict[str, Any] | None:
    """What ``images.json`` says; None when it or the pixel file is missing or of another format."""
    try:
        known = json.loads(index.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if not index.with_suffix(".u8").is_file() or not isinstance(known, dict) or known.get("format") != FORMAT:
        return None
    return known


def fingerprint(table: PersonTable) -> str:
    """A SHA-256 of a table's canvas and fill and of its image files' places, sizes and times of change.

    Args:
        table: read with paths.

    Raises:
        DataError: a file is missing or cannot be asked.
    """
    assert table.paths is not None
    digest = hashlib.sha256(repr((table.canvas, table.fill)).encode())
    for path in table.paths:
        try:
            state = path.stat()
        except OSError as error:
            raise DataError(f"the image {path} cannot be read: {error}") from error
        digest.update(f"{path.resolve()}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()
