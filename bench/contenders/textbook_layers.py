"""The layers of the textbook: each a class with its two passes, and fresh arrays in both."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..workloads import LAYER_NORM_EPS, Activation, Dropout, LayerNorm, Linear, Net


class Layer:
    """A layer that remembers what its backward pass needs, and the gradients that it finds."""

    grads: tuple[Any, ...] = ()
    is_first = False
    """There is nobody below who needs the gradient of the input."""

    def forward(self, x: Any) -> Any:
        raise NotImplementedError

    def backward(self, delta: Any) -> Any:
        raise NotImplementedError

    def gradients(self) -> list[Any]:
        return list(self.grads)


class _Linear(Layer):
    def __init__(self, W: Any, b: Any) -> None:
        self.W, self.b = W, b[..., None, :] if b.ndim > 1 else b

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W + self.b

    def backward(self, delta: Any) -> Any:
        self.grads = self.x.swapaxes(-1, -2) @ delta, delta.sum(axis=-2)
        return None if self.is_first else delta @ self.W.swapaxes(-1, -2)


class _LayerNorm(Layer):
    def __init__(self, gain: Any, shift: Any) -> None:
        self.gain, self.shift = gain, shift

    def forward(self, x: Any) -> Any:
        mean = x.mean(axis=-1, keepdims=True)
        self.inverse = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + LAYER_NORM_EPS)
        self.hat = (x - mean) * self.inverse
        return self.hat * self.gain + self.shift

    def backward(self, delta: Any) -> Any:
        self.grads = (delta * self.hat).sum(axis=-2), delta.sum(axis=-2)
        d = delta * self.gain
        mean, slope = (a.mean(axis=-1, keepdims=True) for a in (d, d * self.hat))
        return self.inverse * (d - mean - self.hat * slope)


class _Sigmoid(Layer):
    def forward(self, x: Any) -> Any:
        self.a = 1 / (1 + np.exp(-x))
        return self.a

    def backward(self, delta: Any) -> Any:
        return delta * self.a * (1 - self.a)


class _ReLU(Layer):
    def forward(self, x: Any) -> Any:
        self.a = np.maximum(x, 0)
        return self.a

    def backward(self, delta: Any) -> Any:
        return delta * (self.a > 0)


class _GELU(Layer):
    """x Phi(x), with the error function of SciPy."""

    def __init__(self) -> None:
        self.erf = importlib.import_module("scipy.special").erf

    def forward(self, x: Any) -> Any:
        self.x, self.phi = x, 0.5 * (1 + self.erf(x / 2**0.5))
        return x * self.phi

    def backward(self, delta: Any) -> Any:
        density = np.exp(-0.5 * self.x * self.x) / (2 * np.pi) ** 0.5
        return delta * (self.phi + self.x * density)


class _Dropout(Layer):
    def __init__(self, rate: float, rng: Any) -> None:
        self.rate, self.rng = rate, rng

    def forward(self, x: Any) -> Any:
        if self.rate == 0:
            return x
        kept = self.rng.random(x.shape, dtype=np.float32) >= self.rate
        self.mask = kept * np.float32(1 / (1 - self.rate))
        return x * self.mask

    def backward(self, delta: Any) -> Any:
        return delta * self.mask if self.rate else delta


class _Residual(Layer):
    def __init__(self, body: list[Layer]) -> None:
        self.body = body

    def forward(self, x: Any) -> Any:
        y = x
        for layer in self.body:
            y = layer.forward(y)
        return x + y

    def backward(self, delta: Any) -> Any:
        d = delta
        for layer in reversed(self.body):
            d = layer.backward(d)
        return delta + d

    def gradients(self) -> list[Any]:
        return [g for layer in self.body for g in layer.gradients()]


def layers(net: Net, weights: Any, rng: Any) -> list[Layer]:
    """Return the layers of a network; the weights are taken from an iterator, in order."""
    made: list[Layer] = []
    kinds = {"sigmoid": _Sigmoid, "relu": _ReLU, "gelu": _GELU}
    for node in net:
        if isinstance(node, Linear):
            made.append(_Linear(next(weights), next(weights)))
        elif isinstance(node, LayerNorm):
            made.append(_LayerNorm(next(weights), next(weights)))
        elif isinstance(node, Activation):
            made.append(kinds[node.name]())
        elif isinstance(node, Dropout):
            made.append(_Dropout(node.rate, rng))
        else:
            made.append(_Residual(layers(node.body, weights, rng)))
    return made
