from __future__ import annotations

import copy
import json
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from pg2lib import ImageStore, PersonTable, PG2Config, PG2Pipeline, build_models, make_pairs, read_market1501
from pg2lib.config import TABLE1_ROWS, Stage2Config
from pg2lib.data.feed import PairFeed
from pg2lib.data.pairs import PairTable
from pg2lib.errors import CheckpointError, ConfigError, TrainingDivergedError
from pg2lib.models import G1, G2, Discriminator
from pg2lib.training import stages
from pg2lib.training.checkpoint import checksum, list_checkpoints
from pg2lib.training.run import Recorder, Reports, load_stage1, train
from pg2lib.training.stages import Sample, StepRecord, Watch, judge, train_one_stage, train_stage1, train_stage2
from tests.conftest import STANDING

TINY = {
    "model.base_width": 4,
    "model.bottleneck": 8,
    "model.discriminator_width": 4,
    "stage1.batch_size": 4,
    "stage2.batch_size": 4,
}


@dataclass
class Data:
    store: ImageStore
    pairs: PairTable


@pytest.fixture
def data(tiny_market1501: Path) -> Data:
    store = ImageStore.open(read_market1501(tiny_market1501, "train"))
    return Data(store, make_pairs(store.table))


def config(**overrides: Any) -> PG2Config:
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    return PG2Config.preset("fast").override({**TINY, **dotted})


@dataclass
class Log:
    """Everything a run reports."""

    records: list[StepRecord] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def watch(self, **options: Any) -> Watch:
        return Watch(on_step=self.records.append, on_sample=self.samples.append, **options)

    @property
    def losses(self) -> list[dict[str, float]]:
        return [dict(record.losses) for record in self.records]


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_stage1_overfits_one_pair(data: Data, tmp_path) -> None:
    """A model that cannot learn two images by heart is broken somewhere."""
    pair = data.pairs.select(torch.tensor([0]))
    log = Log()
    wide = config(model__base_width=8, stage1__steps=150, stage1__lr=2e-3, stage1__flip=False, stage1__batch_size=1)
    g1 = train_stage1(wide, data.store, pair, tmp_path, watch=log.watch(samples=1))
    first, last = log.losses[0]["l1"], log.losses[-1]["l1"]
    assert last < 0.2 * first
    batch = data.store.batch(pair, torch.tensor([0]))
    with torch.no_grad():
        coarse = g1(batch.condition_image, batch.target_heatmaps)
    assert (coarse - batch.target_image).abs().mean() < 0.15


def test_stage2_learns_to_refine_one_pair(data: Data, tmp_path) -> None:
    pair = data.pairs.select(torch.tensor([0]))
    settings = config(
        model__base_width=8, stage2__steps=80, stage2__lr=1e-3, stage2__flip=False, stage2__batch_size=1,
        stage2__l1_weight=100.0,
    )  # fmt: skip
    torch.manual_seed(1)
    g1 = build_models(settings)[0]
    g2, _ = train_stage2(settings, data.store, pair, tmp_path, g1)
    batch = data.store.batch(pair, torch.tensor([0]))
    with torch.no_grad():
        coarse = g1(batch.condition_image, batch.target_heatmaps)
        refined = coarse + g2(batch.condition_image, coarse)
    before, after = ((x - batch.target_image).abs().mean() for x in (coarse, refined))
    assert after < 0.5 * before


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


def test_stage2_leaves_g1_bit_identical_and_takes_no_gradient_from_it(data: Data, tmp_path) -> None:
    g1 = build_models(config())[0]
    before = weights(g1)
    train_stage2(config(stage2__steps=2), data.store, data.pairs, tmp_path, g1)
    assert same(before, weights(g1))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in g1.parameters())


def test_stage2_trains_both_d_and_g2(data: Data, tmp_path) -> None:
    settings = config(stage2__steps=1, stage2__seed=4)
    g1 = build_models(settings)[0]
    torch.manual_seed(settings.stage2.seed)
    fresh_g2, fresh_d = G2(settings.model), Discriminator(settings.model)  # drawn as the loop draws them
    g2, d = train_stage2(settings, data.store, data.pairs, tmp_path, g1)
    assert not same(weights(g2), weights(fresh_g2))
    assert not same(weights(d), weights(fresh_d))


