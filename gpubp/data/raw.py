"""Columns and arrays as users have them, brought to the two kinds that are encoded.

A column becomes float64 with NaN for what is missing, or of dtype object with texts and None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import InputError, shown
from .chosen import row
from .on_host import array
from .table import Arrays, Table

_MISSING = ("NAType", "NaTType")  # of pandas, which has a value of its own for what is missing


def as_table(data: Any, source: str = "the table") -> Table | None:
    """Return a Table, a mapping of names to columns or a data frame as a Table; None for others.

    >>> list(as_table({"a": [1, 2]}).columns)
    ['a']
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, Mapping):
        names: Iterable[Any] = data
    elif hasattr(data, "columns") and hasattr(data, "__getitem__"):
        names = data.columns
    else:
        return None
    return Table({str(name): data[name] for name in names}, source)


def as_array(data: Any, name: str = "x") -> Any:
    """Return real numbers `(n, *shape)` as a NumPy array; a memory map stays one.

    >>> as_array([[1, 2]]).shape
    (1, 2)
    """
    x = array(data.x if isinstance(data, Arrays) else data, name)
    if x.dtype.kind not in "buif":
        raise InputError(f"{name} has dtype {x.dtype}; expected numbers, or a table with columns")
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise InputError(f"{name} has shape {x.shape}; expected examples (n, features)")
    return x


def column(values: Any, where: str, numbers: Any = None) -> Any:
    """Return a column `(n,)` as float64 with NaN, or as objects: texts and None.

    `numbers` are those of its rows, for messages; None stands for 0, 1, 2, ...

    >>> column(np.asarray([True, False]), "a").tolist(), column(["x", None], "b").tolist()
    ([1.0, 0.0], ['x', None])
    """
    found = array(values, where)
    if found.ndim != 1:
        raise InputError(f"{where} has shape {found.shape}; expected one entry for each row")
    if found.dtype.kind in "buif":
        entries = found.astype(np.float64, copy=False)
        infinite = np.flatnonzero(np.isinf(entries))
        if len(infinite):
            raise InputError(f"{where}: {row(infinite[0], numbers)} is {entries[infinite[0]]}; "
                             "expected finite numbers, or NaN for what is missing")  # fmt: skip
        return entries
    if found.dtype.kind in "UT":
        return found.astype(object)
    if found.dtype.kind != "O":
        raise InputError(f"{where} has dtype {found.dtype}; expected numbers or texts")
    return _objects(found, where, numbers)


def _objects(found: Any, where: str, numbers: Any) -> Any:
    entries = found.tolist()
    if all(type(entry) is str or entry is None for entry in entries):
        return found
    plain = [None if _is_missing(entry) else entry for entry in entries]
    there = [entry for entry in plain if entry is not None]
    if all(isinstance(entry, str) for entry in there):
        texts = np.empty(len(plain), dtype=object)
        texts[:] = plain
        return texts
    for at, entry in enumerate(plain):
        if not (entry is None or isinstance(entry, bool | int | float | np.number | np.bool_)):
            raise InputError(f"{where}: {row(at, numbers)} is of type {type(entry).__name__}; "
                             "expected numbers alone, or texts alone")  # fmt: skip
    try:
        values = [np.nan if entry is None else float(entry) for entry in plain]
    except OverflowError as error:
        raise InputError(f"{where} holds a whole number that no float can hold") from error
    return column(np.asarray(values), where, numbers)


def _is_missing(entry: Any) -> bool:
    if entry is None or type(entry).__name__ in _MISSING:
        return True
    return isinstance(entry, float | np.floating) and bool(np.isnan(entry))


def place(table: Table, name: str) -> str:
    """Return what messages call a column.

    >>> place(Table({}, "towns.csv"), "people")
    "towns.csv: column 'people'"
    """
    return f"{table.source}: column {shown(name)}"


def missing(values: Any) -> Any:
    """Return which entries of a column of either kind are missing, a mask `(n,)`.

    >>> missing(column(["x", None], "b")).tolist()
    [False, True]
    """
    if values.dtype.kind == "f":
        return np.isnan(values)
    return np.fromiter((entry is None for entry in values), dtype=bool, count=len(values))
