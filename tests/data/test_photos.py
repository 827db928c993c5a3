"""From a folder of photos, a folder a person, to a data set."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import DataError, ImageStore, Pose, make_pairs
from pg2lib.data.keypoint_csv import write_keypoints
from pg2lib.data.photos import KEYPOINTS, crop_photos, prepare_photos, read_photos
from pg2lib.data.read import layout_of, read_people
from tests.conftest import STANDING

CANVAS = (128, 64)
SIZES = {
    "anna/beach.jpg": (480, 640),
    "anna/trips/2019/hill.png": (900, 300),
    "ben/a.jpg": (256, 256),
    "ben/b.jpg": (300, 200),
}


def standing_in(size: tuple[int, int]) -> Pose:
    """Somebody two thirds as high as a photo of `size` (height, width), near its left edge."""
    scale = size[0] * 0.66 / 128
    return Pose(torch.tensor(STANDING, dtype=torch.float32) * scale + 3, size)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Every photo is grey, with a red square around the person's neck."""
    folder = tmp_path / "photos"
    poses = []
    for name, size in SIZES.items():
        pose = standing_in(size)
        pixels = np.full((*size, 3), 128, dtype=np.uint8)
        x, y = (round(value) for value in pose.xy[1].tolist())
        pixels[y - 6 : y + 7, x - 6 : x + 7] = (255, 0, 0)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
        poses.append((name, pose))
    write_keypoints(tmp_path / "photos.csv", poses)
    return folder


def test_photos_become_crops_whose_keypoints_lie_where_the_person_is(photos: Path, tmp_path: Path) -> None:
    assert crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", CANVAS) == len(SIZES)
    table = read_photos(tmp_path / "people")
    assert (table.canvas, sorted(set(table.persons))) == (CANVAS, ["anna", "ben"])
    assert set(table.names) == {str(Path(name).with_suffix(".png")) for name in SIZES}
    for row in range(len(table)):
        x, y = (round(value) for value in table.xy[row, 1].tolist())
        red, green, _ = table.load(row).getpixel((x, y))
        assert red > 200 and green < 60
        heights = table.xy[row, :, 1]
        assert 0.5 * CANVAS[0] < heights.max() - heights.min() < CANVAS[0]
    assert len(make_pairs(table)) == 4


def test_the_data_set_serves_batches_and_is_read_by_its_layout(photos: Path, tmp_path: Path) -> None:
    crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", CANVAS)
    assert layout_of(tmp_path / "people") == "photos"
    train, test = (read_people(tmp_path / "people", split) for split in ("train", "test"))
    assert len(train) == len(test) == 2
    assert set(train.persons).isdisjoint(test.persons)
    store = ImageStore.open(train)
    assert store.batch(make_pairs(store.table), torch.tensor([0, 1])).condition_image.shape == (2, 3, *CANVAS)


def test_crops_of_another_canvas_replace_those_that_are_there(photos: Path, tmp_path: Path) -> None:
    for canvas in (CANVAS, (256, 256)):
        crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", canvas)
        table = read_photos(tmp_path / "people")
        assert table.canvas == canvas
        assert {table.load(row).size for row in range(len(table))} == {canvas[::-1]}


def test_a_half_length_portrait_has_no_smeared_legs_and_a_plain_backdrop_beyond_its_photo(tmp_path: Path) -> None:
    """The person wears stripes down to the lower edge, and stretches both arms: the crop is higher than the photo."""
    xy = torch.tensor(STANDING, dtype=torch.float32) * 3 + torch.tensor([80.0, 40.0])
    xy[[9, 10, 12, 13]] = float("nan")
    xy[4], xy[7] = torch.tensor([50.0, 120.0]), torch.tensor([310.0, 120.0])
    pixels = np.random.default_rng(0).integers(0, 120, (1, 400, 3), dtype=np.uint8).repeat(265, axis=0)
    (tmp_path / "photos" / "anna").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "photos" / "anna" / "a.png")
    write_keypoints(tmp_path / "photos.csv", [("anna/a.png", Pose(xy, (265, 400)))])
    crop_photos(tmp_path / "photos", tmp_path / "photos.csv", tmp_path / "people", CANVAS)
    table = read_photos(tmp_path / "people")
    cropped = np.asarray(table.load(0)).astype(int)
    backdrop = (cropped == round((0.81 + 1) * 127.5)).all(axis=2)
    edge = int(backdrop.all(axis=1).argmin())  # the first row of the photo
    assert 30 < edge < 80
    assert not backdrop[edge:].any(), "the photo ends at the lower edge of the crop"
    assert table.xy[0, 8, 1] > 0.75 * CANVAS[0], "the hips are low in the picture, and no legs are made up below them"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("out", ["photos", "photos/crops", ".", "photos/ben/../../photos", "link", "link/new"])
def test_crops_do_not_come_among_the_photos(photos: Path, tmp_path: Path, out: str) -> None:
    (tmp_path / "link").symlink_to(photos)
    before = contents(tmp_path)
    detector = SimpleNamespace(settings="is never asked")
    with pytest.raises(DataError, match="is, is in or holds the folder of the photos"):
        crop_photos(photos, tmp_path / "photos.csv", tmp_path / out, CANVAS)
    with pytest.raises(DataError, match="is, is in or holds the folder of the photos"):
        prepare_photos(photos, tmp_path / out, CANVAS, detector)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["keypoints.csv", "photos.csv", "photos.missing.txt", "anna/beach.png", "ben/b.png"])
