"""Inception Score, FID and KID with small networks; loading the real network, and the errors without it."""

from __future__ import annotations

import math
import sys
import types
import warnings
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor, nn
from torchmetrics.image.inception import InceptionScore as ShuffledInceptionScore

from pg2lib import DataError, PG2Error
from pg2lib.files import sha256_of
from pg2lib.metrics import FrechetInceptionDistance, InceptionScore, KernelInceptionDistance
from pg2lib.metrics.inception import (
    FIDELITY_NAME,
    TORCHSCRIPT_NAME,
    FeatureExtractor,
    InceptionNetwork,
    inception_scores,
    load_inception,
)
from pg2lib.metrics.weights import SHA256


class Colours(nn.Module):
    """Classes are colours: logits from the mean colour, features the mean and spread of each channel."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.float()
        mean, std = pixels.mean(dim=(2, 3)), pixels.std(dim=(2, 3))
        return torch.cat([mean, -mean], dim=1) / 30, torch.cat([mean, std], dim=1)


NETWORK = InceptionNetwork("colours", Colours(), "as they are")


def images(seed: int, count: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randint(0, 200, (count, 3, 1, 1), generator=generator)
    return (colours + torch.randint(0, 56, (count, 3, 8, 4), generator=generator)).byte()


def inception_score_in_numpy(probabilities: np.ndarray, splits: int) -> tuple[float, float]:
    """As Salimans et al. write it, one image at a time."""
    scores = []
    for part in np.array_split(probabilities, splits):  # equal parts, as splits divides the images
        marginal = part.mean(axis=0)
        divergences = [
            sum(p * math.log(p / q) for p, q in zip(row, marginal, strict=True) if p > 0) for row in part.tolist()
        ]
        scores.append(math.exp(np.mean(divergences)))
    return float(np.mean(scores)), float(np.std(scores))


def test_inception_score_is_that_of_the_formula_in_numpy() -> None:
    metric = InceptionScore(FeatureExtractor(NETWORK, "logits"))
    for batch in images(0).split(7):
        metric.update(batch)
    mean, std = metric.compute()
    values = NETWORK(images(0))[0].numpy().astype(np.float64)
    expected = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    assert (float(mean), float(std)) == pytest.approx(inception_score_in_numpy(expected, 10), rel=1e-5)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save:UserWarning", "ignore:std:UserWarning")
def test_inception_score_over_one_split_is_torchmetrics() -> None:
    """torchmetrics shuffles, which makes no difference to one split."""
    feature = FeatureExtractor(NETWORK, "logits")
    ours, theirs = InceptionScore(feature, splits=1), ShuffledInceptionScore(feature, splits=1)
    for batch in images(0).split(9):
        ours.update(batch)
        theirs.update(batch)
    assert float(ours.compute()[0]) == pytest.approx(float(theirs.compute()[0]), rel=1e-5)


def test_inception_score_needs_as_many_images_as_splits() -> None:
    metric = InceptionScore(nn.Identity())
    metric.update(torch.randn(9, 4))
    with pytest.raises(DataError, match=r"\b10 splits.*\b9\b"):
        metric.compute()


def test_inception_score_runs_from_1_to_the_number_of_classes() -> None:
    same = torch.tensor([[0.7, 0.2, 0.1]]).repeat(20, 1)
    assert torch.allclose(inception_scores(same), torch.ones(10, dtype=torch.float64))
    certain = torch.eye(4).repeat(10, 1)  # every split sees every class, and each image is one for sure
    assert torch.allclose(inception_scores(certain), torch.full((10,), 4.0, dtype=torch.float64))
    sorted_by_class = torch.eye(4).repeat_interleave(10, dim=0)
    assert torch.allclose(inception_scores(sorted_by_class, 4), torch.ones(4, dtype=torch.float64))


def test_splits_cut_the_images_in_their_order() -> None:
    rows = torch.rand(23, 5, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    scores = inception_scores(rows, 4)
    for i, (start, stop) in enumerate([(0, 5), (5, 11), (11, 17), (17, 23)]):
        assert scores[i] == pytest.approx(float(inception_scores(rows[start:stop], 1)))
    with pytest.raises(DataError, match=r"\b10 splits.*\b9\b"):
        inception_scores(rows[:9])


def fid_with_sqrtm(x: np.ndarray, y: np.ndarray) -> float:
    """As Heusel et al. write it."""
    c, d = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + np.trace(c + d - 2 * np.real(linalg.sqrtm(c @ d))))


def test_fid_is_that_of_scipys_square_root() -> None:
    """torchmetrics' class with our network, in batches of different sizes, against the formula."""
    metric = FrechetInceptionDistance(feature=FeatureExtractor(NETWORK, "features"))
    generated, real = images(0), images(1, 60)
    for batch in generated.split(9):
        metric.update(batch, real=False)
    metric.update(real, real=True)
    x, y = (NETWORK(batch)[1].double().numpy() for batch in (generated, real))
    assert float(metric.compute()) == pytest.approx(fid_with_sqrtm(x, y), rel=1e-4)


