"""Inception Score, mask-IS and FID, with a network that is given.

Both say something about a set of images, not about one, and nothing at all without the network, the resize and the
number of images they were taken with: these travel in the result.

References:
    Salimans et al., "Improved Techniques for Training GANs", NIPS 2016 (Inception Score).
    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NIPS 2017 (FID).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pg2lib.errors import DataError, PG2Error
from pg2lib.images import from_uint8

SPLITS = 10
"""Parts an Inception Score is taken over (Salimans et al.)."""

INCEPTION_2015 = "inception2015"
"""The Inception graph of 2015-12-05, which the paper's scores, and nearly all others, were taken with."""

TORCHSCRIPT_NAME = "inception-2015-12-05.pt"
TORCHSCRIPT_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/" + TORCHSCRIPT_NAME
FIDELITY_NAME = "weights-inception-2015-12-05-6726825d.pth"
FIDELITY_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/" + FIDELITY_NAME


@dataclass(frozen=True)
class InceptionScore:
    """``exp(E KL(p(class | image) || p(class)))``: at least 1, at most the number of classes, higher is better.

    Attributes:
        mean, std: mean and (population) standard deviation over the splits.
        splits: parts the images were divided into, in their order.
        images: how many were scored.
        network: that classified them.
        resize: what happened to the size of the images before.
    """

    mean: float
    std: float
    splits: int
    images: int
    network: str
    resize: str


@dataclass(frozen=True)
class FrechetDistance:
    """Distance between two sets of images: 0 where they have the same feature mean and covariance, lower is better.

    Few images make it larger: distances of different image counts cannot be compared, and with fewer images than
    features the covariance is not even of full rank.

    Attributes:
        distance: of the two Gaussians, squared (the usual FID).
        images, real_images: how many of each.
        features: length of the feature vector.
        network: that made the features.
        resize: what happened to the size of the images before.
    """

    distance: float
    images: int
    real_images: int
    features: int
    network: str
    resize: str


@dataclass(frozen=True, eq=False)
class InceptionNetwork:
    """A network that judges images, and how they are shown to it.

    Attributes:
        name: travels with every figure.
        module: takes a batch of images, returns logits (batch, classes), or a pair (logits, features) of which either
            may be None. With logits there are Inception Scores, with features (batch, features) there is an FID.
        resize: what the module does to the size of the images, in words; for the record.
        floats: show images in [-1, 1] as float32 instead of [0, 255] as uint8.
    """

    name: str
    module: nn.Module
    resize: str
    floats: bool = False

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "batch 3 height width"]) -> tuple[Tensor | None, Tensor | None]:
        """Logits and features of a batch, each None where the module has none.

        Raises:
            DataError: the module returns something else.
        """
        result = self.module(from_uint8(images) if self.floats else images)
        logits, features = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
        for value in (logits, features):
            if value is not None and not (
                isinstance(value, Tensor) and value.ndim == 2 and len(value) == len(images) and value.isfinite().all()
            ):
                got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise DataError(
                    f"the network {self.name} must return finite logits ({len(images)}, classes), or a pair (logits, "
                    f"features), got {got}"
                )
        return logits, features


