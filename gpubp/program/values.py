"""The values of a traced computation: what is computed from what, with an explicit row axis.

A value has a row axis where it differs from example to example (or, of a matrix of weights, from
row to row) and a column axis where it has more than one feature. `rows` is never guessed from a
size: a batch of one still has it. That makes four sorts: a matrix `(rows, cols)`, a column
`(rows, 1)`, a row `(1, cols)` and a single number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

FLOAT, UNSIGNED, INTEGER, BOOLEAN = "T", "U", "I", "bool"
"""Kinds of a value: the network's floating type, uint32, int64 and truth."""

HALF = "H"
"""The kind of what 16-bit products multiply: it is cast to and from, and nothing else."""

HALVES = {"bf16": "bfloat16", "fp16": "float16"}
"""The 16-bit numbers of a precision, by name."""

ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
BITWISE = {"and": "&", "or": "|", "xor": "^", "shr": ">>", "shl": "<<"}
FUNCTIONS = ("exp", "expm1", "log", "log1p", "tanh", "erf", "cos", "sqrt", "abs")
COSTLY = frozenset({"exp", "expm1", "log", "log1p", "tanh", "erf", "cos", "sqrt", "div"})
"""What is not computed twice if it can be kept."""

ELEMENTWISE = frozenset(
    {*ARITHMETIC, *COMPARISONS, *BITWISE, *FUNCTIONS, "neg", "where", "maximum", "minimum",
     "cast", "isfinite"}
)  # fmt: skip
ROW_REDUCTIONS = frozenset({"rowsum", "rowmax", "rowmin"})
"""Over the columns of a row: a matrix to a column, a row to a single number."""

COLUMN_REDUCTIONS = frozenset({"colsum", "colmax", "colmin"})
"""Over rows: a matrix to a row, a column to a single number."""

CALLS = frozenset({"product", "gather", "scatter", "opaque", "part"})
"""What is no part of a kernel."""


_RANGES = {
    FLOAT: (-math.inf, math.inf), UNSIGNED: (0, 2**32 - 1), INTEGER: (-(2**63), 2**63 - 1),
    BOOLEAN: (False, True),
}  # fmt: skip


def neutral(op: str, kind: str) -> float:
    """The number that a `"sum"`, a `"max"` or a `"min"` of that kind begins with.

    >>> neutral("max", FLOAT), neutral("min", UNSIGNED), neutral("sum", INTEGER)
    (-inf, 4294967295, 0)
    """
    if op == "sum":
        return 0
    least, largest = _RANGES[kind]
    return least if op == "max" else largest


@dataclass(frozen=True)
class Region:
    """A part of a named memory: `rows` rows of `cols` elements, `start` elements from its begin."""

    memory: str
    start: int
    rows: int
    cols: int

    @property
    def size(self) -> int:
        return self.rows * self.cols

    def overlaps(self, other: Region) -> bool:
        """Whether they share an element.

        >>> Region("theta", 0, 2, 4).overlaps(Region("theta", 7, 1, 4))
        True
        """
        apart = self.start + self.size <= other.start or other.start + other.size <= self.start
        return self.memory == other.memory and not apart

    def __str__(self) -> str:
        return f"{self.memory}[{self.start}:{self.start + self.size}]"


@dataclass(frozen=True, eq=False)
class Value:
    """One value: an operation on others.

    `attr` is what the operation needs beside values: a number, a region, the widths of parts.
    `origin` is the path of the layer that asked for it first.
    """

    op: str
    args: tuple[Value, ...]
    attr: Any
    rows: int | None
    cols: int | None
    kind: str
    number: int
    origin: str

    @property
    def sort(self) -> str:
        """`"matrix"`, `"column"`, `"row"` or `"one"`."""
        if self.rows is None:
            return "one" if self.cols is None else "row"
        return "column" if self.cols is None else "matrix"

    @property
    def size(self) -> int:
        return (self.rows or 1) * (self.cols or 1)

    def __str__(self) -> str:
        shape = f"{self.rows or 1}x{self.cols or 1}"
        rows = "" if self.rows is None else "r"
        given = " ".join(f"%{a.number}" for a in self.args)
        attr = "" if self.attr is None else f" [{_shown(self.attr)}]"
        where = f"  # {self.origin}" if self.origin else ""
        return f"%{self.number} = {self.op} {given}{attr} : {self.kind} {rows}{shape}{where}"


