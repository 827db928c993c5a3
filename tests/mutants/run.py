"""Break the code on purpose, one fault at a time, and list the faults that no test notices.

    python tests/mutants/run.py                     # or: make mutants
    python tests/mutants/run.py --only ema flip     # the mutants whose name contains one of these words
    python tests/mutants/run.py --all-tests         # run the whole suite on each, not only the tests that should notice

Each mutant of `mutants.py` is applied to a copy of the working tree, and the tests that should notice it run there. The
working tree itself is never changed. The exit status is 1 when more than two mutants survive.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
SURVIVORS_ALLOWED = 2
TIMEOUT_SECONDS = 900
KILLED, SURVIVED = 1, 0
"""Exit statuses of pytest: tests failed, all tests passed. Any other means that the tests did not run."""


def copy_of_the_tree(folder: Path) -> None:
    """Copy what git tracks, and new files that it does not ignore, as they are in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def run_tests(folder: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Exit status of pytest and the last lines that it printed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    return result.returncode, "\n".join((result.stdout + result.stderr).splitlines()[-8:])


def survives(mutant: Mutant, folder: Path, tests: Sequence[str]) -> bool:
    """Whether the tests pass although the code is broken. A mutant that makes the tests hang counts as noticed."""
    path = folder / mutant.file
    sound = path.read_text(encoding="utf-8")
    path.write_text(mutant.applied_to(sound), encoding="utf-8")
    try:
        status, printed = run_tests(folder, tests)
    except subprocess.TimeoutExpired:
        return False
    finally:
        path.write_text(sound, encoding="utf-8")
    if status not in (KILLED, SURVIVED):
        raise SystemExit(f"{mutant.name}: the tests {' '.join(tests)} did not run (pytest {status}):\n{printed}")
    return status == SURVIVED


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="part of the mutants' names")
    parser.add_argument("--all-tests", action="store_true", help="run the whole suite on each mutant")
    options = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if any(word in mutant.name for word in options.only)]
    survivors = []
    with tempfile.TemporaryDirectory(prefix="pg2lib-mutants-") as name:
        folder = Path(name)
        copy_of_the_tree(folder)
        sound = sorted({test for mutant in chosen for test in mutant.tests})
        status, printed = run_tests(folder, sound)
        if status != SURVIVED:
            raise SystemExit(f"the tests must pass before a mutant is applied (pytest {status}):\n{printed}")
        for mutant in chosen:
            start = time.perf_counter()
            survived = survives(mutant, folder, () if options.all_tests else mutant.tests)
            survivors += [mutant] if survived else []
            verdict = "SURVIVED" if survived else "noticed"
            print(f"{verdict:9} {time.perf_counter() - start:5.0f} s  {mutant.name}", flush=True)
    print(f"{len(survivors)} of {len(chosen)} mutants survived" + "".join(f"\n  {m.name}: {m.file}" for m in survivors))
    return int(len(survivors) > SURVIVORS_ALLOWED)


if __name__ == "__main__":
    raise SystemExit(main())
