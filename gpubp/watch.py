"""What a sampled step measures: norms and shares, left on the device as scalars."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from .activations import ACTIVATIONS
from .activations import Activation as Formulas
from .backend import Array
from .diagnosis import instrument
from .errors import NonFiniteError
from .layers import Activation, Layer
from .optimizers import Optimizer
from .storage import Spec

FLAT = 0.01
"""A slope below this part of the activation's steepest counts as flat."""

MOSTLY = 0.9
"""A unit is saturated where its slope is flat for at least this part of the batch."""


@lru_cache(maxsize=256)
def steepest(activation: Formulas) -> float:
    """Return the largest |f'(z)|, from the pullback of delta = 1, for z from -10 to 10.

    >>> steepest(ACTIVATIONS["sigmoid"]), steepest(ACTIVATIONS["relu"])
    (0.25, 1.0)
    """
    z = np.linspace(-10.0, 10.0, 2001)
    kept = z if activation.keeps == "z" else activation.f(np, z)
    return float(np.abs(activation.pullback(np, np.ones_like(z), kept)).max())


class Watch:
    """A network's steps while a `Health` looks on: every `every`-th update, and the first, is met.

    A sampled step goes through a probed copy of the layers, which shares all arrays, so that what
    is trained is the same to the bit. Figures are taken in float64, where a float32 number's
    square neither vanishes nor overflows, one for each member, and nothing waits for them: `take`
    is handed a sample with arrays in it, and a sum of squares where a norm is meant.

    >>> import gpubp
    >>> samples = []
    >>> net = gpubp.Network(gpubp.Linear(1, W="ones"), inputs=1)
    >>> net.watch = Watch(net, 1, samples.append, print)
    >>> _ = net.fit([[3.0]], [[5.0]], loss="squared_error", optimizer=gpubp.SGD(0.1), epochs=1)
    >>> float(samples[0]["layers"][0]["activation"]), float(samples[0]["layers"][0]["delta"])
    (9.0, 4.0)
    """

    def __init__(self, net: Any, every: int, take: Any, failed: Any) -> None:
        self.net, self._every, self._take = net, every, take
        self._failed = failed
        self._lead = () if net.members is None else (net.members,)
        self._axes = dict(_feature_axes(net.spec, ""))
        places = net.arrays.params.places
        self._places = [(p.path, p.param.kind, slice(p.start, p.stop)) for p in places.values()]
        self._probed = instrument(net.layer, self._report)
        self.on = False
        """Whether the update that began with the last forward pass is met."""
        self._sample: dict[str, Any] = {}
        self._known: dict[int, tuple[Array, Array]] = {}
        self._ones: dict[tuple[int, ...], Array] = {}
        self._back: dict[str, list[dict[str, Any]]] | None = None

    def ahead(self) -> int:
        """How many updates there are before the next that is met."""
        step = self.net.updates + 1
        return 0 if step == 1 else -step % self._every

    # -- what `Bound` calls --------------------------------------------------------------------

    def up(self, x: Array) -> Layer:
        """Return the layer to go forward through with the batch `x`."""
        if self.net._pass.first_row:  # a later part of a batch: the first stands for it
            return self.net.layer  # type: ignore[no-any-return]
        step = self.net._pass.step + 1
        if step % self._every and step != 1:
            self.on = False
            return self.net.layer  # type: ignore[no-any-return]
        self.on = True
        self._known = {}
        self._sample = {"rows": int(x.shape[-1 - len(self.net.inputs)]), "layers": []}
        self._back = None
        return self._probed

    def down(self, delta: Array) -> Layer:
        """Return the layer to go back through with the loss's gradient `delta`."""
        if self.net._pass.first_row:
            return self.net.layer  # type: ignore[no-any-return]
        self._sample["output_delta"] = self._square(delta, 1 + len(self.net.spec.shape))
        self._back = {}
        for row in self._sample["layers"]:
            self._back.setdefault(row["path"], []).append(row)
        return self._probed

    def apply(self, optimizer: Optimizer, value: Array) -> bool:
        """Make the update as `Updates.apply` does, and measure it."""
        net = self.net
        step, arrays, xp = net.updates + 1, net.arrays, net.be.xp
        arrays.finish_gradients()
        # Before the update: a penalty and clipping change the gradients where they lie.
        gradients = self._squares(arrays.grad)
        before = xp.asarray(arrays.theta, copy=True)
        sound = net.steps.apply(optimizer, value)
        updates, weights = self._squares(arrays.theta - before), self._squares(before)
        self._take({"step": step, **self._sample, "parameters": [
            {"path": path, "kind": kind, "gradient": g, "update": u, "weights": w}
            for (path, kind, _), g, u, w in zip(
                self._places, gradients, updates, weights, strict=True
            )
        ]})  # fmt: skip
        self.on, self._known = False, {}
        return sound  # type: ignore[no-any-return]

    def failed(self, error: NonFiniteError) -> None:
        """Hear of the error that ends training."""
        self._failed(error)

    # -- figures -------------------------------------------------------------------------------

    def _report(self, way: str, path: str, leaf: Layer, given: Array, result: Any) -> Any:
        axes = self._axes[path]
        if way == "forward":
            if self._back is None:  # not a layer that is computed again on the way back
                self._sample["layers"].append(self._activity(path, leaf, given, result, axes))
        elif self._back and self._back.get(path):
            row = self._back[path].pop()  # the uses of a shared layer come back in reverse
            row["delta"] = self._square(given, axes)
            if result is not None:
                leads = given.ndim - axes
                row["input_delta"] = self._square(result, result.ndim - leads)
        return result

    def _activity(self, path: str, leaf: Layer, x: Array, y: Array, axes: int) -> dict[str, Any]:
        row = {"path": path, "kind": type(leaf).__name__, "size": prod(y.shape[-axes:]),
               "activation": self._square(y, axes), "delta": None, "input_delta": None,
               "dead": None, "saturated": None}  # fmt: skip
        if isinstance(leaf, Activation) and leaf.name in ACTIVATIONS:
            formulas = ACTIVATIONS[leaf.name]
            if formulas.rectifier:
                row["dead"] = self._share(self._largest(y, axes) == 0.0, axes - 1)
            row["saturated"] = self._saturated(formulas, x if formulas.keeps == "z" else y, axes)
        return row

    def _saturated(self, formulas: Formulas, kept: Array, axes: int) -> Array:
        be = self.net.be
        shape = tuple(kept.shape)
        if shape not in self._ones:
            self._ones[shape] = be.zeros(shape) + 1.0
        slope = be.map(formulas.pullback, self._ones[shape], kept)
        bound = FLAT * steepest(formulas)
        if formulas.rectifier:  # which is meant to be off for many examples
            return self._share(self._largest(slope, axes) < bound, axes - 1)
        flat = be.xp.abs(slope) < bound
        times = be.xp.sum(be.xp.astype(flat, be.xp.float64), axis=-axes)
        return self._share(times >= MOSTLY * kept.shape[-axes], axes - 1)

    def _share(self, truth: Array, axes: int) -> Array:
        """The part of the last `axes` axes that is true, for each member."""
        numbers = self.net.be.xp.astype(truth, self.net.be.xp.float64)
        return self._sum(numbers, axes) * (1.0 / prod(truth.shape[truth.ndim - axes :]))

    def _largest(self, x: Array, axes: int) -> Array:
        """The largest size of each unit's number over the rows of the batch."""
        return self.net.be.xp.max(self.net.be.xp.abs(x), axis=-axes)

    def _square(self, x: Array, axes: int) -> Array:
        """The squared norm over the last `axes` axes, for each member.

        What one layer hands on and the next takes is the same array: it is measured once.
        """
        if id(x) not in self._known:
            be, lead = self.net.be, tuple(x.shape[: x.ndim - axes])
            wide = be.xp.reshape(be.xp.astype(x, be.xp.float64), (*lead, 1, -1))
            square = be.matmul(wide, wide.mT)[..., 0, 0]
            if self._lead and not lead:
                # Below the first weights all members see the same, on no axis of their own.
                square = be.xp.broadcast_to(square, self._lead)
            self._known[id(x)] = x, square
        return self._known[id(x)][1]

    def _squares(self, flat: Array) -> list[Array]:
        """The squared norm of each parameter's part of a flat array."""
        be = self.net.be
        wide = be.xp.astype(flat, be.xp.float64)
        row, column = wide[..., None, :], wide[..., :, None]
        return [
            be.matmul(row[..., part], column[..., part, :])[..., 0, 0]
            for _, _, part in self._places
        ]

    def _sum(self, x: Array, axes: int) -> Array:
        total = self.net.be.xp.sum(x, axis=_LAST[axes])
        if self._lead and not total.ndim:
            # Below the first weights all members see the same numbers, on no axis of their own.
            return self.net.be.xp.broadcast_to(total, self._lead)
        return total


_LAST = [tuple(range(-n, 0)) for n in range(9)]


def _feature_axes(spec: Spec, path: str) -> Iterator[tuple[str, int]]:
    """How many axes the output of each layer has, rows and features, by path."""
    yield path, 1 + len(spec.shape)
    for name, child in spec.children.items():
        yield from _feature_axes(child, f"{path}.{name}" if path else name)
