"""Where a result comes from: the version of pg2lib, its commit, the libraries and the hardware."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__version__ = "0.2.0"


def provenance() -> dict[str, Any]:
    """Return what has to be published with a result so that others can reproduce it, as plain JSON values.

    Returns:
        ``pg2lib``, ``torch`` and ``python``: versions. ``commit``: with "+changes" if tracked files differ from it;
        None if unknown. ``hardware``: the GPU, or the processor and the number of threads that torch uses.
    """
    # Imported here, so that `import pg2lib`, which takes its version from this module, stays fast.
    import platform

    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "pg2lib": __version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "hardware": gpu or f"{_processor()}, {torch.get_num_threads()} threads",
    }


def _commit() -> str | None:
    """Return the first 12 digits of the commit that pg2lib runs from, with "+changes" if tracked files differ from it.

    Without a git checkout, return the environment variable ``PG2_COMMIT``, or None if it is not set.
    """
    import subprocess

    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return os.environ.get("PG2_COMMIT")
    try:
        head, changes = (
            subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, check=True).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.strip()[:12] + ("+changes" if changes.strip() else "")


def _processor() -> str:
    """Return the name of the processor, which Linux keeps in ``/proc/cpuinfo``."""
    import platform

    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
