"""Matrix products in machine code of our own: every form, size and edge, and their memory."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpubp.backends import native, products
from gpubp.backends.geometry import Geometry, geometry
from gpubp.check.tolerance import error, tolerance
from tests.conftest import require, rng

ROOT = Path(__file__).resolve().parent.parent.parent


def tiny(precision: str, lanes: int, rows: int) -> Geometry:
    """Stretches of 5 terms, `rows + 1` rows and 2 tiles side by side: small matrices meet all."""
    item, cols = int(precision[5:]) // 8, 2 * lanes
    return Geometry(precision, lanes, rows, panel=5 * cols * item, block=5 * item * (rows + 1),
                    wide=5 * item * (2 * cols + 1))  # fmt: skip


SHAPES = [("float32", 8, 6), ("float32", 16, 8), ("float32", 4, 6),
          ("float64", 4, 6), ("float64", 8, 8), ("float64", 2, 8)]  # fmt: skip
TINY = [tiny(*shape) for shape in SHAPES]
FORMS = [(False, False), (False, True), (True, False), (True, True)]
NAN, INF = np.nan, np.inf


def named(g: Geometry) -> str:
    return f"{g.precision}-{g.lanes}-{g.rows}"


geometries = pytest.mark.parametrize("g", TINY, ids=named)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUBP_CACHE", str(tmp_path_factory.mktemp("products")))
        yield


@cache
def compiled(g: Geometry) -> Any:
    require("llvmlite")
    return native.function(native.address("product", lambda: text(g), f"test {g}"), 12)


def text(g: Geometry) -> str:
    from gpubp.backends import product_code

    return str(product_code.module(g, "product"))


class Matrix:
    """A matrix in the midst of memory, in which each row begins `wide` numbers after the last."""

    def __init__(self, values: Any, between: int = 0, around: float = NAN, shift: int = 0) -> None:
        rows, cols = values.shape
        self.wide, self._around = cols + between, around
        self._memory = np.full(64 + shift + rows * self.wide, around, values.dtype)
        begin = self._memory[32 + shift :]
        self.values = np.lib.stride_tricks.as_strided(
            begin, (rows, cols), (self.wide * values.itemsize, values.itemsize)
        )
        self.values[...] = values

    @property
    def place(self) -> tuple[int, int]:
        return self.values.ctypes.data, self.wide

    def nothing_around(self) -> bool:
        """Whether all but the matrix is as it was; the matrix is gone after that."""
        self.values[...] = self._around
        expected = np.full_like(self._memory, self._around)
        return self._memory.tobytes() == expected.tobytes()


class Case:
    """A product of random matrices of some size and form, and the memory that it works in."""

    def __init__(
        self, g: Geometry, form: tuple[bool, bool], size: tuple[int, int, int], seed: int = 0,
        between: tuple[int, int, int] = (0, 0, 0), shift: int = 0,
    ) -> None:  # fmt: skip
        self.g, self.form, self.size = g, form, size
        (ta, tb), (m, n, k), r = form, size, rng(seed)
        a, b = r.normal(size=(k, m) if ta else (m, k)), r.normal(size=(n, k) if tb else (k, n))
        self.a = Matrix(a.astype(g.precision), between[0], shift=shift)
        self.b = Matrix(b.astype(g.precision), between[1], shift=shift)
        self.c = Matrix(np.full((m, n), NAN, g.precision), between[2], -77.0, shift)
        self._bytes, self._at = g.workspace(m, n, k), 8 * shift
        self._work = np.full(self._at + self._bytes + 1024, 255, np.uint8)  # numbers that are NaN

    def run(self, function: Any = None) -> Any:
        m, n, k = self.size
        work = self._work.ctypes.data + self._at
        (function or compiled(self.g))(
            *map(int, self.form), m, n, k, *self.a.place, *self.b.place, *self.c.place, work
        )
        return self.c.values

    @property
    def operands(self) -> tuple[Any, Any]:
        """Both as they are multiplied, in float64."""
        (ta, tb), a, b = self.form, *(x.values.astype(np.float64) for x in (self.a, self.b))
        return (a.T if ta else a), (b.T if tb else b)

    def check(self, function: Any = None) -> None:
        """That C is the product, and that nothing else was written."""
        a, b = self.operands
        expected, sums = a @ b, np.abs(a) @ np.abs(b)
        given = self.run(function)
        allowed = tolerance(self.g.precision, expected, self.size[2], [sums])
        told = f"{self.g}, {self.form}, {self.size}"
        assert error(given, expected) <= allowed, told
        assert self.c.nothing_around(), told
        assert (self._work[: self._at] == 255).all(), told
        assert (self._work[self._at + self._bytes :] == 255).all(), told


def of_seed(g: Geometry, seed: int) -> Case:
    r = np.random.default_rng(seed)
    between = tuple(int(x) for x in r.integers(0, 2, 3) * r.integers(1, 9, 3))
    size = tuple(int(x) for x in r.integers(1, 91, 3))
    return Case(g, FORMS[seed % 4], size, seed, between, int(r.integers(8)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("features", "registers", "single", "double"),
    [
        ({"avx512f", "avx", "fma", "sse2"}, 32, (16, 8), (8, 8)),
        ({"avx", "fma", "sse2"}, 16, (8, 6), (4, 6)),
        ({"avx"}, 16, (8, 6), (4, 6)),
        ({"neon", "fp-armv8"}, 32, (4, 8), (2, 8)),
        ({"sse2"}, 16, (4, 6), (2, 6)),
        (set(), 16, (4, 6), (2, 6)),
    ],
)
def test_a_geometry_for_each_processor(
    features: set[str], registers: int, single: tuple[int, int], double: tuple[int, int]
) -> None:
    for precision, expected in (("float32", single), ("float64", double)):
        g = geometry(precision, features)
        assert (g.precision, g.lanes, g.rows) == (precision, *expected)
        assert g.item == np.dtype(precision).itemsize
        assert g.rows * g.vectors + g.vectors + 1 <= registers
        assert g.cols == g.lanes * g.vectors
        assert g.width % g.cols == 0
        assert g.width >= g.cols
        assert g.height >= g.rows
        for bytes_of_part, most in (
            (g.depth * g.cols * g.item, g.panel), (g.depth * g.height * g.item, g.block),
            (g.depth * g.width * g.item, g.wide),
        ):  # fmt: skip
            assert most // 2 < bytes_of_part <= most


def test_memory_for_work_does_not_grow_with_large_matrices() -> None:
    g = Geometry("float32", 8, 6)
    most = g.workspace(10**6, 10**6, 10**6)
    assert most <= g.block + g.wide + 256
    assert g.workspace(g.height, g.width, g.depth) == most
    assert 0 < g.workspace(1, 1, 1) < most


@pytest.mark.compiled
def test_the_largest_of_several_products_counts(precision: str) -> None:
    require("llvmlite")
    g, sizes = products.chosen(precision), [(1, 2, 3), (30, 40, 50), (5, 90, 2)]
    assert g == geometry(precision, native.features())
    assert products.workspace(precision, sizes) == max(g.workspace(*size) for size in sizes)
    assert products.workspace(precision, []) == 0


# -- sizes -----------------------------------------------------------------------------------------


@geometries
def test_random_sizes(g: Geometry) -> None:
    for seed in range(80):
        of_seed(g, seed).check()


@pytest.mark.parametrize("form", FORMS)
@geometries
def test_edges_of_tiles_and_of_parts(g: Geometry, form: tuple[bool, bool]) -> None:
    """One row, column or term; a number before, at and behind the edge of each part."""
    rows = [1, g.rows - 1, g.rows, g.rows + 1, g.height, g.height + 1, 2 * g.height + 1]
    cols = [1, g.lanes + 1, g.cols - 1, g.cols, g.cols + 1, g.width, g.width + 1]
    terms = [1, g.depth - 1, g.depth, g.depth + 1, 2 * g.depth, 3 * g.depth + 1]
    for size in itertools.product(rows, cols, terms):
        Case(g, form, size).check()


@pytest.mark.parametrize("form", FORMS)
@geometries
def test_as_many_tiles_as_make_another_way(g: Geometry, form: tuple[bool, bool]) -> None:
    """From some sizes on B, or A, is packed or not."""
    require("llvmlite")
    from gpubp.backends import product_code

    few, some, several = (
        getattr(product_code, f"_{name}") for name in ("FEW_TILES", "FEW_PANELS", "SEVERAL_PANELS")
    )
    rows = [few * g.rows, few * g.rows + 1]
    cols = [n * g.cols + d for n in (some, several) for d in (-1, 0, 1)]
    for m, n, k, between in itertools.product(rows, cols, (3, 5, 17), (0, 3)):
        Case(g, form, (m, n, k), between=(between, 0, 0)).check()


@pytest.mark.parametrize("form", FORMS)
def test_parts_are_as_large_as_the_geometry_says(precision: str, form: tuple[bool, bool]) -> None:
    """The function that trains: stretches of the real lengths, and one number more."""
    require("llvmlite")
    g = products.chosen(precision)
    function = native.function(products.address(precision), 12)
    for size in ((3, 5, g.depth + 1), (g.height + 1, 3, 4), (2, g.width + 1, 3), (70, 33, 50)):
        Case(g, form, size).check(function)
        assert products.workspace(precision, [(1, 1, 1), size]) == g.workspace(*size)
    for seed in range(40):
        of_seed(g, seed).check(function)


# -- memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@geometries
def test_parts_of_wider_matrices(g: Geometry, form: tuple[bool, bool]) -> None:
    """What lies between rows is not written, nor has it any part in the result."""
    sizes = [(7, 5, 9), (3 * g.rows + 1, 2 * g.cols + 3, 11), (1, 3 * g.cols - 1, 6)]
    for size, between in itertools.product(
        sizes, itertools.product((0, 1, 20), (0, 1, 20), (0, 1, 20))
    ):
        Case(g, form, size, between=between).check()


@pytest.mark.parametrize("form", FORMS)
@geometries
def test_any_address_will_do(g: Geometry, form: tuple[bool, bool]) -> None:
    """Matrices begin at any number, and work at any word: the memory for it is enough."""
    for shift in range(9):
        Case(g, form, (2 * g.rows + 1, g.cols + 1, 11), shift=shift).check()


BEYOND = """
import ctypes, itertools, mmap, sys
import numpy as np
from gpubp.backends import native, product_code
from gpubp.backends.geometry import Geometry

