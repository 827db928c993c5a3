"""pg2lib: Pose Guided Person Image Generation (Ma et al., NIPS 2017) in PyTorch.

>>> import pg2lib
>>> pipe = pg2lib.PG2Pipeline.from_pretrained()
>>> pipe("me.jpg", "somebody_walking.jpg").to_pil().save("me_walking.png")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pg2lib.config import PG2Config
    from pg2lib.data.market1501 import read_market1501
    from pg2lib.data.pairs import PairTable, make_pairs, read_pairs, write_pairs
    from pg2lib.data.people import PersonTable, read_keypoints, write_keypoints
    from pg2lib.data.store import ImageStore, PairBatch
    from pg2lib.detect import detect_pose
    from pg2lib.errors import CheckpointError, ConfigError, DataError, NoPersonError, PG2Error
    from pg2lib.evaluation import EvaluationReport, evaluate
    from pg2lib.metrics.ssim import mask_ssim, ssim
    from pg2lib.models import build_models
    from pg2lib.pipeline import PG2Output, PG2Pipeline
    from pg2lib.pose import Pose
    from pg2lib.raster import render_heatmaps, render_pose_masks

__version__ = "0.1.0"

_HOME = {
    "CheckpointError": "errors", "ConfigError": "errors", "DataError": "errors", "NoPersonError": "errors",
    "PG2Error": "errors",
    "PG2Config": "config",
    "Pose": "pose",
    "render_heatmaps": "raster", "render_pose_masks": "raster",
    "build_models": "models",
    "mask_ssim": "metrics.ssim", "ssim": "metrics.ssim",
    "PersonTable": "data.people", "read_keypoints": "data.people", "write_keypoints": "data.people",
    "read_market1501": "data.market1501",
    "PairTable": "data.pairs", "make_pairs": "data.pairs", "read_pairs": "data.pairs", "write_pairs": "data.pairs",
    "ImageStore": "data.store", "PairBatch": "data.store",
    "detect_pose": "detect",
    "PG2Output": "pipeline", "PG2Pipeline": "pipeline",
    "EvaluationReport": "evaluation", "evaluate": "evaluation",
}  # fmt: skip
"""Where each public name lives. A name is imported when it is first used, so that ``import pg2lib`` costs nothing."""

__all__ = ["__version__", *_HOME]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'pg2lib' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"pg2lib.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
