"""The stand-in for CuPy itself: streams that are late, graphs, memory, and what is counted."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.compiled_streams import CUDARuntimeError
from tests.conftest import require

pytestmark = pytest.mark.thorough

require("g++")

TEXT = r"""
typedef float T;
extern "C" __global__ void scale(const T* x, T* out, T by, long long n) {
  long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (i < n) out[i] = x[i] * by;
}
extern "C" __global__ void shared(T* out) {
  extern __shared__ T room[];
  room[threadIdx.x] = T(threadIdx.x);
  __syncthreads();
  out[threadIdx.x] = room[blockDim.x - 1 - threadIdx.x];
}"""
N = 100


@pytest.fixture
def cp(stand_in: Any) -> Any:
    return stand_in


def stream(cp: Any) -> Any:
    return cp.cuda.Stream(non_blocking=True)


def scale(cp: Any, x: Any, out: Any, by: float = 2.0) -> None:
    kernel = cp.RawModule(code=TEXT, options=("--std=c++17",)).get_function("scale")
    kernel((2,), (64,), (x, out, np.float32(by), np.int64(N)))


def ones(cp: Any) -> Any:
    """An array that is there."""
    x = cp.asarray(np.ones(N, "f4"))
    cp.cuda.get_current_stream().synchronize()
    return x


def pinned(cp: Any, value: float = 1.0) -> Any:
    found = cp.cupyx.empty_pinned(N, "f4")
    assert np.isnan(found).all()
    found[...] = value
    return found


# -- kernels ---------------------------------------------------------------------------------------


def test_a_kernel_of_a_module_computes(cp: Any) -> None:
    x, out = cp.asarray(np.arange(N, dtype="f4")), cp.empty(N, "f4")
    scale(cp, x, out)
    assert np.array_equal(cp.asnumpy(out), 2 * np.arange(N))
    kernel = cp.RawKernel(TEXT, "scale")
    kernel((2,), (64,), (np.int64(x.data.ptr), out, np.float32(3), np.int64(N)))
    assert np.array_equal(out.get(), 3 * np.arange(N))


@pytest.mark.parametrize("wrong", [2.0, 2, True, np.ones(1, "f4"), np.float64(2), None])
def test_arguments_are_arrays_and_scalars_of_the_very_type(cp: Any, wrong: Any) -> None:
    x = ones(cp)
    with pytest.raises(TypeError, match="argument"):
        cp.RawKernel(TEXT, "scale")((2,), (64,), (x, x, wrong, np.int64(N)))


def test_an_array_of_another_device_is_refused(cp: Any) -> None:
    x = ones(cp)
    with cp.cuda.Device(1), pytest.raises(ValueError, match="array device = 0 while current = 1"):
        scale(cp, x, cp.empty(N, "f4"))


def test_much_shared_memory_has_to_be_asked_for(cp: Any) -> None:
    kernel, out = cp.RawKernel(TEXT, "shared"), cp.empty(64, "f4")
    kernel((1,), (64,), (out,), shared_mem=256)
    assert np.array_equal(out.get(), np.arange(64)[::-1])
    with pytest.raises(ValueError, match="set max_dynamic_shared_size_bytes"):
        kernel((1,), (64,), (out,), shared_mem=50000)
    kernel.max_dynamic_shared_size_bytes = 50000
    kernel((1,), (64,), (out,), shared_mem=50000)


def test_memory_that_nobody_holds_is_noticed(cp: Any) -> None:
    x, kernel = ones(cp), cp.RawKernel(TEXT, "scale")
    address = np.int64(cp.empty(N, "f4").data.ptr)
    gc.collect()
    kernel((2,), (64,), (x, address, np.float32(2), np.int64(N)))
    with pytest.raises(RuntimeError, match="scale: no array holds the memory"):
        cp.cuda.get_current_stream().synchronize()


@pytest.mark.parametrize("off", [-1, 1])
def test_a_kernel_that_leaves_its_array_is_noticed(cp: Any, off: int) -> None:
    text = TEXT.replace("out[i]", f"out[i + {off}]")
    x, out = ones(cp), cp.empty(N, "f4")
    cp.RawKernel(text, "scale")((2,), (64,), (x, out, np.float32(2), np.int64(N)))
    with pytest.raises(RuntimeError, match="scale wrote before the start or past the end"):
        cp.cuda.get_current_stream().synchronize()


# -- streams ---------------------------------------------------------------------------------------


def test_one_stream_does_not_see_what_another_has_yet_to_do(cp: Any) -> None:
    for waits in (False, True):
        x, first, second = ones(cp), stream(cp), stream(cp)
        y, out = cp.empty(N, "f4"), cp.empty(N, "f4")
        with first:
            scale(cp, x, y)
            done = first.record()
        with second:
            if waits:
                second.wait_event(done)
            scale(cp, y, out)
            found = out.get()
        assert np.array_equal(found, 4 * np.ones(N)) if waits else np.isnan(found).all()


def test_what_computes_at_once_comes_after_its_own_stream(cp: Any) -> None:
    x, y = ones(cp), cp.empty(N, "f4")
    with stream(cp):
        scale(cp, x, y)
        total = cp.sum(y + y)
        assert float(total) == 4 * N


def test_the_default_stream_and_a_blocking_one_wait_for_each_other(cp: Any) -> None:
    for non_blocking in (False, True):
        x, y = ones(cp), cp.empty(N, "f4")
        with cp.cuda.Stream(non_blocking=non_blocking):
            scale(cp, x, y)
        assert np.isnan(cp.asnumpy(y)).all() == non_blocking


def test_pinned_memory_is_copied_late_both_ways(cp: Any) -> None:
    side, host, back = stream(cp), pinned(cp), pinned(cp)
    x = cp.empty(N, "f4")
    x.set(host, side)
    host[...] = 5  # too early: the copy is still to come
    x.get(side, out=back, blocking=False)
    assert np.isnan(back).all()
    side.synchronize()
    assert np.array_equal(back, np.full(N, 5))


def test_other_memory_of_the_host_is_read_and_written_before_the_call_ends(cp: Any) -> None:
    side, host, back = stream(cp), np.ones(N, "f4"), np.zeros(N, "f4")
    x = cp.empty(N, "f4")
    x.set(host, side)
    host[...] = 5
    assert x.get(side, out=back, blocking=False) is back
    assert np.array_equal(back, np.ones(N))


def test_an_event_is_a_mark_and_asking_lets_the_stream_go_on(cp: Any) -> None:
    side, back, x = stream(cp), pinned(cp), ones(cp)
    event = cp.cuda.Event(disable_timing=True)
    assert event.done
    x.get(side, out=back, blocking=False)
    event.record(side)
    with side:
        scale(cp, x, x)
    asked = 0
    while not event.done:
        asked += 1
    assert asked == 1
    assert np.array_equal(back, np.ones(N))
    event.synchronize()
    assert not side.done
    assert np.array_equal(x.get(side), np.full(N, 2))
    assert side.done


def test_streams_belong_to_a_device(cp: Any) -> None:
    side = stream(cp)
    assert cp.cuda.get_current_stream() == cp.cuda.Stream.null
    with side:
        assert cp.cuda.get_current_stream() == side
        with cp.cuda.Device(1):
            assert cp.cuda.get_current_stream() == cp.cuda.Stream.null
            assert cp.cuda.get_current_stream(0) == side
            with pytest.raises(RuntimeError, match=r"created on \(0\) does not match"), side:
                pass
    assert cp.cuda.get_current_stream() == cp.cuda.Stream.null


def test_a_set_or_get_of_another_shape_or_type_is_refused(cp: Any) -> None:
    x = cp.empty((4, 2), "f4")
    for wrong, error in ((np.ones(8, "f4"), ValueError), (np.ones((4, 2)), TypeError)):
        with pytest.raises(error):
            x.set(wrong)
        with pytest.raises(error):
            x.get(out=wrong)
    with pytest.raises(RuntimeError, match="non-contiguous"):
        x[:, 0].set(np.ones(4, "f4"))
    with pytest.raises(TypeError, match="Only numpy"):
        x.set(x)


def test_memory_is_copied_and_set_by_address(cp: Any) -> None:
    run, side, host = cp.cuda.runtime, stream(cp), pinned(cp, 3)
    x, y, back = cp.empty(N, "f4"), cp.empty(N, "f4"), pinned(cp)
    size = x.nbytes
    run.memcpyAsync(x.data.ptr, host.ctypes.data, size, run.memcpyHostToDevice, side.ptr)
    run.memcpyAsync(y.data.ptr, x.data.ptr, size, run.memcpyDeviceToDevice, side.ptr)
    run.memsetAsync(y.data.ptr, 0, size // 2, side.ptr)
    run.memcpyAsync(back.ctypes.data, y.data.ptr, size, run.memcpyDeviceToHost, side.ptr)
    assert np.isnan(back).all()
    side.synchronize()
    assert np.array_equal(back, np.repeat([0, 3], N // 2))
    with pytest.raises(CUDARuntimeError, match="no stream"):
        run.memsetAsync(y.data.ptr, 0, size, 12345)


# -- graphs ----------------------------------------------------------------------------------------


def captured(cp: Any, call: Any, on: Any) -> Any:
    with on:
        on.begin_capture()
        try:
            call()
        finally:
            graph = on.end_capture()
    graph.upload(on)
    return graph


def test_a_graph_does_what_was_asked_for_with_the_numbers_of_then(cp: Any) -> None:
    side, x, by = stream(cp), ones(cp), [3.0]
    double = cp.ElementwiseKernel("float32 x", "float32 y", "y = x + x", "double_it")

    def call() -> None:
        scale(cp, x, x, by[0])
        double(x, x)
        cp.add(x, 1.0, out=x)
        x[:1] = 7.0
        cp.enqueue(side.ptr, lambda: x.values.__setitem__(1, 9.0))

    graph = captured(cp, call, side)
    assert np.array_equal(x.get(), np.ones(N))  # nothing was done
    by[0] = 1000.0
    expected = np.ones(N, "f4")
    for _ in range(3):
        graph.launch(side)
        expected = expected * 3 * 2 + 1
        expected[:2] = 7, 9
    assert np.array_equal(x.get(side), expected)
    assert np.array_equal(x.get(), expected)


def test_new_arrays_of_a_graph_are_filled_by_each_launch(cp: Any) -> None:
    side, x, made = stream(cp), ones(cp), []
    graph = captured(cp, lambda: made.append(cp.sum(x * x) + cp.zeros(1, "f4")), side)
    assert np.isnan(made[0].get()).all()
    for k in (1, 2):
        x.fill(k)
        cp.cuda.get_current_stream().synchronize()
        graph.launch(side)
        assert float(made[0].get(side)[0]) == N * k * k


Refused = dict[str, tuple[Callable[..., Any], type[Exception], str]]
REFUSED: Refused = {
    "get": (lambda cp, x, s: x.get(), RuntimeError, "D2H transfers are disallowed"),
    "asnumpy": (lambda cp, x, s: cp.asnumpy(x), RuntimeError, "D2H transfers are disallowed"),
    "float": (lambda cp, x, s: float(x[0]), RuntimeError, "D2H transfers are disallowed"),
    "bool": (lambda cp, x, s: bool(x[0]), RuntimeError, "D2H transfers are disallowed"),
    "set": (lambda cp, x, s: x.set(np.ones(N, "f4")), RuntimeError, "H2D transfers are disallowed"),
    "asarray": (lambda cp, x, s: cp.asarray([1.0]), RuntimeError, "H2D transfers are disallowed"),
    "matmul": (lambda cp, x, s: cp.matmul(x, x), NotImplementedError, "cuBLAS"),
    "begin": (lambda cp, x, s: s.begin_capture(), CUDARuntimeError, "capturing already"),
    "upload": (lambda cp, x, s: Empty.upload(s), CUDARuntimeError, "capturing"),
}
BREAKS: Refused = {
    "synchronize": (lambda cp, x, s: s.synchronize(), CUDARuntimeError, "Unsupported"),
    "device": (lambda cp, x, s: cp.cuda.Device().synchronize(), CUDARuntimeError, "Unsupported"),
    "event": (lambda cp, x, s: s.record().synchronize(), CUDARuntimeError, "CapturedEvent"),
    "done": (lambda cp, x, s: s.record().done, CUDARuntimeError, "CapturedEvent"),
    "before": (lambda cp, x, s: s.wait_event(Before), CUDARuntimeError, "Isolation"),
}
Empty: Any
Before: Any


@pytest.mark.parametrize("case", [*REFUSED, *BREAKS])
def test_what_cannot_be_captured_is_refused(cp: Any, case: str) -> None:
    global Empty, Before
    side, x = stream(cp), ones(cp)
    Empty, Before = captured(cp, lambda: None, side), stream(cp).record()
    call, error, why = (REFUSED | BREAKS)[case]
    with side:
        side.begin_capture()
        with pytest.raises(error, match=why):
            call(cp, x, side)
        if case in BREAKS:
            with pytest.raises(CUDARuntimeError, match="Invalidated"):
                side.end_capture()
        else:
            side.end_capture().launch()
    assert not side.is_capturing()
    scale(cp, x, x)
    assert np.array_equal(x.get(), np.full(N, 2))


def test_the_default_stream_cannot_be_captured_nor_used_beside_a_blocking_one(cp: Any) -> None:
    with pytest.raises(RuntimeError, match="cannot capture on the default"):
        cp.cuda.Stream.null.begin_capture()
    blocking, x = cp.cuda.Stream(), ones(cp)
    blocking.begin_capture()
    with pytest.raises(CUDARuntimeError, match="Implicit"):
        scale(cp, x, x)
    with pytest.raises(CUDARuntimeError, match="Invalidated"):
        blocking.end_capture()
    with pytest.raises(CUDARuntimeError, match="no capture was begun"):
        blocking.end_capture()


@pytest.mark.parametrize("joins", [True, False])
def test_a_stream_drawn_into_a_capture_has_to_come_back(cp: Any, joins: bool) -> None:
    first, second, x, y = stream(cp), stream(cp), ones(cp), cp.empty(N, "f4")
    first.begin_capture()
    second.wait_event(first.record())
    assert second.is_capturing()
    with second:
        scale(cp, x, y)
        event = second.record()
    if not joins:
        with pytest.raises(CUDARuntimeError, match="Unjoined"):
            first.end_capture()
        return
    first.wait_event(event)
    graph = first.end_capture()
    assert not second.is_capturing()
    graph.launch(first)
    assert np.array_equal(y.get(first), np.full(N, 2))


def test_a_graph_whose_memory_was_dropped_is_noticed(cp: Any) -> None:
    side, x, kernel = stream(cp), ones(cp), cp.RawKernel(TEXT, "scale")
    y = cp.empty(N, "f4")
    given = (x, np.int64(y.data.ptr), np.float32(2), np.int64(N))
    graph = captured(cp, lambda: kernel((2,), (64,), given), side)
    graph.launch(side)
    side.synchronize()
    del y
    gc.collect()
    graph.launch(side)
    with pytest.raises(RuntimeError, match="no array holds the memory"):
        side.synchronize()


# -- memory and counts -----------------------------------------------------------------------------


def test_a_pool_keeps_what_was_freed_for_its_stream(cp: Any) -> None:
    pool, before = cp.cuda.MemoryPool(), cp.cuda.runtime.memGetInfo()[0]
    with cp.cuda.using_allocator(pool.malloc):
        x = cp.zeros(1000, "f4")
        y = x + x
        assert pool.used_bytes() == pool.total_bytes() == 2 * 4096
        assert x.data.ptr % 512 == 0
        del y
        gc.collect()
        assert (pool.used_bytes(), pool.free_bytes()) == (4096, 4096)
        z = cp.empty(1000, "f4")
        assert pool.total_bytes() == 8192
        with stream(cp):
            other = cp.empty(1, "f4")  # what one stream freed is not for another
        assert pool.total_bytes() == 8192 + 512
    assert cp.cuda.runtime.memGetInfo()[0] == before - pool.total_bytes()
    held = cp.empty(10**6, "f4")
    assert pool.total_bytes() == 8192 + 512
    del x, z, other, held
    gc.collect()
    pool.free_all_blocks()
    assert pool.total_bytes() == 0
    piece = pool.malloc(100)
    assert pool.used_bytes() == 512
    assert piece.ptr % 512 == 0


def test_memory_ends(cp: Any) -> None:
    cp.get_default_memory_pool().free_all_blocks()
    free = cp.cuda.runtime.memGetInfo()[0]
    cp.set_capacity(cp.cuda.runtime.memGetInfo()[1] - free + 10000)
    x = cp.empty(2000, "f4")
    with pytest.raises(cp.cuda.memory.OutOfMemoryError, match="Out of memory allocating 8,192 by"):
        cp.empty(2000, "f4")
    with pytest.raises(cp.cuda.memory.OutOfMemoryError):
        x + x
    with cp.cuda.Device(1):
        cp.empty(2000, "f4")
    del x
    gc.collect()
    cp.empty(2000, "f4")
    pool = cp.cuda.MemoryPool()
    pool.set_limit(size=1024)
    with cp.cuda.using_allocator(pool.malloc):
        y = cp.empty(256, "f4")
        with pytest.raises(MemoryError, match="limit set to: 1,024 bytes"):
            cp.empty(1, "f4")
    assert y.nbytes == pool.get_limit()


def test_what_is_done_is_counted(cp: Any) -> None:
    side, x, host = stream(cp), ones(cp), pinned(cp)
    cp.counts.reset()
    graph = captured(cp, lambda: scale(cp, x, x), side)
    assert cp.counts == type(cp.counts)()
    for _ in range(3):
        graph.launch(side)
    scale(cp, x, x)
    y = x + x
    x.set(host, side)
    x.get(side, out=host, blocking=False)
    assert float(y[0]) != 0
    side.synchronize()
    side.record().synchronize()
    found = cp.counts
    assert (found.launches, found.graph_launches, found.allocations) == (4, 3, 1)
    assert (found.to_device, found.to_host, found.synchronizations) == (1, 2, 3)
