from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import (
    DataError,
    ImageStore,
    make_pairs,
    read_keypoints,
    read_market1501,
    render_heatmaps,
    render_pose_masks,
)
from pg2lib.data import store as store_module
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


def test_it_decodes_once_and_again_when_a_source_changes(tiny_market1501: Path, tmp_path) -> None:
    decoded: list[int] = []
    options = {"folder": tmp_path / "cache", "on_progress": lambda done, total: decoded.append(done)}
    store = open_tiny(tiny_market1501, **options)
    assert decoded == list(range(1, 13))
    open_tiny(tiny_market1501, **options)
    assert len(decoded) == 12
    changed = store.table.paths[5]
    Image.new("RGB", (64, 128), (1, 2, 3)).save(changed)
    again = open_tiny(tiny_market1501, **options)
    assert len(decoded) == 24
    assert again.images(torch.tensor([5])).float().mean() < 4
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["images.json", "images.u8"]


def test_an_interrupted_build_leaves_nothing_that_counts_as_built(tiny_market1501: Path, tmp_path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_tiny(tiny_market1501, folder=tmp_path / "cache", on_progress=stop)
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(open_tiny(tiny_market1501, folder=tmp_path / "cache")) == 12


@pytest.mark.parametrize("at_once", [1, 5, 12])
def test_images_decoded_in_parts_are_told_one_by_one_and_all_that_is_wrong_is_found(
    tiny_market1501: Path, monkeypatch, at_once: int
) -> None:
    files = sorted((tiny_market1501 / "bounding_box_train").iterdir())
    for number in (0, 4, 11):
        files[number].write_bytes(b"")
    monkeypatch.setattr(store_module, "DECODED_AT_ONCE", at_once)
    done: list[tuple[int, int]] = []
    with pytest.raises(DataError, match="3 of 12 images") as caught:
        open_tiny(tiny_market1501, on_progress=lambda *progress: done.append(progress))
    assert done == [(number, 12) for number in range(1, 13)]
    assert all(files[number].name in str(caught.value) for number in (0, 4, 11))


def test_a_pixel_file_of_the_wrong_length_is_built_again(tiny_market1501: Path, tmp_path) -> None:
    open_tiny(tiny_market1501, folder=tmp_path / "cache")
    pixels = tmp_path / "cache" / "images.u8"
    pixels.write_bytes(pixels.read_bytes()[:-1])
    open_tiny(tiny_market1501, folder=tmp_path / "cache")
    assert pixels.stat().st_size == 12 * 128 * 64 * 3
    (tmp_path / "cache" / "images.json").write_text("{")
    assert len(open_tiny(tiny_market1501, folder=tmp_path / "cache")) == 12
    assert json.loads((tmp_path / "cache" / "images.json").read_text())["corrupt"] == {}


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
    assert f"{files[7]} has 60x128 pixels, the data set 64x128" in str(caught.value)
    for _ in range(2):  # the second time from the cache
        with caplog.at_level(logging.WARNING):
            store = open_tiny(tiny_market1501, folder=folder, skip_corrupt=True)
        assert "2 images cannot be used" in caplog.text
        assert len(store) == 10
        assert {skip.name for skip in store.table.skipped} == {files[1].name, files[7].name}
        kept = [path for path in files if path not in (files[1], files[7])]
        assert store.table.paths == tuple(kept)
        assert np.array_equal(
            store.images(torch.tensor([9]))[0].permute(1, 2, 0).numpy(), np.asarray(Image.open(kept[9]).convert("RGB"))
        )


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
