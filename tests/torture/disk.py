"""Run every command that writes on a disk that is full, and in a folder that is read-only.

    python -m tests.torture.disk                  all commands
    python -m tests.torture.disk train export     some of them

Needs Linux and a user who may mount: every case has a small file system of its own, in memory. The disk becomes full
at several points of a command, as it has more and more free space until the command succeeds. Each failure must be
exit code 1 and a sentence that names a file there and a way out, without a traceback or a signal; earlier results must
still be readable, and no unfinished work may stay. After each failure the disk is enlarged, and the same command must
succeed. The last line gives the figures; the exit code is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from pg2lib import PG2Config, PG2Pipeline, Pose, build_models, files
from pg2lib.cli import main as run_command
from pg2lib.errors import PG2Error
from pg2lib.framing import Framing
from pg2lib.user_study import Protocol, Study, create_study
from tests.conftest import STANDING, make_market1501
from tests.data.conftest import Painted, paint

FREE = tuple(4096 * pages for pages in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512, 1024, 4096))
"""Bytes that are free, one case each until a command succeeds."""

SIZE, LARGER = "64m", "128m"
WAYS_OUT = ("Free some space", "another", "elsewhere", "writable")
SMALL = ["--set", "model.base_width=4", "--set", "model.bottleneck=8", "--set", "model.discriminator_width=4"]
SMALL += ["--set", "stage1.batch_size=2", "--set", "stage2.batch_size=2"]


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        run: Runs it with a folder to write to, and returns the exit code.
        before: Makes the earlier results in that folder.
    """

    run: Callable[[Path], int]
    before: Callable[[Path], object] = lambda out: None

    def make_earlier(self, out: Path) -> int:
        """Make the earlier results, in a process of its own."""
        self.before(out)
        return 0


@dataclass
class Tally:
    """The figures of a campaign."""

    cases: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)


