"""What surrounds the arithmetic of a run: resuming, NaN, samples and checkpoints."""

from __future__ import annotations

import copy
import json
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from pg2lib import build_models
from pg2lib.errors import CheckpointError, ConfigError, TrainingDivergedError
from pg2lib.training.checkpoint import checksum, list_checkpoints
from pg2lib.training.feed import PairFeed
from pg2lib.training.loop import Loop, Watch, identity_of
from pg2lib.training.run import load_stage1
from pg2lib.training.stages import train_one_stage, train_stage1, train_stage2
from tests.training.conftest import Data, Log, config, same, weights


@pytest.mark.parametrize("stage", [1, 2])
def test_three_steps_a_resume_and_three_more_are_six(data: Data, tmp_path, stage: int) -> None:
    """Bit for bit: losses and weights, the optimisers' state and the moving average included."""
    g1 = build_models(config())[0]

    def run(steps: int, folder: Path, log: Log) -> torch.nn.Module:
        settings = config(**{f"stage{stage}__steps": steps, f"stage{stage}__ema_decay": 0.9})
        if stage == 1:
            return train_stage1(settings, data.store, data.pairs, folder, watch=log.watch())
        return train_stage2(settings, data.store, data.pairs, folder, g1, watch=log.watch())[0]

    straight, pieces = Log(), Log()
    whole = run(6, tmp_path / "straight", straight)
    run(3, tmp_path / "pieces", pieces)
    resumed = run(6, tmp_path / "pieces", pieces)
    assert pieces.losses == straight.losses
    assert [record.step for record in pieces.records] == [1, 2, 3, 4, 5, 6]
    assert same(weights(whole), weights(resumed))
    files = [list_checkpoints(tmp_path / name)[-1] for name in ("straight", "pieces")]
    with safe_open(files[0], "pt") as a, safe_open(files[1], "pt") as b:
        assert set(a.keys()) == set(b.keys())
        assert all(torch.equal(a.get_tensor(key), b.get_tensor(key)) for key in a.keys())  # noqa: SIM118


def test_a_finished_run_is_left_as_it_is(data: Data, tmp_path) -> None:
    first = train_stage1(config(stage1__steps=2), data.store, data.pairs, tmp_path)
    log = Log()
    again = train_stage1(config(stage1__steps=2), data.store, data.pairs, tmp_path, watch=log.watch())
    assert log.records == []
    assert same(weights(first), weights(again))


def test_a_loss_that_is_nan_stops_with_step_loss_and_checkpoint(data: Data, tmp_path, monkeypatch) -> None:
    """Also when losses are read back later: the step named is the first bad one, and nothing bad is saved."""
    real, calls = torch.Tensor.mean, []

    def poisoned(generated, target, mask):
        calls.append(1)
        value = real((generated - target).abs() * (1 + mask))
        return value * float("nan") if len(calls) == 7 else value

    monkeypatch.setattr("pg2lib.losses.pose_mask_l1", poisoned)
    with pytest.raises(TrainingDivergedError, match=r"stage 1, step 7:.*'l1'.*nan.*step-00000004"):
        train_stage1(
            config(stage1__steps=12), data.store, data.pairs, tmp_path, watch=Watch(read_every=100, checkpoint_every=4)
        )
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000004.safetensors"]


def test_a_run_without_checkpoints_on_its_way_leaves_its_last(data: Data, tmp_path) -> None:
    train_stage1(config(stage1__steps=3), data.store, data.pairs, tmp_path, watch=Watch(checkpoint_every=0))
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000003.safetensors"]


