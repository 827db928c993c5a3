"""What the model sees of a photo: the person is found, the photo cropped, and the person cut out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageOps
from torch import Tensor

from pg2lib.config import ModelConfig
from pg2lib.cutout import inside_photo, matte_of_one, on_backdrop, without_person
from pg2lib.errors import DataError, NoPersonError, PG2Error
from pg2lib.images import MAX_BYTES, Crop, ImageLike, from_uint8, load_photo, tensor_from_pil, turn_photo
from pg2lib.pose import Pose

if TYPE_CHECKING:
    from pg2lib.detect import Detection

log = logging.getLogger(__name__)

FindPeople = Callable[[Image.Image], Sequence["Detection"]]
"""Finds the people in a photo, the most prominent one first; raises NoPersonError if there is nobody."""

SuggestTurn = Callable[[Image.Image, Sequence["Detection"]], int]
"""Returns by how many degrees clockwise a photo with these people should be turned; see `pg2lib.detect`."""

Background = Literal["photo", "plain"] | ImageLike
"""What a result is set into: see `ConditionView.background`."""

PhotoBox = Sequence[float]
"""A part of a photo: left, top, right and bottom edge in pixels, (0, 0, width, height) is all of it."""

SMALLEST_BOX_PX = 16
"""The shortest side of a part of a photo in which people are looked for."""


@dataclass(frozen=True, eq=False)
class ConditionView:
    """A photo as the model sees it.

    Attributes:
        condition_image: on the model's canvas, [-1, 1]. Of a photo, with a matte, the person alone on a plain backdrop.
        matte: matte of the person, [0, 1], all ones within the photo if none was found; None if the model has none.
        condition_pose: on the model's canvas; None if unknown.
        crop: the part of the photo, in pixels of the file; None if the image came as a model canvas.
        people: everybody that was found, the person of `condition_pose` first, in pixels of the file; empty if the pose
            was given or not needed.
        picture: the crop as the photo shows it, [-1, 1]; None if there is no matte.
        inside: which of its pixels show the photo, and not what lies beyond its edge; None if there is no matte.
        others: matte of the other people in it; None if there is no matte, or the image came as a model canvas.
        photo_poses: poses of everybody, found or given, the person's first, in pixels of the file; empty if unknown.
        photo_size: (height, width) of the file, upright and before `turn`.
        turn: by how many degrees the photo was turned clockwise. Everything "in pixels of the file" is in pixels of the
            turned photo.
        matte_given: whether the matte was given, and not found.
        portrait: the part of the canvas, as the model's training images frame people, that a half-length portrait
            shows; None if the photo is none. Target poses are framed in the same way.
    """

    condition_image: Float[Tensor, "3 height width"]
    matte: Float[Tensor, "1 height width"] | None
    condition_pose: Pose | None
    crop: Crop | None
    people: Sequence[Detection] = ()
    picture: Float[Tensor, "3 height width"] | None = None
    inside: Bool[Tensor, "1 height width"] | None = None
    others: Float[Tensor, "1 height width"] | None = None
    photo_poses: Sequence[Pose] = ()
    photo_size: tuple[int, int] = (0, 0)
    turn: int = 0
    matte_given: bool = False
    portrait: Crop | None = None

    @cached_property
    def scene(self) -> Float[Tensor, "3 height width"] | None:
        """The crop with the person's place filled in, [-1, 1]; None if there is no matte, or it covers everything."""
        if self.picture is None or self.matte is None or self.inside is None:
            return None
        if not bool((self.inside & (self.matte < 0.5)).any()):
            return None
        return without_person(self.picture, self.matte, self.inside, self.others)

    def background(self, kind: Background) -> Float[Tensor, "3 height width"] | None:
        """Return what results are set into, [-1, 1]; None for the backdrop that the model paints.

        Args:
            kind: "photo" for `scene`, "plain" for that backdrop, or a picture, which is cropped to the canvas.

        Raises:
            DataError: the picture cannot be read.
        """
        if self.matte is None or (isinstance(kind, str) and kind == "plain"):
            return None
        if isinstance(kind, str) and kind == "photo":
            return self.scene
        height, width = self.condition_image.shape[-2:]
        picture = ImageOps.fit(load_photo(kind)[0], (width, height), Image.Resampling.LANCZOS)
        return from_uint8(tensor_from_pil(picture))


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo that was loaded and turned.

    Attributes:
        picture: the turned photo, reduced if it is very large.
        size: (height, width) of the turned photo at its full size. Poses, boxes and crops are in these pixels.
        turn: by how many degrees it was turned clockwise.
    """

    picture: Image.Image
    size: tuple[int, int]
    turn: int = 0

    @classmethod
    def load(cls, image: ImageLike | Photo, turn: int = 0, max_bytes: int = MAX_BYTES) -> Photo:
        """Load a photo, and turn it.

        Args:
            image: the photo. One that was loaded is only turned.
            turn: degrees clockwise: 0, 90, 180 or 270.
            max_bytes: the memory that reading a file may take.

        Raises:
            DataError: the photo cannot be read, or the angle is another.
        """
        if not isinstance(image, Photo):
            picture, size = load_photo(image, max_bytes)
            image = cls(picture, size)
        size = image.size[::-1] if turn in (90, 270) else image.size
        return cls(turn_photo(image.picture, turn), size, (image.turn + turn) % 360)

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) at its full size before it was turned."""
        return self.size[::-1] if self.turn in (90, 270) else self.size


