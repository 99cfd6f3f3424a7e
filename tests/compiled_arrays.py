"""Arrays on a numbered device that is none: NumPy's memory behind what CuPy would allow."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np


class Device(AbstractContextManager[Any]):
    """A device by number; arrays are made on the one whose `with` block is open."""

    current = 0

    def __init__(self, number: int = 0) -> None:
        self.id = number

    def __enter__(self) -> Device:
        self._before, Device.current = Device.current, self.id
        return self

    def __exit__(self, *_: object) -> None:
        Device.current = self._before


class ndarray:  # noqa: N801 - CuPy's name
    """An array on a device; `values` is its memory."""

    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]
    __cuda_array_interface__: dict[str, Any] = {}  # noqa: RUF012 - only looked for, never read

    def __init__(self, values: Any, number: int | None = None) -> None:
        self.values = np.asarray(values)
        self.device = Device(Device.current if number is None else number)

    dtype = property(lambda self: self.values.dtype)
    shape = property(lambda self: self.values.shape)
    ndim = property(lambda self: self.values.ndim)
    size = property(lambda self: self.values.size)
    nbytes = property(lambda self: self.values.nbytes)
    mT = property(lambda self: ndarray(self.values.mT, self.device.id))  # noqa: N815

    def __getitem__(self, key: Any) -> ndarray:
        return ndarray(self.values[bare(key)], self.device.id)

    def __setitem__(self, key: Any, value: Any) -> None:
        here(self).values[bare(key)] = bare(value)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("the stand-in exports nothing")

    def __bool__(self) -> bool:
        return bool(self.values)

    def __float__(self) -> float:
        return float(self.values)

    def __int__(self) -> int:
        return int(self.values)


def _operator(name: str) -> Any:
    def method(self: ndarray, *others: Any) -> ndarray:
        with np.errstate(all="ignore"):  # a device does not warn
            return ndarray(getattr(here(self).values, name)(*map(bare, others)))

    return method


for _name in ("add", "sub", "mul", "truediv", "and", "or", "xor", "rshift", "lshift", "pow"):
    for _side in ("", "r"):
        setattr(ndarray, f"__{_side}{_name}__", _operator(f"__{_side}{_name}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "invert", "abs"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


def bare(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    if isinstance(x, tuple | list):
        return type(x)(map(bare, x))
    return here(x).values if isinstance(x, ndarray) else x


def here(x: ndarray) -> ndarray:
    if x.device.id != Device.current:
        raise ValueError(
            "Array device must be same as the current device: "
            f"array device = {x.device.id} while current = {Device.current}"
        )
    return x
