"""Who may import whom (the design's layering), and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pg2lib

ROOT = Path(pg2lib.__file__).parent
LAYERS = [
    {"errors", "config", "files", "processes"},
    {"images", "losses", "models.blocks"},
    {"pose", "raster", "warp", "cutout", "models", "metrics"},
    {"comparison", "data", "detect", "matte", "onnx_model", "output", "pipeline", "provenance"},
    {"training", "evaluation", "doctor", "table1", "user_study"},
    {"viz"},
    {"results"},
    {"cli"},
]
"""A module may import from its own layer and from those above it in this list."""

ONLY_IN = {"matplotlib": "viz", "mediapipe": ("detect", "matte"), "accelerate": "training", "gradio": ()}


def modules() -> list[str]:
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in ROOT.rglob("*.py")
    )


def layer_of(module: str) -> int:
    """The layer of the longest prefix that is listed."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        for layer, members in enumerate(LAYERS):
            if ".".join(parts[:length]) in members:
                return layer
    raise AssertionError(f"pg2lib.{module} stands in no layer: add it to LAYERS")


def imports(module: str, everywhere: bool) -> set[str]:
    """What a module imports: at its top level only, or `everywhere`; not what it imports for annotations alone."""
    path = ROOT / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found: set[str] = set()

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                visit(node.orelse)
            elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for field in ("body", "orelse", "finalbody"):
                    visit(getattr(node, field, []))
                for handler in getattr(node, "handlers", []):
                    visit(handler.body)

    visit(ast.parse(file.read_text(encoding="utf-8")).body)
    return found


@pytest.mark.parametrize("module", [name for name in modules() if name not in ("__init__", "__main__")])
def test_imports_only_from_the_layers_above(module: str) -> None:
    known = set(modules())
    for imported in imports(module, everywhere=True):
        if not imported.startswith("pg2lib."):
            continue
        inner = imported.removeprefix("pg2lib.")
        target = inner if inner in known else inner.rpartition(".")[0]
        if target:  # "from pg2lib import x" of the lazy top level is for users
            assert layer_of(target) <= layer_of(module), f"{module} imports {target}"


@pytest.mark.parametrize("package", ONLY_IN)
def test_heavy_packages_have_one_home(package: str) -> None:
    homes = ONLY_IN[package]
    homes = (homes,) if isinstance(homes, str) else homes
    users = {m for m in modules() if any(i.split(".")[0] == package for i in imports(m, everywhere=True))}
    assert {user for user in users if not any(user == home or user.startswith(f"{home}.") for home in homes)} == set()


@pytest.mark.parametrize("module", ONLY_IN["mediapipe"])
def test_mediapipe_is_imported_inside_functions_only(module: str) -> None:
    assert not [i for i in imports(module, everywhere=False) if i.startswith("mediapipe")]


def test_import_pg2lib_brings_in_nothing_heavy() -> None:
    code = "import sys, pg2lib; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "numpy", "pandas", "PIL", "matplotlib", "gradio", "mediapipe", "accelerate", "huggingface_hub"}
    assert "pg2lib" in loaded
    assert heavy.isdisjoint(loaded)


def test_public_names_all_resolve_and_are_listed() -> None:
    assert set(pg2lib._HOME) | {"__version__"} == set(pg2lib.__all__)
    for name, module in pg2lib._HOME.items():
        assert getattr(pg2lib, name).__module__.startswith(f"pg2lib.{module.split('.')[0]}"), name


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Poze'"):
        _ = pg2lib.Poze
