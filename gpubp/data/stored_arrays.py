"""Arrays out of bytes in a file: mapped where they lie as they are, else read into memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from ..errors import InputError
from .limits import check_size, quarter
from .npy_header import Header
from .table import Arrays

_BLOCK = 1 << 22  # elements looked at in one go
_LAST_CHARACTER = 0x10FFFF
_MAP = "save it by np.save as .npy, which is mapped and not read"


def mapped(file: BinaryIO, header: Header, offset: int, name: str) -> Any:
    """Return the array whose data begin at `offset`, as a map that is read on use.

    One in another byte order than the machine's is read into memory: few libraries take it.
    """
    # The types of NumPy ask for a file that can be written, which a map to read has no use for.
    x: Any = np.memmap(file, header.dtype, "r", offset, header.shape, header.order)  # type: ignore[call-overload]
    return sound(x, name)


def filled(chunks: Iterable[bytes], header: Header, name: str) -> Any:
    """Return the array that these bytes are; no more is taken than the header says."""
    check_size(header.size, quarter(), name, _MAP)
    data = np.empty(header.size, dtype=np.uint8)
    at = 0
    for chunk in chunks:
        if at + len(chunk) > len(data):
            raise InputError(f"{name} has more bytes than the {header.size} its header calls for")
        data[at : at + len(chunk)] = np.frombuffer(chunk, dtype=np.uint8)
        at += len(chunk)
    if at < len(data):
        raise InputError(
            f"{name} has {at} bytes, and its header calls for {header.size}; it is not complete"
        )
    x: Any = data.view(header.dtype)
    return sound(x.reshape(header.shape, order=header.order), name)


def sound(x: Any, name: str) -> Any:
    """Return the array in the machine's byte order; `InputError` for bytes that are no values.

    A truth value is one byte 0 or 1, a character at most 0x10FFFF: NumPy looks at neither.
    """
    if not x.dtype.isnative:
        check_size(x.nbytes, quarter(), name, "save it in the byte order of this machine")
        x = x.astype(x.dtype.newbyteorder("="))
    if x.dtype.kind not in "bU":
        return x
    rows = max(1, _BLOCK // max(1, math.prod(x.shape[1:])))
    for start in range(0, len(x), rows):
        block = np.ascontiguousarray(x[start : start + rows])
        if x.dtype.kind == "b" and (block.view(np.uint8) > 1).any():
            raise InputError(f"{name} has truth values that are neither 0 nor 1; save it again")
        if x.dtype.kind == "U" and not _are_characters(block.view(np.uint32)):
            raise InputError(f"{name} has texts that are none of Unicode; save it again")
    return x


def _are_characters(codes: Any) -> bool:
    surrogates = (codes >= 0xD800) & (codes <= 0xDFFF)
    return not ((codes > _LAST_CHARACTER) | surrogates).any()


def paired(arrays: Arrays) -> Arrays:
    """Return the arrays; `InputError` unless features and targets belong to each other.

    >>> paired(Arrays(np.zeros((3, 2)), np.zeros(2), source="data.npz"))
    Traceback (most recent call last):
    gpubp.errors.InputError: data.npz has 3 examples and 2 targets; expected one for each
    """
    x, y, x_test, y_test, source = arrays
    for part, features, targets in (("", x, y), (" for the test", x_test, y_test)):
        if features is None:
            if targets is not None:
                raise InputError(f"{source} has targets{part} and no examples{part}")
            continue
        if features.dtype.kind == "U":
            raise InputError(
                f"{source}: the examples{part} are texts; save them as numbers, or as a table"
            )
        if features.ndim == 0 or (targets is not None and targets.ndim == 0):
            raise InputError(f"{source} holds a single value{part}; expected one for each example")
        if targets is not None and len(targets) != len(features):
            raise InputError(
                f"{source} has {len(features)} examples{part} and {len(targets)} targets{part}; "
                "expected one for each"
            )
    if x_test is not None and x_test.shape[1:] != x.shape[1:]:
        raise InputError(
            f"{source}: an example has the shape {x.shape[1:]}, for the test {x_test.shape[1:]}; "
            "expected the same"
        )
    return arrays
