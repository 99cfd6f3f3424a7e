"""Hinge losses: nothing once a margin of one is kept, as in support vector machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..backend import Array, Backend
from ..errors import InputError
from .base import ElementWise, Loss
from .entropies import at_label, more_than_one
from .robust import sign


def shortfall(xp: Any, z: Array, t: Array) -> Array:
    """What is missing to a margin of one on the side of the target, 0 or 1."""
    return xp.maximum(1.0 - (2.0 * t - 1.0) * z, 0.0)


def hinge_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return (1.0 - 2.0 * t) * sign(xp, shortfall(xp, z, t)) * share


@dataclass(frozen=True)
class Hinge(ElementWise):
    """L = mean of max(0, 1 - s z) over outputs and batch, s = 2 t - 1.

    Each output is a yes-or-no question of its own; the targets 0 and 1, `(batch, n_out)`, count
    as s = -1 and +1 (Cortes and Vapnik, 1995). There are classes (z > 0) and no probabilities.

    >>> import numpy as np
    >>> value, delta = Hinge()(np.asarray([[0.5, 3.0]]), np.asarray([[0, 1]]))
    >>> value.item(), delta.tolist()
    (0.75, [[0.5, -0.0]])
    """

    targets: ClassVar[str] = "binary"
    term: ClassVar[Callable[..., Any]] = staticmethod(shortfall)
    term_delta: ClassVar[Callable[..., Any]] = staticmethod(hinge_delta)


def squared_shortfall(xp: Any, z: Array, t: Array) -> Array:
    m = shortfall(xp, z, t)
    return m * m


def squared_hinge_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return (1.0 - 2.0 * t) * shortfall(xp, z, t) * (2.0 * share)


@dataclass(frozen=True)
class SquaredHinge(ElementWise):
    """L = mean of max(0, 1 - s z)^2 over outputs and batch, s = 2 t - 1; see `Hinge`.

    >>> import numpy as np
    >>> value, delta = SquaredHinge()(np.asarray([[0.5, 3.0]]), np.asarray([[0, 1]]))
    >>> value.item(), delta.tolist()
    (1.125, [[1.5, -0.0]])
    """

    targets: ClassVar[str] = "binary"
    term: ClassVar[Callable[..., Any]] = staticmethod(squared_shortfall)
    term_delta: ClassVar[Callable[..., Any]] = staticmethod(squared_hinge_delta)


def margins(xp: Any, z: Array, own: Array, t: Array, j: Array) -> Array:
    """What each other class is short of lying one below the output `own` of the right class."""
    return xp.maximum(z - own + 1.0, 0.0) * xp.astype(j != t, z.dtype)


def linear_slope(xp: Any, m: Array) -> Array:
    return sign(xp, m)


def square_term(xp: Any, m: Array) -> Array:
    return m * m


def square_slope(xp: Any, m: Array) -> Array:
    return 2.0 * m


def margins_delta(xp: Any, slope: Array, total: Array, t: Array, j: Array, share: Any) -> Array:
    return (slope - total * xp.astype(j == t, slope.dtype)) * share


@dataclass(frozen=True)
class MultiClassHinge(Loss):
    """L = mean of sum_i max(0, 1 - z_y + z_i)^p / n_out over i != y, for labels y `(batch,)`.

    From Weston and Watkins (1999), as torch's `MultiMarginLoss(p)`. There are classes and no
    probabilities. Raises `InputError` unless `p` is 1 or 2 and the network has an output for
    each class.

    >>> import numpy as np
    >>> value, delta = MultiClassHinge()(np.asarray([[1.0, 0.5]]), np.asarray([0]))
    >>> value.item(), delta.tolist()
    (0.25, [[-0.5, 0.5]])
    """

    p: int = 1

    targets: ClassVar[str] = "classes"

    def __post_init__(self) -> None:
        if isinstance(self.p, bool) or self.p not in (1, 2):
            raise InputError(f"MultiClassHinge: p is {self.p!r}; expected 1 or 2")
        object.__setattr__(self, "p", int(self.p))

    def check(self, width: int) -> None:
        more_than_one(self, width)

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        xp, j = be.xp, be.arange(z.shape[-1], "int64")
        own = xp.sum(be.map(at_label, z, t, j), axis=-1, keepdims=True)
        m = be.map(margins, z, own, t, j)
        terms, slope = m, be.map(linear_slope if self.p == 1 else square_slope, m)
        if self.p == 2:
            terms = be.map(square_term, m)
        total = xp.sum(slope, axis=-1, keepdims=True)
        delta = be.map(margins_delta, slope, total, t, j, share)
        return xp.sum(terms, axis=-1, keepdims=True), delta
