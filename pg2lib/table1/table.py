"""The table: the figures of every row beside the published ones, as a data frame, Markdown, LaTeX and CSV."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import pandas as pd

from pg2lib.config import TABLE1_ROWS
from pg2lib.errors import DataError
from pg2lib.evaluation.compare import compare_reports
from pg2lib.evaluation.report import METRICS, EvaluationReport, Figure, figure_cell
from pg2lib.files import atomic_write
from pg2lib.metrics.inception import INCEPTION_2015
from pg2lib.table1.folder import read_report, read_stamp, scores_folder
from pg2lib.tables import markdown_table

COLUMNS = {"ssim": "SSIM", "is": "IS", "mask_ssim": "mask-SSIM", "mask_is": "mask-IS"}
"""Titles of the paper's columns, in its order."""

PUBLISHED: dict[str, dict[str, tuple[float | None, ...]]] = {
    "market1501": {
        "G1-poseMaskLoss": (0.340, 3.326, 0.817, 2.682),
        "G1+D": (0.283, 3.490, 0.803, 3.310),
        "G1+G2+D": (0.253, 3.460, 0.792, 3.435),
    },
    "deepfashion": {
        "G1-poseMaskLoss": (0.779, 2.668, None, None),
        "G1+D": (0.761, 3.091, None, None),
        "G1+G2+D": (0.762, 3.090, None, None),
    },
}
"""Table 1 of the paper by data set and row, in the order of COLUMNS, transcribed second-hand. The rows CE, HME and L1
are left out, because the available copies contradict the paper's text."""


@dataclass(frozen=True)
class Table1:
    """The reports of the rows on one list of test pairs.

    Attributes:
        reports: Reports by row, at least one.
        folder: Folder of the table, with the models and the pictures.
    """

    reports: Mapping[str, EvaluationReport]
    folder: Path

    @property
    def synthetic(self) -> bool:
        """Whether the test images show synthetic people, and may be shown to anybody."""
        return all(report.provenance.get("synthetic", False) for report in self.reports.values())

    @property
    def published(self) -> Mapping[str, tuple[float | None, ...]]:
        """Published figures for the test data by row, in the order of COLUMNS; empty if the paper has none."""
        first = next(iter(self.reports.values())).provenance
        return {} if first.get("synthetic") else PUBLISHED.get(first.get("layout", ""), {})

    def to_frame(self) -> pd.DataFrame:
        """Return the figures as numbers: one line per row, with columns such as "ssim_mean" and "ssim_published".

        Every metric has its mean, its standard deviation over pairs ("std"; for "is" and "mask_is" over the splits) and
        the ends of the bootstrap 95 % interval of the mean ("low", "high"). What was not measured is NaN.
        """
        lines = []
        for row, report in self.reports.items():
            line: dict[str, float | None] = {}
            for column, figure in _figures(report).items():
                shown = figure or Figure(math.nan, math.nan)
                low, high = shown.interval or (math.nan, math.nan)
                line |= {f"{column}_mean": shown.mean, f"{column}_std": shown.std}
                line |= {f"{column}_low": low, f"{column}_high": high}
            line["pckh"] = report.poses["refined"].pckh if report.poses else None
            published = self.published.get(row, (None,) * len(COLUMNS))
            line |= {f"{column}_published": value for column, value in zip(COLUMNS, published, strict=True)}
            lines.append(line)
        frame: pd.DataFrame = pd.DataFrame(lines, index=pd.Index(list(self.reports), name="model"), dtype=float)
        return frame

    def to_csv(self) -> str:
        """Return `to_frame` as CSV; what was not measured is an empty cell."""
        return self.to_frame().to_csv(float_format="%.6f", lineterminator="\n")

    def to_latex(self) -> str:
        """Return the means of the paper's columns as a LaTeX table, for the package booktabs."""
        means = self.to_frame()[[f"{column}_mean" for column in COLUMNS]].set_axis(list(COLUMNS.values()), axis=1)
        return str(means.rename_axis(None).to_latex(float_format="%.3f", na_rep="--"))

    def to_markdown(self) -> str:
        """Return the paper's columns beside the published figures, the other metrics, and notes on how to read them."""
        figures, frame = {row: _figures(report) for row, report in self.reports.items()}, self.to_frame()
        paper: dict[str, Sequence[str | None]] = {"model": list(figures)}
        for column, title in COLUMNS.items():
            decimals = METRICS[column].decimals if column in METRICS else 3
            paper[title] = [figure_cell(row[column], decimals) for row in figures.values()]
            if self.published:
                paper[f"{title}, published"] = _texts(frame[f"{column}_published"], ".3f")
        other: dict[str, Sequence[str | None]] = {"model": list(figures)}
        for column, metric in METRICS.items():
            if column not in COLUMNS and any(column in row for row in figures.values()):
                other[metric.title] = [figure_cell(row.get(column), metric.decimals) for row in figures.values()]
        if frame["pckh"].notna().any():
            other["PCKh@0.5"] = _texts(frame["pckh"], ".1%")
        tables = [markdown_table(pd.DataFrame(columns)) for columns in (paper, other)]
        return "\n\n".join([*tables, "\n".join(f"- {note}" for note in self._notes())]) + "\n"

    def write(self, path: Path) -> None:
        """Write the table to three files whose names are `path` with the endings .md, .csv and .tex."""
        for ending, text in (("md", self.to_markdown()), ("csv", self.to_csv()), ("tex", self.to_latex())):
            with atomic_write(path.with_name(f"{path.name}.{ending}")) as file:
                file.write(text)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def _notes(self) -> Iterator[str]:
        report = next(iter(self.reports.values()))
        yield (
            f"Scored on {report.data}, {report.pairs:,} pairs: SSIM dialect `{report.dialect}`, pose mask of the "
            f"{report.mask_from} image; mean ± standard deviation over pairs [bootstrap 95 % interval of the mean]. "
            f"L1 is in grey levels (0 to 255), PSNR in dB, and sharpness is relative to the target image (1)."
        )
        score = report.sets["refined"].inception_score if report.sets else None
        if score is None:
            yield f"IS and mask-IS need an Inception network: `--inception {INCEPTION_2015}` scores the same weights."
        else:
            other = "" if score.network == INCEPTION_2015 else "; not comparable with the published scores"
            yield (
                f"IS and mask-IS: {score.network}, {score.resize}, {score.images:,} images, ± over {score.splits} "
                f"splits, not pairs{other}."
            )
        if report.poses:
            images = report.poses["refined"].images_with_head
            yield f"PCKh@0.5: share of joints within half a head size, by {report.detector} on {images:,} images."
        if self.published:
            yield (
                "Figures of Ma et al. 2017, Table 1: published, not verified against the PDF. The rows CE, HME and L1 "
                "have none here, because the available copies contradict the paper's text."
            )
        for text, rows in group_rows({row: _made(report) for row, report in self.reports.items()}).items():
            yield f"{rows}: {text}."


