"""Lion: steps of one size in every weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..activations import Array, Namespace
from .base import Optimizer, Rates


def lion_update(
    xp: Namespace, w: Array, m: Array, g: Array, lr: Any, beta1: float, new1: float,
    beta2: float, new2: float,
) -> tuple[Array, Array]:  # fmt: skip
    c = beta1 * m + new1 * g
    sign = xp.astype(c > 0, w.dtype) - xp.astype(c < 0, w.dtype)
    return w - lr * sign, beta2 * m + new2 * g


@dataclass(frozen=True, repr=False)
class Lion(Optimizer):
    """w <- w - lr sign(beta1 m + (1 - beta1) g); m <- beta2 m + (1 - beta2) g.

    Chen et al., "Symbolic Discovery of Optimization Algorithms" (2023), Program 1, whose rates
    are a third to a tenth of AdamW's and whose weight decay is as much larger.

    >>> Lion(weight_decay=0.1)
    Lion(lr=0.0001, weight_decay=0.1)
    """

    lr: Rates = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99

    slots: ClassVar[tuple[str, ...]] = ("m",)
    formula: ClassVar[Callable[..., Any]] = staticmethod(lion_update)

    def numbers(self, t: int, lr: Any) -> tuple[Any, ...]:
        return lr, self.beta1, 1.0 - self.beta1, self.beta2, 1.0 - self.beta2
