"""The header of an array in NumPy's format, read as data: which type, which shape, how many bytes.

The format is that of numpy.lib.format, versions 1.0 to 3.0. Arrays of objects are pickles inside,
which run code when they are loaded: they are refused by name.
"""

from __future__ import annotations

import ast
import math
import re
import struct
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..errors import InputError

_MAGIC = b"\x93NUMPY"
_LENGTH = {(1, 0): "<H", (2, 0): "<I", (3, 0): "<I"}  # of the header's length, by version
_LONGEST = 10_000  # bytes of a header, as in NumPy
_AXES = 32
# What a header is made of. A backslash or a name would let Python's parser warn, or do worse.
_PLAIN = re.compile(r"(?:[\s{}()\[\],:]|'[^'\\\n]*'|\"[^\"\\\n]*\"|[0-9]|True|False)*")
_LONG = re.compile(r"(?<=[0-9])L")  # as Python 2 wrote sizes
_DTYPE = re.compile(r"[<>|=]?[biufU][0-9]{1,9}")
_REFUSED = {
    "O": "Python objects, which are stored as pickles and never loaded; save it as numbers",
    "V": "records; save each field as an array of its own, or the table as CSV or parquet",
    "c": "complex numbers; save the real and the imaginary parts as two features",
    "M": "dates; save them as numbers, such as days",
    "m": "times; save them as numbers, such as seconds",
    "S": "bytes; save them as texts, as by .astype('U')",
}


class Header(NamedTuple):
    """What the array is, and where its data begin, in bytes after the header's own beginning."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: str
    start: int

    @property
    def size(self) -> int:
        """The bytes of the data."""
        return self.dtype.itemsize * math.prod(self.shape)


def read_header(file: BinaryIO, name: str) -> Header:
    """Read the header from where the file stands; `InputError` unless numbers or texts follow.

    >>> import io
    >>> file = io.BytesIO()
    >>> np.save(file, np.zeros((2, 3)))
    >>> _ = file.seek(0)
    >>> read_header(file, "x.npy")
    Header(dtype=dtype('float64'), shape=(2, 3), order='C', start=128)
    """
    magic = file.read(8)
    if magic[:6] != _MAGIC or len(magic) < 8:
        raise InputError(f"{name} is no array in NumPy's format; save one by np.save")
    version = (magic[6], magic[7])
    if version not in _LENGTH:
        raise InputError(
            f"{name} has version {version[0]}.{version[1]} of NumPy's format; known: 1.0, 2.0, 3.0"
        )
    code = _LENGTH[version]
    (length,) = struct.unpack(code, _exactly(file, struct.calcsize(code), name))
    if length > _LONGEST:
        raise InputError(
            f"{name} has a header of {length} bytes; {_LONGEST} are the most that are read"
        )
    text = _exactly(file, length, name).decode("utf-8" if version[0] == 3 else "latin-1")
    described = _literal(text, name)
    start = 8 + struct.calcsize(code) + length
    order = "F" if described["fortran_order"] else "C"
    return Header(_dtype(described["descr"], name), _shape(described["shape"], name), order, start)


def _exactly(file: BinaryIO, size: int, name: str) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise InputError(f"{name} ends in the middle of its header; it is not complete")
    return data


def _literal(text: str, name: str) -> dict[str, Any]:
    text = _LONG.sub("", text.strip())
    try:
        described = ast.literal_eval(text) if _PLAIN.fullmatch(text) else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        described = None
    keys = {"descr", "fortran_order", "shape"}
    if not isinstance(described, dict) or set(described) != keys:
        raise InputError(f"{name} has a header that is none of NumPy's: {text[:60]!r}")
    if not isinstance(described["fortran_order"], bool):
        raise InputError(f"{name} has a header whose fortran_order is no truth value")
    return described


def _dtype(given: Any, name: str) -> np.dtype[Any]:
    kind = str(given).lstrip("<>|=")[:1] if isinstance(given, str) else "V"
    if kind in _REFUSED:
        raise InputError(f"{name} holds {_REFUSED[kind]}")
    dtype: np.dtype[Any] | None = None
    with suppress(TypeError, ValueError):
        dtype = np.dtype(given) if _DTYPE.fullmatch(given) else None
    if dtype is None or dtype.itemsize == 0:
        raise InputError(f"{name} has the type {str(given)[:60]!r}; expected numbers such as '<f4'")
    return dtype


def _shape(given: Any, name: str) -> tuple[int, ...]:
    good = isinstance(given, tuple) and all(type(n) is int and n >= 0 for n in given)
    if not good or len(given) > _AXES:
        raise InputError(
            f"{name} has the shape {str(given)[:60]}; expected at most {_AXES} whole numbers"
        )
    if not given or 0 in given:
        raise InputError(f"{name} has the shape {str(given)[:60]}; expected at least one example")
    return tuple(given)
