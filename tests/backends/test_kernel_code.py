"""Kernels as native code: that they do what a replay does, for what is not finite too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gpubp.program.calls import DOUBLE, Buffer, Product
from gpubp.program.kernels import (
    CELL,
    COLUMN,
    ONE,
    ROW,
    Begin,
    Clear,
    Formal,
    Join,
    JoinAt,
    Kernel,
    Let,
    Load,
    Loop,
    Number,
    Store,
)  # fmt: skip
from gpubp.program.rows import Rows, dtype_of
from gpubp.program.values import COMPARISONS
from tests.conftest import require, rng
from tests.fuzz.mutations import Mutation

require("llvmlite")

from gpubp.backends import kernel_code, native  # noqa: E402
from gpubp.backends.kernel_code import kernel  # noqa: E402
from gpubp.backends.loop_code import small_product  # noqa: E402
from gpubp.backends.native_code import Code, ir  # noqa: E402

pytestmark = pytest.mark.compiled

LANES = (1, 4, 8, 16)
INF, NAN = np.inf, np.nan
FUNCTIONS = "exp", "expm1", "log", "log1p", "tanh", "erf", "cos"
UNARY = *FUNCTIONS, "sqrt", "abs", "neg", "copy", "isfinite"
BINARY = "add", "sub", "mul", "div", "maximum", "minimum", *COMPARISONS
SIGNED = {"add", "sub", "mul", "div", "sqrt", "neg", "abs", "copy"}
"""What is certain to give a zero its sign."""

REDUCTIONS = "sum", "max", "min"
WIDTHS = (1, 3, 10, 40)
WORD = Number(2654435761, "U")


@pytest.fixture(scope="module", autouse=True)
def folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is compiled here does not come to the user's folder, nor from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUBP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(params=LANES)
def lanes(request: pytest.FixtureRequest) -> int:
    return int(request.param)


# -- running a kernel both ways ------------------------------------------------------------------


class Guarded:
    """A copy of an array, one element beside where vectors would be aligned, and bytes around."""

    MARGIN = 128  # more than a vector

    def __init__(self, array: Any) -> None:
        size, begin = array.nbytes, 63 + self.MARGIN
        self._all = np.full(size + 2 * begin + array.itemsize, 0xA5, np.uint8)
        start = -self._all.ctypes.data % 64 + self.MARGIN + array.itemsize
        self._part = slice(start, start + size)
        self.array = self._all[self._part].view(array.dtype).reshape(array.shape)
        self.array[...] = array

    def check(self) -> None:
        """Nothing beside the array was written."""
        around = np.delete(self._all, self._part)
        assert (around == 0xA5).all()


def called(
    function: Callable[[Any], Any], key: str, arrays: Sequence[Any], numbers: Sequence[int] = ()
) -> list[Any]:
    """Call what `function(module)` writes into a module; what the arrays are then.

    It is given a table and the number of the first of its entries, which are the arrays' addresses
    and numbers.
    """

    def text() -> str:
        module = ir.Module()
        inner = function(module)
        code = Code(module, "run", 2)
        code.call(inner, *code.given)
        code.end()
        return str(module)

    held = [Guarded(a) for a in arrays]
    table = np.asarray([-1, -1, *(h.array.ctypes.data for h in held), *numbers], np.int64)
    native.function(native.address("run", text, key), 2)(table.ctypes.data, 2)
    for h in held:
        h.check()
    return [h.array for h in held]


def compiled(
    k: Kernel, arrays: Sequence[Any], precision: str, lanes: int, shared: str = "",
    part: slice | None = None, also: str = "",
) -> list[Any]:  # fmt: skip
    """Do a kernel by native code, or the `part` of its rows or columns; what the arrays are then.

    `also` sets it apart from others in the cache.
    """
    assert len(arrays) == len(k.formals)
    views, numbers = list(arrays), []
    whole = [np.array(a) for a in arrays]
    if part is not None:
        numbers = [part.start, part.stop - part.start]
        for i, formal in enumerate(k.formals):
            own = formal.index in (CELL, COLUMN) if shared == "rows" else formal.cols == k.cols
            if own:
                whole[i] = whole[i].reshape(formal.rows, -1) if shared == "rows" else whole[i]
                views[i] = whole[i][part]
    key = repr((k, precision, lanes, shared, also))
    found = called(lambda m: kernel(m, k, "k", precision, lanes, shared), key, views, numbers)
    for i, given in enumerate(found):
        if views[i] is arrays[i]:
            whole[i] = given
        else:
            whole[i][part] = given
    return [w.reshape(np.shape(a)) for w, a in zip(whole, arrays, strict=True)]


def replayed(
    k: Kernel, arrays: Sequence[Any], precision: str, part: slice | None = None
) -> list[Any]:
    """Do a kernel, or a part of it, by NumPy; what the arrays are then."""
    arrays = [np.array(a) for a in arrays]
    flat = k.rows is None
    part = part or slice(0, (k.cols if flat else k.rows) or 1)
    with np.errstate(all="ignore"):
        Rows(k, arrays, np.dtype(precision), part, flat).run()
    return arrays


def same(given: Any, expected: Any) -> bool:
    """Whether all elements are the same, NaN where NaN is."""
    return np.array_equal(given, expected, equal_nan=given.dtype.kind == "f")


def near(given: Any, expected: Any, units: float = 8.0) -> bool:
    """The same where it is not finite, and so many units of the last place elsewhere."""
    info, finite = np.finfo(given.dtype), np.isfinite(expected)
    relative, absolute = units * float(info.eps), 4 * float(info.smallest_subnormal)
    return same(given[~finite], expected[~finite]) and np.allclose(
        given[finite], expected[finite], rtol=relative, atol=absolute
    )


def alike(given: Sequence[Any], expected: Sequence[Any], rounded: Sequence[int] = ()) -> None:
    """All arrays are the same, but that those by these numbers are rounded in another way."""
    for i, (g, e) in enumerate(zip(given, expected, strict=True)):
        assert near(g, e, 64.0) if i in rounded else same(g, e), (i, g, e)


def both(
    k: Kernel, arrays: Sequence[Any], precision: str, lanes: int, rounded: Sequence[int] = ()
) -> list[Any]:
    """Do a kernel both ways; all arrays are alike then."""
    given = compiled(k, arrays, precision, lanes)
    alike(given, replayed(k, arrays, precision), rounded)
    return given


def edges(precision: str) -> Any:
    """Zeros, subnormal, usual, large and infinite numbers, and no number: 15 of them."""
    info = np.finfo(precision)
    least, tiny, most = info.smallest_subnormal, info.tiny, info.max
    return np.asarray(
        [0.0, -0.0, 1.0, -1.5, 0.3, -1e-3, 30.0, most, -most, least, -least, tiny / 3, INF, -INF,
         NAN], precision,
    )  # fmt: skip


def pairs(values: Any) -> tuple[Any, Any]:
    """Two matrices in which each value meets each."""
    a, b = (np.ascontiguousarray(x) for x in np.meshgrid(values, values))
    return a, b


def outs(k: Kernel, first: int, precision: str) -> list[Any]:
    """Arrays full of sevens for all formals from the first on that is written."""
    return [
        np.full(f.cols if f.index == ROW else (f.rows, f.cols), 7, dtype_of(f.kind, precision))
        for f in k.formals[first:]
    ]


def of_cells(kinds: Sequence[str], lets: Sequence[Let], shape: tuple[int, int]) -> Kernel:
    """Matrices of these kinds as `v0`, `v1`, ..., then one for each result."""
    (rows, cols), count = shape, len(kinds)
    loads = [Load(f"v{i}", kind, i, CELL) for i, kind in enumerate(kinds)]
    stores = [Store(count + i, CELL, let.name) for i, let in enumerate(lets)]
    formals = tuple(Formal(kind, CELL, rows, cols) for kind in (*kinds, *(x.kind for x in lets)))
    return Kernel(formals, (), (Loop(cols, (*loads, *lets, *stores)),), (), rows, None)


def operations(
    kind: str, ops: Sequence[str], a: Any, b: Any, precision: str, lanes: int
) -> dict[str, tuple[Any, Any]]:
    """What each operation gives for two matrices of a kind, natively and by NumPy."""
    lets = [
        Let(f"y{i}", "bool" if op in (*COMPARISONS, "isfinite") else kind, op,
            ("v0",) if op in UNARY else ("v0", "v1"))
        for i, op in enumerate(ops)
    ]  # fmt: skip
    k = of_cells((kind, kind), lets, a.shape)
    arrays = [a, b, *outs(k, 2, precision)]
    given, expected = compiled(k, arrays, precision, lanes), replayed(k, arrays, precision)
    return dict(zip(ops, zip(given[2:], expected[2:], strict=True), strict=True))


# -- operations ----------------------------------------------------------------------------------


def test_operations_are_those_of_the_replay_at_the_edges(precision: str, lanes: int) -> None:
    a, b = pairs(edges(precision))
    wrong = []
    for op, both in operations("T", [*UNARY, *BINARY], a, b, precision, lanes).items():
        number = ~np.isnan(both[1])
        right = near(*both) if op in FUNCTIONS else same(*both)
        if op in SIGNED:
            right &= bool((np.signbit(both[0]) == np.signbit(both[1]))[number].all())
        wrong += [] if right else [(op, *both)]
    assert not wrong, wrong


def test_where_takes_one_or_the_other(precision: str, lanes: int) -> None:
    a, b = pairs(edges(precision))
    lets = [
        Let("less", "bool", "lt", ("v0", "v1")),
        Let("first", "T", "where", ("less", "v0", Number(0.5, "T"))),
        Let("y", "T", "where", ("less", Number(-2.0, "T"), "first")),
        Let("z", "T", "where", ("less", "v1", "y")),
    ]
    k = of_cells(("T", "T"), lets, a.shape)
    both(k, [a, b, *outs(k, 2, precision)], precision, lanes)


WORDS = np.asarray(
    [0, 1, 2, 3, 31, 255, 65535, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1, 2654435761],
    np.uint32,
)
WHOLE = np.asarray(
    [0, 1, -1, 2, -2, 9, -10, 2**31, -(2**31), 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)],
)


def same_all(found: dict[str, tuple[Any, Any]]) -> None:
    wrong = {op: both for op, both in found.items() if not same(*both)}
    assert not wrong, wrong


def test_words_wrap_and_have_no_sign(lanes: int) -> None:
    a, b = pairs(WORDS)
    ops = "add", "sub", "mul", "and", "or", "xor", "maximum", "minimum", *COMPARISONS
    same_all(operations("U", ops, a, b, "float32", lanes))
    same_all(operations("U", ("shr", "shl"), a, b % 32, "float32", lanes))


@pytest.mark.parametrize(
    "ops", [("add", "sub", "mul"), ("and", "or", "xor"), tuple(COMPARISONS), ("maximum", "minimum")]
)
def test_whole_numbers_have_a_sign(lanes: int, ops: tuple[str, ...]) -> None:
    same_all(operations("I", ops, *pairs(WHOLE), "float32", lanes))


def test_whole_numbers_are_shifted_with_their_sign(lanes: int) -> None:
    a, b = pairs(WHOLE)
    same_all(operations("I", ("shr", "shl"), a, b % 64, "float32", lanes))


@pytest.mark.parametrize("ops", [("and", "or", "xor", "mul", *COMPARISONS), ("add",)])
def test_truths_stay_truths(lanes: int, ops: tuple[str, ...]) -> None:
    a, b = rng(3).random((2, 5, 13)) < 0.5
    same_all(operations("bool", ops, a, b, "float32", lanes))


def test_the_larger_of_truths(lanes: int) -> None:
    a, b = rng(3).random((2, 5, 13)) < 0.5
    same_all(operations("bool", ("maximum", "minimum"), a, b, "float32", lanes))


CASTS = {
    "T": np.asarray([0.0, -0.0, 1.0, 2.5, 0.9, 7.0, 1e6, 65535.0, 3.0, 1e-30, 4.5, 8.0, 2.0**31]),
    "U": WORDS, "I": WHOLE, "bool": WHOLE % 3 == 1,
}  # fmt: skip


@pytest.mark.parametrize("kind", CASTS)
def test_casts_are_numpys(precision: str, lanes: int, kind: str) -> None:
    x = CASTS[kind].astype(dtype_of(kind, precision))
    above, signed, any_at_all = (np.tile(x, (4, 1)) for _ in range(3))
    if kind == "T":
        signed = np.stack([x, -x, x / 8, -x * 1e9]).astype(precision)
        any_at_all[:, :] = edges(precision)[2:15]
    which = {"T": any_at_all, "U": above, "I": signed, "bool": any_at_all}
    lets = [
        Let(f"y{i}", to, "cast", (f"v{i}",), to) for i, to in enumerate(CASTS) if to != kind
    ]  # fmt: skip
    k = of_cells([kind] * 4, lets, above.shape)
    both(k, [*(which[to] for to in CASTS), *outs(k, 4, precision)], precision, lanes)


@pytest.mark.parametrize(
    ("kind", "number"),
    [("T", 0.1), ("T", -0.0), ("T", INF), ("T", -INF), ("T", NAN), ("T", 1e-44), ("T", 1e300),
     ("U", 2**32 - 1), ("I", -3), ("I", -(2**63)), ("bool", True), ("bool", False)],
)  # fmt: skip
def test_numbers_have_a_kind(precision: str, lanes: int, kind: str, number: Any) -> None:
    formals = Formal(kind, CELL, 2, 9), Formal(kind, COLUMN, 2, 1)
    x = Number(number, kind)
    k = Kernel(formals, (), (Store(1, COLUMN, x), Loop(9, (Store(0, CELL, x),))), (), 2, None)
    dtype = dtype_of(kind, precision)
    for given in both(k, [np.ones((2, 9), dtype), np.ones((2, 1), dtype)], precision, lanes):
        assert kind != "T" or (np.signbit(given) == np.signbit(number)).all()


# -- arrays and passes ---------------------------------------------------------------------------


@pytest.mark.parametrize("cols", [1, 2, 7, 8, 17, 31])
def test_arrays_of_each_index_and_columns_that_lanes_do_not_divide(
    precision: str, lanes: int, cols: int
) -> None:
    """The larger of x * column and row - one, and whether it is above 0; one is a float64."""
    random, rows = rng(cols), 3
    lines = (
        Load("c", "T", 1, COLUMN),
        Loop(cols, (
            Load("x", "T", 0, CELL), Load("r", "T", 2, ROW), Let("p", "T", "mul", ("x", "c")),
            Let("s", "T", "sub", ("r", "one")), Let("m", "T", "maximum", ("p", "s")),
            Store(4, CELL, "m"),
            Let("b", "bool", "gt", ("m", Number(0.0, "T"))), Store(5, CELL, "b"),
        )),
        Store(6, COLUMN, "c"),
    )  # fmt: skip
    formals = (
        Formal("T", CELL, rows, cols), Formal("T", COLUMN, rows, 1), Formal("T", ROW, 1, cols),
        Formal(DOUBLE, ONE, 1, 1), Formal("T", CELL, rows, cols), Formal("bool", CELL, rows, cols),
        Formal("T", COLUMN, rows, 1), Formal("T", ONE, 1, 1),
    )  # fmt: skip
    k = Kernel(
        formals, (Load("one", "T", 3, ONE),), lines, (Store(7, ONE, "one"),), rows, None
    )  # fmt: skip
    arrays = [
        random.normal(size=(rows, cols)).astype(precision),
        random.normal(size=(rows, 1)).astype(precision),
        random.normal(size=cols).astype(precision), np.asarray([0.1]),
        np.full((rows, cols), 7.0, precision), np.zeros((rows, cols), bool),
        np.full((rows, 1), 7.0, precision), np.zeros(1, precision),
    ]  # fmt: skip
    both(k, arrays, precision, lanes)


def test_truths_are_read_and_written_in_all_ways(lanes: int) -> None:
    random = rng(4)
    lines = (
        Load("c", "bool", 1, COLUMN),
        Loop(11, (
            Load("x", "bool", 0, CELL), Load("r", "bool", 2, ROW),
            Let("p", "bool", "and", ("x", "one")), Let("q", "bool", "or", ("r", "c")),
            Let("y", "bool", "xor", ("p", "q")), Store(4, CELL, "y"), Store(5, CELL, "one"),
            Store(7, CELL, "c"),
        )),
        Let("n", "bool", "eq", ("c", Number(False, "bool"))), Store(6, COLUMN, "n"),
    )  # fmt: skip
    shapes = [(4, 11), (4, 1), (1, 11), (1, 1), (4, 11), (4, 11), (4, 1), (4, 11)]
    indices = CELL, COLUMN, ROW, ONE, CELL, CELL, COLUMN, CELL
    formals = tuple(Formal("bool", i, *s) for i, s in zip(indices, shapes, strict=True))
    k = Kernel(formals, (Load("one", "bool", 3, ONE),), lines, (), 4, None)
    arrays = [random.random(s if s[0] > 1 else s[1]) < 0.5 for s in shapes]
    for one in (False, True):
        arrays[3][...] = one
        both(k, arrays, "float32", lanes)


def test_parts_of_rows_are_read_and_written_where_they_lie(precision: str, lanes: int) -> None:
    """Slices and columns side by side, of a matrix and of a row."""
    x, row = rng(5).normal(size=(3, 23)).astype(precision), np.arange(20).astype(precision)
    lines = (
        Load("c", "T", 3, COLUMN),
        Loop(5, (Load("a", "T", 0, CELL, 2), Store(1, CELL, "a", 1))),
        Loop(11, (
            Load("a", "T", 0, CELL, 12), Load("r", "T", 2, ROW, 7),
            Let("y", "T", "sub", ("a", "r")), Store(1, CELL, "y", 6),
        )),
        Store(1, CELL, "c", 17),
    )  # fmt: skip
    formals = (
        Formal("T", CELL, 3, 23), Formal("T", CELL, 3, 19), Formal("T", ROW, 1, 20),
        Formal("T", COLUMN, 3, 1),
    )  # fmt: skip
    k = Kernel(formals, (), lines, (), 3, None)
    c = np.asarray([[-1.0], [-2.0], [-3.0]], precision)
    out = both(k, [x, np.full((3, 19), NAN, precision), row, c], precision, lanes)[1]
    expected = np.concatenate([x[:, 2:7], x[:, 12:23] - row[7:18], c], axis=1)
    assert np.array_equal(out[:, 1:18], expected)
    assert np.isnan(out[:, [0, 18]]).all()


def test_labels_meet_the_numbers_of_columns(precision: str, lanes: int) -> None:
    labels = np.asarray([[0], [10], [3], [-1], [2**32 + 3], [11]])
    lines = (
        Load("t", "I", 0, COLUMN),
        Loop(11, (
            Let("j", "I", "arange", ()), Let("at", "bool", "eq", ("j", "t")),
            Let("y", "T", "cast", ("at",), "T"), Store(1, CELL, "y"),
        )),
    )  # fmt: skip
    k = Kernel((Formal("I", COLUMN, 6, 1), Formal("T", CELL, 6, 11)), (), lines, (), 6, None)
    out = both(k, [labels, np.full((6, 11), NAN, precision)], precision, lanes)[1]
    assert np.array_equal(out, labels == np.arange(11))


@pytest.mark.parametrize("kind", ["T", "U", "I"])
def test_columns_are_counted_in_each_kind(precision: str, lanes: int, kind: str) -> None:
    k = Kernel(
        (Formal(kind, CELL, 2, 21),), (),
        (Loop(21, (Let("j", kind, "arange", ()), Store(0, CELL, "j"))),), (), 2, None,
    )  # fmt: skip
    dtype = dtype_of(kind, precision)
    (out,) = both(k, [np.full((2, 21), 7, dtype)], precision, lanes)
    assert np.array_equal(out, np.tile(np.arange(21), (2, 1)))


# -- sums ----------------------------------------------------------------------------------------


def of_rows(cols: int, rows: int, kind: str = "T", ops: Sequence[str] = REDUCTIONS) -> Kernel:
    """For each reduction a column of those of the rows, and those of the rows' and of all cells."""
    formals = [Formal(kind, CELL, rows, cols)]
    before: list[Any] = []
    first: list[Any] = []
    cells: list[Any] = [Load("x", kind, 0, CELL)]
    behind: list[Any] = []
    after: list[Any] = []
    for op in ops:
        at = len(formals)
        formals += [Formal(kind, COLUMN, rows, 1), *(Formal(kind, ONE, 1, 1) for _ in range(2))]
        before += [Begin(f"{op}_rows", kind, op), Begin(f"{op}_all", kind, op)]
        first.append(Begin(op, kind, op))
        cells += [Join(op, kind, op, "x"), Join(f"{op}_all", kind, op, "x")]
        behind += [Store(at, COLUMN, op), Join(f"{op}_rows", kind, op, op)]
        after += [Store(at + 1, ONE, f"{op}_rows"), Store(at + 2, ONE, f"{op}_all")]
    body = (*first, Loop(cols, tuple(cells)), *behind)
    return Kernel(tuple(formals), tuple(before), body, tuple(after), rows, None)


