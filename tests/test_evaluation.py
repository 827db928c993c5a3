from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from pg2lib import (
    DataError,
    EvaluationReport,
    ImageStore,
    PG2Config,
    PG2Pipeline,
    build_models,
    evaluate,
    make_pairs,
    read_market1501,
    render_pose_masks,
)
from pg2lib.images import to_uint8
from pg2lib.pipeline import Framing


@pytest.fixture
def store(tiny_market1501: Path) -> ImageStore:
    return ImageStore.open(read_market1501(tiny_market1501, "train"))


def pipeline(**overrides) -> PG2Pipeline:
    torch.manual_seed(0)
    config = PG2Config.preset("fast").override({"model.base_width": 4, "model.bottleneck": 8, **overrides})
    g1, g2, _ = build_models(config)
    return PG2Pipeline(g1, g2, config, Framing(0.5, {"neck": 0.2}))


def test_figures_are_the_mean_of_scikit_image_over_the_pairs(store: ImageStore, tmp_path) -> None:
    pipe, pairs = pipeline(), make_pairs(store.table).sample(7, seed=0)
    report = evaluate(pipe, store, pairs, "tiny", tmp_path / "pairs.csv", batch_size=3)
    expected: dict[str, list[float]] = {
        f"{r}_{m}": [] for r in ("refined", "coarse", "condition") for m in ("ssim", "mask_ssim")
    }
    for i in range(7):
        batch = store.batch(pairs, torch.tensor([i]))
        out = pipe.generate(batch.condition_image, batch.target_heatmaps)
        target = to_uint8(batch.target_image)[0].permute(1, 2, 0).numpy()
        mask = batch.target_mask[0].permute(1, 2, 0).numpy().astype(np.uint8)
        for name, image in (("refined", out.refined), ("coarse", out.coarse), ("condition", batch.condition_image)):
            generated = to_uint8(image)[0].permute(1, 2, 0).numpy()
            expected[f"{name}_ssim"].append(structural_similarity(generated, target, channel_axis=2))
            masked = structural_similarity(generated * mask, target * mask, channel_axis=2)
            expected[f"{name}_mask_ssim"].append(masked)
    for result, metrics in report.figures.items():
        for metric, figure in metrics.items():
            values = expected[f"{result}_{metric}"]
            assert figure.mean == pytest.approx(np.mean(values), abs=1e-4)
            assert figure.std == pytest.approx(np.std(values), abs=1e-4)
    with (tmp_path / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["from"], row["to"]) for row in rows] == [pairs.names(i) for i in range(7)]
    for column, values in expected.items():
        assert np.allclose([float(row[column]) for row in rows], values, atol=1e-4)


def test_a_number_never_travels_alone(store: ImageStore, tmp_path) -> None:
    report = evaluate(pipeline(), store, make_pairs(store.table).sample(2, seed=0), "tiny, two pairs")
    report.save(tmp_path / "report.json")
    values = json.loads((tmp_path / "report.json").read_text())
    assert (values["pairs"], values["dialect"], values["data"]) == (2, "released", "tiny, two pairs")
    assert values["provenance"]["hardware"] and values["provenance"]["torch"] == torch.__version__
    assert values["model"]["config"]["model"]["base_width"] == 4
    assert EvaluationReport.from_json(report.to_json()) == report
    text = report.to_markdown()
    for part in ("| refined |", "| condition |", "tiny, two pairs, 2 pairs", "dialect `released`"):
        assert part in text
    with pytest.raises(DataError, match="not an evaluation report"):
        EvaluationReport.from_json("{}")


def test_the_released_script_reads_the_conditions_mask(store: ImageStore) -> None:
    pairs = make_pairs(store.table).sample(4, seed=1)
    target, condition = (
        evaluate(pipeline(**{"evaluation.mask_from": side}), store, pairs, "tiny") for side in ("target", "condition")
    )
    assert target.figures["refined"]["ssim"] == condition.figures["refined"]["ssim"]
    assert target.figures["refined"]["mask_ssim"] != condition.figures["refined"]["mask_ssim"]
    batch = store.batch(pairs, torch.arange(4))
    assert not torch.equal(render_pose_masks(batch.condition_xy, (128, 64)), batch.target_mask)


def test_batch_size_changes_nothing(store: ImageStore) -> None:
    pairs, pipe = make_pairs(store.table).sample(9, seed=2), pipeline()
    one, many = (evaluate(pipe, store, pairs, "tiny", batch_size=size) for size in (1, 9))
    for result, metrics in one.figures.items():
        for metric, figure in metrics.items():
            assert figure.mean == pytest.approx(many.figures[result][metric].mean, abs=1e-4)


def test_an_interrupted_evaluation_leaves_no_half_written_csv(store: ImageStore, tmp_path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(pipeline(), store, make_pairs(store.table), "tiny", tmp_path / "pairs.csv", 4, stop)
    assert list(tmp_path.glob("*pairs*")) == []


def test_images_of_another_size_are_refused(store: ImageStore) -> None:
    config = PG2Config.preset("fast").override(
        {"model.height": 64, "model.width": 32, "model.base_width": 4, "model.bottleneck": 8}
    )
    g1, g2, _ = build_models(config)
    with pytest.raises(DataError, match=r"the images are \(128, 64\), the model wants \(64, 32\)"):
        evaluate(PG2Pipeline(g1, g2, config, Framing(0.5, {"neck": 0.2})), store, make_pairs(store.table), "tiny")
