"""Print kernels as functions of C++."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .c_expressions import expression, joined, neutral, operand
from .kernels import (
    CELL,
    COLUMN,
    ONE,
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
    Store,
)  # fmt: skip

DOUBLE = "D"
"""The kind of the numbers that come with a step, float64 in every kernel."""


class Printer:
    """A kernel as a serial function `void NAME(T* a0, const U* a1, ..., long first, long count)`.

    It does `count` rows from row `first` on, or so many elements of a flat array; the arrays are
    whole. A target on which many threads share rows replaces `function`, `rows` and `columns`,
    which say how one goes over them, and keeps `statement`.
    """

    def __init__(self, kernel: Kernel, target: str = "host") -> None:
        self.kernel, self.target = kernel, target

    # -- once a kernel -------------------------------------------------------------------------

    def function(self, name: str) -> str:
        """Return the kernel as a function of that name."""
        lines = [f"static void {name}({', '.join(self.parameters())}, long first, long count) {{"]
        lines += _inner(self.block(self.kernel.before))
        lines += _inner(self.rows())
        lines += _inner(self.block(self.kernel.after))
        return "\n".join([*lines, "}"])

    def parameters(self) -> list[str]:
        """The arrays; what is read only is constant."""
        k = self.kernel
        written = _written((*k.before, *k.body, *k.after))
        return [
            f"{'' if i in written else 'const '}{formal.kind}* a{i}"
            for i, formal in enumerate(k.formals)
        ]

    # -- once a row, once a column -------------------------------------------------------------

    def rows(self) -> Iterable[str]:
        """The body, for each row `r`; that of a flat array is done once."""
        body = self.block(self.kernel.body)
        if self.kernel.rows is None:
            yield from body
        elif self.kernel.body:
            yield "for (long r = first; r < first + count; ++r) {"
            yield from _inner(body)
            yield "}"

    def columns(self, cols: int, body: Iterable[str], whole: bool = False) -> Iterable[str]:
        """Something for each column `j` of so many, or for the part of a flat array."""
        flat = self.kernel.rows is None and cols == self.kernel.cols and not whole
        low, high = ("first", "first + count") if flat else ("0", str(cols))
        yield f"for (long j = {low}; j < {high}; ++j) {{"
        yield from _inner(body)
        yield "}"

    def block(self, lines: Sequence[Line]) -> Iterable[str]:
        for line in lines:
            if isinstance(line, Loop):
                yield from self.columns(line.cols, self.block(line.body))
            elif isinstance(line, Clear):
                begin = neutral(line.op, line.kind, self.target)
                yield from self.columns(line.cols, [f"a{line.array}[j] = {begin};"], whole=True)
            else:
                yield self.statement(line)

    # -- once an element -----------------------------------------------------------------------

    def statement(self, line: Line) -> str:
        """A line that is no loop."""
        target = self.target
        if isinstance(line, Let):
            text = expression(line.op, line.operands, line.kind, target, line.attr)
            return f"const {line.kind} {line.name} = {text};"
        if isinstance(line, Load):
            place = self.place(line.array, line.index, line.offset)
            if self.kernel.formals[line.array].kind == DOUBLE:
                place = f"{line.kind}({place})"
            return f"const {line.kind} {line.name} = {place};"
        if isinstance(line, Store):
            place = self.place(line.array, line.index, line.offset)
            return f"{place} = {operand(line.operand, target)};"
        if isinstance(line, Begin):
            return f"{line.kind} {line.name} = {neutral(line.op, line.kind, target)};"
        assert isinstance(line, Join | JoinAt)
        place = line.name if isinstance(line, Join) else f"a{line.array}[j]"
        return f"{place} = {joined(line.op, place, line.operand, target)};"

    def place(self, array: int, index: str, offset: int) -> str:
        """An element of an array."""
        column = f"j + {offset}" if offset else "j"
        row = f"r * {self.kernel.formals[array].cols} + " if self.kernel.rows is not None else ""
        text = {CELL: row + column, COLUMN: "r", ROW: column, ONE: "0"}[index]
        return f"a{array}[{text}]"


def _inner(lines: Iterable[str]) -> Iterable[str]:
    return ("    " + line for line in lines)


def _written(lines: Iterable[Line]) -> set[int]:
    """The arrays that lines write."""
    found: set[int] = set()
    for line in lines:
        if isinstance(line, Loop):
            found |= _written(line.body)
        elif isinstance(line, Store | Clear | JoinAt):
            found.add(line.array)
    return found
