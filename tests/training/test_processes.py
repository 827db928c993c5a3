"""Several processes: two gloo processes on the CPU against one, with the same global batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.conftest import ROOT, make_market1501


@pytest.mark.slow
def test_two_processes_make_the_g1_of_one(tmp_path: Path) -> None:
    make_market1501(tmp_path / "market1501")
    arguments = [
        "-m", "pg2lib", "train", "--data", str(tmp_path / "market1501"), "--config", "fast", "--cpu",
        "--set", "model.base_width=4", "--set", "model.bottleneck=8", "--set", "model.discriminator_width=4",
        "--set", "stage1.batch_size=4", "--set", "stage1.steps=4",
        "--set", "stage2.batch_size=4", "--set", "stage2.steps=2",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launchers = {
        "one": [sys.executable],
        "two": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    }
    for name, launcher in launchers.items():
        done = subprocess.run(
            [*launcher, *arguments, "--out", str(tmp_path / name)],
            env=environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    files = [tmp_path / name / "stage1" / "step-00000004.safetensors" for name in launchers]
    with safe_open(files[0], "pt") as one, safe_open(files[1], "pt") as two:
        for key in one.keys():  # noqa: SIM118
            if key.startswith("model."):
                assert (one.get_tensor(key) - two.get_tensor(key)).abs().max() < 1e-4, key
    # Stage II runs in both; D's batch norm sees each process's share, so its weights are not the same.
    assert (tmp_path / "two" / "pipeline" / "config.json").is_file()
    assert len((tmp_path / "two" / "stage1" / "log.jsonl").read_text().splitlines()) == 4
