"""What a run is refused for, before it changes anything."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file

from pg2lib import (
    CheckpointError,
    ConfigError,
    DataError,
    ImageStore,
    PG2Config,
    PG2Pipeline,
    make_pairs,
    read_market1501,
)
from pg2lib.cli import main
from pg2lib.data.pairs import PairTable
from pg2lib.training.check import check_run
from pg2lib.training.checkpoint import checksum, find_checkpoint, list_checkpoints
from pg2lib.training.lock import hold
from pg2lib.training.run import Reports, run_stage1, train
from tests.conftest import ROOT, make_market1501

LEGS = [9, 10, 12, 13]

CONFIG = PG2Config.preset("fast").override(
    {"model.base_width": 2, "model.bottleneck": 4, "model.discriminator_width": 2}
    | {"stage1.batch_size": 2, "stage2.batch_size": 2, "stage1.steps": 2, "stage2.steps": 2}
)
QUIET = Reports(progress=False, sample_every=0, checkpoint_every=1, time_share=1.0)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_market1501(tmp_path_factory.mktemp("people") / "market1501")


@pytest.fixture(scope="module")
def pairs(people: Path) -> PairTable:
    return make_pairs(read_market1501(people, "train"))


def go(pairs: PairTable, folder: Path, config: PG2Config = CONFIG, **options: Any) -> PG2Pipeline:
    return train(config, store_of(pairs), pairs, folder, "people", QUIET, **options)


def store_of(pairs: PairTable) -> ImageStore:
    return ImageStore(pairs.table, torch.full((len(pairs.table), 128, 64, 3), 99, dtype=torch.uint8))


@pytest.fixture(scope="module")
def finished(pairs: PairTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    go(pairs, folder)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def refused(pairs: PairTable, folder: Path, error: type[Exception], message: str, **options: Any) -> None:
    """That a run is refused, and changes nothing."""
    before = contents(folder)
    everything = sorted(folder.parent.rglob("*"))
    with pytest.raises(error, match=message):
        go(pairs, folder, **options)
    assert contents(folder) == before
    assert sorted(folder.parent.rglob("*")) == everything


def test_a_finished_run_given_more_steps_of_stage_one_is_refused_before_they_are_trained(pairs, run: Path) -> None:
    """The refusal names both ways out."""
    longer = CONFIG.override({"stage1.steps": 4})
    ways = f"--restart stage2.*{run / 'earlier-1'}.*--from {run / 'pipeline'}"
    refused(pairs, run, CheckpointError, f"stage1 has 2 of 4 steps.*{ways}", config=longer)


def test_more_steps_of_stage_two_go_on(pairs, run: Path) -> None:
    stage1 = contents(run / "stage1")
    go(pairs, run, CONFIG.override({"stage2.steps": 3}))
    assert contents(run / "stage1") == stage1
    assert find_checkpoint(run / "stage2").step == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage1.steps": 1}, r"stage1/step-00000002\.safetensors has done 2 steps already"),
        ({"stage2.steps": 1}, r"stage2/step-00000002\.safetensors has done 2 steps already"),
        ({"stage1.lr": 0.5}, "stage1.lr: 0.001 then, 0.5 now"),
        ({"stage2.l1_weight": 7}, "stage2.l1_weight: 10.0 then, 7 now"),
        ({"model.base_width": 4}, "model.base_width: 2 then, 4 now"),
        ({"networks": "G1+D"}, r"trains G1\+G2\+D, and this one trains G1\+D"),
    ],
)
@pytest.mark.parametrize("without", [None, "pipeline"])
def test_other_settings_are_refused_by_name(pairs, run: Path, change, message: str, without: str | None) -> None:
    if without is not None:
        shutil.rmtree(run / without)
    refused(pairs, run, CheckpointError, message, config=CONFIG.override(change))


def test_a_finished_pipeline_is_not_replaced_by_one_of_other_settings(pairs, run: Path) -> None:
    """Even when the checkpoints that would say so have been removed to save space."""
    for name in ("stage1", "stage2"):
        shutil.rmtree(run / name)
    other = CONFIG.override({"stage2.l1_weight": 7})
    refused(pairs, run, CheckpointError, r"pipeline is a finished pipeline .*\(stage2\.l1_weight", config=other)


def test_settings_of_the_evaluation_may_change(pairs, run: Path) -> None:
    go(pairs, run, CONFIG.override({"evaluation.pairs": 3}))


def test_other_pairs_are_refused(pairs, run: Path) -> None:
    refused(pairs.select(torch.arange(9)), run, CheckpointError, "pairs: '36 pairs.* then, '9 pairs.* now")


def test_a_stage_two_whose_stage_one_is_gone_is_refused(pairs, run: Path) -> None:
    shutil.rmtree(run / "stage1")
    refused(pairs, run, CheckpointError, "stage1 has none of 2 steps.*--restart stage2")


def test_a_stage_two_on_another_g1_is_refused(pairs, run: Path) -> None:
    path = list_checkpoints(run / "stage1")[-1]
    with safe_open(path, "pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    tensors["model.g1.last.bias"] += 1
    save_file(tensors, path, {**metadata, "checksum": checksum(metadata, sorted(tensors.items()))})
    refused(pairs, run, CheckpointError, "stage2.* is of another run .g1: 'sha256")


def pipeline_folder(folder: Path, finished: Path) -> None:
    shutil.copytree(finished / "pipeline", folder)


def weights_without_config(folder: Path, finished: Path) -> None:
    pipeline_folder(folder, finished)
    (folder / "config.json").unlink()


def stage_folder(folder: Path, finished: Path) -> None:
    shutil.copytree(finished / "stage1", folder)


def other_config(folder: Path, _: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')


def data_folder(folder: Path, _: Path) -> None:
    make_market1501(folder)


def a_file(folder: Path, _: Path) -> None:
    folder.touch()


def file_for_pipeline(folder: Path, _: Path) -> None:
    folder.mkdir()
    (folder / "pipeline").touch()


def run_for_pipeline(folder: Path, finished: Path) -> None:
    folder.mkdir()
    shutil.copytree(finished, folder / "pipeline")


def file_for_stage_two(folder: Path, _: Path) -> None:
    folder.mkdir()
    (folder / "stage2").touch()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pipeline_folder, "run is a pipeline folder, not the folder of a run"),
        (weights_without_config, r"not the folder of a training run: it has model\.safetensors"),
        (stage_folder, "run is one stage of a run"),
        (other_config, r"config\.json is not the configuration of a training run"),
        (data_folder, "not the folder of a training run: it has bounding_box_train"),
        (a_file, "run is a file"),
        (file_for_pipeline, "pipeline is a file"),
        (run_for_pipeline, r"pipeline/config\.json does not belong to a pipeline"),
        (file_for_stage_two, "stage2 is a file"),
    ],
)
def test_what_is_no_folder_of_a_run_is_left_alone(
    people: Path, pairs, finished: Path, tmp_path: Path, make: Callable[[Path, Path], None], message: str, capsys
) -> None:
    """Neither the library nor the command line, which decodes the images first, touches it."""
    folder = tmp_path / "run"
    make(folder, finished)
    refused(pairs, folder, CheckpointError, message)
    before = contents(tmp_path)
    assert main(["train", "--data", str(people), "--config", "fast", "--cpu", "--out", str(folder)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert contents(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(pairs, run: Path) -> None:
    (run / "pipeline").chmod(0o500)
    refused(pairs, run, CheckpointError, "pipeline cannot be written")


def test_without_permission_to_write_nothing_is_begun(pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a disk mounted read-only answers, to root too."""
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    refused(pairs, tmp_path / "run", CheckpointError, f"{tmp_path} cannot be written")


