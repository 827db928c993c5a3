"""LPIPS: perceptual distance between two images, measured with a network of your choice.

References:
    Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
    CVPR 2018.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pg2lib.errors import DataError, PG2Error
from pg2lib.images import from_uint8
from pg2lib.metrics.pixel import check_images
from pg2lib.metrics.weights import find_weights, weights_folder

BACKBONES: Mapping[str, str] = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}
"""The backbones of the ``lpips`` package, each with the name of torchvision's weight file."""


@dataclass(frozen=True, eq=False)
class PerceptualNetwork:
    """A network that measures the perceptual distance between two images.

    Attributes:
        name: recorded with every figure.
        module: takes two batches of float32 images in [-1, 1] and returns one distance per pair, in any shape.
    """

    name: str
    module: nn.Module

    @torch.inference_mode()
    def __call__(
        self, generated: UInt8[Tensor, "batch 3 height width"], target: UInt8[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch"]:
        """Return the distance of each pair of images; LPIPS is 0 for equal images.

        Raises:
            DataError: The images are not uint8, differ in shape, or are not (batch, 3, height, width); or the module
                returns something else than one finite distance per pair.
        """
        check_images(generated, target)
        distances = self.module(from_uint8(generated), from_uint8(target))
        if not isinstance(distances, Tensor) or distances.numel() != len(generated):
            got = tuple(distances.shape) if isinstance(distances, Tensor) else type(distances).__name__
            raise DataError(f"the network {self.name} must return {len(generated)} distances, got {got}")
        distances = distances.reshape(-1).float()
        wrong = int((~distances.isfinite()).sum())
        if wrong:  # NaN would count as a pair without the metric
            raise DataError(
                f"the network {self.name} must return finite distances, got {wrong} of {len(distances)} that are not; "
                f"check that its weight file is complete (download it again) and that it computes in float32"
            )
        return distances


def load_lpips(backbone: str = "alex", device: torch.device | str = "cpu") -> PerceptualNetwork:
    """Load LPIPS version 0.1 from the ``lpips`` package. Nothing is downloaded.

    Args:
        backbone: "alex" (the usual choice in papers), "vgg" or "squeeze".
        device: where the network runs.

    Raises:
        PG2Error: The backbone is unknown, the package or the weights are missing, or the weights are not the published
            file. The message says which file belongs where.
    """
    if backbone not in BACKBONES:
        raise PG2Error(f"the LPIPS backbone must be one of {', '.join(BACKBONES)}, got {backbone!r}")
    if find_weights(BACKBONES[backbone]) is None:
        raise PG2Error(
            f"LPIPS with {backbone} needs torchvision's ImageNet weights as {weights_folder() / BACKBONES[backbone]}, "
            f"and the package lpips: download the file, and pip install lpips"
        )
    try:
        package = importlib.import_module("lpips")
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision and torch do not match
        raise PG2Error(
            f"LPIPS needs the package lpips and a torchvision that matches torch {torch.__version__}; importing them "
            f"failed ({error}): pip install lpips"
        ) from error
    return PerceptualNetwork(f"lpips 0.1 {backbone}", package.LPIPS(net=backbone, verbose=False).eval().to(device))
