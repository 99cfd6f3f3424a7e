"""gpubp, the whole step compiled: `Network.fit(..., compile=True)`, many epochs a call."""

from __future__ import annotations

from typing import Any

import numpy as np

import gpubp

from ..workloads import Problem
from .base import Contender, UnavailableError
from .gpubp_network import loss_and_optimizer, network


def build(problem: Problem, threads: int) -> Contender:
    """The compiled path as it comes: it takes as many of the `threads` cores as gain."""
    try:
        gpubp.select("cpu").compiler()
    except gpubp.DeviceError as error:
        raise UnavailableError(str(error)) from error
    return Fit(problem, compile=True)


class Fit:
    """Training by `Network.fit`, which gets all data in every call and keeps their order.

    What a call takes beside its steps, the look at the data and the record of each epoch, counts.
    """

    def __init__(self, problem: Problem, **options: Any) -> None:
        load = problem.load
        self.unit, self._batch = load.batches, load.batch
        self._net = network(problem)
        loss, method = loss_and_optimizer(problem)
        self._how = {"loss": loss, "optimizer": method, "shuffle": False, **options}
        self._x = problem.x.reshape(-1, problem.x.shape[-1])
        self._y = problem.y.reshape(-1, *problem.y.shape[2:])

    def losses(self, count: int) -> list[Any]:
        return [np.array(self._fit(i % self.unit, i % self.unit + 1, 1)) for i in range(count)]

    def run(self, steps: int) -> None:
        self._fit(0, self.unit, steps // self.unit)

    def _fit(self, first: int, last: int, epochs: int) -> Any:
        """Train on some batches; return the loss of the last epoch, one for each member."""
        rows = slice(first * self._batch, last * self._batch)
        history = self._net.fit(
            self._x[rows], self._y[rows], epochs=epochs, batch_size=self._batch, **self._how
        )
        return history["loss"][-1]
