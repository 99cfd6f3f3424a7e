"""Normalisation of each example over its features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import Array, Backend
from ..initializers import Constant
from ..run import Run
from ..storage import Gradients, Param, Shape, Spec, Views
from .arguments import features, flag, number
from .base import Layer
from .batch_norm import gain_and_shift


@dataclass(frozen=True)
class LayerNorm(Layer):
    """y = gain xn + shift with xn = (x - mean) / sqrt(variance + eps), example by example.

    Mean and (biased) variance are taken over the n features of each example, x `(batch, n)`, in
    training and inference alike. Parameters `gain` and `shift` `(n,)`, none with `affine=False`.
    Raises `InputError` for inputs that are not rows and for a negative `eps`.

    With d = gain dy and means over the features:
    dL/dx = (d - mean(d) - xn mean(d xn)) / sqrt(variance + eps). Ba, Kiros and Hinton (2016).

    >>> import numpy as np
    >>> import gpubp
    >>> net = gpubp.Network(LayerNorm(), inputs=2, dtype="float64")
    >>> net.predict(np.asarray([[1.0, 3.0]])).round(3).tolist()
    [[-1.0, 1.0]]
    """

    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self) -> None:
        flag(type(self).__name__, "affine", self.affine)
        object.__setattr__(self, "eps", number("LayerNorm", "eps", self.eps, 0.0))

    def build(self, inputs: Shape) -> Spec:
        features("LayerNorm", inputs)
        return Spec(inputs, gain_and_shift(inputs) if self.affine else {})

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Any]:
        xp, n = be.xp, x.shape[-1]
        centred = x - xp.sum(x, axis=-1, keepdims=True) * (1 / n)
        variance = xp.sum(centred * centred, axis=-1, keepdims=True) * (1 / n)
        r = 1.0 / xp.sqrt(variance + self.eps)
        xn = centred * r
        return (be.map(_scaled, xn, w.gain, w.shift) if self.affine else xn), (xn, r)

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Any, dy: Array, run: Run
    ) -> Array | None:
        xn, r = ctx
        n, product = dy.shape[-1], dy * xn
        if self.affine:
            g.add("gain", be.xp.sum(product, axis=-2, keepdims=True))
            g.add("shift", be.xp.sum(dy, axis=-2, keepdims=True))
        if not run.wants_input_gradient:
            return None
        mean, slope = (feature_sum(self.affine, be, w, a) * (1 / n) for a in (dy, product))
        d = dy * w.gain if self.affine else dy
        return be.map(_pulled, d, xn, r, mean, slope)


@dataclass(frozen=True)
class RMSNorm(Layer):
    """y = gain xn with xn = x / sqrt(mean(x^2) + eps), example by example, x `(batch, n)`.

    LayerNorm without the mean and the shift. Parameter `gain` `(n,)`, none with `affine=False`.
    `torch.nn.RMSNorm` takes the machine epsilon for `eps` where none is given. Raises
    `InputError` for inputs that are not rows and for a negative `eps`.

    With d = gain dy: dL/dx = (d - xn mean(d xn)) / sqrt(mean(x^2) + eps).
    Zhang and Sennrich (2019).

    >>> import numpy as np
    >>> import gpubp
    >>> net = gpubp.Network(RMSNorm(), inputs=2, dtype="float64")
    >>> net.predict(np.asarray([[1.0, 7.0]])).round(3).tolist()
    [[0.2, 1.4]]
    """

    eps: float = 1e-6
    affine: bool = True

    def __post_init__(self) -> None:
        flag(type(self).__name__, "affine", self.affine)
        object.__setattr__(self, "eps", number("RMSNorm", "eps", self.eps, 0.0))

    def build(self, inputs: Shape) -> Spec:
        features("RMSNorm", inputs)
        params = {"gain": Param(inputs, Constant(1.0), kind="norm")}
        return Spec(inputs, params if self.affine else {})

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Any]:
        xp, n = be.xp, x.shape[-1]
        r = 1.0 / xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True) * (1 / n) + self.eps)
        xn = x * r
        return (xn * w.gain if self.affine else xn), (xn, r)

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Any, dy: Array, run: Run
    ) -> Array | None:
        xn, r = ctx
        n, product = dy.shape[-1], dy * xn
        if self.affine:
            g.add("gain", be.xp.sum(product, axis=-2, keepdims=True))
        if not run.wants_input_gradient:
            return None
        slope = feature_sum(self.affine, be, w, product) * (1 / n)
        d = dy * w.gain if self.affine else dy
        return be.map(_pulled_rms, d, xn, r, slope)


def feature_sum(affine: bool, be: Backend, w: Views, a: Array) -> Array:
    """The sum of `a gain` over the features, `(..., rows, 1)`."""
    if affine:  # a product with a column, for which no array of all terms is made
        return be.matmul(a, w.gain.mT)
    return be.xp.sum(a, axis=-1, keepdims=True)


def _scaled(xp: Any, xn: Array, gain: Array, shift: Array) -> Array:
    return xn * gain + shift


def _pulled(xp: Any, d: Array, xn: Array, r: Array, mean: Array, slope: Array) -> Array:
    return r * (d - mean - xn * slope)


def _pulled_rms(xp: Any, d: Array, xn: Array, r: Array, slope: Array) -> Array:
    return r * (d - xn * slope)
