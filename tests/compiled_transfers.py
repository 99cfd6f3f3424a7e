"""Copies between the host and the stand-in's devices, and memory of the host that is pinned.

A copy from or to pinned memory is made when its stream comes to it, and until then memory that is
copied to holds no numbers. With other memory the host waits, or what it gave is put aside first.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from .compiled_device import counts
from .compiled_pools import memory_at, memory_info
from .compiled_queues import CUDARuntimeError, Queue, queue_of, wait
from .compiled_rooms import POISON, address_of, poisoned

_pinned: WeakValueDictionary[int, Any] = WeakValueDictionary()
HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3


def is_pinned(address: int) -> bool:
    return any(start <= address < start + ctypes.sizeof(x) for start, x in list(_pinned.items()))


def empty_pinned(shape: Any, dtype: Any = float, order: Any = "C") -> Any:
    """An array of the host in pinned memory; it holds no numbers."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    room = (ctypes.c_char * max(size, 1))()
    start = ctypes.addressof(room)
    ctypes.memset(start, POISON, ctypes.sizeof(room))
    _pinned[start] = room  # which the arrays hold as their base
    return np.ndarray(shape, dtype, buffer=room, order=order)


def zeros_pinned(shape: Any, dtype: Any = float, order: Any = "C") -> Any:
    made = empty_pinned(shape, dtype, order)
    made[...] = 0
    return made


# -- arrays ----------------------------------------------------------------------------------------


def send(there: Any, host: Any, stream: Any) -> None:
    """Copy an array of the host to memory of a device, NumPy's both, on a stream."""
    queue = queue_of(stream)
    if queue.capture is not None:
        raise RuntimeError("the current stream is capturing, so H2D transfers are disallowed")
    counts.to_device += 1
    host = host if is_pinned(address_of(host)) else np.array(host)
    queue.put(lambda: np.copyto(there, host))


def fetch(host: Any, there: Any, stream: Any, blocking: bool) -> Any:
    """Copy memory of a device to an array of the host on a stream, and return that."""
    queue = queue_of(stream)
    if queue.capture is not None:
        raise RuntimeError("the current stream is capturing, so D2H transfers are disallowed")
    counts.to_host += 1
    _poison(host)
    queue.put(lambda: np.copyto(host, there))
    _wait_if(queue, blocking, address_of(host))
    return host


def _wait_if(queue: Queue, blocking: bool, address: int) -> None:
    if blocking:
        wait(queue)
    elif not is_pinned(address):
        queue.work()  # the driver does not come back before


def _poison(host: Any) -> None:
    host[...] = poisoned((), host.dtype)


# -- addresses -------------------------------------------------------------------------------------


def memcpy_async(dst: int, src: int, size: int, kind: int, stream: int) -> None:
    """Copy bytes on a stream; a graph takes pinned memory only."""
    queue = queue_of(stream)
    host = {HOST_TO_DEVICE: src, DEVICE_TO_HOST: dst}.get(kind)
    for address in {HOST_TO_DEVICE: (dst,), DEVICE_TO_HOST: (src,)}.get(kind, (dst, src)):
        memory_at(address, "memcpyAsync")
    if host is not None and queue.capture is not None and not is_pinned(host):
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: the memory is not pinned")
    counts.to_device += kind == HOST_TO_DEVICE
    counts.to_host += kind == DEVICE_TO_HOST
    if kind == DEVICE_TO_HOST and queue.capture is None:
        ctypes.memset(dst, POISON, size)
    if kind == HOST_TO_DEVICE and not is_pinned(src):
        data = ctypes.string_at(src, size)
        queue.put(lambda: ctypes.memmove(dst, data, size))
        return
    queue.put(lambda: ctypes.memmove(dst, src, size))
    if host is not None and queue.capture is None and not is_pinned(host):
        queue.work()


def memset_async(ptr: int, value: int, size: int, stream: int) -> None:
    memory_at(ptr, "memsetAsync")
    queue_of(stream).put(lambda: ctypes.memset(ptr, value, size))


runtime = SimpleNamespace(
    getDeviceCount=lambda: 2,
    memGetInfo=memory_info,
    memcpyAsync=memcpy_async,
    memsetAsync=memset_async,
    CUDARuntimeError=CUDARuntimeError,
    memcpyHostToDevice=HOST_TO_DEVICE,
    memcpyDeviceToHost=DEVICE_TO_HOST,
    memcpyDeviceToDevice=DEVICE_TO_DEVICE,
    memcpyDefault=4,
    streamCaptureModeGlobal=0,
    streamCaptureModeThreadLocal=1,
    streamCaptureModeRelaxed=2,
)
