"""Check one layer: the rules of tracing, its gradients, and its agreement across backends."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bound import Bound
from ..layers import Flatten, Layer, Sequential
from ..losses import SquaredError
from ..run import Pass, Run
from ..storage import Gradients, Layout, Shape, Spec, Views, views
from .dialect import BrokenRule, DialectArray
from .dialect_backend import Dialect
from .gradients import away_from_kinks, examples, gradients
from .networks import compare
from .report import Report, Row

_ROWS = 3


def layer(layer: Layer, inputs: int | Shape = 4) -> Report:
    """Check a layer, your own or the library's, for examples of `inputs` features.

    The report's `broken_rule` names a rule of tracing that the layer breaks (see
    `gpubp.layers.base`); such a layer works, on the plain path. `ok` says whether its gradients
    are those of finite differences, and whether every backend agrees with the plain path.

    >>> import gpubp
    >>> report = layer(gpubp.Linear(2), inputs=3)
    >>> report.ok, report.broken_rule
    (True, None)
    """
    net = Bound(layer, inputs, dtype="float64", seed=1)
    if len(net.spec.shape) > 1:  # a loss takes rows
        layer = Sequential(layer, Flatten())
        net = Bound(layer, inputs, dtype="float64", seed=1)
    rng = np.random.default_rng(2)
    x = _draw(
        away_from_kinks(net, lambda seed: _draw(seed, net.spec, net.inputs)), net.spec, net.inputs
    )
    y, _ = net.forward(x)
    direction = rng.normal(size=y.shape)
    rows = gradients(net, x, lambda y: (float((y * direction).sum()), direction))
    rows.append(_members(layer, net.inputs, x))
    broken = broken_rule(layer, net.inputs)
    # A layer outside the dialect is at home in NumPy alone.
    compared, remarks = ([], []) if broken else compare(net, x, direction, SquaredError())
    return Report((*rows, *compared), remarks, broken)


def _members(layer: Layer, inputs: Shape, x: Any) -> Row:
    """Two members at once against each alone: the leading axis must go through untouched."""
    together = Bound(layer, inputs, dtype="float64", seed=1, members=2)
    y, _ = together.forward(x)
    alone = [Bound(layer, inputs, dtype="float64", seed=1 + k).forward(x)[0] for k in range(2)]
    # Without parameters there is nothing to tell members apart, and no leading axis.
    same = all(np.array_equal(y[k] if y.ndim > alone[k].ndim else y, alone[k]) for k in range(2))
    off = 0.0 if same else np.inf
    return Row("members", "float64", "output of two members, each as alone", off, 1.0)


def _draw(seed: int, spec: Spec, inputs: Shape) -> Any:
    return examples(np.random.default_rng(seed), _ROWS, inputs, spec.categories)


def broken_rule(layer: Layer, inputs: Shape) -> str | None:
    """Run a layer in the dialect; return the rule that it breaks, or None.

    >>> import gpubp
    >>> broken_rule(gpubp.Activation("tanh"), (3,)) is None
    True
    """
    spec = layer.build(inputs)
    be = Dialect()
    net = Bound(layer, inputs, dtype="float64", seed=1)
    w = _wrapped(net, spec, "params", net.theta)
    g = Gradients(be, "", _wrapped(net, spec, "params", net.grad), spec, set())
    state = _wrapped(net, spec, "state", net.be.zeros((Layout(spec, "state").size,)))
    shared = Pass(be, be.asarray([[1]], "uint32"), training=True, wants_input_gradient=True)
    run = Run(shared, "", state, spec)
    x = be.asarray(_draw(0, spec, inputs))
    try:
        y, context = layer.forward(be, w, x, run)
        again, _ = layer.forward(be, w, x, run)
        if not isinstance(y, DialectArray):
            raise BrokenRule(1, f"the output is a {type(y).__name__}, no array of be.xp")
        if not np.array_equal(y.values, again.values, equal_nan=True):
            raise BrokenRule(5, "two forward passes of one step differ")
        layer.backward(be, w, g, context, be.asarray(np.ones(y.values.shape)), run)
    except BrokenRule as broken:
        return str(broken)
    except Exception as error:  # a layer of one library fails here in that library's own way
        return str(BrokenRule(1, f"{type(error).__name__}: {error}"))
    return None


def _wrapped(net: Bound, spec: Spec, kind: str, flat: Any) -> Views:
    plain = views(net.be, spec, Layout(spec, kind), flat, kind)

    def wrap(spec: Spec, seen: Views) -> Views:
        arrays = {name: DialectArray(getattr(seen, name)) for name in getattr(spec, kind)}
        children = {name: wrap(child, getattr(seen, name)) for name, child in spec.children.items()}
        return Views(arrays, children)

    return wrap(spec, plain)
