"""The losses of both stages, each as its equation stands in the paper.

Notation (section 3): I_A condition image, I_B target image, M_B pose mask of the target, I_B2 refined result. D gives
logits. All losses are means, over pixels and channels or over the batch.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from pg2lib.config import AdversarialLoss


def bce(logits: Float[Tensor, "batch"], label: int) -> Float[Tensor, ""]:
    """Binary cross-entropy of D's logits against one label, 1 = real."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def pose_mask_l1(
    generated: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, ""]:
    """Eq. 1 and the second term of Eq. 4: || (generated - I_B) * (1 + M_B) ||_1."""
    return ((generated - target).abs() * (1 + mask)).mean()


def l1(
    generated: Float[Tensor, "batch 3 height width"], target: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, ""]:
    """The plain L1 loss of Table 1's rows without the pose mask."""
    return (generated - target).abs().mean()


def matte_loss(
    logits: Float[Tensor, "batch 1 height width"], target_matte: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, ""]:
    """Binary cross-entropy of the result's matte against the target image's, in [0, 1]. Not in the paper."""
    return F.binary_cross_entropy_with_logits(logits, target_matte)


def blend_prior(
    blend: Float[Tensor, "batch 1 height width"], coverage: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, ""]:
    """The mean of (1 - blend) * coverage: what G1 paints although it could copy it. Not in the paper."""
    return ((1 - blend) * coverage).mean()


def discriminator_loss(
    real_logits: Float[Tensor, "batch"],
    refined_logits: Float[Tensor, "batch"],
    condition_logits: Float[Tensor, "batch"] | None = None,
    kind: AdversarialLoss = "paper",
) -> Float[Tensor, ""]:
    """Eq. 2: L_D = bce(D(I_A, I_B), 1) + bce(D(I_A, I_B2), 0).

    The released code shows D single images and counts the condition image as one more negative: at 128x64 with weights
    1/2, 1/4 and 1/4; at 256x256 with 1/2 on the real and 1/2 on the mean over both negatives, pooled.

    Args:
        condition_logits: D(I_A), for the released losses alone.
    """
    if kind == "paper":
        return bce(real_logits, 1) + bce(refined_logits, 0)
    assert condition_logits is not None
    if kind == "released-market1501":
        return bce(real_logits, 1) / 2 + bce(condition_logits, 0) / 4 + bce(refined_logits, 0) / 4
    return bce(real_logits, 1) / 2 + bce(torch.cat((refined_logits, condition_logits)), 0) / 2


def adversarial_loss(
    refined_logits: Float[Tensor, "batch"],
    condition_logits: Float[Tensor, "batch"] | None = None,
    kind: AdversarialLoss = "paper",
) -> Float[Tensor, ""]:
    """Eq. 3: L_adv = bce(D(I_A, I_B2), 1).

    The released code at 256x256 takes the mean over D(I_A) too, which halves what reaches G2.
    """
    if kind == "released-deepfashion":
        assert condition_logits is not None
        return bce(torch.cat((refined_logits, condition_logits)), 1)
    return bce(refined_logits, 1)


def generator_loss(
    adversarial: Float[Tensor, ""],
    refined: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
    l1_weight: float,
) -> Float[Tensor, ""]:
    """Eq. 4: L_G2 = L_adv + lambda * || (I_B2 - I_B) * (1 + M_B) ||_1, lambda = `l1_weight`."""
    return adversarial + l1_weight * pose_mask_l1(refined, target, mask)
