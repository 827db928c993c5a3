"""Where a number comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pg2lib import provenance
from tests.conftest import ROOT


def test_a_checkout_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    code = tmp_path / "pg2lib" / "provenance.py"
    code.parent.mkdir()
    code.write_bytes((ROOT / "pg2lib" / "provenance.py").read_bytes())
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout[:12]
    monkeypatch.setattr(provenance, "__file__", str(code))
    monkeypatch.setenv("PG2_COMMIT", "another")
    assert provenance.provenance()["commit"] == commit
    code.write_text("changed")
    assert provenance.provenance()["commit"] == f"{commit}+changes"


def test_a_copy_without_git_is_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "pg2lib" / "provenance.py"))
    monkeypatch.delenv("PG2_COMMIT", raising=False)
    assert provenance.provenance()["commit"] is None
    monkeypatch.setenv("PG2_COMMIT", "0123456789ab")
    assert provenance.provenance()["commit"] == "0123456789ab"
