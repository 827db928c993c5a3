"""What the tests of the user study share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pg2lib.user_study import Protocol, Session, Study, create_study

SMALL = Protocol(real=4, generated=4, practice=2)


def noise(count: int, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, size=(count, 12, 6, 3), dtype=np.uint8)


def make(folder: Path, protocol: Protocol = SMALL, pool: int = 4, models: tuple[str, ...] = ("one",)) -> Study:
    generated = {model: noise(pool, seed) for seed, model in enumerate(models, start=1)}
    return create_study(folder / "study", noise(pool, 0), generated, "A title", "noise", protocol)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make(tmp_path)


def rate(session: Session, says_real: Callable[[int, bool], bool], exposure_ms: float = 1000.0) -> None:
    """Answers all that is left of a session; `says_real` is asked with the position and the truth."""
    for position in range(session.answered, len(session)):
        truth = session.study.is_real(session.images[position])
        session.answer(position, says_real(position, truth), exposure_ms, 500.0)


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path))
