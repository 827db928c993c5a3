from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image

from pg2lib.cutout import BACKDROP, EDGE, composed, inside_photo, matte_of_one, on_backdrop, without_person
from pg2lib.images import Crop
from pg2lib.pose import Pose


def test_a_pixel_belongs_to_the_nearest_person(standing: Pose) -> None:
    canvas = (128, 128)
    left = Pose(standing.xy, canvas)
    right = Pose(standing.xy + torch.tensor([60.0, 0.0]), canvas)
    nobody = Pose(torch.full((18, 2), math.nan), canvas)
    everybody = torch.ones(1, *canvas)
    mine, theirs = matte_of_one(everybody, left, [right]), matte_of_one(everybody, right, [left])
    assert torch.equal(matte_of_one(everybody, left, [nobody]), everybody)
    assert mine[0, 64, 25] == 1 and mine[0, 64, 100] == 0
    assert ((mine + theirs) >= 1).all() and ((mine + theirs) == 2).float().mean() < 0.02
    soft = torch.full((1, *canvas), 0.4)
    assert set(matte_of_one(soft, left, [right]).unique().tolist()) == {0.0, soft[0, 0, 0].item()}


def test_which_pixels_show_the_photo() -> None:
    crop = Crop(-10.5, -20.5, 53.5, 107.5, (128, 64))
    inside = inside_photo(crop, (50, 40))
    photo = crop.apply(Image.new("RGB", (40, 50), "red"))
    assert photo.size == (64, 128)
    rows, columns = inside[0].any(dim=1).nonzero().flatten(), inside[0].any(dim=0).nonzero().flatten()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 69, 10, 49)
    assert int(inside.sum()) == 50 * 40


def test_a_person_on_a_backdrop_can_be_set_into_another_without_a_rim() -> None:
    """A soft edge mixes person and background; of the plain backdrop, which is lighter than both, none is left."""
    matte = torch.linspace(0, 1, 64).clamp(0.2, 0.8).sub(0.2).div(0.6).expand(1, 32, 64)
    person, background = torch.full((3, 32, 64), -0.5), torch.full((3, 32, 64), 0.3)
    result = composed(on_backdrop(person, matte), matte, background)
    assert (result.diff(dim=2) <= 1e-6).all(), "from the background to the person without going up"
    assert torch.allclose(result[:, :, 0], torch.tensor(0.3)) and torch.allclose(result[:, :, -1], torch.tensor(-0.5))
    share = torch.from_numpy(np.interp(matte.numpy(), EDGE, (0.0, 1.0))).float()
    share = 3 * share**2 - 2 * share**3
    assert torch.allclose(result, background + (person - background) * share, atol=0.01)


def test_where_the_matte_is_unsure_there_is_no_mist() -> None:
    """A faint matte shows the background as it is, and a nearly full one the person."""
    matte = torch.cat([torch.full((1, 8, 8), value) for value in (0.0, EDGE[0], EDGE[1], 1.0)], dim=2)
    person, background = torch.full((3, 8, 32), -0.5), torch.rand(3, 8, 32)
    result = composed(on_backdrop(person, matte), matte, background)
    assert torch.equal(result[:, :, :16], background[:, :, :16])
    assert torch.allclose(result[:, :, 16:], person[:, :, 16:], atol=1e-5)


def test_the_plain_backdrop_does_not_show_where_the_matte_is_too_wide() -> None:
    """The model is half sure of a band beside the person, which is in the backdrop's colour: the background shows."""
    matte = torch.zeros(1, 32, 64)
    matte[:, :, :24], matte[:, :, 24:32] = 1, 0.75
    image = on_backdrop(torch.full((3, 32, 64), -0.5), (matte == 1).float())
    background = torch.full((3, 32, 64), 0.1)
    result = composed(image, matte, background)
    assert torch.allclose(result[:, :, 25:], background[:, :, 25:], atol=0.01)
    assert torch.allclose(result[:, :, :24], image[:, :, :24], atol=1e-5)
    # A person in the backdrop's own colour stays where the matte says.
    pale = composed(torch.full((3, 32, 64), BACKDROP), matte, background)
    assert (pale[:, :, :32] > 0.7).all()


