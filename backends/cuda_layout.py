"""How the threads of a GPU go over the rows and columns of a kernel.

A row has a group of threads: some lanes of a warp where it is short, a warp up to 1,024 columns, a
whole block beyond, or where a thread would keep more than has room in registers. A thread takes
`pack` columns side by side, 16 bytes where they divide by it, and comes again `lanes * pack`
columns further on. What is kept of a row, and sums over rows, are in registers; of rows that are
too long for that they are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpubp.program.calls import Launch
from gpubp.program.emit import Emit
from gpubp.program.kernels import Begin, Clear, Line, Loop
from gpubp.program.plan import Step, crosses
from gpubp.program.values import Value

WARP = 32
MOST_BLOCKS = 528
"""Blocks of a kernel with sums over rows, each with parts of its own: four for each of 132."""

_THREADS, _MANY_THREADS = 256, 512
_SMALL = 1 << 14
"""Elements up to which one block sums over all rows, and no parts have to be added."""

_LANES = (1, 2, 4, 8, 16, WARP, 64, 128, 256, 512, 1024)
_FEWEST = WARP
"""Lanes of a row, below which each has no more than one turn."""

_LONGEST = 32
"""Elements of a row that a thread takes."""

_REGISTERS, _ALL_REGISTERS = 128, 1 << 16
"""Bytes of registers for what a thread keeps of rows, and what all of a block keep together."""


@dataclass(frozen=True)
class Layout:
    """`lanes` threads a row, `threads` a block; what is kept is in `registers` or in memory.

    `pack` is how many columns a thread takes at most side by side.
    """

    lanes: int
    threads: int
    blocks: int
    pack: int
    registers: bool = True

    @property
    def groups(self) -> int:
        """Rows that a block takes at a time."""
        return self.threads // self.lanes

    def packed(self, cols: int) -> int:
        """The columns that a thread takes side by side in a pass over so many.

        >>> Layout(32, 256, 1, 4).packed(128), Layout(32, 256, 1, 4).packed(10)
        (4, 1)
        """
        return self.pack if cols % self.pack == 0 else 1

    def turns(self, cols: int) -> int:
        """How often a thread comes again in a pass over so many columns."""
        return -(-cols // (self.lanes * self.packed(cols)))

    def whole(self, cols: int) -> bool:
        """Whether every thread has columns in every turn."""
        return cols % (self.lanes * self.packed(cols)) == 0


def pack_of(precision: str) -> int:
    """The numbers of a precision that a thread takes side by side.

    float64 goes one by one: two would be as fast, and spill around roots and divisions.

    >>> pack_of("float32"), pack_of("float64")
    (4, 1)
    """
    return 4 if precision == "float32" else 1


def of_rows(
    rows: int, widths: Sequence[int], kept: Sequence[int], summed: bool, precision: str
) -> Layout:
    """The layout of a kernel over rows whose passes have these widths.

    `kept` are the widths of what it keeps of a row and of its sums over rows; `summed` is whether
    there are such sums.
    """
    pack, longest = pack_of(precision), max(widths, default=1)
    item = int(np.dtype(precision).itemsize)
    for lanes in _LANES:
        found = Layout(lanes, max(lanes, WARP), 1, pack)
        held = sum(found.turns(c) * found.packed(c) for c in kept) * item
        taken = found.turns(longest) * found.packed(longest)
        few = lanes < _FEWEST and found.turns(longest) > 1
        most = min(_REGISTERS, _ALL_REGISTERS // max(lanes, WARP))
        if not few and taken <= _LONGEST and held <= most:
            return _blocks(lanes, rows, longest, pack, summed)
    return Layout(_THREADS, _THREADS, min(rows, MOST_BLOCKS), pack, registers=False)


def _blocks(lanes: int, rows: int, longest: int, pack: int, summed: bool) -> Layout:
    if lanes > WARP:
        return Layout(lanes, lanes, min(rows, MOST_BLOCKS) if summed else rows, pack)
    wanted = -(-rows * lanes // WARP) * WARP
    if summed and rows * longest <= _SMALL:
        return Layout(lanes, min(wanted, _MANY_THREADS), 1, pack)
    threads = min(wanted, _THREADS)
    blocks = -(-rows // (threads // lanes))
    return Layout(lanes, threads, min(blocks, MOST_BLOCKS) if summed else blocks, pack)


def of_flat(cols: int, passes: int, summed: bool, precision: str) -> Layout:
    """The layout of a kernel over a flat array: all threads of all blocks go over it together.

    Where a later pass reads what an earlier one wrote there is one block.
    """
    pack = pack_of(precision)
    if passes > 1 or (summed and cols <= _SMALL):
        threads = min(_MANY_THREADS, -(-cols // (WARP * pack)) * WARP)
        return Layout(threads, threads, 1, pack)
    each = _THREADS * pack * (4 if summed else 1)
    blocks = -(-cols // each)
    return Layout(_THREADS, _THREADS, min(blocks, MOST_BLOCKS) if summed else blocks, pack)


def of_launch(launch: Launch, precision: str) -> Layout:
    """The layout of a kernel, from its lines."""
    k = launch.kernel
    if k.rows is None:
        if k.cols is None:
            return Layout(WARP, WARP, 1, 1)
        passes = sum(isinstance(line, Loop) for line in k.body)
        return of_flat(k.cols, passes, any(isinstance(x, Begin) for x in k.before), precision)
    widths = [x.cols for x in (*k.before, *k.body) if isinstance(x, Loop)]
    sums = [x.cols for x in k.before if isinstance(x, Clear)]
    scratch = [launch.arrays[n].cols for n in scratch_of(launch)]
    summed = bool(sums) or any(isinstance(x, Begin) for x in k.before)
    return of_rows(k.rows, widths, [*sums, *scratch], summed, precision)


def scratch_of(launch: Launch) -> list[int]:
    """Which arrays of a kernel are memory for one row of its own."""
    summed = _cleared(launch.kernel.before)
    own = [n for n, buffer in enumerate(launch.arrays) if buffer.stride]
    totals = [n for n in own if launch.kernel.formals[n].index == "one"]
    return [n for n in own if n not in summed and n not in totals]


def _cleared(lines: Iterable[Line]) -> set[int]:
    return {line.array for line in lines if isinstance(line, Clear)}


class Blocks:
    """How the blocks of a GPU share a step; see `gpubp.program.sharing`."""

    threads = 1

    def __init__(self, precision: str) -> None:
        self._precision = precision

    def kernel(self, step: Step, emit: Emit) -> tuple[str, int]:
        found = self._layout(step, emit)
        if found.blocks == 1 or not _own(step, emit, found):
            return "", 1
        return ("cols" if step.rows is None else "rows"), found.blocks

    def _layout(self, step: Step, emit: Emit) -> Layout:
        summed = [v for v in step.outs if crosses(v)]
        before, body, _ = emit.lines()
        widths = [x.cols for x in (*before, *body) if isinstance(x, Loop)]
        if step.rows is None:
            if step.cols is None:
                return Layout(WARP, WARP, 1, 1)
            passes = sum(isinstance(line, Loop) for line in body)
            return of_flat(step.cols, passes, bool(summed), self._precision)
        kept = [s.value.cols or 1 for s in emit.scratch]
        kept += [v.cols or 1 for v in summed if v.sort != "one"]
        return of_rows(step.rows, widths, kept, bool(summed), self._precision)

    def product(self, value: Value) -> str:
        return ""

    def total(self, value: Value) -> str:
        return ""


def _own(step: Step, emit: Any, layout: Layout) -> bool:
    """Whether blocks have something of their own: parts of sums, or rows in memory."""
    return any(map(crosses, step.outs)) or (not layout.registers and bool(emit.scratch))
