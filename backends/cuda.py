"""CUDA through CuPy: formulas become fused kernels; nothing leaves the device unasked."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache, lru_cache
from typing import Any

import numpy as np

from gpubp.backend import Array, Formula
from gpubp.bits import bits, words
from gpubp.errors import DeviceError
from gpubp.program.formula import BOOLEAN, FLOAT, INTEGER, UNSIGNED, Kernel, trace

from .standard import StandardBackend, same_type

_INSTALL = (
    "install it with pip install 'gpubp[cuda13]' (or 'gpubp[cuda12]' for an older driver; with a "
    "CUDA toolkit of your own, 'gpubp[cuda13-sys]' or 'gpubp[cuda12-sys]')"
)
_DLPACK_CUDA = 2
_TYPES = {UNSIGNED: "uint32", INTEGER: "int64", BOOLEAN: "bool"}


class CudaBackend(StandardBackend):
    """CuPy arrays on one CUDA device.

    `index` numbers the device, `dtype` is `"float32"` or `"float64"`. Raises `DeviceError` that
    says what is missing and how to install it.
    """

    deferred = True

    def __init__(self, index: int = 0, dtype: str = "float32") -> None:
        cupy = _usable_cupy(index)
        self._cupy, self.index = cupy, index
        with cupy.cuda.Device(index):
            super().__init__(cupy, dtype=dtype)
        self.device = f"cuda:{index}"

    def owns(self, x: Any) -> bool:
        return isinstance(x, self._cupy.ndarray) and x.device.id == self.index

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        with self.activate():
            return super().asarray(x, dtype)

    def adopt(self, x: Any) -> Array:
        number = self._device_number(x)
        if number is None:
            return super().adopt(x)
        if number != self.index:
            raise DeviceError(
                f"an array on cuda:{number} was given to a network on {self.device}; "
                "copy it there first"
            )
        with self.activate():
            if isinstance(x, self._cupy.ndarray):
                return x
            return self._cupy.from_dlpack(x) if hasattr(x, "__dlpack__") else self._cupy.asarray(x)

    def _device_number(self, x: Any) -> int | None:
        """The number of the CUDA device that holds `x`, or None for anything else."""
        if isinstance(x, self._cupy.ndarray):  # asked first: asarray would copy it over in silence
            return int(x.device.id)
        if hasattr(x, "__dlpack_device__"):
            kind, number = x.__dlpack_device__()
            return int(number) if int(kind) == _DLPACK_CUDA else None
        try:
            interface = getattr(x, "__cuda_array_interface__", None)
        except Exception:  # some libraries refuse here, and say why when the array is read
            return None
        if interface is None:
            return None
        pointer = self._cupy.cuda.runtime.pointerGetAttributes(interface["data"][0])
        return int(pointer.device)

    def to_numpy(self, x: Array) -> Any:
        return self._cupy.asnumpy(x)

    def map(self, formula: Formula, *arguments: Any) -> Any:
        return self._kernel(formula, arguments)(*arguments)

    def accumulate(self, out: Array, value: Array) -> None:
        same_type(out, value)
        self.xp.add(out, value, out=out)

    def write_matmul(self, out: Array, a: Array, b: Array) -> None:
        same_type(out, a, b)
        self.xp.matmul(a, b, out=out)

    def bits(
        self, rows: int, columns: int, key: Array, stream: int, step: int, first_row: int = 0
    ) -> Array:
        index = self._index(rows, columns, first_row)
        return self.map(_draw, index, key, np.uint32(stream), np.uint32(step))

    def finite(self, flat: Array, value: Array, reach: Any) -> Any:
        return self._sound(flat, value, reach)  # stays on the device: nobody waits

    def _replace(
        self, formula: Formula, state: Sequence[Array], arrays: Sequence[Array], numbers: list[Any]
    ) -> None:
        operands = [*state, *arrays, *numbers]
        self._kernel(formula, operands)(*operands, *state)

    def _kernel(self, formula: Formula, operands: Sequence[Any]) -> Any:
        kinds = tuple(map(_kind, operands))
        return _fused(self._cupy.ElementwiseKernel, formula, kinds, self.precision)

    def activate(self) -> AbstractContextManager[Any]:
        device: AbstractContextManager[Any] = self._cupy.cuda.Device(self.index)
        return device

    def synchronize(self) -> None:
        with self.activate():
            self._cupy.cuda.get_current_stream().synchronize()


def unusable() -> str | None:
    """Return why CUDA cannot be used here, or None if it can."""
    try:
        _usable_cupy(0)
    except DeviceError as error:
        return str(error)
    return None


def devices() -> list[str]:
    """Return a line for each CUDA device: its name here, the card's name, its memory."""
    runtime = _usable_cupy(0).cuda.runtime
    found = []
    for index in range(runtime.getDeviceCount()):
        card = runtime.getDeviceProperties(index)
        memory = card["totalGlobalMem"] / 2**30
        found.append(f"cuda:{index} ({card['name'].decode()}, {memory:.0f} GiB)")
    return found


