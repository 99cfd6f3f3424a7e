"""Elementary functions for compiled kernels, on vectors: polynomials without a branch or a call.

erf and cos of float64 alone are the C library's. Infinities, NaN, signed zeros, subnormal numbers
and overflow are NumPy's. The largest errors, in units of the last place, seen over all exponents:

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
from collections.abc import Callable
from typing import Any

import numpy as np

from .lanes import INFINITY, NAN, Lanes, horner
from .native_code import ir
from .vector_formats import DOUBLE, SINGLE, Format


def _format(x: Lanes) -> Format:
    return SINGLE if isinstance(x.element, ir.FloatType) else DOUBLE


def _layout(x: Lanes) -> tuple[Any, int, int]:
    """The whole numbers of a float's width, its bits of mantissa and its exponent's bias."""
    single = isinstance(x.element, ir.FloatType)
    return (ir.IntType(32), 23, 127) if single else (ir.IntType(64), 52, 1023)


def _power(t: Lanes) -> Lanes:
    """2^n from t = n + 1.5 * 2^mantissa, whose last bits are those of n; 2^n must be normal."""
    word, mantissa, bias = _layout(t)
    return ((t.seen_as(word) << mantissa) + (bias << mantissa)).seen_as(t.element)


def _split(x: Lanes) -> tuple[Lanes, Lanes]:
    """(e, m) with x = m * 2^e and m from sqrt(1/2) to sqrt(2); x normal and positive."""
    word, mantissa, _ = _layout(x)
    width = np.float32 if mantissa == 23 else np.float64
    root = int(width(math.sqrt(0.5)).view(f"i{word.width // 8}"))
    bits, build = x.seen_as(word), x.code.builder
    shift = bits.like(mantissa)
    e = Lanes(x.code, build.ashr((bits - root).value, shift.value))
    return e.cast(x.element, signed=True), (bits - (e << mantissa)).seen_as(x.element)


def _reduced(x: Lanes) -> tuple[Lanes, Lanes]:
    """x = n ln 2 + r (Cody and Waite, 1980): n with the magic number, and r."""
    k = _format(x)
    t = x * (1.0 / math.log(2.0)) + k.magic
    n = t - k.magic
    return t, (x - n * k.ln2[0]) - n * k.ln2[1]


def _clipped(x: Lanes, low: float, high: float) -> Lanes:
    x = (x > high).either(high, x)
    return (x < low).either(low, x)


def _normal_exp(x: Lanes) -> Lanes:
    """exp where it is a normal number."""
    t, r = _reduced(x)
    return (1.0 + (r + r * r * horner(r, _format(x).exp))) * _power(t)


def exp(x: Lanes) -> Lanes:
    k = _format(x)
    t, r = _reduced(_clipped(x, *k.exp_range))
    first = (t - k.magic) * 0.5 + k.magic  # two factors: 2^n itself may not be a normal number
    second = ((t - k.magic) - (first - k.magic)) + k.magic
    return (1.0 + (r + r * r * horner(r, k.exp))) * _power(first) * _power(second)


def expm1(x: Lanes) -> Lanes:
    k = _format(x)
    t, r = _reduced(_clipped(x, k.minus_one, k.exp_range[1]))
    scale = _power(t - 1.0)  # half of 2^n, which may overflow before the result does
    y = 2.0 * (scale * (r + r * r * horner(r, k.exp)) + (scale - 0.5))
    return (abs(x) < k.tiny).either(x, y)


def _joined(e: Lanes, f: Lanes) -> Lanes:
    """e ln 2 + log(1 + f), by s = f / (2 + f)."""
    k = _format(f)
    s, square = f / (2.0 + f), 0.5 * f * f
    z = s * s
    rest = s * (square + z * horner(z, k.log)) + e * k.ln2[1]
    return e * k.ln2[0] + (f - (square - rest))


def log(x: Lanes) -> Lanes:
    least, lifted = _format(x).normal
    small = x < least
    e, m = _split(small.either(x * 2.0**lifted, x))
    y = _joined(e - small.either(float(lifted), x.like(0.0)), m - 1.0)
    y = (x < INFINITY).either(y, x)
    return (x < 0.0).either(NAN, x.compared("==", 0.0).either(-INFINITY, y))


def log1p(x: Lanes) -> Lanes:
    k, u = _format(x), 1.0 + x
    e, m = _split(u)
    # What u lost, in units of 2^e; u loses nothing where 2^-e would not be normal.
    lost = (x - (u - 1.0)) * _power(k.magic - (e > 64.0).either(64.0, e))
    y = (abs(x) < k.tiny).either(x, _joined(e, (m - 1.0) + lost))
    y = (x < INFINITY).either(y, x)
    return (u < 0.0).either(NAN, u.compared("==", 0.0).either(-INFINITY, y))


def tanh(x: Lanes) -> Lanes:
    k, a = _format(x), abs(x)
    a = (a > k.one).either(k.one, a)
    outer = 1.0 - 2.0 / (_normal_exp(a + a) + 1.0)
    y = x * x
    inner = x * (1.0 + y * horner(y, k.tanh))
    return (a < 0.625).either(inner, (x < 0.0).either(-outer, outer))


# (erf(x) - x) / x in x^2, |x| <= 7/8, and -log(erfc(x)) in x, 7/8 <= x <= 4; the latter by least
# squares with Lawson's weights (1961), so that the largest error of erf is the least.
_NEAR = (8.69036891e-5, -0.000821457089, 0.00520704891, -0.0268617058, 0.112837352, -0.376126362,
         0.128379167)  # fmt: skip
_FAR = (-0.000200996264, 0.00309229247, -0.0224202188, 0.104327507, 0.636737229, 1.12793613,
        0.00013357488)  # fmt: skip


def erf(x: Lanes) -> Lanes:
    if not isinstance(x.element, ir.FloatType):
        return x.each("erf")
    a = abs(x)
    a = (a > 4.0).either(4.0, a)  # erf is 1 to the last bit there
    far = 1.0 - _normal_exp(-horner(a, _FAR))
    near = x + x * horner(x * x, _NEAR)
    return (a < 0.875).either(near, (x < 0.0).either(-far, far))


# (sin(r) - r) / r^3 and (cos(r) - 1 + r^2 / 2) / r^4 in r^2, |r| <= pi / 4.
_SINE = (-0.000195878405, 0.00833274804, -0.166666647)
_COSINE = (2.45478916e-5, -0.00138883028, 0.0416666647)
_LARGE = 2.0**25  # to here the products of an integer with the first parts of pi / 2 are exact
_QUARTERS = (
    float.fromhex("0x1.921fb5p0"), float.fromhex("0x1.110b46p-26"),
    float.fromhex("0x1.1a62633145c07p-54"),
)  # fmt: skip
# The first 192 bits of 1 / (2 pi).
_TURNS = (0x28BE60DB9391054A, 0x7F09D5F47D4D3770, 0x36D8A5664F10E410)
_BITS = ir.IntType(64)


def _remainder(x: Lanes) -> Lanes:
    """x - 2 pi n, within pi of 0, of a float32 of 2^23 or more that is held as a float64.

    The 64 bits of 1 / (2 pi) that matter are multiplied by the significand modulo one turn
    (Payne and Hanek, 1983).
    """
    word = x.seen_as(_BITS)
    significand = ((word & 0xFFFFFFFFFFFFF) | 0x10000000000000) >> 29
    e = (word >> 52) - (1023 + 23)
    shift, beyond = e & 63, e > 63
    first = beyond.either(_TURNS[1], word.like(_TURNS[0])) << shift
    second = (beyond.either(_TURNS[2], word.like(_TURNS[1])) >> 1) >> (63 - shift)
    return (significand * (first | second)).cast(x.element, signed=True) * (math.pi * 2.0**-63)


def cos(x: Lanes) -> Lanes:
    if not isinstance(x.element, ir.FloatType):
        return x.each("cos")
    a = abs(x.cast(ir.DoubleType()))
    a = (a > _LARGE).either(_remainder(a), a)
    t = a * (2.0 / math.pi) + DOUBLE.magic
    n = t - DOUBLE.magic
    for part in _QUARTERS:
        a = a - n * part
    r = a.cast(x.element)
    y = r * r
    sine = r + r * y * horner(y, _SINE)
    cosine = 1.0 - y * (0.5 - y * horner(y, _COSINE))
    odd = (t.seen_as(_BITS) & 1).compared("!=", 0)
    size = odd.either(sine, cosine)
    turned = ((t + 1.0).seen_as(_BITS) & 2).compared("!=", 0)
    value = turned.either(-size, size)
    return (abs(x) < INFINITY).either(value, x.like(NAN))


FUNCTIONS: dict[str, Callable[[Lanes], Lanes]] = {
    "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "tanh": tanh, "erf": erf, "cos": cos,
}  # fmt: skip
"""The functions of a kernel by NumPy's name."""
