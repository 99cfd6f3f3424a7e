"""Launches of kernels on the CPU, and what a text may say."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
import pytest

from tests import simt
from tests.conftest import require
from tests.simt.launching import SEEDS, run

pytestmark = pytest.mark.thorough

require("g++")

# -- launches --------------------------------------------------------------------------------------

PLACES = r"""
extern "C" __global__ void k(unsigned* out) {
  unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  out[block * threads + thread] += 1 + block * threads + thread;
}"""


@pytest.mark.parametrize(
    ("grid", "block"), [((1,), (1,)), ((7,), (33,)), ((2, 3, 5), (4, 3, 2)), ((3, 1), (1024,))]
)
def test_each_thread_of_each_block_runs_once(grid: Any, block: Any) -> None:
    n = math.prod(grid) * math.prod(block)
    for seed in SEEDS:
        out = np.zeros(n, "u4")
        run(PLACES, grid, block, out, seed=seed)
        assert np.array_equal(out, 1 + np.arange(n))


ORDER = r"""
extern "C" __global__ void k(unsigned* next, int* order) {
  order[atomicInc(next, ~0u)] = blockIdx.x * blockDim.x + threadIdx.x;
}"""


def test_the_order_is_drawn_from_the_seed() -> None:
    seen = []
    for seed in (*SEEDS, *SEEDS):
        order = np.full(6 * 64, -1, "i4")
        run(ORDER, (6,), (64,), np.zeros(1, "u4"), order, seed=seed)
        seen.append(order)
    half = len(SEEDS)
    for a, b in zip(seen[:half], seen[half:], strict=True):
        assert np.array_equal(a, b)
    assert len({order.tobytes() for order in seen}) == half
    assert len({order[0] // 64 for order in seen}) > 2  # blocks
    assert {(order[64] // 64 - order[0] // 64) % 6 for order in seen} == {1, 5}
    assert len({order[0] // 32 % 2 for order in seen}) == 2  # warps
    assert len({order[0] % 32 for order in seen}) > 6  # lanes
    assert all(len(set(order[i : i + 32] // 32)) == 1 for order in seen for i in range(0, 384, 32))


TYPES = r"""
struct Two { float x; int y; };
extern "C" __global__ void k(const float* p, bool b, int i, unsigned u, long long l,
                             unsigned long long q, float f, double d, __half h, Two two,
                             double* out) {
  double all[] = {p[0], b, i, u, l, q, f, d, __half2float(h), two.x, two.y};
  for (int j = 0; j < 11; ++j) out[j] = all[j];
}"""


class Two(ctypes.Structure):
    _fields_ = (("x", ctypes.c_float), ("y", ctypes.c_int))


def values() -> list[Any]:
    p, out = np.array([1.5], "f4"), np.zeros(11)
    return [p, np.bool_(True), np.int32(-3), np.uint32(2**32 - 1), np.int64(-(2**40)),
            np.uint64(2**60), np.float32(0.1), np.float64(0.1), np.float16(0.5), Two(2.5, -7),
            out]  # fmt: skip


def test_arguments_arrive_as_they_were_given() -> None:
    given = values()
    run(TYPES, (1,), (1,), *given)
    plain = [1.5, True, -3, 2**32 - 1, -(2**40), 2**60, np.float32(0.1), 0.1, 0.5, 2.5, -7]
    assert given[-1].tolist() == np.array(plain, float).tolist()


@pytest.mark.parametrize(
    ("at", "wrong", "why"),
    [
        (2, np.int64(3), "argument 2 is np.int64.3. of int64, and the kernel takes int32"),
        (2, 3, "argument 2 is 3 of int, and the kernel takes int32"),
        (1, True, "argument 1 is True of bool, and the kernel takes bool"),
        (6, np.float64(0.1), "the kernel takes float32"),
        (3, np.int32(1), "the kernel takes uint32"),
        (0, np.float64(1), r"takes an address \(an int\)"),
        (9, b"123", "takes a struct of 8 bytes"),
    ],
)
def test_an_argument_of_another_type_is_refused(at: int, wrong: Any, why: str) -> None:
    given = values()
    given[at] = wrong
    with pytest.raises(TypeError, match=why):
        run(TYPES, (1,), (1,), *given)


def test_arguments_that_are_packed_keep_their_values() -> None:
    kernel = simt.function(PLACES, "k")
    out = np.zeros(4, "u4")
    packed = kernel.pack([np.uint64(out.ctypes.data)])
    for _ in range(2):
        kernel.launch((2,), (2,), packed)
    assert out.tolist() == [2, 4, 6, 8]


BOUND = 'extern "C" __global__ void __launch_bounds__(64, 2) k(float* x) { x[0] = 1.0f; }'


def test_a_launch_that_no_gpu_takes_is_refused() -> None:
    x = np.zeros(1, "f4")
    with pytest.raises(ValueError, match="k: 65 threads a block, and at most 64"):
        run(BOUND, (1,), (65,), x)
    with pytest.raises(ValueError, match=r"k: grid \(0,\), of three counts"):
        run(BOUND, (0,), (1,), x)
    with pytest.raises(ValueError, match="block"):
        run(BOUND, (1,), (1, 1, 65), x)
    with pytest.raises(ValueError, match="shared=300000, which must be 0 to 232448"):
        run(BOUND, (1,), (1,), x, shared=300000)
    with pytest.raises(TypeError, match="0 arguments, and the kernel has 1 parameters"):
        run(BOUND, (1,), (1,))
    assert x[0] == 0


# -- texts -----------------------------------------------------------------------------------------


def test_texts_do_not_know_of_each_other() -> None:
    texts = [
        f"#define BY {n}\ntypedef {t} T;\n__constant__ T extra[2] = {{0, {n}}};\n"
        f"__device__ T more(T x) {{ __shared__ T s[{n}]; s[0] = x; return s[0] * BY + extra[1]; }}"
        '\nextern "C" __global__ void k(const T* x, T* out) { out[0] = more(x[0]); }'
        for n, t in ((2, "float"), (3, "double"), (5, "long long"))
    ]
    simt.compile_all(texts)
    for text, n, t in zip(texts, (2, 3, 5), ("f4", "f8", "i8"), strict=True):
        out = np.zeros(1, t)
        run(text, (1,), (1,), np.array([7], t), out)
        assert out[0] == 8 * n


def test_what_the_compiler_says_has_the_line_of_the_text() -> None:
    with pytest.raises(RuntimeError, match=r"k\.cu:2:.*nothing"):
        simt.compile_all(['extern "C" __global__ void k(float* x) {\n  x[0] = nothing;\n}'])
    with pytest.raises(KeyError, match=r"no kernel 'other'; it has \['k'\]"):
        simt.function(BOUND, "other")


def test_a_float_that_becomes_a_double_is_refused_on_request() -> None:
    text = 'extern "C" __global__ void k(float* x) { x[0] = x[0] * 0.1; }'
    simt.compile_all([text])
    with pytest.raises(RuntimeError, match="double-promotion"):
        simt.compile_all([text], single=True)
    simt.compile_all([text.replace("0.1", "0.1f")], single=True)


@pytest.mark.parametrize("kind", ["float", "double"])
def test_sums_of_floats_by_atomics_do_not_compile(kind: str) -> None:
    text = f'extern "C" __global__ void k({kind}* x) {{ atomicAdd(x, {kind}(1)); }}'
    with pytest.raises(RuntimeError, match="deleted function"):
        simt.compile_all([text])
