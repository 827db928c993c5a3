"""Mattes of synthetic people, whose silhouettes are known."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import PG2Error
from pg2lib.data.synthetic import SyntheticPerson, render_person
from pg2lib.matte import MatteFinder, find_matte

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def finder() -> Iterator[MatteFinder]:
    pytest.importorskip("mediapipe.python.solutions.selfie_segmentation", reason="needs mediapipe with its models")
    with MatteFinder() as opened:
        yield opened


def iou(finder: MatteFinder, person: SyntheticPerson) -> float:
    found, true = finder.find(person.image) >= 128, np.asarray(person.silhouette)
    assert found.shape == true.shape
    return float((found & true).sum() / (found | true).sum())


def test_the_matte_is_the_true_silhouette(finder: MatteFinder) -> None:
    assert np.median([iou(finder, render_person(seed, seed + 100, "studio")) for seed in range(6)]) > 0.95


def test_upright_crops_are_not_squeezed(finder: MatteFinder) -> None:
    """If MediaPipe stretches 128x64 to a square, the median falls below .6."""
    assert np.median([iou(finder, render_person(seed, seed + 100, "market")) for seed in range(10)]) > 0.8


def test_a_matte_is_soft_only_at_the_edge(finder: MatteFinder) -> None:
    matte = finder.find(render_person(3, 103, "studio").image)
    assert ((matte > 25) & (matte < 230)).mean() < 0.05


def test_the_matte_is_all_ones_where_nobody_is_found(finder: MatteFinder) -> None:
    assert (finder.find(Image.new("RGB", (64, 128), (200, 200, 200))) == 255).all()


@pytest.mark.parametrize("size", [(30_000, 12), (12, 30_000)])
def test_a_long_narrow_picture_takes_little_memory(finder: MatteFinder, size: tuple[int, int]) -> None:
    """The square around it would have 2.7 GB."""
    tracemalloc.start()
    matte = finder.find(Image.new("RGB", size, (200, 200, 200)))
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()
    assert matte.shape == size[::-1]


def test_a_graph_that_fails_leaves_no_matte_and_is_replaced(
    finder: MatteFinder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    picture = render_person(1, 101, "studio").image
    expected = finder.find(picture)

    class Broken:
        def process(self, pixels: object) -> None:
            raise RuntimeError("graph has errors")

    monkeypatch.setattr(finder, "_graph", Broken())
    with caplog.at_level(logging.WARNING):
        assert (finder.find(picture) == 255).all()
    assert "256x256" in caplog.text and "graph has errors" in caplog.text
    assert np.array_equal(finder.find(picture), expected)


def test_threads_take_turns_with_the_shared_finder(finder: MatteFinder) -> None:
    picture = render_person(2, 102, "market").image
    expected = torch.from_numpy(finder.find(picture).astype(np.float32) / 255)
    found: list[torch.Tensor] = []
    threads = [threading.Thread(target=lambda: found.append(find_matte(np.asarray(picture)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(matte, expected) for matte in found)


def test_a_wide_photo_is_matted_at_its_own_size(finder: MatteFinder) -> None:
    picture = render_person(2, 102, "studio").image
    wide = Image.fromarray(np.pad(np.asarray(picture), ((0, 0), (60, 101), (0, 0)), mode="edge"))
    small, large = find_matte(wide), find_matte(wide.resize((834, 512)))
    assert small.shape == (256, 417) and large.shape == (512, 834)
    assert float((large[::2, ::2] - small).abs().mean()) < 0.02


def test_without_mediapipe_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.selfie_segmentation", None)
    with pytest.raises(PG2Error, match=r'mattes.*pip install "pg2lib\[pose\]"'):
        MatteFinder().find(Image.new("RGB", (64, 128)))


def test_a_run_writes_nothing_to_stderr(finder: MatteFinder) -> None:
    """In its own process, as MediaPipe writes most lines only once. `finder` skips the test without MediaPipe."""
    code = (
        "import numpy, sys\n"
        "from pg2lib.matte import find_matte\n"
        "assert 'mediapipe' not in sys.modules\n"
        "print(find_matte(numpy.zeros((128, 64, 3), dtype='uint8')).mean())\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert run.stdout == "tensor(1.)\n", run.stderr
    assert run.stderr == ""


def shown_by(monkeypatch: pytest.MonkeyPatch, person: np.ndarray) -> list[np.ndarray]:
    """Let the network answer with `person`, and collect what it is shown."""
    shown: list[np.ndarray] = []
    monkeypatch.setattr(MatteFinder, "_segment", lambda finder, square: (shown.append(square), person)[1])
    return shown


@pytest.mark.parametrize(("rows", "believed"), [(2, False), (9, True)])
def test_specks_are_no_matte_and_small_people_are(monkeypatch: pytest.MonkeyPatch, rows: int, believed: bool) -> None:
    """Two rows of 256 are 0.8 % of the picture, nine are 3.5 %."""
    person = np.zeros((256, 256), dtype=np.float32)
    person[100 : 100 + rows] = 1
    shown_by(monkeypatch, person)
    found = MatteFinder().find(Image.new("RGB", (256, 256)))
    assert np.array_equal(found, person.astype(np.uint8) * 255 if believed else np.full((256, 256), 255))


def test_grey_levels_of_a_matte_are_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    shown_by(monkeypatch, np.full((256, 256), 0.999, dtype=np.float32))
    assert (MatteFinder().find(Image.new("RGB", (256, 256))) == 255).all()


@pytest.mark.parametrize("size", [(64, 128), (128, 64)])
def test_a_picture_is_shown_as_a_square_continued_at_its_edges(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    """The person is where the network saw it: here the upper left quarter of the square, half of it in the picture."""
    person = np.zeros((256, 256), dtype=np.float32)
    person[:128, :128] = 1
    shown = shown_by(monkeypatch, person)
    found = MatteFinder().find(Image.new("RGB", size, (200, 60, 30)))
    assert (shown[0] == (200, 60, 30)).all() and shown[0].shape == (256, 256, 3)
    width, height = size
    assert found.shape == (height, width)
    assert (found[: height // 2 - 1, : width // 2 - 1] == 255).all()
    assert (found[height // 2 + 1 :] == 0).all() and (found[:, width // 2 + 1 :] == 0).all()
