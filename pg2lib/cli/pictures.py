"""Commands that use a trained model: generate and export."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg2lib.cli.options import add_command, add_weights, canvas_of, positive, progress_bar, share
from pg2lib.config import DEFAULT_CHECKPOINT
from pg2lib.errors import ConfigError, NoPersonError

if TYPE_CHECKING:
    from pg2lib.condition import ConditionView, Photo
    from pg2lib.detect import Detection
    from pg2lib.pipeline import PG2Pipeline
    from pg2lib.targets import Target


def add_commands(commands: Any) -> None:
    """Add the commands of this module to the command line."""
    _add_generate(commands)
    _add_export(commands)


def _add_generate(commands: Any) -> None:
    parser = add_command(
        commands, "generate", _generate, "generate an image of the person in a photo in another pose",
        "python -m pg2lib generate me.jpg --pose waving --out me_waving.png",
    )  # fmt: skip
    parser.add_argument("image", type=Path, metavar="IMAGE", help="photo of the person")
    _add_what(parser)
    _add_person(parser)
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


def _add_what(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what to make, and where to write it."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--pose", action="append", metavar="PRESET_OR_FILE",
        help="target pose: the name of a preset, an image of somebody in that pose, or a pose file of OpenPose, COCO, "
        "a pose editor or another known program; repeatable. An unknown name lists the presets",
    )  # fmt: skip
    what.add_argument(
        "--animate", nargs=2, metavar=("FROM", "TO"),
        help="write an animation from one pose to another and back; each pose is given as for --pose",
    )  # fmt: skip
    what.add_argument(
        "--recipe", type=Path, metavar="FILE",
        help="make a picture again: a PNG that this command wrote, or its recipe in JSON; IMAGE is the photo that the "
        "picture was made from",
    )  # fmt: skip
    what.add_argument(
        "--list-people",
        action="store_true",
        help="list the people in the photo from left to right, and do nothing else",
    )
    parser.add_argument(
        "--pose-number", type=positive, metavar="N",
        help="which pose of a target pose's file to use, if it holds several: counted in the order of a pose file, and "
        "from left to right in an image (default: the first, and the most prominent)",
    )  # fmt: skip
    parser.add_argument(
        "--pose-canvas", metavar="HEIGHTxWIDTH",
        help="size in pixels of the image that a pose file speaks of, for files that hold fractions of it",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="FILE",
        help="image to write; with several poses, OUT-1.png, OUT-2.png and so on. An animation is written as .gif or "
        ".mp4. A PNG carries the recipe of the picture",
    )  # fmt: skip
    parser.add_argument(
        "--grid", action="store_true",
        help="write the inputs and the result of every step side by side, one row per pose, instead of the refined "
        "result only; a grid carries no recipe",
    )  # fmt: skip
    parser.add_argument(
        "--frames", type=positive, default=24, metavar="N",
        help="pictures of the animation from the first pose to the second (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--fps",
        type=positive,
        default=12,
        metavar="N",
        help="pictures per second of the animation (default: %(default)s)",
    )


def _add_person(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who is in the photo, and how their pose is used."""
    parser.add_argument(
        "--person", type=positive, metavar="N",
        help="which person of the photo to use, from left to right, see --list-people (default: the most prominent)",
    )  # fmt: skip
    parser.add_argument(
        "--box", type=float, nargs=4, metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"),
        help="look for people in this part of the photo only, in pixels: helps where somebody small is not found. The "
        "photo is not turned then, unless --turn says so",
    )  # fmt: skip
    parser.add_argument(
        "--turn", type=int, choices=(0, 90, 180, 270),
        help="turn the photo clockwise first, by degrees; 0 keeps it as it is (default: it is turned if the people in "
        "it lie on their side or stand on their head)",
    )  # fmt: skip
    parser.add_argument(
        "--retarget", type=share, default=1.0, metavar="0..1",
        help="how far the target poses take the limb lengths of the person; 0 keeps the poses as they are (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--no-crop", action="store_true",
        help="use the image as it is, without cropping it to the person; it must have the size that the model expects",
    )  # fmt: skip


def _generate(options: argparse.Namespace) -> int:
    from pg2lib.output import output_grid, save_picture
    from pg2lib.pipeline import PG2Pipeline
    from pg2lib.pipeline_folder import shipped_checkpoints
    from pg2lib.recipe import read_recipe

    paths = _paths(options)
    recipe = None if options.recipe is None else read_recipe(options.recipe)
    weights = options.weights
    if recipe is not None and weights == DEFAULT_CHECKPOINT and recipe.checkpoint in shipped_checkpoints():
        weights = recipe.checkpoint
    pipeline = PG2Pipeline.from_pretrained(weights, options.device, backend=options.backend)
    if options.list_people:
        return _list_people(pipeline, options)
    if recipe is not None:
        outputs = [pipeline.replay(options.image, recipe, options.background)]
    else:
        view = _look(pipeline, options)
        if options.animate:
            return _animate(pipeline, view, options)
        outputs = pipeline.repose(view, _targets(pipeline, options.pose, options), options.background, options.retarget)
    pictures = [output_grid(outputs, scale=2)] if options.grid else [output.to_pil() for output in outputs]
    recipes = [None] if options.grid else [output.recipe for output in outputs]
    milliseconds = 1000 * sum(output.seconds for output in outputs) / len(pictures)
    for path, picture, own in zip(paths, pictures, recipes, strict=True):
        save_picture(picture, path, own)
        print(f"{path}: {picture.width}x{picture.height} pixels, generated in {milliseconds:.0f} ms by {pipeline.name}")
    return 0


