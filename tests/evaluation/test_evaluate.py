"""The figures of `evaluate` against scikit-image and NumPy, and what stands in its report."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from pg2lib import (
    DataError,
    EvaluationReport,
    ImageStore,
    NoPersonError,
    PairTable,
    PG2Config,
    PG2Pipeline,
    Pose,
    build_models,
    evaluate,
    make_pairs,
    read_market1501,
    render_pose_masks,
)
from pg2lib.detect import Detection
from pg2lib.evaluation import EvaluationOptions, PairScores
from pg2lib.evaluation.report import METRICS
from pg2lib.framing import Framing
from pg2lib.images import to_uint8
from pg2lib.metrics.bootstrap import bootstrap_intervals
from pg2lib.metrics.classes import PSNR_CEILING_DB
from pg2lib.metrics.inception import InceptionNetwork, inception_scores
from pg2lib.metrics.perceptual import PerceptualNetwork
from tests.evaluation.conftest import Colours, pipeline


def masked_energy(image: np.ndarray, mask: np.ndarray) -> float:
    """Pixel by pixel: squared differences between neighbours that both lie in the mask."""
    inside = set(zip(*np.nonzero(mask), strict=True))
    neighbours = [((y, x), other) for y, x in inside for other in ((y + 1, x), (y, x + 1)) if other in inside]
    return sum(((image[one] - image[other]) ** 2).sum() for one, other in neighbours)


def test_figures_are_the_mean_of_scikit_image_over_the_pairs(store: ImageStore, tmp_path) -> None:
    pipe, pairs = pipeline(), make_pairs(store.table).sample(7, seed=0)
    report = evaluate(pipe, store, pairs, "tiny", tmp_path / "pairs.csv", EvaluationOptions(batch_size=3))
    expected: dict[str, list[float]] = {
        f"{r}_{m}": [] for r in ("refined", "coarse", "condition") for m in METRICS if m != "lpips"
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
            a, b = generated.astype(float), target.astype(float)
            expected[f"{name}_l1"].append(np.abs(a - b).mean())
            expected[f"{name}_masked_l1"].append(np.abs(a - b)[mask[:, :, 0] == 1].mean())
            expected[f"{name}_psnr"].append(peak_signal_noise_ratio(target, generated, data_range=255))
            energy, real = (sum((np.diff(image, axis=axis) ** 2).sum() for axis in (0, 1)) for image in (a, b))
            expected[f"{name}_sharpness"].append(energy / real)
            energy, real = (masked_energy(image, mask[:, :, 0]) for image in (a, b))
            expected[f"{name}_masked_sharpness"].append(energy / real)
    for result, metrics in report.figures.items():
        for metric, figure in metrics.items():
            values = expected[f"{result}_{metric}"]
            assert figure.mean == pytest.approx(np.mean(values), abs=1e-4)
            assert figure.std == pytest.approx(np.std(values), abs=1e-4)
            assert figure.pairs == 7
            low, high = bootstrap_intervals(torch.tensor(values)[:, None]).flatten().tolist()
            assert figure.interval == pytest.approx((low, high), abs=1e-4)
    assert set(report.figures["refined"]) == set(METRICS) - {"lpips"}
    with (tmp_path / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["from"], row["to"]) for row in rows] == [pairs.names(i) for i in range(7)]
    for column, values in expected.items():
        assert np.allclose([float(row[column]) for row in rows], values, atol=1e-4)


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
    one, many = (evaluate(pipe, store, pairs, "tiny", options=EvaluationOptions(batch_size=size)) for size in (1, 9))
    for result, metrics in one.figures.items():
        for metric, figure in metrics.items():
            assert figure.mean == pytest.approx(many.figures[result][metric].mean, abs=1e-4)


def test_an_interrupted_evaluation_leaves_no_half_written_csv(store: ImageStore, tmp_path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(pipeline(), store, make_pairs(store.table), "tiny", tmp_path / "pairs.csv", on_progress=stop)
    assert list(tmp_path.glob("*pairs*")) == []


def test_nothing_is_gathered_from_other_processes(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of Table 1 are scored on the main process alone, so a collective operation would wait for ever."""

    def gather(*_: object) -> None:
        raise AssertionError("the other processes would have to take part")

    monkeypatch.setattr("torchmetrics.metric.jit_distributed_available", lambda: True)
    monkeypatch.setattr("torchmetrics.metric.gather_all_tensors", gather)
    options = EvaluationOptions(inception=InceptionNetwork("colours", Colours(), "as they are"), detector=Eyes({}, 0))
    report = evaluate(pipeline(), store, make_pairs(store.table).sample(10, 0), "tiny", options=options)
    assert report.sets["refined"].fid is not None and report.poses["refined"].not_found == 1


