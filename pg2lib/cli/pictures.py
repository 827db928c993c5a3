"""Commands that make pictures of a trained model: generate, export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg2lib.cli.options import add_command, add_weights
from pg2lib.config import DEFAULT_CHECKPOINT
from pg2lib.errors import DataError

if TYPE_CHECKING:
    from pg2lib.pose import Pose


def add_commands(commands: Any) -> None:
    """Adds the commands of this module."""
    _add_generate(commands)
    _add_export(commands)


def _add_generate(commands: Any) -> None:
    parser = add_command(
        commands, "generate", _generate, "put the person of a photo into another pose",
        "python -m pg2lib generate me.jpg --pose somebody.jpg --out result.png",
    )  # fmt: skip
    parser.add_argument("image", type=Path, help="photo of the person")
    parser.add_argument(
        "--pose", type=Path, action="append", required=True, help="image to take the target pose from, or a pose in "
        "JSON; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, help="picture to write; of several poses OUT-1.png, OUT-2.png ..."
    )
    parser.add_argument(
        "--grid", action="store_true", help="write all steps side by side, not the refined result alone"
    )
    parser.add_argument("--no-crop", action="store_true", help="the image already is a model canvas")
    parser.add_argument(
        "--background", metavar="photo|plain|FILE",
        help="set the result into the photo's own background (the default for photos), leave the plain backdrop of the "
        "model, or set it into a picture; for models with mattes",
    )  # fmt: skip
    add_weights(parser, DEFAULT_CHECKPOINT)
    parser.add_argument(
        "--backend", choices=("torch", "onnxruntime"), default="torch",
        help="what runs the networks; onnxruntime can be faster on a CPU, once export was run (default: %(default)s)",
    )  # fmt: skip


def _generate(options: argparse.Namespace) -> int:
    from pg2lib.files import atomic_path, refuse_to_replace
    from pg2lib.output import output_grid
    from pg2lib.pipeline import PG2Pipeline

    targets = [_target_pose(path) for path in options.pose]
    out: Path = options.out
    if options.grid or len(targets) == 1:
        paths = [out]
    else:
        paths = [out.with_stem(f"{out.stem}-{number}") for number in range(1, len(targets) + 1)]
    picture_format = _picture_format(out)
    for path in paths:
        refuse_to_replace(path, [options.image, *options.pose])
    pipeline = PG2Pipeline.from_pretrained(options.weights, options.device, backend=options.backend)
    outputs = pipeline(options.image, targets, crop=not options.no_crop, background=options.background)
    pictures = [output_grid(outputs, scale=2)] if options.grid else [output.to_pil() for output in outputs]
    for path, picture in zip(paths, pictures, strict=True):
        with atomic_path(path) as temporary:
            picture.save(temporary, picture_format)
        print(
            f"{path}: {picture.width}x{picture.height} pixels, "
            f"made in {sum(output.seconds for output in outputs) / len(pictures) * 1000:.0f} ms by {pipeline.name}"
        )
    return 0


def _target_pose(path: Path) -> Pose | Path:
    from pg2lib.pose import Pose

    if path.suffix != ".json":
        return path
    try:
        return Pose.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the pose {path} cannot be read: {error}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _picture_format(path: Path) -> str:
    from PIL import Image

    formats = Image.registered_extensions()
    if path.suffix.lower() not in formats:
        raise DataError(f"{path}: {path.suffix or 'no ending'} is no picture format; end it in .png or .jpg")
    return formats[path.suffix.lower()]


def _add_export(commands: Any) -> None:
    parser = add_command(
        commands, "export", _export, "write a pipeline's networks as an ONNX file",
        "python -m pg2lib export runs/compact/pipeline",
    )  # fmt: skip
    parser.add_argument(
        "weights", nargs="?", metavar="FOLDER_OR_NAME", default=DEFAULT_CHECKPOINT,
        help="pipeline folder, shipped name or hub id (default: %(default)s, as in generate)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="(default: model.onnx in the pipeline's folder, where generate "
        "--backend onnxruntime looks for it)",
    )  # fmt: skip


def _export(options: argparse.Namespace) -> int:
    from pg2lib.files import refuse_to_replace
    from pg2lib.onnx_model import export_onnx
    from pg2lib.pipeline import CONFIG_NAME, ONNX_NAME, WEIGHTS_NAME, PG2Pipeline, find_folder

    folder = find_folder(options.weights)
    out: Path = options.out or folder / ONNX_NAME
    refuse_to_replace(out, [folder / CONFIG_NAME, folder / WEIGHTS_NAME])
    export_onnx(PG2Pipeline.from_pretrained(folder, "cpu"), out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    return 0
