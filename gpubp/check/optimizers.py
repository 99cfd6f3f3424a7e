"""Check one optimizer: its agreement across backends."""

from __future__ import annotations

import numpy as np

from ..backend import Backend
from ..bound import Bound
from ..layers import LayerNorm, Linear, PReLU, Sequential
from ..optimizers import Optimizer
from .agreement import everywhere
from .pair import Pair
from .report import Report, Row

_STEPS = 5
_BODY = Sequential(Linear(4), LayerNorm(), PReLU(), Linear(2))  # parameters of every kind


def optimizer(optimizer: Optimizer, *, device: str | None = None) -> Report:
    """Check an optimizer, your own or the library's, on every backend or the one named.

    A network with weights, biases, norms and slopes makes five updates from given gradients;
    weights and slots are held against those on the CPU after each. What the update is meant to be
    has no second source here: that is for a test of its own.

    >>> import gpubp
    >>> optimizer(gpubp.Adam(0.01, clip=gpubp.ClipGlobalNorm(1.0))).ok
    True
    """

    def compare(be: Backend) -> tuple[list[Row], list[str]]:
        net = Bound(_BODY, 3, dtype=be.precision, seed=1)
        pair, rng = Pair(net, be), np.random.default_rng(4)
        shapes = {path: a.shape for path, a in pair.plain.state_dict().items()}
        for _ in range(_STEPS):
            drawn = {p: rng.normal(size=s).astype(be.precision) for p, s in shapes.items()}
            pair.update_from(drawn, optimizer)
        return list(pair.rows.values()), []

    return Report(*everywhere(compare, device))