libc, page = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE

def between_pages(values, kept):
    "The matrix in memory that ends, or begins, where none is."
    size = -(-values.nbytes // page) * page
    room = mmap.mmap(-1, size + 2 * page)
    flat = np.frombuffer(room, np.uint8)
    kept.append(flat)
    for at in (0, size + page):
        assert libc.mprotect(ctypes.c_void_p(flat.ctypes.data + at), page, 0) == 0
    for begin in (page, page + size - values.nbytes):
        found = flat[begin : begin + values.nbytes].view(values.dtype).reshape(values.shape)
        found[...] = values
        yield found

for g in (Geometry("float32", 4, 3, panel=160, block=80, wide=340), Geometry("float64", 4, 2)):
    text = str(product_code.module(g, "product"))
    product = native.function(native.address("product", lambda: text, str(g)), 12)
    sizes = [(1, 1, 1), (3, 5, 7), (7, 9, 11), (4, 8, 6), (25, 17, 12), (26, 65, 6)]
    for (m, n, k), ta, tb in itertools.product(sizes, (0, 1), (0, 1)):
        kept = []
        matrices = [
            list(between_pages(np.ones(shape, g.precision), kept))
            for shape in ((k, m) if ta else (m, k), (n, k) if tb else (k, n), (m, n))
        ]
        work = np.zeros(g.workspace(m, n, k), np.uint8)
        for a, b, c in zip(*matrices):
            product(ta, tb, m, n, k, a.ctypes.data, a.shape[1], b.ctypes.data, b.shape[1],
                    c.ctypes.data, n, work.ctypes.data)
            assert (c == k).all(), (m, n, k, ta, tb)
        if len(sys.argv) > 1:  # a row too much must be found
            product(0, 0, m + 1, n, k, a.ctypes.data, k, b.ctypes.data, n, c.ctypes.data, n,
                    work.ctypes.data)
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="takes memory away as Linux does")
@pytest.mark.parametrize("planted", [False, True])
def test_nothing_is_read_or_written_beyond_the_matrices(planted: bool) -> None:
    require("llvmlite")
    command = [sys.executable, "-c", BEYOND, *["planted"] * planted]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, env=env, capture_output=True, text=True)
    if planted:
        assert ran.returncode < 0
    else:
        assert (ran.stdout, ran.stderr) == ("done\n", "")


