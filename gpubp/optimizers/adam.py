"""Adam and its kin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..activations import Array, Namespace
from .base import Optimizer, Rates


def adam_update(
    xp: Namespace, w: Array, m: Array, v: Array, g: Array,
    rate: Any, new1: float, beta2: float, new2: float, eps: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    # new1 = 1 - beta1, new2 = 1 - beta2: in float32 that difference would lose four digits.
    m = m + new1 * (g - m)
    v = beta2 * v + new2 * (g * g)
    return w - rate * m / (xp.sqrt(v) + eps), m, v


@dataclass(frozen=True, repr=False)
class Adam(Optimizer):
    """m, v: moving means of g and g^2; w <- w - lr m^ / (sqrt(v^) + eps) (Kingma and Ba, 2015).

    m^ = m / (1 - beta1^t) and v^ = v / (1 - beta2^t) correct the bias of the zeros they began with.
    On the host both corrections go into the rate and into eps: with r = sqrt(1 - beta2^t) it is
    w <- w - (lr r / (1 - beta1^t)) m / (sqrt(v) + eps r), one product less for each weight.

    >>> rate, *_, eps = Adam().numbers(1, 0.001)
    >>> round(rate, 9), round(eps, 12)
    (0.000316228, 3.16e-10)
    """

    lr: Rates = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    formula: ClassVar[Callable[..., Any]] = staticmethod(adam_update)

    def numbers(self, t: int, lr: Any) -> tuple[Any, ...]:
        root = (1.0 - self.beta2**t) ** 0.5
        rate = lr * (root / (1.0 - self.beta1**t))
        return rate, 1.0 - self.beta1, self.beta2, 1.0 - self.beta2, self.eps * root


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay: w <- (1 - lr weight_decay) w before it (Loshchilov, 2019).

    Biases, norms and slopes do not decay; with `decay_on="all"` it is torch's.

    >>> AdamW(0.1).weight_decay
    0.01
    """

    weight_decay: float = field(default=0.01, kw_only=True)


def amsgrad_update(
    xp: Namespace, w: Array, m: Array, v: Array, top: Array, g: Array,
    rate: Any, new1: float, beta2: float, new2: float, eps: float,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    m = m + new1 * (g - m)
    v = beta2 * v + new2 * (g * g)
    top = xp.maximum(top, v)
    return w - rate * m / (xp.sqrt(top) + eps), m, v, top


@dataclass(frozen=True, repr=False)
class AMSGrad(Adam):
    """Adam with the largest v so far in place of v (Reddi, Kale, Kumar, 2018).

    The correction of the bias is Adam's, as in torch's `amsgrad=True`.

    >>> AMSGrad().slots
    ('m', 'v', 'top')
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "top")
    formula: ClassVar[Callable[..., Any]] = staticmethod(amsgrad_update)


def adamax_update(
    xp: Namespace, w: Array, m: Array, u: Array, g: Array,
    rate: Any, new1: float, beta2: float, eps: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    m = m + new1 * (g - m)
    u = xp.maximum(beta2 * u, xp.abs(g) + eps)
    return w - rate * m / u, m, u


@dataclass(frozen=True, repr=False)
class Adamax(Adam):
    """u <- max(beta2 u, |g| + eps); w <- w - lr m^ / u (Kingma and Ba, 2015, section 7.1).

    >>> Adamax().slots
    ('m', 'u')
    """

    lr: Rates = 2e-3

    slots: ClassVar[tuple[str, ...]] = ("m", "u")
    formula: ClassVar[Callable[..., Any]] = staticmethod(adamax_update)

    def numbers(self, t: int, lr: Any) -> tuple[Any, ...]:
        return lr / (1.0 - self.beta1**t), 1.0 - self.beta1, self.beta2, self.eps
