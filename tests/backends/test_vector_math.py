"""Elementary functions of compiled kernels: their errors, their edges, and that loops vectorise."""

from __future__ import annotations

import importlib.util
import math
import re
from decimal import Decimal, localcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import require, rng

numba = require("numba")

from gpubp.backends.vector_math import FUNCTIONS  # noqa: E402

FLAGS = {"reassoc", "contract", "arcp", "nsz", "afn"}  # those of the kernels
BOUNDS = {"exp": 1.1, "expm1": 1.8, "log": 0.8, "log1p": 1.4, "tanh": 1.4, "erf": 1.3, "cos": 1.5}
DOUBLE = {"exp": 1.1, "expm1": 1.8, "log": 0.8, "log1p": 1.4, "tanh": 1.4}
INF, NAN = math.inf, math.nan


@cache
def loop(name: str, dtype: str) -> Any:
    f = FUNCTIONS[dtype][name]

    def run(x, out):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            out[i] = f(x[i])

    array = numba.from_dtype(np.dtype(dtype))[::1]
    return numba.njit([(array, array)], fastmath=FLAGS, error_model="numpy")(run)


def apply(name: str, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    loop(name, x.dtype.name)(x, out)
    return out


def exactly(name: str, x: np.ndarray) -> np.ndarray:
    """The function in float64; NumPy has no erf, and C's is called once an element."""
    if name == "erf":
        return np.array([math.erf(v) for v in x.tolist()])
    with np.errstate(all="ignore"):
        return np.asarray(getattr(np, name)(x.astype(np.float64)))


def every(step: int) -> np.ndarray:
    """Each `step`-th number of all float32, infinities and NaN among them."""
    return np.arange(0, 2**32, step, dtype=np.uint32).view(np.float32)


@pytest.mark.parametrize("name", BOUNDS)
def test_float32_is_near_the_exact_value_at_all_exponents(name: str) -> None:
    x = every(64007 if name == "erf" else 9001)
    x = np.concatenate([x, rng(1).uniform(-13.0, 13.0, x.size // 4).astype(np.float32)])
    given, exact = apply(name, x), exactly(name, x)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    assert np.array_equal(given[~finite], rounded[~finite], equal_nan=True)
    x, given, exact, rounded = x[finite], given[finite], exact[finite], rounded[finite]
    allowed = BOUNDS[name] * np.spacing(np.abs(rounded)).astype(np.float64)
    if name == "cos":
        allowed[np.abs(x) > 2.0**25] += 1e-11
    wrong = ~(np.abs(given - exact) <= allowed)
    assert not wrong.any(), (x[wrong], given[wrong], exact[wrong])


def decimal(name: str, x: float) -> Decimal:
    d = Decimal(x)
    if name == "exp":
        return d.exp()
    if name == "expm1":
        return d.exp() - 1
    if name == "tanh":
        return 1 - 2 / ((2 * d).exp() + 1)
    return d.ln() if name == "log" else (1 + d).ln()


@pytest.mark.parametrize("name", DOUBLE)
def test_float64_is_near_the_exact_value(name: str) -> None:
    random = rng(2)
    x = random.uniform(-1.5, 1.5, 1000)
    x[::4] *= 10.0 ** -random.uniform(0.0, 17.0, 250)
    if name in ("exp", "expm1"):
        x = np.concatenate([x, random.uniform(-745.0, 709.7, 300)])
    elif name == "tanh":
        x *= 8.0
    else:
        x = np.concatenate([x[x > -1.0], np.ldexp(random.uniform(1, 2, 300), range(300))])
    if name == "log":
        x = np.concatenate([x[x > 0.0], np.ldexp(1.1, np.arange(-1074, 1023, 9))])
    with localcontext() as context:
        context.prec = 60
        for value, given in zip(x.tolist(), apply(name, x).tolist(), strict=True):
            exact = decimal(name, value)
            units = abs(Decimal(given) - exact) / Decimal(math.ulp(float(exact)))
            assert units <= DOUBLE[name], (value, given, exact)


EDGES = {
    "exp": {0.0: 1.0, INF: INF, -INF: 0.0, 1e3: INF, -1e3: 0.0},
    "expm1": {INF: INF, -INF: -1.0, 1e3: INF, -1e3: -1.0},
    "log": {0.0: -INF, 1.0: 0.0, INF: INF, -1e-30: NAN, -INF: NAN},
    "log1p": {-1.0: -INF, INF: INF, -1.5: NAN, -INF: NAN},
    "tanh": {INF: 1.0, -INF: -1.0, 1e30: 1.0, -1e30: -1.0},
    "erf": {INF: 1.0, -INF: -1.0, 1e30: 1.0, -1e30: -1.0},
    "cos": {0.0: 1.0, INF: NAN, -INF: NAN},
}


@pytest.mark.parametrize("name", EDGES)
def test_the_edges_are_numpys(precision: str, name: str) -> None:
    cases = {**EDGES[name], NAN: NAN}
    x = np.array(list(cases), precision)
    assert np.array_equal(apply(name, x), np.array(list(cases.values())), equal_nan=True)
    if name in ("expm1", "log1p", "tanh", "erf"):
        zeros = apply(name, np.array([0.0, -0.0], precision))
        assert not zeros.any()
        assert np.signbit(zeros).tolist() == [False, True]


@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh"])
def test_the_least_number_is_kept(precision: str, name: str) -> None:
    least = np.finfo(precision).smallest_subnormal
    x = np.array([least, -least], precision)
    assert np.array_equal(apply(name, x), x)


def test_exp_overflows_and_vanishes_where_it_should(precision: str) -> None:
    info = np.finfo(precision)
    least = math.log(info.smallest_subnormal) - math.log(2.0)  # half of it is rounded to 0
    for limit, beyond in ((math.log(info.max), INF), (least, 0.0)):
        x = np.array([limit * (1 - 16 * info.eps), limit * (1 + 16 * info.eps)], precision)
        within, out = apply("exp", x).tolist()
        assert within not in (0.0, INF)
        assert out == beyond


@pytest.mark.parametrize(("dtype", "names"), [("float32", BOUNDS), ("float64", DOUBLE)])
def test_loops_are_vectorised(dtype: str, names: dict[str, float]) -> None:
    element = {"float32": "float", "float64": "double"}[dtype]
    for name in names:
        (code,) = loop(name, dtype).inspect_llvm().values()
        assert re.search(rf"fmul contract <\d+ x {element}>", code), name
        assert not re.search(rf"call [^\n]*@(llvm\.)?{name}[f.(]", code), name


def test_a_caller_with_a_file_of_its_own_is_cached(tmp_path: Path) -> None:
    path = tmp_path / "kernel_of_a_test.py"
    path.write_text(
        "from numba import njit\n"
        "from gpubp.backends.vector_math import exp_float32, log_float64\n"
        "@njit(cache=True)\n"
        "def kernel(x, y):\n"
        "    return exp_float32(x), log_float64(y)\n",
        encoding="utf-8",
    )
    for loaded in (False, True):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.kernel(np.float32(0.0), 1.0) == (1.0, 0.0)
        assert bool(module.kernel.stats.cache_hits) == loaded


def test_both_formats_have_all_functions_under_their_names() -> None:
    module = importlib.import_module("gpubp.backends.vector_math")
    for dtype in ("float32", "float64"):
        assert set(FUNCTIONS[dtype]) == set(BOUNDS)
        for name, function in FUNCTIONS[dtype].items():
            assert function is getattr(module, f"{name}_{dtype}")
