"""`make_table1`: every row is trained and scored, and nothing is done twice."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import (
    CheckpointError,
    ConfigError,
    ImageStore,
    PairBatch,
    PairTable,
    PG2Config,
    PG2Pipeline,
    Pose,
    make_pairs,
    read_market1501,
)  # fmt: skip
from pg2lib.cli import main
from pg2lib.comparison import comparison_rows
from pg2lib.config import TABLE1_ROWS
from pg2lib.data.keypoint_csv import write_keypoints
from pg2lib.detect import Detection
from pg2lib.evaluation import EvaluationOptions, EvaluationReport, PairScores, evaluate
from pg2lib.metrics.inception import InceptionNetwork
from pg2lib.table1 import Origin, Table1, choose_config, make_table1, read_table1
from pg2lib.table1 import make as make_module
from pg2lib.training.lock import hold
from tests.conftest import STANDING, make_market1501

CONFIG = PG2Config.preset("fast").override(
    {"model.base_width": 4, "model.bottleneck": 8, "model.discriminator_width": 4}
    | {f"stage{number}.{key}": value for number in (1, 2) for key, value in {"batch_size": 4, "steps": 2}.items()}
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    root = make_market1501(tmp_path_factory.mktemp("people"))
    return ImageStore.open(read_market1501(root, "train"))


def make(
    store: ImageStore, folder: Path, pairs: int = 24, config=CONFIG, test_store: ImageStore | None = None,
    also: Mapping[str, PairTable] = MappingProxyType({}), rows: Sequence[str] = tuple(TABLE1_ROWS), **options,
) -> Table1:  # fmt: skip
    test_store = test_store or store
    lists = {"tiny people": make_pairs(test_store.table).select(torch.arange(pairs)), **also}
    origin = Origin("people to train on", "market1501", command="a command")
    return make_table1(
        config, store, make_pairs(store.table), test_store, lists, folder, origin, rows, EvaluationOptions(**options)
    )


@pytest.fixture(scope="module")
def table(store: ImageStore, tmp_path_factory: pytest.TempPathFactory) -> Table1:
    return make(store, tmp_path_factory.mktemp("table"))


def written(folder: Path) -> dict[Path, int]:
    kinds = {".safetensors", ".jsonl"}
    files = [path for path in folder.rglob("*") if path.suffix in kinds or path.name == "report.json"]
    return {path: path.stat().st_mtime_ns for path in files if "pipeline" not in path.parts}


def test_every_row_is_trained_scored_and_written(table: Table1) -> None:
    assert list(table.reports) == list(TABLE1_ROWS)
    for row, report in table.reports.items():
        assert report.pairs == 24
        assert report.data == "tiny people"
        assert report.model["name"] == row
        pipeline = PG2Pipeline.from_pretrained(table.folder / row / "pipeline", "cpu")
        assert pipeline.training["data"] == "people to train on"
        assert PG2Config.from_dict(report.model["config"]) == CONFIG.row(row)
        with (table.folder / row / "pairs.csv").open(newline="") as file:
            scores = [float(line["refined_ssim"]) for line in csv.DictReader(file)]
        assert sum(scores) / 24 == pytest.approx(report.figures["refined"]["ssim"].mean, abs=1e-6)
    ssim = {row: report.figures["refined"]["ssim"].mean for row, report in table.reports.items()}
    assert len(set(ssim.values())) == len(TABLE1_ROWS)  # six models, not one six times


def test_the_full_model_starts_from_the_pose_mask_row(table: Table1) -> None:
    assert not (table.folder / "G1+G2+D" / "stage1").exists()
    coarse = table.reports["G1+G2+D"].figures["coarse"]["ssim"].mean
    assert coarse == pytest.approx(table.reports["G1-poseMaskLoss"].figures["refined"]["ssim"].mean, abs=1e-9)


def test_the_pictures_show_every_model(table: Table1) -> None:
    figure4 = Image.open(table.folder / "figure4.jpg")
    assert figure4.height == (3 + len(TABLE1_ROWS)) * (128 + 4) + 4
    assert Image.open(table.folder / "figure6.jpg").height == 4 * (128 + 4) + 4
    assert all((table.folder / row / "extremes.jpg").is_file() for row in TABLE1_ROWS)


def test_figures_show_the_pairs_that_they_name(store: ImageStore, tmp_path: Path, monkeypatch) -> None:
    """Extremes: where a row is furthest ahead of the mean of the others, then behind it. Figure 6: the worst first."""
    rows, pairs = ("G1-L1", "G1+D", "G1+G2+D"), make_pairs(store.table).select(torch.arange(24))
    scores = torch.rand(3, 24, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for row, values in zip(rows, scores, strict=True):
        (tmp_path / row).mkdir()
        with (tmp_path / row / "pairs.csv").open("w") as file:
            names = tuple(pairs.names(pair) for pair in range(24))
            PairScores(names, ("refined_ssim", "refined_mask_ssim"), values).write(file)
    copies = SimpleNamespace(generate_pairs=lambda batch: SimpleNamespace(refined=batch.target_image))
    monkeypatch.setattr(PG2Pipeline, "from_pretrained", lambda *_: copies)
    drawn: list[tuple[list[str], list[tuple[int, int]]]] = []

    def watched(batch: PairBatch, results: Mapping[str, torch.Tensor]) -> object:
        drawn.append((list(results), list(zip(batch.from_rows.tolist(), batch.to_rows.tolist(), strict=True))))
        return comparison_rows(batch, results)

    monkeypatch.setattr(make_module, "comparison_rows", watched)
    make_module._draw(Table1(dict.fromkeys(rows), tmp_path), store, pairs)
    places = list(zip(pairs.from_rows.tolist(), pairs.to_rows.tolist(), strict=True))
    _, *extremes, figure6 = drawn
    ssim = scores[..., 0].numpy()
    for number, (models, chosen) in enumerate(extremes):
        gain = ssim[number] - np.delete(ssim, number, axis=0).mean(axis=0)
        best_first = sorted(range(24), key=lambda pair: -gain[pair])
        assert models == list(rows)
        assert chosen == [places[pair] for pair in (*best_first[:4], *best_first[-4:])]
    worst_first = sorted(range(24), key=lambda pair: scores[2, pair, 1])
    assert figure6 == (["G1+G2+D"], [places[pair] for pair in worst_first[:16]])


def test_what_is_there_is_not_done_again(store: ImageStore, table: Table1) -> None:
    before = written(table.folder)
    again = make(store, table.folder)
    assert written(table.folder) == before
    assert again.to_markdown() == table.to_markdown() == (table.folder / "table1.md").read_text()
    assert (table.folder / "table1.csv").read_text() == table.to_csv()
    assert (table.folder / "table1.tex").read_text() == table.to_latex()


def test_a_report_says_where_its_figures_come_from(table: Table1) -> None:
    provenance = json.loads((table.folder / "G1+D" / "report.json").read_text())["provenance"]
    assert (provenance["layout"], provenance["synthetic"], provenance["command"]) == ("market1501", False, "a command")
    assert provenance["training_data"] == "people to train on, 12 images, 36 pairs"


def test_the_origin_of_a_data_set_is_read_from_its_folder(tmp_path: Path) -> None:
    root = make_market1501(tmp_path)
    assert Origin.of(root, "torso") == Origin("Market-1501 train, pair rule torso", "market1501")
    (root / "synthetic.json").write_text("{}")
    origin = Origin.of(root, "all", "a command")
    assert (origin.layout, origin.synthetic, origin.command) == ("market1501", True, "a command")


def test_other_pairs_are_scored_with_the_same_models(store: ImageStore, tmp_path: Path) -> None:
    rows = ("G1-L1",)
    first = make(store, tmp_path, rows=rows)
    before = written(tmp_path)
    second = make(store, tmp_path, pairs=10, rows=rows)
    changed = {path.name for path, time in written(tmp_path).items() if before.get(path) != time}
    assert changed == {"report.json"}
    assert (first.reports["G1-L1"].pairs, second.reports["G1-L1"].pairs) == (24, 10)


def test_one_run_scores_several_lists_of_pairs(store: ImageStore, tmp_path: Path) -> None:
    rows = ("G1-L1", "G1-poseMaskLoss")
    other = make_pairs(store.table).select(torch.arange(30, 36))
    first = make(store, tmp_path, rows=rows, also={"tiny people, pairs six.csv": other})
    six = read_table1(tmp_path, rows=rows, also="tiny-people-pairs-six-csv")
    assert (tmp_path / "also-tiny-people-pairs-six-csv.md").read_text() == six.to_markdown()
    for row in rows:
        assert (first.reports[row].pairs, six.reports[row].pairs) == (24, 6)
        assert six.reports[row].data == "tiny people, pairs six.csv"
        alone = evaluate(PG2Pipeline.from_pretrained(tmp_path / row / "pipeline", "cpu"), store, other, "alone")
        ssim = (report.figures["refined"]["ssim"].mean for report in (six.reports[row], alone))
        assert next(ssim) == pytest.approx(next(ssim), abs=1e-3)  # on disk the weights are float16
    before = written(tmp_path)
    make(store, tmp_path, rows=rows, also={"tiny people, pairs six.csv": other})
    assert written(tmp_path) == before


class EverybodyStands:
    """Finds the same pose in every image."""

    def detect(self, image: Image.Image) -> Detection:
        return Detection(Pose(torch.tensor(STANDING, dtype=torch.float32), (image.height, image.width)), 0, 1.0)


def test_poses_are_judged_where_there_is_a_detector(store: ImageStore, tmp_path: Path) -> None:
    rows = ("G1-L1",)
    without = make(store, tmp_path, rows=rows)
    before = written(tmp_path)
    judged = make(store, tmp_path, rows=rows, detector=EverybodyStands(), pose_pairs=6)
    assert {path.name for path, time in written(tmp_path).items() if before.get(path) != time} == {"report.json"}
    assert without.reports["G1-L1"].poses == {}
    assert judged.reports["G1-L1"].poses["refined"].images == 6
    assert judged.reports["G1-L1"].detector == "EverybodyStands"


def test_other_scoring_is_done_again_on_the_same_weights(store: ImageStore, tmp_path: Path) -> None:
    rows = ("G1-L1",)
    first = make(store, tmp_path, rows=rows)
    before = written(tmp_path)
    released = CONFIG.override({"evaluation.mask_from": "condition"})
    second = make(store, tmp_path, rows=rows, config=released)
    assert {path.name for path, time in written(tmp_path).items() if before.get(path) != time} == {"report.json"}
    assert [table.reports["G1-L1"].mask_from for table in (first, second)] == ["target", "condition"]
    for options in ({"width": 48}, {"width": 48, "seed": 1}):
        before = written(tmp_path)
        make(store, tmp_path, rows=rows, config=released, **options)
        assert {path.name for path, time in written(tmp_path).items() if before.get(path) != time} == {"report.json"}


def paint_over(root: Path) -> None:
    """Another picture in the place of the first image."""
    first = min((root / "bounding_box_train").iterdir())
    Image.new("RGB", (64, 128), "red").save(first)


def move_keypoints(root: Path) -> None:
    """The same images, with everybody's keypoints 3 px further right."""
    table = read_market1501(root, "train")
    moved = (Pose(xy + torch.tensor([3.0, 0.0]), table.canvas) for xy in table.xy)
    write_keypoints(root / "market-annotation-train.csv", list(zip(table.names, moved, strict=True)))


