"""Table 1: its six models trained, scored on the same pairs, and set beside the published figures (section 4.4).

::

    TABLE/G1-CE-L1/ ...       a training run a row (see `pg2lib.training.run`), with report.json, pairs.csv, and
                              extremes.jpg: where it is most ahead of the other models, and most behind; each of its
                              stages with starts.jsonl: on what it was trained, a line a start
          G1-CE-L1/also/NAME/ report.json and pairs.csv of other pairs that the rows were scored on too
          table1.md, .csv, .tex, and also-NAME.md, .csv, .tex
          figure4.jpg         a column a pair: condition image, target pose, target image, and every model's result
          figure6.jpg         failure cases: the pairs that the full model is worst at

What is there is not done again: a run goes on where it was stopped, and a row is scored again only when its model, the
pairs, their keypoints or image files, the Inception network or the pose detector have changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import torch
from PIL import Image

from pg2lib.config import TABLE1_ROWS, PG2Config, TrainingConfig
from pg2lib.data.pairs import PairTable
from pg2lib.data.people import PersonTable
from pg2lib.data.read import SYNTHETIC, layout_of
from pg2lib.data.store import ImageStore, fingerprint
from pg2lib.errors import DataError
from pg2lib.evaluation import EvaluationReport, Figure, PairScores, detector_name, evaluate
from pg2lib.evaluation.report import any_score
from pg2lib.files import atomic_path, atomic_write, sha256_of
from pg2lib.images import image_grid, pil_from_tensor
from pg2lib.metrics.inception import InceptionNetwork
from pg2lib.pipeline import PG2Pipeline
from pg2lib.provenance import provenance
from pg2lib.training import check
from pg2lib.training.checkpoint import find_checkpoint
from pg2lib.training.run import Reports, held, make_accelerator, on_main, train
from pg2lib.training.stages import check_data

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pg2lib.detect import PoseDetector

FULL_MODEL = "G1+G2+D"
SHARES_STAGE1 = {FULL_MODEL: "G1-poseMaskLoss"}
"""Rows whose stage I is that of another row."""

COLUMNS = ("ssim", "is", "mask_ssim", "mask_is")
TITLES = {"ssim": "SSIM", "is": "IS", "mask_ssim": "mask-SSIM", "mask_is": "mask-IS"}

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
"""Table 1 as published, in the order of COLUMNS, transcribed second-hand; the rows CE, HME and L1 are not carried,
because the copies at hand contradict the paper's text."""

STARTS = "starts.jsonl"
"""In the folder of a stage: a line whenever its training began or went on, with the steps done before ("after"), the
kind of device, the number of processes, the command, and `pg2lib.provenance`."""

WEIGHTS = "pipeline/model.safetensors"
"""In the folder of a row."""

STAMP = "report.stamp.json"
"""Beside a report: what it was made from, with the SHA-256 of the weights."""

ALSO = "also"
"""In the folder of a row: folders with its scores on other pairs."""

UNVERIFIED = "published, not verified against the PDF"

FAST_SCORING: dict[str, dict[str, int]] = {"full": {}, "fast": {"evaluation.pairs": 200}}
"""What the profile "fast" scores."""

