"""What the documentation shows runs, and every public name is documented by an example."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from tests.conftest import require

README = Path(__file__).resolve().parent.parent / "README.md"
SKIPPED = {"gpubp.backends.cuda", "gpubp.__main__"}  # needs a GPU; is a program

_CODE = "barrier_code kernel_code loop_code math_code native_code product_code step_code tile_code"
NEED_LLVM = {
    f"gpubp.backends.{name}" for name in (*_CODE.split(), "compiled", "lanes", "segmented")
}

MODULES = ["gpubp"] + [
    found.name
    for found in pkgutil.walk_packages(gpubp.__path__, "gpubp.")
    if not found.name.startswith("gpubp.backends") and found.name not in SKIPPED
]
# The folder of gpubp.backends may lie elsewhere in a development install: it is walked by itself.
MODULES += ["gpubp.backends"] + [
    found.name
    for found in pkgutil.walk_packages(
        importlib.import_module("gpubp.backends").__path__, "gpubp.backends."
    )
    if found.name not in SKIPPED
]
PUBLIC = [
    name
    for name in gpubp.__all__
    if inspect.isclass(getattr(gpubp, name)) or inspect.isfunction(getattr(gpubp, name))
]


def examples_in(thing: Any) -> int:
    return len(doctest.DocTestParser().get_examples(thing.__doc__ or ""))


def test_the_modules_are_found() -> None:
    assert {"gpubp.layers.linear", "gpubp.backends.cpu", "gpubp.check.tolerance"} <= set(MODULES)
    assert len(MODULES) == len(set(MODULES))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    if name in NEED_LLVM:
        require("llvmlite")
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip()
    printed = np.get_printoptions()
    result = doctest.testmod(module, verbose=False)
    assert result.failed == 0
    assert np.get_printoptions() == printed  # an example leaves no trace


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example(name: str) -> None:
    assert examples_in(getattr(gpubp, name)) >= 1


def test_all_names_every_class_there_is() -> None:
    assert all(hasattr(gpubp, name) for name in gpubp.__all__)
    classes = [c for c in vars(gpubp).values() if inspect.isclass(c)]
    ours = {c.__name__ for c in classes if c.__module__.startswith("gpubp")}
    assert ours == {n for n in PUBLIC if inspect.isclass(getattr(gpubp, n))}


def _public(kind: type) -> list[str]:
    return [n for n, _ in inspect.getmembers(kind, callable) if not n.startswith("_")]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, n) for kind in (gpubp.Network, gpubp.Layer, gpubp.Callback) for n in _public(kind)],
)
def test_every_public_method_has_a_docstring(kind: type, name: str) -> None:
    assert (getattr(kind, name).__doc__ or "").strip()


def _blocks() -> list[str]:
    text = README.read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def test_the_readme_shows_code() -> None:
    assert len(_blocks()) >= 1


@pytest.mark.parametrize("number", range(len(_blocks())))
def test_each_block_of_the_readme_runs_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.chdir(tmp_path)  # what a block saves stays here
    block = _blocks()[number]
    code = compile(block, f"README.md, Python block {number + 1}", "exec", dont_inherit=True)
    if "cuda" not in block:
        exec(code, {"__name__": "readme"})
