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

from pg2lib.comparison import comparison_rows
from pg2lib.config import TABLE1_ROWS, PG2Config
from pg2lib.data.pairs import PairTable
from pg2lib.data.read import is_synthetic, layout_of, title_of
from pg2lib.data.store import ImageStore
from pg2lib.data.store_files import fingerprint
from pg2lib.errors import ConfigError
from pg2lib.evaluation import EvaluationOptions, PairScores, detector_name, evaluate
from pg2lib.files import atomic_path, atomic_write, sha256_of
from pg2lib.images import image_grid
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
        title = f"{title_of(root)} train, pair rule {pair_rule}"
        return cls(title, layout_of(root), is_synthetic(root), command)


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
    test_store: ImageStore,
    test_pairs: Mapping[str, PairTable],
    folder: str | PathLike[str],
    origin: Origin,
    rows: Sequence[str] = tuple(TABLE1_ROWS),
    options: EvaluationOptions | None = None,
    accelerator: Accelerator | None = None,
) -> Table1:
    """Train and score the rows of Table 1, and write the table and its pictures: see `pg2lib.table1.folder`.

    An interrupted call resumes when it is repeated. A row is scored again only if its weights, the test pairs, their
    keypoints or images, the Inception network or the detector have changed.

    Args:
        config: Configuration of the full model, from which `PG2Config.row` derives that of every row.
        store, pairs: Training images, and the pairs of them to train on.
        test_store, test_pairs: Test images, and lists of pairs of them by title. The first list makes the table and the
            pictures, each of the others a table of its own.
        rows: Names of the rows, among `TABLE1_ROWS`.
        options: How the rows are scored; without an Inception network, IS and mask-IS are left out.
        accelerator: Device and processes; by default those of `make_accelerator`.

    Raises:
        ConfigError, CheckpointError, DataError: There is no list of test pairs, or two titles differ in punctuation
            alone; a row is unknown, or `pg2lib.training.run.train` refuses it: all found before any row is trained. See
            also `pg2lib.evaluation.evaluate` and `read_table1`.
        TrainingDivergedError: See `pg2lib.training.run.train`.
    """
    place, accelerator, options = Path(folder), accelerator or make_accelerator(), options or EvaluationOptions()
    names = [list_name(title) for title in test_pairs]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"expected lists of test pairs whose titles differ in letters or digits, got {names}")
    configs = {row: config.row(row) for row in rows}
    on_main(accelerator, lambda: _check(configs, store, pairs, place, accelerator.num_processes))
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
                _score(pipeline, test_store, test_pairs, place, origin, options)
        accelerator.wait_for_everyone()
        table = read_table1(place, rows)
        if accelerator.is_main_process:
            table.write(place / "table1")
            for name in names[1:]:
                read_table1(place, rows, name).write(place / f"{ALSO}-{name}")
            _draw(table, test_store.to(accelerator.device), next(iter(test_pairs.values())))
    return table


def _check(configs: Mapping[str, PG2Config], store: ImageStore, pairs: PairTable, table: Path, processes: int) -> None:
    check.refuse_foreign(table)
    for row, config in configs.items():
        for stage in row_stages(table, row, config):
            check_data(config, stage.settings, store, pairs, processes)
        check.check_run(config, table / row, pairs, stage1_folder(table, row))


def _score(
    pipeline: PG2Pipeline,
    store: ImageStore,
    lists: Mapping[str, PairTable],
    table: Path,
    origin: Origin,
    options: EvaluationOptions,
) -> None:
    """Write the reports of one row on all lists of pairs, except those whose stamp says that nothing has changed."""
    people, inception, lpips = store.table, options.inception, options.lpips
    origins = {
        "layout": origin.layout,
        "synthetic": origin.synthetic,
        "training_data": "{data}, {images:,} images, {pairs:,} pairs".format_map(pipeline.training),
    }
    common = {
        "weights": sha256_of(table / pipeline.name / "pipeline" / "model.safetensors"),
        "keypoints": hashlib.sha256(repr(people.canvas).encode() + people.xy.numpy().tobytes()).hexdigest(),
        "images": None if people.paths is None else fingerprint(people),
        "networks": [inception and [inception.name, inception.resize], lpips and lpips.name],
        "poses": options.detector and [detector_name(options.detector), options.pose_pairs],
        "options": [options.dialect, list(options.judged), options.seed],
        "config": pipeline.config.to_dict(),
        **origins,
    }
    if options.width is not None:
        common["width"] = options.width
    if options.train_images is not None:
        common["train_images"] = fingerprint(options.train_images)
    for number, (title, pairs) in enumerate(lists.items()):
        folder = scores_folder(table, pipeline.name, list_name(title) if number else None)
        stamp = {**common, "pairs": pairs.digest(), "title": title}
        if (folder / "report.json").is_file() and read_stamp(folder) == stamp:
            continue
        (folder / "report.stamp.json").unlink(missing_ok=True)
        report = evaluate(pipeline, store, pairs, title, folder / "pairs.csv", options)
        provenance = {**report.provenance, **origins, "command": origin.command}
        replace(report, provenance=provenance).save(folder / "report.json")
        with atomic_write(folder / "report.stamp.json") as file:
            json.dump(stamp, file)


def _draw(table: Table1, store: ImageStore, pairs: PairTable) -> None:
    """Draw Figure 4, the extremes of every row by SSIM, and Figure 6 by mask-SSIM."""
    place, rows = table.folder, list(table.reports)
    pipelines = {row: PG2Pipeline.from_pretrained(place / row / "pipeline", store.device) for row in rows}
    scores = {row: PairScores.read(place / row / "pairs.csv") for row in rows}

    def draw(models: Sequence[str], chosen: torch.Tensor, path: Path, titles: Sequence[str] = ()) -> None:
        batch = store.batch(pairs, chosen)
        pictures = comparison_rows(batch, {model: pipelines[model].generate_pairs(batch).refined for model in models})
        scale = max(1, 128 // store.table.canvas[0])
        picture = image_grid(list(pictures.values()), titles=titles, names=list(pictures), scale=scale)
        with atomic_path(path) as temporary:
            picture.save(temporary, "JPEG", quality=92, subsampling=0)

    draw(rows, torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:8], place / "figure4.jpg")
    ssim = torch.stack([scores[row]["refined_ssim"] for row in rows])
    for row, score in zip(rows, ssim, strict=True) if len(rows) > 1 else ():
        others = (ssim.sum(dim=0) - score) / (len(rows) - 1)
        order = (score - others).argsort(descending=True)
        titles = ["ahead"] * len(order[:4]) + ["behind"] * len(order[-4:])
        draw(rows, torch.cat([order[:4], order[-4:]]), place / row / "extremes.jpg", titles)
    model = FULL_MODEL if FULL_MODEL in rows else rows[-1]
    draw([model], scores[model]["refined_mask_ssim"].argsort()[:16], place / "figure6.jpg")