def find_in_photo(photo: Photo, find_people: FindPeople, box: PhotoBox | None = None) -> list[Detection]:
    """Find the people in a photo, or in a part of it.

    Args:
        photo: the photo.
        find_people: called with the picture or with that part.
        box: the part to look at, in pixels of the photo; None means all of it.

    Returns:
        The people from left to right, in pixels of the photo.

    Raises:
        NoPersonError: nobody is found.
        DataError: the box does not lie in the photo.
    """
    left, top, part = 0.0, 0.0, photo.picture
    if box is not None:
        scale = photo.picture.width / photo.size[1]  # a very large photo was reduced when it was loaded
        edges = [round(edge * scale) for edge in _checked_box(box, photo.size)]
        (left, top), part = edges[:2], part.crop((edges[0], edges[1], edges[2], edges[3]))
    offset = torch.tensor((left, top))
    canvas = (photo.picture.height, photo.picture.width)
    people = [
        replace(person, pose=Pose(person.pose.xy + offset, canvas).resize(photo.size)) for person in find_people(part)
    ]
    return sorted(people, key=lambda person: float(person.pose.xy[:, 0].nanmean()))


def find_upright(photo: Photo, find_people: FindPeople, suggest_turn: SuggestTurn) -> tuple[Photo, list[Detection]]:
    """Find the people in a photo, and turn it if they lie on their side or stand on their head.

    Args:
        photo: the photo.
        find_people: called with the picture, and again with the turned picture.
        suggest_turn: called with the picture and the people in it.

    Returns:
        The photo, turned or as it was, and the people from left to right in its pixels.

    Raises:
        NoPersonError: nobody is found.
    """
    people: list[Detection] = []
    nobody: NoPersonError | None = None
    try:
        people = find_in_photo(photo, find_people)
    except NoPersonError as error:
        nobody = error
    if turn := suggest_turn(photo.picture, people):
        turned = Photo.load(photo, turn)
        return turned, find_in_photo(turned, find_people)
    if nobody is not None:
        raise nobody
    return photo, people


def choose_person(people: Sequence[Detection], person: int = 0) -> list[Detection]:
    """Return the people with the chosen one first.

    Args:
        people: from left to right.
        person: 0 for the most prominent; 1 and up count from left to right.

    Raises:
        DataError: there are fewer people.
    """
    if not 0 <= person <= len(people):
        raise DataError(
            f"person: expected 0 for the most prominent person or a number from 1 to {len(people)} for one of those "
            f"found, from left to right, got {person}"
        )
    chosen = people[person - 1] if person else max(people, key=lambda each: each.area)
    return [chosen, *(each for each in people if each is not chosen)]


def view_photo(
    photo: Photo, model: ModelConfig, crop: Crop, poses: Sequence[Pose], matte: ImageLike | None = None
) -> ConditionView:
    """Crop a photo, and cut the person out.

    Args:
        photo: the photo.
        model: decides the canvas, and whether there is a matte.
        crop: the part to use, in pixels of the photo.
        poses: the pose of the person, then those of the other people, in pixels of the photo.
        matte: a matte of the photo's size, white or 1 = person, if it is known. Otherwise MediaPipe looks for one.

    Raises:
        DataError: crop, pose or matte do not fit the photo or the model.
    """
    given = None if matte is None else _given_matte(matte, photo)
    for pose in poses:
        _check_canvas(pose, photo.size)
    if crop.canvas != model.canvas:
        raise DataError(f"crop: expected the model's canvas, {list(model.canvas)}, got {list(crop.canvas)}")
    own_pose, *others = [pose.crop(crop) for pose in poses]
    # A very large photo was reduced when it was loaded.
    crop_loaded = crop.resized(photo.size, (photo.picture.height, photo.picture.width))
    part = crop_loaded.apply(photo.picture)
    picture = from_uint8(tensor_from_pil(part))
    view = ConditionView(
        picture,
        None,
        own_pose,
        crop,
        photo_poses=poses,
        photo_size=photo.upright_size,
        turn=photo.turn,
        matte_given=given is not None,
    )
    if not model.matte:
        return view
    inside = inside_photo(crop, photo.size)
    everybody = _find_matte(part) if given is None else _matte_tensor(crop_loaded.apply(given))
    own = matte_of_one(everybody, own_pose, others) * inside
    return replace(
        view,
        condition_image=on_backdrop(picture, own),
        matte=own,
        picture=picture,
        inside=inside,
        others=(everybody - own).clamp(0, 1) * inside,
    )


