"""What stands behind the page's endpoints; it knows nothing of gradio.

Images come as paths of uploads and go out as pictures, bytes or ``data:`` URLs. Poses are JSON values, as
`pg2lib.Pose.to_json` writes them. Work that takes a while is a generator that yields its progress.
"""

from __future__ import annotations

import base64
import io
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from demo import words
from demo.looks import Choice, Looks, RefusedError
from demo.steps import Progress, counted, in_time
from pg2lib.condition import ConditionView
from pg2lib.data.pose_files import is_photo, parse_poses, read_poses
from pg2lib.detect import Detection, suggested_turn
from pg2lib.errors import DataError, NoPersonError, PG2Error
from pg2lib.images import image_grid, pil_from_tensor
from pg2lib.limbs import interpolate, retarget
from pg2lib.metrics.pose import head_sizes, pose_accuracy
from pg2lib.output import PG2Output
from pg2lib.pipeline import PG2Pipeline
from pg2lib.pose import Pose, pose_presets, visible_part
from pg2lib.raster import render_pose_masks
from pg2lib.recipe import Recipe, read_recipe
from pg2lib.video import FORMATS, frame_poses, read_video_poses, smooth, write_animation

PREVIEW_PX = 1024
"""Longest side of the photo that the page shows."""

MAX_FRAMES = 120
"""The most poses of one request."""

MIN_JOINTS = 4
"""The fewest joints of a pose that is placed by hand."""

RELIABLE = ("hands on hips", "waving", "standing, front", "hands joined", "walking, front")
"""Presets that come out well; for all others, photos that show a person from the front lack a side or the back."""

FOUND_AGAIN_PX = 512
"""Results are enlarged to this before people are looked for: in smaller pictures the detector looks many times."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How pictures are made.

    Attributes:
        strength: 0 keeps the proportions of the target pose, 1 gives it those of the person.
        background: "photo" or "plain".
        model: name of a model; empty for the first.
    """

    strength: float = 1.0
    background: str = "photo"
    model: str = ""