OnProgress = Callable[[str, int, int], None]
"""Called with (row, pairs scored, pairs in all)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Table1:
    """The table, row by row.

    Attributes:
        reports: by row.
        published: figures by row, in the order of COLUMNS; empty where there are none for these data.
        folder: where the models, the reports and the pictures are.
    """

    reports: Mapping[str, EvaluationReport]
    published: Mapping[str, tuple[float | None, ...]]
    folder: Path

    def to_markdown(self) -> str:
        """The table, ours and the published figures, and what ours stand for.

        A ± is the standard deviation over pairs, but that of IS and mask-IS over the splits.
        """
        published = f"{UNVERIFIED}: {' / '.join(TITLES.values())}"
        lines = [f"| model | {' | '.join(TITLES.values())} | {published} |", "|---" * (len(COLUMNS) + 2) + "|"]
        for row, report in self.reports.items():
            ours = " | ".join(_cell(figure_of(report, column)) for column in COLUMNS)
            lines.append(f"| {row} | {ours} | {self._published(row)} |")
        report = next(iter(self.reports.values()))
        configs = {row: PG2Config.from_dict(made.model["config"]) for row, made in self.reports.items()}
        steps = ", ".join(f"{row} {_steps(config):,}" for row, config in configs.items())
        lines += [
            "",
            f"{report.data}, {report.pairs:,} pairs; mean ± standard deviation over pairs; dialect `{report.dialect}`, "
            f"mask from the {report.mask_from}; commit {report.provenance['commit'] or 'unknown'}; "
            f"{report.provenance['hardware']}. {self._network()}Steps: {steps}.",
        ]
        return "\n".join(lines) + "\n"

    def to_latex(self) -> str:
        """The rows and our figures as a LaTeX tabular."""
        lines = [
            r"\begin{tabular}{l" + "r" * len(COLUMNS) + "}",
            r"\hline",
            "Model & " + " & ".join(TITLES[column] for column in COLUMNS) + r" \\",
            r"\hline",
        ]
        for row, report in self.reports.items():
            figures = (figure_of(report, column) for column in COLUMNS)
            cells = " & ".join("--" if figure is None else f"{figure.mean:.3f}" for figure in figures)
            lines.append(f"{row} & {cells}" + r" \\")
        return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"

    def to_csv(self) -> str:
        """A line a row, empty where there is nothing: means, standard deviations (over pairs; of IS and mask-IS over
        splits) and bootstrap 95 % intervals of ours, then the published figures.
        """
        parts = ("mean", "std", "low", "high")
        ours = [f"{column}_{part}" for column in COLUMNS for part in parts]
        lines = [["model", *ours, *(f"published_{column}" for column in COLUMNS)]]
        for row, report in self.reports.items():
            figures = (figure_of(report, column) for column in COLUMNS)
            values = [value for figure in figures for value in _values(figure)]
            published = self.published.get(row, (None,) * len(COLUMNS))
            cells = [f"{value:.6f}" if value is not None else "" for value in values]
            lines.append([row, *cells, *("" if value is None else f"{value}" for value in published)])
        return "".join(",".join(line) + "\n" for line in lines)

    def _network(self) -> str:
        """What the Inception Scores were taken with: they mean nothing without."""
        judged = next(iter(self.reports.values())).sets.get("refined")
        if judged is None or judged.inception_score is None:
            return ""
        score = judged.inception_score
        return (
            f"IS and mask-IS: {score.network}, {score.resize}, {score.images:,} images, ± over {score.splits} splits, "
            f"not pairs. "
        )

    def _published(self, row: str) -> str:
        values = self.published.get(row)
        return "–" if values is None else " / ".join("–" if value is None else f"{value:.3f}" for value in values)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def choose_config(name_or_file: str | None, profile: Literal["full", "fast"], canvas: tuple[int, int]) -> PG2Config:
    """The full model's configuration for images of a canvas.

    Args:
        name_or_file: a preset or JSON file; None: the preset "fast" in the profile "fast", else the paper's.
        canvas: (height, width) of the images.
    """
    paper = "deepfashion" if canvas[0] == canvas[1] else "market1501"
    config = PG2Config.load(name_or_file or (paper if profile == "full" else "fast"))
    return config.override({"model.height": canvas[0], "model.width": canvas[1]} | FAST_SCORING[profile])


def published_name(root: str | PathLike[str]) -> str | None:
    """Whose published figures go beside those of the data in a folder; None for synthetic people and own photos."""
    layout = layout_of(root)
    return layout if layout in PUBLISHED and not (Path(root) / SYNTHETIC).is_file() else None


def make_table1(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    test_store: ImageStore,
    test_pairs: PairTable,
    folder: str | PathLike[str],
    train_name: str,
    test_name: str,
    published: str | None = None,
    rows: Sequence[str] = tuple(TABLE1_ROWS),
    reports: Reports = Reports(),
    accelerator: Accelerator | None = None,
    inception: InceptionNetwork | None = None,
    on_progress: OnProgress | None = None,
    command: str | None = None,
    also: Mapping[str, PairTable] = MappingProxyType({}),
    detector: PoseDetector | None = None,
    pose_pairs: int = 200,
) -> Table1:
    """Trains what is missing, scores what has changed, and writes the table and its pictures.

    Args:
        config: the full model's; every row is made of it (`PG2Config.row`).
        store, pairs: to train on.
        test_store, test_pairs: to score on; the same pairs for every row.
        train_name: what the training data are called in the record of each model's training.
        test_name: what the test pairs are called in the reports and under the table.
        published: whose published figures go beside: "market1501", "deepfashion" or None.
        rows: of TABLE1_ROWS.
        reports: of the training runs.
        inception: for the columns IS and mask-IS (see `pg2lib.metrics.inception`).
        command: that gives this table again; kept in the provenance of the reports and in STARTS.
        also: other pairs of the test store to score every row on, by what they are called in the reports; each gets a
            table of its own, but no pictures.
        detector, pose_pairs: for pose accuracy, as in `pg2lib.evaluation.evaluate`.

    Raises:
        ConfigError, CheckpointError: an unknown row; or what `pg2lib.training.run.train` refuses, of any row before the
            first is trained.
        DataError: as well; see also `pg2lib.evaluation.evaluate` and `read_table1`; or an image file of the test pairs
            is gone.
        TrainingDivergedError: see `pg2lib.training.run.train`.
    """
    place, accelerator = Path(folder), accelerator or make_accelerator()
    configs = {row: config.row(row) for row in rows}
    stage1 = {row: place / SHARES_STAGE1.get(row, row) / "stage1" for row in rows}
    for row, settings in configs.items():
        for stage in stages_of(row, settings, place).values():
            check_data(settings, stage, store, pairs, accelerator.num_processes)

    def check_all() -> None:
        check.refuse_foreign(place)
        for row, settings in configs.items():
            check.check_run(settings, place / row, pairs, stage1[row])

    on_main(accelerator, check_all)
    scoring = _Scoring(test_store, inception, detector, pose_pairs, on_progress, command)
    with held(place, accelerator):
        for row, settings in configs.items():
            log.info("%s: training what is missing", row)
            if accelerator.is_main_process:
                _note_start(stages_of(row, settings, place), accelerator, command)
            pipeline = train(settings, store, pairs, place / row, train_name, reports, accelerator, stage1[row])
            pipeline.name = row
            if accelerator.is_main_process:
                weights = place / row / WEIGHTS
                scoring.score(pipeline, weights, test_pairs, place / row, test_name)
                for name, other_pairs in also.items():
                    scoring.score(pipeline, weights, other_pairs, place / row / ALSO / also_name(name), name)
        accelerator.wait_for_everyone()
        table = read_table1(place, published, rows)
        if accelerator.is_main_process:
            _write(table, place / "table1")
            for name in map(also_name, also):
                _write(read_table1(place, None, rows, name), place / f"{ALSO}-{name}")
            _draw(table, test_store.to(accelerator.device), test_pairs)
    return table


def read_table1(
    folder: str | PathLike[str],
    published: str | None = None,
    rows: Sequence[str] = tuple(TABLE1_ROWS),
    also: str | None = None,
) -> Table1:
    """The table of a folder that `make_table1` filled.

    Args:
        published, rows: as there.
        also: of which other pairs, by `also_name`; None: of the table's own.

    Raises:
        DataError: a row has not been scored, or not as the others were: on the same pairs, in the same dialect, with
            the mask from the same side, and with the same Inception network and resize (or all without).
    """
    reports = {}
    for row in rows:
        path = Path(folder) / row / (f"{ALSO}/{also}" if also else "") / "report.json"
        if not path.is_file():
            raise DataError(f"no {path}: the row {row} has not been scored; make the table first")
        reports[row] = read_report(path)
    kinds = {row: _kind(report) for row, report in reports.items()}
    odd = [row for row in kinds if kinds[row] != kinds[rows[0]]]
    if odd:
        raise DataError(
            f"{folder}: {', '.join(odd)} and {rows[0]} were scored on other pairs, in another dialect, with another "
            f"mask_from, or with another Inception network or resize, so they make no table; make it again with all of "
            f"them"
        )
    return Table1(reports, PUBLISHED.get(published or "", {}), Path(folder))


def also_name(name: str) -> str:
    """The folder name of other pairs that rows were scored on, from what the pairs are called in the reports."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def read_report(path: Path) -> EvaluationReport:
    """The report of a row.

    Raises:
        DataError: not a report.
    """
    try:
        return EvaluationReport.from_json(path.read_text(encoding="utf-8"))
    except (DataError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: {error}. Remove it and make the table again: the row is scored anew, with the same weights"
        ) from error


