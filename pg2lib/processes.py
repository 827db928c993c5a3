"""Worker processes: how many, and how each begins and ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

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
