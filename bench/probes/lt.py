"""cuBLASLt by ctypes: matrix products with an epilogue, planned once and then only launched."""

from __future__ import annotations

import ctypes
import functools
from ctypes import byref, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

from gpubp.errors import DeviceError

from .blas import WORKSPACE_BYTES, check, shared_library
from .kinds import KINDS

EPILOGUES = {
    "DEFAULT": 1,
    "BIAS": 4,
    "RELU_BIAS": 6,
    "RELU_AUX_BIAS": 134,
    "DRELU_BGRAD": 152,
    "GELU_AUX_BIAS": 164,
    "DGELU_BGRAD": 208,
    "BGRADA": 256,
    "BGRADB": 512,
}
# Of cublasLtMatmulDescAttributes_t and cublasLtMatmulPreferenceAttributes_t.
TRANSA, TRANSB, EPILOGUE, BIAS_POINTER, AUX_POINTER, AUX_LD = 3, 4, 7, 8, 11, 12
_MAX_WORKSPACE = 1
_FLOAT32 = 0
_CANDIDATES = 8


class Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", c_uint64 * 8),
        ("workspace", c_size_t),
        ("state", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    )


@functools.cache
def library() -> Any:
    """Return cuBLASLt with the types of the arguments."""
    lib, pointer = shared_library("cublasLt"), c_void_p
    lib.cublasLtCreate.argtypes = [pointer]
    lib.cublasLtMatmulDescCreate.argtypes = [pointer, c_int, c_int]
    lib.cublasLtMatmulDescSetAttribute.argtypes = [pointer, c_int, pointer, c_size_t]
    lib.cublasLtMatmulDescGetAttribute.argtypes = [pointer, c_int, pointer, c_size_t, pointer]
    lib.cublasLtMatrixLayoutCreate.argtypes = [pointer, c_int, c_uint64, c_uint64, c_int64]
    lib.cublasLtMatmulPreferenceCreate.argtypes = [pointer]
    lib.cublasLtMatmulPreferenceSetAttribute.argtypes = [pointer, c_int, pointer, c_size_t]
    lib.cublasLtMatmulAlgoGetHeuristic.argtypes = [*[pointer] * 7, c_int, pointer, pointer]
    lib.cublasLtMatmul.argtypes = [*[pointer] * 14, c_size_t, pointer]
    return lib


class Lt:
    """A handle and a workspace on one stream."""

    def __init__(self, cp: Any, stream: Any) -> None:
        self.stream, self.handle = stream, c_void_p()
        check(library().cublasLtCreate(byref(self.handle)), "cublasLtCreate")
        self.workspace = cp.empty(WORKSPACE_BYTES, "u1")


class Matmul:
    """d = epilogue(op(a) op(b)) of row-major arrays, described to cuBLASLt as d^T = b^T a^T.

    `bias` is as long as a row of d, read by BIAS and written by BGRAD; the bias of BGRADB is as
    long as a column. `aux` is read or written beside d, its rows `aux_ld` elements apart: bits for
    ReLU, a multiple of 128, values for GELU, a multiple of 8.
    """

    def __init__(
        self,
        kind: str,
        epilogue: str,
        a: Any,
        b: Any,
        d: Any,
        bias: Any = None,
        aux: Any = None,
        aux_ld: int = 0,
        ta: bool = False,
        tb: bool = False,
    ) -> None:
        self.arrays = (a, b, d, bias, aux)
        self.description = c_void_p()
        compute = KINDS[kind].compute
        status = library().cublasLtMatmulDescCreate(byref(self.description), compute, _FLOAT32)
        check(status, "cublasLtMatmulDescCreate")
        self._set(TRANSA, c_int32(tb))
        self._set(TRANSB, c_int32(ta))
        self._set(EPILOGUE, c_uint32(EPILOGUES[epilogue]))
        if bias is not None:
            self._set(BIAS_POINTER, c_uint64(bias.data.ptr))
        if aux is not None:
            self._set(AUX_POINTER, c_uint64(aux.data.ptr))
            self._set(AUX_LD, c_int64(aux_ld))
        self.layouts = [_layout(KINDS[kind].data, x) for x in (b, a, d)]

    def _set(self, attribute: int, value: Any) -> None:
        size = ctypes.sizeof(value)
        status = library().cublasLtMatmulDescSetAttribute(
            self.description, attribute, byref(value), size
        )
        check(status, f"cublasLtMatmulDescSetAttribute {attribute}")

    def plan(self, lt: Lt) -> list[Heuristic]:
        """Choose the algorithm; return all that were found, best first. Never during a capture."""
        preference, limit = c_void_p(), c_uint64(WORKSPACE_BYTES)
        lib, size = library(), ctypes.sizeof(c_uint64)
        status = lib.cublasLtMatmulPreferenceCreate(byref(preference))
        check(status, "cublasLtMatmulPreferenceCreate")
        status = lib.cublasLtMatmulPreferenceSetAttribute(
            preference, _MAX_WORKSPACE, byref(limit), size
        )
        check(status, "cublasLtMatmulPreferenceSetAttribute")
        found, results = c_int(), (Heuristic * _CANDIDATES)()
        first, second, out = self.layouts
        operands = (self.description, first, second, out, out, preference)
        status = lib.cublasLtMatmulAlgoGetHeuristic(
            lt.handle, *operands, _CANDIDATES, results, byref(found)
        )
        check(status, "cublasLtMatmulAlgoGetHeuristic")
        usable = [result for result in results[: found.value] if result.state == 0]
        if not usable:
            raise DeviceError("cublasLtMatmulAlgoGetHeuristic: found no algorithm")
        self._bind(lt, usable[0])
        return usable

    def _bind(self, lt: Lt, chosen: Heuristic) -> None:
        self.lt = lt  # and with it the workspace, which a pointer does not keep alive
        a, b, d, *_ = self.arrays
        first, second, out = self.layouts
        one, zero = c_float(1.0), c_float(0.0)
        operands = (byref(one), b.data.ptr, first, a.data.ptr, second)
        outputs = (byref(zero), d.data.ptr, out, d.data.ptr, out)
        workspace = (byref(chosen, Heuristic.algorithm.offset), lt.workspace.data.ptr)
        tail = (*workspace, WORKSPACE_BYTES, lt.stream.ptr)
        self.arguments = (lt.handle, self.description, *operands, *outputs, *tail)

    def __call__(self) -> Any:
        """Launch it and return d; `plan` comes first."""
        check(library().cublasLtMatmul(*self.arguments), "cublasLtMatmul")
        return self.arrays[2]


def _layout(data: int, x: Any) -> Any:
    """Describe a contiguous row-major matrix: its transpose, column-major."""
    layout, (rows, columns) = c_void_p(), x.shape
    status = library().cublasLtMatrixLayoutCreate(byref(layout), data, columns, rows, columns)
    check(status, "cublasLtMatrixLayoutCreate")
    return layout
