"""Which files a command must leave alone, and how files appear."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pg2lib.errors import DataError
from pg2lib.files import (
    IMAGE_SUFFIXES,
    atomic_path,
    atomic_write,
    files_below,
    lies_in,
    refuse_to_replace,
    sha256_of,
)


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
        with pytest.raises(DataError, match=r"read\.csv"):
            refuse_to_replace(tmp_path / name, [tmp_path / "nowhere", read])
    (tmp_path / "other.csv").write_text("x")
    refuse_to_replace(tmp_path / "other.csv", [read])
    refuse_to_replace(tmp_path / "new.csv", [read])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with files, subfolders, hidden ones, a link to a folder elsewhere and a link to itself."""
    for name in ("in/b.JPG", "in/a.txt", "in/deep/d.png", "in/._b.jpg", "in/.trash/e.jpg", "elsewhere/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    return tmp_path / "in"


def test_files_below_are_sorted_and_neither_hidden_nor_visited_twice(tree: Path) -> None:
    assert [path.relative_to(tree).as_posix() for path in files_below(tree)] == [
        "a.txt", "b.JPG", "deep/d.png", "link/c.jpg",
    ]  # fmt: skip


def test_files_below_are_chosen_by_suffix_in_any_case(tree: Path) -> None:
    assert [path.name for path in files_below(tree, IMAGE_SUFFIXES)] == ["b.JPG", "d.png", "c.jpg"]
    assert [path.name for path in files_below(tree, {".png"})] == ["d.png"]


def test_folders_that_cannot_be_listed_are_skipped_or_reported(tree: Path) -> None:
    assert list(files_below(tree / "nowhere")) == []
    errors: list[OSError] = []
    assert list(files_below(tree / "nowhere", on_error=errors.append)) == []
    assert [error.filename for error in errors] == [str(tree / "nowhere")]


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "result.txt"
    with atomic_write(target) as file:
        file.write("é\n")
        file.flush()
        assert not target.exists()
        (temporary,) = target.parent.iterdir()  # in the same folder, so that it can be renamed
        assert temporary.name.startswith(".result.txt.") and f".{os.getpid()}-" in temporary.name
    assert target.read_bytes() == "é\n".encode()
    assert list(target.parent.iterdir()) == [target]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(target) as file:
        file.write("half of the new")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_has_the_permissions_of_any_other_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.touch(mode=0o600)
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_digest_of_a_file_of_several_blocks(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000  # 2.5 blocks
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()
