"""Matrix products by cuBLAS on a handle of our own, so that a CUDA graph can hold them.

CuPy refuses cuBLAS while a graph is being captured, for it sets the stream at every call. Here
stream and workspace are set once and a product is bound once: what is left to the call is one
function of C with its arguments, which allocates and asks for nothing. It is called by ctypes,
in the very library that CuPy loads; nvmath-python's bindings of the same functions would be one
more dependency, marked experimental, and would convert the numbers anew at each call.

float32 is float32: TF32 is taken only where a product asks for it. For one device and one version
cuBLAS promises equal bits in every run as long as a stream has a handle and a workspace of its
own and sums use no atomics; both are kept here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from ctypes import byref, c_double, c_float, c_void_p
from typing import Any, NamedTuple, TypeAlias

from gpubp.errors import InputError

from .cublas_library import check, library

WORKSPACE_BYTES = 32 << 20  # what NVIDIA recommends for Hopper, and enough for the others

# Of cublasMath_t: no less precision than is asked for, and partial sums of 16-bit products stay
# float32. CUBLAS_PEDANTIC_MATH would give up fast algorithms and add no precision.
_DEFAULT_MATH, _NO_REDUCED_SUMS = 0, 16
_NO_ATOMICS = 0
_ANY_ALGORITHM = -1
_COMPUTE_32F, _COMPUTE_64F, _COMPUTE_TF32 = 68, 70, 77  # cublasComputeType_t
_DATA = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType
_HALVES = ("float16", "bfloat16")
_LARGEST = 2**31 - 1  # ctypes cuts a larger number to 32 bits without a word

Sizes: TypeAlias = tuple[int, int, int]


class Operand(NamedTuple):
    """A row-major matrix on the device, or one for each member."""

    pointer: int
    dtype: str  # "float64", "float32", "float16" or "bfloat16"
    stride: int = 0  # elements from one member to the next; 0: one matrix, shared by all


class Blas:
    """Products of row-major matrices on one stream of the current device.

    `handle` is cuBLAS's own. `close()` destroys it, as the end of the object does, and no capture
    must be going on then, for cuBLAS waits for the device. A call keeps its object, a graph keeps
    nothing: whoever has the graph has to keep the object too, whose workspace it uses. Raises
    `DeviceError`.
    """

    def __init__(self, cupy: Any, stream: Any) -> None:
        lib, self.handle = library(), c_void_p()
        self._workspace = cupy.empty(WORKSPACE_BYTES, dtype="uint8")
        self._device = f"cuda:{self._workspace.device.id}"
        check(lib.cublasCreate_v2(byref(self.handle)), f"cublasCreate on {self._device}")
        self.close = weakref.finalize(self, _destroy, lib, self.handle, self._workspace)
        self._set("cublasSetStream_v2", stream.ptr)
        # After the stream, for setting that puts back a workspace that all handles share.
        self._set("cublasSetWorkspace_v2", self._workspace.data.ptr, WORKSPACE_BYTES)
        self._set("cublasSetMathMode", _DEFAULT_MATH | _NO_REDUCED_SUMS)
        self._set("cublasSetAtomicsMode", _NO_ATOMICS)

    def _set(self, name: str, *values: int) -> None:
        status = getattr(library(), name)(self.handle, *values)
        check(status, f"{name.removesuffix('_v2')} on {self._device}")

    def product(
        self,
        out: Operand,
        a: Operand,
        b: Operand,
        sizes: Sizes,
        transposed: tuple[bool, bool] = (False, False),
        members: int = 1,
        tf32: bool = False,
    ) -> Callable[[], None]:
        """Return the call that writes op(a) op(b), `(m, n)`, to `out`; `sizes` are m, n and k.

        a lies as `(m, k)`, or transposed as `(k, m)`; b as `(k, n)`, or transposed as `(n, k)`;
        all are contiguous. float64 is multiplied and summed in float64, all else in float32; the
        result of 16-bit numbers is of their type or float32. With `tf32` the factors of a float32
        product are rounded to 11 bits. Raises `InputError` for what cuBLAS does not do; the call
        raises `DeviceError` where cuBLAS refuses.
        """
        what = _described(out, a, b, sizes, transposed, members)
        _check_sizes(out, sizes, members, what)
        compute = _compute(out, a, b, tf32, what)
        # cuBLAS is column-major and sees each matrix as its transpose: out^T = op(b)^T op(a)^T,
        # so that the operands, their flags and m and n change places.
        (m, n, k), (ta, tb) = sizes, transposed
        scalar = c_double if compute == _COMPUTE_64F else c_float
        one, zero = scalar(1.0), scalar(0.0)
        left, right = _matrix(b, k if tb else n), _matrix(a, m if ta else k)
        given: tuple[Any, ...] = (self.handle, int(tb), int(ta), n, m, k, byref(one))
        if members == 1:
            name = "cublasGemmEx"
            given += (*left, *right, byref(zero), *_matrix(out, n))
        else:
            name = "cublasGemmStridedBatchedEx"
            given += (*left, b.stride, *right, a.stride, byref(zero), *_matrix(out, n))
            given += (out.stride, members)
        given += (compute, _ANY_ALGORITHM)
        function = getattr(library(), name)

        def call() -> None:
            status = function(*given)
            if status:
                check(status, f"{name} of {what} on {self._device}")

        return call


def _matrix(x: Operand, row: int) -> tuple[int, int, int]:
    """A matrix whose rows, to cuBLAS the columns, are so long."""
    return x.pointer, _DATA[x.dtype], row


def _compute(out: Operand, a: Operand, b: Operand, tf32: bool, what: str) -> int:
    """The arithmetic for these types."""
    same = a.dtype == b.dtype and a.dtype in _DATA
    if not same or not (out.dtype == a.dtype or (a.dtype in _HALVES and out.dtype == "float32")):
        raise InputError(
            f"{what}: the factors must be of one type of {', '.join(_DATA)}, and the result of "
            "that type, or of float32 if theirs has 16 bits; cast what differs"
        )
    if tf32 and a.dtype != "float32":
        raise InputError(f"{what}: TF32 is for factors of float32; leave tf32=True away")
    if a.dtype == "float64":
        return _COMPUTE_64F
    return _COMPUTE_TF32 if tf32 else _COMPUTE_32F


def _check_sizes(out: Operand, sizes: Sizes, members: int, what: str) -> None:
    if not all(1 <= size <= _LARGEST for size in (*sizes, members)):
        raise InputError(f"{what}: sizes and members must be from 1 to {_LARGEST}")
    own = sizes[0] * sizes[1]
    if members > 1 and out.stride < own:
        raise InputError(
            f"{what}: the members of the result overlap, for they are {out.stride} elements "
            f"apart; give each {own} of its own"
        )


def _described(
    out: Operand, a: Operand, b: Operand, sizes: Sizes, transposed: tuple[bool, bool], members: int
) -> str:
    """The product in words, for a message."""
    (m, n, k), (ta, tb) = sizes, transposed
    left = f"{a.dtype} ({m}, {k}){' transposed' if ta else ''}"
    right = f"{b.dtype} ({k}, {n}){' transposed' if tb else ''}"
    batch = f", {members} members" if members != 1 else ""
    return f"{left} by {right} to {out.dtype}{batch}"


def _destroy(lib: Any, handle: Any, workspace: Any) -> None:
    with workspace.device:  # to which the handle belongs, whichever is current at the end
        lib.cublasDestroy_v2(handle)  # there is nobody to tell what it answers
