"""A whole training run in one folder: its stages, their logs and samples, and the finished pipeline.

::

    RUN/config.json           the configuration
        stage1/, stage2/      training checkpoints, log.jsonl (one line per step), samples/ (grids of pictures)
        one-stage/            the same for the one-stage model G1+D, in place of both
        pipeline/             the finished pipeline folder
        earlier-1/, ...       what `train(..., restart=...)` moved aside: each is the folder of a run, too
        .lock                 while a run writes there; also in the folder of the stage that is being trained

A run that cannot be finished is refused before it writes anything (see `check_run`).
"""

from __future__ import annotations

import atexit
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
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list
from PIL import Image
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from pg2lib.comparison import comparison_rows
from pg2lib.config import PG2Config, TrainingConfig
from pg2lib.data.pairs import PairTable
from pg2lib.data.store import ImageStore
from pg2lib.files import LineFile, atomic_path, atomic_write
from pg2lib.framing import Framing
from pg2lib.images import image_grid
from pg2lib.models import G1, G2
from pg2lib.pipeline import PG2Pipeline
from pg2lib.provenance import provenance
from pg2lib.training.check import check_run, outdated, set_aside, stages_of
from pg2lib.training.checkpoint import load_generator, newest_checkpoint
from pg2lib.training.lock import hold
from pg2lib.training.log import logged_seconds, open_log
from pg2lib.training.loop import Sample, StepRecord, Watch, check_data
from pg2lib.training.stages import train_one_stage, train_stage1, train_stage2
from pg2lib.training.start import record_of_start

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reports:
    """What a run shows, and how often it saves samples and checkpoints.

    Attributes:
        progress: Whether to show a progress bar.
        sample_every: Steps between samples; 0 for none.
        checkpoint_every: Steps between checkpoints.
        samples: Pairs in a grid of samples.
        time_share: Share of the run's time that samples may take at most, and checkpoints as well; see `Watch`.
    """

    progress: bool = True
    sample_every: int = 500
    checkpoint_every: int = 500
    samples: int = 8
    time_share: float = 0.01