class Service:
    """Everything that the page can ask for."""

    def __init__(self, pipelines: Mapping[str, PG2Pipeline], looks: Looks | None = None) -> None:
        """Serve models by name; the first is the default."""
        self.pipelines = dict(pipelines)
        self.looks = looks or Looks()

    # -- Lists -----------------------------------------------------------------------------------------------------

    def presets(self) -> list[Json]:
        """Return the presets, the reliable ones first."""
        poses = pose_presets()
        names = [*RELIABLE, *(name for name in poses if name not in RELIABLE)]
        return [{"name": name, "pose": to_json(poses[name]), "hard": name not in RELIABLE} for name in names]

    def models(self) -> list[Json]:
        """Return the models with their descriptions in Markdown, the default first."""
        return [{"name": name, "text": words.describe_model(pipe, name)} for name, pipe in self.pipelines.items()]

    # -- People ----------------------------------------------------------------------------------------------------

    def find_people(self, choice: Choice) -> Json:
        """Find the people in a photo, or in a part of it.

        Raises:
            RefusedError: the photo cannot be read, or the box does not lie in it.
        """
        pipeline = self._pipeline("")
        photo = self.looks.photo(choice)
        people = self.looks.people(pipeline, choice)
        chosen = max(people, key=lambda person: person.area, default=None)
        turn = suggested_turn(photo.picture, people, pipeline.detector)
        small = photo.picture.copy()
        small.thumbnail((PREVIEW_PX, PREVIEW_PX))
        return {
            "preview": data_url(small, "JPEG"),
            "size": list(photo.size),
            "people": [
                {"pose": to_json(person.pose), "box": outline(person), "framing": visible_part(person.pose)}
                for person in people
            ],
            "chosen": 0 if chosen is None else people.index(chosen),
            "turn": turn,
            "notes": [words.NOBODY] if chosen is None else words.about_people(people, chosen, turn),
        }

    def read_poses(self, path: str | None, text: str) -> Json:
        """Read poses from a file or from text; a photo gives the pose of each person, the most prominent one first.

        A picture that was made here gives its target pose, and says that it can be made again: see `replay`.

        Raises:
            RefusedError: there are none, or they cannot be read.
        """
        try:
            if path is None and not text:
                raise RefusedError("Choose a file with a pose or a photo, or paste a pose.")
            if path is None:
                return {"poses": _usable(parse_poses(text)), "notes": []}
            if (recipe := _recipe_in(path)) is not None:
                return {"poses": [to_json(recipe.target_pose)], "notes": [], "recipe": True}
            if not is_photo(path):
                return {"poses": _usable(read_poses(path)), "notes": []}
        except PG2Error as error:
            raise RefusedError(str(error).replace(str(path), "The file")) from error
        people = sorted(self.looks.people(self._pipeline(""), Choice(path)), key=lambda each: each.area, reverse=True)
        if not people:
            raise RefusedError(words.NOBODY_FOR_POSE)
        notes = [words.SEVERAL_POSES.format(people=len(people))] if len(people) > 1 else []
        return {"poses": [to_json(person.pose) for person in people], "notes": notes}

    # -- One picture -----------------------------------------------------------------------------------------------

    def repose(self, choice: Choice, pose: object, options: Options) -> tuple[bytes, Json]:
        """Make one picture.

        Returns:
            A PNG file, and details for the page.

        Raises:
            RefusedError: the photo shows nobody, or an argument is wrong.
        """
        start = time.perf_counter()
        pipeline = self._pipeline(options.model)
        view = self.looks.view(pipeline, choice)
        output = self._make(pipeline, view, self._target(pipeline, view, read_pose(pose), options), options)
        picture = output.to_pil()
        found = self._find_again(pipeline, picture, output)
        details = describe(output, words.about_photo(view), time.perf_counter() - start, found)
        return encode_png(picture, output.recipe), details

    def replay(self, path: str, made: str) -> tuple[bytes, Json]:
        """Make a picture again from its photo.

        Args:
            path: of the photo.
            made: path of a PNG that was made here.

        Returns:
            As `repose`.

        Raises:
            RefusedError: the file carries no recipe, or the photo or the model is another one.
        """
        start = time.perf_counter()
        recipe = _recipe_in(made)
        if recipe is None:
            raise RefusedError(words.NO_RECIPE)
        photo = self.looks.photo(Choice(path))
        same = (pipe for pipe in self.pipelines.values() if pipe.checkpoint and pipe.checkpoint[1] == recipe.sha256)
        pipeline = next(same, self._pipeline(""))  # the default, which refuses, if no model is the recipe's
        try:
            output = pipeline.replay(photo, recipe)
        except PG2Error as error:
            raise RefusedError(str(error)) from error
        picture = output.to_pil()
        details = describe(output, [], time.perf_counter() - start, self._find_again(pipeline, picture, output))
        return encode_png(picture, output.recipe), details

    def repose_many(self, choice: Choice, poses: object, options: Options) -> Iterator[tuple[bytes, Json]]:
        """Make one picture per pose; see `repose`."""
        if not isinstance(poses, list) or not poses:
            raise RefusedError("Give a list of one pose or more.")
        _check_count(len(poses), "poses")
        for pose in in_time([read_pose(pose) for pose in poses]):
            yield self.repose(choice, pose, options)

    # -- Many ------------------------------------------------------------------------------------------------------

    def contact_sheet(self, choice: Choice, names: object, path: Path, options: Options) -> Iterator[Progress]:
        """Write one sheet with a picture for each of the named presets, all if None."""
        presets = {entry["name"]: Pose.from_values(entry["pose"]) for entry in self.presets()}
        chosen = list(presets) if names is None else names
        if not isinstance(chosen, list) or not chosen or not all(name in presets for name in map(str, chosen)):
            raise RefusedError(f"names: expected a list of presets ({', '.join(presets)}), got {names!r}")
        _check_count(len(chosen), "poses")
        pipeline = self._pipeline(options.model)
        view = self.looks.view(pipeline, choice)
        tiles: list[Image.Image] = []
        for name in in_time(chosen):
            yield Progress(len(tiles), len(chosen))
            output = self._make(pipeline, view, self._target(pipeline, view, presets[name], options), options)
            tiles.append(_with_caption(output.to_pil(), name))
        columns = math.ceil(math.sqrt(len(tiles)))
        blank = Image.new("RGB", tiles[0].size, "white")
        tiles += [blank] * (-len(tiles) % columns)
        rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
        image_grid(rows, padding_px=8).save(path)

    def animate(
        self, choice: Choice, first: object, last: object, frames: object, path: Path, fps: float, options: Options
    ) -> Iterator[Progress]:
        """Write an animation from one pose to another and back."""
        _check_animation(path, fps)
        if not isinstance(frames, int) or not 2 <= frames <= MAX_FRAMES:
            raise RefusedError(f"frames: expected 2 to {MAX_FRAMES}, got {frames!r}")
        pipeline = self._pipeline(options.model)
        view = self.looks.view(pipeline, choice)
        start, end = (self._target(pipeline, view, read_pose(pose), options) for pose in (first, last))
        pictures: list[Image.Image] = []
        for pose in in_time(interpolate(start, end, frames)):
            yield Progress(len(pictures), frames)
            pictures.append(self._make(pipeline, view, pose, options).to_pil())
        write_animation([*pictures, *pictures[-2:0:-1]], path, fps)

    def animate_video(self, choice: Choice, video: str, path: Path, fps: float, options: Options) -> Iterator[Progress]:
        """Write an animation with the poses of a person in a short video."""
        _check_animation(path, fps)
        pipeline = self._pipeline(options.model)
        view = self.looks.view(pipeline, choice)

        def find(frame: Image.Image) -> list[Pose]:
            people = sorted(pipeline.find_people(frame), key=lambda person: person.area, reverse=True)
            return [person.pose for person in people]

        try:
            poses = yield from counted(lambda tell: read_video_poses(video, find, fps, MAX_FRAMES, tell))
        except NoPersonError as error:
            raise RefusedError(words.NOBODY_IN_VIDEO) from error
        except DataError as error:
            raise RefusedError(
                words.UNREADABLE.format(what="video", instead="an MP4, WebM, MOV or GIF file")
            ) from error
        except PG2Error as error:  # PyAV is missing, and the message says what to install
            raise RefusedError(str(error)) from error
        own = smooth([self._in_proportion(view, pose, options) for pose in poses])
        pictures: list[Image.Image] = []
        for pose in in_time(frame_poses(own, pipeline.framing, pipeline.config.model.canvas, view.portrait)):
            yield Progress(len(pictures), len(own))
            pictures.append(self._make(pipeline, view, pose, options).to_pil())
        write_animation(pictures, path, fps)

    # -- Steps -----------------------------------------------------------------------------------------------------

    def _pipeline(self, name: object) -> PG2Pipeline:
        if name == "":
            return next(iter(self.pipelines.values()))
        if not isinstance(name, str) or name not in self.pipelines:
            raise RefusedError(f"model: expected one of {', '.join(self.pipelines)}, got {name!r}")
        return self.pipelines[name]

    def _in_proportion(self, view: ConditionView, pose: Pose, options: Options) -> Pose:
        assert view.condition_pose is not None
        try:
            return retarget(pose, view.condition_pose, float(options.strength))
        except (DataError, TypeError, ValueError) as error:
            raise RefusedError(str(error)) from error

    def _target(self, pipeline: PG2Pipeline, view: ConditionView, pose: Pose, options: Options) -> Pose:
        """Return a pose on the model's canvas, with the person's proportions."""
        return pipeline.frame_pose(self._in_proportion(view, pose, options), view)

    def _make(self, pipeline: PG2Pipeline, view: ConditionView, pose: Pose, options: Options) -> PG2Output:
        if options.background not in ("photo", "plain"):
            raise RefusedError(f"background: expected photo or plain, got {options.background!r}")
        return pipeline.repose(view, [pose], "photo" if options.background == "photo" else "plain")[0]

    def _find_again(self, pipeline: PG2Pipeline, picture: Image.Image, output: PG2Output) -> Pose | None:
        """Find the pose of the person in a result; None if nobody is found, or MediaPipe is missing.

        The background may show other people: the person is the one whose joints lie nearest to the target pose.
        """
        scale = max(1.0, FOUND_AGAIN_PX / picture.height)
        large = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
        try:
            found = [person.pose.resize((picture.height, picture.width)) for person in pipeline.find_people(large)]
        except PG2Error:
            return None
        target = output.target_pose
        assert target is not None
        return min(found, key=lambda pose: math.inf if (far := pose_distance(pose, target)) is None else far)


