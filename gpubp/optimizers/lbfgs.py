"""L-BFGS: curvature from the last few steps, each of a length that a line search finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError, whole
from .base import Optimizer, Rates


@dataclass(frozen=True, repr=False)
class LBFGS(Optimizer):
    """w <- w + a d, d = -H g: H from the last `memory` steps, a from a strong-Wolfe search.

    For the full batch of one network: `net.fit(x, y, optimizer=LBFGS(), batch_size=None)`, where
    an epoch is one such step and takes one evaluation of the loss or more, at most
    `max_evaluations`. Each step lowers the loss: L(w + a d) <= L(w) + `c1` a g.d, and the new
    slope along d is at most `c2` times the old one in size (Nocedal and Wright, "Numerical
    Optimization", 2006, algorithms 3.5, 3.6, 7.4 and 7.5); at a kink of the loss the first alone.
    `lr` is the length that is tried first. Penalties are part of the loss. Training ends where no
    element of the gradient, or of the step, is larger than `tolerance` or `change`.

    A layer's noise is the same within a step and another one in the next. Raises `InputError` for
    `weight_decay` (give `penalty=L2(...)`), `clip` and `max_norm`, which are no part of the loss.

    >>> LBFGS(memory=2).slots
    ('s0', 'y0', 's1', 'y1')
    """

    lr: Rates = 1.0
    memory: int = 10
    c1: float = 1e-4
    c2: float = 0.9
    max_evaluations: int = 25
    tolerance: float = 1e-7
    change: float = 1e-9

    stepwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("memory", "max_evaluations"):
            if not whole(getattr(self, name)) or getattr(self, name) < 1:
                raise self._refusal(name, getattr(self, name), "a whole number of at least 1")
        if not 0 < self.c1 < self.c2 < 1:
            raise InputError(f"LBFGS: c1 is {self.c1} and c2 {self.c2}; expected 0 < c1 < c2 < 1")
        if isinstance(self.lr, tuple) or self.lr == 0:
            raise self._refusal("lr", self.lr, "one number above 0, or a schedule")
        for name, none in (("weight_decay", 0.0), ("clip", None), ("max_norm", None)):
            if getattr(self, name) != none:
                raise self._refusal(name, getattr(self, name), "none: use penalty=gpubp.L2(...)")
        pairs = [(f"s{k}", f"y{k}") for k in range(self.memory)]
        self._set("slots", tuple(name for pair in pairs for name in pair))
