"""The numbers of many updates at once: the rate, and what else the formula of an update takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .optimizers import Optimizer
from .schedules import Schedule
from .updates import Updates

_LOOKED_AT = np.asarray([1, 2, 3, 10, 1000, 1_000_000])
_CLOSE = 1e-12


class NumberTable:
    """The numbers of an optimizer's updates, `(updates, members, count)` in float64.

    A call for each update takes microseconds, which is as long as a small step. Where the rate is
    constant and the optimizer's `numbers(t, lr)` can take many t at once they are made together:
    whether it can is found out by doing both, for somebody's own formula each time. The bits of an
    update's numbers do not depend on which others they are asked for with.

    >>> import gpubp
    >>> net = gpubp.Network(gpubp.Linear(1), inputs=1)
    >>> NumberTable(net.steps, gpubp.Momentum(0.5), 1).of(1, 3)[:, 0].tolist()
    [[0.5, 0.5, 0.9], [0.5, 0.5, 0.9], [0.5, 0.5, 0.9]]
    """

    def __init__(self, steps: Updates, optimizer: Optimizer, members: int) -> None:
        self._steps, self._optimizer, self._members = steps, optimizer, members
        rates = optimizer.lr if isinstance(optimizer.lr, tuple) else (optimizer.lr,)
        # A rate that is 0 now and not later would hide what a formula does with it.
        self.together = not any(isinstance(rate, Schedule) for rate in rates) and self._agrees(
            _LOOKED_AT
        )
        """Whether many updates are asked for at once."""
        self._own = not type(optimizer.inner).__module__.startswith("gpubp.")

    def of(self, first: int, count: int) -> Any:
        """Return those of updates `first`, `first + 1`, ..., counted from 1."""
        t = np.arange(first, first + count)
        if self.together and count and (not self._own or self._agrees(t[[0, -1]])):
            return self._at_once(t)
        return self._one_by_one(t)

    def _agrees(self, t: Any) -> bool:
        try:
            given = self._at_once(t)
        except (ArithmeticError, TypeError, ValueError):  # a formula for one t alone
            return False
        return np.allclose(given, self._one_by_one(t), rtol=_CLOSE, atol=0.0, equal_nan=True)

    def _at_once(self, t: Any) -> Any:
        rate = self._steps.rate_at(self._optimizer, 1)
        column = t[:, None].astype(np.float64)
        return self._table(len(t), [rate, *self._steps.numbers(self._optimizer, column, rate)])

    def _one_by_one(self, t: Any) -> Any:
        steps, optimizer, rows = self._steps, self._optimizer, []
        for each in t.tolist():
            rate = steps.rate_at(optimizer, each)
            rows.append(self._table(1, [rate, *steps.numbers(optimizer, each, rate)]))
        return np.concatenate(rows)

    def _table(self, count: int, numbers: list[Any]) -> Any:
        table = np.empty((count, self._members, len(numbers)))
        for i, number in enumerate(numbers):
            table[:, :, i] = number
        return table
