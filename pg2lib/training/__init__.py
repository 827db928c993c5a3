"""Training of stage I and stage II."""

from __future__ import annotations

from pg2lib.training.stages import train_stage1, train_stage2

__all__ = ["train_stage1", "train_stage2"]
