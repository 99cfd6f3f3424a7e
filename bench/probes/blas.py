"""The library's products of matrices for whole arrays, and the plain routine beside them."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from ctypes import byref, c_float, c_int, c_void_p
from typing import Any

from gpubp.errors import DeviceError

from . import UnavailableError, first_line

cublas: Any = importlib.import_module("gpubp.backends.cublas")
_library: Any = importlib.import_module("gpubp.backends.cublas_library")
WORKSPACE_BYTES, check, version = cublas.WORKSPACE_BYTES, _library.check, _library.version

_INT, _PTR = c_int, c_void_p
_SGEMM = [_PTR, *[_INT] * 5, *[_PTR] * 2, _INT, _PTR, _INT, *[_PTR] * 2, _INT]


def shared_library(name: str) -> Any:
    """Return one of NVIDIA's libraries, the very one that CuPy loads."""
    return _loaded(lambda: _library.shared_library(name))


def _loaded(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except DeviceError as error:
        raise UnavailableError(first_line(error)) from None


@functools.cache
def _sgemm() -> Any:
    function = shared_library("cublas").cublasSgemm_v2
    function.argtypes = _SGEMM
    return function


class Blas:
    """Products of row-major arrays on one stream; without `workspace` in one that cuBLAS has."""

    def __init__(self, cp: Any, stream: Any, workspace: bool = True) -> None:
        lib = _loaded(cublas.library)
        self._blas = cublas.Blas(cp, stream)
        if not workspace:  # setting the stream puts cuBLAS's own back
            check(lib.cublasSetStream_v2(self._blas.handle, stream.ptr), "cublasSetStream")

    def product(
        self, kind: str, a: Any, b: Any, c: Any, ta: bool = False, tb: bool = False
    ) -> Callable[[], Any]:
        """Return a call that writes op(a) op(b) to `c` and returns it; 3 axes are a batch."""
        out, left, right = (_operand(kind, x) for x in (c, a, b))
        members = a.shape[0] if a.ndim == 3 else 1
        sizes, tf32 = _sizes(a, b, c, ta, tb), kind == "tf32"
        run = self._blas.product(out, left, right, sizes, (ta, tb), members, tf32)

        def call() -> Any:
            run()
            return held[-1]

        held = (a, b, c)  # pointers keep none alive
        return call

    def sgemm(self, a: Any, b: Any, c: Any) -> Callable[[], Any]:
        """Return a call of the plain float32 routine: c = a b."""
        m, n, k = _sizes(a, b, c, False, False)
        one, zero, function = c_float(1.0), c_float(0.0), _sgemm()
        pointers = (b.data.ptr, n, a.data.ptr, k, byref(zero), c.data.ptr, n)
        arguments = (self._blas.handle, 0, 0, n, m, k, byref(one), *pointers)

        def call() -> Any:
            check(function(*arguments), "cublasSgemm")
            return held[-1]

        held = (self, a, b, c)
        return call


def _operand(kind: str, x: Any) -> Any:
    stride = x.shape[-2] * x.shape[-1] if x.ndim == 3 else 0
    return cublas.Operand(x.data.ptr, "float32" if kind == "tf32" else kind, stride)


def _sizes(a: Any, b: Any, c: Any, ta: bool, tb: bool) -> tuple[int, int, int]:
    """Return m, n and k of contiguous arrays."""
    m, k = a.shape[-2:][::-1] if ta else a.shape[-2:]
    inner, n = b.shape[-2:][::-1] if tb else b.shape[-2:]
    if inner != k or tuple(c.shape[-2:]) != (m, n):
        raise ValueError(f"shapes do not fit: {a.shape}, {b.shape} -> {c.shape}, {ta=}, {tb=}")
    return m, n, k
