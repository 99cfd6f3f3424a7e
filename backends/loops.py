"""Loops that every compiled step may need; plain Python that numba compiles as it stands."""

from __future__ import annotations

from typing import Any


def take(data: Any, order: Any, start: int, low: int, high: int, out: Any) -> None:
    """Copy the rows of a batch that `order` names from `start` on, those from `low` to `high`.

    >>> import numpy as np
    >>> out = np.zeros(4)
    >>> take(np.arange(6.0).reshape(3, 2), np.asarray([2, 0, 1]), 1, 0, 2, out)
    >>> out
    array([0., 1., 2., 3.])
    """
    size = data.shape[1]
    for r in range(low, high):
        row, place = data[order[start + r]], out[r * size : (r + 1) * size]
        for j in range(size):
            place[j] = row[j]


def gather(out: Any, table: Any, index: Any) -> None:
    """Copy the rows of a table that the index names.

    >>> import numpy as np
    >>> out = np.zeros((2, 1))
    >>> gather(out, np.asarray([[1.0], [5.0]]), np.asarray([1, 1]))
    >>> out.tolist()
    [[5.0], [5.0]]
    """
    for i in range(out.shape[0]):
        p = index[i]
        for j in range(out.shape[1]):
            out[i, j] = table[p, j]


def scatter(out: Any, index: Any, rows: Any) -> None:
    """Add up the rows with each index, in their order.

    >>> import numpy as np
    >>> out = np.ones((2, 1))
    >>> scatter(out, np.asarray([1, 1]), np.asarray([[2.0], [3.0]]))
    >>> out.tolist()
    [[0.0], [5.0]]
    """
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = 0
    for i in range(index.size):
        p = index[i]
        for j in range(out.shape[1]):
            out[p, j] += rows[i, j]


def total_sum(out: Any, parts: Any, first: int, stop: int) -> None:
    """Add the parts `(threads, n)` of a sum, of columns `first` to `stop`.

    >>> import numpy as np
    >>> out = np.zeros(1)
    >>> total_sum(out, np.asarray([[1.0], [2.0]]), 0, 1)
    >>> out
    array([3.])
    """
    for j in range(first, stop):
        x = parts[0, j]
        for i in range(1, parts.shape[0]):
            x += parts[i, j]
        out[j] = x


def total_max(out: Any, parts: Any, first: int, stop: int) -> None:
    """The largest of the parts, NaN if one is.

    >>> import numpy as np
    >>> out = np.zeros(1)
    >>> total_max(out, np.asarray([[1.0], [np.nan]]), 0, 1)
    >>> out
    array([nan])
    """
    for j in range(first, stop):
        x = parts[0, j]
        for i in range(1, parts.shape[0]):
            y = parts[i, j]
            x = y if (x < y) | (y != y) else x
        out[j] = x


def total_min(out: Any, parts: Any, first: int, stop: int) -> None:
    """The smallest of the parts, NaN if one is.

    >>> import numpy as np
    >>> out = np.zeros(1)
    >>> total_min(out, np.asarray([[1.0], [2.0]]), 0, 1)
    >>> out
    array([1.])
    """
    for j in range(first, stop):
        x = parts[0, j]
        for i in range(1, parts.shape[0]):
            y = parts[i, j]
            x = y if (x > y) | (y != y) else x
        out[j] = x
