"""Write the loops that steps have beside kernels and large products: rows taken, sums of parts."""

from __future__ import annotations

from functools import partial
from typing import Any

from gpubp.program.calls import Product

from .kernel_code import joined_lanes, real
from .lanes import Lanes, of
from .native_code import Code, Number, ir


def take(module: Any) -> Any:
    """`(data, order, start, low, high, bytes, out)`: copy rows `low` to `high` of a batch.

    `order` names the rows of the data, from `start` on; each of them has so many bytes.
    """
    code = Code(module, "take", 7, internal=True)
    data, order, start, low, high, length, out = code.given
    with code.loop(low, high) as r:
        row = code.word(order + (start + r) * 8)
        _copy(code, out + r * length, data + row * length, length)
    code.end()
    return code.function


def gather(module: Any) -> Any:
    """`(out, table, index, rows, bytes)`: copy the rows of a table that the index names."""
    code = Code(module, "gather", 5, internal=True)
    out, table, index, rows, length = code.given
    with code.loop(0, rows) as i:
        _copy(code, out + i * length, table + code.word(index + i * 8) * length, length)
    code.end()
    return code.function


def _copy(code: Code, to: Number, of: Number, length: Number) -> None:
    byte = ir.IntType(8)
    code.intrinsic(
        "llvm.memcpy.p0.p0.i64", ir.VoidType(), code.pointer(to, byte), code.pointer(of, byte),
        length.value, ir.IntType(1)(0),
    )  # fmt: skip


def scatter(module: Any, precision: str, lanes: int) -> Any:
    """`(out, index, rows, n, count, cols)`: a table of `n` sums of rows with each index."""
    kind = real(precision)
    item = 4 if precision == "float32" else 8
    code = Code(module, "scatter", 6, internal=True)
    out, index, rows, n, count, cols = code.given
    with code.loop(0, n * cols) as i:
        code.store(out + i * item, kind(0.0), item)
    with code.loop(0, count) as i:
        to, row = out + code.word(index + i * 8) * cols * item, rows + i * cols * item
        for at, load, store in _strips(code, kind, item, lanes, cols):
            with at as j:
                store(to + j * item, load(to + j * item) + load(row + j * item))
    code.end()
    return code.function


def total(module: Any, precision: str, lanes: int, op: str) -> Any:
    """`(out, parts, first, stop, count, stride)`: what the parts of all threads add up to.

    Of columns `first` to `stop`; the parts lie `stride` elements apart.
    """
    kind = real(precision)
    item = 4 if precision == "float32" else 8
    code = Code(module, f"total_{op}", 6, internal=True)
    out, parts, first, stop, count, stride = code.given
    begin = parts + first * item
    for at, load, store in _strips(code, kind, item, lanes, stop - first):
        with at as j:
            so_far = load(begin + j * item)
            with code.carried(1, count, 1, [so_far.value]) as (i, held, become):
                other = load(begin + (i * stride + j) * item)
                become.append(joined_lanes(op, Lanes(code, held[0]), other).value)
            store(out + (first + j) * item, Lanes(code, become[0]))
    code.end()
    return code.function


def _strips(code: Code, kind: Any, item: int, lanes: int, cols: Number) -> Any:
    """Twice a loop over columns, by vectors and one by one, with what loads and stores in it."""
    even = cols // lanes * lanes
    for low, high, step in ((code.number(0), even, lanes), (even, cols, 1)):
        load = partial(_loaded, code, of(kind, step), item)
        yield code.loop(low, high, step), load, partial(_stored, code, item)


def _loaded(code: Code, kind: Any, item: int, where: Number) -> Lanes:
    return Lanes(code, code.load(where, kind, item))


def _stored(code: Code, item: int, where: Number, x: Lanes) -> None:
    code.store(where, x.value, item)


def small_product(module: Any, call: Product, name: str, precision: str, lanes: int) -> Any:
    """A product of constant lengths as plain loops, `(table, at)` with out, a, b in the table.

    It begins at once, which for a few dozen numbers is what counts.
    """
    code = Code(module, name, 2, internal=True)
    table, at = code.given
    out, a, b = (code.word(table + (at + i) * 8) for i in range(3))
    _Small(code, call, precision, lanes, out, a, b).write()
    code.end()
    return code.function


class _Small:
    def __init__(
        self, code: Code, call: Product, precision: str, lanes: int, out: Number, a: Number,
        b: Number,
    ) -> None:  # fmt: skip
        self._code, self._most = code, lanes
        self._real, self._item = real(precision), 4 if precision == "float32" else 8
        self._m, self._n, self._k = call.out.rows, call.out.cols, call.inner
        self._ta, self._tb = call.transposed
        self._out, self._a, self._b = out, a, b

    def write(self) -> None:
        if self._n > 1 and not self._tb:
            self._along(self._n, self._m, self._of_a, self._of_b, self._place)
        elif self._n == 1 and self._ta:  # along the rows of A, as it is stored
            self._along(
                self._m, 1, lambda _, p: self._b + p * self._item,
                lambda p, j: self._a + (p * self._m + j) * self._item,
                lambda _, j: self._out + j * self._item,
            )  # fmt: skip
        else:
            self._dots()

    def _of_a(self, i: Number, p: Number) -> Number:
        return self._a + (p * self._m + i if self._ta else i * self._k + p) * self._item

    def _of_b(self, p: Number, j: Number) -> Number:
        return self._b + (j * self._k + p if self._tb else p * self._n + j) * self._item

    def _place(self, i: Number, j: Number) -> Number:
        return self._out + (i * self._n + j) * self._item

    def _along(self, length: int, rows: int, one: Any, row: Any, place: Any) -> None:
        """Sums of vectors of `length` numbers: that at `row(p, j)` times what is at `one(i, p)`."""
        code = self._code
        lanes = min(self._most, 1 << (length - 1).bit_length())
        even, rest = length // lanes * lanes, length % lanes
        kind = of(self._real, lanes)

        def sums(i: Number, j: Number, mask: Any) -> Any:
            zero = ir.Constant(kind, None if lanes > 1 else 0.0)
            with code.carried(0, self._k, 1, [zero]) as (p, held, become):
                x = code.spread(code.load(one(i, p), self._real, self._item), lanes)
                y = Lanes(code, code.load(row(p, j), kind, self._item) if mask is None else
                          code.masked_load(row(p, j), kind, mask, self._item))  # fmt: skip
                become.append((Lanes(code, x) * y + Lanes(code, held[0])).value)
            return become[0]

        with code.loop(0, rows) as i:
            if even:
                with code.loop(0, even, lanes) as j:
                    code.store(place(i, j), sums(i, j, None), self._item)
            if rest:
                mask = ir.Constant(of(ir.IntType(1), lanes), [u < rest for u in range(lanes)])
                j = code.number(even)
                code.store_first(place(i, j), sums(i, j, mask), rest, self._item)

    def _dots(self) -> None:
        """Each number of the result a sum of its own."""
        code = self._code
        with code.loop(0, self._m) as i, code.loop(0, self._n) as j:
            with code.carried(0, self._k, 1, [self._real(0.0)]) as (p, held, become):
                x = Lanes(code, code.load(self._of_a(i, p), self._real, self._item))
                y = Lanes(code, code.load(self._of_b(p, j), self._real, self._item))
                become.append((x * y + Lanes(code, held[0])).value)
            code.store(self._place(i, j), become[0], self._item)
