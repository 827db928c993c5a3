"""The page's script without a browser: its geometry, its Markdown and its reading of answers, run by Node."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NODE = shutil.which("node")


def test_the_pages_modules() -> None:
    if NODE is None:
        pytest.skip("no node on the PATH")
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    major = re.match(r"v(\d+)", version)
    if major is None or int(major.group(1)) < 20:
        pytest.skip(f"needs node 20 or later, found {version.strip()}")
    files = sorted(map(str, (ROOT / "tests" / "page").glob("*.test.mjs")))
    result = subprocess.run([NODE, "--test", *files], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"# pass [1-9]", result.stdout), result.stdout