# -- Details -----------------------------------------------------------------------------------------------------------


def describe(output: PG2Output, notes: list[str], seconds: float, found: Pose | None) -> Json:
    """Return what the page shows besides the picture."""
    crop = output.crop
    assert output.target_pose is not None and output.condition_pose is not None and crop is not None
    return {
        "seconds": round(seconds, 3),
        "pose": to_json(output.target_pose),
        "photo_pose": to_json(output.condition_pose),
        "found_pose": None if found is None else to_json(found),
        "pose_distance": None if found is None else pose_distance(found, output.target_pose),
        "notes": notes,
        "crop": [round(edge, 1) for edge in (crop.left, crop.top, crop.right, crop.bottom)],
        "canvas": list(output.target_pose.canvas),
        "recipe": None if output.recipe is None else json.loads(output.recipe.to_json()),
        "stages": stages(output),
    }


def stages(output: PG2Output) -> Json:
    """Return pictures of how a result was made, as ``data:`` URLs, which need no file on the server."""
    assert output.target_pose is not None
    change = output.difference_map
    largest = float(change.abs().quantile(0.995)) if change.numel() else 0.0
    factor = 0 if largest < 1 / 255 else max(1, min(20, round(1 / largest)))
    mask = render_pose_masks(output.target_pose.xy[None], output.target_pose.canvas)[0]
    return {
        "used": data_url(pil_from_tensor(output.condition_image), "JPEG"),
        "pose": data_url(output.target_pose.draw(), "PNG"),
        "draft": data_url(pil_from_tensor(output.coarse), "JPEG"),
        "changes": data_url(pil_from_tensor((change * max(1, factor)).clamp(-1, 1)), "JPEG"),
        "changes_factor": factor,
        "mask": data_url(pil_from_tensor(mask.expand(3, -1, -1) * 2 - 1), "PNG"),
    }


