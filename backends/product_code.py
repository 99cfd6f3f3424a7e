"""A matrix product for this processor, from the tiles of `gpubp.backends.tile_code`.

Sums are divided into stretches of terms, C into stretches of columns and of rows. The columns of B
that belong to a tile are packed side by side, and the rows of A where they lie far apart, so that
what a tile reads comes from the caches. BLAS libraries do the same; for matrices of a few dozen
rows and columns, of which small networks are made, this takes half the time that they take.
"""

from __future__ import annotations

from typing import Any

from .geometry import Geometry
from .native_code import Code, Number, ir
from .tile_code import real, strip, vector

_CHUNK = 16
"""Terms of A that are packed for all tiles before the next ones."""

_FEW_TILES = 8
"""Tiles one below the other up to which B is read where it lies."""

_NEAR = 1024
"""Bytes between rows of B up to which columns are packed just before they are used."""

_FEW_PANELS, _SEVERAL_PANELS = 2, 8
"""Tiles side by side up to which A's columns are read where they lie, and from which on A's rows
are packed."""


def module(g: Geometry, name: str) -> Any:
    """Return the code of a function `name(ta, tb, m, n, k, a, lda, b, ldb, c, ldc, work)`.

    `C = op(A) op(B)`, all numbers and addresses: `op(A)` is `(m, k)`, A as stored, row by row with
    `lda` elements from one to the next, or its transpose where `ta` is not 0; `op(B)` is `(k, n)`
    likewise and C `(m, n)`. `work` is memory of `g.workspace(m, n, k)` bytes. Nothing is checked.
    """
    made = ir.Module()
    _Whole(g, _Parts(made, g), Code(made, name, 12)).write()
    return made


