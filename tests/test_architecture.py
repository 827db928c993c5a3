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
    {"backdrop", "errors", "inpaint", "presets", "processes", "provenance"},
    {"json_files"},
    {"config", "files", "images", "tables"},
    {"losses", "pose"},
    {"cutout", "detect", "limbs", "metrics", "raster", "recipe", "warp"},
    {"framing", "matte", "models", "output"},
    {"condition", "data", "pipeline_folder", "video"},
    {"comparison", "targets"},
    {"pipeline"},
    {"doctor", "evaluation", "training", "user_study"},
    {"viz"},
    {"table1"},
    {"cli"},
    {"__main__"},
]
"""Modules and packages from the ground up. Each may import from the layers before its own, and never from its own."""

ONLY_IN = {
    "accelerate": ("training",),
    "av": ("video",),
    "gradio": (),
    "matplotlib": ("viz",),
    "mediapipe": ("detect",),
    "pillow_heif": ("images",),
    "torchmetrics": ("metrics",),
}
"""Packages that take long to import, or that may be missing, and the only modules that import them."""

MOST_LINES, MOST_FUNCTION_LINES = 500, 60


def modules() -> list[str]:
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in ROOT.rglob("*.py")
    )


def file_of(module: str) -> Path:
    path = ROOT / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def layer_of(module: str) -> int:
    """The layer of a module's outermost package."""
    (layer,) = (layer for layer, members in enumerate(LAYERS) if module.partition(".")[0] in members)
    return layer


def imports(module: str, everywhere: bool) -> set[str]:
    """What a module imports: at its top level only, or `everywhere`; not what it imports for annotations alone."""
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

    visit(ast.parse(file_of(module).read_text(encoding="utf-8")).body)
    return found


def imported_modules(module: str) -> set[str]:
    """The modules of pg2lib that a module imports, inside functions as well."""
    known = set(modules())
    names = {name.removeprefix("pg2lib.") for name in imports(module, everywhere=True) if name.startswith("pg2lib.")}
    return {name if name in known else name.rpartition(".")[0] for name in names} - {module}


PARTS = [name for name in modules() if name != "__init__"]


@pytest.mark.parametrize("module", PARTS)
def test_imports_only_from_lower_layers(module: str) -> None:
    assert "pg2lib" not in imports(module, everywhere=True), "the top level is for users"
    for imported in imported_modules(module):
        assert imported, f"{module} imports from pg2lib/__init__.py, which is for users"
        if imported.partition(".")[0] != module.partition(".")[0]:
            assert layer_of(imported) < layer_of(module), f"{module} imports {imported}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    needs = {module: imported_modules(module) for module in PARTS}
    while ready := [module for module, others in needs.items() if not others & needs.keys()]:
        for module in ready:
            del needs[module]
    assert needs == {}, "these import each other in a circle"


@pytest.mark.parametrize("module", modules())
def test_files_and_functions_stay_short(module: str) -> None:
    text = file_of(module).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = {function.name: (function.end_lineno or 0) - function.lineno + 1 for function in functions}
    assert {name: length for name, length in lengths.items() if length > MOST_FUNCTION_LINES} == {}


@pytest.mark.parametrize("package", ONLY_IN)
def test_heavy_packages_have_one_home(package: str) -> None:
    users = {m for m in modules() if any(i.split(".")[0] == package for i in imports(m, everywhere=True))}
    assert {user for user in users if user.partition(".")[0] not in ONLY_IN[package]} == set()


@pytest.mark.parametrize("module", [name for name in modules() if name.partition(".")[0] in ("detect", "matte")])
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
