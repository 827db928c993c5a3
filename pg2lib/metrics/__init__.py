"""Scores of generated images."""

from __future__ import annotations

from pg2lib.metrics.pixel import l1, masked_l1, psnr
from pg2lib.metrics.sharpness import sharpness
from pg2lib.metrics.ssim import mask_ssim, ssim

__all__ = ["l1", "mask_ssim", "masked_l1", "psnr", "sharpness", "ssim"]
