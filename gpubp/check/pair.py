"""A network twice: on the plain path, and on the backend that is held against it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..backend import Backend
from ..bound import Bound
from ..diagnosis import Probe, instrument
from ..errors import NonFiniteError
from ..layers import Layer
from ..losses import Loss
from ..optimizers import Optimizer
from .report import Row
from .tolerance import error, largest, tolerance


class Pair:
    """The plain path and another, which is handed the plain path's numbers before each part.

    A layer gets what the plain path's layer got, an update the plain path's weights, slots and
    gradients. So an error is that of the part where it shows, and none is carried on: neither a
    training that diverges, nor an optimizer that divides by a gradient which is zero but for
    rounding, makes a difference of rounding look like a fault.

    >>> import gpubp
    >>> pair = Pair(gpubp.Network(gpubp.Linear(2), inputs=3), gpubp.select("cpu"))
    >>> pair.train_step(np.ones((4, 3)), np.ones((4, 2)), gpubp.SquaredError(), gpubp.Adam())
    True
    >>> list(pair.rows)[:2], all(row.ok for row in pair.rows.values())
    (['output of the layer (Linear)', 'loss'], True)
    """

    def __init__(self, reference: Bound, be: Backend) -> None:
        self.be, self.steps = be, 0
        self.rows: dict[str, Row] = {}
        """The worst row by what it compares; the first that disagrees, where one does."""
        self._tape: list[tuple[Any, Any]] = []
        self._left: Iterator[tuple[Any, Any]] = iter(())
        self._sizes: dict[str, dict[str, float]] = {}
        self.plain = copy(reference, instrument(reference.layer, self._record), "cpu")
        self.other = copy(reference, instrument(reference.layer, self._compare), be)
        sums = (int(a.shape[-2]) for a in reference.state_dict().values() if a.ndim > 1)
        self._longest = max(sums, default=1)

    def note(self, what: str, given: Any, expected: Any, k: int = 1, terms: Any = ()) -> None:
        """Enter a comparison of an array of the other path with the plain path's."""
        be, given = self.be, self.be.to_numpy(given)
        allowed = tolerance(be.precision, expected, k, terms)
        told = "" if self.steps < 2 else f"first in step {self.steps}"
        if given.shape != expected.shape:
            self._enter(Row(be.device, be.precision, what, math.inf, allowed, note=(
                f"its shape is {given.shape}, on the plain path {expected.shape}")))  # fmt: skip
            return
        self._enter(Row(be.device, be.precision, what, error(given, expected), allowed, note=told))

    def _enter(self, row: Row) -> None:
        row = replace(row, note="") if row.ok else row
        worst = self.rows.get(row.what)
        if worst is None or (worst.ok and (not row.ok or row.multiple > worst.multiple)):
            self.rows[row.what] = row

    # -- what the probes see -------------------------------------------------------------------

    def _record(self, way: str, path: str, layer: Layer, given: Any, result: Any) -> Any:
        self._tape.append((given, result))
        sizes = self._sizes.setdefault(path, {"forward": 0.0, "backward": 0.0})
        sizes[way] = max(sizes[way], largest(given))
        return result

    def _compare(self, way: str, path: str, layer: Layer, given: Any, result: Any) -> Any:
        left = next(self._left, None)
        if left is None:  # the batch of a step that failed is run again
            return result
        given_there, expected = left
        what = "output" if way == "forward" else "input gradient"
        name = f"{what} of {path or 'the layer'} ({type(layer).__name__})"
        self.note(name, result, expected, int(given_there.shape[-1]), (given_there,))
        return self.be.asarray(expected)

    def _terms(self, path: str) -> tuple[float, float]:
        """The size of what a gradient is summed from: deltas, and their products with inputs."""
        size = self._size(path)
        return size["backward"], size["backward"] * size["forward"]

    def _size(self, path: str) -> dict[str, float]:
        """The size of what went into the layer that owns an array, either way."""
        return self._sizes.get(path.rpartition(".")[0], {"forward": 0.0, "backward": 0.0})

    # -- one step ------------------------------------------------------------------------------

    def train_step(self, x: Any, t: Any, loss: Loss, method: Optimizer) -> bool:
        """Compare one training step part by part; False where the plain path's is not finite."""
        self.steps += 1
        self._synchronise()
        self._tape.clear()
        self._sizes.clear()
        y, context = self.plain.forward(x)
        value, delta = loss(y, t)
        dx = self.plain.backward(context, delta, input_gradient=True)
        found = self.plain.gradients()
        if not all(np.isfinite(a).all() for a in (y, value, delta, *found.values())):
            return False
        self._left = iter(list(self._tape))
        y_there, context = self.other.forward(x)
        given = self.be.asarray(y)
        value_there, delta_there = loss(given, t)
        self.note("loss", value_there, value, y.size, (y,))
        share = 1.0 / len(x) if loss.is_mean else 1.0
        self.note("delta of the loss", delta_there, delta, y.shape[-1], (share, share * y))
        dx_there = self.other.backward(context, self.be.asarray(delta), input_gradient=True)
        self._left = iter(())
        if not isinstance(self.plain.layer, Probe):  # its parts were compared, here is the whole
            self.note("output", y_there, y, self._longest, (x,))
            self.note("input gradient", dx_there, dx, self._longest, (delta,))
        there = self.other.gradients()
        for path, expected in found.items():
            self.note(f"gradient of {path}", there[path], expected, len(x), self._terms(path))
        return self._update(method)

    def update_from(self, gradients: Mapping[str, Any], method: Optimizer) -> bool:
        """Compare one update from the gradients that are given; False where it is not finite."""
        self.steps += 1
        self._synchronise()
        arrays = self.plain.arrays
        for path, gradient in gradients.items():
            self.plain.be.write(arrays.params.view(self.plain.be, arrays.grad, path), gradient)
            arrays.written.add(path)
        return self._update(method)

    def _update(self, method: Optimizer) -> bool:
        if self.plain.arrays.params.places and not self.plain.arrays.written:
            return True  # no layer has said what the gradients are: there is nothing to compare
        self.be.write(self.other.grad, self.be.asarray(np.array(self.plain.grad)))
        self.other.arrays.written.update(self.plain.arrays.written)
        before = self._state()
        try:
            self.plain.step(method)
        except NonFiniteError:  # nor is it then for the other
            return False
        name = type(method).__name__
        try:
            self.other.step(method)
        except NonFiniteError as problem:
            be, what = self.be, f"update by {name}"
            self._enter(Row(be.device, be.precision, what, math.inf, 1.0, note=str(problem)))
            return False
        there = self.other.state_dict()
        there |= {f"slot {k}": a for k, a in self.other.steps.slots.arrays.items()}
        for path, expected in self._state().items():
            of, terms = "update", [before[path]] if path in before else []
            if path not in self.plain.arrays.params.places:
                of = "new value"
                terms.append(self._size(path)["forward"])  # it may be a mean of inputs
            self.note(f"{of} of {path} ({name})", there[path], expected, self._longest, terms)
        return True

    def _state(self) -> dict[str, Any]:
        slots = self.plain.steps.slots.arrays
        return self.plain.state_dict() | {f"slot {k}": np.array(a) for k, a in slots.items()}

    def _synchronise(self) -> None:
        self.other.load_state_dict(self.plain.state_dict())
        for name, array in self.other.steps.slots.arrays.items():
            self.be.write(array, self.be.asarray(self.plain.steps.slots.arrays[name]))


def copy(net: Bound, layer: Layer, device: str | Backend) -> Bound:
    """Return a network with the arrays of `net`, elsewhere, with `layer` in place of its own.

    >>> import gpubp
    >>> net = gpubp.Network(gpubp.Linear(2), inputs=3, seed=4)
    >>> bool((copy(net, net.layer, "cpu").theta == net.theta).all())
    True
    """
    new = Bound(layer, net.inputs, device=device, dtype=net.be.precision, seed=net.seed)
    new.load_state_dict({path: net.be.to_numpy(a) for path, a in net.state_dict().items()})
    return new
