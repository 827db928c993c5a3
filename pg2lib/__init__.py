"""pg2lib: Pose Guided Person Image Generation (Ma et al., NIPS 2017) in PyTorch.

>>> import pg2lib
>>> pipe = pg2lib.PG2Pipeline.from_pretrained()
>>> pipe("me.jpg", "somebody_walking.jpg").to_pil().save("me_walking.png")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from pg2lib.provenance import __version__

if TYPE_CHECKING:
    from pg2lib.config import PG2Config
    from pg2lib.data.keypoint_csv import read_keypoints, write_keypoints
    from pg2lib.data.market1501 import read_market1501
    from pg2lib.data.pairs import PairTable, make_pairs, read_pairs, write_pairs
    from pg2lib.data.people import PersonTable
    from pg2lib.data.pose_files import parse_poses, read_poses
    from pg2lib.data.read import read_people
    from pg2lib.data.store import ImageStore, PairBatch
    from pg2lib.detect import detect_pose
    from pg2lib.errors import CheckpointError, ConfigError, DataError, NoPersonError, PG2Error
    from pg2lib.evaluation import EvaluationOptions, EvaluationReport, evaluate, score_images
    from pg2lib.limbs import interpolate, retarget
    from pg2lib.metrics.ssim import mask_ssim, ssim
    from pg2lib.models import build_models
    from pg2lib.output import PG2Output
    from pg2lib.pipeline import PG2Pipeline
    from pg2lib.pose import Pose, pose_presets
    from pg2lib.raster import render_heatmaps, render_pose_masks
    from pg2lib.recipe import read_recipe
    from pg2lib.warp import warp_parts

_NAMES = {
    "config": ("PG2Config",),
    "data.market1501": ("read_market1501",),
    "data.pairs": ("PairTable", "make_pairs", "read_pairs", "write_pairs"),
    "data.keypoint_csv": ("read_keypoints", "write_keypoints"),
    "data.people": ("PersonTable",),
    "data.pose_files": ("parse_poses", "read_poses"),
    "data.read": ("read_people",),
    "data.store": ("ImageStore", "PairBatch"),
    "detect": ("detect_pose",),
    "errors": ("CheckpointError", "ConfigError", "DataError", "NoPersonError", "PG2Error"),
    "evaluation": ("EvaluationOptions", "EvaluationReport", "evaluate", "score_images"),
    "metrics.ssim": ("mask_ssim", "ssim"),
    "models": ("build_models",),
    "output": ("PG2Output",),
    "pipeline": ("PG2Pipeline",),
    "pose": ("Pose", "pose_presets"),
    "raster": ("render_heatmaps", "render_pose_masks"),
    "recipe": ("read_recipe",),
    "limbs": ("interpolate", "retarget"),
    "warp": ("warp_parts",),
}
"""The module of each public name. A name is imported on first use, so that ``import pg2lib`` loads nothing heavy."""

_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EvaluationOptions",
    "EvaluationReport",
    "ImageStore",
    "NoPersonError",
    "PG2Config",
    "PG2Error",
    "PG2Output",
    "PG2Pipeline",
    "PairBatch",
    "PairTable",
    "PersonTable",
    "Pose",
    "__version__",
    "build_models",
    "detect_pose",
    "evaluate",
    "interpolate",
    "make_pairs",
    "mask_ssim",
    "parse_poses",
    "pose_presets",
    "read_keypoints",
    "read_market1501",
    "read_pairs",
    "read_people",
    "read_poses",
    "read_recipe",
    "render_heatmaps",
    "render_pose_masks",
    "retarget",
    "score_images",
    "ssim",
    "warp_parts",
    "write_keypoints",
    "write_pairs",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'pg2lib' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"pg2lib.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
