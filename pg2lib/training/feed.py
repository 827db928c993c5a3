"""What a training run draws: which pairs make the batch of a step, and the batches themselves, made ahead of need."""

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
"""What `ImageStore.assemble` takes: rows of the condition and of the target, flips, and the images of both."""


class PairOrder:
    """Which pairs make the batch of a step, and which of them are flipped: a function of the seed and the step alone.

    Every pair comes once an epoch, in an order shuffled anew; batches run on over the end of an epoch. With nothing to
    remember there is nothing to save: a run resumes at a step by asking for that step.

    Args:
        device: where indices and coins are to be. They go there an epoch at a time, so that no step waits for it.
    """

    def __init__(
        self, pairs: int, batch_size: int, seed: int, flip: bool = True, device: torch.device | str = "cpu"
    ) -> None:
        if pairs < 1:
            raise DataError("there is no pair to draw from")
        self.pairs, self.batch_size, self.seed, self.flip, self.device = pairs, batch_size, seed, flip, device
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    def __call__(self, step: int) -> tuple[Int64[Tensor, "batch"], Bool[Tensor, "batch"]]:
        """Pair indices and flip coins of the batch of one step, counted from 0."""
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

    Images that are resident on the GPU are looked up there: nothing passes from the CPU. Those that are not are read
    one batch ahead by a thread, into pinned memory, from which they are copied without waiting.

    Args:
        share: which pairs of each batch are this process's.
        read_ahead: use the thread; by default where the images are not on the device of the batches.
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
        """This process's share of a batch, counted from 0."""
        if self._reader is None:
            return self.store.assemble(*self._read(number))
        reading = self._ahead.pop(number, None) or self._reader.submit(self._read, number)
        self._ahead = {number + 1: self._reader.submit(self._read, number + 1)}
        return self.store.assemble(*reading.result())

    def _read(self, number: int) -> _Drawn:
        indices, flips = (drawn[self.share] for drawn in self.order(number))
        from_rows, to_rows = self.from_rows[indices], self.to_rows[indices]
        return from_rows, to_rows, flips, self.store.read(from_rows), self.store.read(to_rows)