def test_an_evaluation_needs_a_pair(store: ImageStore) -> None:
    with pytest.raises(DataError, match="at least one pair"):
        evaluate(pipeline(), store, make_pairs(store.table).select(torch.arange(0)), "none")


def test_images_of_another_size_are_refused(store: ImageStore) -> None:
    config = PG2Config.preset("fast").override(
        {"model.height": 64, "model.width": 32, "model.base_width": 4, "model.bottleneck": 8}
    )
    g1, g2, _ = build_models(config)
    with pytest.raises(DataError, match=r"canvas \(64, 32\), got \(128, 64\)"):
        evaluate(PG2Pipeline(g1, g2, config, Framing(0.5, {"neck": 0.2})), store, make_pairs(store.table), "tiny")


def test_every_dialect_is_named_in_its_report(store: ImageStore) -> None:
    pairs, pipe = make_pairs(store.table).sample(2, seed=0), pipeline()
    reports = {
        name: evaluate(pipe, store, pairs, "tiny", options=EvaluationOptions(dialect=name))
        for name in ("released", "pose-gan", "gfla")
    }
    scores = {reports[name].figures["condition"]["ssim"].mean for name in reports}
    assert [report.dialect for report in reports.values()] == list(reports) and len(scores) == 3
    with pytest.raises(DataError, match="dialect must be one of"):
        EvaluationOptions(dialect="mine")


def test_pairs_that_lack_a_metric_count_in_no_figure_of_it(tiny_market1501: Path, tmp_path: Path) -> None:
    table = read_market1501(tiny_market1501, "train")
    table.xy[3] = torch.nan
    store = ImageStore.open(table)
    pairs = PairTable(store.table, torch.tensor([0, 1, 2, 0]), torch.tensor([3, 0, 3, 2]))
    report = evaluate(pipeline(), store, pairs, "tiny", tmp_path / "pairs.csv")
    refined = report.figures["refined"]
    assert (refined["masked_l1"].pairs, refined["l1"].pairs) == (2, 4)
    scores = PairScores.read(tmp_path / "pairs.csv")["refined_masked_l1"]
    assert scores.isnan().tolist() == [True, False, True, False]
    assert refined["masked_l1"].mean == pytest.approx(float(scores.nanmean()), abs=1e-5)
    alone = evaluate(pipeline(), store, pairs.select(torch.tensor([0, 2])), "tiny")
    assert "masked_l1" not in alone.figures["refined"] and "NaN" not in alone.to_json()
    assert "–" not in report.to_markdown() and "masked L1" not in alone.to_markdown()


def test_a_result_equal_to_its_target_leaves_the_mean_psnr_a_number(store: ImageStore) -> None:
    same = PairTable(store.table, torch.tensor([0]), torch.tensor([0]))
    figure = evaluate(pipeline(), store, same, "tiny").figures["condition"]["psnr"]
    assert (figure.mean, figure.std, figure.interval) == (PSNR_CEILING_DB, 0, (PSNR_CEILING_DB, PSNR_CEILING_DB))


def test_inception_scores_and_fid_travel_with_their_network(store: ImageStore) -> None:
    pairs, pipe = make_pairs(store.table).sample(20, seed=0), pipeline()
    network = InceptionNetwork("colours", Colours(), "as they are")
    report = evaluate(pipe, store, pairs, "tiny", options=EvaluationOptions(batch_size=7, inception=network))
    batch = store.batch(pairs, torch.arange(20))
    refined = to_uint8(pipe.generate(batch.condition_image, batch.target_heatmaps).refined)
    target, mask = to_uint8(batch.target_image), batch.target_mask.byte()
    for name, images in (("refined", refined), ("target", target)):
        for score, shown in (
            (report.sets[name].inception_score, images), (report.sets[name].mask_inception_score, images * mask),
        ):  # fmt: skip
            expected = inception_scores((shown.float().mean(dim=(2, 3)) / 20).softmax(dim=1))
            assert (score.mean, score.std) == pytest.approx((float(expected.mean()), float(expected.std(correction=0))))
            assert (score.images, score.splits, score.network, score.resize) == (20, 10, "colours", "as they are")
    (mean, cov), (real_mean, real_cov) = (
        (colour.mean(axis=0), np.cov(colour, rowvar=False))
        for colour in (images.float().mean(dim=(2, 3)).double().numpy() for images in (refined, target))
    )
    shift = mean - real_mean
    expected = shift @ shift + np.trace(cov + real_cov - 2 * np.real(linalg.sqrtm(cov @ real_cov)))
    distance = report.sets["refined"].fid
    assert distance.distance == pytest.approx(expected, rel=1e-5)
    assert (distance.images, distance.real_images, distance.features) == (20, 20, 3)
    assert report.sets["target"].fid is None
    assert EvaluationReport.from_json(report.to_json()) == report
    for part in ("network: colours, resize as they are, 20 images", "over 10 splits"):
        assert part in report.to_markdown()
    with pytest.raises(DataError, match=r"\b10 splits.*\b9\b"):
        evaluate(pipe, store, pairs.select(torch.arange(9)), "tiny", options=EvaluationOptions(inception=network))


