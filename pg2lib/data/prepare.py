"""Keypoints for a folder of images: the pose detector applied to each of them, and the results in the field's CSV.

Worker processes detect, and this process writes. A journal beside the CSV gets one line per finished image, so that a
run resumes after any interruption, a kill included. The CSV is written at the end, atomically. A folder of millions of
images can be prepared in shards on several machines (`Shard`), which `merge_shards` merges.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

from pg2lib.data.keypoint_csv import NOBODY, Preparation, check_csv, csv_row, parse_row, write_rows
from pg2lib.data.names import is_a_line
from pg2lib.data.shards import Listing, Names, Part, Shard, list_images, part_file, read_part, read_results
from pg2lib.detect import suggested_turn
from pg2lib.errors import ConfigError, DataError, NoPersonError, PG2Error
from pg2lib.files import LineFile, atomic_write, writing
from pg2lib.images import load_photo, turn_photo
from pg2lib.json_files import parse_json, shown
from pg2lib.pose import Pose
from pg2lib.processes import cpu_count, start_worker

if TYPE_CHECKING:
    from PIL import Image

    from pg2lib.detect import Detection, PoseDetector

log = logging.getLogger(__name__)

FORMAT = 3
"""Version of the journal. Increase it when its lines change their meaning."""

TASKS_PER_WORKER = 4
"""Images submitted per worker and not finished: enough to keep it busy, few enough to stop soon after Ctrl-C."""


class DetectorFactory(Protocol):
    """Makes a detector, once in every worker process. `pg2lib.detect.MediaPipeDetector`, the class itself, is one.

    It is pickled to reach the workers, so it must be a class at the top level of a module or an instance of one.
    """

    @property
    def settings(self) -> str:
        """Identifies the detector and its settings. Results of different settings are never mixed."""
        ...

    def __call__(self) -> AbstractContextManager[PoseDetector]:
        """Return a detector, ready once it is entered."""
        ...


def prepare(
    images: str | PathLike[str],
    csv: str | PathLike[str],
    detector: DetectorFactory,
    workers: int | None = None,
    shard: Shard | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    names: Names = "field",
) -> Preparation:
    """Detect the pose in every image of a folder and its subfolders, and write the field's keypoint CSV.

    Every file that is not in the CSV is listed in ``<csv name>.missing.txt`` beside it, one per line with the reason:
    images without a person, unreadable images, DeepFashion's ``flat`` images, which show a garment only, and (except
    for a single shard) other files than images. Hidden files are ignored.

    In a photo whose person lies on their side or stands on their head, the keypoints are those of a look at the turned
    photo, in pixels of the file as it is. `Preparation.turned` names it.

    An interrupted run resumes when it is called again. A complete shard is not repeated unless the images of the folder
    have changed. No other existing file is replaced.

    Args:
        images: The folder.
        csv: The file to write, which must not exist. With `shard`, the file of the shard is named after it.
        detector: Makes a detector in each worker.
        workers: Number of processes, by default one for each CPU that this process may use. MediaPipe takes about
            0.6 GB in each. 1 detects in this process. With more, a script that calls this at its top level needs the
            usual ``if __name__ == "__main__":``.
        shard: Prepare only this shard.
        on_progress: Called with (images done, images in all).
        names: How the CSV names the images. With "paths", no image counts as ``flat``.

    Raises:
        DataError: If `list_images` refuses the folder, if the CSV exists already, or if its journal belongs to another
            folder or detector.
        ConfigError: If there is less than one worker.
        PG2Error: If a worker process dies. The results so far are kept.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    listed, target = list_images(Path(images), names), Path(csv)
    if shard is None:
        check_csv(target, replace=_journal_of(target).exists())
        return _detect_and_write(listed, list(listed.paths), target, detector, workers, on_progress)
    check_csv(target)  # the file that the shards will be merged into
    target = shard.csv(target)
    part, before = Part(str(shard), listed.digest, detector.settings), read_part(target)
    if before == part:
        log.info("%s is complete", target)
        rows, missing = read_results(target)
        return Preparation(target, len(rows), tuple(missing))
    check_csv(target, replace=before is not None or _journal_of(target).exists())
    part_file(target).unlink(missing_ok=True)
    names_of_shard = shard.of(list(listed.paths))
    return _detect_and_write(listed, names_of_shard, target, detector, workers, on_progress, part)


