"""What the text of a compiled step imports where it is run as plain Python, for tests."""

from __future__ import annotations

from collections.abc import Callable
from math import erf
from typing import Any, TypeVar

import numpy as np

from .loops import gather, scatter, take, total_max, total_min, total_sum
from .numba_narrow import LANES

__all__ = [
    "apart", "barrier", "compiled", "gather", "product", "scatter", "take", "total_max",
    "total_min", "total_sum",
]  # fmt: skip

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Leave a function as it is.

    >>> compiled(abs) is abs
    True
    """
    return function


cached = compiled


def apart() -> None:
    """Nothing: no function is made a part of another."""


def barrier(meeting: Any, threads: int) -> bool:
    """Go on: there is one thread."""
    return True


class Address:
    """A place in memory, in bytes from the begin of an array."""

    def __init__(self, base: Any, offset: int = 0) -> None:
        self.base, self.offset = base, offset

    def __add__(self, more: int) -> Address:
        return Address(self.base, self.offset + more)

    def flat(self, size: int) -> Any:
        start, rest = divmod(self.offset, self.base.itemsize)
        assert rest == 0, "an address between two elements"
        assert start + size <= self.base.size, "an array reaches beyond its memory"
        return self.base[start : start + size]


def address(array: Any) -> Any:
    """Where an array begins."""
    if array is None:
        return None
    return Address(array.reshape(-1))


def flat(where: Address, size: int) -> Any:
    """The array of so many elements at an address.

    >>> flat(address(np.arange(4.0)) + 16, 2)
    array([2., 3.])
    """
    return where.flat(size)


def matrix(where: Address, rows: int, cols: int) -> Any:
    """The rows that begin at an address.

    >>> matrix(address(np.arange(4.0)), 2, 2).tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    return where.flat(rows * cols).reshape(rows, cols)


def product(ta: bool, tb: bool, table: Any, at: int) -> None:
    """A product whose sizes and addresses are entries of a table; see `numba_module`.

    >>> c = np.zeros(1)
    >>> ones = np.ones(2)
    >>> product(False, False, [1, 1, 2, address(ones), 2, address(ones), 1, address(c), 1], 0)
    >>> c
    array([2.])
    """
    m, n, k, a, lda, b, ldb, c, ldc = table[at : at + 9]
    x = _strided(a, k, m, lda).T if ta else _strided(a, m, k, lda)
    y = _strided(b, n, k, ldb).T if tb else _strided(b, k, n, ldb)
    _strided(c, m, n, ldc)[...] = x @ y


def _strided(where: Address, rows: int, cols: int, stride: int) -> Any:
    held = where.flat((rows - 1) * stride + cols)
    size = held.itemsize
    return np.lib.stride_tricks.as_strided(held, (rows, cols), (stride * size, size))


def _each(dtype: Any) -> dict[str, Any]:
    functions: dict[str, Any] = {
        name: getattr(np, name) for name in ("exp", "expm1", "log", "log1p", "tanh", "cos")
    }
    functions["erf"] = lambda x: dtype(erf(x))
    return {f"{name}_{dtype.__name__}": f for name, f in functions.items()}


def _lanes(dtype: Any) -> Any:
    return lambda: np.empty(LANES, dtype)


lanes_T_float32, lanes_T_float64 = _lanes(np.float32), _lanes(np.float64)
lanes_I, lanes_U, lanes_bool = _lanes(np.int64), _lanes(np.uint32), _lanes(np.bool_)
globals().update(_each(np.float32), **_each(np.float64))
product_float32 = product_float64 = product
flat_D = flat_T_float32 = flat_T_float64 = flat_U = flat_I = flat_bool = flat
matrix_T_float32 = matrix_T_float64 = matrix_U = matrix_I = matrix_bool = matrix
