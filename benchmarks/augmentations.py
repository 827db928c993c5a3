"""What each augmentation buys: test pairs as they are, and with one augmentation applied to all of them.

    python -m benchmarks.augmentations deepfashion --pairs pairs-test.csv --flat \\
        --weights runs/all/pipeline runs/no-shift/pipeline

Photos are framed a little differently from the training images, their colours and backdrops are others, and their
mattes are less accurate. A model that was trained with these changes should score better under them than one that was
not. The table has the mean L1 in grey levels of 255, inside the pose mask and over the whole image.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd
import torch

from pg2lib import ImageStore, PairTable, PG2Pipeline, make_pairs, read_pairs
from pg2lib.config import AugmentConfig
from pg2lib.data.read import find_data, read_people
from pg2lib.images import to_uint8
from pg2lib.metrics.pixel import l1, masked_l1
from pg2lib.provenance import provenance
from pg2lib.tables import markdown_table
from pg2lib.training.augment import Augmenter

BATCH = 8
KINDS = [field.name for field in fields(AugmentConfig)]


def errors(pipeline: PG2Pipeline, store: ImageStore, pairs: PairTable, kind: str | None) -> tuple[float, float]:
    """Return the mean masked L1 and L1 with an augmentation applied to all pairs; None applies none."""
    augmenter = Augmenter(AugmentConfig(**{kind: 1.0} if kind else {}), BATCH, seed=0)
    found = []
    for number, rows in enumerate(torch.arange(len(pairs)).split(BATCH)):
        augmenter.share = slice(len(rows))
        batch = augmenter(store.batch(pairs, rows), number)
        made, target = to_uint8(pipeline.generate_pairs(batch).refined), to_uint8(batch.target_image)
        found.append(torch.stack((masked_l1(made, target, batch.target_mask), l1(made, target))))
    inside, whole = torch.cat(found, dim=1).nanmean(dim=1).tolist()
    return inside, whole


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", help="market1501, deepfashion or a folder")
    parser.add_argument("--pairs", type=Path, help="pair file (default: all pairs)")
    parser.add_argument("--flat", action="store_true", help="DeepFashion only: keep the flat images")
    parser.add_argument("--count", type=int, default=200, help="pairs to draw, with seed 0 (default: %(default)s)")
    parser.add_argument("--weights", nargs="+", required=True, help="pipelines, all with mattes")
    options = parser.parse_args(arguments)
    people = read_people(find_data(options.data), "test", flat=options.flat)
    pairs = read_pairs(options.pairs, people) if options.pairs else make_pairs(people)
    pairs = pairs.sample(min(options.count, len(pairs)), seed=0)
    used = sorted({*pairs.from_rows.tolist(), *pairs.to_rows.tolist()})
    place = {row: i for i, row in enumerate(used)}
    store = ImageStore.open(people.select(used), mattes=True)
    moved = [torch.tensor([place[row] for row in side.tolist()]) for side in (pairs.from_rows, pairs.to_rows)]
    pairs = PairTable(store.table, *moved)
    rows = []
    for name in options.weights:
        pipeline = PG2Pipeline.from_pretrained(name, "cpu")
        scores = {kind or "as they are": errors(pipeline, store, pairs, kind) for kind in (None, *KINDS)}
        for i, measure in enumerate(("masked L1", "L1")):
            rows.append({"weights": name, "": measure, **{kind: pair[i] for kind, pair in scores.items()}})
        print(markdown_table(pd.DataFrame(rows).round(2)), flush=True)
    print(f"{len(pairs)} pairs; {provenance()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
