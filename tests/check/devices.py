"""Devices that are not quite the CPU: one that rounds otherwise, and some with a fault each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gpubp.backend import Backend
from gpubp.backends.standard import StandardBackend
from gpubp.check import agreement


class Nudging:
    """NumPy with sums from the other end, and functions that are off by a unit in the last place.

    As another library of mathematical functions may be: each result is moved up, down or not.
    """

    def __init__(self) -> None:
        self._rng = np.random.default_rng(11)

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        if name in ("exp", "expm1", "log", "log1p", "tanh", "cos"):
            return lambda x: self.nudged(function(x))
        return function

    def sum(self, x: Any, *, axis: int | None = None, keepdims: bool = False) -> Any:
        flipped = np.flip(x) if axis is None else np.flip(x, axis)
        return self.nudged(np.sum(flipped, axis=axis, keepdims=keepdims))

    def mean(self, x: Any, *, axis: int | None = None, keepdims: bool = False) -> Any:
        flipped = np.flip(x) if axis is None else np.flip(x, axis)
        return self.nudged(np.mean(flipped, axis=axis, keepdims=keepdims))

    def nudged(self, x: Any) -> Any:
        x = np.asarray(x)
        ulp = np.asarray(np.finfo(x.dtype).eps, x.dtype)
        return x + x * ulp * self._rng.integers(-1, 2, x.shape).astype(x.dtype)


class Otherwise(StandardBackend):
    """A device that is right, but rounds otherwise, in sums, products and every formula."""

    def __init__(self, precision: str) -> None:
        super().__init__(np, None, precision)
        self.device, self.xp = "otherwise", Nudging()

    def matmul(self, a: Any, b: Any) -> Any:
        return self.xp.nudged(np.matmul(a[..., ::-1], b[..., ::-1, :]))

    def map(self, formula: Any, *arguments: Any) -> Any:
        found = super().map(formula, *arguments)
        each = found if isinstance(found, tuple) else (found,)
        moved = tuple(self.xp.nudged(x) if x.dtype.kind == "f" else x for x in each)
        return moved if isinstance(found, tuple) else moved[0]


class WrongPullback(Otherwise):
    """Gradients of activations without the factor of the slope."""

    def map(self, formula: Any, *arguments: Any) -> Any:
        if formula.__name__.endswith("_pullback"):
            return arguments[0] * 1.0
        return super().map(formula, *arguments)


class WrongSign(Otherwise):
    """Optimizers that go uphill."""

    def update(self, formula: Any, state: Any, arrays: Any, numbers: Any, ok: Any) -> None:
        before = np.array(state[0])
        super().update(formula, state, arrays, numbers, ok)
        state[0][...] = before - (state[0] - before)


class WrongSlots(Otherwise):
    """Optimizers that never write what they should remember."""

    def update(self, formula: Any, state: Any, arrays: Any, numbers: Any, ok: Any) -> None:
        kept = [np.array(a) for a in state[1:]]
        super().update(formula, state, arrays, numbers, ok)
        for out, value in zip(state[1:], kept, strict=True):
            out[...] = value


class NoState(Otherwise):
    """A device on which running state stays as it was: a row of its own, written after a step."""

    def write(self, out: Any, value: Any) -> None:
        if sys._getframe(1).f_code.co_name != "commit":
            super().write(out, value)


class WrongBits(Otherwise):
    """Random bits that do not change from step to step."""

    def bits(
        self, rows: int, columns: int, key: Any, stream: int, step: int, first_row: int = 0
    ) -> Any:
        return super().bits(rows, columns, key, stream, 0, first_row)


class WrongSum(Otherwise):
    """Products off by one part in a thousand."""

    def matmul(self, a: Any, b: Any) -> Any:
        return super().matmul(a, b) * np.asarray(1.001, a.dtype)


class Failing(Otherwise):
    """A device that cannot multiply matrices."""

    def matmul(self, a: Any, b: Any) -> Any:
        raise RuntimeError("no kernel image is available")


def only(monkeypatch: pytest.MonkeyPatch, kind: Callable[[str], Backend]) -> None:
    """Let the checks compare that device and no other."""

    def others(precision: str) -> Iterator[Backend | str]:
        yield kind(precision)

    monkeypatch.setattr(agreement, "others", others)
