"""A whole run in a folder."""

from __future__ import annotations

import json

import pytest
import torch

from pg2lib import ImageStore, PersonTable, PG2Config, PG2Pipeline, make_pairs
from pg2lib.config import TABLE1_ROWS
from pg2lib.training.run import Recorder, Reports, load_stage1, train
from pg2lib.training.stages import train_stage1
from tests.conftest import STANDING
from tests.training.conftest import Data, config, same, weights


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
