"""Training of stage I, of stage II, and of the one-stage model."""

from __future__ import annotations

from pg2lib.training.stages import train_one_stage, train_stage1, train_stage2

__all__ = ["train_one_stage", "train_stage1", "train_stage2"]
