"""A model that learns: Adam, its learning rate, and its moving average."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open

from pg2lib import build_models
from pg2lib.config import PG2Config, Stage1Config
from pg2lib.models import G1, G2
from pg2lib.training.checkpoint import list_checkpoints
from pg2lib.training.learner import Learner, learning_rate, update_average
from pg2lib.training.run import load_stage1
from pg2lib.training.stages import train_stage1, train_stage2
from tests.training.conftest import Data, config, same, weights


def test_three_steps_of_adam() -> None:
    """Kingma and Ba, algorithm 1, with the betas of section 4.1."""
    learner = Learner("m", torch.nn.Linear(2, 1, bias=False), Accelerator(cpu=True), Stage1Config(), lr=0.01)
    expected = learner.model.weight.detach().double().numpy().copy()
    gradients = np.array([[[0.3, -2.0]], [[0.1, 0.5]], [[-0.7, 0.2]]])
    m = v = np.zeros((1, 2))
    for t, gradient in enumerate(gradients, 1):
        learner.learn((learner.model.weight * torch.tensor(gradient)).sum(), step=t - 1)
        m, v = 0.5 * m + 0.5 * gradient, 0.999 * v + 0.001 * gradient**2
        expected = expected - 0.01 * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        assert np.allclose(learner.model.weight.detach().numpy(), expected, atol=1e-6)


def test_a_step_of_the_moving_average() -> None:
    """average <- decay * average + (1 - decay) * weights, with (1 + step) / (10 + step) in place of a longer memory."""
    average, model = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    for step, decay in ((100_000, 0.9), (0, 0.1), (5, 0.4)):
        torch.nn.init.constant_(average.weight, 1.0)
        torch.nn.init.constant_(model.weight, 3.0)
        update_average(average, model, 0.9, step)
        assert average.weight.item() == pytest.approx(decay * 1.0 + (1 - decay) * 3.0)
        assert model.weight.item() == 3.0


def test_adam_its_schedule_and_the_moving_average_together_in_float64() -> None:
    """Twelve steps on |w - 1|^2, the last four with a falling rate, against the recurrences in NumPy."""
    stage = Stage1Config(steps=12, lr_decay_steps=4)
    learner = Learner("m", torch.nn.Linear(3, 1, bias=False).double(), Accelerator(cpu=True), stage, 0.05, 0.7)
    w = learner.model.weight.detach().numpy().copy()
    average, m, v = w.copy(), np.zeros_like(w), np.zeros_like(w)
    for t in range(1, 13):
        learner.learn((learner.model.weight - 1).square().sum(), step=t - 1)
        gradient = 2 * (w - 1)
        m, v = 0.5 * m + 0.5 * gradient, 0.999 * v + 0.001 * gradient**2
        rate = 0.05 * [1, 1, 1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25][t - 1]
        w = w - rate * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        decay = min(0.7, t / (9 + t))
        average = decay * average + (1 - decay) * w
        assert np.allclose(learner.model.weight.detach().numpy(), w, rtol=0, atol=1e-12)
        assert np.allclose(learner.average.weight.detach().numpy(), average, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("steps", "decay_steps", "rates"),
    [
        (5, 0, [1, 1, 1, 1, 1]),
        (5, 1, [1, 1, 1, 1, 1]),
        (5, 2, [1, 1, 1, 1, 0.5]),
        (5, 5, [1, 0.8, 0.6, 0.4, 0.2]),
    ],
)
def test_the_learning_rate_of_each_step(steps: int, decay_steps: int, rates: list[float]) -> None:
    stage = dataclasses.replace(Stage1Config(), steps=steps, lr_decay_steps=decay_steps)
    assert [learning_rate(2e-5, stage, step) / 2e-5 for step in range(steps)] == pytest.approx(rates)


@pytest.mark.parametrize("name", ["market1501", "deepfashion-plus"])
def test_the_moving_average_leaves_nothing_out(name: str) -> None:
    """It is taken of parameters alone, so the generators must have no buffers, such as those of batch norm."""
    model = PG2Config.preset(name).model
    with torch.device("meta"):
        assert [*G1(model).buffers(), *G2(model).buffers()] == []


def test_a_fixed_model_passes_gradients_on_and_takes_none() -> None:
    learner = Learner("d", torch.nn.Linear(2, 1), Accelerator(cpu=True), Stage1Config(), lr=0.01)
    image = torch.ones(1, 2, requires_grad=True)
    with learner.fixed() as fixed:
        output = fixed(image)
    output.sum().backward()
    assert torch.equal(image.grad, learner.model.weight)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in learner.model.parameters())


@pytest.mark.parametrize(("d_lr", "of_d"), [(0.0, 0.1), (0.4, 0.4)])
def test_learning_rates_fall_to_zero_where_asked(data: Data, tmp_path, monkeypatch, d_lr: float, of_d: float) -> None:
    rates: dict[str, list[float]] = {"g2": [], "d": []}
    learn = Learner.learn

    def watched(learner: Learner, loss: torch.Tensor, step: int) -> None:
        learn(learner, loss, step)
        rates[learner.name].append(learner.optimiser.param_groups[0]["lr"])

    monkeypatch.setattr(Learner, "learn", watched)
    settings = config(stage2__steps=6, stage2__lr_decay_steps=4, stage2__lr=0.1, stage2__d_lr=d_lr)
    train_stage2(settings, data.store, data.pairs, tmp_path, build_models(settings)[0])
    assert rates["g2"] == pytest.approx([0.1, 0.1, 0.1, 0.075, 0.05, 0.025])
    assert rates["d"] == pytest.approx([of_d * rate / 0.1 for rate in rates["g2"]])


def test_the_moving_average_follows(data: Data, tmp_path) -> None:
    average = train_stage1(config(stage1__steps=5, stage1__ema_decay=0.999), data.store, data.pairs, tmp_path)
    with safe_open(list_checkpoints(tmp_path)[-1], "pt") as file:
        live, saved = (file.get_tensor(f"model.{name}.last.weight") for name in ("g1", "g1_average"))
    assert not torch.equal(average.last.weight, live)
    assert torch.equal(average.last.weight, saved)
    assert same(weights(average), weights(load_stage1(tmp_path)))


def test_without_a_moving_average_the_model_itself_is_kept_once(data: Data, tmp_path) -> None:
    g1 = train_stage1(config(stage1__steps=5), data.store, data.pairs, tmp_path / "1")
    train_stage2(config(stage2__steps=2), data.store, data.pairs, tmp_path / "2", g1)
    for stage, kept in ((1, {"g1"}), (2, {"g2", "d"})):
        with safe_open(list_checkpoints(tmp_path / str(stage))[-1], "pt") as file:
            names = {key.split(".")[1] for key in file.keys() if key.startswith("model.")}  # noqa: SIM118
        assert names == kept
    assert same(weights(g1), weights(load_stage1(tmp_path / "1")))


def test_d_may_learn_at_a_rate_of_its_own(data: Data, tmp_path) -> None:
    moved = {}
    for d_lr in (0.0, 1e-30):
        settings = config(stage2__steps=2, stage2__d_lr=d_lr, model__discriminator_norm="spectral")
        g2, d = train_stage2(settings, data.store, data.pairs, tmp_path / str(d_lr), build_models(settings)[0])
        assert float(g2.last.bias.detach().abs().max()) > 1e-4  # they begin at zero, and the generator's rate is 1e-3
        moved[d_lr] = float(d.last.bias.detach().abs().max())
    assert moved[0.0] > 1e-4
    assert moved[1e-30] < 1e-20
