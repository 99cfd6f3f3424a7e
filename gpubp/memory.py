"""The memory of a device: what goes there, and what is said where it does not suffice."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .bound import Bound
from .errors import OutOfMemoryError, in_bytes
from .layers import kept_bytes

SHARE = 0.8
"""How much of the free memory of a device data may fill; the rest is for steps."""


def stays(net: Bound, *arrays: Any) -> bool:
    """Whether arrays have to stay on the host, for the device lacks the room for copies of them.

    Beside the network there is to be room for slots that its optimizer may not have yet, of two
    numbers for each weight. Arrays of the device count nothing.

    >>> import gpubp
    >>> stays(gpubp.Network(gpubp.Linear(1), inputs=2), np.zeros((9, 2)), None)
    False
    """
    room = net.be.room()
    if room is None:
        return False
    numbers = sum(a.size for a in arrays if isinstance(a, np.ndarray))
    slots = 0 if net.steps.slots.arrays else 2 * int(net.theta.nbytes)
    return bool(numbers * np.dtype(net.be.precision).itemsize > SHARE * (room - slots))


@contextmanager
def told(net: Bound, rows: int, settle: Callable[[], None] | None = None) -> Iterator[None]:
    """Inside `with` the device is the current one; where its memory ends, say how many rows fit.

    Up to `rows` go through the layers at a time. In training `settle` waits for the steps that
    were taken before; what there is of the one under way is dropped.
    """
    try:
        with net.be.activate():
            yield
    except OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # they hold what the step had made
        with net.be.activate():
            if settle is not None:
                net.zero_grad()
                settle()
            advice = _advice(net, rows, settle is not None)
        raise OutOfMemoryError(f"{error}; {advice}", error.asked, error.free) from error


def _advice(net: Bound, rows: int, training: bool) -> str:
    least, size, room = net.spec.least_rows, example_bytes(net, training), net.be.room()
    doing = "training on" if training else "passes of"
    said = f"this was in {doing} up to {rows:,} examples at a time"
    if rows <= least:
        return f"{said}: take a smaller network, or a device with more memory"
    fit = rows // 2
    if size and room is not None:
        said += f", each of which takes about {in_bytes(size)}; about {in_bytes(room)} are free now"
        fit = min(fit, int(SHARE * room / size))
    fit = max(fit, least)
    if not training:
        return f"{said}: try to hand over about {fit} examples at a time"
    return f"{said}: try batch_size={fit}, or micro_batch={fit} with the same result"


def example_bytes(net: Bound, training: bool = True) -> float | None:
    """Return about how many bytes an example takes on its way through; None where that fails.

    It is what layers keep of a few rows for the way back, and in training as much again for what
    comes back.

    >>> import gpubp
    >>> example_bytes(gpubp.Network(gpubp.Linear(5, b=None), inputs=3))
    64.0
    """
    be, shared, kept = net.be, net._pass, []
    before = shared.training, shared.pending
    rows = net.spec.least_rows
    try:
        for n in (rows, 2 * rows):
            shared.training, shared.pending = True, {}
            x = be.zeros((n, *net.inputs))
            y, context = net.layer.forward(be, net.arrays.w, x, net._run)
            kept.append(kept_bytes((x, y, context)))
    except Exception:  # layers may be anybody's, and the memory may still be full
        return None
    finally:
        shared.training, shared.pending = before
    return (2.0 if training else 1.0) * (kept[1] - kept[0]) / rows
