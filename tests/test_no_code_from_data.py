"""No file that pg2lib reads can run code: nothing is unpickled, evaluated, or passed to a shell.

The sources are searched by their syntax tree, with the aliases of imports resolved, so that a new call is noticed
wherever it is added.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for folder in ("pg2lib", "demo", "benchmarks") for path in (ROOT / folder).rglob("*.py"))

MODULES = {"_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve"}
"""Modules that read pickles or code; not to be imported at all."""

BUILTINS = {"__import__", "eval", "exec"}

CALLS = {
    "code.interact", "importlib.util.spec_from_file_location", "numpy.fromregex", "numpy.lib.format.read_array",
    "onnx.load", "os.popen", "os.system", "pandas.eval", "pandas.read_hdf", "pandas.read_pickle", "runpy.run_path",
    "subprocess.getoutput", "subprocess.getstatusoutput", "torch.hub.load", "torch.jit.load", "torch.load",
    "torch.package.PackageImporter", "yaml.full_load", "yaml.load", "yaml.unsafe_load",
}  # fmt: skip
"""``torch.load`` even with ``weights_only``, as safetensors does all that is needed; ``onnx.load``, as it opens the
files that a model names."""

METHODS = {"extractall", "read_pickle", "to_pickle"}

KEYWORDS = {"allow_pickle", "shell", "trust_remote_code", "weights_only"}
"""Arguments that may only be a literal False."""

NUMPY_LOADS = {"numpy.load", "numpy.memmap.load"}
"""Must say ``allow_pickle=False``."""

ALLOWED = {("pg2lib/metrics/inception.py", "torch.jit.load")}
"""TorchScript is a program. NVIDIA's is loaded only if it has its known SHA-256, another only if a user names it."""


def dangers(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each call or import that could run what a file says."""
    tree = ast.parse(source)
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {each.asname or each.name.split(".")[0]: _imported(each) for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            aliases |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Name | ast.Attribute):
            name = _dotted(node, aliases)
            if name in CALLS or (isinstance(node, ast.Name) and name in BUILTINS):
                yield node.lineno, name
            elif isinstance(node, ast.Attribute) and node.attr in METHODS:
                yield node.lineno, node.attr
            continue
        elif isinstance(node, ast.Call):
            yield from _dangerous_arguments(node, _dotted(node.func, aliases))
            continue
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] in MODULES or name in CALLS)


def _imported(alias: ast.alias) -> str:
    return alias.name if alias.asname else alias.name.split(".")[0]


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    """Return the full name of what an expression names, such as numpy.load for np.load; "" if it is no plain name."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (start := _dotted(node.value, aliases)):
        return f"{start}.{node.attr}"
    return ""


def _dangerous_arguments(call: ast.Call, name: str) -> Iterator[tuple[int, str]]:
    given = {each.arg: each.value for each in call.keywords}
    for keyword in KEYWORDS & given.keys():
        value = given[keyword]
        if not (isinstance(value, ast.Constant) and value.value is False):
            yield call.lineno, keyword
    if name in NUMPY_LOADS and "allow_pickle" not in given:
        yield call.lineno, f"{name} without allow_pickle=False"


def test_nothing_that_a_file_says_is_run() -> None:
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{line}: {name}"
        for path in SOURCES
        for line, name in dangers(path.read_text(encoding="utf-8"))
        if (path.relative_to(ROOT).as_posix(), name) not in ALLOWED
    }
    assert len(SOURCES) > 100
    remedy = "a file could run code by this; read JSON, safetensors or arrays instead"
    assert not found, "\n".join([remedy, *sorted(found)])


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch; torch.load(path, weights_only=True)",
        "import torch as t; t.load(path)",
        "from torch import load as read; read(path)",
        "import torch; read = torch.load",
        "import torch.hub; torch.hub.load(a, b)",
        "import numpy as np; np.load(path)",
        "import numpy as np; np.load(path, allow_pickle=True)",
        "import numpy as np; np.load(path, allow_pickle=pickled)",
        "import pandas as pd; pd.read_pickle(path)",
        "frame.to_pickle(path)",
        "import onnx; onnx.load(path)",
        "import yaml; yaml.load(text, yaml.SafeLoader)",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "import os; os.system(command)",
        "from os import popen",
        "import subprocess; subprocess.run(command, shell=True)",
        "archive.extractall(folder)",
    ],
)
def test_the_search_finds(source: str) -> None:
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source",
    [
        "network.eval()",
        "import numpy as np; np.load(path, allow_pickle=False)",
        "import json; json.load(file)",
        "import yaml; yaml.safe_load(text)",
        "import subprocess; subprocess.run(['git', 'log'])",
        "import re; re.compile('a')",
        "from safetensors.torch import load_file",
    ],
)
def test_the_search_lets_pass(source: str) -> None:
    assert not list(dangers(source))
