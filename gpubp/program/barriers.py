"""Where threads that share a step must wait for one another.

Each thread works on its part of the rows. It may go ahead as long as it touches only what is its
own: a barrier stands before a call that reads what another thread writes, or writes what another
one reads or writes, since the last barrier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .calls import Barrier, Buffer, Call, Gather, Guard, Launch, Product, Scatter, Total
from .kernels import CELL, COLUMN

ALL, FIRST = "all", "first"
"""Who touches a buffer: every thread all of it, or the first thread alone; else by parts."""


@dataclass(frozen=True)
class Access:
    """What a call does with a part of memory: `parts` is `"all"`, `"first"` or a geometry."""

    memory: str
    start: int
    stop: int
    parts: str | tuple[int, int]
    writes: bool

    def races(self, other: Access) -> bool:
        """Whether two threads may meet in this memory, at least one of them writing."""
        if self.memory != other.memory or not (self.writes or other.writes):
            return False
        if self.stop <= other.start or other.stop <= self.start:
            return False
        alike = self.parts == other.parts != ALL
        return not (alike and (self.parts == FIRST or self.start == other.start))


def with_barriers(calls: Iterable[Call], threads: int) -> Iterator[Call]:
    """The calls with barriers where threads would race; all meet at the end of the step."""
    since: list[Access] = []
    for call in calls:
        wanted = list(accesses(call, threads))
        if any(a.races(b) for a in wanted for b in since):
            yield Barrier()
            since = []
        since += wanted
        yield call
    yield Barrier()


def accesses(call: Call, threads: int) -> Iterator[Access]:
    """What a call reads and writes, and how it is divided among threads."""
    if isinstance(call, Launch):
        for formal, buffer, writes in zip(
            call.kernel.formals, call.arrays, call.writes, strict=True
        ):
            divided = call.shared == "cols" or formal.index in (CELL, COLUMN)
            if not call.shared:
                yield _access(buffer, FIRST, writes)
            elif buffer.stride:  # each thread has its own
                yield _own_part(buffer, threads)
            elif call.shared == "cols" and buffer.cols == call.kernel.cols:
                yield _access(buffer, (buffer.cols, 1), writes)
            elif call.shared == "rows" and divided:
                yield _access(buffer, (buffer.rows, buffer.cols), writes)
            else:
                yield _access(buffer, ALL, writes)
    elif isinstance(call, Product):
        yield from _of_product(call, threads)
    elif isinstance(call, Guard):
        yield _access(call.truth, ALL, False)
    elif isinstance(call, Gather):
        yield _access(call.out, FIRST, True)
        yield _access(call.table, FIRST, False)
        yield _access(call.index, FIRST, False)
    elif isinstance(call, Scatter):
        yield _access(call.out, FIRST, True)
        yield _access(call.index, FIRST, False)
        yield _access(call.rows, FIRST, False)
    elif isinstance(call, Total):
        yield _access(call.out, (call.out.size, 1) if call.shared else FIRST, True)
        yield _access(call.parts, ALL if call.shared else FIRST, False)


def _of_product(call: Product, threads: int) -> Iterator[Access]:
    if call.shared == "inner":
        yield _own_part(call.out, threads)
        for buffer in (call.a, call.b):
            yield _access(buffer, (buffer.rows, buffer.cols), False)
        return
    if not call.shared:
        for buffer in (call.a, call.b):
            yield _access(buffer, FIRST, False)
        yield _access(call.out, FIRST, True)
        return
    by_rows = call.shared == "rows"
    out = (call.out.rows, call.out.cols) if by_rows else (0, call.out.cols)
    yield _access(call.out, out, True)
    own_rows = by_rows and not call.transposed[0]
    yield _access(call.a, (call.a.rows, call.a.cols) if own_rows else ALL, False)
    yield _access(call.b, ALL, False)


def _own_part(buffer: Buffer, threads: int) -> Access:
    """Memory of which each thread has a copy, one after the other."""
    stop = buffer.start + buffer.stride * threads
    return Access(buffer.memory, buffer.start, stop, (-1, buffer.stride), True)


def _access(buffer: Buffer, parts: str | tuple[int, int], writes: bool) -> Access:
    return Access(buffer.memory, buffer.start, buffer.start + buffer.size, parts, writes)
