"""Ways to spoil bytes: blindly, by numbers and names in them, and by the structure of a format."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpubp import io

LONGEST = 1 << 22
"""No input grows beyond this many bytes, or what it was."""
_NUMBERS = [0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 2**15, 2**16, 2**24, 2**31 - 1, 2**31, 2**32,
            2**53, 2**63 - 1, 2**63, 2**64, 10**6, 10**9, 10**12, 10**30, -(2**63)]  # fmt: skip
_SPELT = [b"1e999", b"-1e999", b"1e-400", b"NaN", b"-Infinity", b"0.5", b"1.0", b"-0", b"00",
          b"0x1", b"1_0", b"9" * 5000, b"", b"null", b"true", b'"1"', b"[]", b"{}"]  # fmt: skip
_VALUES = [None, True, False, 0, -1, 1, 1.5, -0.0, 1e300, 2**31, 2**63, 10**12, 10**30, "", "a",
           "W", "0.W", "\0", "é", "a" * 5000, [], [[]], [0] * 3, [1] * 300_000, {}, {"type": "MLP"},
           {"type": "Linear", "n_out": 1}, {"type": "Identity"}]  # fmt: skip
_PAIR = re.compile(rb'"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[-+.\w]+|\[[^\[\]]*\]|\{[^{}]*\})')
_WORD = re.compile(rb"[A-Za-z_][A-Za-z_0-9.]{2,30}")
_DIGITS = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def mutate(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """Return `data` with one to four things spoilt; `corpus` is where parts of others come from."""
    most = max(LONGEST, len(data))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        data = rng.choice(MUTATIONS)(rng, data, corpus)[:most]
    return data


# -- bytes -------------------------------------------------------------------------------------


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
    """A part, short more often than long."""
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + int(rng.random() ** 4 * (len(data) + 8)) + 1)


def flip(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if spoilt:
            spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def overwrite(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    start, stop = _span(rng, data)
    filler = rng.choice((b"\0", b"\xff", b"\x80", b" ", b'"', b"\n", b",", rng.randbytes(1)))
    return data[:start] + filler * (stop - start) + data[stop:]


def truncate(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def delete(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    start, stop = _span(rng, data)
    return data[:start] + data[stop:]


def insert(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    start, _ = _span(rng, data)
    return data[:start] + rng.randbytes(rng.choice((1, 2, 4, 8, 100))) + data[start:]


def repeat(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    start, stop = _span(rng, data)
    times = rng.choice((2, 2, 3, 10, 1000))
    return (
        data[:start]
        + data[start:stop] * min(times, LONGEST // (stop - start + 1) + 1)
        + (data[stop:])
    )


def move(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    start, stop = _span(rng, data)
    part, rest = data[start:stop], data[:start] + data[stop:]
    place = rng.randrange(len(rest) + 1)
    return rest[:place] + part + rest[place:]


def splice(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    other = rng.choice(corpus)
    start, stop = _span(rng, other)
    if rng.random() < 0.5:
        return data[: rng.randrange(len(data) + 1)] + other[start:]
    place, end = _span(rng, data)
    return data[:place] + other[start:stop] + data[end:]


# -- numbers and names ---------------------------------------------------------------------------


def spell(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """Another number where one is spelt in digits."""
    places = list(_DIGITS.finditer(data[:LONGEST]))
    if not places:
        return insert(rng, data, corpus)
    place = rng.choice(places)
    return data[: place.start()] + _other(rng, place[0]) + data[place.end() :]


def _other(rng: random.Random, digits: bytes) -> bytes:
    if rng.random() < 0.3:
        return rng.choice(_SPELT)
    try:
        number = int(digits[:30])
    except ValueError:
        return digits + rng.choice((b"0", b"e9", b"e-9"))
    near = [number + 1, number - 1, 2 * number, -number, number * 1000, rng.choice(_NUMBERS)]
    return str(rng.choice(near)).encode()


def count(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """Another number where one may lie in 1, 2, 4 or 8 bytes."""
    size = rng.choice((1, 2, 4, 8))
    if len(data) < size:
        return data
    start = rng.randrange(min(len(data) - size + 1, rng.choice((9, 64, LONGEST))))
    order: Any = rng.choice(("little", "big"))
    number = int.from_bytes(data[start : start + size], order)
    near = (number + 1, number - 1, 2 * number, ~number, rng.choice(_NUMBERS), len(data))
    changed = rng.choice(near) % 256**size
    return data[:start] + changed.to_bytes(size, order) + data[start + size :]


def rename(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """A word in the place of another."""
    here, there = _WORD.findall(data[:LONGEST]), _WORD.findall(rng.choice(corpus)[:LONGEST])
    if not here or not there:
        return flip(rng, data, corpus)
    return data.replace(rng.choice(here), rng.choice(there), rng.choice((1, 1, -1)))


def again(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """An entry `"name": value` twice, or that of another."""
    here, there = list(_PAIR.finditer(data)), _PAIR.findall(rng.choice([data, *corpus]))
    if not here or not there:
        return repeat(rng, data, corpus)
    place = rng.choice(here).end()
    return data[:place] + b"," + rng.choice(there) + data[place:]


# -- JSON ----------------------------------------------------------------------------------------


def tree(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """A JSON text with one of its values changed, or in a safetensors file one of the header's."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return tensors(rng, data, corpus)
    return json.dumps(_spoilt(rng, value, corpus)).encode()


