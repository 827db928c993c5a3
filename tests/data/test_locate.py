"""Where find_data looks, in which order, and what it says when there is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pg2lib import DataError
from pg2lib.data.locate import VARIABLE, find_data


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def market1501(folder: Path) -> Path:
    (folder / "Market-1501-v15.09.15" / "bounding_box_train").mkdir(parents=True)
    return folder


def test_looks_upwards_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = market1501(tmp_path / "data" / "market1501")
    (tmp_path / "notebooks" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks" / "deeper")
    assert find_data() == root


def test_shared_data_come_after_every_data_folder(tmp_path: Path) -> None:
    start = tmp_path / "project"
    shared = market1501(start / "shared" / "data" / "market1501")
    assert find_data(start=start) == shared
    farther_away = market1501(tmp_path / "data" / "market1501")
    assert find_data(start=start) == farther_away


@pytest.mark.parametrize("below", ["market1501", "."], ids=["the folder above", "the folder itself"])
def test_the_variable_goes_before_the_folders_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    market1501(tmp_path / "data" / "market1501")
    root = market1501(tmp_path / "elsewhere" / below)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "elsewhere"))
    assert find_data(start=tmp_path) == root
    named = market1501(tmp_path / "named")
    assert find_data(named) == named


def test_an_empty_variable_names_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = market1501(tmp_path / "data" / "market1501")
    monkeypatch.setenv(VARIABLE, "")
    assert find_data(start=tmp_path) == root


def test_a_wrong_variable_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market1501(tmp_path / "data" / "market1501")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "empty"))
    with pytest.raises(DataError, match="empty"):
        find_data(start=tmp_path)


def test_the_error_names_the_places_the_terms_and_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "data" / "market1501").mkdir(parents=True)  # there, but empty
    with pytest.raises(DataError) as caught:
        find_data(start=tmp_path)
    message = str(caught.value)
    for part in (str(tmp_path / "data" / "market1501"), str(tmp_path / "shared"), "research only", "PG2_DATA="):
        assert part in message
