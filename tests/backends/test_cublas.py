"""Products by cuBLAS, without a GPU: the arguments of C, as BLAS reads them, and the handle."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpubp.backends.cublas import WORKSPACE_BYTES, Blas, Operand
from gpubp.check.tolerance import error, tolerance
from gpubp.errors import DeviceError, InputError
from tests import compiled_blas
from tests.compiled_blas import CUPY, HostCublas, from_bfloat16, install, to_bfloat16
from tests.compiled_device import Device
from tests.compiled_streams import Stream
from tests.conftest import require, rng

FORMS = [(False, False), (False, True), (True, False), (True, True)]
SIZES = [(3, 4, 5), (7, 2, 3), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 5), (1, 4, 1), (1, 1, 1)]
TYPES = ["float64", "float32", "float16", "bfloat16"]
MIXED = [("float32", "float16"), ("float32", "bfloat16")]
# members, and whether each has an a and a b of its own
BATCHES = [(1, True, True), (3, True, True), (3, True, False), (3, False, True), (2, False, False)]
_STORED = {"float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2"}
_PRECISION = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
STREAM = Stream(non_blocking=True)
GAP = 3  # elements between two members
MARGIN = 4096  # around the matrices: a wrong address meets NaN, not other memory


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> HostCublas:
    return install(monkeypatch)


def encode(dtype: str, x: Any) -> Any:
    return to_bfloat16(x) if dtype == "bfloat16" else np.asarray(x, _STORED[dtype])


def decode(dtype: str, x: Any) -> Any:
    return np.asarray(from_bfloat16(x) if dtype == "bfloat16" else x, "f8")


class Placed:
    """Matrices in memory that is NaN all around, as an operand."""

    def __init__(self, dtype: str, members: int, rows: int, cols: int, values: Any = None) -> None:
        self.dtype, self.shape = dtype, (members, rows, cols)
        stride = rows * cols + GAP
        self.memory = encode(dtype, np.full(2 * MARGIN + members * stride, np.nan, "f4"))
        if values is not None:
            self.inner()[...] = encode(dtype, values)
        pointer = self.memory.ctypes.data + MARGIN * self.memory.itemsize
        self.operand = Operand(pointer, dtype, stride if members > 1 else 0)

    def inner(self) -> Any:
        members, rows, cols = self.shape
        each = self.memory[MARGIN:-MARGIN].reshape(members, -1)[:, : rows * cols]
        return np.lib.stride_tricks.as_strided(
            each, self.shape, (each.strides[0], cols * each.itemsize, each.itemsize)
        )

    def values(self) -> Any:
        return decode(self.dtype, self.inner())

    def written(self) -> int:
        return int(np.count_nonzero(~np.isnan(decode(self.dtype, self.memory))))


def multiply(
    sizes: tuple[int, int, int],
    form: tuple[bool, bool],
    out_type: str,
    dtype: str,
    batch: tuple[int, bool, bool] = (1, True, True),
    tf32: bool = False,
) -> tuple[Any, Any, Placed]:
    """A product by cuBLAS's arguments: what came of it, what is expected, and the result."""
    (m, n, k), (ta, tb), (members, own_a, own_b) = sizes, form, batch
    random = rng(m + 10 * n + 100 * k)
    a = random.standard_normal((members if own_a else 1, *((k, m) if ta else (m, k))))
    b = random.standard_normal((members if own_b else 1, *((n, k) if tb else (k, n))))
    left, right = (Placed(dtype, *x.shape, values=x) for x in (a, b))
    out = Placed(out_type, members, m, n)
    call = Blas(CUPY, STREAM).product(
        out.operand, left.operand, right.operand, sizes, form, members, tf32
    )
    call()
    assert not out.written()  # but asked for
    STREAM.synchronize()
    x, y = left.values(), right.values()
    expected = (x.mT if ta else x) @ (y.mT if tb else y)
    return out.values(), np.broadcast_to(expected, out.shape), out


