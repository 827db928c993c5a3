"""Scores of image files, against `evaluate` and scikit-image."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg
from skimage.metrics import structural_similarity

from pg2lib import (
    DataError,
    EvaluationOptions,
    EvaluationReport,
    ImageStore,
    NoPersonError,
    PairTable,
    PersonTable,
    Pose,
    evaluate,
    make_pairs,
    score_images,
)
from pg2lib.detect import Detection
from pg2lib.evaluation import PairScores, compare_reports, compare_shared_pairs
from pg2lib.evaluation.report import Figure
from pg2lib.evaluation.scoring import ScoringBatch, _draw_pose_pairs
from pg2lib.images import pil_from_tensor, to_uint8
from pg2lib.metrics.inception import InceptionNetwork
from tests.conftest import STANDING
from tests.evaluation.conftest import Colours, pipeline

COLOURS = InceptionNetwork("colours", Colours(), "as they are")


@pytest.fixture
def pairs(store: ImageStore) -> PairTable:
    return make_pairs(store.table).sample(12, seed=0)


def file_name(pairs: PairTable, pair: int) -> str:
    return "_2_".join(Path(name).stem for name in pairs.names(pair)) + "_vis.png"


def write_results(
    folder: Path,
    store: ImageStore,
    pairs: PairTable,
    change: Callable[[Image.Image], Image.Image] = lambda picture: picture,
    which: Iterable[int] | None = None,
) -> Path:
    """Write what a pipeline generates for some pairs, changed in some way."""
    folder.mkdir(parents=True)
    refined = pipeline().generate_pairs(store.batch(pairs, torch.arange(len(pairs)))).refined
    for pair in range(len(pairs)) if which is None else which:
        change(pil_from_tensor(refined[pair])).save(folder / file_name(pairs, pair))
    return folder


def assert_same(one: Mapping[str, Figure], other: Mapping[str, Figure]) -> None:
    """Figures are equal, but for the order in which they were summed."""
    assert one.keys() == other.keys()
    for metric, figure in one.items():
        values = (other[metric].mean, other[metric].std, *other[metric].interval)
        assert (figure.mean, figure.std, *figure.interval) == pytest.approx(values, rel=1e-12), metric
        assert figure.pairs == other[metric].pairs


class LooksAtColours:
    """Finds the standing person, shifted by the colour of the picture."""

    def detect(self, image: Image.Image) -> Detection:
        shift = float(np.asarray(image).mean()) % 7
        if shift < 1:
            raise NoPersonError("nobody")
        return Detection(Pose(torch.tensor(STANDING) + shift, (128, 64)), 0, 1.0)


def test_the_images_of_a_pipeline_score_as_the_pipeline(store: ImageStore, pairs: PairTable, tmp_path: Path) -> None:
    results = write_results(tmp_path / "results", store, pairs)
    options = EvaluationOptions(
        dialect="pose-gan", inception=COLOURS, detector=LooksAtColours(), pose_pairs=5, batch_size=5
    )
    whole = evaluate(pipeline(), store, pairs, "tiny", tmp_path / "whole.csv", options)
    calls: list[tuple[int, int]] = []
    files = score_images(
        results, store, pairs, "tiny", tmp_path / "files.csv", options, lambda *call: calls.append(call)
    )
    assert_same(files.figures["generated"], whole.figures["refined"])
    assert_same(files.figures["condition"], whole.figures["condition"])
    assert files.sets == {"generated": whole.sets["refined"], "target": whole.sets["target"]}
    assert files.poses == {"generated": whole.poses["refined"], "target": whole.poses["target"]}
    assert (files.pairs, files.pairs_digest, files.canvas) == (12, whole.pairs_digest, (128, 64))
    assert (files.model, files.dialect) == ({"name": "results"}, "pose-gan")
    assert calls[-1] == (17, 17)
    with (tmp_path / "whole.csv").open() as one, (tmp_path / "files.csv").open() as other:
        for theirs, ours in zip(csv.DictReader(one), csv.DictReader(other), strict=True):
            renamed = {key.replace("refined", "generated"): value for key, value in theirs.items()}
            assert ours.items() <= renamed.items()
    assert EvaluationReport.from_json(files.to_json()) == files


@pytest.mark.parametrize("panels", [2, 3, 5])
def test_a_composite_scores_as_its_right_image(
    panels: int, store: ImageStore, pairs: PairTable, tmp_path: Path
) -> None:
    def composite(picture: Image.Image) -> Image.Image:
        whole = Image.effect_noise((64 * panels, 128), 90).convert("RGB")
        whole.paste(picture, (64 * (panels - 1), 0))
        return whole

    alone, composites = (
        score_images(write_results(tmp_path / name, store, pairs, change), store, pairs, "tiny")
        for name, change in (("alone", lambda picture: picture), ("composites", composite))
    )
    assert composites.figures == alone.figures
    assert f"of {panels} images side by side, the right one is scored as it is" in composites.to_markdown()


def test_an_enlarged_result_is_brought_back_to_the_canvas(store: ImageStore, pairs: PairTable, tmp_path: Path) -> None:
    large = write_results(tmp_path / "large", store, pairs, lambda picture: picture.resize((192, 384)))
    report = score_images(large, store, pairs, "tiny")
    same = evaluate(pipeline(), store, pairs, "tiny")
    assert report.figures["generated"]["l1"].mean == pytest.approx(same.figures["refined"]["l1"].mean, abs=0.5)
    assert report.files.size == (384, 192) and "192x384 pixels" in report.to_markdown()


def test_what_is_not_scored_is_listed(store: ImageStore, pairs: PairTable, tmp_path: Path) -> None:
    results = write_results(tmp_path / "results", store, pairs, which=range(1, 12))
    (results / "loss.png").write_bytes((results / file_name(pairs, 3)).read_bytes())
    (results / file_name(pairs, 4)).with_suffix(".jpg").write_bytes((results / file_name(pairs, 4)).read_bytes())
    report = score_images(results, store, pairs, "tiny", tmp_path / "pairs.csv")
    assert (report.pairs, report.files.listed) == (10, 12)
    scored = [pairs.names(i) for i in range(12) if i not in (0, 4)]
    assert list(PairScores.read(tmp_path / "pairs.csv").names) == scored
    twice = file_name(pairs, 4)
    assert [(entry.kind, entry.name) for entry in report.files.unscored] == [
        ("extra", "loss.png"), ("doubtful", twice.replace(".png", ".jpg")), ("doubtful", twice),
        ("missing", " -> ".join(pairs.names(0))),
    ]  # fmt: skip
    text = report.to_markdown()
    assert "Of 12 listed pairs, 1 are missing; 1 extra and 2 doubtful files" in text
    assert "- extra: `loss.png`" in text and f"- missing: `{' -> '.join(pairs.names(0))}`" in text
    assert EvaluationReport.from_json(report.to_json()) == report


@pytest.fixture
def wide(tmp_path: Path) -> tuple[ImageStore, PairTable]:
    """Three padded images of 256x256 pixels, as those of DeepFashion."""
    folder = tmp_path / "wide"
    folder.mkdir()
    names = ("a.png", "b.png", "c.png")
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    xy = torch.tensor(STANDING, dtype=torch.float32) * 2 + torch.tensor([64.0, 0.0])
    table = PersonTable(
        names, ("p",) * 3, xy.expand(3, 18, 2).clone(), (256, 256), tuple(folder / n for n in names),
        fill=(255, 255, 255),
    )  # fmt: skip
    store = ImageStore.open(table)
    return store, PairTable(store.table, torch.tensor([0, 1]), torch.tensor([1, 2]))


def pixels_of(store: ImageStore, row: int) -> np.ndarray:
    return store.images(torch.tensor([row]))[0].permute(1, 2, 0).numpy()


def test_narrow_results_are_scored_against_the_middle_of_the_targets(
    wide: tuple[ImageStore, PairTable], tmp_path: Path
) -> None:
    store, pairs = wide
    results = tmp_path / "results"
    results.mkdir()
    made = [np.random.default_rng(9 + pair).integers(0, 256, (256, 176, 3), dtype=np.uint8) for pair in range(2)]
    for pair, name in enumerate(("a_b.png", "b_c.png")):
        Image.fromarray(made[pair]).save(results / name)
    report = score_images(results, store, pairs, "wide", tmp_path / "pairs.csv")
    assert report.canvas == (256, 176) and "256x176 pixels (height x width)" in report.to_markdown()
    scores = PairScores.read(tmp_path / "pairs.csv")
    mask = store.batch(pairs, torch.arange(2)).target_mask.numpy()
    for pair in range(2):
        target = pixels_of(store, pair + 1)[:, 40:216]
        expected = structural_similarity(made[pair], target, channel_axis=2)
        assert float(scores["generated_ssim"][pair]) == pytest.approx(expected, abs=1e-4)
        inside = mask[pair, 0, :, 40:216] == 1
        difference = np.abs(made[pair].astype(float) - target)[inside].mean()
        assert float(scores["generated_masked_l1"][pair]) == pytest.approx(difference, abs=1e-3)

    padded = np.full((256, 256, 3), 255, dtype=np.uint8)
    padded[:, 40:216] = made[0]
    score_images(results, store, pairs, "wide", tmp_path / "256.csv", EvaluationOptions(width=256))
    expected = structural_similarity(padded, pixels_of(store, 1), channel_axis=2)
    assert float(PairScores.read(tmp_path / "256.csv")["generated_ssim"][0]) == pytest.approx(expected, abs=1e-4)


def test_results_that_were_stretched_to_a_square_are_squeezed(
    wide: tuple[ImageStore, PairTable], tmp_path: Path
) -> None:
    store, pairs = wide
    results = tmp_path / "results"
    results.mkdir()
    for pair, name in enumerate(("a_b.png", "b_c.png")):
        middle = Image.fromarray(pixels_of(store, pair + 1)).crop((40, 0, 216, 256))
        middle.resize((176, 8)).resize((256, 256)).save(results / name)
    options = EvaluationOptions(width=176)
    squeezed = score_images(results, store, pairs, "wide", options=options, stretch=True)
    as_they_are = score_images(results, store, pairs, "wide", options=options)
    assert squeezed.canvas == as_they_are.canvas == (256, 176)
    assert squeezed.figures["generated"]["l1"].mean < as_they_are.figures["generated"]["l1"].mean


def test_a_pipeline_is_scored_at_another_width_too(store: ImageStore, pairs: PairTable) -> None:
    class Echo:
        def detect(self, image: Image.Image) -> Detection:
            assert image.size == (40, 128)
            return Detection(Pose(torch.tensor(STANDING) - torch.tensor([12, 0]), (128, 40)), 0, 1.0)

    same = PairTable(store.table, torch.tensor([0, 1]), torch.tensor([1, 0]))
    report = evaluate(pipeline(), store, same, "tiny", options=EvaluationOptions(width=40, detector=Echo()))
    one, other = (pixels_of(store, row)[:, 12:52].astype(float) for row in (0, 1))
    assert report.figures["condition"]["l1"].mean == pytest.approx(np.abs(one - other).mean(), abs=1e-4)
    # The people stand 3 and 1 pixels to the left of the standing pose.
    assert report.poses["target"].mean_error == pytest.approx(2 / 128)
    assert report.canvas == (128, 40)
    for width in (0, 65):
        with pytest.raises(DataError, match="width"):
            evaluate(pipeline(), store, pairs, "tiny", options=EvaluationOptions(width=width))
    with pytest.raises(DataError, match=r"\(128, 40\) and \(128, 64\)"):
        compare_reports(report, evaluate(pipeline(), store, same, "tiny"))


def test_fid_against_all_training_images_by_choice(store: ImageStore, pairs: PairTable, tmp_path: Path) -> None:
    results = write_results(tmp_path / "results", store, pairs)
    targets = score_images(results, store, pairs, "tiny", options=EvaluationOptions(inception=COLOURS))
    calls: list[tuple[int, int]] = []
    train = score_images(
        results, store, pairs, "tiny", on_progress=lambda *call: calls.append(call),
        options=EvaluationOptions(inception=COLOURS, train_images=store.table, batch_size=5, width=40),
    )  # fmt: skip
    assert calls[-1] == (24, 24)
    made = pipeline().generate_pairs(store.batch(pairs, torch.arange(12))).refined
    (mean, cov), (real_mean, real_cov) = (
        (colour.mean(axis=0), np.cov(colour, rowvar=False))
        for colour in (
            images[..., 12:52].float().mean(dim=(2, 3)).double().numpy()
            for images in (to_uint8(made), store.images(torch.arange(12)))
        )
    )
    shift = mean - real_mean
    expected = shift @ shift + np.trace(cov + real_cov - 2 * np.real(linalg.sqrtm(cov @ real_cov)))
    fid = train.sets["generated"].fid
    assert fid.distance == pytest.approx(expected, rel=1e-4)
    assert (fid.real, fid.real_images, fid.images) == ("train images", 12, 12)
    assert "FID is the distance to 12 train images." in train.to_markdown()
    assert targets.sets["generated"].fid.real == "target images"
    assert "FID is the distance to 12 target images." in targets.to_markdown()
    other = PersonTable(("a",), ("a",), torch.ones(1, 18, 2), (256, 256))
    with pytest.raises(DataError, match=r"train_images.*\(128, 64\).*\(256, 256\)"):
        score_images(results, store, pairs, "tiny", options=EvaluationOptions(train_images=other))


def test_two_methods_are_compared_on_the_pairs_they_share(store: ImageStore, pairs: PairTable, tmp_path: Path) -> None:
    def darker(picture: Image.Image) -> Image.Image:
        return picture.point(lambda level: level // 2)

    reports, scores = [], []
    for name, change, which in (("one", Image.Image.copy, range(9)), ("two", darker, range(3, 12))):
        folder = write_results(tmp_path / name, store, pairs, change, which)
        reports.append(score_images(folder, store, pairs, "tiny", tmp_path / f"{name}.csv", method=name.upper()))
        scores.append(PairScores.read(tmp_path / f"{name}.csv"))
    with pytest.raises(DataError, match="names differ"):
        compare_reports(*reports)
    comparison = compare_shared_pairs(*reports, *scores)
    assert (comparison.first, comparison.second, comparison.pairs) == ("ONE", "TWO", 6)
    one, other = scores[0]["generated_l1"][3:], scores[1]["generated_l1"][:6]
    assert comparison.differences["generated"]["l1"] == pytest.approx(float(one.mean() - other.mean()))
    assert comparison.paired["generated"]["l1"].won == pytest.approx(float((one < other).double().mean()))
    assert comparison.paired["condition"]["ssim"].tied == 1, "the same pairs, in the same order"
    assert "6 pairs." in comparison.to_markdown()
    apart = write_results(tmp_path / "apart", store, pairs, which=[11])
    report = score_images(apart, store, pairs, "tiny", tmp_path / "apart.csv")
    with pytest.raises(DataError, match="no pair in common"):
        compare_shared_pairs(reports[0], report, scores[0], PairScores.read(tmp_path / "apart.csv"))


def test_the_mask_is_that_of_the_image_that_is_named(store: ImageStore, pairs: PairTable, tmp_path: Path) -> None:
    results = write_results(tmp_path / "results", store, pairs)
    report = score_images(results, store, pairs, "tiny", mask_from="condition")
    same = evaluate(pipeline(**{"evaluation.mask_from": "condition"}), store, pairs, "tiny")
    assert_same(report.figures["generated"], same.figures["refined"])
    assert report.mask_from == "condition"
    with pytest.raises(DataError, match="mask_from must be one of target, condition, got 'source'"):
        score_images(results, store, pairs, "tiny", mask_from="source")
    with pytest.raises(DataError, match="another table"):
        score_images(results, store, make_pairs(store.table.select([0, 1])), "tiny")


def test_the_middle_of_a_batch_has_its_poses_in_its_own_pixels() -> None:
    """Of seven columns, four in the middle begin at the second: of an odd rest, one more is cut off at the right."""
    image = torch.arange(7, dtype=torch.uint8).expand(1, 3, 5, 7)
    batch = ScoringBatch({"refined": image}, torch.ones(1, 1, 5, 7), torch.full((1, 18, 2), 3.0)).middle(4)
    assert batch.images["refined"][0, 0, 0].tolist() == [1, 2, 3, 4]
    assert batch.mask.shape == (1, 1, 5, 4)
    assert batch.target_xy[0, 0].tolist() == [2.0, 3.0]


def test_poses_are_detected_in_pairs_that_the_seed_draws(pairs: PairTable) -> None:
    for seed in (0, 1):
        drawn = _draw_pose_pairs(pairs, EvaluationOptions(detector=LooksAtColours(), pose_pairs=5, seed=seed))
        assert torch.equal(drawn.from_rows, pairs.sample(5, seed).from_rows)
    assert not torch.equal(pairs.sample(5, 0).from_rows, pairs.sample(5, 1).from_rows)
