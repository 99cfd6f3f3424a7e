"""CuPy's RawModule over texts that g++ compiles: launches wait on streams or go to a graph."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

import numpy as np

from . import simt
from .compiled_arrays import here, ndarray
from .compiled_device import counts
from .compiled_pools import memory_at
from .compiled_queues import enqueue

_MOST_SHARED = 48 << 10  # without asking for more
_seeds = count()


class RawModule:
    """A text of kernels, compiled when the first is asked for.

    A text that says `typedef float T` must not turn a float into a double unasked.
    """

    def __init__(self, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc") -> None:
        if not isinstance(options, tuple):
            raise TypeError(f"options is a tuple of strings, not {options!r}")
        self.code, self.options = code, options

    def get_function(self, name: str) -> RawKernel:
        return RawKernel(self.code, name, self.options)

    def compile(self) -> None:
        compile_modules([self.code])


class RawKernel:
    """A kernel; its arguments are arrays of the current device and NumPy's scalars."""

    def __init__(self, code: str, name: str, options: tuple[str, ...] = ()) -> None:
        self.name, self.max_dynamic_shared_size_bytes = name, _MOST_SHARED
        self._function = simt.function(code, name, _single(code))

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: Any, *, shared_mem: int = 0
    ) -> None:
        if not (isinstance(grid, tuple) and isinstance(block, tuple)):
            raise TypeError(f"{self.name}: grid and block are tuples, not {grid!r} and {block!r}")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise ValueError(
                f"{self.name}: {shared_mem} bytes of shared memory were asked for, and at most "
                f"{self.max_dynamic_shared_size_bytes}; set max_dynamic_shared_size_bytes"
            )
        packed = self._function.pack([_argument(self.name, x) for x in args])
        kinds = (kind for kind, _ in self._function.parameters)
        pointers = [_number(x) for x, kind in zip(args, kinds, strict=True) if kind == "p"]

        def run() -> None:
            held = [memory_at(address, self.name) for address in pointers if address]
            counts.launches += 1
            self._function.launch(grid, block, packed, shared_mem, next(_seeds))
            if not all(memory.intact() for memory in held):
                raise RuntimeError(
                    f"{self.name} wrote before the start or past the end of an array"
                )

        enqueue(None, run)


def _argument(name: str, x: Any) -> Any:
    if isinstance(x, ndarray):
        return here(x).data.ptr
    if isinstance(x, np.generic):
        return x
    raise TypeError(
        f"{name}: an argument is {x!r} of {type(x).__name__}; give an array of the device, or a "
        "scalar of NumPy's with the kernel's own type"
    )


def _number(x: Any) -> int:
    return int(x.data.ptr if isinstance(x, ndarray) else x)


def compile_modules(codes: Iterable[str]) -> None:
    """Compile many texts with one call of g++ for each precision."""
    codes = list(codes)
    for single in (True, False):
        simt.compile_all([code for code in codes if _single(code) == single], single)


def _single(code: str) -> bool:
    return "typedef float T" in code
