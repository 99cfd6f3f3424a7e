"""The squared error, summed as in the article or as a mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..backend import Array
from .base import ElementWise


def half_square(xp: Any, z: Array, t: Array) -> Array:
    e = z - t
    return 0.5 * e * e


def half_square_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return (z - t) * share


@dataclass(frozen=True)
class SquaredError(ElementWise):
    """L = 1/2 ||y - a||^2, summed over outputs and over the batch: the article's form.

    >>> import numpy as np
    >>> SquaredError()(np.asarray([[1.0, 2.0]]), np.asarray([[0.0, 0.0]]))[0].item()
    2.5
    """

    is_mean: ClassVar[bool] = False
    term: ClassVar[Callable[..., Any]] = staticmethod(half_square)
    term_delta: ClassVar[Callable[..., Any]] = staticmethod(half_square_delta)


def square(xp: Any, z: Array, t: Array) -> Array:
    e = z - t
    return e * e


def square_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return (z - t) * (2.0 * share)


@dataclass(frozen=True)
class MeanSquaredError(ElementWise):
    """L = mean of (a - y)^2 over outputs and batch, as in torch and scikit-learn.

    >>> import numpy as np
    >>> MeanSquaredError()(np.asarray([[1.0, 2.0]]), np.asarray([[0.0, 0.0]]))[0].item()
    2.5
    """

    term: ClassVar[Callable[..., Any]] = staticmethod(square)
    term_delta: ClassVar[Callable[..., Any]] = staticmethod(square_delta)
