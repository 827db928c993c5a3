"""Damaged and hostile files, read by every reader of text and structure: is each refused with a reason, or used?

    python tests/torture/readers.py --inputs 1000000 --seed 0

Each input starts as valid samples of a format and is damaged by `tests.torture.mutate`: bits, cuts, splices, lines, and
values of JSON and SQLite. A reader passes if it raises a `PG2Error`, or returns something that its first user can use.
Whatever else leaves it is an escape, as is an input that takes longer than `--seconds`, or a process that dies.

One line of JSON is printed per reader and one for all; the exit status is 1 if anything escaped. An input depends on
the seed, the reader and its number alone: ``--only READER --first NUMBER --inputs 1`` repeats one.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from pg2lib.errors import PG2Error  # noqa: E402
from tests.torture.samples import READERS, Reader  # noqa: E402

MOST_MEMORY = 1_000_000_000
"""Bytes that a process may hold in memory at its peak."""


class TookTooLong(BaseException):
    """An input is not read within the time allowed. No `except Exception` catches it."""


@dataclass
class Tally:
    """What became of the inputs of one reader.

    Attributes:
        escapes: The first input of each kind of escape, and how many there were: by exception and place.
        seconds: Seconds for all inputs.
        slowest: Seconds, and the number of the input.
        peak: Bytes, and the number of the input that first took as many.
    """

    reader: str
    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    escapes: dict[str, list[int]] = field(default_factory=dict)
    slowest: tuple[float, int] = (0.0, 0)
    peak: tuple[int, int] = (0, 0)
    seconds: float = 0.0

    def escaped(self, kind: str, number: int) -> None:
        """Count an escape."""
        self.escapes.setdefault(kind, [number, 0])[1] += 1

    def line(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "reader": self.reader, "inputs": self.inputs, "refused": self.refused, "accepted": self.accepted,
            "escapes": sum(count for _, count in self.escapes.values()), "kinds": self.escapes,
            "slowest_s": [round(self.slowest[0], 3), self.slowest[1]],
            "peak_mb": [round(self.peak[0] / 1e6), self.peak[1]], "seconds": round(self.seconds, 1),
        }  # fmt: skip


def run(reader: Reader, folder: Path, seed: int, first: int, inputs: int, seconds: float = 20.0) -> Tally:
    """Read some damaged inputs of one reader in this process.

    Args:
        reader: The reader.
        folder: An empty folder.
        seed, first, inputs: The inputs, by their numbers from `first` on.
        seconds: The time that one input may take; 0 sets no alarm.
    """
    read = reader.prepare(folder)
    current = os.open(folder.with_name(f"{folder.name}.number"), os.O_WRONLY | os.O_CREAT)
    tally = Tally(reader.name)
    if seconds:
        signal.signal(signal.SIGALRM, _alarm)
    for number in range(first, first + inputs):
        os.pwrite(current, b"%12d" % number, 0)
        draw = random.Random(f"{seed}/{reader.name}/{number}")
        start = time.perf_counter()
        try:
            if seconds:
                signal.setitimer(signal.ITIMER_REAL, seconds)
            read(draw)
            tally.accepted += 1
        except PG2Error:
            tally.refused += 1
        except (Exception, TookTooLong) as error:
            tally.escaped(_kind(error), number)
        finally:
            if seconds:
                signal.setitimer(signal.ITIMER_REAL, 0)
        tally.inputs += 1
        took = time.perf_counter() - start
        tally.seconds += took
        tally.slowest = max(tally.slowest, (took, number))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if peak > tally.peak[0]:
            tally.peak = peak, number
    os.close(current)
    return tally


def _alarm(*_: object) -> None:
    raise TookTooLong


def _kind(error: BaseException) -> str:
    """Return what tells escapes apart: the exception, and the last line of pg2lib that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}pg2lib{os.sep}" in frame.filename] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}"
    return f"{type(error).__name__} at {place}: {str(error)[:120]!r}"


def _child(reader: Reader, folder: Path, options: argparse.Namespace, first: int, inputs: int, pipe: Any) -> None:
    pipe.send(run(reader, folder, options.seed, first, inputs, options.seconds))


def campaign(reader: Reader, options: argparse.Namespace, inputs: int) -> Tally:
    """Read the inputs of one reader in a process of their own; another goes on after one that kills it."""
    total = Tally(reader.name)
    first, end = options.first, options.first + inputs
    fork = multiprocessing.get_context("fork")
    while first < end:
        chunk = min(end - first, reader.chunk)
        with tempfile.TemporaryDirectory(dir=options.folder) as place:
            folder = Path(place) / "in"
            folder.mkdir()
            receiver, sender = fork.Pipe(duplex=False)
            process = fork.Process(target=_child, args=(reader, folder, options, first, chunk, sender))
            process.start()
            sender.close()
            try:
                part = receiver.recv()
                first += chunk
            except EOFError:
                process.join()
                dead = int(folder.with_name("in.number").read_text())
                part = Tally(reader.name, inputs=dead - first + 1)
                part.escaped(f"the process died with exit code {process.exitcode}", dead)
                first = dead + 1
            process.join()
        _add(total, part)
    return total


def _add(total: Tally, part: Tally) -> None:
    for name in ("inputs", "refused", "accepted", "seconds"):
        setattr(total, name, getattr(total, name) + getattr(part, name))
    for kind, (number, count) in part.escapes.items():
        total.escapes.setdefault(kind, [number, 0])[1] += count
    total.slowest, total.peak = max(total.slowest, part.slowest), max(total.peak, part.peak)


def main() -> int:
    """Run the campaign; see the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="over all readers, by their weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="READER", choices=[reader.name for reader in READERS])
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each reader")
    parser.add_argument("--seconds", type=float, default=20.0, help="the time that one input may take")
    parser.add_argument("--folder", type=Path, help="where to write; best in memory, such as /dev/shm")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    readers = [reader for reader in READERS if options.only in (None, reader.name)]
    weights = sum(reader.weight for reader in readers)
    start, total = time.perf_counter(), Tally("all")
    for reader in readers:
        tally = campaign(reader, options, max(1, round(options.inputs * reader.weight / weights)))
        print(json.dumps(tally.line()), flush=True)
        _add(total, tally)
    line = {**total.line(), "seed": options.seed, "minutes": round((time.perf_counter() - start) / 60, 1)}
    print(json.dumps(line), flush=True)
    return 1 if total.escapes or total.peak[0] > MOST_MEMORY else 0


if __name__ == "__main__":
    sys.exit(main())
