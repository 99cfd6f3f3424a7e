"""An activation as a layer."""

from __future__ import annotations

from dataclasses import dataclass

from ..activations import ACTIVATIONS
from ..backend import Array, Backend
from ..errors import named
from ..run import Run
from ..storage import Gradients, Shape, Spec, Views
from .base import Layer


@dataclass(frozen=True)
class Activation(Layer):
    """a = f(z), element by element; dL/dz = dL/da * f'(z). Any shape in, the same shape out.

    `name` is one of `gpubp.activations.ACTIVATIONS`; `InputError` for any other.

    >>> import numpy as np
    >>> import gpubp
    >>> net = gpubp.Network(gpubp.Activation("relu"), inputs=2)
    >>> net.predict(np.asarray([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """

    name: str

    def __post_init__(self) -> None:
        named("activation", self.name, ACTIVATIONS)

    def build(self, inputs: Shape) -> Spec:
        return Spec(inputs)

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Array]:
        activation = ACTIVATIONS[self.name]
        a = be.map(activation.f, x)
        return a, (x if activation.keeps == "z" else a)

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Array, dy: Array, run: Run
    ) -> Array:
        return be.map(ACTIVATIONS[self.name].pullback, dy, ctx)