def change_identity(path: Path, change) -> None:
    """Of a checkpoint, as another version would have written it."""
    with safe_open(path, "pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    identity = json.loads(metadata["identity"])
    change(identity)
    metadata["identity"] = json.dumps(identity)
    metadata["checksum"] = checksum(metadata, sorted(tensors.items()))
    save_file(tensors, path, metadata)


def test_a_checkpoint_from_before_a_setting_goes_on_with_its_default(data: Data, tmp_path) -> None:
    settings = config(stage1__steps=2)
    train_stage1(settings, data.store, data.pairs, tmp_path)
    change_identity(list_checkpoints(tmp_path)[-1], lambda identity: identity.pop("model.pose_embedding"))
    train_stage1(settings, data.store, data.pairs, tmp_path)
    with pytest.raises(CheckpointError, match="model.pose_embedding: 'heatmaps' then, 'coordinates' now"):
        train_stage1(settings.row("G1-CE-L1"), data.store, data.pairs, tmp_path)


def test_stage1_goes_on_whatever_comes_after_it(data: Data, tmp_path) -> None:
    settings = config(stage1__steps=2)
    train_stage1(settings, data.store, data.pairs, tmp_path)
    (path,) = list_checkpoints(tmp_path)
    change_identity(path, lambda identity: identity.update({"model.discriminator_norm": "batch"}))  # once it counted
    other = settings.override({"model.discriminator_norm": "spectral", "model.g2_pose": True, "stage2.l1_weight": 3})
    train_stage1(other, data.store, data.pairs, tmp_path)
    change_identity(path, lambda identity: identity.update({"something": "unknown"}))
    with pytest.raises(CheckpointError, match="something: 'unknown' then, None now"):
        train_stage1(other, data.store, data.pairs, tmp_path)


def test_samples_and_checkpoints_keep_to_their_share_of_the_time(data: Data, tmp_path) -> None:
    for share, steps in ((1.0, [2, 4, 6, 7]), (0.0, [2, 7])):
        log, folder = Log(), tmp_path / str(share)
        watch = log.watch(sample_every=2, checkpoint_every=2, time_share=share)
        train_stage1(config(stage1__steps=7), data.store, data.pairs, folder, watch=watch)
        assert [sample.step for sample in log.samples] == steps
        assert [path.name for path in list_checkpoints(folder)] == [
            f"step-{step:08d}.safetensors" for step in steps[-2:]
        ]
        assert [record.step for record in log.records] == [1, 2, 3, 4, 5, 6, 7]


def test_a_checkpoint_is_written_when_the_last_one_is_long_ago(data: Data, tmp_path) -> None:
    watch = Watch(checkpoint_every=2, time_share=0.0, unsaved_seconds=0.0)
    train_stage1(config(stage1__steps=5), data.store, data.pairs, tmp_path, watch=watch)
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "step-00000004.safetensors",
        "step-00000005.safetensors",
    ]


class Waits(TorchDispatchMode):
    """Counts what would make a step wait for a GPU: numbers read back, tensors made of Python's, sizes that depend on
    values."""

    WAITING = ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:  # type: ignore[no-untyped-def]
        if func.overloadpacket.__name__ in self.WAITING:
            self.found.append("".join(traceback.format_stack(limit=12)))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_no_step_waits_for_the_device(data: Data, tmp_path, stage: int) -> None:
    loops = {0: train_one_stage, 1: train_stage1, 2: train_stage2}
    settings = config(stage1__steps=6, stage2__steps=6, stage1__ema_decay=0.9, stage2__ema_decay=0.9)
    g1 = [build_models(settings)[0]] if stage == 2 else []
    waits, found = Waits(), []
    draw = PairFeed.__call__

    def watched(feed: PairFeed, number: int) -> Any:
        if number == 2:  # everything that is kept on the device has come there
            waits.__enter__()
        if number == 5:
            found.append(list(waits.found))
            waits.__exit__(None, None, None)
        return draw(feed, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairFeed, "__call__", watched)
        loops[stage](settings, data.store, data.pairs, tmp_path, *g1, watch=Watch(read_every=100, checkpoint_every=100))
    assert found == [[]], found[0][0]


def test_a_run_of_more_steps_than_asked_for_is_refused(data: Data, tmp_path) -> None:
    train_stage1(config(stage1__steps=3), data.store, data.pairs, tmp_path)
    with pytest.raises(CheckpointError, match=r"step-00000003\.safetensors.*\b3\b.*\b2\b"):
        train_stage1(config(stage1__steps=2), data.store, data.pairs, tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"stage1__lr": 1e-4}, "stage1.lr"),
        ({"model__base_width": 8}, "model.base_width"),
        ({"stage1__seed": 7}, "stage1.seed"),
    ],
)
def test_going_on_with_other_settings_is_refused_by_name(data: Data, tmp_path, change, named: str) -> None:
    train_stage1(config(stage1__steps=1), data.store, data.pairs, tmp_path)
    with pytest.raises(CheckpointError, match=f"of another run .{named}"):
        train_stage1(config(stage1__steps=2, **change), data.store, data.pairs, tmp_path)


