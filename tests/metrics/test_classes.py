"""The metric classes: against the functions, over batches and processes, reset, and in a MetricCollection."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from pg2lib import DataError, metrics
from pg2lib.metrics.inception import inception_scores
from pg2lib.metrics.perceptual import PerceptualNetwork
from pg2lib.metrics.pose import pose_accuracy
from tests.conftest import STANDING


class Distance(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().mean(dim=(1, 2, 3))


NETWORK = PerceptualNetwork("mean difference", Distance())
PAIRS = 11

Make = Callable[..., Metric]


def noise(seed: int, shape: tuple[int, ...] = (PAIRS, 3, 56, 54)) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


GENERATED, TARGET = noise(0), noise(1)
MASK = (noise(2, (PAIRS, 1, 56, 54)) > 99).float()
MASK[3] = 0

IMAGES = {"generated": GENERATED, "target": TARGET}
MASKED = {**IMAGES, "mask": MASK}

CASES: dict[str, tuple[Make, dict[str, Tensor], Tensor]] = {
    "ssim": (metrics.SSIM, IMAGES, metrics.ssim(GENERATED, TARGET)),
    "gfla": (lambda **kwargs: metrics.SSIM("gfla", **kwargs), IMAGES, metrics.ssim(GENERATED, TARGET, "gfla")),
    "mask_ssim": (metrics.MaskSSIM, MASKED, metrics.mask_ssim(GENERATED, TARGET, MASK)),
    "l1": (metrics.L1, IMAGES, metrics.l1(GENERATED, TARGET)),
    "masked_l1": (metrics.MaskedL1, MASKED, metrics.masked_l1(GENERATED, TARGET, MASK)),
    "psnr": (lambda **kwargs: metrics.PSNR(255, **kwargs), IMAGES, metrics.psnr(GENERATED, TARGET, 255)),
    "sharpness": (metrics.Sharpness, IMAGES, metrics.sharpness(GENERATED, TARGET)),
    "masked_sharpness": (metrics.MaskedSharpness, MASKED, metrics.masked_sharpness(GENERATED, TARGET, MASK)),
    "lpips": (lambda **kwargs: metrics.LPIPS(NETWORK, **kwargs), IMAGES, NETWORK(GENERATED, TARGET)),
}
"""Metric, arguments of `update` for all pairs, and the score of every pair."""


def update(metric: Metric | MetricCollection, inputs: dict[str, Tensor], sizes: tuple[int, ...]) -> None:
    parts = [value.split(sizes) for value in inputs.values()]
    for part in zip(*parts, strict=True):
        metric.update(**dict(zip(inputs, part, strict=True)))


def gathered_with(other: Metric) -> dict[str, object]:
    """Settings for a metric that synchronises with one other process, whose metric is `other`."""
    states: Iterator[Tensor] = iter(
        torch.cat(state) if isinstance(state, list) else state for state in other.metric_state.values()
    )
    return {"distributed_available_fn": lambda: True, "dist_sync_fn": lambda own, group: [own, next(states)]}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sizes", [(11,), (1, 7, 3), (4, 4, 3)])
def test_the_value_is_the_functions_mean_over_all_pairs(name: str, sizes: tuple[int, ...]) -> None:
    make, inputs, scores = CASES[name]
    metric = make()
    update(metric, inputs, sizes)
    assert torch.allclose(metric.scores, scores, atol=1e-6, equal_nan=True)
    assert float(metric.compute()) == pytest.approx(float(scores.nanmean()), rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_have_the_value_of_all_pairs(name: str) -> None:
    make, inputs, scores = CASES[name]
    other = make()
    update(other, {key: value[6:] for key, value in inputs.items()}, (5,))
    metric = make(**gathered_with(other))
    update(metric, {key: value[:6] for key, value in inputs.items()}, (4, 2))
    assert float(metric.compute()) == pytest.approx(float(scores.nanmean()), rel=1e-5)
    assert len(metric.scores) == 6  # the state of this process is its own again


@pytest.mark.parametrize("name", CASES)
def test_a_reset_metric_starts_again(name: str) -> None:
    make, inputs, scores = CASES[name]
    metric = make()
    update(metric, {key: value.flip(0) for key, value in inputs.items()}, (11,))
    metric.reset()
    update(metric, {key: value[:5] for key, value in inputs.items()}, (5,))
    assert float(metric.compute()) == pytest.approx(float(scores[:5].nanmean()), rel=1e-5)


def test_a_call_returns_the_value_of_its_batch_and_counts_it() -> None:
    metric = metrics.L1()
    first = metric(GENERATED[:4], TARGET[:4])
    assert float(first) == pytest.approx(float(metrics.l1(GENERATED[:4], TARGET[:4]).mean()))
    metric(GENERATED[4:], TARGET[4:])
    assert float(metric.compute()) == pytest.approx(float(metrics.l1(GENERATED, TARGET).mean()), rel=1e-5)


def test_a_collection_gives_each_metric_what_it_takes() -> None:
    collection = MetricCollection({name: make() for name, (make, _, _) in CASES.items()})
    update(collection, MASKED, (4, 7))
    values = collection.compute()
    for name, (_, _, scores) in CASES.items():
        assert float(values[name]) == pytest.approx(float(scores.nanmean()), rel=1e-5), name


def test_a_collection_keeps_metrics_apart_that_agree_on_the_first_batch() -> None:
    """Equal images and full masks give SSIM = mask-SSIM = sharpness = 1 and L1 = masked L1 = 0 in all dialects."""
    collection = MetricCollection({name: make() for name, (make, _, _) in CASES.items()})
    collection.update(generated=TARGET, target=TARGET, mask=torch.ones_like(MASK))
    collection.update(**MASKED)
    values = collection.compute()
    same = {"psnr": 100.0, "l1": 0.0, "masked_l1": 0.0, "lpips": 0.0}
    for name, (_, _, scores) in CASES.items():
        expected = torch.cat([torch.full((PAIRS,), same.get(name, 1.0)), scores]).nanmean()
        assert float(values[name]) == pytest.approx(float(expected), rel=1e-5), name


def test_a_collection_of_two_processes_has_the_values_of_all_pairs() -> None:
    others = {name: make() for name, (make, _, _) in CASES.items()}
    update(MetricCollection(others), {key: value[7:] for key, value in MASKED.items()}, (1, 3))
    ours = MetricCollection({name: make(**gathered_with(others[name])) for name, (make, _, _) in CASES.items()})
    update(ours, {key: value[:7] for key, value in MASKED.items()}, (5, 2))
    values = ours.compute()
    for name, (_, _, scores) in CASES.items():
        assert float(values[name]) == pytest.approx(float(scores.nanmean()), rel=1e-5), name


def test_the_metrics_of_a_report_are_these() -> None:
    collection = metrics.pair_metrics("gfla", NETWORK)
    update(collection, MASKED, (5, 6))
    assert torch.allclose(collection["ssim"].scores, CASES["gfla"][2], atol=1e-6)
    assert torch.equal(collection["mask_ssim"].scores, metrics.mask_ssim(GENERATED, TARGET, MASK, "gfla"))
    assert set(collection.keys()) == set(CASES) - {"gfla"}
    assert set(metrics.pair_metrics().keys()) == set(CASES) - {"gfla", "lpips"}


def test_equal_images_have_the_ceiling_of_psnr() -> None:
    for metric, expected in ((metrics.PSNR(255), 100), (metrics.PSNR(255, ceiling_db=math.inf), math.inf)):
        metric.update(TARGET, TARGET)
        assert float(metric.compute()) == expected


def test_no_score_at_all_is_nan() -> None:
    metric = metrics.MaskedL1()
    metric.update(GENERATED, TARGET, torch.zeros_like(MASK))
    assert math.isnan(metric.compute())


@pytest.mark.parametrize("make", [metrics.SSIM, metrics.MaskSSIM])
def test_an_unknown_dialect_is_refused_at_once(make: Make) -> None:
    with pytest.raises(DataError, match="dialect"):
        make("gaussian")


def poses(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    xy = torch.tensor(STANDING, dtype=torch.float32) + 5 * torch.randn(12, 18, 2, generator=generator)
    xy[torch.rand(12, 18, generator=generator) < 0.2] = torch.nan
    return xy


POSES = {"found_xy": poses(0), "target_xy": poses(1)}


@pytest.mark.parametrize("sizes", [(12,), (1, 8, 3)])
def test_pose_accuracy_is_the_functions(sizes: tuple[int, ...]) -> None:
    metric = metrics.PoseAccuracy(128)
    update(metric, {name: xy.flip(0) for name, xy in POSES.items()}, (12,))
    metric.reset()
    update(metric, POSES, sizes)
    expected = pose_accuracy(*POSES.values(), 128)
    assert metric.scores == expected
    values = MetricCollection({"pose": metric}).compute()
    assert set(values) == {"pckh", "mean_error", "joints_missing", "not_found"}
    for name, value in values.items():
        assert float(value) == pytest.approx(asdict(expected)[name])


def test_pose_accuracy_of_two_processes() -> None:
    other = metrics.PoseAccuracy(128)
    update(other, {name: xy[7:] for name, xy in POSES.items()}, (5,))
    metric = metrics.PoseAccuracy(128, **gathered_with(other))
    update(metric, {name: xy[:7] for name, xy in POSES.items()}, (3, 4))
    assert float(metric.compute()["pckh"]) == pytest.approx(pose_accuracy(*POSES.values(), 128).pckh)


def test_pose_accuracy_without_heads_is_nan() -> None:
    metric = metrics.PoseAccuracy(128)
    metric.update(torch.full((2, 18, 2), torch.nan), torch.full((2, 18, 2), torch.nan))
    assert math.isnan(metric.compute()["pckh"]) and metric.scores.pckh is None


LOGITS = torch.randn(30, 5, generator=torch.Generator().manual_seed(3))


def test_inception_score_is_the_functions_in_order() -> None:
    expected = inception_scores(LOGITS.softmax(dim=1), 3)
    for sizes in ((30,), (1, 20, 9)):
        metric = metrics.InceptionScore(nn.Identity(), splits=3)
        metric.update(LOGITS.flip(0))
        metric.reset()
        for part in LOGITS.split(sizes):
            metric.update(part)
        mean, std = metric.compute()
        assert (float(mean), float(std)) == pytest.approx((float(expected.mean()), float(expected.std(correction=0))))


def test_inception_score_of_two_processes_has_the_first_ones_images_first() -> None:
    other = metrics.InceptionScore(nn.Identity())
    other.update(LOGITS[17:])
    metric = metrics.InceptionScore(nn.Identity(), splits=3, **gathered_with(other))
    metric.update(LOGITS[:17])
    assert float(metric.compute()[0]) == pytest.approx(float(inception_scores(LOGITS.softmax(dim=1), 3).mean()))


def test_importing_the_functions_leaves_torchmetrics_alone() -> None:
    code = "import sys, pg2lib.evaluation, pg2lib.metrics; assert 'torchmetrics' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there() -> None:
    assert all(hasattr(metrics, name) for name in metrics.__all__)
    with pytest.raises(AttributeError, match="SSIMM"):
        _ = metrics.SSIMM
