from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pg2lib import losses
from tests.strategies import quick


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


@quick
@given(arrays(np.float64, (3, 4), elements=st.floats(-60, 60)), st.permutations(range(4)))
def test_equations_1_to_4_in_float64_for_any_logits_in_any_order(logits: np.ndarray, order: list[int]) -> None:
    """Section 4 of the paper in NumPy; -log sigmoid(x) = log(1 + exp(-x)) is `logaddexp(0, -x)`."""
    rng = np.random.default_rng(0)
    refined, target = rng.uniform(-1.2, 1.2, (2, 4, 3, 5, 7))
    mask = rng.integers(0, 2, (4, 1, 5, 7)).astype(np.float64)
    real, generated, condition = logits
    says_real, says_generated = (lambda x: np.logaddexp(0, -x)), (lambda x: np.logaddexp(0, x))
    negatives = np.concatenate((generated, condition))
    eq1 = (np.abs(refined - target) * (1 + mask)).mean()
    expected = {
        "1": eq1,
        "2": says_real(real).mean() + says_generated(generated).mean(),
        "2 market": (2 * says_real(real) + says_generated(condition) + says_generated(generated)).mean() / 4,
        "2 fashion": says_real(real).mean() / 2 + says_generated(negatives).mean() / 2,
        "3": says_real(generated).mean(),
        "3 fashion": says_real(negatives).mean(),
        "4": says_real(generated).mean() + 50 * eq1,
    }
    judged = losses.Logits(*torch.from_numpy(logits[:, order]))
    images = [torch.from_numpy(values[order]) for values in (refined, target, mask)]
    got = {
        "1": losses.pose_mask_l1(*images),
        "2": losses.discriminator_loss(judged),
        "2 market": losses.discriminator_loss(judged, "released-market1501"),
        "2 fashion": losses.discriminator_loss(judged, "released-deepfashion"),
        "3": losses.adversarial_loss(judged),
        "3 fashion": losses.adversarial_loss(judged, "released-deepfashion"),
        "4": losses.generator_loss(losses.adversarial_loss(judged), *images, l1_weight=50.0),
    }
    assert {name: float(loss) for name, loss in got.items()} == pytest.approx(expected, rel=1e-12)


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