def test_fid_of_equal_sets_is_0_also_with_fewer_images_than_features() -> None:
    class Wide(nn.Module):
        def forward(self, batch: Tensor) -> tuple[None, Tensor]:
            return None, batch[:, :, :4, :4].flatten(1).double() / 255

    metric = FrechetInceptionDistance(feature=FeatureExtractor(InceptionNetwork("wide", Wide(), ""), "features"))
    for real in (False, True):
        metric.update(images(2, 10), real=real)
    assert float(metric.compute()) == pytest.approx(0, abs=1e-5)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save:UserWarning")
def test_kid_is_that_of_the_formula_in_numpy() -> None:
    metric = KernelInceptionDistance(feature=FeatureExtractor(NETWORK, "features"), subsets=1, subset_size=40)
    metric.update(images(0), real=False)
    metric.update(images(1), real=True)
    x, y = (NETWORK(batch)[1].double().numpy() for batch in (images(0), images(1)))

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    within = [(kernel(a, a).sum() - np.trace(kernel(a, a))) / (40 * 39) for a in (x, y)]
    expected, scale = sum(within) - 2 * kernel(x, y).mean(), kernel(x, y).mean()
    assert float(metric.compute()[0]) == pytest.approx(expected, abs=1e-5 * scale)


def test_a_feature_extractor_passes_on_one_output() -> None:
    logits, features = NETWORK(images(0))
    assert torch.equal(FeatureExtractor(NETWORK, "logits")(images(0)), logits)
    extractor = FeatureExtractor(NETWORK, "features")
    assert torch.equal(extractor(images(0)), features) and extractor.num_features == 6
    flat = InceptionNetwork("flat", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), "as they are", floats=True)
    assert FeatureExtractor(flat, "logits").num_features == 3
    with pytest.raises(DataError, match="flat returns no features"):
        FeatureExtractor(flat, "features")


def test_images_reach_the_network_as_it_wants_them() -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            seen.append(batch)
            return batch.float().mean(dim=(2, 3))

    batch = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    logits, features = InceptionNetwork("spy", Spy(), "as they are")(batch)
    assert seen[0].dtype == torch.uint8 and features is None and logits[1].tolist() == [255] * 3
    InceptionNetwork("spy", Spy(), "as they are", floats=True)(batch)
    assert (float(seen[1].min()), float(seen[1].max())) == (-1, 1)


@pytest.mark.parametrize(
    "result", [torch.zeros(2, 3, 1), torch.zeros(3, 3), "logits", (None, torch.full((2, 2), math.nan))]
)
def test_what_is_neither_logits_nor_features_is_refused(result: object) -> None:
    class Wrong(nn.Module):
        def forward(self, batch: Tensor) -> object:
            return result

    with pytest.raises(DataError, match=r"\bwrong\b.*logits \(2, classes\)"):
        InceptionNetwork("wrong", Wrong(), "as they are")(images(0, 2))


class Script(nn.Module):
    """Has the signature of NVIDIA's translation: probabilities, or features on request."""

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        mean = img.float().mean(dim=(2, 3)) / 50
        if return_features:
            return torch.cat([mean, mean * mean], dim=1)
        return torch.softmax(mean if no_output_bias else mean + torch.tensor([5.0, 0.0, 0.0]), dim=1)


class Plain(nn.Module):
    def forward(self, img: Tensor) -> Tensor:
        return img.float().mean(dim=(2, 3))


