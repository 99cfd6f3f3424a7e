"""A stand-in for cuBLAS on the CPU: it reads the very arguments of C, column-major as BLAS does.

`install` puts it in the place of the library that `backends.cublas` calls. Pointers are addresses
of this process; the product itself is work of the stream that was set, done when that is.
"""

from __future__ import annotations

import ctypes
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpubp.backends import cublas
from tests.compiled_device import Device
from tests.compiled_streams import enqueue

# How numbers lie in memory by cudaDataType; NumPy has no bfloat16, so its bits.
_STORED: dict[int, np.dtype[Any]] = {
    0: np.dtype("f4"),
    1: np.dtype("f8"),
    2: np.dtype("f2"),
    14: np.dtype("u2"),
}
_BFLOAT16 = 14
# By cublasComputeType_t: the types of the factors, each with those that the result may have.
_TYPES: dict[int, dict[int, tuple[int, ...]]] = {
    68: {0: (0,), 2: (2, 0), 14: (14, 0)},
    70: {1: (1,)},
    77: {0: (0,)},
}
_TF32 = 77
_numbers = count()  # of handles: one that was destroyed is nobody's afterwards
SUCCESS, NOT_INITIALIZED, INVALID_VALUE, NOT_SUPPORTED = 0, 1, 7, 15


CUPY = SimpleNamespace(
    empty=lambda size, dtype: SimpleNamespace(
        data=SimpleNamespace(ptr=0x7F1200000000), device=Device(Device.current)
    )
)
"""As much of CuPy as a handle needs: memory that nobody reads or writes, on the current device."""


def install(monkeypatch: pytest.MonkeyPatch) -> HostCublas:
    """Let `backends.cublas` call a new stand-in, and return it."""
    library = HostCublas()
    monkeypatch.setattr(cublas, "library", lambda: library)
    return library


class HostCublas:
    """What is called of cuBLAS; `handles` holds what was set on each handle that is not destroyed.

    `refuse` is the status that the next product answers with instead of doing anything.
    """

    def __init__(self) -> None:
        self.handles: dict[int, SimpleNamespace] = {}
        self.calls: list[str] = []
        self.refuse = SUCCESS

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in for cuBLAS has no {name}")

    def cublasCreate_v2(self, handle: Any) -> int:  # noqa: N802
        number = 0x7F0000000000 + next(_numbers)
        handle._obj.value = number
        self.handles[number] = SimpleNamespace(stream=0, workspace=None, math=0, atomics=0)
        return SUCCESS

    def cublasDestroy_v2(self, handle: Any) -> int:  # noqa: N802
        return SUCCESS if self.handles.pop(handle.value, None) else NOT_INITIALIZED

    def cublasSetStream_v2(self, handle: Any, stream: int) -> int:  # noqa: N802
        vars(self.handles[handle.value]).update(stream=stream, workspace=None)
        return SUCCESS

    def cublasSetWorkspace_v2(self, handle: Any, workspace: int, size: int) -> int:  # noqa: N802
        self.handles[handle.value].workspace = (workspace, size)
        return SUCCESS

    def cublasSetMathMode(self, handle: Any, mode: int) -> int:  # noqa: N802
        self.handles[handle.value].math = mode
        return SUCCESS

    def cublasSetAtomicsMode(self, handle: Any, mode: int) -> int:  # noqa: N802
        self.handles[handle.value].atomics = mode
        return SUCCESS

    def cublasGemmEx(self, *given: Any) -> int:  # noqa: N802
        handle, ta, tb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, *rest = given
        c, c_type, ldc, compute, algorithm = rest
        operands = ((a, a_type, lda, 0), (b, b_type, ldb, 0), (c, c_type, ldc, 0))
        tail = (operands, alpha, beta, 1, compute, algorithm)
        return self._gemm("cublasGemmEx", handle, (ta, tb), (m, n, k), *tail)

    def cublasGemmStridedBatchedEx(self, *given: Any) -> int:  # noqa: N802
        handle, ta, tb, m, n, k, alpha, *rest = given
        a, b, (beta, *out) = rest[:4], rest[4:8], rest[8:]
        *c, members, compute, algorithm = out
        operands = (tuple(a), tuple(b), tuple(c))
        tail = (operands, alpha, beta, members, compute, algorithm)
        return self._gemm("cublasGemmStridedBatchedEx", handle, (ta, tb), (m, n, k), *tail)

    def _gemm(
        self,
        name: str,
        handle: Any,
        flags: tuple[int, int],
        sizes: tuple[int, int, int],
        operands: tuple[tuple[int, int, int, int], ...],
        alpha: Any,
        beta: Any,
        members: int,
        compute: int,
        algorithm: int,
    ) -> int:
        """c = alpha op(a) op(b) + beta c of each member, column-major; or a status."""
        m, n, k = sizes
        integers = (*flags, *sizes, members, compute, algorithm, *(x[2] for x in operands))
        assert all(type(x) is int and -(2**31) <= x < 2**31 for x in integers), integers
        if self.refuse:
            self.refuse, status = SUCCESS, self.refuse
            return status
        if handle.value not in self.handles:
            return NOT_INITIALIZED
        rows = (k if flags[0] else m, n if flags[1] else k, m)
        columns = (m if flags[0] else k, k if flags[1] else n, n)
        leading = all(ld >= max(1, r) for (_, _, ld, _), r in zip(operands, rows, strict=True))
        if min(*sizes, members) < 0 or not set(flags) <= {0, 1} or not leading:
            return INVALID_VALUE
        kinds = [x[1] for x in operands]
        if kinds[0] != kinds[1] or kinds[2] not in _TYPES.get(compute, {}).get(kinds[0], ()):
            return NOT_SUPPORTED
        self.calls.append(name)
        scalar = ctypes.c_double if compute == 70 else ctypes.c_float
        a1, b1 = (ctypes.cast(x, ctypes.POINTER(scalar)).contents.value for x in (alpha, beta))

        def work() -> None:
            views = [_Matrices(*x, r, s) for x, r, s in zip(operands, rows, columns, strict=True)]
            for member in range(members):
                left, right = (
                    _factor(x.read(member), flag, compute)
                    for x, flag in zip(views, flags, strict=False)
                )
                with np.errstate(all="ignore"):  # a device does not warn
                    out = a1 * (left @ right)
                    if b1:  # otherwise c is not read: it may hold anything
                        out = out + b1 * views[2].read(member)
                views[2].write(member, out)

        enqueue(self.handles[handle.value].stream, work)
        return SUCCESS


