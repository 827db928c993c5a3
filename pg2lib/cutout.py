"""Cutting a person out of a photo, and setting a result into a background.

A matte is a float tensor (1, height, width) in [0, 1], 1 = person. Images are (3, height, width) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pg2lib.backdrop import backdrop_of, person_of
from pg2lib.images import Crop, from_uint8, pil_from_tensor, tensor_from_pil
from pg2lib.inpaint import fill_with_texture
from pg2lib.pose import DRAWN_LIMBS, FARTHEST_PX, Pose

BACKDROP = 0.81
"""Grey level in [-1, 1] of a plain backdrop: the mean of the surroundings in DeepFashion's training images."""

EDGE = (0.3, 0.8)
"""Where a result is set into a background, a pixel shows the background alone up to the first value of its matte, and
the person alone from the second one on."""

UNSURE_PX, SHARE_ERROR, UNLIKE = 12, 0.05, 0.3
"""How far from where it is sure a matte is compared with the colours, by how much these may differ from it, and from
which distance of the person's colour from that of the backdrop on (a Euclidean distance, in [-1, 1]) they count."""

MARGIN_PX = 4
"""Where a person is removed, the margin around the matte that goes as well."""

FADE = 10
"""Beyond the photo's edge, texture fades within this fraction of the height."""


def matte_of_one(
    matte: Float[Tensor, "1 height width"], pose: Pose, others: Sequence[Pose]
) -> Float[Tensor, "1 height width"]:
    """Remove other people from a matte: each pixel belongs to the person whose limbs are nearest.

    Distances are measured in body heights of each person, so that somebody far away claims little.

    Args:
        matte: matte of everybody in the picture.
        pose: pose of the person, on the matte's canvas.
        others: poses of the other people, likewise.
    """
    shape = matte.shape[-2:]
    own = _distance(pose, shape)
    if not own.isfinite().any():
        return matte  # without a limb of the person, people cannot be told apart
    for other in others:
        matte = matte * (own <= _distance(other, shape))
    return matte


def _distance(pose: Pose, shape: Sequence[int]) -> Float[Tensor, "height width"]:
    """Return each pixel's distance from the nearest limb of a pose, infinite if there is none.

    The unit is the height or the width of the person, whichever is larger.
    """
    limbs = torch.tensor(DRAWN_LIMBS)
    xy = pose.xy.clamp(-FARTHEST_PX, FARTHEST_PX)
    starts, ends = xy[limbs[:, 0]], xy[limbs[:, 1]]
    known = ~(starts + ends).isnan().any(dim=1)
    if not known.any():
        return torch.full(tuple(shape), torch.inf)
    starts, along = starts[known], (ends - starts)[known]
    rows, columns = torch.meshgrid(torch.arange(shape[0]), torch.arange(shape[1]), indexing="ij")
    pixels = torch.stack((columns, rows), dim=-1).float()[..., None, :]  # (height, width, 1, 2)
    place = ((pixels - starts) * along).sum(-1) / along.square().sum(-1).clamp_min(1e-6)
    nearest = starts + place.clamp(0, 1)[..., None] * along
    left, top, right, bottom = pose.box
    distance: Tensor = (pixels - nearest).norm(dim=-1).amin(-1)
    return distance / max(1.0, right - left, bottom - top)


def inside_photo(crop: Crop, size: tuple[int, int]) -> Bool[Tensor, "1 height width"]:
    """Return which pixels of a crop show the photo, of `size` (height, width), and not what lies beyond its edge."""
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in crop.canvas)
    x = crop.to_photo(torch.stack((columns, torch.zeros_like(columns)), dim=-1))[:, 0]
    y = crop.to_photo(torch.stack((torch.zeros_like(rows), rows), dim=-1))[:, 1]
    inside_x, inside_y = (x > -0.5) & (x < size[1] - 0.5), (y > -0.5) & (y < size[0] - 0.5)
    return (inside_y[:, None] & inside_x)[None]


