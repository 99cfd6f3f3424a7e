"""The weighted sum of the inputs and a bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import Array, Backend
from ..errors import InputError, named, whole
from ..initializers import INITIALIZERS, Initializer
from ..run import Run
from ..storage import Gradients, Param, Shape, Spec, Views
from .arguments import features
from .base import Layer


@dataclass(frozen=True)
class Linear(Layer):
    """z = x W + b, with x `(batch, n_in)`, W `(n_in, n_out)`, b `(n_out,)`, z `(batch, n_out)`.

    W is the transpose of the weight of `torch.nn.Linear`. Parameters: `n_out`, the width; `W` and
    `b`, how they begin: a name such as `"he_normal"` or an `Initializer`; `b=None` for no bias.
    Raises `InputError` for a width below 1, an unknown initialiser and inputs that are not rows.

    The delta equations: dL/dW = x^T delta, dL/db = sum over the batch of delta, dL/dx = delta W^T.

    >>> import numpy as np
    >>> import gpubp
    >>> net = gpubp.Network(gpubp.Linear(2, W="ones", b="zeros"), inputs=3)
    >>> net.predict(np.asarray([[1.0, 2.0, 3.0]])).tolist()
    [[6.0, 6.0]]
    """

    n_out: int
    W: str | Initializer = "glorot_uniform"
    b: str | Initializer | None = "zeros"

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_out", width("Linear", self.n_out))
        initializer(self.W)
        if self.b is not None:
            initializer(self.b)

    def build(self, inputs: Shape) -> Spec:
        n_in = features("Linear", inputs)
        params = {"W": Param((n_in, self.n_out), initializer(self.W))}
        if self.b is not None:
            params["b"] = Param((self.n_out,), initializer(self.b), kind="bias")
        return Spec((self.n_out,), params)

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Array]:
        z = be.matmul(x, w.W)
        return (z if self.b is None else z + w.b), x

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Array, dy: Array, run: Run
    ) -> Array | None:
        x = ctx
        g.add_matmul("W", x.mT, dy)
        if self.b is not None:
            g.add("b", be.xp.sum(dy, axis=-2, keepdims=True))
        return be.matmul(dy, w.W.mT) if run.wants_input_gradient else None


def initializer(given: object) -> Initializer:
    """Return the initialiser of that name, or the one given."""
    if isinstance(given, Initializer):
        return given
    return named("initializer", given, INITIALIZERS)


def width(what: str, given: Any) -> int:
    """Return `given` as an int; raise unless it is a whole number of at least 1."""
    if not whole(given) or given < 1:
        raise InputError(f"{what}: a width is {given!r}; expected a whole number of at least 1")
    return int(given)
