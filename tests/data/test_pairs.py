"""Pair rules, pair files and samples of pairs."""

from __future__ import annotations

import math

import pytest
import torch

from pg2lib import DataError, PersonTable, make_pairs, read_pairs, write_pairs
from pg2lib.data.pairs import find_row


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
    with pytest.raises(DataError, match="no pair has both"):
        read_pairs(file, table, skip_unknown=True)


WOMAN = "fashionWOMENDressesid00000002{}.jpg"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from,to\nimg/WOMEN/Dresses/id_00000002/02_1_front.jpg,{1}\n", [(0, 1)]),
        ("from,to\nimg\\WOMEN\\Dresses\\id_00000002\\02_1_front.jpg,{1}\n", [(0, 1)]),
        ("from,to\nfashionWOMENDressesid0000000202_1front.png,{2}\n", [(0, 2)]),
        ("{1},{0}\n\n{2},{0}\n", [(0, 1), (0, 2)]),
        ("{2},{0},img/WOMEN/Dresses/id_00000002/02_2_side.jpg\n", [(0, 2), (1, 2)]),
    ],
)
def test_pair_files_of_other_methods(text: str, expected: list[tuple[int, int]], tmp_path, caplog) -> None:
    names = tuple(WOMAN.format(view) for view in ("02_1front", "02_2side", "02_3back"))
    table = PersonTable(names, ("a",) * 3, torch.ones(3, 18, 2), (256, 256))
    (tmp_path / "pairs.txt").write_text(text.format(*names))
    pairs = read_pairs(tmp_path / "pairs.txt", table)
    assert list(zip(pairs.from_rows.tolist(), pairs.to_rows.tolist(), strict=True)) == expected
    told = [record for record in caplog.records if "first image of a line is taken as the target" in record.message]
    assert len(told) == (0 if text.startswith("from") else 1)


def test_a_pair_file_that_git_lfs_left_out_is_named_as_such(tmp_path) -> None:
    (tmp_path / "pairs.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(DataError, match=r"pairs\.csv.*git lfs pull"):
        read_pairs(tmp_path / "pairs.csv", table_of("a", "a"))


@pytest.mark.parametrize(
    ("text", "row"),
    [("below\\0.jpg", 0), ("below/0.png", 0), ("./below/0", 0), (" below/0.jpg ", 0), ("0.jpg", None)],
)
def test_names_are_found_with_any_slashes_and_suffix_but_not_without_their_folder(text: str, row: int | None) -> None:
    table = PersonTable(("below/0.jpg",), ("a",), torch.ones(1, 18, 2), (128, 64))
    assert find_row(table, text) == row


def test_samples_are_seeded_and_without_repeats() -> None:
    pairs = make_pairs(table_of(*"aaaa"))
    first, second = pairs.sample(7, seed=1), pairs.sample(7, seed=1)
    assert torch.equal(first.from_rows, second.from_rows)
    assert len(set(zip(first.from_rows.tolist(), first.to_rows.tolist(), strict=True))) == 7
    assert not torch.equal(pairs.sample(7, seed=2).from_rows, first.from_rows)
    with pytest.raises(DataError, match="cannot draw 13 pairs from 12"):
        pairs.sample(13, seed=0)
