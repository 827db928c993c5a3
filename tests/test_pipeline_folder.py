"""Pipeline folders: what is written and read again, what is found damaged, and what is never replaced."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pg2lib import CheckpointError, PG2Config, PG2Pipeline, build_models
from pg2lib.files import sha256_of
from pg2lib.framing import Framing
from pg2lib.pipeline_folder import shipped_checkpoints

FRAMING = Framing(0.5, {"neck": 0.2, "hips": 0.5})


@pytest.fixture
def pipe() -> PG2Pipeline:
    torch.manual_seed(0)
    config = PG2Config.preset("fast").override({"model.base_width": 4, "model.bottleneck": 8})
    return PG2Pipeline(*build_models(config)[:2], config, FRAMING)


@pytest.fixture
def canvas_image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8))


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


def test_weights_that_are_something_else_are_named(pipe: PG2Pipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is a Git LFS pointer.*git lfs pull"):
        PG2Pipeline.from_pretrained(tmp_path, "cpu")
    weights.rename(tmp_path / "latest_net_netG.pth")
    with pytest.raises(CheckpointError, match=r"no model\.safetensors\. latest_net_netG\.pth is a PyTorch file, which"):
        PG2Pipeline.from_pretrained(tmp_path, "cpu")
    with pytest.raises(CheckpointError, match=r"netG\.pth is a file; expected a pipeline folder.*never loaded"):
        PG2Pipeline.from_pretrained(tmp_path / "latest_net_netG.pth", "cpu")


@pytest.mark.parametrize("framing", [{"x": 0.5}, {"x": 0.5, "y": {}}, {"x": "middle", "y": {"neck": 0.2}}, None])
def test_a_folder_without_its_framing_is_refused_when_it_is_loaded(pipe: PG2Pipeline, tmp_path, framing) -> None:
    pipe.save_pretrained(tmp_path)
    edit(tmp_path / "config.json", framing=framing)
    with pytest.raises(CheckpointError, match=r"config\.json.*framing"):
        PG2Pipeline.from_pretrained(tmp_path, "cpu")


@pytest.mark.parametrize("text", [PG2Config.preset("fast").to_json(), '{"model_type": "bert"}', "[]", "not JSON"])
def test_a_pipeline_never_replaces_the_config_of_something_else(pipe: PG2Pipeline, tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=r"config\.json"):
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


def test_a_pipeline_folder_round_trip(pipe: PG2Pipeline, canvas_image, standing, tmp_path) -> None:
    pipe.save_pretrained(tmp_path / "p", dtype=torch.float32)
    again = PG2Pipeline.from_pretrained(tmp_path / "p", device="cpu")
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["config.json", "model.safetensors"]
    assert (tmp_path / "p" / "model.safetensors").stat().st_mode == (tmp_path / "p" / "config.json").stat().st_mode
    assert (again.config, again.framing, again.training) == (pipe.config, pipe.framing, pipe.training)
    for name, generator in pipe.generators.items():
        weights = again.generators[name].state_dict()
        assert all(torch.equal(weights[key], value) for key, value in generator.state_dict().items())
    images = [p(canvas_image, standing, crop=False).refined for p in (again, pipe)]
    assert torch.allclose(*images, atol=1e-5)  # where weights lie in memory may change the last bit


def test_half_precision_on_disk_changes_less_than_a_grey_level(pipe, canvas_image, standing, tmp_path) -> None:
    pipe.save_pretrained(tmp_path / "p")
    assert {tensor.dtype for tensor in load_file(tmp_path / "p" / "model.safetensors").values()} == {torch.float16}
    again = PG2Pipeline.from_pretrained(tmp_path / "p", device="cpu")
    difference = again(canvas_image, standing, crop=False).refined - pipe(canvas_image, standing, crop=False).refined
    assert difference.abs().max() * 127.5 < 1


def test_weights_that_half_precision_cannot_hold_are_not_saved(pipe: PG2Pipeline, tmp_path) -> None:
    torch.nn.init.constant_(pipe.g1.first.weight, 1e6)
    with pytest.raises(CheckpointError, match=r"float16.*g1\.first\.weight.*float32"):
        pipe.save_pretrained(tmp_path, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("point", ["weights", "end"])
def test_a_full_disk_leaves_the_pipeline_that_was_there(pipe: PG2Pipeline, tmp_path, monkeypatch, point: str) -> None:
    def full(*_: object) -> None:
        if point == "weights":
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    pipe.save_pretrained(tmp_path / "p")
    before = {path: path.read_bytes() for path in (tmp_path / "p").iterdir()}
    torch.nn.init.zeros_(pipe.g1.first.weight)
    monkeypatch.setattr(*(("pg2lib.pipeline_folder.save_file", full) if point == "weights" else (os, "fsync", full)))
    with pytest.raises(CheckpointError, match=rf"{tmp_path}/p/.* cannot be written: No space left .*Free some space"):
        pipe.save_pretrained(tmp_path / "p")
    assert {path: path.read_bytes() for path in (tmp_path / "p").iterdir()} == before


@pytest.mark.parametrize(
    "damage", ["no config", "no weights", "no json", "format", "unknown key", "width", "cut", "nan", "no g2"]
)
def test_folders_that_are_no_pipeline_say_what_was_expected(pipe: PG2Pipeline, tmp_path, damage: str) -> None:
    pipe.save_pretrained(tmp_path, dtype=torch.float32)
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    values = pipe.config.to_dict()
    match damage:
        case "no config":
            config.unlink()
            expected = "not a pipeline folder: it has no config.json"
        case "no weights":
            weights.unlink()
            expected = "it has no model.safetensors"
        case "no json":
            config.write_text("{")
            expected = r"config\.json cannot be read"
        case "format":
            edit(config, format="pg2lib pipeline 0")
            expected = "expected the format 'pg2lib pipeline 1', got 'pg2lib pipeline 0'"
        case "unknown key":
            values["model"]["depth"] = 3
            edit(config, config=values)
            expected = "unknown configuration key 'model.depth'"
        case "width":
            values["model"]["base_width"] = 8
            edit(config, config=values)
            expected = r"does not hold the G1 that config\.json describes"
        case "cut":
            weights.write_bytes(weights.read_bytes()[:5000])
            expected = r"model\.safetensors is damaged"
        case "nan":
            tensors = load_file(weights)
            tensors["g2.last.bias"][0] = math.nan
            save_file(tensors, weights)
            expected = r"NaN or infinite weights in g2\.last\.bias"
        case "no g2":
            edit(config, sha256=None)  # as in folders from before there was a digest
            save_file({key: value for key, value in load_file(weights).items() if key.startswith("g1.")}, weights)
            expected = "does not hold the G2"
    with pytest.raises(CheckpointError, match=expected):
        PG2Pipeline.from_pretrained(tmp_path, device="cpu")


def test_a_name_that_is_nothing() -> None:
    with pytest.raises(CheckpointError, match="expected a folder, .*market1501-compact.*, got 'market-1501'"):
        PG2Pipeline.from_pretrained("market-1501")


def test_weights_that_are_no_pipeline_are_not_offered() -> None:
    assert "facing" not in shipped_checkpoints()
    with pytest.raises(CheckpointError, match="got 'facing'"):
        PG2Pipeline.from_pretrained("facing")


def test_a_hub_id_is_downloaded(pipe: PG2Pipeline, tmp_path, monkeypatch) -> None:
    pipe.save_pretrained(tmp_path)
    asked = {}

    def snapshot_download(repo_id: str, **options) -> str:
        asked.update(repo_id=repo_id, **options)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert PG2Pipeline.from_pretrained("somebody/pg2", device="cpu", revision="v1").name == "somebody/pg2"
    assert (asked["repo_id"], asked["revision"]) == ("somebody/pg2", "v1")
    assert asked["allow_patterns"] == ["config.json", "model.safetensors"]
    pinned = PG2Pipeline.from_pretrained("somebody/pg2@0123abc", device="cpu")
    assert (asked["repo_id"], asked["revision"], pinned.name) == ("somebody/pg2", "0123abc", "somebody/pg2@0123abc")
    with pytest.raises(CheckpointError, match="revision 'v1', and revision= is 'v2'"):
        PG2Pipeline.from_pretrained("somebody/pg2@v1", device="cpu", revision="v2")


@pytest.mark.parametrize(
    "name", ["somebody/pg2@", "somebody/pg2@v1@v2", "@v1", "a/b/c@v1", "somebody/pg2\n", "x://a/b"]
)
def test_what_is_no_hub_id_is_not_downloaded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **b: pytest.fail("it was downloaded"))
    with pytest.raises(CheckpointError, match="owner/name@revision"):
        PG2Pipeline.from_pretrained(name)


def test_weights_have_the_sha256_that_the_caller_names(pipe: PG2Pipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    digest = sha256_of(tmp_path / "model.safetensors")
    assert PG2Pipeline.from_pretrained(tmp_path, "cpu", sha256=digest.upper()).checkpoint == (tmp_path.name, digest)
    torch.nn.init.constant_(pipe.g1.last.bias, 0.25)
    pipe.save_pretrained(tmp_path)  # other weights, with a config.json that agrees with them
    with pytest.raises(CheckpointError, match=f"not the expected file: expected the SHA-256 '{digest}'"):
        PG2Pipeline.from_pretrained(tmp_path, "cpu", sha256=digest)


def test_model_onnx_is_downloaded_for_onnxruntime_alone(pipe: PG2Pipeline, tmp_path, monkeypatch) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pipe.save_pretrained(tmp_path)
    wanted = []

    def snapshot_download(repo_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        wanted.extend(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(CheckpointError, match=r"has no model\.onnx"):
        PG2Pipeline.from_pretrained("somebody/pg2", backend="onnxruntime")
    assert wanted == ["config.json", "model.safetensors", "model.onnx"]


def test_a_hub_id_that_cannot_be_reached(tmp_path, monkeypatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot_download(repo_id: str, **options) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(CheckpointError, match="no folder 'somebody/pg2'.*offline"):
        PG2Pipeline.from_pretrained("somebody/pg2")