def test_without_adversary_the_l1_weight_is_all_that_is_left(data: Data, tmp_path) -> None:
    """Eq. 4 as the log has it: g2 = adversarial + lambda * masked L1."""
    logs = {}
    for weight in (0.0, 10.0):
        log = logs[weight] = Log()
        settings = config(stage2__steps=1, stage2__l1_weight=weight)
        torch.manual_seed(0)
        g1 = build_models(settings)[0]
        train_stage2(settings, data.store, data.pairs, tmp_path / str(weight), g1, watch=log.watch())
    assert logs[0.0].losses[0]["g2"] == logs[0.0].losses[0]["adversarial"]
    assert logs[10.0].losses[0]["g2"] > logs[10.0].losses[0]["adversarial"] + 1


@pytest.mark.parametrize("kind", ["released-market1501", "released-deepfashion"])
def test_the_released_losses_train_too(data: Data, tmp_path, kind: str) -> None:
    settings = config().to_dict()
    settings["model"]["discriminator_input"] = "single"
    settings["stage2"].update(adversarial_loss=kind, steps=2)
    released = PG2Config.from_dict(settings)
    log = Log()
    train_stage2(released, data.store, data.pairs, tmp_path, build_models(released)[0], watch=log.watch())
    assert len(log.records) == 2


def test_d_judges_pairs_in_the_paper_and_single_images_in_the_released_code() -> None:
    seen: list[torch.Tensor] = []

    class Mean(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x.mean(dim=(1, 2, 3))

    d = Mean()

    condition, target, refined = (torch.full((2, 3, 4, 4), value) for value in (1.0, 2.0, 3.0))
    logits = judge(d, condition, target, refined, Stage2Config())
    assert seen[0].shape == (4, 6, 4, 4)
    assert (logits.real[0], logits.refined[0], logits.condition) == (1.5, 2.0, None)
    logits = judge(d, condition, target, refined, Stage2Config(adversarial_loss="released-market1501"))
    assert seen[1].shape == (6, 3, 4, 4)
    assert (logits.real[0], logits.refined[0], logits.condition[0]) == (2.0, 3.0, 1.0)


def test_plain_l1_is_a_choice(data: Data, tmp_path) -> None:
    logs = []
    for pose_mask_loss in (True, False):
        logs.append(Log())
        settings = config(stage1__steps=1, stage1__pose_mask_loss=pose_mask_loss)
        train_stage1(settings, data.store, data.pairs, tmp_path / str(pose_mask_loss), watch=logs[-1].watch())
    masked, plain = (log.losses[0]["l1"] for log in logs)
    assert plain < masked < 2 * plain


def test_a_loss_that_is_nan_stops_with_step_loss_and_checkpoint(data: Data, tmp_path, monkeypatch) -> None:
    """Also when losses are read back later: the step named is the first bad one, and nothing bad is saved."""
    real, calls = torch.Tensor.mean, []

    def poisoned(generated, target, mask):
        calls.append(1)
        value = real((generated - target).abs() * (1 + mask))
        return value * float("nan") if len(calls) == 7 else value

    monkeypatch.setattr("pg2lib.losses.pose_mask_l1", poisoned)
    with pytest.raises(TrainingDivergedError, match=r"stage 1, step 7: the loss 'l1' is nan.*step-00000004") as caught:
        train_stage1(
            config(stage1__steps=12), data.store, data.pairs, tmp_path, watch=Watch(read_every=100, checkpoint_every=4)
        )
    assert "lower learning rate" in str(caught.value)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000004.safetensors"]


def test_lr_falls_to_zero_where_asked(data: Data, tmp_path, monkeypatch) -> None:
    """With nothing but its decay, the rate is what every step of the loop sets."""
    rates: list[float] = []
    set_lr = stages._set_lr

    def watched(optimiser: torch.optim.Optimizer, *arguments) -> None:
        set_lr(optimiser, *arguments)
        rates.append(optimiser.param_groups[0]["lr"])

    monkeypatch.setattr(stages, "_set_lr", watched)
    settings = config(stage1__steps=6, stage1__lr_decay_steps=4, stage1__lr=0.1)
    train_stage1(settings, data.store, data.pairs, tmp_path)
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.075, 0.05, 0.025])


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


