"""What LLVM's code is written with: every construct, run on this processor."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gpubp.backends import native
from tests.conftest import require

pytestmark = pytest.mark.compiled

KINDS = [("float32", 4), ("float32", 8), ("float64", 2), ("float64", 8), ("int64", 4)]
GUARD = 77
"""What lies where nothing may be written."""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    require("llvmlite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUBP_CACHE", str(tmp_path_factory.mktemp("code")))
        yield


def made(write: Callable[..., Any], count: int) -> Any:
    """Compile a function of `count` numbers: `write(code, *given)` writes what it does."""
    from gpubp.backends.native_code import Code, ir

    module = ir.Module()
    code = Code(module, "f", count)
    write(code, *code.given)
    code.end()
    text = str(module)
    return native.function(native.address("f", lambda: text, text), count)


def numbers(write: Callable[..., Any], results: int, *given: int) -> list[int]:
    """What such a function of numbers computes: `write` returns as many as it has results."""

    def stored(code: Any, out: Any, *args: Any) -> None:
        for i, number in enumerate(write(code, *args)):
            code.store(out + i * 8, number)

    out = np.full(results + 1, GUARD, np.int64)
    made(stored, 1 + len(given))(out.ctypes.data, *given)
    assert out[-1] == GUARD
    return [int(x) for x in out[:-1]]


def vector(name: str, lanes: int) -> Any:
    """LLVM's type of so many numbers, and their size in bytes."""
    from gpubp.backends.native_code import ir

    elements = {"float32": ir.FloatType(), "float64": ir.DoubleType(), "int64": ir.IntType(64)}
    return ir.VectorType(elements[name], lanes), np.dtype(name).itemsize


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(7, 2), (-7, 2), (7, -2), (-7, -2), (0, 5), (2**40, 3)])
def test_signs_compute(a: int, b: int) -> None:
    given = numbers(lambda code, a, b: (a + b, a - b, a * b, a // b, a * 3 - 1), 5, a, b)
    assert given == [a + b, a - b, a * b, math.trunc(a / b), a * 3 - 1]


@pytest.mark.parametrize(("a", "b"), [(1, 2), (2, 1), (3, 3), (-1, 1), (1, -1), (0, 0), (-5, -4)])
def test_comparisons_and_what_they_choose(a: int, b: int) -> None:
    given = numbers(
        lambda code, a, b: (
            code.either(a < b, 1, 0), code.either(a > b, 1, 0), code.either(a.is_zero, b, a),
            code.least(a, b), code.least(a, 1), code.least(2, b),
            code.either((a - b).is_zero, 9, b),
        ), 7, a, b,
    )  # fmt: skip
    assert given == [a < b, a > b, a or b, min(a, b), min(a, 1), min(2, b), 9 if a == b else b]


def test_a_number_may_come_from_memory() -> None:
    given = np.asarray([5, -6, 7], np.int64)
    found = numbers(lambda code, x: (code.word(x), code.word(x + 16)), 2, given.ctypes.data)
    assert found == [5, 7]


# -- the way through -------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2, 7])
@pytest.mark.parametrize(("start", "stop"), [(0, 10), (-3, 4), (2, 3), (4, 4), (5, 1), (0, 14)])
def test_loops_count_as_range_does(start: int, stop: int, step: int) -> None:
    def write(code: Any, out: Any, start: Any, stop: Any) -> None:
        with code.loop(start, stop, step) as i:
            turns = code.word(out)
            code.store(out + (turns + 1) * 8, i)
            code.store(out, turns + 1)

    out = np.zeros(20, np.int64)
    made(write, 3)(out.ctypes.data, start, stop)
    turns = list(range(start, stop, step))
    assert out[: 1 + len(turns)].tolist() == [len(turns), *turns]
    assert not out[1 + len(turns) :].any()


def test_a_step_may_be_computed() -> None:
    def write(code: Any, step: Any) -> Any:
        zero, last = code.number(0).value, code.number(-1).value
        with code.carried(0, 10, step, [zero, last]) as (i, held, become):
            total = i + number(code, held[0])
            become[:] = [total.value, i.value]
        return [number(code, x) for x in become]

    assert numbers(write, 2, 3) == [0 + 3 + 6 + 9, 9]


def number(code: Any, value: Any) -> Any:
    from gpubp.backends.native_code import Number

    return Number(code, value)


@pytest.mark.parametrize(("m", "n"), [(4, 3), (1, 1), (0, 3), (3, 0)])
def test_nested_loops_hand_on_several_values(m: int, n: int) -> None:
    """The outer ones change inside the inner loop; two swap their places at each turn."""

    def write(code: Any, m: Any, n: Any) -> Any:
        begin = [code.number(x).value for x in (1, 10, 0)]
        with code.carried(0, m, 1, begin) as (i, outer, after):
            a, b, total = outer
            with code.carried(0, n, 1, [total]) as (j, [inner], become):
                become.append((number(code, inner) + i * 100 + j).value)
            after[:] = [b, a, become[0]]
        return [number(code, x) for x in after]

    total = sum(i * 100 + j for i in range(m) for j in range(n))
    a, b = (1, 10) if m % 2 == 0 else (10, 1)
    assert numbers(write, 3, m, n) == [a, b, total]


def test_a_loop_needs_all_that_it_hands_on() -> None:
    def write(code: Any, n: Any) -> None:
        with code.carried(0, n, 1, [code.number(1).value]):
            pass

    with pytest.raises(ValueError, match="shorter"):
        made(write, 1)


@pytest.mark.parametrize("x", [-1, 0, 1, 5])
def test_what_is_done_on_a_condition(x: int) -> None:
    def write(code: Any, out: Any, x: Any) -> None:
        with code.when(x > 0):
            code.store(out, x * 2)
            with code.when(x > 3):  # one inside the other, in a loop, and with a return
                with code.loop(0, x) as i, code.when(i > 2):
                    code.store(out + 8, i)
                code.end()
        with code.choice(x < 0) as (negative, other):
            with negative:
                code.store(out + 16, code.number(1))
            with other, code.choice(x.is_zero) as (zero, positive):
                with zero:
                    code.store(out + 16, code.number(2))
                with positive:
                    code.store(out + 16, code.number(3))

    out = np.full(3, GUARD, np.int64)
    made(write, 2)(out.ctypes.data, x)
    g = GUARD
    expected = {-1: [g, g, 1], 0: [g, g, 2], 1: [2, g, 3], 5: [10, 4, g]}
    assert out.tolist() == expected[x]


@pytest.mark.parametrize("which", [-1, 0, 1, 2, 3, 2**32])
def test_one_of_several_functions_is_called(which: int) -> None:
    from gpubp.backends.native_code import Code, ir

    module = ir.Module()
    functions = []
    for n in range(3):
        inner = Code(module, f"g{n}", 2, internal=True)
        out, x = inner.given
        inner.store(out, x + n * 10)
        inner.end()
        functions.append(inner.function)
    code = Code(module, "f", 3)
    wanted, out, x = code.given
    code.pick(wanted, functions, out, x)
    code.store(out + 8, x)  # the way goes on behind it
    code.end()
    text = str(module)
    assert text.count("define internal") == 3
    result = np.full(2, GUARD, np.int64)
    run = native.function(native.address("f", lambda: text, text), 3)
    run(which, result.ctypes.data, 5)
    assert result.tolist() == [5 + 10 * which if 0 <= which < 3 else GUARD, 5]


def test_functions_give_numbers() -> None:
    def write(code: Any, x: Any) -> Any:
        from gpubp.backends.native_code import Code

        half = Code(code.module, "half", 1, internal=True, gives=True)
        with half.when(half.given[0] < 0):
            half.end(-1)
        half.end(half.given[0] // 2)
        return (
            code.call(half.function, x),
            code.call(half.function, -3),
            code.call(half.function, 9),
        )

    assert numbers(write, 3, 14) == [7, -1, 4]


def test_a_function_of_another_module_is_found_by_its_name() -> None:
    from gpubp.backends.native_code import Code, ir

    other = ir.Module()
    twice = Code(other, "test_twice", 1, gives=True)
    twice.end(twice.given[0] * 2)
    where = native.address("test_twice", lambda: str(other), str(other))
    sys.modules["llvmlite.binding"].add_symbol("gpubp_test_twice", where)

    def write(code: Any, x: Any) -> Any:
        function = code.outer("gpubp_test_twice", 1, gives=True)
        assert code.outer("gpubp_test_twice", 1, gives=True) is function
        return [code.call(function, code.call(function, x))]

    assert numbers(write, 1, 3) == [12]


# -- vectors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "lanes"), [*KINDS, ("float32", 1), ("float64", 16)])
def test_one_number_is_spread_over_a_vector(name: str, lanes: int) -> None:
    kind, item = vector(name, lanes)
    given = np.asarray([2.5, 1.0]).astype(name)

    def write(code: Any, out: Any, x: Any) -> None:
        code.store(out, code.spread(code.load(x, kind.element, item), lanes), item)

    out = np.full(lanes + 1, GUARD, name)
    made(write, 2)(out.ctypes.data, given.ctypes.data)
    assert out.tolist() == [given[0]] * lanes + [GUARD]


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_lanes_below_a_number(lanes: int) -> None:
    from gpubp.backends.native_code import ir

    def write(code: Any, out: Any, count: Any) -> None:
        wide = code.builder.zext(code.below(lanes, count), ir.VectorType(ir.IntType(64), lanes))
        code.store(out, wide)

    function = made(write, 2)
    for count in (-(2**40), -1, *range(lanes + 2), 2**32, 2**40):
        out = np.full(lanes + 1, GUARD, np.int64)
        function(out.ctypes.data, count)
        assert out.tolist() == [int(i < count) for i in range(lanes)] + [GUARD], count


@pytest.mark.parametrize("by", ["address", "pointer"])
@pytest.mark.parametrize(("name", "lanes"), KINDS)
def test_masks(name: str, lanes: int, by: str) -> None:
    """What is not in the mask is 0 when it is loaded, and stays as it is when stored."""
    kind, item = vector(name, lanes)

    def place(code: Any, where: Any) -> Any:
        return where if by == "address" else code.pointer(where, kind)

    def write(code: Any, out: Any, x: Any, loaded: Any, stored: Any) -> None:
        found = code.masked_load(place(code, x), kind, code.below(lanes, loaded), item)
        code.masked_store(place(code, out), found, code.below(lanes, stored), item)

    function = made(write, 4)
    given = np.arange(1, lanes + 2).astype(name)
    for loaded in range(lanes + 1):
        for stored in range(lanes + 1):
            out = np.full(lanes + 1, GUARD, name)
            function(out.ctypes.data, given.ctypes.data, loaded, stored)
            expected = [i + 1 if i < loaded else 0 for i in range(stored)]
            assert out.tolist() == expected + [GUARD] * (lanes + 1 - stored)


def test_memory_outside_a_mask_is_not_touched() -> None:
    """With no lane in the mask there need not be any memory at all."""
    kind, item = vector("float32", 8)

    def write(code: Any, out: Any, nowhere: Any, count: Any) -> None:
        found = code.masked_load(nowhere, kind, code.below(8, count), item)
        code.masked_store(nowhere, found, code.below(8, count), item)
        code.store(out, found, item)

    out = np.ones(8, np.float32)
    made(write, 3)(out.ctypes.data, 16, 0)
    assert not out.any()


@pytest.mark.parametrize(("name", "lanes"), [*KINDS, ("float32", 16)])
def test_the_first_lanes_are_stored(name: str, lanes: int) -> None:
    kind, item = vector(name, lanes)
    given = np.arange(1, lanes + 1).astype(name)
    for count in range(lanes + 1):

        def write(code: Any, out: Any, x: Any, count: int = count) -> None:
            code.store_first(out, code.load(x, kind, item), count, item)

        out = np.full(lanes + 2, GUARD, name)
        made(write, 2)(out[1:].ctypes.data, given.ctypes.data)
        rest = lanes + 1 - count
        assert out.tolist() == [GUARD, *given[:count].tolist(), *[GUARD] * rest], count


def test_a_pointer_further_on() -> None:
    kind, item = vector("float64", 2)

    def write(code: Any, out: Any, x: Any, count: Any) -> None:
        begin = code.pointer(x, kind.element)
        found = code.builder.load(code.further(begin, count * 2, kind), align=item)
        code.fetch(out)
        code.store(out, found, item)

    given, out = np.arange(12.0), np.zeros(3)
    function = made(write, 3)
    for count in (0, 2, 5):
        function(out.ctypes.data, given.ctypes.data, count)
        assert out.tolist() == [2 * count, 2 * count + 1, 0]


def test_functions_that_llvm_knows_are_declared_once() -> None:
    kind, item = vector("float64", 4)

    def write(code: Any, out: Any) -> None:
        x = code.load(out, kind, item)
        for _ in range(2):
            x = code.intrinsic("llvm.sqrt.v4f64", kind, x)
        code.store(out, x, item)

    out = np.asarray([1.0, 16.0, 81.0, 256.0])
    made(write, 1)(out.ctypes.data)
    assert out.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_condition_the_wrong_way_round_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpubp.backends.native_code import Code

    right = Code.either
    monkeypatch.setattr(Code, "either", lambda self, c, a, b: right(self, c, b, a))
    with pytest.raises(AssertionError):
        test_comparisons_and_what_they_choose(1, 2)
