"""Keypoints for a folder of images: the pose detector over every one of them, into the field's CSV.

Worker processes detect, and this process alone writes. A journal beside the CSV takes one line an image as it is done,
so that a run that is stopped, however rudely, goes on where it was; the CSV appears at the end, whole. A folder of
millions is prepared in parts (`Shard`), on as many machines, and put together by `merge_shards`.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import multiprocessing
import re
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from pg2lib.data.names import canonical_name, checked_name, image_key, parse_deepfashion
from pg2lib.data.people import CSV_HEADER, csv_row
from pg2lib.errors import ConfigError, DataError, NoPersonError, PG2Error
from pg2lib.files import IMAGE_SUFFIXES, atomic_write, files_below
from pg2lib.images import load_photo
from pg2lib.processes import cpu_count, start_worker

if TYPE_CHECKING:
    from pg2lib.detect import PoseDetector

log = logging.getLogger(__name__)

FORMAT = 2
"""Counts up when journals or descriptions of parts change their meaning."""

NOBODY = "no person found"

HANDED_OUT = 4
"""Images a worker that are handed out and not done: enough to keep it busy, few enough to end soon after Ctrl-C."""


Names = Literal["field", "paths"]
"""What images are called in a CSV: as the field has it, or by their paths below the folder."""


class DetectorFactory(Protocol):
    """Makes a detector, once in every worker process. `pg2lib.detect.MediaPipeDetector`, the class itself, is one.

    It is pickled on its way to the workers: a class at the top level of a module or an instance of one, no lambda.
    """

    @property
    def settings(self) -> str:
        """Which detector it is and how it is set; what was done with others is not mixed with its work."""
        ...

    def __call__(self) -> AbstractContextManager[PoseDetector]:
        """A detector, ready once it is entered."""
        ...


@dataclass(frozen=True, order=True)
class Shard:
    """One of several parts of a folder's images: a block of the sorted list, as long as the others give or take one.

    Attributes:
        number: 1 to `count`.
        count: how many parts there are.

    Raises:
        ConfigError: there is no such part.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(f"shard {self}: {self.count} parts are numbered from 1 to {self.count}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From ``3/16``.

        Raises:
            ConfigError: not of that form, or there is no such part.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None:
            raise ConfigError(f"shard {text!r}: expected NUMBER/COUNT, such as 3/16 for the third of sixteen parts")
        return cls(int(match[1]), int(match[2]))

    def of(self, names: Sequence[str]) -> Sequence[str]:
        """The names that belong to this part."""
        return names[(self.number - 1) * len(names) // self.count : self.number * len(names) // self.count]

    def csv(self, whole: Path) -> Path:
        """The file of this part of a CSV: ``keypoints.shard-03-of-16.csv``."""
        number = str(self.number).zfill(len(str(self.count)))
        return whole.with_name(f"{whole.stem}.shard-{number}-of-{self.count}{whole.suffix}")


@dataclass(frozen=True)
class Preparation:
    """What `prepare` did, earlier runs that were stopped included.

    Attributes:
        csv: where the poses are.
        found: images with a pose in the CSV.
        without_person: names of the images in which nobody was found.
        unreadable: names of the images that could not be decoded, each with the reason.
        flat: images left out because their name says that they show a garment and no person.
        missing_file: where the images without a pose are listed; None when there are none.
    """

    csv: Path
    found: int
    without_person: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    flat: int = 0
    missing_file: Path | None = None


def prepare(
    images: str | PathLike[str],
    csv: str | PathLike[str],
    detector: DetectorFactory,
    workers: int | None = None,
    shard: Shard | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    names: Names = "field",
) -> Preparation:
    """Finds the pose in every image of a folder and its subfolders, and writes the field's keypoint CSV.

    Images without a person, and unreadable ones, are not in the CSV but
    in ``<csv name>.missing.txt`` beside it, one a line with the reason. DeepFashion's ``flat`` images, which show
    nobody, hidden files, and files that are no images are left out.

    Stopped at any time, it goes on where it was when it is called again. A part that is complete is not done again,
    unless the folder holds other images by now. Any other file that is there already is never replaced.

    Args:
        images: the folder.
        csv: the file to write, which must not exist. With `shard`, the parts are named after it.
        detector: makes a detector in each worker.
        workers: processes; by default one for each CPU this process may use. MediaPipe takes some 0.6 GB in each. 1
            detects in this process. With more, a script that calls this at its top level needs the usual
            ``if __name__ == "__main__":``.
        shard: do this part only.
        on_progress: called with (images done, images in all).
        names: in the CSV: the field's, as `canonical_name` has them, or the plain paths below the folder, of which no
            image is taken for a ``flat`` one.

    Raises:
        DataError: no such folder, no image in it, two images of one name, a CSV that is there already, or a journal of
            another folder or detector.
        ConfigError: less than one worker.
        PG2Error: a worker process died; what was done is kept.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    listed = list_images(Path(images), names)
    chosen, target, before = list(listed.paths), Path(csv), None
    if shard is not None:
        check_csv(target)  # which the parts are for
        chosen, target = list(shard.of(chosen)), shard.csv(target)
        part, before = _Part(str(shard), listed.digest, detector.settings), _read_part(target)
        if before == part:
            log.info("%s is complete", target)
            rows, missing = _read_results(target)
            return _summary(target, len(rows), missing, listed.flat)
    check_csv(target, ours=before is not None or _Journal.of(target).exists())
    if before is not None:
        _part_file(target).unlink()
    with _Journal(target, listed.folder, detector.settings) as journal:
        done = {name: journal.done[name] for name in chosen if name in journal.done}
        todo = {name: listed.folder / listed.paths[name] for name in chosen if name not in done}
        if done:
            log.info("%d of %d images were done before", len(done), len(chosen))
            _tell(on_progress, len(done), len(chosen))
        with closing(_detect_all(todo, detector, workers)) as outcomes:
            for name, outcome in outcomes:
                journal.add(name, outcome)
                done[name] = outcome
                _tell(on_progress, len(done), len(chosen))
    rows = [done[name].row for name in chosen if done[name].row]
    missing = [(name, done[name].reason) for name in chosen if done[name].reason]
    result = write_rows(target, rows, missing, listed.flat)
    if shard is not None:
        with atomic_write(_part_file(target)) as file:
            json.dump(part._asdict(), file)
    journal.path.unlink(missing_ok=True)
    return result


def write_rows(csv: Path, rows: Sequence[str], missing: Sequence[tuple[str, str]], flat: int = 0) -> Preparation:
    """Writes a keypoint CSV, and beside it the list of images that are not in it; each appears whole or not at all.

    Args:
        csv: the file.
        rows: as `csv_row` makes them.
        missing: (name, reason) of each image without a pose; the reason is `NOBODY` or why it could not be read.
        flat: for the summary.
    """
    _write_missing(csv, missing)
    with atomic_write(csv) as file:
        file.writelines(f"{line}\n" for line in (CSV_HEADER, *rows))
    return _summary(csv, len(rows), missing, flat)


def merge_shards(images: str | PathLike[str], csv: str | PathLike[str]) -> Preparation:
    """Puts the parts of a CSV together, equal to what `prepare` writes in one go, and removes them.

    The CSV appears whole or not at all, and the parts are removed only then.

    Args:
        images: the folder that was prepared in parts.
        csv: as it was given with each shard.

    Raises:
        DataError: the CSV is there already, a part is missing (the message names the numbers), parts of different
            divisions lie side by side, were made by different detectors or from another list of images than the folder
            now holds, or lack images of theirs.
    """
    listed = list_images(Path(images))
    names, target = list(listed.paths), Path(csv)
    check_csv(target)
    shards = _complete_shards(target, listed.digest, listed.folder)
    found, missing = 0, []
    with atomic_write(target) as file:
        file.write(CSV_HEADER + "\n")
        for shard in shards:
            rows, without_pose = _read_results(shard.csv(target))
            present = [_name_of(row) for row in rows] + [name for name, _ in without_pose]
            if sorted(present) != sorted(shard.of(names)):
                wrong = sorted(set(present) ^ set(shard.of(names))) or ["some of them twice"]
                raise DataError(
                    f"{shard.csv(target)} does not hold its {len(shard.of(names)):,} images, see {wrong[0]}; remove "
                    f"the part and make it again with --shard {shard}"
                )
            file.writelines(row + "\n" for row in rows)
            found += len(rows)
            missing += without_pose
        _write_missing(target, missing)
    for shard in shards:
        part = shard.csv(target)
        for path in (_part_file(part), part, _missing_file(part)):
            path.unlink(missing_ok=True)
    return _summary(target, found, missing, listed.flat)


# ---- which images


@dataclass(frozen=True)
class Listing:
    """The images of a folder: CSV name -> path relative to the folder, in the order of the paths."""

    folder: Path
    paths: dict[str, str]
    flat: int

    @property
    def digest(self) -> str:
        """Of the names, in order: tells one list of images from another."""
        return hashlib.sha256("\n".join(self.paths).encode()).hexdigest()


def list_images(folder: Path, names: Names = "field") -> Listing:
    """The images below a folder that `prepare` looks at.

    Raises:
        DataError: no such folder, no image in it, two images of one name, or a name that no CSV can hold.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    above = folder.absolute().as_posix()
    paths: dict[str, str] = {}
    first: dict[str, str] = {}
    flat = 0

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be listed: {error.strerror}") from error

    files = files_below(folder, IMAGE_SUFFIXES, on_error=refuse)
    for relative in sorted(path.relative_to(folder).as_posix() for path in files):
        name = relative
        if names == "field":
            # The folder may be WOMEN, or one below it: what stands above its images counts too.
            parsed = parse_deepfashion(f"{above}/{relative}")
            if parsed is not None and parsed.view == "flat":
                flat += 1
                continue
            name = canonical_name(relative if parsed is None else f"{above}/{relative}")
        key = image_key(name)
        if key in first:
            raise DataError(
                f"{folder}: {first[key]} and {relative} are both {name} in a keypoint CSV; prepare the folders "
                "they are in one by one, or remove one of the two"
            )
        first[key] = relative
        paths[checked_name(name, str(folder))] = relative
    if not paths:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return Listing(folder, paths, flat)


# ---- detecting, here or in processes


class Outcome(NamedTuple):
    """What became of an image: a row of the CSV, or the reason why it has none; the other is empty."""

    row: str = ""
    reason: str = ""


def _detect(detector: PoseDetector, path: Path, name: str) -> Outcome:
    try:
        photo, size = load_photo(path)
        return Outcome(row=csv_row(name, detector.detect(photo).pose.resize(size)))
    except NoPersonError:
        return Outcome(reason=NOBODY)
    except DataError as error:
        return Outcome(reason=" ".join(str(error).split()))


def _detect_all(
    todo: Mapping[str, Path], make_detector: DetectorFactory, workers: int | None
) -> Generator[tuple[str, Outcome], None, None]:
    """(name, outcome) of each image, in the order in which they are done."""
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
            with _interrupts_held_back():
                for name, path in islice(waiting, workers * HANDED_OUT - len(running)):
                    running[executor.submit(_detect_in_worker, path, name)] = name
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                outcome = future.result()
                yield running.pop(future), outcome
    except BrokenProcessPool as error:
        suspects = ", ".join(islice(running.values(), workers))
        raise PG2Error(
            f"a worker process died, for want of memory or of an image that crashes the detector ({suspects}). What "
            f"was done is kept: run the same again with fewer than {workers} workers, or without that image"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until the block ends. Processes that start in it never see one: it is for their parent to handle."""
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

    The detector is made for the first of them, so that an error in making it reaches the user as any other error.
    """

    make_detector: DetectorFactory
    detector: PoseDetector | None = None


def _start_worker(make_detector: DetectorFactory) -> None:
    start_worker()
    _Worker.make_detector = make_detector


def _detect_in_worker(path: Path, name: str) -> Outcome:
    if _Worker.detector is None:
        _Worker.detector = _Worker.make_detector().__enter__()  # It is left when the process ends.
    return _detect(_Worker.detector, path, name)


def _tell(on_progress: Callable[[int, int], None] | None, done: int, total: int) -> None:
    if on_progress is not None:
        on_progress(done, total)


# ---- files


class _Journal:
    """One JSON line an image that is done, after a first line that says what the journal belongs to.

    Attributes:
        path: ``<csv>.journal``.
        done: what earlier runs wrote.
    """

    def __init__(self, csv: Path, folder: Path, settings: str) -> None:
        self.path = self.of(csv)
        self.done: dict[str, Outcome] = {}
        belongs_to = {"format": FORMAT, "images": str(folder.resolve()), "detector": settings}
        try:
            self._file = self.path.open("a+b")
            self._read(belongs_to)
        except OSError as error:
            raise DataError(f"the journal {self.path} cannot be written: {error}") from error

    @staticmethod
    def of(csv: Path) -> Path:
        """Where the journal of a CSV is."""
        return csv.with_name(csv.name + ".journal")

    def __enter__(self) -> _Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, name: str, outcome: Outcome) -> None:
        """Writes a line, at once."""
        self._write([name, *outcome])

    def _write(self, value: Any) -> None:
        self._file.write(json.dumps(value).encode() + b"\n")
        self._file.flush()

    def _read(self, belongs_to: dict[str, Any]) -> None:
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file):
            if not line.endswith(b"\n"):  # cut short by a kill
                if number == 0 and not json.dumps(belongs_to).encode().startswith(line):
                    self._check(None, belongs_to)
                break
            whole += len(line)
            if number == 0:
                self._check(_parsed(line), belongs_to)
            else:
                match _parsed(line):
                    case [str(name), str(row), str(reason)]:
                        self.done[name] = Outcome(row, reason)
                    case _:
                        log.warning("%s:%d is damaged; the image is done again", self.path, number + 1)
        self._file.truncate(whole)
        if not whole:
            self._write(belongs_to)

    def _check(self, found: Any, belongs_to: dict[str, Any]) -> None:
        if found == belongs_to:
            return
        self._file.close()
        differs = [key for key in belongs_to if not isinstance(found, dict) or found.get(key) != belongs_to[key]]
        was = found.get(differs[0]) if isinstance(found, dict) else None
        raise DataError(
            f"{self.path} is the journal of an unfinished run with {differs[0]} {was!r}, not "
            f"{belongs_to[differs[0]]!r}; finish that run, or delete the journal and start anew, or write another CSV"
        )


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


class _Part(NamedTuple):
    """What a complete part is, in a file beside its CSV: the shard, the digest of all images, the detector."""

    shard: str
    images: str
    detector: str


def _part_file(csv: Path) -> Path:
    """``keypoints.shard-03-of-16.json``, which appears when the part is complete."""
    return csv.with_name(f"{csv.stem}.json")


def _read_part(csv: Path) -> _Part | None:
    """None where the part is not complete."""
    path = _part_file(csv)
    try:
        return _Part(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); remove it and make the part again") from error


def _complete_shards(csv: Path, digest: str, images: Path) -> list[Shard]:
    """All shards of a CSV, in order, which belong together and to the images there are."""
    pattern = re.compile(re.escape(csv.stem) + r"\.shard-(\d+)-of-(\d+)\.json")
    matches = (pattern.fullmatch(path.name) for path in csv.parent.glob(f"{glob.escape(csv.stem)}.shard-*.json"))
    there = sorted(Shard(int(match[1]), int(match[2])) for match in matches if match)
    if not there:
        raise DataError(f"no part of {csv}: {Shard(1, 16).csv(csv)} and so on are made with --shard 1/16 and so on")
    counts = sorted({shard.count for shard in there})
    if len(counts) > 1:
        raise DataError(
            f"parts of {csv}, of {' and of '.join(map(str, counts))}, lie side by side; remove those of one of the two"
        )
    absent = sorted(set(range(1, counts[0] + 1)) - {shard.number for shard in there})
    if absent:
        raise DataError(
            f"{csv}: of {counts[0]} parts {len(absent)} are missing or unfinished: {_some(absent)}; make them with "
            f"--shard {absent[0]}/{counts[0]}" + (" and so on" if len(absent) > 1 else "")
        )
    parts = {shard.number: _read_part(shard.csv(csv)) for shard in there}
    strangers = [number for number, part in parts.items() if part is None or part.images != digest]
    if strangers:
        raise DataError(
            f"{csv}: {len(strangers)} of {counts[0]} parts were made from another list of images than {images} now "
            f"holds: {_some(strangers)}; make them again with --shard {strangers[0]}/{counts[0]}"
            + (" and so on" if len(strangers) > 1 else "")
        )
    detectors = sorted({part.detector for part in parts.values() if part is not None})
    if len(detectors) > 1:
        raise DataError(f"{csv}: its parts were made by different detectors ({'; '.join(detectors)}); make all by one")
    return there


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:20])) + (" ..." if len(numbers) > 20 else "")


