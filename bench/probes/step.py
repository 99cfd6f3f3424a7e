"""The calls of one training step of a small network, to be captured and to be timed.

It computes no model that means anything: what counts is that it makes the same calls as one.
"""

from __future__ import annotations

from typing import Any

from . import kernels
from .blas import Blas
from .kinds import uniform

CALLS = 9  # made by one step


class Step:
    """Gather, 3 products, pullback, dropout bits, mask, column sum, Adam, on static arrays."""

    def __init__(self, cp: Any, stream: Any, batch: int, width: int) -> None:
        self.cp = cp
        self.data = uniform(cp, (4 * batch, width), 1).astype("f4")
        self.start = uniform(cp, (width, width), 2).astype("f4") / width**0.5
        self.rows = cp.arange(batch, dtype="i4") * 3 % (4 * batch)
        self.key = cp.asarray([7, 1, 0], dtype="u4")
        self.x, self.z, self.delta, self.dx = (cp.empty((batch, width), "f4") for _ in range(4))
        self.drawn = cp.empty((batch, width), "u4")
        self.weights = self.start.copy()
        self.m, self.v = cp.zeros_like(self.start), cp.zeros_like(self.start)
        self.gradient, self.bias = cp.empty_like(self.start), cp.empty(width, "f4")
        blas = Blas(cp, stream)
        self.forward = blas.product("float32", self.x, self.weights, self.z)
        self.to_weights = blas.product("float32", self.x, self.delta, self.gradient, ta=True)
        self.to_input = blas.product("float32", self.delta, self.weights, self.dx, tb=True)
        self.pullback, self.adam = kernels.gelu_pullback(cp), kernels.adam(cp)
        self.draw = kernels.raw_bits(cp)
        self.mask = cp.ElementwiseKernel(
            "uint32 drawn", "float32 x", "x = drawn < 0xC0000000u ? x * 1.3333334f : 0.0f", "mask"
        )

    def reset(self) -> None:
        """Go back to the first step."""
        self.weights[...] = self.start
        self.m.fill(0)
        self.v.fill(0)

    def __call__(self) -> Any:
        """Take one step; return the weights."""
        self.cp.take(self.data, self.rows, axis=0, out=self.x)
        self.forward()
        self.pullback(self.z, self.z, self.delta)
        self.draw(self.drawn, self.key)
        self.mask(self.drawn, self.delta)
        self.to_weights()
        self.to_input()
        self.cp.sum(self.delta, axis=0, out=self.bias)
        self.adam(self.gradient, 1e-3, 10.0, 1000.0, self.weights, self.m, self.v)
        return self.weights
