"""Layers that need what the library's own do not: running state, random bits, shared weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import gpubp
from gpubp.backend import Array, Backend
from gpubp.run import Run
from gpubp.storage import Gradients, Shape, Views
from tests.conftest import rng

BATCH, N_IN = 6, 5


def example(precision: str = "float64") -> Any:
    x = rng(1).normal(size=(BATCH, N_IN))
    return np.where(np.abs(x) < 1e-3, 1e-3, x).astype(precision)  # no point on a kink


@dataclass(frozen=True)
class Centre(gpubp.Layer):
    """y = x - mean of the batch; in inference, of what was seen (a running mean)."""

    rate: float = 0.25

    def build(self, inputs: Shape) -> gpubp.Spec:
        return gpubp.Spec(inputs, state={"mean": gpubp.Param(inputs, gpubp.Constant(0.0))})

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, bool]:
        mean = be.xp.mean(x, axis=-2, keepdims=True)
        run.put("mean", run.state.mean + self.rate * (mean - run.state.mean))  # not in inference
        return (x - mean, True) if run.training else (x - run.state.mean, False)

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: bool, dy: Array, run: Run
    ) -> Array:
        return dy - be.xp.mean(dy, axis=-2, keepdims=True) if ctx else dy


@dataclass(frozen=True)
class Mask(gpubp.Layer):
    """y = x where a bit is set, otherwise 0; all of x in inference."""

    stream: str = ""

    def build(self, inputs: Shape) -> gpubp.Spec:
        return gpubp.Spec(inputs)

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Any]:
        if not run.training:
            return x, None
        bits = run.bits((x.shape[-2], x.shape[-1]), self.stream)
        mask = be.xp.astype(bits >= 2**31, x.dtype)
        return x * mask, mask

    def backward(self, be: Backend, w: Views, g: Gradients, ctx: Any, dy: Array, run: Run) -> Array:
        return dy if ctx is None else dy * ctx


@dataclass(frozen=True)
class Twice(gpubp.Layer):
    """y = body(body(x)), both with the same weights."""

    body: gpubp.Layer

    def build(self, inputs: Shape) -> gpubp.Spec:
        return gpubp.Spec(inputs, children={"body": self.body.build(inputs)})

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, tuple[Any, Any]]:
        y, lower = self.body.forward(be, w.body, x, run.body)
        y, upper = self.body.forward(be, w.body, y, run.body)
        return y, (lower, upper)

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: tuple[Any, Any], dy: Array, run: Run
    ) -> Array | None:
        for context in reversed(ctx):
            dy = self.body.backward(be, w.body, g.body, context, dy, run.body)
        return dy
