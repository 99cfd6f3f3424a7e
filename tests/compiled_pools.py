"""The memory of the stand-in's devices: who holds how much of it, and where it is.

A pool keeps count and nothing else: each array has memory of its own, which is never given to
another, so that work still to be done, and kernels of a graph, never write where they should not.
What is freed and asked for again on the same stream is taken from the pool as in CuPy; that free
pieces would have to lie side by side is left out.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from operator import itemgetter
from typing import Any
from weakref import WeakSet, ref

import numpy as np

from .compiled_device import Device, counts
from .compiled_queues import anything_waits, queue_of
from .compiled_rooms import POISON, UNIT, Room, address_of, poisoned

TOTAL = 16 << 30

_pools: WeakSet[MemoryPool] = WeakSet()
_memories: dict[int, ref[Memory]] = {}  # by the identity of what they are memory of
_late: list[Any] = []  # memory that somebody gave up, and work that waits may still use
_sorted: list[tuple[int, ref[Memory]]] = []
_capacity = {"bytes": TOTAL}


class OutOfMemoryError(MemoryError):
    """Of CuPy: so many bytes could not be had."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        limited = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{limited})."
        )


def set_capacity(size: int = TOTAL) -> None:
    """Let each device have so many bytes."""
    _capacity["bytes"] = size


def memory_info() -> tuple[int, int]:
    """Bytes that are free on the current device, and bytes that there are."""
    return _capacity["bytes"] - _acquired(), _capacity["bytes"]


def _acquired() -> int:
    return sum(pool.total_bytes() for pool in list(_pools))


class Memory:
    """The memory of one array and its views, on a device and out of a pool."""

    def __init__(self, base: Any, pool: MemoryPool) -> None:
        self.base, self._pool, self.device_id = base, pool, Device.current
        self.first: int
        self.size: int
        self.first, self.size = base.inner if type(base) is Room else (0, base.nbytes)
        self._rounded, self._arena = pool.take(self.size, self.device_id)
        _memories[id(base)] = ref(self)
        _sorted.clear()

    def __del__(self) -> None:
        if not hasattr(self, "_rounded"):
            return  # there was no room for it
        self._pool.give(self._rounded, self._arena)
        _memories.pop(id(self.base), None)
        _sorted.clear()
        if anything_waits():
            _late.append(self.base)
        elif _late:
            _late.clear()

    @cached_property
    def ptr(self) -> int:
        return address_of(self.base)

    def holds(self, address: int) -> bool:
        return 0 <= address - self.ptr - self.first < max(self.size, 1)

    def intact(self) -> bool:
        """Whether nobody wrote around it."""
        if not isinstance(self.base, Room):
            return True
        around = self.base[: self.first], self.base[self.first + self.size :]
        return all(bool((part == POISON).all()) for part in around)


class MemoryPointer:
    """An address in the memory of a device."""

    def __init__(self, mem: Memory, ptr: int) -> None:
        self.mem, self.ptr, self.device_id = mem, ptr, mem.device_id

    device = property(lambda self: Device(self.device_id))

    def __int__(self) -> int:
        return self.ptr


class MemoryPool:
    """Bytes by device and stream: what is in use, and what was and is kept."""

    def __init__(self, allocator: Any = None, keeps: bool = True) -> None:
        self._keeps = keeps
        self._used: dict[int, int] = defaultdict(int)
        self._free: dict[tuple[int, int], int] = defaultdict(int)
        self._limit = 0
        _pools.add(self)

    def take(self, size: int, device: int) -> tuple[int, tuple[int, int]]:
        counts.allocations += 1
        rounded, arena = -(-size // UNIT) * UNIT, (device, queue_of().ptr)
        if self._free[arena] >= rounded:
            self._free[arena] -= rounded
        else:
            self._check(rounded)
        self._used[device] += rounded
        return rounded, arena

    def _check(self, size: int) -> None:
        def fits() -> bool:
            total = self.total_bytes()  # once: other threads take memory meanwhile
            limit = self._limit or size + total
            return memory_info()[0] >= size and total + size <= limit

        if not fits():
            self.free_all_blocks()
        if not fits():
            raise OutOfMemoryError(size, self.total_bytes(), self._limit)

    def give(self, size: int, arena: tuple[int, int]) -> None:
        self._used[arena[0]] -= size
        self._free[arena] += size if self._keeps else 0

    def malloc(self, size: int) -> MemoryPointer:
        memory = poisoned(size, "u1")
        return MemoryPointer(Memory(_root(memory), self), address_of(memory))

    def used_bytes(self) -> int:
        return self._used[Device.current]

    def free_bytes(self) -> int:
        return sum(n for (device, _), n in self._free.items() if device == Device.current)

    def total_bytes(self) -> int:
        return self.used_bytes() + self.free_bytes()

    def free_all_blocks(self, stream: Any = None) -> None:
        for arena in list(self._free):
            if arena[0] == Device.current and (stream is None or arena[1] == stream.ptr):
                self._free[arena] = 0

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        self._limit = int(fraction * _capacity["bytes"]) if fraction else size or 0

    def get_limit(self) -> int:
        return self._limit


_default, _raw = MemoryPool(), MemoryPool(keeps=False)
_allocators = threading.local()


def get_default_memory_pool() -> MemoryPool:
    return _default


@contextmanager
def using_allocator(allocator: Callable[[int], MemoryPointer] | None = None) -> Iterator[None]:
    """Inside `with` this thread takes memory from the pool whose `malloc` it is."""
    pool = _raw if allocator is None else getattr(allocator, "__self__", None)
    if not isinstance(pool, MemoryPool):
        raise TypeError(f"the stand-in takes the malloc of a MemoryPool, not {allocator!r}")
    before, _allocators.pool = getattr(_allocators, "pool", _default), pool
    try:
        yield
    finally:
        _allocators.pool = before


def _root(values: Any) -> Any:
    while isinstance(values.base, np.ndarray):
        values = values.base
    return values


def memory_of(values: Any) -> Memory:
    """The memory that NumPy's array is in; it is taken from the current pool if it is new."""
    root = _root(values)
    known = _memories.get(id(root))
    found = known() if known is not None else None
    if found is not None:
        return found
    return Memory(root, getattr(_allocators, "pool", _default))


def memory_at(address: int, what: str) -> Memory:
    """The memory that some array holds at an address."""
    if not _sorted:
        live = filter(None, (known() for known in list(_memories.values())))
        _sorted.extend(sorted(((memory.ptr, ref(memory)) for memory in live), key=itemgetter(0)))
    at = bisect_right(_sorted, address, key=itemgetter(0)) - 1
    found = _sorted[at][1]() if at >= 0 else None
    if found is None or not found.holds(address):
        raise RuntimeError(f"{what}: no array holds the memory at {address:#x}; was it dropped?")
    return found


def forget_memory() -> None:
    """Give back what pools keep, and let devices have what they had."""
    set_capacity()
    _late.clear()
    for pool in list(_pools):
        pool.set_limit()
        for arena in list(pool._free):
            pool._free[arena] = 0
