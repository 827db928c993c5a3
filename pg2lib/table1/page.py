"""RESULTS.md: what runs of Table 1 left on disk, beside the published figures, with all it takes to get them again.

Read are the folders that `pg2lib.table1` fills; nothing is trained or scored. The same folders give the same page.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from pg2lib.config import TABLE1_ROWS, PG2Config, Stage1Config, Stage2Config, TrainingConfig, all_presets
from pg2lib.data.read import TITLES as DATA_TITLES
from pg2lib.errors import ConfigError, DataError
from pg2lib.evaluation import EvaluationReport, Figure, PairScores, compare_reports
from pg2lib.evaluation.report import ABSENT, METRICS, any_score
from pg2lib.files import atomic_path, atomic_write, sha256_of
from pg2lib.metrics.inception import INCEPTION_2015, InceptionScore
from pg2lib.table1.make import (
    ALSO,
    COLUMNS,
    PUBLISHED,
    STAMP,
    STARTS,
    TITLES,
    UNVERIFIED,
    WEIGHTS,
    figure_of,
    read_report,
    read_stamp,
    read_table1,
    stages_of,
)

SYNTHETIC_TITLE = "synthetic people ("
"""How `pg2lib.data.read.title_of` begins for people that were drawn: their pictures may be shown to anybody."""

STAGES = {"stage1": "stage I", "stage2": "stage II", "one-stage": "one stage"}
"""What the stages are called, by the folders that they are trained in."""

FIGURE4 = "Figure 4"

UNNOTED = "¹"
"""Marks a machine that was not written down when the training began."""

VERDICTS = ("agrees", "disagrees", "undecided", "cannot be judged")

PAPER_COLUMNS = ("ssim", "mask_ssim", "is", "mask_is")
OTHER_COLUMNS = ("l1", "masked_l1", "psnr", "sharpness", "lpips")


@dataclass(frozen=True)
class Order:
    """An order of two rows that the paper reports.

    Attributes:
        claim: in words, with the metric.
        above, below: the rows.
        metric: of METRICS, in which the mean of `above` is the larger one.
    """

    claim: str
    above: str
    below: str
    metric: str


ORDERS = (
    Order("The coordinate embedding is below the heatmaps in SSIM", "G1-L1", "G1-CE-L1", "ssim"),
    Order("The pose mask loss is above plain L1 in mask-SSIM", "G1-poseMaskLoss", "G1-L1", "mask_ssim"),
    Order("The full model is sharper than its stage I", "G1+G2+D", "G1-poseMaskLoss", "sharpness"),
)


@dataclass(frozen=True)
class Machine:
    """What trained: the machine and the code.

    Attributes:
        hardware: of one process; "unknown" where nothing recorded it.
        processes: that shared a batch, a GPU each where there are any.
        noted: written down when the training began. If not, it is of the last time the command was given for the row,
            which need not be when it was trained.
    """

    hardware: str
    on_gpu: bool
    processes: int
    torch: str
    commit: str
    noted: bool

    @property
    def unit(self) -> str:
        """What a minute of one process is called."""
        if self.hardware == "unknown":
            return "minutes"
        return "GPU-minutes" if self.on_gpu else "CPU-minutes"

    def __str__(self) -> str:
        on_cpu = not self.on_gpu and self.hardware != "unknown" and not self.hardware.endswith("threads")
        name = f"CPU of a machine with {self.hardware}" if on_cpu else self.hardware
        return f"{self.processes} x {name}" if self.processes > 1 else name


@dataclass(frozen=True)
class Piece:
    """A part of a stage's training that one machine did.

    Attributes:
        first, last: steps, counted from 1.
        seconds: wall time; of steps that a stop lost and that were done again, the last time alone.
    """

    first: int
    last: int
    seconds: float
    machine: Machine

    @property
    def minutes(self) -> float:
        """Wall time of all processes together."""
        return self.seconds / 60 * self.machine.processes


@dataclass(frozen=True)
class Stage:
    """A stage of a row's training, as its log has it.

    Attributes:
        folder: several rows can have the same.
        settings: what it is to be trained with.
        pieces: in the order of their steps; none where there is no log.
        command: that its training began or went on with; None where nothing recorded it.
    """

    folder: Path
    settings: TrainingConfig
    pieces: tuple[Piece, ...]
    command: str | None

    @property
    def title(self) -> str:
        """What it is called, such as "stage I"."""
        return STAGES[self.folder.name]

    @property
    def done(self) -> int:
        """Steps."""
        return self.pieces[-1].last if self.pieces else 0


@dataclass(frozen=True)
class Row:
    """A row of Table 1, as far as it is on disk.

    Attributes:
        config: None where the row has not begun.
        report: None where it has not been scored.
        training: what the finished pipeline says of its training; empty where there is none.
        stages: none where the row has not begun.
        also: its scores on other pairs, by the name of their folder.
    """

    name: str
    config: PG2Config | None
    report: EvaluationReport | None
    training: Mapping[str, Any]
    stages: tuple[Stage, ...]
    also: Mapping[str, EvaluationReport]

    @property
    def command(self) -> str | None:
        """That scored the row, or else the last that its training went on with; None where nothing recorded it."""
        if self.report is not None:
            return self.report.provenance.get("command")
        return next((stage.command for stage in reversed(self.stages) if stage.command), None)

    @property
    def state(self) -> str:
        """How far it is, in words."""
        if self.report is not None:
            return "scored"
        if self.training:
            return "trained, not scored"
        for stage in self.stages:
            if 0 < stage.done < stage.settings.steps:
                return f"in training: {stage.title}, {stage.done:,} of {stage.settings.steps:,} steps"
        return "not trained"


@dataclass(frozen=True)
class Run:
    """A folder that `pg2lib.table1.make_table1` filled.

    Attributes:
        name: of the folder, unlike that of any other run on the page.
        rows: all of TABLE1_ROWS.
    """

    folder: Path
    name: str
    rows: Mapping[str, Row]

    @property
    def reports(self) -> dict[str, EvaluationReport]:
        """Of the rows that have been scored."""
        return {name: row.report for name, row in self.rows.items() if row.report is not None}

    @property
    def stages(self) -> dict[Path, tuple[str, Stage]]:
        """Every stage once, with the row that it is listed under, by its folder."""
        stages: dict[Path, tuple[str, Stage]] = {}
        for name, row in self.rows.items():
            for stage in row.stages:
                stages.setdefault(stage.folder, (name, stage))
        return stages

    @property
    def test_data(self) -> str | None:
        """What the rows were scored on; None where none has been."""
        return next((report.data for report in self.reports.values()), None)

    @property
    def also(self) -> dict[str, dict[str, EvaluationReport]]:
        """The reports on other pairs, by the name of their folder, then by row."""
        found: dict[str, dict[str, EvaluationReport]] = {}
        for name, row in self.rows.items():
            for other, report in row.also.items():
                found.setdefault(other, {})[name] = report
        return found

    @property
    def synthetic(self) -> bool:
        """Whether the rows were scored on people that were drawn."""
        return (self.test_data or "").startswith(SYNTHETIC_TITLE)

    @property
    def layout(self) -> str | None:
        """Whose published figures go beside: a key of PUBLISHED, or None."""
        data = self.test_data or ""
        return next((name for name, title in DATA_TITLES.items() if name in PUBLISHED and data.startswith(title)), None)

    def published(self, row: str, column: str) -> float | None:
        """The published figure of a row; None where there is none."""
        figures = PUBLISHED.get(self.layout or "", {}).get(row)
        return None if figures is None else figures[COLUMNS.index(column)]


TOP = (
    "# Results",
    "",
    "Table 1 of the paper as pg2lib makes it. Written by `python -m pg2lib results` from the reports, logs and "
    "records of the runs: give that command again rather than edit the page.",
)
"""How every page begins."""


def write_results(folders: Sequence[str | PathLike[str]], out: str | PathLike[str]) -> None:
    """Writes the page, and its pictures into a folder beside it that has its name (RESULTS.md: results/).

    Args:
        folders: that `pg2lib.table1.make_table1` filled, with all rows or some.
        out: a file that ends in .md.

    Raises:
        ConfigError: `out` ends in something else, or a folder comes twice.
        DataError: a folder is no run of Table 1, its rows were not scored alike, or a file in it is damaged; or `out`
            is there and is no page of this kind.
    """
    out = Path(out)
    if out.suffix != ".md":
        raise ConfigError(f"{out}: the page is Markdown, and its pictures go into a folder of its name; end it in .md")
    if out.exists() and not out.read_bytes().startswith("\n".join(TOP).encode()):
        raise DataError(f"{out} is there already, and is no page of results: name another file")
    runs = read_runs(folders)
    pictures = {run.name: _draw(run, out.parent / out.stem.lower()) for run in runs}
    with atomic_write(out) as file:
        file.write(make_page(runs, pictures))


def make_page(runs: Sequence[Run], pictures: Mapping[str, Mapping[str, str]]) -> str:
    """The page as Markdown.

    Args:
        pictures: of each run by its name: paths relative to the page, by title.
    """
    lines = [*TOP, ""]
    if len(runs) > 1:
        lines += [*_overview(runs), ""]
    for run in runs:
        lines += [*_section(run, pictures.get(run.name, {})), ""]
    return "\n".join(lines[:-1]) + "\n"


def read_runs(folders: Sequence[str | PathLike[str]]) -> list[Run]:
    """What runs left on disk.

    Raises:
        ConfigError, DataError: as `write_results`.
    """
    runs: list[Run] = []
    names: Counter[str] = Counter()
    for folder in map(Path, folders):
        if any(folder.resolve() == run.folder.resolve() for run in runs):
            raise ConfigError(f"{folder} is given twice")
        name = re.sub(r"[^\w.+-]+", "-", folder.resolve().name)
        names[name] += 1
        runs.append(_read_run(folder, name if names[name] == 1 else f"{name}-{names[name]}"))
    return runs


def _read_run(folder: Path, name: str) -> Run:
    if not any((folder / row / file).is_file() for row in TABLE1_ROWS for file in ("config.json", "report.json")):
        raise DataError(
            f"{folder} is no run of Table 1: it has none of the folders {', '.join(TABLE1_ROWS)}. Give the folder that "
            f"python -m pg2lib table1 --out FOLDER wrote"
        )
    run = Run(folder, name, {row: _read_row(folder, row) for row in TABLE1_ROWS})
    if run.reports:
        read_table1(folder, rows=tuple(run.reports))  # refuses rows that were not scored alike
    for other, reports in run.also.items():
        read_table1(folder, rows=tuple(reports), also=other)
    return run


def _read_row(folder: Path, name: str) -> Row:
    report_path, config_path = folder / name / "report.json", folder / name / "config.json"
    report, config = None, None
    if report_path.is_file():
        report = read_report(report_path)
        try:
            config = PG2Config.from_dict(report.model["config"])
        except (ConfigError, KeyError, TypeError) as error:
            raise DataError(f"{report_path}: its configuration cannot be read: {error!r}") from error
    elif config_path.is_file():
        config = PG2Config.load(config_path)
    if config is None:
        return Row(name, None, None, {}, (), {})
    training = _read_training(folder / name / "pipeline" / "config.json")
    stages = stages_of(name, config, folder).items()
    also = _read_also(folder / name)
    return Row(name, config, report, training, tuple(_read_stage(*stage, training) for stage in stages), also)


def _read_also(folder: Path) -> dict[str, EvaluationReport]:
    """The reports of a row on other pairs, which the command for the table's own pairs does not renew."""
    weights, reports = folder / WEIGHTS, {}
    digest = sha256_of(weights) if weights.is_file() else None
    for path in sorted((folder / ALSO).glob("*/report.json")):
        stamp = path.with_name(STAMP)
        if digest and stamp.is_file() and read_stamp(stamp).get("weights") != digest:
            raise DataError(
                f"{path} is of weights that the row had before, or {stamp.name} beside it is damaged. Give the command "
                f"of the run again, with these pairs among its --test-pairs, or remove {path.parent}"
            )
        reports[path.parent.name] = read_report(path)
    return reports


