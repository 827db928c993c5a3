"""What surrounds the library: its dependencies and their pins, the wheel, the Makefile, continuous integration."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
NOTICE = (ROOT / "NOTICE.md").read_text(encoding="utf-8")
TARGETS = ("demo", "test", "lint", "bench", "clean")
PINNED_PYTHONS = ((3, 11), (3, 12))
ACCELERATOR_PACKAGES = ("nvidia-", "cuda-", "triton")  # come with a GPU build of torch, pinned by torch itself

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def pins() -> dict[str, Version]:
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()]
    found = {}
    for requirement in map(Requirement, filter(None, lines)):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{requirement} is no exact version"
        assert canonicalize_name(requirement.name) not in found, f"{requirement.name} is pinned twice"
        found[canonicalize_name(requirement.name)] = Version(specifier.version)
    return found


def declared() -> Iterator[tuple[str, Requirement]]:
    """Every dependency of pyproject.toml with the extra it stands in; the core's is ''."""
    for extra, lines in {"": PROJECT["dependencies"], **EXTRAS}.items():
        yield from ((extra, Requirement(line)) for line in lines)


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def executable(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script, encoding="utf-8")
    path.chmod(0o755)


# -- Dependencies ------------------------------------------------------------------------------------------------------


def test_every_dependency_has_an_exact_pin_within_its_range() -> None:
    pinned = pins()
    for extra, requirement in declared():
        if requirement.name == "pg2lib":
            continue
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} (extra {extra or 'none'}) has no pin in constraints.txt"
        assert version in requirement.specifier, f"constraints.txt pins {version}, outside {requirement}"


def test_the_pins_hold_nothing_but_names_and_versions() -> None:
    pinned = pins()
    assert "pg2lib" not in pinned and "pip" not in pinned
    assert all(version.local is None for version in pinned.values()), "a local version is found on one machine only"


@pytest.mark.skipif(sys.version_info[:2] not in PINNED_PYTHONS, reason="constraints.txt is for Python 3.11 and 3.12")
def test_pins_cover_what_the_dependencies_depend_on() -> None:
    pinned, seen = pins(), set()
    waiting = [requirement for _, requirement in declared() if requirement.name != "pg2lib"]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        if name.startswith(ACCELERATOR_PACKAGES):
            continue
        assert name in pinned, f"{name} gets installed and has no pin in constraints.txt"
        for line in metadata.requires(name) or ():
            child = Requirement(line)
            wanted = [
                child.marker is None,
                *(child.marker.evaluate({"extra": e}) for e in ("", *requirement.extras) if child.marker),
            ]
            if any(wanted):
                child.marker = None
                waiting.append(child)


def test_every_dependency_names_its_oldest_version() -> None:
    """`tests/torture/versions.py` tests with them."""
    for extra, requirement in declared():
        if requirement.name != "pg2lib":
            operators = [specifier.operator for specifier in requirement.specifier]
            assert operators.count(">=") == 1, f"{requirement} (extra {extra or 'none'}) has no minimum"


def test_the_versions_command_leaves_out_what_there_is() -> None:
    from tests.torture import versions

    for pattern in versions.NOT_CORE:
        assert list(ROOT.glob(pattern)), f"{pattern} is no test"
    for extras in versions.EXTRAS.values():
        assert not {"demo", "notebooks", "all"} & set(extras.split(","))
        named = {requirement.name for requirement in versions.direct_dependencies(extras.split(","))}
        assert {"torch", "pytest", "av"} <= named
    oldest = versions.PYTHONS["oldest"]
    assert PROJECT["requires-python"] == f">={oldest}"


def test_all_is_every_other_extra() -> None:
    (everything,) = map(Requirement, EXTRAS["all"])
    assert everything.name == PROJECT["name"]
    assert everything.extras == set(EXTRAS) - {"all"}


def test_mediapipe_stays_where_its_model_travels_in_the_wheel() -> None:
    (mediapipe,) = map(Requirement, EXTRAS["pose"])
    assert "0.10.21" in mediapipe.specifier
    assert "0.10.30" not in mediapipe.specifier
    assert not any("opencv" in requirement.name for _, requirement in declared()), "mediapipe brings the one cv2"


def test_torchvision_and_what_needs_it_stay_out() -> None:
    unwanted = {"torchvision", "lpips", "torch-fidelity"}
    assert not unwanted & (pins().keys() | {requirement.name for _, requirement in declared()})


def test_environment_yml_agrees_with_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *packages, pip = environment["dependencies"]
    python = next(Requirement(package.replace("=", "==", 1)) for package in packages if package.startswith("python="))
    (specifier,) = python.specifier
    version = Version(specifier.version)
    assert version in Requirement(f"python{PROJECT['requires-python']}").specifier
    assert version.release in PINNED_PYTHONS
    assert environment["name"] == PROJECT["name"]
    assert "pip" in packages
    assert pip == {"pip": ["-c constraints.txt", "-e .[all]"]}
    assert "all" in EXTRAS