def pose_distance(found: Pose, target: Pose) -> float | None:
    """Return the mean distance of the joints that both poses have, in head sizes of the target; None without any.

    Joints outside the picture do not count.
    """
    height, target = target.canvas[0], target.inside()
    error = pose_accuracy(found.resize(target.canvas).xy[None], target.xy[None], height).mean_error
    head = float(head_sizes(target.xy[None])[0])
    return None if error is None or not head > 0 else round(error * height / head, 3)


def outline(person: Detection) -> list[int]:
    """Return a box around a person: left, top, right, bottom in pixels of the photo, with room for head and feet."""
    left, top, right, bottom = person.pose.box
    room = 0.12 * max(right - left, bottom - top)
    height, width = person.pose.canvas
    return [round(max(0, left - room)), round(max(0, top - room)),
            round(min(width, right + room)), round(min(height, bottom + room))]  # fmt: skip


# -- Poses -------------------------------------------------------------------------------------------------------------


def to_json(pose: Pose) -> Json:
    """Return a pose as a JSON value, to a hundredth of a pixel."""
    keypoints = [None if math.isnan(x) else [round(x, 2), round(y, 2)] for x, y in pose.xy.tolist()]
    return {"canvas": list(pose.canvas), "keypoints": keypoints}


def read_pose(value: object) -> Pose:
    """Read a pose from a JSON value, or take a preset by its name.

    Raises:
        RefusedError: it is neither, or has no joint.
    """
    if isinstance(value, Pose):
        return value
    if isinstance(value, str):
        presets = pose_presets()
        if value not in presets:
            raise RefusedError(f"pose: expected one in JSON, or one of: {'; '.join(presets)}. Got {value!r:.60}")
        return presets[value]
    try:
        pose = Pose.from_values(value)
    except DataError as error:
        raise RefusedError(str(error)) from error
    if not bool(pose.visible.any()):
        raise RefusedError("The pose has no joint.")
    return pose


def read_own_pose(value: object) -> Pose | None:
    """Read the pose of the person in the photo, placed by hand; None is none.

    Raises:
        RefusedError: it is no pose, or has too few joints.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise RefusedError(f"photo_pose: expected a pose in JSON, got {value!r:.80}")
    pose = read_pose(value)
    if int(pose.visible.sum()) < MIN_JOINTS:
        raise RefusedError(words.FEW_JOINTS.format(joints=MIN_JOINTS))
    return pose


def _recipe_in(path: str) -> Recipe | None:
    """Return the recipe that a file carries; None if it carries none."""
    try:
        return read_recipe(path)
    except DataError:
        return None


def _usable(poses: list[Pose]) -> list[Json]:
    """Return poses as JSON values, without those that have no joint.

    Raises:
        RefusedError: none is left.
    """
    usable = [to_json(pose) for pose in poses if bool(pose.visible.any())]
    if not usable:
        raise RefusedError("The pose has no joint.")
    return usable


def _check_count(count: int, what: str) -> None:
    if count > MAX_FRAMES:
        raise RefusedError(words.TOO_MANY.format(most=MAX_FRAMES, what=what, count=count))


def _check_animation(path: Path, fps: object) -> None:
    if path.suffix not in FORMATS:
        raise RefusedError(f"format: expected gif or mp4, got {path.suffix[1:]!r}")
    if not isinstance(fps, int | float) or not 1 <= fps <= 30:
        raise RefusedError(f"fps: expected 1 to 30, got {fps!r}")


# -- Pictures ----------------------------------------------------------------------------------------------------------


def encode_png(picture: Image.Image, recipe: Recipe | None) -> bytes:
    """Return a PNG file that carries its recipe."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=None if recipe is None else recipe.png_info())
    return buffer.getvalue()


def data_url(picture: Image.Image, kind: str) -> str:
    """Return a picture as a ``data:`` URL, as "PNG" or "JPEG"."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=88)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()


def _with_caption(picture: Image.Image, words: str) -> Image.Image:
    """Return a picture with words below it."""
    size = max(9, picture.width // 16)
    tile = Image.new("RGB", (picture.width, picture.height + 2 * size), "white")
    tile.paste(picture)
    font = ImageFont.load_default(size=size)
    place = (picture.width / 2, picture.height + size)
    ImageDraw.Draw(tile).text(place, words, fill="black", font=font, anchor="mm")
    return tile