def test_the_moving_average_follows(data: Data, tmp_path) -> None:
    average = train_stage1(config(stage1__steps=5, stage1__ema_decay=0.999), data.store, data.pairs, tmp_path)
    with safe_open(list_checkpoints(tmp_path)[-1], "pt") as file:
        live, saved = (file.get_tensor(f"model.{name}.last.weight") for name in ("g1", "g1_average"))
    assert not torch.equal(average.last.weight, live)
    assert torch.equal(average.last.weight, saved)
    assert same(weights(average), weights(load_stage1(tmp_path)))


def test_without_a_moving_average_the_model_itself_is_kept_once(data: Data, tmp_path) -> None:
    g1 = train_stage1(config(stage1__steps=5), data.store, data.pairs, tmp_path / "1")
    train_stage2(config(stage2__steps=2), data.store, data.pairs, tmp_path / "2", g1)
    for stage, kept in ((1, {"g1"}), (2, {"g2", "d"})):
        with safe_open(list_checkpoints(tmp_path / str(stage))[-1], "pt") as file:
            names = {key.split(".")[1] for key in file.keys() if key.startswith("model.")}  # noqa: SIM118
        assert names == kept
    assert same(weights(g1), weights(load_stage1(tmp_path / "1")))


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
    settings = config(stage1__steps=6, stage2__steps=6)
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
    with pytest.raises(CheckpointError, match=r"step-00000003.safetensors has done 3 steps already.* says 2"):
        train_stage1(config(stage1__steps=2), data.store, data.pairs, tmp_path)


def test_d_may_learn_at_a_rate_of_its_own(data: Data, tmp_path) -> None:
    moved = {}
    for d_lr in (0.0, 1e-30):
        settings = config(stage2__steps=2, stage2__d_lr=d_lr, model__discriminator_norm="spectral")
        g2, d = train_stage2(settings, data.store, data.pairs, tmp_path / str(d_lr), build_models(settings)[0])
        assert float(g2.last.bias.detach().abs().max()) > 1e-4  # they begin at zero, and the generator's rate is 1e-3
        moved[d_lr] = float(d.last.bias.detach().abs().max())
    assert moved[0.0] > 1e-4
    assert moved[1e-30] < 1e-20


def test_speed_counts_the_pairs_of_both_turns() -> None:
    assert config(stage2__batch_size=4).stage2.pairs_a_step == 4
    assert config(stage2__batch_size=4, stage2__turns="g-first").stage2.pairs_a_step == 8


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
    with pytest.raises(CheckpointError, match=r"step-00000001\.safetensors is damaged"):
        train_stage1(config(stage1__steps=2), data.store, data.pairs, tmp_path)
    with pytest.raises(CheckpointError, match="holds no training checkpoint"):
        load_stage1(tmp_path / "empty")


def test_data_that_do_not_fit_the_model_are_refused(data: Data, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"the data are \(128, 64\), the model wants \(256, 256\)"):
        train_stage1(config(model__height=256, model__width=256), data.store, data.pairs, tmp_path)


