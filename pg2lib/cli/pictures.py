"""Commands that use a trained model: generate and export."""

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
    """Add the commands of this module to the command line."""
    _add_generate(commands)
    _add_export(commands)


def _add_generate(commands: Any) -> None:
    parser = add_command(
        commands, "generate", _generate, "generate an image of the person in a photo in another pose",
        "python -m pg2lib generate me.jpg --pose somebody.jpg --out result.png",
    )  # fmt: skip
    parser.add_argument("image", type=Path, metavar="IMAGE", help="photo of the person")
    parser.add_argument(
        "--pose", type=Path, action="append", required=True, metavar="FILE",
        help="target pose: an image of somebody in that pose, or a pose in JSON; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE",
        help="image to write; with several poses, OUT-1.png, OUT-2.png and so on",
    )  # fmt: skip
    parser.add_argument(
        "--grid", action="store_true",
        help="write the inputs and the result of every step side by side, one row per pose, instead of the refined "
        "result only",
    )  # fmt: skip
    parser.add_argument(
        "--no-crop", action="store_true",
        help="use the image as it is, without cropping it to the person; it must have the size that the model expects",
    )  # fmt: skip
    parser.add_argument(
        "--background", metavar="photo|plain|FILE",
        help="background of the result, for models with mattes. photo: that of the photo; plain: the backdrop that the "
        "model generates; or an image file (default: photo, or plain with --no-crop)",
    )  # fmt: skip
    add_weights(parser, DEFAULT_CHECKPOINT)
    parser.add_argument(
        "--backend", choices=("torch", "onnxruntime"), default="torch",
        help="library that runs the networks; onnxruntime can be faster on a CPU and needs a pipeline folder with the "
        "file that export writes (default: %(default)s)",
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
    milliseconds = 1000 * sum(output.seconds for output in outputs) / len(pictures)
    for path, picture in zip(paths, pictures, strict=True):
        with atomic_path(path) as temporary:
            picture.save(temporary, picture_format)
        print(f"{path}: {picture.width}x{picture.height} pixels, generated in {milliseconds:.0f} ms by {pipeline.name}")
    return 0


def _target_pose(path: Path) -> Pose | Path:
    """Read a pose in JSON; return the path of any other file, which is an image, as it is."""
    from pg2lib.pose import Pose

    if path.suffix != ".json":
        return path
    try:
        return Pose.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the pose {path}: {error}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _picture_format(path: Path) -> str:
    """Return Pillow's name of the format that the suffix of a file stands for."""
    from PIL import Image

    formats = Image.registered_extensions()
    if path.suffix.lower() not in formats:
        raise DataError(f"{path}: expected a file name that ends in .png or .jpg, got {path.suffix or 'no suffix'}")
    return formats[path.suffix.lower()]


def _add_export(commands: Any) -> None:
    parser = add_command(
        commands, "export", _export, "export the networks of a pipeline to an ONNX file",
        "python -m pg2lib export runs/compact/pipeline",
    )  # fmt: skip
    parser.add_argument(
        "weights", nargs="?", metavar="FOLDER_OR_NAME", default=DEFAULT_CHECKPOINT,
        help="pipeline folder, name of a checkpoint that ships with pg2lib, or Hugging Face Hub id (default: "
        "%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="FILE",
        help="ONNX file to write (default: model.onnx in the pipeline folder, where generate --backend onnxruntime "
        "looks for it)",
    )  # fmt: skip


def _export(options: argparse.Namespace) -> int:
    from pg2lib.files import refuse_to_replace
    from pg2lib.models.onnx import export_onnx
    from pg2lib.pipeline import PG2Pipeline
    from pg2lib.pipeline_folder import CONFIG_NAME, ONNX_NAME, WEIGHTS_NAME, find_folder

    folder = find_folder(options.weights)
    out: Path = options.out or folder / ONNX_NAME
    refuse_to_replace(out, [folder / CONFIG_NAME, folder / WEIGHTS_NAME])
    pipeline = PG2Pipeline.from_pretrained(folder, "cpu")
    export_onnx(pipeline.g1, pipeline.g2, out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    return 0
