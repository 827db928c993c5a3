"""Scores of generated images."""

from __future__ import annotations

from pg2lib.metrics.ssim import mask_ssim, ssim

__all__ = ["mask_ssim", "ssim"]
