"""A backend against the plain path on the CPU, layer by layer."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import Any

from ..backend import Backend, select
from ..bound import Bound
from ..diagnosis import instrument
from ..errors import DeviceError, NonFiniteError
from ..layers import Layer
from ..losses import Loss
from ..optimizers import Adam, Momentum, Optimizer
from .report import Row
from .tolerance import error, tolerance

STEPS = (1, 20)


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


def agreement(reference: Bound, be: Backend, x: Any, t: Any, loss: Loss) -> list[Row]:
    """Compare `be` with the plain path for one batch: every layer alone, then whole steps.

    Each layer of the other network is handed what the reference's layer was handed, so an error
    is that of the layer and not of those before it.
    """
    tape: list[tuple[str, str, Any, Any]] = []

    def record(way: str, path: str, layer: Layer, given: Any, result: Any) -> Any:
        tape.append((way, path, given, result))
        return result

    first = _pass(_copy(reference, instrument(reference.layer, record), "cpu"), x, t, loss)
    rows: list[Row] = []
    left = iter(tape)

    def compare(way: str, path: str, layer: Layer, given: Any, result: Any) -> Any:
        _, _, given_there, expected = next(left)
        what = "output" if way == "forward" else "input gradient"
        name = f"{what} of {path or 'the layer'} ({type(layer).__name__})"
        rows.append(_row(be, name, be.to_numpy(result), expected, int(given_there.shape[-1])))
        return be.asarray(expected)

    second = _pass(_copy(reference, instrument(reference.layer, compare), be), x, t, loss)
    for path, expected in first.items():
        name = f"gradient of {path}"
        rows.append(_row(be, name, be.to_numpy(second[path]), expected, len(x)))
    return rows + _steps(reference, be, x, t, loss)


def _copy(net: Bound, layer: Layer, device: str | Backend) -> Bound:
    precision = net.be.precision
    new = Bound(layer, net.inputs, device=device, dtype=precision, seed=net.seed)
    new.load_state_dict({path: net.be.to_numpy(a) for path, a in net.state_dict().items()})
    return new


def _pass(net: Bound, x: Any, t: Any, loss: Loss) -> dict[str, Any]:
    y, context = net.forward(x)
    _, delta = loss(y, t)
    net.backward(context, delta, input_gradient=True)
    found = net.gradients()
    net.zero_grad()
    return found


def _steps(reference: Bound, be: Backend, x: Any, t: Any, loss: Loss) -> list[Row]:
    # Where a gradient is zero but for rounding, Adam makes a whole step of the rounding: in
    # float32 that would compare noise, so there the method is linear in the gradient.
    method: Optimizer = Adam() if be.precision == "float64" else Momentum(0.01)
    nets = [_copy(reference, reference.layer, device) for device in ("cpu", be)]
    longest = max(
        len(x), *(int(a.shape[-2]) for a in reference.state_dict().values() if a.ndim > 1), 1
    )
    rows: list[Row] = []
    for step in range(1, max(STEPS) + 1):
        for net in nets:
            y, context = net.forward(x)
            _, delta = loss(y, t)
            net.backward(context, delta)
            try:
                net.step(method)
            except NonFiniteError as problem:
                what = f"{type(method).__name__} on {net.be.device}: {problem}"
                return [*rows, Row(be.device, be.precision, what, math.inf, 1.0)]
        if step in STEPS:
            plain, other = (net.state_dict() for net in nets)
            name = f"{type(method).__name__}, {step} step" + ("s" if step > 1 else "")
            rows += [
                _row(be, f"{path} after {name}", be.to_numpy(other[path]), a, longest * step)
                for path, a in plain.items()
            ]
    return rows


def _row(be: Backend, what: str, given: Any, expected: Any, k: int) -> Row:
    allowed = tolerance(be.precision, expected, k)
    return Row(be.device, be.precision, what, error(given, expected), allowed)