def _spoilt(rng: random.Random, value: Any, corpus: Sequence[bytes]) -> Any:
    places = list(_places(value))
    if not places:
        return rng.choice(_VALUES)
    inside = [(h, k) for h, k in places if isinstance(h[k], str) and h[k][:1] == "{"]
    holder, key = rng.choice(inside if inside and rng.random() < 0.5 else places)
    found = holder[key]
    if (holder, key) in inside:  # JSON in a text in JSON
        holder[key] = tree(rng, found.encode(), corpus).decode(errors="replace")
        return value
    what = rng.randrange(9)
    if what == 0:
        del holder[key]
    elif what == 1:
        holder[key] = [found] * rng.choice((1, 2, 2, 100))
    elif what == 2:
        holder[key] = found[0] if isinstance(found, list) and found else {"type": found}
    elif what == 3:
        other, there = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[there]))
    elif what == 4 and isinstance(found, int | float):
        holder[key] = rng.choice([found + 1, found - 1, found * 1000, -found, float(found)])
    elif what == 5 and isinstance(found, list):
        holder[key] = found * rng.choice((0, 2, 1000)) + [rng.choice(_VALUES)]
    elif what == 6 and isinstance(holder, dict):
        holder[rng.choice([k for h, k in places if isinstance(h, dict)])] = holder.pop(key)
    elif what == 7:
        for _ in range(rng.choice((1, 10, 90))):
            found = {"type": "Sequential", "layers": [found]}
        holder[key] = found
    else:
        holder[key] = rng.choice(_VALUES)
    return value


def _places(value: Any) -> Any:
    """Every holder of a value with its key there."""
    pending = [value]
    while pending:
        holder = pending.pop()
        if isinstance(holder, dict | list):
            keys = list(holder) if isinstance(holder, dict) else range(min(len(holder), 100))
            for key in keys:
                yield holder, key
                pending.append(holder[key])


def tensors(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """A safetensors file with its header changed, and the length of it, mostly the digest, right.

    Bytes that are no such file are spoilt in another way.
    """
    stop = 8 + int.from_bytes(data[:8], "little")
    try:
        header, rest = json.loads(data[8:stop]), data[stop:]
    except (ValueError, RecursionError):
        return splice(rng, data, corpus)
    if rng.random() < 0.3 and rest:
        rest = rng.choice((flip, overwrite, delete, repeat))(rng, rest, corpus)
    try:
        text = header["__metadata__"]["gpubp"]
        description = json.loads(text)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        text, description = None, None
    if text is not None and rng.random() < 0.7:
        if rng.random() < 0.8:
            description = _spoilt(rng, description, corpus)
        if isinstance(description, dict) and rng.random() < 0.9:
            description["digest"] = _digest(header, rest)
        text = json.dumps(description)
        if rng.random() < 0.2:
            text = spell(rng, text.encode(), corpus).decode(errors="replace")
        header["__metadata__"]["gpubp"] = text
    else:
        header = _spoilt(rng, header, corpus)
    packed = json.dumps(header).encode()
    return len(packed).to_bytes(8, "little") + packed + rest


def _digest(header: dict[str, Any], rest: bytes) -> str:
    kinds = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1", "BOOL": "?"}
    arrays = {}
    try:
        for name in header.keys() - {"__metadata__"}:
            entry = header[name]
            part = rest[slice(*entry["data_offsets"])]
            arrays[name] = np.frombuffer(part, kinds[entry["dtype"]]).reshape(entry["shape"])
        return io.digest(arrays)
    except (KeyError, TypeError, ValueError, OverflowError):
        return "?"


BLIND: list[Mutation] = [flip, overwrite, truncate, delete, insert, repeat, move, splice]
MUTATIONS: list[Mutation] = [*BLIND, spell, spell, count, count, rename, again, tree, tree, tree]