@cache
def _usable_cupy(index: int) -> Any:
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise DeviceError(
            f"CUDA needs CuPy, which cannot be imported ({error}); {_INSTALL}"
        ) from error
    if not cupy.cuda.is_available():
        raise DeviceError(
            f"CuPy {cupy.__version__} is installed and finds no CUDA device; check with nvidia-smi "
            f"that the driver sees a GPU, {_visible()}and that CuPy is for its version"
        )
    count = cupy.cuda.runtime.getDeviceCount()
    if index >= count:
        raise DeviceError(f"there is no device 'cuda:{index}'; this machine has {count}")
    try:
        with cupy.cuda.Device(index):  # a driver alone does not prove a compiler and its headers
            kernel = cupy.ElementwiseKernel("float32 x", "float32 y", "y = x + 1.0f", "gpubp_probe")
            sound = float(kernel(cupy.zeros(1, dtype="float32"))[0]) == 1.0
    except Exception as error:  # whatever the driver, the compiler or the loader has to say
        raise DeviceError(f"a first kernel failed on cuda:{index} ({error}); {_INSTALL}") from error
    if not sound:
        raise DeviceError(f"a first kernel gave a wrong result on cuda:{index}")
    return cupy


def _visible() -> str:
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if devices is None else f"that CUDA_VISIBLE_DEVICES={devices!r} is meant, "


def _draw(xp: Any, index: Any, key: Any, stream: Any, step: Any) -> Any:
    return bits(xp, index, *words(xp, key, stream, step))


def _kind(argument: Any) -> str:
    dtype = getattr(argument, "dtype", None)
    if dtype is None:
        return FLOAT
    return {"f": FLOAT, "u": UNSIGNED, "i": INTEGER, "b": BOOLEAN}[dtype.kind]


@lru_cache(maxsize=4096)
def _fused(
    element_wise: Callable[..., Any], formula: Formula, kinds: tuple[str, ...], precision: str
) -> Any:
    """Return the one kernel of a formula for operands of these kinds."""
    return element_wise(*kernel_text(trace(formula, kinds), precision))


def kernel_text(kernel: Kernel, precision: str) -> tuple[str, str, str, str, bool, str]:
    """Return the arguments of `cupy.ElementwiseKernel` for a traced formula."""
    types = {**_TYPES, FLOAT: precision}
    real = "float" if precision == "float32" else "double"
    preamble = f"typedef {real} T; typedef unsigned int U; typedef long long I;"
    return (
        ", ".join(f"{types[kind]} {name}" for name, kind in kernel.inputs),
        ", ".join(f"{types[kind]} {name}" for name, kind in kernel.outputs),
        kernel.body,
        f"gpubp_{re.sub(r'[^0-9A-Za-z_]', '_', kernel.name)}",
        True,
        preamble,
    )
