"""Functions of a device against the exact ones, and bits of numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests import simt
from tests.conftest import require, rng
from tests.simt.launching import run

pytestmark = pytest.mark.thorough

require("g++")

MATHS = r"""
typedef %s T;
extern "C" __global__ void k(const T* x, T* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = %s(x[i]);
}"""

EXACT = {
    "exp": math.exp, "expm1": math.expm1, "log": math.log, "log1p": math.log1p, "erf": math.erf,
    "tanh": math.tanh, "cos": math.cos, "sqrt": math.sqrt, "rsqrt": lambda x: x**-0.5,
    "fabs": abs, "floor": math.floor, "cospi": lambda x: math.cos(math.pi * math.remainder(x, 2.0)),
    "sinpi": lambda x: math.sin(math.pi * math.remainder(x, 2.0)),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["float", "double"])
def test_functions_have_an_overload_for_each_precision(kind: str) -> None:
    dtype = np.dtype({"float": "f4", "double": "f8"}[kind])
    x = np.abs(rng().normal(size=300)).astype(dtype)
    simt.compile_all([MATHS % (kind, name) for name in EXACT], single=kind == "float")
    for name, function in EXACT.items():
        out = np.zeros_like(x)
        run(MATHS % (kind, name), (3,), (128,), x, out, np.int32(300), single=kind == "float")
        expected = np.array([function(float(v)) for v in x])
        ulp = np.spacing(np.maximum(np.abs(expected), 1.0).astype(dtype))
        assert np.all(np.abs(out - expected) <= 2 * ulp), name


def test_half_turns_are_exact() -> None:
    x = np.array([0, 0.5, 1, 1.5, 2, -0.5, -1, 1e9, 1e9 + 0.5, 2.0**53 + 1, np.inf, np.nan])
    out = np.zeros_like(x)
    run(MATHS % ("double", "cospi"), (1,), (32,), x, out, np.int32(12))
    assert np.array_equal(out[:10], [1, 0, -1, 0, 1, 0, -1, 1, 0, 1])
    assert np.isnan(out[10:]).all()


BITS = r"""
extern "C" __global__ void k(float* x, const double* d, double* out) {
  out[0] = __int_as_float(0x7f800000);
  out[1] = __float_as_int(-0.0f);
  out[2] = __float_as_uint(-0.0f);
  out[3] = __uint_as_float(0x3f800000u);
  out[4] = __longlong_as_double(0x4000000000000000ll);
  out[5] = __ldg(d);
  out[6] = __fdividef(x[0], 4.0f);
  out[7] = fmax(x[0], x[1]) + fmin(x[0], x[1]);
  out[8] = isfinite(x[0]) + 2 * isfinite(x[1]) + 4 * isfinite(d[0]) + (warpSize == 32 ? 8 : 0);
  out[9] = min(3, -2) + max(3u, 4u) + min(5ll, 6ll);
}"""


def test_bits_and_numbers() -> None:
    out = np.zeros(10)
    run(BITS, (1,), (1,), np.array([3, np.nan], "f4"), np.array([0.1]), out)
    assert out.tolist() == [np.inf, -(2**31), 2**31, 1, 2, 0.1, 0.75, 6, 13, 7]
