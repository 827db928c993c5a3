"""Make Table 1: train its six models, score them on the same pairs, and draw Figures 4 and 6 (section 4.4)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from PIL import Image

from pg2lib.config import TABLE1_ROWS, PG2Config
from pg2lib.data.pairs import PairTable
from pg2lib.data.read import SYNTHETIC, layout_of, title_of
from pg2lib.data.store import ImageStore
from pg2lib.data.store_files import fingerprint
from pg2lib.detect import PoseDetector
from pg2lib.errors import ConfigError
from pg2lib.evaluation import EvaluationOptions, detector_name, evaluate
from pg2lib.evaluation.compare import PairScores
from pg2lib.files import atomic_path, atomic_write, sha256_of
from pg2lib.images import image_grid, pil_from_tensor
from pg2lib.metrics.inception import InceptionNetwork
from pg2lib.pipeline import PG2Pipeline
from pg2lib.table1.folder import ALSO, FULL_MODEL, list_name, read_stamp, row_stages, scores_folder, stage1_folder
from pg2lib.table1.history import note_start
from pg2lib.table1.table import Table1, read_table1
from pg2lib.training import check
from pg2lib.training.loop import check_data
from pg2lib.training.run import held, make_accelerator, on_main, train

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where the figures of a table come from. The provenance of every report records it.

    Attributes:
        training_data: Name of the training data.
        layout: Layout of the data set (see `pg2lib.data.read.layout_of`), which decides which published figures apply.
        synthetic: Whether the data are synthetic people, for which there are no published figures.
        command: Command that makes the table; None if it is made from Python.
    """

    training_data: str
    layout: str
    synthetic: bool = False
    command: str | None = None

    @classmethod
    def of(cls, root: str | PathLike[str], pair_rule: str, command: str | None = None) -> Origin:
        """Describe the data set in a folder, whose train split is paired by a rule ("all" or "torso").

        Raises:
            DataError: The folder holds no data set.
        """
        synthetic = (Path(root) / SYNTHETIC).is_file()
        return cls(f"{title_of(root)} train, pair rule {pair_rule}", layout_of(root), synthetic, command)


@dataclass(frozen=True)
class Scoring:
    """What the rows of a table are scored on, and what judges them besides the metrics of every pair.

    Attributes:
        store: Test images.
        pairs: Lists of pairs of these images by title. The first makes the table and the pictures; each of the others
            makes a table of its own.
        inception: Network for IS and mask-IS; None leaves these columns empty.
        detector: Detects the pose in the results, for PCKh@0.5; None leaves that column out.
        pose_pairs: Number of pairs on which the detector is run.

    Raises:
        ConfigError: There is no list, or two titles differ in punctuation or case alone.
    """

    store: ImageStore
    pairs: Mapping[str, PairTable]
    inception: InceptionNetwork | None = None
    detector: PoseDetector | None = None
    pose_pairs: int = 200

    def __post_init__(self) -> None:
        names = [list_name(title) for title in self.pairs]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"expected lists of test pairs whose titles differ in letters or digits, got {names}")


def choose_config(name_or_file: str | None, profile: Literal["full", "fast"], canvas: tuple[int, int]) -> PG2Config:
    """Return the configuration of the full model for images of a given size.

    Args:
        name_or_file: Preset or JSON file; None for the preset "fast" in the profile "fast", else the paper's preset.
        profile: "full", or "fast" to score at most 200 pairs.
        canvas: (height, width) of the images in pixels.
    """
    paper = "deepfashion" if canvas[0] == canvas[1] else "market1501"
    config = PG2Config.load(name_or_file or (paper if profile == "full" else "fast"))
    scored = {"evaluation.pairs": 200} if profile == "fast" else {}
    return config.override({"model.height": canvas[0], "model.width": canvas[1]} | scored)


def make_table1(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    scoring: Scoring,
    folder: str | PathLike[str],
    origin: Origin,
    rows: Sequence[str] = tuple(TABLE1_ROWS),
    accelerator: Accelerator | None = None,
) -> Table1:
    """Train and score the rows of Table 1, and write the table and its pictures: see `pg2lib.table1.folder`.

    An interrupted call resumes when it is repeated. A row is scored again only if its weights, the test pairs, their
    keypoints or images, the Inception network or the detector have changed.

    Args:
        config: Configuration of the full model, from which `PG2Config.row` derives that of every row.
        store, pairs: Training images, and the pairs of them to train on.
        rows: Names of the rows, among `TABLE1_ROWS`.
        accelerator: Device and processes; by default those of `make_accelerator`.

    Raises:
        ConfigError, CheckpointError, DataError: A row is unknown, or `pg2lib.training.run.train` refuses it; this is
            found before any row is trained. See also `Scoring`, `pg2lib.evaluation.evaluate` and `read_table1`.
        TrainingDivergedError: See `pg2lib.training.run.train`.
    """
    place, accelerator = Path(folder), accelerator or make_accelerator()
    configs = {row: config.row(row) for row in rows}

    def check_runs() -> None:
        check.refuse_foreign(place)
        for row, settings in configs.items():
            for stage in row_stages(place, row, settings):
                check_data(settings, stage.settings, store, pairs, accelerator.num_processes)
            check.check_run(settings, place / row, pairs, stage1_folder(place, row))

    on_main(accelerator, check_runs)
    with held(place, accelerator):
        for row, settings in configs.items():
            log.info("%s: training what is missing", row)
            if accelerator.is_main_process:
                for stage in row_stages(place, row, settings):
                    note_start(stage, accelerator, origin.command)
            pipeline = train(
                settings, store, pairs, place / row, origin.training_data, accelerator=accelerator,
                stage1=stage1_folder(place, row),
            )  # fmt: skip
            pipeline.name = row
            if accelerator.is_main_process:
                _score(pipeline, scoring, place, origin)
        accelerator.wait_for_everyone()
        table = read_table1(place, rows)
        if accelerator.is_main_process:
            table.write(place / "table1")
            for name in list(map(list_name, scoring.pairs))[1:]:
                read_table1(place, rows, name).write(place / f"{ALSO}-{name}")
            _draw(table, scoring, accelerator.device)
    return table


