"""A tiny data set, and tiny models to train on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from pg2lib import ImageStore, PG2Config, make_pairs, read_market1501
from pg2lib.data.pairs import PairTable
from pg2lib.training.loop import Sample, StepRecord, Watch

TINY = {
    "model.base_width": 4,
    "model.bottleneck": 8,
    "model.discriminator_width": 4,
    "stage1.batch_size": 4,
    "stage2.batch_size": 4,
}


@dataclass
class Data:
    store: ImageStore
    pairs: PairTable


@pytest.fixture
def data(tiny_market1501: Path) -> Data:
    store = ImageStore.open(read_market1501(tiny_market1501, "train"))
    return Data(store, make_pairs(store.table))


def config(**overrides: Any) -> PG2Config:
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    return PG2Config.preset("fast").override({**TINY, **dotted})


@dataclass
class Log:
    """Everything a run reports."""

    records: list[StepRecord] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def watch(self, **options: Any) -> Watch:
        return Watch(on_step=self.records.append, on_sample=self.samples.append, **options)

    @property
    def losses(self) -> list[dict[str, float]]:
        return [dict(record.losses) for record in self.records]


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
