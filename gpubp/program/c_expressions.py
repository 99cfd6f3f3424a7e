"""Write operations, constants and neutral numbers in C++.

`T` stands for the floating type of a kernel: a `typedef` before the text makes it `float` or
`double`. A constant is printed as `T(0.5)`, for a bare literal is a double and would make a kernel
of floats compute in doubles. What a compiler calls things is in `NAMES` and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .kernels import Number, Operand
from .values import ARITHMETIC, BITWISE, BOOLEAN, COMPARISONS, FLOAT, FUNCTIONS, INTEGER, UNSIGNED

_SAME = {name: name for name in (*FUNCTIONS, "isfinite")} | {"abs": "fabs"}

NAMES = {
    "host": {**_SAME, "inf": "INFINITY", "nan": "NAN"},
    # NVRTC has no header of macros; these intrinsics it always knows.
    "cuda": {
        **_SAME,
        "cos": "gpubp_cos",
        "inf": "__int_as_float(0x7f800000)",
        "nan": "__int_as_float(0x7fc00000)",
    },
}
"""What functions are called, and how what is not finite is written, by target.

Each function has an overload for `float` and one for `double`.
"""

PRELUDES = {
    # That of CUDA computes in doubles, or in local memory, for huge arguments that are never met.
    # Here x / pi, its rounding too, is brought to the half turns nearest to zero.
    "gpubp_cos": """
static __device__ inline T gpubp_cos(T x) {
    const T p = x * T(0.3183098861837907), turns = fma(T(-2), rint(p * T(0.5)), p);
    const T low = sizeof(T) == 4 ? T(1.2841276633451830e-08) : T(-1.9678676675182487e-17);
    return cospi(turns + (fma(x, T(0.3183098861837907), -p) + x * low));
}
"""
}
"""Functions that a text has to define before it calls them, by name."""

TYPES = "typedef {real} T; typedef unsigned int U; typedef long long I; typedef double D;"
"""The types of a kernel; `real` is `float` or `double`."""

REAL = {"float32": "float", "float64": "double"}

_SIGNS = {**ARITHMETIC, **COMPARISONS, **BITWISE}
_LEAST = "I(-9223372036854775807 - 1)"  # a literal has no sign: its size alone would be too large
_EXTREMES = {
    INTEGER: {"max": _LEAST, "min": "I(9223372036854775807)"},
    UNSIGNED: {"max": "U(0)", "min": "U(4294967295)"},
    BOOLEAN: {"max": "false", "min": "true"},
}


def operand(x: Operand, target: str) -> str:
    """Return a name, or a constant of its kind that keeps every bit.

    >>> operand(Number(0.1, "T"), "host"), operand(Number(3, "U"), "host"), operand("z", "host")
    ('T(0.1)', 'U(3)', 'z')
    >>> operand(Number(float("-inf"), "T"), "host")
    'T(-INFINITY)'
    """
    if not isinstance(x, Number):
        return x
    if x.kind == FLOAT:
        number = float(x.number)
        if math.isfinite(number):
            return f"T({number!r})"
        if math.isnan(number):
            return f"T({NAMES[target]['nan']})"
        return f"T({'-' if number < 0 else ''}{NAMES[target]['inf']})"
    if x.kind == BOOLEAN:
        return "true" if x.number else "false"
    return _LEAST if x.number == -(2**63) else f"{x.kind}({int(x.number)})"


def expression(
    op: str, operands: Sequence[Operand], kind: str, target: str, attr: int | None = None
) -> str:
    """Return an operation on names and constants whose result has that kind.

    A result of kind uint32 wraps as it is; `maximum` and `minimum` keep a NaN, which C's `fmax`
    and `fmin` drop.

    >>> expression("mul", ("a", Number(2.0, "T")), "T", "host")
    'a * T(2.0)'
    >>> expression("maximum", ("a", "b"), "T", "host")
    '(a < b || b != b) ? b : a'
    """
    given = [operand(x, target) for x in operands]
    if op in _SIGNS:
        return f"{given[0]} {_SIGNS[op]} {given[1]}"
    if op in ("maximum", "minimum"):
        return joined(op[:3], given[0], operands[1], target)
    if op == "where":
        return f"{given[0]} ? {given[1]} : {given[2]}"
    if op == "cast":
        return f"{kind}({given[0]})"
    if op == "neg":
        return f"-{given[0]}"
    if op == "copy":
        return given[0]
    if op == "arange":
        return f"{kind}(j)"
    if op == "iota":  # the number of an element; unsigned before it wraps
        assert attr is not None
        return f"U(r) * U({attr}) + U(j)" if attr > 1 else "U(r)"
    return f"{NAMES[target][op]}({given[0]})"


def joined(op: str, a: str, b: Operand, target: str) -> str:
    """Return `a` and `b` as one: their `"sum"`, or the `"max"` or `"min"` that keeps a NaN."""
    text = operand(b, target)
    if op == "sum":
        return f"{a} + {text}"
    unordered = "" if isinstance(b, Number) else f" || {text} != {text}"
    return f"({a} {'<' if op == 'max' else '>'} {text}{unordered}) ? {text} : {a}"


def neutral(op: str, kind: str, target: str) -> str:
    """Return what a sum, a largest or a smallest begins with."""
    if op == "sum":
        return operand(Number(0, kind), target)
    if kind == FLOAT:
        return operand(Number(-math.inf if op == "max" else math.inf, kind), target)
    return _EXTREMES[kind][op]


def preludes(text: str) -> str:
    """Return the definitions of the functions that a text calls and CUDA does not have.

    >>> preludes("y = gpubp_cos(x);").split("(")[0].strip(), preludes("y = exp(x);")
    ('static __device__ inline T gpubp_cos', '')
    """
    return "".join(definition for name, definition in PRELUDES.items() if f"{name}(" in text)
