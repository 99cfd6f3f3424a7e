"""Backpropagation against central differences, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
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
    found = net.gradients()
    net.zero_grad()

    def value() -> float:
        return objective(net.forward(x)[0])[0]

    moved = {path: net.parameter(path) for path in found}
    rows = [_row("input", x, dx, value, samples, net.spec.categories)]
    rows += [_row(path, moved[path], found[path], value, samples) for path in found]
    return rows


def _row(
    name: str,
    array: Any,
    analytic: Any,
    value: Callable[[], float],
    samples: int,
    categories: tuple[int, ...] = (),
) -> Row:
    off = 0.0
    for index in _some(array.shape, samples, categories):
        kept = array[index]
        array[index] = kept + STEP
        above = value()
        array[index] = kept - STEP
        below = value()
        array[index] = kept
        off = max(off, error((above - below) / (2 * STEP), analytic[index]))
    if not np.isfinite(analytic).all():  # those that were not sampled too
        off = math.inf
    largest = max(1.0, float(np.abs(analytic).max(initial=0.0)))
    return Row("finite differences", "float64", f"gradient of {name}", off / largest, LIMIT)


def _some(
    shape: tuple[int, ...], samples: int, categories: tuple[int, ...] = ()
) -> Iterator[tuple[int, ...]]:
    size = int(np.prod(shape))
    chosen = [i for i in range(size) if not (categories and categories[i % len(categories)])]
    if len(chosen) > samples:
        chosen = np.random.default_rng(0).choice(chosen, samples, replace=False).tolist()
    for flat in chosen:
        yield tuple(int(i) for i in np.unravel_index(flat, shape))


def examples(rng: Any, n: int, inputs: tuple[int, ...], categories: tuple[int, ...]) -> Any:
    """Draw n examples: normal numbers, and any of its categories where a feature is one.

    >>> examples(np.random.default_rng(0), 2, (3,), (0, 1, 0))[:, 1].tolist()
    [0.0, 0.0]
    """
    x = rng.normal(size=(n, *inputs))
    if any(categories):
        counts = np.reshape(categories, inputs)
        x = np.where(counts > 0, rng.integers(0, np.maximum(counts, 1), x.shape), x)
    return x


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
