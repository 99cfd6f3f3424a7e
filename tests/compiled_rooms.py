"""Memory for arrays of the stand-in's devices, with a guard before and after."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

UNIT = 512
POISON = 0xFF
"""Bytes of memory that nobody has written: as floats no numbers."""


class Room(np.ndarray[Any, np.dtype[np.uint8]]):
    """Bytes, of which `inner` are an array's, the first and how many; the others are guard."""

    inner: tuple[int, int]


def poisoned(shape: Any, dtype: Any) -> Any:
    """Memory at a multiple of 512 bytes, as CuPy's, that holds no numbers."""
    dtype = np.dtype(dtype)
    size = math.prod(shape if isinstance(shape, tuple | list) else (shape,)) * dtype.itemsize
    room = Room(size + 3 * UNIT, np.uint8)
    room.fill(POISON)
    first = UNIT - address_of(room) % UNIT + UNIT
    room.inner = first, size
    return room[first : first + size].view(np.ndarray).view(dtype).reshape(shape)


def address_of(values: Any) -> int:
    return int(values.__array_interface__["data"][0])
