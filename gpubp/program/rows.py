"""A kernel done by NumPy, for all its rows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..special import erf
from .kernels import (
    CELL,
    COLUMN,
    ROW,
    Begin,
    Clear,
    Join,
    JoinAt,
    Kernel,
    Let,
    Line,
    Load,
    Loop,
    Number,
    Operand,
    Store,
)
from .values import HALF, neutral

JOINS: dict[str, Any] = {"sum": np.add, "max": np.maximum, "min": np.minimum}
"""What a reduction does; NaN stays NaN."""

_DTYPES = {"U": np.uint32, "I": np.int64, "bool": np.bool_, "D": np.float64, HALF: np.float32}
"""16-bit numbers are held as float32 that were rounded."""

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "lt": np.less,
    "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
    "ne": np.not_equal, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "shr": np.right_shift, "shl": np.left_shift, "neg": np.negative, "where": np.where,
    "maximum": np.maximum, "minimum": np.minimum, "isfinite": np.isfinite, "copy": np.array,
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh,
    "cos": np.cos, "sqrt": np.sqrt, "abs": np.abs, "erf": lambda x: erf(np, x),
}  # fmt: skip


def rounded(x: Any, half: str) -> Any:
    """Round to the nearest 16-bit number, `"bf16"` or `"fp16"`; of two, to the even one.

    >>> rounded(np.asarray([1.00390625, 3.0]), "bf16").tolist(), rounded(1e5, "fp16").item()
    ([1.0, 3.0], inf)
    """
    x = np.asarray(x, np.float32)
    if half == "fp16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    word = x.view(np.uint32)
    even = word + 0x7FFF + (word >> 16 & 1)
    return np.where(np.isnan(x), x, (even & 0xFFFF0000).view(np.float32))


def dtype_of(kind: str, precision: Any) -> Any:
    """The dtype of a kind of value.

    >>> dtype_of("U", "float32"), dtype_of("T", "float32")
    (dtype('uint32'), dtype('float32'))
    """
    return np.dtype(_DTYPES.get(kind, precision))


class Rows:
    """One kernel over the rows of `part`; where `flat`, over those columns of a flat array.

    `arrays` are the whole arrays, by the numbers of the kernel's formals; `half` is what its 16-bit
    numbers are. What a kernel keeps of a row while it is at it, is kept here of all rows.
    """

    def __init__(
        self, kernel: Kernel, arrays: Sequence[Any], precision: Any, part: slice, flat: bool,
        half: str = "",
    ) -> None:  # fmt: skip
        self._half = half
        self._k, self._precision, self._part, self._flat = kernel, precision, part, flat
        self._rows = None if kernel.rows is None else part.stop - part.start
        self._names: dict[str, Any] = {}
        self._of_row: set[str] = set()
        self._kept: dict[int, Any] = {}
        self._arrays = [self._seen(f, a) for f, a in zip(kernel.formals, arrays, strict=True)]

    def _seen(self, formal: Any, array: Any) -> Any:
        if formal.index == CELL:
            return array.reshape(formal.rows, formal.cols)[self._part]
        if formal.index == COLUMN:
            return array.reshape(formal.rows, 1)[self._part]
        return array

    def run(self) -> None:
        """Do what the kernel says."""
        self._block(self._k.before, False, None)
        self._block(self._k.body, self._rows is not None, None)
        self._block(self._k.after, False, None)

    def _block(self, lines: Sequence[Line], rows: bool, cols: int | None) -> None:
        for line in lines:
            if isinstance(line, Loop):
                count = self._part.stop - self._part.start if self._flat else line.cols
                self._block(line.body, rows, count)
            else:
                self._line(line, rows, cols)

    def _line(self, line: Line, rows: bool, cols: int | None) -> None:
        if isinstance(line, Let):
            self._names[line.name] = self._computed(line, rows, cols)
        elif isinstance(line, Load):
            self._names[line.name] = self._loaded(line, cols)
        elif isinstance(line, Store):
            self._stored(line, rows, cols)
        elif isinstance(line, Begin):
            dtype = dtype_of(line.kind, self._precision)
            self._names[line.name] = np.asarray(neutral(line.op, line.kind), dtype)
            if rows:
                self._of_row.add(line.name)
        elif isinstance(line, Clear):
            self._arrays[line.array][: line.cols] = neutral(line.op, line.kind)
        elif isinstance(line, Join):
            each = self._spread(line.operand, rows, cols)
            axis = -1 if line.name in self._of_row else None
            self._join(line, each, axis)
        else:
            assert isinstance(line, JoinAt)
            each, join = self._spread(line.operand, rows, cols), JOINS[line.op]
            out = self._arrays[line.array][: each.shape[-1]]
            out[...] = join(out, join.reduce(each, axis=0))

    def _join(self, line: Join, each: Any, axis: int | None) -> None:
        join, so_far = JOINS[line.op], self._names[line.name]
        found = join.reduce(each, axis=axis, keepdims=axis is not None)
        self._names[line.name] = join(so_far, found)

    # -- numbers -------------------------------------------------------------------------------

    def _operand(self, x: Operand) -> Any:
        if isinstance(x, Number):
            return np.asarray(x.number, dtype_of(x.kind, self._precision))
        return self._names[x]

    def _spread(self, x: Operand, rows: bool, cols: int | None) -> Any:
        """An operand for each row and column where it is met."""
        shape = (self._rows or 1,) if rows else ()
        return np.broadcast_to(self._operand(x), (*shape, 1 if cols is None else cols))

    def _computed(self, line: Let, rows: bool, cols: int | None) -> Any:
        dtype = dtype_of(line.kind, self._precision)
        if line.op == "arange":
            return self._columns(cols).astype(dtype)
        if line.op == "iota":
            row = np.arange(self._part.start, self._part.stop)[:, None] if rows else 0
            return np.asarray(row * line.attr + self._columns(cols)).astype(dtype)
        given = [self._operand(x) for x in line.operands]
        if line.op == "cast" and line.kind == HALF:
            return rounded(given[0], self._half)
        if line.op == "cast":
            return np.asarray(given[0]).astype(dtype)
        return _OPERATIONS[line.op](*given)

    def _columns(self, cols: int | None) -> Any:
        return np.arange(cols or 1) + (self._part.start if self._flat else 0)

    def _span(self, index: str, offset: int, cols: int | None) -> Any:
        """The columns of an array that lie at an index."""
        if index not in (CELL, ROW):
            return slice(0, 1)
        start = offset + (self._part.start if self._flat else 0)
        return slice(start, start + (1 if cols is None else cols))

    def _loaded(self, line: Load, cols: int | None) -> Any:
        array = self._kept.get(line.array, self._arrays[line.array])
        found = np.array(array[..., self._span(line.index, line.offset, cols)])
        return found.astype(self._precision) if array.dtype == np.float64 else found

    def _stored(self, line: Store, rows: bool, cols: int | None) -> None:
        value = self._spread(line.operand, rows, cols)
        array, span = self._arrays[line.array], self._span(line.index, line.offset, cols)
        if rows and line.index == ROW:
            self._kept[line.array] = np.array(value)
            value = value[-1]
        array[..., span] = value
