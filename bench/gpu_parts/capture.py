"""Compiled steps launched in different ways: the same bits after a thousand of them, or not.

The network has dropout, whose bits follow the step, Adam, whose numbers do, and a new order of the
examples in each epoch: what a graph froze at its capture would show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from ..contenders.gpubp_network import network
from ..gpu_contenders import Setting
from ..gpu_contenders.gpubp_steps import Training
from ..probes import Result, Row, attempt
from ..workloads import Activation, Dropout, Linear, Problem, Workload, problem
from . import Budget

STEPS = 1000
LOAD = Workload(
    "784-128-10 with dropout, batch 128",
    (Linear(784, 128), Activation("relu"), Dropout(0.2), Linear(128, 10)), 128, 40,
)  # fmt: skip
_TINY_LOAD = replace(
    LOAD, net=(Linear(8, 8), Activation("relu"), Dropout(0.2), Linear(8, 4)), batch=8, batches=8
)
_TINY_STEPS = 24
_EPOCH = 1 << 30
WAYS = {
    "launched one by one": (0, _EPOCH),
    "a step in a launch": (1, _EPOCH),
    "8 steps in a launch": (8, _EPOCH),
    "8 steps in a launch, 3 in a call": (8, 3),
    "8 steps in a launch, 1 in a call": (8, 1),
    "8 steps in a launch, 11 in a call": (8, 11),
}
"""Steps in a launch, 0 where nothing is captured, and the most of them in a call."""


Trained: TypeAlias = tuple[Any, Any, dict[str, str]]
"""Losses, the last weights, and the fingerprints of the kernels."""


def probe(setting: Setting, budget: Budget) -> Iterator[Row]:
    """Train in each way, and the first time twice: the first that works is the reference."""
    load, steps = (_TINY_LOAD, _TINY_STEPS) if setting.tiny else (LOAD, STEPS)
    data = problem(load)
    known: list[Trained] = []

    def one(unroll: int, most: int) -> Result:
        how = replace(setting, unroll=unroll)
        if not known:
            known.append(trained(data, how, steps, most))
        return compared(known[0], trained(data, how, steps, most), steps)

    for name, (unroll, most) in WAYS.items():
        yield name, attempt(one, unroll, most)


def trained(data: Problem, setting: Setting, steps: int, most: int) -> Trained:
    """Take so many steps, at most `most` in a call."""
    net, load = network(data, setting.device), data.load
    training, losses, done = Training(net, data, setting), [], 0
    while done < steps:
        at = done % load.batches
        order = np.random.default_rng(done // load.batches).permutation(load.batch * load.batches)
        count = min(most, steps - done, load.batches - at)
        losses.append(np.array(training.run(at, count, order)))
        done += count
    weights = np.array(net.be.to_numpy(net.theta))
    return np.concatenate(losses), weights, training.kernels()


def compared(expected: Trained, found: Trained, steps: int) -> Result:
    """Return what is equal bit for bit; raise where not all is, or where nothing was learnt."""
    losses, weights, kernels = found
    same = np.flatnonzero(np.any(losses != expected[0], axis=-1))
    if len(same):
        raise ArithmeticError(
            f"the loss of step {same[0] + 1} of {steps} is {losses[same[0]][0]!r}, "
            f"not {expected[0][same[0]][0]!r}"
        )
    if differ := int(np.count_nonzero(weights != expected[1])):
        raise ArithmeticError(f"{differ} of {weights.size} weights differ after {steps} steps")
    if not np.isfinite(losses).all() or np.ptp(losses) == 0.0:
        raise ArithmeticError(f"the losses say nothing: they begin with {losses[:3].tolist()}")
    return {"steps": steps, "equal": steps, "last_loss": float(losses[-1, 0]), "kernels": kernels}
