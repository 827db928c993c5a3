"""Several processes: two gloo processes on the CPU against one, with the same global batch."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from pg2lib.training.lock import hold
from tests.conftest import ROOT, make_market1501

NO_EFFECT = re.compile(r"model\.d\.(convs\.[1-9]\.bias|norms\.\d\.running_)")
"""Batch norm takes away what these biases add, so their gradient is rounding, which Adam makes whole steps of; the
running statistics see them, and are not used in training.
"""


def weights(checkpoint: Path) -> Tensor:
    """All weights of a training checkpoint's models that have an effect, as one vector."""
    with safe_open(checkpoint, "pt") as file:
        names = [name for name in file.keys() if name.startswith("model.") and not NO_EFFECT.match(name)]  # noqa: SIM118
        return torch.cat([file.get_tensor(name).flatten() for name in sorted(names)])


def assert_same_models(one: Path, two: Path) -> None:
    """But for rounding, which Adam's first steps enlarge where a gradient is next to nothing.

    A step moves a weight by about the learning rate: 1e-3 in stage I, 1e-4 in stage II.
    """
    for checkpoint in ("stage1/step-00000004.safetensors", "stage2/step-00000002.safetensors"):
        assert float((weights(one / checkpoint) - weights(two / checkpoint)).abs().mean()) < 1e-5, checkpoint


@pytest.mark.slow
def test_two_processes_make_the_models_of_one(tmp_path: Path) -> None:
    make_market1501(tmp_path / "market1501")
    arguments = [
        "-m", "pg2lib", "train", "--data", str(tmp_path / "market1501"), "--config", "fast", "--cpu",
        "--set", "model.base_width=4", "--set", "model.bottleneck=8", "--set", "model.discriminator_width=4",
        "--set", "stage1.batch_size=4", "--set", "stage1.steps=4",
        "--set", "stage2.batch_size=4", "--set", "stage2.steps=2", "--set", "stage2.lr=1e-4",
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
    assert_same_models(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "pipeline" / "config.json").is_file()
    assert len((tmp_path / "two" / "stage1" / "log.jsonl").read_text().splitlines()) == 4


NOTEBOOK = """
import sys
from pathlib import Path
from accelerate import notebook_launcher
import torch, pg2lib
from pg2lib.training.run import Reports, load_stage1, load_stage2, run_stage1, run_stage2

torch.randn(512, 512) @ torch.randn(512, 512)  # this process's threads are at work, as in any notebook
root, out, processes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
config = pg2lib.PG2Config.preset("fast").override(
    {"model.base_width": 4, "model.bottleneck": 8, "model.discriminator_width": 4}
    | {"stage1.batch_size": 4, "stage1.steps": 4, "stage2.batch_size": 4, "stage2.steps": 2, "stage2.lr": 1e-4}
)
store = pg2lib.ImageStore.open(pg2lib.read_market1501(root, "train"))
pairs = pg2lib.make_pairs(store.table)
quiet = Reports(progress=False)
notebook_launcher(run_stage1, (config, store, pairs, out / "stage1", quiet), num_processes=processes)
g1 = load_stage1(out / "stage1")
notebook_launcher(run_stage2, (config, store, pairs, out / "stage2", g1, quiet), num_processes=processes)
load_stage2(out / "stage2")
"""


@pytest.mark.slow
def test_a_notebook_starts_several_processes(tmp_path: Path) -> None:
    make_market1501(tmp_path / "market1501")
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    for processes in (1, 2):
        arguments = [tmp_path / "notebook.py", tmp_path / "market1501", tmp_path / str(processes), processes]
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert_same_models(tmp_path / "1", tmp_path / "2")


@pytest.mark.slow
def test_what_the_main_process_refuses_every_process_raises(tmp_path: Path) -> None:
    """None waits for ever for one that has given up."""
    make_market1501(tmp_path / "market1501")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "pg2lib", "train", "--data", str(tmp_path / "market1501"), "--config", "fast"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What torchrun sets; but nobody ends one process because the other has ended.
    common = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with hold(run):
        processes = [
            subprocess.Popen(
                [*command, "--cpu", "--out", str(run)], stderr=subprocess.PIPE, text=True,
                env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank},
            )
            for rank in ("0", "1")
        ]  # fmt: skip
        errors = [process.communicate(timeout=240)[1] for process in processes]
        assert [path.name for path in run.iterdir()] == [".lock"]
    assert [process.returncode for process in processes] == [1, 1]
    for error in errors:
        assert f"pg2lib: {run} is in use by process {os.getpid()} on" in error
