"""What the threads of a block and the lanes of a warp do together."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import require, rng
from tests.simt.launching import SEEDS, run

pytestmark = pytest.mark.thorough

require("g++")

REVERSED = r"""
extern "C" __global__ void k(const float* x, float* out) {
  extern __shared__ __align__(16) float moved[];
  __shared__ double kept[64];
  int t = threadIdx.x, last = blockDim.x - 1, first = blockIdx.x * blockDim.x;
  moved[t] = x[first + t];
  kept[t] = 2 * moved[t];
  __syncthreads();
  out[first + t] = moved[last - t] + kept[last - t];
}"""


def test_shared_memory_is_shared_by_a_block() -> None:
    x = rng().normal(size=(5, 50)).astype("f4")
    for seed in SEEDS:
        out = np.zeros_like(x)
        run(REVERSED, (5,), (50,), x, out, shared=200, seed=seed)
        assert np.array_equal(out, (3.0 * x[:, ::-1].astype("f8")).astype("f4"))


SHUFFLES = r"""
typedef %s T;
extern "C" __global__ void k(const T* x, T* out, int by, int width) {
  int t = threadIdx.x;
  out[4 * t] = __shfl_sync(0xffffffffu, x[t], by + t, width);
  out[4 * t + 1] = __shfl_up_sync(0xffffffffu, x[t], by, width);
  out[4 * t + 2] = __shfl_down_sync(0xffffffffu, x[t], by, width);
  out[4 * t + 3] = __shfl_xor_sync(0xffffffffu, x[t], by, width);
}"""

KINDS = {
    "float": "f4", "double": "f8", "int": "i4", "unsigned": "u4", "long long": "i8", "bool": "?",
    "__half": "f2",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_shuffles_read_the_lanes_that_they_name(kind: str) -> None:
    x = (rng().normal(size=64) * 100).astype(KINDS[kind])
    lane = np.arange(64) % 32
    for width in (1, 4, 16, 32):
        low, high, warp = lane & -width, lane | (width - 1), np.arange(64) & -32
        for by in (0, 1, 3, 8, 31):
            out = np.zeros((64, 4), x.dtype)
            run(SHUFFLES % kind, (1,), (64,), x, out, np.int32(by), np.int32(width), seed=by)
            ways = [low + (by + lane) % width, np.where(lane - by < low, lane, lane - by),
                    np.where(lane + by > high, lane, lane + by),
                    np.where(lane ^ by > high, lane, lane ^ by)]  # fmt: skip
            assert np.array_equal(out, x[np.stack([warp + w for w in ways], 1)])


VOTES = r"""
extern "C" __global__ void k(const int* x, unsigned* out) {
  int t = threadIdx.x, p = x[t];
  unsigned half = t % 32 < 16 ? 0x0000ffffu : 0xffff0000u, *own = out + 6 * t;
  own[0] = __ballot_sync(half, p);
  own[1] = __any_sync(half, p);
  own[2] = __all_sync(half, p);
  own[3] = __syncthreads_count(p);
  own[4] = __syncthreads_or(p);
  own[5] = __syncthreads_and(p);
}"""


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_votes_count_those_who_vote(share: float) -> None:
    x = (rng(3).random(96) < share).astype("i4") * 6
    for seed in SEEDS:
        out = np.zeros((96, 6), "u4")
        run(VOTES, (1,), (96,), x, out, seed=seed)
        for t in range(96):
            of = (x[t & -16 : (t & -16) + 16] != 0).tolist()
            ballot = sum(1 << i for i, p in enumerate(of) if p) << (t & 16)
            all_of = [(x != 0).sum(), (x != 0).any(), (x != 0).all()]
            assert out[t].tolist() == [ballot, any(of), all(of), *all_of]


LAST = r"""
extern "C" __global__ void k(const int* x, int* parts, unsigned* arrived, int* out) {
  __shared__ bool last;
  int t = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(parts + blockIdx.x, x[t]);
  atomicMax(out + 1, x[t]);
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicInc(arrived, gridDim.x - 1) == gridDim.x - 1;
  __syncthreads();
  if (last && threadIdx.x == 0)
    for (int b = 0; b < gridDim.x; ++b) out[0] += atomicExch(parts + b, 0);
}"""


def test_the_last_block_adds_what_the_others_left() -> None:
    x = rng().integers(-1000, 1000, (7, 40)).astype("i4")
    parts, arrived = np.zeros(7, "i4"), np.zeros(1, "u4")
    for seed in SEEDS:
        out = np.array([0, -9999], "i4")
        run(LAST, (7,), (40,), x, parts, arrived, out, seed=seed)
        assert out.tolist() == [x.sum(), x.max()]
        assert not parts.any()
        assert arrived[0] == 0
