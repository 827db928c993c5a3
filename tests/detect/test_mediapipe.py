"""How MediaPipe is imported, and what of its output to stderr is dropped."""

from __future__ import annotations

import logging
import os
import sys

import pytest

from pg2lib.detect.mediapipe import load_solution, quiet_stderr
from pg2lib.errors import PG2Error


def test_without_mediapipe_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.pose", None)
    with pytest.raises(PG2Error, match=r'^pose detection .*pip install "pg2lib\[pose\]"'):
        load_solution("pose", "pose detection")


def test_only_the_lines_of_every_run_are_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="stop"), quiet_stderr():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
        os.write(2, b"F0000 graph.cc:1] Check failed: a real error\n")
        raise RuntimeError("stop")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "F0000 graph.cc:1] Check failed: a real error\nafterwards\n"


def test_nothing_is_dropped_at_debug_level(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "pg2lib.detect"), quiet_stderr():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
        assert capfd.readouterr().err.startswith("INFO: Created")
