"""Compiled training steps, many in one call, against as many on the plain path of the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import layers as la
from ..backend import Backend, select
from ..bound import Bound
from ..errors import DeviceError
from ..losses import CrossEntropy
from ..number_table import NumberTable
from ..optimizers import ClipGlobalNorm, Momentum
from ..programs import Compiled, Job, keys_of
from ..schedules import CosineDecay
from .agreement import everywhere
from .examples import examples, targets
from .report import Report, Row
from .tolerance import error, tolerance

STEPS = 20
"""In one call: on a GPU that takes graphs of many steps and of one."""

_ROWS, _INPUTS, _CLASSES = 12, 7, 4
_SCALE = 128.0  # of gradients in 16-bit floats: none overflows here, and few come to zero
_LOSS = CrossEntropy()
_METHOD = Momentum(CosineDecay(0.1, 2 * STEPS), clip=ClipGlobalNorm(2.0), weight_decay=0.01)

# Sums over rows and columns, random bits, running state, sizes that fill no vector. The bias in
# front of a batch normalisation is left out: its gradient is rounding alone.
_LAYER = la.Sequential(
    la.Linear(20, b=None), la.BatchNorm(), la.Activation("tanh"), la.Dropout(0.3),
    la.LayerNorm(), la.Linear(_CLASSES),
)  # fmt: skip


def compiled_steps(device: str | None = None) -> Iterator[tuple[str, Report]]:
    """Yield what a small network with noise and running state says, under its name.

    On the CPU and on every other device there is, or on the one named, in both precisions; on
    CUDA with products in TF32 and of 16-bit numbers, too. A remark says where steps cannot be
    compiled.

    >>> [(name, report)] = compiled_steps("cpu")
    >>> name, report.ok
    ('20 steps', True)
    """
    rows, remarks = everywhere(_compared, device or "cpu")
    if device is None:
        more, said = everywhere(_compared)
        rows, remarks = rows + more, remarks + said
    yield f"{STEPS} steps", Report(rows, list(dict.fromkeys(remarks)))


def _compared(be: Backend) -> tuple[list[Row], list[str]]:
    if type(be).compiler is Backend.compiler:  # it is for other devices that steps are compiled
        return [], []
    try:
        compiler = be.compiler()
    except DeviceError as problem:
        return [], [f"compiled steps were not compared on {be.device}: {problem}"]
    data, expected = _data(), _plain(be.precision)
    rows: list[Row] = []
    for precision in ("", *(compiler.PRECISIONS if be.precision == "float32" else ())):
        rows += _rows(be, precision, data, expected)
    return rows, []


def _data() -> tuple[Any, Any, Any]:
    """Examples, labels, and the order in which they come."""
    rng, n = np.random.default_rng(0), STEPS * _ROWS
    x = examples(rng, n, (_INPUTS,), (0,) * _INPUTS)
    return x, targets(rng, _LOSS, n, _CLASSES), rng.permutation(n)


def _network(device: str | Backend, dtype: str | None = None) -> Bound:
    return Bound(_LAYER, _INPUTS, device=device, dtype=dtype, seed=1)


def _plain(precision: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What steps on the CPU's plain path begin with, and what they lead to."""
    net, (x, y, order) = _network(select("cpu", precision)), _data()
    be, losses, before = net.be, [], _arrays(net)
    for rows in order.reshape(STEPS, _ROWS):
        t = _LOSS.read(be, y[rows], _CLASSES, _ROWS, "y")
        value, _ = net.train_step(be.asarray(x[rows]), t, _LOSS, _METHOD)
        losses.append(float(value))
    return before, {"losses": np.asarray(losses), **_arrays(net)}


def _arrays(net: Bound) -> dict[str, Any]:
    """All that steps change, by name; slots begin at zero."""
    slots = zip(_METHOD.slots, net.steps.slots.of(_METHOD), strict=True)
    named = net.state_dict() | {f"slot {name}": array for name, array in slots}
    return {name: np.array(net.be.to_numpy(array)) for name, array in named.items()}


def _rows(
    be: Backend, precision: str, data: Any, expected: tuple[dict[str, Any], dict[str, Any]]
) -> Iterator[Row]:
    """The losses, and every array that steps have changed.

    Sums are of the network's own precision whatever that of products is. These round no number
    that they give, and each that they take once: it shows in what an array has changed by.
    """
    x, y, order = data
    before, after = expected
    with be.activate():
        net = _network(be)
        t = _LOSS.read(be, y, _CLASSES, len(x), "y")
        job = Job(_LOSS, _METHOD, _ROWS, (int(t.shape[1]), "int64"), False, 1, True, precision)
        made = Compiled(net, job)
        more = {"scales": np.asarray([[_SCALE, 0.0]])} if precision == "fp16" else {}
        losses, _ = made.steps(net).run(
            be.asarray(x), t, None, order, _ROWS, 0, 0,
            NumberTable(net.steps, _METHOD, 1).of(1, STEPS), keys_of(net), np.ones(1, bool), True,
            **more,
        )  # fmt: skip
        given = {"losses": losses[:, 0], **_arrays(net)}
    for name, wanted in after.items():
        allowed = tolerance(be.precision, wanted, STEPS * made.longest)
        if precision:
            allowed += tolerance(precision, wanted - before.get(name, 0.0))
        off = error(given[name], wanted)
        yield Row(be.device, precision or be.precision, name, off, allowed)
