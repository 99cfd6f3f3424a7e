"""Matrix products for compiled code: the BLAS that SciPy publishes, called without Python.

`gemm_float32` and `gemm_float64` are for code under `numba.njit`; they are made when they are
first asked for, so that this module can be imported where numba or SciPy is missing. They use as
many threads as the BLAS library is set to: see `gpubp.backends.blas_threads`.
"""

from __future__ import annotations

import ctypes
import re
import sys
from functools import cache
from importlib import import_module
from typing import Any

from gpubp.errors import DeviceError

gemm_float32: Any
"""`gemm_float32(ta, tb, m, n, k, a, lda, b, ldb, c, ldc, beta)`: `C = op(A) op(B) + beta C`.

All matrices are row by row. `op(A)` is `(m, k)`: A as stored, or its transpose where `ta` is true;
`op(B)` is `(k, n)` likewise, and C is `(m, n)`. `a`, `b` and `c` are float32 arrays, which start
at their first element, or addresses as integers; `lda`, `ldb` and `ldc` are the elements from one
stored row to the next, whatever the shape of an array says. With `beta` 0 the old C is not read.
Nothing is checked: a wrong size reads and writes memory of others.
"""
gemm_float64: Any
"""As `gemm_float32`, for float64."""

_LETTERS = {"gemm_float32": "s", "gemm_float64": "d"}
_KINDS = {"s": {"float", "s"}, "d": {"double", "d"}}
_WHOLE = {"int", "long", "long long", "npy_int32", "npy_int64", "int32_t", "int64_t"}
_WORDS = ("ta", "tb", "m", "n", "k", "a", "lda", "b", "ldb", "c", "ldc", "beta")
# What the pointers of the C function are to: I is a whole number, T a floating one.
_ORDER = ("char", "char", *"IIITTITITTI")


@cache
def available() -> str | None:
    """Return why compiled code cannot call matrix products here; None where it can.

    >>> available() is None or isinstance(available(), str)
    True
    """
    if sys.byteorder != "little":
        return "matrix products are called from compiled code on little-endian processors only"
    for library in ("numba", "scipy.linalg.cython_blas"):
        try:
            import_module(library)
        except ImportError as error:
            return f"{library} cannot be imported ({error}); pip install 'gpubp[cpu]'"
    for letter in _LETTERS.values():
        fault = _fault(_capsule(letter)[0], letter)
        if fault:
            return fault
    return None


def _capsule(letter: str) -> tuple[str, int]:
    """The signature in C and the address of SciPy's product; "" and 0 where there is none."""
    capsule = import_module("scipy.linalg.cython_blas").__pyx_capi__.get(f"{letter}gemm")
    if capsule is None:
        return "", 0
    name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = name(capsule)
    return signature.decode(), pointer(capsule, signature)


def _fault(signature: str, letter: str) -> str | None:
    """What is odd in the C signature of a product; None where it can be called."""
    inside = re.fullmatch(r"void \((.*)\)", signature)
    pointers = inside[1].split(",") if inside else []
    named = [p.strip().removesuffix("*").strip() for p in pointers if p.strip().endswith("*")]
    wholes = {name for name, kind in zip(named, _ORDER, strict=False) if kind == "I"}
    floats = {name for name, kind in zip(named, _ORDER, strict=False) if kind == "T"}
    kinds = {re.sub(r"__pyx_t_\w*cython_blas_", "", name) for name in floats}
    expected = [
        {"char": "char", "I": "".join(wholes), "T": "".join(floats)}[kind] for kind in _ORDER
    ]
    all_pointers = len(pointers) == len(named) and named == expected
    if all_pointers and wholes <= _WHOLE and kinds <= _KINDS[letter]:
        return None
    return f"SciPy's {letter}gemm is declared as {signature or 'nothing'!r}, which is not known"


def __getattr__(name: str) -> Any:
    if name not in _LETTERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    why = available()
    if why is not None:
        raise DeviceError(f"compiled code has no matrix products: {why}")
    product = globals()[name] = _product(_LETTERS[name], name.removeprefix("gemm_"))
    return product


def _product(letter: str, dtype: str) -> Any:
    """Name SciPy's product to the compiler, and make what calls it from compiled code."""
    types, errors = import_module("numba.types"), import_module("numba.core.errors")
    symbol = f"gpubp_{letter}gemm"  # compiled code that is loaded from a cache looks for it
    import_module("llvmlite.binding").add_symbol(symbol, _capsule(letter)[1])
    scalar = getattr(types, dtype)

    def gemm(  # type: ignore[no-untyped-def]
        typingctx, ta, tb, m, n, k, a, lda, b, ldb, c, ldc, beta
    ):
        for matrix in (a, b, c):
            array = isinstance(matrix, types.Array) and matrix.dtype == scalar
            if not array and not isinstance(matrix, types.Integer):
                raise errors.TypingError(
                    f"gemm_{dtype} was given {matrix}; it takes {dtype} arrays and addresses"
                )

        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return _call(context, builder, symbol, scalar, signature.args, values)

        return types.void(ta, tb, m, n, k, a, lda, b, ldb, c, ldc, beta), code

    gemm.__name__ = f"gemm_{dtype}"
    return import_module("numba.extending").intrinsic(gemm)


def _call(context: Any, builder: Any, symbol: str, scalar: Any, kinds: Any, values: Any) -> Any:
    """Emit the call: Fortran takes the address of everything, and matrices column by column.

    Column by column, a stored matrix is its transpose, so that the product to ask for is
    `C' = op(B)' op(A)'`. A whole number lies in 8 bytes, of which a library with short ones
    reads the lower 4: one compiled code serves both.
    """
    ir, types = import_module("llvmlite.ir"), import_module("numba.types")
    cgutils = import_module("numba.core.cgutils")
    byte = ir.IntType(8)
    given = dict(zip(_WORDS, zip(kinds, values, strict=True), strict=True))

    def cast(name: str, kind: Any) -> Any:
        return context.cast(builder, given[name][1], given[name][0], kind)

    def slot(value: Any) -> Any:
        return builder.bitcast(cgutils.alloca_once_value(builder, value), byte.as_pointer())

    def letter(name: str) -> Any:
        flag = cast(name, types.boolean)
        return slot(builder.select(flag, byte(ord("T")), byte(ord("N"))))

    def matrix(name: str) -> Any:
        kind, value = given[name]
        if isinstance(kind, types.Integer):
            return builder.inttoptr(cast(name, types.intp), byte.as_pointer())
        data = context.make_array(kind)(context, builder, value).data
        return builder.bitcast(data, byte.as_pointer())

    sizes = ("m", "n", "k", "lda", "ldb", "ldc")
    m, n, k, lda, ldb, ldc = (slot(cast(name, types.int64)) for name in sizes)
    one = slot(context.get_constant(scalar, 1.0))
    beta = slot(cast("beta", scalar))
    arguments = [letter("tb"), letter("ta"), n, m, k, one, matrix("b"), ldb, matrix("a"), lda]
    arguments += [beta, matrix("c"), ldc]
    kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer()] * len(arguments))
    builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), arguments)
    return context.get_dummy_value()
