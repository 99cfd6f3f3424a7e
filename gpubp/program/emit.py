"""Write the kernel of a step of the plan."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from .kernels import (
    CELL,
    COLUMN,
    ONE,
    ROW,
    Begin,
    Clear,
    Join,
    JoinAt,
    Let,
    Line,
    Load,
    Loop,
    Number,
    Operand,
    Scratch,
    Store,
)  # fmt: skip
from .plan import Plan, Step, crosses
from .values import COSTLY, FLOAT, Value

_INDEX = {"matrix": CELL, "column": COLUMN, "row": ROW, "one": ONE}
_SHORT = 6
"""So many cheap operations are done again in a later pass rather than a number kept."""

Place = tuple[int, int]
"""A pass of a row, and how many columns it goes over."""


class Emit:
    """The lines of one kernel; arrays in them are the values that lie there, or `Scratch`.

    `reads` says in which pass an array is read for the last time, `keeps` what has memory for one
    row of its own.
    """

    def __init__(self, plan: Plan, number: int) -> None:
        self._plan, self._number = plan, number
        self._step: Step = plan.steps[number]
        self.keeps: list[Value] = []
        self._ready: dict[Value, int] = {}
        for _ in range(2):  # the first round finds what must be kept for the rest of a row
            self._write()

    # -- when a value is ready -----------------------------------------------------------------

    def loads(self, value: Value) -> bool:
        return self._plan.loads(value, self._step.level)

    def ready(self, value: Value) -> int:
        """The first pass in which a value can be had; a reduction takes the one before."""
        if value not in self._ready:
            if self.loads(value) or not value.args:
                found = 0
            else:
                found = max(self.ready(a) for a in value.args)
                behind = value.op in ("rowsum", "rowmax", "rowmin", "concat")
                found += behind or (value.op == "slice" and not self.loads(value.args[0]))
            self._ready[value] = found
        return self._ready[value]

    def _work(self, value: Value) -> set[Value]:
        """What is computed again to have a value in a later pass."""
        if self.loads(value) or value in self._step.outs or value.sort != "matrix":
            return set()
        return {value}.union(*(self._work(a) for a in value.args))

    # -- numbers of the kernel, of a row and of an element -------------------------------------

    def _name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def _let(self, value: Value, operands: list[Operand]) -> Let:
        return Let(self._name(), value.kind, value.op, tuple(operands), value.attr)

    def _load(
        self, value: Value, index: str, last: int, array: Any = None, offset: int = 0
    ) -> Load:
        array = value if array is None else array
        self.reads[array] = max(last, self.reads.get(array, 0))
        return Load(self._name(), value.kind, array, index, offset)

    def _one(self, value: Value) -> Operand:
        """A number that is the same for all rows."""
        if value.op == "constant":
            return Number(value.attr, value.kind)
        if value not in self._ones:
            line: Let | Load
            if self.loads(value):
                line = self._load(value, ONE, 0)
            else:
                line = self._let(value, [self._one(a) for a in value.args])
            self.before.append(line)
            self._ones[value] = line.name
        return self._ones[value]

    def _of_row(self, value: Value) -> Operand:
        """A number of the row."""
        if value.sort == "one":
            return self._one(value)
        if value not in self._columns:
            line: Let | Load
            if self.loads(value):
                line = self._load(value, COLUMN, 0)
                self._between[0].append(line)
                self._columns[value] = line.name
            elif value.op.startswith("row"):
                self._columns[value] = self._reduced(value)
            else:
                operands = [self._of_row(a) for a in value.args]
                line = self._let(value, operands)
                self._between[self.ready(value)].append(line)
                self._columns[value] = line.name
        return self._columns[value]

    def _reduced(self, value: Value) -> str:
        """Begin a reduction before the pass that can do it, and add to it there."""
        (x,) = value.args
        number, cols, op = self.ready(x), x.cols or 1, value.op[3:]
        name = self._name()
        self._between[number].append(Begin(name, value.kind, op))
        element = self._element(x, (number, cols))
        self._passes[number, cols].append(Join(name, value.kind, op, element))
        return name

    def _element(self, value: Value, place: Place) -> Operand:
        """The number of a column, in a pass of a row."""
        if value.sort == "one":
            return self._one(value)
        if value.sort == "column":
            return self._of_row(value)
        if (value, place) not in self._elements:
            self._elements[value, place] = self._new_element(value, place)
        return self._elements[value, place]

    def _new_element(self, value: Value, place: Place) -> str:
        number, _ = place
        lines = self._passes[place]
        line: Let | Load
        index = CELL if value.sort == "matrix" else ROW
        if self.loads(value):
            line = self._load(value, index, number)
        elif value.op == "slice":
            (x,) = value.args
            line = self._load(x, index, 1 << 30, offset=value.attr)
        elif value.op == "concat" or (
            self.ready(value) < number and value.sort == "matrix" and value in self._step.outs
        ):
            line = self._load(value, index, number)
        elif self._kept(value, number):
            line = self._load(value, ROW, number, Scratch(value, self._number))
        elif number >= 0 and self._step.rows is not None and self._costly_row(value):
            line = self._load(value, ROW, number, self._row_ahead(value))
        else:
            line = self._let(value, [self._element(a, place) for a in value.args])
        lines.append(line)
        return line.name

    def _kept(self, value: Value, number: int) -> bool:
        """Whether a number of an earlier pass is kept and not computed again."""
        if value.sort != "matrix" or value.kind != FLOAT or self.ready(value) >= number:
            return False
        if value.op not in COSTLY and len(self._work(value)) <= _SHORT:
            return False
        if value not in self.keeps:
            self.keeps.append(value)
        return True

    def _costly_row(self, value: Value) -> bool:
        """Whether a flat array is worth computing once and not for each row."""
        if self.loads(value) or value.sort != "row" or value.kind != FLOAT:
            return False
        return value.op in COSTLY or any(self._costly_row(a) for a in value.args)

    def _row_ahead(self, value: Value) -> Scratch:
        """A flat array that is computed before the first row."""
        if value not in self._ahead:
            cols = value.cols or 1
            place = (-1 - len(self._ahead), cols)
            self._ahead.append(value)
            operands = [self._element(a, place) for a in value.args]
            line = self._let(value, operands)
            body = (
                *self._passes.pop(place, ()),
                line,
                Store(Scratch(value, self._number), ROW, line.name),
            )
            self.before.append(Loop(cols, body))
        return Scratch(value, self._number)

    # -- the kernel ----------------------------------------------------------------------------

    def _write(self) -> None:
        self._count = 0
        self.before: list[Line] = []
        self.after: list[Line] = []
        self.reads: dict[Any, int] = {}
        self.stores: dict[Value, int] = {}
        self._ones: dict[Value, str] = {}
        self._columns: dict[Value, str] = {}
        self._elements: dict[tuple[Value, Place], str] = {}
        self._ahead: list[Value] = []
        self._between: dict[int, list[Line]] = defaultdict(list)
        self._behind: dict[int, list[Line]] = defaultdict(list)
        self._passes: dict[Place, list[Line]] = defaultdict(list)
        self._ends: dict[Place, list[Line]] = defaultdict(list)
        for value in self.keeps:
            place = (self.ready(value), value.cols or 1)
            element = self._element(value, place)
            self._ends[place].append(Store(Scratch(value, self._number), ROW, element))
        for value in self._step.outs:
            self._out(value)

    def _out(self, value: Value) -> None:
        if crosses(value):
            self._total(value)
        elif value.sort == "one":
            self.after.append(Store(value, ONE, self._one(value)))
        elif value.sort == "column":
            number = self.ready(value)
            element = self._of_row(value)
            # behind every load of this row, also one for a later value: it may lie where one did
            self._behind[number].append(Store(value, COLUMN, element))
            self.stores[value] = number
        elif value.op == "concat":
            self._joined(value)
        else:
            place = (self.ready(value), value.cols or 1)
            index = _INDEX[value.sort]
            self._ends[place].append(Store(value, index, self._element(value, place)))
            self.stores[value] = place[0]

    def _total(self, value: Value) -> None:
        """What is summed over all rows, or over all of a flat array."""
        (x,) = value.args
        op = value.op[3:]
        if value.sort == "one":
            name = self._name()
            self.before.append(Begin(name, value.kind, op))
            self.after.append(Store(value, ONE, name))
            if x.sort == "column":
                column = self._of_row(x)
                self._between[self.ready(x)].append(Join(name, value.kind, op, column))
            else:
                place = (self.ready(x), x.cols or 1)
                element = self._element(x, place)
                self._passes[place].append(Join(name, value.kind, op, element))
            return
        place = (self.ready(x), x.cols or 1)
        self.before.append(Clear(value, value.kind, op, x.cols or 1))
        element = self._element(x, place)
        self._passes[place].append(JoinAt(value, value.kind, op, element))

    def _joined(self, value: Value) -> None:
        """Parts side by side, each written by a pass of its own width."""
        start = 0
        for x, width in zip(value.args, value.attr, strict=True):
            if width == 1:
                element: Operand = self._of_row(x)
                line = Store(value, CELL, element, start)
                self._ends[self.ready(x), 1].append(line)
            else:
                place = (self.ready(x), width)
                self._ends[place].append(Store(value, CELL, self._element(x, place), start))
            start += width
        self.stores[value] = -1  # never in the place of what is read

    @property
    def scratch(self) -> list[Scratch]:
        """What has memory of its own in this kernel."""
        return [Scratch(value, self._number) for value in (*self.keeps, *self._ahead)]

    def lines(self) -> tuple[tuple[Line, ...], tuple[Line, ...], tuple[Line, ...]]:
        """What is done before the rows, in each row, and behind them."""
        numbers = [*self._between, *self._behind, *(n for n, _ in (*self._passes, *self._ends))]
        body: list[Line] = []
        for number in range(max(numbers, default=-1) + 1):
            body += self._between[number] + self._behind[number]
            widths = {c for n, c in (*self._passes, *self._ends) if n == number}
            for cols in sorted(widths):
                inner = (*self._passes.get((number, cols), ()), *self._ends.get((number, cols), ()))
                if inner:
                    body.append(Loop(cols, inner))
        return tuple(self.before), tuple(body), tuple(self.after)
