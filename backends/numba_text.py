"""Print kernels as functions for numba.

The text is Python: compiled by numba it is fast, and run as it stands it does the same, slowly.
A function finds its arrays, and the part of the rows that is its thread's, in a table of addresses
and numbers, from entry `at` on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpubp.program.calls import DOUBLE, Product
from gpubp.program.kernels import (
    CELL,
    COLUMN,
    ROW,
    Begin,
    Clear,
    Formal,
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
from gpubp.program.values import ARITHMETIC, BITWISE, COMPARISONS

from .numba_narrow import Narrow, is_narrow

SMALL = 4096
"""Multiplications in a product, up to which it is a loop of ours and not a call of BLAS."""

_KINDS = {"T": "T", "U": "np.uint32", "I": "np.int64", "bool": "np.bool_"}
INLINED = 2000
"""Operations of a kernel, up to which it becomes a part of the function that calls it."""

_NEUTRAL = {"sum": "0", "max": "-np.inf", "min": "np.inf"}
_SIGNS = {**ARITHMETIC, **COMPARISONS, **BITWISE}


def kernel(k: Kernel, name: str, precision: str, shared: str = "", threads: int = 1) -> str:
    """Return one kernel as a function.

    Where threads share it, the number of its first row or column and how many it does follow its
    arrays in the table.
    """
    lines = [f"def {name}(table, at):"]
    if k.operations > INLINED:
        lines.append("    apart()")
    if shared:
        end = len(k.formals)
        lines.append(f"    first, count = table[at + {end}], table[at + {end + 1}]")
    for i, formal in enumerate(k.formals):
        lines.append(f"    a{i} = {_array(formal, f'table[at + {i}]', shared)}")
    printer = _Kernel(k, precision, shared, threads)
    lines += ["    " + line for line in printer.lines()]
    return "\n".join(lines)


def _array(formal: Formal, address: str, shared: str) -> str:
    """What lies at an address, as an array."""
    rows, cols = str(formal.rows), str(formal.cols)
    if shared == "rows" and formal.index in (CELL, COLUMN):
        rows = "count"
    if shared == "cols" and formal.index == ROW:
        cols = "count"
    if formal.index == CELL:
        return f"matrix_{formal.kind}({address}, {rows}, {cols})"
    return f"flat_{formal.kind}({address}, {rows if formal.index == COLUMN else cols})"


class _Kernel:
    def __init__(self, k: Kernel, precision: str, shared: str, threads: int) -> None:
        self._k, self._p, self._shared, self._threads = k, precision, shared, threads

    def _equal_rows(self) -> int:
        """The rows of each thread; 0 where they differ."""
        rows = self._k.rows or 0
        return 0 if rows % self._threads else rows // self._threads

    def lines(self) -> Iterable[str]:
        k = self._k
        yield from self._block(k.before)
        if k.rows is None:
            yield from self._block(k.body)
        elif is_narrow(k, self._equal_rows()):
            first = "first + " if self._shared else ""
            yield from Narrow(k, self, self._equal_rows(), first).lines()
        elif k.body:
            count = "count" if self._shared else str(k.rows)
            yield f"for r in range({count}):"
            used = sorted(_cells(k.body))
            yield from (f"    a{i}r = a{i}[r]" for i in used)
            yield from ("    " + line for line in self._block(k.body))
        yield from self._block(k.after)
        if not (k.before or k.body or k.after):
            yield "pass"

    def _block(self, lines: Sequence[Line]) -> Iterable[str]:
        for line in lines:
            if isinstance(line, Loop):
                count = "count" if self._shared == "cols" else str(line.cols)
                yield f"for j in range({count}):"
                yield from ("    " + inner for inner in self._block(line.body))
            elif isinstance(line, Clear):
                yield f"for j in range({line.cols}):"
                yield f"    a{line.array}[j] = {_KINDS[line.kind]}({_NEUTRAL[line.op]})"
            else:
                yield self._line(line)

    def _line(self, line: Line) -> str:
        if isinstance(line, Let):
            row = "first + r" if self._shared else "r"
            return f"{line.name} = {self.expression(line, line.operands, row)}"
        if isinstance(line, Load):
            loaded = f"a{line.array}{_index(line.index, line.offset)}"
            cast = self._k.formals[line.array].kind == DOUBLE
            return f"{line.name} = T({loaded})" if cast else f"{line.name} = {loaded}"
        if isinstance(line, Store):
            place = f"a{line.array}{_index(line.index, line.offset)}"
            return f"{place} = {_operand(line.operand)}"
        if isinstance(line, Begin):
            return f"{line.name} = {self.neutral(line)}"
        assert isinstance(line, Join | JoinAt)
        place = line.name if isinstance(line, Join) else f"a{line.array}[j]"
        return f"{place} = {_joined(line.op, place, line.operand)}"

    @staticmethod
    def neutral(line: Begin) -> str:
        return f"{_KINDS[line.kind]}({_NEUTRAL[line.op]})"

    @staticmethod
    def operand(x: Operand) -> str:
        return _operand(x)

    @staticmethod
    def joined(op: str, a: str, b: Operand) -> str:
        return _joined(op, a, b)

    def expression(self, line: Let, operands: Sequence[Operand], row: str) -> str:
        """What a line computes; `row` is the number of the row."""
        given = [_operand(x) for x in operands]
        op, kind = line.op, line.kind
        if op in _SIGNS:
            text = f"{given[0]} {_SIGNS[op]} {given[1]}"
            return f"np.uint32({text})" if kind == "U" else text
        if op in ("maximum", "minimum"):
            return _joined(op[:3], given[0], operands[1])
        if op == "where":
            return f"{given[1]} if {given[0]} else {given[2]}"
        if op == "cast":
            return f"{_KINDS[kind]}({given[0]})"
        if op == "neg":
            return f"-{given[0]}"
        if op == "copy":
            return given[0]
        if op == "abs":
            return f"abs({given[0]})"
        if op == "sqrt":
            return f"np.sqrt({given[0]})"
        if op == "isfinite":
            return f"abs({given[0]}) <= LARGEST"
        if op == "arange":
            column = "first + j" if self._shared == "cols" else "j"
            return f"{_KINDS[kind]}({column})"
        if op == "iota":
            column = " + j" if line.attr > 1 else ""
            return f"np.uint32(({row}) * {line.attr}{column})"
        return f"{op}_{self._p}({given[0]})"


def _cells(lines: Sequence[Line]) -> set[int]:
    """The matrices whose rows are visited."""
    found: set[int] = set()
    for line in lines:
        if isinstance(line, Loop):
            found |= _cells(line.body)
        elif isinstance(line, Load | Store) and line.index == CELL:
            found.add(line.array)
    return found


def _index(index: str, offset: int) -> str:
    column = f"[j + {offset}]" if offset else "[j]"
    return {CELL: f"r{column}", ROW: column, COLUMN: "[r]"}.get(index, "[0]")


def _operand(x: Operand) -> str:
    if not isinstance(x, Number):
        return x
    if x.kind == "bool":
        return str(bool(x.number))
    number = {"inf": "np.inf", "-inf": "-np.inf", "nan": "np.nan"}.get(repr(x.number))
    return f"{_KINDS[x.kind]}({number or repr(x.number)})"


def _joined(op: str, a: str, b: Operand) -> str:
    text = _operand(b)
    if op == "sum":
        return f"{a} + {text}"
    sign = "<" if op == "max" else ">"
    unordered = "" if isinstance(b, Number) else f" | ({text} != {text})"
    return f"{text} if ({a} {sign} {text}){unordered} else {a}"


def small_product(call: Product, name: str) -> str:
    """Return a product of constant lengths as plain loops, for those that BLAS is slow to begin."""
    m, n, k = call.out.rows, call.out.cols, call.inner
    ta, tb = call.transposed
    a = "a[p, i]" if ta else "a[i, p]"
    shapes = zip(("out", "a", "b"), (call.out, call.a, call.b), strict=True)
    begin = [f"def {name}(table, at):"]
    for i, (x, shape) in enumerate(shapes):
        begin.append(f"    {x} = matrix_T(table[at + {i}], {shape.rows}, {shape.cols})")
    if not tb and n > 1:  # along the rows of b, which lie side by side
        return "\n".join([
            *begin,
            f"    for i in range({m}):",
            f"        for j in range({n}):",
            "            out[i, j] = T(0)",
            f"        for p in range({k}):",
            f"            x = {a}",
            f"            for j in range({n}):",
            "                out[i, j] += x * b[p, j]",
        ])  # fmt: skip
    b = "b[j, p]" if tb else "b[p, j]"
    return "\n".join([
        *begin,
        f"    for i in range({m}):",
        f"        for j in range({n}):",
        "            x = T(0)",
        f"            for p in range({k}):",
        f"                x += {a} * {b}",
        "            out[i, j] = x",
    ])  # fmt: skip
