"""The same weights several times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import Array, Backend
from ..errors import InputError, whole
from ..run import Run
from ..storage import Gradients, Shape, Spec, Views
from .arguments import sublayer
from .base import Layer
from .categories import chained


@dataclass(frozen=True)
class Tied(Layer):
    """y = body(body(... body(x))), `times` times with the same weights, as a recurrent network.

    The gradients of all uses add up. With `own_streams` each use has random bits of its own, so
    that a Dropout inside draws a mask for each; without, all have the same mask (Gal and
    Ghahramani, 2016). Running state is shared: each use goes on from that of the one before.
    Raises `InputError` where the body puts out another shape than it takes.

    >>> import numpy as np
    >>> import gpubp
    >>> power = gpubp.layers.Tied(gpubp.Linear(1, W=gpubp.Constant(2.0)), times=3)
    >>> gpubp.Network(power, inputs=1).predict(np.asarray([[1.0]])).tolist()
    [[8.0]]
    """

    body: Layer
    times: int = 2
    own_streams: bool = True

    def __post_init__(self) -> None:
        sublayer("Tied", self.body)
        if not whole(self.times) or self.times < 1:
            raise InputError(
                f"Tied: times is {self.times!r}; expected a whole number of at least 1"
            )
        object.__setattr__(self, "times", int(self.times))

    def build(self, inputs: Shape) -> Spec:
        body = self.body.build(inputs)
        if body.shape != inputs:
            raise InputError(f"Tied: body maps {inputs} -> {body.shape}; shapes must match")
        categories, selects = chained("Tied", [body] * self.times, inputs)
        # The first use alone sees the raw input, and which use this is its weights do not tell.
        entry = ("body",) if self.times == 1 else ()
        return Spec(
            inputs, children={"body": body}, entry=entry, categories=categories, selects=selects
        )

    def _run(self, run: Run, use: int) -> Run:
        body: Run = run.body
        return body.use(use) if self.own_streams else body

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, list[Any]]:
        contexts = []
        for use in range(self.times):
            x, context = self.body.forward(be, w.body, x, self._run(run, use))
            contexts.append(context)
        return x, contexts

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: list[Any], dy: Array, run: Run
    ) -> Array | None:
        delta: Array | None = dy
        for use in reversed(range(self.times)):
            if delta is None:  # a body without parameters, of which nobody asked for a gradient
                break
            delta = self.body.backward(be, w.body, g.body, ctx[use], delta, self._run(run, use))
        return delta
