"""The innermost part of a matrix product, written for the processor: a tile of C in registers.

A tile has a few rows and a few vectors of columns. Going along k, each number of A is spread over a
vector and multiplied with the vectors of B; nothing is stored before the end. This, and how the
matrices are divided so that it finds them in the caches, is from K. Goto and R. van de Geijn,
Anatomy of High-Performance Matrix Multiplication (2008).
"""

from __future__ import annotations

from typing import Any

from .geometry import Geometry
from .native_code import Code, Number, ir

_UNROLLED = 4
"""Steps along k in a turn of the loop."""


def real(g: Geometry) -> Any:
    """LLVM's type of a number."""
    return ir.FloatType() if g.item == 4 else ir.DoubleType()


def vector(g: Geometry) -> Any:
    """LLVM's type of a vector."""
    return ir.VectorType(real(g), g.lanes)


def strip(module: Any, g: Geometry, rows: int, vectors: int, by_rows: bool) -> Any:
    """Return the function that makes `count` tiles of so many rows, one below the other.

    It takes `count, k, a, step, stride, b, ldb, c, ldc, more, cols, end`: A's numbers lie `stride`
    apart from row to row with `by_rows`, else from term to term; its rows for the next tile `step`
    bytes further on; `more` says that C is added to, and `cols` how many columns of it there are.
    Up to `end` what lies behind them may be written over, for it is written later.
    """
    name = f"strip_{rows}_{vectors}_{'rows' if by_rows else 'terms'}"
    code = Code(module, name, 12, internal=True)
    count, k, a, step, stride, b, ldb, c, ldc, more, cols, end = code.given
    with code.loop(0, count) as tile:
        to = c + tile * rows * ldc * g.item
        _tile(code, g, rows, vectors, by_rows, k, a + tile * step, stride, b, ldb, to, ldc, more,
              cols, end)  # fmt: skip
    code.end()
    return code.function


def _tile(
    code: Code, g: Geometry, rows: int, vectors: int, by_rows: bool, k: Number, a: Number,
    stride: Number, b: Number, ldb: Number, c: Number, ldc: Number, more: Number, cols: Number,
    end: Number,
) -> None:  # fmt: skip
    places = [[c + (ldc * i + v * g.lanes) * g.item for v in range(vectors)] for i in range(rows)]
    for row in places:
        code.fetch(row[0])
        code.fetch(row[-1] + (g.lanes - 1) * g.item)
    begin_a, begin_b = code.pointer(a, real(g)), code.pointer(b, real(g))
    lines = [code.further(begin_a, stride * i, real(g)) for i in range(rows)]

    def term(p: Number, sums: list[Any]) -> list[Any]:
        """Add a column of A times a row of B."""
        row = code.further(begin_b, p * ldb, real(g))
        ys = [
            code.builder.load(code.further(row, v * g.lanes, vector(g)), align=g.item)
            for v in range(vectors)
        ]
        column = code.further(begin_a, p * stride, real(g))
        found = []
        for i in range(rows):
            where = code.further(lines[i], p, real(g)) if by_rows else (
                code.further(column, i, real(g)))  # fmt: skip
            x = code.spread(code.builder.load(where, align=g.item), g.lanes)
            for v, y in enumerate(ys):
                found.append(_multiplied(code, g, x, y, sums[i * vectors + v]))
        return found

    sums = [ir.Constant(vector(g), None)] * (rows * vectors)
    even = k // _UNROLLED * _UNROLLED
    for start, stop, turns in ((code.number(0), even, _UNROLLED), (even, k, 1)):
        with code.carried(start, stop, turns, sums) as (p, held, become):
            now = held
            for turn in range(turns):
                now = term(p + turn, now)
            become[:] = now
        sums = become
    build, width = code.builder, g.lanes * vectors
    over = build.not_(places[-1][0] + width * g.item > end)
    over = build.and_(more.is_zero, over)
    with code.choice(build.or_(build.not_(cols < width), over)) as (every, some):
        with every, code.choice(more.is_zero) as (first, further):
            with first:
                _put(code, g, places, sums)
            with further:
                flat = [where for row in places for where in row]
                before = [code.load(where, vector(g), g.item) for where in flat]
                added = map(code.builder.fadd, before, sums)
                _put(code, g, places, list(added))
        with some:
            _put_some(code, g, places, sums, more, cols)


def _multiplied(code: Code, g: Geometry, x: Any, y: Any, z: Any) -> Any:
    """x y + z, rounded once where the processor can."""
    name = f"llvm.fmuladd.v{g.lanes}f{8 * g.item}"
    return code.intrinsic(name, vector(g), x, y, z)


def _put(code: Code, g: Geometry, places: list[list[Number]], sums: list[Any]) -> None:
    for where, value in zip((w for row in places for w in row), sums, strict=True):
        code.store(where, value, g.item)


def _put_some(
    code: Code, g: Geometry, places: list[list[Number]], sums: list[Any], more: Number, cols: Number
) -> None:
    """The same for a tile at the edge, of whose columns C has only some."""
    vectors = len(places[0])
    nothing = ir.Constant(ir.VectorType(ir.IntType(1), g.lanes), None)
    for v in range(vectors):
        there = code.below(g.lanes, cols - v * g.lanes)
        added = code.builder.select(more.is_zero, nothing, there)
        for i, row in enumerate(places):
            before = code.masked_load(row[v], vector(g), added, g.item)
            value = code.builder.fadd(before, sums[i * vectors + v])
            code.masked_store(row[v], value, there, g.item)
