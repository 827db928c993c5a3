"""Pair rules, pair files and samples of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pg2lib import DataError, PersonTable, make_pairs, read_pairs, write_pairs


def table_of(*persons: str) -> PersonTable:
    names = tuple(f"{i}.jpg" for i in range(len(persons)))
    return PersonTable(names, persons, torch.ones(len(persons), 18, 2), (128, 64))


def test_pairs_are_all_ordered_pairs_of_one_person() -> None:
    pairs = make_pairs(table_of("a", "b", "a", "c", "a", "b"))
    found = {(int(a), int(b)) for a, b in zip(pairs.from_rows, pairs.to_rows, strict=True)}
    assert found == {(0, 2), (2, 0), (0, 4), (4, 0), (2, 4), (4, 2), (1, 5), (5, 1)}
    assert len(pairs) == len(found)


def test_torso_wants_shoulders_and_hips_in_both() -> None:
    table = table_of("a", "a", "a")
    table.xy[2, 8] = math.nan
    assert len(make_pairs(table, "all")) == 6
    assert len(make_pairs(table, "torso")) == 2
    table.xy[:, 0] = math.nan  # the nose says nothing
    assert len(make_pairs(table, "torso")) == 2


def test_no_pair_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="nobody has two images"):
        make_pairs(table_of("a", "b"))
    with pytest.raises(DataError, match="all, torso.*'every'"):
        make_pairs(table_of("a", "a"), "every")


def test_pair_files_round_trip(tmp_path) -> None:
    pairs = make_pairs(table_of("a", "a", "a", "b", "b")).sample(5, seed=3)
    write_pairs(tmp_path / "pairs.csv", pairs)
    again = read_pairs(tmp_path / "pairs.csv", pairs.table)
    assert torch.equal(again.from_rows, pairs.from_rows)
    assert torch.equal(again.to_rows, pairs.to_rows)


def test_pair_files_of_windows_and_with_paths(tmp_path) -> None:
    names = [f"fashionMENJackets_Vestsid0000000701_{view}.jpg" for view in ("1front", "2side")]
    table = PersonTable(tuple(names), ("p", "p"), torch.zeros(2, 18, 2), (256, 256))
    folder = "img\\MEN\\Jackets_Vests\\id_00000007\\"
    (tmp_path / "p.csv").write_text(f"from,to\n{folder}01_1_front.jpg,{folder}01_2_side.jpg\n")
    assert read_pairs(tmp_path / "p.csv", table).names(0) == tuple(names)


def test_pair_files_with_mistakes(tmp_path) -> None:
    table, file = table_of("a", "a"), tmp_path / "p.csv"
    file.write_text("from,to\n0.jpg,1.jpg\n0.jpg,9.jpg\n")
    with pytest.raises(DataError, match=r"p\.csv:3: 9\.jpg"):
        read_pairs(file, table)
    kept = read_pairs(file, table, skip_unknown=True)
    assert (len(kept), [(skip.name, skip.kind) for skip in kept.skipped]) == (1, [("p.csv:3", "no image")])
    file.write_text("to,from\n")
    with pytest.raises(DataError, match=r"p\.csv:1: .*'from,to'"):
        read_pairs(file, table)
    file.write_text("from,to\n0.jpg\n")
    with pytest.raises(DataError, match=r"p\.csv:2: .*'0\.jpg'"):
        read_pairs(file, table)
    file.write_text("from,to\n8.jpg,9.jpg\n")
    with pytest.raises(DataError, match=r"no pair has both.*\(p\.csv:2: no image 8\.jpg\)\. Read"):
        read_pairs(file, table, skip_unknown=True)


FASHION = tuple(f"fashionWOMENDressesid00000002{i:02d}_{i}front.jpg" for i in range(1, 4))
PATHS = tuple(f"img/WOMEN/Dresses/id_00000002/{i:02d}_{i}_front.jpg" for i in range(1, 4))


def fashion_table() -> PersonTable:
    return PersonTable(FASHION, ("a",) * 3, torch.ones(3, 18, 2), (256, 256))


def rows_of(path: Path, table: PersonTable) -> list[tuple[int, int]]:
    pairs = read_pairs(path, table)
    return list(zip(pairs.from_rows.tolist(), pairs.to_rows.tolist(), strict=True))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path,
        lambda path: path.replace("/", "\\"),
        lambda path: path.replace(".jpg", ".png"),
        lambda path: f"D:\\fashion\\{path}",
        lambda path: FASHION[PATHS.index(path)].replace(".jpg", ".png"),
        lambda path: f" {path} ",
    ],
    ids=["posix", "windows", "png", "drive", "flat png", "blanks"],
)
def test_pair_files_may_name_images_in_any_way(tmp_path, change: Callable[[str], str]) -> None:
    first, second, third = map(change, PATHS)
    (tmp_path / "p.csv").write_text(f"From,to\n{first},{second}\n{second},{third}\n\n")
    assert rows_of(tmp_path / "p.csv", fashion_table()) == [(0, 1), (1, 2)]


def test_lists_of_pidm_have_no_header_and_the_target_first(tmp_path) -> None:
    """RenYurui/Neural-Texture-Extraction-Distribution and ankanbhunia/PIDM, data/fashion_data.py: get_paths."""
    first, second, third = PATHS
    (tmp_path / "p.txt").write_text(f"{first},{second}\n{third},{second},{first}\n")
    assert rows_of(tmp_path / "p.txt", fashion_table()) == [(1, 0), (1, 2), (0, 2)]
    (tmp_path / "p.txt").write_text(f"{first},{second}\n{third}\n")
    with pytest.raises(DataError, match=r"p\.txt:2: expected two or more paths"):
        read_pairs(tmp_path / "p.txt", fashion_table())
    (tmp_path / "p.txt").write_text(f"{FASHION[0]},{FASHION[1]}\n")
    with pytest.raises(DataError, match=r"p\.txt:1: expected the header 'from,to'.*insert that line"):
        read_pairs(tmp_path / "p.txt", fashion_table())


def test_photos_are_found_by_their_name_if_only_one_has_it(tmp_path) -> None:
    names = ("anna/beach.png", "ben/beach.png", "ben/kitchen.png")
    table = PersonTable(names, ("anna", "ben", "ben"), torch.ones(3, 18, 2), (128, 64))
    (tmp_path / "p.csv").write_text("from,to\nben\\beach.jpg,kitchen.HEIC\nphotos/kitchen.png,anna/beach\n")
    assert rows_of(tmp_path / "p.csv", table) == [(1, 2), (2, 0)]
    (tmp_path / "p.csv").write_text("from,to\nbeach.jpg,kitchen.jpg\n")
    with pytest.raises(DataError, match=r"p\.csv:2: beach\.jpg is not in"):
        read_pairs(tmp_path / "p.csv", table)


def test_a_pair_file_that_git_lfs_left_out_is_named_as_such(tmp_path) -> None:
    (tmp_path / "pairs.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(DataError, match=r"pairs\.csv.*git lfs pull"):
        read_pairs(tmp_path / "pairs.csv", table_of("a", "a"))


def test_samples_are_seeded_and_without_repeats() -> None:
    pairs = make_pairs(table_of(*"aaaa"))
    first, second = pairs.sample(7, seed=1), pairs.sample(7, seed=1)
    assert torch.equal(first.from_rows, second.from_rows)
    assert len(set(zip(first.from_rows.tolist(), first.to_rows.tolist(), strict=True))) == 7
    assert not torch.equal(pairs.sample(7, seed=2).from_rows, first.from_rows)
    with pytest.raises(DataError, match="cannot draw 13 pairs from 12"):
        pairs.sample(13, seed=0)
