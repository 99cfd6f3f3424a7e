"""Averages of the weights over training, kept beside the optimizer that makes the updates.

The average is one more slot, `average`, of the same kernel; `net.averaged()` puts it in the place
of the weights. Running statistics, such as those of a batch normalisation, are of the training
weights: where a network has some, they differ a little from what the averaged weights would give.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import InputError, whole
from ..groups import On
from ..storage import Layout
from .base import Optimizer, Rates
from .clipping import Clip
from .penalties import MaxNorm, Penalty
from .steps import averaging


@dataclass(frozen=True, repr=False)
class Averaging(Optimizer):
    """The base: another optimizer's updates, followed by a <- a + share(t) (w - a).

    Rate, decay, penalties, clip and bound are those of the optimizer within. Raises `InputError`
    where that is none, or averages itself.

    >>> import gpubp
    >>> ema = EMA(gpubp.AdamW(0.1), decay=0.99)
    >>> ema.slots, ema.weight_decay, ema
    (('m', 'v', 'average'), 0.01, EMA(AdamW(lr=0.1), decay=0.99))
    """

    lr: Rates = field(init=False)
    weight_decay: float = field(init=False)
    decay_on: On = field(init=False)
    penalty: Penalty | tuple[Penalty, ...] = field(init=False)
    clip: Clip | None = field(init=False)
    max_norm: MaxNorm | float | None = field(init=False)
    optimizer: Optimizer

    def __post_init__(self) -> None:
        inner = self.optimizer
        if not isinstance(inner, Optimizer) or isinstance(inner, Averaging) or not inner.stepwise:
            raise self._refusal("optimizer", inner, "one that steps, such as gpubp.Adam()")
        for each in fields(Optimizer):
            self._set(each.name, getattr(inner, each.name))
        self._set("slots", (*inner.slots, "average"))
        self._set("formula", averaging(inner.formula, 1 + len(inner.slots), 1))
        super().__post_init__()

    def __repr__(self) -> str:
        own = [f.name for f in fields(self)[len(fields(Optimizer)) + 1 :]]
        values = [repr(self.optimizer), *(f"{name}={getattr(self, name)!r}" for name in own)]
        return f"{type(self).__name__}({', '.join(values)})"

    @property
    def inner(self) -> Optimizer:
        return self.optimizer

    @property
    def kind(self) -> tuple[Any, ...]:
        return (type(self), *self.optimizer.kind)

    def numbers(self, t: int, lr: Any) -> tuple[Any, ...]:
        return (*self.optimizer.numbers(t, lr), self.share(t))

    def check(self, layout: Layout) -> None:
        self.optimizer.check(layout)

    def share(self, t: int) -> float:
        """Return the part that the weights after update `t` have in the average."""
        raise TypeError(f"{type(self).__name__} does not say how it averages")


@dataclass(frozen=True, repr=False)
class EMA(Averaging):
    """a <- decay a + (1 - decay) w after each update: an exponential moving average of the weights.

    It begins as the weights after the first update, so that no bias need be corrected, as torch's
    `get_ema_multi_avg_fn` does (Polyak and Juditsky, 1992, for averages of iterates).

    >>> import gpubp
    >>> net = gpubp.Network(gpubp.Linear(1), inputs=1)
    >>> _ = net.fit([[1.0]], [2.0], loss="squared_error", optimizer=EMA(gpubp.SGD(0.1)))
    >>> with net.averaged():
    ...     averaged = net.predict([[1.0]])
    >>> bool(averaged < net.predict([[1.0]]) < 2.0)
    True
    """

    decay: float = 0.999

    def share(self, t: int) -> float:
        return 1.0 - self.decay * (t != 1)


@dataclass(frozen=True, repr=False)
class SWA(Averaging):
    """The mean of the weights after updates start, start + every, ... (Izmailov et al., 2018).

    `start` and `every` count updates; take a high, constant or cyclic rate from `start` on. Raises
    `InputError` for counts below 1.

    >>> import gpubp
    >>> swa = SWA(gpubp.SGD(0.1), start=3, every=2)
    >>> [round(swa.share(t), 3) for t in range(1, 8)]
    [0.0, 0.0, 1.0, 0.0, 0.5, 0.0, 0.333]
    """

    start: int = 1
    every: int = 1

    def __post_init__(self) -> None:
        for name in ("start", "every"):
            if not whole(getattr(self, name)) or getattr(self, name) < 1:
                given = getattr(self, name)
                raise InputError(f"SWA: {name} is {given!r}; expected a whole number, at least 1")
            self._set(name, int(getattr(self, name)))
        super().__post_init__()

    def share(self, t: int) -> float:
        taken, rest = divmod(t - self.start, self.every)
        return 1.0 / (taken + 1) if taken >= 0 and rest == 0 else 0.0