def group_rows(texts: Mapping[str, str]) -> dict[str, str]:
    """Return every text with the names of the rows that have it, separated by commas."""
    return {text: ", ".join(row for row in texts if texts[row] == text) for text in texts.values()}


def read_table1(
    folder: str | PathLike[str], rows: Sequence[str] = tuple(TABLE1_ROWS), also: str | None = None
) -> Table1:
    """Read the table in a folder that `make_table1` filled.

    Args:
        folder: The folder.
        rows: Names of the rows, among `TABLE1_ROWS`.
        also: Folder name of a further list of test pairs (see `list_name`); None for the table's own pairs.

    Raises:
        DataError: A row has not been scored; the rows were scored on other pairs, in another dialect, or with another
            mask, network or detector; or a row has been trained again since it was scored on the further list.
    """
    table = Path(folder)
    reports = {row: read_report(scores_folder(table, row, also)) for row in rows}
    for row, report in reports.items():
        try:
            compare_reports(reports[rows[0]], report)
        except DataError as error:
            raise DataError(f"{table}: {rows[0]} and {row} cannot share a table: {error}. Score both again") from error
        place = scores_folder(table, row, also)
        if read_stamp(place).get("weights") != read_stamp(table / row).get("weights"):
            raise DataError(
                f"{place} holds scores of earlier weights of {row}. Make the table again with this list among the test "
                f"pairs, or remove the folder"
            )
    return Table1(reports, table)


def _figures(report: EvaluationReport) -> dict[str, Figure | None]:
    """Return the figures of the refined result: the paper's columns, None where not measured, then other metrics."""
    scores = report.sets.get("refined")
    sets = {"is": scores and scores.inception_score, "mask_is": scores and scores.mask_inception_score}
    figures = {name: score and Figure(score.mean, score.std) for name, score in sets.items()}
    return dict.fromkeys(COLUMNS) | figures | dict(report.figures["refined"])


def _texts(values: Iterable[float], spec: str) -> list[str | None]:
    return [None if math.isnan(value) else format(value, spec) for value in values]


def _made(report: EvaluationReport) -> str:
    made = report.provenance
    code = f"pg2lib {made['pg2lib']}, commit {made['commit'] or 'unknown'}, {made['hardware']}"
    return f"trained on {made.get('training_data', 'unknown data')}; scored with {code}"
