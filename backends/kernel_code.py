"""Write the kernels of a program as code for this processor.

A pass over the columns goes by vectors of so many lanes; what is left behind the last whole one is
done by a vector of which some lanes are masked. A function finds its arrays, and the part of the
rows or columns that is its thread's, in a table of addresses and numbers, from entry `at` on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpubp.program.calls import DOUBLE
from gpubp.program.kernels import (
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
)  # fmt: skip
from gpubp.program.values import ARITHMETIC, BITWISE, COMPARISONS, FLOAT, INTEGER, neutral

from . import math_code, native_code
from .lanes import Lanes, constant, of
from .native_code import Code, ir

_SIGNS = {**ARITHMETIC, **BITWISE}
_BYTE, _TRUTH = ir.IntType(8), ir.IntType(1)


def real(precision: str) -> Any:
    """The type of a network's numbers."""
    return ir.FloatType() if precision == "float32" else ir.DoubleType()


def kernel(module: Any, k: Kernel, name: str, precision: str, lanes: int, shared: str = "") -> Any:
    """Return a kernel as a function of a table's address and the first of its entries.

    Where threads share it, the number of its first row or column and how many it does follow its
    arrays in the table.
    """
    code = Code(module, name, 2, internal=True)
    _Writer(code, k, precision, lanes, shared).write()
    code.end()
    return code.function


class _Slot:
    """A number that changes from row to row."""

    def __init__(self, place: Any) -> None:
        self.place = place


class _Pass:
    """Where the code is in a pass over columns: at column `j`, with so many lanes.

    `mask` says which of the lanes there are, None for all, and `there` how many, if that is known.
    """

    def __init__(self, j: native_code.Number, lanes: int, mask: Any = None, there: int = 0) -> None:
        self.j, self.lanes, self.mask, self.there = j, lanes, mask, there


