"""Scoring a pipeline on pairs (section 4.3): SSIM and mask-SSIM, streamed, with a row a pair and a report.

A number never travels alone: the report carries the pair count, the metric dialect, the model, the code's commit and
the hardware.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from pg2lib.data.pairs import PairTable
from pg2lib.data.store import ImageStore, PairBatch
from pg2lib.errors import DataError
from pg2lib.files import atomic_write
from pg2lib.images import to_uint8
from pg2lib.metrics.ssim import DIALECT, mask_ssim, ssim
from pg2lib.pipeline import PG2Pipeline
from pg2lib.provenance import provenance
from pg2lib.raster import render_pose_masks

RESULTS = ("refined", "coarse", "condition")
"""What is scored against the target image: the refined result, G1 alone, and the condition image copied unchanged."""

METRICS = ("ssim", "mask_ssim")


@dataclass(frozen=True)
class Figure:
    """Mean and standard deviation over pairs."""

    mean: float
    std: float


@dataclass(frozen=True)
class EvaluationReport:
    """Figures and all that is needed to read them.

    Attributes:
        figures: by result (see RESULTS), then by metric.
        pairs: how many were scored.
        dialect: of the metrics; figures of different dialects cannot be compared.
        mask_from: whose pose mask mask-SSIM used, "target" (paper) or "condition" (released script).
        model: what the pipeline is called, and its configuration.
        data: what the pairs are called.
        seconds: wall time of the evaluation.
        provenance: version, commit, library versions and hardware.
    """

    figures: Mapping[str, Mapping[str, Figure]]
    pairs: int
    dialect: str
    mask_from: str
    model: Mapping[str, Any]
    data: str
    seconds: float
    provenance: Mapping[str, Any]

    def to_json(self) -> str:
        """The report as indented JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> EvaluationReport:
        """The inverse of `to_json`.

        Raises:
            DataError: not a report.
        """
        try:
            values = json.loads(text)
            figures = {
                result: {metric: Figure(**figure) for metric, figure in metrics.items()}
                for result, metrics in values.pop("figures").items()
            }
            return cls(figures=figures, **values)
        except (json.JSONDecodeError, TypeError, AttributeError, KeyError) as error:
            raise DataError(f"this is not an evaluation report: {error!r}") from error

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the report as JSON, whole or not at all."""
        with atomic_write(path) as file:
            file.write(self.to_json())

    def to_markdown(self) -> str:
        """The figures as a table, with what they stand for below it."""
        lines = ["| result | SSIM | mask-SSIM |", "|---|---|---|"]
        for result, metrics in self.figures.items():
            cells = (f"{metrics[name].mean:.4f} ± {metrics[name].std:.4f}" for name in METRICS)
            lines.append(f"| {result} | {' | '.join(cells)} |")
        code = f"pg2lib {self.provenance['pg2lib']}, commit {self.provenance['commit'] or 'unknown'}"
        lines += [
            "",
            f"{self.data}, {self.pairs:,} pairs, mean ± standard deviation over pairs; dialect `{self.dialect}`, "
            f"mask from the {self.mask_from}; model {self.model['name']}; {code}; "
            f"{self.provenance['hardware']}; {self.seconds:.0f} s.",
        ]
        return "\n".join(lines) + "\n"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def evaluate(
    pipeline: PG2Pipeline,
    store: ImageStore,
    pairs: PairTable,
    data_name: str,
    csv_path: str | PathLike[str] | None = None,
    batch_size: int = 32,
    on_progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Scores the refined result, the coarse result and the condition image against the target image of every pair.

    Memory stays constant: images and scores are let go of batch by batch.

    Args:
        store: images of the pairs' table, on the model's canvas.
        data_name: what the pairs are called in the report.
        csv_path: a CSV to write with a row a pair: from, to, and a column a result and metric.
        on_progress: called with (pairs done, pairs in all).

    Raises:
        DataError: images of another size than the model's canvas, or pairs of another table.
    """
    if store.table.canvas != pipeline.config.model.canvas:
        raise DataError(f"the images are {store.table.canvas}, the model wants {pipeline.config.model.canvas} pixels")
    start = time.perf_counter()
    columns = [f"{result}_{metric}" for result in RESULTS for metric in METRICS]
    sums, squares = (torch.zeros(len(columns), dtype=torch.float64) for _ in range(2))
    done = 0
    with atomic_write(csv_path) if csv_path is not None else nullcontext() as file:
        writer = csv.writer(file, lineterminator="\n") if file is not None else None
        if writer is not None:
            writer.writerow(("from", "to", *columns))
        for batch in store.batches(pairs, batch_size):
            scores = _scores(pipeline, batch).double().cpu()
            sums += scores.sum(dim=0)
            squares += scores.square().sum(dim=0)
            if writer is not None:
                names = store.table.names
                for first, second, row in zip(
                    batch.from_rows.tolist(), batch.to_rows.tolist(), scores.tolist(), strict=True
                ):
                    writer.writerow((names[first], names[second], *(f"{score:.6f}" for score in row)))
            done += len(batch)
            if on_progress is not None:
                on_progress(done, len(pairs))
    means = sums / done
    deviations = (squares / done - means.square()).clamp_min(0).sqrt()
    values = dict(zip(columns, map(Figure, means.tolist(), deviations.tolist()), strict=True))
    return EvaluationReport(
        figures={result: {metric: values[f"{result}_{metric}"] for metric in METRICS} for result in RESULTS},
        pairs=done,
        dialect=DIALECT,
        mask_from=pipeline.config.evaluation.mask_from,
        model={"name": pipeline.name, "config": pipeline.config.to_dict()},
        data=data_name,
        seconds=round(time.perf_counter() - start, 1),
        provenance=provenance(),
    )


def _scores(pipeline: PG2Pipeline, batch: PairBatch) -> Tensor:
    """(batch, results x metrics), in the order of RESULTS and METRICS."""
    output = pipeline.generate(batch.condition_image, batch.target_heatmaps)
    target = to_uint8(batch.target_image)
    mask = batch.target_mask
    if pipeline.config.evaluation.mask_from == "condition":
        mask = render_pose_masks(batch.condition_xy, pipeline.config.model.canvas)
    images = {"refined": output.refined, "coarse": output.coarse, "condition": batch.condition_image}
    columns = []
    for result in RESULTS:
        generated = to_uint8(images[result])
        columns += [ssim(generated, target), mask_ssim(generated, target, mask)]
    return torch.stack(columns, dim=1)
