"""Loops of compiled steps beside kernels: rows taken, sums of rows and of the parts of threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.conftest import require, rng
from tests.fuzz.mutations import Mutation

require("llvmlite")

from gpubp.backends import loop_code, native  # noqa: E402
from gpubp.backends.native_code import Code, ir  # noqa: E402

pytestmark = pytest.mark.compiled

LANES = (1, 4, 8, 16)
NAN, INF = np.nan, np.inf
GUARD = 0xA5
MARGIN = 128  # bytes around an array, more than a vector has
COUNTS = {"take": 7, "gather": 5, "scatter": 6, "total_sum": 6, "total_max": 6, "total_min": 6}
"""What functions there are, and of how many numbers."""


@pytest.fixture(scope="module", autouse=True)
def folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is compiled here does not come to the user's folder, nor from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUBP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(params=LANES)
def lanes(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def text(precision: str, lanes: int) -> str:
    """A module with all loops."""
    module = ir.Module()
    functions = {
        "take": loop_code.take(module),
        "gather": loop_code.gather(module),
        "scatter": loop_code.scatter(module, precision, lanes),
    }
    for op in ("sum", "max", "min"):
        functions[f"total_{op}"] = loop_code.total(module, precision, lanes, op)
    for name, function in functions.items():
        code = Code(module, f"run_{name}", COUNTS[name])
        code.call(function, *code.given)
        code.end()
    return str(module)


@cache
def loop(name: str, precision: str, lanes: int, also: str = "") -> Any:
    key = f"{precision} {lanes} {also}"
    where = native.address(f"run_{name}", lambda: text(precision, lanes), key)
    return native.function(where, COUNTS[name])


class Guarded:
    """A copy of an array, one element beside where vectors would be aligned, and bytes around."""

    def __init__(self, array: Any) -> None:
        self._all = np.full(array.nbytes + 2 * MARGIN + 64 + array.itemsize, GUARD, np.uint8)
        start = -self._all.ctypes.data % 64 + MARGIN + array.itemsize
        self._part = slice(start, start + array.nbytes)
        self.array = self._all[self._part].view(array.dtype).reshape(array.shape)
        self.array[...] = array

    def check(self) -> None:
        """Nothing beside the array was written."""
        assert (np.delete(self._all, self._part) == GUARD).all()


def call(function: Any, *given: Any) -> list[Any]:
    """Call a loop with arrays and numbers; what the arrays are then."""
    held = {i: Guarded(x) for i, x in enumerate(given) if isinstance(x, np.ndarray)}
    function(*(held[i].array.ctypes.data if i in held else x for i, x in enumerate(given)))
    for each in held.values():
        each.check()
    return [each.array for each in held.values()]


# -- rows that are copied ------------------------------------------------------------------------

DATA = {
    "float64": np.arange(15.0).reshape(5, 3), "float32": np.arange(85, dtype="f4").reshape(5, 17),
    "int64": np.arange(5)[:, None], "bool": np.arange(35).reshape(5, 7) % 3 == 1,
    "uint8": np.arange(5, dtype=np.uint8)[:, None],
}  # fmt: skip
"""Rows of 24, 68, 8, 7 and 1 bytes."""


def length(rows: Any) -> int:
    """The bytes of a row."""
    return int(rows.itemsize * rows.shape[1])


@pytest.mark.parametrize("kind", DATA)
def test_take_copies_the_rows_of_its_part(kind: str) -> None:
    """Of a batch of four rows that begins at the second of the order; in two parts, and in none."""
    data, order = DATA[kind], np.asarray([3, 1, 4, 2, 0])
    before, run = np.tile(data[1], (4, 1)), loop("take", "float32", 4)
    given, named, out = call(run, data, order, 1, 0, 2, length(data), before)
    assert np.array_equal(out, [*data[[1, 4]], *before[2:]])
    assert np.array_equal(given, data)
    assert np.array_equal(named, order)
    *_, out = call(run, data, order, 1, 2, 4, length(data), out)
    assert np.array_equal(out, data[[1, 4, 2, 0]])
    *_, out = call(run, data, order, 0, 3, 3, length(data), before)
    assert np.array_equal(out, before)


@pytest.mark.parametrize("kind", DATA)
def test_gather_copies_rows_of_a_table(kind: str) -> None:
    table, index = DATA[kind], np.asarray([4, 0, 0, 2, 4, 1])
    out = np.zeros((6, table.shape[1]), table.dtype)
    run = loop("gather", "float64", 8)
    out, given, _ = call(run, out, table, index, 6, length(table))
    assert np.array_equal(out, table[index])
    assert np.array_equal(given, table)
    out, *_ = call(run, table[:2], table, index, 0, length(table))
    assert np.array_equal(out, table[:2])


# -- sums of rows --------------------------------------------------------------------------------

COLS = (1, 3, 8, 21, 33)
"""Columns, most of which lanes do not divide."""


@pytest.mark.parametrize("cols", COLS)
@pytest.mark.parametrize(("count", "n"), [(1, 1), (7, 3), (2, 5), (40, 4)])
def test_scatter_adds_rows_up(precision: str, lanes: int, count: int, n: int, cols: int) -> None:
    """One after the other, as NumPy does; sums of no row are 0."""
    index, rows = rng(cols).integers(0, n, count), rng(n).normal(size=(count, cols))
    rows = rows.astype(precision)
    rows[0, cols // 2], rows[-1, cols - 1] = NAN, INF
    expected = np.zeros((n, cols), precision)
    np.add.at(expected, index, rows)
    run = loop("scatter", precision, lanes)
    out, *rest = call(run, np.full((n, cols), 7.0, precision), index, rows, n, count, cols)
    assert np.array_equal(out, expected, equal_nan=True)
    assert np.array_equal(rest[0], index)
    assert np.array_equal(rest[1], rows, equal_nan=True)


def added(op: str, parts: Any) -> Any:
    """What the parts add up to, one after the other."""
    with np.errstate(invalid="ignore"):
        found = parts[0]
        for part in parts[1:]:
            found = {"sum": np.add, "max": np.maximum, "min": np.minimum}[op](found, part)
    return found


@pytest.mark.parametrize("cols", COLS)
@pytest.mark.parametrize("op", ["sum", "max", "min"])
def test_totals_are_numpys_and_keep_nan(precision: str, lanes: int, op: str, cols: int) -> None:
    """Of one part and of several, which lie with a gap of NaN between them."""
    run = loop(f"total_{op}", precision, lanes)
    for threads in (1, 2, 5):
        parts = np.full((threads, cols + 3), NAN, precision)
        parts[:, :cols] = rng(threads).normal(size=(threads, cols))
        for odd in ([], [NAN], [INF, -INF], [-INF, NAN]):
            for at, number in enumerate(odd):
                parts[at % threads, (cols // 2 + at) % cols] = number
            out, given = call(run, np.zeros(cols, precision), parts, 0, cols, threads, cols + 3)
            assert np.array_equal(out, added(op, parts)[:cols], equal_nan=True)
            assert np.array_equal(given, parts, equal_nan=True)


@pytest.mark.parametrize("op", ["sum", "max", "min"])
def test_each_thread_adds_up_its_own_columns(precision: str, lanes: int, op: str) -> None:
    parts = rng(9).normal(size=(3, 45)).astype(precision)
    run, expected = loop(f"total_{op}", precision, lanes), added(op, parts)
    out = np.zeros(45, precision)
    for first, stop in ((0, 0), (0, 5), (5, 22), (22, 45)):
        out, _ = call(run, out, parts, first, stop, 3, 45)
        assert np.array_equal(out[:stop], expected[:stop])
        assert not out[stop:].any()


# -- faults --------------------------------------------------------------------------------------


def found(fault: Mutation, name: str, *given: Any) -> Sequence[Any]:
    """What a loop with a fault does."""
    with fault.planted():
        return call(loop(name, "float64", 4, fault.what), *given)


def test_a_store_beyond_the_end_would_be_found() -> None:
    fault = Mutation("beyond", loop_code, "_strips", "(even, cols, 1)", "(even, cols + 1, 1)")
    parts, out = np.ones((2, 8)), np.zeros(5)
    with pytest.raises(AssertionError):
        found(fault, "total_sum", out, parts, 0, 5, 2, 8)
    assert call(loop("total_sum", "float64", 4), out, parts, 0, 5, 2, 8)[0].tolist() == [2.0] * 5


def test_a_sum_that_is_not_cleared_would_be_found() -> None:
    fault = Mutation("uncleared", loop_code, "scatter", "code.loop(0, n * cols)", "code.loop(0, 0)")
    given = np.full((1, 3), 7.0), np.asarray([0]), np.ones((1, 3)), 1, 1, 3
    assert found(fault, "scatter", *given)[0].tolist() == [[8.0] * 3]
    assert call(loop("scatter", "float64", 4), *given)[0].tolist() == [[1.0] * 3]
