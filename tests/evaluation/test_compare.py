"""Comparisons of two reports, and the scores of pairs on disk."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from pg2lib import (
    DataError,
    EvaluationReport,
    ImageStore,
    evaluate,
    make_pairs,
)
from pg2lib.evaluation import EvaluationOptions, PairScores, compare_reports
from pg2lib.evaluation.report import METRICS
from pg2lib.metrics.bootstrap import bootstrap_intervals
from pg2lib.metrics.inception import InceptionNetwork
from tests.evaluation.conftest import Colours, pipeline


def test_two_models_are_compared_on_the_same_pairs(store: ImageStore, tmp_path: Path) -> None:
    pairs = make_pairs(store.table).sample(12, seed=0)
    torch.manual_seed(1)
    models = [pipeline(), pipeline(**{"model.bottleneck": 9})]
    reports = [evaluate(model, store, pairs, "tiny", tmp_path / f"{i}.csv") for i, model in enumerate(models)]
    scores = [PairScores.read(tmp_path / f"{i}.csv") for i in range(2)]
    comparison = compare_reports(*reports, *scores)
    first, second = (report.figures["refined"]["ssim"].mean for report in reports)
    assert comparison.differences["refined"]["ssim"] == first - second != 0
    for result, metrics in comparison.paired.items():
        for name, pair in metrics.items():
            column = f"{result}_{name}"
            gain = scores[0][column] - scores[1][column]
            assert pair.mean == pytest.approx(float(gain.mean())) and pair.low <= pair.mean <= pair.high
            if METRICS[name].better == "higher":
                assert pair.won == pytest.approx(float((gain > 0).double().mean()))
    same = comparison.paired["condition"]["ssim"]
    assert (same.mean, same.won, same.tied) == (0, 0, 1)
    assert "| refined   | SSIM " in comparison.to_markdown()
    assert compare_reports(*reports).paired == {}


def test_reports_that_were_not_taken_alike_are_not_compared(store: ImageStore, tmp_path: Path) -> None:
    pairs, pipe = make_pairs(store.table).sample(10, seed=0), pipeline()
    report = evaluate(pipe, store, pairs, "tiny", tmp_path / "pairs.csv")
    backwards = pairs.select(torch.arange(9, -1, -1))
    for other, message in (
        (evaluate(pipe, store, pairs, "tiny", options=EvaluationOptions(dialect="gfla")), "dialect: released and gfla"),
        (dataclasses.replace(report, mask_from="condition"), "mask belongs to: target and condition"),
        (evaluate(pipe, store, pairs.select(torch.arange(9)), "tiny"), "pair count: 10 and 9"),
        (evaluate(pipe, store, backwards, "tiny back"), "pairs: tiny and tiny back, whose file names differ"),
        (dataclasses.replace(report, pairs_digest=None, data="others"), "pairs: tiny and others"),
    ):
        with pytest.raises(DataError, match=message):
            compare_reports(report, other)
    networks = [InceptionNetwork(name, Colours(), "as they are") for name in ("one", "two")]
    scored = [
        evaluate(pipe, store, pairs, "tiny", options=EvaluationOptions(inception=network)) for network in networks
    ]
    with pytest.raises(DataError, match=r"network.*\bone\b.*\btwo\b"):
        compare_reports(*scored)
    assert compare_reports(report, scored[0]).differences["coarse"]["ssim"] == 0

    scores = PairScores.read(tmp_path / "pairs.csv")
    reordered = PairScores(scores.names[::-1], scores.columns, scores.values.flip(0))
    with pytest.raises(DataError, match=r"pairs.*\bunnamed\b"):
        compare_reports(report, report, scores, reordered)
    with pytest.raises(DataError, match="needs the scores of both"):
        compare_reports(report, report, scores)


@pytest.mark.parametrize(
    "text", ["", "a,b,c\n1,2,3\n", "from,to,refined_ssim\n", "from,to,x\na,b,c\n", "from,to,x\na,b\n"]
)
def test_files_that_hold_no_scores_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=r"pairs\.csv"):
        PairScores.read(tmp_path / "pairs.csv")


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    values = torch.tensor([[0.25, math.nan], [0.1234567, 7]], dtype=torch.float64)
    scores = PairScores((("a.jpg", "b, c.jpg"), ("b, c.jpg", "a.jpg")), ("refined_ssim", "refined_l1"), values)
    with (tmp_path / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        scores.write(file)
    lines = (tmp_path / "pairs.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["from,to,refined_ssim,refined_l1", 'a.jpg,"b, c.jpg",0.250000,']
    read = PairScores.read(tmp_path / "pairs.csv")
    assert (read.names, read.columns) == (scores.names, scores.columns)
    assert torch.allclose(read.values, values, rtol=0, atol=5e-7, equal_nan=True)


def test_scores_are_asked_for_by_column(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("from,to,refined_ssim,refined_l1\na,b,0.5,\nb,a,0.25,7\n")
    scores = PairScores.read(tmp_path / "pairs.csv")
    assert scores.names == (("a", "b"), ("b", "a"))
    assert scores["refined_ssim"].tolist() == [0.5, 0.25]
    assert math.isnan(scores["refined_l1"][0]) and float(scores["refined_l1"][1]) == 7
    with pytest.raises(DataError, match="'ssim'.*refined_ssim, refined_l1"):
        scores["ssim"]


def test_the_intervals_of_a_report_are_drawn_with_its_seed() -> None:
    values = torch.randn(30, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = PairScores((("a", "b"),) * 30, ("refined_ssim",), values)
    for seed in (0, 1):
        low, high = bootstrap_intervals(values, seed=seed)[:, 0].tolist()
        assert scores.figures(["refined"], seed)["refined"]["ssim"].interval == (low, high)
    assert scores.figures(["refined"], 0) != scores.figures(["refined"], 1)


@pytest.mark.parametrize("field", ["lpips", "detector"])
def test_reports_that_name_other_networks_are_not_compared(field: str) -> None:
    def report(network: str | None) -> EvaluationReport:
        return EvaluationReport({}, 2, "released", "target", {"name": "m"}, "two", 1.0, {}, **{field: network})

    compare_reports(report("one"), report("one"))
    compare_reports(report("one"), report(None))  # what a report lacks is not compared
    with pytest.raises(DataError, match="one and other"):
        compare_reports(report("one"), report("other"))