def write_script(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's folder for weights, empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_nvidias_script_is_asked_as_the_original_codes_ask(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_script(Script(), hub / TORCHSCRIPT_NAME)
    monkeypatch.setitem(SHA256, TORCHSCRIPT_NAME, sha256_of(hub / TORCHSCRIPT_NAME))
    network = load_inception("inception2015")
    assert (network.name, network.resize) == ("inception2015", "bilinear to 299x299 as TensorFlow 1 does")
    batch = images(3)
    logits, features = network(batch)
    mean = batch.float().mean(dim=(2, 3)) / 50
    assert torch.allclose(logits.softmax(dim=1), mean.softmax(dim=1), atol=1e-6)  # without the bias
    assert torch.allclose(features, torch.cat([mean, mean**2], dim=1))
    assert load_inception(hub / TORCHSCRIPT_NAME).name == "inception2015"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_any_torchscript_file_will_do(tmp_path: Path) -> None:
    network = load_inception(write_script(Plain(), tmp_path / "colours.pt"))
    assert network.name == "colours.pt"
    logits, features = network(images(4))
    assert features is None and torch.allclose(logits, images(4).float().mean(dim=(2, 3)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_missing_weights_are_named_with_the_way_to_get_them(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(PG2Error) as error:
        load_inception("inception2015")
    for part in (str(hub), TORCHSCRIPT_NAME, "https://", FIDELITY_NAME, "pip install torch-fidelity"):
        assert part in str(error.value)
    with pytest.raises(PG2Error, match=r"no file .*nowhere\.pt"):
        load_inception(tmp_path / "nowhere.pt")
    (tmp_path / "text.pt").write_text("no archive")
    with pytest.raises(PG2Error, match=r"text\.pt"):
        load_inception(tmp_path / "text.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_damaged_torchscript_file_is_named(tmp_path: Path) -> None:
    """Torch reports text that is no UTF-8 as another exception than other damage."""
    write_script(Plain(), tmp_path / "whole.pt")
    for name, text in (("utf8", b"\xbf"), ("class", b"class"), ("empty", b"")):
        with ZipFile(tmp_path / "whole.pt") as whole, ZipFile(tmp_path / f"{name}.pt", "w") as damaged:
            for entry in whole.namelist():
                damaged.writestr(entry, text if entry.endswith(".py") else whole.read(entry))
        with pytest.raises(PG2Error, match=rf"{name}\.pt is not a TorchScript file"):
            load_inception(tmp_path / f"{name}.pt")


@pytest.mark.parametrize("name", [TORCHSCRIPT_NAME, FIDELITY_NAME])
def test_weights_that_are_not_the_published_ones_are_never_loaded(hub: Path, name: str, monkeypatch) -> None:
    for loader in ("_load_torchscript", "_load_fidelity"):
        monkeypatch.setattr(f"pg2lib.metrics.inception.{loader}", lambda *arguments: pytest.fail("it was loaded"))
    write_script(Script(), hub / name)
    with pytest.raises(PG2Error, match=f"{name} is damaged or not the published file.*SHA-256"):
        load_inception("inception2015")


def test_weights_without_their_package_are_named_too(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub / FIDELITY_NAME).touch()
    monkeypatch.setitem(SHA256, FIDELITY_NAME, sha256_of(hub / FIDELITY_NAME))
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # as if it were not installed
    with pytest.raises(PG2Error, match="pip install torch-fidelity"):
        load_inception("inception2015")


def test_torch_fidelity_is_asked_for_unbiased_logits_and_features(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's interface, in place of the package."""

    class Extractor(Colours):
        def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
            super().__init__()
            assert features_list == ["logits_unbiased", "2048"]
            assert Path(feature_extractor_weights_path) == hub / FIDELITY_NAME

    package = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    package.FeatureExtractorInceptionV3 = Extractor
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, package.__name__, package)
    (hub / FIDELITY_NAME).touch()
    monkeypatch.setitem(SHA256, FIDELITY_NAME, sha256_of(hub / FIDELITY_NAME))
    network = load_inception("inception2015")
    assert network.name == "inception2015"
    assert all(torch.equal(a, b) for a, b in zip(network(images(5)), NETWORK(images(5)), strict=True))
