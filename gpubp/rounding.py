"""How far two paths may differ: the one place that says so."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

_EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


def tolerance(precision: str, expected: Any, k: int = 1, terms: Iterable[Any] = ()) -> float:
    """Return the largest absolute error that rounding explains, for arrays like `expected`.

    In float64 it is near 1e-12, in float32 `8 * eps * sqrt(k) * max|expected|`; `k` is the length
    of the longest sum behind an element. Where the numbers that are summed may cancel, `terms`
    are arrays of their size: rounding is of the largest term then, however small the sum.

    >>> tolerance("float64", [1.0])
    1e-12
    >>> round(tolerance("float32", [2.0], k=4), 8)
    3.81e-06
    >>> tolerance("float32", [0.0], terms=([1.0, -1.0],)) == tolerance("float32", [1.0])
    True
    """
    size = max([largest(expected), *map(largest, terms)])
    rounding = 8.0 * _EPS[precision] * math.sqrt(max(1, k)) * size
    floor = 1e-12 * max(1.0, size) if precision == "float64" else _EPS[precision] ** 2
    return max(rounding, floor)


def largest(array: Any) -> float:
    """Return max|x|, 0 for no elements.

    >>> largest([1.0, -2.0])
    2.0
    """
    return float(np.abs(np.asarray(array, dtype=np.float64)).max(initial=0.0))


def error(given: Any, expected: Any) -> float:
    """Return the largest absolute difference; infinity where one is not a number.

    >>> error([1.0, 2.0], [1.0, 2.5])
    0.5
    >>> error([float("nan")], [0.0])
    inf
    """
    a, b = np.asarray(given, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"arrays of shapes {a.shape} and {b.shape} cannot be compared")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0 if np.array_equal(a, b, equal_nan=True) else math.inf
    return float(np.abs(a - b).max()) if a.size else 0.0
