"""Look inside a pass: every leaf of a layer tree reports what went in and what came out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .backend import Array, Backend
from .layers import Layer
from .run import Run
from .storage import Gradients, Shape, Spec, Views

Report = Callable[[str, str, Layer, Array, Array], Array]
"""Called as `report("forward" | "backward", path, layer, what went in, what came out)`.

Returns what is handed on: what came out, or something to put in its place.
"""


@dataclass(frozen=True)
class Probe(Layer):
    """A layer that does what `body` does and reports it."""

    body: Layer
    report: Report

    def build(self, inputs: Shape) -> Spec:
        return self.body.build(inputs)

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Any]:
        y, context = self.body.forward(be, w, x, run)
        return self.report("forward", run.path, self.body, x, y), context

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Any, dy: Array, run: Run
    ) -> Array | None:
        dx = self.body.backward(be, w, g, ctx, dy, run)
        return self.report("backward", run.path, self.body, dy, dx)


def instrument(layer: Layer, report: Report) -> Layer:
    """Return a copy of a layer tree in which every leaf is probed.

    >>> import gpubp
    >>> seen = []
    >>> def watch(way, path, layer, given, result):
    ...     seen.append((way, path))
    ...     return result
    >>> net = gpubp.Network(instrument(gpubp.MLP([3], 1), watch), inputs=2)
    >>> _ = net.predict([[0.0, 0.0]])
    >>> seen
    [('forward', '0'), ('forward', '1'), ('forward', '2')]
    """
    return around(layer, lambda leaf: Probe(leaf, report))


def around(layer: Layer, wrap: Callable[[Layer], Layer]) -> Layer:
    """Return a copy of a layer tree with something in the place of every leaf.

    >>> import gpubp
    >>> around(gpubp.MLP([3], 1), lambda leaf: gpubp.layers.Identity()).layers[0]
    Identity()
    """
    inside = {name: value for name, value in vars(layer).items() if _holds_layers(value)}
    if not inside:
        return wrap(layer)
    copied = copy.copy(layer)
    for name, value in inside.items():
        new = (
            around(value, wrap)
            if isinstance(value, Layer)
            else tuple(around(item, wrap) for item in value)
        )
        object.__setattr__(copied, name, new)  # a frozen copy of our own, not yet handed out
    return copied


def _holds_layers(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(isinstance(item, Layer) for item in value)
    return isinstance(value, Layer)


def locate(
    layer: Layer, be: Backend, w: Views, g: Gradients, run: Run, x: Array, delta: Array
) -> tuple[str, str] | None:
    """Run a batch again with its `delta`; return what is not finite first, and its path."""
    found: list[tuple[str, str]] = []

    def look(what: str, path: str, array: Array | None) -> None:
        if not found and array is not None and not bool(be.xp.all(be.xp.isfinite(array))):
            found.append((what, path))

    def report(way: str, path: str, leaf: Layer, given: Array, result: Array) -> Array:
        what = "output" if way == "forward" else "input gradient"
        look(f"the {what} of layer {path!r} ({type(leaf).__name__})", path, result)
        return result

    probed = instrument(layer, report)
    _, context = probed.forward(be, w, x, run)
    look("the loss or its gradient", "loss", delta)
    probed.backward(be, w, g, context, delta, run)
    return found[0] if found else None
