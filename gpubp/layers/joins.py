"""Layers side by side: each sees the same input, and their outputs are joined."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, pairwise
from operator import add, mul
from typing import Any

from ..backend import Array, Backend
from ..errors import InputError
from ..run import Run
from ..storage import Gradients, Shape, Spec, Views
from .arguments import sublayers
from .base import Layer
from .categories import merged


@dataclass(frozen=True, init=False)
class Branches(Layer):
    """The base of `Sum`, `Concatenate` and `Multiply`, which say how outputs are joined.

    dL/dx is the sum of what comes back through all layers. The outputs may differ in leading
    dimensions, for parameters have an axis of members that the input lacks: they broadcast.

    >>> import gpubp
    >>> isinstance(gpubp.layers.Sum(gpubp.Linear(2)), Branches)
    True
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        object.__setattr__(self, "layers", sublayers(type(self).__name__, layers))

    def joined(self, shapes: list[Shape]) -> Shape:
        """Return the shape of the joined output; `InputError` where shapes do not fit."""
        if len(set(shapes)) > 1:
            listed = " and ".join(map(str, shapes))
            raise InputError(f"{type(self).__name__}: its layers put out {listed}; they must match")
        return shapes[0]

    def join(self, be: Backend, outputs: list[Array]) -> tuple[Array, Any]:
        """Return the joined output and what `split` needs of it."""
        raise TypeError(f"{type(self).__name__} has no join(be, outputs)")

    def split(self, be: Backend, ctx: Any, dy: Array, shapes: list[Shape]) -> list[Array]:
        """Return the delta of each layer's output."""
        raise TypeError(f"{type(self).__name__} has no split(be, ctx, dy, shapes)")

    def build(self, inputs: Shape) -> Spec:
        children = {str(i): layer.build(inputs) for i, layer in enumerate(self.layers)}
        specs = list(children.values())
        shape = self.joined([spec.shape for spec in specs])
        categories = merged(type(self).__name__, [spec.categories for spec in specs])
        return Spec(shape, children=children, entry=tuple(children), categories=categories)

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Any]:
        outputs, contexts = [], []
        for layer, w_l, run_l in zip(self.layers, w.children, run.children, strict=True):
            y, context = layer.forward(be, w_l, x, run_l)
            outputs.append(y)
            contexts.append(context)
        y, kept = self.join(be, outputs)
        return y, (contexts, kept)

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Any, dy: Array, run: Run
    ) -> Array | None:
        contexts, kept = ctx
        deltas = self.split(be, kept, dy, [s.shape for s in run.spec.children.values()])
        parts = zip(
            self.layers, w.children, g.children, contexts, deltas, run.children, strict=True
        )
        found = [
            layer.backward(be, w_l, g_l, context, delta, run_l)
            for layer, w_l, g_l, context, delta, run_l in parts
        ]
        return reduce(add, found) if run.wants_input_gradient else None


@dataclass(frozen=True, init=False)
class Sum(Branches):
    """y = f(x) + g(x) + ..., the outputs of several layers of one shape.

    Raises `InputError` where their shapes differ.

    >>> import numpy as np
    >>> import gpubp
    >>> double = gpubp.layers.Sum(gpubp.layers.Identity(), gpubp.layers.Identity())
    >>> gpubp.Network(double, inputs=2).predict(np.asarray([[1.0, 2.0]])).tolist()
    [[2.0, 4.0]]
    """

    def join(self, be: Backend, outputs: list[Array]) -> tuple[Array, None]:
        return reduce(add, outputs), None

    def split(self, be: Backend, ctx: None, dy: Array, shapes: list[Shape]) -> list[Array]:
        return [dy] * len(shapes)


@dataclass(frozen=True, init=False)
class Multiply(Branches):
    """y = f(x) g(x) ..., element by element, the outputs of several layers of one shape.

    With a gate such as Sequential(Linear(n), Activation("sigmoid")) for one of them it is a gated
    linear unit. The delta of each is dy times the product of the others. Raises `InputError` where
    the shapes differ.

    >>> import numpy as np
    >>> import gpubp
    >>> square = gpubp.layers.Multiply(gpubp.layers.Identity(), gpubp.layers.Identity())
    >>> gpubp.Network(square, inputs=2).predict(np.asarray([[3.0, 2.0]])).tolist()
    [[9.0, 4.0]]
    """

    def join(self, be: Backend, outputs: list[Array]) -> tuple[Array, list[Array]]:
        return reduce(mul, outputs), outputs

    def split(self, be: Backend, ctx: list[Array], dy: Array, shapes: list[Shape]) -> list[Array]:
        outputs = ctx
        # dy times all before, and all behind, each: no division by an output that may be 0.
        before = list(accumulate(outputs[:-1], mul, initial=dy))
        if len(outputs) == 1:
            return before
        behind = list(accumulate(reversed(outputs[1:]), mul))[::-1]
        return [*map(mul, before, behind), before[-1]]


@dataclass(frozen=True, init=False)
class Concatenate(Branches):
    """y = [f(x), g(x), ...], the outputs of several layers joined along the last axis.

    Each layer's delta is its part of dy. Raises `InputError` where the shapes differ in another
    axis than the last.

    >>> import numpy as np
    >>> import gpubp
    >>> both = gpubp.layers.Concatenate(gpubp.layers.Identity(), gpubp.Activation("relu"))
    >>> gpubp.Network(both, inputs=2).predict(np.asarray([[-1.0, 2.0]])).tolist()
    [[-1.0, 2.0, 0.0, 2.0]]
    """

    def joined(self, shapes: list[Shape]) -> Shape:
        (first, *_) = {shape[:-1] for shape in shapes}
        if any(shape[:-1] != first for shape in shapes):
            listed = " and ".join(map(str, shapes))
            raise InputError(f"Concatenate: its layers put out {listed}; only the last may differ")
        return (*first, sum(shape[-1] for shape in shapes))

    def build(self, inputs: Shape) -> Spec:
        spec = super().build(inputs)
        parts = [child.selects for child in spec.children.values()]
        if len(spec.shape) > 1 or not all(parts):
            return spec
        return Spec(
            spec.shape,
            children=spec.children,
            entry=spec.entry,
            categories=spec.categories,
            selects=tuple(source for part in parts for source in part),
        )

    def join(self, be: Backend, outputs: list[Array]) -> tuple[Array, None]:
        return be.concat(outputs), None

    def split(self, be: Backend, ctx: None, dy: Array, shapes: list[Shape]) -> list[Array]:
        ends = list(accumulate((shape[-1] for shape in shapes), initial=0))
        return [dy[..., a:b] for a, b in pairwise(ends)]
