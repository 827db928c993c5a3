"""Training steps, compared with a straightforward implementation and with the rates that the device can reach.

The straightforward step uses PyTorch's defaults: its own memory format, float32, Adam without options, no autocast, and
one batch that is already on the device. Ours is the training loop of `pg2lib.training` itself, which also draws, flips
and renders each batch, reads the losses, and updates a moving average where the preset has one.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import TorchDynamoPlugin
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Row, at_least, at_most, copy_rate, human, interleaved, matrix_rate, synchronize
from pg2lib import ImageStore, PairTable, PersonTable, PG2Config, build_models, losses, make_pairs, mask_ssim, ssim
from pg2lib.data.store import PairBatch
from pg2lib.models import G1, to_device
from pg2lib.training.checkpoint import TrainingState, save_checkpoint
from pg2lib.training.feed import PairFeed
from pg2lib.training.learner import update_average
from pg2lib.training.loop import StepRecord, Watch
from pg2lib.training.stages import train_stage1, train_stage2

STANDING = (
    (32, 16), (32, 28), (23, 28), (19, 44), (18, 58), (41, 28), (45, 44), (46, 58),
    (27, 62), (26, 88), (25, 112), (37, 62), (38, 88), (39, 112), (30, 14), (34, 14), (28, 15), (36, 15),
)  # fmt: skip


def poses(rows: int, canvas: tuple[int, int] = (128, 64)) -> Tensor:
    """Return keypoints of a standing person, shifted by a few pixels in each row."""
    shifts = torch.randint(-5, 6, (rows, 1, 2), generator=torch.Generator().manual_seed(0))
    scale = torch.tensor((canvas[1] / 64, canvas[0] / 128))
    return (torch.tensor(STANDING, dtype=torch.float32) + shifts) * scale


def random_store(rows: int, canvas: tuple[int, int], device: torch.device | str, resident: bool = True) -> ImageStore:
    """Return a store of noise images of two persons."""
    generator = torch.Generator().manual_seed(0)
    names, persons = tuple(f"{i}.jpg" for i in range(rows)), tuple(str(i % 2) for i in range(rows))
    pixels = torch.randint(0, 256, (rows, *canvas, 3), dtype=torch.uint8, generator=generator)
    return ImageStore(PersonTable(names, persons, poses(rows, canvas), canvas), pixels).to(device, resident)


@dataclass(frozen=True)
class Variant:
    """Precision and compilation of a training loop.

    Attributes:
        precision: of accelerate.
        compile: torch.compile's mode, or None.
        cudnn_benchmark: let cuDNN try its algorithms.
    """

    precision: str = "bf16"
    compile: str | None = None
    cudnn_benchmark: bool = False

    def __str__(self) -> str:
        named = [self.precision if self.precision != "no" else "fp32"]
        named += [f"torch.compile {self.compile}"] if self.compile else []
        return ", ".join([*named, *(["cudnn.benchmark"] if self.cudnn_benchmark else [])])

    @contextmanager
    def accelerator(self, device: torch.device) -> Iterator[Accelerator]:
        AcceleratorState._reset_state(True)  # accelerate keeps one state per process, and each variant needs its own
        torch._dynamo.reset()
        plugin = TorchDynamoPlugin(backend="inductor", mode=self.compile) if self.compile else None
        with torch.backends.cudnn.flags(enabled=True, benchmark=self.cudnn_benchmark, allow_tf32=True):
            yield Accelerator(mixed_precision=self.precision, cpu=device.type == "cpu", dynamo_plugin=plugin)


VARIANTS = (
    Variant("no"),
    Variant("bf16"),
    Variant("bf16", cudnn_benchmark=True),
    Variant("bf16", "default"),
    Variant("bf16", "default", cudnn_benchmark=True),
    Variant("bf16", "reduce-overhead", cudnn_benchmark=True),
)
"""The variants that are compared; on a CPU the first two. "reduce-overhead" replays CUDA graphs."""


def plain_step(config: PG2Config, stage: int, batch: PairBatch, device: torch.device) -> Callable[[], None]:
    """Return a straightforward step of stage I or II on a batch."""
    g1, g2, d = (model.to(device) for model in build_models(config))
    image, target, mask = batch.condition_image.contiguous(), batch.target_image.contiguous(), batch.target_mask
    settings = config.stage2

    def adam(model: nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(model.parameters(), lr=settings.lr, betas=(settings.beta1, settings.beta2))

    if stage == 1:
        optimiser = adam(g1)

        def step() -> None:
            loss = losses.pose_mask_l1(g1(image, batch.target_heatmaps), target, mask)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        return step

    g2_optimiser, d_optimiser = adam(g2), adam(d)

    def step2() -> None:
        with torch.no_grad():
            coarse = g1(image, batch.target_heatmaps)
        refined = coarse + g2(image, coarse, batch.target_heatmaps)
        d_loss = losses.discriminator_loss(losses.judge(d, image, target, refined.detach()))
        d_optimiser.zero_grad()
        d_loss.backward()
        d_optimiser.step()
        d.requires_grad_(False)
        adversarial = losses.adversarial_loss(losses.judge(d, image, target, refined))
        loss = losses.generator_loss(adversarial, refined, target, mask, settings.l1_weight)
        g2_optimiser.zero_grad()
        loss.backward()
        g2_optimiser.step()
        d.requires_grad_(True)

    return step2


def our_step_seconds(
    config: PG2Config, stage: int, store: ImageStore, pairs: PairTable, g1: G1, variant: Variant, steps: int
) -> tuple[float, float]:
    """Return the median seconds per step of the training loop, and the seconds until losses were first read.

    Losses are read every ten steps.
    """
    records: list[StepRecord] = []
    begun = time.perf_counter()
    first: list[float] = []

    def on_step(record: StepRecord) -> None:
        first[:] = first or [time.perf_counter() - begun]
        records.append(record)

    watch = Watch(on_step=on_step, read_every=10, checkpoint_every=10 * steps)
    settings = config.override({f"stage{stage}.steps": steps, f"stage{stage}.lr_decay_steps": 0})
    with tempfile.TemporaryDirectory() as folder, variant.accelerator(store.device) as accelerator:
        if stage == 1:
            train_stage1(settings, store, pairs, folder, accelerator, watch)
        else:
            train_stage2(settings, store, pairs, folder, g1, accelerator, watch)
    rates = [record.images_per_second for record in records if record.step > steps // 2]
    training = settings.stage1 if stage == 1 else settings.stage2
    return training.pairs_per_step / median(rates), first[0]


def bench_steps(name: str, config: PG2Config, device: torch.device, steps: int, rate: float) -> tuple[list[Row], Any]:
    """Measure both stages of a preset: each variant, the plain step, and the schedule with the fastest variant."""
    store = random_store(64, config.model.canvas, device)
    pairs = make_pairs(store.table)
    g1 = to_device(build_models(config)[0], device)
    rows, figures, schedule = [], {}, 0.0
    for stage, training in ((1, config.stage1), (2, config.stage2)):
        batch = store.batch(pairs, torch.arange(training.batch_size))
        plain = plain_step(config, stage, batch, device)
        with FlopCounterMode(display=False) as counter:
            plain()
        operations = counter.get_total_flops()
        plain_seconds = interleaved({"": plain}, max(3, steps // 10), device)[""]
        del plain
        ours: dict[str, float] = {}
        for variant in VARIANTS if device.type == "cuda" else VARIANTS[:2]:
            if stage == 2 and variant.compile == "reduce-overhead":
                continue  # a graph overwrites the output of the graph before it, and G2 needs that of G1
            try:
                seconds, first = our_step_seconds(config, stage, store, pairs, g1, variant, steps)
            except (
                RuntimeError,
                AssertionError,
            ) as error:  # the compiler failed; go on with the others
                print(f"{name}, stage {stage}, {variant}: failed: {error}", flush=True)
                continue
            ours[str(variant)] = seconds
            print(
                f"{name}, stage {stage}, {variant}: {seconds * 1e3:.2f} ms a step, {plain_seconds / seconds:.2f} times "
                f"the plain one, {operations / seconds / rate:.2f} of the matrix rate; first read after {first:.0f} s",
                flush=True,
            )
        best = min(ours, key=lambda variant: ours[variant])
        schedule += ours[best] * training.steps
        figures[f"stage{stage}"] = {"plain": plain_seconds, **ours, "operations": operations}
        what = f"{name}, stage {stage} ({best})"
        step, plain_step_ms = f"{ours[best] * 1e3:.1f} ms a step", f"plain eager {plain_seconds * 1e3:.1f} ms"
        rows.append(at_least(what, step, plain_step_ms, plain_seconds / ours[best], 3))
        reached = operations / ours[best]
        rows.append(
            at_least(what, human(reached, "FLOP/s"), f"matrix rate {human(rate, 'FLOP/s')}", reached / rate, 0.45)
        )
    limit = {"market1501": 10.0, "deepfashion": 45.0}.get(name)
    if limit is not None:
        minutes = schedule / 60
        rows.append(at_most(f"{name}, whole schedule", f"{minutes:.1f} min", f"{limit:g} min", minutes / limit, 1.0))
    return rows, figures


def bench_input(name: str, config: PG2Config, device: torch.device, step_seconds: float) -> list[Row]:
    """Measure how long a batch takes to draw, flip and render, as a share of a step."""
    rows = []
    for resident in (True, False) if device.type == "cuda" else (True,):
        store = random_store(512, config.model.canvas, device, resident)
        feed = PairFeed(store, make_pairs(store.table), config.stage1.batch_size, 0, True)
        number = iter(range(10**6))
        seconds = interleaved({"": lambda feed=feed, number=number: feed(next(number))}, 10, device, inner=10)[""]
        where = "resident" if resident else "read ahead"
        step = f"step {step_seconds * 1e3:.1f} ms"
        rows.append(at_most(f"{name}, input, {where}", f"{seconds * 1e3:.2f} ms", step, seconds / step_seconds, 0.03))
    return rows


def bench_overheads(name: str, config: PG2Config, device: torch.device, step_seconds: float) -> list[Row]:
    """Measure the moving average of G1, and the checkpoints that a run writes with the default share of its time."""
    g1 = to_device(build_models(config)[0], device)
    average = to_device(build_models(config)[0], device)
    ema = interleaved({"": lambda: update_average(average, g1, 0.999, step=20_000)}, 20, device)[""]
    optimiser = torch.optim.Adam(g1.parameters(), fused=True)
    for parameter in g1.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    with tempfile.TemporaryDirectory() as folder:
        state = TrainingState({"g1": g1}, {"g1": optimiser}, {})
        begun = time.perf_counter()
        save_checkpoint(Path(folder), 1, state, config)
        synchronize(device)
        checkpoint = time.perf_counter() - begun
    run_seconds = step_seconds * config.stage1.steps
    written = 1 + min(config.stage1.steps // 500, int(0.01 * run_seconds / checkpoint))
    share = written * checkpoint / run_seconds
    step = f"step {step_seconds * 1e3:.1f} ms"
    return [
        at_most(f"{name}, moving average, where asked for", f"{ema * 1e3:.2f} ms", step, ema / step_seconds, 0.02),
        at_most(
            f"{name}, checkpoints of stage I",
            f"{written} of {checkpoint:.1f} s",
            f"run {run_seconds:.0f} s",
            share,
            0.02,
        ),
    ]


def bench_memory(config: PG2Config, device: torch.device) -> Row:
    """Measure the memory that autograd keeps for the backward pass of stage II: nothing of G1."""
    store = random_store(32, config.model.canvas, device)
    batch = store.batch(make_pairs(store.table), torch.arange(config.stage2.batch_size))
    g1, g2, _ = (to_device(model, device) for model in build_models(config))
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    sizes = []
    for frozen in (True, False):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            with torch.set_grad_enabled(not frozen):
                coarse = g1(batch.condition_image, batch.target_heatmaps)
            refined = coarse + g2(batch.condition_image, coarse, batch.target_heatmaps)
        sizes.append(sum(kept.values()) / 2**30)
        del coarse, refined
    return Row(
        "stage II, memory for the backward pass", f"{sizes[0]:.2f} GiB", f"with G1's activations {sizes[1]:.2f} GiB",
        sizes[0] / sizes[1], "", None,
    )  # fmt: skip


def bench_scoring(device: torch.device, pairs: int) -> Row:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randint(0, 256, (pairs, 3, 128, 64), dtype=torch.uint8, generator=generator) for _ in range(2))
    mask = (torch.rand(pairs, 1, 128, 64, generator=generator) < 0.3).float()
    x, y, mask = x.to(device), y.to(device), mask.to(device)

    def score() -> None:
        for part in range(0, pairs, 1000):
            chosen = slice(part, part + 1000)
            ssim(x[chosen], y[chosen]), mask_ssim(x[chosen], y[chosen], mask[chosen])

    seconds = interleaved({"": score}, 3, device)[""] * 12_000 / pairs
    return at_most("SSIM and mask-SSIM of 12,000 pairs", f"{seconds:.2f} s", "limit 3 s", seconds / 3, 1.0)


def bench_curves(config: PG2Config, device: torch.device, steps: int, out: Path) -> Row:
    """Train stage I in float32 and in bf16, with the same seed, batches and learning rate, and compare the losses."""
    store = random_store(64, config.model.canvas, device)
    pairs = make_pairs(store.table)
    curves: dict[str, list[float]] = {}
    for precision in ("no", "bf16"):
        curve = curves.setdefault("fp32" if precision == "no" else precision, [])
        watch = Watch(
            on_step=lambda record, curve=curve: curve.append(record.losses["l1"]), checkpoint_every=10 * steps
        )
        with tempfile.TemporaryDirectory() as folder, Variant(precision).accelerator(device) as accelerator:
            train_stage1(
                config.override({"stage1.steps": steps, "stage1.lr_decay_steps": 0}),
                store,
                pairs,
                folder,
                accelerator,
                watch,
            )
    draw_curves(curves, out / "bf16.png")
    (out / "bf16.json").write_text(json.dumps(curves))
    last = steps // 10
    fp32, bf16 = (sum(curve[-last:]) / last for curve in curves.values())
    return at_most(
        f"stage I loss after {steps} steps, bf16", f"{bf16:.4f}", f"fp32 {fp32:.4f}", abs(bf16 / fp32 - 1), 0.01
    )


def draw_curves(curves: dict[str, list[float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss of stage I (Eq. 1)")
    for name, curve in curves.items():
        axes.plot(range(1, len(curve) + 1), curve, label=name, linewidth=1)
    axes.legend()
    figure.savefig(path, dpi=150)


def bench_training(device: torch.device, presets: dict[str, PG2Config], steps: int, out: Path) -> Iterator[Row]:
    """Run all benchmarks of training. Figures that are not in the rows are printed and saved in `out`."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    rate, bandwidth = matrix_rate(device, dtype), copy_rate(device)
    print(f"measured: {human(rate, 'FLOP/s')} in products of {dtype} matrices, copies at {human(bandwidth, 'B/s')}\n")
    kept: dict[str, Any] = {"matrix_rate": rate, "copy_rate": bandwidth}
    for name, config in presets.items():
        rows, figures = bench_steps(name, config, device, steps, rate)
        kept[name] = figures
        yield from rows
        fastest = min(value for key, value in figures["stage1"].items() if key not in ("plain", "operations"))
        yield from bench_input(name, config, device, fastest)
        yield from bench_overheads(name, config, device, fastest)
        yield bench_memory(config, device)
        (out / "training.json").write_text(json.dumps(kept, indent=1))
    yield bench_scoring(device, 12_000 if device.type == "cuda" else 200)
    yield bench_curves(next(iter(presets.values())), device, 10 * steps, out)
