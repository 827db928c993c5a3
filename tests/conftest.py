"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import DataError, Pose
from pg2lib.data.keypoint_csv import write_keypoints
from pg2lib.data.read import find_data

ROOT = Path(__file__).resolve().parents[1]

STANDING = (
    (32, 16), (32, 28), (23, 28), (19, 44), (18, 58), (41, 28), (45, 44), (46, 58),
    (27, 62), (26, 88), (25, 112), (37, 62), (38, 88), (39, 112), (30, 14), (34, 14), (28, 15), (36, 15),
)  # fmt: skip
"""(x, y) of a person who faces the camera, so that their right side is on the left of the image."""


@pytest.fixture(scope="session")
def market1501_root() -> Path:
    """The real Market-1501, found by PG2_DATA, or in data/ or shared/data/ of this folder or one above it."""
    try:
        return find_data(start=ROOT)
    except DataError as error:
        pytest.skip(f"needs the real Market-1501: {error}")


@pytest.fixture(scope="session")
def deepfashion_root() -> Path:
    """The real DeepFashion In-shop, or a part of it, found as `market1501_root` is."""
    try:
        return find_data("deepfashion", start=ROOT)
    except DataError as error:
        pytest.skip(f"needs the real DeepFashion In-shop: {error}")


@pytest.fixture
def standing() -> Pose:
    """A pose with all 18 joints, on whole pixels of 128x64."""
    return Pose(torch.tensor(STANDING, dtype=torch.float32), (128, 64))


def make_market1501(root: Path) -> Path:
    """Write a train split of three people in four images each, with keypoints: 36 ordered pairs."""
    images = root / "bounding_box_train"
    images.mkdir(parents=True)
    poses: list[tuple[str, Pose]] = []
    for person, colour in (("0002", (200, 40, 40)), ("0007", (40, 160, 60)), ("0010", (50, 70, 200))):
        for number in range(4):
            name = f"{person}_c{number + 1}s1_000{number}51_01.jpg"
            shift = torch.tensor([2.0 * number - 3, 0.0])
            pose = Pose(torch.tensor(STANDING, dtype=torch.float32) + shift, (128, 64))
            pixels = np.full((128, 64, 3), 90 + 20 * number, dtype=np.uint8)
            left = 20 + 2 * number
            pixels[24:66, left : left + 24] = colour
            Image.fromarray(pixels).save(images / name, quality=95)
            poses.append((name, pose))
    write_keypoints(root / "market-annotation-train.csv", poses)
    return root


@pytest.fixture
def tiny_market1501(tmp_path: Path) -> Path:
    """A small train split on disk, to read and to break."""
    return make_market1501(tmp_path / "Market-1501-v15.09.15")
