"""The number types of the matrix products, and arrays of random numbers in them.

NumPy and CuPy both lack bfloat16 of their own, so it is stored as its 16 bits.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from gpubp.bits import bits, words


class Kind(NamedTuple):
    """How a type is stored, what cuBLAS calls it and its arithmetic, and how exact it is."""

    storage: str
    data: int  # cudaDataType
    compute: int  # cublasComputeType_t
    tolerance: float  # of ||out - expected|| / ||expected||, k up to 8192


KINDS = {
    "float64": Kind("f8", 1, 70, 1e-13),
    "float32": Kind("f4", 0, 68, 1e-5),
    "tf32": Kind("f4", 0, 77, 2e-3),
    "float16": Kind("f2", 2, 68, 2e-3),
    "bfloat16": Kind("u2", 14, 68, 1e-2),
}


def encode(kind: str, x: Any) -> Any:
    """Return float values as `kind` stores them.

    >>> import numpy as np
    >>> encode("bfloat16", np.asarray([1.0, -2.0])).tolist() == [0x3F80, 0xC000]
    True
    """
    if kind != "bfloat16":
        return x.astype(KINDS[kind].storage)
    # Half of the last place kept is added before the cut: round to nearest, finite values only.
    return ((x.astype("f4").view("u4") + 0x8000) >> 16).astype("u2")


def decode(kind: str, stored: Any) -> Any:
    """Return what is stored as float64."""
    if kind == "bfloat16":
        stored = (stored.astype("u4") << 16).view("f4")
    return stored.astype("f8")


def uniform(xp: Any, shape: tuple[int, ...], seed: int) -> Any:
    """Return random float64 in [-1, 1), with 53 random bits and the same on every device."""
    index = xp.arange(math.prod(shape), dtype="u4")
    high, low = (xp.asarray([word], dtype="u4") for word in (2 * seed, 2 * seed + 1))
    zero = xp.asarray([0], dtype="u4")
    x = (bits(xp, index, *words(xp, high, zero, zero)) >> 5).astype("f8") * 2.0**-26
    x += (bits(xp, index, *words(xp, low, zero, zero)) >> 6).astype("f8") * 2.0**-52
    return (x - 1.0).reshape(shape)


def relative_error(got: Any, expected: Any) -> float:
    """Return ||got - expected|| / ||expected|| of float64 arrays.

    >>> import numpy as np
    >>> relative_error(np.asarray([3.0, 4.5]), np.asarray([3.0, 4.0]))
    0.1
    """
    return math.sqrt(float(((got - expected) ** 2).sum() / (expected**2).sum()))
