"""Every call that is made of an array namespace, held against CuPy's own functions, without a GPU.

The library runs on NumPy behind a namespace that notes what is called and how; so does the CUDA
backend on its stand-in. CuPy must have each function, take those arguments, and have a loop for
the types of the arrays.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable
from functools import cache
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import gpubp
from gpubp.backends.cuda import CudaBackend
from gpubp.backends.standard import StandardBackend
from gpubp.check.repertoire import repertoire
from tests import compiled, random_training
from tests.check.devices import only
from tests.conftest import forget, require
from tests.random_repertoire import draw_case

CASES = 60
_UFUNC_KEYWORDS = {"out", "dtype", "casting"}


class Call(NamedTuple):
    """How a function was called; an array stands for itself by the name of its type.

    A name that was only looked up has no positions.
    """

    name: str
    positions: tuple[str, ...] | None = None
    keywords: frozenset[str] = frozenset()


class Noted:
    """A namespace that notes in `calls` what is called of another one, and what is looked up."""

    def __init__(self, namespace: Any, calls: set[Call] | None = None, prefix: str = "") -> None:
        self._namespace, self._prefix = namespace, prefix
        self.calls: set[Call] = set() if calls is None else calls

    def __getattr__(self, name: str) -> Any:
        found, full = getattr(self._namespace, name), self._prefix + name
        if name.startswith("__"):
            return found
        if isinstance(found, SimpleNamespace):
            return Noted(found, self.calls, f"{full}.")
        if isinstance(found, type) or not callable(found):
            self.calls.add(Call(full))
            return found

        def function(*given: Any, **named: Any) -> Any:
            self.calls.add(Call(full, tuple(map(_kind, given)), frozenset(named)))
            return found(*given, **named)

        return function


def _kind(x: Any) -> str:
    return str(x.dtype) if hasattr(x, "dtype") else ""


def fault(cupy: Any, call: Call) -> str | None:
    """Why CuPy would not take a call, or None."""
    try:
        function = attrgetter(call.name)(cupy)
    except AttributeError:
        return f"CuPy has no {call.name}"
    if call.positions is None:
        return None
    if isinstance(function, cupy.ufunc):
        return _ufunc_fault(function, call)
    try:
        signature = inspect.signature(function)
    except ValueError:  # a function of C that does not tell
        return None
    try:
        signature.bind(*call.positions, **dict.fromkeys(call.keywords))
    except TypeError as error:
        return f"{call.name}{signature}: {error}"
    return None


def _ufunc_fault(function: Any, call: Call) -> str | None:
    assert call.positions is not None
    count = len(call.positions)
    if not function.nin <= count <= function.nargs:
        return f"{call.name} takes {function.nin} arrays, and {count} were given"
    if unknown := call.keywords - _UFUNC_KEYWORDS:
        return f"{call.name} has no {', '.join(sorted(unknown))}"
    given = call.positions[: function.nin]
    loops = [loop.partition("->")[0] for loop in function.types]
    if not any(all(map(_fits, given, loop)) for loop in loops):
        return f"{call.name} has no loop for {', '.join(given)}"
    return None


def _fits(given: str, wanted: str) -> bool:
    """Whether a loop takes an array unharmed; a number of Python follows the arrays."""
    known = wanted in np.typecodes["All"]  # CuPy has complex numbers of 32 bits, too
    return not given or (known and np.can_cast(given, wanted))


def use(be: Any) -> None:
    """Train, evaluate and look into networks on a backend, in more ways than the checks do."""
    random = np.random.default_rng(1)
    x, t = random.standard_normal((50, 6)), random.integers(0, 3, 50)
    body = gpubp.Sequential(
        gpubp.MLP([5], 4, activation="tanh"), gpubp.BatchNorm(), gpubp.Linear(3)
    )
    for method in (gpubp.EMA(gpubp.Adam()), gpubp.SWA(gpubp.SGD(0.1)), gpubp.LBFGS()):
        net = gpubp.Network(body, inputs=6, device=be, dtype=be.precision)
        size = None if isinstance(method, gpubp.LBFGS) else 16
        net.fit(x, t, optimizer=method, epochs=2, batch_size=size, compile=False)
        net.evaluate(x, t)
        net.predict(x)
    several = gpubp.Network(body, inputs=6, device=be, dtype=be.precision, members=2)
    several.fit(x, t, optimizer=gpubp.Adam((0.01, 0.02)), batch_size=20, micro_batch=10, epochs=1,
                sample_weight=np.ones(50), validation=(x, t), compile=False)  # fmt: skip
    gpubp.lsuv(gpubp.Network(gpubp.MLP([5], 2), inputs=6, device=be, dtype=be.precision), x)
    be.synchronize()


def use_at_random(be: Any) -> None:
    """A step of each of many networks from everywhere in the library."""
    for number in range(CASES):
        case, _, draw = draw_case(7, number)
        net = gpubp.Network(
            case.layer, case.inputs, device=be, dtype=be.precision, members=case.members
        )
        net.freeze(*case.frozen)
        x = gpubp.check.examples.examples(draw.rng, case.batch, net.inputs, net.spec.categories)
        y, context = net.forward(x)
        width = net.spec.shape[-1]
        t = random_training.target(draw, case.loss, case.batch, width, case.soft)
        weight = np.ones(case.batch) if case.weighted else None
        _, delta = case.loss(y, t, sample_weight=weight)
        net.backward(context, delta, input_gradient=case.input_gradient)
        net.step(case.method)


@pytest.fixture
def cupy() -> Any:
    """CuPy itself; asked for before a stand-in takes its place."""
    return require("cupy")


@cache
def calls_on_numpy() -> frozenset[Call]:
    """What the layers, losses, optimizers and the plain backend call."""
    noted = Noted(np)
    with pytest.MonkeyPatch.context() as patch:
        only(patch, lambda precision: StandardBackend(noted, None, precision))
        assert repertoire().ok
    for precision in ("float32", "float64"):
        use(StandardBackend(noted, None, precision))
    use_at_random(StandardBackend(noted, None, "float64"))
    return frozenset(noted.calls)


@pytest.fixture
def calls_on_cuda(cupy: Any, stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> set[Call]:
    """What the CUDA backend calls, on the stand-in for CuPy."""
    noted = Noted(compiled)
    monkeypatch.setitem(sys.modules, "cupy", noted)
    forget()
    only(monkeypatch, lambda precision: CudaBackend(0, precision))
    assert repertoire("layers").ok
    use(CudaBackend(0, "float32"))
    return noted.calls


def held(cupy: Any, calls: Iterable[Call]) -> list[str]:
    """Every fault of these calls."""
    return sorted(filter(None, (fault(cupy, call) for call in calls)))


def test_cupy_takes_what_the_library_calls(cupy: Any) -> None:
    calls = calls_on_numpy()
    assert {"sum", "where", "matmul", "take", "concat", "reshape"} <= {c.name for c in calls}
    assert not held(cupy, calls)


def test_cupy_takes_what_the_cuda_backend_calls(cupy: Any, calls_on_cuda: set[Call]) -> None:
    names = {call.name for call in calls_on_cuda}
    assert {"add", "matmul", "asnumpy", "cuda.get_current_stream", "ndarray"} <= names
    assert not held(cupy, calls_on_cuda)


def lacking(real: Any, stand_in: Any, prefix: str) -> list[str]:
    """The names of a stand-in, and of the namespaces in it, that the real thing does not have."""
    found = []
    for name, value in vars(stand_in).items():
        if not name.startswith("_") and not hasattr(real, name):
            found.append(prefix + name)
        elif isinstance(value, SimpleNamespace):
            found += lacking(getattr(real, name), value, f"{prefix}{name}.")
    return found


def test_the_stand_in_offers_nothing_that_cupy_lacks(cupy: Any) -> None:
    assert not lacking(cupy.ndarray, compiled.ndarray, "ndarray.")
    assert not lacking(cupy.cuda, compiled.cuda, "cuda.")
    planted = SimpleNamespace(runtime=SimpleNamespace(nosuch=1, getDevice=2))
    assert lacking(cupy.cuda, planted, "cuda.") == ["cuda.runtime.nosuch"]


PLANTED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "no function": (lambda xp, x: xp.trapezoid_(x), "CuPy has no trapezoid_"),
    "none of that name": (lambda xp, x: xp.nosuch, "CuPy has no nosuch"),
    "a keyword": (lambda xp, x: xp.sum(x, where=True), "sum.*unexpected keyword argument 'where'"),
    "of a ufunc": (lambda xp, x: xp.exp(x, where=True), "exp has no where"),
    "too many": (lambda xp, x: xp.where(x, x, x, x), "where.*too many positional"),
    "too few": (lambda xp, x: xp.add(x), "add takes 2 arrays, and 1 were given"),
    "a type": (lambda xp, x: xp.exp(xp.astype(x, "S1")), r"exp has no loop for \|S1"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_call_that_cupy_lacks_is_found(cupy: Any, case: str) -> None:
    takes_all = dict.fromkeys(("trapezoid_", "sum", "exp", "where", "add"), lambda *_, **__: None)
    noted = Noted(SimpleNamespace(**takes_all, astype=np.astype, nosuch=1))
    plant, why = PLANTED[case]
    plant(noted, np.zeros(3, "f4"))
    (found,) = held(cupy, noted.calls)
    assert re.search(why, found)
