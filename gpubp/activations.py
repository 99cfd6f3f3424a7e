"""Activations: f(z) and its pullback, each written once, for every backend.

A pullback takes `delta = dL/da` to `dL/dz = delta * f'(z)`. The name of its last argument says
what to keep from the forward pass: the weighted input `z` or the activation `a`.

Those made of pieces stand in `gpubp.piecewise`; the table here knows all.

All of them are finite, and raise no overflow warning, for |z| up to 1e4 in float32; a NaN stays
a NaN. To add one, write the two functions and enter them in `ACTIVATIONS`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from . import piecewise as pw
from .special import Array as Array
from .special import Namespace as Namespace
from .special import erf


class Activation(NamedTuple):
    """A function of the weighted input and the pullback of its derivative.

    `kinks` are the points where it has no derivative, which a gradient check keeps away from.
    For the layer before it: `gain` is the factor by which weights that would keep the variance of
    a linear layer have to be larger, `init` the initialiser that suits by name: He's for what
    rectifies, LeCun's where the activation itself keeps the variance, otherwise Glorot's.

    >>> import numpy as np
    >>> tanh = ACTIVATIONS["tanh"]
    >>> a = tanh.f(np, np.asarray([0.0, 1.0]))
    >>> tanh.pullback(np, np.asarray([1.0, 1.0]), a).round(4).tolist()
    [1.0, 0.42]
    """

    f: Callable[[Namespace, Array], Array]
    pullback: Callable[[Namespace, Array, Array], Array]
    kinks: tuple[float, ...] = ()
    gain: float = 1.0
    init: str = "glorot_uniform"

    @property
    def keeps(self) -> str:
        """What the pullback needs of the forward pass: `"z"` or `"a"`."""
        return _last_argument(self.pullback)

    @property
    def rectifier(self) -> bool:
        """Whether it lets through about half of a symmetric input, as He's weights suppose."""
        return self.init.startswith("he_")


@cache
def _last_argument(function: Callable[..., Any]) -> str:
    return list(inspect.signature(function).parameters)[-1]


def identity(xp: Namespace, z: Array) -> Array:
    return z


def identity_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    return delta


def sigmoid(xp: Namespace, z: Array) -> Array:
    # exp(87) is the largest that float32 holds; below z = -87 the result stays at 1.6e-38.
    return 1.0 / (1.0 + xp.exp(-xp.maximum(z, -87.0)))


def sigmoid_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    return delta * (a * (1.0 - a))


def tanh(xp: Namespace, z: Array) -> Array:
    return xp.tanh(z)


def tanh_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    return delta * (1.0 - a * a)


def softplus(xp: Namespace, z: Array) -> Array:
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def softplus_pullback(xp: Namespace, delta: Array, z: Array) -> Array:
    return delta * sigmoid(xp, z)


def silu(xp: Namespace, z: Array) -> Array:
    return z * sigmoid(xp, z)


def silu_pullback(xp: Namespace, delta: Array, z: Array) -> Array:
    s = sigmoid(xp, z)
    return delta * (s * (1.0 + z * (1.0 - s)))


def mish(xp: Namespace, z: Array) -> Array:
    """z tanh(softplus(z)) (Misra, 2020)."""
    n, _ = _mish_parts(xp, z)
    return z * (n / (n + 2.0))


def mish_pullback(xp: Namespace, delta: Array, z: Array) -> Array:
    n, e = _mish_parts(xp, z)
    slope = 4.0 * e * (e + 1.0) / (n + 2.0) / (n + 2.0)
    return delta * (n / (n + 2.0) + xp.minimum(z, 20.0) * slope)


def _mish_parts(xp: Namespace, z: Array) -> tuple[Array, Array]:
    # tanh(log(1 + e)) = n / (n + 2) with e = exp(z), n = e (e + 2); from z = 20 on it is 1 to the
    # last bit of a double.
    e = xp.exp(xp.minimum(z, 20.0))
    return e * (e + 2.0), e


_SQRT_HALF, _DENSITY = 0.7071067811865476, 0.3989422804014327  # sqrt(1 / 2), 1 / sqrt(2 pi)


def gelu(xp: Namespace, z: Array) -> Array:
    """z P(Z < z) for a unit normal Z (Hendrycks and Gimpel, 2016)."""
    return z * normal_cdf(xp, z)


def gelu_pullback(xp: Namespace, delta: Array, z: Array) -> Array:
    return delta * (normal_cdf(xp, z) + z * (_DENSITY * xp.exp(-0.5 * z * z)))


def normal_cdf(xp: Namespace, z: Array) -> Array:
    """P(Z < z) = (1 + erf(z / sqrt(2))) / 2 for a unit normal Z."""
    return 0.5 + 0.5 * erf(xp, _SQRT_HALF * z)


_SCALE, _CUBIC = 0.7978845608028654, 0.044715  # sqrt(2 / pi); Hendrycks and Gimpel (2016)


def gelu_tanh(xp: Namespace, z: Array) -> Array:
    """GELU with a tanh in place of erf, off by at most 5e-4: torch's `approximate="tanh"`."""
    return 0.5 * z * (1.0 + xp.tanh(_SCALE * (z + _CUBIC * z * z * z)))


def gelu_tanh_pullback(xp: Namespace, delta: Array, z: Array) -> Array:
    t = xp.tanh(_SCALE * (z + _CUBIC * z * z * z))
    return delta * 0.5 * (1.0 + t + z * (1.0 - t * t) * (_SCALE * (1.0 + 3.0 * _CUBIC * z * z)))


_HE, _LECUN = "he_normal", "lecun_normal"

# Gains: identity, relu, leaky_relu, selu, sigmoid and tanh have those of torch's calculate_gain;
# the others are sqrt(1 / E[f(Z)^2]) for a unit normal Z, integrated numerically.
ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(identity, identity_pullback),
    "relu": Activation(pw.relu, pw.relu_pullback, (0.0,), math.sqrt(2.0), _HE),
    "leaky_relu": Activation(
        pw.leaky_relu, pw.leaky_relu_pullback, (0.0,), math.sqrt(2.0 / 1.0001), _HE
    ),
    "elu": Activation(pw.elu, pw.elu_pullback, (), 1.245198300701, _HE),
    "celu": Activation(pw.celu, pw.celu_pullback, (), 1.245198300701, _HE),
    "selu": Activation(pw.selu, pw.selu_pullback, (0.0,), 0.75, _LECUN),
    "sigmoid": Activation(sigmoid, sigmoid_pullback),
    "hard_sigmoid": Activation(
        pw.hard_sigmoid, pw.hard_sigmoid_pullback, (-3.0, 3.0), 1.89784042473
    ),
    "tanh": Activation(tanh, tanh_pullback, (), 5.0 / 3.0),
    "softsign": Activation(pw.softsign, pw.softsign_pullback, (), 2.337533363109),
    "softplus": Activation(softplus, softplus_pullback, (), 1.041866835535, _HE),
    "silu": Activation(silu, silu_pullback, (), 1.676532470331, _HE),
    "hard_swish": Activation(
        pw.hard_swish, pw.hard_swish_pullback, (-3.0, 3.0), 1.736657212767, _HE
    ),
    "mish": Activation(mish, mish_pullback, (), 1.486847581273, _HE),
    "gelu": Activation(gelu, gelu_pullback, (), 1.533530441196, _HE),
    "gelu_tanh": Activation(gelu_tanh, gelu_tanh_pullback, (), 1.533580521666, _HE),
}
