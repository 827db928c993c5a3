from __future__ import annotations

import pytest

from pg2lib import ConfigError, PG2Config
from pg2lib.config import Stage2Config

PRESETS = (
    "market1501", "deepfashion", "market1501-released", "deepfashion-released", "market1501-plus", "deepfashion-plus",
    "compact", "deepfashion-compact", "fast",
)  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name: str) -> None:
    config = PG2Config.preset(name)
    assert PG2Config.from_json(config.to_json()) == config
    assert hash(PG2Config.from_json(config.to_json())) == hash(config)


def test_the_papers_schedule() -> None:
    """Section 4.1."""
    market, fashion = PG2Config.preset("market1501"), PG2Config.preset("deepfashion")
    assert (market.model.canvas, market.model.blocks, market.stage1.batch_size) == ((128, 64), 5, 16)
    assert (market.stage1.steps, market.stage2.steps) == (22_000, 14_000)
    assert (fashion.model.canvas, fashion.model.blocks, fashion.stage1.batch_size) == ((256, 256), 6, 8)
    assert (fashion.stage1.steps, fashion.stage2.steps) == (30_000, 20_000)
    for config in (market, fashion):
        assert config.model.base_width == 128
        for stage in (config.stage1, config.stage2):
            assert (stage.lr, stage.beta1, stage.beta2, stage.lr_decay_steps) == (2e-5, 0.5, 0.999, 0)
    assert (market.stage2.l1_weight, fashion.stage2.l1_weight) == (10, 50)


def test_released_presets_differ_where_the_released_code_does() -> None:
    released = PG2Config.preset("market1501-released")
    assert released.model.discriminator_input == "single"
    assert released.model.heatmap_background == -1
    assert released.stage2.steps == 38_000
    assert released.evaluation.mask_from == "condition"
    fashion = PG2Config.preset("deepfashion-released")
    assert (fashion.stage1.steps, fashion.stage2.steps, fashion.stage1.batch_size) == (22_000, 58_000, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modle": {}}, "unknown configuration key 'modle' .did you mean 'model'"),
        ({"stage1": {"setps": 3}}, "unknown configuration key 'stage1.setps' .did you mean 'steps'"),
        ({"stage1": {"steps": 0}}, "steps must be at least 1"),
        ({"stage1": {"steps": "many"}}, "stage1.steps must be of type int, got 'many'"),
        ({"stage1": {"steps": True}}, "stage1.steps must be of type int, got True"),
        ({"stage1": {"lr": float("nan")}}, "stage1.lr must be a finite number"),
        ({"stage1": {"lr": -1.0}}, "stage1.lr must be positive"),
        ({"stage1": {"ema_decay": 1.0}}, r"stage1.ema_decay must lie in \[0, 1\)"),
        ({"stage1": {"steps": 5, "lr_decay_steps": 6}}, "stage1.lr_decay_steps must lie in"),
        ({"stage1": 3}, "stage1 must be an object"),
        ({"model": {"height": 100}}, "^model.height must be a power of two"),
        ({"model": {"width": 100}}, "128 or 64"),
        ({"model": {"discriminator_input": "triplet"}}, "model.discriminator_input must be one of 'pair', 'single'"),
        ({"model": {"heatmap_background": 2}}, "must be 0 .paper. or -1"),
        ({"model": {"discriminator_input": "single"}}, "does not go with"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PG2Config.from_dict(values)


def test_load_takes_a_preset_or_a_file(tmp_path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(PG2Config.preset("fast").to_json())
    assert PG2Config.load(file) == PG2Config.load("fast")
    file.write_text('{"stage1": {"stepz": 1}}')
    with pytest.raises(ConfigError, match=r"mine\.json.*'stage1\.stepz'"):
        PG2Config.load(file)
    with pytest.raises(ConfigError, match="'compct'.*did you mean 'compact'"):
        PG2Config.load("compct")


def test_override_by_dotted_name() -> None:
    config = PG2Config.preset("fast").override({"stage2.l1_weight": 3, "model.base_width": 4})
    assert (config.stage2.l1_weight, config.model.base_width) == (3, 4)
    assert config.stage1 == PG2Config.preset("fast").stage1
    with pytest.raises(ConfigError, match="'stge1'"):
        config.override({"stge1.steps": 3})
    with pytest.raises(ConfigError, match=r"'stage1\.step'"):
        config.override({"stage1.step": 3})


def test_the_rows_of_table1_differ_from_the_full_model_as_the_paper_says() -> None:
    full = PG2Config.preset("market1501")
    assert full.row("G1+G2+D") == full
    assert full.row("G1-poseMaskLoss") == full.override({"networks": "G1"})
    assert full.row("G1-L1") == full.override({"networks": "G1", "stage1.pose_mask_loss": False})
    embeddings = {name: full.row(name).model.pose_embedding for name in ("G1-CE-L1", "G1-HME-L1", "G1-L1", "G1+D")}
    assert list(embeddings.values()) == ["coordinates", "heatmap-encoder", "heatmaps", "heatmaps"]
    assert full.row("G1+D").one_stage.steps == full.stage1.steps + full.stage2.steps == 36_000
    with pytest.raises(ConfigError, match=r"did you mean 'G1-HME-L1'.*rows: G1-CE-L1"):
        full.row("G1-HM-L1")


def test_each_difference_between_paper_and_released_code_is_a_field() -> None:
    """Section by section, as README's table has them: the paper's value, then the released code's."""
    for data, steps, released_steps, batches, pairs in (
        ("market1501", (22_000, 14_000), (22_000, 38_000), (16, 16), (12_800, 12_800)),
        ("deepfashion", (30_000, 20_000), (22_000, 58_000), (8, 1), (12_800, 400)),
    ):
        paper, released = PG2Config.preset(data), PG2Config.preset(f"{data}-released")
        both = (paper, released)
        assert [config.model.discriminator_input for config in both] == ["pair", "single"]
        assert [config.stage2.adversarial_loss for config in both] == ["paper", f"released-{data}"]
        assert [config.model.heatmap_background for config in both] == [0, -1]
        assert [(config.stage1.steps, config.stage2.steps) for config in both] == [steps, released_steps]
        assert tuple(config.stage1.batch_size for config in both) == batches
        assert [config.stage2.turns for config in both] == ["d-first", "g-first"]
        assert [config.evaluation.mask_from for config in both] == ["target", "condition"]
        assert tuple(config.evaluation.pairs for config in both) == pairs
        assert {config.stage1.lr_decay_steps + config.stage2.lr_decay_steps for config in both} == {0}


def test_speed_counts_the_pairs_of_both_turns() -> None:
    assert Stage2Config(batch_size=4).pairs_per_step == 4
    assert Stage2Config(batch_size=4, turns="g-first").pairs_per_step == 8


def test_a_stage_has_the_settings_of_its_number() -> None:
    config = PG2Config.preset("fast")
    assert [config.stage(number) for number in range(3)] == [config.one_stage, config.stage1, config.stage2]