def _score(pipeline: PG2Pipeline, scoring: Scoring, table: Path, origin: Origin) -> None:
    """Write the reports of one row on all lists of pairs, except those whose stamp says that nothing has changed."""
    people = scoring.store.table
    options = EvaluationOptions(inception=scoring.inception, detector=scoring.detector, pose_pairs=scoring.pose_pairs)
    origins = {
        "layout": origin.layout,
        "synthetic": origin.synthetic,
        "training_data": "{data}, {images:,} images, {pairs:,} pairs".format_map(pipeline.training),
    }
    common = {
        "weights": sha256_of(table / pipeline.name / "pipeline" / "model.safetensors"),
        "keypoints": hashlib.sha256(repr(people.canvas).encode() + people.xy.numpy().tobytes()).hexdigest(),
        "images": None if people.paths is None else fingerprint(people),
        "inception": scoring.inception and [scoring.inception.name, scoring.inception.resize],
        "poses": scoring.detector and [detector_name(scoring.detector), scoring.pose_pairs],
        "config": pipeline.config.to_dict(),
        **origins,
    }
    for number, (title, pairs) in enumerate(scoring.pairs.items()):
        folder = scores_folder(table, pipeline.name, list_name(title) if number else None)
        stamp = {**common, "pairs": pairs.digest(), "title": title}
        if (folder / "report.json").is_file() and read_stamp(folder) == stamp:
            continue
        (folder / "report.stamp.json").unlink(missing_ok=True)
        report = evaluate(pipeline, scoring.store, pairs, title, folder / "pairs.csv", options=options)
        provenance = {**report.provenance, **origins, "command": origin.command}
        replace(report, provenance=provenance).save(folder / "report.json")
        with atomic_write(folder / "report.stamp.json") as file:
            json.dump(stamp, file)


def _draw(table: Table1, scoring: Scoring, device: torch.device) -> None:
    """Draw Figure 4, the extremes of every row by SSIM, and Figure 6 by mask-SSIM."""
    place, rows = table.folder, list(table.reports)
    store, pairs = scoring.store.to(device), next(iter(scoring.pairs.values()))
    pipelines = {row: PG2Pipeline.from_pretrained(place / row / "pipeline", device) for row in rows}
    scores = {row: PairScores.read(place / row / "pairs.csv") for row in rows}
    chosen = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:8]
    _compare(pipelines, store, pairs, chosen, place / "figure4.jpg")
    ssim = torch.stack([scores[row]["refined_ssim"] for row in rows])
    for row, lead in zip(rows, ssim - (ssim.sum(dim=0) - ssim) / max(1, len(rows) - 1), strict=True):
        order = lead.argsort(descending=True)
        titles = ["ahead"] * len(order[:4]) + ["behind"] * len(order[-4:])
        if len(rows) > 1:  # `lead` is over the mean of the other rows
            _compare(pipelines, store, pairs, torch.cat([order[:4], order[-4:]]), place / row / "extremes.jpg", titles)
    model = FULL_MODEL if FULL_MODEL in rows else rows[-1]
    worst = scores[model]["refined_mask_ssim"].argsort()[:16]
    _compare({model: pipelines[model]}, store, pairs, worst, place / "figure6.jpg")


def _compare(
    pipelines: Mapping[str, PG2Pipeline],
    store: ImageStore,
    pairs: PairTable,
    chosen: torch.Tensor,
    path: Path,
    titles: Sequence[str] = (),
) -> None:
    """Draw one column per pair: condition image, target pose, target image, and the result of every model."""
    batch = store.batch(pairs, chosen)
    rows: dict[str, list[Image.Image]] = {
        "condition image": list(map(pil_from_tensor, batch.condition_image)),
        "target pose": [store.table.pose(row).draw() for row in batch.to_rows.tolist()],
        "target image": list(map(pil_from_tensor, batch.target_image)),
    }
    for name, pipeline in pipelines.items():
        rows[name] = list(map(pil_from_tensor, pipeline.generate_pairs(batch).refined))
    scale = max(1, 128 // store.table.canvas[0])
    picture = image_grid(list(rows.values()), titles=titles, names=list(rows), scale=scale)
    with atomic_path(path) as temporary:
        picture.save(temporary, "JPEG", quality=92, subsampling=0)
