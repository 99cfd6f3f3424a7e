"""What the text of a compiled step imports: see `gpubp.backends.numba_module`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from . import loops, products, team
from .numba_narrow import LANES
from .vector_math import (
    cos_float32,
    cos_float64,
    erf_float32,
    erf_float64,
    exp_float32,
    exp_float64,
    expm1_float32,
    expm1_float64,
    log1p_float32,
    log1p_float64,
    log_float32,
    log_float64,
    tanh_float32,
    tanh_float64,
)  # fmt: skip

__all__ = [
    "address", "apart", "barrier", "cached", "compiled", "cos_float32", "cos_float64",
    "erf_float32", "erf_float64", "exp_float32", "exp_float64", "expm1_float32", "expm1_float64",
    "flat_D", "flat_I", "flat_T_float32", "flat_T_float64", "flat_U", "flat_bool", "gather",
    "lanes_I", "lanes_T_float32", "lanes_T_float64", "lanes_U", "lanes_bool", "log1p_float32",
    "log1p_float64", "log_float32", "log_float64", "matrix_I", "matrix_T_float32",
    "matrix_T_float64", "matrix_U", "matrix_bool", "product_float32", "product_float64", "scatter",
    "take", "tanh_float32", "tanh_float64", "total_max", "total_min", "total_sum",
]  # fmt: skip

numba: Any = import_module("numba")
llvm: Any = import_module("llvmlite.binding")

# A kernel may take a dozen arrays: LLVM is to check that they lie apart, and vectorise, all the
# same. By default it gives up at eight comparisons.
llvm.set_option("gpubp", "-runtime-memory-check-threshold=256")

# All of fastmath but nnan and ninf, which would remove the checks for what is not finite.
_FLAGS = {"reassoc", "contract", "arcp", "nsz", "afn"}

_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False, "fastmath": _FLAGS}

compiled: Any = numba.njit(**_OPTIONS)
cached: Any = numba.njit(cache=True, **_OPTIONS)
"""As `compiled`; the machine code, with that of all it calls, is kept on disk."""


@numba.extending.intrinsic
def apart(typingctx):  # type: ignore[no-untyped-def]
    """Keep the function that calls this from being made a part of those that call it.

    A whole step in one function takes LLVM minutes; a call costs some ten nanoseconds.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return numba.types.void(), code


def _pointer(dtype: Any) -> Any:
    """Code that takes an address for a pointer to numbers of that type."""

    @numba.extending.intrinsic
    def pointer(typingctx, address):  # type: ignore[no-untyped-def]
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = context.get_value_type(signature.return_type)
            return builder.inttoptr(arguments[0], kind)

        return numba.types.CPointer(dtype)(numba.types.intp), code

    return pointer


def _seen_as(dtype: Any) -> tuple[Any, Any]:
    pointer = _pointer(dtype)

    @compiled
    def flat(address: Any, size: Any) -> Any:
        return numba.carray(pointer(address), (size,))

    @compiled
    def matrix(address: Any, rows: Any, cols: Any) -> Any:
        return numba.carray(pointer(address), (rows, cols))

    return flat, matrix


def _lanes(dtype: Any) -> Any:
    @compiled
    def lanes() -> Any:
        return np.empty(LANES, dtype)

    return lanes


lanes_T_float32, lanes_T_float64 = _lanes(np.float32), _lanes(np.float64)
lanes_I, lanes_U, lanes_bool = _lanes(np.int64), _lanes(np.uint32), _lanes(np.bool_)


@compiled
def address(array: Any) -> Any:
    """Where an array begins."""
    return array.ctypes.data


flat_T_float32, matrix_T_float32 = _seen_as(numba.float32)
flat_T_float64, matrix_T_float64 = flat_D, _ = _seen_as(numba.float64)
flat_U, matrix_U = _seen_as(numba.uint32)
flat_I, matrix_I = _seen_as(numba.int64)
flat_bool, matrix_bool = _seen_as(numba.boolean)


def _product(gemm: Any) -> Any:
    """A product whose sizes and addresses are entries of a table; see `numba_module`."""

    @compiled
    def product(ta: Any, tb: Any, table: Any, at: Any) -> None:
        apart()
        m, n, k = table[at], table[at + 1], table[at + 2]
        a, lda, b, ldb = table[at + 3], table[at + 4], table[at + 5], table[at + 6]
        gemm(ta, tb, m, n, k, a, lda, b, ldb, table[at + 7], table[at + 8], 0.0)

    return product


product_float32, product_float64 = (
    _product(gemm) for gemm in (products.gemm_float32, products.gemm_float64)
)
_spin = team.barrier


@compiled
def barrier(meeting: Any, threads: Any) -> Any:
    """Wait for the other threads; false where one of them failed."""
    apart()
    return _spin(meeting, threads)


gather, scatter, take = (compiled(f) for f in (loops.gather, loops.scatter, loops.take))
total_max, total_min, total_sum = (
    compiled(f) for f in (loops.total_max, loops.total_min, loops.total_sum)
)
