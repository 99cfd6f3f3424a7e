"""Faults planted in kernels: each is told of, or gives a wrong result under some seed."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests import simt
from tests.conftest import require, rng

pytestmark = pytest.mark.thorough

require("g++")

SEEDS = range(20)
X = rng().normal(size=(4, 64)).astype("f4").round(1) * 4  # sums in any order are exact


def outcome(text: str, seed: int) -> Any:
    """What the kernel `k` writes to `out`, which holds no numbers before, or what is told of it."""
    out = np.full(4, np.nan, "f4")
    try:
        given = [X.ctypes.data, out.ctypes.data]
        simt.function(text, "k", single=True).launch((4,), (64,), given, 0, seed)
    except simt.KernelError as error:
        return str(error)
    return out


SUM = r"""
#define FULL 0xffffffffu
extern "C" __global__ void k(const float* x, float* out) {
  __shared__ float part[2];
  float sum = x[blockIdx.x * 64 + threadIdx.x];
  for (int by = 16; by; by /= 2) sum += __shfl_xor_sync(FULL, sum, by);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) out[blockIdx.x] = part[0] + part[1];
}"""

NEIGHBOUR = r"""
extern "C" __global__ void k(const float* x, float* out) {
  __shared__ float s[64];
  int t = threadIdx.x, warp = t & 32;
  s[t] = x[blockIdx.x * 64 + t];
  __syncwarp();
  float next = s[warp + (t + 1) % 32];
  __syncwarp();
  s[t] = next;
  __syncthreads();
  if (t == 0) {
    float sum = 0.0f;
    for (int i = 0; i < 64; ++i) sum += s[i];
    out[blockIdx.x] = sum;
  }
}"""


@pytest.mark.parametrize("text", [SUM, NEIGHBOUR])
def test_a_sound_kernel_is_right_under_every_seed(text: str) -> None:
    for seed in range(100):
        assert np.allclose(outcome(text, seed), X.sum(1), rtol=1e-6)


def without(text: str, part: str, instead: str = "", which: int = 0) -> str:
    """The text with one occurrence of a part of it replaced."""
    pieces = text.split(part)
    assert len(pieces) > which + 1
    return part.join(pieces[: which + 1]) + instead + part.join(pieces[which + 1 :])


WRONG = {
    "no __syncthreads before shared memory is read": without(SUM, "__syncthreads();"),
    "a partial sum that is not written": without(SUM, "part[threadIdx.x / 32]", "part[0]"),
    "shared memory read before anything wrote it": without(SUM, "= sum;", "+= sum;"),
    "a result that nobody writes": without(SUM, "out[blockIdx.x]", "part[0]"),
    "no __syncwarp after a write": without(NEIGHBOUR, "__syncwarp();"),
    "no __syncwarp before the next write": without(NEIGHBOUR, "__syncwarp();", which=1),
    "no __syncthreads at the end": without(NEIGHBOUR, "__syncthreads();"),
    "blocks that count on their order": without(
        SUM, "part[0] + part[1];", "part[0] + part[1] + (blockIdx.x ? 0.0f * out[blockIdx.x - 1] "
        ": 0.0f);"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_a_fault_gives_a_wrong_result_under_some_seed(fault: str) -> None:
    found = [outcome(WRONG[fault], seed) for seed in SEEDS]
    assert all(isinstance(out, np.ndarray) for out in found)
    assert not all(np.allclose(out, X.sum(1), rtol=1e-6) for out in found)


BODY = r"""
struct alignas(16) Four { float at[4]; };
extern "C" __global__ void k(const float* x, float* out) {
  __shared__ float s[64];
  int t = threadIdx.x;
  %s
}"""

TOLD = [
    ("if (t < 32) __syncthreads();", "(line 6, and .* have ended|has ended, and .* at a barrier)"),
    ("if (t < 7) return; __syncthreads();", "have ended|has ended"),
    ("if (t < 7) __syncthreads(); else\n __syncthreads();",
     "is at __syncthreads in line [67], and thread .* is at __syncthreads in line [67]"),
    ("if (t == 7) __syncwarp(); else __syncthreads();", "waits for ever at .* thread .* waits at"),
    ("__syncwarp(0xfffffffe);", "__syncwarp in line 6: lane 0 is not in its mask 0xfffffffe"),
    ("s[t] = __shfl_xor_sync(0xffffu, x[t], 1);", "in line 6: lane .. is not in its mask"),
    ("if (t % 32 < 16) s[t] = __shfl_xor_sync(0xffffu, x[t], 16);",
     "reads lane .*, which is not in its mask 0x0000ffff"),
    ("if (t % 2) t = __shfl_xor_sync(~0u, t, 1);\n else t = __shfl_xor_sync(~0u, t, 1);",
     "line [67] .*, and lane .* of its warp is at __shfl_xor_sync in line [67]"),
    ("if (t % 2) s[t] = __shfl_xor_sync(~0u, x[t], 1);",
     "(has ended, and thread .* waits for it|mask 0xffffffff names lanes that have ended)"),
    ("__shfl_xor_sync(t % 2 ? ~0u : 0x55555555u, 1, 2);", "lane .* of its warp is at .*mask|ended"),
    ("s[t] = __shfl_down_sync(~0u, x[t], 1, 12);", "a width is 1, 2, 4, 8, 16 or 32, not 12"),
    ("for (int i = t; i < 65; ++i) s[i] = 0.0f;", "line 6: index 64 is out of bounds"),
    ("*(Four*)(out + 1) = *(const Four*)x;", "line 6: address .* must be a multiple of 16"),
    ("out = nullptr; out[0] = s[t];", "line 6 goes through a null pointer"),
    ("out[0] = float(1 << (t - 70));", "line 6 shifts by"),
    ("out[0] = float(7 / (t - t));", "line 6 divides an integer by zero"),
    ("extern __shared__ float more[]; more[t] = 0.0f;",
     "wrote to byte 0 of its dynamic shared memory, which has 0"),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def together() -> None:
    """Compile all with one call."""
    texts = [SUM, NEIGHBOUR, *WRONG.values(), *(BODY % line for line, _ in TOLD)]
    simt.compile_all(texts, single=True)


@pytest.mark.parametrize(("line", "why"), TOLD)
def test_what_a_gpu_leaves_undefined_is_told_of(line: str, why: str) -> None:
    for seed in SEEDS:
        told = outcome(BODY % line, seed)
        assert isinstance(told, str)
        assert re.match(r"k: (block|a block wrote)", told)
        assert re.search(why, told), told


def test_a_warp_has_only_the_lanes_that_there_are() -> None:
    kernel = simt.function(SUM, "k", single=True)
    out = np.zeros(4, "f4")
    with pytest.raises(simt.KernelError, match=r"lanes that the warp has not \(it has 0x0000ffff"):
        kernel.launch((4,), (48,), [X.ctypes.data, out.ctypes.data])
    kernel.launch((4,), (64,), [X.ctypes.data, out.ctypes.data])  # after an error, all is well
    assert np.allclose(out, X.sum(1), rtol=1e-6)


def test_whoever_has_ended_is_not_waited_for() -> None:
    text = BODY % "if (t) __syncwarp(3u);"
    told = set()
    for seed in SEEDS:
        with pytest.raises(simt.KernelError) as caught:
            simt.function(text, "k", single=True).launch((1,), (2,), [0, 0], seed=seed)
        told.add(str(caught.value).split(": ")[2])
    assert told == {
        "has ended, and thread 1 waits for it at __syncwarp in line 6 (mask 0x00000003)",
        "__syncwarp in line 6",  # its mask names who has ended
    }


def test_lanes_may_go_their_own_ways_where_their_masks_say_so() -> None:
    text = BODY % (
        "float v = x[t]; unsigned half = t % 32 < 8 ? 0xffu : 0xffffff00u;\n"
        "if (t % 32 < 8) for (int by = 1; by < 8; by *= 2) v += __shfl_xor_sync(half, v, by);\n"
        "else v = __ballot_sync(half, 1) == half ? 0.0f : 1e9f;\n"
        "__syncwarp(); s[t] = v; __syncthreads();\n"
        "if (t == 0) out[blockIdx.x] = s[3] + s[37] + s[20];"
    )
    for seed in SEEDS:
        expected = X[:, :8].sum(1)
        found = np.zeros(4, "f4")
        x = np.concatenate([X[:, :32], X[:, :32]], 1)
        given = [x.ctypes.data, found.ctypes.data]
        simt.function(text, "k", single=True).launch((1,), (64,), given, seed=seed)
        assert np.allclose(found[0], 2 * expected[0], rtol=1e-6)
