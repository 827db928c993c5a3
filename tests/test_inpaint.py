from __future__ import annotations

import pytest
import torch

from pg2lib.inpaint import SMALLEST_SHARE, fill_with_texture

CANVASES = [(256, 256), (128, 64), (64, 128)]


def hole_of(canvas: tuple[int, int]) -> torch.Tensor:
    """A hole as large as a person in the middle of the canvas."""
    height, width = canvas
    hole = torch.zeros(1, height, width, dtype=torch.bool)
    hole[:, height // 4 : height * 3 // 4, width * 3 // 8 : width * 5 // 8] = True
    return hole


def test_a_texture_goes_on_in_the_hole() -> None:
    """Slanted stripes keep their contrast, where a smooth fill has none, and continue those around the hole."""
    y, x = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    stripes = torch.where((x + y) % 32 < 16, 0.7, -0.3).expand(3, -1, -1)
    hole = hole_of((256, 256))
    filled = fill_with_texture(torch.where(hole, 0.2, stripes), hole, ~hole)
    assert filled is not None
    place = hole.expand(3, -1, -1)
    assert torch.equal(filled[~place], stripes[~place])
    assert filled[place].std() > 0.9 * stripes[place].std()
    assert (filled - stripes).abs()[place].mean() < 0.1


@pytest.mark.parametrize("canvas", CANVASES)
def test_the_sky_stays_above_and_the_ground_below(canvas: tuple[int, int]) -> None:
    height = canvas[0]
    scene = torch.linspace(0, 1, height).round().mul(1.6).sub(0.8)[:, None].expand(3, *canvas)
    noise = 0.1 * torch.rand(1, *canvas, generator=torch.Generator().manual_seed(0))
    hole = hole_of(canvas)
    filled = fill_with_texture(torch.where(hole, 0.0, scene + noise), hole, ~hole)
    assert filled is not None and filled.shape == (3, *canvas)
    far = torch.zeros_like(hole)
    far[:, height * 5 // 16 : height * 7 // 16] = far[:, height * 9 // 16 : height * 11 // 16] = True
    assert ((filled - scene).abs() < 0.3)[(hole & far).expand(3, -1, -1)].float().mean() > 0.95


def test_only_what_is_usable_is_copied() -> None:
    """Beside the hole stands somebody in red; no red comes into the hole."""
    generator = torch.Generator().manual_seed(0)
    picture = 0.2 * torch.rand(3, 256, 256, generator=generator)
    hole = hole_of((256, 256))
    other = torch.zeros_like(hole)
    other[:, 60:200, 160:210] = True
    picture = torch.where(other, torch.tensor([1.0, -1.0, -1.0])[:, None, None], picture)
    filled = fill_with_texture(torch.where(hole, 0.1, picture), hole, ~other)
    assert filled is not None
    inside = filled[hole.expand(3, -1, -1)]
    assert inside.min() >= 0 and inside.max() <= 0.2
    assert torch.equal(filled, fill_with_texture(torch.where(hole, 0.1, picture), hole, ~other)), "not deterministic"


def test_the_hole_is_never_copied() -> None:
    """Also where it is called usable."""
    hole = hole_of((256, 256))
    picture = torch.where(hole, 1.0, -0.5 + 0.1 * torch.rand(3, 256, 256))
    filled = fill_with_texture(picture, hole, torch.ones_like(hole))
    assert filled is not None and filled.max() <= -0.4


@pytest.mark.parametrize("share", [0.0, SMALLEST_SHARE - 0.02])
def test_a_hole_with_too_little_around_it_is_left_to_others(share: float) -> None:
    usable = torch.zeros(1, 256, 256, dtype=torch.bool)
    usable[:, : int(256 * share)] = True
    assert fill_with_texture(torch.zeros(3, 256, 256), ~usable, usable) is None


def test_small_and_uneven_canvases_and_scattered_pixels_are_left_to_others() -> None:
    """Nothing can be searched where patches do not fit."""
    for canvas in ((4, 4), (5, 31), (67, 3)):
        hole = torch.zeros(1, *canvas, dtype=torch.bool)
        hole[:, 1] = True
        assert fill_with_texture(torch.zeros(3, *canvas), hole, ~hole) is None
    scattered = torch.zeros(1, 256, 256, dtype=torch.bool)
    scattered[:, ::3, ::3] = True
    assert fill_with_texture(torch.zeros(3, 256, 256), scattered, ~scattered) is None
    assert fill_with_texture(torch.zeros(3, 256, 256), torch.zeros_like(scattered), ~scattered) is None