def view_canvas(
    photo: Photo,
    model: ModelConfig,
    find_people: FindPeople,
    condition_pose: Pose | None = None,
    matte: ImageLike | None = None,
) -> ConditionView:
    """View an image of the model's canvas, such as one of the data set: nothing is cropped, and its backdrop stays.

    Args:
        photo: an image of the canvas's size.
        model, matte: see `view_photo`.
        find_people: called if there is no `condition_pose` and the model has the part warp. If nobody is found, the
            part warp covers nothing.
        condition_pose: the person's pose in pixels of the image, if it is known.

    Raises:
        DataError: the image has another size, or pose or matte do not fit it.
    """
    if photo.size != model.canvas:
        raise DataError(
            f"with crop=False, expected an image of the model's canvas, {model.width}x{model.height} pixels, got "
            f"{photo.size[1]}x{photo.size[0]}; use crop=True for photos"
        )
    given = None if matte is None else _given_matte(matte, photo)
    people: Sequence[Detection] = []
    if condition_pose is not None:
        _check_canvas(condition_pose, photo.size)
    elif model.part_warp:
        try:
            people = find_people(photo.picture)
            condition_pose = people[0].pose
        except PG2Error as error:
            log.warning("no body part can be moved to the target pose: %s", error)
    tensor = from_uint8(tensor_from_pil(photo.picture))
    view = ConditionView(
        tensor,
        None,
        condition_pose,
        None,
        people,
        photo_poses=() if condition_pose is None else (condition_pose,),
        photo_size=photo.upright_size,
        turn=photo.turn,
        matte_given=given is not None,
    )
    if not model.matte:
        return view
    found = _find_matte(photo.picture) if given is None else _matte_tensor(given)
    return replace(view, matte=found, picture=tensor, inside=torch.ones_like(found, dtype=torch.bool))


def _checked_box(box: PhotoBox, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the part of a box that lies in an image of (height, width) = `size`.

    Raises:
        DataError: it is not four numbers, or no side of `SMALLEST_BOX_PX` lies in the image.
    """
    numbers = [float(edge) for edge in box] if all(isinstance(edge, int | float) for edge in box) else []
    if len(numbers) == 4 and all(map(math.isfinite, numbers)):
        left, top = max(0.0, numbers[0]), max(0.0, numbers[1])
        right, bottom = min(float(size[1]), numbers[2]), min(float(size[0]), numbers[3])
        if min(right - left, bottom - top) >= SMALLEST_BOX_PX:
            return left, top, right, bottom
    raise DataError(
        f"box: expected left, top, right and bottom of at least {SMALLEST_BOX_PX}x{SMALLEST_BOX_PX} pixels in the "
        f"photo of {size[1]}x{size[0]}, got {list(box)}"
    )


def _check_canvas(pose: Pose, size: tuple[int, int]) -> None:
    """Refuse a pose that is not in pixels of the image.

    Raises:
        DataError: it has another canvas.
    """
    if pose.canvas != size:
        raise DataError(
            f"condition_pose: expected a canvas of {size[1]}x{size[0]} pixels, that of the image, got "
            f"{pose.canvas[1]}x{pose.canvas[0]}"
        )


def _given_matte(matte: ImageLike, photo: Photo) -> Image.Image:
    """Load a matte of a photo, reduced as the photo was if it is very large.

    Raises:
        DataError: the matte has another size.
    """
    picture, matte_size = load_photo(matte)
    size, loaded = photo.size, photo.picture.size
    if matte_size != size:
        raise DataError(
            f"matte: expected {size[1]}x{size[0]} pixels, the size of the image, got {matte_size[1]}x{matte_size[0]}"
        )
    return picture if picture.size == loaded else picture.resize(loaded)


def _matte_tensor(matte: Image.Image) -> Float[Tensor, "1 height width"]:
    """Return a matte in [0, 1]."""
    return tensor_from_pil(matte)[:1] / 255.0


def _find_matte(picture: Image.Image) -> Float[Tensor, "1 height width"]:
    """Find the matte of everybody in a picture, in [0, 1]; all ones if MediaPipe is missing."""
    from pg2lib.matte import find_matte

    try:
        return find_matte(picture)[None]
    except PG2Error as error:
        log.warning("the person is not cut out: %s", error)
        return torch.ones(1, picture.height, picture.width)
