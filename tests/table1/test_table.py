"""The table: one set of figures in every format, beside the published ones, and what cannot share a table."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from pg2lib import DataError
from pg2lib.evaluation.report import SetScores
from pg2lib.metrics.pose import PoseScores
from pg2lib.table1 import read_table1
from pg2lib.table1.table import PUBLISHED
from tests.table1.conftest import Write, report, score

ROWS = ("G1-L1", "G1-poseMaskLoss", "G1+D")


def columns(markdown: str) -> dict[str, dict[str, str]]:
    """Cells of all Markdown tables by row and title."""
    rows: dict[str, dict[str, str]] = {}
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    head: list[str] = []
    for cells in lines:
        if cells[0] == "model":
            head = cells
        elif not set(cells[0]) <= {"-", ":"}:
            rows.setdefault(cells[0], {}).update(zip(head[1:], cells[1:], strict=True))
    return rows


def test_all_formats_hold_the_figures_of_the_reports(write: Write) -> None:
    reports = [report(row, 0.25 + number / 10) for number, row in enumerate(ROWS)]
    table = read_table1(write(*reports), ROWS)
    cells, latex = columns(table.to_markdown()), table.to_latex().splitlines()
    csv = pd.read_csv(io.StringIO(table.to_csv()), index_col="model")
    assert list(cells) == list(csv.index) == list(ROWS)
    for row, ssim in zip(ROWS, (0.25, 0.35, 0.45), strict=True):
        assert cells[row]["SSIM"] == f"{ssim:.4f} ± 0.0625 [{ssim - 0.01:.4f}, {ssim + 0.01:.4f}]"
        assert cells[row]["mask-SSIM"] == "0.7500 ± 0.0500"
        assert cells[row]["IS"] == cells[row]["mask-IS"] == "–"
        assert cells[row]["PSNR"] == "12.50 ± 1.50 [12.00, 13.00]"
        (line,) = (line for line in latex if line.startswith(f"{row} &"))
        assert line.split() == [row, "&", f"{ssim:.3f}", "&", "--", "&", "0.750", "&", "--", r"\\"]
        parts = csv.loc[row, ["ssim_mean", "ssim_std", "ssim_low", "ssim_high"]]
        assert parts.tolist() == pytest.approx([ssim, 0.0625, ssim - 0.01, ssim + 0.01])
        assert csv.loc[row, ["is_mean", "mask_ssim_low", "pckh"]].isna().all()
    assert "tiny people" in table.to_markdown()


@pytest.mark.parametrize("layout", PUBLISHED)
def test_published_figures_stand_beside_the_row_and_column_they_belong_to(write: Write, layout: str) -> None:
    provenance = {**report("").provenance, "layout": layout}
    table = read_table1(write(*(report(row, provenance=provenance) for row in ROWS)), ROWS)
    cells, frame = columns(table.to_markdown()), table.to_frame()
    for row in ROWS:
        published = PUBLISHED[layout].get(row, (None,) * 4)
        for title, column, value in zip(
            ("SSIM", "IS", "mask-SSIM", "mask-IS"), ("ssim", "is", "mask_ssim", "mask_is"), published, strict=True
        ):
            assert cells[row][f"{title}, published"] == ("–" if value is None else f"{value:.3f}")
            kept = frame.loc[row, f"{column}_published"]
            assert math.isnan(kept) if value is None else kept == value
    assert "published, not verified against the PDF" in table.to_markdown()


@pytest.mark.parametrize("origin", [{"synthetic": True}, {"layout": "photos"}])
def test_other_data_have_no_published_figures(write: Write, origin: dict[str, Any]) -> None:
    table = read_table1(write(report("G1+D", provenance={**report("").provenance, **origin})), ["G1+D"])
    assert table.synthetic == origin.get("synthetic", False)
    assert "published" not in table.to_markdown()
    assert table.to_frame()["ssim_published"].isna().all()


@pytest.mark.parametrize("network", ["inception2015", "mine.pt"])
def test_inception_scores_and_poses_fill_their_columns(write: Write, network: str) -> None:
    sets = {"refined": SetScores(score(3.5, network), score(2.5, network), None)}
    poses = {"refined": PoseScores(**{**dict.fromkeys(PoseScores.__annotations__, 0), "pckh": 0.875})}
    table = read_table1(write(report("G1+D", sets=sets, poses=poses, detector="a detector")), ["G1+D"])
    cells, text = columns(table.to_markdown())["G1+D"], table.to_markdown()
    assert (cells["IS"], cells["mask-IS"]) == ("3.500 ± 0.125", "2.500 ± 0.125")
    assert cells["PCKh@0.5"] == "87.5%"
    assert f"{network}, to 299x299, 24 images" in text
    assert ("not comparable" in text) == (network != "inception2015")
    assert table.to_frame().loc["G1+D", ["is_mean", "mask_is_std", "pckh"]].tolist() == [3.5, 0.125, 0.875]


def test_rows_with_other_training_data_are_told_apart(write: Write) -> None:
    other = {**report("").provenance, "training_data": "elsewhere"}
    text = read_table1(write(*map(report, ROWS[:2]), report("G1+D", provenance=other)), ROWS).to_markdown()
    assert "- G1-L1, G1-poseMaskLoss: trained on Market-1501 train, 12,936 images; scored with pg2lib 0.1.0" in text
    assert "- G1+D: trained on elsewhere; scored with pg2lib 0.1.0, commit abc, NVIDIA H200" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"pairs_digest": "other"},
        {"pairs": 10},
        {"dialect": "gfla"},
        {"mask_from": "condition"},
        {"detector": "another"},
        {"sets": {"refined": SetScores(score(3.0, "another"), None, None)}},
        {"sets": {"refined": SetScores(replace(score(3.0), resize="as they are"), None, None)}},
    ],
)
def test_rows_that_were_scored_otherwise_cannot_share_a_table(write: Write, changes: dict[str, Any]) -> None:
    first = report("G1-L1", detector="one", sets={"refined": SetScores(score(3.0), None, None)})
    folder = write(first, replace(first, model={"name": "G1+D"}, **changes))
    with pytest.raises(DataError, match=r"G1-L1.*G1\+D"):
        read_table1(folder, ["G1-L1", "G1+D"])


def test_a_further_list_has_a_table_of_its_own(write: Write) -> None:
    write(report("G1-L1"), report("G1+D"))
    folder = write(report("G1-L1", 0.5, data="a list"), report("G1+D", 0.625, data="a list"), also="also/list")
    table = read_table1(folder, ["G1-L1", "G1+D"], "list")
    assert table.to_frame()["ssim_mean"].tolist() == [0.5, 0.625]
    assert "a list" in table.to_markdown()


def test_a_further_list_that_earlier_weights_were_scored_on_is_refused(write: Write) -> None:
    write(report("G1-L1"))
    folder = write(report("G1-L1"), also="also/list")
    for place, weights in ((folder / "G1-L1", "new"), (folder / "G1-L1" / "also" / "list", "old")):
        (place / "report.stamp.json").write_text(json.dumps({"weights": weights}))
    read_table1(folder, ["G1-L1"])
    with pytest.raises(DataError, match="also/list.*weights"):
        read_table1(folder, ["G1-L1"], "list")


def test_a_row_that_was_not_scored_is_named(write: Write) -> None:
    with pytest.raises(DataError, match=r"G1\+D/report\.json"):
        read_table1(write(report("G1-L1")), ["G1-L1", "G1+D"])


@pytest.mark.parametrize("damaged", [b"{", b"[]", b"\xff\xfe\x00"])
def test_a_damaged_report_is_named(write: Write, damaged: bytes) -> None:
    folder = write(report("G1-L1"))
    (folder / "G1-L1" / "report.json").write_bytes(damaged)
    with pytest.raises(DataError, match=r"G1-L1/report\.json"):
        read_table1(folder, ["G1-L1"])


def test_the_published_figures() -> None:
    """Typed a second time: SSIM, IS, mask-SSIM and mask-IS of Table 1."""
    typed = """
        market1501 G1-poseMaskLoss .340 3.326 .817 2.682
        market1501 G1+D .283 3.490 .803 3.310
        market1501 G1+G2+D .253 3.460 .792 3.435
        deepfashion G1-poseMaskLoss .779 2.668 - -
        deepfashion G1+D .761 3.091 - -
        deepfashion G1+G2+D .762 3.090 - -
    """
    lines = [line.split() for line in typed.strip().splitlines()]
    assert {(layout, row): figures for layout, rows in PUBLISHED.items() for row, figures in rows.items()} == {
        (layout, row): tuple(None if figure == "-" else float(figure) for figure in figures)
        for layout, row, *figures in lines
    }
