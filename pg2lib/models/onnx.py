"""Both stages as one ONNX file, for any runtime that reads ONNX, and run by onnxruntime in place of torch.

The file maps tensors to tensors. Finding people, cropping and rendering heatmaps are not part of it.
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

from pg2lib.config import ModelConfig
from pg2lib.errors import CheckpointError
from pg2lib.files import atomic_path
from pg2lib.models.generators import G1, G2, G1Input, StagesOutput, both_stages
from pg2lib.pose import JOINTS
from pg2lib.provenance import __version__

if TYPE_CHECKING:
    import onnx

FORMAT = "pg2lib onnx 2"
INSTALL = 'pip install "pg2lib[onnx]"'


def export_onnx(g1: G1, g2: G2 | None, path: str | PathLike[str]) -> None:
    """Write both stages as one ONNX file, which appears whole or not at all.

    Inputs are ``condition_image`` (batch, 3, height, width), [-1, 1], and ``target_heatmaps`` (batch, 18, height,
    width), {0, 1}; with the part warp also ``warped`` and ``coverage``, the output of `pg2lib.warp_parts`; with mattes
    also ``matte``, (batch, 1, height, width), [0, 1]. Outputs are ``coarse``, ``difference_map`` and ``refined``, those
    of `StagesOutput`, and with mattes ``result_matte``. All are float32, and the batch size is free. The metadata of
    the file identify the weights that it was made from.

    Args:
        g1, g2: generators as they were loaded. Saving them may round their weights, and then the file no longer belongs
            to what was saved.
        path: the file. ``PG2Pipeline.from_pretrained`` looks for ``model.onnx`` in the pipeline folder.

    Raises:
        CheckpointError: onnx or onnxscript is not installed, or the file cannot be written.
    """
    model = _to_onnx(g1, g2)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written ({error.strerror}); name a file elsewhere") from error


def _to_onnx(g1: G1, g2: G2 | None) -> onnx.ModelProto:
    """Convert both stages.

    Raises:
        CheckpointError: onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  # torch's exporter needs it
    except ImportError as error:
        raise CheckpointError(f"writing ONNX needs onnx and onnxscript: {INSTALL} ({error})") from error
    networks = copy.deepcopy(_BothStages(g1, g2)).cpu().eval()
    height, width = g1.config.canvas
    inputs = input_channels(g1.config)
    # The exporter takes a batch of 1 for a constant, so the example has 2. All inputs share the first one's batch size.
    example = tuple(torch.zeros(2, channels, height, width) for channels in inputs.values())
    batch = ({0: torch.export.Dim("batch")}, *[{0: torch.export.Dim.DYNAMIC}] * (len(inputs) - 1))
    with _quiet_exporter():
        program = torch.onnx.export(
            networks,
            example,
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=output_names(g1.config),
            dynamic_shapes=(batch,),
        )
    assert program is not None
    for part in (program.model.graph, *program.model.graph):
        part.metadata_props.clear()  # stack traces, which hold paths of this machine
    model: onnx.ModelProto = program.model_proto
    metadata = {
        "format": FORMAT,
        "pg2lib": __version__,
        "canvas": f"{height}x{width}",
        "digest": digest(g1, g2),
    }
    onnx.helper.set_model_props(model, metadata)
    return model


def input_channels(model: ModelConfig) -> dict[str, int]:
    """Return names and channels of the inputs, in order: the fields of `G1Input` that a configuration has."""
    channels = {"condition_image": 3, "target_heatmaps": len(JOINTS)}
    if model.part_warp:
        channels |= {"warped": 3, "coverage": 1}
    if model.matte:
        channels["matte"] = 1
    return channels | ({"copying": 1} if model.part_warp else {})


def output_names(model: ModelConfig) -> list[str]:
    """Return the names of the outputs, in the order of `StagesOutput`."""
    return ["coarse", "difference_map", "refined"] + ["result_matte"] * model.matte


class _BothStages(nn.Module):
    """`both_stages` as a module, because torch exports modules only."""

    def __init__(self, g1: G1, g2: G2 | None) -> None:
        super().__init__()
        self.g1, self.g2 = g1, g2
        self.names = list(input_channels(g1.config))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = G1Input(**dict(zip(self.names, tensors, strict=True)))
        return tuple(tensor for tensor in both_stages(self.g1, self.g2, inputs) if tensor is not None)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what torch's exporter says about every model: that torchvision is missing, and that it is deprecated."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        registration.setLevel(level)


def digest(g1: G1, g2: G2 | None) -> str:
    """Return the SHA-256 of the architecture and the weights, as float32, which decide what the networks compute.

    Fields of the configuration that have their default values are left out, so that a later version may add fields.
    """
    choices = {f.name: value for f in fields(g1.config) if (value := getattr(g1.config, f.name)) != f.default}
    found = hashlib.sha256(json.dumps(choices, sort_keys=True).encode())
    for name, generator in {"g1": g1, "g2": g2}.items():
        if generator is None:
            continue
        for key, value in generator.state_dict().items():
            found.update(f"{name}.{key}".encode())
            found.update(value.to("cpu", torch.float32).contiguous().numpy())
    return found.hexdigest()


class OnnxStages:
    """Both stages, run by onnxruntime on the CPU."""

    def __init__(self, path: Path, g1: G1, g2: G2 | None) -> None:
        """Open a file that `export_onnx` wrote.

        Args:
            path: the file, in the pipeline folder that the generators were loaded from.
            g1, g2: the generators that the file must have been made from.

        Raises:
            CheckpointError: onnxruntime is not installed, or the file is missing, damaged, not from `export_onnx`, or
                made from other weights or another configuration.
        """
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise CheckpointError(
                f"the backend onnxruntime needs the packages onnx and onnxruntime: {INSTALL} ({error})"
            ) from error
        command = f"python -m pg2lib export {shlex.quote(str(path.parent))}"
        if not path.is_file():
            raise CheckpointError(f"{path.parent} has no {path.name}, which onnxruntime needs; make it with: {command}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            # A file may name other files for its weights, and onnxruntime before 1.24 reads them wherever they lie.
            onnx.checker.check_model(path)
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            metadata = self.session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnx's and onnxruntime's errors have no base class of their own
            raise CheckpointError(f"{path} is damaged or not an ONNX file; make it again with: {command}") from error
        if metadata.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: expected the format {FORMAT!r}, got {metadata.get('format')!r}; make it again with: {command}"
            )
        if metadata.get("digest") != digest(g1, g2):
            raise CheckpointError(
                f"{path} was made from other networks than those in its folder; make it again with: {command}"
            )
        self.inputs = list(input_channels(g1.config))

    def __call__(self, inputs: G1Input) -> StagesOutput:
        """Run both stages, like `both_stages`."""
        feed = {name: getattr(inputs, name).contiguous().numpy(force=True) for name in self.inputs}
        coarse, difference_map, refined, *matte = map(torch.from_numpy, self.session.run(None, feed))
        return StagesOutput(coarse, difference_map, refined, matte[0] if matte else None)
