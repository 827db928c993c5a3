"""The ONNX file of a pipeline, and onnxruntime in torch's place."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, field, make_dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

for package in ("onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="needs the extra onnx")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")

import pg2lib  # noqa: E402
from pg2lib import CheckpointError, ConfigError, PG2Config, PG2Pipeline, build_models  # noqa: E402
from pg2lib.config import ModelConfig  # noqa: E402
from pg2lib.framing import Framing  # noqa: E402
from pg2lib.models.onnx import digest, export_onnx, input_channels, output_names  # noqa: E402
from tests.conftest import ROOT  # noqa: E402

PIPELINES = {
    "128x64": {},
    "256x256": {"model.height": 256, "model.width": 256, "model.g2_outer_skip": True},
    "every other choice": {
        "model.height": 64, "model.width": 64, "model.heatmap_background": -1, "model.g1_decoder": "symmetric",
        "model.g2_residual": True, "model.g2_last_down": True, "model.pose_embedding": "heatmap-encoder",
    },
    "part warp, mattes, stem": {
        "model.height": 64, "model.width": 64, "model.stem_px": 2, "model.part_warp": True, "model.matte": True,
        "model.g2_pose": True,
    },
    "part warp, mattes, backdrop": {
        "model.height": 64, "model.width": 32, "model.part_warp": True, "model.matte": True, "model.backdrop": True,
    },
    "no G2": {"model.height": 32, "model.width": 16, "networks": "G1", "model.pose_embedding": "coordinates"},
}  # fmt: skip


@torch.no_grad()
def make_pipeline(overrides: dict[str, object], seed: int = 0) -> PG2Pipeline:
    torch.manual_seed(seed)
    config = PG2Config.preset("fast").override({"model.base_width": 4, "model.bottleneck": 8, **overrides})
    g1, g2, _ = build_models(config)
    for parameter in (*g1.parameters(), *g2.parameters()):
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.1)  # biases are zero at first, which would hide a missing one
    g1.last.weight *= 8  # far enough for some pixels to be clamped
    framing = Framing(0.5, {"nose": 0.1, "neck": 0.2, "hips": 0.5, "knees": 0.7, "ankles": 0.9})
    return PG2Pipeline(g1, g2 if config.networks == "G1+G2+D" else None, config, framing).to("cpu")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, Path]:
    """A pipeline folder with its model.onnx for each of PIPELINES, made when first asked for."""
    root = tmp_path_factory.mktemp("onnx")

    class Folders(dict):
        def __missing__(self, name: str) -> Path:
            self[name] = root / name.replace(" ", "-")
            pipeline = make_pipeline(PIPELINES[name])
            pipeline.save_pretrained(self[name], torch.float32)
            export_onnx(pipeline.g1, pipeline.g2, self[name] / "model.onnx")
            return self[name]

    return Folders()


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    """A small pipeline folder with its model.onnx, to break."""
    return Path(shutil.copytree(exported["no G2"], tmp_path / "pipeline"))


def inputs(pipeline: PG2Pipeline, batch: int) -> tuple[torch.Tensor, ...]:
    """Image, heatmaps, keypoints of both poses and a matte."""
    height, width = pipeline.config.model.canvas
    generator = torch.Generator().manual_seed(batch)
    image = torch.rand(batch, 3, height, width, generator=generator) * 2 - 1
    heatmaps = (torch.rand(batch, 18, height, width, generator=generator) > 0.95).float()
    xy = torch.rand(2, batch, 18, 2, generator=generator) * torch.tensor([width, height])
    return image, heatmaps, *xy, torch.rand(batch, 1, height, width, generator=generator)


@pytest.mark.parametrize("name", PIPELINES)
def test_onnxruntime_gives_what_torch_gives(exported, name: str, monkeypatch) -> None:
    with_torch = PG2Pipeline.from_pretrained(exported[name], "cpu")
    pipeline = PG2Pipeline.from_pretrained(exported[name], backend="onnxruntime")
    assert repr(pipeline).endswith("on cpu by onnxruntime)")
    for batch in (1, 3):
        tensors = *inputs(pipeline, batch), float(batch - 1)  # the last one: how much more is copied
        expected = with_torch.generate(*tensors)
        with monkeypatch.context() as without_torch:
            without_torch.setattr("pg2lib.pipeline.both_stages", None)
            output = pipeline.generate(*tensors)
        assert 0.001 < (expected.coarse.abs() == 1).float().mean() < 0.9
        assert output.condition_image.data_ptr() == tensors[0].data_ptr()  # nothing is copied on the way
        for part in ("coarse", "difference_map", "refined"):
            difference = getattr(output, part) - getattr(expected, part)
            assert difference.shape == (batch, 3, *pipeline.config.model.canvas)
            assert difference.abs().max() < 1e-4, (part, batch)
        if pipeline.config.model.matte:
            assert expected.matte.std() > 0.01
            assert (output.matte - expected.matte).abs().max() < 1e-4
    assert (float(output.difference_map.abs().max()) == 0) == (name == "no G2")


@pytest.mark.parametrize("name", ["128x64", "part warp, mattes, stem"])
def test_the_file_stands_alone_and_says_what_it_is(exported, name: str) -> None:
    folder = exported[name]
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.onnx", "model.safetensors"]
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    config = PG2Pipeline.from_pretrained(folder, "cpu").config.model
    channels = input_channels(config) | dict(zip(output_names(config), (3, 3, 3, 1), strict=False))
    assert shapes == {name: ["batch", count, *config.canvas] for name, count in channels.items()}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert len(metadata.pop("digest")) == 64
    assert metadata == {
        "format": "pg2lib onnx 2",
        "pg2lib": pg2lib.__version__,
        "canvas": f"{config.height}x{config.width}",
    }
    content = (folder / "model.onnx").read_bytes()
    assert str(ROOT).encode() not in content and b"site-packages" not in content


def test_onnxruntime_uses_as_many_threads_as_torch(exported) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        pipeline = PG2Pipeline.from_pretrained(exported["no G2"], backend="onnxruntime")
        assert pipeline.onnx.session.get_session_options().intra_op_num_threads == threads + 1
    finally:
        torch.set_num_threads(threads)


def test_it_stays_on_the_cpu(exported) -> None:
    pipeline = PG2Pipeline.from_pretrained(exported["no G2"], backend="onnxruntime")
    assert pipeline.to("cpu") is pipeline
    with pytest.raises(ConfigError, match="cuda:1, load it with backend='torch'"):
        pipeline.to("cuda:1")
    with pytest.raises(ConfigError, match="cuda, load it"):
        PG2Pipeline.from_pretrained(exported["no G2"], "cuda", backend="onnxruntime")


def test_saved_again_it_is_the_same_pipeline(folder: Path) -> None:
    """The ONNX file belongs to the weights as they are read, so a rounding of them is noticed and a copy is not."""
    weights = (folder / "model.safetensors").read_bytes()
    pipeline = PG2Pipeline.from_pretrained(folder, backend="onnxruntime")
    pipeline.save_pretrained(folder, torch.float32)
    assert (folder / "model.safetensors").read_bytes() == weights
    again = PG2Pipeline.from_pretrained(folder, backend="onnxruntime")
    results = [p.generate(*inputs(p, 1)).refined for p in (pipeline, again)]
    assert torch.equal(*results)
    pipeline.save_pretrained(folder, torch.float16)
    with pytest.raises(CheckpointError, match="made from other networks"):
        PG2Pipeline.from_pretrained(folder, backend="onnxruntime")


def test_a_new_field_of_the_configuration_makes_no_file_stale() -> None:
    pipeline = make_pipeline(PIPELINES["no G2"])
    later = make_dataclass("Later", [("new", str, field(default="none"))], bases=(ModelConfig,), frozen=True)
    g1, config = pipeline.g1, pipeline.g1.config
    before = digest(g1, None)
    for new in ("none", "another"):
        g1.config = later(**asdict(config), new=new)
        assert (digest(g1, None) == before) == (new == "none")


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "foreign", "other weights", "other configuration"])
def test_a_file_that_does_not_belong_is_refused_with_the_command_that_makes_it(folder: Path, damage: str) -> None:
    file, config = folder / "model.onnx", folder / "config.json"
    match damage:
        case "missing":
            file.unlink()
            expected = "has no model.onnx"
        case "empty":
            file.write_bytes(b"")
            expected = "model.onnx is damaged"
        case "cut":
            file.write_bytes(file.read_bytes()[:5000])
            expected = "model.onnx is damaged"
        case "foreign":
            model = onnx.load(file)
            onnx.helper.set_model_props(model, {})
            onnx.save(model, file)
            expected = "expected the format 'pg2lib onnx 2', got None"
        case "other weights":
            make_pipeline(PIPELINES["no G2"], seed=1).save_pretrained(folder, torch.float32)
            expected = "made from other networks"
        case "other configuration":
            values = json.loads(config.read_text())
            values["config"]["model"]["heatmap_background"] = -1
            config.write_text(json.dumps(values))
            expected = "made from other networks"
    with pytest.raises(CheckpointError) as refused:
        PG2Pipeline.from_pretrained(folder, backend="onnxruntime")
    assert expected in str(refused.value)
    assert f"python -m pg2lib export {folder}" in str(refused.value)


def test_a_file_cannot_have_other_files_read(folder: Path, monkeypatch) -> None:
    (folder.parent / "secret").write_bytes(bytes(4))
    model = onnx.load(folder / "model.onnx")
    tensor = model.graph.initializer.add(name="stolen", data_type=onnx.TensorProto.FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: pytest.fail("onnxruntime opened it"))
    with pytest.raises(CheckpointError, match=r"model\.onnx is damaged"):
        PG2Pipeline.from_pretrained(folder, backend="onnxruntime")


def test_what_is_not_installed_is_named(folder: Path, tmp_path, monkeypatch) -> None:
    pipeline = PG2Pipeline.from_pretrained(folder, "cpu")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(CheckpointError, match=r'needs the packages onnx and onnxruntime: pip install "pg2lib\[onnx\]"'):
        PG2Pipeline.from_pretrained(folder, backend="onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(CheckpointError, match=r'needs onnx and onnxscript: pip install "pg2lib\[onnx\]"'):
        export_onnx(pipeline.g1, pipeline.g2, tmp_path / "model.onnx")


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch) -> None:
    def disk_full(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:1])
        raise OSError(28, "No space left on device")

    (tmp_path / "model.onnx").write_text("old")
    monkeypatch.setattr("pg2lib.models.onnx._to_onnx", lambda *_: SimpleNamespace(SerializeToString=lambda: b"new"))
    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(
        CheckpointError, match=r"model\.onnx cannot be written \(.*No space left.*name a file elsewhere"
    ):
        export_onnx(make_pipeline(PIPELINES["no G2"]).g1, None, tmp_path / "model.onnx")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("model.onnx", "old")]
