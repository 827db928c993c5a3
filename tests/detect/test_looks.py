"""How pictures are shown to the landmark finder, and how landmarks return to the pixels of the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib.detect.looks import LOOKS, Landmarks, Look, look_at, reduce_image

LEFT_SHOULDER, RIGHT_SHOULDER = 11, 12


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("size", [(64, 128), (256, 256), (700, 430)])
def test_landmarks_return_to_where_the_dots_were_painted(look: Look, size: tuple[int, int]) -> None:
    dots = {"left": (size[0] // 4, size[1] // 3), "right": (size[0] // 4 * 3, size[1] // 2)}
    photo = Image.new("RGB", size)
    radius = max(2, max(size) // 40)
    for (x, y), colour in zip(dots.values(), ((255, 0, 0), (0, 0, 255)), strict=True):
        photo.paste(colour, (x - radius, y - radius, x + radius + 1, y + radius + 1))
    seen_px = 0

    def centre(values: np.ndarray) -> tuple[float, float]:
        weights = np.where(values > 128, values, 0).astype(float)
        rows, columns = np.indices(values.shape)
        return (columns * weights).sum() / weights.sum(), (rows * weights).sum() / weights.sum()

    def find(picture: Image.Image, min_confidence: float) -> Landmarks:
        nonlocal seen_px
        assert min_confidence == look.min_confidence
        seen_px = max(picture.size)
        pixels = np.asarray(picture)
        seen = sorted((centre(pixels[:, :, 0]), centre(pixels[:, :, 2])))
        xy = torch.zeros(33, 2)
        # The left side of a person who faces the camera is on the picture's right, mirrored or not.
        xy[RIGHT_SHOULDER], xy[LEFT_SHOULDER] = torch.tensor(seen)
        return Landmarks(xy, torch.linspace(0, 1, 33))

    found = look_at(photo, look, find)
    assert found is not None
    assert look.longest_px in (None, seen_px)
    atol = 0.3 * max(1, max(size) * (1 + 2 * look.border) / seen_px)  # a third of a pixel, of the coarser picture
    torch.testing.assert_close(found.xy[RIGHT_SHOULDER], torch.tensor(dots["left"]).float(), atol=atol, rtol=0)
    torch.testing.assert_close(found.xy[LEFT_SHOULDER], torch.tensor(dots["right"]).float(), atol=atol, rtol=0)
    mirrored = torch.linspace(0, 1, 33)[[LEFT_SHOULDER, RIGHT_SHOULDER]]
    seen = found.visibility[[LEFT_SHOULDER, RIGHT_SHOULDER]]
    torch.testing.assert_close(seen.flip(0) if look.mirrored else seen, mirrored)


def test_border_and_enlargement_are_undone_exactly() -> None:
    """A border of 44.8 px (35 % of 128) around 64x128, enlarged 4 times: 614 (not 614.4) x 870 (not 870.4)."""
    shown = torch.tensor(((10.5 + 44.8) * 614 / 153.6 - 0.5, (20.5 + 44.8) * 870 / 217.6 - 0.5))
    sizes: list[tuple[int, int]] = []

    def find(picture: Image.Image, min_confidence: float) -> Landmarks:
        sizes.append(picture.size)
        return Landmarks(shown.expand(33, 2), torch.ones(33))

    found = look_at(Image.new("RGB", (64, 128)), Look(0.35), find)
    assert sizes == [(614, 870)]
    assert found is not None
    torch.testing.assert_close(found.xy, torch.tensor((10.0, 20.0)).expand(33, 2), atol=1e-4, rtol=0)


def test_a_border_repeats_the_edge_or_the_mean_colour() -> None:
    photo = Image.new("RGB", (64, 128), (90, 90, 90))
    photo.paste((250, 0, 0), (0, 0, 64, 64))  # the mean is (170, 45, 45)
    corners: dict[str, tuple[int, ...]] = {}

    def corner_of(look: Look) -> tuple[int, ...]:
        def find(picture: Image.Image, min_confidence: float) -> None:
            pixel = picture.getpixel((3, 3))
            assert isinstance(pixel, tuple)
            corners[look.fill] = pixel

        look_at(photo, look, find)
        return corners[look.fill]

    assert corner_of(Look(0.35, "edge")) == (250, 0, 0)
    assert corner_of(Look(0.5, "mean")) == (170, 45, 45)


@pytest.mark.parametrize(
    ("size", "reduced"), [((3000, 4500), (683, 1024)), ((1024, 700), (1024, 700)), ((64, 128), (64, 128))]
)
def test_only_large_photos_are_reduced(size: tuple[int, int], reduced: tuple[int, int]) -> None:
    assert reduce_image(Image.new("RGB", size)).size == reduced