class _Writer:
    def __init__(self, code: Code, k: Kernel, precision: str, lanes: int, shared: str) -> None:
        self._code, self._k, self._lanes, self._shared = code, k, lanes, shared
        self._real = real(precision)
        self._types = {
            FLOAT: self._real, "U": ir.IntType(32), INTEGER: ir.IntType(64), "bool": _TRUTH,
            DOUBLE: ir.DoubleType(),
        }  # fmt: skip
        self._largest = float(np.finfo(precision).max)
        table, at = code.given
        begin, count = table + at * 8, len(k.formals)
        self._begins = [code.word(begin + i * 8) for i in range(count)]
        self._first, self._count = code.number(0), code.number((k.rows if k.rows else k.cols) or 1)
        if shared:
            self._first, self._count = (code.word(begin + (count + i) * 8) for i in range(2))
        self._row: native_code.Number | None = None
        self._names: dict[str, Lanes | _Slot] = {}
        self._sums: dict[int, tuple[Any, _Pass]] = {}

    def write(self) -> None:
        k, code = self._k, self._code
        self._block(k.before)
        if k.rows is None:
            self._block(k.body)
        elif k.body:
            self._gather_sums(k.body)
            outer = dict(self._names)
            for name, value in outer.items():  # what is added to in many rows
                if name in _joined(k.body):
                    assert isinstance(value, Lanes)
                    with code.builder.goto_entry_block():
                        place = code.builder.alloca(value.type)
                    code.builder.store(value.value, place)
                    outer[name] = _Slot(place)
            self._names = outer
            with code.loop(0, self._count) as row:
                self._row = row
                self._names = dict(outer)
                self._block(k.body)
            self._row, self._names = None, outer
            self._put_sums()
        self._block(k.after)

    # -- sums over rows ------------------------------------------------------------------------

    def _gather_sums(self, lines: Sequence[Line]) -> None:
        """Keep a place of their own for sums over rows that take one vector.

        A vector with lanes that are masked cannot be loaded soon after it was stored: the
        processor waits until it has come to the cache.
        """
        for loop in lines:
            if not isinstance(loop, Loop) or loop.cols > self._lanes:
                continue
            for line in loop.body:
                if isinstance(line, JoinAt) and line.array not in self._sums:
                    at = self._whole(loop.cols)
                    value = self._load(line.array, ROW, 0, at).value
                    with self._code.builder.goto_entry_block():
                        place = self._code.builder.alloca(value.type)
                    self._code.builder.store(value, place)
                    self._sums[line.array] = place, at

    def _put_sums(self) -> None:
        for array, (place, at) in self._sums.items():
            value = Lanes(self._code, self._code.builder.load(place))
            self._store(array, ROW, 0, value, at)

    def _whole(self, cols: int) -> _Pass:
        """The one turn of a pass over so few columns."""
        lanes = 1 << (cols - 1).bit_length()
        return _Pass(self._code.number(0), lanes, _mask(cols, lanes), cols % lanes)

    # -- lines ---------------------------------------------------------------------------------

    def _block(self, lines: Sequence[Line]) -> None:
        for line in lines:
            if isinstance(line, Loop):
                self._loop(line)
            elif isinstance(line, Clear):
                self._clear(line)
            elif isinstance(line, Begin):
                self._names[line.name] = self._neutral(line.kind, line.op)
            elif isinstance(line, Join):
                self._join(line.name, line.op, self._operand(line.operand))
            else:
                self._line(line, None)

    def _line(self, line: Line, at: _Pass | None) -> None:
        if isinstance(line, Let):
            self._names[line.name] = self._computed(line, at)
        elif isinstance(line, Load):
            found = self._load(line.array, line.index, line.offset, at)
            self._names[line.name] = found.cast(self._types[line.kind])
        elif isinstance(line, Store):
            self._store(line.array, line.index, line.offset, self._operand(line.operand), at)
        else:
            assert isinstance(line, JoinAt)
            x = self._operand(line.operand)
            if line.array in self._sums:
                place, _ = self._sums[line.array]
                so_far = Lanes(self._code, self._code.builder.load(place))
                found = joined_lanes(line.op, so_far, self._spread(x, at))
                self._code.builder.store(found.value, place)
                return
            so_far = self._load(line.array, ROW, 0, at)
            found = joined_lanes(line.op, so_far, self._spread(x, at))
            self._store(line.array, ROW, 0, found, at)

    def _clear(self, line: Clear) -> None:
        self._names["neutral"] = self._neutral(line.kind, line.op)
        whole = Store(line.array, ROW, "neutral")
        self._passes(self._code.number(line.cols), line.cols, (whole,))

    def _join(self, name: str, op: str, value: Lanes) -> None:
        so_far = self._names[name]
        found = joined_lanes(op, self._value(so_far), value)
        if isinstance(so_far, _Slot):
            self._code.builder.store(found.value, so_far.place)
        else:
            self._names[name] = found

    # -- passes --------------------------------------------------------------------------------

    def _loop(self, line: Loop) -> None:
        flat = self._k.rows is None and self._shared == "cols" and line.cols == self._k.cols
        count = self._count if flat else self._code.number(line.cols)
        self._passes(count, None if flat else line.cols, line.body)

    def _passes(self, count: native_code.Number, known: int | None, body: Sequence[Line]) -> None:
        """Do the body for so many columns; `known` is their number, where it is."""
        code, outer = self._code, self._names
        lanes = self._lanes if known is None else min(self._lanes, 1 << (known - 1).bit_length())
        joins = [line for line in body if isinstance(line, Join)]
        sums = [self._spread(self._neutral(j.kind, j.op), _Pass(count, lanes)) for j in joins]
        even = count // lanes * lanes if known is None else code.number(known // lanes * lanes)
        if known is None or known >= lanes:
            with code.carried(0, even, lanes, [s.value for s in sums]) as (j, held, become):
                self._names = dict(outer)
                sums = [Lanes(code, value) for value in held]
                become[:] = [s.value for s in self._turn(body, joins, sums, _Pass(j, lanes))]
            sums = [Lanes(code, value) for value in become]
        if known is None and lanes > 1:
            values = [s.value for s in sums]
            with code.carried(even, count, lanes, values) as (j, held, become):  # once or never
                self._names = dict(outer)
                sums = [Lanes(code, value) for value in held]
                rest = _Pass(j, lanes, code.below(lanes, count - j))
                become[:] = [s.value for s in self._turn(body, joins, sums, rest)]
            sums = [Lanes(code, value) for value in become]
        elif known is not None and known % lanes:
            self._names = dict(outer)
            rest = _Pass(even, lanes, _mask(known, lanes), known % lanes)
            sums = self._turn(body, joins, sums, rest)
        self._names = outer
        for join, each in zip(joins, sums, strict=True):
            self._join(join.name, join.op, self._reduced(join.op, each))

    def _turn(
        self, body: Sequence[Line], joins: Sequence[Join], sums: Sequence[Lanes], at: _Pass
    ) -> list[Lanes]:
        """One turn of a pass; what its sums become."""
        found = list(sums)
        for line in body:
            if not isinstance(line, Join):
                self._line(line, at)
                continue
            number, each = joins.index(line), self._spread(self._operand(line.operand), at)
            if at.mask is not None:
                nothing = self._spread(self._neutral(line.kind, line.op), at)
                each = Lanes(self._code, at.mask).either(each, nothing)
            found[number] = joined_lanes(line.op, found[number], each)
        return found

    def _reduced(self, op: str, x: Lanes) -> Lanes:
        """All lanes as one number: halves are joined, again and again."""
        code, short = self._code, ir.IntType(32)
        while x.count > 1:
            half = x.count // 2
            undefined = ir.Constant(x.type, ir.Undefined)
            parts = [
                Lanes(code, code.builder.shuffle_vector(
                    x.value, undefined,
                    ir.Constant(ir.VectorType(short, half), list(range(low, low + half)))))
                for low in (0, half)
            ]  # fmt: skip
            x = joined_lanes(op, *parts)
        if isinstance(x.type, ir.VectorType):
            x = Lanes(code, code.builder.extract_element(x.value, short(0)))
        return x

    # -- memory --------------------------------------------------------------------------------

    def _place(self, array: int, index: str, offset: int, at: _Pass | None, kind: Any) -> Any:
        """A pointer to the elements that are meant."""
        code, formal = self._code, self._k.formals[array]
        element = _BYTE if formal.kind == "bool" else self._types[formal.kind]
        place = code.number(0)
        if index in (CELL, COLUMN) and self._row is not None:
            place = self._row * (formal.cols if index == CELL else 1)
        if index in (CELL, ROW):
            place = place + offset + (at.j if at is not None else 0)
        begin = code.pointer(self._begins[array], element)
        return code.further(begin, place, kind)

    def _load(self, array: int, index: str, offset: int, at: _Pass | None) -> Lanes:
        code, kind = self._code, self._k.formals[array].kind
        wide = at is not None and index in (CELL, ROW)
        lanes = at.lanes if at is not None and wide else 1
        stored = of(_BYTE if kind == "bool" else self._types[kind], lanes)
        place = self._place(array, index, offset, at, stored)
        align = _width(stored)
        if at is not None and wide and at.mask is not None:
            found = code.masked_load(place, stored, at.mask, align)
        else:
            found = code.builder.load(place, align=align)
        loaded = Lanes(code, found)
        return loaded.compared("!=", 0) if kind == "bool" else loaded

    def _store(self, array: int, index: str, offset: int, x: Lanes, at: _Pass | None) -> None:
        code, kind = self._code, self._k.formals[array].kind
        wide = at is not None and index in (CELL, ROW)
        x = self._spread(x, at) if wide else x
        if kind == "bool":
            x = Lanes(code, code.builder.zext(x.value, of(_BYTE, x.count)))
        place = self._place(array, index, offset, at, x.type)
        if at is not None and wide and at.there:
            code.store_first(place, x.value, at.there, _width(x.type))
        elif at is not None and wide and at.mask is not None:
            code.masked_store(place, x.value, at.mask, _width(x.type))
        else:
            code.builder.store(x.value, place, align=_width(x.type))

    # -- numbers -------------------------------------------------------------------------------

    def _value(self, x: Lanes | _Slot) -> Lanes:
        return x if isinstance(x, Lanes) else Lanes(self._code, self._code.builder.load(x.place))

    def _operand(self, x: Operand) -> Lanes:
        if isinstance(x, Number):
            return constant(self._code, self._types[x.kind], x.number)
        return self._value(self._names[x])

    def _spread(self, x: Lanes, at: _Pass | None) -> Lanes:
        if at is None or x.count == at.lanes:
            return x
        return Lanes(self._code, self._code.spread(x.value, at.lanes))

    def _neutral(self, kind: str, op: str) -> Lanes:
        return constant(self._code, self._types[kind], neutral(op, kind))

    def _computed(self, line: Let, at: _Pass | None) -> Lanes:
        given = [self._operand(x) for x in line.operands]
        if at is not None and any(x.count > 1 for x in given):
            given = [self._spread(x, at) for x in given]
        op, element = line.op, self._types[line.kind]
        if op in ("arange", "iota"):
            return self._counted(line, element, at)
        if op == "shr" and element == self._types[INTEGER]:  # with the sign
            by = given[0].like(given[1]).value
            return Lanes(self._code, self._code.builder.ashr(given[0].value, by))
        if op == "add" and element == _TRUTH:
            return given[0] | given[1]
        if op in _SIGNS:
            return given[0].do(_SIGNS[op], given[1])
        if op in COMPARISONS:
            signed = given[0].element == self._types[INTEGER]
            return given[0].compared(COMPARISONS[op], given[1], signed)
        if op in ("maximum", "minimum"):
            return joined_lanes(op[:3], given[0], given[1])
        if op == "where":
            return given[0].either(given[1], given[2])
        if op == "cast":
            of_sign = element if given[0].is_real else given[0].element
            return given[0].cast(element, signed=of_sign == self._types[INTEGER])
        if op == "isfinite":
            return abs(given[0]).compared("<=", self._largest)
        found: Lanes = _ONE_BY_ONE[op](given[0])
        return found

    def _counted(self, line: Let, element: Any, at: _Pass | None) -> Lanes:
        """The number of a column, or of an element: its row's times so many, and its column's."""
        code = self._code
        j = code.number(0) if at is None else at.j
        if self._shared == "cols":
            j = j + self._first
        lanes = 1 if at is None else at.lanes
        if line.op == "iota":
            row = self._row if self._row is not None else code.number(0)
            row = row + self._first if self._shared == "rows" else row
            # the number of a row alone where there is one column
            begin = row * line.attr + j if line.attr > 1 else row
            lanes = lanes if line.attr > 1 else 1
        else:
            begin = j
        first = Lanes(code, begin.value).cast(element, signed=True)
        if lanes == 1:
            return first
        steps = constant_range(element, lanes)
        return Lanes(code, code.spread(first.value, lanes)) + Lanes(code, steps)


