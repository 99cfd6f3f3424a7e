"""Layers one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import Array, Backend
from ..run import Run
from ..storage import Gradients, Shape, Spec, Views
from .arguments import sublayers
from .base import Layer
from .categories import chained


@dataclass(frozen=True, init=False)
class Sequential(Layer):
    """The layers applied in order; their parameters are named `0.W`, `0.b`, `2.W` and so on.

    The article's recursion is the loop in `backward`: each layer turns the delta of the layer
    above into its own. Raises `InputError` for anything that is not a layer.

    >>> import gpubp
    >>> body = gpubp.Sequential(gpubp.Linear(3), gpubp.Activation("tanh"), gpubp.Linear(1))
    >>> list(gpubp.Network(body, inputs=2).state_dict())
    ['0.W', '0.b', '2.W', '2.b']
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        object.__setattr__(self, "layers", sublayers("Sequential", layers))

    def build(self, inputs: Shape) -> Spec:
        children: dict[str, Spec] = {}
        entry: list[str] = []
        shape, met = inputs, False
        for name, layer in enumerate(self.layers):
            if not met:
                entry.append(str(name))
            children[str(name)] = layer.build(shape)
            shape, met = children[str(name)].shape, met or children[str(name)].trainable
        categories, selects = chained("Sequential", list(children.values()), inputs)
        return Spec(
            shape, children=children, entry=tuple(entry), categories=categories, selects=selects
        )

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, list[Any]]:
        contexts = []
        for layer, w_l, run_l in zip(self.layers, w.children, run.children, strict=True):
            x, context = layer.forward(be, w_l, x, run_l)
            contexts.append(context)
        return x, contexts

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: list[Any], dy: Array, run: Run
    ) -> Array | None:
        delta: Array | None = dy
        for i in reversed(range(len(self.layers))):
            if delta is None:  # below the first parameters nobody asked for a gradient
                break
            delta = self.layers[i].backward(
                be, w.children[i], g.children[i], ctx[i], delta, run.children[i]
            )
        return delta