SUMS = 1, 2, 3
"""The arrays of sums in `of_rows`."""


@pytest.mark.parametrize("cols", [*WIDTHS, 16, 17])
def test_rows_are_added_up(precision: str, lanes: int, cols: int) -> None:
    x, k = rng(cols).uniform(1.0, 2.0, (5, cols)).astype(precision), of_rows(cols, 5)
    for each in (x, -x):
        both(k, [each, *outs(k, 1, precision)], precision, lanes, SUMS)


@pytest.mark.parametrize("cols", [3, 10, 16])
def test_reductions_keep_what_is_not_finite(precision: str, lanes: int, cols: int) -> None:
    """Each place of a row in turn is no number, or infinite."""
    k = of_rows(cols, cols)
    for one, other in ((NAN, NAN), (INF, INF), (-INF, -INF), (INF, -INF), (-INF, NAN)):
        x = np.tile(rng(6).uniform(1.0, 2.0, cols), (cols, 1)).astype(precision)
        for i in range(cols):
            x[i, (i + 2) % cols], x[i, i] = other, one
        out = both(k, [x, *outs(k, 1, precision)], precision, lanes, SUMS)
        with np.errstate(invalid="ignore"):
            for i, op in enumerate(REDUCTIONS):
                assert near(out[1 + 3 * i][:, 0], getattr(np, op)(x, axis=1))


