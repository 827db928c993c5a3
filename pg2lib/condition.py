"""What the model sees of a photo: the person is found, the photo cropped, and the person cut out."""

from __future__ import annotations

import logging
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


@dataclass(frozen=True, eq=False)
class ConditionView:
    """A photo as the model sees it.

    Attributes:
        condition_image: on the model's canvas, [-1, 1]. Of a photo, with a matte, the person alone on a plain backdrop.
        matte: matte of the person, [0, 1], all ones within the photo if none was found; None if the model has none.
        condition_pose: on the model's canvas; None if unknown.
        crop: the part of the photo, in pixels of the file; None if the image came as a model canvas.
        people: everybody that was found, the most prominent person first, in pixels of the file; empty if the pose was
            given or not needed.
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


def view_photo(
    image: ImageLike,
    model: ModelConfig,
    framing: Framing,
    find_people: FindPeople,
    condition_pose: Pose | None = None,
    matte: ImageLike | None = None,
) -> ConditionView:
    """Find the person in a photo of any size, crop it like the training images, and cut the person out.

    Args:
        image: the photo.
        model: decides the canvas, and whether there is a matte.
        framing: how people stand in the training images.
        find_people: called if there is no `condition_pose`.
        condition_pose: the person's pose in pixels of the photo, if it is known.
        matte: a matte of the photo's size, white or 1 = person, if it is known. Otherwise MediaPipe looks for one.

    Raises:
        NoPersonError: nobody is found.
        DataError: the photo cannot be read, or pose or matte do not fit it.
    """
    photo, size = load_photo(image)
    given = None if matte is None else _given_matte(matte, photo, size)
    people: list[Detection] = []
    if condition_pose is None:
        people = [replace(person, pose=person.pose.resize(size)) for person in find_people(photo)]
        condition_pose = people[0].pose
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
    own = matte_of_one(everybody, pose, [person.pose.crop(crop) for person in people[1:]]) * inside
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
