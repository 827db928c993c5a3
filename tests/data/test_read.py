"""Where data sets are found, which layout a folder has, and that each layout goes to its reader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from pg2lib import DataError, Pose
from pg2lib.data.keypoint_csv import write_keypoints
from pg2lib.data.read import VARIABLE, find_data, is_synthetic, layout_of, read_people, title_of
from tests.conftest import STANDING, make_market1501


def make_deepfashion(root: Path) -> Path:
    """One outfit in two views, 256x256."""
    names = ("01_1_front.jpg", "01_3_back.jpg")
    folder = root / "Img" / "img" / "MEN" / "Denim" / "id_00000080"
    folder.mkdir(parents=True)
    pose = Pose(torch.tensor(STANDING, dtype=torch.float32) * 2, (256, 256))
    for name in names:
        Image.new("RGB", (256, 256), "grey").save(folder / name)
    flat = [f"fashionMENDenimid0000008001_{name[3]}{name[5:]}" for name in names]
    write_keypoints(root / "fashion-annotation-train.csv", [(name, pose) for name in flat])
    return root


def make_photos(root: Path) -> Path:
    (root / "anna").mkdir(parents=True)
    Image.new("RGB", (64, 128)).save(root / "anna" / "a.png")
    write_keypoints(
        root / "keypoints.csv", [("anna/a.png", Pose(torch.tensor(STANDING, dtype=torch.float32), (128, 64)))]
    )
    return root


MAKERS = {"market1501": make_market1501, "deepfashion": make_deepfashion, "photos": make_photos}


@pytest.mark.parametrize("layout", MAKERS)
def test_a_folder_is_known_by_what_is_in_it(tmp_path: Path, layout: str) -> None:
    root = MAKERS[layout](tmp_path / "somewhere")
    assert layout_of(root) == layout


@pytest.mark.parametrize("layout", ["market1501", "deepfashion"])
def test_or_by_what_is_in_a_folder_below(tmp_path: Path, layout: str) -> None:
    MAKERS[layout](tmp_path / "download" / "unpacked")
    assert layout_of(tmp_path / "download") == layout


def test_each_layout_goes_to_its_reader(tmp_path: Path) -> None:
    market = read_people(make_market1501(tmp_path / "market"))
    assert (len(market), market.canvas, market.fill) == (12, (128, 64), None)
    fashion = read_people(make_deepfashion(tmp_path / "fashion"))
    assert (len(fashion), fashion.canvas, fashion.fill) == (2, (256, 256), (255, 255, 255))
    assert set(fashion.persons) == {"fashionMENDenimid0000008001"}
    assert set(read_people(tmp_path / "fashion", person="item").persons) == {"fashionMENDenimid00000080"}


def test_what_another_layout_has_is_refused(tmp_path: Path) -> None:
    root = make_market1501(tmp_path)
    with pytest.raises(DataError, match="person, leak_free and flat"):
        read_people(root, leak_free=True)
    with pytest.raises(DataError, match="one keypoint CSV per split, got 2"):
        read_people(root, keypoints=["a.csv", "b.csv"])
    with pytest.raises(DataError, match=r"keypoints\.csv"):
        read_people(make_photos(tmp_path / "photos"), keypoints="other.csv")


def test_nothing_known_names_all_layouts(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    with pytest.raises(DataError) as caught:
        layout_of(tmp_path)
    for part in (str(tmp_path), "bounding_box_train", "MEN and WOMEN", "keypoints.csv"):
        assert part in str(caught.value)
    with pytest.raises(DataError, match="no folder"):
        layout_of(tmp_path / "nowhere")


def test_synthetic_people_are_not_called_what_they_imitate(tmp_path: Path) -> None:
    root = make_market1501(tmp_path)
    assert title_of(root) == "Market-1501" and not is_synthetic(root)
    (root / "synthetic.json").write_text("{}")
    assert title_of(root) == "synthetic people (market1501 layout)" and is_synthetic(root)


# ---- find_data


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def empty_market1501(folder: Path) -> Path:
    (folder / "Market-1501-v15.09.15" / "bounding_box_train").mkdir(parents=True)
    return folder


def test_looks_upwards_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = empty_market1501(tmp_path / "data" / "market1501")
    (tmp_path / "notebooks" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks" / "deeper")
    assert find_data() == root


def test_shared_data_come_after_every_data_folder(tmp_path: Path) -> None:
    start = tmp_path / "project"
    shared = empty_market1501(start / "shared" / "data" / "market1501")
    assert find_data(start=start) == shared
    farther_away = empty_market1501(tmp_path / "data" / "market1501")
    assert find_data(start=start) == farther_away


@pytest.mark.parametrize("below", ["market1501", "."], ids=["the folder above", "the folder itself"])
def test_the_variable_goes_before_the_folders_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    empty_market1501(tmp_path / "data" / "market1501")
    root = empty_market1501(tmp_path / "elsewhere" / below)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "elsewhere"))
    assert find_data(start=tmp_path) == root
    named = empty_market1501(tmp_path / "named")
    assert find_data(named) == named


def test_an_empty_variable_names_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = empty_market1501(tmp_path / "data" / "market1501")
    monkeypatch.setenv(VARIABLE, "")
    assert find_data(start=tmp_path) == root


def test_a_wrong_variable_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_market1501(tmp_path / "data" / "market1501")
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
