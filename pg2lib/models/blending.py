"""What G1 makes of its last features: colours without a grid, mixed with the warped image and with the backdrop.

None of it is in the paper. Balakrishnan et al., "Synthesizing Images of Humans in Unseen Poses" (CVPR 2018), fuse moved
body parts and a background in this way.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from pg2lib.backdrop import backdrop_of
from pg2lib.config import ModelConfig

RGB = 3
"""Channels of an image."""

OVERSHOOT = 0.02
"""The share that stays of what painted colours exceed [-1, 1] by, with the part warp; at 0 no gradient would stay."""


def without_grid(
    output: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Smooth the output of a pixel shuffle with the weights 1, 2, 1 in both directions.

    Every pixel of a cell of the stem has weights of its own, which shows as a grid (Sugawara et al., "Super-resolution
    using convolutional neural networks without any checkerboard artifacts", ICIP 2018). What the part warp copies is
    mixed in afterwards, and stays sharp.
    """
    padded = F.pad(output, (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(padded, 2, stride=1), 2, stride=1)


def with_warp(
    output: Float[Tensor, "batch channels height width"],
    warped: Tensor | None,
    coverage: Tensor | None,
    copying: Tensor | None = None,
) -> Tensor:
    """Mix the painted colours with the warped image by the blend a = sigmoid(blend logit) * coverage.

    The fourth channel becomes a; the channels after it stay. The painted colours are kept near [-1, 1]. Otherwise G1
    learns to paint far beyond it where a is near 1, and covers up what the blend seems to copy.

    Args:
        output: painted colours, logit of the blend, other channels.
        warped, coverage: output of `pg2lib.warp_parts`.
        copying: added to the logit of the blend; None means 0.
    """
    assert warped is not None and coverage is not None
    painted, blend_logit, others = torch.split(output, [RGB, 1, output.shape[1] - RGB - 1], dim=1)
    inside = painted.clamp(-1, 1)
    painted = inside + OVERSHOOT * (painted - inside)
    blend = (blend_logit if copying is None else blend_logit + copying).sigmoid() * coverage
    return torch.cat((torch.lerp(painted, warped, blend), blend, others), dim=1)


def with_backdrop(
    output: Float[Tensor, "batch channels height width"],
    condition_image: Float[Tensor, "batch 3 height width"],
    matte: Float[Tensor, "batch 1 height width"] | None,
    config: ModelConfig,
) -> Float[Tensor, "batch channels-1 height width"]:
    """Mix the colours with the backdrop of the condition image, by the sigmoid of the last channel, and drop it.

    The blend, which is the share of the warped image in the result, shrinks with it. Where the matte shows no backdrop,
    the colours stay.

    Args:
        output: colours; their blend, if there is one; other channels; logit of the backdrop's share.
        condition_image: [-1, 1].
        matte: its matte, [0, 1].
        config: whether there is a blend.
    """
    assert matte is not None
    backdrop = backdrop_of(condition_image.float(), matte.float())
    share = output[:, -1:].sigmoid() * (backdrop.known > 0)
    colours = torch.lerp(output[:, :RGB], backdrop.image, share)
    blend = output[:, RGB : RGB + config.part_warp] * (1 - share)
    return torch.cat((colours, blend, output[:, RGB + config.part_warp : -1]), dim=1)
