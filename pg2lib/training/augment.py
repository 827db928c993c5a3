"""Augmentation of training pairs besides the flip: colours, backgrounds, shifts, and missing or inaccurate mattes.

A generator learns a small data set's clothes by heart. Where colours, positions and backgrounds vary at random, it
cannot guess them and learns to copy them from the condition image. All random numbers are a function of the seed and
the batch's number, so that a resumed run, or a run of several processes, makes the same batches.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from pg2lib.config import AugmentConfig
from pg2lib.data.store import PairBatch

SATURATION = (0.5, 1.5)
"""The factors between which the saturation of colours is multiplied."""

SCALE = (0.8, 1.2)
"""The factors between which the condition image is scaled."""

SHIFT = 0.08
"""The largest shift, as a fraction of the canvas's height and width."""

MATTE_ERROR_PX = 3
"""By how many pixels a matte is grown or shrunk."""

_DRAWS = 16
"""Random numbers per pair. Each has its own place, so that one setting does not change the numbers of another."""


class Augmenter:
    """Augments the pairs of a batch as a configuration says.

    Args:
        config: The probability of each augmentation.
        batch_size: Pairs per batch, over all processes together.
        seed: Seed of the run.
        share: Which pairs of each batch belong to this process.
    """

    def __init__(self, config: AugmentConfig, batch_size: int, seed: int, share: slice = slice(None)) -> None:
        self.config, self.batch_size, self.seed, self.share = config, batch_size, seed, share
        self._idle = config == AugmentConfig()

    def __call__(self, batch: PairBatch, number: int) -> PairBatch:
        """Return a batch augmented.

        Args:
            batch: This process's share of the batch.
            number: The batch's number in the run, counted from 0.
        """
        if self._idle:
            return batch
        config, draws = self.config, self._draw(number).to(batch.condition_image.device)
        if config.backdrop:
            batch = _with_backdrop(batch, draws[:, 0] < config.backdrop, draws[:, 1:4])
        if config.shift:
            batch = _shifted(batch, draws[:, 4] < config.shift, draws[:, 5:8])
        if config.recolour:
            batch = _recoloured(batch, draws[:, 8] < config.recolour, draws[:, 9:11])
        if config.matte_error:
            batch = _with_wrong_matte(batch, draws[:, 11] < config.matte_error, draws[:, 12])
        if config.matte_missing:
            batch = _without_matte(batch, draws[:, 13] < config.matte_missing)
        return batch

    def _draw(self, number: int) -> Float[Tensor, "batch draws"]:
        """Return uniform random numbers in [0, 1), one row per pair of this process's share."""
        digest = hashlib.sha256(f"augment/{self.seed}/{number}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        return torch.rand(self.batch_size, _DRAWS, generator=generator)[self.share]


def colour_turn(angle: Float[Tensor, "batch"], saturation: Float[Tensor, "batch"]) -> Float[Tensor, "batch 3 3"]:
    """Return matrices that rotate RGB colours about the grey axis and scale their distance from it.

    Args:
        angle: In radians.
        saturation: Factor of the distance from grey; 1 keeps it.
    """
    grey = torch.full((3, 3), 1 / 3, device=angle.device)
    across = torch.eye(3, device=angle.device) - grey
    # The cross product with the unit vector along grey rotates what is perpendicular to grey by 90 degrees.
    quarter = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=angle.device) / math.sqrt(3)
    turned = angle.cos()[:, None, None] * across + angle.sin()[:, None, None] * quarter
    return grey + saturation[:, None, None] * turned


def _recoloured(batch: PairBatch, chosen: Tensor, draws: Tensor) -> PairBatch:
    """Rotate the colours of both images of the chosen pairs, and change their saturation."""
    low, high = SATURATION
    turn = colour_turn(draws[:, 0] * 2 * math.pi, low + (high - low) * draws[:, 1])
    turn = torch.where(chosen[:, None, None], turn, torch.eye(3, device=turn.device))

    def recolour(image: Tensor) -> Tensor:
        return torch.einsum("bij,bjhw->bihw", turn, image).clamp(-1, 1)

    return dataclasses.replace(
        batch, condition_image=recolour(batch.condition_image), target_image=recolour(batch.target_image)
    )