def _detect_and_write(
    listed: Listing,
    names: Sequence[str],
    csv: Path,
    detector: DetectorFactory,
    workers: int | None,
    on_progress: Callable[[int, int], None] | None,
    part: Part | None = None,
) -> Preparation:
    """Detect what the journal lacks, then write the CSV and, for a shard, the record that it is complete."""
    with closing(_Journal(csv, listed.folder, detector.settings)) as journal:
        done = {name: journal.done[name] for name in names if name in journal.done}
        todo = {name: listed.folder / listed.paths[name] for name in names if name not in done}
        if done:
            log.info("%d of %d images were done before", len(done), len(names))
            if on_progress is not None:
                on_progress(len(done), len(names))
        with closing(_detect_all(todo, detector, workers)) as outcomes:
            for name, outcome in outcomes:
                journal.add(name, outcome)
                done[name] = outcome
                if on_progress is not None:
                    on_progress(len(done), len(names))
    rows = [done[name].row for name in names if done[name].row]
    missing = [(name, done[name].reason) for name in names if done[name].reason]
    result = write_rows(csv, rows, missing, listed.unused_besides(csv) if part is None else ())
    result = replace(result, turned=tuple((name, done[name].turn) for name in names if done[name].turn))
    if part is not None:
        with atomic_write(part_file(csv)) as file:
            json.dump(part._asdict(), file)
    journal.path.unlink(missing_ok=True)
    return result


# ---- detecting, in this process or in workers


class Outcome(NamedTuple):
    """The result for one image: a row of the CSV, or the reason why there is none. The other is empty.

    `turn` tells by how many degrees clockwise the image must be turned for the person to be upright.
    """

    row: str = ""
    reason: str = ""
    turn: int = 0


def _detect(detector: PoseDetector, path: Path, name: str) -> Outcome:
    try:
        photo, size = load_photo(path)
        pose, turn = _find_pose(detector, photo)
        return Outcome(row=csv_row(name, pose.resize(size)), turn=turn)
    except NoPersonError:
        return Outcome(reason=NOBODY)
    except DataError as error:
        return Outcome(reason=" ".join(str(error).split()))


def _find_pose(detector: PoseDetector, photo: Image.Image) -> tuple[Pose, int]:
    """Return the pose in a photo, and the turn that makes the person upright. The pose is in pixels of the photo as is.

    Raises:
        NoPersonError: nobody is found.
    """
    people: list[Detection] = []
    nobody: NoPersonError | None = None
    try:
        people = [detector.detect(photo)]
    except NoPersonError as error:
        nobody = error
    if turn := suggested_turn(photo, people, detector):
        return detector.detect(turn_photo(photo, turn)).pose.turn(360 - turn), turn
    if nobody is not None:
        raise nobody
    return people[0].pose, 0


def _detect_all(
    todo: Mapping[str, Path], make_detector: DetectorFactory, workers: int | None
) -> Generator[tuple[str, Outcome], None, None]:
    """Yield (name, outcome) of each image, in the order in which they finish."""
    count = min(workers or cpu_count(), len(todo))
    if count > 1:
        yield from _detect_in_processes(todo, make_detector, count)
    elif count == 1:
        with make_detector() as detector:
            for name, path in todo.items():
                yield name, _detect(detector, path, name)


