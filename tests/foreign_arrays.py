"""Arrays on the stand-in's devices that are not its own, as other libraries export theirs."""

from __future__ import annotations

import ctypes
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

CUDA, HOST = 2, 1  # DLPack's kinds of devices


class ByDLPack:
    """A tensor that exports itself, and notes for which streams it was asked to."""

    def __init__(self, values: Any, number: int = 0, kind: int = CUDA, refuses: str = "") -> None:
        self.values, self.number, self.kind = np.asarray(values), number, kind
        self.refuses = refuses
        self.streams: list[Any] = []

    shape = property(lambda self: self.values.shape)
    dtype = property(lambda self: self.values.dtype)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, self.number

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, **_: Any) -> Any:
        if self.refuses:
            raise BufferError(self.refuses)
        self.streams.append(stream)
        return self.values.__dlpack__(max_version=max_version)

    def __array_namespace__(self, **_: Any) -> Any:
        """A library that makes such tensors of arrays that export themselves."""
        library: Any = ModuleType("foreign")
        library.from_dlpack = _from_dlpack
        return library


def _from_dlpack(x: Any) -> ByDLPack:
    kind, number = x.__dlpack_device__()
    return ByDLPack(getattr(x, "values", x), number, int(kind))


class ByInterface:
    """A column with the CUDA array interface, of version 2 or 3, and a copy NumPy would make."""

    def __init__(self, values: Any, number: int = 0, **more: Any) -> None:
        self.values = np.asarray(values)
        _homes[self._address] = number
        self.more = {"version": 3, **more}

    @property
    def _address(self) -> int:
        return int(self.values.__array_interface__["data"][0])

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = None if self.values.flags.c_contiguous else self.values.strides
        return {
            "shape": self.values.shape, "typestr": self.values.dtype.str, "strides": strides,
            "data": (self._address if self.values.size else 0, False), **self.more,
        }  # fmt: skip

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("it was copied to the host in silence")


class Frame:
    """A table of columns, which makes a matrix of the stand-in's if it is asked to."""

    def __init__(self, cupy: Any, values: Any, nulls: bool = False) -> None:
        self._cupy, self._values, self._nulls = cupy, values, nulls

    def to_cupy(self) -> Any:
        if self._nulls:
            raise ValueError("Column must have no nulls.")
        return self._cupy.asarray(self._values)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a host NumPy array is not allowed")


_homes: dict[int, int] = {}


def install(monkeypatch: pytest.MonkeyPatch, stand_in: Any) -> list[int]:
    """Let the stand-in read them as CuPy does; return the streams that were waited for."""
    waited: list[int] = []
    usual = stand_in.asarray

    def from_dlpack(x: Any) -> Any:
        capsule = x.__dlpack__(stream=stand_in.cuda.get_current_stream().ptr or 1)
        found = SimpleNamespace(__dlpack__=lambda **_: capsule, __dlpack_device__=lambda: (1, 0))
        return stand_in.ndarray(np.from_dlpack(found))

    def asarray(x: Any, dtype: Any = None, *, copy: bool | None = None) -> Any:
        if isinstance(x, stand_in.ndarray) or not hasattr(x, "__cuda_array_interface__"):
            return usual(x, dtype, copy=copy)
        given = x.__cuda_array_interface__
        if given.get("stream") is not None:
            waited.append(given["stream"])
        spans = zip(x.values.shape, x.values.strides, strict=True)
        size = x.values.itemsize + sum((n - 1) * stride for n, stride in spans)
        memory = (ctypes.c_byte * size).from_address(given["data"][0])
        values = np.ndarray(given["shape"], given["typestr"], memory, strides=given["strides"])
        return usual(stand_in.ndarray(values), dtype, copy=copy)

    def attributes(address: int) -> Any:
        return SimpleNamespace(device=_homes[address])

    monkeypatch.setattr(stand_in, "from_dlpack", from_dlpack)
    monkeypatch.setattr(stand_in, "asarray", asarray)
    monkeypatch.setattr(stand_in.cuda.runtime, "pointerGetAttributes", attributes, raising=False)
    return waited
