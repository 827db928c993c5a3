"""What the three loops learn, and from what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pg2lib import PG2Config, build_models
from pg2lib.data.store import PairBatch
from pg2lib.models import G1, G2, Discriminator
from pg2lib.pose import flip_xy
from pg2lib.training.checkpoint import list_checkpoints
from pg2lib.training.feed import PairFeed, PairOrder
from pg2lib.training.learner import Learner
from pg2lib.training.loop import Loop
from pg2lib.training.stages import train_one_stage, train_stage1, train_stage2
from tests.training.conftest import Data, Log, config, same, weights


def test_stage1_overfits_one_pair(data: Data, tmp_path) -> None:
    """A model that cannot learn two images by heart is broken somewhere."""
    pair = data.pairs.select(torch.tensor([0]))
    log = Log()
    wide = config(model__base_width=8, stage1__steps=150, stage1__lr=2e-3, stage1__flip=False, stage1__batch_size=1)
    g1 = train_stage1(wide, data.store, pair, tmp_path, watch=log.watch(samples=1))
    first, last = log.losses[0]["l1"], log.losses[-1]["l1"]
    assert last < 0.2 * first
    batch = data.store.batch(pair, torch.tensor([0]))
    with torch.no_grad():
        coarse = g1(batch.condition_image, batch.target_heatmaps)
    assert (coarse - batch.target_image).abs().mean() < 0.15


def test_stage2_learns_to_refine_one_pair(data: Data, tmp_path) -> None:
    pair = data.pairs.select(torch.tensor([0]))
    settings = config(
        model__base_width=8, stage2__steps=80, stage2__lr=1e-3, stage2__flip=False, stage2__batch_size=1,
        stage2__l1_weight=100.0,
    )  # fmt: skip
    torch.manual_seed(1)
    g1 = build_models(settings)[0]
    g2, _ = train_stage2(settings, data.store, pair, tmp_path, g1)
    batch = data.store.batch(pair, torch.tensor([0]))
    with torch.no_grad():
        coarse = g1(batch.condition_image, batch.target_heatmaps)
        refined = coarse + g2(batch.condition_image, coarse)
    before, after = ((x - batch.target_image).abs().mean() for x in (coarse, refined))
    assert after < 0.5 * before


def test_stage2_leaves_g1_bit_identical_and_takes_no_gradient_from_it(data: Data, tmp_path) -> None:
    g1 = build_models(config())[0]
    before = weights(g1)
    train_stage2(config(stage2__steps=2), data.store, data.pairs, tmp_path, g1)
    assert same(before, weights(g1))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in g1.parameters())


def test_stage2_trains_both_d_and_g2(data: Data, tmp_path) -> None:
    settings = config(stage2__steps=1, stage2__seed=4)
    g1 = build_models(settings)[0]
    torch.manual_seed(settings.stage2.seed)
    fresh_g2, fresh_d = G2(settings.model), Discriminator(settings.model)  # drawn as the loop draws them
    g2, d = train_stage2(settings, data.store, data.pairs, tmp_path, g1)
    assert not same(weights(g2), weights(fresh_g2))
    assert not same(weights(d), weights(fresh_d))


def test_without_adversary_the_l1_weight_is_all_that_is_left(data: Data, tmp_path) -> None:
    """Eq. 4 as the log has it: g2 = adversarial + lambda * masked L1."""
    logs = {}
    for weight in (0.0, 10.0):
        log = logs[weight] = Log()
        settings = config(stage2__steps=1, stage2__l1_weight=weight)
        torch.manual_seed(0)
        g1 = build_models(settings)[0]
        train_stage2(settings, data.store, data.pairs, tmp_path / str(weight), g1, watch=log.watch())
    assert logs[0.0].losses[0]["g2"] == logs[0.0].losses[0]["adversarial"]
    assert logs[10.0].losses[0]["g2"] > logs[10.0].losses[0]["adversarial"] + 1


@pytest.mark.parametrize("kind", ["released-market1501", "released-deepfashion"])
def test_the_released_losses_train_too(data: Data, tmp_path, kind: str) -> None:
    settings = config().to_dict()
    settings["model"]["discriminator_input"] = "single"
    settings["stage2"].update(adversarial_loss=kind, steps=2)
    released = PG2Config.from_dict(settings)
    log = Log()
    train_stage2(released, data.store, data.pairs, tmp_path, build_models(released)[0], watch=log.watch())
    assert len(log.records) == 2


def test_plain_l1_is_a_choice(data: Data, tmp_path) -> None:
    logs = []
    for pose_mask_loss in (True, False):
        logs.append(Log())
        settings = config(stage1__steps=1, stage1__pose_mask_loss=pose_mask_loss)
        train_stage1(settings, data.store, data.pairs, tmp_path / str(pose_mask_loss), watch=logs[-1].watch())
    masked, plain = (log.losses[0]["l1"] for log in logs)
    assert plain < masked < 2 * plain


def test_the_one_stage_model_trains_g1_against_d_for_the_steps_of_both_stages(data: Data, tmp_path) -> None:
    settings = config(stage1__steps=3, stage2__steps=2).row("G1+D")
    log = Log()
    g1, _ = train_one_stage(settings, data.store, data.pairs, tmp_path, watch=log.watch())
    assert [sorted(entry) for entry in log.losses] == [["adversarial", "d", "g1"]] * 5
    assert list_checkpoints(tmp_path)[-1].name == "step-00000005.safetensors"
    torch.manual_seed(settings.one_stage.seed)
    assert not same(weights(g1), weights(G1(settings.model)))


def test_the_released_turns_draw_a_batch_for_g2_and_another_for_d(data: Data, tmp_path, monkeypatch) -> None:
    settings = config(stage2__steps=2, stage2__turns="g-first")
    drawn: list[int] = []
    draw = PairFeed.__call__
    monkeypatch.setattr(PairFeed, "__call__", lambda feed, number: (drawn.append(number), draw(feed, number))[1])
    g1 = build_models(settings)[0]
    train_stage2(settings, data.store, data.pairs, tmp_path / "released", g1)
    assert drawn == [0, 1, 2, 3]
    drawn.clear()
    train_stage2(config(stage2__steps=2), data.store, data.pairs, tmp_path / "paper", g1)
    assert drawn == [0, 1]


@pytest.mark.parametrize("flip", [True, False])
def test_the_batches_of_a_run_are_flipped_by_its_coins(
    data: Data, flip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reaches the loss: images, keypoints and heatmaps of a pair flipped together, about half of the pairs."""
    seen: list[PairBatch] = []
    draw = Loop.batch
    monkeypatch.setattr(Loop, "batch", lambda loop, number: seen.append(draw(loop, number)) or seen[-1])
    train_stage1(config(stage1__steps=6, stage1__batch_size=8, stage1__flip=flip), data.store, data.pairs, tmp_path)
    order, flipped = PairOrder(len(data.pairs), 8, seed=0), 0
    for step, batch in enumerate(seen):
        indices, coins = order(step)
        plain = data.store.batch(data.pairs, indices)
        for i, coin in enumerate((coins & flip).tolist()):
            expected = plain.target_image[i].flip(-1) if coin else plain.target_image[i]
            assert torch.equal(batch.target_image[i], expected)
            xy = flip_xy(plain.target_xy[i], 64) if coin else plain.target_xy[i]
            assert torch.equal(batch.target_xy[i], xy)
            flipped += coin
    assert 12 < flipped < 36 if flip else flipped == 0


