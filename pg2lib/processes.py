"""Processes: how many to use, how a worker starts and ends, and whether a given process still runs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import threading
from pathlib import Path

import torch


def cpu_count() -> int:
    """Return the number of CPUs that this process may use, which on a cluster are fewer than those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_worker() -> None:
    """Set up a worker process: it leaves Ctrl-C to its parent, uses one thread, and ends when its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """End this process after its parent. A parent that is killed cannot end its workers, which would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def started(pid: int) -> str | None:
    """Return when a process of this machine started, as a text that no other process with the same number shares.

    Returns:
        None if no such process runs; "" if one may run and the system does not tell when it started.
    """
    if os.name != "posix":
        return ""
    try:
        os.kill(pid, 0)  # sends no signal, but checks that the process exists
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass  # it belongs to another user
    try:
        state, *others = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return _started_by_ps(pid)
    return None if state in "ZX" else f"{boot} {others[18]}"  # a zombie has ended


def _started_by_ps(pid: int) -> str:
    """Return the start of a process on systems without /proc, such as macOS."""
    try:
        asked = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
        )  # fmt: skip
    except OSError:
        return ""
    return asked.stdout.strip()
