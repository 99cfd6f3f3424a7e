"""What the text of a compiled step imports where it is run as plain Python, for tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import erf
from typing import Any, TypeVar

import numpy as np

from .loops import gather, scatter, take, total_max, total_min, total_sum

__all__ = [
    "apart", "barrier", "compiled", "gather", "gemm", "scatter", "take", "total_max", "total_min",
    "total_sum",
]  # fmt: skip

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Leave a function as it is.

    >>> compiled(abs) is abs
    True
    """
    return function


def apart() -> None:
    """Nothing: no function is made a part of another."""


def barrier(meeting: Any, threads: int) -> bool:
    """Go on: there is one thread."""
    return True


def gemm(
    ta: bool, tb: bool, m: int, n: int, k: int, a: Any, lda: int, b: Any, ldb: int, c: Any,
    ldc: int, beta: Any,
) -> None:  # fmt: skip
    """C = op(A) op(B) + beta C for flat arrays that begin at their first element.

    >>> c = np.zeros(1)
    >>> gemm(False, False, 1, 1, 2, np.ones(2), 2, np.ones(2), 1, c, 1, 0.0)
    >>> c
    array([2.])
    """
    x = _matrix(a, k, m, lda).T if ta else _matrix(a, m, k, lda)
    y = _matrix(b, n, k, ldb).T if tb else _matrix(b, k, n, ldb)
    out = _matrix(c, m, n, ldc)
    out[...] = x @ y + (beta * out if beta else 0)


def _matrix(flat: Any, rows: int, cols: int, stride: int) -> Any:
    assert flat.size >= (rows - 1) * stride + cols, "a matrix reaches beyond its array"
    size = flat.itemsize
    return np.lib.stride_tricks.as_strided(flat, (rows, cols), (stride * size, size))


def _each(dtype: Any) -> dict[str, Any]:
    functions: dict[str, Any] = {
        name: getattr(np, name) for name in ("exp", "expm1", "log", "log1p", "tanh", "cos")
    }
    functions["erf"] = lambda x: dtype(erf(x))
    return {f"{name}_{dtype.__name__}": f for name, f in functions.items()}


globals().update(_each(np.float32), **_each(np.float64))
gemm_float32, gemm_float64 = partial(gemm), partial(gemm)