def commands(inputs: Path) -> dict[str, Command]:
    """Make what the commands read, and return them by name."""
    data = make_market1501(inputs / "market1501")
    image = next((data / "bounding_box_train").iterdir())
    standing = Pose(torch.tensor(STANDING, dtype=torch.float32), (128, 64))
    for name, pose in (("a", standing), ("b", standing.flip())):
        (inputs / f"{name}.json").write_text(pose.to_json())
    for number in range(6):
        paint(inputs / "photos" / f"p{number % 2}" / f"{number}.png", (number + 1, 0, 0))
    people = inputs / "people"
    few = ["--people", "3", "--test-people", "2", "--workers", "1"]
    assert run_command(["synthesize", *few, "--out", str(people)]) == 0
    pipeline = inputs / "pipeline"
    config = PG2Config.preset("fast").override({"model.base_width": 4, "model.bottleneck": 8})
    PG2Pipeline(*build_models(config)[:2], config, Framing(0.5, {"neck": 0.2})).save_pretrained(pipeline)
    theirs = inputs / "theirs"
    theirs.mkdir()
    names = sorted(path.name for path in (data / "bounding_box_train").iterdir())[:4]
    (inputs / "pairs.csv").write_text("from,to\n" + "".join(f"{names[0]},{name}\n" for name in names[1:]))
    for name in names[1:]:
        Image.new("RGB", (64, 128)).save(theirs / f"{Path(names[0]).stem}___{Path(name).stem}_vis.png")
    noise = np.random.default_rng(0).integers(0, 256, size=(2, 6, 64, 32, 3), dtype=np.uint8)

    def cli(*arguments: object) -> int:
        return run_command([str(argument) for argument in arguments])

    def prepare(*arguments: object) -> int:
        with mock.patch("pg2lib.detect.MediaPipeDetector", Painted(inputs / "asked.log")):
            return cli("prepare", inputs / "photos", *arguments, "--workers", 1)

    def train(out: Path, steps: int) -> int:
        of_run = ["--out", out / "run", "--set", f"stage1.steps={steps}", "--checkpoint-every", 1, "--sample-every", 2]
        return cli("train", "--data", data, "--config", "fast", "--row", "G1-L1", *SMALL, "--cpu", *of_run)

    def table1(out: Path, *rows: str) -> int:
        steps = ["--set", "stage1.steps=2", "--set", "stage2.steps=2", "--set", "evaluation.pairs=4"]
        of_run = ["--data", people, "--rows", *rows, "--out", out / "table1", "--cpu"]
        return cli("table1", "--profile", "fast", *SMALL, *steps, *of_run)

    def evaluate(out: Path, count: int) -> int:
        of_data = ["--data", data, "--split", "train", "--weights", pipeline, "--count", count, "--device", "cpu"]
        return cli("evaluate", *of_data, "--out", out / "report")

    def score(out: Path) -> int:
        of_data = ["--targets", data, "--split", "train", "--pairs", inputs / "pairs.csv"]
        return cli("score", theirs, *of_data, "--out", out / "score")

    def generate(out: Path, *poses: object) -> int:
        return cli("generate", image, "--no-crop", "--weights", pipeline, "--device", "cpu", *poses)

    def study(out: Path) -> int:
        try:
            folder = out / "study"
            if not folder.exists():
                create_study(folder, noise[0], {"one": noise[1]}, "A title", "noise", Protocol(6, 6, 2))
            session = Study.open(folder).session("rater", "one")
            for position in range(session.answered, len(session)):
                session.answer(position, True, 1000.0, 500.0)
        except PG2Error as error:
            print(f"pg2lib: {error}", file=sys.stderr)
            return 1
        return 0

    def doctor(out: Path) -> int:
        cli("doctor", "--data", data, "--picture", out / "people.png")
        return int(not (out / "people.png").exists())  # the data are wrong in any case: they have no test split

    table = inputs / "of-results"
    assert table1(table, "G1-L1") == 0
    a, b = inputs / "a.json", inputs / "b.json"
    return {
        "synthesize": Command(
            lambda out: cli("synthesize", "--people", 2, "--test-people", 1, "--workers", 1, "--out", out / "drawn")
        ),
        "prepare": Command(lambda out: prepare("--out", out / "keypoints.csv")),
        "crop": Command(lambda out: prepare("--crop", "64x32", "--out", out / "set")),
        "train": Command(lambda out: train(out, 4), lambda out: train(out, 2)),
        "evaluate": Command(lambda out: evaluate(out, 5), lambda out: evaluate(out, 3)),
        "score": Command(score, score),
        "table1": Command(lambda out: table1(out, "G1-L1", "G1-poseMaskLoss"), lambda out: table1(out, "G1-L1")),
        "results": Command(
            lambda out: cli("results", table / "table1", "--out", out / "RESULTS.md"),
            lambda out: cli("results", table / "table1", "--out", out / "RESULTS.md"),
        ),
        "generate": Command(
            lambda out: generate(out, "--pose", a, "--out", out / "me.png"),
            lambda out: generate(out, "--pose", b, "--out", out / "me.png"),
        ),
        "animate": Command(lambda out: generate(out, "--animate", a, b, "--frames", 3, "--out", out / "me.gif")),
        "animate-mp4": Command(lambda out: generate(out, "--animate", a, b, "--frames", 3, "--out", out / "me.mp4")),
        "export": Command(lambda out: cli("export", pipeline, "--out", out / "model.onnx")),
        "doctor": Command(doctor),
        "study": Command(study),
        "answers": Command(
            study,
            lambda out: create_study(out / "study", noise[0], {"one": noise[1]}, "A title", "noise", Protocol(6, 6, 2)),
        ),
    }


