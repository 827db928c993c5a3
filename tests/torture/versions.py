"""Run the core's tests with the oldest or the newest versions that pyproject.toml admits.

    python tests/torture/versions.py oldest
    python tests/torture/versions.py newest --keep
    python tests/torture/versions.py oldest --extras onnx,dev --python 3.11 -- tests/models/test_onnx.py

``oldest`` installs every direct dependency at the lowest version that pyproject.toml declares, with the oldest Python;
``newest`` installs what is found without constraints, with the newest Python. uv (``pip install uv``) reads
pyproject.toml and resolves either. Each environment has a folder of its own, which is removed at the end unless
``--keep`` is given. On Linux PyTorch brings CUDA, some 6 GB in each folder; the variable ``UV_TORCH_BACKEND=cpu`` asks
for its CPU build, where the index that has it can be reached.

The core is pg2lib without the page, the notebooks and the browser: `NOT_CORE` and `EXTRAS`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]

PYTHONS = {"oldest": "3.10", "newest": "3.13"}

EXTRAS = {"oldest": "pose,heif,video,dev", "newest": "pose,heif,video,onnx,dev"}
"""The extras of the core. ``onnx`` asks for a newer PyTorch than the core, so its minimums take a run of their own."""

NOT_CORE = (
    "tests/mutants/*",
    "tests/test_benchmarks.py",
    "tests/test_demo*.py",
    "tests/test_guard_and_uploads.py",
    "tests/test_notebooks.py",
    "tests/test_page_modules.py",
    "tests/test_study_browser.py",
)
"""Tests of the page, the notebooks and the browser, and of what surrounds the library."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the environment, run the tests in it, and return their exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", choices=list(PYTHONS))
    parser.add_argument("--python", help="Python of the environment: a version or a path (default: 3.10 or 3.13)")
    parser.add_argument("--extras", help=f"separated by commas (default: {EXTRAS})")
    parser.add_argument("--folder", type=Path, help="of the environment (default: build/versions/oldest or newest)")
    parser.add_argument("--keep", action="store_true", help="keep the environment")
    parser.epilog = "Arguments after -- go to pytest."
    given = list(sys.argv[1:] if arguments is None else arguments)
    own = given.index("--") if "--" in given else len(given)
    options, of_pytest = parser.parse_args(given[:own]), given[own + 1 :]
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        parser.error("building the environments needs uv: pip install uv")
    folder = (options.folder or ROOT / "build" / "versions" / options.versions).resolve()
    extras = (options.extras or EXTRAS[options.versions]).split(",")
    try:
        build(uv, folder, options.versions, options.python or PYTHONS[options.versions], extras)
        print(described(folder, extras), flush=True)
        ignored = [f"--ignore-glob={ROOT / pattern}" for pattern in NOT_CORE]
        return run(folder / "bin" / "python", "-m", "pytest", "-p", "no:cacheprovider", *ignored, *of_pytest)
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def build(uv: str, folder: Path, versions: str, python: str, extras: Sequence[str]) -> None:
    """Make the environment with the dependencies of pyproject.toml, but without pg2lib: the tests use the checkout.

    Raises:
        subprocess.CalledProcessError: there is no such Python, or the dependencies cannot be installed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    resolution = "lowest-direct" if versions == "oldest" else "highest"
    chosen = [f"--extra={extra}" for extra in extras]
    for command in (
        ["venv", "--clear", "--python", python, folder],
        ["pip", "install", "--python", folder, "--resolution", resolution, "-r", ROOT / "pyproject.toml", *chosen],
    ):
        if status := run(uv, *command, "--quiet"):
            raise subprocess.CalledProcessError(status, command)


def described(folder: Path, extras: Sequence[str]) -> str:
    """Return the installed version of each direct dependency, beside what pyproject.toml declares."""
    code = (
        "import json, platform; from importlib import metadata;"
        "print(json.dumps([platform.python_version(), {d.name: d.version for d in metadata.distributions()}]))"
    )
    asked = subprocess.run([folder / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    python, found = json.loads(asked.stdout)
    installed = {canonicalize_name(name): version for name, version in found.items()}
    lines = [f"Python {python}"]
    for requirement in direct_dependencies(extras):
        version = installed.get(canonicalize_name(requirement.name))
        if version is None:
            lines.append(f"{requirement}: not for this Python")
            continue
        lines.append(f"{requirement.name} {version}" + (f" ({requirement.specifier})" if requirement.specifier else ""))
    return "\n".join(lines)


def direct_dependencies(extras: Sequence[str]) -> list[Requirement]:
    """Return the requirements of pyproject.toml, those of the core first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    return [Requirement(line) for lines in (project["dependencies"], *(optional[e] for e in extras)) for line in lines]


def run(*command: str | Path) -> int:
    """Print a command, run it in the root of the checkout, and return its exit status."""
    print("$", shlex.join(map(str, command)), flush=True)
    return subprocess.run(list(map(str, command)), cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
