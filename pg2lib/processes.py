"""Processes: how many, how a worker begins and ends, and which of those that left files behind still run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import threading
from pathlib import Path

import torch


def cpu_count() -> int:
    """CPUs this process may use, which on a cluster are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_worker() -> None:
    """First thing in a worker: Ctrl-C is for the parent to handle, one thread, and an end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, which would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def started(pid: int) -> str | None:
    """When a process of this machine began: no other process that had or will have its number gives the same text.

    Returns:
        None when no such process runs; "" where one may run and the system does not say when it began.
    """
    if os.name != "posix":
        return ""
    try:
        os.kill(pid, 0)  # sends nothing, and asks whether the process is there
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass  # it is somebody else's
    try:
        state, *others = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return _started_by_ps(pid)
    return None if state in "ZX" else f"{boot} {others[18]}"  # a zombie only waits for its parent to look


def _started_by_ps(pid: int) -> str:
    """Where there is no /proc, as on macOS."""
    try:
        asked = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
        )  # fmt: skip
    except OSError:
        return ""
    return asked.stdout.strip()
