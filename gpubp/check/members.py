"""Two members of an ensemble at once, against each of them alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..bound import Bound
from ..layers import Layer
from ..storage import Shape
from .report import Row
from .tolerance import error, tolerance


def members(layer: Layer, inputs: Shape, x: Any, dy: Any) -> Iterator[Row]:
    """Compare outputs and gradients: the leading axis must go through untouched.

    Once with an input that both members share, as in the first layer of a network, and once with
    one for each, as behind a layer that has weights.

    >>> import gpubp
    >>> rows = list(members(gpubp.Linear(2), (3,), np.ones((4, 3)), np.ones((4, 2))))
    >>> len(rows), all(row.ok for row in rows)
    (8, True)
    """
    yield from _compared(layer, inputs, [x, x], dy, "of two members, each as alone")
    apart = [x, x[::-1].copy()]
    yield from _compared(layer, inputs, apart, dy, "of two members, each with its own x")


def _compared(layer: Layer, inputs: Shape, pair: list[Any], dy: Any, of: str) -> Iterator[Row]:
    shared = pair[0] is pair[1]
    together = Bound(layer, inputs, dtype="float64", seed=1, members=2)
    y, context = together._forward(pair[0] if shared else np.stack(pair), training=True)
    alone = [Bound(layer, inputs, dtype="float64", seed=1 + k) for k in range(2)]
    passes = [net.forward(x) for net, x in zip(alone, pair, strict=True)]
    yield _row(f"output {of}", y, [y for y, _ in passes])
    dx = together._backward(context, np.array(np.broadcast_to(dy, y.shape)), input_gradient=True)
    dxs = [
        net.backward(context, dy, input_gradient=True)
        for net, (_, context) in zip(alone, passes, strict=True)
    ]
    yield _row(f"input gradient {of}", dx, dxs)
    gradients = [net.gradients() for net in alone]
    for path, found in together.gradients().items():
        yield _row(f"gradient of {path} {of}", found, [each[path] for each in gradients])


def _row(what: str, found: Any, alone: list[Any]) -> Row:
    expected = np.stack(alone)
    if found.shape == expected.shape[1:]:  # nothing in it that tells members apart
        found = np.stack([found, found])
    off = error(found, expected) if found.shape == expected.shape else math.inf
    # As long a sum as there may be: that of all numbers there are.
    allowed = tolerance("float64", expected, expected.size)
    return Row("members", "float64", what, off, allowed)
