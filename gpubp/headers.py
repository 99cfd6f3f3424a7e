"""What a safetensors file says of itself, held against the bytes that are there.

The file begins with the length of its header, 8 bytes, the low one first; the header is a JSON
object that gives each array's dtype, shape and place among the bytes behind it.
"""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO, NamedTuple

from .errors import InputError
from .errors import shown as shown

LONGEST = 16 * 2**20
"""The bytes of the longest header that is read; one of a million numbers takes a hundred."""
_MOST_AXES = 32
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "U16": 16, "I16": 16,
    "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


class Entry(NamedTuple):
    """Of what type and shape an array is, and from where to where its bytes go."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(
    path: Any, file: BinaryIO, size: int
) -> tuple[bytes, dict[str, str], dict[str, Entry]]:
    """Return the header as it lies in the file, its metadata, and an entry for each array.

    >>> import io
    >>> header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    >>> data = len(header).to_bytes(8, "little") + header + bytes(4)
    >>> read_header("a.safetensors", io.BytesIO(data), len(data))[2]
    {'a': Entry(dtype='F32', shape=(1,), start=0, stop=4)}
    """
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > size - 8:
        raise _fault(path, f"it has {size:,} bytes, fewer than its header asks for")
    if length > LONGEST:
        raise _fault(path, f"its header has {length:,} bytes; at most {LONGEST:,} are read")
    text = file.read(length)
    header = parse(path, "the header", text)
    if not isinstance(header, dict):
        raise _fault(path, "its header is no JSON object")
    metadata = header.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _fault(path, "its metadata are not texts by name")
    entries = {name: _entry(path, name, given) for name, given in header.items()}
    _refuse_gaps(path, entries, size - 8 - length)
    return first + text, metadata, entries


def parse(path: Any, what: str, text: str | bytes) -> Any:
    """Return the value of a JSON text of a file; `InputError` for one that is none.

    A name may be in an object once: of two, readers would take one or the other. NaN and the
    infinities are no numbers of JSON, and refused.

    >>> parse("net", "the header", '{"a": 1, "a": 2}')
    Traceback (most recent call last):
    gpubp.errors.InputError: net is not a readable file: the header has two entries 'a'
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise _fault(path, f"{what} has two entries {shown(twice)}")
        return found

    def refuse(constant: str) -> Any:
        raise _fault(path, f"{what} holds {constant}, which is no number of JSON")

    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        return json.loads(decoded, object_pairs_hook=once, parse_constant=refuse)
    except RecursionError as error:
        raise _fault(path, f"{what} is nested too deeply") from error
    except InputError:
        raise
    except ValueError as error:
        raise _fault(path, f"{what} is no JSON: {error}") from error


def _fault(path: Any, what: str) -> InputError:
    return InputError(f"{path} is not a readable file: {what}")


def _entry(path: Any, name: str, given: Any) -> Entry:
    if not isinstance(given, dict) or given.keys() != {"dtype", "shape", "data_offsets"}:
        raise _fault(path, f"the header gives no dtype, shape and place of {shown(name)}")
    dtype, shape, place = given["dtype"], given["shape"], given["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise _fault(path, f"the array {shown(name)} has the unknown dtype {shown(dtype)}")
    if not _counts(shape) or len(shape) > _MOST_AXES:
        raise _fault(path, f"the array {shown(name)} has no shape, but {shown(shape)}")
    if not _counts(place) or len(place) != 2 or place[0] > place[1]:
        raise _fault(path, f"the array {shown(name)} has no place, but {shown(place)}")
    if math.prod(shape) * _BITS[dtype] != 8 * (place[1] - place[0]):
        has = f"{place[1] - place[0]:,} bytes"
        raise _fault(path, f"the array {shown(name)}, {dtype} {tuple(shape)}, has {has}")
    return Entry(dtype, tuple(shape), *place)


def _counts(given: Any) -> bool:
    """Whether this is a list of whole numbers that an array can have."""
    return isinstance(given, list) and all(type(n) is int and 0 <= n < 2**63 for n in given)


def _refuse_gaps(path: Any, entries: dict[str, Entry], size: int) -> None:
    """Raise unless the arrays lie one behind the other and fill the file."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda e: (e[1].start, e[1].stop)):
        if entry.start != end:
            what = "overlaps another" if entry.start < end else "lies behind a gap"
            raise _fault(path, f"the array {shown(name)} {what}")
        end = entry.stop
    if end != size:
        raise _fault(path, f"its arrays have {end:,} bytes, and {size:,} are there")
