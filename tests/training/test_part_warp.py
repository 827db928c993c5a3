"""Training with the part warp, mattes and augmentation: what no preset of the paper has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pg2lib import ImageStore, PG2Config, PG2Pipeline, make_pairs, read_market1501
from pg2lib.data.pairs import PairTable
from pg2lib.data.store import PairBatch
from pg2lib.errors import ConfigError
from pg2lib.models.generators import g1_input
from pg2lib.training.augment import Augmenter
from pg2lib.training.feed import PairOrder
from pg2lib.training.learner import Learner
from pg2lib.training.loop import Loop, StepRecord, Watch
from pg2lib.training.run import Reports, train
from pg2lib.training.stages import train_one_stage, train_stage1

SETTINGS: dict[str, Any] = {
    "model.base_width": 4, "model.bottleneck": 8, "model.discriminator_width": 4,
    "model.discriminator_norm": "spectral",
    "model.part_warp": True, "model.matte": True, "model.stem_px": 2, "model.g2_pose": True,
    "stage1.batch_size": 4, "stage2.batch_size": 4, "stage1.ema_decay": 0.9, "stage1.blend_weight": 0.05,
    "augment.recolour": 0.5, "augment.backdrop": 0.3, "augment.shift": 0.5, "augment.matte_missing": 0.2,
    "augment.matte_error": 0.3,
}  # fmt: skip


@pytest.fixture
def store(tiny_market1501: Path) -> ImageStore:
    """With a box for a matte, as a drawn rectangle is nobody to MediaPipe."""
    plain = ImageStore.open(read_market1501(tiny_market1501, "train"))
    mattes = torch.zeros(len(plain), 128, 64, dtype=torch.uint8)
    mattes[:, 10:118, 16:48] = 255
    return ImageStore(plain.table, plain.images(torch.arange(len(plain))).permute(0, 2, 3, 1), mattes=mattes)


@pytest.fixture
def pairs(store: ImageStore) -> PairTable:
    return make_pairs(store.table)


def config(**overrides: Any) -> PG2Config:
    return PG2Config.preset("fast").override({**SETTINGS, **{n.replace("__", "."): v for n, v in overrides.items()}})


def test_a_run_that_resumes_makes_what_one_run_makes(store: ImageStore, pairs: PairTable, tmp_path: Path) -> None:
    whole = train_stage1(config(stage1__steps=4), store, pairs, tmp_path / "whole")
    train_stage1(config(stage1__steps=2), store, pairs, tmp_path / "parts")
    resumed = train_stage1(config(stage1__steps=4), store, pairs, tmp_path / "parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_matte_and_blend_are_reported_and_learned(store: ImageStore, pairs: PairTable, tmp_path: Path) -> None:
    records: list[StepRecord] = []
    watch = Watch(on_step=records.append, read_every=1)
    train_stage1(config(stage1__steps=40, stage1__lr=3e-3), store, pairs, tmp_path, watch=watch)
    assert set(records[0].losses) == {"l1", "matte", "blend"}
    first, last = (torch.tensor([r.losses["matte"] for r in part]).mean() for part in (records[:5], records[-5:]))
    assert last < 0.8 * first


def test_a_weight_on_the_blend_makes_it_copy(store: ImageStore, pairs: PairTable, tmp_path: Path) -> None:
    painted = {}
    for weight in (0.0, 5.0):
        records: list[StepRecord] = []
        settings = config(stage1__steps=30, stage1__lr=3e-3, stage1__blend_weight=weight)
        watch = Watch(on_step=records.append, read_every=1)
        train_stage1(settings, store, pairs, tmp_path / str(weight), watch=watch)
        painted[weight] = sum(record.losses["blend"] for record in records[-5:])
    assert painted[5.0] < 0.5 * painted[0.0]


def test_both_stages_make_a_pipeline_that_works_on_pairs(store: ImageStore, pairs: PairTable, tmp_path: Path) -> None:
    train(config(stage1__steps=2, stage2__steps=2), store, pairs, tmp_path, "people", Reports(progress=False))
    pipeline = PG2Pipeline.from_pretrained(tmp_path / "pipeline", "cpu")
    batch = store.batch(pairs, torch.arange(2))
    made = pipeline.generate_pairs(batch)
    assert made.refined.shape == (2, 3, 128, 64)
    assert made.coverage.shape == made.matte.shape == (2, 1, 128, 64)
    assert (made.coverage * (1 - batch.condition_matte.amax())).sum() == 0


def test_a_store_without_mattes_is_refused_before_the_first_step(tiny_market1501: Path, tmp_path: Path) -> None:
    plain = ImageStore.open(read_market1501(tiny_market1501, "train"))
    with pytest.raises(ConfigError, match=r"model\.matte .*mattes=True"):
        train(config(), plain, make_pairs(plain.table), tmp_path / "run", "people", Reports(progress=False))
    assert not (tmp_path / "run").exists()


def test_the_one_stage_model_learns_its_matte_too(store: ImageStore, pairs: PairTable, tmp_path: Path) -> None:
    """With a weight on the matte alone the matte follows the target's; without, it does not."""
    error = {}
    for weight in (0.0, 5.0):
        settings = config(
            networks="G1+D", stage1__steps=15, stage2__steps=30, stage2__lr=3e-3, stage1__matte_weight=weight
        )
        g1, _ = train_one_stage(settings, store, pairs, tmp_path / str(weight))
        batch = store.batch(pairs, torch.arange(8))
        seen = g1_input(
            settings.model,
            batch.condition_image,
            batch.target_heatmaps,
            batch.condition_xy,
            batch.target_xy,
            batch.condition_matte,
        )
        with torch.no_grad():
            matte = g1.split(g1(*seen)).matte_logits.sigmoid()
        error[weight] = float((matte - batch.target_matte).abs().mean())
    assert error[5.0] < 0.7 * error[0.0], error


def test_the_batches_of_a_run_are_augmented_by_their_number(
    store: ImageStore, pairs: PairTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[PairBatch] = []
    draw = Loop.batch
    monkeypatch.setattr(Loop, "batch", lambda loop, number: seen.append(draw(loop, number)) or seen[-1])
    settings = config(stage1__steps=3, stage1__flip=False, stage1__seed=2)
    train_stage1(settings, store, pairs, tmp_path)
    order, augment = PairOrder(len(pairs), 4, seed=2, flip=False), Augmenter(settings.augment, 4, seed=2)
    for step, batch in enumerate(seen):
        plain = store.batch(pairs, order(step)[0])
        expected = augment(plain, step)
        assert torch.equal(batch.condition_image, expected.condition_image)
        assert torch.equal(batch.target_image, expected.target_image)
        assert torch.equal(batch.condition_matte, expected.condition_matte)
        assert not torch.equal(batch.condition_image, plain.condition_image)


def test_stage_one_learns_from_the_weighted_sum_of_its_losses(
    store: ImageStore, pairs: PairTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[float] = []
    learn = Learner.learn
    monkeypatch.setattr(
        Learner, "learn", lambda self, loss, step: (learned.append(float(loss.detach())), learn(self, loss, step))[1]
    )
    records: list[StepRecord] = []
    settings = config(stage1__steps=2, stage1__matte_weight=0.5, stage1__blend_weight=0.125)
    train_stage1(settings, store, pairs, tmp_path, watch=Watch(on_step=records.append))
    for loss, parts in zip(learned, (record.losses for record in records), strict=True):
        assert loss == pytest.approx(parts["l1"] + 0.5 * parts["matte"] + 0.125 * parts["blend"], rel=1e-5)
