from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pg2lib.data.feed import PairFeed, PairOrder

from pg2lib import DataError, ImageStore, PairBatch, make_pairs, read_market1501


def test_every_pair_once_an_epoch_in_another_order_each() -> None:
    order = PairOrder(pairs=10, batch_size=4, seed=5)
    drawn = torch.cat([order(step)[0] for step in range(10)]).view(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in drawn.tolist())
    assert len({tuple(epoch) for epoch in drawn.tolist()}) == 4


def test_a_step_is_the_same_whenever_it_is_asked_for() -> None:
    ahead, fresh = PairOrder(100, 16, seed=1), PairOrder(100, 16, seed=1)
    for step in range(20):
        ahead(step)
    for got, expected in zip(fresh(7), ahead(7), strict=True):
        assert torch.equal(got, expected)
    assert not torch.equal(PairOrder(100, 16, seed=2)(7)[0], fresh(7)[0])


def test_half_of_the_pairs_are_flipped_or_none() -> None:
    assert PairOrder(20_000, 20_000, seed=0)(0)[1].float().mean() == pytest.approx(0.5, abs=0.02)
    assert not PairOrder(1_000, 1_000, seed=0, flip=False)(0)[1].any()


def test_a_batch_larger_than_the_data_runs_over_several_epochs() -> None:
    indices, flips = PairOrder(pairs=3, batch_size=8, seed=0)(0)
    assert (len(indices), len(flips)) == (8, 8)
    assert sorted(indices[:3].tolist()) == sorted(indices[3:6].tolist()) == [0, 1, 2]
    with pytest.raises(DataError, match="no pair to draw from"):
        PairOrder(0, 8, 0)


def tensors(batch: PairBatch) -> list[torch.Tensor]:
    return [value.nan_to_num(nan=-1.0) for value in vars(batch).values() if value is not None]


def store_with_mattes(root: Path) -> ImageStore:
    store = ImageStore.open(read_market1501(root, "train"))
    mattes = torch.randint(256, (len(store), *store.table.canvas), dtype=torch.uint8)
    return ImageStore(store.table, store.images(torch.arange(len(store))).permute(0, 2, 3, 1), mattes=mattes)


@pytest.mark.parametrize(
    "open_store", [lambda root: ImageStore.open(read_market1501(root, "train")), store_with_mattes]
)
@pytest.mark.parametrize("read_ahead", [False, True])
def test_the_feed_gives_each_process_its_share_of_the_order(
    tiny_market1501: Path, read_ahead: bool, open_store: Callable[[Path], ImageStore]
) -> None:
    store = open_store(tiny_market1501)
    pairs = make_pairs(store.table)
    order = PairOrder(len(pairs), 8, seed=3)
    for process in range(2):
        feed = PairFeed(store, pairs, 8, 3, True, slice(process, None, 2), read_ahead)
        for number in (5, 6, 7, 2, 3):  # the thread's guess is wrong once
            indices, flips = (drawn[process::2] for drawn in order(number))
            expected = store.batch(pairs, indices, flips)
            for got, value in zip(tensors(feed(number)), tensors(expected), strict=True):
                assert torch.equal(got, value)


def test_the_feed_reads_the_next_batch_while_one_is_learned_from(tiny_market1501: Path, monkeypatch) -> None:
    store = ImageStore.open(read_market1501(tiny_market1501, "train"))
    pairs = make_pairs(store.table)
    read: list[int] = []
    feed = PairFeed(store, pairs, 8, 3, True, read_ahead=True)
    monkeypatch.setattr(feed, "order", lambda number: (read.append(number), PairOrder(len(pairs), 8, 3)(number))[1])
    feed(0)
    feed._ahead[1].result(timeout=30)
    assert read == [0, 1]
    feed(1)
    feed._ahead[2].result(timeout=30)
    assert read == [0, 1, 2]


def test_an_error_of_the_reading_thread_reaches_the_run(tiny_market1501: Path, monkeypatch) -> None:
    store = ImageStore.open(read_market1501(tiny_market1501, "train"))
    feed = PairFeed(store, make_pairs(store.table), 8, 3, True, read_ahead=True)
    feed(0)
    feed._ahead.clear()
    monkeypatch.setattr(store, "read", lambda rows: torch.zeros(0)[rows])
    with pytest.raises(IndexError):
        feed(1)


def test_pairs_of_another_table_are_refused(tiny_market1501: Path) -> None:
    store, other = (ImageStore.open(read_market1501(tiny_market1501, "train")) for _ in range(2))
    with pytest.raises(DataError, match="belong to another table"):
        PairFeed(store, make_pairs(other.table), 8, 3, True)
