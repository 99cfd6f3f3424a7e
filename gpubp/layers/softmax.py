"""Softmax and its logarithm over the features, as layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import Array, Backend
from ..run import Run
from ..storage import Gradients, Shape, Spec, Views
from .base import Layer


def exp_below(xp: Any, x: Array, m: Array) -> Array:
    return xp.exp(x - m)


def quotient(xp: Any, e: Array, total: Array) -> Array:
    return e / total


def softmax_pullback(xp: Any, delta: Array, y: Array, mean: Array) -> Array:
    return y * (delta - mean)


def log_softmax(xp: Any, x: Array, m: Array, log_sum: Array) -> Array:
    return (x - m) - log_sum  # m + log_sum would lose the digits of log_sum where m is large


def log_softmax_pullback(xp: Any, delta: Array, y: Array, total: Array) -> Array:
    return delta - xp.exp(y) * total


@dataclass(frozen=True)
class Softmax(Layer):
    """y_j = exp(x_j) / sum over k of exp(x_k), over the features (the last axis); rows sum to one.

    dL/dx = y (dy - sum over the features of y dy). Stable for any finite x. The losses take raw
    outputs and apply their own: this one is for gates and weights inside a network.

    >>> import numpy as np
    >>> import gpubp
    >>> from gpubp.layers import Softmax
    >>> net = gpubp.Network(Softmax(), inputs=2)
    >>> net.predict(np.asarray([[0.0, 0.0], [0.0, 1000.0]])).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """

    def build(self, inputs: Shape) -> Spec:
        return Spec(inputs)

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Array]:
        e = be.map(exp_below, x, be.xp.max(x, axis=-1, keepdims=True))
        y = be.map(quotient, e, be.xp.sum(e, axis=-1, keepdims=True))
        return y, y

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Array, dy: Array, run: Run
    ) -> Array:
        y = ctx
        return be.map(softmax_pullback, dy, y, be.xp.sum(y * dy, axis=-1, keepdims=True))


@dataclass(frozen=True)
class LogSoftmax(Layer):
    """y_j = x_j - log(sum over k of exp(x_k)), over the features (the last axis).

    dL/dx = dy - exp(y) * (sum over the features of dy). Stable for any finite x.

    >>> import numpy as np
    >>> import gpubp
    >>> from gpubp.layers import LogSoftmax
    >>> net = gpubp.Network(LogSoftmax(), inputs=2, dtype="float64")
    >>> net.predict(np.asarray([[0.0, 0.0], [0.0, 1000.0]])).round(4).tolist()
    [[-0.6931, -0.6931], [-1000.0, 0.0]]
    """

    def build(self, inputs: Shape) -> Spec:
        return Spec(inputs)

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Array]:
        m = be.xp.max(x, axis=-1, keepdims=True)
        log_sum = be.xp.log(be.xp.sum(be.map(exp_below, x, m), axis=-1, keepdims=True))
        y = be.map(log_softmax, x, m, log_sum)
        return y, y

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Array, dy: Array, run: Run
    ) -> Array:
        y = ctx
        return be.map(log_softmax_pullback, dy, y, be.xp.sum(dy, axis=-1, keepdims=True))