@pytest.mark.parametrize("change", [paint_over, move_keypoints])
def test_other_images_or_keypoints_of_the_same_names_are_scored_again(change, tmp_path: Path) -> None:
    root, folder, rows = make_market1501(tmp_path / "people"), tmp_path / "table", ("G1-L1",)
    store = ImageStore.open(read_market1501(root, "train"))
    first = make(store, folder, rows=rows)
    before = written(folder)
    change(root)
    test_store = ImageStore.open(read_market1501(root, "train"))
    second = make(store, folder, rows=rows, test_store=test_store)
    assert {path.name for path, time in written(folder).items() if before.get(path) != time} == {"report.json"}
    copied = [table.reports["G1-L1"].figures["condition"]["mask_ssim"].mean for table in (first, second)]
    assert copied[0] != copied[1]
    before = written(folder)
    make(store, folder, rows=rows, test_store=test_store)
    assert written(folder) == before


def test_images_without_files_are_scored_once_too(store: ImageStore, tmp_path: Path) -> None:
    pixels = store.images(torch.arange(len(store))).permute(0, 2, 3, 1)
    without = ImageStore(dataclasses.replace(store.table, paths=None), pixels)
    make(store, tmp_path, rows=("G1-L1",), test_store=without)
    before = written(tmp_path)
    make(store, tmp_path, rows=("G1-L1",), test_store=without)
    assert written(tmp_path) == before