class _Matrices:
    """Column-major matrices in memory, `stride` elements apart, with columns `ld` apart."""

    def __init__(
        self, pointer: int, kind: int, ld: int, stride: int, rows: int, columns: int
    ) -> None:
        self.pointer, self.kind, self.ld, self.stride = pointer, kind, ld, stride
        self.rows, self.columns = rows, columns

    def _memory(self, member: int) -> Any:
        dtype = _STORED[self.kind]
        size = self.ld * (self.columns - 1) + self.rows  # and not a number more
        at = self.pointer + member * self.stride * dtype.itemsize
        memory = np.frombuffer((ctypes.c_char * (size * dtype.itemsize)).from_address(at), dtype)
        strides = (dtype.itemsize, self.ld * dtype.itemsize)
        shape = (self.rows, self.columns)
        return np.lib.stride_tricks.as_strided(memory, shape, strides)

    def read(self, member: int) -> Any:
        """A matrix in the type that it is summed in."""
        stored = np.array(self._memory(member))
        if self.kind == _BFLOAT16:
            return from_bfloat16(stored)
        return stored if stored.dtype == "f8" else stored.astype("f4")

    def write(self, member: int, values: Any) -> None:
        with np.errstate(over="ignore"):
            rounded = to_bfloat16(values) if self.kind == _BFLOAT16 else values
            self._memory(member)[...] = rounded.astype(_STORED[self.kind])


def _factor(x: Any, flag: int, compute: int) -> Any:
    x = _to_tf32(x) if compute == _TF32 else x
    return x.T if flag else x


def to_bfloat16(x: Any) -> Any:
    """The bits of float32 numbers in bfloat16, the nearest, of two the even one; NaN stays."""
    bits = np.asarray(x, "f4").view("u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), (bits >> 16) | 0x40, rounded).astype("u2")


def from_bfloat16(bits: Any) -> Any:
    """The float32 numbers that bits of bfloat16 stand for."""
    return (np.asarray(bits).astype("u4") << 16).view("f4")


def _to_tf32(x: Any) -> Any:
    """float32 numbers with 10 bits behind the leading one."""
    return ((x.view("u4") + 0x1000) & np.uint32(0xFFFFE000)).view("f4")
