"""A stand-in for the module `cupy` on the CPU: its arrays are NumPy's, its kernels go to g++.

Put in place of `cupy`, it lets `CudaBackend` itself run without a GPU: the dispatch, the deferred
steps and the very text of every kernel. As in CuPy, an array of the device is no NumPy array and
does not mix with one, nothing is converted unasked, a reduction gives an array of no axes, what
computes takes arrays of the current device only, and the parameters of a kernel are references
into memory, so that an output may be its own input.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from . import (
    compiled_pools,
    compiled_queues,
    compiled_rooms,
    compiled_streams,
    compiled_transfers,
)
from .compiled_arrays import Device, bare, in_place, ndarray, result_of
from .compiled_device import counts
from .compiled_kernels import ElementwiseKernel, compile_all
from .compiled_modules import RawKernel, RawModule, compile_modules
from .compiled_pools import OutOfMemoryError, get_default_memory_pool, set_capacity
from .compiled_queues import capturing, enqueue

__all__ = [
    "ElementwiseKernel", "RawKernel", "RawModule", "compile_all", "compile_modules", "counts",
    "cuda", "cupyx", "enqueue", "forget", "get_default_memory_pool", "ndarray", "set_capacity",
]  # fmt: skip
__version__ = "14.0 (a stand-in)"


_BLAS = {"matmul", "dot", "einsum", "tensordot", "vdot", "inner"}


def __getattr__(name: str) -> Any:
    """NumPy's function of that name for arrays of the device."""
    if name in _MAKERS:
        return _MAKERS[name]
    found = getattr(np, name)
    if isinstance(found, type) or not callable(found):
        return found

    def function(*arguments: Any, out: Any = None, **named: Any) -> Any:
        if name in _BLAS and capturing():
            raise NotImplementedError("calling cuBLAS API during stream capture is unsupported")
        given, named = [bare(x) for x in arguments], {k: bare(x) for k, x in named.items()}
        if out is not None:
            target = bare(out)
            in_place(lambda: found(*given, out=target, **named))
            return out
        result = result_of(lambda: found(*given, **named))
        return ndarray(result) if isinstance(result, np.ndarray | np.generic) else result

    return function


def _empty(shape: Any, dtype: Any = float) -> ndarray:
    return ndarray(compiled_rooms.poisoned(shape, dtype))


def _zeros(shape: Any, dtype: Any = float) -> ndarray:
    made = _empty(shape, dtype)
    made.fill(0)
    return made


_MAKERS = {
    "empty": _empty,
    "zeros": _zeros,
    "empty_like": lambda x, dtype=None: _empty(x.shape, dtype or x.dtype),
    "zeros_like": lambda x, dtype=None: _zeros(x.shape, dtype or x.dtype),
}


def reshape(x: ndarray, shape: tuple[int, ...], *, copy: bool | None = None) -> ndarray:
    x = x.copy() if copy else x
    return ndarray(x.values.reshape(shape, copy=False if copy is False else None), x.device.id)


def asarray(x: Any, dtype: Any = None, *, copy: bool | None = None) -> ndarray:
    if isinstance(x, ndarray):
        same = dtype in (None, x.dtype) and not copy and x.device.id == Device.current
        return x if same else ndarray(result_of(lambda: np.array(x.values, dtype=dtype)))
    host = np.asarray(x, dtype=dtype)
    made = ndarray(compiled_rooms.poisoned(host.shape, host.dtype))  # on the current device
    if host.ndim == 0:
        made.fill(host)  # goes with the kernel
    else:
        compiled_transfers.send(made.values, host, None)
    return made


def asnumpy(x: Any) -> Any:
    return x.get() if isinstance(x, ndarray) else np.array(x)


def from_dlpack(x: Any) -> ndarray:
    return ndarray(np.from_dlpack(x))


def forget() -> None:
    """Drop what an earlier test has left: work of streams, limits of memory, counts."""
    compiled_queues.forget_all()
    compiled_pools.forget_memory()


cuda = SimpleNamespace(
    Device=Device,
    Event=compiled_streams.Event,
    MemoryPointer=compiled_pools.MemoryPointer,
    MemoryPool=compiled_pools.MemoryPool,
    Stream=compiled_streams.Stream,
    get_current_stream=compiled_streams.get_current_stream,
    is_available=lambda: True,
    memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    runtime=compiled_transfers.runtime,
    using_allocator=compiled_pools.using_allocator,
)

cupyx = ModuleType("cupyx", "The stand-in for the module of that name.")
for _function in (compiled_transfers.empty_pinned, compiled_transfers.zeros_pinned):
    setattr(cupyx, _function.__name__, _function)