def _read_results(csv: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The rows of a part, and (name, reason) of the images that have none."""
    try:
        rows = csv.read_text(encoding="utf-8").splitlines()[1:]
        listed = _missing_file(csv).read_text(encoding="utf-8") if _missing_file(csv).exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the part {csv} cannot be read: {error}; remove {_part_file(csv)} and make it again"
        ) from error
    missing = [line.partition("\t") for line in listed.splitlines()]
    return rows, [(name, reason) for name, _, reason in missing]


def _name_of(row: str) -> str:
    return row.rsplit(":", 2)[0]


def _missing_file(csv: Path) -> Path:
    return csv.with_name(f"{csv.stem}.missing.txt")


def _write_missing(csv: Path, missing: Sequence[tuple[str, str]]) -> None:
    if not missing:
        _missing_file(csv).unlink(missing_ok=True)
        return
    with atomic_write(_missing_file(csv)) as file:
        file.writelines(f"{name}\t{reason}\n" for name, reason in missing)


def _summary(csv: Path, found: int, missing: Sequence[tuple[str, str]], flat: int) -> Preparation:
    return Preparation(
        csv=csv,
        found=found,
        without_person=tuple(name for name, reason in missing if reason == NOBODY),
        unreadable=tuple((name, reason) for name, reason in missing if reason != NOBODY),
        flat=flat,
        missing_file=_missing_file(csv) if missing else None,
    )


def keypoint_files(csv: Path) -> tuple[Path, Path]:
    """What `prepare` leaves: the CSV, and the list of images that are not in it."""
    return csv, _missing_file(csv)


def check_csv(csv: Path, ours: bool = False) -> None:
    """Sees to it that a CSV can be written, before the work is done, and makes its folder.

    Args:
        csv: the file to write.
        ours: what is there is from an earlier run of the same work, and may be replaced.

    Raises:
        DataError: the CSV, or the list beside it, is there and is not `ours`; or it cannot be written.
    """
    if csv.is_dir():
        raise DataError(f"{csv} is a folder; name the CSV to write")
    there = [str(path) for path in keypoint_files(csv) if path.exists() or path.is_symlink()]
    if there and not ours:
        raise DataError(
            f"{' and '.join(there)} {'exist' if len(there) > 1 else 'exists'} already and would be replaced: name "
            f"another CSV, or remove what is there"
        )
    try:
        csv.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{csv} cannot be written: {error}") from error
