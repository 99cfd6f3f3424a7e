"""A rate for each weight, from the squares of its gradients: RMSProp, Adagrad, Adadelta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..activations import Array, Namespace
from .base import Optimizer, Rates


def rmsprop_update(
    xp: Namespace, w: Array, v: Array, g: Array, lr: Any, rho: float, gain: float, eps: float
) -> tuple[Array, Array]:
    v = rho * v + gain * (g * g)
    return w - lr * g / (xp.sqrt(v) + eps), v


def centered_update(
    xp: Namespace, w: Array, v: Array, mean: Array, g: Array,
    lr: Any, rho: float, gain: float, eps: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    v = rho * v + gain * (g * g)
    mean = mean + gain * (g - mean)
    return w - lr * g / (_deviation(xp, v, mean) + eps), v, mean


def rolling_update(
    xp: Namespace, w: Array, v: Array, b: Array, g: Array,
    lr: Any, rho: float, gain: float, eps: float, mu: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    v = rho * v + gain * (g * g)
    b = mu * b + g / (xp.sqrt(v) + eps)
    return w - lr * b, v, b


def centered_rolling_update(
    xp: Namespace, w: Array, v: Array, mean: Array, b: Array, g: Array,
    lr: Any, rho: float, gain: float, eps: float, mu: float,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    v = rho * v + gain * (g * g)
    mean = mean + gain * (g - mean)
    b = mu * b + g / (_deviation(xp, v, mean) + eps)
    return w - lr * b, v, mean, b


def _deviation(xp: Namespace, v: Array, mean: Array) -> Array:
    return xp.sqrt(xp.maximum(v - mean * mean, 0.0))  # rounding may leave it below zero


@dataclass(frozen=True, repr=False)
class RMSProp(Optimizer):
    """v: moving mean of g^2; w <- w - lr g / (sqrt(v) + eps) (Tieleman and Hinton, 2012).

    With `centered`, v - mean^2 takes the place of v (Graves, 2013); with `momentum` mu > 0,
    b <- mu b + g / (sqrt(v) + eps); w <- w - lr b. `rho` is torch's alpha.

    >>> RMSProp().slots, RMSProp(momentum=0.9, centered=True).slots
    (('v',), ('v', 'mean', 'b'))
    """

    lr: Rates = 1e-2
    rho: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    slots: ClassVar[tuple[str, ...]] = ("v",)
    formula: ClassVar[Callable[..., Any]] = staticmethod(rmsprop_update)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.centered, bool):
            raise self._refusal("centered", self.centered, "True or False")
        rolls = self.momentum > 0
        self._set("slots", ("v", *["mean"] * self.centered, *["b"] * rolls))
        with_mean, plain = (centered_rolling_update, centered_update), (rolling_update, None)
        formula = (with_mean if self.centered else plain)[0 if rolls else 1]
        if formula is not None:
            self._set("formula", formula)

    def numbers(self, t: int, lr: Any) -> tuple[Any, ...]:
        numbers = (lr, self.rho, 1.0 - self.rho, self.eps)
        return (*numbers, self.momentum) if self.momentum > 0 else numbers


def adagrad_update(
    xp: Namespace, w: Array, s: Array, g: Array, rate: Any, initial: float, eps: float
) -> tuple[Array, Array]:
    s = s + g * g
    return w - rate * g / (xp.sqrt(s + initial) + eps), s


@dataclass(frozen=True, repr=False)
class Adagrad(Optimizer):
    """s: sum of all g^2; w <- w - lr g / (sqrt(s) + eps) (Duchi, Hazan, Singer, 2011).

    The rate of update t is lr / (1 + (t - 1) lr_decay); `initial` is what s begins with.

    >>> Adagrad(lr_decay=0.5).numbers(3, 0.1)[0]
    0.05
    """

    lr: Rates = 1e-2
    lr_decay: float = 0.0
    initial: float = 0.0
    eps: float = 1e-10

    slots: ClassVar[tuple[str, ...]] = ("s",)
    formula: ClassVar[Callable[..., Any]] = staticmethod(adagrad_update)

    def numbers(self, t: int, lr: Any) -> tuple[Any, ...]:
        return lr / (1.0 + (t - 1) * self.lr_decay), self.initial, self.eps


def adadelta_update(
    xp: Namespace, w: Array, v: Array, u: Array, g: Array,
    lr: Any, rho: float, gain: float, eps: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    v = rho * v + gain * (g * g)
    step = xp.sqrt(u + eps) / xp.sqrt(v + eps) * g
    return w - lr * step, v, rho * u + gain * (step * step)


@dataclass(frozen=True, repr=False)
class Adadelta(Optimizer):
    """d = sqrt(u + eps) / sqrt(v + eps) g; w <- w - lr d (Zeiler, 2012).

    v and u are the moving means of g^2 and d^2.

    >>> Adadelta().lr, Adadelta().rho
    (1.0, 0.9)
    """

    lr: Rates = 1.0
    rho: float = 0.9
    eps: float = 1e-6

    slots: ClassVar[tuple[str, ...]] = ("v", "u")
    formula: ClassVar[Callable[..., Any]] = staticmethod(adadelta_update)

    def numbers(self, t: int, lr: Any) -> tuple[Any, ...]:
        return lr, self.rho, 1.0 - self.rho, self.eps
