"""A model that learns: with its optimiser, the schedule of its learning rate, and its moving average."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pg2lib.config import TrainingConfig
from pg2lib.models import to_device

Model = TypeVar("Model", bound=nn.Module)


class Learner(Generic[Model]):
    """A model that learns.

    Call it as the model itself: the call goes through accelerate, which adds mixed precision, the exchange of gradients
    between processes, and `torch.compile`, each where asked for. Outputs are float32.

    Args:
        name: Of the model, in checkpoints and losses.
        model: It is moved to the accelerator's device.
        stage: Adam's betas and the schedule.
        lr: Adam's learning rate.
        ema_decay: Decay of the moving average; 0 keeps none.

    Attributes:
        model: The model itself.
        average: The moving average of the model; the model itself where none is kept.
        optimiser: Adam.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        accelerator: Accelerator,
        stage: TrainingConfig,
        lr: float,
        ema_decay: float = 0.0,
    ) -> None:
        self.name, self.accelerator, self.stage, self.lr, self.ema_decay = name, accelerator, stage, lr, ema_decay
        self.model = to_device(model, accelerator.device)
        self.average = copy.deepcopy(self.model).requires_grad_(False) if ema_decay else self.model
        adam = torch.optim.Adam(self.model.parameters(), lr=lr, betas=(stage.beta1, stage.beta2), fused=True)
        self._wrapped, self.optimiser = accelerator.prepare(self.model, adam)
        several = accelerator.num_processes > 1  # then the prepared model exchanges gradients
        self._fixed = accelerator.prepare_model(self.model, evaluation_mode=True) if several else self._wrapped

    def __call__(self, *inputs: Any) -> Tensor:
        """Return the model's output for a batch of this process."""
        output: Tensor = self._wrapped(*inputs)
        return output

    @contextmanager
    def fixed(self) -> Iterator[nn.Module]:
        """Give the model without gradients of its weights, for another model to learn from its judgement.

        It exchanges no gradients between processes, as it has none.
        """
        self.model.requires_grad_(False)
        try:
            yield self._fixed
        finally:
            self.model.requires_grad_(True)

    def learn(self, loss: Tensor, step: int) -> None:
        """Take one step of Adam on a loss, and update the moving average.

        Args:
            step: The step of the run, counted from 0.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.lr, self.stage, step)
        self.optimiser.zero_grad()
        self.accelerator.backward(loss)
        self.optimiser.step()
        if self.average is not self.model:
            update_average(self.average, self.model, self.ema_decay, step)

    def models(self) -> dict[str, nn.Module]:
        """Return what a checkpoint saves, by name: the model, and its moving average where there is one."""
        own: dict[str, nn.Module] = {self.name: self.model}
        return own if self.average is self.model else {**own, f"{self.name}_average": self.average}


def learning_rate(lr: float, stage: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step: constant, then falling linearly to zero over the last ``lr_decay_steps``."""
    return lr * min(1.0, (stage.steps - step) / stage.lr_decay_steps) if stage.lr_decay_steps else lr


def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Update an exponential moving average of a model's weights in place: average <- d * average + (1 - d) * weights.

    At the start of a run the memory is shorter: d is the smaller of `decay` and (1 + step) / (10 + step).

    Torch's `AveragedModel` is not used, as its counter makes every step wait for the GPU.
    """
    update = get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))  # type: ignore[no-untyped-call]
    update(list(average.parameters()), list(model.parameters()), step)
