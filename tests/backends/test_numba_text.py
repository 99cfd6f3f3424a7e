"""The text of kernels: that it does what a replay does, for what is not finite too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpubp.backends import numba_text, python_parts
from gpubp.backends.numba_text import kernel, small_product
from gpubp.program.calls import Buffer, Product
from gpubp.program.kernels import (
    CELL,
    COLUMN,
    Begin,
    Formal,
    Join,
    Kernel,
    Let,
    Load,
    Loop,
    Number,
    Store,
)
from gpubp.program.rows import Rows
from gpubp.program.values import COMPARISONS
from tests.conftest import require
from tests.fuzz.mutations import Mutation

INF, NAN = np.inf, np.nan
EDGES = np.asarray([0.0, -0.0, 1.0, -1.5, 0.3, 1e300, -1e300, 1e-310, INF, -INF, NAN])
UNARY = "exp", "expm1", "log", "log1p", "tanh", "erf", "cos", "sqrt", "abs", "neg", "copy"
BINARY = "add", "sub", "mul", "div", "maximum", "minimum", *COMPARISONS


def of_two(op: str) -> Kernel:
    """y = op(a, b) for matrices, as a float."""
    operands = ("v1",) if op in (*UNARY, "isfinite") else ("v1", "v2")
    truth = op in (*COMPARISONS, "isfinite")
    lines: list[Any] = [
        Load("v1", "T", 0, CELL), Load("v2", "T", 1, CELL),
        Let("v3", "bool" if truth else "T", op, operands),
    ]  # fmt: skip
    if truth:
        lines.append(Let("v4", "T", "cast", ("v3",), "T"))
    lines.append(Store(2, CELL, "v4" if truth else "v3"))
    formals = tuple(Formal("T", CELL, 11, 11) for _ in range(3))
    return Kernel(formals, (), (Loop(11, tuple(lines)),), (), 11, None)


def of_rows(op: str) -> Kernel:
    """y = the sum, largest or smallest of each row."""
    lines = (
        Begin("v1", "T", op), Loop(3, (Load("v2", "T", 0, CELL), Join("v1", "T", op, "v2"))),
        Store(1, COLUMN, "v1"),
    )  # fmt: skip
    formals = Formal("T", CELL, 4, 3), Formal("T", COLUMN, 4, 1)
    return Kernel(formals, (), lines, (), 4, None)


def replayed(k: Kernel, arrays: list[Any]) -> Any:
    with np.errstate(all="ignore"):
        Rows(k, arrays, arrays[0].dtype, slice(0, k.rows), False).run()
    return arrays[-1]


def as_python(k: Kernel, arrays: list[Any]) -> Any:
    space = {**vars(python_parts), "np": np, "T": np.float64, "LARGEST": np.finfo(float).max}
    space |= {"flat_T": python_parts.flat, "matrix_T": python_parts.matrix}
    exec(kernel(k, "k", "float64"), space)
    with np.errstate(all="ignore"):
        space["k"]([python_parts.address(a) for a in arrays], 0)
    return arrays[-1]


@pytest.mark.parametrize("op", [*UNARY, "isfinite", *BINARY])
def test_text_does_what_the_replay_does_at_the_edges(op: str) -> None:
    a, b = (np.ascontiguousarray(x) for x in np.meshgrid(EDGES, EDGES))
    expected = replayed(of_two(op), [a, b, np.zeros((11, 11))])
    given = as_python(of_two(op), [a, b, np.zeros((11, 11))])
    assert np.allclose(given, expected, rtol=1e-15, atol=0.0, equal_nan=True)


ROWS = np.asarray([[1.0, NAN, 2.0], [NAN, 1.0, 2.0], [INF, 1.0, -INF], [-3.0, -2.0, -1.0]])


@pytest.mark.parametrize("op", ["sum", "max", "min"])
def test_reductions_keep_what_is_not_a_number(op: str) -> None:
    with np.errstate(invalid="ignore"):
        expected = getattr(np, op)(ROWS, axis=1)
    for run in (as_python, replayed):
        assert np.array_equal(run(of_rows(op), [ROWS, np.zeros(4)]), expected, equal_nan=True)


def test_a_maximum_that_forgets_would_be_found() -> None:
    fault = Mutation("", numba_text, "_joined", 'f" | ({text} != {text})"', '""')
    with fault.planted():
        assert as_python(of_rows("max"), [ROWS, np.zeros(4)])[0] == 2.0


@pytest.mark.compiled
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_compiled_kernels_keep_what_is_not_finite(precision: str) -> None:
    """With all that fastmath is allowed, in one function: it takes a second to compile."""
    require("numba")
    require("scipy")
    from gpubp.backends import modules
    from gpubp.backends.numba_module import _HEAD

    kernels = {op: of_two(op) for op in (*UNARY, "isfinite", *BINARY)}
    reductions = {op: of_rows(op) for op in ("sum", "max", "min")}
    functions = [
        "@compiled\n" + kernel(k, f"k_{op}", precision)
        for op, k in (kernels | reductions).items()
    ]  # fmt: skip
    module = modules.load("\n\n".join([_HEAD.format(title="edges", p=precision), *functions]))
    with np.errstate(over="ignore", under="ignore"):
        edges = EDGES.astype(precision)
    a, b = (np.ascontiguousarray(x) for x in np.meshgrid(edges, edges))
    for op, k in kernels.items():
        given, expected = np.zeros((2, 11, 11), precision)
        table = np.asarray([x.ctypes.data for x in (a, b, given)])
        getattr(module, f"k_{op}")(table, 0)
        replayed(k, [a, b, expected])
        _alike(op, given, expected)
    for op, k in reductions.items():
        rows, given, expected = ROWS.astype(precision), *np.zeros((2, 4), precision)
        getattr(module, f"k_{op}")(np.asarray([rows.ctypes.data, given.ctypes.data]), 0)
        _alike(op, given, replayed(k, [rows, expected]))


def _alike(op: str, given: Any, expected: Any) -> None:
    """The same where it is not finite, and a few ulps elsewhere; denormal numbers may be zero."""
    eps = float(np.finfo(given.dtype).eps)
    finite = np.isfinite(expected)
    assert np.array_equal(np.isnan(given), np.isnan(expected)), op
    assert np.array_equal(np.isinf(given), np.isinf(expected)), op
    assert np.array_equal(given[~finite], expected[~finite], equal_nan=True), op
    small = float(np.finfo(given.dtype).tiny)
    assert np.allclose(given[finite], expected[finite], rtol=4 * eps, atol=small), op


def test_words_wrap_and_numbers_have_a_kind() -> None:
    lines = (
        Load("v1", "U", 0, COLUMN), Let("v2", "U", "mul", ("v1", Number(2654435761, "U"))),
        Store(1, COLUMN, "v2"),
    )  # fmt: skip
    k = Kernel(tuple(Formal("U", COLUMN, 2, 1) for _ in range(2)), (), lines, (), 2, None)
    text = kernel(k, "k", "float32")
    assert "v2 = np.uint32(v1 * np.uint32(2654435761))" in text
    out = np.zeros(2, np.uint32)
    replayed(k, [np.asarray([3, 2**32 - 1], np.uint32), out])
    assert out.tolist() == [3 * 2654435761 % 2**32, (2**32 - 1) * 2654435761 % 2**32]


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize(("m", "n", "k"), [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)])
def test_small_products_are_loops(transposed: tuple[bool, bool], m: int, n: int, k: int) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(k, m) if transposed[0] else (m, k))
    b = rng.normal(size=(n, k) if transposed[1] else (k, n))
    call = Product(
        Buffer("o", 0, m, n, "T"), Buffer("a", 0, *a.shape, "T"), Buffer("b", 0, *b.shape, "T"),
        transposed, "",
    )  # fmt: skip
    out = np.full((m, n), NAN)
    space = {"matrix_T": python_parts.matrix, "T": np.float64}
    exec(small_product(call, "f"), space)
    space["f"]([python_parts.address(x) for x in (out, a, b)], 0)  # type: ignore[operator]
    expected = (a.T if transposed[0] else a) @ (b.T if transposed[1] else b)
    assert np.allclose(out, expected, rtol=1e-13, atol=1e-13)
