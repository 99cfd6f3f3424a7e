"""Passes of single layers on the plain path, in the midst of compiled steps of their network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .backend import Array
from .bound import Bound
from .layers import Layer
from .opaque import Passage
from .run import Run
from .storage import Gradients, Views


class _Placed:
    """A layer with its part of the arrays of a network."""

    def __init__(self, net: Bound, passage: Passage) -> None:
        arrays, path = net.arrays, passage.path
        self.layer: Layer = passage.layer
        self.w: Views = _inside(arrays.w, path)
        self.g: Gradients = _inside(arrays.g, path)
        state = _inside(arrays.state, path)
        self.run = Run(net._pass, path, state, passage.spec, passage.on_entry, passage.use)
        self.context: Any = None


class Passages:
    """The passes of the layers that `gpubp.opaque` recorded, over the arrays of `net`.

    Gradients go where they belong, by the layer's own hand; an error of a layer is raised as it
    is. Between `begin` and `end` there is one training step.
    """

    def __init__(self, net: Bound, passages: Sequence[Passage]) -> None:
        self._be, self._pass, self._written = net.be, net._pass, net.arrays.written
        self._placed = [_Placed(net, passage) for passage in passages]
        gradients = dict(pair for placed in self._placed for pair in _parameters(placed.g))
        self._gradients = {p: out for p, out in gradients.items() if p not in net.frozen}

    def begin(self, step: int) -> None:
        """Begin the step behind `step` updates."""
        shared = self._pass
        shared.training, shared.wants_input_gradient, shared.first_row = True, False, 0
        shared.pending = {}
        shared.step = step
        self._written.clear()

    def do(self, passage: int, way: str, given: Array) -> Array | None:
        """Make a forward or a backward pass, and return what the layer does."""
        placed = self._placed[passage]
        layer, be, w, run = placed.layer, self._be, placed.w, placed.run
        if way == "forward":
            y, placed.context = layer.forward(be, w, given, run)
            return y
        return layer.backward(be, w, placed.g, placed.context, given, run)

    def settle(self) -> None:
        """Set the gradients to zero to which no pass of this step has added."""
        for path, out in self._gradients.items():
            if path not in self._written:
                self._be.write(out, self._be.zeros(tuple(out.shape)))

    def end(self, step: int) -> None:
        """Forget what the step left, whether it was finished or not; `step` updates count."""
        for placed in self._placed:
            placed.context = None
        self._written.clear()
        self._pass.step = step


def _inside(tree: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        tree = getattr(tree, name)
    return tree


def _parameters(g: Gradients) -> Iterator[tuple[str, Array]]:
    yield from g._places.values()
    for child in g.children:
        yield from _parameters(child)