class ClassProbabilities:
    """Collects p(class | image), a float32 row an image."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows)

    def update(self, logits: Float[Tensor, "batch classes"]) -> None:
        """Adds the rows of a batch."""
        self._rows.append(logits.float().softmax(dim=1).cpu())

    def score(self, network: InceptionNetwork, splits: int = SPLITS) -> InceptionScore:
        """The Inception Score of all images so far, in their order.

        Raises:
            DataError: fewer images than splits.
        """
        probabilities = torch.cat(self._rows) if self._rows else torch.empty(0, 1)
        scores = inception_scores(probabilities, splits)
        return InceptionScore(
            mean=float(scores.mean()),
            std=float(scores.std(correction=0)),
            splits=splits,
            images=len(probabilities),
            network=network.name,
            resize=network.resize,
        )


def inception_scores(probabilities: Float[Tensor, "images classes"], splits: int = SPLITS) -> Float[Tensor, "splits"]:
    """The Inception Score of each split: images i·n/splits up to (i+1)·n/splits, as in Salimans et al.'s code.

    Args:
        probabilities: p(class | image), rows that sum to 1.

    Raises:
        DataError: fewer images than splits.
    """
    images = len(probabilities)
    if not 1 <= splits <= images:
        raise DataError(f"an Inception Score over {splits} splits needs at least as many images, got {images}")
    scores = []
    for i in range(splits):
        p = probabilities[i * images // splits : (i + 1) * images // splits].double()
        marginal = p.mean(dim=0)
        # xlogy(0, 0) = 0: a class that no image of the split has adds nothing.
        divergence = (torch.xlogy(p, p) - torch.xlogy(p, marginal)).sum(dim=1)
        scores.append(divergence.mean().exp())
    return torch.stack(scores)


class FeatureMoments:
    """Mean and covariance of feature vectors, from their sums in float64: memory does not grow with the images."""

    def __init__(self) -> None:
        self.images = 0
        self._sum: Tensor | None = None
        self._products: Tensor | None = None

    def update(self, features: Float[Tensor, "batch features"]) -> None:
        """Adds the rows of a batch."""
        values = features.double()
        if self._sum is None or self._products is None:
            count = values.shape[1]
            self._sum, self._products = values.new_zeros(count), values.new_zeros(count, count)
        self.images += len(values)
        self._sum += values.sum(dim=0)
        self._products += values.T @ values

    def gaussian(self) -> tuple[Float[Tensor, "features"], Float[Tensor, "features features"]]:
        """Mean and sample covariance, float64, on the CPU.

        Raises:
            DataError: fewer than two images.
        """
        if self._sum is None or self._products is None or self.images < 2:
            raise DataError(f"a covariance needs at least two images, got {self.images}")
        mean = self._sum / self.images
        covariance = (self._products - self.images * mean.outer(mean)) / (self.images - 1)
        return mean.cpu(), covariance.cpu()


def fid(generated: FeatureMoments, real: FeatureMoments, network: InceptionNetwork) -> FrechetDistance:
    """The Fréchet Inception Distance of two sets of images.

    Raises:
        DataError: fewer than two images in either.
    """
    first, second = generated.gaussian(), real.gaussian()
    return FrechetDistance(
        distance=frechet_distance(*first, *second),
        images=generated.images,
        real_images=real.images,
        features=len(first[0]),
        network=network.name,
        resize=network.resize,
    )


def frechet_distance(
    mean: Float[Tensor, "features"],
    covariance: Float[Tensor, "features features"],
    other_mean: Float[Tensor, "features"],
    other_covariance: Float[Tensor, "features features"],
) -> float:
    """``|m - m'|² + tr(C + C' - 2 (C C')^½)`` (Dowson and Landau 1982), not negative.

    The trace of the root is the sum of the roots of the eigenvalues of ``C^½ C' C^½``, which is symmetric: no complex
    numbers, and a singular covariance needs no offset.
    """
    values, vectors = torch.linalg.eigh(covariance.double())
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    product = root @ other_covariance.double() @ root
    overlap = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    shift = (mean.double() - other_mean.double()).square().sum()
    return max(0.0, float(shift + covariance.trace() + other_covariance.trace() - 2 * overlap))


def load_inception(name_or_file: str | PathLike[str], device: torch.device | str = "cpu") -> InceptionNetwork:
    """The network for Inception Scores and FID. Nothing is downloaded.

    Args:
        name_or_file: ``"inception2015"``, found in torch's folder for weights: either NVIDIA's TorchScript translation,
            which needs no package, or torch-fidelity's. Or any TorchScript file: of that translation, or of a module
            that takes uint8 images and returns what `InceptionNetwork` says.

    Raises:
        PG2Error: the file or the package is missing, or is something else; the message says what to put where.
    """
    path = Path(name_or_file)
    if str(name_or_file) != INCEPTION_2015:
        return _load_torchscript(path, device)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if (folder / TORCHSCRIPT_NAME).is_file():
        return _load_torchscript(folder / TORCHSCRIPT_NAME, device)
    if (folder / FIDELITY_NAME).is_file():
        return _load_fidelity(folder / FIDELITY_NAME, device)
    raise PG2Error(
        f"there are no weights of {INCEPTION_2015} in {folder}. Put there {TORCHSCRIPT_NAME} from {TORCHSCRIPT_URL} "
        f"(needs no package); or {FIDELITY_NAME} from {FIDELITY_URL}, and pip install torch-fidelity. Or name a "
        f"TorchScript file of another network"
    )


def _load_torchscript(path: Path, device: torch.device | str) -> InceptionNetwork:
    if not path.is_file():
        raise PG2Error(f"there is no network {str(path)!r}: give a TorchScript file, or the name {INCEPTION_2015}")
    try:
        module = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise PG2Error(f"{path} is not a TorchScript file: {str(error).splitlines()[0]}") from error
    if {"return_features", "no_output_bias"} <= {argument.name for argument in module.forward.schema.arguments}:
        return InceptionNetwork(INCEPTION_2015, _NvidiaInception(module), "bilinear to 299x299 as TensorFlow 1 does")
    return InceptionNetwork(path.name, module, "left to the network")


class _NvidiaInception(nn.Module):
    """NVIDIA's TorchScript translation: probabilities on one call, pool3 features on another.

    Both as in the original codes: the scores without the last layer's bias (Salimans et al.), the features raw.
    """

    def __init__(self, script: nn.Module) -> None:
        super().__init__()
        self.script = script

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = self.script(images, no_output_bias=True)
        # softmax(log p) = p, so that what comes out are logits like any others.
        tiny = torch.finfo(probabilities.dtype).tiny
        return probabilities.clamp_min(tiny).log(), self.script(images, return_features=True)


def _load_fidelity(path: Path, device: torch.device | str) -> InceptionNetwork:
    try:
        package = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not fit the installed torch
        raise PG2Error(
            f"{path} needs torch-fidelity, which cannot be imported ({error}): pip install torch-fidelity. Or put "
            f"{TORCHSCRIPT_NAME} from {TORCHSCRIPT_URL} beside it, which needs no package"
        ) from error
    extractor = package.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["logits_unbiased", "2048"], feature_extractor_weights_path=str(path)
    )
    return InceptionNetwork(INCEPTION_2015, extractor.to(device), "bilinear to 299x299 as TensorFlow 1 does")
