"""How much of the bandwidth of a copy do fused kernels reach, and how much do CuPy's ufuncs?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

from gpubp.activations import ACTIVATIONS

from . import Result, Row, attempt, gpu, kernels
from .ceilings import copies, rated
from .clock import Clock
from .kinds import relative_error, uniform

SIZE = 1 << 24
SETS = 3  # of arrays, used in turn: together they are far larger than any cache
TOLERANCE = 1e-5
RATE, FIX_M, FIX_V = 0.1, 10.0, 1000.0


Arrays: TypeAlias = list[Any]
Way: TypeAlias = Callable[[Arrays], Arrays]


class Formula(NamedTuple):
    """One computation in two ways, the bytes it has to move, and the arrays it starts from."""

    fused: Way
    unfused: Way
    bytes_moved: int
    arrays: Callable[[int], Arrays]


def probe() -> Iterator[Row]:
    """Measure the ceiling first, then each formula fused and unfused."""
    cp = gpu()
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        clock = Clock(cp, stream)
        ceilings = copies(cp, clock)
        for name, rate in ceilings.items():
            yield f"copy on the device, {name}", rate
        cp.get_default_memory_pool().free_all_blocks()
        ceiling = max(rate["gb_per_s"] or 0.0 for rate in ceilings.values())
        for name, formula in {"gelu pullback": gelu(cp), "Adam": adam(cp)}.items():
            yield f"{name}, agreement", attempt(agreement, formula)
            sets = [formula.arrays(seed) for seed in range(SETS)]
            for way, call in {"fused": formula.fused, "unfused": formula.unfused}.items():
                moved = formula.bytes_moved
                yield f"{name}, {way}", attempt(share, clock, call, sets, moved, ceiling)


def gelu(cp: Any) -> Formula:
    """Reads delta and z, writes dz."""
    kernel, pullback = kernels.gelu_pullback(cp), ACTIVATIONS["gelu_tanh"].pullback

    def arrays(seed: int) -> Arrays:
        return [uniform(cp, (SIZE,), 2 * seed + i).astype("f4") * 3 for i in range(2)]

    return Formula(lambda x: [kernel(*x)], lambda x: [pullback(cp, *x)], 12 * SIZE, arrays)


def adam(cp: Any) -> Formula:
    """Reads g, p, m and v, writes p, m and v."""
    kernel = kernels.adam(cp)

    def arrays(seed: int) -> Arrays:
        g, p, m = (uniform(cp, (SIZE,), 4 * seed + i).astype("f4") for i in range(3))
        return [g, p, 0.1 * m, uniform(cp, (SIZE,), 4 * seed + 3).astype("f4") ** 2]

    def fused(x: Arrays) -> Arrays:
        return list(kernel(x[0], RATE, FIX_M, FIX_V, *x[1:]))

    def unfused(x: Arrays) -> Arrays:
        g, p, m, v = x
        m[...] = 0.9 * m + 0.1 * g
        v[...] = 0.999 * v + 0.001 * g * g
        p -= RATE * (m * FIX_M) / (cp.sqrt(v * FIX_V) + 1e-8)
        return [p, m, v]

    return Formula(fused, unfused, 28 * SIZE, arrays)


def agreement(formula: Formula) -> Result:
    """Return how far the outputs of the two ways are apart, in float64."""
    outputs = formula.fused(formula.arrays(99)), formula.unfused(formula.arrays(99))
    pairs = zip(*outputs, strict=True)
    apart = [relative_error(a.astype("f8"), b.astype("f8")) for a, b in pairs]
    if not all(difference <= TOLERANCE for difference in apart):
        raise ArithmeticError(f"the two ways disagree: relative differences {apart}")
    return {"relative_difference": max(apart)}


def share(clock: Clock, call: Way, sets: list[Arrays], moved: int, ceiling: float) -> Result:
    """Return the rate of the bytes that have to be moved, also as a share of the ceiling."""
    result = rated(clock.device(lambda i: call(sets[i % len(sets)]), calls=6), moved)
    rate = result["gb_per_s"]
    return {"share_of_copy": round(rate / ceiling, 3) if rate and ceiling else None, **result}