def _paths(options: argparse.Namespace) -> list[Path]:
    """Return the files to write, one per picture, and refuse options that do not go together.

    Raises:
        ConfigError: options do not go together, or ``--out`` is missing.
        DataError: a file has another suffix than those that can be written, or is one that the command reads.
    """
    from pg2lib.files import refuse_to_replace
    from pg2lib.output import picture_format
    from pg2lib.video import check_suffix

    given = {
        "--person": options.person is not None,
        "--box": options.box is not None,
        "--turn": options.turn is not None,
        "--retarget": options.retarget != 1,
        "--no-crop": options.no_crop,
        "--grid": options.grid,
    }
    for option, others in {
        "--recipe": ("--person", "--box", "--turn", "--retarget", "--no-crop") if options.recipe else (),
        "--animate": ("--grid",) if options.animate else (),
        "--no-crop": ("--person", "--box") if options.no_crop else (),
    }.items():
        for other in others:
            if given[other]:
                raise ConfigError(f"{option} and {other} do not go together; leave one of them out")
    if options.list_people:
        return []
    out: Path | None = options.out
    if out is None:
        raise ConfigError("expected --out FILE, the image to write")
    (check_suffix if options.animate else picture_format)(out)
    paths = [out]
    if options.pose and len(options.pose) > 1 and not options.grid:
        paths = [out.with_stem(f"{out.stem}-{number}") for number in range(1, len(options.pose) + 1)]
    read = [options.image, options.recipe, options.background, *(options.pose or ()), *(options.animate or ())]
    for path in paths:
        refuse_to_replace(path, [file for file in read if file is not None])
    return paths


def _look(pipeline: PG2Pipeline, options: argparse.Namespace) -> ConditionView:
    """Look at the photo. If it shows several people and none was chosen, say whom the picture will show."""
    from pg2lib.condition import Photo

    if options.no_crop:
        return pipeline.look(Photo.load(options.image, options.turn or 0), crop=False)
    photo, people = _find_people(pipeline, options)
    view = pipeline.look(photo, person=options.person or 0, people=people)
    if len(people) > 1 and options.person is None:
        print(
            f"{options.image} shows {len(people)} people. Person {people.index(view.people[0]) + 1} from the left, the "
            f"most prominent, is used; --person N chooses another, and --list-people lists them.",
            file=sys.stderr,
        )
    return view


def _find_people(pipeline: PG2Pipeline, options: argparse.Namespace) -> tuple[Photo, list[Detection]]:
    """Return the photo and the people in it from left to right. If the photo is turned by itself, say so."""
    from pg2lib.condition import Photo

    if options.turn is not None or options.box is not None:
        photo = Photo.load(options.image, options.turn or 0)
        return photo, pipeline.find_people(photo, options.box)
    try:
        photo, people = pipeline.find_upright(options.image)
    except NoPersonError as error:
        raise NoPersonError(f"{options.image}: {error}, or say where the person is with --box") from error
    if photo.turn:
        print(
            f"{options.image} is turned clockwise by {photo.turn} degrees, as the people in it do not stand upright; "
            f"--turn 0 keeps it as it is.",
            file=sys.stderr,
        )
    return photo, people


def _list_people(pipeline: PG2Pipeline, options: argparse.Namespace) -> int:
    """Print the people in the photo from left to right: number, box of the joints, and what is visible."""
    from pg2lib.condition import choose_person
    from pg2lib.pose import visible_part

    _, people = _find_people(pipeline, options)
    used = choose_person(people)[0]
    for number, person in enumerate(people, 1):
        left, top, right, bottom = map(round, person.pose.box)
        note = ", the most prominent" if person is used and len(people) > 1 else ""
        print(f"{number}: from ({left}, {top}) to ({right}, {bottom}), {visible_part(person.pose)}{note}")
    return 0


def _targets(pipeline: PG2Pipeline, names: Sequence[str], options: argparse.Namespace) -> Sequence[Target]:
    """Return the target poses. What ``--pose-number`` and ``--pose-canvas`` say is applied to those that are files."""
    from pg2lib.condition import choose_person
    from pg2lib.data.pose_files import read_target_pose
    from pg2lib.pose import pose_presets

    if options.pose_number is None and options.pose_canvas is None:
        return names
    canvas = canvas_of(options.pose_canvas, "--pose-canvas") if options.pose_canvas else None
    number = options.pose_number or 0
    targets: list[Target] = []
    for name in names:
        if name in pose_presets() or not Path(name).exists():
            targets.append(name)
        elif (pose := read_target_pose(name, canvas, number)) is not None:
            targets.append(pose)
        else:
            targets.append(choose_person(pipeline.find_people(name), number)[0].pose)
    return targets


def _animate(pipeline: PG2Pipeline, view: ConditionView, options: argparse.Namespace) -> int:
    """Write an animation from one pose to another and back."""
    from pg2lib.limbs import interpolate
    from pg2lib.video import write_animation

    first, last = pipeline.target_poses(view, _targets(pipeline, options.animate, options), options.retarget)
    poses = interpolate(first, last, options.frames)
    on_progress = progress_bar("animation", "picture")
    pictures = []
    for number, pose in enumerate(poses, 1):
        pictures.append(pipeline.repose(view, [pose], options.background, retarget=0)[0].to_pil())
        on_progress(number, len(poses))
    there_and_back = [*pictures, *pictures[-2:0:-1]]
    write_animation(there_and_back, options.out, options.fps)
    seconds = len(there_and_back) / options.fps
    print(f"{options.out}: {len(there_and_back)} pictures, {seconds:.1f} seconds, by {pipeline.name}")
    return 0


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
