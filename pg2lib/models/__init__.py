"""The networks: G1, G2 and D."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from pg2lib.config import ModelConfig, PG2Config
from pg2lib.errors import ConfigError
from pg2lib.models.discriminator import Discriminator
from pg2lib.models.generators import G1, G2

__all__ = ["G1", "G2", "Discriminator", "build_models", "existing_device", "to_device"]

Model = TypeVar("Model", bound=nn.Module)


def build_models(config: PG2Config | ModelConfig) -> tuple[G1, G2, Discriminator]:
    """Build G1, G2 and D with initial weights drawn from torch's global generator."""
    model = config.model if isinstance(config, PG2Config) else config
    return G1(model), G2(model), Discriminator(model)


def to_device(model: Model, device: torch.device | str | None = None) -> Model:
    """Move a model to a device, in the channels_last memory format, in which convolutions are fastest on a CPU.

    Args:
        device: None keeps the present one.
    """
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def existing_device(device: torch.device | str, cpu_only: bool = False) -> torch.device:
    """Return a device that this machine has.

    Args:
        device: as torch names it.
        cpu_only: whether onnxruntime runs the networks.

    Raises:
        ConfigError: there is no such device, or it is not the CPU.
    """
    try:
        if cpu_only and torch.device(device).type != "cpu":
            raise ConfigError(
                f"onnxruntime runs this pipeline on the CPU; to use {device}, load it with backend='torch'"
            )
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch raises either, depending on how it was built
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"there is no device {str(device)!r} here; try 'cpu', or None ({reason})") from error
