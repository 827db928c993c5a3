from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import (
    DataError,
    ImageStore,
    PersonTable,
    PG2Error,
    make_pairs,
    read_keypoints,
    read_market1501,
    render_heatmaps,
    render_pose_masks,
)
from pg2lib.data import store as store_module
from pg2lib.data.synthetic import render_person
from pg2lib.images import to_uint8
from pg2lib.pose import flip_xy


def open_tiny(root: Path, **options) -> ImageStore:
    return ImageStore.open(read_market1501(root, "train"), **options)


def test_the_store_holds_the_pixels_of_the_files(tiny_market1501: Path, tmp_path) -> None:
    for folder in (None, tmp_path / "cache"):
        store = open_tiny(tiny_market1501, folder=folder)
        for row, path in enumerate(store.table.paths):
            expected = np.asarray(Image.open(path).convert("RGB"))
            assert np.array_equal(store.images(torch.tensor([row]))[0].permute(1, 2, 0).numpy(), expected)


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def pixels_of(store: ImageStore) -> torch.Tensor:
    return store.images(torch.arange(len(store))).permute(0, 2, 3, 1)


def decoded(table: PersonTable) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(table.load(row)) for row in range(len(table))]))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which rows are decoded, from here on."""
    rows: list[int] = []
    load = PersonTable.load
    monkeypatch.setattr(PersonTable, "load", lambda table, row: (rows.append(row), load(table, row))[1])
    return rows


def test_it_decodes_once_and_again_when_a_source_changes(tiny_market1501: Path, tmp_path, loads: list[int]) -> None:
    told: list[int] = []
    options = {"folder": tmp_path / "cache", "on_progress": lambda done, total: told.append(done)}
    store = open_tiny(tiny_market1501, **options)
    assert told == list(range(1, 13))
    open_tiny(tiny_market1501, **options)
    assert len(told) == len(loads) == 12
    before = {path.name for path in (tmp_path / "cache").iterdir()}
    Image.new("RGB", (64, 128), (1, 2, 3)).save(store.table.paths[5])
    again = open_tiny(tiny_market1501, **options)
    assert len(told) == len(loads) == 24
    assert again.images(torch.tensor([5])).float().mean() < 4
    after = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert before.isdisjoint(after)  # nothing of what has changed is left
    assert [Path(name).suffix for name in after] == [".json", ".u8"]


def test_an_interrupted_build_does_not_count_as_built_and_goes_on(
    tiny_market1501: Path, tmp_path, monkeypatch, loads: list[int]
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(store_module, "BLOCK_SIZE", 1)
    with pytest.raises(KeyboardInterrupt):
        open_tiny(tiny_market1501, folder=tmp_path / "cache", on_progress=stop)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".growing"]
    loads.clear()
    told: list[tuple[int, int]] = []
    store = open_tiny(tiny_market1501, folder=tmp_path / "cache", on_progress=lambda *done: told.append(done))
    assert sorted(loads) == list(range(5, 12))
    assert told == [(number, 12) for number in range(5, 13)]
    assert torch.equal(pixels_of(store), decoded(store.table))
    assert [path.suffix for path in sorted((tmp_path / "cache").iterdir())] == [".json", ".u8"]


def test_an_image_that_cannot_be_used_is_still_known_after_a_kill(tiny_market1501: Path, tmp_path, monkeypatch) -> None:
    files = sorted((tiny_market1501 / "bounding_box_train").iterdir())
    files[1].write_bytes(b"")

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(store_module, "BLOCK_SIZE", 1)
    with pytest.raises(KeyboardInterrupt):
        open_tiny(tiny_market1501, folder=tmp_path / "cache", on_progress=stop)
    with pytest.raises(DataError, match="1 of 12 images") as caught:
        open_tiny(tiny_market1501, folder=tmp_path / "cache")
    assert files[1].name in str(caught.value)


def test_black_images_are_images(tiny_market1501: Path, tmp_path) -> None:
    black = sorted((tiny_market1501 / "bounding_box_train").iterdir())[4]
    Image.new("RGB", (64, 128)).save(black)
    for folder in (None, tmp_path / "cache", tmp_path / "cache"):
        store = open_tiny(tiny_market1501, folder=folder)
        assert len(store) == 12
        assert not store.images(torch.tensor([4])).any()


def test_an_image_out_of_reach_for_a_moment_is_looked_at_again(tiny_market1501: Path, tmp_path, monkeypatch) -> None:
    table = read_market1501(tiny_market1501, "train")
    expected, load, failed = decoded(table), PersonTable.load, set()

    def load_second_time(table: PersonTable, row: int) -> Image.Image:
        if row == 3 and not failed:
            failed.add(row)
            raise DataError("the network was away")
        return load(table, row)

    for folder in (None, tmp_path / "cache"):
        failed.clear()
        with monkeypatch.context() as patch:
            patch.setattr(PersonTable, "load", load_second_time)
            assert torch.equal(pixels_of(ImageStore.open(table, folder)), expected)
    assert torch.equal(pixels_of(ImageStore.open(table, tmp_path / "cache")), expected)


def test_tables_share_a_folder(tiny_market1501: Path, tmp_path, loads: list[int]) -> None:
    table = read_market1501(tiny_market1501, "train")
    tables = [table, table.select(range(6)), table.select(range(6, 12)), table.select(range(11, -1, -1))]
    for _ in range(2):
        for each in tables:
            store = ImageStore.open(each, tmp_path)
            done, expected = len(loads), decoded(each)
            del loads[done:]
            assert torch.equal(pixels_of(store), expected)
    assert len(loads) == 12 + 6 + 6 + 12


def test_tables_opened_at_the_same_time_in_a_folder_get_their_own_pixels(tiny_market1501: Path, tmp_path) -> None:
    table = read_market1501(tiny_market1501, "train")
    tables = [table.select(range(6)), table.select(range(6, 12))]
    expected = [decoded(each) for each in tables]
    for number in range(10):  # a folder each time, so that each time it is built
        with ThreadPoolExecutor(8) as pool:
            opened = [pool.submit(ImageStore.open, tables[i % 2], tmp_path / str(number)) for i in range(8)]
        for i, store in enumerate(opened):
            assert torch.equal(pixels_of(store.result()), expected[i % 2])
        assert sorted(path.suffix for path in (tmp_path / str(number)).iterdir()) == [".json", ".json", ".u8", ".u8"]


def test_only_outdated_files_of_the_same_images_are_removed(tiny_market1501: Path, tmp_path, caplog) -> None:
    folder, table = tmp_path / "cache", read_market1501(tiny_market1501, "train")
    changing, other = table.select(range(6)), table.select(range(4, 12))
    ImageStore.open(changing, folder)
    outdated = set(folder.iterdir())
    ImageStore.open(other, folder)
    kept = set(folder.iterdir()) - outdated
    Image.new("RGB", (64, 128), (1, 2, 3)).save(table.paths[0])
    with caplog.at_level(logging.INFO):
        ImageStore.open(changing, folder)
    assert outdated.isdisjoint(folder.iterdir())
    assert kept < set(folder.iterdir())
    assert all(str(path) in caplog.text for path in outdated)


def test_a_full_disk_is_an_error_before_anything_is_decoded(
    tiny_market1501: Path, tmp_path, monkeypatch, loads: list[int]
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=12 * 128 * 64 * 3 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"needs 0.3 MB more") as caught:
        open_tiny(tiny_market1501, folder=tmp_path / "cache")
    assert str(tmp_path / "cache") in str(caught.value)
    assert loads == []


def test_a_folder_that_is_a_file_is_refused(tiny_market1501: Path, tmp_path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="cannot be written to") as caught:
        open_tiny(tiny_market1501, folder=tmp_path / "cache")
    assert str(tmp_path / "cache") in str(caught.value)
    assert (tmp_path / "cache").read_text() == "a file"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of the size of files")
def test_a_disk_that_becomes_full_is_an_error_and_what_was_done_is_kept(
    tiny_market1501: Path, tmp_path, monkeypatch, loads: list[int]
) -> None:
    import resource

    monkeypatch.setattr(store_module, "BLOCK_SIZE", 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (7 * 128 * 64 * 3 + 100, limits[1]))
    try:
        with pytest.raises(DataError, match="cannot be written to") as caught:
            open_tiny(tiny_market1501, folder=tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(tmp_path / "cache") in str(caught.value)
    loads.clear()
    store = open_tiny(tiny_market1501, folder=tmp_path / "cache")
    assert sorted(loads) == list(range(7, 12))
    assert torch.equal(pixels_of(store), decoded(store.table))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs a system that reserves space")
def test_space_is_reserved_before_a_map_is_written(tiny_market1501: Path, tmp_path, monkeypatch) -> None:
    """A copy of a store may have holes; writing into one through a map on a full disk would kill the process."""
    open_tiny(tiny_market1501, folder=tmp_path / "cache")
    index, pixels = only(tmp_path / "cache", "*.json"), only(tmp_path / "cache", "images-*.u8")
    index.unlink()
    reserved = []

    def full(file: int, start: int, length: int) -> None:
        reserved.append((os.fstat(file).st_ino, start, length))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        with pytest.raises(DataError, match="cannot be written to .*No space left"):
            open_tiny(tiny_market1501, folder=tmp_path / "cache")
    assert reserved == [(pixels.stat().st_ino, 0, pixels.stat().st_size)]
    store = open_tiny(tiny_market1501, folder=tmp_path / "cache")
    assert torch.equal(pixels_of(store), decoded(store.table))


@pytest.mark.parametrize("third", [False, True])
def test_two_processes_build_one_store_and_neither_takes_what_a_third_begins(
    tiny_market1501: Path, tmp_path, monkeypatch, third: bool
) -> None:
    monkeypatch.setattr(store_module, "BLOCK_SIZE", 1)
    cache, begun = tmp_path / "cache", []

    def second(done: int, total: int) -> None:
        if done == 6 and not begun:
            begun.append(open_tiny(tiny_market1501, folder=cache))
            if third:
                only(cache, "images-*.u8").with_suffix(".u8.growing").write_bytes(b"a start")

    first = open_tiny(tiny_market1501, folder=cache, on_progress=second)
    for store in (first, *begun):
        assert torch.equal(pixels_of(store), decoded(store.table))
    assert only(cache, "images-*.u8").stat().st_size == 12 * 128 * 64 * 3
    assert [path.read_bytes() for path in cache.glob("*.growing")] == [b"a start"] * third


@pytest.mark.parametrize("block_size", [1, 5, 12])
def test_images_decoded_in_parts_are_told_one_by_one_and_all_that_is_wrong_is_found(
    tiny_market1501: Path, monkeypatch, block_size: int
) -> None:
    files = sorted((tiny_market1501 / "bounding_box_train").iterdir())
    for number in (0, 4, 11):
        files[number].write_bytes(b"")
    monkeypatch.setattr(store_module, "BLOCK_SIZE", block_size)
    done: list[tuple[int, int]] = []
    with pytest.raises(DataError, match="3 of 12 images") as caught:
        open_tiny(tiny_market1501, on_progress=lambda *progress: done.append(progress))
    assert done == [(number, 12) for number in range(1, 13)]
    assert all(files[number].name in str(caught.value) for number in (0, 4, 11))


def test_a_pixel_file_of_the_wrong_length_is_built_again(tiny_market1501: Path, tmp_path) -> None:
    expected = pixels_of(open_tiny(tiny_market1501))
    for change in (-1, 1):
        open_tiny(tiny_market1501, folder=tmp_path)
        pixels = only(tmp_path, "images-*.u8")
        whole = pixels.read_bytes()
        pixels.write_bytes(whole[:-1] if change < 0 else whole + b"0")
        assert torch.equal(pixels_of(open_tiny(tiny_market1501, folder=tmp_path)), expected)
        assert pixels.read_bytes() == whole


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"null", b'"corrupt"', b"\xff\xfe", b'{"format": 1}', b'{"corrupt": {}}',
        b'{"fingerprint": "another", "corrupt": {}}', b'{"corrupt": []}', b'{"corrupt": {"x": "y"}}',
    ],
)  # fmt: skip
def test_a_damaged_index_is_made_again_from_the_pixels(
    tiny_market1501: Path, tmp_path, loads: list[int], text: bytes
) -> None:
    sorted((tiny_market1501 / "bounding_box_train").iterdir())[2].write_bytes(b"")
    before = pixels_of(open_tiny(tiny_market1501, folder=tmp_path / "cache", skip_corrupt=True))
    index = only(tmp_path / "cache", "*.json")
    good = index.read_bytes()
    index.write_bytes(text)
    loads.clear()
    assert torch.equal(pixels_of(open_tiny(tiny_market1501, folder=tmp_path / "cache", skip_corrupt=True)), before)
    assert loads == [2]  # the one without pixels
    assert index.read_bytes() == good


@pytest.mark.parametrize("cached", [False, True])
def test_corrupt_and_odd_sized_images_are_named_then_skipped_on_demand(
    tiny_market1501: Path, tmp_path, caplog, cached: bool
) -> None:
    files = sorted((tiny_market1501 / "bounding_box_train").iterdir())
    files[1].write_bytes(files[1].read_bytes()[:200])
    Image.new("RGB", (60, 128)).save(files[7])
    folder = tmp_path / "cache" if cached else None
    with pytest.raises(DataError, match="2 of 12 images cannot be used") as caught:
        open_tiny(tiny_market1501, folder=folder)
    assert str(files[1]) in str(caught.value)
    assert f"{files[7]}: expected 64x128 pixels, got 60x128" in str(caught.value)
    for _ in range(2):  # the second time from the cache
        with caplog.at_level(logging.WARNING):
            store = open_tiny(tiny_market1501, folder=folder, skip_corrupt=True)
        assert "2 images cannot be used" in caplog.text
        assert len(store) == 10
        assert {(skip.name, skip.kind) for skip in store.table.skipped} == {
            (files[1].name, "unusable"), (files[7].name, "unusable"),
        }  # fmt: skip
        kept = [path for path in files if path not in (files[1], files[7])]
        assert store.table.paths == tuple(kept)
        assert np.array_equal(
            store.images(torch.tensor([9]))[0].permute(1, 2, 0).numpy(), np.asarray(Image.open(kept[9]).convert("RGB"))
        )


def test_a_store_that_leaves_images_out_keeps_its_rows_when_it_moves(tiny_market1501: Path) -> None:
    sorted((tiny_market1501 / "bounding_box_train").iterdir())[1].write_bytes(b"")
    store = open_tiny(tiny_market1501, skip_corrupt=True)
    assert torch.equal(pixels_of(store.to("cpu", resident=True)), decoded(store.table))


def test_tables_without_images_and_foreign_pairs_are_refused(tiny_market1501: Path) -> None:
    table = read_keypoints(tiny_market1501 / "market-annotation-train.csv", (128, 64))
    with pytest.raises(DataError, match="read without images"):
        ImageStore.open(table)
    store = open_tiny(tiny_market1501)
    with pytest.raises(DataError, match="another table"):
        store.batch(make_pairs(table), torch.tensor([0]))


def test_a_batch_is_what_it_says(tiny_market1501: Path) -> None:
    store = open_tiny(tiny_market1501)
    pairs = make_pairs(store.table)
    batch = store.batch(pairs, torch.tensor([3, 10]))
    assert torch.equal(batch.from_rows, pairs.from_rows[[3, 10]])
    assert torch.equal(to_uint8(batch.condition_image), store.images(batch.from_rows))
    assert torch.equal(to_uint8(batch.target_image), store.images(batch.to_rows))
    assert torch.equal(batch.target_xy, store.table.xy[batch.to_rows])
    assert torch.equal(batch.target_heatmaps, render_heatmaps(batch.target_xy, (128, 64)))
    assert torch.equal(batch.target_mask, render_pose_masks(batch.target_xy, (128, 64)))


def test_a_flip_takes_the_whole_pair(tiny_market1501: Path) -> None:
    store = open_tiny(tiny_market1501)
    pairs = make_pairs(store.table)
    indices = torch.tensor([2, 2])
    batch = store.batch(pairs, indices, torch.tensor([False, True]))
    for images in (batch.condition_image, batch.target_image):
        assert torch.equal(images[1], images[0].flip(-1))
    for xy in (batch.condition_xy, batch.target_xy):
        assert torch.equal(xy[1].nan_to_num(-1), flip_xy(xy[0], 64).nan_to_num(-1))
    assert torch.equal(batch.target_heatmaps[1:], render_heatmaps(batch.target_xy[1:], (128, 64)))
    assert torch.equal(batch.target_mask[1:], render_pose_masks(batch.target_xy[1:], (128, 64)))


def test_all_pairs_come_in_order_and_the_last_batch_is_smaller(tiny_market1501: Path) -> None:
    store = open_tiny(tiny_market1501)
    pairs = make_pairs(store.table)
    batches = list(store.batches(pairs, batch_size=10))
    assert [len(batch) for batch in batches] == [10, 10, 10, 6]
    assert torch.equal(torch.cat([batch.to_rows for batch in batches]), pairs.to_rows)


# ---- mattes


class RedFinder:
    """A stand-in that takes the red channel for the matte, and remembers what it was shown."""

    shown: list[Image.Image]

    def __enter__(self) -> RedFinder:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def find(self, image: Image.Image) -> np.ndarray:
        type(self).shown.append(image)
        return np.asarray(image)[..., 0]


@pytest.fixture
def red(monkeypatch: pytest.MonkeyPatch) -> list[Image.Image]:
    """Pictures in which mattes were looked for; they are the red channel."""
    monkeypatch.setattr(RedFinder, "shown", [], raising=False)
    monkeypatch.setattr(store_module, "MatteFinder", RedFinder)
    monkeypatch.setattr(store_module, "check_mediapipe", lambda: None)
    return RedFinder.shown


@pytest.mark.parametrize("cached", [False, True])
def test_batches_have_mattes_and_a_flip_takes_them_along(tiny_market1501: Path, tmp_path, red, cached: bool) -> None:
    told: list[tuple[int, int]] = []
    store = open_tiny(
        tiny_market1501, folder=tmp_path if cached else None, mattes=True, on_progress=lambda *done: told.append(done)
    )
    assert store.has_mattes
    assert told == [(number, 12) for number in range(1, 13)] * 2
    batch = store.batch(make_pairs(store.table), torch.tensor([3, 3]), torch.tensor([False, True]))
    for matte, rows in ((batch.condition_matte, batch.from_rows), (batch.target_matte, batch.to_rows)):
        assert torch.equal(matte[0], store.images(rows)[0, :1].float() / 255)
        assert torch.equal(matte[1], matte[0].flip(-1))
        assert not torch.equal(matte[1], matte[0])
    assert "condition_matte (2, 1, 128, 64)" in repr(batch)


def test_stores_with_and_without_mattes_share_a_folder(tiny_market1501: Path, tmp_path, red, loads: list[int]) -> None:
    for mattes, decodes, finds in ((False, 12, 0), (True, 0, 12), (False, 0, 0), (True, 0, 0)):
        loads.clear()
        red.clear()
        store = open_tiny(tiny_market1501, folder=tmp_path, mattes=mattes)
        assert (len(loads), len(red)) == (decodes, finds)
        batch = store.batch(make_pairs(store.table), torch.tensor([0, 1]))
        assert store.has_mattes is mattes
        assert (batch.condition_matte is not None) is (batch.target_matte is not None) is mattes
        assert batch.condition_image.shape == (2, 3, 128, 64)
        assert ("matte" in repr(batch)) is mattes


def test_finding_mattes_goes_on_where_it_was_stopped(tiny_market1501: Path, tmp_path, monkeypatch, red) -> None:
    monkeypatch.setattr(store_module, "BLOCK_SIZE", 1)
    open_tiny(tiny_market1501, folder=tmp_path)

    def stop(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_tiny(tiny_market1501, folder=tmp_path, mattes=True, on_progress=stop)
    with only(tmp_path, "mattes-*.growing").open("r+b") as file:
        file.truncate(7 * 128 * 64 + 5)  # killed in the middle of a row
    red.clear()
    told: list[tuple[int, int]] = []
    store = open_tiny(tiny_market1501, folder=tmp_path, mattes=True, on_progress=lambda *done: told.append(done))
    assert len(red) == 5
    assert told == [(number, 12) for number in range(7, 13)]
    batch = store.batch(make_pairs(store.table), torch.arange(36))
    assert torch.equal(batch.condition_matte, store.images(batch.from_rows)[:, :1].float() / 255)
    assert list(tmp_path.glob("*.growing")) == []


def test_changed_images_get_new_mattes(tiny_market1501: Path, tmp_path, red) -> None:
    store = open_tiny(tiny_market1501, folder=tmp_path, mattes=True)
    Image.new("RGB", (64, 128), (255, 2, 3)).save(store.table.paths[0])
    store = open_tiny(tiny_market1501, folder=tmp_path, mattes=True)
    assert len(red) == 24
    assert len(list(tmp_path.glob("mattes-*"))) == 1
    pairs = make_pairs(store.table)
    index = int((pairs.from_rows == 0).nonzero()[0])
    assert store.batch(pairs, torch.tensor([index])).condition_matte.mean() > 0.98


@pytest.mark.parametrize("cached", [False, True])
def test_images_left_out_take_their_mattes_with_them(tiny_market1501: Path, tmp_path, red, cached: bool) -> None:
    sorted((tiny_market1501 / "bounding_box_train").iterdir())[1].write_bytes(b"")
    store = open_tiny(tiny_market1501, folder=tmp_path if cached else None, skip_corrupt=True, mattes=True)
    assert (len(store), len(red)) == (11, 11)
    batch = store.batch(make_pairs(store.table), torch.arange(6))
    assert torch.equal(batch.target_matte, store.images(batch.to_rows)[:, :1].float() / 255)


def test_without_mediapipe_mattes_that_are_known_are_read_and_others_refused_block_size(
    tiny_market1501: Path, tmp_path, monkeypatch, loads: list[int]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(RedFinder, "shown", [], raising=False)
        patch.setattr(store_module, "MatteFinder", RedFinder)
        patch.setattr(store_module, "check_mediapipe", lambda: None)
        open_tiny(tiny_market1501, folder=tmp_path / "with", mattes=True)
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.selfie_segmentation", None)
    assert open_tiny(tiny_market1501, folder=tmp_path / "with", mattes=True).has_mattes
    loads.clear()
    for folder in (None, tmp_path / "without"):
        with pytest.raises(PG2Error, match=r"pg2lib\[pose\]"):
            open_tiny(tiny_market1501, folder=folder, mattes=True)
    assert loads == []


def test_mediapipe_finds_the_mattes_of_a_store(tiny_market1501: Path, tmp_path) -> None:
    pytest.importorskip("mediapipe.python.solutions.selfie_segmentation", reason="needs mediapipe with its models")
    people = [render_person(seed, seed + 100, "market") for seed in range(12)]
    for person, path in zip(people, read_market1501(tiny_market1501, "train").paths, strict=True):
        person.image.save(path, quality=95)
    store = open_tiny(tiny_market1501, folder=tmp_path, mattes=True)
    pairs = make_pairs(store.table)
    batch = store.batch(pairs, torch.arange(len(pairs)))
    true = torch.stack([torch.from_numpy(people[row].silhouette) for row in batch.to_rows.tolist()])
    found = batch.target_matte[:, 0] > 0.5
    assert float(((found & true).sum((1, 2)) / (found | true).sum((1, 2))).median()) > 0.8
