"""Check one layer: the rules of tracing, its gradients, and its agreement across backends."""

from __future__ import annotations

import math
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from ..bound import Bound
from ..layers import Flatten, Layer, Sequential
from ..losses import SquaredError
from ..run import Pass, Run
from ..storage import Gradients, Layout, Shape, Spec, Views, views
from .agreement import STEPS
from .dialect import BrokenRule, DialectArray
from .dialect_backend import Dialect
from .examples import examples
from .gradients import UNSOUND, away_from_kinks, gradients
from .members import members
from .networks import compare
from .report import Report, Row

_ROWS = 3
_PASSES = 8
_LIBRARY = Path(__file__).resolve().parent.parent


def layer(
    layer: Layer, inputs: int | Shape = 4, *, device: str | None = None, steps: int = STEPS
) -> Report:
    """Check a layer, your own or the library's, for examples of `inputs` features.

    The report's `broken_rule` names a rule of tracing that the layer breaks (see
    `gpubp.layers.base`); such a layer works, on the plain path. `ok` says whether its gradients
    are those of finite differences, whether members of an ensemble are what they are alone, and
    whether every backend, or the one named, agrees with the plain path over `steps` updates. A
    layer that raises an error in a pass has a row that tells it. Raises `InputError` for inputs
    that the layer does not take.

    >>> import gpubp
    >>> report = layer(gpubp.Linear(2), inputs=3)
    >>> report.ok, report.broken_rule
    (True, None)
    """
    net = Bound(layer, inputs, dtype="float64", seed=1)
    if len(net.spec.shape) > 1:  # a loss takes rows
        layer = Sequential(layer, Flatten())
        net = Bound(layer, inputs, dtype="float64", seed=1)

    def draw(seed: int) -> Any:
        return examples(np.random.default_rng(seed), _ROWS, net.inputs, net.spec.categories)

    try:
        x = draw(away_from_kinks(net, draw))
        y, _ = net.forward(x)
        remarks = _never_put(net)
        direction = np.random.default_rng(2).normal(size=y.shape)
        rows = gradients(net, x, lambda y: (float((y * direction).sum()), direction))
    except Exception as problem:  # whatever a layer may raise
        return Report((_failure("a pass", problem),))
    if any(math.isinf(row.error) for row in rows):
        return Report(rows, [*remarks, UNSOUND])
    try:
        for row in members(layer, net.inputs, x, direction):
            rows.append(row)  # those before an error too
    except Exception as problem:
        rows.append(_failure("a pass of two members", problem))
    broken = broken_rule(layer, net.inputs)
    if broken:  # it is at home in NumPy alone
        return Report(rows, remarks, broken)
    compared, said = compare(net, x, direction, SquaredError(), device, steps)
    return Report((*rows, *compared), [*remarks, *said])


def _never_put(net: Bound) -> list[str]:
    """Remarks on running state that a training pass has left as it was."""
    missing = net.state_dict().keys() - net.arrays.params.places.keys() - net._pass.pending.keys()
    return [f"running state {name!r} is never put: run.put(...)" for name in sorted(missing)]


def _failure(what: str, problem: Exception) -> Row:
    note = f"{type(problem).__name__}: {problem}{_place(problem)}"
    return Row("cpu", "float64", f"{what} without an error", math.inf, 1.0, note=note)


def _place(problem: Exception) -> str:
    """Where in a file that is not the library's an error arose."""
    frames = traceback.extract_tb(problem.__traceback__)
    own = [f for f in frames if not Path(f.filename).resolve().is_relative_to(_LIBRARY)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def broken_rule(layer: Layer, inputs: Shape) -> str | None:
    """Run a layer in the dialect; return the rule that it breaks and where, or None.

    >>> import gpubp
    >>> broken_rule(gpubp.Activation("tanh"), (3,)) is None
    True
    """
    try:
        _alike(layer, inputs)
        _in_dialect(layer, inputs)
    except BrokenRule as broken:
        return f"{broken}{_place(broken)}"
    except Exception as error:  # a layer of one library fails here in that library's own way
        return f"{BrokenRule(1, f'{type(error).__name__}: {error}')}{_place(error)}"
    return None


def _draw(spec: Spec, inputs: Shape) -> Any:
    return examples(np.random.default_rng(0), _ROWS, inputs, spec.categories)


def _alike(layer: Layer, inputs: Shape) -> None:
    """Raise `BrokenRule` where a layer has random numbers, or a memory, of its own."""
    net = Bound(layer, inputs, dtype="float64", seed=1)
    # several: a mask of few bits, drawn afresh, is the same twice now and then
    first, *again = (net.forward(_draw(net.spec, inputs))[0] for _ in range(_PASSES))
    if not all(np.array_equal(first, y, equal_nan=True) for y in again):
        raise BrokenRule(5, "forward passes of one step differ")


def _in_dialect(layer: Layer, inputs: Shape) -> None:
    spec, be = layer.build(inputs), Dialect()
    net = Bound(layer, inputs, dtype="float64", seed=1)
    w = _wrapped(net, spec, "params", net.theta)
    g = Gradients(be, "", _wrapped(net, spec, "params", net.grad), spec, set())
    state = _wrapped(net, spec, "state", net.be.zeros((Layout(spec, "state").size,)))
    x = be.asarray(_draw(spec, inputs))
    for training in (False, True):
        shared = Pass(be, be.asarray([[1]], "uint32"), training, wants_input_gradient=True)
        run = Run(shared, "", state, spec)
        y, context = layer.forward(be, w, x, run)
        if not isinstance(y, DialectArray):
            raise BrokenRule(1, f"the output is a {type(y).__name__}, no array of be.xp")
    layer.backward(be, w, g, context, be.asarray(np.ones(y.values.shape)), run)


def _wrapped(net: Bound, spec: Spec, kind: str, flat: Any) -> Views:
    plain = views(net.be, spec, Layout(spec, kind), flat, kind)

    def wrap(spec: Spec, seen: Views) -> Views:
        arrays = {name: DialectArray(getattr(seen, name)) for name in getattr(spec, kind)}
        children = {name: wrap(child, getattr(seen, name)) for name, child in spec.children.items()}
        return Views(arrays, children)

    return wrap(spec, plain)
