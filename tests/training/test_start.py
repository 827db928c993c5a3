"""Fine-tuning: a run that starts from a trained pipeline."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from pg2lib import CheckpointError, ConfigError, PG2Config, PG2Pipeline
from pg2lib.cli import main
from pg2lib.framing import Framing
from pg2lib.models import build_models
from pg2lib.models.generators import BACKDROP_LOGIT
from pg2lib.training.checkpoint import find_checkpoint
from pg2lib.training.loop import identity_of
from pg2lib.training.run import Reports, load_stage1, load_stage2, train
from pg2lib.training.start import digest_of_start, fine_tuning, initialise, refuse_another_architecture
from tests.training.conftest import TINY, Data, config, same, weights

QUIET = Reports(progress=False, sample_every=0, checkpoint_every=1, time_share=1.0)
STILL = config(stage1__steps=1, stage2__steps=1, stage1__lr=1e-30, stage2__lr=1e-30)
"""Steps that change no weight by more than rounding."""
WITHOUT_BACKDROP = STILL.override({"model.part_warp": True, "model.matte": True, "networks": "G1"})


def close(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = weights(a), weights(b)
    return ours.keys() == theirs.keys() and all(torch.allclose(ours[key], theirs[key]) for key in ours)


def save(folder: Path, settings: PG2Config = STILL, seed: int = 9) -> PG2Pipeline:
    torch.manual_seed(seed)
    g1, g2, _ = build_models(settings)
    framing = Framing(0.5, {"neck": 0.2})
    record = {"data": "other people", "images": 7}
    g2 = g2 if settings.networks == "G1+G2+D" else None
    PG2Pipeline(g1, g2, settings, framing, record).save_pretrained(folder, torch.float32)
    return PG2Pipeline.from_pretrained(folder, "cpu")


@pytest.fixture
def start(tmp_path: Path) -> PG2Pipeline:
    return save(tmp_path / "start")


def go(data: Data, run: Path, settings: PG2Config = STILL, **options) -> PG2Pipeline:
    return train(settings, data.store, data.pairs, run, "own photos", QUIET, **options)


def test_both_generators_start_from_the_pipeline(data: Data, tmp_path: Path, start: PG2Pipeline) -> None:
    before = {name: weights(model) for name, model in start.generators.items()}
    made = go(data, tmp_path / "run", start=start)
    assert close(made.g1, start.g1) and close(made.g2, start.g2)
    moved = go(data, tmp_path / "moved", config(stage1__steps=1, stage2__steps=1), start=start)
    assert not close(moved.g1, start.g1) and not close(moved.g2, start.g2)
    for name, model in start.generators.items():
        assert same(weights(model), before[name]), "the pipeline itself is not trained"


def test_the_moving_average_starts_from_the_pipeline_too(data: Data, tmp_path: Path, start: PG2Pipeline) -> None:
    averaged = STILL.override({"stage1.ema_decay": 0.9, "networks": "G1"})
    assert close(go(data, tmp_path / "run", averaged, start=start).g1, start.g1)


def test_the_one_stage_model_starts_from_g1(data: Data, tmp_path: Path, start: PG2Pipeline) -> None:
    assert close(go(data, tmp_path / "run", STILL.row("G1+D"), start=start).g1, start.g1)


def test_without_a_g2_in_the_pipeline_stage_two_starts_from_random_weights(data: Data, tmp_path: Path) -> None:
    start = save(tmp_path / "start", STILL.override({"networks": "G1"}))
    made = go(data, tmp_path / "run", start=start)
    assert close(made.g1, start.g1)
    assert close(made.g2, go(data, tmp_path / "plain").g2)


def test_a_run_may_add_the_backdrop(tmp_path: Path) -> None:
    start = save(tmp_path / "start", WITHOUT_BACKDROP)
    settings = WITHOUT_BACKDROP.override({"model.backdrop": True})
    refuse_another_architecture(settings, start)
    ours, theirs = weights(initialise(build_models(settings)[0], "g1", start)), weights(start.g1)
    for key, values in theirs.items():
        assert torch.equal(ours[key][: len(values)], values), key
    assert len(ours["last.bias"]) == len(theirs["last.bias"]) + 1
    assert ours["last.bias"][-1] == BACKDROP_LOGIT


def test_a_run_may_not_drop_the_backdrop(tmp_path: Path) -> None:
    start = save(tmp_path / "start", WITHOUT_BACKDROP.override({"model.backdrop": True}))
    with pytest.raises(ConfigError, match=r"model\.backdrop: True there, False here"):
        refuse_another_architecture(WITHOUT_BACKDROP, start)


def test_the_card_says_from_what(data: Data, tmp_path: Path, start: PG2Pipeline) -> None:
    go(data, tmp_path / "run", start=start)
    record = json.loads((tmp_path / "run" / "pipeline" / "config.json").read_text())["training"]
    sha256 = json.loads((tmp_path / "start" / "config.json").read_text())["sha256"]
    assert record["from"] == {"name": "start", "sha256": sha256, "data": "other people"}
    assert record["data"] == "own photos"
    again = PG2Pipeline.from_pretrained(tmp_path / "run" / "pipeline", "cpu")
    go(data, tmp_path / "second", start=again)
    record = json.loads((tmp_path / "second" / "pipeline" / "config.json").read_text())["training"]
    assert record["from"]["data"] == "own photos" and record["from"]["from"]["name"] == "start"
    assert "from" not in go(data, tmp_path / "plain").training


def test_a_run_that_is_resumed_equals_one_that_never_stopped(data: Data, tmp_path: Path, start: PG2Pipeline) -> None:
    two, three = (config(stage1__steps=2, stage2__steps=steps, stage1__ema_decay=0.5) for steps in (1, 3))
    go(data, tmp_path / "run", two, start=start)
    go(data, tmp_path / "run", three, start=start)
    go(data, tmp_path / "whole", three, start=start)
    for load, stage in ((load_stage1, "stage1"), (load_stage2, "stage2")):
        assert same(weights(load(tmp_path / "run" / stage)), weights(load(tmp_path / "whole" / stage)))


@pytest.mark.parametrize("without", ["nothing", "pipeline", "checkpoints"])
def test_a_run_with_another_start_is_refused(data: Data, tmp_path: Path, start: PG2Pipeline, without: str) -> None:
    plain, tuned = tmp_path / "plain", tmp_path / "tuned"
    go(data, plain)
    go(data, tuned, start=start)
    for run in (plain, tuned):
        for name in {"nothing": [], "pipeline": ["pipeline"], "checkpoints": ["stage1", "stage2"]}[without]:
            shutil.rmtree(run / name)
    other = save(tmp_path / "other", seed=10)
    for run, another in ((plain, start), (tuned, None), (tuned, other)):
        before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
        with pytest.raises(CheckpointError, match="start: "):
            go(data, run, start=another)
        assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    shutil.move(tmp_path / "start", tmp_path / "renamed")
    go(data, tuned, start=PG2Pipeline.from_pretrained(tmp_path / "renamed", "cpu"))


def test_the_identity_of_a_run_from_nothing_has_no_start(start: PG2Pipeline) -> None:
    """As in the checkpoints that were written before there was fine-tuning."""
    for number in (0, 1, 2):
        plain = identity_of(STILL, number)
        assert "start" not in plain
        assert identity_of(STILL, number, start=digest_of_start(start)).keys() - plain.keys() == {"start"}


@pytest.mark.parametrize("change", [{"model.bottleneck": 6}, {"model.pose_embedding": "coordinates"}])
def test_another_architecture_is_refused_by_field(data: Data, tmp_path: Path, start: PG2Pipeline, change) -> None:
    (field,) = change
    with pytest.raises(ConfigError, match=f"{field}: {getattr(STILL.model, field[6:])!r} there, .* here"):
        go(data, tmp_path / "run", STILL.override(change), start=start)
    assert not (tmp_path / "run").exists()


def test_d_which_no_pipeline_holds_may_differ(data: Data, tmp_path: Path, start: PG2Pipeline) -> None:
    go(data, tmp_path / "run", STILL.override({"model.discriminator_width": 6}), start=start)
    assert find_checkpoint(tmp_path / "run" / "stage2").config.model.discriminator_width == 6


def test_a_pipeline_that_no_folder_identifies_is_refused(data: Data, tmp_path: Path) -> None:
    g1, g2, _ = build_models(STILL)
    with pytest.raises(ConfigError, match="loaded by from_pretrained"):
        go(data, tmp_path / "run", start=PG2Pipeline(g1, g2, STILL, Framing(0.5, {"neck": 0.2})))


def test_by_default_the_generators_learn_at_a_tenth_of_their_rate_for_a_tenth_of_the_steps() -> None:
    plus = PG2Config.preset("market1501-plus")
    tuned = fine_tuning(plus)
    for ours, theirs in ((tuned.stage1, plus.stage1), (tuned.stage2, plus.stage2)):
        assert ours.lr == pytest.approx(theirs.lr / 10)
        assert (ours.steps, ours.lr_decay_steps) == (theirs.steps // 10, theirs.lr_decay_steps // 10)
    assert tuned.stage2.d_lr == (plus.stage2.d_lr or plus.stage2.lr), "D starts from nothing"
    kept = dataclasses.replace(tuned, stage1=plus.stage1, stage2=plus.stage2)
    assert kept == plus, "nothing else changes"
    assert fine_tuning(config(stage1__steps=3)).stage1.steps == 1


def test_the_command_line_fine_tunes(tiny_market1501: Path, tmp_path: Path, start: PG2Pipeline, capsys) -> None:
    command = ["train", "--data", str(tiny_market1501), "--cpu", "--from", str(tmp_path / "start")]
    out = ["--out", str(tmp_path / "run")]
    assert main([*command, "--config", "fast", *out]) == 1
    assert f"model.base_width: {TINY['model.base_width']} there" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*command, "--set", "stage2.lr=0.5", *out]) == 0
    made = PG2Pipeline.from_pretrained(tmp_path / "run" / "pipeline", "cpu")
    assert made.training["from"]["name"] == "start"
    assert made.config == fine_tuning(STILL).override({"stage2.lr": 0.5})
    assert "Fine-tuning" in capsys.readouterr().out
    shutil.copytree(tmp_path / "start", tmp_path / "other" / "pipeline")
    inside = ["train", "--data", str(tiny_market1501), "--from", str(tmp_path / "other" / "pipeline")]
    assert main([*inside, "--out", str(tmp_path / "other")]) == 1
    assert "would replace it" in capsys.readouterr().err


def test_the_folder_of_a_run_is_no_pipeline_but_has_one(data: Data, tmp_path: Path, start: PG2Pipeline) -> None:
    go(data, tmp_path / "run", start=start)
    with pytest.raises(CheckpointError, match=f"name {tmp_path / 'run' / 'pipeline'}"):
        PG2Pipeline.from_pretrained(tmp_path / "run", "cpu")
