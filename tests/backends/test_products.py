"""Matrix products from compiled code: every form, views and addresses, and a cache on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backends import products
from gpubp.check.tolerance import error, tolerance
from tests.conftest import require, rng

ROOT = Path(__file__).resolve().parent.parent.parent

CALLER = """
import sys
import numpy as np
from numba import njit
from gpubp.backends.products import gemm_float32
from gpubp.backends.team import Team, barrier

@njit(nogil=True, cache=True)
def square(thread, state, x, y):
    for i in range(2):
        x[thread, i] = 1 + i + 2 * thread
    barrier(state, 2)
    gemm_float32(False, True, 1, 2, 2, x[thread:], 2, x, 2, y[thread:], 2, 0.0)

if __name__ == "__main__":
    team = Team(2)
    x, y = np.zeros((2, 2, 2), np.float32)
    team.run(square, team.state, x, y)
    print(y.tolist(), sum(square.stats.cache_hits.values()), len(square.stats.cache_misses))
"""


@pytest.fixture(scope="module")
def calls() -> dict[str, Any]:
    """The products of both precisions, callable from Python."""
    numba = require("numba")
    require("scipy")
    assert products.available() is None
    made = {}
    for name in ("gemm_float32", "gemm_float64"):
        names = "ta, tb, m, n, k, a, lda, b, ldb, c, ldc, beta"
        space = {"gemm": getattr(products, name)}
        exec(f"def call({names}): gemm({names})", space)
        made[name.removeprefix("gemm_")] = numba.njit(nogil=True)(space["call"])
    return made


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize("ta", [False, True])
def test_every_form_of_a_product(
    calls: dict[str, Any], precision: str, ta: bool, tb: bool, beta: float
) -> None:
    m, n, k = 5, 3, 7
    a = rng(1).normal(size=(k, m) if ta else (m, k)).astype(precision)
    b = rng(2).normal(size=(n, k) if tb else (k, n)).astype(precision)
    c = rng(3).normal(size=(m, n)).astype(precision)
    opa, opb = (a.T if ta else a), (b.T if tb else b)
    expected = opa.astype("float64") @ opb + beta * c
    if not beta:
        c[:] = np.nan  # must not be read
    calls[precision](ta, tb, m, n, k, a, a.shape[1], b, b.shape[1], c, n, beta)
    assert error(c, expected) <= tolerance(precision, expected, k, (np.abs(opa) @ np.abs(opb), c))


def test_a_part_of_wider_matrices_by_view_and_by_address(
    calls: dict[str, Any], precision: str
) -> None:
    a, b = (rng(i).normal(size=(6, 9)).astype(precision) for i in range(2))
    c, d = np.zeros((2, 6, 9), precision)
    calls[precision](False, False, 2, 3, 4, a[1:, 2:], 9, b[2:, 1:], 9, c[3:, 4:], 9, 0)
    step = a.itemsize
    parts = (a.ctypes.data + 11 * step, b.ctypes.data + 19 * step, d.ctypes.data + 31 * step)
    calls[precision](0, 0, 2, 3, 4, parts[0], 9, parts[1], 9, parts[2], 9, 0.0)
    expected = a[1:3, 2:6] @ b[2:6, 1:4]
    assert error(c[3:5, 4:7], expected) <= tolerance(precision, expected, 4, [[4 * 9.0]])
    assert np.array_equal(c, d)
    c[3:5, 4:7] = 0
    assert not c.any()


def test_arrays_of_another_type_are_refused(calls: dict[str, Any]) -> None:
    from numba.core.errors import TypingError

    x, wide = np.zeros((2, 2), np.float32), np.zeros((2, 2))
    with pytest.raises(TypingError, match=r"gemm_float32 was given .*float64.* takes float32"):
        calls["float32"](False, False, 2, 2, 2, x, 2, x, 2, wide, 2, 0.0)


def test_a_caller_from_a_cache_runs_in_another_process(tmp_path: Path) -> None:
    require("numba")
    require("scipy")
    script = tmp_path / "caller.py"
    script.write_text(CALLER, encoding="utf-8")
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    for hits in (0, 1):
        ran = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True)
        assert (ran.stdout, ran.stderr) == (
            f"[[5.0, 11.0], [11.0, 25.0]] {hits} {1 - hits}\n",
            "",
        )


SIGNATURE = "void (char *, char *, {i} *, {i} *, {i} *, {t} *, {t} *, {i} *, {t} *, {i} *, "
SIGNATURE += "{t} *, {t} *, {i} *)"


@pytest.mark.parametrize("whole", ["int", "long", "npy_int64"])
@pytest.mark.parametrize("number", ["float", "__pyx_t_5scipy_6linalg_11cython_blas_s"])
def test_signatures_that_are_known(whole: str, number: str) -> None:
    assert products._fault(SIGNATURE.format(i=whole, t=number), "s") is None


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "void (void)",
        SIGNATURE.format(i="short", t="float"),
        SIGNATURE.format(i="int", t="double"),
        SIGNATURE.format(i="int", t="float")[:-1] + ", int *)",
        SIGNATURE.format(i="int", t="float").replace("int *", "long *", 1),
        SIGNATURE.format(i="int", t="float").replace("int *", "int", 1),
        SIGNATURE.format(i="int", t="float").replace("void", "int", 1),
    ],
)
def test_an_odd_signature_is_not_called(signature: str) -> None:
    fault = products._fault(signature, "s")
    assert fault is not None
    assert "sgemm is declared as" in fault


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(vars(products), "gemm_float32", raising=False)
    products.available.cache_clear()
    try:
        with pytest.raises(gpubp.DeviceError, match=r"numba cannot be .* install 'gpubp\[cpu\]'"):
            _ = products.gemm_float32
    finally:
        products.available.cache_clear()
    with pytest.raises(AttributeError, match="no attribute 'gemm'"):
        _ = products.gemm
