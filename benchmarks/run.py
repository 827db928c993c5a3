"""Speed and memory as ratios, each measured against its yardstick in the same run: ``make bench``.

Times are medians after a warm-up, of ours and the yardstick in turn. Absolute figures on a shared machine swing; the
ratios are what to read. On a GPU, `--only training` measures the training steps:

    python -m benchmarks.run --only training --preset market1501 --out bench
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import math
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut
from skimage.metrics import structural_similarity
from skimage.morphology import dilation, erosion
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Row, at_least, at_most, human, interleaved, matrix_product, median_seconds
from benchmarks.training import bench_training, poses, random_store
from pg2lib import (
    ImageStore,
    PersonTable,
    PG2Config,
    PG2Pipeline,
    build_models,
    evaluate,
    make_pairs,
    mask_ssim,
    render_heatmaps,
    render_pose_masks,
    ssim,
    warp_parts,
)
from pg2lib.errors import NoPersonError
from pg2lib.framing import MIDLINE, Framing
from pg2lib.models import G1, G2
from pg2lib.models.onnx import export_onnx
from pg2lib.pipeline import Backend
from pg2lib.pipeline_folder import ONNX_NAME
from pg2lib.pose import MASK_LIMBS
from pg2lib.processes import cpu_count
from pg2lib.provenance import provenance

ROOT = Path(__file__).parent.parent
EVALUATED = 640


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


def bench_raster() -> Iterator[Row]:
    xy, canvas = poses(16), (128, 64)
    ours = median_seconds(lambda: (render_heatmaps(xy, canvas), render_pose_masks(xy, canvas)), 50)
    theirs = median_seconds(lambda: [released_routine(pose, canvas) for pose in xy.tolist()], 5)
    yield at_least("heatmaps and masks, batch of 16", f"{ours * 1e3:.2f} ms", f"released routine {theirs * 1e3:.0f} ms",
                   theirs / ours, 100)  # fmt: skip


def bench_warp() -> Iterator[Row]:
    """The part warp of one pair and of a batch, on one core."""
    canvas, threads = (256, 256), torch.get_num_threads()
    condition, target = poses(32, canvas).chunk(2)
    images, mattes = torch.rand(16, 3, *canvas) * 2 - 1, render_pose_masks(condition, canvas)
    torch.set_num_threads(1)
    try:
        for pairs, what in ((1, "one pair"), (16, "a pair of a batch of 16")):
            warp = partial(warp_parts, images[:pairs], condition[:pairs], target[:pairs], mattes[:pairs])
            ours = median_seconds(warp, 30, inner=3) / pairs
            yield at_most(f"part warp of {what} at 256x256, one core", f"{ours * 1e3:.1f} ms", "limit 8 ms",
                          ours / 8e-3, 1.0)  # fmt: skip
    finally:
        torch.set_num_threads(threads)


def bench_forward() -> Iterator[Row]:
    """One picture with each backend, a plain forward of the same networks, and a matrix product, in turn."""
    backends: list[Backend] = ["torch"]
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnxscript"):
        backends.append("onnxruntime")
    canvases = {"128x64": {}, "256x256": {"model.height": 256, "model.width": 256, "model.g2_outer_skip": True}}
    for size, changes in canvases.items():
        config = PG2Config.preset("compact").override(changes)
        g1, g2, _ = build_models(config)
        x, p = torch.randn(1, 3, *config.model.canvas), torch.rand(1, 18, *config.model.canvas)

        @torch.inference_mode()
        def plain(g1: G1 = g1, g2: G2 = g2, x: torch.Tensor = x, p: torch.Tensor = p) -> torch.Tensor:
            coarse = g1(x, p)
            return coarse + g2(x, coarse)

        with FlopCounterMode(display=False) as counter:
            plain()
        product, product_operations = matrix_product()
        runs: dict[str, Callable[[], object]] = {"plain": plain, "product": product}
        with tempfile.TemporaryDirectory() as folder:
            middle = dict.fromkeys(MIDLINE, 0.5)
            pipeline = PG2Pipeline(copy.deepcopy(g1), copy.deepcopy(g2), config, Framing(0.5, middle))
            pipeline.save_pretrained(folder, torch.float32)
            if "onnxruntime" in backends:
                export_onnx(pipeline.g1, pipeline.g2, Path(folder) / ONNX_NAME)
            for backend in backends:
                loaded = PG2Pipeline.from_pretrained(folder, "cpu", backend=backend)
                runs[backend] = partial(loaded.generate, x, p)
        seconds = interleaved(runs, 15, inner=3)
        rate = product_operations / seconds["product"]
        for backend in backends:
            what, ours = f"compact, one picture of {size}, {backend}", seconds[backend]
            reached = counter.get_total_flops() / ours
            yield at_least(what, f"{ours * 1e3:.1f} ms", f"plain eager {seconds['plain'] * 1e3:.1f} ms",
                           seconds["plain"] / ours, 1.4)  # fmt: skip
            yield at_least(what, human(reached, "FLOP/s"), f"matrix rate {human(rate, 'FLOP/s')}", reached / rate, 0.9)


def bench_ssim() -> Iterator[Row]:
    """SSIM and mask-SSIM in the released dialect, against scikit-image doing both."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randint(0, 256, (64, 3, 128, 64), dtype=torch.uint8, generator=generator) for _ in range(2))
    masks = render_pose_masks(poses(64), (128, 64))
    pairs = list(zip(x.permute(0, 2, 3, 1).numpy(), y.permute(0, 2, 3, 1).numpy(), masks[:, 0].numpy(), strict=True))

    def ours() -> tuple[torch.Tensor, torch.Tensor]:
        return ssim(x, y), mask_ssim(x, y, masks)

    def theirs() -> list[tuple[float, float]]:
        scores = []
        for a, b, mask in pairs:
            covered = mask[..., None].astype(np.uint8)
            whole = structural_similarity(a, b, channel_axis=2, data_range=255)
            scores.append((whole, structural_similarity(a * covered, b * covered, channel_axis=2, data_range=255)))
        return scores

    off = (torch.stack(ours(), dim=1) - torch.tensor(theirs())).abs().max()
    if off > 1e-4:
        raise SystemExit(f"SSIM differs from scikit-image's by {off:.1e}")
    seconds = interleaved({"ours": ours, "theirs": theirs}, 7)
    ratio = seconds["theirs"] / seconds["ours"]
    yield at_least("SSIM and mask-SSIM of 64 pairs at 128x64", f"{seconds['ours'] * 1e3:.0f} ms",
                   f"scikit-image {seconds['theirs'] * 1e3:.0f} ms", ratio, 3)  # fmt: skip


