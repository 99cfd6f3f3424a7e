"""What a kernel says, for no language in particular.

A kernel goes over rows; in each it makes passes over the columns, between which it has numbers of
the row. Before the rows come numbers and flat arrays that are the same for all of them, behind
them what was summed over all. A kernel over a flat array is one pass over it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from .values import Value


@dataclass(frozen=True)
class Number:
    """A constant of a kind."""

    number: Any
    kind: str


Operand: TypeAlias = "str | Number"

CELL, COLUMN, ROW, ONE = "cell", "column", "row", "one"
"""How an array is indexed: by row and column, by row, by column, or not at all."""


@dataclass(frozen=True)
class Let:
    """name = op(operands)."""

    name: str
    kind: str
    op: str
    operands: tuple[Operand, ...]
    attr: Any = None


@dataclass(frozen=True)
class Load:
    """name = array[index], `offset` columns further on."""

    name: str
    kind: str
    array: Any
    index: str
    offset: int = 0


@dataclass(frozen=True)
class Store:
    """array[index] = operand."""

    array: Any
    index: str
    operand: Operand
    offset: int = 0


@dataclass(frozen=True)
class Begin:
    """name = the neutral number of `"sum"`, `"max"` or `"min"`."""

    name: str
    kind: str
    op: str


@dataclass(frozen=True)
class Join:
    """name = name op operand."""

    name: str
    kind: str
    op: str
    operand: Operand


@dataclass(frozen=True)
class Clear:
    """array[j] = the neutral number, for all j."""

    array: Any
    kind: str
    op: str
    cols: int


@dataclass(frozen=True)
class JoinAt:
    """array[j] = array[j] op operand."""

    array: Any
    kind: str
    op: str
    operand: Operand


@dataclass(frozen=True)
class Loop:
    """The body for each column j of so many."""

    cols: int
    body: tuple[Any, ...]


Line: TypeAlias = Let | Load | Store | Begin | Join | Clear | JoinAt | Loop


@dataclass(frozen=True)
class Formal:
    """An array that a kernel takes: its kind, how it is indexed, and its shape.

    `whole` is the number of columns of the matrix where the array is some columns of one.
    """

    kind: str
    index: str
    rows: int
    cols: int


@dataclass(frozen=True)
class Kernel:
    """One kernel; arrays in its lines are numbers of `formals`.

    `rows` is how many rows it goes over, None where it goes over a flat array of `cols`.
    """

    formals: tuple[Formal, ...]
    before: tuple[Line, ...]
    body: tuple[Line, ...]
    after: tuple[Line, ...]
    rows: int | None
    cols: int | None
    label: str = field(default="", compare=False)

    @property
    def operations(self) -> int:
        """How many operations on numbers it does."""
        once = _operations(self.before) + _operations(self.after)
        return once + (self.rows or 1) * _operations(self.body)


def _operations(lines: tuple[Line, ...]) -> int:
    total = 0
    for line in lines:
        if isinstance(line, Loop):
            total += line.cols * _operations(line.body)
        elif isinstance(line, Let | Join | JoinAt):
            total += 1
    return total


def with_arrays(lines: tuple[Line, ...], number: dict[Any, int]) -> tuple[Line, ...]:
    """The lines with numbers in the place of what their arrays were called."""
    found: list[Line] = []
    for line in lines:
        if isinstance(line, Loop):
            found.append(Loop(line.cols, with_arrays(line.body, number)))
        elif isinstance(line, Load | Store | Clear | JoinAt):
            found.append(replace(line, array=number[line.array]))
        else:
            found.append(line)
    return tuple(found)


@dataclass(frozen=True)
class Scratch:
    """Memory for one row of a value, while the kernel of a step is at that row."""

    value: Value
    step: int
