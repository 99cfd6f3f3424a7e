"""Which calls can be captured in a CUDA graph, and give the same bits when it is replayed?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any, TypeAlias

from . import Result, Row, first_line, gpu, kernels
from .blas import Blas
from .kinds import encode, uniform
from .lt import Lt, Matmul
from .step import Step

Call: TypeAlias = Callable[[], Any]
REPLAYS = 100


class Bench:
    """The arrays of one case: static, so that a graph finds them again, and filled anew."""

    def __init__(self, cp: Any, stream: Any) -> None:
        self.cp, self.stream = cp, stream
        self.x, self.y = cp.empty((256, 512), "f4"), cp.empty((256, 512), "f4")
        self.w, self.rows = cp.empty((512, 384), "f4"), cp.empty(192, "i4")
        self.z, self.out = cp.empty((256, 384), "f4"), cp.empty((256, 512), "f4")
        self.bias, self.key = cp.empty(384, "f4"), cp.empty(3, "u4")
        self.stack = cp.empty((4, 512, 384), "f4"), cp.empty((4, 256, 384), "f4")
        self.refresh(0)

    def refresh(self, seed: int) -> None:
        """Fill the inputs with other numbers, in place."""
        arrays = (self.x, self.y, self.w, self.bias, self.stack[0])
        for i, array in enumerate(arrays):
            array[...] = uniform(self.cp, array.shape, 10 * seed + i)
        self.rows[...] = (self.cp.arange(192) * 7 + seed) % 256
        self.key[...] = self.cp.asarray([seed, 5, 9], dtype="u4")

    @cached_property
    def blas(self) -> Blas:
        """The handle, made when a case first asks for it."""
        return Blas(self.cp, self.stream)

    def batch(self) -> Call:
        """Four products in one call."""
        w, z = self.stack
        x = self.cp.ascontiguousarray(self.cp.broadcast_to(self.x, (4, *self.x.shape)))
        return self.blas.product("float32", x, w, z)

    def half(self, kind: str) -> Call:
        """A product of 16-bit numbers."""
        x, w = encode(kind, self.x), encode(kind, self.w)
        return self.blas.product(kind, x, w, self.cp.empty((256, 384), x.dtype))

    def lt(self, epilogue: str) -> Call:
        """A planned product."""
        bias = None if epilogue == "DEFAULT" else self.bias
        matmul = Matmul("float32", epilogue, self.x, self.w, self.z, bias)
        matmul.plan(Lt(self.cp, self.stream))
        return matmul

    def reduced(self, accelerators: list[str], function: str, axis: int | None) -> Call:
        """A reduction of x, by CUB where it is among the accelerators."""

        def call() -> Any:
            self.cp._core.set_reduction_accelerators(accelerators)
            self.cp._core.set_routine_accelerators(accelerators)
            return getattr(self.cp, function)(self.x, axis=axis)

        return call

    def step(self) -> Call:
        """A whole step, always the first one."""
        step = Step(self.cp, self.stream, 64, 256)

        def call() -> Any:
            step.reset()  # captured too: each replay starts where the eager step did
            return step()

        return call


def kernel_cases() -> Iterator[tuple[str, Callable[[Bench], Call]]]:
    """CuPy's own kernels and ours."""
    yield "ufunc, new array", lambda b: lambda: b.cp.tanh(b.x)
    yield "ufunc, out=", lambda b: lambda: b.cp.multiply(b.x, b.y, out=b.out)
    yield "expression of ufuncs", lambda b: lambda: b.cp.tanh(b.x) * b.y + 0.5 * b.x
    yield "copy", lambda b: lambda: b.cp.copyto(b.out, b.x) or b.out
    yield "fill", lambda b: lambda: b.out.fill(0.5) or b.out
    yield "take", lambda b: lambda: b.cp.take(b.x, b.rows, axis=0)
    yield "take, out=", lambda b: lambda: b.cp.take(b.x, b.rows, axis=0, out=b.out[:192])
    yield "ElementwiseKernel", _elementwise
    yield "RawKernel", _raw
    yield "dropout bits", _dropout


