"""Reports and logs of a table's folder, written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pg2lib.evaluation.report import EvaluationReport, Figure, InceptionFigure

MARKET = {"layout": "market1501", "synthetic": False}


def score(value: float, network: str = "inception2015") -> InceptionFigure:
    return InceptionFigure(value, 0.125, splits=10, images=24, network=network, resize="to 299x299")


def report(row: str, ssim: float = 0.25, **changes: Any) -> EvaluationReport:
    figures = {"ssim": Figure(ssim, 0.0625, (ssim - 0.01, ssim + 0.01), 24), "mask_ssim": Figure(0.75, 0.05, None, 24)}
    made = {"pg2lib": "0.1.0", "commit": "abc", "torch": "2.9", "hardware": "NVIDIA H200"}
    training_data = "Market-1501 train, 12,936 images"
    values: dict[str, Any] = {
        "figures": {"refined": {**figures, "psnr": Figure(12.5, 1.5, (12.0, 13.0), 24)}},
        "pairs": 24, "dialect": "released", "mask_from": "target", "model": {"name": row}, "data": "tiny people",
        "seconds": 1.0, "provenance": {**made, **MARKET, "training_data": training_data}, "pairs_digest": "same",
    }  # fmt: skip
    return EvaluationReport(**{**values, **changes})


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the reports of some rows into a table's folder."""

    def write(*reports: EvaluationReport, also: str = "") -> Path:
        for entry in reports:
            folder = tmp_path / entry.model["name"] / also
            folder.mkdir(parents=True, exist_ok=True)
            entry.save(folder / "report.json")
        return tmp_path

    return write


H200 = {"device": "cuda", "hardware": "NVIDIA H200"}
EPYC = {"device": "cpu", "hardware": "AMD EPYC, 2 threads"}


def write_log(stage: Path, *seconds: float) -> None:
    """Write a log of as many steps as there are times."""
    stage.mkdir(parents=True, exist_ok=True)
    lines = [{"stage": 1, "step": step, "l1": 0.5, "seconds": time} for step, time in enumerate(seconds, 1)]
    (stage / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_starts(stage: Path, *starts: dict[str, Any]) -> None:
    common = {"processes": 1, "torch": "2.9", "commit": "abc", "command": None}
    (stage / "starts.jsonl").write_text("".join(json.dumps({**common, **start}) + "\n" for start in starts))
