"""The devices that tests run on, and what is asked of optional tools."""

from __future__ import annotations

import importlib
import inspect
import os
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from inspect import isfunction, ismodule
from signal import SIG_DFL, SIGINT, SIGTERM, default_int_handler, signal
from typing import Any

import numpy as np
import pytest

import gpubp.backend
import gpubp.layers
import gpubp.losses
from gpubp.activations import ACTIVATIONS
from gpubp.backend import DTYPES, Backend
from gpubp.backends import cuda
from gpubp.backends.cpu import CpuBackend
from gpubp.backends.standard import StandardBackend, guarded
from gpubp.check.tolerance import error, tolerance
from gpubp.layers.dropout import _masking
from gpubp.optimizers import OPTIMIZERS
from gpubp.program.formula import trace
from tests import compiled, compiled_blas

_DEVICES = ("cpu", "strict", "compiled", pytest.param("cuda", marks=pytest.mark.gpu))
_missing: set[str] = set()


def require(name: str) -> Any:
    """Return a module, or the path of a program; skip where it is missing.

    The variable GPUBP_REQUIRE (names with commas between) makes a missing one a failure.
    """
    found: Any = shutil.which(name)
    if found is None:
        try:
            found = importlib.import_module(name)
        except ImportError:
            found = None
    if found is not None:
        return found
    if name in os.environ.get("GPUBP_REQUIRE", "").split(","):
        pytest.fail(f"{name} is missing, and GPUBP_REQUIRE asks for it")
    _missing.add(name)
    pytest.skip(f"needs {name}", allow_module_level=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, unless GPUBP_REQUIRE says that all is wanted.

    And what needs a GPU where there is none: it would be skipped, which takes its time, too.
    """
    left_out = set()
    if not os.environ.get("GPUBP_REQUIRE"):
        left_out.add("thorough")
        _missing.add("the variable GPUBP_REQUIRE, for what takes long")
    if cuda.unusable() is not None:
        left_out.add("gpu")
        _missing.add("a CUDA device")
    out = [item for item in items if any(map(item.get_closest_marker, left_out))]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if not any(map(item.get_closest_marker, left_out))]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Share the tests among the processors, and a GPU's memory among few processes."""
    return min(os.cpu_count() or 1, 8)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (sent := getattr(session.config, "workeroutput", None)) is not None:
        sent["missing"] = sorted(_missing)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process of pytest-xdist found missing."""
    _missing.update(getattr(node, "workeroutput", {}).get("missing", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _missing:
        names = ", ".join(sorted(_missing))
        terminalreporter.write_line(f"optional checks skipped: this machine lacks {names}")


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    """Python's own handling of signals, whatever the tests are run by."""
    usual: dict[int, Any] = {SIGINT: default_int_handler, SIGTERM: SIG_DFL}
    old = {number: signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in old.items():
        signal(number, handler)


@pytest.fixture(autouse=True)
def own_backends() -> Iterator[None]:
    """Forget the backends of a test that share NumPy's arrays: another's arrays are not theirs.

    They live until garbage is collected, and would compute losses in the place of the CPU's.
    """
    yield
    example = np.zeros((1, 1))
    for known in list(gpubp.backend._known):
        if type(known) is not CpuBackend and known.owns(example):
            gpubp.backend._known.discard(known)


@pytest.fixture(params=DTYPES)
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=_DEVICES)
def backend(request: pytest.FixtureRequest, precision: str) -> Backend:
    """Each device there is, in each precision."""
    if request.param == "cpu":
        return CpuBackend(0, precision)
    if request.param == "strict":
        strict = require("array_api_strict")
        return StandardBackend(strict, strict.Device("device1"), precision)
    if request.param == "compiled":
        request.getfixturevalue("stand_in")
        return cuda.CudaBackend(0, precision)
    why = cuda.unusable()
    if why is not None:
        _missing.add("a CUDA device")
        pytest.skip(why)
    return cuda.CudaBackend(0, precision)


@pytest.fixture(params=["compiled", pytest.param("cuda", marks=pytest.mark.gpu)])
def on_cuda(request: pytest.FixtureRequest) -> str:
    """The name of a CUDA device: by the stand-in for CuPy, and where there is one, a real one."""
    request.getfixturevalue("stand_in" if request.param == "compiled" else "a_gpu")
    return "cuda"


@pytest.fixture
def a_gpu() -> str:
    """The name of a real CUDA device."""
    why = cuda.unusable()
    if why is not None:
        _missing.add("a CUDA device")
        pytest.skip(why)
    return "cuda"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in for CuPy in its place, with the library's own kernels compiled."""
    require("g++")
    fault = _compile_own_kernels()
    if fault:
        pytest.fail(fault)
    monkeypatch.setitem(sys.modules, "cupy", compiled)
    monkeypatch.setitem(sys.modules, "cupyx", compiled.cupyx)
    compiled_blas.install(monkeypatch)
    compiled.forget()
    forget()
    yield compiled
    forget()


def forget() -> None:
    """Let every device be looked for afresh."""
    cuda._usable_cupy.cache_clear()
    gpubp.backend._named.cache_clear()


@cache
def _compile_own_kernels() -> str:
    """Compile what most tests meet, together and once; return what the compiler refused."""
    kernels = [trace(formula, kinds) for formula, kinds in OWN_FORMULAS]
    try:
        compiled.compile_all(cuda.kernel_text(k, p) for k in kernels for p in DTYPES)
    except RuntimeError as error:
        return str(error)
    return ""


def _own_formulas() -> list[tuple[Any, tuple[str, ...]]]:
    found: list[tuple[Any, tuple[str, ...]]] = []
    for activation in ACTIVATIONS.values():
        found += [(activation.f, ("T",)), (activation.pullback, ("T", "T"))]
    for method in OPTIMIZERS.values():
        states = 1 + len(method.slots)
        kinds = ("T",) * (states + 1 + len(method().numbers(1, 0.1)))
        found.append((method.formula, kinds))
        found.append((guarded(method.formula, states), (*kinds, "bool")))
    packages = vars(gpubp.losses) | vars(gpubp.layers)
    modules = [module for module in packages.values() if ismodule(module)]
    functions = [f for module in modules for f in vars(module).values() if isfunction(f)]
    for formula in dict.fromkeys(functions):
        first, *names = inspect.signature(formula).parameters or [""]
        if first == "xp" and formula.__module__.startswith(("gpubp.losses", "gpubp.layers")):
            found.append((formula, tuple(_kind(name, names) for name in names)))
    return [*found, (_masking(0.5), ("T", "U")), (cuda._draw, ("U",) * 4)]


def _kind(name: str, names: list[str]) -> str:
    """The kind of an operand by its name: what the library's formulas have agreed on."""
    if name in ("radius", "angle"):  # random words
        return "U"
    # labels `t` are compared with the column numbers `j`; both are integers
    return "I" if name in "jt" and "j" in names else "T"


OWN_FORMULAS = _own_formulas()
"""Every formula of the library with the kinds of its operands."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def as_alone(backend: Backend, given: Any, expected: Any, k: int) -> bool:
    """Whether a member of an ensemble has what it has alone: the same bits on the plain path.

    A GPU's library of matrix products may take another way for a stack of them; `k` is the
    length of the longest sum.
    """
    if not backend.deferred or getattr(backend, "_cupy", None) is compiled:
        return np.array_equal(given, expected)
    return error(given, expected) <= tolerance(backend.precision, expected, k)