def test_a_file_that_no_run_wrote_is_not_replaced(photos: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "people" / name
    path.parent.mkdir(parents=True)
    path.write_text("somebody's own")
    detector = SimpleNamespace(settings="is never asked")
    with pytest.raises(DataError, match=rf"{name}.*exists"):
        prepare_photos(photos, tmp_path / "people", CANVAS, detector)
    if not name.startswith("photos"):
        with pytest.raises(DataError, match=rf"{name}.*exists"):
            crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", CANVAS)
    assert contents(tmp_path / "people") == {name: b"somebody's own"}


def test_crops_are_not_written_through_links(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "ben").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"people/ben/a\.png.*elsewhere/a\.png"):
        crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", CANVAS)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_name_in_the_csv_cannot_lead_out_of_the_folders(photos: Path, tmp_path: Path) -> None:
    rows = (tmp_path / "photos.csv").read_text()
    Image.new("RGB", (256, 256)).save(tmp_path / "x.jpg")
    for name in ("../x.jpg", "ben/../../x.jpg", f"{tmp_path}/x.jpg"):
        (tmp_path / "photos.csv").write_text(rows.replace("ben/a.jpg", name))
        with pytest.raises(DataError, match=r"photos\.csv:4: "):
            crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people" / "deep", CANVAS)
        assert not (tmp_path / "people").exists()
    crop_photos(photos.parent / "photos", write_rows_again(tmp_path, rows), tmp_path / "people", CANVAS)
    text = (tmp_path / "people" / KEYPOINTS).read_text()
    (tmp_path / "people" / KEYPOINTS).write_text(text.replace("ben/a.png", "../x.jpg"))
    with pytest.raises(DataError, match=r"keypoints\.csv:4: .*'\.\./x\.jpg'"):
        read_photos(tmp_path / "people")


def write_rows_again(tmp_path: Path, rows: str) -> Path:
    (tmp_path / "photos.csv").write_text(rows)
    return tmp_path / "photos.csv"


def test_a_photo_that_is_reduced_gives_the_crop_of_the_whole_one(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop_photos(photos, tmp_path / "photos.csv", tmp_path / "whole", CANVAS)
    monkeypatch.setattr("pg2lib.images.PHOTO_PIXELS", 480 * 640 // 4)
    crop_photos(photos, tmp_path / "photos.csv", tmp_path / "reduced", CANVAS)
    whole, reduced = read_photos(tmp_path / "whole"), read_photos(tmp_path / "reduced")
    row = whole.row("anna/beach.png")
    assert (whole.xy[row] - reduced.xy[row]).abs().max() <= 1
    assert np.abs(np.subtract(*(np.asarray(table.load(row), int) for table in (whole, reduced)))).mean() < 3


def test_keypoints_outside_their_photo_are_refused(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (100, 100)).save(photos / "ben" / "a.jpg")
    with pytest.raises(DataError, match=r"ben/a\.jpg.*\b100x100\b"):
        crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", CANVAS)


def test_a_run_that_was_stopped_leaves_no_data_set(photos: Path, tmp_path: Path) -> None:
    crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", CANVAS)
    (photos / "ben" / "b.jpg").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"b\.jpg"):
        crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", CANVAS)
    assert not (tmp_path / "people" / KEYPOINTS).exists()


def test_a_photo_in_nobodys_folder_is_refused(photos: Path, tmp_path: Path) -> None:
    (photos / "ben" / "a.jpg").rename(photos / "a.jpg")
    write_keypoints(tmp_path / "photos.csv", [("a.jpg", standing_in(SIZES["ben/a.jpg"]))])
    with pytest.raises(DataError, match=r"a\.jpg is in no person's folder"):
        crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", CANVAS)


def test_two_photos_of_one_name_are_refused(photos: Path, tmp_path: Path) -> None:
    Image.open(photos / "ben" / "a.jpg").save(photos / "ben" / "a.png")
    pose = standing_in(SIZES["ben/a.jpg"])
    write_keypoints(tmp_path / "photos.csv", [("ben/a.jpg", pose), ("ben/a.png", pose)])
    with pytest.raises(DataError, match=r"ben/a\.png.*ben/a\.jpg.*ben/a\.png"):
        crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", CANVAS)


def test_photos_without_anybody_are_refused(photos: Path, tmp_path: Path) -> None:
    write_keypoints(tmp_path / "photos.csv", [("ben/a.jpg", Pose(torch.full((18, 2), torch.nan), (256, 256)))])
    with pytest.raises(DataError, match="no joint in any photo"):
        crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", CANVAS)


def test_a_lone_person_cannot_be_split(photos: Path, tmp_path: Path) -> None:
    write_keypoints(tmp_path / "photos.csv", [("ben/a.jpg", standing_in(SIZES["ben/a.jpg"]))])
    crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", CANVAS)
    assert len(read_photos(tmp_path / "people")) == 1
    with pytest.raises(DataError, match="one person only"):
        read_photos(tmp_path / "people", "train")


def test_keypoints_without_their_image_are_counted(photos: Path, tmp_path: Path) -> None:
    crop_photos(photos, tmp_path / "photos.csv", tmp_path / "people", CANVAS)
    (tmp_path / "people" / "ben" / "a.png").unlink()
    table = read_photos(tmp_path / "people")
    assert len(table) == len(SIZES) - 1
    assert [(skip.name, skip.kind) for skip in table.skipped] == [("ben/a.png", "no image")]


def test_a_folder_without_keypoints_says_how_to_make_them(photos: Path) -> None:
    with pytest.raises(DataError, match="python -m pg2lib prepare"):
        read_photos(photos)
