"""Means, deviations and fills of the columns of an array, block by block, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

BLOCK = 1 << 21
"""Numbers looked at in one go, 16 MB of them: no second copy of a large array."""


class Moments(NamedTuple):
    """Mean, population deviation and number of entries of each column; NaN is no entry.

    The deviation of a constant column is 1, and its mean is its value to the bit.
    """

    means: Any
    scales: Any
    counts: Any


def blocks(x: Any, rows: Any = None) -> Iterator[tuple[int, Any]]:
    """Yield the (chosen) rows of `(n, *shape)` in blocks `(m, features)` of float64.

    With each comes the position of its first row among the chosen ones.

    >>> [(start, block.shape) for start, block in blocks(np.zeros((3, 2, 2), dtype=np.uint8))]
    [(0, (3, 4))]
    """
    width = max(1, int(np.prod(x.shape[1:])))
    n, step = len(x) if rows is None else len(rows), max(1, BLOCK // width)
    for start in range(0, n, step):
        stop = min(start + step, n)
        chosen = x[start:stop] if rows is None else x[rows[start:stop]]
        yield start, np.asarray(chosen).reshape(stop - start, width).astype(np.float64)


def moments(x: Any, rows: Any = None) -> Moments:
    """Return the moments of the columns of `(n, *shape)` over the (chosen) rows.

    Deviations are merged block by block (Chan, Golub and LeVeque, 1979), of values divided by the
    largest magnitude of their column, so that no square overflows.

    >>> moments(np.asarray([[1.0, 7.0], [3.0, 7.0]])).means.tolist()
    [2.0, 7.0]
    """
    low, high = _extremes(x, rows)
    largest = np.maximum(np.abs(low), np.abs(high))
    unit = np.where(largest > 0.0, largest, 1.0)
    count = np.zeros(len(unit))
    mean, squares = np.zeros(len(unit)), np.zeros(len(unit))
    for _, block in blocks(x, rows):
        there = ~np.isnan(block)
        z = np.where(there, block, 0.0) / unit
        more = there.sum(axis=0)
        own = z.sum(axis=0) / np.maximum(more, 1)
        apart = np.where(there, z - own, 0.0)
        total = np.maximum(count + more, 1)
        shift = own - mean
        squares += (apart * apart).sum(axis=0) + shift * shift * (count * more / total)
        mean += shift * (more / total)
        count += more
    scale = np.sqrt(squares / np.maximum(count, 1)) * unit
    constant = (low == high) | (scale == 0.0)
    means = np.where(low == high, low, mean * unit)
    return Moments(means, np.where(constant, 1.0, scale), count.astype(np.int64))


def fills(x: Any, how: str, means: Any, rows: Any = None) -> Any:
    """Return what stands in for a missing entry of each column: its mean, median or mode.

    Of several values that are the most frequent, the least. Columns are taken a few at a time.

    >>> fills(np.asarray([[1.0], [np.nan], [1.0], [4.0]]), "most_frequent", [2.0]).tolist()
    [1.0]
    """
    if how == "mean":
        return np.asarray(means)
    flat = x.reshape(len(x), -1)
    n = max(1, len(flat) if rows is None else len(rows))
    step = max(1, 4 * BLOCK // n)
    found = []
    for start in range(0, flat.shape[1], step):
        some = flat[:, start : start + step]
        columns = np.asarray(some if rows is None else some[rows]).astype(np.float64).T
        found += [_fill(column[~np.isnan(column)], how) for column in columns]
    return np.asarray(found)


def _fill(values: Any, how: str) -> float:
    if how == "median":
        ordered = np.sort(values)
        return float(0.5 * ordered[(len(ordered) - 1) // 2] + 0.5 * ordered[len(ordered) // 2])
    distinct, counts = np.unique(values, return_counts=True)
    return float(distinct[np.argmax(counts)])


def _extremes(x: Any, rows: Any) -> tuple[Any, Any]:
    """The least and the largest entry of each column; zeros where it has none."""
    low: Any = np.inf
    high: Any = -np.inf
    for _, block in blocks(x, rows):
        there = ~np.isnan(block)
        low = np.minimum(low, np.where(there, block, np.inf).min(axis=0))
        high = np.maximum(high, np.where(there, block, -np.inf).max(axis=0))
    empty = low > high
    return np.where(empty, 0.0, low), np.where(empty, 0.0, high)
