"""Random poses for property tests, which Hypothesis makes simpler where a test fails."""

from __future__ import annotations

import math

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

quick = settings(derandomize=True, max_examples=15, deadline=None, database=None)
"""Decorates a property test: few examples, the same in every run."""


def keypoints(canvas: tuple[int, int], whole: bool = False) -> st.SearchStrategy[Tensor]:
    """Keypoints (18, 2), some on the border of the canvas (height, width) or outside it, and some missing.

    Args:
        canvas: the joints lie on it or at most a quarter of a side beyond it.
        whole: only whole pixels.
    """

    def along(side: int) -> st.SearchStrategy[float]:
        border = st.sampled_from([-1.0, 0.0, side - 1.0, float(side)])
        low, high = -(side // 4), side + side // 4
        return border | (st.integers(low, high).map(float) if whole else st.floats(low, high, width=32))

    point = st.tuples(along(canvas[1]), along(canvas[0]))
    missing = st.just((math.nan, math.nan))
    return st.lists(point | point | point | missing, min_size=18, max_size=18).map(torch.tensor)


def batches(canvas: tuple[int, int], whole: bool = False) -> st.SearchStrategy[Tensor]:
    """Keypoints (batch, 18, 2) of one to four poses; see `keypoints`."""
    return st.lists(keypoints(canvas, whole), min_size=1, max_size=4).map(torch.stack)
