"""Recipes: how a picture was made, so that the same photo gives the same picture again.

A PNG that pg2lib saves carries its recipe as text. A recipe holds the checkpoint, the poses, the crop and the
background. It never holds the photo, its name or its path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pg2lib.errors import CheckpointError, DataError
from pg2lib.images import Crop
from pg2lib.json_files import parse_json
from pg2lib.pose import Pose
from pg2lib.provenance import __version__

if TYPE_CHECKING:
    from pg2lib.condition import ConditionView

FORMAT = "pg2lib recipe 1"

PNG_KEY = "pg2lib"
"""The keyword of the text chunk (iTXt) that holds the recipe in a PNG."""

MAX_CHARACTERS = 64_000
"""The longest recipe that is read. A person takes about 1,000 characters."""

MAX_PX = 1_000_000
"""The largest coordinate and the longest side, in pixels, that are read."""

MAX_CROP = 64
"""The largest crop that is read, in areas of the photo. Close-ups are placed on a canvas that has room for the rest of
the body, so their crops are larger than the photo."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

BackgroundKind = Literal["photo", "plain", "picture"]


@dataclass(frozen=True)
class Recipe:
    """How one picture was made from a photo.

    Attributes:
        checkpoint: name or hub id of the pipeline; of a pipeline folder elsewhere, only the folder's own name.
        sha256: of the checkpoint's weights file.
        photo_size: (height, width) of the upright photo in pixels.
        turn: by how many degrees the photo was turned clockwise: 0, 90, 180 or 270.
        condition_pose: pose of the person, in pixels of the turned photo; None if it was not known.
        other_poses: poses of the other people that were found in the photo, likewise. They are cut out, too.
        crop: the part of the turned photo that the model saw; None if the photo came as a model canvas.
        target_pose: as it was drawn, on the model's canvas.
        background: "photo", "plain", or "picture" for a picture of the user's, which the recipe does not contain.
        pg2lib: version that made the picture.
    """

    checkpoint: str
    sha256: str
    photo_size: tuple[int, int]
    turn: int
    condition_pose: Pose | None
    other_poses: tuple[Pose, ...]
    crop: Crop | None
    target_pose: Pose
    background: BackgroundKind
    pg2lib: str = __version__

    @classmethod
    def of(
        cls, checkpoint: tuple[str, str] | None, view: ConditionView, target_pose: Pose, background: object
    ) -> Recipe | None:
        """Return the recipe of a picture; None if the picture needs more than the photo and a checkpoint.

        Args:
            checkpoint: name, and SHA-256 of the weights file; None if the weights are not from a file.
            view: the photo as the model saw it. If its matte was given, there is no recipe.
            target_pose: on the model's canvas.
            background: as in `PG2Pipeline.__call__`.
        """
        if checkpoint is None or view.matte_given:
            return None
        named = isinstance(background, str) and background in ("photo", "plain")
        return cls(
            checkpoint=checkpoint[0],
            sha256=checkpoint[1],
            photo_size=view.photo_size,
            turn=view.turn,
            condition_pose=view.photo_poses[0] if view.photo_poses else None,
            other_poses=tuple(view.photo_poses[1:]),
            crop=view.crop,
            target_pose=target_pose,
            background=cast(BackgroundKind, background) if named else "picture",
        )

    def check(self, checkpoint: tuple[str, str] | None, photo_size: tuple[int, int], background: object) -> None:
        """Refuse to make the picture again with other weights, from another photo, or without its background.

        Args:
            checkpoint: as in `of`.
            photo_size: (height, width) of the upright photo.
            background: that of the recipe, or a picture in its place.

        Raises:
            CheckpointError: the weights are others.
            DataError: the photo has another size, or the background is the user's picture and is missing.
        """
        name, sha256 = checkpoint or ("a pipeline that was not loaded from a folder", "none")
        if sha256 != self.sha256:
            raise CheckpointError(
                f"expected the weights of the recipe, {self.checkpoint[:100]} (SHA-256 {self.sha256[:12]}), got {name} "
                f"(SHA-256 {sha256[:12]}); load the pipeline that the recipe was made with"
            )
        if photo_size != self.photo_size:
            raise DataError(
                f"expected the photo that the recipe was made from, of {self.photo_size[1]}x{self.photo_size[0]} "
                f"pixels, got one of {photo_size[1]}x{photo_size[0]}"
            )
        if isinstance(background, str) and background == "picture":
            raise DataError(
                "the result was set into a picture that the recipe does not contain; give that picture as background, "
                "or 'photo' or 'plain'"
            )

    def to_json(self) -> str:
        """Return the recipe as JSON; `from_json` gives an equal recipe."""
        pose, crop = self.condition_pose, self.crop
        values = {
            "format": FORMAT,
            "pg2lib": self.pg2lib,
            "checkpoint": self.checkpoint,
            "sha256": self.sha256,
            "photo_size": list(self.photo_size),
            "turn": self.turn,
            "condition_pose": None if pose is None else pose.to_values(),
            "other_poses": [other.to_values() for other in self.other_poses],
            "crop": None if crop is None else asdict(crop),
            "target_pose": self.target_pose.to_values(),
            "background": self.background,
        }
        return json.dumps(values)

    def png_info(self) -> PngInfo:
        """Return the metadata that Pillow writes into a PNG: ``picture.save("me.png", pnginfo=recipe.png_info())``."""
        info = PngInfo()
        info.add_itxt(PNG_KEY, self.to_json())
        return info

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what `to_json` wrote.

        Raises:
            DataError: the text is too long, is not JSON, or is not a recipe; the message names the field.
        """
        if len(text) > MAX_CHARACTERS:
            raise DataError(f"expected a recipe of at most {MAX_CHARACTERS:,} characters, got {len(text):,}")
        values = parse_json(text, "expected a recipe, got text that", finite=False)
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            got = repr(values.get("format"))[:60] if isinstance(values, dict) else type(values).__name__
            raise DataError(
                f"expected a recipe with the format {FORMAT!r}, got {got}; another version may have made it"
            )
        _check_keys(values, {"format", *(field.name for field in fields(cls))}, "the recipe")
        return _recipe_of(values)


def read_recipe(path: str | PathLike[str]) -> Recipe:
    """Read the recipe of a picture.

    Args:
        path: a PNG that pg2lib saved, or a JSON file with the recipe.

    Raises:
        DataError: the file cannot be read, or holds no recipe.
    """
    try:
        with Path(path).open("rb") as file:
            if file.read(len(_PNG_SIGNATURE)) == _PNG_SIGNATURE:
                return Recipe.from_json(_text_of_png(path))
            file.seek(0)
            return Recipe.from_json(file.read(4 * MAX_CHARACTERS + 1).decode("utf-8"))
    except OSError as error:
        raise DataError(f"the recipe {path} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected a PNG that pg2lib saved, or a recipe in JSON; this is neither") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _text_of_png(path: str | PathLike[str]) -> str:
    """Return the text that a PNG holds under `PNG_KEY`, without decoding the picture.

    Raises:
        DataError: the PNG is damaged, or has no such text.
    """
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            text = picture.info.get(PNG_KEY)
    except Exception as error:  # on damaged files, the decoder raises any exception
        raise DataError(f"cannot be read as a PNG: {error}") from error
    if not isinstance(text, str):
        raise DataError("this PNG has no recipe. Those that pg2lib saves have one, but many programs remove it")
    return text


# -- Checks of what was read -------------------------------------------------------------------------------------------


def _check_keys(values: Mapping[str, Any], expected: AbstractSet[str], what: str) -> None:
    """Refuse missing and unknown keys.

    Raises:
        DataError: there are some; the message names them.
    """
    for problem, keys in (("unknown keys", values.keys() - expected), ("no", expected - values.keys())):
        if keys:
            raise DataError(f"{what} has {problem} {', '.join(sorted(keys))[:200]}")


def _recipe_of(values: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a dictionary that has every key.

    Raises:
        DataError: a value is wrong, or two do not fit each other.
    """
    for name in ("checkpoint", "sha256", "pg2lib"):
        if not isinstance(values[name], str):
            raise _wrong(name, "a text", values[name])
    for name, allowed in (("turn", (0, 90, 180, 270)), ("background", get_args(BackgroundKind))):
        if type(values[name]) is not type(allowed[0]) or values[name] not in allowed:
            raise _wrong(name, f"one of {', '.join(map(str, allowed))}", values[name])
    if not isinstance(values["other_poses"], list):
        raise _wrong("other_poses", "a list", values["other_poses"])
    size = _size_of(values["photo_size"], "photo_size")
    turned = size[::-1] if values["turn"] in (90, 270) else size
    crop = None if values["crop"] is None else _crop_of(values["crop"], turned)
    condition = values["condition_pose"]
    if crop is not None and condition is None:
        raise _wrong("condition_pose", "a pose, as there is a crop", condition)
    return Recipe(
        checkpoint=values["checkpoint"],
        sha256=values["sha256"],
        photo_size=size,
        turn=values["turn"],
        condition_pose=None if condition is None else _pose_of(condition, "condition_pose", turned),
        other_poses=tuple(
            _pose_of(pose, f"other_poses[{number}]", turned) for number, pose in enumerate(values["other_poses"])
        ),
        crop=crop,
        target_pose=_pose_of(values["target_pose"], "target_pose", turned if crop is None else crop.canvas),
        background=values["background"],
        pg2lib=values["pg2lib"],
    )


