"""What the text of a compiled step imports: see `gpubp.backends.numba_text`."""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba

from . import loops
from .products import gemm_float32, gemm_float64
from .team import barrier
from .vector_math import (
    cos_float32, cos_float64, erf_float32, erf_float64, exp_float32, exp_float64, expm1_float32,
    expm1_float64, log1p_float32, log1p_float64, log_float32, log_float64, tanh_float32,
    tanh_float64,
)  # fmt: skip

__all__ = [
    "apart", "barrier", "compiled", "cos_float32", "cos_float64", "erf_float32", "erf_float64",
    "exp_float32", "exp_float64", "expm1_float32", "expm1_float64", "gather", "gemm_float32",
    "gemm_float64", "log1p_float32", "log1p_float64", "log_float32", "log_float64", "scatter", "take",
    "tanh_float32", "tanh_float64", "total_max", "total_min", "total_sum",
]  # fmt: skip

# A kernel may take a dozen arrays: LLVM is to check that they lie apart, and vectorise, all the
# same. By default it gives up at eight comparisons.
llvmlite.binding.set_option("gpubp", "-runtime-memory-check-threshold=256")

# All of fastmath but nnan and ninf, which would remove the checks for what is not finite.
_FLAGS = {"reassoc", "contract", "arcp", "nsz", "afn"}

compiled: Any = numba.njit(
    cache=True, nogil=True, error_model="numpy", boundscheck=False, fastmath=_FLAGS
)


@numba.extending.intrinsic
def apart(typingctx):  # type: ignore[no-untyped-def]
    """Keep the function that calls this from being made a part of those that call it.

    A whole step in one function takes LLVM minutes; a call costs some ten nanoseconds.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return numba.types.void(), code


gather, scatter, take = (compiled(f) for f in (loops.gather, loops.scatter, loops.take))
total_max, total_min, total_sum = (
    compiled(f) for f in (loops.total_max, loops.total_min, loops.total_sum)
)
