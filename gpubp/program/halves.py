"""Matrix products of 16-bit numbers: what they multiply is rounded, all else stays as it is.

Parameters and examples are read by products as rounded copies, which each step makes anew of the
master weights; a value computed in between is rounded once, and everything that follows takes it
as it was rounded. Products add up in float32, and what comes out of them is float32.

`"fp16"` has few exponents: small gradients would be rounded to zero. They are scaled, and a step
whose gradient overflows is left out and the scale halved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .recorder import Phase
from .values import FLOAT, HALF, Graph, Value

FIRST_SCALE, LARGEST_SCALE, STEADY = 1 << 16, 1 << 24, 2000
"""What gradients of 16 bits are multiplied by at first and at most, and the finite steps in a row
after which it is doubled."""


def first_scales(members: int | None) -> Any:
    """Return the scale of each member before the first step, and that it has had no step yet.

    >>> first_scales(None).tolist()
    [[65536.0, 0.0]]
    """
    return np.tile([float(FIRST_SCALE), 0.0], (members or 1, 1))


def halved(phases: Iterable[Phase]) -> list[Phase]:
    """Return the same phases with products of 16-bit numbers.

    >>> from .recorder import RecordingBackend
    >>> be = RecordingBackend("float32")
    >>> x = be.recorder.leaf("x", (8, 3), FLOAT, rows=8)
    >>> w = be.recorder.memory("theta", 6)
    >>> y = be.recorder.memory("new:y", 16).shaped((8, 2))
    >>> be.recorder.write(y.region, be.matmul(x, w.shaped((3, 2))))
    >>> [v.op + " " + v.kind for v in halved(be.recorder.phases)[0].graph.values]
    ['leaf T', 'leaf T', 'cast H', 'cast H', 'product T']
    """
    return [_Rewritten(phase).found for phase in phases]


@dataclass
class _Rewritten:
    """One phase, value by value; `_read` is what others take in the place of a value."""

    phase: Phase
    found: Phase = field(default_factory=Phase)
    _made: dict[Value, Value] = field(default_factory=dict)
    _read: dict[Value, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        old, graph = self.phase, self.found.graph
        factors = {a for v in old.graph.values if v.op == "product" for a in v.args}
        for value in old.graph.values:
            graph.origin = value.origin
            self._made[value] = self._read[value] = self._value(graph, value)
            if value in factors and value.op != "leaf":
                half = self._half(graph, self._made[value])
                self._read[value] = graph.value("cast", (half,), FLOAT)
        graph.origin = old.graph.origin
        self.found.sinks = {region: self._made[v] for region, v in old.sinks.items()}
        self.found.guard = None if old.guard is None else self._made[old.guard]
        self.found.effects = {self._made[v]: regions for v, regions in old.effects.items()}

    def _value(self, graph: Graph, value: Value) -> Value:
        if value.op == "product":
            args = tuple(self._half(graph, self._made[a]) for a in value.args)
        else:
            args = tuple(self._read[a] for a in value.args)
        return graph.add(value.op, args, value.attr, value.rows, value.cols, value.kind)

    def _half(self, graph: Graph, value: Value) -> Value:
        return graph.value("cast", (value,), HALF)