def test_whole_numbers_are_added_up(lanes: int) -> None:
    x, k = rng(7).integers(-(2**40), 2**40, (5, 13)), of_rows(13, 5, "I", ("sum",))
    both(k, [x, *outs(k, 1, "float32")], "float32", lanes)


@pytest.mark.parametrize("op", ["max", "min"])
def test_the_largest_of_whole_numbers(lanes: int, op: str) -> None:
    x, k = rng(7).integers(-(2**40), 2**40, (5, 13)), of_rows(13, 5, "I", (op,))
    for each in (x, -abs(x), abs(x)):
        _, of_row, of_rows_all, of_all = compiled(
            k, [each, *outs(k, 1, "float32")], "float32", lanes
        )
        expected = getattr(np, op)(each, axis=1)
        assert np.array_equal(of_row[:, 0], expected)
        assert of_rows_all == of_all == getattr(np, op)(expected)


def of_columns(cols: int, rows: int = 7) -> Kernel:
    """The reductions of the columns of x, of x times a column, and of that column alone."""
    lines: list[Any] = [Load("x", "T", 0, CELL), Let("y", "T", "mul", ("x", "c"))]
    formals = [Formal("T", CELL, rows, cols), Formal("T", COLUMN, rows, 1)]
    before = []
    for op in REDUCTIONS:
        for operand in ("x", "y", "c"):
            before.append(Clear(len(formals), "T", op, cols))
            lines.append(JoinAt(len(formals), "T", op, operand))
            formals.append(Formal("T", ROW, 1, cols))
    body = Load("c", "T", 1, COLUMN), Loop(cols, tuple(lines))
    return Kernel(tuple(formals), tuple(before), body, (), rows, None)


