"""Optimizers: frozen descriptions. The update is a formula; its slots live in the network.

`slots` names the arrays an optimizer keeps beside the weights, `numbers(t)` gives what changes
with update `t = 1, 2, ...` on the host in float64, and `formula(xp, w, *slots, g, *numbers)`
returns the new weights and slots. With `m <- b m + (1 - b) g` and the like the names are those of
the papers; the arithmetic equals torch.optim's.

The rate `lr` may be one number, or one for each member of an ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, ClassVar

from .activations import Array, Namespace
from .errors import InputError, named

Rate = float | tuple[float, ...]


@dataclass(frozen=True)
class Optimizer:
    """The base of all optimizers.

    >>> SGD(0.1).slots, Adam().slots
    ((), ('m', 'v'))
    """

    lr: Rate = 0.01

    slots: ClassVar[tuple[str, ...]] = ()
    formula: ClassVar[Callable[..., Any]]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            several = isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0
            if field.name == "lr" and several and not isinstance(value, str):
                checked: Any = tuple(self._checked(field.name, rate) for rate in value)
                if not checked:
                    raise InputError(f"{type(self).__name__}: lr is empty; give one rate or more")
            else:
                checked = self._checked(field.name, value)
            object.__setattr__(self, field.name, checked)

    def _checked(self, name: str, value: Any) -> float:
        top = 1.0 if name.startswith(("beta", "momentum")) else math.inf
        real = isinstance(value, Real) and not isinstance(value, bool)
        try:
            number = float(value) if real else math.nan
        except OverflowError:  # an int beyond all floats
            number = math.inf
        if not 0 <= number < top:
            expected = "a number in [0, 1)" if top == 1.0 else "a finite number of at least 0"
            raise InputError(f"{type(self).__name__}: {name} is {value!r}; expected {expected}")
        return number

    def numbers(self, t: int) -> tuple[Any, ...]:
        """Return what the formula takes beside arrays at update `t`, counted from 1."""
        return (self.lr,)

    def scaled(self, factor: float) -> Rate:
        """Return `lr * factor`, for every member."""
        return (
            tuple(r * factor for r in self.lr) if isinstance(self.lr, tuple) else self.lr * factor
        )


def sgd_update(xp: Namespace, w: Array, g: Array, lr: Any) -> tuple[Array]:
    return (w - lr * g,)


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v <- mu v + g; w <- w - lr v (Polyak, 1964), mu = `momentum`.

    >>> Momentum(0.1, momentum=0.9).numbers(1)
    (0.1, 0.9)
    """

    momentum: float = 0.9

    slots: ClassVar[tuple[str, ...]] = ("v",)
    formula: ClassVar[Callable[..., Any]] = staticmethod(momentum_update)

    def numbers(self, t: int) -> tuple[Any, ...]:
        return self.lr, self.momentum


def nesterov_update(
    xp: Namespace, w: Array, v: Array, g: Array, lr: Any, mu: float
) -> tuple[Array, Array]:
    v = mu * v + g
    return w - lr * (g + mu * v), v


@dataclass(frozen=True)
class Nesterov(Momentum):
    """v <- mu v + g; w <- w - lr (g + mu v): Nesterov's momentum in Sutskever's form (2013).

    >>> Nesterov(0.1).momentum
    0.9
    """

    formula: ClassVar[Callable[..., Any]] = staticmethod(nesterov_update)


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


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
    "adamw": AdamW,
}


def optimizer(given: str | Optimizer) -> Optimizer:
    """Return the optimizer of that name with its default rate, or the one given.

    >>> optimizer("adam")
    Adam(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-08)
    """
    if isinstance(given, Optimizer):
        return given
    return named("optimizer", given, OPTIMIZERS)()