def bench_decoding() -> Iterator[Row]:
    """Opening a store of JPEGs of 128x64, as Market-1501's are."""
    count = 2_000
    with tempfile.TemporaryDirectory() as folder:
        paths = tuple(Path(folder) / f"{i}.jpg" for i in range(count))
        generator = np.random.default_rng(0)
        for path in paths:
            small = generator.integers(0, 256, (16, 8, 3), dtype=np.uint8)
            Image.fromarray(small).resize((64, 128), Image.Resampling.BICUBIC).save(path, quality=95)
        table = PersonTable(tuple(path.name for path in paths), ("a",) * count, poses(count), (128, 64), paths=paths)
        seconds = median_seconds(lambda: ImageStore.open(table), 3)
    rate = count / seconds
    yield at_least("decoding images of 128x64", f"{rate:,.0f} a second", "3,000 a second", rate / 3_000, 1.0)


def bench_prepare() -> Iterator[Row]:
    """`prepare` with all cores against the detector in this process times the cores."""
    if importlib.util.find_spec("mediapipe") is None:
        print("no row for prepare: mediapipe is not installed", file=sys.stderr)
        return
    from pg2lib.data.prepare import prepare
    from pg2lib.data.synthetic import write_deepfashion
    from pg2lib.detect import MediaPipeDetector
    from pg2lib.images import load_image

    cores = cpu_count()
    with tempfile.TemporaryDirectory() as name:
        folder = write_deepfashion(Path(name) / "people", people=12 * cores, test_people=4)
        files = sorted((folder / "Img").rglob("*.jpg"))
        with MediaPipeDetector() as detector:
            with suppress(NoPersonError):
                detector.detect(load_image(files[0]))
            some = files[: len(files) // cores]
            begun = time.perf_counter()
            for file in some:
                with suppress(NoPersonError):  # `prepare` looks at such images too, and notes that nobody was found
                    detector.detect(load_image(file))
            single = len(some) / (time.perf_counter() - begun)
        times: list[float] = []
        prepare(
            folder / "Img", Path(name) / "k.csv", MediaPipeDetector, cores,
            on_progress=lambda done, total: times.append(time.perf_counter()),
        )  # fmt: skip
    quarter = len(times) // 4  # by then all processes are at work
    rate = (len(times) - 2 * quarter) / (times[-quarter] - times[quarter])
    yield at_least(f"prepare, {cores} processes", f"{rate:.1f} images/s", f"one detector {single:.1f} images/s",
                   rate / single / cores, 0.9)  # fmt: skip


def bench_import() -> Iterator[Row]:
    def run(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    used = "pg2lib.render_heatmaps, pg2lib.build_models, pg2lib.ssim, pg2lib.PG2Pipeline"
    seconds = interleaved({"torch": run("import torch"), "ours": run(f"import torch, pg2lib; {used}")}, 7)
    ratio = seconds["ours"] / seconds["torch"]
    yield at_most("import of pg2lib's models, metrics and pipeline", f"{seconds['ours']:.2f} s",
                  f"import torch {seconds['torch']:.2f} s", ratio, 1.3)  # fmt: skip


def bench_demo() -> Iterator[Row]:
    """From `python demo/app.py` to its first page, and to the pictures that it makes of a first photo."""
    if importlib.util.find_spec("gradio") is None or importlib.util.find_spec("mediapipe") is None:
        print("no rows for the demo: gradio or mediapipe is not installed", file=sys.stderr)
        return
    from gradio_client import Client, handle_file

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "demo" / "app.py"), "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        Image.fromarray(astronaut()).save(photo)
        begun = time.perf_counter()
        app = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert app.stdout is not None
        try:
            address = next(found[0] for line in app.stdout if (found := re.search(r"http://[\w.:]+", line)))
            with urllib.request.urlopen(address) as page:
                page.read()
            seen = time.perf_counter() - begun
            client = Client(address, verbose=False, download_files=folder)
            client.predict(handle_file(photo), "standing, front", api_name="/repose")
            answered = time.perf_counter() - begun
        finally:
            app.terminate()
            app.wait()
    yield at_most("the demo's first page", f"{seen:.1f} s", "limit 10 s", seen / 10, 1.0)
    yield at_most("the demo's first pictures", f"{answered:.1f} s", "limit 10 s", answered / 10, 1.0)


def bench_evaluation() -> Iterator[Row]:
    """`evaluate` with the checkpoint that ships, in a process of its own whose memory is read at its end."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--evaluation"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    seconds, peak_gib = map(float, done.stdout.split()[-2:])
    minutes = seconds / 60
    ratio = max(minutes / 15, peak_gib / (2e9 / 2**30))
    ours = f"{minutes:.1f} min, {peak_gib:.2f} GiB"
    yield at_most(f"evaluate, 12,000 pairs (from {EVALUATED})", ours, "limits 15 min, 2 GB", ratio, 1.0)


def time_evaluation() -> None:
    """Prints the seconds that 12,000 pairs would take, and the peak memory of this process in GiB."""
    store = random_store(40, (128, 64), "cpu")
    pairs = make_pairs(store.table)
    pipe = PG2Pipeline.from_pretrained(device="cpu")
    evaluate(pipe, store, pairs.sample(64, seed=0), "warm-up")
    seconds = evaluate(pipe, store, pairs.sample(EVALUATED, seed=0), "random images").seconds
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(seconds * 12_000 / EVALUATED, peak_kib / 2**20)


BENCHES: dict[str, Callable[[], Iterator[Row]]] = {
    "raster": bench_raster,
    "warp": bench_warp,
    "forward": bench_forward,
    "ssim": bench_ssim,
    "decoding": bench_decoding,
    "prepare": bench_prepare,
    "evaluation": bench_evaluation,
    "import": bench_import,
    "demo": bench_demo,
}


def draw(rows: list[Row], path: Path) -> None:
    """Each ratio as a share of its target: a bar to the right of the line is a target that is met."""
    from matplotlib.figure import Figure

    aimed = [row for row in rows if row.target]
    shares = []
    for row in aimed:
        target = float(row.target.split()[1])
        shares.append(row.ratio / target if row.target.startswith(">") else target / row.ratio)
    figure = Figure(figsize=(9, 0.4 * len(aimed) + 1), layout="constrained")
    axes = figure.add_subplot(xlabel="ratio, as a share of its target", xscale="log")
    axes.barh(range(len(aimed)), [share - 1 for share in shares], left=1, tick_label=[row.what for row in aimed],
              color=["tab:green" if row.met else "tab:red" for row in aimed])  # fmt: skip
    axes.axvline(1, color="black", linewidth=1)
    axes.invert_yaxis()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=(*BENCHES, "training"), help="some of the benchmarks")
    parser.add_argument("--preset", nargs="+", default=["market1501", "deepfashion"], help="whose training is measured")
    parser.add_argument("--steps", type=int, default=60, help="of each kind of training that is measured")
    parser.add_argument("--out", type=Path, help="a folder for the table as JSON and as a picture")
    parser.add_argument("--cpu", action="store_true", help="measure training on the CPU")
    parser.add_argument("--evaluation", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.evaluation:
        time_evaluation()
        return
    os.environ.setdefault("PYTHONPATH", str(ROOT))
    on_gpu = torch.cuda.is_available() and not options.cpu
    chosen = options.only or [*BENCHES, *(["training"] if on_gpu else [])]
    out = options.out or Path(tempfile.mkdtemp(prefix="pg2lib-bench-"))
    out.mkdir(parents=True, exist_ok=True)
    origin = provenance()
    print(f"pg2lib {origin['pg2lib']}, commit {origin['commit']}, torch {origin['torch']}, {origin['hardware']}\n")
    rows: list[Row] = []

    def all_rows() -> Iterator[Row]:
        for name in chosen:
            if name != "training":
                yield from BENCHES[name]()
        if "training" in chosen:
            presets = {name: PG2Config.load(name) for name in options.preset}
            yield from bench_training(torch.device("cuda" if on_gpu else "cpu"), presets, options.steps, out)

    for row in all_rows():
        rows.append(row)
        print(row, flush=True)
        (out / "bench.json").write_text(json.dumps({**origin, "rows": [asdict(row) for row in rows]}, indent=1))
    print("\nAll of it:\n\n| what | ours | yardstick | ratio | target | |\n|---|---|---|---|---|---|")
    print(*rows, sep="\n")
    draw(rows, out / "bench.png")
    print(f"\nalso in {out}")


if __name__ == "__main__":
    main()
