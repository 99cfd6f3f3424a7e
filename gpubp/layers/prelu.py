"""The rectifier whose slope below zero is learned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

from ..backend import Array, Backend
from ..errors import InputError, real
from ..initializers import Constant, Initializer
from ..run import Run
from ..storage import Gradients, Param, Shape, Spec, Views
from .arguments import flag
from .base import Layer
from .linear import initializer


def prelu(xp: Any, x: Array, a: Array) -> Array:
    return xp.maximum(x, 0.0) + a * xp.minimum(x, 0.0)


def prelu_pullback(xp: Any, delta: Array, x: Array, a: Array) -> tuple[Array, Array]:
    above = xp.astype(x > 0, delta.dtype)
    return delta * (above + a * (1.0 - above)), delta * xp.minimum(x, 0.0)


@dataclass(frozen=True)
class PReLU(Layer):
    """y = max(x, 0) + a min(x, 0) with a learned slope a (He et al., 2015), `(batch, n)` to itself.

    `a` is how the slopes begin: a number, the name of an initialiser or an `Initializer`. There is
    one for each feature, `a` of shape `(n,)`, or with `shared=True` a single one, of shape `(1,)`.
    Raises `InputError` for a slope that is not finite, an unknown initialiser and inputs that are
    not rows.

    The delta equations: dL/da = sum over the batch of dy min(x, 0), over the features too if it is
    shared; dL/dx = dy where x > 0, otherwise a dy.

    >>> import numpy as np
    >>> import gpubp
    >>> from gpubp.layers import PReLU
    >>> net = gpubp.Network(PReLU(), inputs=2)
    >>> net.predict(np.asarray([[-1.0, 2.0]])).tolist()
    [[-0.25, 2.0]]
    """

    a: float | str | Initializer = 0.25
    shared: bool = False

    def __post_init__(self) -> None:
        self._slopes()
        flag("PReLU", "shared", self.shared)

    def _slopes(self) -> Initializer:
        if isinstance(self.a, bool) or not isinstance(self.a, Real):
            return initializer(self.a)
        if not math.isfinite(real(self.a)):
            raise InputError(f"PReLU: a is {self.a!r}; expected a finite number, such as 0.25")
        return Constant(real(self.a))

    def build(self, inputs: Shape) -> Spec:
        if len(inputs) != 1:
            raise InputError(f"PReLU takes rows of numbers, each example has shape {inputs}")
        shape = (1,) if self.shared else inputs
        return Spec(inputs, {"a": Param(shape, self._slopes(), kind="slope")})

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Array]:
        return be.map(prelu, x, w.a), x

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Array, dy: Array, run: Run
    ) -> Array:
        x = ctx
        dx, da = be.map(prelu_pullback, dy, x, w.a)
        if self.shared:
            da = be.xp.sum(da, axis=-1, keepdims=True)
        g.add("a", be.xp.sum(da, axis=-2, keepdims=True))
        return dx