def test_a_batch_that_cannot_be_shared_is_refused_for_both_stages(pairs, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", 4)
    odd = CONFIG.override({"stage1.batch_size": 4, "stage2.batch_size": 6})
    refused(pairs, tmp_path / "run", ConfigError, "4 processes can share, got 6", config=odd)


def hide(pairs: PairTable, joints: list[int]) -> PairTable:
    """The same pairs of people who lack some joints in every image."""
    xy = pairs.table.xy.clone()
    xy[:, joints] = math.nan
    table = dataclasses.replace(pairs.table, xy=xy)
    return PairTable(table, pairs.from_rows, pairs.to_rows)


def test_people_without_legs_are_trained_on_and_framed(pairs, tmp_path: Path) -> None:
    go(hide(pairs, LEGS), tmp_path / "run", CONFIG.override({"networks": "G1"}))
    pipeline = PG2Pipeline.from_pretrained(tmp_path / "run" / "pipeline", "cpu")
    assert list(pipeline.framing.y) == ["nose", "neck", "hips"]


def test_people_of_whom_nothing_is_seen_are_refused_before_the_first_step(pairs, tmp_path: Path) -> None:
    refused(hide(pairs, list(range(18))), tmp_path / "run", DataError, "none of 12 rows")


def test_a_damaged_newest_checkpoint_costs_its_steps_and_no_more(pairs, run: Path, caplog) -> None:
    """Bit for bit the same run, and a word that names the file."""
    newest = list_checkpoints(run / "stage2")[-1]
    sound, digest = newest.read_bytes(), find_checkpoint(run / "stage2").metadata["checksum"]
    newest.write_bytes(sound[:-8] + bytes([sound[-8] ^ 1]) + sound[-7:])
    with caplog.at_level(logging.WARNING):
        go(pairs, run)
    assert caplog.text.count(f"{newest} is damaged") == 1
    assert "stage 2 resumes from step-00000001.safetensors" in caplog.text
    assert find_checkpoint(run / "stage2").metadata["checksum"] == digest


def test_a_folder_in_use_is_refused_wherever_the_other_run_is(pairs, run: Path) -> None:
    """A run in the folder, a table that trains the stage I it shares, or a notebook in one of its stages."""
    for place in (run, run / "stage2"):
        more = CONFIG.override({"stage2.steps": 3})
        with hold(place):
            refused(pairs, run, CheckpointError, f"{place} is in use by process {os.getpid()} on", config=more)
    with hold(run / "stage1"), pytest.raises(CheckpointError, match="stage1 is in use"):
        run_stage1(CONFIG, store_of(pairs), pairs, run / "stage1", QUIET)
    assert not list(run.rglob(".lock"))


def test_runs_share_a_finished_stage_one_that_they_cannot_write(pairs, run: Path, tmp_path: Path) -> None:
    with hold(run / "stage1"):
        go(pairs, tmp_path / "other", stage1=run / "stage1")
    assert not (tmp_path / "other" / "stage1").exists()


def test_a_damaged_log_is_refused_before_the_first_step(pairs, run: Path) -> None:
    """The finished pipeline says how long its stages took."""
    log = run / "stage1" / "log.jsonl"
    log.write_text("half a line\n" + log.read_text())
    refused(pairs, run, DataError, r"log\.jsonl", config=CONFIG.override({"stage2.steps": 3}))


def test_a_log_that_a_loss_of_power_tore_does_not_stop_the_end(pairs, run: Path) -> None:
    with (run / "stage1" / "log.jsonl").open("ab") as file:
        file.write(b'{"step": 3, "sec\x00\x00\xff')
    pipeline = go(pairs, run)
    assert pipeline.training["seconds"]["stage1"] > 0


def test_checking_writes_nothing(pairs, tmp_path: Path, run: Path) -> None:
    before = contents(run)
    for known in (None, pairs):
        check_run(CONFIG, run, known)
        check_run(CONFIG, tmp_path / "new" / "run", known)
    assert contents(run) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_two_at_once_and_one_after_a_kill(people: Path, tmp_path: Path) -> None:
    """The second is told to wait; killed outright, the first leaves a lock and parts that the next clears away."""
    run = tmp_path / "run"
    small = {"model.base_width": 4, "model.bottleneck": 8, "stage1.batch_size": 2, "stage1.steps": 100_000}
    command = [sys.executable, "-m", "pg2lib", "train", "--data", str(people), "--config", "fast", "--cpu"]
    command += ["--row", "G1-L1", "--checkpoint-every", "2", "--sample-every", "0", "--out", str(run)]
    command += [part for key, value in small.items() for part in ("--set", f"{key}={value}")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 240
        while not list_checkpoints(run / "stage1") and time.monotonic() < deadline:
            time.sleep(0.1)
        second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert first.poll() is None
        assert second.returncode == 1
        assert f"pg2lib: {run} is in use by process {first.pid} on" in second.stderr
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (run / ".lock").exists() and (run / "stage1" / ".lock").exists()
    (run / "stage1" / f".step-00000002.safetensors.{first.pid}.part").write_bytes(b"half")
    reached = find_checkpoint(run / "stage1").step
    command += ["--set", f"stage1.steps={reached + 1}"]
    third = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert third.returncode == 0, third.stderr
    assert third.stderr.count(f"left by process {first.pid} on") == 2
    assert not list(run.rglob(".lock")) and not list(run.rglob("*.part"))
    steps = [json.loads(line)["step"] for line in (run / "stage1" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, reached + 2))
