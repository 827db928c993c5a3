"""A small store of pairs, a small pipeline, and a small Inception network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pg2lib import (
    ImageStore,
    PG2Config,
    PG2Pipeline,
    build_models,
    read_market1501,
)
from pg2lib.framing import Framing


@pytest.fixture
def store(tiny_market1501: Path) -> ImageStore:
    return ImageStore.open(read_market1501(tiny_market1501, "train"))


def pipeline(**overrides) -> PG2Pipeline:
    torch.manual_seed(0)
    config = PG2Config.preset("fast").override({"model.base_width": 4, "model.bottleneck": 8, **overrides})
    g1, g2, _ = build_models(config)
    return PG2Pipeline(g1, g2, config, Framing(0.5, {"neck": 0.2}))


class Colours(nn.Module):
    """Logits and features from the mean colour."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        colour = images.float().mean(dim=(2, 3))
        return colour / 20, colour
