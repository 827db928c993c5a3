"""An ablation of the "-plus" presets: the plain configuration with one ingredient at a time, trained and scored.

    python -m benchmarks.ingredients Market-1501-v15.09.15 --out runs/ingredients
    python -m benchmarks.ingredients deepfashion --config deepfashion --out runs/ingredients-deepfashion

Stage I is trained once for each of its ingredients. Stage II is trained once for each of its own, always on the plain
G1, or on the G1 of a pipeline (`--g1`), which leaves stage I out. An interrupted run resumes when the command is given
again. The table is written to OUT/ingredients.md, and a grid of test pairs for each model to OUT/grids/.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator

from pg2lib import ImageStore, PairTable, PG2Config, PG2Pipeline, evaluate, make_pairs
from pg2lib.cli.training import assignments
from pg2lib.data.read import find_data, read_people, title_of
from pg2lib.files import atomic_path, atomic_write
from pg2lib.models import G1
from pg2lib.output import output_grid
from pg2lib.provenance import provenance
from pg2lib.tables import markdown_table
from pg2lib.training.checkpoint import list_checkpoints
from pg2lib.training.run import (
    Reports,
    load_stage1,
    load_stage2,
    make_accelerator,
    make_pipeline,
    run_stage1,
    run_stage2,
)

PLAIN = "plain"
STAGE1: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "batch of 64, four times the rate": {"batch_size": 64, "lr_factor": 4},
    "rate falls over the last half": {"decay": 0.5},
    "moving average": {"ema_decay": 0.999},
}
STAGE2: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "rate falls over the last half": {"decay": 0.5},
    "moving average": {"ema_decay": 0.999},
    "L1 weighs five times as much": {"l1_factor": 5},
    "spectral norm in D": {"discriminator_norm": "spectral"},
    "D learns four times as fast": {"d_lr_factor": 4},
    "G2 sees the target pose": {"g2_pose": True},
}
METRICS = {"ssim": "SSIM", "mask_ssim": "mask-SSIM", "l1": "L1", "sharpness": "sharpness"}
"""Metrics of the table, with their titles."""


def configuration(plain: PG2Config, stage: int, ingredient: Mapping[str, Any]) -> PG2Config:
    """Return the plain configuration with one ingredient of stage I or II; factors multiply the plain values."""
    training = plain.stage1 if stage == 1 else plain.stage2
    given = dict(ingredient)
    changes = {f"model.{key}": given.pop(key) for key in ("discriminator_norm", "g2_pose") if key in given}
    if "lr_factor" in given:
        given["lr"] = training.lr * given.pop("lr_factor")
    if "decay" in given:
        given["lr_decay_steps"] = int(training.steps * given.pop("decay"))
    if "l1_factor" in given:
        given["l1_weight"] = plain.stage2.l1_weight * given.pop("l1_factor")
    if "d_lr_factor" in given:
        given["d_lr"] = plain.stage2.lr * given.pop("d_lr_factor")
    return plain.override(changes | {f"stage{stage}.{key}": value for key, value in given.items()})


class Ablation:
    """Trains and scores configurations on the same data."""

    def __init__(
        self, store: ImageStore, pairs: PairTable, test: tuple[ImageStore, PairTable], out: Path,
        accelerator: Accelerator, names: tuple[str, str],
    ) -> None:  # fmt: skip
        self.store, self.pairs, self.test, self.out = store, pairs, test, out
        self.accelerator, self.names = accelerator, names

    def stage1(self, name: str, config: PG2Config) -> tuple[G1, dict[str, float]]:
        folder = self.out / "stage1" / name.replace(" ", "-")
        run_stage1(config, self.store, self.pairs, folder, Reports(sample_every=0), self.accelerator)
        g1 = load_stage1(folder)
        return g1, self.score(config.row("G1-poseMaskLoss"), g1, None, folder)

    def stage2(self, name: str, config: PG2Config, g1: G1) -> dict[str, float]:
        folder = self.out / "stage2" / name.replace(" ", "-")
        run_stage2(config, self.store, self.pairs, folder, g1, Reports(sample_every=0), self.accelerator)
        return self.score(config, g1, folder, folder)

    def score(self, config: PG2Config, g1: G1, stage2: Path | None, folder: Path) -> dict[str, float]:
        kept = folder / f"scores-{list_checkpoints(folder)[-1].stem}.json"
        if kept.exists():
            scores: dict[str, float] = json.loads(kept.read_text())
            return scores
        g2 = load_stage2(stage2) if stage2 is not None else None
        pipeline: PG2Pipeline = make_pipeline(config, g1, g2, self.store, self.pairs, self.names[0], [folder])
        test_store, test_pairs = self.test
        report = evaluate(pipeline.to(self.accelerator.device), test_store, test_pairs, self.names[1])
        batch = test_store.batch(test_pairs, torch.arange(min(8, len(test_pairs))))
        with atomic_path(self.out / "grids" / f"{folder.parent.name}-{folder.name}.png") as temporary:
            output_grid(list(pipeline.generate_pairs(batch)), scale=2).save(temporary, "PNG")
        scores = {metric: report.figures["refined"][metric].mean for metric in METRICS}
        with atomic_write(kept) as file:
            json.dump(scores, file)
        return scores


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", help="market1501, deepfashion or a folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and of the table")
    parser.add_argument("--config", default="market1501", help="the plain configuration: a preset or a JSON file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value; repeatable")
    parser.add_argument("--g1", metavar="PIPELINE", help="train stage II only, on the G1 of this folder")
    parser.add_argument("--pairs", default="all", choices=("all", "torso"))
    parser.add_argument("--test-pairs", type=int, default=2_000)
    parser.add_argument("--precision", default="auto", choices=("auto", "no", "bf16"))
    parser.add_argument("--cpu", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    root = find_data(options.data)
    plain = PG2Config.load(options.config).override(assignments(options.set))
    accelerator = make_accelerator(options.precision, options.cpu)
    cache, device = options.out / "cache", accelerator.device
    store, test_store = (
        ImageStore.open(read_people(root, split), cache / split, device, mattes=plain.model.matte)
        for split in ("train", "test")
    )
    pairs, test_pairs = make_pairs(store.table, options.pairs), make_pairs(test_store.table)
    test_pairs = test_pairs.sample(min(options.test_pairs, len(test_pairs)), seed=0)
    title = title_of(root)
    names = f"{title} train, pair rule {options.pairs}", f"{title} test, {len(test_pairs):,} random pairs, seed 0"
    ablation = Ablation(store, pairs, (test_store, test_pairs), options.out, accelerator, names)

    head = f"{names[1]}; trained on {names[0]}. {provenance()}. The plain configuration:"
    rows: list[dict[str, Any]] = []

    def add_row(stage: str, name: str, scores: Mapping[str, float]) -> None:
        titled = {title: scores[metric] for metric, title in METRICS.items()}
        rows.append({"stage": stage, "ingredient": name, **titled})
        table = markdown_table(pd.DataFrame(rows).round(3))
        print(table, flush=True)
        with atomic_write(options.out / "ingredients.md") as file:
            file.write(f"{head}\n\n```json\n{plain.to_json()}```\n\n{table}\n")

    g1 = PG2Pipeline.from_pretrained(options.g1, "cpu").g1 if options.g1 else None
    for name, ingredient in STAGE1.items() if g1 is None else ():
        trained, scores = ablation.stage1(name, configuration(plain, 1, ingredient))
        g1 = trained if name == PLAIN else g1
        add_row("I", name, scores)
    assert g1 is not None
    for name, ingredient in STAGE2.items():
        add_row("II", name, ablation.stage2(name, configuration(plain, 2, ingredient), g1))


if __name__ == "__main__":
    main()
