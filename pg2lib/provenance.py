"""Where a number comes from: code version, commit, library versions, hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import pg2lib


def provenance() -> dict[str, Any]:
    """What has to stand beside a figure for somebody to get it again, as plain JSON values."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "pg2lib": pg2lib.__version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "hardware": gpu or f"{_processor()}, {torch.get_num_threads()} threads",
    }


def _commit() -> str | None:
    """The commit of the checkout that pg2lib runs from, "+changes" when it has any.

    For a copy without git it is what PG2_COMMIT in the environment says, or None.
    """
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return os.environ.get("PG2_COMMIT")
    try:
        git = ["git", "-C", str(root)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip()[:12] + ("+changes" if changes.stdout.strip() else "")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
