"""Which rows of a data set are meant, and what they are called in messages."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError, shown
from .on_host import array


def chosen(rows: Any, n: int, where: str = "rows") -> Any:
    """Return the row numbers, int64, that an index array or a mask `(n,)` chooses.

    >>> chosen([False, True, True], 3).tolist(), chosen([2, 0], 3).tolist()
    ([1, 2], [2, 0])
    >>> chosen([3], 3, "Rows: rows")
    Traceback (most recent call last):
    gpubp.errors.InputError: Rows: rows holds 3; there are the rows 0..2
    """
    expected = f"expected row numbers, or a mask ({n},)"
    found = array(rows, where)
    if not found.ndim:
        raise InputError(f"{where} is {shown(rows)}; {expected}")
    if found.ndim == 1 and found.dtype == bool and len(found) == n:
        return np.flatnonzero(found)
    if found.ndim != 1 or (found.dtype.kind not in "ui" and len(found)):
        raise InputError(f"{where} has shape {found.shape} and dtype {found.dtype}; {expected}")
    if len(found) and not (found.min() >= 0 and found.max() < n):
        bad = found.min() if found.min() < 0 else found.max()
        there = f"there are the rows 0..{n - 1}" if n else "there are no rows"
        raise InputError(f"{where} holds {bad}; {there}")
    return found.astype(np.int64)


def numbers_of(numbers: Any, rows: Any) -> Any:
    """Return the numbers of the chosen ones of numbered rows; None stands for 0, 1, 2, ...

    >>> numbers_of(None, [2]), numbers_of([7, 8, 9], [2]).tolist()
    ([2], [9])
    """
    if numbers is None or rows is None:
        return numbers if rows is None else rows
    return np.asarray(numbers)[rows]


def row(at: Any, numbers: Any = None) -> str:
    """Return the name of a row in messages, where the first is row 1.

    >>> row(0), row(0, [41])
    ('row 1', 'row 42')
    """
    return f"row {int(at if numbers is None else numbers[at]) + 1}"
