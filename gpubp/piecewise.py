"""Activations made of pieces: each f(z) and its pullback, as `gpubp.activations` describes them.

Comparisons are cast and multiplied: NumPy's `where` takes four times as long as the product.
"""

from __future__ import annotations

from .special import Array, Namespace


def relu(xp: Namespace, z: Array) -> Array:
    return xp.maximum(z, 0.0)


def relu_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    return delta * xp.astype(a > 0, delta.dtype)


_LEAK = 0.01  # Maas, Hannun, Ng (2013), "Rectifier nonlinearities improve neural network ..."


def leaky_relu(xp: Namespace, z: Array) -> Array:
    return xp.maximum(z, _LEAK * z)


def leaky_relu_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    return delta * (_LEAK + (1 - _LEAK) * xp.astype(a > 0, delta.dtype))


def elu(xp: Namespace, z: Array) -> Array:
    """max(z, 0) + exp(min(z, 0)) - 1 (Clevert, Unterthiner, Hochreiter, 2016, at alpha = 1)."""
    return xp.maximum(z, 0.0) + xp.expm1(xp.minimum(z, 0.0))


def elu_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    return delta * (1.0 + xp.minimum(a, 0.0))


def celu(xp: Namespace, z: Array) -> Array:
    """max(z, 0) + min(alpha (exp(z / alpha) - 1), 0) (Barron, 2017); at alpha = 1 that is ELU."""
    return elu(xp, z)


def celu_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    return elu_pullback(xp, delta, a)


# Klambauer et al. (2017), "Self-normalizing neural networks": mean 0 and variance 1 are kept.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_SELU_BELOW = _SELU_SCALE * _SELU_ALPHA


def selu(xp: Namespace, z: Array) -> Array:
    return _SELU_SCALE * xp.maximum(z, 0.0) + _SELU_BELOW * xp.expm1(xp.minimum(z, 0.0))


def selu_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    above = xp.astype(a > 0, delta.dtype)
    return delta * (_SELU_BELOW + xp.minimum(a, 0.0) + (_SELU_SCALE - _SELU_BELOW) * above)


def hard_sigmoid(xp: Namespace, z: Array) -> Array:
    """z / 6 + 1/2, held between 0 and 1: torch's, and Howard et al.'s (2019)."""
    return xp.minimum(xp.maximum(z + 3.0, 0.0), 6.0) / 6.0


def hard_sigmoid_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    return delta * (_inside(xp, a) / 6.0)


def hard_swish(xp: Namespace, z: Array) -> Array:
    """z hard_sigmoid(z) (Howard et al., 2019, "Searching for MobileNetV3")."""
    return z * hard_sigmoid(xp, z)


def hard_swish_pullback(xp: Namespace, delta: Array, z: Array) -> Array:
    gate = hard_sigmoid(xp, z)
    return delta * (gate + z * (_inside(xp, gate) / 6.0))


def _inside(xp: Namespace, gate: Array) -> Array:
    """1 where 0 < gate < 1, otherwise 0."""
    return xp.astype(gate * (1.0 - gate) > 0, gate.dtype)


def softsign(xp: Namespace, z: Array) -> Array:
    """z / (1 + |z|) (Turian, Bergstra, Bengio, 2009)."""
    return z / (1.0 + xp.abs(z))


def softsign_pullback(xp: Namespace, delta: Array, a: Array) -> Array:
    rest = 1.0 - xp.abs(a)
    return delta * (rest * rest)
