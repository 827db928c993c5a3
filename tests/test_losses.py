from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pg2lib import losses


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    generated, target = (torch.rand(2, 3, 8, 4, generator=generator) * 2 - 1 for _ in range(2))
    return generated, target, (torch.rand(2, 1, 8, 4, generator=generator) > 0.5).float()


def bce(logits: torch.Tensor, label: int) -> float:
    """From the definition, in NumPy."""
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    return float(-np.log(p if label else 1 - p).mean())


LOGITS = losses.Logits(*(torch.tensor(values) for values in ([2.0, -1.0, 0.3], [0.5, -2.0, 1.0], [-0.7, 0.1, 3.0])))


def test_eq_1_weights_the_body_twice(images) -> None:
    generated, target, mask = images
    difference = np.abs(generated.numpy() - target.numpy())
    expected = (difference * (1 + mask.numpy())).mean()
    assert float(losses.pose_mask_l1(generated, target, mask)) == pytest.approx(expected, rel=1e-5)
    nobody, everything = torch.zeros_like(mask), torch.ones_like(mask)
    plain = losses.l1(generated, target)
    assert torch.allclose(losses.pose_mask_l1(generated, target, nobody), plain)
    assert torch.allclose(losses.pose_mask_l1(generated, target, everything), 2 * plain)


def test_eq_2() -> None:
    expected = bce(LOGITS.real, 1) + bce(LOGITS.refined, 0)
    assert float(losses.discriminator_loss(LOGITS)) == pytest.approx(expected, rel=1e-5)


def test_eq_3() -> None:
    assert float(losses.adversarial_loss(LOGITS)) == pytest.approx(bce(LOGITS.refined, 1), rel=1e-5)


def test_eq_4(images) -> None:
    generated, target, mask = images
    total = losses.generator_loss(torch.tensor(0.7), generated, target, mask, l1_weight=10.0)
    assert float(total) == pytest.approx(0.7 + 10 * float(losses.pose_mask_l1(generated, target, mask)), rel=1e-5)


def test_released_losses_count_the_condition_image_as_a_negative() -> None:
    real, refined, condition = LOGITS
    market = losses.discriminator_loss(LOGITS, "released-market1501")
    assert float(market) == pytest.approx(bce(real, 1) / 2 + bce(condition, 0) / 4 + bce(refined, 0) / 4, rel=1e-5)
    fashion = losses.discriminator_loss(LOGITS, "released-deepfashion")
    assert float(fashion) == pytest.approx(bce(real, 1) / 2 + bce(torch.cat((refined, condition)), 0) / 2, rel=1e-5)
    assert float(losses.adversarial_loss(LOGITS, "released-market1501")) == pytest.approx(bce(refined, 1))
    pooled = losses.adversarial_loss(LOGITS, "released-deepfashion")
    assert float(pooled) == pytest.approx(bce(torch.cat((refined, condition)), 1), rel=1e-5)


def test_logits_far_out_stay_finite() -> None:
    far = torch.tensor([1e4, -1e4])
    assert math.isfinite(float(losses.discriminator_loss(losses.Logits(far, far))))
    assert float(losses.bce(torch.tensor([-1e4]), 1)) == pytest.approx(1e4)


def test_the_matte_loss_is_the_cross_entropy_of_soft_labels() -> None:
    generator = torch.Generator().manual_seed(2)
    logits, matte = torch.randn(2, 1, 4, 3, generator=generator), torch.rand(2, 1, 4, 3, generator=generator)
    p, y = 1 / (1 + np.exp(-logits.double().numpy())), matte.double().numpy()
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert float(losses.matte_loss(logits, matte)) == pytest.approx(expected, rel=1e-5)


def test_the_blend_prior_counts_what_is_painted_although_it_is_covered() -> None:
    blend, coverage = (torch.tensor(v).view(1, 1, 2, 2) for v in ([1.0, 0.0, 0.5, 0.0], [1.0, 1.0, 0.5, 0.0]))
    assert float(losses.blend_prior(blend, coverage)) == pytest.approx((0 + 1 + 0.25 + 0) / 4)


def test_d_judges_pairs_in_the_paper_and_single_images_in_the_released_code() -> None:
    seen: list[torch.Tensor] = []

    class Mean(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x.mean(dim=(1, 2, 3))

    d = Mean()

    condition, target, refined = (torch.full((2, 3, 4, 4), value) for value in (1.0, 2.0, 3.0))
    logits = losses.judge(d, condition, target, refined)
    assert seen[0].shape == (4, 6, 4, 4)
    assert (logits.real[0], logits.refined[0], logits.condition) == (1.5, 2.0, None)
    logits = losses.judge(d, condition, target, refined, "released-market1501")
    assert seen[1].shape == (6, 3, 4, 4)
    assert (logits.real[0], logits.refined[0], logits.condition[0]) == (2.0, 3.0, 1.0)