def _shown(attr: Any) -> str:
    return ", ".join(map(str, attr)) if isinstance(attr, tuple) else str(attr)


class Graph:
    """Values in the order in which they were asked for; equal work is done once.

    >>> graph = Graph()
    >>> x = graph.leaf(Region("x", 0, 4, 3), 4, 3, FLOAT)
    >>> graph.value("mul", (x, x)) is graph.value("mul", (x, x))
    True
    >>> print(graph.value("mul", (x, x)))
    %1 = mul %0 %0 : T r4x3
    """

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.origin = ""
        self._known: dict[Any, Value] = {}

    def add(
        self, op: str, args: tuple[Value, ...], attr: Any, rows: int | None, cols: int | None,
        kind: str,
    ) -> Value:  # fmt: skip
        """Return the value of that description, a new one where there is none."""
        key = (op, tuple(a.number for a in args), repr(attr), rows, cols, kind)
        if key not in self._known:
            for a in args:
                if a.number >= len(self.values) or self.values[a.number] is not a:
                    raise ValueError(f"{a} is of another graph")
            new = Value(op, args, attr, rows, cols, kind, len(self.values), self.origin)
            self.values.append(new)
            self._known[key] = new
        return self._known[key]

    def leaf(self, region: Region, rows: int | None, cols: int | None, kind: str) -> Value:
        """What lies in a region of memory."""
        return self.add("leaf", (), region, rows, cols, kind)

    def constant(self, number: Any, kind: str) -> Value:
        """A Python number."""
        if kind == FLOAT:
            number = float(number)
        elif number != int(number):
            raise TypeError(f"{number!r} meets a value of kind {kind}, which has no fractions")
        else:
            number = bool(number) if kind == BOOLEAN else int(number)
        return self.add("constant", (), number, None, None, kind)

    def value(self, op: str, args: tuple[Value, ...], attr: Any = None) -> Value:
        """An element-wise operation."""
        kind = args[-1].kind
        if op in COMPARISONS or op == "isfinite":
            kind = BOOLEAN
        elif op == "cast":
            kind = attr
        folded = _folded(op, args)
        if folded is not None:
            return self.constant(folded, kind)
        rows, cols = one(a.rows for a in args), one(a.cols for a in args)
        return self.add(op, args, attr, rows, cols, kind)

    def reduced(self, op: str, x: Value) -> Value:
        """A sum, largest or smallest along an axis; the value itself along one it lacks."""
        if op in ROW_REDUCTIONS:
            return x if x.cols is None else self.add(op, (x,), None, x.rows, None, x.kind)
        return x if x.rows is None else self.add(op, (x,), None, None, x.cols, x.kind)


def one(lengths: Any) -> int | None:
    """The one length there is among those given, or None.

    >>> one([None, 3, 3])
    3
    """
    found = {n for n in lengths if n is not None}
    if len(found) > 1:
        raise TypeError(f"axes of {sorted(found)} do not fit together")
    return found.pop() if found else None


def _folded(op: str, args: tuple[Value, ...]) -> float | None:
    """The result for numbers that are known, of what is certain to be the same everywhere."""
    if op not in ARITHMETIC or any(a.op != "constant" or a.kind != FLOAT for a in args):
        return None
    a, b = (x.attr for x in args)
    found = {"add": a + b, "sub": a - b, "mul": a * b, "div": a / b if b else math.nan}[op]
    return float(found) if math.isfinite(found) else None
