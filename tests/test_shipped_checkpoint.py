"""The checkpoints that ship: small, loadable, documented, and better than copying the condition image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pg2lib import EvaluationReport, ImageStore, PG2Config, PG2Pipeline, evaluate, read_pairs
from pg2lib.config import DEFAULT_CHECKPOINT, MARKET1501_CHECKPOINT
from pg2lib.data.read import read_people
from pg2lib.pipeline_folder import SHIPPED, shipped_checkpoints
from tests.conftest import ROOT


@dataclass(frozen=True)
class Shipped:
    """A checkpoint and what it was made with and scored on; `changed` holds the settings that are not its preset's."""

    name: str
    preset: str
    trained_on: int
    scored_on: int
    pair_file: str
    changed: Mapping[str, object]

    @property
    def folder(self) -> Path:
        return SHIPPED / self.name

    @property
    def report(self) -> EvaluationReport:
        return EvaluationReport.from_json((self.folder / "report.json").read_text(encoding="utf-8"))


MARKET1501 = Shipped(MARKET1501_CHECKPOINT, "compact", 263_632, 12_000, "market-pairs-test.csv", {})
DEEPFASHION = Shipped(
    DEFAULT_CHECKPOINT,
    "deepfashion-compact",
    16_714,
    2_708,
    "pairs-test.csv",
    {"networks": "G1"},
)


@pytest.fixture(params=[MARKET1501, DEEPFASHION], ids=lambda shipped: shipped.name)
def shipped(request: pytest.FixtureRequest) -> Shipped:
    return request.param


def test_these_are_all() -> None:
    assert sorted(shipped_checkpoints()) == sorted((MARKET1501.name, DEEPFASHION.name))
    size = sum(path.stat().st_size for path in ROOT.glob("pg2lib/weights/**/*") if path.suffix != ".onnx")
    assert size < 30 * 2**20


def test_it_is_small_and_was_trained_with_its_preset(shipped: Shipped) -> None:
    assert sum(path.stat().st_size for path in shipped.folder.iterdir() if path.suffix != ".onnx") <= 16 * 2**20
    pipeline = PG2Pipeline.from_pretrained(shipped.name, device="cpu")
    assert pipeline.config == PG2Config.preset(shipped.preset).override(shipped.changed)
    assert pipeline.training["pairs"] == shipped.trained_on


def test_without_a_name_the_default_is_loaded() -> None:
    assert PG2Pipeline.from_pretrained(device="cpu").name == DEFAULT_CHECKPOINT


def test_the_card_has_the_reports_figures_terms_and_the_way_to_train_it_again(shipped: Shipped) -> None:
    card, report = (shipped.folder / "README.md").read_text(encoding="utf-8"), shipped.report
    for line in report.to_markdown().splitlines()[:5]:
        assert line in card
    assert report.pairs == shipped.scored_on
    assert f"python -m pg2lib train --data {'DeepFashion' if 'deep' in shipped.name else 'Market'}" in card
    for words in (f"--config {shipped.preset}", "non-commercial research", "seed", "Known failures"):
        assert words in card


def test_it_beats_copying_the_condition_image(shipped: Shipped) -> None:
    figures = shipped.report.figures
    for result in ("refined", "coarse"):
        for metric in ("ssim", "mask_ssim"):
            assert figures[result][metric].mean > figures["condition"][metric].mean, (result, metric)


def test_the_published_figures_come_again_on_real_pairs(shipped: Shipped, request: pytest.FixtureRequest) -> None:
    """A sample of the pairs scores within five standard errors of the whole."""
    root = request.getfixturevalue("market1501_root" if shipped is MARKET1501 else "deepfashion_root")
    people = read_people(root, "test", flat=shipped is DEEPFASHION)
    pairs = read_pairs(next(root.rglob(shipped.pair_file)), people).sample(100, seed=0)
    rows = sorted({*pairs.from_rows.tolist(), *pairs.to_rows.tolist()})
    place = {row: i for i, row in enumerate(rows)}
    moved = [torch.tensor([place[row] for row in side.tolist()]) for side in (pairs.from_rows, pairs.to_rows)]
    pipeline = PG2Pipeline.from_pretrained(shipped.name, device="cpu")
    if pipeline.config.model.matte:
        pytest.importorskip("mediapipe.python.solutions", reason="needs mediapipe with its models")
    store = ImageStore.open(people.select(rows), mattes=pipeline.config.model.matte)
    sample = evaluate(pipeline, store, type(pairs)(store.table, *moved), "some of the test pairs")
    for result, metrics in shipped.report.figures.items():
        for metric, whole in metrics.items():
            figure = sample.figures[result][metric]
            assert abs(figure.mean - whole.mean) < 5 * whole.std / 100**0.5, (result, metric)
