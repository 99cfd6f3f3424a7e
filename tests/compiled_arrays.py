"""Arrays on a numbered device that is none: NumPy's memory behind what CuPy would allow."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled_device import Device
from .compiled_pools import MemoryPointer, memory_of
from .compiled_queues import computed, enqueue, queue_of
from .compiled_rooms import address_of, poisoned
from .compiled_transfers import fetch, send

__all__ = ["Device", "bare", "here", "in_place", "ndarray", "result_of"]


class ndarray:  # noqa: N801 - CuPy's name
    """An array on a device; `values` is its memory, which its stream may still have to fill."""

    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]
    __cuda_array_interface__: dict[str, Any] = {}  # noqa: RUF012 - only looked for, never read

    def __init__(self, values: Any, number: int | None = None) -> None:
        self.values = np.asarray(values)
        self.device = Device(Device.current if number is None else number)
        self.memory = memory_of(self.values)

    dtype = property(lambda self: self.values.dtype)
    shape = property(lambda self: self.values.shape)
    ndim = property(lambda self: self.values.ndim)
    size = property(lambda self: self.values.size)
    nbytes = property(lambda self: self.values.nbytes)
    itemsize = property(lambda self: self.values.itemsize)
    strides = property(lambda self: self.values.strides)
    flags = property(lambda self: self.values.flags)
    T = property(lambda self: ndarray(self.values.T, self.device.id))
    mT = property(lambda self: ndarray(self.values.mT, self.device.id))  # noqa: N815

    @property
    def data(self) -> MemoryPointer:
        return MemoryPointer(self.memory, address_of(self.values))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, key: Any) -> ndarray:
        whole, values = key if isinstance(key, tuple) else (key,), self.values
        if all(k is None or isinstance(k, int | slice) for k in whole if k is not Ellipsis):
            at = whole if Ellipsis in whole else (*whole, ...)
            return ndarray(values[at], self.device.id)  # a view, of one number too
        at = bare(key)
        return ndarray(result_of(lambda: values[at]), self.device.id)

    def __setitem__(self, key: Any, value: Any) -> None:
        values, at, given = here(self).values, bare(key), bare(value)
        in_place(lambda: values.__setitem__(at, given))

    def reshape(self, *shape: Any) -> ndarray:
        values = here(self).values
        try:
            return ndarray(values.reshape(*shape, copy=False))
        except ValueError:
            return ndarray(result_of(lambda: values.reshape(*shape)))

    def ravel(self) -> ndarray:
        return self.reshape(-1)

    def copy(self) -> ndarray:
        values = here(self).values
        return ndarray(result_of(values.copy))

    def astype(self, dtype: Any, copy: bool = True) -> ndarray:
        values = here(self).values
        return ndarray(result_of(lambda: values.astype(dtype, copy=copy)))

    def fill(self, value: Any) -> None:
        if isinstance(value, np.ndarray):
            value = value.item()  # of one number only
        values, number = here(self).values, bare(value)
        enqueue(None, lambda: values.fill(number))

    def set(self, arr: Any, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        send(self.values, arr, stream)

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> Any:
        if out is None:
            out = np.empty(self.shape, self.dtype, order="F" if order == "F" else "C")
        elif self.dtype != out.dtype:
            raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
        elif self.shape != out.shape:
            raise ValueError(
                f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}"
            )
        elif not (out.flags.c_contiguous or out.flags.f_contiguous):
            raise RuntimeError("`out` cannot be specified when copying to non-contiguous ndarray")
        return fetch(out, self.values, stream, blocking)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("the stand-in exports nothing")

    def __bool__(self) -> bool:
        return bool(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())


def _operator(name: str) -> Any:
    def method(self: ndarray, *others: Any) -> ndarray:
        method, given = getattr(here(self).values, name), [bare(x) for x in others]
        return ndarray(result_of(lambda: method(*given)))

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


# -- what is computed ------------------------------------------------------------------------------


def result_of(call: Any) -> Any:
    """What NumPy computes, on the current stream: now, or in every launch of a graph."""
    queue = queue_of()
    if queue.capture is None:
        return computed(lambda: _quiet(call), queue)
    shown = _quiet(call)  # for its shape alone
    if not isinstance(shown, np.ndarray | np.generic) or shown.base is not None:
        return shown  # a view needs no work
    made = poisoned(shown.shape, shown.dtype)
    queue.put(lambda: np.copyto(made, _quiet(call)))
    return made


def in_place(call: Any) -> None:
    """Something that writes to arrays, on the current stream."""
    queue = queue_of()
    if queue.capture is None:
        computed(lambda: _quiet(call), queue)
    else:
        queue.put(lambda: _quiet(call))


def _quiet(call: Any) -> Any:
    with np.errstate(all="ignore"):  # a device does not warn
        return call()
