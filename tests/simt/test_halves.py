"""The 16-bit floating types, bit for bit, against NumPy's and ml_dtypes'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import simt
from tests.conftest import require, rng

pytestmark = pytest.mark.thorough

require("g++")

TEXT = r"""
#include <cuda_fp16.h>
#include <cuda_bf16.h>
extern "C" __global__ void widen(const unsigned short* x, float* as_half, float* as_bfloat16) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  as_half[i] = __half2float(__ushort_as_half(x[i]));
  as_bfloat16[i] = __bfloat162float(__ushort_as_bfloat16(x[i]));
}
extern "C" __global__ void narrow(const float* x, __half* as_half, __nv_bfloat16* as_bfloat16) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  as_half[i] = __float2half(x[i]);
  as_bfloat16[i] = __float2bfloat16(x[i]);
}
extern "C" __global__ void stored(const double* x, __half* h, __nv_bfloat16* b, float* back) {
  __shared__ __half kept[4];
  h[0] = x[0], b[0] = x[0];
  kept[0] = (float)x[0], kept[1] = __half(3.0f);
  __nv_bfloat16 other = b[0];
  back[0] = kept[0], back[1] = float(kept[1]) + 1.0f, back[2] = other, back[3] = kept[2];
}"""


def launch(name: str, blocks: int, *arrays: Any) -> None:
    given = [x.ctypes.data for x in arrays]
    simt.function(TEXT, name).launch((blocks,), (256 if blocks > 1 else 1,), given)


def types() -> tuple[Any, Any]:
    return np.dtype("f2"), np.dtype(require("ml_dtypes").bfloat16)


def test_all_bit_patterns_have_their_values() -> None:
    bits = np.arange(1 << 16, dtype="u2")
    found = np.zeros((2, 1 << 16), "f4")
    launch("widen", 256, bits, *found)
    for out, dtype in zip(found, types(), strict=True):
        expected = bits.view(dtype).astype("f4")
        numbers = ~np.isnan(expected)
        assert np.array_equal(out.view("u4")[numbers], expected.view("u4")[numbers])
        assert np.isnan(out[~numbers]).all()


def floats() -> Any:
    """Every neighbourhood of what 16 bits hold, and random bits."""
    near = [np.arange(1 << 16, dtype="u2").view(dtype).astype("f4") for dtype in types()]
    half_way = [(a[:-1].astype("f8") + a[1:]).astype("f4") / 2 for a in near]
    found = np.concatenate([*near, *half_way, rng().integers(0, 2**32, 1 << 18, "u4").view("f4")])
    return np.concatenate([found, np.nextafter(found, np.float32(np.inf)),
                           np.nextafter(found, np.float32(-np.inf))])  # fmt: skip


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
def test_numbers_are_rounded_to_the_nearest_and_ties_to_even() -> None:
    x = floats()
    x = np.resize(x, (len(x) + 255) // 256 * 256)
    found = np.zeros((2, len(x)), "u2")
    launch("narrow", len(x) // 256, x, *found)
    for out, dtype in zip(found, types(), strict=True):
        expected = x.astype(dtype).view("u2")
        numbers = ~np.isnan(x)
        assert np.array_equal(out[numbers], expected[numbers])
        assert (out[~numbers] == 0x7FFF).all()


@pytest.mark.parametrize(
    "x", [0.1, -(2.0**-24), 70000.0, 1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-11 + 2.0**-40]
)
def test_doubles_are_rounded_once_and_storage_converts(x: float) -> None:
    half, bfloat16, back = np.zeros(1, "f2"), np.zeros(1, "u2"), np.zeros(4, "f4")
    launch("stored", 1, np.array([x]), half, bfloat16, back)
    with np.errstate(over="ignore"):
        assert half[0] == np.float64(x).astype("f2")
        assert back[0] == np.float32(x).astype("f2")
    step = 2.0 ** (np.floor(np.log2(abs(x))) - 7)
    assert back[1] == 4
    assert back[2] == np.round(x / step) * step
    assert np.isnan(back[3])  # shared memory holds no number before it is written
