"""Check one loss: its gradient, and its agreement across backends."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Backend, remember, select
from ..losses import Loss
from .agreement import everywhere
from .examples import soft, targets
from .gradients import differences
from .report import Report, Row
from .tolerance import error, tolerance

_ROWS = 6


def loss(loss: Loss, width: int = 4, *, device: str | None = None) -> Report:
    """Check a loss, your own or the library's, for raw outputs `(batch, width)`.

    Its delta against finite differences of its value, both with and without example weights, and
    value and delta on every backend, or the one named, against those on the CPU. Raises
    `InputError` for a width that the loss does not take.

    >>> import gpubp
    >>> loss(gpubp.Huber(0.5)).ok
    True
    """
    loss.check(width)
    rng = np.random.default_rng(3)
    z, weights = rng.normal(0.0, 1.5, (_ROWS, width)), rng.uniform(0.5, 2.0, _ROWS)
    drawn = {"": targets(rng, loss, _ROWS, width)}
    if loss.targets == "labels":
        drawn[" for soft labels"] = soft(rng, _ROWS, width)
    cases = [
        (f"{of}{weighted}", t, w)
        for of, t in drawn.items()
        for weighted, w in (("", None), (" with weights", weights))
    ]
    rows = [_differences(loss, z.copy(), f"delta{of}", t, w) for of, t, w in cases]

    def compare(be: Backend) -> tuple[list[Row], list[str]]:
        cpu = select("cpu", be.precision)
        remember(be)  # by it a loss finds the backend of an array
        found: list[Row] = []
        for of, t, w in cases:
            plain = loss(cpu.asarray(z), t, w)
            other = loss(be.asarray(z), t, w)
            for what, given, expected in zip(("value", "delta"), other, plain, strict=True):
                share = 1.0 / _ROWS if loss.is_mean else 1.0
                terms = (z,) if what == "value" else (share, share * z)
                allowed = tolerance(be.precision, expected, z.size, terms)
                off = error(be.to_numpy(given), expected)
                found.append(Row(be.device, be.precision, f"{what}{of}", off, allowed))
        return found, []

    compared, remarks = everywhere(compare, device)
    return Report((*rows, *compared), remarks)


def _differences(loss: Loss, z: Any, what: str, t: Any, w: Any) -> Row:
    _, delta = loss(z, t, w)
    return differences(what, z, delta, lambda: float(loss(z, t, w)[0]), z.size)
