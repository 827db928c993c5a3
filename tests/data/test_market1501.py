"""Market-1501 in its original layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from pg2lib import DataError, make_pairs, read_keypoints, read_market1501, read_pairs


def test_market1501_reader_skips_and_counts_what_is_no_person(tiny_market1501: Path) -> None:
    folder = tiny_market1501 / "bounding_box_train"
    image = next(folder.iterdir()).read_bytes()
    for name in ("-1_c1s1_000401_03.jpg", "0000_c1s1_000401_03.jpg", "0009_c1s1_000401_03.jpg", "me.jpg", "Thumbs.db"):
        (folder / name).write_bytes(image)
    gone = sorted(folder.glob("0002_*"))[0]
    gone.unlink()
    table = read_market1501(tiny_market1501, "train")
    assert (len(table), len(set(table.persons))) == (11, 3)
    assert {skip.name: skip.kind for skip in table.skipped} == {
        "-1_c1s1_000401_03.jpg": "junk",
        "0000_c1s1_000401_03.jpg": "distractor",
        "0009_c1s1_000401_03.jpg": "no keypoints",
        "me.jpg": "unknown name",
        gone.name: "no image",
    }
    assert all(path.is_file() and path.name == name for path, name in zip(table.paths, table.names, strict=True))


def test_market1501_is_found_below_the_folder_given(tiny_market1501: Path) -> None:
    assert len(read_market1501(tiny_market1501.parent, "train", tiny_market1501 / "market-annotation-train.csv")) == 12


def test_market1501_that_is_not_there(tiny_market1501: Path, tmp_path) -> None:
    with pytest.raises(DataError, match="no folder bounding_box_test"):
        read_market1501(tiny_market1501, "test")
    with pytest.raises(DataError, match="no folder .*nowhere"):
        read_market1501(tmp_path / "nowhere", "train")
    (tiny_market1501 / "market-annotation-train.csv").unlink()
    with pytest.raises(DataError, match=r"market-annotation-train\.csv is not in .*prepare"):
        read_market1501(tiny_market1501, "train")


def test_the_counts_of_the_real_market1501(market1501_root: Path) -> None:
    """Section 4.1 and the widely used pair list."""
    train = read_market1501(market1501_root, "train")
    assert (len(train), len(set(train.persons)), train.skipped) == (12_936, 751, ())
    assert (len(make_pairs(train, "all")), len(make_pairs(train, "torso"))) == (296_938, 263_632)
    test = read_market1501(market1501_root, "test")
    assert (len(test) + len(test.skipped), len(set(test.persons))) == (19_732, 750)
    assert len(read_pairs(market1501_root / "market-pairs-test.csv", test)) == 12_000
    alone = read_keypoints(market1501_root / "market-annotation-train.csv", (128, 64))
    assert len(make_pairs(alone, "torso")) == 263_632