class Recorder:
    """Records one stage: ``log.jsonl``, grids of samples, and a progress bar with losses and images per second.

    Use it as a context manager and pass its `watch` to a training loop.

    Args:
        folder: Where to write the log and the grids.
        steps: Steps of the whole stage, for the progress bar.
    """

    def __init__(self, folder: Path, steps: int, reports: Reports = Reports()) -> None:
        self.folder = folder
        self._started = time.monotonic()
        self._bar = tqdm(total=steps, disable=not reports.progress, desc=folder.name, unit="step", dynamic_ncols=True)
        self._file: LineFile | None = None
        self.watch = Watch(
            on_step=self._on_step,
            on_sample=self._on_sample,
            read_every=20 if torch.cuda.is_available() else 1,
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
        self._file.add(json.dumps(line))
        shown = " ".join(f"{name} {value:.3f}" for name, value in record.losses.items())
        self._bar.set_postfix_str(f"{shown}, {record.images_per_second:.0f} images/s", refresh=False)
        self._bar.update()

    def _on_sample(self, sample: Sample) -> None:
        with atomic_path(self.folder / "samples" / f"step-{sample.step:08d}.png") as path:
            sample_grid(sample).save(path, "PNG")


def sample_grid(sample: Sample) -> Image.Image:
    """Draw a sample, one row per pair: condition image, target pose, target image, and the generated images."""
    columns = comparison_rows(sample.batch, sample.results)
    rows = list(zip(*columns.values(), strict=True))
    return image_grid(rows, titles=list(columns), scale=max(1, 256 // rows[0][0].height))


def make_accelerator(
    precision: Literal["auto", "no", "bf16"] = "auto", cpu: bool = False, compile: bool = False
) -> Accelerator:
    """Return an accelerator: the device, the processes and the precision of a run.

    Args:
        precision: "no" is float32; "auto" is bf16 on a GPU that supports it, and float32 elsewhere.
        cpu: Whether to train on the CPU even where there is a GPU.
        compile: Whether to compile the models with `torch.compile`, which fuses the operations between convolutions.
            It needs a C++ compiler on a CPU and Triton on a GPU, and takes a minute at the start of each stage.
    """
    bf16 = torch.cuda.is_available() and not cpu and torch.cuda.is_bf16_supported()
    accelerator = Accelerator(
        mixed_precision=("bf16" if bf16 else "no") if precision == "auto" else precision,
        cpu=cpu,
        dynamo_backend="inductor" if compile else "no",
        # The main process evaluates alone while the others wait.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],
    )
    if accelerator.num_processes > 1:
        atexit.register(_leave_process_group)
    return accelerator


def _leave_process_group() -> None:
    """End the threads of the process group; the interpreter's own end aborts now and then where they still run."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def run_stage1(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    reports: Reports = Reports(),
    accelerator: Accelerator | None = None,
    start: PG2Pipeline | None = None,
) -> None:
    """Train stage I and record it in a folder, from which `load_stage1` loads G1.

    It returns nothing and accepts a store on the CPU, so that ``accelerate.notebook_launcher`` can start it once per
    GPU.

    Args:
        config, store, pairs, folder, start: As in `train_stage1`.
        reports: What to show and save.
        accelerator: By default that of `make_accelerator`.

    Raises:
        TrainingDivergedError, ConfigError, DataError: See `train_stage1`.
        CheckpointError: See `train_stage1`; or another process is training in that folder.
    """
    accelerator = _join(accelerator)
    with _recorder(Path(folder), config.stage1.steps, reports, accelerator) as recorder:
        train_stage1(config, store, pairs, folder, accelerator, recorder.watch, start)


def run_stage2(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    g1: G1,
    reports: Reports = Reports(),
    accelerator: Accelerator | None = None,
    start: PG2Pipeline | None = None,
) -> None:
    """Train stage II on a trained G1 and record it in a folder, from which `load_stage2` loads G2; see `run_stage1`."""
    accelerator = _join(accelerator)
    with _recorder(Path(folder), config.stage2.steps, reports, accelerator) as recorder:
        train_stage2(config, store, pairs, folder, g1, accelerator, recorder.watch, start)


def run_one_stage(
    config: PG2Config,
    store: ImageStore,
    pairs: PairTable,
    folder: str | PathLike[str],
    reports: Reports = Reports(),
    accelerator: Accelerator | None = None,
    start: PG2Pipeline | None = None,
) -> None:
    """Train the one-stage model G1+D and record it in a folder, from which `load_stage1` loads G1; see `run_stage1`."""
    accelerator = _join(accelerator)
    with _recorder(Path(folder), config.one_stage.steps, reports, accelerator) as recorder:
        train_one_stage(config, store, pairs, folder, accelerator, recorder.watch, start)


def _join(accelerator: Accelerator | None) -> Accelerator:
    accelerator = accelerator or make_accelerator()
    if accelerator.num_processes > 1 and multiprocessing.parent_process() is not None:
        # A notebook starts its processes by forking, which OpenMP's threads do not survive.
        torch.set_num_threads(1)
    return accelerator


@contextmanager
def _recorder(folder: Path, steps: int, reports: Reports, accelerator: Accelerator) -> Iterator[Recorder]:
    """Hold the lock of a stage's folder and record the stage there."""
    reports = replace(reports, progress=reports.progress and accelerator.is_main_process)
    with held(folder, accelerator), Recorder(folder, steps, reports) as recorder, logging_redirect_tqdm():
        yield recorder


@contextmanager
def held(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Hold the lock of a folder, on the main process for all processes.

    Raises:
        CheckpointError: Another run holds the lock, or the folder cannot be written. Raised on every process.
    """
    lock = hold(folder)
    on_main(accelerator, lock.__enter__)
    try:
        yield
    finally:
        if accelerator.is_main_process:
            lock.__exit__(None, None, None)


def on_main(accelerator: Accelerator, act: Callable[[], None]) -> None:
    """Call a function on the main process alone; an exception that it raises there is raised on every process."""
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
    start: PG2Pipeline | None = None,
    restart: str | None = None,
) -> PG2Pipeline:
    """Train all stages that ``config.networks`` names, resuming from what the folder holds, and save the pipeline.

    Args:
        config, store, pairs: As in `train_stage1`.
        folder: Folder of the run.
        data_name: Name of the data set in the pipeline's record of its training.
        reports: What to show and save.
        accelerator: By default that of `make_accelerator`.
        stage1: Folder of stage I, trained or not; by default ``folder/stage1``. Runs with the same stage I can share
            it.
        start: Pipeline to fine-tune, as `PG2Pipeline.from_pretrained` loads it; None to start from random weights.
        restart: Name of a stage's folder. If that stage, or a later one, cannot be resumed with these settings, it is
            moved aside and trained from the start (see `set_aside`), instead of refusing the run.

    Returns:
        The finished pipeline, which is also saved in ``folder/pipeline``.

    Raises:
        CheckpointError, DataError, ConfigError: Before anything is written; see `check_run` and `check_data`.
        TrainingDivergedError: See `train_stage1`.
    """
    run, accelerator = Path(folder), accelerator or make_accelerator()
    stages = stages_of(config, run, stage1)
    for stage in stages:
        check_data(config, stage.settings, store, pairs, accelerator.num_processes)
    on_main(accelerator, lambda: check_run(config, run, pairs, stage1, start, restart))
    with held(run, accelerator):
        if restart is not None:
            on_main(accelerator, lambda: set_aside(run, outdated(config, run, stages, pairs, start)))
        if accelerator.is_main_process:
            with atomic_write(run / "config.json") as file:
                file.write(config.to_json())
        first, *others = stages
        if not first.finished():
            run_first = run_stage1 if first.number == 1 else run_one_stage
            run_first(config, store, pairs, first.folder, reports, accelerator, start)
        g1, g2 = load_stage1(first.folder), None
        for second in others:
            if not second.finished():
                run_stage2(config, store, pairs, second.folder, g1, reports, accelerator, start)
            g2 = load_stage2(second.folder)
        folders = [stage.folder for stage in stages]
        pipeline = make_pipeline(config, g1, g2, store, pairs, data_name, folders, start)
        if accelerator.is_main_process:
            pipeline.save_pretrained(run / "pipeline")
            log.info("the pipeline is saved in %s", run / "pipeline")
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
    start: PG2Pipeline | None = None,
) -> PG2Pipeline:
    """Make a pipeline of trained models, with a record of their training and the framing of their data.

    Args:
        g2: None for a model of one stage.
        store, pairs: The data that the models were trained on.
        data_name: Name of the data set in the record.
        folders: Folders of the stages, whose logs say how long the training took.
        start: The pipeline that the training started from, if any.
    """
    training: Mapping[str, Any] = {
        "data": data_name,
        "images": len(store),
        "pairs": len(pairs),
        "seconds": {folder.name: logged_seconds(folder / "log.jsonl") for folder in folders},
        **record_of_start(start),
        **provenance(),
    }
    return PG2Pipeline(g1, g2, config, Framing.of(store.table.xy, store.table.canvas), training)


def processes_for(stage: TrainingConfig) -> int:
    """Return how many of this machine's GPUs can share a batch evenly; 1 where there is none.

    CUDA is not initialised, so that ``accelerate.notebook_launcher`` can still start processes.
    """
    return max(n for n in range(1, max(1, torch.cuda.device_count()) + 1) if stage.batch_size % n == 0)


def config_of(folder: str | PathLike[str]) -> PG2Config:
    """Return the configuration with which the newest checkpoint of a stage was trained.

    Raises:
        CheckpointError: The folder holds no checkpoint.
    """
    return newest_checkpoint(Path(folder)).config


def load_stage1(folder: str | PathLike[str]) -> G1:
    """Load G1 from the newest checkpoint of stage I, or of the one-stage model: its moving average where there is one.

    Raises:
        CheckpointError: The folder holds no checkpoint.
    """
    return load_generator(Path(folder), G1, "g1")


def load_stage2(folder: str | PathLike[str]) -> G2:
    """Load G2 from the newest checkpoint of stage II: its moving average where there is one.

    Raises:
        CheckpointError: The folder holds no checkpoint.
    """
    return load_generator(Path(folder), G2, "g2")
