"""The results of a user study, Table 2 of the paper.

R2G is the share of real images that raters take for generated ones, G2R the share of generated images that they take
for real ones.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pg2lib.errors import DataError
from pg2lib.files import atomic_write
from pg2lib.provenance import provenance
from pg2lib.tables import markdown_table
from pg2lib.user_study.study import Study

PUBLISHED_RATERS = 30
PUBLISHED_G2R = {("DeepFashion", "G1+D"): 0.093, ("DeepFashion", "G1+G2+D"): 0.149}
"""G2R by data set and model, as the text of the paper gives it. The paper's table also has R2G and Market-1501."""
PUBLISHED_MARK = "published, not verified against the PDF"
PUBLISHED_REST = "On Market-1501 the paper has lower G2R, and R2G above 10 %."

TOLERANCE = (0.8, 1.3)
RESAMPLES = 2_000
SEED = 0
Z95 = 1.959963984540054
"""95 % of the standard normal distribution lie within this many standard deviations of the mean."""

Interval = tuple[float, float]
NO_INTERVAL: Interval = (math.nan, math.nan)


@dataclass(frozen=True)
class Share:
    """A share of wrong answers.

    Attributes:
        wrong: number of wrong answers.
        shown: number of answers.
        wilson: 95 % Wilson interval of the share, which assumes that all answers are independent. NaN if there are no
            answers.
        over_raters: 95 % bootstrap interval over raters, which allows for differences between them. This is the
            interval to report for ten raters or more. NaN if there are fewer than two.
    """

    wrong: int
    shown: int
    wilson: Interval
    over_raters: Interval

    @property
    def value(self) -> float:
        """The share; NaN if there are no answers."""
        return self.wrong / self.shown if self.shown else math.nan


@dataclass(frozen=True)
class ModelResult:
    """The result for one model.

    Attributes:
        raters: number of raters whose answers count.
        r2g: share of the real images that were taken for generated ones.
        g2r: share of the generated images that were taken for real ones.
    """

    raters: int
    r2g: Share
    g2r: Share


