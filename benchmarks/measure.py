"""What every benchmark is made of: times, the machine's own two rates, and rows of the table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: is measured.
        ours, yardstick: both measured in this run, with their units.
        ratio: of the two.
        target: which the ratio shall reach, as it is shown.
        met: whether it does; None where there is no target.
    """

    what: str
    ours: str
    yardstick: str
    ratio: float
    target: str
    met: bool | None

    def __str__(self) -> str:
        """As a line of a Markdown table."""
        mark = {True: "met", False: "**missed**", None: ""}[self.met]
        return f"| {self.what} | {self.ours} | {self.yardstick} | {self.ratio:.2f} | {self.target} | {mark} |"


def at_least(what: str, ours: str, yardstick: str, ratio: float, target: float) -> Row:
    return Row(what, ours, yardstick, ratio, f">= {target:g}", ratio >= target)


def at_most(what: str, ours: str, yardstick: str, ratio: float, target: float) -> Row:
    return Row(what, ours, yardstick, ratio, f"<= {target:g}", ratio <= target)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(
    run: Callable[[], object], repeats: int, device: torch.device | str = "cpu", inner: int = 1
) -> float:
    """Of one call, after a warm-up.

    Args:
        repeats: measurements.
        inner: calls in each, for what is short.
    """
    return interleaved({"": run}, repeats, device, inner)[""]


def interleaved(
    runs: dict[str, Callable[[], object]], repeats: int, device: torch.device | str = "cpu", inner: int = 1
) -> dict[str, float]:
    """Median seconds of each, measured in turn, so that a machine that slows down does so for all of them."""
    device = torch.device(device)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            synchronize(device)
            start = time.perf_counter()
            for _ in range(inner):
                run()
            synchronize(device)
            if repeat:  # the first is the warm-up
                times[name].append((time.perf_counter() - start) / inner)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def matrix_product(
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, size: int | None = None
) -> tuple[Callable[[], object], float]:
    """A product of two random matrices, and how many operations it takes."""
    size = size or (8192 if torch.device(device).type == "cuda" else 1024)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return lambda: a @ b, 2.0 * size**3


def matrix_rate(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """Operations a second that this machine reaches in a large product of matrices."""
    run, operations = matrix_product(device, dtype)
    return operations / median_seconds(run, 20, device)


def copy_rate(device: torch.device | str = "cpu") -> float:
    """Bytes a second, read and written, of a large copy."""
    a = torch.empty((2**30 if torch.device(device).type == "cuda" else 2**26), dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return 2 * a.numel() / median_seconds(lambda: b.copy_(a), 20, device)


def human(rate: float, unit: Literal["FLOP/s", "B/s"]) -> str:
    prefix, scale = next((p, s) for p, s in (("T", 1e12), ("G", 1e9), ("M", 1e6)) if rate >= s or s == 1e6)
    return f"{rate / scale:.0f} {prefix}{unit}"
