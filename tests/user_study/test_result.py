"""The results of a study."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from pg2lib import DataError
from pg2lib.user_study import Protocol, Study, StudyResult, results
from pg2lib.user_study.result import bootstrap, wilson
from tests.user_study.conftest import make, rate


def rows_of(result: StudyResult) -> list[list[str]]:
    """The cells of the Markdown table, without its head."""
    lines = [line for line in result.to_markdown().splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_without_raters_the_table_is_empty_and_says_so(study: Study) -> None:
    result = results(study.folder)
    assert (result.raters, result.answers, result.models["one"].raters) == (0, 0, 0)
    assert rows_of(result)[0] == ["one", "0", "0", *["–"] * 6]
    assert "0 raters, 0 answers" in result.to_markdown()
    assert json.loads(result.to_json())["models"]["one"]["r2g"]["wilson"] == [None, None]


def test_r2g_and_g2r_are_the_shares_of_wrong_answers(tmp_path: Path) -> None:
    """Anna takes everything for real, Bert is always right; practice does not count, whatever is said there."""
    study = make(tmp_path, Protocol(real=13, generated=9, practice=4), pool=13)
    rate(study.session("anna", "one"), lambda position, truth: True)
    rate(study.session("bert", "one"), lambda position, truth: truth if position >= 4 else not truth)
    result = results(study)
    judged = result.models["one"]
    assert judged.raters == 2
    assert (judged.r2g.wrong, judged.r2g.shown) == (0, 22)
    assert (judged.g2r.wrong, judged.g2r.shown) == (7, 14)
    assert (judged.r2g.value, judged.g2r.value) == (0.0, 0.5)
    assert judged.r2g.wilson == pytest.approx(wilson(0, 22)) and judged.r2g.over_raters == (0.0, 0.0)
    assert judged.g2r.over_raters == (0.0, 1.0), "one rater of two is never sure"
    assert result.excluded["practice"] == 8
    assert result.answers == 44


def test_models_are_judged_apart(tmp_path: Path) -> None:
    study = make(tmp_path, models=("one", "two"))
    rate(study.session("anna", "one"), lambda position, truth: truth)
    rate(study.session("anna", "two"), lambda position, truth: not truth)
    models = results(study).models
    assert (models["one"].r2g.value, models["one"].g2r.value) == (0.0, 0.0)
    assert (models["two"].r2g.value, models["two"].g2r.value) == (1.0, 1.0)


def test_every_answer_is_counted_or_its_exclusion_is_stated(study: Study) -> None:
    broken_off = study.session("anna", "one")
    for position in range(5):
        broken_off.answer(position, True, 1000, 500)
    session = study.session("bert", "one")
    for position, (exposure, showings) in enumerate(
        [(1000, 1), (1000, 1), (799, 1), (1301, 1), (800, 1), (1300, 1), (1000, 2), (100, 2)]
    ):
        session.answer(position, True, exposure, 500, showings)
    result = results(study)
    assert result.excluded == {
        "practice": 4, "in unfinished sessions": 3, "exposure too short or long": 3, "shown again": 1,
    }  # fmt: skip
    judged = result.models["one"]
    assert judged.r2g.shown + judged.g2r.shown == 2
    assert result.answers == 2 + sum(result.excluded.values())
    assert result.incomplete_sessions == 1
    text = result.to_markdown()
    assert "noise: 2 raters, 13 answers." in text
    assert "practice 4, in unfinished sessions 3, exposure too short or long 3, shown again 1" in text

    lenient = results(study, tolerance=(0.0, 2.0))
    assert lenient.excluded == {
        "practice": 4, "in unfinished sessions": 3, "exposure too short or long": 0, "shown again": 2,
    }  # fmt: skip
    with pytest.raises(DataError, match="tolerance"):
        results(study, tolerance=(1.3, 0.8))


def test_the_tolerance_goes_with_the_exposure(tmp_path: Path) -> None:
    study = make(tmp_path, Protocol(real=4, generated=4, practice=2, exposure_s=0.5))
    rate(study.session("anna", "one"), lambda position, truth: truth, exposure_ms=1000)
    assert results(study).excluded["exposure too short or long"] == 6
    rate(study.session("bert", "one"), lambda position, truth: truth, exposure_ms=500)
    assert results(study).models["one"].raters == 1


def test_wilson_is_where_the_score_test_just_does_not_reject() -> None:
    """Its definition: at either end p, the share found lies 1.96 standard errors of p away."""
    for wrong, shown in ((0, 10), (1, 50), (7, 30), (25, 50), (50, 50), (139, 1500)):
        share = wrong / shown
        for end in wilson(wrong, shown):
            if end in (0.0, 1.0):
                assert share == end
            else:
                assert abs(share - end) / math.sqrt(end * (1 - end) / shown) == pytest.approx(1.959964, abs=1e-5)
    assert wilson(10, 100) == pytest.approx((0.0552, 0.1744), abs=5e-5)  # a textbook's figures
    assert all(map(math.isnan, wilson(0, 0)))


def test_the_bootstrap_draws_raters_and_not_answers() -> None:
    generator = np.random.default_rng(0)
    alike = np.stack([generator.binomial(50, 0.3, size=40), np.full(40, 50)], axis=1)
    apart = np.array([[45, 50]] * 13 + [[0, 50]] * 27)  # nearly the same share of all answers
    low, high = bootstrap(alike, 4_000, seed=1)
    # Of answers that do not depend on their rater the interval is the normal one.
    half = 1.96 * math.sqrt(0.3 * 0.7 / 2000)
    assert high - low == pytest.approx(2 * half, rel=0.3)
    wide_low, wide_high = bootstrap(apart, 4_000, seed=1)
    assert wide_high - wide_low > 5 * (high - low), "raters who differ make the share less sure"
    assert bootstrap(apart, 4_000, seed=1) == (wide_low, wide_high)
    assert all(map(math.isnan, bootstrap(apart[:1], 100, seed=1)))
    assert all(map(math.isnan, bootstrap(np.array([[1, 2], [0, 0]]), 100, seed=1)))


def test_published_figures_stand_beside_and_are_marked(study: Study) -> None:
    rate(study.session("anna", "one"), lambda position, truth: truth)
    result = results(study)
    assert rows_of(result)[1:] == [
        ["G1+D, DeepFashion †", "30", "–", "–", "–", "–", "9.3 %", "–", "–"],
        ["G1+G2+D, DeepFashion †", "30", "–", "–", "–", "–", "14.9 %", "–", "–"],
    ]
    assert "† published, not verified against the PDF" in result.to_markdown()
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert [row["source"] for row in rows] == ["this study", *["published, not verified against the PDF"] * 2]
    assert [float(row["g2r"]) for row in rows] == [0.0, 0.093, 0.149]
    assert (rows[0]["g2r_wrong"], rows[0]["g2r_shown"], rows[1]["r2g"]) == ("0", "3", "")


def test_latex_has_its_columns_and_escapes(tmp_path: Path) -> None:
    study = make(tmp_path, models=("50%_a&b",))
    latex = results(study).to_latex()
    assert r"50\%\_a\&b" in latex and r"9.3 \%" in latex and "†" not in latex and "–" not in latex
    rows = [line for line in latex.splitlines() if line.endswith(r"\\") or line.endswith(r"\\ \hline")]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {8}
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1


def test_a_result_is_saved_in_four_forms(study: Study, tmp_path: Path) -> None:
    rate(study.session("anna", "one"), lambda position, truth: truth)
    result = results(study)
    paths = result.save(tmp_path / "out")
    assert [path.name for path in paths] == ["table2.md", "table2.csv", "table2.tex", "table2.json"]
    assert [path.read_text(encoding="utf-8") for path in paths] == [
        result.to_markdown(), result.to_csv(), result.to_latex(), result.to_json(),
    ]  # fmt: skip
    assert json.loads(paths[3].read_text())["models"]["one"]["g2r"]["shown"] == 3


def test_exposures_are_summed_up_from_the_5th_to_the_95th_percentile(study: Study) -> None:
    """Of 900, 910, ..., 970 ms, eight values and seven steps between them."""
    session = study.session("anna", "one")
    for position in range(8):
        session.answer(position, True, 900 + 10 * position, 500 + 100 * position)
    result = results(study)
    assert result.exposure_ms == pytest.approx((903.5, 935.0, 966.5))
    assert result.response_ms == pytest.approx((535.0, 850.0, 1165.0))


def test_the_interval_over_raters_is_that_of_their_mean() -> None:
    """Raters with equally many answers: their mean share, within 1.96 standard errors by the central limit theorem."""
    wrong = np.random.default_rng(0).binomial(50, 0.3, size=60)
    low, high = bootstrap(np.stack([wrong, np.full(60, 50)], axis=1), 20_000, seed=1)
    half = 1.96 * (wrong / 50).std() / math.sqrt(60)
    assert (low + high) / 2 == pytest.approx((wrong / 50).mean(), abs=0.1 * half)
    assert high - low == pytest.approx(2 * half, rel=0.04)
