"""What the elementary functions of compiled kernels have to know of float32 and float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Format(NamedTuple):
    """Where a format rounds, overflows and ends, and polynomials of its precision."""

    scalar: Any
    magic: float  # 1.5 * 2^mantissa: added and taken away, it rounds to an integer
    ln2: tuple[float, float]  # the first with so many zeros at its end that n * ln2[0] is exact
    exp_range: tuple[float, float]  # exp is infinite above and 0 below
    minus_one: float  # expm1 is -1 below
    tiny: float  # f(x) = x to the last bit where |x| is below, for expm1 and log1p
    normal: tuple[float, int]  # the least normal number; so many powers of 2 lift a subnormal one
    one: float  # tanh is 1 above
    exp: tuple[float, ...]  # (e^r - 1 - r) / r^2 in r, |r| <= ln(2) / 2
    log: tuple[float, ...]  # (2 atanh(s) - 2 s) / s^3 in s^2, |s| <= 3 - sqrt(8)
    tanh: tuple[float, ...]  # (tanh(x) - x) / x^3 in x^2, |x| <= 5/8


# The polynomials are interpolations of our own at Chebyshev's points, worked out to 50 digits.
SINGLE = Format(
    scalar=np.float32,
    magic=1.5 * 2.0**23,
    ln2=(0.693145751953125, 1.4286068203094173e-06),
    exp_range=(-104.0, 89.0),
    minus_one=-18.0,
    tiny=2.0**-25,
    normal=(2.0**-126, 25),
    one=10.0,
    exp=(0.00139262249, 0.00836321214, 0.0416665544, 0.166665768, 0.5),
    log=(0.233309641, 0.285508026, 0.40000122, 0.666666666),
    tanh=(-0.00609671417, 0.020997179, -0.0538509096, 0.133327697, -0.333333289),
)
DOUBLE = Format(
    scalar=np.float64,
    magic=1.5 * 2.0**52,
    ln2=(float.fromhex("0x1.62e42feep-1"), 1.9082149292705877e-10),
    exp_range=(-746.0, 710.0),
    minus_one=-38.0,
    tiny=2.0**-54,
    normal=(2.0**-1022, 54),
    one=20.0,
    exp=(2.510043897623718e-08, 2.762015799025116e-07, 2.7557268347499137e-06,
         2.4801521149665677e-05, 0.0001984126986312606, 0.0013888888917307917,
         0.008333333333330048, 0.04166666666662394, 0.16666666666666669, 0.5),
    log=(0.1461703754879165, 0.1533167403016786, 0.18182890556695602, 0.2222221111514416,
         0.2857142862609589, 0.3999999999989924, 0.666666666666667),
    tanh=(6.485163482793113e-06, -3.12011014257974e-05, 9.257116129556769e-05,
          -0.0002375906496055562, 0.0005896606577757043, -0.0014557754120478055,
          0.0035921217511549622, -0.008863235103240878, 0.021869488519008305,
          -0.05396825396789699, 0.13333333333333042, -0.3333333333333333),
)  # fmt: skip
