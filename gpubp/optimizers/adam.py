"""Adam and its kin."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..activations import Array, Namespace
from .base import Optimizer, Rate


def adam_update(
    xp: Namespace, w: Array, m: Array, v: Array, g: Array,
    rate: Any, new1: float, beta2: float, new2: float, eps: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    # new1 = 1 - beta1, new2 = 1 - beta2: in float32 that difference would lose four digits.
    m = m + new1 * (g - m)
    v = beta2 * v + new2 * (g * g)
    return w - rate * m / (xp.sqrt(v) + eps), m, v


@dataclass(frozen=True)
class Adam(Optimizer):
    """m, v: moving means of g and g^2; w <- w - lr m^ / (sqrt(v^) + eps) (Kingma and Ba, 2015).

    m^ = m / (1 - beta1^t) and v^ = v / (1 - beta2^t) correct the bias of the zeros they began with.
    On the host both corrections go into the rate and into eps: with r = sqrt(1 - beta2^t) it is
    w <- w - (lr r / (1 - beta1^t)) m / (sqrt(v) + eps r), one product less for each weight.

    >>> rate, *_, eps = Adam(0.001).numbers(1)
    >>> round(rate, 9), round(eps, 12)
    (0.000316228, 3.16e-10)
    """

    lr: Rate = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    formula: ClassVar[Callable[..., Any]] = staticmethod(adam_update)

    def numbers(self, t: int) -> tuple[Any, ...]:
        root = math.sqrt(1.0 - self.beta2**t)
        rate = self.scaled(root / (1.0 - self.beta1**t))
        return rate, 1.0 - self.beta1, self.beta2, 1.0 - self.beta2, self.eps * root


def adamw_update(
    xp: Namespace, w: Array, m: Array, v: Array, g: Array,
    rate: Any, new1: float, beta2: float, new2: float, eps: float, shrink: Any,
) -> tuple[Array, Array, Array]:  # fmt: skip
    return adam_update(xp, w * shrink, m, v, g, rate, new1, beta2, new2, eps)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: w <- (1 - lr weight_decay) w before it (Loshchilov, 2019).

    Every parameter decays, as in torch.

    >>> AdamW(0.1, weight_decay=0.5).numbers(1)[-1]
    0.95
    """

    weight_decay: float = 0.01

    formula: ClassVar[Callable[..., Any]] = staticmethod(adamw_update)

    def numbers(self, t: int) -> tuple[Any, ...]:
        decay = self.scaled(self.weight_decay)
        shrink = tuple(1.0 - d for d in decay) if isinstance(decay, tuple) else 1.0 - decay
        return (*super().numbers(t), shrink)
