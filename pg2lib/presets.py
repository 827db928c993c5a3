"""The named configurations, each as its differences from the defaults of `pg2lib.config.PG2Config`.

``market1501`` and ``deepfashion`` are the paper's (section 4.1). ``-released`` are the authors' code as they published
it. ``-plus`` add to the paper's networks the part warp, mattes, spectral norm in D, and augmentation. ``compact`` and
``deepfashion-compact`` are the narrow models that ship. ``fast`` is for tests and first looks.
"""

from __future__ import annotations

from typing import Any

Settings = dict[str, Any]
"""Values by dotted name, as `pg2lib.config.PG2Config.override` takes them."""

_DEEPFASHION_MODEL: Settings = {"model.height": 256, "model.width": 256, "model.g2_outer_skip": True}

_RELEASED: Settings = {
    "model.discriminator_input": "single",
    "model.heatmap_background": -1,
    "stage1.steps": 22_000,
    "stage2.turns": "g-first",
    "evaluation.mask_from": "condition",
}

_PLUS: Settings = {
    "model.discriminator_norm": "spectral",
    "model.g2_pose": True,
    "model.part_warp": True,
    "model.matte": True,
    "model.backdrop": True,
    "augment.recolour": 0.6,
    "augment.backdrop": 0.2,
    "augment.shift": 0.3,
    "augment.matte_missing": 0.1,
    "augment.matte_error": 0.2,
    "stage1.blend_weight": 0.5,
}


PRESETS: dict[str, Settings] = {
    "market1501": {},
    "deepfashion": {
        **_DEEPFASHION_MODEL,
        "stage1.steps": 30_000, "stage1.batch_size": 8,
        "stage2.steps": 20_000, "stage2.batch_size": 8, "stage2.l1_weight": 50.0,
    },
    "market1501-released": {
        **_RELEASED,
        "stage2.steps": 38_000, "stage2.adversarial_loss": "released-market1501",
    },
    "deepfashion-released": {
        **_DEEPFASHION_MODEL,
        **_RELEASED,
        "stage1.batch_size": 1,
        "stage2.steps": 58_000, "stage2.batch_size": 1, "stage2.l1_weight": 50.0,
        "stage2.adversarial_loss": "released-deepfashion",
        "evaluation.pairs": 400,
    },
    "market1501-plus": {
        **_PLUS,
        "stage1.blend_weight": 0.1,  # at 128x64, parts that are moved fit less well
        "stage1.steps": 22_000, "stage1.lr_decay_steps": 11_000,
        "stage1.batch_size": 32, "stage1.lr": 1e-4, "stage1.ema_decay": 0.999,
        "stage2.steps": 14_000, "stage2.lr_decay_steps": 7_000,
        "stage2.batch_size": 32, "stage2.lr": 1e-4, "stage2.ema_decay": 0.999, "stage2.l1_weight": 50.0,
    },
    "deepfashion-plus": {
        **_DEEPFASHION_MODEL,
        **_PLUS,
        "stage1.steps": 30_000, "stage1.lr_decay_steps": 15_000,
        "stage1.batch_size": 16, "stage1.lr": 1e-4, "stage1.ema_decay": 0.999,
        "stage2.steps": 20_000, "stage2.lr_decay_steps": 10_000,
        "stage2.batch_size": 16, "stage2.lr": 1e-4, "stage2.ema_decay": 0.999, "stage2.l1_weight": 250.0,
    },
    "compact": {
        "model.base_width": 24, "model.discriminator_width": 32,
        "stage1.steps": 4_000, "stage1.lr_decay_steps": 1_500, "stage1.lr": 4e-4, "stage1.ema_decay": 0.999,
        "stage2.steps": 400, "stage2.lr_decay_steps": 100, "stage2.lr": 1e-4, "stage2.ema_decay": 0.995,
        "stage2.l1_weight": 100.0,
    },
    "deepfashion-compact": {
        **_DEEPFASHION_MODEL,
        **_PLUS,
        "model.base_width": 32, "model.stem_px": 2, "model.discriminator_width": 32,
        "stage1.steps": 37_500, "stage1.lr_decay_steps": 15_000,
        "stage1.batch_size": 8, "stage1.lr": 4e-4, "stage1.ema_decay": 0.999,
        "stage2.steps": 4_000, "stage2.lr_decay_steps": 1_500,
        "stage2.batch_size": 8, "stage2.lr": 1e-4, "stage2.ema_decay": 0.998, "stage2.l1_weight": 100.0,
    },
    "fast": {
        "model.base_width": 8, "model.bottleneck": 16, "model.discriminator_width": 8,
        "stage1.steps": 60, "stage1.batch_size": 8, "stage1.lr": 1e-3,
        "stage2.steps": 30, "stage2.batch_size": 8, "stage2.lr": 1e-3,
    },
}  # fmt: skip