# -- The wheel ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """A wheel of this tree, with a checkpoint planted beside those that ship."""
    pytest.importorskip("setuptools", minversion="77")
    tree = tmp_path_factory.mktemp("tree")
    (tree / "tests").mkdir()
    shutil.copytree(ROOT / "pg2lib", tree / "pg2lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE.md", "MANIFEST.in"):
        shutil.copy(ROOT / name, tree)
    shutil.copy(Path(__file__), tree / "tests")
    for name in ("g1.safetensors", "config.json", "README.md", "model.onnx"):
        executable(tree / "pg2lib/weights/planted" / name, "planted")
    subprocess.run(
        [sys.executable, "-c", "from setuptools.build_meta import *; build_wheel('dist'); build_sdist('dist')"],
        cwd=tree, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (built,) = (tree / "dist").glob("*.whl")
    return zipfile.Path(built)


def files_in(wheel: zipfile.Path) -> set[str]:
    return {name for name in wheel.root.namelist() if not name.endswith("/")}


def test_wheel_carries_code_and_weights(wheel: zipfile.Path) -> None:
    shipped = files_in(wheel)
    folder = ROOT / "pg2lib"
    wanted = {
        f"pg2lib/{path.relative_to(folder).as_posix()}"
        for pattern in ("**/*.py", "weights/**/*", "py.typed", "presets.json")
        for path in folder.glob(pattern)
        # An exported model.onnx is made where it is wanted.
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".onnx"
    }
    planted = {
        "pg2lib/weights/planted/g1.safetensors",
        "pg2lib/weights/planted/config.json",
        "pg2lib/weights/planted/README.md",
    }
    assert "pg2lib/py.typed" in wanted
    package = {name for name in shipped if ".dist-info/" not in name}
    assert wanted | planted == package, f"missing or too much: {sorted((wanted | planted) ^ package)}"
    metadata_of = {name.partition(".dist-info/")[2] for name in shipped - package}
    licences = {"licenses/LICENSE", "licenses/NOTICE.md"}
    assert metadata_of == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", *licences}


def test_the_source_archive_holds_what_the_wheel_is_built_from(wheel: zipfile.Path) -> None:
    (archive,) = Path(str(wheel.root.filename)).parent.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        files = {member.name.partition("/")[2] for member in opened.getmembers() if member.isfile()}
    package = {name for name in files if name.startswith("pg2lib/")}
    assert package == {name for name in files_in(wheel) if ".dist-info/" not in name}
    around = {name for name in files - package if not name.startswith("pg2lib.egg-info/")}
    made = {"PKG-INFO", "setup.cfg"}
    assert around == {"LICENSE", "MANIFEST.in", "NOTICE.md", "README.md", "pyproject.toml", *made}


def test_every_file_of_the_wheel_has_a_licence_in_the_notice(wheel: zipfile.Path) -> None:
    table = NOTICE.partition("## In the package")[2].partition("##")[0]
    rows = [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in table.splitlines() if line.startswith("| `")]
    shipped = [name for name in files_in(wheel) if "/planted/" not in name]
    for name in shipped:
        of = [row for row in rows if any(fnmatch.fnmatchcase(name, pattern) for pattern in row)]
        assert len(of) == 1, f"{name} is in {len(of)} rows of NOTICE.md"
    for row in rows:
        assert all(fnmatch.filter(shipped, pattern) for pattern in row), f"the wheel has nothing of {row}"


def test_weights_are_for_research_only_wherever_it_is_told(wheel: zipfile.Path) -> None:
    for folder in (ROOT / "pg2lib/weights").iterdir():
        row = next(line for line in NOTICE.splitlines() if f"`pg2lib/weights/{folder.name}/*`" in line)
        assert "| non-commercial research only |" in row
        assert "research only" in " ".join((folder / "README.md").read_text(encoding="utf-8").split())
    assert "AND LicenseRef-Non-Commercial-Research" in PROJECT["license"]
    assert "non-commercial research only" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_wheel_states_version_licence_and_command(wheel: zipfile.Path) -> None:
    info = next(path for path in wheel.iterdir() if path.name.endswith(".dist-info"))
    stated = (info / "METADATA").read_text(encoding="utf-8")
    assert re.search(rf"^Version: {re.escape(PROJECT['version'])}$", stated, re.MULTILINE)
    assert f"License-Expression: {PROJECT['license']}\n" in stated
    assert "MIT License" in (info / "licenses" / "LICENSE").read_text(encoding="utf-8")
    assert "pg2lib = pg2lib.cli:main" in (info / "entry_points.txt").read_text(encoding="utf-8")


def test_version_of_the_library_is_that_of_the_package() -> None:
    import pg2lib

    assert pg2lib.__version__ == PROJECT["version"]


# -- Makefile and continuous integration -------------------------------------------------------------------------------


@needs_make
@pytest.mark.parametrize("target", TARGETS)
def test_makefile_has_the_target(target: str) -> None:
    planned = make("--dry-run", target)
    assert planned.returncode == 0, planned.stderr
    expected = {
        "demo": "demo/app.py",
        "test": "-m pytest",
        "lint": "-m mypy",
        "bench": "-m benchmarks.run",
        "clean": "rm -rf",
    }
    assert expected[target] in planned.stdout


FAKE_PYTHON = """#!/bin/sh
# Stands in for Python: writes down how it was called, makes a "venv" that holds itself, fails to install on demand.
echo "$*" >>"$LOG"
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin && cp "$FAKE" .venv/bin/python ;;
  "-m pip install"*) test ! -e broken-network ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a checkout with spaces"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    executable(tmp_path / "fake python", FAKE_PYTHON)
    monkeypatch.setenv("FAKE", str(tmp_path / "fake python"))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("PYTHON", str(tmp_path / "fake python"))
    return folder


def calls(checkout: Path) -> list[str]:
    """What the fake Python was asked to do since the last look, checks of its version aside."""
    log = checkout.parent / "log"
    asked = [line for line in log.read_text(encoding="utf-8").splitlines() if not line.startswith("-c ")]
    log.write_text("", encoding="utf-8")
    return asked


@needs_make
def test_make_installs_once_from_the_pins_in_one_command(checkout: Path) -> None:
    assert make("-j4", "test", "lint", folder=checkout).returncode == 0
    first = calls(checkout)
    assert first.count("-m venv .venv") == 1
    assert [call for call in first if "install" in call] == ["-m pip install -c constraints.txt -e .[all]"]

    assert make("test", "PYTEST_ARGS=-k pose", folder=checkout).returncode == 0
    assert calls(checkout) == ["-m pytest -n 2 --dist loadfile -k pose"]

    for name in ("constraints.txt", "pyproject.toml"):
        os.utime(checkout / name, (later := (checkout / ".venv/.installed").stat().st_mtime + 10, later))
        assert make("install", folder=checkout).returncode == 0
        again = calls(checkout)
        assert "-m pip install -c constraints.txt -e .[all]" in again, f"a new {name} is not installed"
        assert "-m venv .venv" not in again
        os.utime(checkout / name, (0, 0))


@needs_make
def test_install_cut_short_is_begun_again(checkout: Path) -> None:
    (checkout / "broken-network").touch()
    assert make("demo", folder=checkout).returncode != 0
    assert not any("demo/app.py" in call for call in calls(checkout))
    assert not (checkout / ".venv/.installed").exists()

    (checkout / "broken-network").unlink()
    assert make("demo", folder=checkout).returncode == 0
    second = calls(checkout)
    assert second[-1] == "demo/app.py"
    assert "-m venv .venv" in second, "what an interrupted install left behind is not to be built upon"


@needs_make
def test_two_makes_do_not_install_over_each_other(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv/.unfinished").write_text(str(os.getpid()), encoding="utf-8")  # a process that lives
    made = make("test", folder=checkout)
    assert made.returncode != 0
    assert "Another make is installing" in made.stderr
    assert calls(checkout) == []


@needs_make
def test_make_without_python_says_what_it_needs(checkout: Path) -> None:
    made = make("demo", "PYTHON=no-such-python", folder=checkout)
    assert made.returncode != 0
    assert "needs Python 3.10 or newer" in made.stderr
    assert "no-such-python" in made.stderr


FAKE_MAKE = """#!/bin/sh
test ! -t 0 && test "$PWD" = "$TREE" || exit 9
case "$1" in
  lint) echo linted; exit "$LINT" ;;
  test) echo "== 7 passed =="; test "$TEST" = 0 || { echo "make: *** [Makefile:9: test] Error 1" >&2; exit 2; } ;;
