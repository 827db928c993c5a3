"""Speed and memory as ratios, each measured against its yardstick in the same run: ``make bench``.

Times are medians after a warm-up. Absolute figures on a shared machine swing; the ratios are what to read.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from skimage.metrics import structural_similarity
from skimage.morphology import dilation, erosion

from pg2lib import (
    ImageStore,
    PersonTable,
    PG2Config,
    PG2Pipeline,
    build_models,
    evaluate,
    make_pairs,
    render_heatmaps,
    render_pose_masks,
    ssim,
)
from pg2lib.models import to_device
from pg2lib.pose import MASK_LIMBS
from pg2lib.provenance import provenance

STANDING = (
    (32, 16), (32, 28), (23, 28), (19, 44), (18, 58), (41, 28), (45, 44), (46, 58),
    (27, 62), (26, 88), (25, 112), (37, 62), (38, 88), (39, 112), (30, 14), (34, 14), (28, 15), (36, 15),
)  # fmt: skip


EVALUATED = 640


@dataclass(frozen=True)
class Row:
    """One line of the table: how many times `ours` goes into `theirs`, or the other way round where less is better."""

    what: str
    ours: str
    yardstick: str
    ratio: float
    target: str


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def poses(batch: int) -> torch.Tensor:
    shifts = torch.randint(-5, 6, (batch, 1, 2), generator=torch.Generator().manual_seed(0))
    return torch.tensor(STANDING, dtype=torch.float32) + shifts


def released_keypoint(y: float, x: float, canvas: tuple[int, int]) -> list[tuple[int, int]]:
    """The released routine's way of stamping one disc: two Python loops and a list of indices."""
    indices = []  # np.sqrt on single numbers and lists of indices are what the released code does
    for i in range(-4, 5):
        for j in range(-4, 5):
            row, column = int(y) + i, int(x) + j
            if np.sqrt(float(i**2 + j**2)) <= 4 and 0 <= row < canvas[0] and 0 <= column < canvas[1]:
                indices.append((row, column))
    return indices


def released_routine(xy: list[list[float]], canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Heatmaps and pose mask of one pose, re-stated from the released NumPy code's description."""
    heatmaps, mask = np.zeros((*canvas, 18)), np.zeros(canvas)
    for joint, (x, y) in enumerate(xy):
        for row, column in released_keypoint(y, x, canvas):
            heatmaps[row, column, joint] = 1
    for a, b in MASK_LIMBS:
        (x0, y0), (x1, y1) = xy[a], xy[b]
        parts = int(math.hypot(x0 - x1, y0 - y1) / 4)
        centres = [(y0, x0), (y1, x1)]
        centres += [(y0 + (y1 - y0) * i / parts, x0 + (x1 - x0) * i / parts) for i in range(1, parts)]
        for y, x in centres:
            for row, column in released_keypoint(y, x, canvas):
                mask[row, column] = 1
    square = np.ones((5, 5))
    return heatmaps, erosion(dilation(mask, square), square)


def bench_raster() -> Row:
    xy, canvas = poses(16), (128, 64)
    ours = median_seconds(lambda: (render_heatmaps(xy, canvas), render_pose_masks(xy, canvas)), 50)
    theirs = median_seconds(lambda: [released_routine(pose, canvas) for pose in xy.tolist()], 5)
    return Row("heatmaps and masks, batch of 16", f"{ours * 1e3:.2f} ms", f"released routine {theirs * 1e3:.0f} ms",
               theirs / ours, ">= 100")  # fmt: skip


def bench_forward() -> Row:
    model = PG2Config.preset("compact").model
    g1, g2, _ = build_models(model)
    image, heatmaps = torch.randn(1, 3, *model.canvas), torch.rand(1, 18, *model.canvas)

    def forward(a: torch.nn.Module, b: torch.nn.Module, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            coarse = a(x, p)
            return coarse + b(x, coarse)

    plain = median_seconds(lambda: forward(g1, g2, image, heatmaps), 20)
    fast_g1, fast_g2 = to_device(g1), to_device(g2)
    x, p = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (image, heatmaps))
    ours = median_seconds(lambda: forward(fast_g1, fast_g2, x, p), 20)
    return Row(
        "compact pipeline, one picture", f"{ours * 1e3:.1f} ms", f"contiguous {plain * 1e3:.1f} ms", plain / ours, "> 1"
    )


def bench_ssim() -> Row:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randint(0, 256, (64, 3, 128, 64), dtype=torch.uint8, generator=generator) for _ in range(2))
    pairs = list(zip(x.permute(0, 2, 3, 1).numpy(), y.permute(0, 2, 3, 1).numpy(), strict=True))
    ours = median_seconds(lambda: ssim(x, y), 10)
    theirs = median_seconds(lambda: [structural_similarity(a, b, channel_axis=2) for a, b in pairs], 3)
    return Row("SSIM of 64 pairs at 128x64", f"{ours * 1e3:.0f} ms", f"scikit-image {theirs * 1e3:.0f} ms",
               theirs / ours, "> 1")  # fmt: skip


def bench_import() -> Row:
    def run(code: str) -> float:
        return median_seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True), 5)

    torch_alone = run("import torch")
    ours = run("import torch, pg2lib; pg2lib.render_heatmaps, pg2lib.build_models, pg2lib.ssim")
    return Row("import pg2lib, its models and metrics", f"{ours:.2f} s", f"import torch {torch_alone:.2f} s",
               ours / torch_alone, "<= 1.3")  # fmt: skip


def bench_evaluation() -> Row:
    """`evaluate` with the checkpoint that ships, in a process of its own whose memory is read at its end."""
    done = subprocess.run([sys.executable, __file__, "--evaluation"], capture_output=True, text=True, check=True)
    seconds, peak_gib = map(float, done.stdout.split()[-2:])
    minutes = seconds / 60
    ratio = min(15 / minutes, 2e9 / 2**30 / peak_gib)
    ours = f"{minutes:.1f} min, {peak_gib:.2f} GiB"
    return Row(f"evaluate, 12,000 pairs (from {EVALUATED})", ours, "limits 15 min, 2 GB", ratio, "> 1")


def time_evaluation() -> None:
    """Prints the seconds that 12,000 pairs would take, and the peak memory of this process in GiB."""
    names = tuple(f"{i}.jpg" for i in range(40))
    table = PersonTable(names, ("somebody",) * 40, poses(40), (128, 64))
    pixels = torch.randint(0, 256, (40, 128, 64, 3), dtype=torch.uint8)
    store = ImageStore(table, pixels)
    pairs = make_pairs(table)
    pipe = PG2Pipeline.from_pretrained(device="cpu")
    evaluate(pipe, store, pairs.sample(64, seed=0), "warm-up")
    seconds = evaluate(pipe, store, pairs.sample(EVALUATED, seed=0), "random images").seconds
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(seconds * 12_000 / EVALUATED, peak_kib / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluation", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().evaluation:
        time_evaluation()
        return
    origin = provenance()
    print(f"pg2lib {origin['pg2lib']}, commit {origin['commit']}, torch {origin['torch']}, {origin['hardware']}\n")
    print("| what | ours | yardstick | ratio | target |\n|---|---|---|---|---|")
    for bench in (bench_raster, bench_forward, bench_ssim, bench_evaluation, bench_import):
        row = bench()
        print(f"| {row.what} | {row.ours} | {row.yardstick} | {row.ratio:.2f} | {row.target} |", flush=True)


if __name__ == "__main__":
    main()
