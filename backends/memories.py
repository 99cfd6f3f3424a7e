"""Memory as compiled steps see it: rows by member or by thread, of one kind of number."""

from __future__ import annotations

from typing import Any

import numpy as np

DTYPES = {"U": np.uint32, "I": np.int64, "bool": np.bool_}
"""The types of all kinds of numbers but the network's own floating type."""


def by_member(array: Any, members: int | None) -> Any:
    """An array by member; its memory is that of the network, and must not be copied.

    >>> by_member(np.zeros((2, 3)), 2).shape, by_member(np.zeros(3), None).shape
    ((2, 3), (1, 3))
    """
    rows = members if members and array.ndim > 1 else 1
    found = array.reshape(rows, -1)
    if found.size and not np.shares_memory(found, array):
        raise ValueError("an array of the network does not lie in one piece")
    return found


def aligned(shape: tuple[int, int], dtype: Any) -> Any:
    """An array of zeros whose rows begin at cache lines; they may be longer than asked for.

    >>> aligned((2, 3), np.float32).shape
    (2, 16)
    """
    item = np.dtype(dtype).itemsize
    width = -(-max(shape[1], 1) * item // 64) * 64 // item
    flat = np.zeros(shape[0] * width * item + 64, np.uint8)
    begin = -flat.ctypes.data % 64
    whole = flat[begin : begin + shape[0] * width * item].view(dtype)
    return whole.reshape(shape[0], width)
