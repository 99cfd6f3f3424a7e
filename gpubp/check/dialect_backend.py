"""The backend that a layer is handed when its dialect is checked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from ..backend import Array, Backend, Formula, select
from ..program.formula import BOOLEAN, FLOAT, INTEGER, UNSIGNED, trace
from .dialect import BrokenRule, DialectArray, Namespace, values_of

_KINDS = {"f": FLOAT, "u": UNSIGNED, "i": INTEGER, "b": BOOLEAN}


def _is_array(x: Any) -> bool:
    return isinstance(x, DialectArray)


class Dialect(Backend):
    """The backend of that namespace; what is no layer's business goes to the plain CPU path."""

    device, precision, dtype = "dialect", "float64", np.dtype(np.float64)

    def __init__(self) -> None:
        self.xp = Namespace()
        self._cpu = select("cpu", "float64")

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        return DialectArray(self._cpu.asarray(values_of(x), dtype))

    def adopt(self, x: Any) -> Array:
        return self._cpu.adopt(x)

    def to_numpy(self, x: Array) -> Any:
        return self._cpu.to_numpy(values_of(x))

    def owns(self, x: Any) -> bool:
        return isinstance(x, DialectArray)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return DialectArray(self._cpu.zeros(shape))

    def arange(self, n: int, dtype: str) -> Array:
        return DialectArray(self._cpu.arange(n, dtype))

    def map(self, formula: Formula, *arguments: Any) -> Any:
        kinds = tuple(_KINDS[values_of(x).dtype.kind] if _is_array(x) else FLOAT for x in arguments)
        try:
            trace(formula, kinds)
        except (AttributeError, TypeError) as error:
            raise BrokenRule(1, f"be.map({formula.__name__}): {error}") from error
        return formula(self.xp, *arguments)

    def matmul(self, a: Array, b: Array) -> Array:
        return self.xp.matmul(a, b)

    def write(self, out: Array, value: Array) -> None:
        self._cpu.write(out.values, self._checked(value))

    def accumulate(self, out: Array, value: Array) -> None:
        self._cpu.accumulate(out.values, self._checked(value))

    def write_matmul(self, out: Array, a: Array, b: Array) -> None:
        self._cpu.write_matmul(out.values, a.values, b.values)

    def _checked(self, value: Any) -> Any:
        if not isinstance(value, DialectArray):
            raise BrokenRule(1, f"a gradient is a {type(value).__name__}, no array of be.xp")
        return value.values

    def take(self, x: Array, rows: Array) -> Array:
        return DialectArray(self._cpu.take(values_of(x), values_of(rows)))

    def reshape(self, x: Array, rank: int, shape: tuple[int, ...]) -> Array:
        return DialectArray(self._cpu.reshape(values_of(x), rank, shape))

    def concat(self, arrays: Sequence[Array]) -> Array:
        return DialectArray(self._cpu.concat([values_of(x) for x in arrays]))

    def gather(self, table: Array, index: Array) -> Array:
        return DialectArray(self._cpu.gather(values_of(table), values_of(index)))

    def scatter(self, index: Array, rows: Array, n: int) -> Array:
        return DialectArray(self._cpu.scatter(values_of(index), values_of(rows), n))

    def bits(
        self, rows: int, columns: int, key: Array, stream: int, step: int, first_row: int = 0
    ) -> Array:
        drawn = self._cpu.bits(rows, columns, values_of(key), stream, step, first_row)
        return DialectArray(drawn)

    def finite(self, flat: Array, value: Array, reach: Any) -> Any:
        return self._cpu.finite(values_of(flat), values_of(value), reach)

    def update(
        self,
        formula: Formula,
        state: Sequence[Array],
        arrays: Sequence[Array],
        numbers: Sequence[Any],
        ok: Any,
    ) -> None:
        new = formula(self.xp, *state, *arrays, *numbers)
        for out, value in zip(state, new, strict=True):
            self.write(out, value)

    def activate(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def synchronize(self) -> None:
        return None
