"""The CPU through NumPy: the plain path, and the reference of every other one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from gpubp.backend import Array, Formula
from gpubp.errors import DeviceError

from .standard import StandardBackend

_BLOCK = 32768  # elements: the temporaries of an update stay in the second-level cache


_add: Any = np.add.reduce
_maximum: Any = np.maximum.reduce


def _sum(x: Array, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Array:
    return _add(x, axis=axis, dtype=dtype, keepdims=keepdims)


def _max(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
    return _maximum(x, axis=axis, keepdims=keepdims)


# NumPy, except that np.sum and np.max go through wrappers that cost more than a small reduction.
_NAMESPACE = SimpleNamespace(**{**vars(np), "sum": _sum, "max": _max})


class CpuBackend(StandardBackend):
    """NumPy arrays in main memory.

    >>> CpuBackend(0, "float32").device
    'cpu'
    """

    def __init__(self, index: int = 0, dtype: str = "float32") -> None:
        if index:
            raise DeviceError(f"device 'cpu:{index}': there is one CPU; use 'cpu'")
        super().__init__(_NAMESPACE, dtype=dtype)
        self.device = "cpu"
        self._largest = math.sqrt(np.finfo(dtype).max)  # its square is finite

    def compiler(self) -> Any:
        from . import native

        reason = native.available()
        if reason is not None:
            raise DeviceError(reason)
        from . import compiled

        return compiled

    def to_numpy(self, x: Array) -> Any:
        return np.array(x)

    def matmul(self, a: Array, b: Array) -> Array:
        return np.matmul(a, b)

    def write(self, out: Array, value: Array) -> None:
        np.copyto(out, value, casting="no")

    def accumulate(self, out: Array, value: Array) -> None:
        np.add(out, value, out=out, casting="no")

    def write_matmul(self, out: Array, a: Array, b: Array) -> None:
        np.matmul(a, b, out=out, casting="no")

    def scatter(self, index: Array, rows: Array, n: int) -> Array:
        # Sorted and added run by run: three times as fast as np.add.at.
        lead = np.broadcast_shapes(index.shape[:-1], rows.shape[:-2])
        out = np.zeros((*lead, n, rows.shape[-1]), rows.dtype)
        index = np.broadcast_to(index, (*lead, index.shape[-1]))
        rows = np.broadcast_to(rows, (*lead, *rows.shape[-2:]))
        for member in np.ndindex(lead):
            order = np.argsort(index[member], kind="stable")
            named = index[member][order]
            starts = np.flatnonzero(np.diff(named, prepend=-1))
            out[member][named[starts]] = np.add.reduceat(rows[member][order], starts, axis=0)
        return out

    def finite(self, flat: Array, value: Array, reach: Any) -> Any:
        if flat.ndim > 1:
            return super().finite(flat, value, reach)
        square = float(np.dot(flat, flat))
        norm = math.sqrt(square) if square >= 0.0 else math.inf
        sound = math.isfinite(value) and norm * max(1.0, reach) < self._largest
        return True if sound else np.asarray([False])

    def _replace(
        self, formula: Formula, state: Sequence[Array], arrays: Sequence[Array], numbers: list[Any]
    ) -> None:
        *lead, size = state[0].shape
        block = max(_BLOCK // math.prod(lead), 1024)
        if size <= block:
            super()._replace(formula, state, arrays, numbers)
            return
        for start in range(0, size, block):
            part = (..., slice(start, start + block))
            old, given = [s[part] for s in state], [a[part] for a in arrays]
            super()._replace(formula, old, given, numbers)
