"""Check a whole network: gradients, and every backend against the plain path."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import Backend
from ..bound import Bound
from ..losses import Loss, MeanSquaredError
from .agreement import STEPS, agreement, everywhere
from .examples import examples, targets
from .gradients import UNSOUND, away_from_kinks, gradients
from .report import Report, Row

_ROWS = 4


def network(
    net: Bound,
    x: Any = None,
    t: Any = None,
    loss: Loss | None = None,
    device: str | None = None,
) -> Report:
    """Check backpropagation in `net` and its agreement across backends; `net` is not changed.

    `x` `(n, features)` and targets `t` are the pool that batches of four are drawn from, and
    random numbers where they are not given; `loss` is that of the last `fit` or the squared
    error. Finite differences are taken in float64, agreement is looked at in both precisions, of
    every device there is or of the one named.

    >>> import gpubp
    >>> report = network(gpubp.Network(gpubp.MLP([4], 2, activation="tanh"), inputs=3))
    >>> report.ok
    True
    """
    loss = loss or getattr(net, "loss", None) or MeanSquaredError()
    x, t = _pool(net, loss) if x is None or t is None else (np.asarray(x), np.asarray(t))
    exact = on_cpu(net, "float64")

    def draw(attempt: int) -> Any:
        return np.random.default_rng(attempt).choice(len(x), min(_ROWS, len(x)), replace=False)

    chosen = draw(away_from_kinks(exact, lambda attempt: x[draw(attempt)]))
    batch, wanted = x[chosen], t[chosen]

    def objective(y: Any) -> tuple[float, Any]:
        value, delta = loss(y, wanted)
        return float(value), delta

    found = gradients(exact, batch, objective)
    if any(math.isinf(row.error) for row in found):
        return Report(found, [UNSOUND])
    compared, remarks = compare(net, batch, wanted, loss, device)
    return Report((*found, *compared), remarks)


def compare(
    net: Bound, x: Any, t: Any, loss: Loss, device: str | None = None, steps: int = STEPS
) -> tuple[list[Row], list[str]]:
    """Hold every other backend, or one, against the plain path, in both precisions."""

    def one(be: Backend) -> tuple[list[Row], list[str]]:
        return agreement(on_cpu(net, be.precision), be, x, t, loss, steps)

    return everywhere(one, device)


def on_cpu(net: Bound, precision: str) -> Bound:
    """One member of `net` (the first, of an ensemble) on the CPU."""
    new = Bound(net.layer, net.inputs, dtype=precision, seed=net.seed)
    arrays = {path: net.be.to_numpy(a) for path, a in net.state_dict().items()}
    new.load_state_dict(arrays if net.members is None else {p: a[0] for p, a in arrays.items()})
    return new


def _pool(net: Bound, loss: Loss) -> tuple[Any, Any]:
    rng, n = np.random.default_rng(0), 64
    x = examples(rng, n, net.inputs, net.spec.categories)
    return x, targets(rng, loss, n, net.spec.shape[-1])
