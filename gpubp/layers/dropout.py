"""Units left out at random in training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..backend import Array, Backend, Formula
from ..run import Run
from ..storage import Gradients, Shape, Spec, Views
from .arguments import number
from .base import Layer
from .noise import normal, random_words


@dataclass(frozen=True)
class Dropout(Layer):
    """y = m x / (1 - rate) in training, m a mask of 0 and 1; y = x in inference.

    Each element of each example is left out with probability `rate` (to 2^-32) and anew in every
    step; the backward pass has the mask of the forward pass: dL/dx = m dy / (1 - rate). For
    examples of any shape. The masks are a function of the network's seed, the layer's place, the
    step and the element, and equal on every device. Raises `InputError` for a rate outside [0, 1).
    Srivastava et al. (2014), scaled in training instead of in inference.

    >>> import numpy as np
    >>> import gpubp
    >>> net = gpubp.Network(Dropout(0.5), inputs=6)
    >>> sorted(set(net.forward(np.ones((9, 6)))[0].ravel().tolist()))
    [0.0, 2.0]
    >>> net.predict(np.ones((1, 6))).tolist()
    [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
    """

    rate: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", number("Dropout", "rate", self.rate, 0.0, 1.0))

    def build(self, inputs: Shape) -> Spec:
        return Spec(inputs, inputs=inputs)

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Any]:
        if not run.training or self.rate == 0.0:
            return x, None
        y, mask = be.map(_masking(float(self.rate)), x, random_words(be, x, run))
        return y, mask

    def backward(self, be: Backend, w: Views, g: Gradients, ctx: Any, dy: Array, run: Run) -> Array:
        mask = ctx
        return dy if mask is None else dy * mask


@dataclass(frozen=True)
class GaussianDropout(Layer):
    """y = x (1 + std z) in training, z standard normal, std = sqrt(rate / (1 - rate)).

    Noise of the mean and variance that `Dropout(rate)` has, with nothing left out; y = x in
    inference. dL/dx = dy (1 + std z). For z and the examples' shape see `GaussianNoise`. Raises
    `InputError` for a rate outside [0, 1). Srivastava et al. (2014), section 10.

    >>> import numpy as np
    >>> import gpubp
    >>> net = gpubp.Network(GaussianDropout(0.5), inputs=2)
    >>> net.predict(np.asarray([[1.0, 2.0]])).tolist()
    [[1.0, 2.0]]
    """

    rate: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", number("GaussianDropout", "rate", self.rate, 0.0, 1.0))

    def build(self, inputs: Shape) -> Spec:
        return Spec(inputs, inputs=inputs)

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Any]:
        if not run.training or self.rate == 0.0:
            return x, None
        words = random_words(be, x, run, "radius"), random_words(be, x, run, "angle")
        y, factor = be.map(_noisy, x, *words, math.sqrt(self.rate / (1.0 - self.rate)))
        return y, factor

    def backward(self, be: Backend, w: Views, g: Gradients, ctx: Any, dy: Array, run: Run) -> Array:
        factor = ctx
        return dy if factor is None else dy * factor


@lru_cache(maxsize=256)
def _masking(rate: float) -> Formula:
    """The formula of one rate, as a constant in it: a kernel has no parameter that holds 2^32."""
    threshold = min(round(rate * 2**32), 2**32 - 1)
    scale = 1.0 / (1.0 - rate)

    def mask(xp: Any, x: Array, words: Array) -> tuple[Array, Array]:
        # In the floating type: NumPy takes twice as long to multiply by truth values.
        kept = xp.astype(words >= threshold, x.dtype) * scale
        return x * kept, kept

    return mask


def _noisy(xp: Any, x: Array, radius: Array, angle: Array, std: float) -> tuple[Array, Array]:
    factor = 1.0 + std * normal(xp, x, radius, angle)
    return x * factor, factor
