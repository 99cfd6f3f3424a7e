"""The ceilings of this machine: memory, the bus to the host, and matrix products."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import Result, Row, attempt, gpu
from .blas import Blas, version
from .clock import Clock
from .kinds import KINDS, decode, encode, relative_error, uniform

COPY_BYTES = 1 << 30
BUS_BYTES = 1 << 28
SIZE = 8192
CHECKED_ROWS = 4


def probe() -> Iterator[Row]:
    """Measure each ceiling on random numbers, never on zeros: those run faster."""
    cp = gpu()
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        clock = Clock(cp, stream)
        for name, rate in copies(cp, clock).items():
            yield f"copy on the device, {name}", rate
        for name, pinned in {"pinned": True, "pageable": False}.items():
            yield f"copy from the host, {name}", attempt(bus, cp, clock, pinned)
        yield "cuBLAS", attempt(lambda: {"version": version()})
        for kind in KINDS:
            yield f"product {kind}", attempt(product, cp, clock, kind)
            cp.get_default_memory_pool().free_all_blocks()


def copies(cp: Any, clock: Clock) -> dict[str, Result]:
    """Return the rate of a large copy, by the copy engine's call and by a kernel."""
    sources = [uniform(cp, (COPY_BYTES // 8,), seed) for seed in range(2)]
    targets = [cp.empty_like(source) for source in sources]
    kernel = cp.ElementwiseKernel("T x", "T y", "y = x", "copy_kernel")

    def by_call(i: int) -> None:
        targets[i % 2].data.copy_from_device_async(sources[i % 2].data, COPY_BYTES, clock.stream)

    def by_kernel(i: int) -> None:
        kernel(sources[i % 2], targets[i % 2])

    calls = {"memcpyAsync": by_call, "kernel": by_kernel}
    return {name: rated(clock.device(call, 4), 2 * COPY_BYTES) for name, call in calls.items()}


def rated(time: Result, moved: int) -> Result:
    """Add bytes a second, read plus written."""
    us = time["device_us"]
    return {"gb_per_s": us and round(moved / us / 1e3, 1), "bytes": moved, **time}


def bus(cp: Any, clock: Clock, pinned: bool) -> Result:
    """Return the rate of a copy from host memory, until it is done."""
    cupyx: Any = importlib.import_module("cupyx")
    make = cupyx.empty_pinned if pinned else np.empty
    sources = [make(BUS_BYTES // 8, "f8") for _ in range(2)]
    for seed, source in enumerate(sources):
        source[:] = np.random.default_rng(seed).random(source.size)
    target = cp.empty(BUS_BYTES // 8, "f8")
    runtime = cp.cuda.runtime

    def call(i: int) -> None:
        pointers = target.data.ptr, sources[i % 2].ctypes.data
        runtime.memcpyAsync(*pointers, BUS_BYTES, runtime.memcpyHostToDevice, clock.stream.ptr)

    clock.wall(call, 2)
    us = statistics.median(clock.wall(call, 2) for _ in range(7))
    return {"gb_per_s": round(BUS_BYTES / us / 1e3, 2), "wall_us": round(us, 1)}


def product(cp: Any, clock: Clock, kind: str) -> Result:
    """Return the rate of a large product, and the error of some of its rows."""
    shape = (SIZE, SIZE)
    a, b = ([encode(kind, uniform(cp, shape, 2 * i + j)) for i in range(2)] for j in range(2))
    c = cp.empty(shape, a[0].dtype)
    c.data.memset_async(0xFF, c.nbytes, clock.stream)
    blas = Blas(cp, clock.stream)
    calls = [blas.product(kind, a[i], b[i], c) for i in range(2)]
    calls[0]()
    got = decode(kind, c[:CHECKED_ROWS])
    expected = cp.matmul(decode(kind, a[0][:CHECKED_ROWS]), decode(kind, b[0]))
    error = relative_error(got, expected)
    if not error <= KINDS[kind].tolerance:
        raise ArithmeticError(f"the product is wrong: relative error {error:g}")
    time = clock.device(lambda i: calls[i % 2](), calls=4)
    us = time["device_us"]
    rate = us and round(2 * SIZE**3 / us / 1e6, 2)
    return {"tflop_per_s": rate, "relative_error": error, **time}
