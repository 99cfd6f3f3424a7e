"""A vector of its own for each category."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import Array, Backend
from ..errors import InputError
from ..initializers import Initializer
from ..run import Run
from ..storage import Gradients, Param, Shape, Spec, Views
from .arguments import features
from .base import Layer
from .linear import initializer, width

_MOST = 2**24


@dataclass(frozen=True)
class Embedding(Layer):
    """y_i = W[x_i]: for each of t categories 0..n-1 a learned vector, x `(batch, t)`.

    The categories are whole numbers in the network's own floating type, so that a row may hold
    numbers and categories together: take them apart with `Columns`, join them with `Concatenate`.
    `fit`, `predict` and the rest refuse what is no category before anything is changed. W is
    `(n, dim)`, standard normal as in `torch.nn.Embedding` unless told otherwise; y is
    `(batch, t, dim)`, for `Flatten` to make rows of. Raises `InputError` for inputs that are not
    rows and for n above 2^24, beyond which float32 does not hold every whole number.

    dL/dW is the sum of dy over all places with a category, in the same order in every run;
    dL/dx is zero, for a category has no derivative.

    >>> import numpy as np
    >>> import gpubp
    >>> one_hot = gpubp.layers.Embedding(3, 2, W=gpubp.Constant(0.5))
    >>> net = gpubp.Network(one_hot, inputs=1)
    >>> net.predict(np.asarray([[2]])).tolist()
    [[[0.5, 0.5]]]
    >>> net.predict(np.asarray([[3]]))
    Traceback (most recent call last):
    gpubp.errors.InputError: x[0, 0] is 3; that feature is a category, 0..2
    """

    n: int
    dim: int
    W: str | Initializer = "normal"

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", width("Embedding", self.n))
        object.__setattr__(self, "dim", width("Embedding", self.dim))
        if self.n > _MOST:
            raise InputError(
                f"Embedding: n is {self.n}; at most 2^24 = {_MOST} categories, for float32 does "
                "not hold every larger number"
            )
        initializer(self.W)

    def build(self, inputs: Shape) -> Spec:
        t = features("Embedding", inputs)
        params = {"W": Param((self.n, self.dim), initializer(self.W))}
        return Spec((t, self.dim), params, categories=(self.n,) * t)

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Any]:
        rows, t = x.shape[-2], x.shape[-1]
        index = be.reshape(be.xp.astype(x, be.xp.int64), 2, (rows * t,))
        return be.reshape(be.gather(w.W, index), 2, (rows, t, self.dim)), index

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Array, dy: Array, run: Run
    ) -> Array | None:
        index = ctx
        vectors = be.reshape(dy, 3, (index.shape[-1], self.dim))
        g.add("W", be.scatter(index, vectors, self.n))
        return dy[..., 0] * 0.0 if run.wants_input_gradient else None