def verify(*case: Any) -> None:
    """The result is right, and nothing around it was touched."""
    given, expected, out = multiply(*case)
    precision = "float64" if out.dtype == "float64" else "float32"
    allowed = tolerance(precision, expected, case[0][2])
    # A result of 16 bits is rounded once more.
    allowed += _PRECISION.get(out.dtype, 0.0) * float(np.abs(expected).max())
    assert error(given, expected) <= allowed
    assert out.written() == expected.size


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("types", [*zip(TYPES, TYPES, strict=True), *MIXED], ids="-by-".join)
@pytest.mark.parametrize("form", FORMS)
def test_products_are_of_row_major_matrices(
    host: HostCublas, form: Any, types: tuple[str, str], batch: Any
) -> None:
    for sizes in SIZES:
        verify(sizes, form, *types, batch)
    name = "cublasGemmEx" if batch[0] == 1 else "cublasGemmStridedBatchedEx"
    assert host.calls == [name] * len(SIZES)


def test_tf32_is_taken_where_it_is_asked_for_alone(host: HostCublas) -> None:
    sizes = (8, 8, 64)
    exact, expected, _ = multiply(sizes, FORMS[0], "float32", "float32")
    rounded, _, _ = multiply(sizes, FORMS[0], "float32", "float32", tf32=True)
    assert error(exact, expected) <= tolerance("float32", expected, 64)
    assert 2.0**-16 < error(rounded, expected) / np.abs(expected).max() < 2.0**-9


