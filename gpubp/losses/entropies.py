"""Cross-entropies on raw outputs: of one class among several, and of yes-or-no questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .. import inputs
from ..activations import sigmoid
from ..backend import Array, Backend
from .base import Loss

# log softmax(z) = (z - m) - log_sum, with m the largest of a row and log_sum the logarithm of the
# sum of exp(z - m). Adding m to log_sum first would lose its digits where m is large.


def softmax(xp: Any, z: Array, m: Array, log_sum: Array) -> Array:
    return xp.exp(z - m - log_sum)


def label_terms(xp: Any, z: Array, m: Array, log_sum: Array, t: Array, j: Array) -> Array:
    return xp.where(j == t, log_sum - (z - m), 0.0)


def label_delta(
    xp: Any, z: Array, m: Array, log_sum: Array, t: Array, j: Array, share: Any
) -> Array:
    return (softmax(xp, z, m, log_sum) - xp.astype(j == t, z.dtype)) * share


def soft_terms(xp: Any, z: Array, m: Array, log_sum: Array, t: Array) -> Array:
    return t * (log_sum - (z - m))


def soft_delta(
    xp: Any, z: Array, m: Array, log_sum: Array, t: Array, mass: Array, share: Any
) -> Array:
    return (mass * softmax(xp, z, m, log_sum) - t) * share


def shifted_exp(xp: Any, z: Array, m: Array) -> Array:
    return xp.exp(z - m)


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """L = mean of -log softmax(z)[y], for integer labels `(batch,)` or soft rows `(batch, n_out)`.

    Soft rows need not sum to one; the gradient is exact for any. Stable for any finite `z`.

    >>> import numpy as np
    >>> value, delta = CrossEntropy()(np.asarray([[0.0, 0.0]]), np.asarray([1]))
    >>> round(value.item(), 6), delta.tolist()
    (0.693147, [[0.5, -0.5]])
    """

    targets: ClassVar[str] = "labels"

    def _outputs_per_example(self, z: Array) -> int:
        return 1

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        xp = be.xp
        m, log_sum = _row_statistics(be, z)
        if inputs.is_labels(be, t):
            j = be.arange(z.shape[-1], "int64")
            terms = be.map(label_terms, z, m, log_sum, t, j)
            delta = be.map(label_delta, z, m, log_sum, t, j, share)
        else:
            mass = xp.sum(t, axis=-1, keepdims=True)
            terms = be.map(soft_terms, z, m, log_sum, t)
            delta = be.map(soft_delta, z, m, log_sum, t, mass, share)
        return xp.sum(terms, axis=-1, keepdims=True), delta

    def probabilities(self, be: Backend, z: Array) -> Array:
        return be.map(softmax, z, *_row_statistics(be, z))

    def classes(self, be: Backend, z: Array) -> Array:
        return be.xp.argmax(z, axis=-1)


def _row_statistics(be: Backend, z: Array) -> tuple[Array, Array]:
    m = be.xp.max(z, axis=-1, keepdims=True)
    return m, be.xp.log(be.xp.sum(be.map(shifted_exp, z, m), axis=-1, keepdims=True))


def logistic_terms(xp: Any, z: Array, t: Array) -> Array:
    return xp.maximum(z, 0.0) - z * t + xp.log1p(xp.exp(-xp.abs(z)))


def logistic_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return (sigmoid(xp, z) - t) * share


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """L = mean over outputs and batch of -t log s(z) - (1 - t) log(1 - s(z)), s the sigmoid.

    Each output is a yes-or-no question of its own (multi-label); t in [0, 1], `(batch, n_out)`.

    >>> import numpy as np
    >>> value, delta = BinaryCrossEntropy()(np.asarray([[0.0]]), np.asarray([[1.0]]))
    >>> round(value.item(), 6), delta.tolist()
    (0.693147, [[-0.5]])
    """

    targets: ClassVar[str] = "unit"

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        per_example = be.xp.sum(be.map(logistic_terms, z, t), axis=-1, keepdims=True)
        return per_example, be.map(logistic_delta, z, t, share)

    def probabilities(self, be: Backend, z: Array) -> Array:
        return be.map(sigmoid, z)

    def classes(self, be: Backend, z: Array) -> Array:
        yes = be.xp.astype(z > 0, be.xp.int64)
        return yes[..., 0] if z.shape[-1] == 1 else yes
