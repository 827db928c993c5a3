"""A few damaged inputs for every reader; `tests/torture/readers.py` reads as many as one has time for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pg2lib.config import PG2Config
from pg2lib.data.pose_formats.json_formats import people_in_json
from pg2lib.errors import PG2Error
from pg2lib.evaluation import EvaluationReport
from pg2lib.framing import Framing
from pg2lib.pose import Pose
from pg2lib.recipe import Recipe
from tests.torture.readers import run
from tests.torture.samples import READERS, Reader

NOT_HERE = {"onnx model", "torchscript network"}
"""Readers in C++, which the campaign calls in processes of their own."""


@pytest.mark.parametrize("reader", [reader for reader in READERS if reader.name not in NOT_HERE], ids=lambda r: r.name)
def test_damaged_input_is_refused_or_used(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tally = run(reader, tmp_path / "in", seed=7, first=0, inputs=40 if reader.weight >= 1 else 20, seconds=0)
    assert tally.escapes == {}
    assert tally.refused + tally.accepted == tally.inputs
    assert tally.accepted, "not even an undamaged sample was read"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=18)
        | st.dictionaries(
            st.sampled_from(
                ("canvas", "keypoints", "people", "pose_keypoints_2d", "annotations", "images", "instances", "x", "y",
                 "model", "stage1", "height", "figures", "refined", "ssim", "interval", "format", "candidate", "subset")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)  # fmt: skip


@settings(derandomize=True, max_examples=30, deadline=None)
@given(value=VALUES)
def test_any_json_is_read_or_refused(value: Any) -> None:
    text = json.dumps(value)
    for read in (
        lambda: people_in_json(value, "a.json"),
        lambda: Pose.from_values(value),
        lambda: Framing.from_dict(value),
        lambda: PG2Config.from_json(text),
        lambda: Recipe.from_json(text),
        lambda: EvaluationReport.from_json(text),
    ):
        try:
            read()
        except PG2Error as error:
            assert str(error)
