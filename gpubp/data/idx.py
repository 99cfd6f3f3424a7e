"""Folders of IDX files, in which MNIST and its kin are published: images and labels, in two parts.

The format is described with the data: LeCun, Cortes, Burges, "The MNIST database" (1998).
"""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from ..errors import InputError
from ..files import checked_path, opened
from .npy_header import Header
from .stored_arrays import filled, mapped, paired
from .table import Arrays

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_NAME = re.compile(
    r"(?P<part>train|t10k|test)-(?P<what>images|labels)[-.]idx[0-9]+-u?byte(?P<packed>\.gz)?",
    re.IGNORECASE,
)
_RATIO = 1032  # deflate makes no more of a byte
_CHUNK = 1 << 20
_AXES = 8


def read_idx(folder: str | os.PathLike[str]) -> Arrays:
    """Return the arrays of a folder: train-images and train-labels, t10k-images and t10k-labels.

    Each is plain (and mapped) or packed by gzip, and is called as it is published, such as
    train-images-idx3-ubyte.gz. Labels, and the part for the test, may be missing.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "train-images-idx3-ubyte").write_bytes(
    ...     bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 5, 6, 7, 8])
    ... )
    >>> read_idx(folder).x.tolist()
    [[[5, 6]], [[7, 8]]]
    """
    name = checked_path(folder)
    found = _files(name)
    if ("train", "images") not in found:
        raise InputError(
            f"{name} is a folder without a data set: expected train-images-idx3-ubyte and "
            "train-labels-idx1-ubyte in it (plain or .gz), and maybe those of t10k"
        )
    x, y, x_test, y_test = (
        _array(found[part, what]) if (part, what) in found else None
        for part in ("train", "test")
        for what in ("images", "labels")
    )
    return paired(Arrays(x, y, x_test, y_test, name))


def is_idx(name: str) -> bool:
    """Whether a file is called as an IDX file is.

    >>> is_idx("data/train-images-idx3-ubyte.gz"), is_idx("train.csv")
    (True, False)
    """
    return _NAME.fullmatch(os.path.basename(name)) is not None


def _files(folder: str) -> dict[tuple[str, str], str]:
    """The files by part and content; a plain one goes before its packed twin."""
    try:
        names = sorted(os.listdir(folder), key=len)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} cannot be read: {error}") from error
    found: dict[tuple[str, str], str] = {}
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        part = "train" if match["part"].lower() == "train" else "test"
        key = part, match["what"].lower()
        before = found.setdefault(key, os.path.join(folder, name))
        if os.path.basename(before) != name and not match["packed"]:
            raise InputError(
                f"{folder} holds {os.path.basename(before)} and {name}; leave one of them"
            )
    return found


def _array(path: str) -> Any:
    packed = path.lower().endswith(".gz")
    with opened(path) as file:
        there = os.fstat(file.fileno()).st_size
        if not packed:
            header = _header(file, path)
            if there - header.start != header.size:
                raise InputError(
                    f"{path} has {there - header.start} bytes of data, and its header calls for "
                    f"{header.size}; it is not complete, or no IDX file"
                )
            return mapped(file, header, header.start, path)
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            header = _header(unpacked, path)
            if header.size > _RATIO * there:
                raise InputError(
                    f"{path} claims {header.size} bytes of data, more than its {there} bytes can "
                    "hold; it is not complete, or no IDX file"
                )
            return filled(_chunks(unpacked, header.size), header, path)


def _chunks(file: gzip.GzipFile, size: int) -> Iterator[bytes]:
    """Yield what there is, but no more than a byte beyond the size: gzip makes much of little."""
    left = size + 1
    while left and (data := file.read(min(_CHUNK, left))):
        left -= len(data)
        yield data


def _header(file: BinaryIO | gzip.GzipFile, name: str) -> Header:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        hint = "; it is packed by gzip: add .gz to its name" if magic[:2] == b"\x1f\x8b" else ""
        raise InputError(
            f"{name} is no IDX file: it begins with {magic.hex() or 'nothing'}; expected 0000, a "
            f"type ({', '.join(f'{code:02x}' for code in _DTYPES)}) and the number of axes{hint}"
        )
    axes = magic[3]
    if not 1 <= axes <= _AXES:
        raise InputError(f"{name} has {axes} axes; expected 1 to {_AXES}")
    sizes = file.read(4 * axes)
    if len(sizes) < 4 * axes:
        raise InputError(f"{name} ends in the middle of its header; it is not complete")
    shape = struct.unpack(f">{axes}I", sizes)
    if math.prod(shape) == 0:
        raise InputError(f"{name} has the shape {shape}; expected at least one example")
    return Header(np.dtype(_DTYPES[magic[2]]), shape, "C", 4 + 4 * axes)
