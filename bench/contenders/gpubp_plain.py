"""gpubp, every layer as it is written: `Network.train_step`, one call a step."""

from __future__ import annotations

from typing import Any

from ..workloads import Problem
from .base import Contender, Stepwise
from .gpubp_network import loss_and_optimizer, network


def build(problem: Problem, threads: int) -> Contender:
    """The plain path; its BLAS has as many threads as the process was started with."""
    net = network(problem)
    loss, method = loss_and_optimizer(problem)
    x, t = list(problem.x), [y[:, None] if y.ndim == 1 else y for y in problem.y]

    def step(i: int) -> Any:
        value, sound = net.train_step(x[i], t[i], loss, method)
        if sound is not True:
            raise SystemExit("gpubp plain: a step was not finite")
        return value

    return Stepwise(step, len(x))