@geometries
def test_the_same_bits_each_time(g: Geometry) -> None:
    """Whatever lies in the memory for work and in C, and wherever all of that is."""
    for number, form in enumerate(FORMS):
        size = (2 * g.rows + 3, 3 * g.cols + 1, 23)
        first = Case(g, form, size, number)
        bits = first.run().tobytes()
        first._work[...] = 3
        first.c.values[...] = 1.0
        assert first.run().tobytes() == bits
        other = Case(g, form, size, number, shift=5)
        assert other.run().tobytes() == bits


# -- numbers that are not finite -------------------------------------------------------------------


@pytest.mark.parametrize("spoilt", ["a", "b", "both"])
@pytest.mark.parametrize("form", FORMS)
@geometries
def test_what_is_not_finite_comes_out_where_it_should(
    g: Geometry, form: tuple[bool, bool], spoilt: str
) -> None:
    for number, x in enumerate((NAN, INF, -INF)):
        for size in ((2 * g.rows + 1, 2 * g.cols + 1, 13), (2, 3, 4), (g.rows, g.cols, 1)):
            case, r = Case(g, form, size, number), np.random.default_rng(number)
            for name in ("a", "b") if spoilt == "both" else (spoilt,):
                values = getattr(case, name).values
                values[...] = np.abs(values) + 0.1
                values[r.integers(values.shape[0]), r.integers(values.shape[1])] = x
                values[0, -1] = 0.0
            a, b = case.operands
            with np.errstate(invalid="ignore"):
                expected = (a[:, :, None] * b[None, :, :]).sum(axis=1)
            given, odd = case.run().copy(), ~np.isfinite(expected)
            assert odd.any() or spoilt == "both" or size[2] == 1
            assert np.array_equal(given[odd], expected[odd], equal_nan=True)
            allowed = tolerance(g.precision, expected[~odd], size[2])
            assert error(given[~odd], expected[~odd]) <= allowed