class _Parts:
    """The functions that pack parts of A and B, and those that make tiles."""

    def __init__(self, made: Any, g: Geometry) -> None:
        self._g, self._module = g, made
        self.strips = [
            strip(made, g, rows, vectors, by_rows)
            for by_rows in (False, True)
            for vectors in range(1, g.vectors + 1)
            for rows in range(1, g.rows + 1)
        ]
        self.panels = self._packs_panels()
        self.turned = self._packs_turned()
        self.tiles = self._packs_tiles()
        self.rows = self._copies_rows()

    # -- B, so that the columns of a tile lie side by side --------------------------------------

    def _packs_panels(self) -> Any:
        """`(out, b, ldb, k, cols)`: each tile's columns behind the other's, the last with zeros."""
        g, code = self._g, Code(self._module, "pack_panels", 5, internal=True)
        out, b, ldb, k, cols = code.given
        whole = cols // g.cols
        rest = cols - whole * g.cols
        with code.loop(0, k) as p:
            row, to = b + p * ldb * g.item, out + p * g.cols * g.item
            with code.loop(0, whole) as q:
                self._copy(code, to + q * k * g.cols * g.item, row + q * g.cols * g.item)
            with code.when(rest > 0):
                self._copy(code, to + whole * k * g.cols * g.item, row + whole * g.cols * g.item,
                           rest)  # fmt: skip
        code.end()
        return code.function

    def _copy(self, code: Code, to: Number, of: Number, cols: Number | None = None) -> None:
        """A row of a tile's columns; zeros behind `cols` of them."""
        g = self._g
        for v in range(g.vectors):
            where = of + v * g.lanes * g.item
            if cols is None:
                found = code.load(where, vector(g), g.item)
            else:
                there = code.below(g.lanes, cols - v * g.lanes)
                found = code.masked_load(where, vector(g), there, g.item)
            code.store(to + v * g.lanes * g.item, found, g.item)

    def _packs_turned(self) -> Any:
        """`(out, b, ldb, k, cols)`: the same of one tile, where B is stored as its transpose."""
        g, code = self._g, Code(self._module, "pack_turned", 5, internal=True)
        out, b, ldb, k, cols = code.given
        square = self._square()
        with code.loop(0, cols, g.lanes) as j, code.loop(0, k, g.lanes) as p:
            to = out + (p * g.cols + j) * g.item
            code.call(square, to, b + (j * ldb + p) * g.item, ldb, cols - j, k - p)
        code.end()
        return code.function

    def _square(self) -> Any:
        """`(out, b, ldb, cols, terms)`: the transpose of a square of vectors, or of less."""
        g, code = self._g, Code(self._module, "square", 5, internal=True)
        out, b, ldb, cols, terms = code.given
        build, least = code.builder, code.least(cols, terms)
        with code.choice(build.not_(least < g.lanes)) as (every, some):
            with every:
                rows = [code.load(b + ldb * i * g.item, vector(g), g.item) for i in range(g.lanes)]
                for i, row in enumerate(self._transposed(code, rows)):
                    code.store(out + i * g.cols * g.item, row, g.item)
            with some:  # where a row is missing another one does as well: nobody reads it
                there = code.below(g.lanes, terms)
                places = [b + ldb * code.least(i, cols - 1) * g.item for i in range(g.lanes)]
                rows = [code.masked_load(where, vector(g), there, g.item) for where in places]
                for i, row in enumerate(self._transposed(code, rows)):
                    with code.when(terms > i):
                        code.store(out + i * g.cols * g.item, row, g.item)
        code.end()
        return code.function

    def _transposed(self, code: Code, rows: list[Any]) -> list[Any]:
        """Zip the first half of the vectors with the second, again and again."""
        half, short = self._g.lanes // 2, ir.VectorType(ir.IntType(32), self._g.lanes)
        zipped = [
            ir.Constant(short, [i // 2 + begin + i % 2 * self._g.lanes for i in range(2 * half)])
            for begin in (0, half)
        ]
        turns = half
        while turns:
            pairs = zip(rows[:half], rows[half:], strict=True)
            rows = [code.builder.shuffle_vector(a, b, z) for a, b in pairs for z in zipped]
            turns //= 2
        return rows

    # -- A ---------------------------------------------------------------------------------------

    def _packs_tiles(self) -> Any:
        """`(out, a, lda, k, large, tiles, size)`: A, stored as its transpose, tile by tile.

        The first `large` of the tiles have one row more than `size`.
        """
        g, code = self._g, Code(self._module, "pack_tiles", 7, internal=True)
        out, a, lda, k, large, tiles, size = code.given
        ways = [self._packs_columns(rows) for rows in range(1, g.rows + 1)]
        with code.loop(0, k, _CHUNK) as p, code.loop(0, tiles) as t:
            more = t < large
            rows = code.either(more, size + 1, size)
            first = code.either(more, t * rows, t * size + large)
            to, of = out + (first * k + p * rows) * g.item, a + (p * lda + first) * g.item
            code.pick(rows - 1, ways, to, of, lda, code.least(_CHUNK, k - p))
        code.end()
        return code.function

    def _packs_columns(self, rows: int) -> Any:
        """`(out, a, lda, k)`: so many numbers of each row that is stored."""
        g, code = self._g, Code(self._module, f"pack_{rows}", 4, internal=True)
        out, a, lda, k = code.given
        with code.loop(0, k) as p:
            found = code.load(a + p * lda * g.item, ir.VectorType(real(g), rows), g.item)
            code.store(out + p * rows * g.item, found, g.item)
        code.end()
        return code.function

    def _copies_rows(self) -> Any:
        """`(out, a, lda, rows, k)`: rows of A, without what lies between them."""
        g, code = self._g, Code(self._module, "copy_rows", 5, internal=True)
        out, a, lda, rows, k = code.given
        even = k // g.lanes * g.lanes
        with code.loop(0, rows) as i:
            to, of = out + i * k * g.item, a + i * lda * g.item
            with code.loop(0, even, g.lanes) as p:
                code.store(to + p * g.item, code.load(of + p * g.item, vector(g), g.item), g.item)
            with code.loop(even, k) as p:
                code.store(to + p * g.item, code.load(of + p * g.item, real(g), g.item), g.item)
        code.end()
        return code.function


class _Whole:
    """The function itself: a loop over stretches of terms, of columns and of rows, and of tiles.

    What a loop is at stands in an attribute, so that what is inside it finds it.
    """

    def __init__(self, g: Geometry, parts: _Parts, code: Code) -> None:
        self._g, self._parts, self._code = g, parts, code
        (self._ta, self._tb, self._m, self._n, self._k, self._a, self._lda, self._b, self._ldb,
         self._c, self._ldc, self._work) = code.given  # fmt: skip

    def write(self) -> None:
        g, code = self._g, self._code
        m, n, k, both, no = self._m, self._n, self._k, code.builder.and_, code.builder.not_
        depth, height = _even(code, k, g.depth), _even(code, m, g.height)
        width = _even(code, (n + (g.cols - 1)) // g.cols, g.width // g.cols) * g.cols
        self._block = (self._work + depth * width * g.item + 63) // 64 * 64
        self._stored, self._turned = self._tb.is_zero, no(self._ta.is_zero)
        # B's columns are read where they lie, or packed for one tile after the other, or at once.
        self._read = both(self._stored, no(m > _FEW_TILES * g.rows))
        near = code.builder.or_(self._tb > 0, no(self._ldb > _NEAR // g.item))
        self._each = both(no(self._read), both(no(m > g.height), near))
        with code.loop(0, k, depth) as self._p0:
            self._terms = code.least(depth, k - self._p0)
            with code.loop(0, n, width) as self._j0:
                self._cols = code.least(width, n - self._j0)
                with code.when(both(no(self._read), no(self._each))):
                    self._pack_b(self._j0, self._cols)
                with code.loop(0, m, height) as self._i0:
                    self._rows = code.least(height, m - self._i0)
                    self._pack_a()
                    self._panels()
        code.end()

    def _pack_b(self, j: Number, cols: Number) -> None:
        """Pack the columns from j on, for one tile after the other."""
        g, code, terms, p0 = self._g, self._code, self._terms, self._p0
        with code.choice(self._stored) as (stored, transposed):
            with stored:
                of = self._b + (p0 * self._ldb + j) * g.item
                code.call(self._parts.panels, self._work, of, self._ldb, terms, cols)
            with transposed, code.loop(0, cols, g.cols) as q:
                to, of = self._work + q * terms * g.item, (j + q) * self._ldb + p0
                code.call(
                    self._parts.turned, to, self._b + of * g.item, self._ldb, terms,
                    code.least(g.cols, cols - q),
                )  # fmt: skip

    def _pack_a(self) -> None:
        """Divide the rows into tiles, and pack them where they lie apart and come often."""
        g, code, build = self._g, self._code, self._code.builder
        lda, terms, rows = self._lda, self._terms, self._rows
        self._tiles = (rows + (g.rows - 1)) // g.rows
        self._size = rows // self._tiles
        self._large = rows - self._size * self._tiles
        often = build.not_(self._n < _SEVERAL_PANELS * g.cols)
        far = build.and_(lda > terms, often)
        packed = build.select(self._turned, self._n > _FEW_PANELS * g.cols, far)
        begin = code.either(self._turned, self._p0 * lda + self._i0, self._i0 * lda + self._p0)
        begin = self._a + begin * g.item
        with code.when(packed), code.choice(self._turned) as (transposed, stored):
            with transposed:
                code.call(self._parts.tiles, self._block, begin, lda, terms, self._large,
                          self._tiles, self._size)  # fmt: skip
            with stored:
                code.call(self._parts.rows, self._block, begin, lda, rows, terms)
        self._packed, self._first = packed, code.either(packed, self._block, begin)
        self._stride = code.either(packed, terms, lda)

    def _panels(self) -> None:
        """All tiles of the rows; those of the last columns first.

        Where it has fewer columns than a tile, what is written behind them is the begin of the
        next row, which comes later.
        """
        g, code, cols = self._g, self._code, self._cols
        last = (cols - 1) // g.cols * g.cols
        end = self._c + (self._i0 + self._rows) * self._ldc * g.item
        self._end = code.either((self._ldc - cols).is_zero, end, 0)
        with code.loop(0, cols, g.cols) as back:
            inside = last - back
            self._panel(inside, code.least(g.cols, cols - inside))

    def _panel(self, inside: Number, cols: Number) -> None:
        """All tiles of some columns: the larger ones, then the others."""
        g, code, build = self._g, self._code, self._code.builder
        terms, j, by_rows = self._terms, self._j0 + inside, self._ta.is_zero
        alone = build.or_(self._each, build.and_(self._read, cols < g.cols))
        with code.when(alone):
            self._pack_b(j, cols)
        there = build.and_(self._read, build.not_(cols < g.cols))
        lies = self._b + (self._p0 * self._ldb + j) * g.item
        packed = code.either(alone, self._work, self._work + inside * terms * g.item)
        panel, apart = code.either(there, lies, packed), code.either(there, self._ldb, g.cols)
        vectors = (cols + (g.lanes - 1)) // g.lanes
        kind = (code.either(by_rows, g.vectors, 0) + vectors - 1) * g.rows
        to, past = self._c + (self._i0 * self._ldc + j) * g.item, code.number(0)
        for count, rows in ((self._large, self._size + 1), (self._tiles - self._large, self._size)):
            # packed as its transpose, a tile's numbers lie side by side; else rows lie apart
            between = code.either(self._packed, rows, self._stride)
            between = code.either(by_rows, self._stride, between)
            ahead = code.either(by_rows, self._stride, code.either(self._packed, terms, 1))
            code.pick(
                kind + rows - 1, self._parts.strips, count, terms,
                self._first + past * ahead * g.item, rows * ahead * g.item, between, panel, apart,
                to + past * self._ldc * g.item, self._ldc, self._p0, cols, self._end,
            )  # fmt: skip
            past = past + count * rows


def _even(code: Code, length: Number, most: int) -> Number:
    """A length divided into equal parts, none of them above `most`."""
    parts = (length + (most - 1)) // most
    return (length + parts - 1) // parts
