"""The figures: what is drawn has the values of the data."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from pg2lib import DataError, ImageStore, PersonTable, Pose, make_pairs, read_market1501, viz
from pg2lib.data.store import PairBatch
from pg2lib.images import image_grid, to_uint8
from pg2lib.pose import JOINT_COLOURS, JOINTS

Written = list[tuple[str, object]]
"""Texts that were drawn into pictures, with their colours, in order."""


def cells(gallery: viz.Gallery, columns: int, canvas: tuple[int, int] = (128, 64)) -> list[list[np.ndarray]]:
    """The pictures of a gallery row by row, at their own size. Captions and the names of rows are cut off."""
    height, width = canvas
    factor = viz.HEIGHT_PX // height
    pixels = np.asarray(gallery.picture)
    right = pixels.shape[1] - 4 - np.arange(columns)[::-1] * (factor * width + 4)
    row_height = factor * height + 4
    captions = viz.CAPTION_PX if (pixels.shape[0] - 4) % row_height else 0
    bottom = np.arange(row_height + captions, pixels.shape[0], row_height + captions)
    return [[pixels[y - factor * height : y : factor, x - factor * width : x : factor] for x in right] for y in bottom]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    texts: Written = []
    draw = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, place: object, text: str, fill: object = None, **options: object) -> None:
        texts.append((text, fill))
        draw(self, place, text, fill=fill, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return texts


@pytest.fixture
def table(tiny_market1501: Path) -> PersonTable:
    return read_market1501(tiny_market1501, "train")


@pytest.fixture
def batch(table: PersonTable) -> PairBatch:
    store = ImageStore.open(table)
    return store.batch(make_pairs(store.table), torch.tensor([0, 5, 30]))


def write_log(path: Path, lines: list[dict[str, float]], end: str = "") -> Path:
    path.write_text("".join(json.dumps({"stage": 2, **line, "seconds": 1.0}) + "\n" for line in lines) + end)
    return path


def test_a_chart_shows_itself_curves_as_png_and_pictures_as_jpeg(table: PersonTable) -> None:
    curves = viz.plot_missing_joints(table)._repr_mimebundle_()
    assert list(curves) == ["image/png"]
    assert curves["image/png"].startswith(b"\x89PNG")
    pictures = viz.show_people(table, [0, 1])._repr_mimebundle_()
    assert list(pictures) == ["image/jpeg"]
    assert Image.open(io.BytesIO(pictures["image/jpeg"])).format == "JPEG"


def test_people_are_shown_with_or_without_their_skeletons(table: PersonTable, written: Written) -> None:
    assert table.paths is not None
    images = [np.asarray(Image.open(table.paths[row])) for row in (0, 7, 11)]
    (first, second), (third, blank) = cells(viz.show_people(table, [0, 7, 11], columns=2, skeletons=False), 2)
    assert all(np.array_equal(*pair) for pair in zip((first, second, third), images, strict=True))
    assert (blank == 255).all()
    assert written == [(table.persons[row], "black") for row in (0, 7, 11)]
    ((_, skeleton, _),) = cells(viz.show_people(table, [0, 7, 11]), 3)
    assert np.array_equal(skeleton, np.asarray(table.pose(7).draw(Image.fromarray(images[1]))))


def test_people_without_images_are_refused(table: PersonTable) -> None:
    with pytest.raises(DataError, match="read_people"):
        viz.show_people(PersonTable(table.names, table.persons, table.xy, table.canvas), [0])


def test_heatmaps_have_their_joint_in_their_panel(standing: Pose, written: Written) -> None:
    xy = standing.xy.clone()
    xy[4] = math.nan
    image = Image.new("RGB", (64, 128), "white")
    panels = [panel for row in cells(viz.show_heatmaps(image, Pose(xy, (128, 64))), 10) for panel in row]
    assert len(panels) == 20
    for joint, (x, y) in enumerate(xy.tolist()):
        coloured = (panels[joint + 1] == JOINT_COLOURS[joint]).all(axis=-1)
        assert coloured.sum() == (0 if joint == 4 else 49)
        assert joint == 4 or coloured[round(y), round(x)]
    assert [text for text, _ in written] == ["pose", *JOINTS, "sum"]
    assert [text for text, colour in written if colour != "black"] == ["right wrist"]


def test_overlapping_heatmaps_add_up() -> None:
    xy = torch.full((18, 2), math.nan)
    xy[0] = xy[1] = torch.tensor([20.0, 30.0])
    xy[2] = torch.tensor([50.0, 30.0])
    total = cells(viz.show_heatmaps(Image.new("RGB", (64, 128)), Pose(xy, (128, 64))), 10)[-1][-1]
    assert (total[30, 20] == 255).all()
    assert (total[30, 50] == 127).all()
    assert (total[90, 20] == 0).all()


def test_the_mask_keeps_the_body_and_dims_the_rest(batch: PairBatch) -> None:
    images = to_uint8(batch.target_image)
    shown, _, masks, inside = cells(viz.show_pose_masks(images, batch.target_xy), len(batch))
    for i in range(len(batch)):
        body = batch.target_mask[i, 0].numpy() == 1
        pixels = images[i].permute(1, 2, 0).numpy()
        assert np.array_equal(shown[i], pixels)
        assert np.array_equal(masks[i][..., 0] == 255, body)
        assert np.array_equal(inside[i][body], pixels[body])
        assert inside[i][~body].max() <= 255 * viz.DIMMED


def test_a_pair_batch_shows_both_images_the_pose_and_the_mask(batch: PairBatch, written: Written) -> None:
    condition, pose, target, masked = cells(viz.show_pair_batch(batch), 3)
    assert [text for text, _ in written] == ["condition image", "target pose", "target image", "pose mask"]
    for i in range(3):
        assert np.array_equal(condition[i], to_uint8(batch.condition_image)[i].permute(1, 2, 0).numpy())
        assert np.array_equal(pose[i], np.asarray(Pose(batch.target_xy[i], (128, 64)).draw()))
        assert np.array_equal(target[i], to_uint8(batch.target_image)[i].permute(1, 2, 0).numpy())
        body = batch.target_mask[i, 0].numpy() == 1
        assert np.array_equal(masked[i][body], target[i][body])
        assert masked[i][~body].max() <= 255 * viz.DIMMED


def test_results_stand_below_the_target_clamped_and_named(batch: PairBatch, written: Written) -> None:
    ramp = torch.linspace(-2, 2, 64).expand(3, 3, 128, 64)
    gallery = viz.show_results(batch, {"coarse": batch.condition_image, "difference map": ramp})
    condition, _, _, coarse, difference = cells(gallery, 3)
    names = ["condition image", "target pose", "target image", "coarse", "difference map"]
    assert [text for text, _ in written] == names
    assert np.array_equal(coarse[0], condition[0])
    assert difference[0][0, 0].tolist() == [0, 0, 0]
    assert difference[0][0, -1].tolist() == [255, 255, 255]
    assert abs(int(difference[0][0, 31, 0]) - 127) <= 5


def test_bars_are_the_shares_of_missing_joints(table: PersonTable) -> None:
    table.xy[:3, 0] = math.nan
    table.xy[:, 17] = math.nan
    chart = viz.plot_missing_joints(table)
    heights = [bar.get_height() for bar in chart.axes[0].patches]
    assert heights == pytest.approx([0.25, *[0.0] * 16, 1.0])
    assert [label.get_text() for label in chart.axes[0].get_xticklabels()] == list(JOINTS)


def test_loss_curves_are_the_log_and_its_running_mean(tmp_path: Path) -> None:
    values = [4.0, 2.0, 3.0, 1.0]
    log = write_log(
        tmp_path / "a.jsonl", [{"step": i, "seconds": 1.0, "g2": v, "d": 1.0} for i, v in enumerate(values, start=11)]
    )
    other = write_log(tmp_path / "b.jsonl", [{"step": 1, "seconds": 1.0, "g2": 9.0}])
    chart = viz.plot_losses({"a": log, "b": other}, window=2)
    assert [axes.get_title() for axes in chart.axes] == ["g2", "d"]
    raw, mean, *_ = chart.axes[0].get_lines()
    assert raw.get_xdata().tolist() == mean.get_xdata().tolist() == [11, 12, 13, 14]
    assert raw.get_ydata().tolist() == values
    assert mean.get_ydata().tolist() == [4.0, 3.0, 2.5, 2.0]
    assert [text.get_text() for text in chart.axes[0].get_legend().get_texts()] == ["a", "b"]
    assert len(chart.axes[1].get_lines()) == 2  # "b" has no loss of D


def test_samples_are_the_first_grid_and_the_last_column_of_later_ones(tmp_path: Path, written: Written) -> None:
    result = {step: Image.new("RGB", (64, 128), (step, 0, 0)) for step in range(1, 17)}
    other = Image.new("RGB", (64, 128), "blue")
    for step, picture in result.items():
        grid = image_grid([[other, other, other, picture]] * 2, titles=["condition", "pose", "target", "coarse"])
        grid.save(tmp_path / f"step-{step:08d}.png")
    written.clear()
    strip = np.asarray(viz.show_samples(tmp_path, columns=4).picture)[viz.CAPTION_PX :]
    steps = [1, 2, 4, 8, 16]
    assert [text for text, _ in written] == [f"step {step}" for step in steps]
    first = np.asarray(Image.open(tmp_path / "step-00000001.png"))
    assert np.array_equal(strip[:, : first.shape[1]], first)
    for picture, step in zip(np.split(strip[:, first.shape[1] :], 4, axis=1), steps[1:], strict=True):
        assert (picture == (step, 0, 0)).all(axis=-1).sum() == 2 * 128 * 64  # whole, and nothing of its neighbours
        assert not (picture == (0, 0, 255)).all(axis=-1).any()
    with pytest.raises(DataError, match="no samples"):
        viz.show_samples(tmp_path / "nowhere", columns=4)


def test_a_models_own_output_is_shown_as_it_is(batch: PairBatch) -> None:
    """With a gradient attached and in channels_last memory, as G1 hands it out."""
    raw = batch.target_image.clone(memory_format=torch.channels_last).requires_grad_() * 1
    one, two = (viz.show_results(batch, {"coarse": images}).picture for images in (batch.target_image, raw))
    assert one == two


def test_high_samples_are_reduced(tmp_path: Path) -> None:
    Image.new("RGB", (400, 3600)).save(tmp_path / "step-00000001.png")
    assert viz.show_samples(tmp_path, columns=4).picture.size == (100, viz.SAMPLES_HEIGHT_PX + viz.CAPTION_PX)
