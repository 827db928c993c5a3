"""Pipeline folders: what is found damaged, and what is never written over."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest
import torch

from pg2lib import CheckpointError, PG2Config, PG2Pipeline, build_models
from pg2lib.framing import Framing

FRAMING = Framing(0.5, {"neck": 0.2, "hips": 0.5})


@pytest.fixture
def pipe() -> PG2Pipeline:
    torch.manual_seed(0)
    config = PG2Config.preset("fast").override({"model.base_width": 4, "model.bottleneck": 8})
    return PG2Pipeline(*build_models(config)[:2], config, FRAMING)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_flipped_bit_in_the_weights_is_found(pipe: PG2Pipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1  # the last bit of a weight's fraction: as good a number as before
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged.*SHA-256"):
        PG2Pipeline.from_pretrained(tmp_path, "cpu")
    edit(tmp_path / "config.json", sha256=None)  # as in folders from before there was a digest
    assert PG2Pipeline.from_pretrained(tmp_path, "cpu").framing == FRAMING


@pytest.mark.parametrize("framing", [{"x": 0.5}, {"x": 0.5, "y": {}}, {"x": "middle", "y": {"neck": 0.2}}, None])
def test_a_folder_without_its_framing_is_refused_when_it_is_loaded(pipe: PG2Pipeline, tmp_path, framing) -> None:
    pipe.save_pretrained(tmp_path)
    edit(tmp_path / "config.json", framing=framing)
    with pytest.raises(CheckpointError, match=r"config\.json does not describe a pipeline.*framing"):
        PG2Pipeline.from_pretrained(tmp_path, "cpu")


@pytest.mark.parametrize("text", [PG2Config.preset("fast").to_json(), '{"model_type": "bert"}', "[]", "not JSON"])
def test_a_pipeline_never_replaces_the_config_of_something_else(pipe: PG2Pipeline, tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=r"config\.json does not belong to a pipeline"):
        pipe.save_pretrained(tmp_path)
    assert contents(tmp_path) == before


def test_a_pipeline_replaces_a_pipeline(pipe: PG2Pipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    torch.nn.init.constant_(pipe.g1.last.bias, 0.25)
    pipe.save_pretrained(tmp_path)
    assert torch.equal(PG2Pipeline.from_pretrained(tmp_path, "cpu").g1.last.bias, pipe.g1.last.bias)


def test_weights_too_large_for_half_precision_are_saved_whole_with_a_word(pipe: PG2Pipeline, tmp_path, caplog) -> None:
    torch.nn.init.constant_(pipe.g1.first.weight, 1e6)
    with caplog.at_level(logging.WARNING):
        pipe.save_pretrained(tmp_path)
    assert "float16 cannot hold g1.first.weight" in caplog.text
    again = PG2Pipeline.from_pretrained(tmp_path, "cpu")
    assert all(torch.equal(a, b) for a, b in zip(*(p.g2.state_dict().values() for p in (again, pipe)), strict=True))
    assert float(again.g1.first.weight.detach().max()) == 1e6


def test_weights_that_are_nan_are_not_saved_at_all(pipe: PG2Pipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    before = contents(tmp_path)
    torch.nn.init.constant_(pipe.g2.last.bias, math.nan)
    with pytest.raises(CheckpointError, match=r"g2\.last\.bias$"):
        pipe.save_pretrained(tmp_path)
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_named(pipe: PG2Pipeline, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file/pipeline"):
        pipe.save_pretrained(tmp_path / "file" / "pipeline")
