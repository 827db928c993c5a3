"""Augmentation of training pairs beside the flip: colours, backdrops, shifts, mattes that are missing or wrong.

A small data set teaches a generator what its people wear. Where colours, places and backdrops vary at random, they
cannot be guessed and have to be copied from the condition image. Everything is drawn from the seed and the step alone,
so that a run that resumes, or one of several processes, makes the same batches.
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
SCALE = (0.8, 1.2)
SHIFT = 0.08
"""Of the canvas's height and width."""

MATTE_ERROR_PX = 3

_DRAWS = 16
"""Random numbers per pair, in a fixed order: a share that changes moves no other number."""


class Augmenter:
    """Varies the pairs of a batch as a configuration says.

    Args:
        config: the shares of pairs.
        batch_size: pairs per step, over all processes together.
        seed: of the run.
        share: which pairs of each batch are this process's.
    """

    def __init__(self, config: AugmentConfig, batch_size: int, seed: int, share: slice = slice(None)) -> None:
        self.config, self.batch_size, self.seed, self.share = config, batch_size, seed, share
        self._idle = config == AugmentConfig()

    def __call__(self, batch: PairBatch, number: int) -> PairBatch:
        """The batch that is drawn as number `number`, varied."""
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
        """Uniform random numbers in [0, 1), one row per pair of this process's share."""
        digest = hashlib.sha256(f"augment/{self.seed}/{number}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        return torch.rand(self.batch_size, _DRAWS, generator=generator)[self.share]


def colour_turn(angle: Float[Tensor, "batch"], saturation: Float[Tensor, "batch"]) -> Float[Tensor, "batch 3 3"]:
    """Matrices that turn colours about the grey axis and stretch them away from it.

    Args:
        angle: in radians.
        saturation: 1 keeps the distance from grey.
    """
    grey = torch.full((3, 3), 1 / 3, device=angle.device)
    across = torch.eye(3, device=angle.device) - grey
    # Cross product with the unit vector along grey: a quarter turn of what lies across it.
    quarter = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=angle.device) / math.sqrt(3)
    turned = angle.cos()[:, None, None] * across + angle.sin()[:, None, None] * quarter
    return grey + saturation[:, None, None] * turned


def _recoloured(batch: PairBatch, chosen: Tensor, draws: Tensor) -> PairBatch:
    low, high = SATURATION
    turn = colour_turn(draws[:, 0] * 2 * math.pi, low + (high - low) * draws[:, 1])
    turn = torch.where(chosen[:, None, None], turn, torch.eye(3, device=turn.device))

    def recolour(image: Tensor) -> Tensor:
        return torch.einsum("bij,bjhw->bihw", turn, image).clamp(-1, 1)

    return dataclasses.replace(
        batch, condition_image=recolour(batch.condition_image), target_image=recolour(batch.target_image)
    )


def _with_backdrop(batch: PairBatch, chosen: Tensor, draws: Tensor) -> PairBatch:
    assert batch.condition_matte is not None and batch.target_matte is not None
    # A grey level, and a little colour.
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
    """The condition image, its matte and its keypoints, scaled about the middle and shifted together.

    What comes into view from outside has the colour of the image's border.
    """
    image, matte = batch.condition_image, batch.condition_matte
    height, width = image.shape[2:]
    scale = SCALE[0] + (SCALE[1] - SCALE[0]) * draws[:, 0]
    shift = (draws[:, 1:3] * 2 - 1) * SHIFT * 2  # (x, y) in half sides
    scale = torch.where(chosen, scale, 1.0)
    shift = torch.where(chosen[:, None], shift, 0.0)
    # What lands at p comes from (p - shift) / scale, both in half sides from the middle.
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
    """Grown where the draw is above one half, else shrunk."""
    assert batch.condition_matte is not None
    matte = batch.condition_matte
    sign = torch.where(draws > 0.5, 1.0, -1.0).view(-1, 1, 1, 1)
    wrong = sign * _greatest(sign * matte, MATTE_ERROR_PX)
    return dataclasses.replace(batch, condition_matte=torch.where(chosen.view(-1, 1, 1, 1), wrong, matte))


def _greatest(image: Tensor, reach_px: int) -> Tensor:
    """The greatest value within a square about each pixel: along rows, then along columns."""
    size = 2 * reach_px + 1
    rows = F.max_pool2d(image, (1, size), stride=1, padding=(0, reach_px))
    return F.max_pool2d(rows, (size, 1), stride=1, padding=(reach_px, 0))


def _without_matte(batch: PairBatch, chosen: Tensor) -> PairBatch:
    assert batch.condition_matte is not None
    return dataclasses.replace(batch, condition_matte=torch.where(chosen.view(-1, 1, 1, 1), 1.0, batch.condition_matte))
