"""Backpropagation against central differences, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..activations import ACTIVATIONS
from ..bound import Bound
from ..diagnosis import instrument
from ..layers import Activation, Layer
from .report import Row
from .tolerance import error

STEP = 1e-6
LIMIT = 1e-7
"""The largest accepted max|numeric - g| / max(1, max|g|)."""

UNSOUND = "nothing more was compared: there are gradients that are missing or not finite"
"""The remark of a check that ends with finite differences."""

FROM_KINKS = 1e-3
Objective = Callable[[Any], tuple[float, Any]]
"""Takes the raw output to a value and its gradient."""


def gradients(net: Bound, x: Any, objective: Objective, samples: int = 40) -> list[Row]:
    """Compare all gradients of `objective(net(x))` with central differences.

    `net` is a float64 network on the CPU; of each array up to `samples` elements are moved by
    1e-6, features that are categories left alone. Random bits stay the same, for the step does;
    running state is not changed.
    """
    x = np.array(x, dtype=np.float64)
    y, context = net.forward(x)
    _, delta = objective(y)
    dx = net.backward(context, delta, input_gradient=True)
    given, found = set(net.arrays.written), net.gradients()
    net.zero_grad()

    def value() -> float:
        return objective(net.forward(x)[0])[0]

    rows = [differences("gradient of input", x, dx, value, samples, net.spec.categories)]
    for path, gradient in found.items():
        row = differences(f"gradient of {path}", net.parameter(path), gradient, value, samples)
        if not row.ok and path not in given:
            name = path.rpartition(".")[2]
            row = replace(row, note=f"backward adds nothing to it: g.add({name!r}, ...)")
        rows.append(row)
    return rows


def differences(
    what: str,
    array: Any,
    analytic: Any,
    value: Callable[[], float],
    samples: int = 40,
    categories: tuple[int, ...] = (),
) -> Row:
    """Compare the gradient of `value()` for `array`, which is moved in place, with differences.

    >>> x = np.asarray([1.0, 2.0])
    >>> differences("gradient", x, 2.0 * x, lambda: float((x * x).sum())).ok
    True
    """
    off, note = 0.0, ""
    if analytic is None:
        nothing = "backward returns None although run.wants_input_gradient is true"
        return Row("finite differences", "float64", what, math.inf, LIMIT, note=nothing)
    if tuple(analytic.shape) != tuple(array.shape):
        shapes = f"its shape is {tuple(analytic.shape)}, not {tuple(array.shape)}"
        return Row("finite differences", "float64", what, math.inf, LIMIT, note=shapes)
    for index in _some(array.shape, samples, categories):
        kept = array[index]
        array[index] = kept + STEP
        above = value()
        array[index] = kept - STEP
        below = value()
        array[index] = kept
        numeric = (above - below) / (2 * STEP)
        if (here := error(numeric, analytic[index])) > off:
            off = here
            at = list(map(int, index))
            note = f"at {at} backward gives {analytic[index]:.6g}, differences {numeric:.6g}"
    if not np.isfinite(analytic).all():  # those that were not sampled too
        off, note = math.inf, note or "it is not finite"
    largest = max(1.0, float(np.abs(analytic).max(initial=0.0)))
    row = Row("finite differences", "float64", what, off / largest, LIMIT)
    return row if row.ok else replace(row, note=note)


def _some(
    shape: tuple[int, ...], samples: int, categories: tuple[int, ...] = ()
) -> Iterator[tuple[int, ...]]:
    size = int(np.prod(shape))
    chosen = [i for i in range(size) if not (categories and categories[i % len(categories)])]
    if len(chosen) > samples:
        chosen = np.random.default_rng(0).choice(chosen, samples, replace=False).tolist()
    for flat in chosen:
        yield tuple(int(i) for i in np.unravel_index(flat, shape))


def away_from_kinks(net: Bound, batch: Callable[[int], Any], tries: int = 200) -> int:
    """Return the first i for which `batch(i)` keeps every weighted input 1e-3 from all kinks.

    If there is none, the one whose batch is farthest from them.
    """
    best, farthest = 0, -1.0
    for attempt in range(tries):
        distance = _distance(net, batch(attempt))
        if distance > farthest:
            best, farthest = attempt, distance
        if farthest >= FROM_KINKS:
            break
    return best


def _distance(net: Bound, x: Any) -> float:
    least = [float("inf")]

    def report(way: str, path: str, layer: Layer, given: Any, result: Any) -> Any:
        if isinstance(layer, Activation):
            for kink in ACTIVATIONS[layer.name].kinks:
                least.append(float(np.abs(given - kink).min()))
        return result

    probed = Bound(instrument(net.layer, report), net.inputs, dtype="float64", seed=net.seed)
    probed.load_state_dict(net.state_dict())
    probed.forward(x)
    return min(least)