# -- that this finds what is wrong -----------------------------------------------------------------


def check_many(g: Geometry, function: Any) -> None:
    for seed in range(60):
        of_seed(g, seed).check(function)


FAULTS = [
    ("fadd <4 x float>", "fsub <4 x float>"),  # stretches of terms do not add up
    ("icmp slt <4 x i64>", "icmp sle <4 x i64>"),  # a column too much at the edge
]


@pytest.mark.parametrize(("right", "wrong"), FAULTS)
def test_wrong_code_would_be_found(right: str, wrong: str) -> None:
    require("llvmlite")
    g = tiny("float32", 4, 3)
    assert right in text(g)
    spoilt = text(g).replace(right, wrong)
    function = native.function(native.address("product", lambda: spoilt, spoilt), 12)
    with pytest.raises(AssertionError):
        check_many(g, function)


def test_too_little_memory_for_work_would_be_found() -> None:
    g = TINY[2]

    class Short(Geometry):
        def workspace(self, m: int, n: int, k: int) -> int:
            return super().workspace(m, n, k) - 300

    with pytest.raises(AssertionError):
        check_many(
            Short(g.precision, g.lanes, g.rows, g.vectors, g.panel, g.block, g.wide), compiled(g)
        )


# -- from compiled code ----------------------------------------------------------------------------

CALLER = """
import numpy as np
from gpubp.backends import native, products
from gpubp.backends.barrier_code import barrier, name_yield
from gpubp.backends.native_code import Code, ir
from gpubp.backends.team import Team

def text():
    module = ir.Module()
    code = Code(module, "square", 5)
    thread, state, x, y, work = code.given
    for i in range(2):
        value = code.builder.sitofp((thread * 2 + (1 + i)).value, ir.FloatType())
        code.store(x + (thread * 2 + i) * 4, value, 4)
    code.call(barrier(module), state, 2)
    function = code.outer("gpubp_product_float32", 12)
    code.call(function, 0, 1, 1, 2, 2, x + thread * 8, 2, x, 2, y + thread * 8, 2,
              work + thread * 4096)
    code.end()
    print("written", end=" ")
    return str(module)

products.address("float32")
name_yield()
square = native.function(native.address("square", text, "square"), 5)
team = Team(2)
x, y = np.zeros((2, 2, 2), np.float32)
work = np.zeros((2, 4096), np.uint8)
assert products.workspace("float32", [(1, 2, 2)]) <= 4096
team.run(square, *(a.ctypes.data for a in (team.state, x, y, work)))
print(y.tolist())
"""


def test_compiled_code_finds_a_product_by_its_name() -> None:
    """On two threads at once; another process has all of it from the disk."""
    require("llvmlite")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for told in ("written ", ""):
        ran = subprocess.run(
            [sys.executable, "-c", CALLER], env=env, capture_output=True, text=True
        )
        assert (ran.stdout, ran.stderr) == (f"{told}[[5.0, 11.0], [11.0, 25.0]]\n", "")
