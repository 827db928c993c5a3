"""The benchmarks run: their figures are no test's matter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pg2lib import PG2Config
from tests.conftest import ROOT

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
    for what in ("heatmaps and masks", "stage 1", "stage 2", "input", "checkpoints", "way back", "SSIM", "bf16"):
        assert what in measured
    for row in rows:
        line = f"| {row['what']} | {row['ours']} | {row['yardstick']} | {row['ratio']:.2f} |"
        assert line in done.stdout
        if row["target"]:
            relation, target = row["target"].split()
            assert row["met"] == (row["ratio"] >= float(target) if relation == ">=" else row["ratio"] <= float(target))
    kept = next(row for row in rows if "way back" in row["what"])
    assert kept["ratio"] < 0.6  # G1's activations, which are more than G2's, are not kept
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {"bench.png", "bf16.png"}