def _mask(cols: int, lanes: int) -> Any:
    """Which lanes of the last vector over so many columns there are; None for all."""
    there = cols % lanes
    if not there:
        return None
    return ir.Constant(of(_TRUTH, lanes), [i < there for i in range(lanes)])


def constant_range(element: Any, lanes: int) -> Any:
    """0, 1, 2, ... in the lanes of a vector."""
    return ir.Constant(ir.VectorType(element, lanes), [element(i) for i in range(lanes)])


_ONE_BY_ONE: dict[str, Any] = {
    **math_code.FUNCTIONS,
    "neg": lambda x: -x,
    "abs": abs,
    "copy": lambda x: x,
    "sqrt": lambda x: x.function("llvm.sqrt"),
}


def joined_lanes(op: str, a: Lanes, b: Lanes) -> Lanes:
    """The sum, or the largest or smallest, which is NaN where one is."""
    if op == "sum":
        return a + b
    beyond = a.compared("<" if op == "max" else ">", b, signed=a.element == ir.IntType(64))
    if b.is_real:
        beyond = beyond | b.compared("!=", b)
    return beyond.either(b, a)


def _width(kind: Any) -> int:
    """The bytes of an element, by which a vector of them is aligned."""
    element = kind.element if isinstance(kind, ir.VectorType) else kind
    if isinstance(element, ir.IntType):
        return max(1, int(element.width) // 8)
    return 4 if isinstance(element, ir.FloatType) else 8


def _joined(lines: Sequence[Line]) -> set[str]:
    """The names that lines add to."""
    found: set[str] = set()
    for line in lines:
        if isinstance(line, Loop):
            found |= _joined(line.body)
        elif isinstance(line, Join):
            found.add(line.name)
    return found
