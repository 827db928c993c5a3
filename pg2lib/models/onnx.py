"""A pipeline's networks as an ONNX file: for any runtime that reads ONNX, and for onnxruntime in place of torch.

The file goes from tensors to tensors, both stages in one. Finding people, cropping and drawing heatmaps stay outside.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import pg2lib
from pg2lib.config import ModelConfig
from pg2lib.errors import CheckpointError
from pg2lib.files import atomic_path
from pg2lib.models.generators import G1Input, StagesOutput, both_stages
from pg2lib.pipeline import PG2Pipeline
from pg2lib.pipeline_folder import WEIGHTS_NAME
from pg2lib.pose import JOINTS

if TYPE_CHECKING:
    import onnx

FORMAT = "pg2lib onnx 1"
INSTALL = 'pip install "pg2lib[onnx]"'


def export_onnx(pipeline: PG2Pipeline, path: str | PathLike[str]) -> None:
    """Writes both stages of a pipeline as one ONNX file, whole or not at all.

    Inputs are ``condition_image`` (batch, 3, height, width), [-1, 1], and ``target_heatmaps`` (batch, 18, height,
    width), {0, 1}; with the part warp ``warped`` and ``coverage``, as `pg2lib.warp_parts` gives them, and with mattes
    ``matte``, (batch, 1, height, width), [0, 1]. Outputs are ``coarse``, ``difference_map`` and ``refined``, as
    `PG2Pipeline.generate` gives them, and with mattes ``result_matte``. All are float32, and the batch may have any
    size. The file's metadata say which pipeline it was made from.

    Args:
        pipeline: as it was loaded: weights that are saved later may be rounded, and then the file does not belong to
            them.
        path: the file; as ``model.onnx`` in the pipeline's folder, ``from_pretrained`` finds it.

    Raises:
        CheckpointError: onnx or onnxscript is not installed, or the file cannot be written.
    """
    model = _to_onnx(pipeline)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written ({error}); name a file elsewhere") from error


def _to_onnx(pipeline: PG2Pipeline) -> onnx.ModelProto:
    try:
        import onnx
        import onnxscript  # noqa: F401  # torch's exporter is written in it
    except ImportError as error:
        raise CheckpointError(f"writing ONNX needs onnx and onnxscript: {INSTALL} ({error})") from error
    networks = copy.deepcopy(_BothStages(pipeline)).cpu().eval()
    height, width = pipeline.config.model.canvas
    inputs = input_channels(pipeline.config.model)
    # A batch of 1 would be taken for a part of the architecture. All inputs have the batch size of the first.
    example = tuple(torch.zeros(2, channels, height, width) for channels in inputs.values())
    batch = ({0: torch.export.Dim("batch")}, *[{0: torch.export.Dim.DYNAMIC}] * (len(inputs) - 1))
    with _quiet_exporter():
        program = torch.onnx.export(
            networks,
            example,
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=output_names(pipeline.config.model),
            dynamic_shapes=(batch,),
        )
    assert program is not None
    for part in (program.model.graph, *program.model.graph):
        part.metadata_props.clear()  # what torch made each node from, with stack traces: the paths of this machine
    model: onnx.ModelProto = program.model_proto
    metadata = {
        "format": FORMAT,
        "pg2lib": pg2lib.__version__,
        "canvas": f"{height}x{width}",
        "digest": digest(pipeline),
    }
    onnx.helper.set_model_props(model, metadata)
    return model


def input_channels(model: ModelConfig) -> dict[str, int]:
    """Names and channels of the inputs, in order: the fields of `G1Input` that a configuration asks for."""
    channels = {"condition_image": 3, "target_heatmaps": len(JOINTS)}
    if model.part_warp:
        channels |= {"warped": 3, "coverage": 1}
    return channels | ({"matte": 1} if model.matte else {})


def output_names(model: ModelConfig) -> list[str]:
    """Names of the outputs, in the order of `StagesOutput`."""
    return ["coarse", "difference_map", "refined"] + ["result_matte"] * model.matte


class _BothStages(nn.Module):
    """`both_stages` as a module, which is what torch exports."""

    def __init__(self, pipeline: PG2Pipeline) -> None:
        super().__init__()
        self.g1, self.g2 = pipeline.g1, pipeline.g2
        self.names = list(input_channels(pipeline.config.model))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        made = both_stages(self.g1, self.g2, G1Input(**dict(zip(self.names, tensors, strict=True))))
        return tuple(tensor for tensor in made if tensor is not None)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without what torch's exporter says of every model: that torchvision is missing, and of its own old code."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        registration.setLevel(level)


def digest(pipeline: PG2Pipeline) -> str:
    """SHA-256 of all that decides what the networks compute: their architecture, and their weights as float32.

    A field of the architecture at its default counts for nothing, so that a later version may have a field more.
    """
    model = pipeline.config.model
    choices = {f.name: value for f in fields(model) if (value := getattr(model, f.name)) != f.default}
    found = hashlib.sha256(json.dumps(choices, sort_keys=True).encode())
    for name, generator in pipeline.generators.items():
        for key, value in generator.state_dict().items():
            found.update(f"{name}.{key}".encode())
            found.update(value.to("cpu", torch.float32).contiguous().numpy())
    return found.hexdigest()


class OnnxStages:
    """Both stages run by onnxruntime on the CPU; called as `both_stages` is, without the networks."""

    def __init__(self, path: Path, pipeline: PG2Pipeline) -> None:
        """Opens a file that `export_onnx` wrote.

        Args:
            path: the file, in the folder that the pipeline was loaded from.
            pipeline: what the file has to belong to.

        Raises:
            CheckpointError: onnxruntime is not installed, or the file is missing, damaged, not from `export_onnx`, or
                made from other weights or another configuration.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise CheckpointError(
                f"the backend onnxruntime needs the package onnxruntime: {INSTALL} ({error})"
            ) from error
        command = f"python -m pg2lib export {shlex.quote(str(path.parent))}"
        if not path.is_file():
            raise CheckpointError(f"{path.parent} has no {path.name} for onnxruntime; make it once with: {command}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise CheckpointError(f"{path} is damaged or no ONNX file; make it again with: {command}") from error
        metadata = self.session.get_modelmeta().custom_metadata_map
        if metadata.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: expected the format {FORMAT!r}, got {metadata.get('format')!r}; make it again with: {command}"
            )
        if metadata.get("digest") != digest(pipeline):
            raise CheckpointError(
                f"{path} was made from other networks than config.json and {WEIGHTS_NAME} beside it describe; "
                f"make it again with: {command}"
            )
        self.inputs = list(input_channels(pipeline.config.model))

    def __call__(self, seen: G1Input) -> StagesOutput:
        """Both stages, as `both_stages` gives them."""
        feed = {name: getattr(seen, name).contiguous().numpy(force=True) for name in self.inputs}
        coarse, difference_map, refined, *matte = map(torch.from_numpy, self.session.run(None, feed))
        return StagesOutput(coarse, difference_map, refined, matte[0] if matte else None)
