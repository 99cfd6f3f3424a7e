"""Noise that is added in training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..backend import Array, Backend
from ..run import Run
from ..storage import Gradients, Shape, Spec, Views
from .arguments import number
from .base import Layer

_UNIT, _TURN = 2.0**-32, 2.0 * math.pi * 2.0**-32


@dataclass(frozen=True)
class GaussianNoise(Layer):
    """y = x + std z in training, z standard normal and new in every step; y = x in inference.

    For examples of any shape. z comes of two random words by Box and Muller (1958) and is at most
    sqrt(66 ln 2) = 6.76 in size, which a normal number exceeds once in 7e10 draws. The words are
    equal on every device; logarithm and cosine may differ in the last place. Raises `InputError`
    for a negative `std`.

    >>> import numpy as np
    >>> import gpubp
    >>> net = gpubp.Network(GaussianNoise(0.1), inputs=2)
    >>> net.predict(np.asarray([[1.0, 2.0]])).tolist()
    [[1.0, 2.0]]
    >>> bool((net.forward(np.asarray([[1.0, 2.0]]))[0] == [[1.0, 2.0]]).any())
    False
    """

    std: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", number("GaussianNoise", "std", self.std, 0.0))

    def build(self, inputs: Shape) -> Spec:
        return Spec(inputs, inputs=inputs)

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, None]:
        if not run.training or self.std == 0.0:
            return x, None
        words = random_words(be, x, run, "radius"), random_words(be, x, run, "angle")
        return be.map(_noisy, x, *words, self.std), None

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: None, dy: Array, run: Run
    ) -> Array:
        return dy


def random_words(be: Backend, x: Array, run: Run, stream: str = "") -> Array:
    """Random uint32 words, one for each element of examples of shape `run.spec.inputs`."""
    shape = run.spec.inputs
    if len(shape) == 1:
        return run.bits((x.shape[-2], x.shape[-1]), stream)
    flat = be.reshape(x, len(shape), (math.prod(shape),))
    return be.reshape(run.bits((flat.shape[-2], flat.shape[-1]), stream), 1, shape)


def normal(xp: Any, x: Array, radius: Array, angle: Array) -> Array:
    """Two random words as a standard normal number, of the floating type of `x`."""
    # From 2^-33, for there is no logarithm of 0, to 1, to which float32 rounds the largest words.
    u = (xp.astype(radius, x.dtype) + 0.5) * _UNIT
    return xp.sqrt(-2.0 * xp.log(u)) * xp.cos(xp.astype(angle, x.dtype) * _TURN)


def _noisy(xp: Any, x: Array, radius: Array, angle: Array, std: float) -> Array:
    return x + std * normal(xp, x, radius, angle)
