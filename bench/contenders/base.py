"""What a contender is: something that takes training steps, many in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np


class UnavailableError(Exception):
    """This contender cannot run here, or not this workload; the message says why."""


class Contender(Protocol):
    """A training that goes on from call to call, batch after batch, epoch after epoch."""

    unit: int
    """Steps are taken in multiples of this many."""

    def losses(self, count: int) -> list[Any]:
        """Take at least `count` steps; return the loss before each of the first `count`.

        To be called before any `run`. A number each, `(members,)` in an ensemble.
        """

    def run(self, steps: int) -> None:
        """Take this many steps, a multiple of `unit`; return when all are done."""


class Stepwise:
    """A contender that is called for each step with the number of its batch.

    `step` returns the loss, which may still be under way; `wait` waits for it.
    """

    unit = 1

    def __init__(
        self, step: Callable[[int], Any], batches: int, wait: Callable[[Any], Any] | None = None
    ) -> None:
        self._step, self._batches, self._wait = step, batches, wait
        self._taken = 0

    def losses(self, count: int) -> list[Any]:
        first = self._taken
        self._taken += count
        return [np.array(self._step(i % self._batches)) for i in range(first, first + count)]

    def run(self, steps: int) -> None:
        step, batches, value = self._step, self._batches, None
        for i in range(self._taken, self._taken + steps):
            value = step(i % batches)
        self._taken += steps
        if self._wait is not None:
            self._wait(value)
