"""Table 2: how often real images are taken for generated ones (R2G), and generated ones for real (G2R)."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pg2lib.errors import DataError
from pg2lib.files import atomic_write
from pg2lib.provenance import provenance
from pg2lib.user_study.study import Study

PUBLISHED_RATERS = 30
PUBLISHED_G2R = {("DeepFashion", "G1+D"): 0.093, ("DeepFashion", "G1+G2+D"): 0.149}
"""By data set and model, from the paper's text. Its table is not at hand, so R2G and Market-1501 are missing."""
PUBLISHED_MARK = "published, not verified against the PDF"
PUBLISHED_REST = "On Market-1501 the paper has lower G2R, and R2G above 10 %."

TOLERANCE = (0.8, 1.3)
RESAMPLES = 2_000
Z95 = 1.959963984540054
"""Of the standard normal distribution, 95 % lie within this many standard deviations."""

Interval = tuple[float, float]
NO_INTERVAL: Interval = (math.nan, math.nan)


@dataclass(frozen=True)
class Share:
    """How many answers were wrong, of how many, and how sure that is.

    Attributes:
        wrong: answers.
        shown: answers.
        wilson: 95 % interval of the share if every answer were independent; NaN without answers.
        over_raters: 95 % bootstrap interval over raters. They differ, which Wilson's does not know, so this is the
            interval to quote, from some ten raters on. NaN with fewer than two.
    """

    wrong: int
    shown: int
    wilson: Interval
    over_raters: Interval

    @property
    def value(self) -> float:
        """The share itself; NaN without answers."""
        return self.wrong / self.shown if self.shown else math.nan


@dataclass(frozen=True)
class ModelResult:
    """What raters made of one model.

    Attributes:
        raters: whose answers count.
        r2g: real images that were taken for generated ones.
        g2r: generated images that were taken for real ones.
    """

    raters: int
    r2g: Share
    g2r: Share