@dataclass(frozen=True)
class StudyResult:
    """The result of a user study, with what is needed to interpret it.

    Attributes:
        title: title of the study.
        data: name of the data set.
        protocol: fields of the study's protocol.
        models: results by the name of the model.
        raters: number of raters who have begun a session.
        answers: number of stored answers, including those that do not count.
        excluded: number of answers that do not count, by reason.
        incomplete_sessions: number of sessions that are not finished.
        tolerance: shortest and longest exposure that counts, as a fraction of the protocol's.
        exposure_ms: 5th, 50th and 95th percentile of the exposure over all stored answers, in milliseconds; NaN if
            there are none.
        response_ms: the same of the response time.
        made_with: version, commit and hardware with which the study was made.
        provenance: version, commit and hardware with which the result was computed.
    """

    title: str
    data: str
    protocol: Mapping[str, Any]
    models: Mapping[str, ModelResult]
    raters: int
    answers: int
    excluded: Mapping[str, int]
    incomplete_sessions: int
    tolerance: Interval
    exposure_ms: tuple[float, float, float]
    response_ms: tuple[float, float, float]
    made_with: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the whole result as indented JSON, with null for NaN."""
        return json.dumps(_without_nan(asdict(self)), indent=2, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """Return the table as Markdown, with the published values below ours, and the notes."""
        return "\n".join([markdown_table(self._table()), "", *(f"{note}\n" for note in self.notes())]).rstrip() + "\n"

    def to_latex(self) -> str:
        """Return the table as a LaTeX ``tabular`` for the package booktabs, with the notes as comments."""
        table = str(self._table().to_latex(index=False, escape=True))
        notes = [f"% {note}" for note in self.notes()]
        return "\n".join([*notes, table]).replace("†", r"$\dagger$").replace("–", "--") + "\n"

    def to_csv(self) -> str:
        """Return one row per model as CSV, ours first and then the published ones; shares are fractions of 1."""
        rows: list[dict[str, Any]] = []
        for model, result in self.models.items():
            shares = {**_columns("r2g", result.r2g), **_columns("g2r", result.g2r)}
            rows.append({"source": "this study", "data": self.data, "model": model, "raters": result.raters, **shares})
        for (data, model), g2r in PUBLISHED_G2R.items():
            rows.append(
                {"source": PUBLISHED_MARK, "data": data, "model": model, "raters": PUBLISHED_RATERS, "g2r": g2r}
            )
        table = pd.DataFrame(rows).convert_dtypes(convert_string=False, convert_floating=False)
        return str(table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))

    def notes(self) -> list[str]:
        """Return the sentences that belong below the table."""
        protocol = self.protocol
        low, high = self.tolerance
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.excluded.items())
        commit = self.provenance["commit"] or "unknown"
        return [
            "R2G: share of real images rated as generated. G2R: share of generated images rated as real. Wilson: 95 % "
            f"interval over answers. Over raters: 95 % bootstrap interval over raters ({RESAMPLES:,} resamples).",
            f"{self.data}: {_counted(self.raters, 'rater')}, {_counted(self.answers, 'answer')}. "
            f"Not counted: {reasons}. Unfinished sessions: {self.incomplete_sessions:,}. "
            f"An answer counts if the exposure was {low:g} to {high:g} times {protocol['exposure_s']:g} s.",
            f"A session has {protocol['real']} real and {protocol['generated']} generated images, of which the first "
            f"{protocol['practice']} are practice. Median (5th to 95th percentile) of the measured exposure: "
            f"{_times(self.exposure_ms)}; of the response time: {_times(self.response_ms)}.",
            f"† {PUBLISHED_MARK}. {PUBLISHED_REST}",
            f"pg2lib {self.provenance['pg2lib']}, commit {commit}.",
        ]

    def save(self, folder: str | PathLike[str]) -> list[Path]:
        """Write ``table2.md``, ``.csv``, ``.tex`` and ``.json`` into a folder and return their paths."""
        texts = {".md": self.to_markdown(), ".csv": self.to_csv(), ".tex": self.to_latex(), ".json": self.to_json()}
        paths = [Path(folder) / f"table2{suffix}" for suffix in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            with atomic_write(path) as file:
                file.write(text)
        return paths

    def _table(self) -> pd.DataFrame:
        """Return the cells of the table as text."""
        rows: list[list[str]] = []
        for model, result in self.models.items():
            answers = result.r2g.shown + result.g2r.shown
            rows.append([model, f"{result.raters:,}", f"{answers:,}", *_cells(result.r2g), *_cells(result.g2r)])
        for (data, model), g2r in PUBLISHED_G2R.items():
            rows.append([f"{model}, {data} †", f"{PUBLISHED_RATERS}", *["–"] * 4, _percent(g2r), "–", "–"])
        shares = [f"{name}{end}" for name in ("R2G", "G2R") for end in ("", ", Wilson", ", over raters")]
        table: pd.DataFrame = pd.DataFrame(rows, columns=["model", "raters", "answers", *shares])
        return table

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def results(study: Study | str | PathLike[str], tolerance: Interval = TOLERANCE) -> StudyResult:
    """Compute the result of a user study from the answers so far.

    Practice answers do not count, nor do answers of unfinished sessions and answers for images that were shown more
    than once or for a time outside the tolerance. The result states how many these are.

    Args:
        study: study or its folder.
        tolerance: shortest and longest exposure that counts, as a fraction of `Protocol.exposure_s`.

    Raises:
        DataError: the folder holds no study, or the tolerance is not a lower and a higher fraction.
    """
    study = study if isinstance(study, Study) else Study.open(study)
    low, high = tolerance
    if not 0 <= low < high:
        raise DataError(f"tolerance: expected a lower and a higher fraction of the exposure, got {tolerance}")
    with study.database() as database:
        answers = [_Answer(*row) for row in database.execute(f"SELECT {', '.join(_Answer._fields)} FROM answers")]
        sessions = database.execute("SELECT rater, model FROM sessions").fetchall()
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for answer in answers:
        counts[answer.rater, answer.model] += 1
    unfinished = {tuple(session) for session in sessions if counts[tuple(session)] < study.protocol.images}
    limits_ms = (low * study.protocol.exposure_s * 1000, high * study.protocol.exposure_s * 1000)
    excluded = dict.fromkeys(("practice", "in unfinished sessions", "exposure too short or long", "shown again"), 0)
    counted: dict[str, list[_Answer]] = {model: [] for model in study.models}
    for answer in answers:
        if answer.position < study.protocol.practice:
            excluded["practice"] += 1
        elif (answer.rater, answer.model) in unfinished:
            excluded["in unfinished sessions"] += 1
        elif not limits_ms[0] <= answer.exposure_ms <= limits_ms[1]:
            excluded["exposure too short or long"] += 1
        elif answer.showings > 1:
            excluded["shown again"] += 1
        else:
            counted[answer.model].append(answer)
    real = set(study.real)
    return StudyResult(
        title=study.title,
        data=study.data,
        protocol=asdict(study.protocol),
        models={model: _judge(of_model, real) for model, of_model in counted.items()},
        raters=len({session["rater"] for session in sessions}),
        answers=len(answers),
        excluded=excluded,
        incomplete_sessions=len(unfinished),
        tolerance=(low, high),
        exposure_ms=_percentiles([answer.exposure_ms for answer in answers]),
        response_ms=_percentiles([answer.response_ms for answer in answers]),
        made_with=study.made_with,
        provenance=provenance(),
    )


class _Answer(NamedTuple):
    rater: str
    model: str
    position: int
    image: str
    says_real: int
    exposure_ms: float
    response_ms: float
    showings: int


def _judge(answers: Iterable[_Answer], real: set[str]) -> ModelResult:
    """Return the result for the model that the answers are about."""
    per_rater: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros((2, 2), dtype=np.int64))
    for answer in answers:
        is_real = answer.image in real
        kind = 0 if is_real else 1
        per_rater[answer.rater][kind] += (bool(answer.says_real) != is_real, 1)
    table = np.array([per_rater[rater] for rater in sorted(per_rater)]).reshape(-1, 2, 2)  # rater, kind, (wrong, shown)
    r2g, g2r = (_share(table[:, kind]) for kind in range(2))
    return ModelResult(len(table), r2g, g2r)


def _share(table: NDArray[np.int64]) -> Share:
    """Return the share of wrong answers of all raters from (wrong, shown) of each."""
    wrong, shown = (int(total) for total in table.sum(axis=0))
    return Share(wrong, shown, wilson(wrong, shown), bootstrap(table, RESAMPLES, SEED))


def wilson(wrong: int, shown: int) -> Interval:
    """Compute the 95 % Wilson score interval of a share, which suits few answers and shares near 0 and 1.

    Returns:
        Lower and upper end; NaN if there are no answers.

    References:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not shown:
        return NO_INTERVAL
    share, spread = wrong / shown, Z95**2 / shown
    middle = (share + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * math.sqrt(share * (1 - share) / shown + spread / (4 * shown))
    # Rounding must not push an end past a share of exactly 0 or 1.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def bootstrap(table: NDArray[np.int64], resamples: int, seed: int) -> Interval:
    """Compute the 95 % percentile bootstrap interval of a share, resampling raters with all their answers.

    Args:
        table: numbers of wrong and of all answers of each rater, of shape (raters, 2).
        resamples: number of resamples.
        seed: random seed.

    Returns:
        Lower and upper end; NaN if fewer than two raters have answers.
    """
    table = table[table[:, 1] > 0]
    if len(table) < 2:
        return NO_INTERVAL
    drawn = np.random.default_rng(seed).integers(len(table), size=(resamples, len(table)))
    wrong, shown = table[drawn].sum(axis=1).T
    low, high = np.percentile(wrong / shown, (2.5, 97.5))
    return float(low), float(high)


def _percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    if not values:
        return math.nan, math.nan, math.nan
    low, middle, high = np.percentile(values, (5, 50, 95)).tolist()
    return low, middle, high


def _cells(share: Share) -> tuple[str, str, str]:
    return _percent(share.value), _range(share.wilson), _range(share.over_raters)


def _columns(name: str, share: Share) -> dict[str, float]:
    """Return the columns of a share in the CSV file."""
    return {
        name: share.value,
        f"{name}_wilson_low": share.wilson[0],
        f"{name}_wilson_high": share.wilson[1],
        f"{name}_raters_low": share.over_raters[0],
        f"{name}_raters_high": share.over_raters[1],
        f"{name}_wrong": share.wrong,
        f"{name}_shown": share.shown,
    }


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f} %"


def _range(interval: Interval) -> str:
    return "–" if math.isnan(interval[0]) else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _times(percentiles: tuple[float, float, float]) -> str:
    low, middle, high = percentiles
    return "no answers yet" if math.isnan(middle) else f"{middle:,.0f} ms ({low:,.0f} to {high:,.0f})"


def _without_nan(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by None."""
    if isinstance(value, Mapping):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
