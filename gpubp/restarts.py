"""Several first weights at once: what is stuck in a poor minimum is trained beside what is not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .bound import Bound
from .errors import InputError, NonFiniteError, whole
from .history import History
from .pickling import attributes


@dataclass(frozen=True)
class Restarts:
    """What became of each of K networks that differ in their seed alone.

    `losses` are those that decided: of the validation data after the last epoch where there are
    any, otherwise of the training data; infinite for one that met a step which was not finite.
    `best` is the index of the least, `networks` the ensemble of all where it was to be kept.

    >>> outcome = Restarts([3, 4], [0.5, 0.25], 1)
    >>> outcome.seeds[outcome.best]
    4
    """

    seeds: list[int]
    losses: list[float]
    best: int
    networks: Any = None


def check(net: Bound, restarts: Any) -> None:
    """Raise `InputError` unless a network can begin `restarts` times.

    >>> import gpubp
    >>> check(gpubp.Network(gpubp.Linear(1), inputs=1), 0)
    Traceback (most recent call last):
    gpubp.errors.InputError: restarts is 0; expected a whole number of at least 1, or None
    """
    if not whole(restarts) or restarts < 1:
        raise InputError(
            f"restarts is {restarts!r}; expected a whole number of at least 1, or None"
        )
    if net.members is not None:
        raise InputError(f"restarts: this network has {net.members} members already, each of "
                         "which begins from its own seed")  # fmt: skip
    if net.updates:
        raise InputError(f"restarts begin anew, and this network was trained for {net.updates} "
                         "updates; make a new one")  # fmt: skip


def ensemble(net: Any, restarts: int) -> Any:
    """Return a network of `restarts` members whose seeds follow that of `net`, otherwise as it."""
    seeds = [net.seed + k for k in range(restarts)]
    together = object.__new__(type(net))
    Bound.__init__(together, net.layer, net.inputs, device=net.be, seed=seeds)
    vars(together).update(attributes(net))
    together.steps.tolerant = True
    with net.be.activate():
        own, drawn = net.state_dict(), together.state_dict()
        for path, array in own.items():
            if path in net.frozen:
                net.be.write(together.parameter(path), drawn[path] * 0.0 + array)  # of every member
            elif not bool(net.be.xp.all(array == drawn[path][0, ...])):
                raise InputError(
                    f"restarts draw first weights from seeds, and {path!r} was set otherwise: "
                    "freeze what has to stay, or make a new network"
                )
    together.freeze(*net.frozen)
    return together


def outcome(together: Any, losses: Any, keep: str) -> Restarts:
    """Judge the members by their losses; `NonFiniteError` where all were lost."""
    judged = [math.inf if gone or not math.isfinite(loss) else float(loss)
              for loss, gone in zip(losses, together.steps.lost, strict=True)]  # fmt: skip
    best = min(range(len(judged)), key=judged.__getitem__)
    if judged[best] == math.inf:
        raise NonFiniteError(
            f"none of {len(judged)} restarts ended with a finite loss: try a lower rate or scaled "
            "inputs", together.updates + 1, "loss",
        )  # fmt: skip
    kept = together if keep == "all" else None
    return Restarts(list(together.seeds), judged, best, kept)


def alone(history: History, k: int) -> History:
    """Return the history of one member, as it would have been alone."""
    last, reason = history.ended.get(k, (math.inf, history.stopped))
    records = [
        {name: value[k] if isinstance(value, list) else value for name, value in record.items()}
        for record in history.records
        if record["epoch"] <= last
    ]
    return History(records, history.names, reason, {}, history.path, history.reason)