def _pose_of(values: Any, name: str, canvas: tuple[int, int]) -> Pose:
    """Return a pose on a canvas.

    Raises:
        DataError: it is none, or is on another canvas.
    """
    try:
        pose = Pose.from_values(values)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    if pose.canvas != canvas:
        raise _wrong(name, f"a pose on the canvas {list(canvas)}", list(pose.canvas))
    return pose


def _crop_of(values: Any, photo_size: tuple[int, int]) -> Crop:
    """Return a crop of a photo of (height, width) = `photo_size`.

    Raises:
        DataError: it is none, or is too small or too large.
    """
    if not isinstance(values, dict):
        raise _wrong("crop", "an object", values)
    _check_keys(values, {field.name for field in fields(Crop)}, "crop")
    edges = {name: value for name, value in values.items() if name != "canvas"}
    for name, value in edges.items():
        if type(value) not in (int, float) or not abs(value) <= MAX_PX:
            raise _wrong(f"crop.{name}", f"a number within {MAX_PX:,}", value)
    crop = Crop(**edges, canvas=_size_of(values["canvas"], "crop.canvas"))
    area = (crop.right - crop.left) * (crop.bottom - crop.top)
    if area > MAX_CROP * photo_size[0] * photo_size[1]:
        raise DataError(f"crop: expected at most {MAX_CROP} times the area of the photo, got {crop}")
    return crop


def _size_of(values: Any, name: str) -> tuple[int, int]:
    """Return (height, width) in pixels.

    Raises:
        DataError: it is no such pair.
    """
    match values:
        case [int(height), int(width)] if 1 <= height <= MAX_PX and 1 <= width <= MAX_PX:
            return height, width
    raise _wrong(name, f"[height, width] in whole pixels from 1 to {MAX_PX:,}", values)


def _wrong(name: str, expected: str, got: object) -> DataError:
    return DataError(f"{name}: expected {expected}, got {repr(got)[:60]}")
