"""A whole training run in one folder: both stages, what they report on the way, and the pipeline at the end.

::

    RUN/config.json           the configuration
        stage1/, stage2/      training checkpoints, log.jsonl (a line a step), samples/ (picture grids)
        one-stage/            the same, in place of both, where G1 alone learns against D
        pipeline/             the finished pipeline folder
        .lock                 while a run writes there, and in each stage's folder while that stage is trained

What would be refused later is refused before anything is written (`check_run`).
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TextIO

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list
from PIL import Image
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from pg2lib.config import PG2Config, TrainingConfig
from pg2lib.data.pairs import PairTable
from pg2lib.data.store import ImageStore
from pg2lib.files import atomic_path, atomic_write
from pg2lib.images import image_grid, pil_from_tensor
from pg2lib.models import G1, G2
from pg2lib.pipeline import Framing, PG2Pipeline
from pg2lib.pose import Pose
from pg2lib.provenance import provenance
from pg2lib.training.check import check_run, stages_of
from pg2lib.training.checkpoint import load_generator, newest_checkpoint
from pg2lib.training.lock import hold
from pg2lib.training.log import logged_seconds, open_log
from pg2lib.training.stages import (
    Sample,
    StepRecord,
    Watch,
    check_data,
    train_one_stage,
    train_stage1,
    train_stage2,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reports:
    """What a run shows and saves on its way.

    Attributes:
        progress: show a bar.
        sample_every, checkpoint_every: steps; no samples with 0.
        samples: pairs in a grid of samples.
        time_share: of the run's time that samples may take, and checkpoints too; see `Watch`.
    """

    progress: bool = True
    sample_every: int = 500
    checkpoint_every: int = 500
    samples: int = 8
    time_share: float = 0.01


class Recorder:
    """Watches one stage: ``log.jsonl``, a progress bar with loss and images a second, and grids of samples.

    Use it as a context manager and give its `watch` to a training loop.

    Args:
        folder: where the log and the grids go.
        steps: of the whole stage, for the progress bar.
    """

    def __init__(self, folder: Path, steps: int, reports: Reports = Reports()) -> None:
        self.folder = folder
        self._started = time.monotonic()
        self._bar = tqdm(total=steps, disable=not reports.progress, desc=folder.name, unit="step", dynamic_ncols=True)
        self._file: TextIO | None = None
        on_gpu = torch.cuda.is_available()
        self.watch = Watch(
            on_step=self._on_step,
            on_sample=self._on_sample,
            read_every=20 if on_gpu else 1,
            sample_every=reports.sample_every,
            checkpoint_every=reports.checkpoint_every,
            samples=reports.samples,
            time_share=reports.time_share,
        )

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._file is not None:
            self._file.close()

    def _on_step(self, record: StepRecord) -> None:
        if self._file is None:
            self._file = open_log(self.folder / "log.jsonl", before=record.step)
            self._bar.update(record.step - 1)
        line = {
            "stage": record.stage,
            "step": record.step,
            **record.losses,
            "images_per_second": round(record.images_per_second, 2),
            "seconds": round(time.monotonic() - self._started, 3),
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        shown = " ".join(f"{name} {value:.3f}" for name, value in record.losses.items())
        self._bar.set_postfix_str(f"{shown}, {record.images_per_second:.0f} images/s", refresh=False)
        self._bar.update()

    def _on_sample(self, sample: Sample) -> None:
        with atomic_path(self.folder / "samples" / f"step-{sample.step:08d}.png") as path:
            sample_grid(sample).save(path, "PNG")


def sample_grid(sample: Sample) -> Image.Image:
    """Condition image, target pose, target image and the results of a sample, a row a pair, as a picture."""
    batch = sample.batch
    canvas = (batch.target_image.shape[2], batch.target_image.shape[3])
    rows = [
        [
            pil_from_tensor(batch.condition_image[i]),
            Pose(batch.target_xy[i].cpu(), canvas).draw(),
            pil_from_tensor(batch.target_image[i]),
            *(pil_from_tensor(images[i]) for images in sample.results.values()),
        ]
        for i in range(len(batch))
    ]
    return image_grid(rows, titles=["condition", "pose", "target", *sample.results], scale=max(1, 256 // canvas[0]))


def make_accelerator(
    precision: Literal["auto", "no", "bf16"] = "auto", cpu: bool = False, compile: bool = False
) -> Accelerator:
    """Device, processes and precision of a run.

    Args:
        precision: "auto" is bf16 on a GPU that has it.
        cpu: use no GPU.
        compile: let `torch.compile` fuse what lies between the convolutions; it needs a C++ compiler on a CPU and
            Triton on a GPU, and a minute at the start of each stage.
    """
    bf16 = torch.cuda.is_available() and not cpu and torch.cuda.is_bf16_supported()
    return Accelerator(
        mixed_precision=("bf16" if bf16 else "no") if precision == "auto" else precision,
        cpu=cpu,
        dynamo_backend="inductor" if compile else "no",
        # The main process evaluates alone while the others wait.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],
    )


def run_stage1(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    reports: Reports = Reports(),
    accelerator: Accelerator | None = None,
) -> None:
    """Stage I, recorded in a folder, from which `load_stage1` takes G1.

    Can be given to ``accelerate.notebook_launcher``, which starts it once a GPU: it returns nothing, and the store may
    be on the CPU.

    Args:
        accelerator: by default that of `make_accelerator`.

    Raises:
        TrainingDivergedError, ConfigError, DataError, CheckpointError: see `train_stage1`; or another process trains
            there.
    """
    accelerator = _join(accelerator)
    with _recorder(Path(folder), config.stage1.steps, reports, accelerator) as recorder:
        train_stage1(config, store, pairs, folder, accelerator, recorder.watch)


def run_stage2(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    g1: G1,
    reports: Reports = Reports(),
    accelerator: Accelerator | None = None,
) -> None:
    """Stage II, recorded in a folder, from which `load_stage2` takes G2; otherwise as `run_stage1`."""
    accelerator = _join(accelerator)
    with _recorder(Path(folder), config.stage2.steps, reports, accelerator) as recorder:
        train_stage2(config, store, pairs, folder, g1, accelerator, recorder.watch)


def run_one_stage(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    reports: Reports = Reports(),
    accelerator: Accelerator | None = None,
) -> None:
    """The one-stage model G1+D, recorded in a folder, from which `load_stage1` takes G1; otherwise as `run_stage1`."""
    accelerator = _join(accelerator)
    with _recorder(Path(folder), config.one_stage.steps, reports, accelerator) as recorder:
        train_one_stage(config, store, pairs, folder, accelerator, recorder.watch)


def _join(accelerator: Accelerator | None) -> Accelerator:
    accelerator = accelerator or make_accelerator()
    if accelerator.num_processes > 1 and multiprocessing.parent_process() is not None:
        # OpenMP's threads do not survive the fork by which a notebook starts its processes.
        torch.set_num_threads(1)
    return accelerator


@contextmanager
def _recorder(folder: Path, steps: int, reports: Reports, accelerator: Accelerator) -> Iterator[Recorder]:
    """What watches a stage, with the lock of its folder held."""
    reports = replace(reports, progress=reports.progress and accelerator.is_main_process)
    with held(folder, accelerator), Recorder(folder, steps, reports) as recorder, logging_redirect_tqdm():
        yield recorder


@contextmanager
def held(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """The lock of a folder, held by the main process for all.

    Raises:
        CheckpointError: on every process: another run holds it, or the folder cannot be written.
    """
    lock = hold(folder)
    on_main(accelerator, lock.__enter__)
    try:
        yield
    finally:
        if accelerator.is_main_process:
            lock.__exit__(None, None, None)


def on_main(accelerator: Accelerator, act: Callable[[], None]) -> None:
    """Lets the main process do something alone; an error that it raises there is raised on every process."""
    raised: list[Exception | None] = [None]
    if accelerator.is_main_process:
        try:
            act()
        except Exception as error:
            raised = [error]
    broadcast_object_list(raised)
    if raised[0] is not None:
        raise raised[0]


def train(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    data_name: str,
    reports: Reports = Reports(),
    accelerator: Accelerator | None = None,
    stage1: str | PathLike[str] | None = None,
) -> PG2Pipeline:
    """Everything that ``config.networks`` names, going on from whatever the folder holds, and the pipeline at the end.

    Args:
        data_name: what the data set is called in the pipeline's record of its training.
        stage1: where stage I is, or shall be; by default ``folder/stage1``. Runs that differ in what comes after it can
            share one.

    Returns:
        The finished pipeline, also saved in ``folder/pipeline``.

    Raises:
        CheckpointError, DataError, ConfigError: before anything is written, see `check_run` and `train_stage1`.
        TrainingDivergedError: see `train_stage1`.
    """
    run, accelerator = Path(folder), accelerator or make_accelerator()
    stages = stages_of(config, run, stage1)
    for stage in stages:
        check_data(config, stage.settings, store, pairs, accelerator.num_processes)
    on_main(accelerator, lambda: check_run(config, run, pairs, stage1))
    with held(run, accelerator):
        if accelerator.is_main_process:
            with atomic_write(run / "config.json") as file:
                file.write(config.to_json())
        first, *others = stages
        if not first.finished():
            run_first = run_stage1 if first.number == 1 else run_one_stage
            run_first(config, store, pairs, first.folder, reports, accelerator)
        g1, g2 = load_stage1(first.folder), None
        for second in others:
            if not second.finished():
                run_stage2(config, store, pairs, second.folder, g1, reports, accelerator)
            g2 = load_stage2(second.folder)
        pipeline = make_pipeline(config, g1, g2, store, pairs, data_name, [stage.folder for stage in stages])
        if accelerator.is_main_process:
            pipeline.save_pretrained(run / "pipeline")
            log.info("the pipeline folder is %s", run / "pipeline")
        accelerator.wait_for_everyone()
    return pipeline.to(accelerator.device)


def make_pipeline(
    config: PG2Config,
    g1: G1,
    g2: G2 | None,
    store: ImageStore,
    pairs: PairTable,
    data_name: str,
    folders: Sequence[Path],
) -> PG2Pipeline:
    """The pipeline of trained models, with the record of their training and the framing of their data.

    Args:
        folders: of the stages that made them, whose logs say how long they took.
    """
    training: Mapping[str, Any] = {
        "data": data_name,
        "images": len(store),
        "pairs": len(pairs),
        "seconds": {folder.name: logged_seconds(folder / "log.jsonl") for folder in folders},
        **provenance(),
    }
    return PG2Pipeline(g1, g2, config, Framing.of(store.table.xy, store.table.canvas), training)


def processes_for(stage: TrainingConfig) -> int:
    """How many of this machine's GPUs can share a batch evenly; 1 where there is none.

    Does not touch the GPUs, so that ``accelerate.notebook_launcher`` can still start processes on them.
    """
    return max(n for n in range(1, max(1, torch.cuda.device_count()) + 1) if stage.batch_size % n == 0)


def config_of(folder: str | PathLike[str]) -> PG2Config:
    """The configuration with which the newest checkpoint of a stage was trained.

    Raises:
        CheckpointError: no checkpoint there.
    """
    return newest_checkpoint(Path(folder)).config


def load_stage1(folder: str | PathLike[str]) -> G1:
    """The G1 that stage I left in a folder: its newest checkpoint's, the moving average where there is one.

    Raises:
        CheckpointError: no checkpoint there.
    """
    return load_generator(Path(folder), G1, "g1")


def load_stage2(folder: str | PathLike[str]) -> G2:
    """The G2 that stage II left in a folder: its newest checkpoint's, the moving average where there is one.

    Raises:
        CheckpointError: no checkpoint there.
    """
    return load_generator(Path(folder), G2, "g2")