@contextlib.contextmanager
def disk(place: Path) -> Iterator[None]:
    """Mount a small file system in memory."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def fill(place: Path, free: int) -> None:
    """Fill a disk until only so many bytes are free."""
    with (place / "filler").open("wb", buffering=0) as file:
        while (more := shutil.disk_usage(place).free - free) > 0:
            file.write(bytes(min(more, 2**20)))


def in_process(run: Callable[[Path], int], out: Path, errors: Path) -> int:
    """Run a command in a process of its own, forked to save the time of the imports, and return its exit code."""

    def child() -> None:
        descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        files._remove_leftovers_once.cache_clear()
        sys.exit(run(out))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def problems(place: Path, before: dict[str, bytes], code: int, errors: str, read_only: bool) -> list[str]:
    """Return what is wrong about how a command failed."""
    wrong = []
    if code != 1:
        wrong.append(f"exit code {code}")
    if "Traceback" in errors:
        wrong.append("traceback")
    last = errors.strip().splitlines()[-1:] or [""]
    said = errors if "FAILED" in errors or "WRONG" in errors else last[0]
    if str(place) not in said or not any(way in errors for way in WAYS_OUT):
        wrong.append(f"says {last[0][-300:]!r}")
    now = content(place / "out")
    changed = [name for name in before.keys() | now.keys() if now.get(name) != before.get(name)]
    wrong += [f"{name} has changed" for name in changed if read_only]
    wrong += [f"{name} is damaged" for name in before.keys() & set(changed) if not readable(place / "out" / name)]
    wrong += [f"{path} stayed" for path in (place / "out").rglob(".*") if path.name.endswith(".part") and unlike(path)]
    return wrong


def unlike(path: Path) -> bool:
    """Whether unfinished work is not that of `synthesize`, which resumes from it."""
    return path.name != ".drawn.part"


def readable(path: Path) -> bool:
    """Whether a file that was replaced is whole, or was removed on purpose with what it belonged to."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".png", ".jpg"):
            Image.open(path).load()
        elif path.suffix in (".md", ".csv", ".jsonl", ".tex"):
            path.read_text()
        return path.stat().st_size > 0
    except FileNotFoundError:
        return path.name == "report.stamp.json" or path.name.startswith("step-") or path.name.endswith(("-wal", "-shm"))
    except (OSError, ValueError):
        return False


def campaign(chosen: dict[str, Command], work: Path) -> Tally:
    tally = Tally()
    place, errors = work / "disk", work / "errors.txt"
    for name, command in chosen.items():
        old = work / f"before-{name}"
        old.mkdir()
        in_process(command.make_earlier, old, errors)
        cases: list[int | None] = [None, *FREE]  # None is a read-only disk
        for free in cases:
            with disk(place):
                shutil.copytree(old, place / "out")
                before = content(place / "out")
                if free is None:
                    remount(place, "ro")
                else:
                    fill(place, free)
                code = in_process(command.run, place / "out", errors)
                if code == 0 and free is not None:
                    break
                tally.cases += 1
                said = errors.read_text(errors="replace")
                wrong = problems(place, before, code, said, free is None)
                remount(place, f"rw,size={LARGER}")
                if in_process(command.run, place / "out", errors) != 0:
                    wrong.append(f"afterwards it fails: {errors.read_text(errors='replace')[-300:]!r}")
                tally.refused += not wrong
                case = f"{name}, {'read-only' if free is None else f'{free:,} bytes free'}"
                tally.wrong += [f"{case}: {each}" for each in wrong]
                print(f"{case}: {'; '.join(wrong) or said.strip().splitlines()[-1][-250:]}", flush=True)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", help="(default: all)")
    options = parser.parse_args()
    began = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="disk-"))
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            every = commands(work)
        chosen = {name: every[name] for name in options.commands or every}
        tally = campaign(chosen, work)
    finally:
        shutil.rmtree(work)
    print(
        f"{len(chosen)} commands, {tally.cases} failures on full and read-only disks: {tally.refused} as they should "
        f"be, {len(tally.wrong)} things wrong; {time.monotonic() - began:.0f} s"
    )
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
