"""Does the same call on the same numbers give the same bits again?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from . import Result, Row, attempt, gpu, kernels
from .blas import Blas
from .kinds import KINDS, encode, uniform
from .lt import Lt, Matmul

RUNS = 10


def probe() -> Iterator[Row]:
    """Run each case again and again; the last one adds by atomics and need not agree."""
    cp = gpu()
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        for cases in (product_cases, reduction_cases, kernel_cases):
            for name, call in cases(cp, stream):
                yield name, attempt(repeated, call)


def repeated(call: Callable[[], Any]) -> Result:
    """Return the number of runs and of results that differ in at least one bit."""
    digests = {hashlib.sha256(call().tobytes()).digest() for _ in range(RUNS)}
    return {"equal": len(digests) == 1, "runs": RUNS, "distinct": len(digests)}


def product_cases(cp: Any, stream: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Products, with a long inner axis that invites a split."""
    blas, lt = Blas(cp, stream), Lt(cp, stream)
    for m, k, n in ((1024, 1024, 1024), (63, 16384, 65)):
        a, b = uniform(cp, (m, k), 1), uniform(cp, (k, n), 2)
        for dtype in ("float32", "float64"):
            x, y = a.astype(dtype), b.astype(dtype)
            yield f"cupy.matmul {dtype} {m}x{k}x{n}", partial(cp.matmul, x, y)
        for kind in KINDS:
            x, y = encode(kind, a), encode(kind, b)
            call = blas.product(kind, x, y, cp.empty((m, n), x.dtype))
            yield f"cublasGemmEx {kind} {m}x{k}x{n}", call
    x, dy = uniform(cp, (4096, 256), 1).astype("f4"), uniform(cp, (4096, 128), 2).astype("f4")
    d, bias = cp.empty((256, 128), "f4"), cp.empty(128, "f4")
    planned = Matmul("float32", "BGRADA", x, dy, d, bias, ta=True)
    planned.plan(lt)
    yield "cublasLtMatmul BGRADA", lambda: cp.concatenate([planned().ravel(), bias])


def reduction_cases(cp: Any, stream: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Reductions over each axis and over all, by CuPy's kernels and by CUB."""
    x = uniform(cp, (4096, 4095), 3).astype("f4")
    for name, accelerators in {"": [], ", CUB": ["cub"]}.items():
        for axis in (-1, -2, None):

            def call(accelerators: list[str] = accelerators, axis: int | None = axis) -> Any:
                cp._core.set_reduction_accelerators(accelerators)
                cp._core.set_routine_accelerators(accelerators)
                return cp.sum(x, axis=axis)

            yield f"sum, axis {axis}{name}", call


def kernel_cases(cp: Any, stream: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Kernels of one thread an element, and a sum by atomics."""
    delta, z = (uniform(cp, (1 << 20,), seed).astype("f4") for seed in range(2))
    pullback, draw, adam = kernels.gelu_pullback(cp), kernels.raw_bits(cp), kernels.adam(cp)
    key, drawn = cp.asarray([1, 2, 3], dtype="u4"), cp.empty(1 << 20, "u4")
    where = (draw(drawn, key) % 64).astype("i4")

    def updated() -> Any:
        state = [z.copy(), delta * 0.1, delta * delta]
        return cp.concatenate(adam(delta, 1e-3, 10.0, 1000.0, *state))

    def scattered() -> Any:
        out = cp.zeros(64, "f4")
        cp.add.at(out, where, delta)
        return out

    yield "ElementwiseKernel, gelu pullback", lambda: pullback(delta, z)
    yield "ElementwiseKernel, Adam", updated
    yield "RawKernel, dropout bits", lambda: draw(drawn, key)
    yield "add.at, by atomics", scattered
