"""Inception Score, mask-IS and FID: the network behind them, and the Inception Score as a function.

The network is always given. These scores describe a set of images, and mean nothing without the name of the network,
the resize and the number of images: reports keep them together.

References:
    Salimans et al., "Improved Techniques for Training GANs", NIPS 2016 (Inception Score).
    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NIPS 2017 (FID).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pg2lib.errors import DataError, PG2Error
from pg2lib.images import from_uint8
from pg2lib.metrics.weights import find_weights, weights_folder

SPLITS = 10
"""Number of parts that an Inception Score is averaged over (Salimans et al.)."""

INCEPTION_2015 = "inception2015"
"""The Inception graph of 2015-12-05, which the paper and nearly everybody else use."""

TORCHSCRIPT_NAME = "inception-2015-12-05.pt"
TORCHSCRIPT_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/" + TORCHSCRIPT_NAME
FIDELITY_NAME = "weights-inception-2015-12-05-6726825d.pth"
FIDELITY_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/" + FIDELITY_NAME


@dataclass(frozen=True, eq=False)
class InceptionNetwork:
    """A network for Inception Score and FID, and the form in which it takes images.

    Attributes:
        name: recorded with every figure.
        module: takes a batch of images and returns logits (batch, classes), or a pair (logits, features) with features
            (batch, features), either of which may be None. Inception Scores need logits; FID needs features.
        resize: how the module resizes images, in words, for the record.
        floats: pass images as float32 in [-1, 1] instead of uint8 in [0, 255].
    """

    name: str
    module: nn.Module
    resize: str
    floats: bool = False

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "batch 3 height width"]) -> tuple[Tensor | None, Tensor | None]:
        """Return logits and features of a batch; None for an output that the module lacks.

        Raises:
            DataError: The module returns something else.
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


class FeatureExtractor(nn.Module):
    """One output of an `InceptionNetwork`, as the ``feature`` module of `pg2lib.metrics.InceptionScore`, FID and KID.

    For FID and KID take torchmetrics' classes, such as
    ``FrechetInceptionDistance(feature=FeatureExtractor(network, "features"))``.

    Args:
        network: any network that has the output.
        output: "logits" for the Inception Score, "features" for FID and KID.
        size_px: side of the black image that the number of features is found with.

    Attributes:
        num_features: length of the output, which torchmetrics asks for.

    Raises:
        DataError: The network lacks this output.
    """

    def __init__(self, network: InceptionNetwork, output: Literal["logits", "features"], size_px: int = 299) -> None:
        super().__init__()
        self.network, self.output = network, output
        self.module = network.module  # a submodule, so that the metric moves it to its device
        device = next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))
        self.num_features = self(torch.zeros(1, 3, size_px, size_px, dtype=torch.uint8, device=device)).shape[1]

    def forward(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch features"]:
        """Return the output for a batch of images."""
        logits, features = self.network(images)
        value = logits if self.output == "logits" else features
        if value is None:
            raise DataError(f"the network {self.network.name} returns no {self.output}, which this metric needs")
        return value


def inception_scores(probabilities: Float[Tensor, "images classes"], splits: int = SPLITS) -> Float[Tensor, "splits"]:
    """Return the Inception Score of each split: ``exp(mean KL(p(class | image) || p(class)))``.

    Split i holds the images from i·n/splits to (i+1)·n/splits, as in the code of Salimans et al. A score is at least 1
    and at most the number of classes; higher is better.

    Args:
        probabilities: p(class | image); rows sum to 1.

    Raises:
        DataError: There are fewer images than splits.
    """
    images = len(probabilities)
    if not 1 <= splits <= images:
        raise DataError(f"an Inception Score over {splits} splits needs at least as many images, got {images}")
    scores = []
    for i in range(splits):
        p = probabilities[i * images // splits : (i + 1) * images // splits].double()
        marginal = p.mean(dim=0)
        # xlogy(0, 0) = 0: a class that is absent from the split contributes nothing.
        divergence = (torch.xlogy(p, p) - torch.xlogy(p, marginal)).sum(dim=1)
        scores.append(divergence.mean().exp())
    return torch.stack(scores)


def load_inception(name_or_file: str | PathLike[str], device: torch.device | str = "cpu") -> InceptionNetwork:
    """Load a network for Inception Score and FID from disk. Nothing is downloaded.

    Args:
        name_or_file: ``"inception2015"`` loads the weights from torch's hub folder: NVIDIA's TorchScript translation,
            which needs no package, or that of torch-fidelity. Alternatively the path of a TorchScript file: NVIDIA's
            translation, or a module that takes uint8 images and returns what `InceptionNetwork` describes. TorchScript
            is a program, so name only files that you trust.
        device: where the network runs.

    Raises:
        PG2Error: The file or the package is missing or unusable, or the file in torch's hub folder is not the published
            one. The message says which file belongs where.
    """
    path = Path(name_or_file)
    if str(name_or_file) != INCEPTION_2015:
        return _load_torchscript(path, device)
    if (script := find_weights(TORCHSCRIPT_NAME)) is not None:
        return _load_torchscript(script, device)
    if (weights := find_weights(FIDELITY_NAME)) is not None:
        return _load_fidelity(weights, device)
    raise PG2Error(
        f"{weights_folder()} must hold the weights of {INCEPTION_2015}, and holds none. Download {TORCHSCRIPT_NAME} "
        f"from {TORCHSCRIPT_URL} into it; or {FIDELITY_NAME} from {FIDELITY_URL}, and pip install torch-fidelity. Or "
        f"give the path of another network's TorchScript file"
    )


def _load_torchscript(path: Path, device: torch.device | str) -> InceptionNetwork:
    if not path.is_file():
        raise PG2Error(f"there is no file {str(path)!r}: give a TorchScript file, or the name {INCEPTION_2015}")
    try:
        module = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    except (IndexError, RuntimeError, ValueError) as error:  # torch turns faults of its parser into any of these
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PG2Error(f"{path} is not a TorchScript file: {reason}") from error
    if {"return_features", "no_output_bias"} <= {argument.name for argument in module.forward.schema.arguments}:
        return InceptionNetwork(INCEPTION_2015, _NvidiaInception(module), "bilinear to 299x299 as TensorFlow 1 does")
    return InceptionNetwork(path.name, module, "left to the network")


class _NvidiaInception(nn.Module):
    """NVIDIA's TorchScript translation, which returns probabilities from one call and pool3 features from another.

    As in the original code, the probabilities are computed without the bias of the last layer (Salimans et al.).
    """

    def __init__(self, script: nn.Module) -> None:
        super().__init__()
        self.script = script

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = self.script(images, no_output_bias=True)
        # softmax(log p) = p, so the logarithms serve as logits.
        tiny = torch.finfo(probabilities.dtype).tiny
        return probabilities.clamp_min(tiny).log(), self.script(images, return_features=True)


def _load_fidelity(path: Path, device: torch.device | str) -> InceptionNetwork:
    try:
        package = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision and torch do not match
        raise PG2Error(
            f"{path} needs torch-fidelity, which cannot be imported ({error}): pip install torch-fidelity. Or download "
            f"{TORCHSCRIPT_NAME} from {TORCHSCRIPT_URL} into the same folder, which needs no package"
        ) from error
    extractor = package.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["logits_unbiased", "2048"], feature_extractor_weights_path=str(path)
    )
    return InceptionNetwork(INCEPTION_2015, extractor.to(device), "bilinear to 299x299 as TensorFlow 1 does")
