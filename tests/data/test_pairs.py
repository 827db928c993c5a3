"""Pair rules, pair files and samples of pairs."""

from __future__ import annotations

import math

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
    with pytest.raises(DataError, match="no pair has both"):
        read_pairs(file, table, skip_unknown=True)


def test_samples_are_seeded_and_without_repeats() -> None:
    pairs = make_pairs(table_of(*"aaaa"))
    first, second = pairs.sample(7, seed=1), pairs.sample(7, seed=1)
    assert torch.equal(first.from_rows, second.from_rows)
    assert len(set(zip(first.from_rows.tolist(), first.to_rows.tolist(), strict=True))) == 7
    assert not torch.equal(pairs.sample(7, seed=2).from_rows, first.from_rows)
    with pytest.raises(DataError, match="cannot draw 13 pairs from 12"):
        pairs.sample(13, seed=0)