def test_a_run_that_was_killed_between_two_rows_resumes(store: ImageStore, tmp_path: Path) -> None:
    rows = ("G1-L1", "G1-poseMaskLoss")
    make(store, tmp_path, rows=rows[:1])
    before = written(tmp_path)
    table = make(store, tmp_path, rows=rows)
    assert {path: written(tmp_path)[path] for path in before} == before
    assert list(table.reports) == list(rows)


def test_an_unknown_row_is_refused_before_anything_is_trained(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no row 'G1-LL'"):
        make(store, tmp_path / "out", rows=("G1-L1", "G1-LL"))
    assert not (tmp_path / "out").exists()


def test_what_is_refused_of_any_row_is_refused_before_the_first_is_trained(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "G1-poseMaskLoss").mkdir()
    (tmp_path / "G1-poseMaskLoss" / "config.json").write_text('{"model_type": "bert"}')
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match=r"G1-poseMaskLoss/config\.json"):
        make(store, tmp_path, rows=("G1-L1", "G1-poseMaskLoss"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_table_in_use_or_a_stage_one_in_use_that_a_row_shares_is_refused(store: ImageStore, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "G1-poseMaskLoss" / "stage1"):
        with hold(place), pytest.raises(CheckpointError, match=f"{place} is in use"):
            make(store, tmp_path, rows=("G1-L1", "G1+G2+D"))
        assert not (tmp_path / "G1-L1").exists()


def test_the_profile_and_the_images_choose_the_schedule() -> None:
    assert choose_config(None, "full", (128, 64)) == PG2Config.preset("market1501")
    square = choose_config(None, "full", (256, 256))
    assert (square, square.stage1.steps) == (PG2Config.preset("deepfashion"), 30_000)
    fast = choose_config(None, "fast", (256, 256))
    assert (fast.model.canvas, fast.stage1.steps, fast.evaluation.pairs) == ((256, 256), 60, 200)
    assert choose_config("compact", "full", (128, 64)).model.base_width == 24


class TwoClasses(torch.nn.Module):
    """Logits by how red an image is."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = images.float()[:, 0].mean(dim=(1, 2)) / 32
        return torch.stack((red, -red), dim=1)


def test_a_row_is_scored_again_for_every_inception_network(store: ImageStore, tmp_path: Path) -> None:
    network = InceptionNetwork("two classes", TwoClasses(), "as they are")
    without = make(store, tmp_path, rows=("G1-L1",))
    before = written(tmp_path)
    for other in (
        network,
        dataclasses.replace(network, resize="to 299x299"),
        dataclasses.replace(network, name="mine"),
    ):
        judged = make(store, tmp_path, rows=("G1-L1",), inception=other).reports["G1-L1"].sets["refined"]
        assert (judged.inception_score.network, judged.inception_score.resize) == (other.name, other.resize)
        assert 1 <= judged.mask_inception_score.mean <= 2
    assert without.reports["G1-L1"].sets == {}
    assert {path.name for path, time in written(tmp_path).items() if before.get(path) != time} == {"report.json"}


def test_lists_of_pairs_that_would_share_a_folder_are_refused(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lists of test pairs"):
        make(store, tmp_path / "out", also={"Tiny, people": make_pairs(store.table)})
    assert not (tmp_path / "out").exists()


def test_the_command_names_the_data_that_were_trained_on(tmp_path: Path) -> None:
    root, out = make_market1501(tmp_path / "people"), tmp_path / "out"
    shutil.copytree(root / "bounding_box_train", root / "bounding_box_test")
    shutil.copy(root / "market-annotation-train.csv", root / "market-annotation-test.csv")
    small = {"model.base_width": 4, "model.bottleneck": 8, "stage1.batch_size": 4, "stage1.steps": 1}
    small["evaluation.pairs"] = 5
    names = [f"0002_c{n}s1_000{n - 1}51_01.jpg" for n in (1, 2)]
    (tmp_path / "one.csv").write_text(f"from,to\n{','.join(names)}\n")
    settings = [part for key, value in small.items() for part in ("--set", f"{key}={value}")]
    command = ["table1", "--data", str(root), "--profile", "fast", "--rows", "G1-L1", "--cpu", "--out", str(out)]
    command += ["--test-pairs", "all", str(tmp_path / "one.csv")]
    assert main(command + settings) == 0
    pipeline = PG2Pipeline.from_pretrained(out / "G1-L1" / "pipeline", "cpu")
    assert pipeline.training["data"] == "Market-1501 train, pair rule torso"
    report = EvaluationReport.from_json((out / "G1-L1" / "report.json").read_text())
    assert (report.data, report.pairs) == ("Market-1501 test, pairs all, 5 drawn with seed 0", 5)
    (also,) = (out / "G1-L1" / "also").glob("*/report.json")
    report = EvaluationReport.from_json(also.read_text())
    assert (report.data, report.pairs) == ("Market-1501 test, pairs one.csv", 1)
    assert main([*command, str(tmp_path / "one.csv"), *settings]) == 1  # twice the same list
