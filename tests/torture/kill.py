"""Kill processes at random moments, start them again, and compare the end with that of a process left alone.

    python -m tests.torture.kill training --kills 50 --seed 0

The subjects are `training`, `prepare`, `store` (two processes build one store at the same time) and `study`. Half of
the kills come at any time, the other half while a file is being written. Everything that a subject leaves must be the
same, bit for bit, but for times of day and durations. No leftover of a killed process may stay, and the unfinished work
of a live process must stay. The last line gives the figures; the exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from pg2lib import ImageStore, PG2Config, Pose, files, make_pairs, read_market1501
from pg2lib.data.keypoint_csv import write_keypoints
from pg2lib.data.prepare import prepare
from pg2lib.files import part_of
from pg2lib.training.run import Reports, make_accelerator, train
from pg2lib.user_study import Protocol as StudyProtocol
from pg2lib.user_study import Study, create_study
from tests.conftest import STANDING, make_market1501
from tests.data.conftest import BLACK, Painted, paint

MOST_KILLS_PER_RUN = 8
LEFTOVERS = ("*.part", ".tmp*", "*.growing", "*.journal", ".lock")
"""What a process that ends by itself does not leave."""

LIVE = "of-a-live-process"


class Subject(Protocol):
    """Something that is killed.

    Attributes:
        processes: How many processes do it at the same time, in the same place.
        written_to: Folder of the place in which files are written, with subfolders.
    """

    processes: int
    written_to: str

    def run(self, place: Path) -> None:
        """Do the work to its end, resuming from what an earlier process left."""
        ...

    def result(self, place: Path) -> dict[str, bytes]:
        """Return everything that must be the same in every run, by name."""
        ...

    def check(self, place: Path) -> None:
        """Raise an AssertionError if a kill lost something that must be there at once."""
        ...


class Training:
    """Two stages of a tiny model: weights, optimisers, logs, samples and the pipeline."""

    processes, written_to = 1, "."

    def __init__(self, work: Path) -> None:
        self.data = make_market1501(work / "market1501")
        self.config = PG2Config.preset("fast").override(
            {"model.base_width": 4, "model.bottleneck": 8, "model.discriminator_width": 4}
            | {"stage1.batch_size": 2, "stage1.steps": 12, "stage2.batch_size": 2, "stage2.steps": 8}
        )

    def run(self, place: Path) -> None:
        store = ImageStore.open(read_market1501(self.data, "train"))
        reports = Reports(progress=False, sample_every=4, checkpoint_every=2, samples=2, time_share=1.0)
        train(self.config, store, make_pairs(store.table), place / "run", "tiny", reports, make_accelerator("no", True))

    def result(self, place: Path) -> dict[str, bytes]:
        found = {}
        for path in sorted(path for path in (place / "run").rglob("*") if path.is_file()):
            content = path.read_bytes()
            if path.name == "log.jsonl":
                lines = [json.loads(line) for line in content.splitlines()]
                times = {"seconds", "images_per_second"}
                content = repr([{k: v for k, v in line.items() if k not in times} for line in lines]).encode()
            elif path.suffix == ".safetensors":  # the order of its metadata is random
                with safe_open(path, "pt") as file:
                    metadata = sorted((file.metadata() or {}).items())
                tensors = sorted(load_file(path).items())
                content = repr([(name, tensor.dtype, tensor.shape) for name, tensor in tensors] + metadata).encode()
                content += b"".join(tensor.numpy().tobytes() for _, tensor in tensors)
            elif path.parent.name == "pipeline" and path.name == "config.json":
                content = repr({k: v for k, v in json.loads(content).items() if k != "training"}).encode()
            found[path.relative_to(place).as_posix()] = content
        return found

    def check(self, place: Path) -> None:
        return None


class Preparing:
    """The keypoints of 40 pictures, by a detector that takes 10 ms for each."""

    processes, written_to = 1, "out"

    def __init__(self, work: Path) -> None:
        self.images = work / "images"
        for number in range(40):
            paint(self.images / f"{number:02d}.png", BLACK if number in (7, 23) else (number + 1, 0, 0))

    def run(self, place: Path) -> None:
        csv = place / "out" / "keypoints.csv"
        if csv.exists() and not csv.with_name("keypoints.csv.journal").exists():
            return  # the kill came after the end
        prepare(self.images, csv, Painted(place / "asked.log", seconds=0.01), workers=1)

    def result(self, place: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in visible(place / "out")}

    def check(self, place: Path) -> None:
        journal = place / "out" / "keypoints.csv.journal"
        if journal.exists():
            # Of the pictures that were looked at, only the last one may be missing.
            asked = len(Painted(place / "asked.log").asked)
            lost = asked - len(set(Painted(place / "asked.log").asked))
            assert journal.read_text().count("\n") - 1 >= asked - lost - 1


class Storing:
    """A store of 400 images that two processes build at the same time."""

    processes, written_to = 2, "cache"

    def __init__(self, work: Path) -> None:
        self.data = work / "market1501"
        (self.data / "bounding_box_train").mkdir(parents=True)
        names = [f"{number // 4 + 2:04d}_c{number % 4 + 1}s1_{number:06d}_01.jpg" for number in range(400)]
        random_pixels = np.random.default_rng(0)
        for name in names:
            pixels = random_pixels.integers(0, 256, size=(128, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.data / "bounding_box_train" / name)
        pose = Pose(torch.tensor(STANDING, dtype=torch.float32), (128, 64))
        write_keypoints(self.data / "market-annotation-train.csv", [(name, pose) for name in names])

    def run(self, place: Path) -> None:
        store = ImageStore.open(
            read_market1501(self.data, "train"), place / "cache", on_progress=lambda done, total: time.sleep(0.0005)
        )
        assert len(store) == 400

    def result(self, place: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in visible(place / "cache")}

    def check(self, place: Path) -> None:
        return None


class Studying:
    """A study that is created, and the answers of one rater."""

    processes, written_to = 1, "."

    def __init__(self, work: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, size=(2, 40, 64, 32, 3), dtype=np.uint8)
        self.real, self.generated = pixels

    def run(self, place: Path) -> None:
        folder = place / "study"
        if not folder.exists():
            protocol = StudyProtocol(real=40, generated=40, practice=10)
            create_study(folder, self.real, {"one": self.generated}, "A title", "noise", protocol)
        session = Study.open(folder).session("rater", "one")
        with (place / "confirmed").open("ab", buffering=0) as confirmed:
            for position in range(session.answered, len(session)):
                session.answer(position, position % 3 == 0, 1000.0 + position, 500.0)
                confirmed.write(b"%d\n" % position)

    def result(self, place: Path) -> dict[str, bytes]:
        images = {path.name: path.read_bytes() for path in sorted((place / "study" / "images").iterdir())}
        return {**images, "study.json": (place / "study" / "study.json").read_bytes(), "answers": self._answers(place)}

    def check(self, place: Path) -> None:
        if (place / "confirmed").exists():
            confirmed = [int(line) for line in (place / "confirmed").read_text().split()]
            stored = Study.open(place / "study").session("rater", "one").answered
            assert stored in (len(confirmed), len(confirmed) + 1) or stored > max(confirmed, default=-1)

    def _answers(self, place: Path) -> bytes:
        query = "SELECT rater, model, position, image, says_real, exposure_ms, response_ms, showings FROM answers"
        with Study.open(place / "study").database() as database:
            return repr([tuple(row) for row in database.execute(f"{query} ORDER BY position")]).encode()


SUBJECTS = {"training": Training, "prepare": Preparing, "store": Storing, "study": Studying}


@dataclass
class Tally:
    """The figures of a campaign."""

    kills: int = 0
    in_writing: int = 0
    runs: int = 0
    identical: int = 0
    leftovers: int = 0
    largest: int = 0
    stayed: list[str] = field(default_factory=list)
    live_kept: int = 0


def campaign(subject: Subject, kills: int, seed: int, work: Path) -> Tally:
    """Kill a subject at least `kills` times, in as many runs as that takes."""
    chance, tally = random.Random(seed), Tally()
    began = time.monotonic()
    processes = start(subject, work / "alone")
    for process in processes:
        process.join()
        assert process.exitcode == 0, "the work fails even when it is left alone"
    seconds, expected = time.monotonic() - began, subject.result(work / "alone")
    while tally.kills < kills:
        tally.runs += 1
        place = work / f"run-{tally.runs}"
        (place / subject.written_to).mkdir(parents=True)
        with part_of(place / subject.written_to / LIVE) as live:
            killed_run(subject, place, kills, seconds, chance, tally)
            for process in start(subject, place):  # the next start removes what the last kill left
                process.join()
            tally.live_kept += live.exists()
            tally.stayed += [str(path) for path in leftovers(place) if path != live and live not in path.parents]
        result = subject.result(place)
        tally.identical += result == expected
        for name in sorted(result.keys() | expected.keys()):
            if result.get(name) != expected.get(name):
                print(f"{place}: {name} differs", file=sys.stderr)
        if result == expected:
            shutil.rmtree(place)
    return tally


def killed_run(subject: Subject, place: Path, kills: int, seconds: float, chance: random.Random, tally: Tally) -> None:
    """Run a subject to its end, and kill it on the way."""
    here = 0
    while True:
        processes = start(subject, place)
        victims = chance.sample(processes, chance.randint(1, len(processes)))
        if here < MOST_KILLS_PER_RUN and tally.kills < kills:
            wait_for_moment(subject, place, seconds, chance, processes)
            for victim in victims:
                victim.kill()
        for process in processes:
            process.join()
        codes = [process.exitcode for process in processes]
        if not set(codes) <= {0, -signal.SIGKILL}:
            raise SystemExit(f"a process ended by itself with {codes} in {place}")
        tally.kills += codes.count(-signal.SIGKILL)
        here += codes.count(-signal.SIGKILL)
        if 0 in codes:
            return
        left = [path for path in leftovers(place) if path.name.endswith(".part") and LIVE not in str(path)]
        tally.in_writing += bool(left)
        tally.leftovers += len(left)
        tally.largest = max([tally.largest, *map(size_of, left)])
        subject.check(place)


def start(subject: Subject, place: Path) -> list[BaseProcess]:
    """Start the processes of a subject. They are forked, so that they need no time to import anything."""
    place.mkdir(parents=True, exist_ok=True)
    fork = multiprocessing.get_context("fork")
    processes: list[BaseProcess] = [fork.Process(target=_run, args=(subject, place)) for _ in range(subject.processes)]
    for process in processes:
        process.start()
    return processes


def _run(subject: Subject, place: Path) -> None:
    logging.disable(logging.CRITICAL)
    files._remove_leftovers_once.cache_clear()  # as in a process that has just been started
    subject.run(place)


def wait_for_moment(
    subject: Subject, place: Path, seconds: float, chance: random.Random, processes: list[BaseProcess]
) -> None:
    """Wait for a random time, in half of the cases until a file is being written as well."""
    end = time.monotonic() + chance.uniform(0, seconds)
    while time.monotonic() < end and any(process.is_alive() for process in processes):
        time.sleep(0.002)
    if chance.random() < 0.5:
        end = time.monotonic() + seconds
        before = set(parts(place / subject.written_to))
        while time.monotonic() < end and any(process.is_alive() for process in processes):
            if set(parts(place / subject.written_to)) - before:
                time.sleep(chance.choice((0, 0, 0.0005, 0.002)))
                return


def parts(folder: Path) -> Iterator[str]:
    """Yield the unfinished work in a folder and its subfolders."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name.endswith(".part"):
            yield entry.path
        elif entry.is_dir():
            yield from parts(Path(entry.path))


def visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def leftovers(place: Path) -> list[Path]:
    return sorted({path for pattern in LEFTOVERS for path in place.rglob(pattern)})


def size_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--kills", type=int, default=50, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix=f"kill-{options.subject}-"))
    began = time.monotonic()
    tally = campaign(SUBJECTS[options.subject](work), options.kills, options.seed, work)
    good = tally.identical == tally.runs == tally.live_kept and not tally.stayed
    print(
        f"{options.subject}: {tally.kills} kills, {tally.in_writing} of them while a file was written; "
        f"{tally.identical} of {tally.runs} runs identical; {tally.leftovers} leftovers of up to "
        f"{tally.largest / 1e6:.1f} MB, {len(tally.stayed)} at the end {tally.stayed[:3]}; unfinished work of a live "
        f"process kept in {tally.live_kept} of {tally.runs} runs; seed {options.seed}, "
        f"{time.monotonic() - began:.0f} s"
    )
    if good:
        shutil.rmtree(work)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
