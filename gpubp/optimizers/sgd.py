"""Gradient descent, plain and with momentum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..activations import Array, Namespace
from .base import Optimizer


def sgd_update(xp: Namespace, w: Array, g: Array, lr: Any) -> tuple[Array]:
    return (w - lr * g,)


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """w <- w - lr g: gradient descent, by example, mini-batch or full batch as the data comes.

    Raises `InputError` for a negative rate.

    >>> import numpy as np
    >>> SGD.formula(np, np.asarray([1.0]), np.asarray([0.5]), 0.1)[0].tolist()
    [0.95]
    """

    formula: ClassVar[Callable[..., Any]] = staticmethod(sgd_update)


def momentum_update(
    xp: Namespace, w: Array, v: Array, g: Array, lr: Any, mu: float
) -> tuple[Array, Array]:
    v = mu * v + g
    return w - lr * v, v


@dataclass(frozen=True, repr=False)
class Momentum(Optimizer):
    """v <- mu v + g; w <- w - lr v (Polyak, 1964), mu = `momentum`.

    >>> Momentum(momentum=0.9).numbers(1, 0.1)
    (0.1, 0.9)
    """

    momentum: float = 0.9

    slots: ClassVar[tuple[str, ...]] = ("v",)
    formula: ClassVar[Callable[..., Any]] = staticmethod(momentum_update)

    def numbers(self, t: int, lr: Any) -> tuple[Any, ...]:
        return lr, self.momentum


def nesterov_update(
    xp: Namespace, w: Array, v: Array, g: Array, lr: Any, mu: float
) -> tuple[Array, Array]:
    v = mu * v + g
    return w - lr * (g + mu * v), v


@dataclass(frozen=True, repr=False)
class Nesterov(Momentum):
    """v <- mu v + g; w <- w - lr (g + mu v): Nesterov's momentum in Sutskever's form (2013).

    >>> Nesterov(0.1).momentum
    0.9
    """

    formula: ClassVar[Callable[..., Any]] = staticmethod(nesterov_update)
