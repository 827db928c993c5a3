"""Scores of generated images: functions of a batch, and `torchmetrics.Metric` classes over batches and processes.

The functions score one batch and return one value per pair of images. The classes (`pg2lib.metrics.classes`) collect
the same scores over a data set. They are imported on first use, because torchmetrics takes as long to import as torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from pg2lib.metrics.inception import FeatureExtractor
from pg2lib.metrics.pixel import l1, masked_l1, psnr
from pg2lib.metrics.sharpness import masked_sharpness, sharpness
from pg2lib.metrics.ssim import mask_ssim, ssim

if TYPE_CHECKING:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    from pg2lib.metrics.classes import (
        L1,
        LPIPS,
        PSNR,
        SSIM,
        ImageMetric,
        InceptionScore,
        MaskedL1,
        MaskedSharpness,
        MaskSSIM,
        PoseAccuracy,
        Sharpness,
        pair_metrics,
    )

__all__ = [
    "L1",
    "LPIPS",
    "PSNR",
    "SSIM",
    "FeatureExtractor",
    "FrechetInceptionDistance",
    "ImageMetric",
    "InceptionScore",
    "KernelInceptionDistance",
    "MaskSSIM",
    "MaskedL1",
    "MaskedSharpness",
    "PoseAccuracy",
    "Sharpness",
    "l1",
    "mask_ssim",
    "masked_l1",
    "masked_sharpness",
    "pair_metrics",
    "psnr",
    "sharpness",
    "ssim",
]


_TORCHMETRICS = {
    "FrechetInceptionDistance": "torchmetrics.image.fid",
    "KernelInceptionDistance": "torchmetrics.image.kid",
}
"""torchmetrics' own classes. `FeatureExtractor` adapts the network that they need."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'pg2lib.metrics' has no attribute {name!r}")
    return getattr(importlib.import_module(_TORCHMETRICS.get(name, "pg2lib.metrics.classes")), name)
