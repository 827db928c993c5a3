"""The losses of both stages, each written as its equation in the paper, and the pass of D that the last three rest on.

Notation (section 3): I_A condition image, I_B target image, M_B pose mask of the target, I_B2 refined result. D returns
logits. Every loss is a mean: over pixels and channels, or over the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from pg2lib.config import AdversarialLoss


class Logits(NamedTuple):
    """What D says about a batch; high logits mean real.

    Attributes:
        real: Of the target images.
        refined: Of the refined results.
        condition: Of the condition images; None with the paper's losses, which do not use it.
    """

    real: Float[Tensor, "batch"]
    refined: Float[Tensor, "batch"]
    condition: Float[Tensor, "batch"] | None = None


def judge(
    d: Callable[[Tensor], Tensor],
    condition_image: Float[Tensor, "batch 3 height width"],
    target_image: Float[Tensor, "batch 3 height width"],
    refined: Float[Tensor, "batch 3 height width"],
    kind: AdversarialLoss = "paper",
) -> Logits:
    """Let D judge real and generated images in one pass, so that batch norm sees both, as in the released code.

    Args:
        d: The discriminator. In the paper it sees pairs, each image stacked on its condition image; in the released
            code it sees single images, among them the condition image.
        condition_image, target_image: In [-1, 1].
        refined: The generated images, not clamped.
        kind: Whose losses the logits are for.
    """
    if kind == "paper":
        real = torch.cat((condition_image, target_image), dim=1)
        generated = torch.cat((condition_image, refined), dim=1)
        return Logits(*d(torch.cat((real, generated))).float().chunk(2))
    return Logits(*d(torch.cat((target_image, refined, condition_image))).float().chunk(3))


def bce(logits: Float[Tensor, "batch"], label: int) -> Float[Tensor, ""]:
    """Return the binary cross-entropy of logits against one label: 1 for real, 0 for generated."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def pose_mask_l1(
    generated: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, ""]:
    """Return || (generated - I_B) * (1 + M_B) ||_1, the loss of Eq. 1 and the second term of Eq. 4.

    Args:
        generated, target: In [-1, 1].
        mask: The pose mask of the target, in {0, 1}.
    """
    return ((generated - target).abs() * (1 + mask)).mean()


def l1(
    generated: Float[Tensor, "batch 3 height width"], target: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, ""]:
    """Return the plain L1 loss of the rows of Table 1 that do without the pose mask."""
    return (generated - target).abs().mean()


def matte_loss(
    logits: Float[Tensor, "batch 1 height width"], target_matte: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, ""]:
    """Return the binary cross-entropy of the predicted matte against the matte of the target. Not in the paper.

    Args:
        logits: Of the matte that G1 predicts.
        target_matte: In [0, 1].
    """
    return F.binary_cross_entropy_with_logits(logits, target_matte)


def blend_prior(
    blend: Float[Tensor, "batch 1 height width"], coverage: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, ""]:
    """Return the mean of (1 - blend) * coverage: how much G1 paints where it could copy. Not in the paper.

    Args:
        blend: Share of the warped image in the coarse result, in [0, 1].
        coverage: Where the warped image shows the person, in [0, 1].
    """
    return ((1 - blend) * coverage).mean()


def discriminator_loss(logits: Logits, kind: AdversarialLoss = "paper") -> Float[Tensor, ""]:
    """Eq. 2: L_D = bce(D(I_A, I_B), 1) + bce(D(I_A, I_B2), 0).

    The released code shows single images to D and counts the condition image as one more negative: at 128x64 with
    weights 1/2, 1/4 and 1/4; at 256x256 with 1/2 on the real images and 1/2 on the mean over both negatives.
    """
    if kind == "paper":
        return bce(logits.real, 1) + bce(logits.refined, 0)
    assert logits.condition is not None
    if kind == "released-market1501":
        return bce(logits.real, 1) / 2 + bce(logits.condition, 0) / 4 + bce(logits.refined, 0) / 4
    return bce(logits.real, 1) / 2 + bce(torch.cat((logits.refined, logits.condition)), 0) / 2


def adversarial_loss(logits: Logits, kind: AdversarialLoss = "paper") -> Float[Tensor, ""]:
    """Eq. 3: L_adv = bce(D(I_A, I_B2), 1).

    The released code at 256x256 takes the mean over D(I_A) too, which halves the gradient that reaches G2.
    """
    if kind == "released-deepfashion":
        assert logits.condition is not None
        return bce(torch.cat((logits.refined, logits.condition)), 1)
    return bce(logits.refined, 1)


def generator_loss(
    adversarial: Float[Tensor, ""],
    refined: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
    l1_weight: float,
) -> Float[Tensor, ""]:
    """Eq. 4: L_G2 = L_adv + lambda * || (I_B2 - I_B) * (1 + M_B) ||_1, lambda = `l1_weight`."""
    return adversarial + l1_weight * pose_mask_l1(refined, target, mask)
