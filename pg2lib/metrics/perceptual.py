"""LPIPS: distance of two images in the features of a network, with a network that is given.

References:
    Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
    CVPR 2018.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pg2lib.errors import DataError, PG2Error
from pg2lib.images import from_uint8
from pg2lib.metrics.pixel import check_images

BACKBONES: Mapping[str, str] = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}
"""The networks of the ``lpips`` package, and torchvision's file with the weights of each."""


@dataclass(frozen=True, eq=False)
class PerceptualNetwork:
    """A network that measures how different two images look.

    Attributes:
        name: travels with every figure.
        module: takes two batches of images in [-1, 1], float32, and returns a distance a pair, of any shape that has as
            many entries as there are pairs.
    """

    name: str
    module: nn.Module

    @torch.inference_mode()
    def __call__(
        self, generated: UInt8[Tensor, "batch 3 height width"], target: UInt8[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch"]:
        """The distance of each pair of images: 0 where they are equal.

        Raises:
            DataError: images as no other metric takes them either, or a module that returns something else or numbers
                that are not finite.
        """
        check_images(generated, target)
        distances = self.module(from_uint8(generated), from_uint8(target))
        if not isinstance(distances, Tensor) or distances.numel() != len(generated):
            got = tuple(distances.shape) if isinstance(distances, Tensor) else type(distances).__name__
            raise DataError(f"the network {self.name} must return {len(generated)} distances, got {got}")
        distances = distances.reshape(-1).float()
        wrong = int((~distances.isfinite()).sum())
        if wrong:  # NaN would read as "this pair lacks the metric"
            raise DataError(
                f"the network {self.name} must return finite distances, got {wrong} of {len(distances)} that are not; "
                f"check that its weights are whole (download the file again) and that it computes in float32"
            )
        return distances


def load_lpips(backbone: str = "alex", device: torch.device | str = "cpu") -> PerceptualNetwork:
    """LPIPS version 0.1 from the ``lpips`` package. Nothing is downloaded.

    Args:
        backbone: "alex" (for comparisons between papers), "vgg" or "squeeze".

    Raises:
        PG2Error: an unknown backbone, or the package or the weights are missing; the message says what to put where.
    """
    if backbone not in BACKBONES:
        raise PG2Error(f"LPIPS knows {', '.join(BACKBONES)}, got {backbone!r}")
    weights = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONES[backbone]
    if not weights.is_file():
        raise PG2Error(
            f"LPIPS with {backbone} needs the file {weights}, torchvision's ImageNet weights of that name, and "
            f"pip install lpips"
        )
    try:
        package = importlib.import_module("lpips")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not fit the installed torch
        raise PG2Error(
            f"LPIPS needs the package lpips and a torchvision that fits torch {torch.__version__}, and they cannot be "
            f"imported ({error}): pip install lpips"
        ) from error
    return PerceptualNetwork(f"lpips 0.1 {backbone}", package.LPIPS(net=backbone, verbose=False).eval().to(device))
