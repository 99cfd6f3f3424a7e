"""Activations: f(z) and its pullback, each written once, for every backend.

A pullback takes `delta = dL/da` to `dL/dz = delta * f'(z)`. The name of its last argument says
what to keep from the forward pass: the weighted input `z` or the activation `a`.

All of them are finite, and raise no overflow warning, for |z| up to 1e4 in float32; a NaN stays
a NaN. To add one, write the two functions and enter them in `ACTIVATIONS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeAlias

Array: TypeAlias = Any
Namespace: TypeAlias = Any


class Activation(NamedTuple):
    """A function of the weighted input and the pullback of its derivative.

    `kinks` are the points where it has no derivative, which a gradient check keeps away from;
    behind a `rectifier`, which lets through about half, weights begin as He proposed.

    >>> import numpy as np
    >>> tanh = ACTIVATIONS["tanh"]
    >>> a = tanh.f(np, np.asarray([0.0, 1.0]))
    >>> tanh.pullback(np, np.asarray([1.0, 1.0]), a).round(4).tolist()
    [1.0, 0.42]
    """

    f: Callable[[Namespace, Array], Array]
    pullback: Callable[[Namespace, Array, Array], Array]
    kinks: tuple[float, ...] = ()
    rectifier: bool = False

    @property
    def keeps(self) -> str:
        """What the pullback needs of the forward pass: `"z"` or `"a"`."""
        return _last_argument(self.pullback)


@cache
def _last_argument(function: Callable[..., Any]) -> str:
    return list(inspect.signature(function).parameters)[-1]


def identity(xp: Namespace, z: Array) -> Array:
    return z


def identity_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    return delta


def relu(xp: Namespace, z: Array) -> Array:
    return xp.maximum(z, 0.0)


def relu_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    # Not `where(a > 0, delta, 0.0)`: NumPy's `where` takes four times as long as this product.
    return delta * xp.astype(a > 0, delta.dtype)


_LEAK = 0.01  # Maas, Hannun, Ng (2013), "Rectifier nonlinearities improve neural network ..."


def leaky_relu(xp: Namespace, z: Array) -> Array:
    return xp.maximum(z, _LEAK * z)


def leaky_relu_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    return delta * (_LEAK + (1 - _LEAK) * xp.astype(a > 0, delta.dtype))


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


_SCALE, _CUBIC = 0.7978845608028654, 0.044715  # sqrt(2 / pi); Hendrycks and Gimpel (2016)


def gelu(xp: Namespace, z: Array) -> Array:
    return 0.5 * z * (1.0 + xp.tanh(_SCALE * (z + _CUBIC * z * z * z)))


def gelu_pullback(xp: Namespace, delta: Array, z: Array) -> Array:
    t = xp.tanh(_SCALE * (z + _CUBIC * z * z * z))
    return delta * 0.5 * (1.0 + t + z * (1.0 - t * t) * (_SCALE * (1.0 + 3.0 * _CUBIC * z * z)))


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(identity, identity_pullback),
    "relu": Activation(relu, relu_pullback, kinks=(0.0,), rectifier=True),
    "leaky_relu": Activation(leaky_relu, leaky_relu_pullback, kinks=(0.0,), rectifier=True),
    "sigmoid": Activation(sigmoid, sigmoid_pullback),
    "tanh": Activation(tanh, tanh_pullback),
    "softplus": Activation(softplus, softplus_pullback, rectifier=True),
    "silu": Activation(silu, silu_pullback, rectifier=True),
    "gelu": Activation(gelu, gelu_pullback, rectifier=True),
}
