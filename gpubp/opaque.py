"""Layers that cannot be recorded, in the midst of those that can.

What such a layer does is unknown to the program: one call for the forward pass and one for the
backward pass, which the layer itself makes on the plain path. The calls of one use belong together
by their number, under which the context of the forward pass is kept until it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .backend import Array
from .layers import Layer
from .program.recorder import Recorder
from .program.tensors import Tensor, Untraceable, Window
from .program.values import FLOAT, Region, Value
from .run import Run
from .storage import Gradients, Shape, Spec


class UntraceableLayer(Untraceable):
    """A layer of which the forward or the backward pass cannot be recorded."""

    def __init__(self, path: str, kind: str, why: str) -> None:
        super().__init__(f"layer {path!r} ({kind}): {why}")
        self.path = path


@dataclass(frozen=True)
class Passage:
    """One use of a layer in a step: the layer, and what its `Run` is made of beside arrays."""

    layer: Layer
    path: str
    spec: Spec
    on_entry: bool
    use: str


@dataclass(frozen=True)
class Trace:
    """What the backward pass of a layer refers to: its passage, and what went in and came out.

    Both stay in memory until then: the layer may have kept what it was given, and must have been
    there before it can go back.
    """

    passage: int
    x: Value
    y: Value
    taken: Shape


class OpaqueLayers:
    """Records the layers whose paths are among those `refused` as calls, in order.

    `refused` says for each path why it cannot be recorded.
    """

    def __init__(self, recorder: Recorder, refused: Mapping[str, str]) -> None:
        self.refused = refused
        self.passages: list[Passage] = []
        self._recorder = recorder

    def forward(self, layer: Layer, x: Tensor, run: Run) -> tuple[Array, Trace]:
        """Record a forward pass; `UntraceableLayer` for a layer that cannot be left to itself."""
        if _has_state(run.spec):
            kind = type(layer).__name__
            why = self.refused[run.path].removeprefix(f"layer {run.path!r} ({kind}): ")
            raise UntraceableLayer(run.path, kind, f"{why}; and it has running state, so that it "
                                   "cannot go the plain path alone")  # fmt: skip
        number, made = len(self.passages), tuple(run.spec.shape)
        path, _, spec, on_entry = run._parts
        self.passages.append(Passage(layer, path, spec, on_entry, run._use))
        given, taken = self._whole(x), tuple(x.shape[1:])
        shape = x.shape[0], *made
        y = self._call((given,), (number, "forward", taken, made), shape)
        return Tensor(self._recorder.graph, y, shape), Trace(number, given, y, taken)

    def backward(self, trace: Trace, g: Gradients, dy: Tensor, run: Run) -> Array | None:
        """Record a backward pass, which counts as having written all gradients of the layer."""
        delta, asked = self._whole(dy), run.wants_input_gradient
        made = trace.taken if asked else None
        turn = len(self._recorder.phases[-1].effects)  # so that none is taken for an earlier one
        attr = trace.passage, "backward", tuple(dy.shape[1:]), made, turn
        shape = (dy.shape[0], *trace.taken) if asked else ()
        dx = self._call((delta, trace.y, trace.x), attr, shape)
        self._recorder.effect(dx, list(_taken_over(g)))
        return Tensor(self._recorder.graph, dx, shape) if asked else None

    def _call(self, given: tuple[Value, ...], attr: tuple[object, ...], shape: Shape) -> Value:
        return self._recorder.graph.add("opaque", given, attr, *_axes(shape), FLOAT)

    def _whole(self, x: Tensor) -> Value:
        """The value of a batch of examples with all its rows and columns."""
        value, axes = x.value, _axes(x.shape)
        if (value.rows, value.cols) == axes:
            return value
        return self._recorder.graph.add("copy", (value,), None, *axes, value.kind)


def _axes(shape: Shape) -> tuple[int | None, int | None]:
    """Rows and columns of a batch of examples; of what nobody asks for, neither."""
    if not shape:
        return None, None
    return math.prod(shape[:-1]), shape[-1] if shape[-1] > 1 else None


def _has_state(spec: Spec) -> bool:
    return bool(spec.state) or any(map(_has_state, spec.children.values()))


def _taken_over(g: Gradients) -> Iterator[Region]:
    """Where the layer writes gradients, which nobody else is to do from now on."""
    for path, out in g._places.values():
        if path not in g._frozen:
            assert isinstance(out, Window)
            g._written.add(path)
            yield out.region
    for child in g.children:
        yield from _taken_over(child)
