"""Nothing that pg2lib does by itself asks another computer for anything; only a hub id is downloaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import offline

ROOT = Path(__file__).resolve().parents[1]

TURNED_OFF = ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "HF_HOME", "DO_NOT_TRACK")
"""Variables by which a machine may keep libraries from asking. A user may have none of them."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each step of `tests.offline` asked for."""
    folder = tmp_path_factory.mktemp("offline")
    environment = {name: value for name, value in os.environ.items() if name not in TURNED_OFF}
    environment |= {"PYTHONPATH": str(ROOT), "HF_HOME": str(folder / "hub"), "GRADIO_TEMP_DIR": str(folder / "uploads")}
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "offline.py", folder],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_hook_hears_of_connections_look_ups_datagrams_and_pickles(asked: dict[str, list[str]]) -> None:
    told = " ".join(asked["notice"])
    for part in ("192.0.2.1", "getaddrinfo example.com", "sendto", "pickle.find_class"):
        assert part in told


@pytest.mark.parametrize("step", [name for name in offline.STEPS if name != "notice"])
def test_nothing_is_asked_of_other_computers_and_nothing_unpickled(asked: dict[str, list[str]], step: str) -> None:
    assert asked[step] == []