# Mistakes in the arguments of a product with m=3, n=4, k=5 and both operands transposed: which
# argument is replaced, and by which other.
_BATCHED = {
    "a": (7, 11),
    "stride of a": (10, 14),
    "stride of b": (14, 10),
    "ldc": (18, 10),
    "stride of c": (19, 10),
}
PLANTED = {
    "flags": ("cublasGemmEx", (1, -1)),
    "m and n": ("cublasGemmEx", (3, 4)),
    "k": ("cublasGemmEx", (5, 3)),
    "a and b": ("cublasGemmEx", (7, 10)),
    "lda": ("cublasGemmEx", (9, 12)),
    "ldb": ("cublasGemmEx", (12, 9)),
    "ldc": ("cublasGemmEx", (16, 9)),
    **{f"batched: {key}": ("cublasGemmStridedBatchedEx", at) for key, at in _BATCHED.items()},
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_wrong_argument_is_seen(
    host: HostCublas, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    name, (at, source) = PLANTED[mistake]
    right: Callable[..., int] = getattr(host, name)

    def wrong(*given: Any) -> int:
        changed = list(given)
        changed[at] = 1 - given[at] if source < 0 else given[source]
        if changed == list(given):
            raise LookupError("this is no mistake")
        return right(*changed)

    members = 1 if name == "cublasGemmEx" else 3
    case = ((3, 4, 5), (True, True), "float32", "float32", (members, True, True))
    verify(*case)
    monkeypatch.setattr(host, name, wrong)
    with pytest.raises((AssertionError, DeviceError)):
        verify(*case)


def test_operands_in_the_wrong_order_are_seen(
    host: HostCublas, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Blas.product

    def swapped(self: Blas, out: Any, a: Any, b: Any, *rest: Any) -> Any:
        return right(self, out, b, a, *rest)

    monkeypatch.setattr(Blas, "product", swapped)
    with pytest.raises(AssertionError):
        verify((4, 4, 4), FORMS[0], "float64", "float64")


def test_the_handle_is_set_before_its_first_product(host: HostCublas) -> None:
    with Device(1):
        blas = Blas(CUPY, STREAM)
    ((number, handle),) = host.handles.items()
    assert blas.handle.value == number
    assert (handle.stream, handle.workspace) == (STREAM.ptr, (0x7F1200000000, WORKSPACE_BYTES))
    assert handle.math == 16  # CUBLAS_DEFAULT_MATH, and no sums in 16 bits
    assert handle.atomics == 0


def test_a_graph_multiplies_what_is_there_when_it_is_launched(host: HostCublas) -> None:
    a, b, out = (Placed("float64", 1, 3, 3, values=np.ones((1, 3, 3))) for _ in range(3))
    call = Blas(CUPY, STREAM).product(out.operand, a.operand, b.operand, (3, 3, 3))
    STREAM.begin_capture()
    call()
    graph = STREAM.end_capture()
    for number in (2.0, 5.0):
        a.inner()[...] = number
        graph.launch(STREAM)
        STREAM.synchronize()
        assert (out.values() == 3 * number).all()


@pytest.mark.parametrize("how", ["closed", "let go"])
def test_the_handle_ends_with_its_object_on_its_own_device(
    host: HostCublas, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    seen: list[int] = []
    destroy = host.cublasDestroy_v2

    def watched(handle: Any) -> int:
        seen.append(Device.current)
        return destroy(handle)

    monkeypatch.setattr(host, "cublasDestroy_v2", watched)
    with Device(1):
        blas = Blas(CUPY, STREAM)
        out = Placed("float32", 1, 1, 1, values=np.ones((1, 1, 1)))
        call = blas.product(out.operand, out.operand, out.operand, (1, 1, 1))
    if how == "closed":
        blas.close()
    del blas
    gc.collect()
    assert len(host.handles) == (how == "let go")  # the call has need of it
    del call
    gc.collect()
    assert not host.handles
    assert seen == [1]


def test_a_status_becomes_an_error_that_says_what_was_asked(host: HostCublas) -> None:
    out = Placed("float32", 1, 3, 4)
    a, b = Placed("float16", 1, 5, 3), Placed("float16", 1, 5, 4)
    call = Blas(CUPY, STREAM).product(out.operand, a.operand, b.operand, (3, 4, 5), (True, False))
    host.refuse = compiled_blas.NOT_SUPPORTED
    with pytest.raises(DeviceError) as caught:
        call()
    assert str(caught.value) == (
        "cublasGemmEx of float16 (3, 5) transposed by float16 (5, 4) to float32 on cuda:0: "
        "not supported (status 15 of cuBLAS)"
    )
    call()  # one refusal is not held against it
    STREAM.synchronize()


def test_a_handle_that_cannot_be_made_is_an_error(
    host: HostCublas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "cublasCreate_v2", lambda handle: 3)
    with pytest.raises(DeviceError, match=r"cublasCreate on cuda:0: allocation failed \(status 3"):
        Blas(CUPY, STREAM)


REFUSED = {
    "factors of two types": (("float32", "float32", "float16"), (3, 4, 5), 1, False, "cast what"),
    "an unknown type": (("int32", "int32", "int32"), (3, 4, 5), 1, False, "cast what differs"),
    "a result of another type": (("float64", "float32", "float32"), (3, 4, 5), 1, False, "cast"),
    "half to bfloat16": (("bfloat16", "float16", "float16"), (3, 4, 5), 1, False, "cast what"),
    "TF32 of float64": (("float64",) * 3, (3, 4, 5), 1, True, "TF32 is for factors of float32"),
    "TF32 of halves": (("float32", "float16", "float16"), (3, 4, 5), 1, True, "TF32 is for"),
    "no rows": (("float32",) * 3, (0, 4, 5), 1, False, "must be from 1 to 2147483647"),
    "too long": (("float32",) * 3, (3, 4, 2**32 + 5), 1, False, "must be from 1 to 2147483647"),
    "no members": (("float32",) * 3, (3, 4, 5), 0, False, "0 members: sizes and members must be"),
    "a shared result": (("float32",) * 3, (3, 4, 5), 2, False, "overlap.* 0 elements apart"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cublas_does_not_do_is_refused(host: HostCublas, case: str) -> None:
    types, sizes, members, tf32, why = REFUSED[case]
    out, a, b = (Operand(0, dtype) for dtype in types)
    with pytest.raises(InputError, match=why):
        Blas(CUPY, STREAM).product(out, a, b, sizes, (False, False), members, tf32)
    assert not host.calls


def test_bfloat16_is_rounded_as_elsewhere() -> None:
    bfloat16 = require("ml_dtypes").bfloat16
    bits = rng().integers(0, 2**32, 100_000, dtype=np.uint32)
    ties = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    x = np.concatenate([bits, ties]).view("f4")
    x = np.concatenate([x[np.isfinite(x)], np.asarray([np.inf, -np.inf, 0.0, -0.0], "f4")])
    with np.errstate(over="ignore"):
        expected = x.astype(bfloat16)
    assert np.array_equal(to_bfloat16(x), expected.view("u2"))
    assert np.array_equal(from_bfloat16(to_bfloat16(x)), expected.astype("f4"))
    assert np.isnan(from_bfloat16(to_bfloat16(np.asarray([np.nan], "f4")))).all()