def read_stamp(path: Path) -> dict[str, Any]:
    """What a report was made from; nothing where the stamp is damaged, so that the report is made again."""
    try:
        stamp = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return stamp if isinstance(stamp, dict) else {}


def stages_of(row: str, config: PG2Config, folder: Path) -> dict[Path, TrainingConfig]:
    """Where the stages of a row are trained in a table's folder, in their order, and with what settings.

    Args:
        config: the row's.
    """
    stages = check.stages_of(config, folder / row, folder / SHARES_STAGE1.get(row, row) / "stage1")
    return {stage.folder: stage.settings for stage in stages}


def _note_start(stages: Mapping[Path, TrainingConfig], accelerator: Accelerator, command: str | None) -> None:
    """Writes down on what the stages that are not finished are about to be trained (see STARTS)."""
    for folder, settings in stages.items():
        found = find_checkpoint(folder)
        after = found.step if found is not None else 0
        if after >= settings.steps:
            continue
        machine = {"device": accelerator.device.type, "processes": accelerator.num_processes}
        path = folder / STARTS
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        with atomic_write(path) as file:
            file.write(before + json.dumps({"after": after, **machine, "command": command, **provenance()}) + "\n")


def _kind(report: EvaluationReport) -> tuple[object, ...]:
    """What the reports of one table have in common."""
    score = any_score(report)
    return report.pairs_digest, report.dialect, report.mask_from, score and (score.network, score.resize)


