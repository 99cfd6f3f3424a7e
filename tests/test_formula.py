"""A formula as C: what is printed, what is refused, and that it computes what NumPy computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpubp.backend import Backend
from gpubp.backends.cuda import kernel_text
from gpubp.check.tolerance import error, tolerance
from gpubp.optimizers import SGD
from gpubp.program.formula import trace
from tests.conftest import OWN_FORMULAS, rng


def test_each_operation_is_one_line_and_results_are_held_before_they_are_stored() -> None:
    def pair(xp: Any, z: Any, j: Any) -> Any:
        return xp.where(z < 0.1, 2 - z, z), j + 1

    kernel = trace(pair, ("T", "I"))
    assert kernel.inputs == (("z", "T"), ("j", "I"))
    assert kernel.outputs == (("out0", "T"), ("out1", "I"))
    assert kernel.body.splitlines() == [
        "const bool t0 = z < T(0.1);",
        "const T t1 = T(2.0) - z;",
        "const T t2 = t0 ? t1 : z;",
        "const I t3 = j + I(1);",
        "const T t4 = t2;",
        "const I t5 = t3;",
        "out0 = t4;",
        "out1 = t5;",
    ]


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-300, -2.5, 2.0**-1074, 3])
def test_a_constant_is_of_the_kernels_type_and_keeps_every_bit(value: float) -> None:
    line = trace(lambda xp, z: z * value, ("T",)).body.splitlines()[0]
    assert line.startswith("const T t0 = z * T(")
    assert float(line.removeprefix("const T t0 = z * T(").removesuffix(");")) == value


@pytest.mark.parametrize("name", ["maximum", "minimum"])
@pytest.mark.parametrize(
    "arguments", [(lambda z, y: (z, y)), (lambda z, y: (z, 0.5)), (lambda z, y: (0.5, z))]
)
def test_the_greater_and_the_lesser_keep_a_nan(
    stand_in: Any, name: str, arguments: Callable[..., tuple[Any, Any]]
) -> None:
    def formula(xp: Any, z: Any, y: Any) -> Any:
        return getattr(xp, name)(*arguments(z, y))

    given = np.asarray([np.nan, 1.0, -1.0, 0.25, np.inf, -np.inf, np.nan])
    other = np.asarray([1.0, np.nan, 0.0, 0.25, np.nan, 1.0, np.nan])
    kernel = stand_in.ElementwiseKernel(*kernel_text(trace(formula, ("T", "T")), "float64"))
    out = stand_in.asnumpy(kernel(stand_in.asarray(given), stand_in.asarray(other)))
    assert np.array_equal(out, formula(np, given, other), equal_nan=True)


def test_a_branch_on_a_value_is_refused() -> None:
    def formula(xp: Any, z: Any) -> Any:
        return z if z > 0 else -z

    with pytest.raises(TypeError, match=r"xp\.where"):
        trace(formula, ("T",))


def test_an_unknown_function_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(AttributeError, match=r"cannot use xp\.sin; it can use abs.*where"):
        trace(lambda xp, z: xp.sin(z), ("T",))


def test_a_function_of_numbers_alone_is_refused() -> None:
    with pytest.raises(TypeError, match=r"xp\.exp of numbers alone"):
        trace(lambda xp, z: z * xp.exp(0.5), ("T",))


def test_a_whole_power_is_a_product() -> None:
    lines = trace(lambda xp, z: z**3, ("T",)).body.splitlines()
    assert lines[:2] == ["const T t0 = z * z;", "const T t1 = t0 * z;"]
    with pytest.raises(TypeError, match=r"power of 0\.5"):
        trace(lambda xp, z: z**0.5, ("T",))


def test_infinity_is_written_as_cuda_knows_it() -> None:
    body = trace(lambda xp, z: xp.where(z > 0, z, -math.inf), ("T",)).body
    assert "T(-__int_as_float(0x7f800000))" in body


def test_a_result_that_no_operand_is_part_of_is_refused() -> None:
    with pytest.raises(TypeError, match="returned a float"):
        trace(lambda xp, z: (z, 0.5), ("T",))


def test_operands_keep_their_names_where_c_has_no_use_for_them() -> None:
    def odd(xp: Any, new: Any, exp: Any, i: Any, i_: Any, _T: Any, __: Any, σ: Any, a6: Any) -> Any:
        return new + 2 * exp + 4 * xp.exp(i) + 8 * i_ + 16 * _T + 32 * __ + 64 * σ + 128 * a6

    names = [name for name, _ in trace(odd, ("T",) * 8).inputs]
    assert names == ["new_", "exp_", "i__", "i_", "T_", "a_", "a6_", "a6"]


def test_a_kernel_whose_operands_are_called_like_words_of_c_computes(stand_in: Any) -> None:
    def words(xp: Any, new: Any, exp: Any, i: Any, t0: Any, _: Any) -> Any:
        return new + 2 * exp + 4 * xp.exp(i) + 8 * t0 + 16 * _

    given = [np.asarray([float(n)]) for n in range(5)]
    kernel = stand_in.ElementwiseKernel(*kernel_text(trace(words, ("T",) * 5), "float64"))
    out = stand_in.asnumpy(kernel(*map(stand_in.asarray, given)))
    assert out == pytest.approx(words(np, *given), rel=1e-15)


def test_constants_that_are_not_finite_are_printed_for_the_device(
    stand_in: Any, precision: str
) -> None:
    def fill(xp: Any, z: Any) -> Any:
        bounded = xp.where(z < 1, -math.inf, xp.where(z < 2, math.inf, z))
        return xp.where(z > 3, math.nan, bounded), xp.isfinite(bounded)

    given = np.asarray([0.0, 1.0, 2.0, 4.0], precision)
    kernel = stand_in.ElementwiseKernel(*kernel_text(trace(fill, ("T",)), precision))
    for g, e in zip(kernel(stand_in.asarray(given)), fill(np, given), strict=True):
        assert g.dtype == e.dtype
        assert np.array_equal(stand_in.asnumpy(g), e, equal_nan=True)


MIXED: dict[str, Callable[..., Any]] = {
    "operator": lambda xp, z, j: z + j,
    "comparison": lambda xp, z, j: z < j,
    "where": lambda xp, z, j: xp.where(z > 0, z, j),
    "maximum": lambda xp, z, j: xp.maximum(z, j),
}


@pytest.mark.parametrize("how", MIXED)
def test_kinds_do_not_mix_unasked(how: str) -> None:
    with pytest.raises(TypeError, match=r"of the kinds \['I', 'T'\]; cast with xp\.astype"):
        trace(MIXED[how], ("T", "I"))
    cast = trace(lambda xp, z, j: MIXED[how](xp, z, xp.astype(j, z.dtype)), ("T", "I"))
    assert "T(j)" in cast.body


INEXACT: dict[str, Callable[..., Any]] = {
    "fraction": lambda xp, j: j * 0.5,
    "quotient": lambda xp, j: j / 2,
    "function": lambda xp, j: xp.exp(j),
}


@pytest.mark.parametrize("how", INEXACT)
def test_what_c_would_cut_to_a_whole_number_is_refused(how: str) -> None:
    """NumPy gives a float64 for each of these; an integer in C would be another number."""
    with pytest.raises(TypeError):
        trace(INEXACT[how], ("I",))


def test_the_number_of_operands_is_checked() -> None:
    with pytest.raises(TypeError, match="sgd_update takes 3 operands, got 2"):
        trace(SGD.formula, ("T", "T"))


def swap(xp: Any, a: Any, b: Any) -> tuple[Any, Any]:
    return b, a


@pytest.mark.parametrize("guard", [False, True])
def test_an_update_reads_all_of_its_state_before_it_writes(backend: Backend, guard: bool) -> None:
    first, second = backend.asarray([1.0, 2.0]), backend.asarray([3.0, 4.0])
    ok = first == first if guard or backend.deferred else True
    backend.update(swap, [first, second], [], [], ok)
    assert backend.to_numpy(first).tolist() == [3.0, 4.0]
    assert backend.to_numpy(second).tolist() == [1.0, 2.0]


def _name(case: Any) -> str:
    return f"{case.__name__}" if callable(case) else "".join(k[0] for k in case)


@pytest.mark.parametrize(("formula", "kinds"), OWN_FORMULAS, ids=_name)
def test_the_compiled_body_computes_what_the_plain_path_computes(
    stand_in: Any, precision: str, formula: Any, kinds: tuple[str, ...]
) -> None:
    draw = rng()
    types = {"T": precision, "I": "int64", "U": "uint32", "bool": "bool"}
    positive = any(word in formula.__name__ for word in ("update", "focal"))
    low = 0.05 if positive else -4.0  # a second moment, and gamma, is not negative
    operands = []
    for i, kind in enumerate(kinds):
        # every other operand is a row, as a bias or a rate of each member would be
        values = draw.uniform(low, 4.0, (50, 7)) if kind == "T" else draw.integers(0, 2, (50, 7))
        operands.append(values[: 1 if i % 2 else 50].astype(types[kind]))
    expected = formula(np, *operands)
    kernel = stand_in.ElementwiseKernel(*kernel_text(trace(formula, kinds), precision))
    given = kernel(*map(stand_in.asarray, operands))
    if not isinstance(expected, tuple):
        expected, given = (expected,), (given,)
    elif len(expected) == 1:
        given = (given,)
    for g, e in zip(given, expected, strict=True):
        assert g.dtype == e.dtype
        e = np.broadcast_to(e, g.shape)  # a kernel has one shape for all that it puts out
        assert error(stand_in.asnumpy(g), e) <= tolerance(precision, e) * (g.dtype.kind == "f")
