"""From the calls of a program to what is launched: kernels and products bound to their memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpubp.errors import DeviceError
from gpubp.program.calls import (
    Buffer,
    Gather,
    Guard,
    Launch,
    Product,
    Program,
    Scatter,
    Total,
)  # fmt: skip
from gpubp.program.values import HALF, HALVES

from . import cuda_code
from .cublas import Blas, Operand
from .cuda_text import by_hand

Enqueue = Callable[[], None]
"""Puts one call on the stream that is current."""

_OPS = {"sum": 0, "max": 1, "min": 2}
_DTYPES = {"U": "uint32", "I": "int64", "bool": "bool"}
_STORED = {"bfloat16": "uint16"}
"""The types of arrays that hold numbers for which NumPy has no type."""

_PACK_BYTES = 16
_MOST_MEMBERS = 65535  # blocks of a grid along y


class Memory:
    """The memories of a program on a device, by name: `(members, n)`, or `(1, n)` for all."""

    def __init__(self, arrays: Mapping[str, Any], program: Program, members: int | None) -> None:
        self.arrays, self.members = dict(arrays), members
        self._dtypes = dict(_DTYPES)
        if program.half:
            self._dtypes[HALF] = HALVES[program.half]
        self._precision = program.precision

    def dtype(self, kind: str) -> str:
        """The type of a kind of number by name."""
        return self._dtypes.get(kind, self._precision)

    def stored(self, kind: str) -> Any:
        """The type of the arrays that hold numbers of a kind."""
        dtype = self.dtype(kind)
        return np.dtype(_STORED.get(dtype, dtype))

    def pointer(self, buffer: Buffer) -> int:
        """Where a buffer begins, of the first member."""
        array = self.arrays[buffer.memory]
        item = int(array.dtype.itemsize)
        if self.stored(buffer.kind).itemsize != item:
            raise ValueError(f"{buffer} lies in memory of {array.dtype}")
        if buffer.start + buffer.size > array.shape[1]:
            raise IndexError(f"{buffer} reaches beyond {array.shape[1]} elements")
        return int(array.data.ptr) + buffer.start * item

    def apart(self, memory: str) -> int:
        """Elements from what is one member's to what is the next one's; 0 where all share it."""
        array = self.arrays[memory]
        return int(array.shape[1]) if len(array) > 1 else 0

    def aligned(self, buffer: Buffer) -> bool:
        """Whether a buffer begins at 16 bytes, of every member."""
        item = self.stored(buffer.kind).itemsize
        apart = self.apart(buffer.memory) * item
        return self.pointer(buffer) % _PACK_BYTES == 0 and apart % _PACK_BYTES == 0

    def operand(self, buffer: Buffer) -> Operand:
        """A buffer as a matrix of a product."""
        return Operand(self.pointer(buffer), self.dtype(buffer.kind), self.apart(buffer.memory))


class Calls:
    """The calls of one step, bound: `enqueue` puts all of them on the current stream.

    `batch` is its rows and the columns of `x` and of `t`; `labels` says whether targets are int64.
    Kernels are compiled when this is made.
    """

    def __init__(
        self, cupy: Any, program: Program, memory: Memory, blas: Blas,
        batch: tuple[int, int, int], labels: bool, tf32: bool = False,
    ) -> None:  # fmt: skip
        self._cupy, self._program, self._memory, self._blas = cupy, program, memory, blas
        if (memory.members or 1) > _MOST_MEMBERS:
            raise DeviceError(
                f"{memory.members} members; CUDA takes {_MOST_MEMBERS} in one step: train them in "
                "several networks"
            )
        self._many, self._batch, self._tf32 = memory.members or 1, batch, tf32
        self.kernels = cuda_code.printed(program, memory.aligned, memory.members is not None)
        self.hand = by_hand(program, labels)
        text = cuda_code.module(self.kernels, program, self.hand)
        self._module = cupy.RawModule(code=text, options=("--std=c++17",))
        self._held: list[Any] = []
        self.bound = list(self._bind())

    def texts(self) -> dict[str, str]:
        """The text of each kernel by name, with what it begins with."""
        return cuda_code.texts(self.kernels, self._program, self.hand)

    def enqueue(self) -> None:
        for call in self.bound:
            call()

    def kernel(self, name: str, grid: tuple[int, int], threads: int, arguments: Any) -> Enqueue:
        """A launch of a kernel; its arguments are NumPy's numbers, and those of addresses."""
        function, block = self._module.get_function(name), (threads, 1, 1)
        given, blocks = tuple(arguments), (*grid, 1)
        return lambda: function(blocks, block, given)

    # -- call by call --------------------------------------------------------------------------

    def _bind(self) -> Iterator[Enqueue]:
        yield self._stage()
        waiting: list[Total] = []
        for call, kernel in zip(self._program.calls, self.kernels, strict=True):
            if isinstance(call, Total):
                waiting.append(call)
                continue
            yield from self._added(waiting)
            waiting = []
            if isinstance(call, Guard):
                yield self._judge(call)
            elif isinstance(call, Launch):
                assert kernel is not None
                yield self._launch(call, kernel)
            elif isinstance(call, Product):
                yield self._product(call)
            elif isinstance(call, Gather):
                yield self._gather(call)
            elif isinstance(call, Scatter):
                yield self._scatter(call)
            else:
                raise DeviceError(f"a {type(call).__name__} of a step cannot be done on CUDA")
        yield from self._added(waiting)

    def _added(self, waiting: Sequence[Total]) -> Iterator[Enqueue]:
        """One launch for all sums of a kind whose parts are added at one place."""
        for kind in dict.fromkeys(call.out.kind for call in waiting):
            yield self._totals(kind, [call for call in waiting if call.out.kind == kind])

    def _launch(self, call: Launch, kernel: cuda_code.Printed) -> Enqueue:
        arguments: list[Any] = []
        for n in kernel.arrays:
            arguments.append(np.int64(self._memory.pointer(call.arrays[n])))
            if self._memory.members is not None:
                arguments.append(np.int64(self._memory.apart(call.arrays[n].memory)))
        if kernel.guarded:
            arguments.append(self._address("sound"))
        layout = kernel.layout
        return self.kernel(kernel.name, (layout.blocks, self._many), layout.threads, arguments)

    def _product(self, call: Product) -> Enqueue:
        out, a, b = (self._memory.operand(x) for x in (call.out, call.a, call.b))
        sizes = (call.out.rows, call.out.cols, call.inner)
        return self._blas.product(out, a, b, sizes, call.transposed, self._many, self._tf32)

    def _stage(self) -> Enqueue:
        rows, x, t = self._batch
        arguments = [
            self._address("book"), self._address("x"), np.int32(x), self._address("t"),
            np.int32(t), self._address("w"), self._address("numbers"),
            np.int32(self._memory.arrays["numbers"].size), self._address("step"), np.int32(rows),
        ]  # fmt: skip
        return self.kernel("stage", (min(-(-rows // 8), 1056), 1), 256, arguments)

    def _judge(self, call: Guard) -> Enqueue:
        memory = self._memory
        arguments = [
            self._address("book"), np.int64(memory.pointer(call.truth)),
            np.int64(memory.apart(call.truth.memory)), self._address("loss"),
            np.int64(memory.apart("loss")), self._address("going"), self._address("sound"),
            self._address("bad"), self._address("scale"),
            np.int64(memory.apart("scale") if "scale" in memory.arrays else 0),
            np.int32(self._many),
        ]  # fmt: skip
        return self.kernel("judge", (1, 1), 256, arguments)

    def _totals(self, kind: str, calls: Sequence[Total]) -> Enqueue:
        memory, block = self._memory, 0
        table: list[list[int]] = []
        for call in calls:
            size, wide = call.out.size, 1
            while wide < min(32, size):
                wide *= 2
            table.append([
                memory.pointer(call.out), memory.pointer(call.parts),
                memory.apart(call.out.memory), memory.apart(call.parts.memory),
                call.parts.rows, call.parts.cols, size, _OPS[call.op], block,
            ])  # fmt: skip
            block += -(-size // wide)
        held = self._cupy.asarray(np.asarray(table, np.int64))
        self._held.append(held)
        arguments = [np.int64(held.data.ptr), np.int32(len(table))]
        return self.kernel(f"totals_{kind}", (block, self._many), 256, arguments)

    def _gather(self, call: Gather) -> Enqueue:
        arguments = [
            *self._two(call.out), *self._two(call.table), *self._two(call.index),
            np.int32(call.out.rows), np.int32(call.out.cols),
        ]  # fmt: skip
        blocks = min(-(-call.out.size // 256), 4224)
        return self.kernel("gather", (blocks, self._many), 256, arguments)

    def _scatter(self, call: Scatter) -> Enqueue:
        arguments = [
            *self._two(call.out), *self._two(call.index), *self._two(call.rows),
            np.int32(call.out.rows), np.int32(call.index.size), np.int32(call.out.cols),
        ]  # fmt: skip
        return self.kernel("scatter", (-(-call.out.rows // 8), self._many), 256, arguments)

    def _two(self, buffer: Buffer) -> tuple[Any, Any]:
        """Where a buffer begins, and how far those of members are apart."""
        return np.int64(self._memory.pointer(buffer)), np.int64(self._memory.apart(buffer.memory))

    def _address(self, name: str) -> Any:
        array = self._memory.arrays.get(name)
        return np.int64(0 if array is None else array.data.ptr)
