"""Which pair a file of another method belongs to, and how it is brought to the canvas."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import DataError, PairTable, PersonTable
from pg2lib.evaluation.panels import Panels
from pg2lib.evaluation.results import find_results

MARKET = ("0009_c1s1_000051_01.jpg", "0009_c2s1_000076_01.jpg", "0012_c3s1_000101_01.jpg.jpg")
FASHION = (
    "fashionWOMENTees_Tanksid0000783801_1front.jpg",
    "fashionWOMENTees_Tanksid0000783801_2side.jpg",
    "fashionMENDenimid0000000102_4full.jpg",
)
PHOTOS = ("anna/1.jpg", "anna/2.jpg", "anna/1_2.jpg")


def pairs_of(names: Iterable[str], canvas: tuple[int, int] = (128, 64), fill=None) -> PairTable:
    """The pairs from the first to the second image, and back."""
    names = tuple(names)
    table = PersonTable(names, ("somebody",) * len(names), torch.ones(len(names), 18, 2), canvas, fill=fill)
    return PairTable(table, torch.tensor([0, 1]), torch.tensor([1, 0]))


def write(folder: Path, *files: str, size: tuple[int, int] = (64, 128)) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (10, 20, 30)).save(folder / file)
    return folder


def unscored(results) -> list[tuple[str, str]]:
    return [(entry.kind, entry.name) for entry in results.unscored]


@pytest.mark.parametrize(
    ("names", "file"),
    [
        (MARKET, "0009_c1s1_000051_01_0009_c2s1_000076_01.png"),
        (MARKET, "0009_c1s1_000051_01_2_0009_c2s1_000076_01.png"),
        (MARKET, "0009_c1s1_000051_01_to_0009_c2s1_000076_01.jpg"),
        (MARKET, "0009_c1s1_000051_01___0009_c2s1_000076_01_vis.png"),
        (MARKET, "0009_c1s1_000051_01.jpg___0009_c2s1_000076_01.jpg_vis.png"),
        (MARKET, "below/0009_c1s1_000051_01.jpg_0009_c2s1_000076_01.jpg.JPEG"),
        (FASHION, "fashionWOMENTees_Tanksid0000783801_1front_2_fashionWOMENTees_Tanksid0000783801_2side_vis.jpg"),
        (FASHION, "fasionWOMENTeesTanksid0000783801_1front___fasionWOMENTeesTanksid0000783801_2side_vis.png"),
        (FASHION, "img_WOMEN_Tees_Tanks_id_00007838_01_1_front_2_img_WOMEN_Tees_Tanks_id_00007838_01_2_side.png"),
        (PHOTOS, "anna_1-anna_2.png"),
    ],
)
def test_files_are_named_in_the_ways_of_the_field(names: tuple[str, ...], file: str, tmp_path: Path) -> None:
    results = find_results(write(tmp_path, file), pairs_of(names))
    assert results.paths == {(0, 1): tmp_path / file}
    assert [results.pairs.names(i) for i in range(len(results.pairs))] == [names[:2]]
    assert unscored(results) == [("missing", f"{names[1]} -> {names[0]}")]


def test_files_of_no_pair_are_extra(tmp_path: Path) -> None:
    there = "0009_c1s1_000051_01_2_0009_c2s1_000076_01.png"
    other = "0009_c1s1_000051_01_2_0012_c3s1_000101_01.png"
    results = find_results(write(tmp_path, there, other, "loss.png"), pairs_of(MARKET))
    assert unscored(results)[:2] == [("extra", other), ("extra", "loss.png")]
    assert "not in the list" in results.unscored[0].reason and MARKET[2] in results.unscored[0].reason


def test_a_name_that_fits_two_pairs_is_doubtful(tmp_path: Path) -> None:
    table = PersonTable(("a", "a_2", "b"), ("a",) * 3, torch.ones(3, 18, 2), (128, 64))
    pairs = PairTable(table, torch.tensor([0, 1, 2]), torch.tensor([2, 2, 0]))
    results = find_results(write(tmp_path, "a_2_b.png", "b_a.png"), pairs)
    assert unscored(results) == [("doubtful", "a_2_b.png")], "its pairs are not missing as well"
    assert "a -> b; a_2 -> b" in results.unscored[0].reason
    assert list(results.paths) == [(2, 0)]


def test_names_of_images_that_differ_in_punctuation_only_are_doubtful(tmp_path: Path) -> None:
    table = PersonTable(("1_1.jpg", "11.jpg", "b.jpg"), ("a",) * 3, torch.ones(3, 18, 2), (128, 64))
    pairs = PairTable(table, torch.tensor([0, 1, 2]), torch.tensor([2, 2, 0]))
    with pytest.raises(DataError, match=r"1_1_b\.png: stands for 2 pairs.*--names"):
        find_results(write(tmp_path, "1_1_b.png"), pairs)


def test_two_files_for_one_pair_are_doubtful(tmp_path: Path) -> None:
    forth, back = "0009_c1s1_000051_01_2_0009_c2s1_000076_01", "0009_c2s1_000076_01_2_0009_c1s1_000051_01"
    results = find_results(write(tmp_path, f"{forth}.png", f"{forth}_vis.jpg", f"{back}.png"), pairs_of(MARKET))
    assert unscored(results) == [("doubtful", f"{forth}.png"), ("doubtful", f"{forth}_vis.jpg")]
    assert list(results.paths) == [(1, 0)]


def test_a_file_of_another_size_or_without_an_image_is_doubtful(tmp_path: Path) -> None:
    table = PersonTable(tuple("abcd"), ("p",) * 4, torch.ones(4, 18, 2), (128, 64))
    pairs = PairTable(table, torch.tensor([0, 0, 1, 1, 2]), torch.tensor([1, 2, 0, 2, 0]))
    write(tmp_path, "a_b.png", "a_c.png")
    write(tmp_path, "b_a.png", size=(192, 128))
    (tmp_path / "b_c.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (tmp_path / "c_a.png").write_bytes(b"not a picture")
    results = find_results(tmp_path, pairs)
    assert results.size == (128, 64) and list(results.paths) == [(0, 1), (0, 2)]
    reasons = {entry.name: entry.reason for entry in results.unscored}
    assert set(reasons) == {"b_a.png", "b_c.png", "c_a.png"}
    assert "192x128" in reasons["b_a.png"] and "git lfs pull" in reasons["b_c.png"]


@pytest.mark.parametrize("slash", ["/", "\\"])
def test_a_table_names_files_that_do_not_name_themselves(slash: str, tmp_path: Path) -> None:
    write(tmp_path / "results", "epoch/0.png", "epoch/1.png", "loss.png")
    names = tmp_path / "names.csv"
    names.write_text(f"file,from,to\nepoch{slash}1.png,{MARKET[0]},{MARKET[1]}\ngone.png,{MARKET[1]},{MARKET[0]}\n")
    results = find_results(tmp_path / "results", pairs_of(MARKET), names)
    assert results.paths == {(0, 1): tmp_path / "results" / "epoch" / "1.png"}
    missing = ("missing", f"{MARKET[1]} -> {MARKET[0]}")
    assert unscored(results) == [("extra", "epoch/0.png"), ("extra", "loss.png"), missing]
    assert "gone.png" in results.unscored[-1].reason
    for text, message in (("from,to\n", "names.csv:1: expected the columns"), ("from,to,file\na,b\n", "names.csv:2:")):
        names.write_text(text)
        with pytest.raises(DataError, match=message):
            find_results(tmp_path / "results", pairs_of(MARKET), names)


def test_a_folder_without_results_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere must be a folder"):
        find_results(tmp_path / "nowhere", pairs_of(MARKET))
    with pytest.raises(DataError, match=r"loss\.png: belongs to no pair.*FROM_TO\.png.*--names"):
        find_results(write(tmp_path, "loss.png"), pairs_of(MARKET))


# ---- sizes


@pytest.mark.parametrize(
    ("size", "panels", "panel_width"),
    [
        ((176, 256), 1, 176),
        ((256, 256), 1, 256),
        ((352, 256), 2, 176),
        ((528, 256), 3, 176),
        ((880, 256), 5, 176),
        ((512, 256), 2, 256),
        ((768, 256), 3, 256),
        ((750, 1101), 1, 176),
        ((352, 512), 1, 176),
    ],
)
def test_the_size_tells_the_number_of_panels(size, panels: int, panel_width: int, tmp_path: Path) -> None:
    pairs = pairs_of("ab", (256, 256), fill=(255, 255, 255))
    results = find_results(write(tmp_path, "a_b.png", size=size), pairs)
    assert (results.panels, results.panel_width, results.size) == (Panels(panels), panel_width, size[::-1])


@pytest.mark.parametrize(
    ("size", "panels", "panel_width"),
    [
        ((3 * 256 + 2 * 10, 256), Panels(3, gap=10), 256),
        ((2 * (176 + 2) + 2, 256 + 4), Panels(2, gap=2, border=2), 176),  # torchvision's save_image
        ((256, 512), Panels(2, stacked=True), 256),
        ((176, 3 * 256), Panels(3, stacked=True), 176),
        ((256 + 4, 3 * (256 + 2) + 2), Panels(3, stacked=True, gap=2, border=2), 256),
    ],
)
def test_panels_with_gaps_and_stacked_panels(size, panels: Panels, panel_width: int, tmp_path: Path) -> None:
    picture = Image.new("RGB", size, (255, 255, 255))
    right, bottom = size[0] - panels.border, size[1] - panels.border
    picture.paste((10, 20, 30), (right - panel_width, bottom - 256, right, bottom))
    picture.save(tmp_path / "a_b.png")
    results = find_results(tmp_path, pairs_of("ab", (256, 256), fill=(10, 20, 30)))
    assert (results.panels, results.panel_width) == (panels, panel_width)
    assert results.read([0], [1])[0].flatten(1).unique(dim=1).flatten().tolist() == [10, 20, 30]
    assert ("lowest" if panels.stacked else "right") in results.rule and "scored as it is" in results.rule


@pytest.mark.parametrize("size", [(128, 256), (256, 500), (512 + 50, 256), (512, 256 + 3)])
def test_other_sizes_are_no_panels(size, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="side by side or one below the other, got"):
        find_results(write(tmp_path, "a_b.png", size=size), pairs_of("ab", (256, 256), fill=(255, 255, 255)))


def test_sizes_that_fit_no_panels_are_refused_unless_told(tmp_path: Path) -> None:
    pairs = pairs_of("ab", (256, 256), fill=(255, 255, 255))
    write(tmp_path, "a_b.png", size=(600, 256))
    with pytest.raises(DataError, match=r"256x256 or 176x256.*600x256.*--stretch"):
        find_results(tmp_path, pairs)
    with pytest.raises(DataError, match="600x256"):
        find_results(tmp_path, pairs, panels=2)
    told = find_results(tmp_path, pairs, panels=2, stretch_to=176)
    assert (told.panels, told.panel_width) == (Panels(2), 176)
    for panels in (0, 601):
        with pytest.raises(DataError, match="panels"):
            find_results(tmp_path, pairs, panels=panels)
    with pytest.raises(DataError, match="64x128"):  # images of Market-1501 have no padding that could be left out
        find_results(write(tmp_path / "market", "a_b.png", size=(88, 128)), pairs_of("ab"))


def lanczos(row: np.ndarray, size: int) -> np.ndarray:
    """Resize a row: every new pixel is a mean of the old ones, weighted by a Lanczos window of three lobes."""
    scale = len(row) / size
    distance = ((np.arange(size)[:, None] + 0.5) * scale - (np.arange(len(row)) + 0.5)) / max(scale, 1)
    weights = np.where(abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    return (weights * row).sum(axis=1) / weights.sum(axis=1)


@pytest.mark.parametrize("width", [256, 88])
def test_results_are_resized_with_a_lanczos_filter_and_centred(width: int, tmp_path: Path) -> None:
    row = (127 + 60 * np.sin(np.arange(width) / 5)).round()
    pixels = np.broadcast_to(row[None, :, None], (round(width * 256 / 176), width, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a_b.png")
    results = find_results(tmp_path, pairs_of("ab", (256, 256), fill=(255, 0, 9)))
    (image,) = results.read([0], [1])
    assert image.shape == (3, 256, 256)
    assert image[:, :, :40].flatten(1).unique(dim=1).flatten().tolist() == [255, 0, 9]
    assert torch.equal(image[:, :, 216:], image[:, :, :40])
    assert np.abs(image[0, 100, 40:216].numpy() - lanczos(row, 176)).max() <= 1
    assert results.rule == "the whole image is resized to 176x256 pixels with a Lanczos filter"


def test_an_image_of_the_canvas_is_scored_as_it_is(tmp_path: Path) -> None:
    noise = Image.effect_noise((192, 128), 80).convert("RGB")
    noise.save(tmp_path / "a_b.png")
    results = find_results(tmp_path, pairs_of("ab"))
    assert torch.equal(results.read([0], [1])[0, 0], torch.from_numpy(np.asarray(noise)[:, 128:, 0].copy()))
    assert results.rule == "of 3 images side by side, the right one is scored as it is"
