"""Print kernels over narrow rows so that sixteen rows go side by side.

A loop over ten columns does not fill a vector; one over sixteen rows does. Numbers of a row become
arrays of sixteen, and what is added over rows is added along them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gpubp.program.kernels import (
    CELL,
    COLUMN,
    ROW,
    Begin,
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
)  # fmt: skip
from gpubp.program.values import COSTLY

LANES = 16
"""Rows that go side by side: a vector of float32, or two of float64."""

_WIDE = 16  # columns from which on a loop over them fills vectors by itself


def is_narrow(k: Kernel, rows: int) -> bool:
    """Whether a kernel gains: few columns, costly functions, and rows that divide by sixteen."""
    if k.rows is None or rows == 0 or rows % LANES:
        return False
    loops = [line for line in k.body if isinstance(line, Loop)]
    if not loops or any(loop.cols >= _WIDE for loop in loops):
        return False
    inner = [line for loop in loops for line in loop.body]
    kept = any(isinstance(line, Store) and line.index == ROW for line in (*inner, *k.body))
    costly = any(isinstance(line, Let) and line.op in COSTLY for line in inner)
    return costly and not kept


class Narrow:
    """The lines of the body of such a kernel, for `rows` rows; `printer` prints single lines."""

    def __init__(self, k: Kernel, printer: Any, rows: int, first: str) -> None:
        self._k, self._printer, self._rows, self._first = k, printer, rows, first
        self._lane: dict[str, str] = {}
        for line in k.body:
            if isinstance(line, Let | Load | Begin):
                self._lane[line.name] = f"s_{line.name}"
        self._kinds = {
            line.name: line.kind for line in k.body if isinstance(line, Let | Load | Begin)
        }

    def lines(self) -> Iterable[str]:
        for name, array in self._lane.items():
            yield f"{array} = lanes_{self._kinds[name]}()"
        yield f"for block in range({self._rows // LANES}):"
        for i in sorted(_by_row(self._k.body)):
            yield f"    a{i}b = a{i}[block * {LANES} : block * {LANES} + {LANES}]"
        flat: list[Line] = []
        for line in (*self._k.body, None):
            if isinstance(line, Loop) or line is None:
                yield from ("    " + text for text in self._side_by_side(flat))
                flat = []
            if isinstance(line, Loop):
                yield f"    for j in range({line.cols}):"
                yield from ("        " + text for text in self._side_by_side(line.body))
            elif line is not None:
                flat.append(line)

    def _side_by_side(self, lines: Sequence[Line]) -> Iterable[str]:
        if not lines:
            return
        added = [line.array for line in lines if isinstance(line, JoinAt)]
        yield from (f"t{i} = a{i}[j]" for i in dict.fromkeys(added))
        yield f"for u in range({LANES}):"
        yield from ("    " + self._line(line) for line in lines)
        yield from (f"a{i}[j] = t{i}" for i in dict.fromkeys(added))

    def _name(self, name: str) -> str:
        return f"{self._lane[name]}[u]" if name in self._lane else name

    def _renamed(self, x: Operand) -> Operand:
        return x if isinstance(x, Number) else self._name(x)

    def _line(self, line: Line) -> str:
        printer = self._printer
        if isinstance(line, Let):
            given = tuple(self._renamed(x) for x in line.operands)
            return f"{self._name(line.name)} = {printer.expression(line, given, self._row())}"
        if isinstance(line, Load):
            return f"{self._name(line.name)} = {self._place(line)}"
        if isinstance(line, Store):
            return f"{self._place(line)} = {printer.operand(self._renamed(line.operand))}"
        if isinstance(line, Begin):
            return f"{self._name(line.name)} = {printer.neutral(line)}"
        assert isinstance(line, Join | JoinAt)
        place = self._name(line.name) if isinstance(line, Join) else f"t{line.array}"
        return f"{place} = {printer.joined(line.op, place, self._renamed(line.operand))}"

    def _row(self) -> str:
        return f"{self._first}block * {LANES} + u"

    def _place(self, line: Load | Store) -> str:
        column = f"j + {line.offset}" if line.offset else "j"
        return {
            CELL: f"a{line.array}b[u, {column}]",
            COLUMN: f"a{line.array}b[u]",
            ROW: f"a{line.array}[{column}]",
        }[line.index]


def _by_row(lines: Sequence[Line]) -> set[int]:
    """The arrays of which every row is met."""
    found: set[int] = set()
    for line in lines:
        if isinstance(line, Loop):
            found |= _by_row(line.body)
        elif isinstance(line, Load | Store) and line.index in (CELL, COLUMN):
            found.add(line.array)
    return found