esac
"""


@needs_bash
@pytest.mark.parametrize(("lint", "test"), [("0", "0"), ("1", "0"), ("0", "1")])
def test_ci_lints_then_tests_and_fails_with_either(tmp_path: Path, lint: str, test: str) -> None:
    tree = tmp_path / "clone of it"
    (tree / ".ci").mkdir(parents=True)
    shutil.copy2(ROOT / ".ci/run", tree / ".ci/run")
    executable(tmp_path / "bin/make", FAKE_MAKE)
    executable(tmp_path / "bin/apt-get", "#!/bin/sh\nexit 100\n")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "TREE": str(tree), "LINT": lint, "TEST": test}
    ran = subprocess.run(
        [tree / ".ci/run"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.returncode == 0) == (lint == test == "0")
    assert ran.stdout.splitlines()[-2:] == ["linted", "== 7 passed =="]
    assert ran.stderr == ""


# -- The repository ----------------------------------------------------------------------------------------------------


def test_no_file_names_a_machine_or_a_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("no git checkout")
    telltale = re.compile(
        r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|index-url|--find-links|file:/{2}"
        r"|/(?:work|root|home/\w+|Users/\w+|opt/(?:pypi|wheels))/(?=\w)|/tmp/[\w-]+/"
    )
    found = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if (
            path.suffix in (".safetensors", ".png", ".jpg", ".webp", ".npz")
            or not path.is_file()
            or path == Path(__file__)
        ):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found += [f"{name}:{number}: {match[0]}" for match in telltale.finditer(line)]
    assert not found, "\n".join(found)
