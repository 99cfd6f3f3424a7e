"""Operations of one instruction or a few that a compiled kernel has no words for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function that becomes part of each caller, with rounding as it is written.

    It has flags of its own, or it would take its caller's: reassociation undoes a reduction.
    """
    return njit(forceinline=True, fastmath={"contract"}, error_model="numpy")(function)


def _native(function: Callable[..., Any]) -> Any:
    return intrinsic(function)


@_native
def select(typing: Any, condition: Any, a: Any, b: Any) -> Any:
    """`a if condition else b` without a branch."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(*values)

    return a(condition, a, b), emit


@_native
def horner(typing: Any, x: Any, coefficients: Any) -> Any:
    """The polynomial of x with these coefficients, the highest power's first."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        x, packed = values
        given = [builder.extract_value(packed, i) for i in range(len(coefficients))]
        c = [context.cast(builder, v, coefficients.dtype, signature.args[0]) for v in given]
        result = c[0]
        for other in c[1:]:
            result = builder.fadd(builder.fmul(result, x), other)
        return result

    return x(x, coefficients), emit


def _layout(x: Any) -> tuple[Any, int, int]:
    """The integer type of a float's width, its bits of mantissa and its exponent's bias."""
    return (types.int32, 23, 127) if x.bitwidth == 32 else (types.int64, 52, 1023)


@_native
def power(typing: Any, t: Any) -> Any:
    """2^n from t = n + 1.5 * 2^mantissa, whose last bits are those of n; 2^n must be normal."""
    kind, mantissa, bias = _layout(t)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = context.get_value_type(kind)
        shifted = builder.shl(builder.bitcast(values[0], word), word(mantissa))
        bits = builder.add(shifted, word(bias << mantissa))
        return builder.bitcast(bits, context.get_value_type(t))

    return t(t), emit


@_native
def split(typing: Any, x: Any) -> Any:
    """(e, m) with x = m * 2^e and m from sqrt(1/2) to sqrt(2); x normal and positive."""
    kind, mantissa, _ = _layout(x)
    width = np.float32 if kind is types.int32 else np.float64
    root = int(width(math.sqrt(0.5)).view(f"i{x.bitwidth // 8}"))

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word, real = context.get_value_type(kind), context.get_value_type(x)
        bits = builder.bitcast(values[0], word)
        e = builder.ashr(builder.sub(bits, word(root)), word(mantissa))
        m = builder.bitcast(builder.sub(bits, builder.shl(e, word(mantissa))), real)
        return context.make_tuple(builder, signature.return_type, (builder.sitofp(e, real), m))

    pair: Any = types.UniTuple  # numba has types, but not for this
    return pair(x, 2)(x), emit


@_native
def bits(typing: Any, x: Any) -> Any:
    """The bits of a float64 as an unsigned integer."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], context.get_value_type(types.uint64))

    return types.uint64(x), emit
