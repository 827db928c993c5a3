"""Data sets without mistakes, and tools to break copies of them."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pg2lib.data.keypoint_csv import CSV_HEADER
from pg2lib.doctor.findings import Finding
from tests.conftest import STANDING

Row = tuple[str, list[int], list[int]]
"""Name, y, x."""


def draw_pose(draw: random.Random, canvas: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Draw somebody who faces the camera, different each time; sometimes a wrist or an ankle is missing."""
    scale = canvas[0] / 128
    aside = (canvas[1] - 64 * scale) / 2 + draw.randint(-3, 3)
    y, x = [], []
    for joint, (standing_x, standing_y) in enumerate(STANDING):
        missing = joint in (4, 7, 10, 13) and draw.random() < 0.2
        jitter = 1 if joint in (0, 14, 15, 16, 17) else 2
        x.append(-1 if missing else round(standing_x * scale + aside) + draw.randint(-jitter, jitter))
        y.append(-1 if missing else round(standing_y * scale) + draw.randint(-2, 2))
    return y, x


def draw_image(path: Path, draw: random.Random, canvas: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(draw.getrandbits(32)).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(canvas[::-1]).save(path)


def write_csv(csv: Path, rows: list[Row], header: str = CSV_HEADER) -> None:
    csv.write_text(header + "\n" + "".join(f"{name}: {json.dumps(y)}: {json.dumps(x)}\n" for name, y, x in rows))


def read_csv(csv: Path) -> list[Row]:
    fields = (line.rsplit(": ", 2) for line in csv.read_text().splitlines()[1:])
    return [(name, json.loads(y), json.loads(x)) for name, y, x in fields]


def make_market(root: Path) -> Path:
    """Write ten people to train on and six to test on, three images each."""
    draw = random.Random(0)
    for split, people in (("train", range(2, 12)), ("test", range(50, 56))):
        rows = []
        for person in people:
            for number in range(3):
                name = f"{person:04d}_c{number + 1}s1_000{number}51_01.jpg"
                draw_image(root / f"bounding_box_{split}" / name, draw, (128, 64))
                rows.append((name, *draw_pose(draw, (128, 64))))
        write_csv(root / f"market-annotation-{split}.csv", rows)
    return root


def make_deepfashion(root: Path) -> Path:
    """Write ten outfits to train on and five to test on, three views each, in the original layout with lists."""
    draw = random.Random(1)
    for split, items in (("train", range(1, 11)), ("test", range(21, 26))):
        rows = []
        for item in items:
            for number, view in enumerate(("front", "side", "back"), start=1):
                path = root / f"img/WOMEN/Dresses/id_{item:08d}/01_{number}_{view}.jpg"
                draw_image(path, draw, (256, 256))
                rows.append((f"fashionWOMENDressesid{item:08d}01_{number}{view}.jpg", *draw_pose(draw, (256, 256))))
        write_csv(root / f"keypoints-{split}.csv", rows)
        (root / f"{split}.lst").write_text("".join(f"{name}\n" for name, _, _ in rows))
    return root


@pytest.fixture(scope="session")
def market_original(tmp_path_factory) -> Path:
    return make_market(tmp_path_factory.mktemp("market") / "Market-1501-v15.09.15")


@pytest.fixture(scope="session")
def deepfashion_original(tmp_path_factory) -> Path:
    return make_deepfashion(tmp_path_factory.mktemp("deepfashion") / "deepfashion")


@pytest.fixture
def market(market_original: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(market_original, tmp_path / "Market-1501-v15.09.15"))


@pytest.fixture
def deepfashion(deepfashion_original: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(deepfashion_original, tmp_path / "deepfashion"))


def wrong(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.wrong]


def told(findings: list[Finding]) -> str:
    return "\n".join(map(str, findings))


def assert_only_mistake(findings: list[Finding], text: str, remedy: str) -> None:
    """Exactly one finding is wrong; its text and its remedy match these patterns."""
    found = wrong(findings)
    assert len(found) == 1, told(found)
    assert re.search(text, found[0].text), found[0]
    assert re.search(remedy, found[0].remedy), found[0]


def change_rows(csv: Path, change: Callable[[Row], Row]) -> None:
    write_csv(csv, [change(row) for row in read_csv(csv)])


def each(values: list[int], change: Callable[[int], int]) -> list[int]:
    return [-1 if value == -1 else change(value) for value in values]


def exchanged(row: Row, pairs: tuple[tuple[int, int], ...]) -> Row:
    name, y, x = row
    order = list(range(18))
    for a, b in pairs:
        order[a], order[b] = b, a
    return name, [y[joint] for joint in order], [x[joint] for joint in order]


def train_images(root: Path) -> list[Path]:
    return sorted((root / "bounding_box_train").iterdir())