@dataclass(frozen=True)
class _Scoring:
    """How the rows of a table are scored."""

    store: ImageStore
    inception: InceptionNetwork | None
    detector: PoseDetector | None
    pose_pairs: int
    on_progress: OnProgress | None
    command: str | None

    def score(self, pipeline: PG2Pipeline, weights: Path, pairs: PairTable, folder: Path, data_name: str) -> None:
        """Makes the report of a row in a folder, unless there is one of these weights, pairs, keypoints, images and
        settings.
        """
        path, stamp, row = folder / "report.json", folder / STAMP, pipeline.name
        table = self.store.table
        wanted = {
            "weights": sha256_of(weights),
            "pairs": pairs.digest(),
            "keypoints": _digest_of_keypoints(table),
            "images": None if table.paths is None else fingerprint(table),
            "inception": self.inception and [self.inception.name, self.inception.resize],
            "poses": self.detector and [detector_name(self.detector), self.pose_pairs],
            "config": pipeline.config.to_dict(),
            "data": data_name,
        }
        if path.is_file() and stamp.is_file() and read_stamp(stamp) == wanted:
            return
        stamp.unlink(missing_ok=True)
        tell = self.on_progress
        report = evaluate(
            pipeline, self.store, pairs, data_name, folder / "pairs.csv", inception=self.inception,
            on_progress=None if tell is None else lambda done, total: tell(row, done, total),
            detector=self.detector, pose_pairs=self.pose_pairs,
        )  # fmt: skip
        replace(report, provenance={**report.provenance, "command": self.command}).save(path)
        with atomic_write(stamp) as file:
            json.dump(wanted, file)


