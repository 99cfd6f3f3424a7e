"""Arrays by name and texts as safetensors files, and back; nothing in such a file is trusted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import InputError
from .files import changed, opened
from .headers import LONGEST, Entry, read_header

_NUMPY = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


def read_tensors(
    path: str | os.PathLike[str], *, widen: bool = False
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the metadata of a safetensors file, and its arrays by name.

    All that the header says is held against the bytes that are there before anything is
    allocated. With `widen`, 16-bit floats (`F16`, `BF16`) become float32, which holds them all;
    without, `BF16`, which NumPy lacks, is refused as the floats of 8 bits are. Raises
    `InputError` that names the file and what is wrong with it.

    >>> import os, tempfile
    >>> import numpy as np
    >>> from gpubp.files import write_atomically
    >>> path = os.path.join(tempfile.mkdtemp(), "a.safetensors")
    >>> write_atomically(path, tensor_bytes({"W": np.eye(2)}, {"by": "me"}))
    >>> read_tensors(path)
    ({'by': 'me'}, {'W': array([[1., 0.],
           [0., 1.]])})
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        header, metadata, entries = read_header(path, file, size)
        for name, entry in entries.items():
            _refuse_type(path, name, entry, widen)
        data = header + file.read(size - len(header) + 1)
        if len(data) != size:
            raise changed(path)
        return metadata, _arrays(path, data, widen)


def _refuse_type(path: Any, name: str, entry: Entry, widen: bool) -> None:
    if entry.dtype not in _NUMPY and not (widen and entry.dtype == "BF16"):
        known = [*_NUMPY, "BF16"] if widen else list(_NUMPY)
        raise InputError(
            f"{path}: the array {name!r} has dtype {entry.dtype}; expected one of "
            f"{', '.join(known)}: convert it to float32 where the file is written"
        )


def _arrays(path: Any, data: bytes, widen: bool) -> dict[str, Any]:
    from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    return {name: _array(part, widen) for name, part in sorted(found)}


def _array(part: Mapping[str, Any], widen: bool) -> Any:
    if part["dtype"] == "BF16":  # the upper half of a float32
        halves = np.frombuffer(part["data"], dtype="<u2").astype("<u4")
        return (halves << np.uint32(16)).view("<f4").reshape(part["shape"])
    array = np.frombuffer(part["data"], dtype=_NUMPY[part["dtype"]]).reshape(part["shape"])
    return array.astype("<f4") if widen and part["dtype"] == "F16" else array


def tensor_bytes(arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """Return NumPy arrays by name, and texts, as the bytes of a safetensors file.

    Raises `InputError` for a header longer than `read_tensors` reads.

    >>> len(tensor_bytes({}, {}))
    16
    """
    from safetensors.numpy import save

    # The library writes memory as it lies: rows in order, the low byte first.
    ordered = {
        name: np.asarray(a, dtype=a.dtype.newbyteorder("<"), order="C")
        for name, a in arrays.items()
    }
    data: bytes = save(ordered, dict(metadata) or None)
    if (length := int.from_bytes(data[:8], "little")) > LONGEST:
        raise InputError(
            f"names and description take {length:,} bytes; a file holds at most {LONGEST:,}"
        )
    return data
