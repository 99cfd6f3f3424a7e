"""A kernel that g++ has compiled: its parameters, its arguments, a launch."""

from __future__ import annotations

import ctypes
import itertools
import mmap
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

MOST_THREADS, _STACK, _MOST_SHARED = 1024, (1 << 16) + 576, 232448  # as in scheduler.h
_WHY = 1024


class Packed(NamedTuple):
    """The arguments of a launch as they were when they were given."""

    pointers: Any
    values: Any


class KernelError(RuntimeError):
    """What a kernel did that a GPU leaves undefined, with its block, thread and line."""


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint),
        ("seed", ctypes.c_ulonglong), ("arguments", ctypes.c_void_p), ("stacks", ctypes.c_void_p),
        ("why", ctypes.c_char_p), ("room", ctypes.c_int),
    )  # fmt: skip


class _Parameter(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int), ("size", ctypes.c_int))


class Function:
    """One kernel of a text; `parameters` are the kind and size of each: `[("p", 8), ("i", 8)]`.

    Kinds are a pointer `p`, a struct `s`, and those of NumPy.
    """

    def __init__(self, name: str, library: Any, symbol: str, bound: int) -> None:
        self.name, self._bound = name, bound
        self._launch = getattr(library, f"{symbol}_launch")
        self._launch.restype = None
        read = getattr(library, f"{symbol}_parameters")
        read.restype = ctypes.POINTER(_Parameter)
        ended = itertools.takewhile(lambda p: p.size, map(read().__getitem__, itertools.count()))
        self.parameters = [(chr(p.kind), p.size) for p in ended]

    def launch(
        self, grid: tuple[int, ...], block: tuple[int, ...], arguments: Sequence[Any] | Packed,
        shared: int = 0, seed: int = 0,
    ) -> None:  # fmt: skip
        """Run the kernel to its end.

        An argument is an address (an int, or one of NumPy's with 64 bits), a NumPy scalar of the
        very type, or the bytes of a struct. Raises `KernelError`, and TypeError or ValueError for
        what no launch takes.
        """
        it = _Launch(self._shape("grid", grid, (2**31 - 1, 65535, 65535)),
                     self._shape("block", block, (1024, 1024, 64)), shared, seed)  # fmt: skip
        threads = it.block[0] * it.block[1] * it.block[2]
        if threads > self._bound:
            raise ValueError(f"{self.name}: {threads} threads a block, and at most {self._bound}")
        if not 0 <= shared <= _MOST_SHARED:
            raise ValueError(f"{self.name}: shared={shared}, which must be 0 to {_MOST_SHARED}")
        packed = self.pack(arguments)
        why = ctypes.create_string_buffer(_WHY)
        it.arguments, it.stacks = ctypes.addressof(packed.pointers), _stacks()
        it.why, it.room = ctypes.cast(why, ctypes.c_char_p), _WHY
        self._launch(ctypes.byref(it))  # the interpreter is kept: there is one set of threads
        if why.value:
            raise KernelError(f"{self.name}: {why.value.decode()}")

    def pack(self, arguments: Sequence[Any] | Packed) -> Packed:
        """Return the values as the kernel takes them: they stay what they are now."""
        if isinstance(arguments, Packed):
            return arguments
        if len(arguments) != len(self.parameters):
            raise TypeError(
                f"{self.name}: {len(arguments)} arguments, and the kernel has "
                f"{len(self.parameters)} parameters"
            )
        given = zip(arguments, self.parameters, strict=True)
        return _packed([self._bytes(i, x, *p) for i, (x, p) in enumerate(given)])

    def _bytes(self, i: int, x: Any, kind: str, size: int) -> bytes:
        if type(x) is int:
            found, data = ("p", 8), x.to_bytes(8, "little") if x >= 0 else b""
        elif isinstance(x, np.generic):
            found, data = (x.dtype.kind, x.dtype.itemsize), x.tobytes()
            found = ("p", 8) if kind == "p" and found in (("i", 8), ("u", 8)) else found
        elif isinstance(x, bytes | bytearray | memoryview | ctypes.Structure | ctypes._SimpleCData):
            data = bytes(x)
            found = kind, len(data)
        else:
            found, data = (type(x).__name__, 0), b""
        if found != (kind, size) or len(data) != size:
            what = {"p": "an address (an int)", "s": f"a struct of {size} bytes"}
            raise TypeError(
                f"{self.name}: argument {i} is {x!r} of {type(x).__name__}, and the kernel takes "
                f"{what.get(kind) or np.dtype(f'{kind}{size}')}"
            )
        return data

    def _shape(self, what: str, shape: tuple[int, ...], most: tuple[int, ...]) -> Any:
        whole = (*shape, 1, 1)[:3]
        if len(shape) > 3 or not all(1 <= n <= m for n, m in zip(whole, most, strict=True)):
            raise ValueError(f"{self.name}: {what} {shape}, of three counts from 1 to {most}")
        return (ctypes.c_uint * 3)(*whole)


def _packed(values: list[bytes]) -> Packed:
    """Put each value at a multiple of 16 bytes, as structs of vectors ask for."""
    ends = list(itertools.accumulate((len(v) + 15) // 16 * 16 for v in values))
    room = ctypes.create_string_buffer((ends[-1] if ends else 0) + 16)
    base = (ctypes.addressof(room) + 15) // 16 * 16
    starts = [base + start for start in (0, *ends)][: len(values)]
    for start, value in zip(starts, values, strict=True):
        ctypes.memmove(start, value, len(value))
    return Packed((ctypes.c_void_p * max(len(starts), 1))(*starts), room)


_stack_memory: list[mmap.mmap] = []


@cache
def _stacks() -> int:
    """The address of a stack for each thread of a block; every library uses the same."""
    _stack_memory.append(mmap.mmap(-1, MOST_THREADS * _STACK))
    return ctypes.addressof(ctypes.c_char.from_buffer(_stack_memory[0]))
