"""Optimizers: frozen descriptions. The update is a formula; its slots live in the network.

`slots` names the arrays an optimizer keeps beside the weights, `numbers(t, lr)` gives what changes
with update `t = 1, 2, ...` on the host in float64, and `formula(xp, w, *slots, g, *numbers)`
returns the new weights and slots. With `m <- b m + (1 - b) g` and the like the names are those of
the papers; the arithmetic equals torch.optim's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any, ClassVar, TypeAlias

from ..errors import InputError, real
from ..groups import On, chosen, names
from ..schedules import Schedule
from ..storage import Layout
from .clipping import Clip
from .penalties import MaxNorm, Penalty

Rate: TypeAlias = float | Schedule
Rates: TypeAlias = Rate | tuple[Rate, ...]


@dataclass(frozen=True, repr=False)
class Optimizer:
    """The base of all optimizers, and what each of them takes by name.

    `lr`: the rate, a number or a schedule, or one of these for each member of an ensemble.
    `weight_decay`: before each update w <- (1 - lr weight_decay) w, apart from the gradient
    (Loshchilov and Hutter, 2019), for the parameters in `decay_on`: a group (`"weights"`, which
    leaves out biases, norms and slopes, `"biases"`, `"norms"`, `"slopes"`, `"all"`) or a path such
    as `"0"` or `"body.*.W"`, or several of them. `penalty`: an `L1`, `L2` or `ElasticNet`, or
    several, whose gradient is added. `clip`: a limit on the gradient, penalty included.
    `max_norm`: a bound on the weights of each unit after the update. Raises `InputError`.

    >>> import gpubp
    >>> gpubp.SGD(0.1).slots, gpubp.Adam().slots
    ((), ('m', 'v'))
    >>> sgd = gpubp.SGD(0.1, penalty=gpubp.L2(1e-4), clip=gpubp.ClipGlobalNorm(1.0))
    """

    lr: Rates = 0.01
    weight_decay: float = field(default=0.0, kw_only=True)
    decay_on: On = field(default="weights", kw_only=True)
    penalty: Penalty | tuple[Penalty, ...] = field(default=(), kw_only=True)
    clip: Clip | None = field(default=None, kw_only=True)
    max_norm: MaxNorm | float | None = field(default=None, kw_only=True)

    slots: ClassVar[tuple[str, ...]] = ()
    formula: ClassVar[Callable[..., Any]]
    stepwise: ClassVar[bool] = True
    """Whether an update is made of the gradient alone, and not of a search along a line."""

    def __post_init__(self) -> None:
        self._set("lr", self._rates())
        self._set("penalty", self._penalties())
        given = names(f"{type(self).__name__}: decay_on", self.decay_on)
        self._set("decay_on", self.decay_on if isinstance(self.decay_on, str) else given)
        if isinstance(self.max_norm, Real) and not isinstance(self.max_norm, bool):
            self._set("max_norm", MaxNorm(self.max_norm))
        for name, kind in (("clip", Clip), ("max_norm", MaxNorm)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise self._refusal(name, value, f"a gpubp.{kind.__name__}")
        for each in fields(self):
            if each.type in ("float", float):
                self._set(each.name, self._checked(each.name, getattr(self, each.name)))

    def __repr__(self) -> str:
        told = [f for f in fields(self) if f.name == "lr" or getattr(self, f.name) != f.default]
        values = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in told)
        return f"{type(self).__name__}({values})"

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _refusal(self, name: str, value: Any, expected: str) -> InputError:
        return InputError(f"{type(self).__name__}: {name} is {value!r}; expected {expected}")

    def _rates(self) -> Rates:
        several = isinstance(self.lr, Iterable) and getattr(self.lr, "ndim", 1) > 0
        if not several or isinstance(self.lr, str | bytes):
            return self._rate(self.lr)
        rates = tuple(self._rate(rate) for rate in self.lr)  # type: ignore[union-attr]
        if not rates:
            raise InputError(f"{type(self).__name__}: lr is empty; give one rate or more")
        return rates

    def _rate(self, value: Any) -> Rate:
        return value if isinstance(value, Schedule) else self._checked("lr", value)

    def _checked(self, name: str, value: Any) -> float:
        top = 1.0 if name.startswith(_BELOW_ONE) else math.inf
        number = real(value)
        # A weight that never had a gradient is 0 / eps away from where it was.
        if not 0 <= number < top or (name == "eps" and number == 0):
            expected = "a number in [0, 1)" if top == 1.0 else "a finite number of at least 0"
            expected = "a finite number above 0" if name == "eps" else expected
            raise self._refusal(name, value, expected)
        return number

    def _penalties(self) -> tuple[Penalty, ...]:
        several = isinstance(self.penalty, tuple | list)
        given: Any = tuple(self.penalty) if several else (self.penalty,)  # type: ignore[arg-type]
        for penalty in given:
            if not isinstance(penalty, Penalty):
                raise self._refusal("penalty", penalty, "a gpubp.Penalty such as gpubp.L2(1e-4)")
        return given  # type: ignore[no-any-return]

    @property
    def penalties(self) -> tuple[Penalty, ...]:
        """The penalties, none or more."""
        return self.penalty  # type: ignore[return-value]

    @property
    def inner(self) -> Optimizer:
        """The optimizer that makes the updates: this one, or the one within an average."""
        return self

    @property
    def kind(self) -> tuple[Any, ...]:
        """What an optimizer must have in common with another one to go on with its slots."""
        return type(self), self.slots

    @property
    def length(self) -> int | None:
        """For how many updates the schedules of the rate are defined; None for any number."""
        rates = self.lr if isinstance(self.lr, tuple) else (self.lr,)
        lengths = [r.length for r in rates if isinstance(r, Schedule) and r.length is not None]
        return min(lengths, default=None)

    def rate(self, t: int) -> float | tuple[float, ...]:
        """Return the rate of update `t`, counted from 1, or that of each member."""
        if isinstance(self.lr, tuple):
            return tuple(_at(rate, t) for rate in self.lr)
        return _at(self.lr, t)

    def numbers(self, t: int, lr: Any) -> tuple[Any, ...]:
        """Return what the formula takes beside arrays at update `t`, counted from 1.

        `lr` is the rate, or a NumPy array with one for each member. Where the formulas allow `t`
        may be an array, too: then the numbers of many updates are made at once.
        """
        return (lr,)

    def check(self, layout: Layout) -> None:
        """Raise `InputError` for names of parameters that a network does not have."""
        kind = type(self).__name__
        if self.weight_decay:
            chosen(layout, f"{kind}: decay_on", self.decay_on)
        for penalty in self.penalties:
            chosen(layout, type(penalty).__name__, penalty.on)
        for part in (self.clip, self.max_norm):
            if isinstance(part, Clip | MaxNorm):
                part.paths(layout)


_BELOW_ONE = ("beta", "decay", "momentum", "rho")


def _at(rate: Rate, t: int) -> float:
    if not isinstance(rate, Schedule):
        return rate
    value = rate(t - 1)
    if not 0 <= value < math.inf:
        raise InputError(f"{rate!r} gives a rate of {value!r} at step {t - 1}; expected one >= 0")
    return value
