"""G1, G2 and D."""

from __future__ import annotations

from pg2lib.config import ModelConfig, PG2Config
from pg2lib.models.discriminator import Discriminator
from pg2lib.models.generators import G1, G2

__all__ = ["G1", "G2", "Discriminator", "build_models"]


def build_models(config: PG2Config | ModelConfig) -> tuple[G1, G2, Discriminator]:
    """G1, G2 and D with fresh weights, drawn from torch's global generator."""
    model = config.model if isinstance(config, PG2Config) else config
    return G1(model), G2(model), Discriminator(model)