def test_a_network_without_features_gives_no_fid(store: ImageStore) -> None:
    network = InceptionNetwork("flat", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), "as they are", floats=True)
    options = EvaluationOptions(inception=network)
    report = evaluate(pipeline(), store, make_pairs(store.table).sample(10, 0), "tiny", options=options)
    assert report.sets["refined"].fid is None and report.sets["refined"].inception_score is not None


def test_lpips_is_one_more_metric_a_pair(store: ImageStore, tmp_path: Path) -> None:
    class Distance(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return (x - y).abs().mean(dim=(1, 2, 3))

    pairs = make_pairs(store.table).sample(5, seed=0)
    network = PerceptualNetwork("mean difference", Distance())
    report = evaluate(pipeline(), store, pairs, "tiny", tmp_path / "pairs.csv", EvaluationOptions(lpips=network))
    scores = PairScores.read(tmp_path / "pairs.csv")
    for result in report.figures:
        assert torch.allclose(scores[f"{result}_lpips"] * 127.5, scores[f"{result}_l1"], atol=1e-3)
    assert report.lpips == "mean difference" and "LPIPS network: mean difference" in report.to_markdown()


class Eyes:
    """Finds the standing figure wherever the picture is that of somebody known, shifted by some pixels."""

    def __init__(self, known: dict[bytes, Pose], shift_px: float) -> None:
        self.known, self.shift_px, self.seen = known, shift_px, 0

    def detect(self, image: Image.Image) -> Detection:
        self.seen += 1
        if image.tobytes() not in self.known:
            raise NoPersonError("nobody")
        pose = self.known[image.tobytes()]
        return Detection(Pose(pose.xy + torch.tensor([self.shift_px, 0]), pose.canvas), 0, 1.0)


def test_poses_are_detected_again_beside_the_detectors_own_error(store: ImageStore) -> None:
    pairs = make_pairs(store.table).sample(9, seed=0)
    pictures = [store.images(torch.tensor([row]))[0] for row in range(len(store))]
    known = {
        picture.permute(1, 2, 0).contiguous().numpy().tobytes(): store.table.pose(row)
        for row, picture in enumerate(pictures)
    }
    eyes, calls = Eyes(known, 3), []
    report = evaluate(
        pipeline(), store, pairs, "tiny", on_progress=lambda *progress: calls.append(progress),
        options=EvaluationOptions(detector=eyes, pose_pairs=4, judged=("refined", "condition"), batch_size=3),
    )  # fmt: skip
    assert eyes.seen == 4 * 3 and report.detector == "Eyes"
    assert calls == [(3, 13), (6, 13), (9, 13), (12, 13), (13, 13)]
    own = report.poses["target"]
    assert (own.images, own.joints_missing, own.not_found, own.pckh) == (4, 0, 0, 1)
    assert own.mean_error == pytest.approx(3 / 128)
    assert report.poses["refined"].not_found == 1 and report.poses["refined"].mean_error is None
    # The condition image shows another pose: off by the shift between the two people, and not the detector's 3 px.
    assert report.poses["condition"].mean_error != pytest.approx(3 / 128)
    assert EvaluationReport.from_json(report.to_json()) == report
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.to_markdown().splitlines()]
    assert ["images", "PCKh@0.5", "mean error", "joints missing", "nobody found"] in rows
    assert ["target", "100.0%", "2.3%", "0.0%", "0.0%"] in rows
    assert ["refined", "0.0%", "–", "100.0%", "100.0%"] in rows


def test_what_is_judged_must_be_a_result() -> None:
    with pytest.raises(DataError, match=r"judged.*refined, coarse, condition.*fake"):
        EvaluationOptions(judged=("fake",))
    with pytest.raises(DataError, match="batch_size"):
        EvaluationOptions(batch_size=0)
