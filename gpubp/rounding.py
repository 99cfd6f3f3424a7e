"""How far two paths may differ: the one place that says so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

_EPS = {
    "float32": 2.0**-23, "float64": 2.0**-52, "tf32": 2.0**-10, "fp16": 2.0**-10, "bf16": 2.0**-7,
}  # fmt: skip
_PIECE = 1 << 20


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
    found = (float(np.abs(part).max()) for (part,) in pieces(array))
    return float(np.max([0.0, *found]))


def error(given: Any, expected: Any) -> float:
    """Return the largest absolute difference; infinity where one is not a number.

    >>> error([1.0, 2.0], [1.0, 2.5])
    0.5
    >>> error([float("nan")], [0.0])
    inf
    """
    if np.shape(given) != np.shape(expected):
        raise ValueError(
            f"arrays of shapes {np.shape(given)} and {np.shape(expected)} cannot be compared"
        )
    found = 0.0
    for a, b in pieces(given, expected):
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            same = all(np.array_equal(x, y, equal_nan=True) for x, y in pieces(given, expected))
            return 0.0 if same else math.inf
        found = max(found, float(np.abs(a - b).max()))
    return found


def pieces(*arrays: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the elements of arrays of one shape in float64, so many of them at a time.

    As a whole, the arrays of a large network would take twice the memory that it has itself.

    >>> [[part.tolist() for part in each] for each in pieces([1, 2], [3, 4])]
    [[[1.0, 2.0], [3.0, 4.0]]]
    """
    flat = [np.asarray(array).reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, _PIECE):
        yield tuple(np.asarray(a[start : start + _PIECE], dtype=np.float64) for a in flat)
