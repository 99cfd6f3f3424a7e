"""The two ceilings of this run: a large copy in memory, and large matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np

from ..gpu_contenders import Setting
from ..probes import Result, Row, attempt, gpu
from . import Budget

KINDS = {"bf16": "bfloat16", "tf32": "tf32", "float32": "float32"}
"""Precisions by the names that probes have for them."""


def probe(setting: Setting, budget: Budget) -> Iterator[Row]:
    """Measure them on random numbers: on zeros both are faster."""
    if setting.dry:
        yield from _on_host()
        return
    from ..probes import ceilings
    from ..probes.clock import Clock

    cp = gpu()
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        clock = Clock(cp, stream)
        yield "copy", attempt(lambda: fastest(ceilings.copies(cp, clock)))
        cp.get_default_memory_pool().free_all_blocks()
        for name, kind in KINDS.items():
            yield f"product {name}", attempt(ceilings.product, cp, clock, kind)
            cp.get_default_memory_pool().free_all_blocks()


def fastest(copies: dict[str, Result]) -> Result:
    """Return the faster of the ways to copy; bytes are those read plus those written.

    >>> fastest({"a": {"gb_per_s": 1.0}, "b": {"gb_per_s": 2.0}, "c": {"gb_per_s": None}})
    {'way': 'b', 'gb_per_s': 2.0}
    """
    best = max(copies, key=lambda way: copies[way]["gb_per_s"] or 0.0)
    return {"way": best, **copies[best]}


def _on_host() -> Iterator[Row]:
    """The same of NumPy, on little data."""
    rng = np.random.default_rng(0)
    x, y = rng.random(1 << 16), np.empty(1 << 16)
    yield "copy", {"gb_per_s": 2 * x.nbytes / host_seconds(lambda: np.copyto(y, x)) / 1e9}
    a = rng.random((64, 64), np.float32)
    rate = 2 * 64**3 / host_seconds(lambda: a @ a) / 1e12
    for name in KINDS:
        yield f"product {name}", {"tflop_per_s": rate, "note": "float32, by NumPy"}


def host_seconds(call: Callable[[], Any], rounds: int = 5) -> float:
    """Return the median of the seconds of a call, by the host's clock."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return max(median(found), 1e-9)