def _detect_in_processes(
    todo: Mapping[str, Path], make_detector: DetectorFactory, workers: int
) -> Iterator[tuple[str, Outcome]]:
    executor = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(make_detector,)
    )
    waiting = iter(todo.items())
    running: dict[Future[Outcome], str] = {}
    try:
        while True:
            with _interrupts_blocked():
                for name, path in islice(waiting, workers * TASKS_PER_WORKER - len(running)):
                    running[executor.submit(_detect_in_worker, path, name)] = name
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                outcome = future.result()
                yield running.pop(future), outcome
    except BrokenProcessPool as error:
        suspects = ", ".join(islice(running.values(), workers))
        raise PG2Error(
            f"a worker process died: it ran out of memory, or an image crashes the detector ({suspects}). The results "
            f"so far are kept: run the same again with fewer than {workers} workers, or without that image"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Delay Ctrl-C until the block ends. Processes that start in the block never see one: their parent handles it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """What a worker process keeps between images.

    The detector is made for the first image and not when the process starts, so that its errors reach the user.
    """

    make_detector: DetectorFactory
    detector: PoseDetector | None = None


def _start_worker(make_detector: DetectorFactory) -> None:
    start_worker()
    _Worker.make_detector = make_detector


def _detect_in_worker(path: Path, name: str) -> Outcome:
    if _Worker.detector is None:
        _Worker.detector = _Worker.make_detector().__enter__()  # the end of the process closes it
    return _detect(_Worker.detector, path, name)


# ---- the journal


def _journal_of(csv: Path) -> Path:
    return csv.with_name(csv.name + ".journal")


class _Journal:
    """The finished images of an interrupted run: one JSON line each, after a line that identifies the run.

    Attributes:
        path: ``<csv>.journal``.
        done: The outcomes of earlier runs, by name.
    """

    def __init__(self, csv: Path, folder: Path, settings: str) -> None:
        self.path = _journal_of(csv)
        self.done: dict[str, Outcome] = {}
        run = {"format": FORMAT, "images": str(folder.resolve()), "detector": settings}
        with writing(self.path), self.path.open("a+b") as file:
            self._read(file, run)
        self._lines = LineFile(self.path)
        if not self.path.stat().st_size:
            self._lines.add(json.dumps(run))

    def close(self) -> None:
        self._lines.close()

    def add(self, name: str, outcome: Outcome) -> None:
        """Write a line, at once."""
        self._lines.add(json.dumps([name, *outcome]))

    def _read(self, file: BinaryIO, run: dict[str, Any]) -> None:
        """Read the outcomes, and cut off a last line that is incomplete."""
        file.seek(0)
        length = 0
        for number, line in enumerate(file):
            if not line.endswith(b"\n"):  # cut short by a kill
                if number == 0 and not json.dumps(run).encode().startswith(line):
                    self._check(None, run)
                break
            length += len(line)
            if number == 0:
                self._check(_parsed(line), run)
            else:
                try:
                    self.done |= _finished(_parsed(line), f"{self.path}:{number + 1}")
                except DataError as error:
                    log.warning("%s; its image is detected again", error)
        file.truncate(length)

    def _check(self, found: Any, run: dict[str, Any]) -> None:
        """Refuse the journal of another run."""
        known = found if isinstance(found, dict) else {}
        field = next((key for key in run if known.get(key) != run[key]), None)
        if field is None:
            return
        raise DataError(
            f"{self.path} is the journal of an interrupted run with {field} {shown(known.get(field), 300)}, not "
            f"{run[field]!r}; finish that run, delete the journal to start again, or write another CSV"
        )


def _finished(values: Any, where: str) -> dict[str, Outcome]:
    """Return the outcome of one image, by its name, that a line of the journal holds.

    Raises:
        DataError: The line is damaged.
    """
    match values:
        case [str(name), str(row), str(reason), turn] if turn in (0, 90, 180, 270) and is_a_line(reason or "-"):
            if (row and parse_row(row, where)[0] == name) or (not row and reason):
                return {name: Outcome(row, reason, int(turn))}
    raise DataError(f"{where} is damaged")


def _parsed(line: bytes) -> Any:
    try:
        return parse_json(line, "the journal")
    except DataError:
        return None
