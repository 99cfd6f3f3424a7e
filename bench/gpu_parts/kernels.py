"""The derivatives of activations, as a share of the bandwidth of a copy in the same process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import gpubp
from gpubp.activations import ACTIVATIONS, Activation
from gpubp.check.tolerance import error, tolerance

from ..gpu_contenders import Setting
from ..kernel_texts import launched
from ..probes import Result, Row, attempt, gpu
from . import Budget
from .ceilings import fastest, host_seconds

SIZE = 64 << 20
"""Elements of an array: 256 MiB in float32, so that no cache holds the three of them."""
_TINY = 1 << 12
_CHECKED = 1 << 16
_BYTES = 3 * 4  # delta and what was kept are read, dz is written

Seconds = Callable[[Callable[[], Any]], float | None]


def probe(setting: Setting, budget: Budget) -> Iterator[Row]:
    """Measure the copy, then each pullback of the library, correctness first."""
    be, size = gpubp.select(setting.device), _TINY if setting.tiny else SIZE
    if setting.dry:
        yield from _all(be, size, setting, _host_copy(size), host_seconds)
        return
    from ..probes import ceilings
    from ..probes.clock import Clock

    cp = gpu()
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        clock = Clock(cp, stream)

        def seconds(call: Callable[[], Any]) -> float | None:
            us: float | None = clock.device(lambda i: call())["device_us"]
            return us and us / 1e6

        ceiling = fastest(ceilings.copies(cp, clock))
        cp.get_default_memory_pool().free_all_blocks()
        yield from _all(be, size, setting, ceiling, seconds)


def _all(be: Any, size: int, setting: Setting, ceiling: Result, seconds: Seconds) -> Iterator[Row]:
    yield "copy", ceiling
    rng = np.random.default_rng(1)
    delta, z = (be.asarray(3.0 * rng.standard_normal(size, np.float32)) for _ in range(2))
    for name, activation in ACTIVATIONS.items():
        if name == "identity":  # it reads delta alone
            continue
        yield name, attempt(_one, be, activation, delta, z, setting, ceiling, seconds)


def _one(
    be: Any, activation: Activation, delta: Any, z: Any, setting: Setting, ceiling: Result,
    seconds: Seconds,
) -> Result:  # fmt: skip
    with launched(setting.device) as kernels:
        kept = z if activation.keeps == "z" else be.map(activation.f, z)
        off = _difference(be, activation, delta, kept)
    spent = seconds(lambda: be.map(activation.pullback, delta, kept))
    rate = spent and _BYTES * len(z) / spent / 1e9
    copy = ceiling["gb_per_s"]
    return {
        "us": spent and round(spent * 1e6, 2), "gb_per_s": rate and round(rate, 1),
        "share_of_copy": round(rate / copy, 3) if rate and copy else None,
        "elements": len(z), "error_in_tolerances": round(off, 3), "kernels": dict(kernels),
    }  # fmt: skip


def _difference(be: Any, activation: Activation, delta: Any, kept: Any) -> float:
    """How far some elements are from the formula on the host, in tolerances; above 1 raises."""
    out = be.map(activation.pullback, delta, kept)
    step = max(1, len(out) // _CHECKED)
    given, *arguments = (be.to_numpy(a[::step]) for a in (out, delta, kept))
    with np.errstate(all="ignore"):
        wanted = activation.pullback(np, *arguments)
    found = error(given, wanted) / tolerance("float32", wanted)
    if not found <= 1.0:
        raise ArithmeticError(f"differs from the formula on the host by {found:.3g} tolerances")
    return found


def _host_copy(size: int) -> Result:
    x = np.random.default_rng(0).random(size, np.float32)
    y = np.empty_like(x)
    return {"gb_per_s": 2 * x.nbytes / host_seconds(lambda: np.copyto(y, x)) / 1e9}
