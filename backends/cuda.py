"""CUDA through CuPy: formulas become fused kernels; nothing leaves the device unasked."""

from __future__ import annotations

import importlib
import os
import re
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, lru_cache
from typing import Any

import numpy as np

from gpubp.backend import Array, Formula, Rows
from gpubp.bits import bits, words
from gpubp.errors import DeviceError, OutOfMemoryError, in_bytes
from gpubp.foreign import device_number, interface
from gpubp.program.c_expressions import preludes
from gpubp.program.formula import BOOLEAN, FLOAT, INTEGER, UNSIGNED, Kernel, trace

from . import pinned
from .standard import StandardBackend, same_type

_INSTALL = (
    "install it with pip install 'gpubp[cuda13]' (or 'gpubp[cuda12]' for an older driver; with a "
    "CUDA toolkit of your own, 'gpubp[cuda13-sys]' or 'gpubp[cuda12-sys]')"
)
_TYPES = {UNSIGNED: "uint32", INTEGER: "int64", BOOLEAN: "bool"}


class CudaBackend(StandardBackend):
    """CuPy arrays on one CUDA device.

    `index` numbers the device, `dtype` is `"float32"` or `"float64"`. Raises `DeviceError` that
    says what is missing and how to install it. All is computed on CuPy's current stream of the
    device, whichever device is current. Arrays of other libraries on it are taken as they are,
    without a copy: by DLPack, or by their `__cuda_array_interface__`; what was asked of their
    streams is waited for. `OutOfMemoryError` takes the place of CuPy's.
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
        with self._active(x):
            return super().asarray(x, dtype)

    def adopt(self, x: Any) -> Array:
        if hasattr(x, "to_cupy") and interface(x) is None:  # a frame of cuDF
            with self._active(x):
                x = _foreign(x.to_cupy, x)
        number = self._device_number(x)
        if number is None:
            return super().adopt(x)
        if number != self.index:
            raise DeviceError(
                f"an array on cuda:{number} was given to a network on {self.device}; "
                "copy it there first"
            )
        if isinstance(x, self._cupy.ndarray):
            return x
        take = self._cupy.from_dlpack if hasattr(x, "__dlpack__") else self._cupy.asarray
        with self.activate():
            return _foreign(take, x, x)

    def _device_number(self, x: Any) -> int | None:
        """The number of the CUDA device that holds `x`, or None for anything else."""
        if isinstance(x, self._cupy.ndarray):  # asked first: asarray would copy it over in silence
            return int(x.device.id)
        if hasattr(x, "__dlpack_device__"):
            return device_number(x)
        found = interface(x)
        if found is None:
            return None
        address = found["data"][0]
        if not address:  # nothing is in it, and it is nowhere
            return self.index
        return int(self._cupy.cuda.runtime.pointerGetAttributes(address).device)

    def to_numpy(self, x: Array) -> Any:
        with self.activate():  # the copy has to wait for the stream of this device
            return self._cupy.asnumpy(x)

    def room(self) -> int:
        with self.activate():
            pool = self._cupy.get_default_memory_pool()
            free = self._cupy.cuda.runtime.memGetInfo()[0] + pool.free_bytes()
            limit = pool.get_limit()
            return int(min(free, limit - pool.used_bytes()) if limit else free)

    def ahead(self, batches: Generator[Rows]) -> Generator[Rows]:
        return pinned.ahead(self._cupy, batches, self.precision)

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

    def compiler(self) -> Any:
        from . import cuda_steps

        return cuda_steps

    def sharing(self, threads: int) -> Any:
        from .cuda_layout import Blocks

        return Blocks(self.precision)

    def activate(self) -> AbstractContextManager[Any]:
        return self._active()

    @contextmanager
    def _active(self, asked_for: Any = None) -> Iterator[None]:
        """The device is the current one; where its memory ends, the error says for what."""
        with super().activate(), self._cupy.cuda.Device(self.index):
            try:
                yield
            except self._cupy.cuda.memory.OutOfMemoryError as error:
                told = self._out_of_memory(error, getattr(asked_for, "shape", None))
                traceback.clear_frames(error.__traceback__)  # arrays that nobody will come back to
                raise told from error

    def _out_of_memory(self, error: Exception, shape: Any) -> OutOfMemoryError:
        found = re.search(r"allocating ([\d,]+) bytes", str(error))
        asked, free = int(found[1].replace(",", "")) if found else 0, self.room()
        what = f" for an array {tuple(shape)}" if shape is not None else ""
        message = (
            f"{self.device} is out of memory: {in_bytes(asked)}{what} were asked for, and about "
            f"{in_bytes(free)} were free"
        )
        return OutOfMemoryError(message, asked, free)

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
        last = f", the last of them 'cuda:{count - 1}'" if count else ""
        raise DeviceError(
            f"there is no device 'cuda:{index}'; this machine has {count}{last}; check "
            f"{_visible()}with nvidia-smi"
        )
    try:
        with cupy.cuda.Device(index):  # a driver alone does not prove a compiler and its headers
            kernel = cupy.ElementwiseKernel("float32 x", "float32 y", "y = x + 1.0f", "gpubp_probe")
            sound = float(kernel(cupy.zeros(1, dtype="float32"))[0]) == 1.0
    except Exception as error:  # whatever the driver, the compiler or the loader has to say
        full = "out of memory" in str(error).lower()
        advice = "see with nvidia-smi what else uses its memory" if full else _INSTALL
        raise DeviceError(f"a first kernel failed on cuda:{index} ({error}); {advice}") from error
    if not sound:
        raise DeviceError(f"a first kernel gave a wrong result on cuda:{index}")
    return cupy


def _visible() -> str:
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if devices is None else f"that CUDA_VISIBLE_DEVICES={devices!r} is meant, "


def _foreign(read: Callable[..., Any], given: Any, *arguments: Any) -> Any:
    """What a library makes of its own array; each refuses in its own way."""
    try:
        return read(*arguments)
    except MemoryError:
        raise
    except Exception as error:
        raise DeviceError(
            f"a {type(given).__module__}.{type(given).__name__} could not be read on its device "
            f"({type(error).__name__}: {error}); hand it over as an array of numbers without nulls"
        ) from error


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
    preamble += preludes(kernel.body)
    return (
        ", ".join(f"{types[kind]} {name}" for name, kind in kernel.inputs),
        ", ".join(f"{types[kind]} {name}" for name, kind in kernel.outputs),
        kernel.body,
        f"gpubp_{re.sub(r'[^0-9A-Za-z_]', '_', kernel.name)}",
        True,
        preamble,
    )