def _with_backdrop(batch: PairBatch, chosen: Tensor, draws: Tensor) -> PairBatch:
    """Replace the background of both images of the chosen pairs by a plain colour."""
    assert batch.condition_matte is not None and batch.target_matte is not None
    # Grey with a slight tint.
    colour = (draws[:, :1] * 2 - 1 + 0.3 * (draws - 0.5)).clamp(-1, 1)[:, :, None, None]
    chosen = chosen.view(-1, 1, 1, 1)

    def lay(image: Tensor, matte: Tensor) -> Tensor:
        return torch.where(chosen, torch.lerp(colour, image, matte), image)

    return dataclasses.replace(
        batch,
        condition_image=lay(batch.condition_image, batch.condition_matte),
        target_image=lay(batch.target_image, batch.target_matte),
    )


def _shifted(batch: PairBatch, chosen: Tensor, draws: Tensor) -> PairBatch:
    """Scale the chosen condition images about their centre and shift them, with their mattes and keypoints.

    Pixels from outside the image take the colour of its border.
    """
    image, matte = batch.condition_image, batch.condition_matte
    height, width = image.shape[2:]
    scale = SCALE[0] + (SCALE[1] - SCALE[0]) * draws[:, 0]
    shift = (draws[:, 1:3] * 2 - 1) * SHIFT * 2  # (x, y), in half sides of the canvas
    scale = torch.where(chosen, scale, 1.0)
    shift = torch.where(chosen[:, None], shift, 0.0)
    # The pixel at p comes from (p - shift) / scale, both in half sides from the centre.
    theta = torch.zeros(len(image), 2, 3, device=image.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
    theta[:, :, 2] = -shift / scale[:, None]
    grid = F.affine_grid(theta, [len(image), 1, height, width], align_corners=False)
    moved = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    half = torch.tensor([width / 2, height / 2], device=image.device)
    xy = (((batch.condition_xy + 0.5) / half - 1) * scale[:, None, None] + shift[:, None] + 1) * half - 0.5
    inside = ((xy > -0.5) & (xy < 2 * half - 0.5)).all(dim=-1, keepdim=True)
    some = chosen.view(-1, 1, 1, 1)
    if matte is not None:
        matte = torch.where(some, F.grid_sample(matte, grid, align_corners=False), matte)
    return dataclasses.replace(
        batch,
        condition_image=torch.where(some, moved, image),
        condition_xy=torch.where(chosen[:, None, None], torch.where(inside, xy, torch.nan), batch.condition_xy),
        condition_matte=matte,
    )


def _with_wrong_matte(batch: PairBatch, chosen: Tensor, draws: Tensor) -> PairBatch:
    """Grow the mattes of the chosen condition images where the draw is above one half, and shrink them elsewhere."""
    assert batch.condition_matte is not None
    matte = batch.condition_matte
    sign = torch.where(draws > 0.5, 1.0, -1.0).view(-1, 1, 1, 1)
    wrong = sign * _greatest(sign * matte, MATTE_ERROR_PX)
    return dataclasses.replace(batch, condition_matte=torch.where(chosen.view(-1, 1, 1, 1), wrong, matte))


def _greatest(image: Tensor, reach_px: int) -> Tensor:
    """Return the maximum over the square around each pixel: first along rows, then along columns."""
    size = 2 * reach_px + 1
    rows = F.max_pool2d(image, (1, size), stride=1, padding=(0, reach_px))
    return F.max_pool2d(rows, (size, 1), stride=1, padding=(reach_px, 0))


def _without_matte(batch: PairBatch, chosen: Tensor) -> PairBatch:
    """Replace the mattes of the chosen condition images by ones."""
    assert batch.condition_matte is not None
    return dataclasses.replace(batch, condition_matte=torch.where(chosen.view(-1, 1, 1, 1), 1.0, batch.condition_matte))
