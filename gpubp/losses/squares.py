"""The squared error, summed as in the article or as a mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..backend import Array, Backend
from .base import Loss


def half_square(xp: Any, z: Array, t: Array) -> Array:
    e = z - t
    return 0.5 * e * e


def half_square_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return (z - t) * share


@dataclass(frozen=True)
class SquaredError(Loss):
    """L = 1/2 ||y - a||^2, summed over outputs and over the batch: the article's form.

    >>> import numpy as np
    >>> SquaredError()(np.asarray([[1.0, 2.0]]), np.asarray([[0.0, 0.0]]))[0].item()
    2.5
    """

    is_mean: ClassVar[bool] = False

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        per_example = be.xp.sum(be.map(half_square, z, t), axis=-1, keepdims=True)
        return per_example, be.map(half_square_delta, z, t, share)


def square(xp: Any, z: Array, t: Array) -> Array:
    e = z - t
    return e * e


def square_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return (z - t) * (2.0 * share)


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """L = mean of (a - y)^2 over outputs and batch, as in torch and scikit-learn.

    >>> import numpy as np
    >>> MeanSquaredError()(np.asarray([[1.0, 2.0]]), np.asarray([[0.0, 0.0]]))[0].item()
    2.5
    """

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        per_example = be.xp.sum(be.map(square, z, t), axis=-1, keepdims=True)
        return per_example, be.map(square_delta, z, t, share)
