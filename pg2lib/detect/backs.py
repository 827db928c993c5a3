"""A small network that distinguishes backs from fronts in tight crops.

BlazePose sometimes sees a face in the back of a head, and then exchanges left and right. The network's opinion is one
of the things that `pg2lib.detect.person.detect_person` weighs. ``benchmarks/facing.py`` trains it.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from pg2lib.images import from_uint8, tensor_from_pil

CROP_SIZE = (64, 32)
"""(height, width) in pixels of what the network sees."""

WEIGHTS = Path(__file__).parents[1] / "weights" / "facing" / "model.safetensors"


def build_back_network() -> nn.Module:
    """Build the network with fresh weights: (batch, 3, 64, 32) in [-1, 1] -> (batch, 1), the log odds of a back."""
    layers: list[nn.Module] = []
    for inputs, outputs, size, stride in ((3, 24, 5, 2), (24, 48, 3, 1), (48, 64, 3, 1), (64, 64, 3, 1)):
        layers += [nn.Conv2d(inputs, outputs, size, stride, size // 2), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if inputs in (24, 48) else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.4), nn.Linear(64 * 8 * 4, 1))


@functools.cache
def load_back_network() -> nn.Module:
    """Load the trained network, once, for inference."""
    network = build_back_network()
    # The file holds neither the counters of batch normalisation, which inference does not use, nor float32.
    counters = {name: n for name, n in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict(counters | {name: tensor.float() for name, tensor in load_file(WEIGHTS).items()})
    return network.eval().requires_grad_(False)


def to_back_network(image: Image.Image) -> Float[Tensor, "3 64 32"]:
    """Convert a tight crop to what the network takes: resized to `CROP_SIZE`, in [-1, 1]."""
    return from_uint8(tensor_from_pil(image.resize(CROP_SIZE[::-1], Image.Resampling.BILINEAR)))


def back_odds(image: Image.Image) -> float:
    """Return the log odds that the person in a tight crop shows their back: positive for a back, negative for a front.

    The sign is right for 9 in 10 of Market-1501's test people, whom the network has not seen in training.

    Args:
        image: RGB, framed as in Market-1501: one upright person from head to foot.
    """
    crop = to_back_network(image)
    return float(load_back_network()(torch.stack((crop, crop.flip(-1)))).mean())
