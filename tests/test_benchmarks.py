"""The benchmarks run: their figures are no test's matter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import augmentations, detector
from benchmarks.ingredients import STAGE1, STAGE2, configuration
from pg2lib import NoPersonError, PG2Config, Pose
from pg2lib.data.synthetic import write_market1501
from pg2lib.detect import Detection
from tests.conftest import ROOT, make_market1501

TINY = {
    "model.height": 32,
    "model.width": 32,
    "model.base_width": 4,
    "model.bottleneck": 8,
    "model.discriminator_width": 4,
}


@pytest.mark.slow
def test_the_command_measures_a_table_and_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    (tmp_path / "tiny.json").write_text(PG2Config.preset("fast").override(TINY).to_json())
    command = [
        sys.executable, "-m", "benchmarks.run", "--only", "raster", "training", "--preset", str(tmp_path / "tiny.json"),
        "--steps", "20", "--cpu", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out" / "bench.json").read_text())["rows"]
    measured = " | ".join(row["what"] for row in rows)
    for what in ("heatmaps and masks", "stage 1", "stage 2", "input", "checkpoints", "backward pass", "SSIM", "bf16"):
        assert what in measured
    for row in rows:
        line = f"| {row['what']} | {row['ours']} | {row['yardstick']} | {row['ratio']:.2f} |"
        assert line in done.stdout
        if row["target"]:
            relation, target = row["target"].split()
            assert row["met"] == (row["ratio"] >= float(target) if relation == ">=" else row["ratio"] <= float(target))
    kept = next(row for row in rows if "backward pass" in row["what"])
    assert kept["ratio"] < 0.6  # G1's activations, which are more than G2's, are not kept
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {"bench.png", "bf16.png"}


def test_the_detector_is_measured(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, standing: Pose) -> None:
    """With a detector that finds the annotated person mirrored, in every picture but those of one colour."""

    class Finds:
        def __enter__(self) -> Finds:
            return self

        def __exit__(self, *error: object) -> None:
            return None

        def detect(self, image: Image.Image) -> Detection:
            if image.getextrema() == ((9, 9),) * 3:
                raise NoPersonError("nobody")
            mirrored = Pose(torch.stack((63 - standing.xy[:, 0], standing.xy[:, 1]), dim=1), standing.canvas)
            return Detection(mirrored.resize((image.height, image.width)), 0, 1.0)

        def find_people(self, image: Image.Image) -> list[Detection]:
            return [self.detect(image)]

    monkeypatch.setattr("benchmarks.detector.MediaPipeDetector", Finds)
    for folder, colour in (("people", None), ("nobody", (9, 9, 9))):
        (tmp_path / folder).mkdir()
        picture = Image.effect_noise((64, 128), 80) if colour is None else Image.new("RGB", (64, 128), colour)
        picture.save(tmp_path / folder / "a.png")
    folders = ["--people", str(tmp_path / "people"), "--nobody", str(tmp_path / "nobody")]
    data = make_market1501(tmp_path / "market")
    assert detector.main([*folders, "--data", str(data), "--split", "train", "--count", "4"]) == 0
    people, nobody, market = capsys.readouterr().out.splitlines()
    assert people == "somebody found in 1 of 1 photos, and in 1 of them far away"
    assert nobody.startswith("somebody found in 0 of 1 pictures of nobody")
    assert "4 images, seed 0: 0 missed (0.0%), left and right exchanged in 4 of 4 (100.0%)" in market


def test_an_ingredient_changes_what_it_is_called_after() -> None:
    plain = PG2Config.preset("market1501")
    wide = configuration(plain, 1, STAGE1["batch of 64, four times the rate"])
    assert (wide.stage1.batch_size, wide.stage1.lr, wide.stage2) == (64, 8e-5, plain.stage2)
    fast_d = configuration(plain, 2, STAGE2["D learns four times as fast"])
    assert (fast_d.stage2.d_lr, fast_d.stage2.lr, fast_d.stage1) == (8e-5, 2e-5, plain.stage1)
    assert configuration(plain, 2, STAGE2["rate falls over the last half"]).stage2.lr_decay_steps == 7_000
    assert configuration(plain, 2, STAGE2["spectral norm in D"]).model.discriminator_norm == "spectral"


@pytest.mark.slow
def test_the_ingredients_of_stage_2_are_trained_from_one_g1_and_scored(tmp_path: Path) -> None:
    root, out = make_market1501(tmp_path / "people"), tmp_path / "out"
    shutil.copytree(root / "bounding_box_train", root / "bounding_box_test")
    shutil.copy(root / "market-annotation-train.csv", root / "market-annotation-test.csv")
    command = [
        sys.executable, "-m", "benchmarks.ingredients", str(root), "--config", "compact", "--g1", "market1501-compact",
        "--set", "stage2.steps=1", "--set", "stage2.batch_size=2", "--set", "stage2.lr_decay_steps=0",
        "--test-pairs", "4", "--cpu",
        "--out", str(out),
    ]  # fmt: skip
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        lines = (out / "ingredients.md").read_text().splitlines()
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| II")]
        assert [row[1] for row in rows] == list(STAGE2)
        assert len({len(row) for row in rows}) == 1
    assert len({tuple(row[2:]) for row in rows}) > 1  # one step each, and not all of them the same
    assert len(list((out / "grids").glob("stage2-*.png"))) == len(STAGE2)
    assert not (out / "stage1").exists()


def test_pairs_are_scored_under_each_augmentation(tmp_path: Path, capsys) -> None:
    pytest.importorskip("mediapipe.python.solutions", reason="needs mediapipe with its models")
    root = write_market1501(tmp_path / "data", people=1, test_people=3)
    assert augmentations.main([str(root), "--count", "5", "--weights", "market1501-compact"]) == 0
    table = capsys.readouterr().out
    assert [kind for kind in augmentations.KINDS if kind not in table] == []
    row = next(line for line in table.splitlines() if "| masked L1" in line)
    plain, recoloured = (float(cell) for cell in row.split("|")[3:5])
    assert 0 < plain < 255 and recoloured != plain
