"""The batches of a training run: which pairs each of them holds, and how their images are read ahead."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from pg2lib.data.pairs import PairTable
from pg2lib.data.store import ImageStore, PairBatch, StoredImages
from pg2lib.errors import DataError

_Drawn = tuple[Tensor, Tensor, Tensor, StoredImages, StoredImages]
"""The arguments of `ImageStore.assemble`: rows of the condition and of the target, flips, and the images of both."""


class PairOrder:
    """Which pairs a batch holds, and which of them are flipped: a function of the seed and the batch's number alone.

    Every pair comes once per epoch, and every epoch has its own order. A batch may span two epochs. As there is no
    state, there is nothing to save: a run resumes at a step by asking for the batch of that step.

    Args:
        pairs: How many pairs there are.
        batch_size: Pairs per batch.
        seed: Seed of the order and the flips.
        flip: Whether half of the pairs are flipped.
        device: Device of the results. They are copied there one epoch at a time, so that no step waits for a copy.

    Raises:
        DataError: There are no pairs.
    """

    def __init__(
        self, pairs: int, batch_size: int, seed: int, flip: bool = True, device: torch.device | str = "cpu"
    ) -> None:
        if pairs < 1:
            raise DataError(f"expected at least one pair to draw from, got {pairs}")
        self.pairs, self.batch_size, self.seed, self.flip, self.device = pairs, batch_size, seed, flip, device
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    def __call__(self, step: int) -> tuple[Int64[Tensor, "batch"], Bool[Tensor, "batch"]]:
        """Return the pairs of a batch, as indices, and whether each is flipped. Batches are counted from 0."""
        drawn = []
        place, end = step * self.batch_size, (step + 1) * self.batch_size
        while place < end:
            epoch, first = divmod(place, self.pairs)
            order, coins = self._epoch(epoch)
            part = slice(first, first + end - place)
            drawn.append((order[part], coins[part]))
            place += len(order[part])
        indices, coins = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        return indices, coins

    def _shuffle(self, epoch: int) -> tuple[Tensor, Tensor]:
        digest = hashlib.sha256(f"{self.seed}/{epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        order = torch.randperm(self.pairs, generator=generator)
        coins = torch.rand(self.pairs, generator=generator) < 0.5
        return order.to(self.device), (coins & self.flip).to(self.device)


class PairFeed:
    """The batches of a training run.

    Images that are resident on the GPU are indexed there, and nothing is copied from the CPU. Other images are read by
    a thread, one batch ahead, into pinned memory, from which they are copied asynchronously.

    Args:
        store: The images.
        pairs: The pairs, made from ``store.table``.
        batch_size, seed, flip: As in `PairOrder`; the batch size is that of all processes together.
        share: Which pairs of each batch belong to this process.
        read_ahead: Whether to use the thread; by default, where the images are not on the device of the batches.

    Raises:
        DataError: There are no pairs, or they are of another table than the store.
    """

    def __init__(
        self,
        store: ImageStore,
        pairs: PairTable,
        batch_size: int,
        seed: int,
        flip: bool,
        share: slice = slice(None),
        read_ahead: bool | None = None,
    ) -> None:
        store.check(pairs)
        self.store, self.share = store, share
        self.order = PairOrder(len(pairs), batch_size, seed, flip, store.pixels_device)
        self.from_rows, self.to_rows = (rows.to(store.pixels_device) for rows in (pairs.from_rows, pairs.to_rows))
        self._reader = ThreadPoolExecutor(1) if (not store.resident if read_ahead is None else read_ahead) else None
        self._ahead: dict[int, Future[_Drawn]] = {}

    def __call__(self, number: int) -> PairBatch:
        """Return this process's share of a batch. Batches are counted from 0."""
        if self._reader is None:
            return self.store.assemble(*self._read(number))
        reading = self._ahead.pop(number, None) or self._reader.submit(self._read, number)
        self._ahead = {number + 1: self._reader.submit(self._read, number + 1)}
        return self.store.assemble(*reading.result())

    def _read(self, number: int) -> _Drawn:
        indices, flips = (drawn[self.share] for drawn in self.order(number))
        from_rows, to_rows = self.from_rows[indices], self.to_rows[indices]
        return from_rows, to_rows, flips, self.store.read(from_rows), self.store.read(to_rows)
