"""A stand-in for the module `cupy` on the CPU: its arrays are NumPy's, its kernels go to g++.

Put in place of `cupy`, it lets `CudaBackend` itself run without a GPU: the dispatch, the deferred
steps and the very text of every kernel. As in CuPy, an array of the device is no NumPy array and
does not mix with one, nothing is converted unasked, a reduction gives an array of no axes, what
computes takes arrays of the current device only, and the parameters of a kernel are references
into memory, so that an output may be its own input.
"""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np

from .compiled_arrays import Device, bare, ndarray
from .compiled_kernels import ElementwiseKernel, compile_all

__all__ = ["ElementwiseKernel", "compile_all", "cuda", "ndarray"]
__version__ = "14.0 (a stand-in)"


def __getattr__(name: str) -> Any:
    """NumPy's function of that name for arrays of the device."""
    found = getattr(np, name)
    if isinstance(found, type) or not callable(found):
        return found

    def function(*arguments: Any, **named: Any) -> Any:
        named = {key: bare(value) for key, value in named.items()}
        with np.errstate(all="ignore"):
            result = found(*map(bare, arguments), **named)
        return ndarray(result) if isinstance(result, np.ndarray | np.generic) else result

    return function


def reshape(x: ndarray, shape: tuple[int, ...], *, copy: bool | None = None) -> ndarray:
    return ndarray(np.reshape(x.values, shape, copy=copy), x.device.id)


def asarray(x: Any, dtype: Any = None, *, copy: bool | None = None) -> ndarray:
    if isinstance(x, ndarray):
        same = dtype in (None, x.dtype) and not copy and x.device.id == Device.current
        return x if same else ndarray(np.array(x.values, dtype=dtype))  # on the current device
    return ndarray(np.array(x, dtype=dtype))


def asnumpy(x: Any) -> Any:
    return np.array(x.values if isinstance(x, ndarray) else x)


def from_dlpack(x: Any) -> ndarray:
    return ndarray(np.from_dlpack(x))


cuda = SimpleNamespace(
    Device=Device,
    is_available=lambda: True,
    get_current_stream=lambda: SimpleNamespace(synchronize=lambda: None),
    Stream=lambda **_: nullcontext(),
    runtime=SimpleNamespace(getDeviceCount=lambda: 2),
)
