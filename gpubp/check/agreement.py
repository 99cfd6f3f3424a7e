"""Every backend that works here against the plain path on the CPU."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from typing import Any

from ..backend import DTYPES, Backend, select
from ..bound import Bound
from ..errors import DeviceError
from ..losses import Loss
from ..optimizers import Adam
from .pair import Pair
from .report import Row

STEPS = 20


def others(precision: str) -> Iterator[Backend | str]:
    """Yield every other backend that works here; for one that does not, a line that says why."""
    from importlib import metadata

    try:
        yield select("cuda", precision)
    except DeviceError as problem:
        yield f"cuda was not compared: {problem}"
    try:
        strict: Any = importlib.import_module("array_api_strict")
    except ImportError:
        yield "array-api-strict was not compared: it is not installed (extra 'test')"
    else:
        standard = importlib.import_module("gpubp.backends.standard").StandardBackend
        yield standard(strict, strict.Device("device1"), precision)
    for point in metadata.entry_points(group="gpubp.backends"):
        yield select(point.name, precision)


def everywhere(
    compare: Callable[[Backend], tuple[list[Row], list[str]]], device: str | None = None
) -> tuple[list[Row], list[str]]:
    """Call `compare` for every other backend, or the one named, in both precisions.

    One that fails where the plain path does not is a row that disagrees.
    """
    rows: list[Row] = []
    remarks: dict[str, None] = {}
    for precision in reversed(DTYPES):
        for be in others(precision) if device is None else [select(device, precision)]:
            if isinstance(be, str):
                remarks[be] = None
                continue
            try:
                found, said = compare(be)
            except Exception as error:  # of the device's own library, in its own way
                note = f"{type(error).__name__}: {error}"
                what = "a pass without an error"
                found, said = [Row(be.device, precision, what, math.inf, 1.0, note=note)], []
            rows += found
            remarks |= dict.fromkeys(said)
    return rows, list(remarks)


def agreement(
    reference: Bound, be: Backend, x: Any, t: Any, loss: Loss, steps: int = STEPS
) -> tuple[list[Row], list[str]]:
    """Compare `be` with the plain path over training steps on one batch; see `Pair`.

    Returns the worst row of each part, and a remark where the plain path's own training diverged:
    that is no disagreement.
    """
    pair = Pair(reference, be)
    for step in range(1, steps + 1):
        if not pair.train_step(x, t, loss, Adam()):
            if all(row.ok for row in pair.rows.values()):
                return list(pair.rows.values()), [
                    f"step {step} and later were not compared in {be.precision}: "
                    "on the plain path itself the training is not finite there"
                ]
            break
    return list(pair.rows.values()), []
