"""Print a program as a module whose `run` does its steps.

What a call works on is data and not text: entries of a table, which are the begin of a memory and
an offset, or a number. Each thread has its own table, so that the text knows neither where arrays
lie nor who does which part, and equal layers have equal functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from gpubp.program.calls import (
    ARENA,
    DOUBLE,
    Barrier,
    Buffer,
    Call,
    Gather,
    Guard,
    Launch,
    Opaque,
    Product,
    Program,
    Scatter,
    Total,
)  # fmt: skip
from gpubp.program.kernels import CELL, COLUMN

from .numba_text import SMALL, kernel, small_product

MOVING = ("x", "t", "w", "numbers", "key", "step")
"""Memories that are others in each step, by number; after them come `loss` and the others."""

ARGUMENTS = (
    "thread", "meeting", "rows", "x_data", "t_data", "w_data", "order", "stage_x", "stage_t",
    "stage_w", "start", "count", "step", "numbers", "keys", "going", "stop_at_once", "losses",
    "bad", "begins", "strides", "bases", "which", "offsets", "moving", "tables",
)  # fmt: skip
"""What `run` takes: see `gpubp.backends.compiled`."""

_ITEM = {"U": 4, "I": 8, "bool": 1, DOUBLE: 8}

_HEAD = '''"""{title}"""
import numpy as np
from gpubp.backends.numba_parts import (
    address, apart, barrier, cached, compiled, cos_{p}, erf_{p}, exp_{p}, expm1_{p}, flat_D,
    flat_I, flat_T_{p} as flat_T, flat_U, flat_bool, gather, lanes_I,
    lanes_T_{p} as lanes_T, lanes_U, lanes_bool, log1p_{p}, log_{p}, matrix_I,
    matrix_T_{p} as matrix_T, matrix_U, matrix_bool, product_{p} as product, scatter, take,
    tanh_{p}, total_max, total_min, total_sum,
)

I = np.int64  # numba would compile a function anew for each literal
T = np.{p}
LARGEST = T(np.finfo(np.{p}).max)
'''


class Module:
    """The text of a program, and the tables of its threads.

    `members` are those of an ensemble, 0 for one network; `threads` share the rows of a step, or
    the members. `memories` are the names of all memories, by number; an entry of a table is the
    begin of memory `which`, or 0 where that is -1, plus an offset.
    """

    def __init__(self, program: Program, members: int, threads: int) -> None:
        self._program, self._members, self._threads = program, members, threads
        self.memories: dict[str, int] = {name: i for i, name in enumerate((*MOVING, "loss"))}
        self._functions: dict[str, str] = {}
        self._which: list[list[int]] = [[] for _ in range(threads)]
        self._offsets: list[list[int]] = [[] for _ in range(threads)]
        self._calls = list(self._printed(program.calls))

    @property
    def which(self) -> Any:
        return np.asarray(self._which, np.int64).reshape(self._threads, -1)

    @property
    def offsets(self) -> Any:
        return np.asarray(self._offsets, np.int64).reshape(self._threads, -1)

    @property
    def moving(self) -> Any:
        """The entries that are others in each step, by thread; there are as many for each."""
        found = (self.which >= 0) & (self.which < len(MOVING))
        return np.nonzero(found)[1].reshape(self._threads, -1)

    def text(self, shuffled: bool, title: str) -> str:
        """Return the module, for batches in an order of their own or as the data lie."""
        functions = [
            "@compiled\n" + body.replace("KERNEL", name, 1)
            for body, name in self._functions.items()
        ]
        return "\n\n".join([
            _HEAD.format(title=title, p=self._program.precision),
            *functions,
            "@compiled\n" + "\n".join(self._step()),
            "@cached\n" + "\n".join(self._run(shuffled)),
        ]) + "\n"  # fmt: skip

    # -- entries -------------------------------------------------------------------------------

    def _shares(self) -> bool:
        """Whether threads share one step."""
        return self._program.threads > 1

    def _enter(self, memory: int, offsets: Iterable[int]) -> None:
        for thread, offset in enumerate(offsets):
            self._which[thread].append(memory)
            self._offsets[thread].append(offset)

    def _number(self, value: int) -> None:
        self._enter(-1, [value] * self._threads)

    def _begins(self, number: int) -> list[int]:
        """Where each thread's part of so many begins, and the end."""
        return [t * number // self._threads for t in range(self._threads + 1)]

    def _place(self, buffer: Buffer, further: Iterable[int] | None = None) -> None:
        """A part of memory, so many elements further on for each thread."""
        memory = self.memories.setdefault(buffer.memory, len(self.memories))
        item = _ITEM.get(buffer.kind) or np.dtype(self._program.precision).itemsize
        more = [0] * self._threads if further is None else list(further)
        if buffer.stride and self._shares():
            more = [m + t * buffer.stride for t, m in enumerate(more)]
        self._enter(memory, [(buffer.start + m) * item for m in more[: self._threads]])

    def _next(self) -> int:
        return len(self._which[0])

    # -- calls ---------------------------------------------------------------------------------

    def _function(self, text: str, name: str) -> str:
        """The name of a function, which equal text has met already or which is new."""
        if text not in self._functions:
            word = "_".join(re.findall(r"\w+", name)[:4])[:32]
            self._functions[text] = f"f{len(self._functions)}_{word}"
        return self._functions[text]

    def _printed(self, calls: Iterable[Call]) -> Iterable[str]:
        depth = ""
        for call in calls:
            at = self._next()
            if isinstance(call, Guard):
                self._place(call.truth)
                yield f"{depth}if flat_bool(table[{at}], 1)[0]:"
                depth += "    "
            elif isinstance(call, Barrier):
                yield f"{depth}sound = barrier(meeting, {self._threads})"
            else:
                alone = self._shares() and not getattr(call, "shared", "")
                once = "if thread == 0: " if alone else ""
                yield f"{depth}{once}{self._line(call, at)}"
        if self._shares():  # where a thread failed nobody waits any more, and all of it is void
            yield f"{depth}if not sound: return 2"
        yield f"{depth}return 1"
        if depth:
            yield "return 0"

    def _line(self, call: Call, at: int) -> str:
        if isinstance(call, Launch):
            return f"{self._launch(call)}(table, I({at}))"
        if isinstance(call, Product):
            return self._product(call, at)
        if isinstance(call, Opaque):
            raise ValueError("a layer that is not compiled; see gpubp.backends.segmented")
        if isinstance(call, Total):
            begins = self._begins(call.out.size) if call.shared else None
            self._place(call.out)
            self._place(call.parts)
            parts = f"matrix_{call.out.kind}(table[{at + 1}], {call.parts.rows}, {call.parts.cols})"
            out = f"flat_{call.out.kind}(table[{at}], {call.out.size})"
            for end in (begins[:-1], begins[1:]) if begins else ([0], [call.out.size]):
                self._enter(-1, end if begins else end * self._threads)
            return f"total_{call.op}({out}, {parts}, table[{at + 2}], table[{at + 3}])"
        assert isinstance(call, Gather | Scatter)
        given = [call.out, call.table, call.index] if isinstance(call, Gather) else [
            call.out, call.index, call.rows]  # fmt: skip
        arrays = []
        for i, buffer in enumerate(given):
            self._place(buffer)
            if buffer is call.index:
                arrays.append(f"flat_{buffer.kind}(table[{at + i}], {buffer.size})")
            else:
                shape = f"{buffer.rows}, {buffer.cols}"
                arrays.append(f"matrix_{buffer.kind}(table[{at + i}], {shape})")
        return f"{type(call).__name__.lower()}({', '.join(arrays)})"

    def _launch(self, call: Launch) -> str:
        k, shared = call.kernel, call.shared
        begins = self._begins((k.rows if shared == "rows" else k.cols) or 0)
        for formal, buffer in zip(k.formals, call.arrays, strict=True):
            own = formal.index in (CELL, COLUMN) if shared == "rows" else formal.cols == k.cols
            if shared and own and not buffer.stride:
                width = buffer.cols if formal.index == CELL else 1
                self._place(buffer, [b * width for b in begins])
            else:
                self._place(buffer)
        if shared:
            self._enter(-1, begins[:-1])
            self._enter(-1, [b - a for a, b in pairwise(begins)])
        threads = self._threads if shared else 1
        text = kernel(k, "KERNEL", self._program.precision, shared, threads)
        return self._function(text, k.label)

    def _product(self, call: Product, at: int) -> str:
        """m, n, k, then each matrix and the length of its rows: op(a) op(b) and the result."""
        m, n, k = call.out.rows, call.out.cols, call.inner
        (ta, tb), threads = call.transposed, self._threads
        if m * n * k <= SMALL and not call.shared:
            for buffer in (call.out, call.a, call.b):
                self._place(buffer)
            name = self._function(small_product(call, "KERNEL"), f"product_{call.label}")
            return f"{name}(table, I({at}))"
        lda, ldb = (m if ta else k), (k if tb else n)
        rows, cols = [0] * (threads + 1), [0] * (threads + 1)
        sizes = [m] * threads, [n] * threads
        if call.shared == "rows":
            rows = self._begins(m)
            sizes = [b - a for a, b in pairwise(rows)], sizes[1]
        elif call.shared == "cols":
            cols = self._begins(n)
            sizes = sizes[0], [b - a for a, b in pairwise(cols)]
        for size in sizes:
            self._enter(-1, size)
        inner = self._begins(k if call.shared == "inner" else 0)
        if call.shared == "inner":  # a and b lie by rows of the batch
            self._enter(-1, [b - a for a, b in pairwise(inner)])
            rows, cols = [i * lda for i in inner], [i * ldb for i in inner]
            self._place(call.a, rows)
            self._number(lda)
            self._place(call.b, cols)
            self._number(ldb)
            self._place(call.out)
            self._number(n)
            return f"product({ta}, {tb}, table, I({at}))"
        self._number(k)
        self._place(call.a, [r if ta else r * lda for r in rows])
        self._number(lda)
        self._place(call.b, [c * ldb if tb else c for c in cols])
        self._number(ldb)
        self._place(call.out, [r * n + c for r, c in zip(rows, cols, strict=True)])
        self._number(n)
        return f"product({ta}, {tb}, table, I({at}))"

    # -- the functions of a step, and of all steps ---------------------------------------------

    def _step(self) -> Iterable[str]:
        """One step of one member: 1, 0 where it was not finite, 2 where a thread failed."""
        yield "def one_step(thread, meeting, table):"
        yield "    apart()"
        yield from ("    " + line for line in self._calls)

    def _run(self, shuffled: bool) -> Iterable[str]:
        several = self._members > 0
        yield f"def run({', '.join(ARGUMENTS)}):"
        yield "    begin, base = begins[thread], bases[thread]"
        yield "    which_, offset, table = which[thread], offsets[thread], tables[thread]"
        yield "    moving_ = moving[thread]"
        yield "    word = np.empty(1, np.uint32)"
        if not several:
            yield from ("    " + line for line in ["k = 0", *_filled(len(MOVING))])
        yield "    for i in range(count):"
        yield "        word[0] = np.uint32(step + i)"
        yield from ("        " + line for line in self._batch(shuffled))
        own = "0, 1" if not several else (
            f"thread * {self._members} // {self._threads}, "
            f"(thread + 1) * {self._members} // {self._threads}")  # fmt: skip
        first = "if thread == 0: " if self._shares() else ""
        yield f"        for k in range({own}):"
        if several:
            yield "            if not going[k]: continue"
        yield "            base[3], base[4] = address(numbers[i, k]), address(keys[k : k + 1])"
        yield "            base[5] = address(word)"
        if several:
            yield from ("            " + line for line in _filled(0))
        else:  # all but what moves stays where it is
            yield "            for p in range(moving_.size):"
            yield "                e = moving_[p]"
            yield "                table[e] = base[which_[e]] + offset[e]"
        yield "            sound = one_step(thread, meeting, table)"
        yield "            if sound == 2: return"
        yield f"            {first}losses[i, k] = flat_T(base[6], 1)[0]"
        yield "            if sound == 0:"
        yield f"                {first}bad[k] = i + 1"
        if not several:
            yield "                return"
            return
        if self._threads > 1:
            yield f"        if not barrier(meeting, {self._threads}): return"
        yield "        if stop_at_once:"
        yield f"            for k in range({self._members}):"
        yield "                if bad[k] == i + 1: return"
        yield "        else:"
        yield f"            for k in range({own}):"
        yield "                if bad[k] > 0: going[k] = False"

    def _batch(self, shuffled: bool) -> Iterable[str]:
        """Where the batch of a step lies: in the data, or gathered in a new order."""
        if not shuffled:
            yield "p = (start + i) * rows"
            for number, m in enumerate(("x", "t", "w")):
                yield f"base[{number}] = address({m}_data[p : p + rows])"
            return
        low, high = "0", "rows"
        if self._shares():
            low, high = (f"(thread + {d}) * rows // {self._threads}" for d in (0, 1))
        row = "thread" if self._members else "0"
        weighted = "if w_data.size: "
        for number, m in enumerate(("x", "t", "w")):
            once = weighted if m == "w" else ""
            given = f"{m}_data, order, (start + i) * rows, {low}, {high}, stage_{m}[{row}]"
            yield f"{once}take({given})"
            yield f"base[{number}] = address(stage_{m}[{row}])"
        if self._shares():
            yield f"if not barrier(meeting, {self._threads}): return"


def _filled(first: int) -> list[str]:
    """Where all memories of member k begin, and the table's entries of those from `first` on."""
    return [
        f"for m in range({len(MOVING)}, base.size):",
        "    base[m] = begin[m] + k * strides[m]",
        "for e in range(table.size):",
        "    table[e] = offset[e]",
        f"    if which_[e] >= {first}: table[e] = base[which_[e]] + offset[e]",
    ]


def own_of_thread(memory: str) -> bool:
    """Whether each thread that has a step to itself has that memory to itself.

    >>> own_of_thread("arena:T"), own_of_thread("theta")
    (True, False)
    """
    return memory.startswith((f"{ARENA}:", "new:")) or memory == "loss"