def _elementwise(b: Bench) -> Call:
    kernel = kernels.gelu_pullback(b.cp)
    return lambda: kernel(b.x, b.y, b.out)


def _raw(b: Bench) -> Call:
    kernel = kernels.axpy(b.cp)

    def call() -> Any:
        b.cp.copyto(b.out, b.x)
        return kernel(b.out, b.y, 0.5)

    return call


def _dropout(b: Bench) -> Call:
    kernel, drawn = kernels.raw_bits(b.cp), b.cp.empty((256, 512), "u4")
    return lambda: kernel(drawn, b.key)


def reduction_cases() -> Iterator[tuple[str, Callable[[Bench], Call]]]:
    """The reductions, by CuPy's kernels and by CUB."""
    for name, accelerators in {"": [], ", CUB": ["cub"]}.items():
        for function, axis in (("sum", -1), ("sum", -2), ("sum", None), ("max", -1)):
            build = partial(Bench.reduced, accelerators=accelerators, function=function, axis=axis)
            yield f"{function}, axis {axis}{name}", build


def product_cases() -> Iterator[tuple[str, Callable[[Bench], Call]]]:
    """Matrix products: CuPy's, cuBLAS and cuBLASLt by ctypes, and a whole step."""
    yield "cupy.matmul", lambda b: lambda: b.cp.matmul(b.x, b.w)
    yield "cublasSgemm", lambda b: b.blas.sgemm(b.x, b.w, b.z)
    yield "cublasGemmEx float32", lambda b: b.blas.product("float32", b.x, b.w, b.z)
    yield "cublasGemmEx tf32", lambda b: b.blas.product("tf32", b.x, b.w, b.z)
    yield "cublasGemmEx float16", lambda b: b.half("float16")
    yield "cublasGemmEx bfloat16", lambda b: b.half("bfloat16")
    yield "cublasGemmStridedBatchedEx", Bench.batch
    yield (
        "cublasSgemm, workspace not set",
        lambda b: Blas(b.cp, b.stream, workspace=False).sgemm(b.x, b.w, b.z),
    )
    yield "cublasLtMatmul", lambda b: b.lt("DEFAULT")
    yield "cublasLtMatmul, BIAS", lambda b: b.lt("BIAS")
    yield "a whole training step", Bench.step


def probe() -> Iterator[Row]:
    """Try each case on a stream, a pool and a handle of its own."""
    cp = gpu()
    for cases in (kernel_cases, product_cases, reduction_cases):
        for name, build in cases():
            try:
                yield name, replayed(cp, build)
            except Exception as error:
                yield name, {"error": first_line(error)}


def replayed(cp: Any, build: Callable[[Bench], Call]) -> Result:
    """Run a call eagerly, capture it, replay it; compare the bits of each replay."""
    stream, pool = cp.cuda.Stream(non_blocking=True), cp.cuda.MemoryPool()
    with stream, cp.cuda.using_allocator(pool.malloc):
        bench = Bench(cp, stream)
        call = build(bench)
        for _ in range(3):  # compiles the kernels and fills the pool
            call()
        stream.synchronize()
        before = pool.total_bytes()
        try:
            graph, out = captured(stream, call)
        except Exception as error:
            return {"captured": False, "refused": first_line(error)}
        grown = pool.total_bytes() - before
        same = 0
        for i in range(REPLAYS):
            if i % (REPLAYS // 4) == 0:
                bench.refresh(1 + i)
                expected = call().tobytes()
            # Poison: a graph that did not write its output must not pass.
            out.data.memset_async(0xFF, out.nbytes, stream)
            graph.launch(stream)
            same += out.tobytes() == expected
    return {"captured": True, "replays": REPLAYS, "equal": same, "pool_grew_bytes": grown}


def captured(stream: Any, call: Call) -> tuple[Any, Any]:
    """Return the graph of one call and the array that it writes."""
    stream.begin_capture()
    try:
        out = call()
    except BaseException:
        with contextlib.suppress(Exception):  # the stream must leave capture; the cause is raised
            stream.end_capture()
        raise
    return stream.end_capture(), out