@dataclass(frozen=True)
class StudyResult:
    """Table 2 of a study, with all that is needed to read it.

    Attributes:
        title, data: of the study.
        protocol: of the study, as plain values.
        models: by name.
        raters: how many have begun.
        answers: how many are stored, practice included.
        excluded: how many of these are not counted, by reason.
        incomplete_sessions: how many sessions are not finished.
        tolerance: exposures that count, as shares of the protocol's.
        complete_only: whether answers of sessions that are not finished are excluded.
        exposure_ms, response_ms: 5th, 50th and 95th percentile over all stored answers; NaN without any.
        resamples, seed: of the bootstrap.
        made_with: what the study was made with.
        provenance: what the result was computed with.
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
    complete_only: bool
    exposure_ms: tuple[float, float, float]
    response_ms: tuple[float, float, float]
    resamples: int
    seed: int
    made_with: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def to_json(self) -> str:
        """Everything, as indented JSON; what is unknown is null."""
        return json.dumps(_without_nan(asdict(self)), indent=2, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """The table, the published figures below ours, and what they stand for."""
        head = ("model", "raters", "answers", *_columns("R2G"), *_columns("G2R"))
        lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in self._rows()]
        return "\n".join([*lines, "", *(f"{note}\n" for note in self.notes())]).rstrip() + "\n"

    def to_latex(self) -> str:
        """The table as a LaTeX ``tabular`` that needs no package, with the notes as comments."""
        head = ("model", "raters", "answers", *_columns("R2G"), *_columns("G2R"))
        lines = [f"% {_latex(note)}" for note in self.notes()]
        lines += [r"\begin{tabular}{lrr rll rll}", r"\hline"]
        lines.append(" & ".join(map(_latex, head)) + r" \\ \hline")
        lines += [" & ".join(map(_latex, row)) + r" \\" for row in self._rows()]
        return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"

    def to_csv(self) -> str:
        """A row a model, ours first and the published ones after them; shares and intervals as fractions of 1."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        ends = ("", "_wilson_low", "_wilson_high", "_raters_low", "_raters_high", "_wrong", "_shown")
        writer.writerow(
            ("source", "data", "model", "raters", *(f"{name}{end}" for name in ("r2g", "g2r") for end in ends))
        )
        for model, result in self.models.items():
            cells = [cell for share in (result.r2g, result.g2r) for cell in _csv_cells(share)]
            writer.writerow(("this study", self.data, model, result.raters, *cells))
        for (data, model), g2r in PUBLISHED_G2R.items():
            cells = [*[""] * len(ends), f"{g2r:.3f}", *[""] * (len(ends) - 1)]
            writer.writerow((PUBLISHED_MARK, data, model, PUBLISHED_RATERS, *cells))
        return buffer.getvalue()

    def notes(self) -> list[str]:
        """What has to stand below the table."""
        protocol = self.protocol
        low, high = self.tolerance
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.excluded.items())
        partly = "" if self.complete_only else " (their answers count)"
        code = f"pg2lib {self.provenance['pg2lib']}, commit {self.provenance['commit'] or 'unknown'}"
        return [
            "R2G: real images rated generated; G2R: generated images rated real. Wilson: 95 % interval over answers; "
            f"over raters: 95 % bootstrap interval over raters ({self.resamples:,} resamples, seed {self.seed}).",
            f"{self.data}: {_counted(self.raters, 'rater')}, {_counted(self.answers, 'answer')}. "
            f"Not counted: {reasons}. Sessions not finished: {self.incomplete_sessions:,}{partly}. "
            f"An exposure counts from {low:g} to {high:g} times {protocol['exposure_s']:g} s.",
            f"A session: {protocol['real']} real and {protocol['generated']} generated images, the first "
            f"{protocol['practice']} of them practice. Measured exposure: {_times(self.exposure_ms)}; time to answer: "
            f"{_times(self.response_ms)} (median, 5th to 95th percentile).",
            f"† {PUBLISHED_MARK}. {PUBLISHED_REST}",
            f"{code}.",
        ]

    def save(self, folder: str | PathLike[str]) -> list[Path]:
        """Writes ``table2.md``, ``.csv``, ``.tex`` and ``.json``, each whole or not at all; returns where they are."""
        texts = {".md": self.to_markdown(), ".csv": self.to_csv(), ".tex": self.to_latex(), ".json": self.to_json()}
        paths = [Path(folder) / f"table2{suffix}" for suffix in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            with atomic_write(path) as file:
                file.write(text)
        return paths

    def _rows(self) -> list[tuple[str, ...]]:
        ours = [
            (
                model,
                f"{result.raters:,}",
                f"{result.r2g.shown + result.g2r.shown:,}",
                *_cells(result.r2g),
                *_cells(result.g2r),
            )
            for model, result in self.models.items()
        ]
        published = [
            (f"{model}, {data} †", f"{PUBLISHED_RATERS}", *["–"] * 4, _percent(g2r), "–", "–")
            for (data, model), g2r in PUBLISHED_G2R.items()
        ]
        return ours + published

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def results(
    study: Study | str | PathLike[str],
    tolerance: Interval = TOLERANCE,
    complete_only: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> StudyResult:
    """What the raters of a study made of it so far.

    Not counted are practice answers, answers to images that were shown for a time outside the tolerance or more than
    once, and those of sessions that are not finished; how many each is stands in the result.

    Args:
        study: or its folder.
        tolerance: exposures that count, lowest and highest, as shares of `Protocol.exposure_s`.
        complete_only: leave out sessions that are not finished.
        resamples, seed: of the bootstrap over raters.

    Raises:
        DataError: the folder holds no study, or a tolerance that admits nothing.
    """
    study = study if isinstance(study, Study) else Study.open(study)
    low, high = tolerance
    if not 0 <= low < high:
        raise DataError(f"the tolerance must be a lower and a higher share of the exposure, got {tolerance}")
    with study.database() as database:
        answers = [_Answer(*row) for row in database.execute(f"SELECT {', '.join(_Answer._fields)} FROM answers")]
        sessions = database.execute("SELECT rater, model FROM sessions").fetchall()
    raters = {session["rater"] for session in sessions}
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for answer in answers:
        counts[answer.rater, answer.model] += 1
    unfinished = {tuple(session) for session in sessions if counts[tuple(session)] < study.protocol.images}
    limits_ms = (low * study.protocol.exposure_s * 1000, high * study.protocol.exposure_s * 1000)
    excluded = dict.fromkeys(("practice", "in sessions not finished", "exposure too short or long", "shown again"), 0)
    counted: dict[str, list[_Answer]] = {model: [] for model in study.models}
    for answer in answers:
        if answer.position < study.protocol.practice:
            excluded["practice"] += 1
        elif complete_only and (answer.rater, answer.model) in unfinished:
            excluded["in sessions not finished"] += 1
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
        models={model: _judge(list_, real, resamples, seed) for model, list_ in counted.items()},
        raters=len(raters),
        answers=len(answers),
        excluded=excluded,
        incomplete_sessions=len(unfinished),
        tolerance=(low, high),
        complete_only=complete_only,
        exposure_ms=_percentiles([answer.exposure_ms for answer in answers]),
        response_ms=_percentiles([answer.response_ms for answer in answers]),
        resamples=resamples,
        seed=seed,
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


def _judge(answers: Iterable[_Answer], real: set[str], resamples: int, seed: int) -> ModelResult:
    """Wrong and shown answers, per rater and kind, and the shares of all."""
    per_rater: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros((2, 2), dtype=np.int64))
    for answer in answers:
        is_real = answer.image in real
        kind = 0 if is_real else 1
        per_rater[answer.rater][kind] += (bool(answer.says_real) != is_real, 1)
    table = np.array([per_rater[rater] for rater in sorted(per_rater)]).reshape(-1, 2, 2)  # rater, kind, (wrong, shown)
    r2g, g2r = (_share(table[:, kind], resamples, seed) for kind in range(2))
    return ModelResult(len(table), r2g, g2r)


def _share(table: NDArray[np.int64], resamples: int, seed: int) -> Share:
    """Of a row a rater: (wrong, shown)."""
    wrong, shown = (int(total) for total in table.sum(axis=0))
    return Share(wrong, shown, wilson(wrong, shown), bootstrap(table, resamples, seed))


def wilson(wrong: int, shown: int) -> Interval:
    """The 95 % interval of a share (Wilson 1927); it is of use for few answers and for shares near 0 and 1.

    Returns:
        Low and high; NaN without answers.
    """
    if not shown:
        return NO_INTERVAL
    share, spread = wrong / shown, Z95**2 / shown
    middle = (share + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * math.sqrt(share * (1 - share) / shown + spread / (4 * shown))
    # Rounding must not push an end past a share of exactly 0 or 1.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def bootstrap(table: NDArray[np.int64], resamples: int, seed: int) -> Interval:
    """The 95 % percentile interval of a share when raters are drawn anew, with all their answers.

    Args:
        table: (raters, 2): wrong and shown answers of each.

    Returns:
        Low and high; NaN with fewer than two raters that have any answer.
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


def _columns(name: str) -> tuple[str, str, str]:
    return name, "Wilson", "over raters"


def _cells(share: Share) -> tuple[str, str, str]:
    return _percent(share.value), _range(share.wilson), _range(share.over_raters)


def _csv_cells(share: Share) -> list[str]:
    values = (share.value, *share.wilson, *share.over_raters)
    return [*("" if math.isnan(value) else f"{value:.6f}" for value in values), str(share.wrong), str(share.shown)]


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f} %"


def _range(interval: Interval) -> str:
    return "–" if math.isnan(interval[0]) else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _times(percentiles: tuple[float, float, float]) -> str:
    low, middle, high = percentiles
    return "not yet" if math.isnan(middle) else f"{middle:,.0f} ms ({low:,.0f} to {high:,.0f})"


def _latex(text: str) -> str:
    for plain, escaped in (("\\", r"\textbackslash{}"), ("&", r"\&"), ("%", r"\%"), ("_", r"\_"), ("#", r"\#"),
                           ("$", r"\$"), ("†", r"$\dagger$"), ("–", "--")):  # fmt: skip
        text = text.replace(plain, escaped)
    return text


def _without_nan(value: Any) -> Any:
    """Plain values with None in place of NaN, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