def test_a_whole_run_leaves_logs_samples_and_a_pipeline(data: Data, tmp_path) -> None:
    settings = config(stage1__steps=4, stage2__steps=3)
    reports = Reports(progress=False, sample_every=2, checkpoint_every=2)
    pipeline = train(settings, data.store, data.pairs, tmp_path, "tiny people", reports)
    for stage, steps in (("stage1", 4), ("stage2", 3)):
        lines = [json.loads(line) for line in (tmp_path / stage / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(1, steps + 1))
        assert all(line["images_per_second"] > 0 for line in lines)
    grids = sorted(path.name for path in (tmp_path / "stage2" / "samples").iterdir())
    assert grids == ["step-00000002.png", "step-00000003.png"]
    assert PG2Config.from_json((tmp_path / "config.json").read_text()) == settings
    assert pipeline.training["data"] == "tiny people"
    assert pipeline.training["pairs"] == 36
    assert same(weights(load_stage1(tmp_path / "stage1")), weights(pipeline.g1))


def test_a_log_is_cut_back_to_the_checkpoint_it_goes_on_from(data: Data, tmp_path) -> None:
    settings = config(stage1__steps=4)
    with Recorder(tmp_path, 4, Reports(progress=False)) as recorder:
        train_stage1(settings, data.store, data.pairs, tmp_path, watch=recorder.watch)
    log = tmp_path / "log.jsonl"
    whole = log.read_text().splitlines()
    log.write_text("\n".join([*whole, json.dumps({"step": 5, "seconds": 9.0}), '{"step": 6, "l1']))
    with Recorder(tmp_path, 6, Reports(progress=False)) as recorder:
        train_stage1(config(stage1__steps=6), data.store, data.pairs, tmp_path, watch=recorder.watch)
    lines = log.read_text().splitlines()
    assert lines[:4] == whole
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("row", TABLE1_ROWS)
def test_every_row_of_table1_trains_and_makes_a_pipeline(data: Data, tmp_path, row: str) -> None:
    settings = config(stage1__steps=2, stage2__steps=2).row(row)
    pipeline = train(settings, data.store, data.pairs, tmp_path, "tiny people", Reports(progress=False))
    assert (pipeline.g2 is not None) == (row == "G1+G2+D")
    stages = {"G1+D": ["one-stage"], "G1+G2+D": ["stage1", "stage2"]}.get(row, ["stage1"])
    assert sorted(path.parent.name for path in tmp_path.glob("*/log.jsonl")) == stages
    loaded = PG2Pipeline.from_pretrained(tmp_path / "pipeline", "cpu")
    assert loaded.config == settings
    batch = data.store.batch(data.pairs, torch.arange(2))
    output = loaded.generate(batch.condition_image, batch.target_heatmaps)
    assert torch.equal(output.refined, output.coarse) == (row != "G1+G2+D")
    assert output.refined.shape == (2, 3, 128, 64)


@pytest.mark.parametrize("row", ["G1-CE-L1", "G1-HME-L1", "G1+D", "G1+G2+D"])
def test_rows_train_at_256x256(tmp_path, row: str) -> None:
    xy = torch.tensor(STANDING, dtype=torch.float32).expand(2, -1, -1) * 2
    table = PersonTable(("a", "b"), ("somebody", "somebody"), xy, (256, 256))
    square = ImageStore(table, torch.randint(256, (2, 256, 256, 3), dtype=torch.uint8))
    settings = config(model__height=256, model__width=256, stage1__steps=1, stage2__steps=1, stage1__batch_size=2,
                      stage2__batch_size=2, model__base_width=4).row(row)  # fmt: skip
    pipeline = train(settings, square, make_pairs(square.table), tmp_path / "run", "squares", Reports(progress=False))
    assert pipeline.config.model.canvas == (256, 256)


def test_the_one_stage_model_trains_g1_against_d_for_the_steps_of_both_stages(data: Data, tmp_path) -> None:
    settings = config(stage1__steps=3, stage2__steps=2).row("G1+D")
    log = Log()
    g1, _ = train_one_stage(settings, data.store, data.pairs, tmp_path, watch=log.watch())
    assert [sorted(entry) for entry in log.losses] == [["adversarial", "d", "g1"]] * 5
    assert list_checkpoints(tmp_path)[-1].name == "step-00000005.safetensors"
    torch.manual_seed(settings.one_stage.seed)
    assert not same(weights(g1), weights(G1(settings.model)))


def test_the_released_turns_draw_a_batch_for_g2_and_another_for_d(data: Data, tmp_path, monkeypatch) -> None:
    settings = config(stage2__steps=2, stage2__turns="g-first")
    drawn: list[int] = []
    draw = PairFeed.__call__
    monkeypatch.setattr(PairFeed, "__call__", lambda feed, number: (drawn.append(number), draw(feed, number))[1])
    g1 = build_models(settings)[0]
    train_stage2(settings, data.store, data.pairs, tmp_path / "released", g1)
    assert drawn == [0, 1, 2, 3]
    drawn.clear()
    train_stage2(config(stage2__steps=2), data.store, data.pairs, tmp_path / "paper", g1)
    assert drawn == [0, 1]
