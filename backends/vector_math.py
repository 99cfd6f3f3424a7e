"""Elementary functions for compiled kernels, written so that a loop that calls them vectorises.

Without Intel's SVML, numba calls the C library once an element. These are inlined polynomials
without a branch or a call (erf and cos of float64 are the C library's). A caller imports one as
`<function>_<dtype>`, or finds it in `FUNCTIONS`. Infinities, NaN, signed zeros, subnormal numbers
and overflow are NumPy's, also in a caller whose own flags allow reassociation.

The largest errors, in units of the last place, seen over all exponents:

    ========  ====  =====  ====  =====  ====  ====  ====
    dtype     exp   expm1  log   log1p  tanh  erf   cos
    ========  ====  =====  ====  =====  ====  ====  ====
    float32   1.1   1.8    0.8   1.4    1.4   1.3   1.5
    float64   1.1   1.8    0.8   1.4    1.4
    ========  ====  =====  ====  =====  ====  ====  ====

cos of a float32 beyond 2^25 has an absolute error of 1e-11 in addition.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .vector_formats import DOUBLE, SINGLE, Format
from .vector_parts import bits, horner, inlined, power, select, split


def _build(k: Format) -> tuple[Any, ...]:
    """exp, expm1, log, log1p, tanh of one format, and exp where it is normal."""
    T = k.scalar
    zero, half, one, two = T(0.0), T(0.5), T(1.0), T(2.0)
    infinity, nan = T(math.inf), T(math.nan)
    magic, log2e, high, low = T(k.magic), T(1.0 / math.log(2.0)), T(k.ln2[0]), T(k.ln2[1])
    bottom, top = T(k.exp_range[0]), T(k.exp_range[1])
    minus_one, tiny, end, join = T(k.minus_one), T(k.tiny), T(k.one), T(0.625)
    normal, lift, lifted = T(k.normal[0]), T(2.0 ** k.normal[1]), T(k.normal[1])
    of_exp, of_log, of_tanh = k.exp, k.log, k.tanh

    @inlined
    def reduce(x: Any) -> Any:  # x = n ln 2 + r (Cody and Waite, 1980); n with the magic number
        t = x * log2e + magic
        n = t - magic
        return t, (x - n * high) - n * low

    @inlined
    def normal_exp(x: Any) -> Any:
        t, r = reduce(x)
        return (one + (r + r * r * horner(r, of_exp))) * power(t)

    @inlined
    def exp(x: Any) -> Any:
        x = select(x > top, top, x)
        x = select(x < bottom, bottom, x)
        t, r = reduce(x)
        first = (t - magic) * half + magic  # two factors: 2^n itself may not be a normal number
        second = ((t - magic) - (first - magic)) + magic
        return (one + (r + r * r * horner(r, of_exp))) * power(first) * power(second)

    @inlined
    def expm1(x: Any) -> Any:
        clipped = select(x > top, top, x)
        clipped = select(x < minus_one, minus_one, clipped)
        t, r = reduce(clipped)
        scale = power(t - one)  # half of 2^n, which may overflow before the result does
        y = two * (scale * (r + r * r * horner(r, of_exp)) + (scale - half))
        return select(abs(x) < tiny, x, y)

    @inlined
    def joined(e: Any, f: Any) -> Any:  # e ln 2 + log(1 + f), by s = f / (2 + f)
        s, square = f / (two + f), half * f * f
        z = s * s
        rest = s * (square + z * horner(z, of_log)) + e * low
        return e * high + (f - (square - rest))

    @inlined
    def log(x: Any) -> Any:
        small = x < normal
        e, m = split(select(small, x * lift, x))
        y = joined(e - select(small, lifted, zero), m - one)
        y = select(x < infinity, y, x)
        return select(x < zero, nan, select(x == zero, -infinity, y))

    @inlined
    def log1p(x: Any) -> Any:
        u = one + x
        e, m = split(u)
        # What u lost, in units of 2^e; u loses nothing where 2^-e would not be normal.
        lost = (x - (u - one)) * power(magic - select(e > T(64.0), T(64.0), e))
        y = select(abs(x) < tiny, x, joined(e, (m - one) + lost))
        y = select(x < infinity, y, x)
        return select(u < zero, nan, select(u == zero, -infinity, y))

    @inlined
    def tanh(x: Any) -> Any:
        a = abs(x)
        a = select(a > end, end, a)
        outer = one - two / (normal_exp(a + a) + one)
        y = x * x
        inner = x * (one + y * horner(y, of_tanh))
        return select(a < join, inner, select(x < zero, -outer, outer))

    return exp, expm1, log, log1p, tanh, normal_exp


exp_float32, expm1_float32, log_float32, log1p_float32, tanh_float32, _normal_exp = _build(SINGLE)
exp_float64, expm1_float64, log_float64, log1p_float64, tanh_float64, _ = _build(DOUBLE)

# (erf(x) - x) / x in x^2, |x| <= 7/8, and -log(erfc(x)) in x, 7/8 <= x <= 4; the latter by least
# squares with Lawson's weights (1961), so that the largest error of erf is the least.
_NEAR = (8.69036891e-5, -0.000821457089, 0.00520704891, -0.0268617058, 0.112837352, -0.376126362,
         0.128379167)  # fmt: skip
_FAR = (-0.000200996264, 0.00309229247, -0.0224202188, 0.104327507, 0.636737229, 1.12793613,
        0.00013357488)  # fmt: skip
_ZERO, _ONE, _FOUR, _JOIN = np.float32(0.0), np.float32(1.0), np.float32(4.0), np.float32(0.875)


@inlined
def erf_float32(x: Any) -> Any:
    """The error function of a float32."""
    a = abs(x)
    a = select(a > _FOUR, _FOUR, a)  # erf is 1 to the last bit there
    far = _ONE - _normal_exp(-horner(a, _FAR))
    near = x + x * horner(x * x, _NEAR)
    return select(a < _JOIN, near, select(x < _ZERO, -far, far))


# (sin(r) - r) / r^3 and (cos(r) - 1 + r^2 / 2) / r^4 in r^2, |r| <= pi / 4.
_SINE = (-0.000195878405, 0.00833274804, -0.166666647)
_COSINE = (2.45478916e-5, -0.00138883028, 0.0416666647)
_LARGE = 2.0**25  # to here the products of an integer with the first parts of pi / 2 are exact
_QUARTER_1 = float.fromhex("0x1.921fb5p0")
_QUARTER_2 = float.fromhex("0x1.110b46p-26")
_QUARTER_3 = float.fromhex("0x1.1a62633145c07p-54")
_HALF, _MAGIC, _RADIANS = np.float32(0.5), DOUBLE.magic, math.pi * 2.0**-63
_U = np.uint64
# The first 192 bits of 1 / (2 pi).
_TURN_1, _TURN_2, _TURN_3 = _U(0x28BE60DB9391054A), _U(0x7F09D5F47D4D3770), _U(0x36D8A5664F10E410)


@inlined
def _remainder(x: Any) -> Any:
    """x - 2 pi n, within pi of 0, of a float32 of 2^23 or more that is held as a float64.

    The 64 bits of 1 / (2 pi) that matter are multiplied by the significand modulo one turn
    (Payne and Hanek, 1983).
    """
    word = bits(x)
    significand = ((word & _U(0xFFFFFFFFFFFFF)) | _U(0x10000000000000)) >> _U(29)
    e = (word >> _U(52)) - _U(1023 + 23)
    shift, beyond = e & _U(63), e > _U(63)
    first = select(beyond, _TURN_2, _TURN_1) << shift
    second = (select(beyond, _TURN_3, _TURN_2) >> _U(1)) >> (_U(63) - shift)
    return np.float64(np.int64(significand * (first | second))) * _RADIANS


@inlined
def cos_float32(x: Any) -> Any:
    """The cosine of a float32."""
    a = abs(np.float64(x))
    a = select(a > _LARGE, _remainder(a), a)
    t = a * (2.0 / math.pi) + _MAGIC
    n = t - _MAGIC
    r = np.float32(((a - n * _QUARTER_1) - n * _QUARTER_2) - n * _QUARTER_3)
    y = r * r
    sine = r + r * y * horner(y, _SINE)
    cosine = _ONE - y * (_HALF - y * horner(y, _COSINE))
    size = select(bits(t) & _U(1) != 0, sine, cosine)
    value = select(bits(t + 1.0) & _U(2) != 0, -size, size)
    return select(abs(x) < np.float32(np.inf), value, np.float32(np.nan))


@inlined
def erf_float64(x: Any) -> Any:
    """The C library's error function."""
    return math.erf(x)


@inlined
def cos_float64(x: Any) -> Any:
    """The C library's cosine."""
    return math.cos(x)


FUNCTIONS: dict[str, dict[str, Any]] = {
    "float32": {
        "exp": exp_float32,
        "expm1": expm1_float32,
        "log": log_float32,
        "log1p": log1p_float32,
        "tanh": tanh_float32,
        "erf": erf_float32,
        "cos": cos_float32,
    },
    "float64": {
        "exp": exp_float64,
        "expm1": expm1_float64,
        "log": log_float64,
        "log1p": log1p_float64,
        "tanh": tanh_float64,
        "erf": erf_float64,
        "cos": cos_float64,
    },
}
"""The functions of a kernel by the name of its type and NumPy's name of the function."""
