"""A painted detector and folders of pictures for it, which several test files share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from pg2lib import NoPersonError, PG2Error, Pose, read_keypoints
from tests.conftest import STANDING

BLACK, MAGENTA = (0, 0, 0), (255, 0, 255)


@dataclass(frozen=True)
class Painted:
    """Makes detectors, and is one: finds a person in every picture but black ones, and dies of magenta ones.

    The neck is as far down as the picture is red, so that poses tell which picture they are of. `log` takes a line for
    each picture: the process and the redness.
    """

    log: Path
    seconds: float = 0
    settings: str = "painted"
    broken: str = ""

    def __call__(self) -> Painted:
        if self.broken:
            raise PG2Error(self.broken)
        return self

    def __enter__(self) -> Painted:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def detect(self, image: Image.Image) -> SimpleNamespace:
        colour = image.getpixel((0, 0))
        with self.log.open("a") as file:
            file.write(f"{os.getpid()} {colour[0]}\n")
        time.sleep(self.seconds)
        if colour == BLACK:
            raise NoPersonError("nobody")
        if colour == MAGENTA:
            os._exit(9)
        xy = torch.tensor(STANDING, dtype=torch.float32)
        xy[1, 1] = colour[0]
        return SimpleNamespace(pose=Pose(xy, (image.height, image.width)))

    @property
    def asked(self) -> list[int]:
        """The redness of each picture that was looked at, in order."""
        return [int(line.split()[1]) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    @property
    def pids(self) -> set[int]:
        return {int(line.split()[0]) for line in self.log.read_text().splitlines()}


@pytest.fixture
def detector(tmp_path: Path) -> Painted:
    return Painted(tmp_path / "asked.log")


def paint(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 128), colour).save(path, "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.jpg, b.png and deep/c.jpg, 1, 0 (black) and 3 red; d.jpg, which is no image; notes."""
    paint(tmp_path / "in" / "a.jpg", (1, 0, 0))
    paint(tmp_path / "in" / "b.png", BLACK)
    paint(tmp_path / "in" / "deep" / "c.jpg", (3, 0, 0))
    (tmp_path / "in" / "d.jpg").write_text("no picture")
    (tmp_path / "in" / "notes.txt").write_text("not looked at")
    return tmp_path / "in"


@pytest.fixture
def forty(tmp_path: Path) -> Path:
    """00.png to 39.png, 1 to 40 red but for 07 and 23, which are black."""
    for i in range(40):
        paint(tmp_path / "forty" / f"{i:02d}.png", BLACK if i in (7, 23) else (i + 1, 0, 0))
    return tmp_path / "forty"


def necks(csv: Path) -> dict[str, int]:
    table = read_keypoints(csv, (128, 64), person_of=lambda name: name)
    return {name: int(y) for name, y in zip(table.names, table.xy[:, 1, 1].tolist(), strict=True)}


FORTY = {f"{i:02d}.png": i + 1 for i in range(40) if i not in (7, 23)}


def stop_at(count: int) -> Callable[[int, int], None]:
    def on_progress(done: int, total: int) -> None:
        if done == count:
            raise KeyboardInterrupt

    return on_progress
