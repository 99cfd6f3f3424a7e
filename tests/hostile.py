"""Model files as an enemy would write them: by hand, byte by byte."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import io

NET = gpubp.Network(gpubp.MLP([4], 2), inputs=3)
NAMES = {"float32": "F32", "float64": "F64", "int64": "I64", "float16": "F16", "int8": "I8"}


def good() -> tuple[dict[str, Any], dict[str, Any]]:
    """The description and the arrays of a sound file, of a network 3 -> 4 -> 2."""
    header, data = apart(io.encode(NET, gpubp.CrossEntropy(), 1))
    description = json.loads(header["__metadata__"]["gpubp"])
    del header["__metadata__"]
    arrays = {}
    for name, entry in header.items():
        part = data[slice(*entry["data_offsets"])]
        arrays[name] = np.frombuffer(part, "<f4").reshape(entry["shape"])
    return description, arrays


def apart(file: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and what lies behind it."""
    stop = 8 + int.from_bytes(file[:8], "little")
    return json.loads(file[8:stop]), file[stop:]


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header (a text, or what is made JSON of), whatever lies behind it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def packed(arrays: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The entries of a header for arrays, and their bytes."""
    entries, data = {}, b""
    for name, array in arrays.items():
        array = np.asarray(array)
        place = [len(data), len(data) + array.nbytes]
        entries[name] = {"dtype": NAMES[array.dtype.name], "shape": list(array.shape),
                         "data_offsets": place}  # fmt: skip
        data += array.tobytes()
    return entries, data


def model(description: Any, arrays: Mapping[str, Any], digest: bool = True) -> bytes:
    """A model file of this description, a text or plain data; its digest is that of the arrays."""
    if isinstance(description, dict) and digest:
        description = {**description, "digest": io.digest(arrays)}
    text = description if isinstance(description, str) else json.dumps(description)
    entries, data = packed(arrays)
    return raw({"__metadata__": {"gpubp": text}, **entries}, data)


def changed(**entries: Any) -> bytes:
    """The sound file with other entries in its description."""
    description, arrays = good()
    return model({**description, **entries}, arrays)


def empty(layer: Any, **entries: Any) -> bytes:
    """A file without arrays, of this layer."""
    description, _ = good()
    return model({**description, "layer": layer, "loss": None, **entries}, {})


def entry(shape: list[Any], start: int, stop: int, dtype: Any = "F32") -> dict[str, Any]:
    """What a header says of one array."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def refused(path: Path, data: bytes, told: str = "") -> str:
    """What is said of a file; it must name the file and end well."""
    path.write_bytes(data)
    with pytest.raises(gpubp.InputError) as caught:
        gpubp.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert len(message) < 2_000
    assert re.search(told, message), message
    return message
