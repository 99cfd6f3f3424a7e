"""cuBLAS itself: the library that CuPy loads, called by ctypes, and what it answers."""

from __future__ import annotations

import ctypes
import importlib
from ctypes import byref, c_int, c_longlong, c_size_t, c_void_p
from functools import cache
from typing import Any

from gpubp.errors import DeviceError

_PTR, _INT, _LONG = c_void_p, c_int, c_longlong
_HEAD = [_PTR, *[_INT] * 5, _PTR]  # handle, two flags, three sizes, alpha

ARGUMENTS: dict[str, list[Any]] = {
    "cublasGetProperty": [_INT, _PTR],
    "cublasCreate_v2": [_PTR],
    "cublasDestroy_v2": [_PTR],
    "cublasSetStream_v2": [_PTR, _PTR],
    "cublasSetWorkspace_v2": [_PTR, _PTR, c_size_t],
    "cublasSetMathMode": [_PTR, _INT],
    "cublasSetAtomicsMode": [_PTR, _INT],
    "cublasGemmEx": [
        *_HEAD, *[_PTR, _INT, _INT] * 2, *[_PTR, _PTR, _INT, _INT], *[_INT] * 2
    ],
    "cublasGemmStridedBatchedEx": [
        *_HEAD, *[_PTR, _INT, _INT, _LONG] * 2, *[_PTR, _PTR, _INT, _INT, _LONG], *[_INT] * 3
    ],
}  # fmt: skip
"""The types of the arguments of what is called: a pointer must not be cut to 32 bits."""

_STATUS = {
    1: "not initialized",
    3: "allocation failed",
    7: "invalid value",
    8: "architecture mismatch",
    11: "mapping error",
    13: "execution failed",
    14: "internal error",
    15: "not supported",
    16: "license error",
}


def check(status: int, what: str) -> None:
    """Raise `DeviceError` unless the status is success.

    >>> check(0, "cublasCreate")
    >>> try:
    ...     check(1, "cublasCreate")
    ... except DeviceError as error:
    ...     print(error)
    cublasCreate: not initialized (status 1 of cuBLAS)
    """
    if status:
        raise DeviceError(f"{what}: {_STATUS.get(status, 'unknown')} (status {status} of cuBLAS)")


def shared_library(name: str) -> Any:
    """Return one of NVIDIA's libraries, the very one that CuPy loads; or raise `DeviceError`."""
    try:
        found = importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib(name)
        return ctypes.CDLL(found.abs_path)
    except (ImportError, RuntimeError, OSError) as error:
        raise DeviceError(
            f"cannot load lib{name} ({error}); install it with pip install 'gpubp[cuda13]', or "
            "'gpubp[cuda12]' for an older driver"
        ) from error


@cache
def library() -> Any:
    """Return cuBLAS with the types of the arguments; or raise `DeviceError`."""
    lib = shared_library("cublas")
    for name, types in ARGUMENTS.items():
        getattr(lib, name).argtypes = types
    return lib


def version() -> str:
    """Return the version of cuBLAS, such as `13.1.0`."""
    parts = []
    for which in range(3):
        value = c_int()
        check(library().cublasGetProperty(which, byref(value)), "cublasGetProperty")
        parts.append(str(value.value))
    return ".".join(parts)
