"""What the model sees of a photo: the person is found, the photo cropped, and the person cut out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from pg2lib.config import ModelConfig
from pg2lib.cutout import inside_photo, matte_of_one, on_backdrop, without_person
from pg2lib.errors import DataError, PG2Error
from pg2lib.framing import Framing
from pg2lib.images import Crop, ImageLike, from_uint8, load_photo, tensor_from_pil
from pg2lib.pose import Pose

if TYPE_CHECKING:
    from pg2lib.detect import Detection

log = logging.getLogger(__name__)

FindPeople = Callable[[Image.Image], Sequence["Detection"]]
"""Finds the people in a photo, the most prominent one first; raises NoPersonError if there is nobody."""


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
    """

    condition_image: Float[Tensor, "3 height width"]
    matte: Float[Tensor, "1 height width"] | None
    condition_pose: Pose | None
    crop: Crop | None
    people: Sequence[Detection] = ()
    picture: Float[Tensor, "3 height width"] | None = None
    inside: Bool[Tensor, "1 height width"] | None = None

    @cached_property
    def scene(self) -> Float[Tensor, "3 height width"] | None:
        """The crop with the person's place filled in, [-1, 1]; None if there is no matte, or it covers everything."""
        if self.picture is None or self.matte is None or self.inside is None:
            return None
        if not bool((self.inside & (self.matte < 0.5)).any()):
            return None
        return without_person(self.picture, self.matte, self.inside)


def turn_photo(photo: Image.Image, degrees: int) -> Image.Image:
    """Return a photo turned clockwise.

    Args:
        photo: the photo as it was loaded.
        degrees: 0, 90, 180 or 270.

    Raises:
        DataError: another angle.
    """
    turns = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
    if degrees not in (0, *turns):
        raise DataError(f"a photo is turned clockwise by 0, 90, 180 or 270 degrees, got {degrees!r}")
    return photo.transpose(turns[degrees]) if degrees else photo


def find_in_photo(image: ImageLike, find_people: FindPeople, box: PhotoBox | None = None) -> list[Detection]:
    """Find the people in a photo of any size, or in a part of it.

    Args:
        image: the photo.
        find_people: called with the photo or with that part.
        box: the part to look at, in pixels of the file; None means all of the photo.

    Returns:
        The people from left to right, in pixels of the file.

    Raises:
        NoPersonError: nobody is found.
        DataError: the photo cannot be read, or the box does not lie in it.
    """
    return _find(*load_photo(image), find_people, box)


def _find(photo: Image.Image, size: tuple[int, int], find_people: FindPeople, box: PhotoBox | None) -> list[Detection]:
    """Do what `find_in_photo` does in a photo that was loaded; (height, width) = `size` are those of the file."""
    left, top, part = 0.0, 0.0, photo
    if box is not None:
        scale = photo.width / size[1]  # a very large photo was reduced when it was loaded
        edges = [round(edge * scale) for edge in _checked_box(box, size)]
        (left, top), part = edges[:2], photo.crop((edges[0], edges[1], edges[2], edges[3]))
    offset = torch.tensor((left, top))
    canvas = (photo.height, photo.width)
    people = [replace(person, pose=Pose(person.pose.xy + offset, canvas).resize(size)) for person in find_people(part)]
    return sorted(people, key=lambda person: float(person.pose.xy[:, 0].nanmean()))


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
    image: ImageLike,
    model: ModelConfig,
    framing: Framing,
    find_people: FindPeople,
    condition_pose: Pose | None = None,
    matte: ImageLike | None = None,
    person: int = 0,
    box: PhotoBox | None = None,
    people: Sequence[Detection] | None = None,
) -> ConditionView:
    """Find the person in a photo of any size, crop it like the training images, and cut the person out.

    Args:
        image: the photo.
        model: decides the canvas, and whether there is a matte.
        framing: how people stand in the training images.
        find_people: called if there is no `condition_pose`.
        condition_pose: the person's pose in pixels of the photo, if it is known.
        matte: a matte of the photo's size, white or 1 = person, if it is known. Otherwise MediaPipe looks for one.
        person: whom to take of several, see `choose_person`.
        box: the part of the photo to look at, see `find_in_photo`.
        people: what `find_in_photo` returned for this photo, so that nobody is looked for again.

    Raises:
        NoPersonError: nobody is found.
        DataError: the photo cannot be read, pose, matte or box do not fit it, or there are fewer people.
    """
    photo, size = load_photo(image)
    given = None if matte is None else _given_matte(matte, photo, size)
    if condition_pose is None:
        found = _find(photo, size, find_people, box) if people is None else people
        people = choose_person(found, person)
        condition_pose = people[0].pose
    else:
        people = []
    _check_canvas(condition_pose, size)
    crop = framing.crop(condition_pose, model.canvas)
    pose = condition_pose.crop(crop)
    # A very large photo was reduced when it was loaded; poses and crop are in pixels of the file.
    crop_loaded = crop.resized(size, (photo.height, photo.width))
    part = crop_loaded.apply(photo)
    picture = from_uint8(tensor_from_pil(part))
    if not model.matte:
        return ConditionView(picture, None, pose, crop, people)
    inside = inside_photo(crop, size)
    everybody = _find_matte(part) if given is None else _matte_tensor(crop_loaded.apply(given))
    own = matte_of_one(everybody, pose, [other.pose.crop(crop) for other in people[1:]]) * inside
    return ConditionView(on_backdrop(picture, own), own, pose, crop, people, picture, inside)


def view_canvas(
    image: ImageLike,
    model: ModelConfig,
    find_people: FindPeople,
    condition_pose: Pose | None = None,
    matte: ImageLike | None = None,
) -> ConditionView:
    """View an image of the model's canvas, such as one of the data set: nothing is cropped, and its backdrop stays.

    Args:
        image: an image of the canvas's size.
        model, condition_pose, matte: see `view_photo`.
        find_people: called if there is no `condition_pose` and the model has the part warp. If nobody is found, the
            part warp covers nothing.

    Raises:
        DataError: the image cannot be read or has another size, or pose or matte do not fit it.
    """
    picture, size = load_photo(image)
    if size != model.canvas:
        raise DataError(
            f"with crop=False, expected an image of the model's canvas, {model.width}x{model.height} pixels, got "
            f"{size[1]}x{size[0]}; use crop=True for photos"
        )
    given = None if matte is None else _given_matte(matte, picture, size)
    people: Sequence[Detection] = []
    if condition_pose is not None:
        _check_canvas(condition_pose, size)
    elif model.part_warp:
        try:
            people = find_people(picture)
            condition_pose = people[0].pose
        except PG2Error as error:
            log.warning("no body part can be moved to the target pose: %s", error)
    tensor = from_uint8(tensor_from_pil(picture))
    if not model.matte:
        return ConditionView(tensor, None, condition_pose, None, people)
    found = _find_matte(picture) if given is None else _matte_tensor(given)
    return ConditionView(tensor, found, condition_pose, None, people, tensor, torch.ones_like(found, dtype=torch.bool))


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


def _given_matte(matte: ImageLike, photo: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Load a matte in the size of `photo`, which was reduced from (height, width) = `size` if it was very large.

    Raises:
        DataError: the matte has another size.
    """
    picture, matte_size = load_photo(matte)
    if matte_size != size:
        raise DataError(
            f"matte: expected {size[1]}x{size[0]} pixels, the size of the image, got {matte_size[1]}x{matte_size[0]}"
        )
    return picture if picture.size == photo.size else picture.resize(photo.size)


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
