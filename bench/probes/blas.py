"""cuBLAS by ctypes, on a handle of our own whose stream and workspace are set beforehand.

CuPy refuses cuBLAS while a graph is being captured, for it sets the stream at every call.
Nothing is destroyed here: the process of a part ends soon.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
from collections.abc import Callable
from ctypes import byref, c_int, c_longlong, c_size_t, c_void_p
from typing import Any

from . import UnavailableError, first_line
from .kinds import KINDS

WORKSPACE_BYTES = 32 << 20  # what NVIDIA recommends for Hopper
_STATUS = {
    1: "not initialized",
    3: "allocation failed",
    7: "invalid value",
    8: "architecture mismatch",
    11: "mapping error",
    13: "execution failed",
    14: "internal error",
    15: "not supported",
}
_GEMM_DEFAULT = -1
_INT, _PTR, _LONG = c_int, c_void_p, c_longlong
_SGEMM = [_PTR, *[_INT] * 5, *[_PTR] * 2, _INT, _PTR, _INT, *[_PTR] * 2, _INT]
_GEMM = [_PTR, *[_INT] * 5, _PTR, *[_PTR, _INT, _INT] * 2, _PTR, _PTR, *[_INT] * 4]
_MATRICES = [_PTR, *[_PTR, _INT, _INT, _LONG] * 2, _PTR, _PTR, _INT, _INT, _LONG]
_BATCHED = [_PTR, *[_INT] * 5, *_MATRICES, *[_INT] * 3]


class CublasError(RuntimeError):
    """A call to cuBLAS or cuBLASLt that did not succeed."""


def check(status: int, what: str) -> None:
    """Raise `CublasError` unless the status is success."""
    if status:
        raise CublasError(f"{what}: {_STATUS.get(status, 'unknown')} (status {status})")


def shared_library(name: str) -> Any:
    """Return one of NVIDIA's libraries, the very one that CuPy loads."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        return ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib(name).abs_path)
    except (ImportError, RuntimeError, OSError) as error:
        raise UnavailableError(f"cannot load lib{name}: {first_line(error)}") from None


@functools.cache
def library() -> Any:
    """Return cuBLAS with the types of the arguments: a pointer must not be cut to 32 bits."""
    lib = shared_library("cublas")
    lib.cublasCreate_v2.argtypes = [_PTR]
    lib.cublasSetStream_v2.argtypes = [_PTR, _PTR]
    lib.cublasSetWorkspace_v2.argtypes = [_PTR, _PTR, c_size_t]
    lib.cublasGetProperty.argtypes = [_INT, _PTR]
    lib.cublasSgemm_v2.argtypes = _SGEMM
    lib.cublasGemmEx.argtypes = _GEMM
    lib.cublasGemmStridedBatchedEx.argtypes = _BATCHED
    return lib


def version() -> str:
    """Return the version of cuBLAS."""
    parts = []
    for which in range(3):
        value = c_int()
        check(library().cublasGetProperty(which, byref(value)), "cublasGetProperty")
        parts.append(str(value.value))
    return ".".join(parts)


class Blas:
    """Products of row-major arrays on one stream.

    cuBLAS is column-major and sees each array as its transpose, so c = a b is asked for as
    c^T = b^T a^T: operands, their transposition flags and m and n change places.
    """

    def __init__(self, cp: Any, stream: Any, workspace: bool = True) -> None:
        lib, self.handle = library(), c_void_p()
        check(lib.cublasCreate_v2(byref(self.handle)), "cublasCreate")
        # The stream first: setting it puts cuBLAS's own workspace back.
        check(lib.cublasSetStream_v2(self.handle, stream.ptr), "cublasSetStream")
        self.workspace: Any = None
        if workspace:
            self.workspace = cp.empty(WORKSPACE_BYTES, "u1")
            pointer = self.workspace.data.ptr
            status = lib.cublasSetWorkspace_v2(self.handle, pointer, WORKSPACE_BYTES)
            check(status, "cublasSetWorkspace")

    def product(
        self, kind: str, a: Any, b: Any, c: Any, ta: bool = False, tb: bool = False
    ) -> Callable[[], Any]:
        """Return a call that writes op(a) op(b) to `c` and returns it; 3 axes are a batch."""
        n, m, k, lda, ldb, ldc = _sizes(a, b, c, ta, tb)
        data, compute = KINDS[kind].data, KINDS[kind].compute
        one, zero = _scalars(kind)
        head = (self.handle, int(tb), int(ta), n, m, k, byref(one))
        tail: tuple[Any, ...]
        if a.ndim == 3:
            function, name = library().cublasGemmStridedBatchedEx, "cublasGemmStridedBatchedEx"
            first = (b.data.ptr, data, ldb, _stride(b))
            second = (a.data.ptr, data, lda, _stride(a))
            out = (c.data.ptr, data, ldc, _stride(c), c.shape[0])
            tail = (*first, *second, byref(zero), *out)
        else:
            function, name = library().cublasGemmEx, "cublasGemmEx"
            pairs = (b.data.ptr, data, ldb, a.data.ptr, data, lda)
            tail = (*pairs, byref(zero), c.data.ptr, data, ldc)
        arguments = (*head, *tail, compute, _GEMM_DEFAULT)
        return _bound(function, name, arguments, (self.workspace, a, b, c))

    def sgemm(self, a: Any, b: Any, c: Any) -> Callable[[], Any]:
        """Return a call of the plain float32 routine: c = a b."""
        n, m, k, lda, ldb, ldc = _sizes(a, b, c, False, False)
        one, zero = _scalars("float32")
        head = (self.handle, 0, 0, n, m, k, byref(one))
        operands = (b.data.ptr, ldb, a.data.ptr, lda, byref(zero), c.data.ptr, ldc)
        arrays = (self.workspace, a, b, c)
        return _bound(library().cublasSgemm_v2, "cublasSgemm", (*head, *operands), arrays)


def _bound(
    function: Any, name: str, arguments: tuple[Any, ...], arrays: tuple[Any, ...]
) -> Callable[[], Any]:
    """Return the call, which returns the last array and holds all: pointers keep none alive."""

    def call() -> Any:
        check(function(*arguments), name)
        return arrays[-1]

    return call


def _scalars(kind: str) -> tuple[Any, Any]:
    scalar = ctypes.c_double if kind == "float64" else ctypes.c_float
    return scalar(1.0), scalar(0.0)


def _stride(x: Any) -> int:
    return int(x.shape[-2] * x.shape[-1])


def _sizes(a: Any, b: Any, c: Any, ta: bool, tb: bool) -> tuple[int, int, int, int, int, int]:
    """Return n, m, k and the leading dimensions of a, b, c, all contiguous."""
    m, k = a.shape[-2:][::-1] if ta else a.shape[-2:]
    inner, n = b.shape[-2:][::-1] if tb else b.shape[-2:]
    if inner != k or tuple(c.shape[-2:]) != (m, n):
        raise ValueError(f"shapes do not fit: {a.shape}, {b.shape} -> {c.shape}, {ta=}, {tb=}")
    return n, m, k, a.shape[-1], b.shape[-1], c.shape[-1]