def _write(table: Table1, path: Path) -> None:
    """The table in its three formats, under one name."""
    for suffix, text in (("md", table.to_markdown()), ("csv", table.to_csv()), ("tex", table.to_latex())):
        with atomic_write(path.with_name(f"{path.name}.{suffix}")) as file:
            file.write(text)


def _draw(table: Table1, store: ImageStore, pairs: PairTable) -> None:
    """figure4.jpg, a row's extremes.jpg (by SSIM), and figure6.jpg (by mask-SSIM)."""
    scores = {row: PairScores.read(table.folder / row / "pairs.csv")["refined_ssim"] for row in table.reports}
    pipelines = {
        row: PG2Pipeline.from_pretrained(table.folder / row / "pipeline", store.device) for row in table.reports
    }
    draw = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(pairs), generator=draw)[:8].tolist()
    _save(_comparison(pipelines, store, pairs, chosen), table.folder / "figure4.jpg")
    for row in scores if len(scores) > 1 else ():
        others = torch.stack([score for other, score in scores.items() if other != row])
        order = (scores[row] - others.mean(dim=0)).argsort(descending=True).tolist()
        extremes, titles = [*order[:4], *order[-4:]], ["ahead"] * len(order[:4]) + ["behind"] * len(order[-4:])
        _save(_comparison(pipelines, store, pairs, extremes, titles), table.folder / row / "extremes.jpg")
    model = FULL_MODEL if FULL_MODEL in pipelines else list(pipelines)[-1]
    masked = PairScores.read(table.folder / model / "pairs.csv")["refined_mask_ssim"]
    worst = masked.argsort()[:16].tolist()
    _save(_comparison({model: pipelines[model]}, store, pairs, worst), table.folder / "figure6.jpg")


def _comparison(
    pipelines: Mapping[str, PG2Pipeline],
    store: ImageStore,
    pairs: PairTable,
    chosen: Sequence[int],
    titles: Sequence[str] = (),
) -> Image.Image:
    """A column a pair: condition image, target pose, target image, and every model's result (Figure 4)."""
    batch = store.batch(pairs, torch.tensor(list(chosen)))
    rows: dict[str, list[Image.Image]] = {
        "condition image": list(map(pil_from_tensor, batch.condition_image)),
        "target pose": [store.table.pose(row).draw() for row in batch.to_rows.tolist()],
        "target image": list(map(pil_from_tensor, batch.target_image)),
    }
    for name, pipeline in pipelines.items():
        output = pipeline.generate_pairs(batch)
        rows[name] = list(map(pil_from_tensor, output.refined))
    scale = max(1, 128 // store.table.canvas[0])
    return image_grid(list(rows.values()), titles=titles, names=list(rows), scale=scale)


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        picture.save(temporary, "JPEG", quality=92, subsampling=0)


def figure_of(report: EvaluationReport, column: str) -> Figure | None:
    """Mean and deviation of a column: over pairs, or over the splits of an Inception Score."""
    if column not in ("is", "mask_is"):
        return report.figures["refined"].get(column)
    judged = report.sets.get("refined")
    score = None if judged is None else judged.inception_score if column == "is" else judged.mask_inception_score
    return None if score is None else Figure(score.mean, score.std)


def _values(figure: Figure | None) -> tuple[float | None, ...]:
    """Mean, standard deviation, and both ends of the interval."""
    if figure is None:
        return (None,) * 4
    return figure.mean, figure.std, *(figure.interval or (None, None))


def _cell(figure: Figure | None) -> str:
    return "–" if figure is None else f"{figure.mean:.3f} ± {figure.std:.3f}"


def _steps(config: PG2Config) -> int:
    """Optimisation steps of the whole model."""
    return config.stage1.steps + (0 if config.networks == "G1" else config.stage2.steps)


def _digest_of_keypoints(table: PersonTable) -> str:
    return hashlib.sha256(repr(table.canvas).encode() + table.xy.numpy().tobytes()).hexdigest()
