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

from ..errors import InputError

Rate = float | tuple[float, ...]


@dataclass(frozen=True)
class Optimizer:
    """The base of all optimizers.

    >>> import gpubp
    >>> gpubp.SGD(0.1).slots, gpubp.Adam().slots
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
