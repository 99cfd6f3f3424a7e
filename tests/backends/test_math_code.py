"""Elementary functions of compiled kernels: their errors, their edges, and that lanes are alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

import numpy as np
import pytest

from gpubp.program.values import FUNCTIONS as NAMES
from tests.conftest import require, rng

require("llvmlite")

from gpubp.backends import native  # noqa: E402
from gpubp.backends.kernel_code import real  # noqa: E402
from gpubp.backends.lanes import Lanes, of  # noqa: E402
from gpubp.backends.math_code import FUNCTIONS  # noqa: E402
from gpubp.backends.native_code import Code, ir  # noqa: E402

pytestmark = pytest.mark.compiled

BOUNDS = {"exp": 1.1, "expm1": 1.8, "log": 0.8, "log1p": 1.4, "tanh": 1.4, "erf": 1.3, "cos": 1.5}
DOUBLE = {"exp": 1.1, "expm1": 1.8, "log": 0.8, "log1p": 1.4, "tanh": 1.4}
LANES = (1, 4, 8, 16)
CALLED = {("erf", "float64"), ("cos", "float64")}
"""What is the C library's."""

INF, NAN = math.inf, math.nan


@pytest.fixture(scope="module", autouse=True)
def folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is compiled here does not come to the user's folder, nor from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUBP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(params=LANES)
def lanes(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def text(name: str, precision: str, lanes: int) -> str:
    """A module with a loop `(x, out, count)` that applies a function."""
    module, item = ir.Module(), np.dtype(precision).itemsize
    code = Code(module, "run", 3)
    x, out, count = code.given
    with code.loop(0, count, lanes) as i:
        given = Lanes(code, code.load(x + i * item, of(real(precision), lanes), item))
        code.store(out + i * item, FUNCTIONS[name](given).value, item)
    code.end()
    return str(module)


@cache
def loop(name: str, precision: str, lanes: int) -> Any:
    key = f"{name} {precision} {lanes}"
    return native.function(native.address("run", lambda: text(name, precision, lanes), key), 3)


def apply(name: str, x: np.ndarray, lanes: int) -> np.ndarray:
    padded = np.concatenate([x, np.ones(-x.size % lanes, x.dtype)])
    out = np.full_like(padded, 7.0)
    loop(name, x.dtype.name, lanes)(padded.ctypes.data, out.ctypes.data, padded.size)
    return out[: x.size]


def every(step: int) -> np.ndarray:
    """Each `step`-th number of all float32, infinities and NaN among them."""
    return np.arange(0, 2**32, step, dtype=np.uint32).view(np.float32)


@cache
def singles(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of all exponents as float32, and the function of them in float64.

    NumPy has no erf, and C's is called once an element.
    """
    x = every(64007 if name == "erf" else 9001)
    x = np.concatenate([x, rng(1).uniform(-13.0, 13.0, x.size // 4).astype(np.float32)])
    if name == "erf":
        return x, np.array([math.erf(v) for v in x.tolist()])
    with np.errstate(all="ignore"):
        return x, np.asarray(getattr(np, name)(x.astype(np.float64)))


@pytest.mark.parametrize("name", BOUNDS)
def test_float32_is_near_the_exact_value_at_all_exponents(name: str, lanes: int) -> None:
    x, exact = singles(name)
    given = apply(name, x, lanes)
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
    if name == "log":
        return d.ln()
    if abs(x) < 1e-25:  # further terms are too small for 50 digits
        return d + d * d * {"expm1": Decimal("0.5"), "log1p": Decimal("-0.5"), "tanh": 0}[name]
    if name == "expm1":
        return d.exp() - 1
    return 1 - 2 / ((2 * d).exp() + 1) if name == "tanh" else (1 + d).ln()


@cache
def doubles(name: str) -> tuple[np.ndarray, list[Decimal]]:
    """Numbers of all exponents where the function is finite, and the function of them."""
    random = rng(2)
    x = random.uniform(-1.5, 1.5, 1000)
    x[::4] *= 10.0 ** -random.uniform(0.0, 17.0, 250)
    small = np.ldexp(random.uniform(1.0, 2.0, 118), range(-1074, -12, 9))
    x = np.concatenate([x, small, -small])
    if name in ("exp", "expm1"):
        x = np.concatenate([x, random.uniform(-745.0, 709.7, 300)])
    elif name == "tanh":
        x = np.concatenate([x * 8.0, [1e3, -1e3]])
    else:
        x = np.concatenate([x[x > -1.0], np.ldexp(random.uniform(1, 2, 1024), range(1024))])
    if name == "log":
        x = x[x > 0.0]
    with localcontext() as context:
        context.prec = 60
        return x, [decimal(name, value) for value in x.tolist()]


@pytest.mark.parametrize("name", DOUBLE)
def test_float64_is_near_the_exact_value_at_all_exponents(name: str, lanes: int) -> None:
    x, exact = doubles(name)
    with localcontext() as context:
        context.prec = 60
        for value, given, right in zip(
            x.tolist(), apply(name, x, lanes).tolist(), exact, strict=True
        ):
            units = abs(Decimal(given) - right) / Decimal(math.ulp(float(right)))
            assert units <= DOUBLE[name], (value, given, right)


@pytest.mark.parametrize("name", ["erf", "cos"])
def test_the_others_of_float64_are_those_of_the_c_library(name: str, lanes: int) -> None:
    x = np.concatenate([np.ldexp(1.3, range(-1074, 1023, 7)), rng(3).uniform(-7.0, 7.0, 501)])
    exact = np.array([getattr(math, name)(value) for value in x.tolist()])
    assert np.all(np.abs(apply(name, x, lanes) - exact) <= np.spacing(np.abs(exact)))


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
def test_the_edges_are_numpys(precision: str, name: str, lanes: int) -> None:
    cases = {**EDGES[name], NAN: NAN}
    x = np.array(list(cases), precision)
    assert np.array_equal(apply(name, x, lanes), np.array(list(cases.values())), equal_nan=True)
    zeros = apply(name, np.array([0.0, -0.0], precision), lanes)
    if name in ("expm1", "log1p", "tanh", "erf"):
        assert not zeros.any()
        assert np.signbit(zeros).tolist() == [False, True]
    else:
        assert zeros.tolist() == [-INF if name == "log" else 1.0] * 2


@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh"])
def test_the_least_number_is_kept(precision: str, name: str, lanes: int) -> None:
    least = np.finfo(precision).smallest_subnormal
    x = np.array([least, -least], precision)
    assert np.array_equal(apply(name, x, lanes), x)


def test_exp_overflows_and_vanishes_where_it_should(precision: str, lanes: int) -> None:
    info = np.finfo(precision)
    least = math.log(info.smallest_subnormal) - math.log(2.0)  # half of it is rounded to 0
    for limit, beyond in ((math.log(info.max), INF), (least, 0.0)):
        x = np.array([limit * (1 - 16 * info.eps), limit * (1 + 16 * info.eps)], precision)
        within, out = apply("exp", x, lanes).tolist()
        assert within not in (0.0, INF)
        assert out == beyond


@pytest.mark.parametrize("name", BOUNDS)
def test_what_a_lane_gives_does_not_depend_on_the_others(
    precision: str, name: str, lanes: int
) -> None:
    x = np.array(
        [0.3, INF, -1e-3, NAN, 5.0, 0.0, 1e-30, -0.7, -INF, 88.0, 1e9, -3.0, 0.9], precision
    )
    expected = apply(name, x, lanes)
    for turn in range(1, x.size):
        given = np.roll(apply(name, np.roll(x, turn), lanes), -turn)
        assert np.array_equal(given, expected, equal_nan=True)


@pytest.mark.parametrize("name", BOUNDS)
def test_functions_are_vectors_without_a_branch_or_a_call(precision: str, name: str) -> None:
    module, kind = ir.Module(), of(real(precision), 8)
    code = Code(module, "alone", 2)
    given = Lanes(code, code.load(code.given[0], kind, 4))
    found = FUNCTIONS[name](given)
    code.end()
    assert found.type == kind
    assert not re.search(r"^ *(br|switch) ", str(module), re.MULTILINE)
    called = set(re.findall(r'call [^@]*@"?([\w.]+)', str(module)))
    if (name, precision) in CALLED:
        assert called == {name}
    else:
        assert called <= {"llvm.fabs.v8f32", "llvm.fabs.v8f64"}
        assert re.search(r"fmul contract <8 x (float|double)>", str(module))


def test_kernels_have_all_functions_that_are_recorded() -> None:
    assert set(FUNCTIONS) == set(BOUNDS) == set(NAMES) - {"sqrt", "abs"}
