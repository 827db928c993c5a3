"""Tools of the benchmarks: times, the throughput of the machine, and rows of the table of results."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Row:
    """One row of the table of results.

    Attributes:
        what: what is measured.
        ours: value for pg2lib, with its unit.
        yardstick: value to compare it with, measured in the same run, with its unit.
        ratio: ratio of the two values.
        target: target for the ratio, such as ">= 2"; empty if there is none.
        met: whether the target is met; None if there is none.
    """

    what: str
    ours: str
    yardstick: str
    ratio: float
    target: str
    met: bool | None

    def __str__(self) -> str:
        """Return the row of a Markdown table."""
        mark = {True: "met", False: "**missed**", None: ""}[self.met]
        return f"| {self.what} | {self.ours} | {self.yardstick} | {self.ratio:.2f} | {self.target} | {mark} |"


def at_least(what: str, ours: str, yardstick: str, ratio: float, target: float) -> Row:
    """Return a row whose ratio should be at least the target."""
    return Row(what, ours, yardstick, ratio, f">= {target:g}", ratio >= target)


def at_most(what: str, ours: str, yardstick: str, ratio: float, target: float) -> Row:
    """Return a row whose ratio should be at most the target."""
    return Row(what, ours, yardstick, ratio, f"<= {target:g}", ratio <= target)


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(
    run: Callable[[], object], repeats: int, device: torch.device | str = "cpu", inner: int = 1
) -> float:
    """Measure the median time of a call in seconds, after a warm-up.

    Args:
        run: function to call.
        repeats: number of measurements.
        device: device on which the function works.
        inner: number of calls per measurement, for short functions.
    """
    return interleaved({"": run}, repeats, device, inner)[""]


def interleaved(
    runs: dict[str, Callable[[], object]], repeats: int, device: torch.device | str = "cpu", inner: int = 1
) -> dict[str, float]:
    """Measure the median time of several functions in turn, so that changes in the machine's speed affect all of them.

    Args:
        runs: functions by name.
        repeats: number of measurements of each function.
        device: device on which the functions work.
        inner: number of calls per measurement, for short functions.

    Returns:
        Seconds per call by name.
    """
    device = torch.device(device)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            synchronize(device)
            start = time.perf_counter()
            for _ in range(inner):
                run()
            synchronize(device)
            if repeat > 0:  # the first round is the warm-up
                times[name].append((time.perf_counter() - start) / inner)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def matrix_product(
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[Callable[[], object], float]:
    """Return a function that multiplies two random square matrices, and the number of operations this takes."""
    size = 8192 if torch.device(device).type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return lambda: a @ b, 2.0 * size**3


def matrix_rate(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """Measure how many operations per second the machine performs in a large matrix product."""
    run, operations = matrix_product(device, dtype)
    return operations / median_seconds(run, 20, device)


def copy_rate(device: torch.device | str = "cpu") -> float:
    """Measure how many bytes per second the machine reads and writes when it copies a large tensor."""
    a = torch.empty((2**30 if torch.device(device).type == "cuda" else 2**26), dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return 2 * a.numel() / median_seconds(lambda: b.copy_(a), 20, device)


def human(rate: float, unit: Literal["FLOP/s", "B/s"]) -> str:
    """Format a rate with a prefix, such as "150 GFLOP/s"."""
    prefix, scale = next((p, s) for p, s in (("T", 1e12), ("G", 1e9), ("M", 1e6)) if rate >= s or s == 1e6)
    return f"{rate / scale:.0f} {prefix}{unit}"