def _read_training(path: Path) -> Mapping[str, Any]:
    """What a pipeline folder says of its training; empty without one."""
    if not path.is_file():
        return {}
    try:
        training: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["training"]
        _ = str(training["data"]), int(training["images"]), int(training["pairs"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged: {error!r}. Give the command of the run again: it writes the file anew, from the "
            f"checkpoints"
        ) from error
    return training


def _read_stage(folder: Path, settings: TrainingConfig, training: Mapping[str, Any]) -> Stage:
    """A stage with its log, piece by piece.

    Args:
        training: who is said to have trained what no start in `folder` accounts for.
    """
    lines = list(_read_lines(folder / STARTS, "after"))
    starts = [(int(line["after"]), _machine(line, noted=True)) for line in lines]
    unnoted = _machine(training, noted=False)
    pieces: list[Piece] = []
    before = None
    for line in _read_lines(folder / "log.jsonl", "step", "seconds"):
        step, seconds = int(line["step"]), float(line["seconds"])
        # A start accounts for the steps after it, up to the next start.
        start = next((index for index in reversed(range(len(starts))) if starts[index][0] < step), None)
        if pieces and start == before and seconds >= pieces[-1].seconds:  # seconds begin anew with every start
            pieces[-1] = dataclasses.replace(pieces[-1], last=step, seconds=seconds)
        else:
            pieces.append(Piece(step, step, seconds, unnoted if start is None else starts[start][1]))
        before = start
    return Stage(folder, settings, tuple(_joined(pieces)), lines[-1].get("command") if lines else None)


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """One piece for those in a row that the same machine did."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and joined[-1].machine == piece.machine:
            seconds = joined[-1].seconds + piece.seconds
            joined[-1] = dataclasses.replace(joined[-1], last=piece.last, seconds=seconds)
        else:
            joined.append(piece)
    return joined


def _machine(record: Mapping[str, Any], noted: bool) -> Machine:
    hardware = str(record.get("hardware", "unknown"))
    return Machine(
        hardware=hardware,
        # A record without the device names a CPU with its threads, and a GPU without.
        on_gpu=record.get("device", "cpu" if hardware.endswith("threads") else "cuda") != "cpu",
        processes=int(record.get("processes", 1)),
        torch=str(record.get("torch", "unknown")),
        commit=str(record.get("commit") or "unknown"),
        noted=noted,
    )


def _read_lines(path: Path, *needed: str) -> Iterator[Mapping[str, Any]]:
    """The lines of a file of JSON objects; none where there is no file. A last line that a kill cut short is left out.

    Args:
        needed: numbers that every line must have.
    """
    # A letter that is none is a damaged line, and said to be one below.
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for number, text in enumerate(lines, start=1):
        try:
            line: Mapping[str, Any] = json.loads(text)
            for name in needed:
                float(line[name])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and not text.endswith("}"):
                return
            raise DataError(f"{path}, line {number}, is damaged: {error!r}. Restore it, or remove the line") from error
        yield line


def _overview(runs: Sequence[Run]) -> Iterator[str]:
    """A line a run: its full model."""
    rows = []
    for run in runs:
        full = run.rows["G1+G2+D"]
        cells = [_cell(full, column) for column in ("ssim", "mask_ssim")]
        published = [_published(run, full.name, column) for column in ("ssim", "mask_ssim")]
        rows.append([
            f"[{run.name}](#{_anchor(run)})", _training_data(full), run.test_data or "not scored yet", cells[0],
            published[0], cells[1], published[1], f"{len(run.reports)} of {len(run.rows)}",
        ])  # fmt: skip
    yield "The full model (G1+G2+D) of every run:"
    yield ""
    yield from _table(
        ["run", "trained on", "scored on", "SSIM", "published", "mask-SSIM", "published", "rows scored"], rows
    )


def _section(run: Run, pictures: Mapping[str, str]) -> Iterator[str]:
    yield from (f"## {_heading(run)}", "")
    yield from _what_it_is(run)
    yield from ("", "### Figures", "")
    yield from _figures(run)
    yield ""
    for reports in run.also.values():
        yield from (*_figures_also(reports), "")
    if run.reports:
        yield from ("### What they say", "")
        yield from _against_published(run)
        yield from _orders(run)
        yield ""
    yield from ("### Training", "")
    yield from _training(run)
    yield from ("", "### How to get it again", "")
    yield from _commands(run)
    yield from ("", "### Pictures", "")
    yield from _pictures(run, pictures)


def _heading(run: Run) -> str:
    return f"{run.name}: {(run.test_data or 'not scored yet').partition(',')[0]}"


def _anchor(run: Run) -> str:
    """What GitHub makes of the heading."""
    return re.sub(r"[^\w\- ]", "", _heading(run).lower()).replace(" ", "-")


def _what_it_is(run: Run) -> Iterator[str]:
    """Data, rows that are missing, and settings."""
    for data, names in _grouped({name: _training_data(row) for name, row in run.rows.items() if row.config}).items():
        yield f"- {_of(run, names)}Trained on {data}."
    if run.reports:
        report = next(iter(run.reports.values()))
        yield (
            f"- Scored on {report.data}: {report.pairs:,} pairs; SSIM in the dialect `{report.dialect}`, mask from the "
            f"{report.mask_from}."
        )
    missing = [f"{name} ({row.state})" for name, row in run.rows.items() if row.report is None]
    if missing:
        yield f"- Missing: {', '.join(missing)}."
    settings = {name: _settings(name, row.config) for name, row in run.rows.items() if row.config}
    for (preset, changes, model), names in _grouped(settings).items():
        otherwise = "nothing set otherwise" if not changes else "with " + ", ".join(f"`{change}`" for change in changes)
        yield f"- {_of(run, names)}Preset `{preset}`, {otherwise}; {model}."
        stages = {stage.title: stage.settings for name in names for stage in run.rows[name].stages}
        yield from (f"  - {title}: {_schedule(stages[title])}" for title in STAGES.values() if title in stages)


def _training_data(row: Row) -> str:
    if not row.training:
        return "data that are named when the training is done"
    return f"{row.training['data']} ({row.training['images']:,} images, {row.training['pairs']:,} pairs)"


def _settings(row: str, config: PG2Config) -> tuple[str, tuple[str, ...], str]:
    """The preset that a row's settings are nearest to, what it has otherwise, and its size."""
    ours = _flat(config.to_dict())
    changes = {}
    for preset, known in all_presets().items():
        theirs = _flat(known.row(row).to_dict())
        changes[preset] = tuple(f"{key} = {value}" for key, value in ours.items() if theirs[key] != value)
    nearest = min(changes, key=lambda preset: len(changes[preset]))
    model = config.model
    return nearest, changes[nearest], f"{model.height}x{model.width} pixels, base width {model.base_width}"


def _flat(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{where}{key}.") if isinstance(value, Mapping) else {where + key: value}
    return flat


def _schedule(stage: TrainingConfig) -> str:
    falls = f", falling to 0 over the last {stage.lr_decay_steps:,} steps" if stage.lr_decay_steps else ", constant"
    average = f", moving average of the weights {stage.ema_decay:g}" if stage.ema_decay else ""
    weight = f", lambda of Eq. 4 {stage.l1_weight:g}" if isinstance(stage, Stage2Config) else ""
    return f"{stage.steps:,} steps of {stage.batch_size} pairs, learning rate {stage.lr:g}{falls}{average}{weight}."


def _figures(run: Run) -> Iterator[str]:
    """The columns of the paper with the published figures, the other ones, and what they are."""
    if not run.reports:
        yield "No row has been scored yet."
        return
    beside = run.layout is not None
    head = [part for column in PAPER_COLUMNS for part in (TITLES[column], "published")[: 1 + beside]]
    rows = []
    for name, row in run.rows.items():
        cells = [(_cell(row, column), _published(run, name, column)) for column in PAPER_COLUMNS]
        rows.append([name, *(part for cell in cells for part in cell[: 1 + beside])])
    yield from _table(["model", *head], rows)
    yield ""
    shown = [name for name in OTHER_COLUMNS if any(name in r.figures["refined"] for r in run.reports.values())]
    head = [*(METRICS[name].title for name in shown), "PCKh@0.5"]
    rows = [
        [name, *(_cell(row, column) for column in shown), _pose_cell(row.report)]
        for name, row in run.rows.items()
    ]  # fmt: skip
    yield from _table(["model", *head], rows)
    yield ""
    yield from _legend(run, beside)


def _figures_also(reports: Mapping[str, EvaluationReport]) -> Iterator[str]:
    """What rows score on other pairs."""
    first = next(iter(reports.values()))
    yield f"On {first.data}, {first.pairs:,} pairs:"
    yield ""
    shown = [name for name in METRICS if any(name in report.figures["refined"] for report in reports.values())]
    scored = [column for column in ("is", "mask_is") if figure_of(first, column) is not None]
    head = [*(METRICS[name].title for name in shown), *(TITLES[column] for column in scored), "PCKh@0.5"]
    rows = [
        [
            name, *(_figure_cell(figure_of(report, column), METRICS[column].decimals) for column in shown),
            *(_score_cell(report, column) for column in scored), _pose_cell(report),
        ]
        for name, report in reports.items()
    ]  # fmt: skip
    yield from _table(["model", *head], rows)


def _legend(run: Run, beside: bool) -> Iterator[str]:
    intervals = any(figure.interval for r in run.reports.values() for figure in r.figures["refined"].values())
    yield (
        f"Mean ± standard deviation over pairs{' [bootstrap 95 % interval of the mean]' if intervals else ''}. L1 in "
        f"grey levels of 255, PSNR in dB; sharpness is gradient energy over the target's: 1 is as sharp, less is "
        f"blurred."
    )
    score = any_score(next(iter(run.reports.values())))
    if isinstance(score, InceptionScore):
        yield f"IS and mask-IS: {score.network}, {score.resize}, {score.images:,} images, ± over {score.splits} splits."
        if score.network != INCEPTION_2015:
            yield "That is not the Inception network of 2015: these scores say nothing beside the published ones."
    else:
        yield (
            f"IS and mask-IS were not taken: no Inception network was given. `--inception {INCEPTION_2015}`, added to "
            f"the command below, scores the same weights with it."
        )
    judged = next((r for r in run.reports.values() if "refined" in r.poses), None)
    if judged is None:
        yield (
            "PCKh@0.5, the share of joints that a pose detector finds again, was not measured: `--pose-pairs 200`, "
            "added to the command below, does it with the same weights."
        )
    else:
        yield (
            f"PCKh@0.5: the share of the target pose's joints that {judged.detector} finds again within half a head, "
            f"on {judged.poses['refined'].images_with_head:,} images."
        )
    if beside:
        yield (
            f"Beside ours: Ma et al. 2017, Table 1, as {UNVERIFIED}; of the rows CE, HME and L1 no figure is carried, "
            f"as the copies at hand contradict the paper's text."
        )
    else:
        yield "The paper has no figures for these data."


def _cell(row: Row, column: str) -> str:
    if row.report is None:
        return "missing"
    if column in ("is", "mask_is"):
        return _score_cell(row.report, column)
    return _figure_cell(figure_of(row.report, column), METRICS[column].decimals)


def _score_cell(report: EvaluationReport, column: str) -> str:
    figure = figure_of(report, column)
    if figure is None:
        return "no Inception network"
    other = "" if _comparable(report, column) is not None else " (not comparable)"
    return f"{figure.mean:.3f} ± {figure.std:.3f}{other}"


def _figure_cell(figure: Figure | None, decimals: int) -> str:
    if figure is None:
        return ABSENT
    cell = f"{figure.mean:.{decimals}f} ± {figure.std:.{decimals}f}"
    if figure.interval is None:
        return cell
    return f"{cell} [{figure.interval[0]:.{decimals}f}, {figure.interval[1]:.{decimals}f}]"


def _pose_cell(report: EvaluationReport | None) -> str:
    if report is None:
        return "missing"
    accuracy = report.poses.get("refined")
    return "not measured" if accuracy is None or accuracy.pckh is None else f"{accuracy.pckh:.1%}"


def _published(run: Run, row: str, column: str) -> str:
    value = run.published(row, column)
    return ABSENT if value is None else f"{value:.3f}"


def _against_published(run: Run) -> Iterator[str]:
    """Which published figures are reached: at least as high, to the three decimals that they are published with."""
    if run.layout is None:
        return
    reached: list[str] = []
    missed: list[str] = []
    unknown: list[str] = []
    for name, row in run.rows.items():
        for column in PAPER_COLUMNS:
            target = run.published(name, column)
            if target is None:
                continue
            ours = None if row.report is None else _comparable(row.report, column)
            what = f"{name} {TITLES[column]}"
            if ours is None:
                unknown.append(what)
            else:
                reaches = round(ours, 3) >= target
                (reached if reaches else missed).append(f"{what} ({ours:.3f}, published {target:.3f})")
    yield f"- Published figures reached: {len(reached)} of {len(reached) + len(missed) + len(unknown)}."
    for title, found in (("Reached", reached), ("Not reached", missed), ("Not measured", unknown)):
        if found:
            yield f"  - {title}: {', '.join(found)}."
    paper = PG2Config.preset(run.layout)
    others = [
        name
        for name, row in run.rows.items()
        if row.report is not None and row.config is not None and not _trained_alike(row.config, paper.row(name))
    ]
    if others:
        yield f"  - {_of(run, others)}Not the paper's settings (see above), so this is no test of the paper."


def _comparable(report: EvaluationReport, column: str) -> float | None:
    """A mean that can be set against a published one; None where it was not measured, or with another network."""
    score = any_score(report)
    if column in ("is", "mask_is") and (score is None or score.network != INCEPTION_2015):
        return None
    figure = figure_of(report, column)
    return None if figure is None else figure.mean


def _trained_alike(ours: PG2Config, theirs: PG2Config) -> bool:
    return dataclasses.replace(ours, evaluation=theirs.evaluation) == theirs


def _orders(run: Run) -> Iterator[str]:
    """Whether the rows stand in the order that the paper reports, pair by pair where there are the scores of pairs."""
    lines, verdicts = [], []
    for order in ORDERS:
        verdict, why = _judge(run, order)
        verdicts.append(verdict)
        lines.append(f"  - {order.claim}: **{verdict}** ({why}).")
    shares = ", ".join(f"{verdict} in {verdicts.count(verdict)}" for verdict in VERDICTS if verdict in verdicts)
    yield f"- Order of the rows, against {len(ORDERS)} that the paper reports: {shares}."
    yield from lines


def _judge(run: Run, order: Order) -> tuple[str, str]:
    """A verdict, and the difference it rests on."""
    missing = [name for name in (order.above, order.below) if name not in run.reports]
    if missing:
        return "cannot be judged", f"missing: {' and '.join(missing)}"
    names = (order.above, order.below)
    paths = [run.folder / name / "pairs.csv" for name in names]
    scores = [PairScores.read(path) for path in paths] if all(path.is_file() for path in paths) else [None, None]
    try:
        comparison = compare_reports(run.reports[order.above], run.reports[order.below], *scores)
    except DataError as error:
        raise DataError(
            f"{run.folder}: {error}. Give the command of the run again: it scores what has changed"
        ) from error
    mean = comparison.differences["refined"][order.metric]
    decimals = METRICS[order.metric].decimals + 1  # two models can differ by less than a table shows
    what = f"{order.above} minus {order.below}: {mean:+.{decimals}f}"
    if not comparison.paired:
        return "agrees" if mean > 0 else "disagrees", f"{what}; no interval, as the scores of the pairs are missing"
    pair = comparison.paired["refined"][order.metric]
    verdict = "agrees" if pair.low > 0 else "disagrees" if pair.high < 0 else "undecided"
    return verdict, f"{what}, 95 % interval over pairs [{pair.low:+.{decimals}f}, {pair.high:+.{decimals}f}]"


def _training(run: Run) -> Iterator[str]:
    """A line for each stage and machine, the total, and what scored the rows."""
    lines: list[list[str]] = []
    for name, row in run.rows.items():
        if not row.stages:
            lines.append([name, row.state, *[""] * 7])
        for stage in row.stages:
            owner = run.stages[stage.folder][0]
            lines += [[name, stage.title, f"as {owner}", *[""] * 6]] if owner != name else _stage_lines(name, stage)
    yield from _table(
        ["model", "stage", "steps", "seed", "wall seconds", "device time", "hardware", "torch", "commit"], lines
    )
    yield ""
    minutes: dict[str, float] = {}
    pieces = [piece for _, stage in run.stages.values() for piece in stage.pieces]
    for piece in pieces:
        minutes[piece.machine.unit] = minutes.get(piece.machine.unit, 0.0) + piece.minutes
    yield (
        f"In all {' and '.join(f'{value:,.1f} {unit}' for unit, value in minutes.items()) or 'nothing logged'}: "
        f"wall time of training over 60, times the processes that shared a batch; steps that a stop lost are not in it."
    )
    if not all(piece.machine.noted for piece in pieces):
        yield (
            f"{UNNOTED} Not written down when the training began (an older pg2lib): this is where the command was last "
            f"given for the row, and one process is assumed."
        )
    scored = {name: report.provenance for name, report in run.reports.items()}
    if scored:
        yield ""
        rows = [
            [
                name, str(made.get("hardware")), str(made.get("torch")), str(made.get("commit") or "unknown"),
                str(made.get("pg2lib")), f"{run.reports[name].seconds:,.1f}",
            ]
            for name, made in scored.items()
        ]  # fmt: skip
        yield from _table(["scored", "hardware", "torch", "commit", "pg2lib", "wall seconds"], rows)


def _stage_lines(name: str, stage: Stage) -> Iterator[list[str]]:
    title, seed = stage.title, str(stage.settings.seed)
    if not stage.pieces:
        yield [name, title, f"none of {stage.settings.steps:,} logged", seed, *[ABSENT] * 5]
    for piece in stage.pieces:
        machine, mark = piece.machine, "" if piece.machine.noted else f" {UNNOTED}"
        yield [
            name, title, f"{piece.first:,} to {piece.last:,} of {stage.settings.steps:,}", seed,
            f"{piece.seconds:,.1f}", f"{piece.minutes:,.1f} {machine.unit}", f"{machine}{mark}", machine.torch,
            machine.commit,
        ]  # fmt: skip


def _commands(run: Run) -> Iterator[str]:
    """The commands that give the rows again."""
    recorded = {name: row.command for name, row in run.rows.items() if row.command}
    for command, names in _grouped(recorded).items():
        yield from (f"{', '.join(names)}:", "", "```sh", command, "```", "")
    others = [row for name, row in run.rows.items() if row.config is not None and name not in recorded]
    if others:
        yield (
            f"{', '.join(row.name for row in others)}: no command was recorded. These give the rows again, with the "
            f"same data in DATA:"
        )
        yield from ("", "```sh", *(_composed(run, row) for row in others), "```", "")
    yield (
        "A run goes on from what its folder holds. `--rows` and names of rows, at the end, makes these alone. The "
        "commits that trained and scored each row are above: check them out for the same code (`+changes`: it had "
        "changes that were not committed)."
    )


def _composed(run: Run, row: Row) -> str:
    """A command that trains and scores a row as its configuration and the names of its data say."""
    parts = ["--config", str(run.folder / row.name / "config.json"), "--rows", row.name]
    train = re.search(r", pair rule (\w+)$", str(row.training.get("data", "")))
    if train:
        parts += ["--pairs", train[1]]
    test = re.search(r", pairs ([^,]+)", row.report.data if row.report else "")
    if test:
        parts += ["--test-pairs", test[1]]
    score = None if row.report is None else any_score(row.report)
    if score is not None:
        parts += ["--inception", score.network]
    return f"python -m pg2lib table1 --data DATA {shlex.join(parts)} --out OUT"


def _draw(run: Run, folder: Path) -> dict[str, str]:
    """Draws the training curves, and takes Figure 4 where it shows nobody; paths relative to the page, by title."""
    logs: dict[str, dict[str, Path]] = {}
    for name, stage in run.stages.values():
        if stage.pieces:
            logs.setdefault(_curves_title(stage), {})[name] = stage.folder / "log.jsonl"
    pictures = {}
    for title, rows in logs.items():
        pictures[title] = folder / f"{run.name}-curves-{re.sub('[^a-z0-9]+', '-', title.lower())}.png"
        _plot(rows, pictures[title])
    figure4 = run.folder / "figure4.jpg"
    if run.synthetic and figure4.is_file():
        pictures[FIGURE4] = folder / f"{run.name}-figure4.jpg"
        with atomic_path(pictures[FIGURE4]) as temporary:
            shutil.copyfile(figure4, temporary)
    return {title: f"{folder.name}/{path.name}" for title, path in pictures.items()}


def _curves_title(stage: Stage) -> str:
    """What is drawn together: the stages that have the same losses."""
    title = stage.title[0].upper() + stage.title[1:]
    if isinstance(stage.settings, Stage1Config):
        return f"{title}, {'pose mask loss' if stage.settings.pose_mask_loss else 'plain L1'}"
    return title


def _plot(logs: Mapping[str, Path], path: Path) -> None:
    from pg2lib.viz import plot_losses

    with atomic_path(path) as temporary:
        plot_losses(logs).savefig(temporary, format="png")


def _pictures(run: Run, pictures: Mapping[str, str]) -> Iterator[str]:
    curves = {title: path for title, path in pictures.items() if title != FIGURE4}
    if curves:
        yield (
            "Training curves: every step pale, the mean of the last twentieth of the run on top. `l1`: Eq. 1, or plain "
            "L1; `d`: Eq. 2; `adversarial`: Eq. 3; `g1`, `g2`: Eq. 4, all of what the generator learns from."
        )
    for title, path in curves.items():
        yield from ("", f"{title}:", "", f"![{title}: training losses of {run.name}]({path})")
    yield ""
    local = run.folder / "figure4.jpg"
    if FIGURE4 in pictures:
        yield "Figure 4: a column a pair; condition image, target pose, target image, and the result of every row."
        yield from ("", f"![{FIGURE4} of {run.name}]({pictures[FIGURE4]})")
    elif run.synthetic or not run.reports:
        yield f"Figure 4, the rows side by side, has not been drawn yet: `{local}` comes when the rows are scored."
    else:
        yield (
            f"Figure 4, the rows side by side, is not shown, as the terms of real data do not allow it. Look at "
            f"`{local}`, which the command above draws into its folder, with the failure cases in `figure6.jpg`."
        )


def _grouped(values: Mapping[str, Any]) -> dict[Any, list[str]]:
    """Names by what they have in common, in the order in which it comes."""
    groups: dict[Any, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    return groups


def _of(run: Run, names: Sequence[str]) -> str:
    """Names with a colon, or nothing where it is every row that there is."""
    there = [name for name, row in run.rows.items() if row.config is not None]
    return "" if list(names) == there else f"{', '.join(names)}: "


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
