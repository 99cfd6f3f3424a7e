"""Adam with Nesterov's momentum, and Adam that waits for its variance: NAdam and RAdam."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from ..activations import Array, Namespace
from .adam import Adam
from .base import Rates


def nadam_update(
    xp: Namespace, w: Array, m: Array, v: Array, g: Array, of_g: Any, of_m: Any,
    new1: float, beta2: float, new2: float, eps: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    m = m + new1 * (g - m)
    v = beta2 * v + new2 * (g * g)
    return w - (of_g * g + of_m * m) / (xp.sqrt(v) + eps), m, v


@dataclass(frozen=True, repr=False)
class NAdam(Adam):
    """Adam whose m^ looks one update ahead (Dozat, 2016).

    With mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2) and M_t = mu_1 ... mu_t:
    m^ = mu_(t+1) m / (1 - M_(t+1)) + (1 - mu_t) g / (1 - M_t).

    >>> round(NAdam().momentum(1), 6), round(NAdam().product(2), 6)
    (0.450073, 0.202599)
    """

    lr: Rates = 2e-3
    momentum_decay: float = 4e-3

    formula: ClassVar[Callable[..., Any]] = staticmethod(nadam_update)

    def momentum(self, t: int) -> float:
        """Return mu_t."""
        return _momentum(self.beta1, self.momentum_decay, t)

    def product(self, t: int) -> float:
        """Return mu_1 ... mu_t."""
        products = _products(self.beta1, self.momentum_decay)
        while len(products) <= t and products[-1] > _NOTHING:
            products.append(products[-1] * self.momentum(len(products)))
        return products[min(t, len(products) - 1)]

    def numbers(self, t: int, lr: Any) -> tuple[Any, ...]:
        root = math.sqrt(1.0 - self.beta2**t)
        of_g = lr * (root * (1.0 - self.momentum(t)) / (1.0 - self.product(t)))
        of_m = lr * (root * self.momentum(t + 1) / (1.0 - self.product(t + 1)))
        return of_g, of_m, 1.0 - self.beta1, self.beta2, 1.0 - self.beta2, self.eps * root


_NOTHING = 1e-20
"""1 - M is 1 in float64 from here on, so that later products need not be known."""


def _momentum(beta1: float, decay: float, t: int) -> float:
    return beta1 * (1.0 - 0.5 * math.pow(0.96, t * decay))


@lru_cache(maxsize=64)
def _products(beta1: float, decay: float) -> list[float]:
    """M_0, M_1, ...: lengthened as they are asked for, and right whatever is asked for next."""
    return [1.0]


def radam_update(
    xp: Namespace, w: Array, m: Array, v: Array, g: Array, plain: Any, rate: Any,
    new1: float, beta2: float, new2: float, eps: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    m = m + new1 * (g - m)
    v = beta2 * v + new2 * (g * g)
    return w - m * (plain + rate / (xp.sqrt(v) + eps)), m, v


@dataclass(frozen=True, repr=False)
class RAdam(Adam):
    """Adam from when v is known well enough, scaled by r_t; before, w <- w - lr m^ (Liu, 2020).

    rho_t = rho - 2 t beta2^t / (1 - beta2^t) with rho = 2 / (1 - beta2) - 1; where rho_t > 5,
    r_t^2 = (rho_t - 4)(rho_t - 2) rho / ((rho - 4)(rho - 2) rho_t).

    >>> RAdam().numbers(1, 0.001)[:2], RAdam().numbers(6, 0.001)[0]
    ((0.010000000000000002, 0.0), 0.0)
    """

    formula: ClassVar[Callable[..., Any]] = staticmethod(radam_update)

    def numbers(self, t: int, lr: Any) -> tuple[Any, ...]:
        bias2 = 1.0 - self.beta2**t
        first = lr / (1.0 - self.beta1**t)
        most = 2.0 / (1.0 - self.beta2) - 1.0
        known = most - 2.0 * t * self.beta2**t / bias2
        plain, rate = first, 0.0 * first
        if known > 5.0:
            part = (known - 4.0) * (known - 2.0) * most / ((most - 4.0) * (most - 2.0) * known)
            plain, rate = 0.0 * first, first * math.sqrt(part * bias2)
        return plain, rate, 1.0 - self.beta1, self.beta2, 1.0 - self.beta2, self.eps
