"""The checkpoint that ships: small, loadable, documented, and better than copying the condition image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pg2lib import EvaluationReport, ImageStore, PG2Config, PG2Pipeline, evaluate, read_market1501, read_pairs
from pg2lib.pipeline import DEFAULT_CHECKPOINT, SHIPPED

FOLDER = SHIPPED / DEFAULT_CHECKPOINT


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return EvaluationReport.from_json((FOLDER / "report.json").read_text(encoding="utf-8"))


def test_it_is_small_and_was_trained_with_the_preset() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.suffix != ".onnx") <= 16 * 2**20
    pipeline = PG2Pipeline.from_pretrained(device="cpu")
    assert pipeline.name == DEFAULT_CHECKPOINT
    assert pipeline.config == PG2Config.preset("compact")
    assert pipeline.training["pairs"] == 263_632


def test_the_card_has_the_reports_figures_terms_and_the_way_to_train_it_again(report: EvaluationReport) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for line in report.to_markdown().splitlines()[:5]:
        assert line in card
    assert report.pairs == 12_000
    for words in ("non-commercial research", "python -m pg2lib train", "seed", "Known failures"):
        assert words in card


def test_it_beats_copying_the_condition_image(report: EvaluationReport) -> None:
    copied = report.figures["condition"]
    for result in ("refined", "coarse"):
        for metric, figure in report.figures[result].items():
            assert figure.mean > copied[metric].mean, (result, metric)


def test_the_published_figures_come_again_on_real_pairs(market1501_root: Path, report: EvaluationReport) -> None:
    """A sample of the 12,000 pairs scores within five standard errors of the whole."""
    table = read_market1501(market1501_root, "test")
    pairs = read_pairs(market1501_root / "market-pairs-test.csv", table).sample(150, seed=0)
    rows = sorted({*pairs.from_rows.tolist(), *pairs.to_rows.tolist()})
    small = table.select(rows)
    place = {row: i for i, row in enumerate(rows)}
    moved = [torch.tensor([place[row] for row in side.tolist()]) for side in (pairs.from_rows, pairs.to_rows)]
    store = ImageStore.open(small)
    sample = evaluate(
        PG2Pipeline.from_pretrained(device="cpu"), store, type(pairs)(store.table, *moved), "150 of the test pairs"
    )
    for result, metrics in report.figures.items():
        for metric, whole in metrics.items():
            figure = sample.figures[result][metric]
            assert abs(figure.mean - whole.mean) < 5 * whole.std / 150**0.5, (result, metric)
