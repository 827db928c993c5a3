"""Reports as JSON and Markdown."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import torch

from pg2lib import (
    DataError,
    EvaluationReport,
    ImageStore,
    evaluate,
    make_pairs,
)
from pg2lib.config import MARKET1501_CHECKPOINT
from pg2lib.evaluation.report import METRICS, Figure, figure_cell
from pg2lib.metrics import pair_metrics
from pg2lib.metrics.perceptual import PerceptualNetwork
from pg2lib.pipeline_folder import SHIPPED
from pg2lib.tables import markdown_table
from tests.evaluation.conftest import pipeline


def test_a_number_never_travels_alone(store: ImageStore, tmp_path) -> None:
    report = evaluate(pipeline(), store, make_pairs(store.table).sample(2, seed=0), "tiny, two pairs")
    report.save(tmp_path / "report.json")
    values = json.loads((tmp_path / "report.json").read_text())
    assert (values["pairs"], values["dialect"], values["data"]) == (2, "released", "tiny, two pairs")
    assert values["provenance"]["hardware"] and values["provenance"]["torch"] == torch.__version__
    assert values["model"]["config"]["model"]["base_width"] == 4
    assert EvaluationReport.from_json(report.to_json()) == report
    text = report.to_markdown()
    for part in ("| refined   |", "| condition |", "tiny, two pairs, 2 pairs", "dialect `released`"):
        assert part in text
    with pytest.raises(DataError, match="not an evaluation report"):
        EvaluationReport.from_json("{}")


def test_tables_print_text_unchanged_and_dashes_for_missing_cells() -> None:
    frame = pd.DataFrame({"model": ["G1", "G1+D"], "SSIM": ["0.3410", None], "steps": [7, 12], "FID": [math.nan, 1.5]})
    assert markdown_table(frame).splitlines() == [
        "| model | SSIM   | steps | FID |",
        "|-------|--------|-------|-----|",
        "| G1    | 0.3410 | 7     | –   |",
        "| G1+D  | –      | 12    | 1.5 |",
    ]


def test_a_figure_cell_has_the_decimals_of_its_metric() -> None:
    assert figure_cell(Figure(0.34105, 0.0644, (0.336, 0.345)), 3) == "0.341 ± 0.064 [0.336, 0.345]"
    assert figure_cell(Figure(17.25, 5.5), 1) == "17.2 ± 5.5"
    assert figure_cell(None, 1) is None


def test_reports_of_earlier_versions_are_read() -> None:
    text = (SHIPPED / MARKET1501_CHECKPOINT / "report.json").read_text(encoding="utf-8")
    values = json.loads(text)
    for added in ("pairs_digest", "sets", "poses", "lpips", "detector"):
        values.pop(added, None)
    values["figures"] = {
        result: {name: {key: metrics[name][key] for key in ("mean", "std")} for name in ("ssim", "mask_ssim")}
        for result, metrics in values["figures"].items()
    }
    old = EvaluationReport.from_json(json.dumps(values))
    assert old.figures["refined"]["ssim"].interval is None
    head, _, first, *_ = old.to_markdown().splitlines()
    mean, std = (values["figures"]["refined"]["ssim"][key] for key in ("mean", "std"))
    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["result", "SSIM", "mask-SSIM"]
    assert [cell.strip() for cell in first.split("|")[1:3]] == ["refined", f"{mean:.4f} ± {std:.4f}"]
    assert EvaluationReport.from_json(old.to_json()) == old


class Difference(torch.nn.Module):
    """Stands in for LPIPS."""

    def forward(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (generated - target).abs().mean(dim=(1, 2, 3))


def test_the_better_score_is_that_of_the_better_picture() -> None:
    """Of a picture with a little noise and one with much, every metric says that the first is better."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(16.0), indexing="ij")
    target = (120 + 60 * torch.sin(rows / 5) + 40 * torch.cos(columns / 3)).expand(1, 3, 32, 16)
    noise = torch.randn(1, 3, 32, 16, generator=generator)
    scores = []
    for strength in (4, 30):
        collection = pair_metrics(lpips=PerceptualNetwork("difference", Difference()))
        generated = (target + strength * noise).clamp(0, 255).byte()
        collection.update(generated=generated, target=target.byte(), mask=torch.ones(1, 1, 32, 16))
        scores.append({name: float(score) for name, score in collection.compute().items()})
    assert scores[0].keys() == METRICS.keys()
    for name, metric in METRICS.items():
        little, much = (values[name] for values in scores)
        wins = {"higher": little > much, "lower": little < much, "near 1": abs(little - 1) < abs(much - 1)}
        assert wins[metric.better], name
        assert collection[name].higher_is_better is {"higher": True, "lower": False, "near 1": None}[metric.better]