def test_the_place_of_a_person_is_filled_from_what_surrounds_it() -> None:
    """On a slope of grey the fill goes on with the slope, and what is far from the person stays as it is."""
    slope = torch.linspace(-0.8, 0.8, 96).expand(3, 96, 96).clone()
    matte = torch.zeros(1, 96, 96)
    matte[:, 30:66, 36:60] = 1
    picture = slope.clone()
    picture[:, 30:66, 36:60] = torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    filled = without_person(picture, matte)
    assert (filled - slope).abs().max() < 0.25
    assert torch.allclose(filled[:, :20], slope[:, :20], atol=1e-6)
    assert np.isfinite(filled.numpy()).all()


def test_what_lies_beyond_the_photo_is_filled_without_streaks() -> None:
    """Stripes at the photo's edge do not go on beyond it."""
    stripes = torch.where(torch.arange(64) % 8 < 4, 1.0, -1.0).expand(3, 64, 64).clone()
    inside = torch.ones(1, 64, 64, dtype=torch.bool)
    inside[:, 32:] = False
    filled = without_person(stripes, torch.zeros(1, 64, 64), inside)
    assert torch.equal(filled[:, :24], stripes[:, :24])
    assert filled[:, 44:].abs().max() < 0.3


def test_a_person_who_fills_the_picture_leaves_a_picture() -> None:
    everything = torch.ones(1, 32, 32)
    assert without_person(torch.zeros(3, 32, 32), everything).isfinite().all()


def test_other_people_are_not_copied() -> None:
    """Crowds in red stand on either side of the person, and none of them comes into the person's place."""
    picture = 0.2 * torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0))
    matte, others = torch.zeros(1, 128, 128), torch.zeros(1, 128, 128)
    matte[:, 30:110, 55:75] = 1
    others[:, 30:110, :55] = others[:, 30:110, 75:] = 1
    picture = torch.where(others > 0, torch.tensor([1.0, -1.0, -1.0])[:, None, None], picture)
    filled = without_person(picture, matte, others=others)
    assert filled[1, 30:110, 58:72].min() >= 0
    assert torch.equal(filled[:, 40:100, 36:46], picture[:, 40:100, 36:46])


def test_somebody_far_away_claims_little() -> None:
    """Distances are in body heights: between people of 100 and 30 pixels, 60 apart, the border is 46 from the tall."""
    people = []
    for x, top, bottom in ((20.0, 10.0, 110.0), (80.0, 45.0, 75.0)):
        xy = torch.full((18, 2), math.nan)
        xy[1], xy[8] = torch.tensor([x, top]), torch.tensor([x, bottom])
        people.append(Pose(xy, (128, 128)))
    tall, small = people
    everybody = torch.ones(1, 128, 128)
    border = 20 + 60 * 100 / (100 + 30)
    middle = torch.arange(128.0)[20:80]
    assert torch.equal(matte_of_one(everybody, tall, [small])[0, 60, 20:80], (middle < border).float())
    assert torch.equal(matte_of_one(everybody, small, [tall])[0, 60, 20:80], (middle > border).float())


def test_no_rim_of_the_person_is_left_where_the_matte_is_a_little_too_small() -> None:
    picture, matte = torch.full((3, 96, 96), 0.5), torch.zeros(1, 96, 96)
    picture[:, 30:66, 36:60] = torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    matte[:, 33:63, 39:57] = 1
    assert (without_person(picture, matte) - 0.5).abs().max() < 0.01


def test_a_pixel_that_shows_a_little_of_the_person_is_filled_too() -> None:
    picture, matte = torch.full((3, 96, 96), 0.5), torch.zeros(1, 96, 96)
    picture[:, 30:66, 36:60] = torch.tensor([0.6, 0.2, 0.2])[:, None, None]
    matte[:, 30:66, 36:60] = 0.2
    assert (without_person(picture, matte) - 0.5).abs().max() < 0.01
