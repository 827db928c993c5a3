"""Training a stage again in a run's folder: what was there is moved aside, and nothing is lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pg2lib import CheckpointError, ConfigError, PG2Config, PG2Pipeline
from pg2lib.training.checkpoint import find_checkpoint, list_checkpoints
from pg2lib.training.lock import hold
from pg2lib.training.run import Reports, config_of, train
from tests.training.conftest import Data, config

QUIET = Reports(progress=False, sample_every=0, checkpoint_every=1, time_share=1.0)
SMALL = {"stage1__steps": 1, "stage2__steps": 1, "model__base_width": 2}
SETTINGS = config(**SMALL)
LONGER = config(**SMALL | {"stage1__steps": 2})


def go(data: Data, run: Path, settings: PG2Config = SETTINGS, **options: Any) -> PG2Pipeline:
    return train(settings, data.store, data.pairs, run, "people", QUIET, **options)


@pytest.fixture
def run(data: Data, tmp_path: Path) -> Path:
    go(data, tmp_path / "run")
    return tmp_path / "run"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def steps(run: Path) -> list[int]:
    return [find_checkpoint(run / stage).step for stage in ("stage1", "stage2")]


def test_a_longer_stage_one_with_a_fresh_stage_two_leaves_the_old_run_whole(data: Data, run: Path) -> None:
    before = contents(run)
    go(data, run, LONGER, restart="stage2")
    assert steps(run) == [2, 1]
    assert contents(run / "earlier-1") == before
    assert config_of(run / "stage2") == LONGER
    go(data, run / "earlier-1")  # it is a run: finished, with its own settings
    assert steps(run / "earlier-1") == [1, 1]


def test_the_same_command_resumes_a_restarted_run(data: Data, run: Path) -> None:
    """As after an interruption: a stage that can be resumed is not moved aside a second time."""
    go(data, run, LONGER, restart="stage2")
    list_checkpoints(run / "stage2")[-1].unlink()
    shutil.rmtree(run / "pipeline")
    first = contents(run / "stage1")
    go(data, run, LONGER, restart="stage2")
    go(data, run, LONGER, restart="stage1")
    assert contents(run / "stage1") == first
    assert [path.name for path in run.glob("earlier-*")] == ["earlier-1"]


def test_each_restart_has_its_own_folder(data: Data, run: Path) -> None:
    for weight in (7.0, 8.0):
        go(data, run, config(**SMALL, stage2__l1_weight=weight), restart="stage2")
    weights = [config_of(run / name / "stage2").stage2.l1_weight for name in ("earlier-1", "earlier-2", ".")]
    assert weights == [10.0, 7.0, 8.0]


def test_restarting_stage_one_restarts_what_was_trained_on_it(data: Data, run: Path) -> None:
    before = contents(run)
    go(data, run, config(**SMALL, stage1__lr=0.5), restart="stage1")
    assert contents(run / "earlier-1") == before
    assert [config_of(run / stage).stage1.lr for stage in ("stage1", "stage2")] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("settings", "options", "error", "message"),
    [
        (config(**SMALL, stage1__lr=0.5), {"restart": "stage2"}, CheckpointError, r"stage1\.lr.*--restart stage1"),
        (LONGER, {"restart": "one-stage"}, ConfigError, "expected a stage of this run, stage1 or stage2"),
        (LONGER.row("G1-L1"), {"restart": "stage1"}, CheckpointError, "this one trains G1"),
    ],
)
def test_what_a_restart_does_not_cover_is_refused(
    data: Data, run: Path, settings, options, error: type[Exception], message: str
) -> None:
    before = contents(run)
    with pytest.raises(error, match=message):
        go(data, run, settings, **options)
    assert contents(run) == before


def test_a_stage_that_another_process_trains_is_not_moved(data: Data, run: Path) -> None:
    with hold(run / "stage2"), pytest.raises(CheckpointError, match="stage2 is in use"):
        go(data, run, LONGER, restart="stage2")
    assert not (run / "earlier-1").exists()


def test_a_stage_one_that_other_runs_share_is_not_moved(data: Data, run: Path, tmp_path: Path) -> None:
    other = config(**SMALL, stage1__lr=0.5)
    before = contents(run)
    with pytest.raises(ConfigError, match="expected a stage of this run, stage2, got 'stage1'"):
        go(data, tmp_path / "other", other, stage1=run / "stage1", restart="stage1")
    with pytest.raises(CheckpointError, match=r"stage1\.lr(?!.*--restart)"):
        go(data, tmp_path / "other", other, stage1=run / "stage1", restart="stage2")
    assert contents(run) == before
    assert not (tmp_path / "other").exists()