def test_a_stage_is_known_by_the_models_that_it_trains_and_by_its_steps_where_the_rate_falls() -> None:
    """Stage I has neither G2 nor D; the one-stage model, number 0, and stage II have D."""
    for number, has_d in ((0, True), (1, False), (2, True)):
        assert any(key.startswith("model.discriminator_") for key in identity_of(config(), number)) is has_d
    assert not any(key.startswith("model.g2_") for key in identity_of(config(), 1))
    assert "stage1.steps" not in identity_of(config(stage1__steps=4), 1)
    assert identity_of(config(stage1__steps=4, stage1__lr_decay_steps=2), 1)["stage1.steps"] == 4


def test_going_on_with_other_pairs_or_another_g1_is_refused(data: Data, tmp_path) -> None:
    train_stage1(config(stage1__steps=1), data.store, data.pairs, tmp_path / "1")
    fewer = data.pairs.select(torch.arange(10))
    with pytest.raises(CheckpointError, match="pairs: '36 pairs.* then, '10 pairs.* now"):
        train_stage1(config(stage1__steps=2), data.store, fewer, tmp_path / "1")
    g1 = build_models(config())[0]
    train_stage2(config(stage2__steps=1), data.store, data.pairs, tmp_path / "2", g1)
    other = copy.deepcopy(g1)
    torch.nn.init.zeros_(other.last.bias.data.add_(1))
    torch.nn.init.ones_(other.last.bias)
    with pytest.raises(CheckpointError, match="g1: 'sha256"):
        train_stage2(config(stage2__steps=2), data.store, data.pairs, tmp_path / "2", other)


def test_damaged_checkpoints_are_named(data: Data, tmp_path) -> None:
    train_stage1(config(stage1__steps=1), data.store, data.pairs, tmp_path)
    file = list_checkpoints(tmp_path)[-1]
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"step-00000001\.safetensors.*damaged"):
        train_stage1(config(stage1__steps=2), data.store, data.pairs, tmp_path)
    with pytest.raises(CheckpointError, match="holds no training checkpoint"):
        load_stage1(tmp_path / "empty")


def test_data_that_do_not_fit_the_model_are_refused(data: Data, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"\(256, 256\).*\(128, 64\).*model\.height"):
        train_stage1(config(model__height=256, model__width=256), data.store, data.pairs, tmp_path)


def test_samples_show_the_moving_average_on_the_same_pairs_throughout(data: Data, tmp_path) -> None:
    log = Log()
    settings = config(stage1__steps=4, stage1__ema_decay=0.9)
    average = train_stage1(settings, data.store, data.pairs, tmp_path, watch=log.watch(sample_every=2, samples=3))
    first, last = log.samples
    assert torch.equal(first.batch.from_rows, last.batch.from_rows)
    assert torch.equal(first.batch.to_rows, last.batch.to_rows)
    with torch.no_grad():
        coarse = average(last.batch.condition_image, last.batch.target_heatmaps)
    torch.testing.assert_close(last.results["coarse"], coarse, rtol=0, atol=1e-6)
    assert not torch.equal(first.results["coarse"], last.results["coarse"])


def test_samples_of_stage_two_show_the_moving_average_of_g2(data: Data, tmp_path) -> None:
    log, settings = Log(), config(stage2__steps=4, stage2__ema_decay=0.9)
    g1 = build_models(settings)[0]
    average, _ = train_stage2(settings, data.store, data.pairs, tmp_path, g1, watch=log.watch(sample_every=4))
    (sample,) = log.samples
    image, heatmaps = sample.batch.condition_image, sample.batch.target_heatmaps
    with torch.no_grad():
        coarse = g1(image, heatmaps)
        refined = coarse + average(image, coarse, heatmaps)
    torch.testing.assert_close(sample.results["refined"], refined, rtol=0, atol=1e-6)


@pytest.mark.parametrize("read_every", [1, 2])
def test_speed_is_pairs_per_second(data: Data, tmp_path, monkeypatch, read_every: int) -> None:
    """Four pairs per step, and by the clock a step takes two seconds."""
    now = [0.0]
    draw = Loop.batch

    def two_seconds(loop: Loop, number: int) -> Any:
        now[0] += 2.0
        return draw(loop, number)

    monkeypatch.setattr("pg2lib.training.loop.time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(Loop, "batch", two_seconds)
    log = Log()
    settings = config(stage1__steps=4, stage1__batch_size=4)
    train_stage1(settings, data.store, data.pairs, tmp_path, watch=log.watch(read_every=read_every))
    assert [record.images_per_second for record in log.records] == [2.0] * 4