def crop_on_backdrop(crop: Crop, photo: Image.Image) -> Image.Image:
    """Crop a photo as `Crop.apply` does, with a plain backdrop beyond its edge."""
    picture = from_uint8(tensor_from_pil(crop.apply(photo)))
    inside = inside_photo(crop, (photo.height, photo.width))
    return pil_from_tensor(torch.where(inside, picture, BACKDROP))


def on_backdrop(
    image: Float[Tensor, "3 height width"], matte: Float[Tensor, "1 height width"]
) -> Float[Tensor, "3 height width"]:
    """Put the person on a plain backdrop like that of the training images."""
    return BACKDROP + (image - BACKDROP) * matte


def without_person(
    image: Float[Tensor, "3 height width"],
    matte: Float[Tensor, "1 height width"],
    inside: Bool[Tensor, "1 height width"] | None = None,
    others: Float[Tensor, "1 height width"] | None = None,
) -> Float[Tensor, "3 height width"]:
    """Remove a person from a picture: the person's place is filled with texture from its surroundings.

    Pixels beyond the photo's edge are filled, too; the texture fades into smooth colours there.

    Args:
        image: [-1, 1].
        matte: matte of the person.
        inside: which pixels show the photo (`inside_photo`); None means all.
        others: matte of other people, who stay, but are not copied.
    """
    inside = torch.ones_like(matte, dtype=torch.bool) if inside is None else inside
    smooth = backdrop_of(image[None], matte[None], inside[None]).image[0]
    people = matte if others is None else matte.maximum(others)
    hole, usable = _near(matte) | ~inside, inside & ~_near(people)
    textured = fill_with_texture(torch.where(hole, smooth, image), hole, usable)
    if textured is None:
        return smooth
    reach = max(1, image.shape[1] // FADE)
    share = F.avg_pool2d(inside.float(), 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)
    return smooth.lerp(textured, torch.where(inside, 1.0, (2 * share).clamp(max=1)))


def _near(matte: Float[Tensor, "1 height width"]) -> Bool[Tensor, "1 height width"]:
    """Return the pixels within `MARGIN_PX` of a person, who may show a little there."""
    return F.max_pool2d(matte, 2 * MARGIN_PX + 1, stride=1, padding=MARGIN_PX) > 0.05


def composed(
    image: Float[Tensor, "3 height width"],
    matte: Float[Tensor, "1 height width"],
    background: Float[Tensor, "3 height width"],
) -> Float[Tensor, "3 height width"]:
    """Replace the plain backdrop of a person by a background.

    At soft edges a pixel mixes person and backdrop. The person's own colour is worked out there, as mixing the pixel a
    second time would leave a rim in the backdrop's colour. A model's matte is soft as well where the model is unsure of
    the outline, which would surround the person with mist, so pixels in the backdrop's colour are taken out of it, and
    the edge is made steeper (see `EDGE`).

    Args:
        image: a person on a plain backdrop, [-1, 1].
        matte: matte of the person.
        background: [-1, 1].
    """
    weight = (matte < 0.02).float()
    backdrop = (image * weight).sum(dim=(1, 2), keepdim=True) / weight.sum().clamp_min(1)
    matte = _without_backdrop(image, matte, backdrop)
    person = ((image - (1 - matte) * backdrop) / matte.clamp_min(EDGE[0])).clamp(-1, 1)
    edge = ((matte - EDGE[0]) / (EDGE[1] - EDGE[0])).clamp(0, 1)
    return background.lerp(person, edge * edge * (3 - 2 * edge))


def _without_backdrop(image: Tensor, matte: Tensor, backdrop: Tensor) -> Float[Tensor, "1 height width"]:
    """Lower a matte where the image is nearer to the colour of the backdrop than the matte says.

    The share of the person in a colour is where it lies on the way from the backdrop's colour to that of the person
    nearby. Where these two are alike, the matte stays.
    """
    way = person_of(image[None], matte[None], UNSURE_PX)[0] - backdrop
    length = torch.linalg.vector_norm(way, dim=0, keepdim=True)
    share = ((image - backdrop) * way).sum(dim=0, keepdim=True) / length.square().clamp_min(1e-4)
    lower = matte.minimum((share + SHARE_ERROR).clamp(0, 1))
    return matte.lerp(lower, (length / UNLIKE).clamp(max=1))
