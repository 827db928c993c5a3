"""Which files a command must leave alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pg2lib.errors import DataError
from pg2lib.files import lies_in, refuse_to_replace


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("a", True),
        ("a/b", True),
        ("a/new/er", True),
        ("c/../a/b", True),
        ("link", True),
        ("link/b/new", True),
        ("back", False),
        ("c", False),
        ("ab", False),
        (".", False),
        ("new", False),
    ],
)
def test_whether_a_path_lies_in_a_folder(tmp_path: Path, path: str, inside: bool) -> None:
    for folder in ("a/b", "c", "ab"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "a" / "out").symlink_to(tmp_path / "c")
    (tmp_path / "back").symlink_to("a/out")
    assert lies_in(tmp_path / path, tmp_path / "a") == inside
    assert lies_in(tmp_path / path, tmp_path / "link") == inside
    assert not lies_in(tmp_path / path, tmp_path / "nowhere")


def test_the_case_of_letters_counts_where_the_file_system_minds_it(tmp_path: Path) -> None:
    (tmp_path / "Photos").mkdir()
    assert lies_in(tmp_path / "PHOTOS" / "new", tmp_path / "Photos") == (tmp_path / "PHOTOS").exists()


def test_a_file_is_known_by_any_of_its_names(tmp_path: Path) -> None:
    read = tmp_path / "read.csv"
    read.write_text("x")
    (tmp_path / "link.csv").symlink_to(read)
    os.link(read, tmp_path / "twin.csv")
    for name in ("read.csv", "link.csv", "twin.csv", "../" + tmp_path.name + "/read.csv"):
        with pytest.raises(DataError, match=r"read\.csv is read, and writing .* would replace it"):
            refuse_to_replace(tmp_path / name, [tmp_path / "nowhere", read])
    (tmp_path / "other.csv").write_text("x")
    refuse_to_replace(tmp_path / "other.csv", [read])
    refuse_to_replace(tmp_path / "new.csv", [read])