COLUMN_SUMS = 2, 3, 4
"""The arrays of sums in `of_columns`."""


@pytest.mark.parametrize("cols", [*WIDTHS, 16])
def test_columns_are_added_up(precision: str, lanes: int, cols: int) -> None:
    random, k = rng(cols), of_columns(cols)
    x = random.uniform(1.0, 2.0, (7, cols)).astype(precision)
    c = random.uniform(1.0, 2.0, (7, 1)).astype(precision)
    both(k, [x, c, *outs(k, 2, precision)], precision, lanes, COLUMN_SUMS)
    x[:, cols // 2] *= -1
    x[3, cols - 1], x[5, 0], x[6, cols // 3] = NAN, INF, -INF
    both(k, [x, c, *outs(k, 2, precision)], precision, lanes, COLUMN_SUMS)


def test_passes_see_what_earlier_ones_kept(precision: str, lanes: int) -> None:
    """A softmax times factors.

    Its exponentials are kept in memory for one row, the factors in a flat array, before the rows.
    """
    for cols in (3, 10, 33):
        lines = (
            Begin("most", "T", "max"),
            Loop(cols, (Load("x", "T", 0, CELL), Join("most", "T", "max", "x"))),
            Begin("sum", "T", "sum"),
            Loop(cols, (
                Load("x", "T", 0, CELL), Let("d", "T", "sub", ("x", "most")),
                Let("e", "T", "exp", ("d",)), Join("sum", "T", "sum", "e"), Store(1, ROW, "e"),
            )),
            Let("inverse", "T", "div", (Number(1.0, "T"), "sum")),
            Loop(cols, (
                Load("e", "T", 1, ROW), Load("f", "T", 3, ROW),
                Let("p", "T", "mul", ("e", "inverse")), Let("y", "T", "mul", ("p", "f")),
                Store(2, CELL, "y"), JoinAt(4, "T", "sum", "y"), Join("total", "T", "sum", "y"),
            )),
        )  # fmt: skip
        before = (
            Begin("total", "T", "sum"), Clear(4, "T", "sum", cols),
            Loop(cols, (
                Let("j", "T", "arange", ()), Let("f", "T", "sqrt", ("j",)), Store(3, ROW, "f"),
            )),
        )  # fmt: skip
        formals = (
            Formal("T", CELL, 6, cols), Formal("T", ROW, 1, cols), Formal("T", CELL, 6, cols),
            Formal("T", ROW, 1, cols), Formal("T", ROW, 1, cols), Formal("T", ONE, 1, 1),
        )  # fmt: skip
        k = Kernel(formals, before, lines, (Store(5, ONE, "total"),), 6, None)
        x = rng(cols).normal(size=(6, cols)).astype(precision)
        both(k, [x, *outs(k, 1, precision)], precision, lanes, rounded=(1, 2, 4, 5))


def test_a_maximum_that_forgets_would_be_found() -> None:
    fault = Mutation("", kernel_code, "joined_lanes", 'beyond | b.compared("!=", b)', "beyond")
    k, x = of_rows(3, 5, ops=("max",)), np.asarray([[1.0, NAN, 2.0]] * 5)
    arrays = [x, *outs(k, 1, "float64")]
    with fault.planted():
        assert compiled(k, arrays, "float64", 4, also="fault")[1][0, 0] == 2.0
    assert np.isnan(compiled(k, arrays, "float64", 4)[1]).all()


# -- random bits, and kernels in parts -----------------------------------------------------------


def bits(rows: int, cols: int) -> Kernel:
    """Words of the numbers of elements, and of rows, and a float of each."""

    def mixed(name: str, attr: int) -> tuple[Let, ...]:
        return (
            Let(name, "U", "iota", (), attr),
            Let(f"{name}1", "U", "mul", (name, WORD)),
            Let(f"{name}2", "U", "shr", (f"{name}1", Number(15, "U"))),
            Let(f"{name}3", "U", "xor", (f"{name}1", f"{name}2")),
        )

    lines = (
        *mixed("r", 1), Store(0, COLUMN, "r3"),
        Loop(cols, (
            *mixed("i", cols), Store(1, CELL, "i3"), Let("f", "T", "cast", ("i3",), "T"),
            Let("y", "T", "mul", ("f", Number(2.0**-32, "T"))), Store(2, CELL, "y"),
        )),
    )  # fmt: skip
    formals = Formal("U", COLUMN, rows, 1), Formal("U", CELL, rows, cols)
    return Kernel((*formals, Formal("T", CELL, rows, cols)), (), lines, (), rows, None)


@pytest.mark.parametrize("cols", WIDTHS)
def test_bits_are_those_of_the_replay(precision: str, lanes: int, cols: int) -> None:
    k = bits(7, cols)
    arrays = [
        np.zeros(s, d) for s, d in (((7, 1), "u4"), ((7, cols), "u4"), ((7, cols), precision))
    ]
    words = both(k, arrays, precision, lanes)[1]
    numbers = np.arange(7 * cols, dtype=np.uint32).reshape(7, cols)
    mixed = numbers * np.uint32(WORD.number)
    assert np.array_equal(words, mixed ^ (mixed >> np.uint32(15)))


def in_parts(
    k: Kernel, arrays: Sequence[Any], precision: str, lanes: int, shared: str,
    begins: Sequence[int], rounded: Sequence[int] = (),
) -> list[Any]:  # fmt: skip
    """Do one part after the other both ways; all arrays are alike after each."""
    for start, stop in pairwise(begins):
        part = slice(start, stop)
        given = compiled(k, arrays, precision, lanes, shared, part)
        # NumPy has no largest of nothing
        alike(given, replayed(k, arrays, precision, part) if stop > start else arrays, rounded)
        arrays = given
    return list(arrays)


@pytest.mark.parametrize("cols", WIDTHS)
def test_threads_that_share_rows_do_what_one_does(precision: str, lanes: int, cols: int) -> None:
    k = bits(11, cols)
    arrays = outs(k, 0, precision)
    found = in_parts(k, arrays, precision, lanes, "rows", (0, 4, 5, 5, 11))
    alike(found, replayed(k, arrays, precision))


@pytest.mark.parametrize("cols", WIDTHS)
def test_threads_that_share_rows_have_sums_of_their_own(
    precision: str, lanes: int, cols: int
) -> None:
    random, k = rng(cols), of_columns(cols)
    x = random.uniform(1.0, 2.0, (7, cols)).astype(precision)
    c = random.uniform(1.0, 2.0, (7, 1)).astype(precision)
    arrays = [x, c, *outs(k, 2, precision)]
    in_parts(k, arrays, precision, lanes, "rows", (0, 3, 4, 7), COLUMN_SUMS)
    empty = compiled(k, arrays, precision, lanes, "rows", slice(7, 7))  # there is nothing to add
    for i, neutral in ((2, 0.0), (5, -INF), (8, INF)):
        assert (empty[i] == neutral).all()


def flat(cols: int) -> Kernel:
    """A step of an optimizer over a flat array, the number of each element, and bits."""
    body = (
        Load("p", "T", 0, ROW), Load("g", "T", 1, ROW), Let("q", "T", "mul", ("g", "rate")),
        Let("s", "T", "maximum", ("p", "q")), Store(0, ROW, "s"),
        Let("j", "I", "arange", ()), Store(3, ROW, "j"),
        Let("i", "U", "iota", (), cols), Let("w", "U", "mul", ("i", WORD)), Store(4, ROW, "w"),
        Let("b", "bool", "lt", ("p", "q")), Store(5, ROW, "b"),
    )  # fmt: skip
    formals = (
        Formal("T", ROW, 1, cols), Formal("T", ROW, 1, cols), Formal(DOUBLE, ONE, 1, 1),
        Formal("I", ROW, 1, cols), Formal("U", ROW, 1, cols), Formal("bool", ROW, 1, cols),
    )  # fmt: skip
    return Kernel(formals, (Load("rate", "T", 2, ONE),), (Loop(cols, body),), (), None, cols)


def of_flat(cols: int, precision: str) -> list[Any]:
    p, g = rng(cols).normal(size=(2, cols)).astype(precision)
    return [p, g, np.asarray([0.1]), *outs(flat(cols), 3, precision)]


@pytest.mark.parametrize("cols", [2, 7, 16, 33, 100])
def test_flat_kernels_are_those_of_the_replay(precision: str, lanes: int, cols: int) -> None:
    both(flat(cols), of_flat(cols, precision), precision, lanes)


def test_threads_that_share_columns_do_what_one_does(precision: str, lanes: int) -> None:
    k, arrays = flat(100), of_flat(100, precision)
    begins = (0, 1, 8, 8, 25, 57, 73, 100)
    found = in_parts(k, arrays, precision, lanes, "cols", begins)
    alike(found, replayed(k, arrays, precision))


def test_flat_arrays_are_added_up(precision: str, lanes: int) -> None:
    """The whole by one thread, and parts by several."""
    lines = [Load("x", "T", 0, ROW), *(Join(op, "T", op, "x") for op in REDUCTIONS)]
    formals = Formal("T", ROW, 1, 61), *(Formal("T", ONE, 1, 1) for _ in REDUCTIONS)
    before = tuple(Begin(op, "T", op) for op in REDUCTIONS)
    after = tuple(Store(1 + i, ONE, op) for i, op in enumerate(REDUCTIONS))
    k = Kernel(formals, before, (Loop(61, tuple(lines)),), after, None, 61)
    x = rng(8).uniform(1.0, 2.0, 61).astype(precision)
    for each in (x, -x):
        arrays = [each, *outs(k, 1, precision)]
        both(k, arrays, precision, lanes, rounded=(1,))
        in_parts(k, arrays, precision, lanes, "cols", (0, 3, 36, 61), rounded=(1,))
    for i in range(61):
        arrays[0][...], arrays[0][i] = x, NAN
        for given in compiled(k, arrays, precision, lanes, "cols", slice(i // 7, 61))[1:]:
            assert np.isnan(given).all()


# -- small products ------------------------------------------------------------------------------


SHAPES = (3, 4, 5), (1, 4, 5), (3, 1, 5), (11, 1, 3), (3, 4, 1), (1, 1, 1), (5, 19, 7), (2, 33, 3)
"""Of products, as m, n, k: some have one row, column or term, some leave a part of a vector."""


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
def test_small_products_are_numpys(
    precision: str, lanes: int, transposed: tuple[bool, bool]
) -> None:
    calls, arrays, expected = [], [], []
    for m, n, k in SHAPES:
        random = rng(m * n)
        a = random.normal(size=(k, m) if transposed[0] else (m, k)).astype(precision)
        b = random.normal(size=(n, k) if transposed[1] else (k, n)).astype(precision)
        o, x, y = (Buffer("", 0, r, c, "T") for r, c in ((m, n), a.shape, b.shape))
        calls.append(Product(o, x, y, transposed, ""))
        arrays += [np.full((m, n), NAN, precision), a, b]
        expected.append((a.T if transposed[0] else a, b.T if transposed[1] else b))

    def all_of_them(module: Any) -> Any:
        functions = [
            small_product(module, call, f"p{i}", precision, lanes) for i, call in enumerate(calls)
        ]  # fmt: skip
        code = Code(module, "all", 2, internal=True)
        table, at = code.given
        for i, function in enumerate(functions):
            code.call(function, table, at + 3 * i)
        code.end()
        return code.function

    found = called(all_of_them, f"products {transposed} {precision} {lanes}", arrays)
    for i, (shape, (a, b)) in enumerate(zip(SHAPES, expected, strict=True)):
        left, right = a.astype(np.float64), b.astype(np.float64)
        allowed = shape[2] * np.finfo(precision).eps * (abs(left) @ abs(right))
        assert (abs(found[3 * i] - left @ right) <= allowed).all(), shape
        assert all(same(found[3 * i + j], arrays[3 * i + j]) for j in (1, 2)), shape