@pytest.mark.parametrize("turns", ["d-first", "g-first"])
def test_only_the_one_whose_turn_it_is_learns(data: Data, tmp_path, monkeypatch, turns: str) -> None:
    """The loss of D reaches D alone, and that of the generator reaches G2 alone."""
    changed: list[tuple[str, set[str]]] = []
    learners: dict[str, Learner] = {}
    learn = Learner.learn

    def gradients() -> dict[str, list[torch.Tensor]]:
        return {
            name: [p.grad.clone() for p in learner.model.parameters() if p.grad is not None]
            for name, learner in learners.items()
        }

    def watched(learner: Learner, loss: torch.Tensor, step: int) -> None:
        before = gradients()
        learn(learner, loss, step)
        after = gradients()
        moved = {n for n in after if len(before[n]) != len(after[n]) or not all(map(torch.equal, before[n], after[n]))}
        changed.append((learner.name, moved))

    init = Loop.__init__

    def build(loop: Loop, *arguments: Any) -> None:
        init(loop, *arguments)
        learners.update({learner.name: learner for learner in arguments[7]})

    monkeypatch.setattr(Loop, "__init__", build)
    monkeypatch.setattr(Learner, "learn", watched)
    settings = config(stage2__steps=2, stage2__turns=turns)
    train_stage2(settings, data.store, data.pairs, tmp_path, build_models(settings)[0])
    order = ["d", "g2"] if turns == "d-first" else ["g2", "d"]
    assert changed == [(name, {name}) for name in order * 2]
