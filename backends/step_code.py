"""Write a program as a module whose `run` does its steps.

What a call works on is data and not code: entries of a table, which are the begin of a memory and
an offset, or a number. Each thread has its own table, so that the code knows neither where arrays
lie nor who does which part, and equal layers have equal functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
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

from . import loop_code
from .barrier_code import barrier, ticket
from .kernel_code import kernel, real
from .native_code import Code, Number, ir

MOVING = ("x", "t", "w", "numbers", "key", "step")
"""Memories that are others in each step, by number; after them come `loss` and the others."""

WORK = "work"
"""The memory that products take beside their matrices, of each thread its own."""

BOOK = "book"
"""Memory for the ticks of the processor that each call took, of each thread its own: int64, first
when the last one ended, then one for what lies between steps and one for each call."""

FIELDS = (
    "meeting", "rows", "x", "t", "w", "x_bytes", "t_bytes", "w_bytes", "order", "stage_x",
    "stage_t", "stage_w", "start", "count", "step", "numbers", "numbers_bytes", "keys", "going",
    "stop_at_once", "losses", "bad", "begins", "strides", "bases", "which", "offsets", "moving",
    "tables",
)  # fmt: skip
"""What `run` takes, as int64 in a row: numbers, and where arrays begin.

Rows of the data have `x_bytes` and so on, the numbers of a step and member `numbers_bytes`; see
`gpubp.backends.compiled` for the arrays.
"""

SMALL = 4096
"""Multiplications in a product, up to which it is a loop of its own."""

_ITEM = {"U": 4, "I": 8, "bool": 1, DOUBLE: 8}


class Module:
    """The code of a program, and the tables of its threads.

    `members` are those of an ensemble, 0 for one network; `threads` share the rows of a step, or
    the members; a vector of the kernels has so many `lanes`. `memories` are the names of all
    memories, by number; an entry of a table is the begin of memory `which`, or 0 where that is -1,
    plus an offset. `sizes` are those `(m, n, k)` of all products. A `timed` one keeps a `BOOK`.
    """

    def __init__(
        self, program: Program, members: int, threads: int, lanes: int, timed: bool = False
    ) -> None:
        self._program, self._members, self._threads = program, members, threads
        self._lanes, self._item = lanes, np.dtype(program.precision).itemsize
        self.memories: dict[str, int] = {name: i for i, name in enumerate((*MOVING, "loss"))}
        self.sizes: set[tuple[int, int, int]] = set()
        self._which: list[list[int]] = [[] for _ in range(threads)]
        self._offsets: list[list[int]] = [[] for _ in range(threads)]
        self._book = 0 if timed else None
        if timed:
            self.memories[BOOK] = len(self.memories)
            self._enter(self.memories[BOOK], [0] * threads)
        self._placed = self._entries(program.calls)

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
        return np.nonzero(found)[1].reshape(self._threads, -1).copy()

    def key(self, shuffled: bool) -> str:
        """What the code is a function of, which is quicker to say than the code itself."""
        given = self._program, self._members, self._threads, self._lanes, self._book, SMALL
        return f"step {given} {shuffled}"

    def text(self, shuffled: bool) -> str:
        """Return the module, for batches in an order of their own or as the data lie."""
        return str(_Text(self, shuffled).module)

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

    def _part(self, number: int, shared: bool) -> tuple[list[int], list[int]]:
        """Where each thread's part of so many begins, and how many they are."""
        if not shared:
            return [0] * self._threads, [number] * self._threads
        begins = self._begins(number)
        return begins[:-1], [b - a for a, b in pairwise(begins)]

    def _place(self, buffer: Buffer, further: Iterable[int] | None = None) -> None:
        """A part of memory, so many elements further on for each thread."""
        memory = self.memories.setdefault(buffer.memory, len(self.memories))
        item = _ITEM.get(buffer.kind) or self._item
        more = [0] * self._threads if further is None else list(further)
        if buffer.stride and self._shares():
            more = [m + t * buffer.stride for t, m in enumerate(more)]
        self._enter(memory, [(buffer.start + m) * item for m in more])

    def _entries(self, calls: Sequence[Call]) -> list[tuple[Call, int]]:
        """Enter what each call works on; each call with the first of its entries."""
        placed = []
        for call in calls:
            placed.append((call, len(self._which[0])))
            if isinstance(call, Launch):
                self._of_launch(call)
            elif isinstance(call, Product):
                self._of_product(call)
            elif isinstance(call, Guard):
                self._place(call.truth)
            elif isinstance(call, Total):
                self._place(call.out)
                self._place(call.parts)
                begins, lengths = self._part(call.out.size, bool(call.shared))
                self._enter(-1, begins)
                self._enter(-1, [b + n for b, n in zip(begins, lengths, strict=True)])
            elif isinstance(call, Gather | Scatter):
                for buffer in _of_rows(call):
                    self._place(buffer)
            elif isinstance(call, Opaque):
                raise ValueError("a layer that is not compiled; see gpubp.backends.segmented")
        return placed

    def _of_launch(self, call: Launch) -> None:
        k, shared = call.kernel, call.shared
        begins, lengths = self._part((k.rows if shared == "rows" else k.cols) or 0, bool(shared))
        for formal, buffer in zip(k.formals, call.arrays, strict=True):
            own = formal.index in (CELL, COLUMN) if shared == "rows" else formal.cols == k.cols
            if shared and own and not buffer.stride:
                width = buffer.cols if formal.index == CELL else 1
                self._place(buffer, [b * width for b in begins])
            else:
                self._place(buffer)
        if shared:
            self._enter(-1, begins)
            self._enter(-1, lengths)

    def _of_product(self, call: Product) -> None:
        """m, n, k, then each matrix and the length of its rows: op(a) op(b), the result; work."""
        m, n, k = call.out.rows, call.out.cols, call.inner
        if is_small(call):
            for buffer in (call.out, call.a, call.b):
                self._place(buffer)
            return
        (ta, tb), shared = call.transposed, call.shared
        self.sizes.add((m, n, k))
        lda, ldb = (m if ta else k), (k if tb else n)
        rows, heights = self._part(m, shared == "rows")
        cols, widths = self._part(n, shared == "cols")
        terms, lengths = self._part(k, shared == "inner")
        for each in (heights, widths, lengths):
            self._enter(-1, each)
        by_row, by_term = (1, lda) if ta else (lda, 1)
        self._place(call.a, [r * by_row + p * by_term for r, p in zip(rows, terms, strict=True)])
        self._number(lda)
        by_col, by_term = (ldb, 1) if tb else (1, ldb)
        self._place(call.b, [c * by_col + p * by_term for c, p in zip(cols, terms, strict=True)])
        self._number(ldb)
        self._place(call.out, [r * n + c for r, c in zip(rows, cols, strict=True)])
        self._number(n)
        memory = self.memories.setdefault(WORK, len(self.memories))
        self._enter(memory, [0] * self._threads)


def is_small(call: Product) -> bool:
    """Whether a product is a loop of its own."""
    return call.out.size * call.inner <= SMALL and not call.shared


def _of_rows(call: Gather | Scatter) -> tuple[Buffer, Buffer, Buffer]:
    if isinstance(call, Gather):
        return call.out, call.table, call.index
    return call.out, call.index, call.rows


def own_of_thread(memory: str) -> bool:
    """Whether each thread that has a step to itself has that memory to itself.

    >>> own_of_thread("arena:T"), own_of_thread("theta")
    (True, False)
    """
    return memory.startswith((f"{ARENA}:", "new:")) or memory in ("loss", WORK, BOOK)


class Calls:
    """The functions of calls, equal ones once, in a module of LLVM's."""

    def __init__(self, program: Program, threads: int, lanes: int) -> None:
        self.module = ir.Module()
        self._program, self._threads, self._lanes = program, threads, lanes
        self._functions: dict[Any, Any] = {}
        self._barrier: Any = None

    def write(self, code: Code, call: Call, table: Number, at: int) -> None:
        """Write one call, of which the entries begin at `at`."""
        if isinstance(call, Launch):
            code.call(self._launch(call), table, at)
        elif isinstance(call, Product):
            self._product(code, call, table, at)
        else:
            self._other(code, call, [code.word(table + (at + i) * 8) for i in range(4)])

    def _once(self, key: Any, made: Any) -> Any:
        if key not in self._functions:
            self._functions[key] = made()
        return self._functions[key]

    def _named(self, label: str) -> str:
        word = "_".join(re.findall(r"\w+", label)[:4])[:32]
        return f"f{len(self._functions)}_{word}"

    def _launch(self, call: Launch) -> Any:
        k = call.kernel
        return self._once(
            (k, call.shared),
            lambda: kernel(self.module, k, self._named(k.label), self._program.precision,
                           self._lanes, call.shared),
        )  # fmt: skip

    def _product(self, code: Code, call: Product, table: Number, at: int) -> None:
        precision = self._program.precision
        if is_small(call):
            shape = call.out.rows, call.out.cols, call.inner, call.transposed
            code.call(
                self._once(("product", shape), lambda: loop_code.small_product(
                    self.module, call, self._named("product"), precision, self._lanes)),
                table, at,
            )  # fmt: skip
            return
        entries = [code.word(table + (at + i) * 8) for i in range(10)]
        function = code.outer(f"gpubp_product_{precision}", 12)
        code.call(function, *map(int, call.transposed), *entries)

    def _other(self, code: Code, call: Call, given: list[Number]) -> None:
        precision, lanes = self._program.precision, self._lanes
        item = np.dtype(precision).itemsize
        if isinstance(call, Total):
            function = self._once(("total", call.op), lambda: loop_code.total(
                self.module, precision, lanes, call.op))  # fmt: skip
            code.call(function, *given, call.parts.rows, call.parts.cols)
        elif isinstance(call, Gather):
            function = self._once("gather", lambda: loop_code.gather(self.module))
            code.call(function, *given[:3], call.index.size, call.out.cols * item)
        else:
            assert isinstance(call, Scatter)
            function = self._once("scatter", lambda: loop_code.scatter(
                self.module, precision, lanes))  # fmt: skip
            n, cols = call.out.rows, call.out.cols
            code.call(function, *given[:3], n, call.index.size, cols)

    def barrier(self) -> Any:
        return self._once("barrier", lambda: barrier(self.module))


def written(
    code: Code, calls: Calls, placed: Iterable[tuple[Call, int]], threads: int,
    book: int | None = None,
) -> Any:  # fmt: skip
    """Write calls, each with the first of its entries, as a function `(thread, meeting, table)`.

    It gives 1, 0 where the step was not finite, 2 where a thread of those that share it failed.
    `book` is the entry of a `BOOK`, if ticks are to be counted.
    """
    thread, meeting, table = code.given
    sound = code.number(1)
    if book is not None:
        _stamp(code, code.word(table + book * 8), 1)
    for number, (call, at) in enumerate(placed):
        if isinstance(call, Guard):
            truth = code.load(code.word(table + at * 8), ir.IntType(8), 1)
            with code.when(code.builder.icmp_unsigned("==", truth, ir.IntType(8)(0))):
                code.end(0)
        elif isinstance(call, Barrier):
            sound = code.call(calls.barrier(), meeting, threads)
        else:
            alone = threads > 1 and not getattr(call, "shared", "")
            with code.when(thread.is_zero) if alone else nullcontext():
                calls.write(code, call, table, at)
        if book is not None:
            _stamp(code, code.word(table + book * 8), 2 + number)
    # where a thread failed nobody waits any more, and all of it is void
    code.end(code.either(sound.is_zero, 2, 1))
    return code.function


def _stamp(code: Code, book: Number, number: int) -> None:
    """Add the ticks since the last stamp to an entry of the book."""
    now = Number(code, code.intrinsic("llvm.readcyclecounter", ir.IntType(64)))
    code.store(book + number * 8, code.word(book + number * 8) + now - code.word(book))
    code.store(book, now)


class _Text:
    """The module of LLVM's code: the calls of a step in their order, and the loop over steps."""

    def __init__(self, of: Module, shuffled: bool) -> None:
        self._of, self._shuffled = of, shuffled
        self._threads, self._members = of._threads, of._members
        self._calls = Calls(of._program, of._threads, of._lanes)
        self.module = self._calls.module
        code = Code(self.module, "one_step", 3, internal=True, gives=True)
        self._step = written(code, self._calls, of._placed, of._program.threads, of._book)
        self._run()

    def _run(self) -> None:
        of, several = self._of, self._members > 0
        code = Code(self.module, "run", 2)
        thread, given = code.given
        self._given = {name: code.word(given + i * 8) for i, name in enumerate(FIELDS)}
        memories, entries, moving = len(of.memories), of.which.shape[1], of.moving.shape[1]
        self._begin, self._base, self._which, self._offset, self._table, self._moving = (
            self._given[name] + thread * (length * 8)
            for name, length in (
                ("begins", memories), ("bases", memories), ("which", entries),
                ("offsets", entries), ("tables", entries), ("moving", moving),
            )
        )  # fmt: skip
        place = code.builder.alloca(ir.IntType(32))
        self._word = Number(code, code.builder.ptrtoint(place, ir.IntType(64)))
        if not several:
            self._fill_bases(code, code.number(0))
            self._fill(code, range_of=entries)
        with code.loop(0, self._given["count"]) as i:
            step = self._given["step"] + i
            code.builder.store(code.builder.trunc(step.value, ir.IntType(32)), place)
            self._batch(code, thread, i)
            if several:
                self._members_of(code, thread, i)
                self._settle(code, i)
            else:
                self._member(code, thread, i, code.number(0))
        code.end()

    def _members_of(self, code: Code, thread: Number, i: Number) -> None:
        """Do one member after the other that no other thread has begun with.

        In each step every thread draws one number too many, which tells it that none is left.
        """
        given = self._given
        with code.forever() as leave:
            k = ticket(code, given["meeting"]) - i * (self._members + self._threads)
            leave(code.builder.not_(k < self._members))
            going = code.load(given["going"] + k, ir.IntType(8), 1)
            going = code.builder.icmp_unsigned("!=", going, ir.IntType(8)(0))
            sound = code.word(given["bad"] + k * 8).is_zero
            with code.when(code.builder.and_(going, sound)):
                self._member(code, thread, i, k)

    def _member(self, code: Code, thread: Number, i: Number, k: Number) -> None:
        """A step of one member."""
        of, given, base = self._of, self._given, self._base
        number = i * max(1, self._members) + k
        code.store(base + 3 * 8, given["numbers"] + number * given["numbers_bytes"])
        code.store(base + 4 * 8, given["keys"] + k * 4)
        code.store(base + 5 * 8, self._word)
        if self._members:
            self._fill_bases(code, k)
            self._fill(code, range_of=of.which.shape[1])
        else:  # all but what moves stays where it is
            with code.loop(0, of.moving.shape[1]) as p:
                self._fill_entry(code, code.word(self._moving + p * 8))
        sound = code.call(self._step, thread, given["meeting"], self._table)
        with code.when(sound > 1):
            code.end()
        first = code.when(thread.is_zero) if of._shares() else nullcontext()
        with first:
            loss = code.load(code.word(base + 6 * 8), real(of._program.precision), 4)
            if of._item == 4:
                loss = code.builder.fpext(loss, ir.DoubleType())
            code.store(given["losses"] + number * 8, loss)
        with code.when(sound.is_zero):
            with code.when(thread.is_zero) if of._shares() else nullcontext():
                code.store(given["bad"] + k * 8, i + 1)
            if not self._members:
                code.end()

    def _settle(self, code: Code, i: Number) -> None:
        """Wait for the others; end where a step was not finite and all are to stop."""
        given = self._given
        if self._threads > 1:
            met = code.call(self._calls.barrier(), given["meeting"], self._threads)
            with code.when(met.is_zero):
                code.end()
        with code.when(given["stop_at_once"] > 0), code.loop(0, self._members) as k:
            met = code.word(given["bad"] + k * 8) - (i + 1)
            with code.when(met.is_zero):
                code.end()

    def _batch(self, code: Code, thread: Number, i: Number) -> None:
        """Where the batch of a step lies: in the data, or gathered in a new order."""
        of, given, rows = self._of, self._given, self._given["rows"]
        first = (given["start"] + i) * rows
        if not self._shuffled:
            for number, name in enumerate(("x", "t", "w")):
                code.store(self._base + number * 8, given[name] + first * given[f"{name}_bytes"])
            return
        low, high = code.number(0), rows
        if of._shares():
            low, high = ((thread + d) * rows // self._threads for d in (0, 1))
        take = self._calls._once("take", lambda: loop_code.take(self.module))
        for number, name in enumerate(("x", "t", "w")):
            length, stage = given[f"{name}_bytes"], given[f"stage_{name}"]
            if self._members:  # of each thread its own
                stage = stage + thread * _aligned(rows * length)
            with code.when(given[name] > 0) if name == "w" else nullcontext():
                code.call(take, given[name], given["order"], first, low, high, length, stage)
                code.store(self._base + number * 8, stage)
        if of._shares():
            met = code.call(self._calls.barrier(), given["meeting"], self._threads)
            with code.when(met.is_zero):
                code.end()

    def _fill_bases(self, code: Code, k: Number) -> None:
        """Where all memories of member k begin that do not move."""
        with code.loop(len(MOVING), len(self._of.memories)) as m:
            begin = code.word(self._begin + m * 8)
            stride = code.word(self._given["strides"] + m * 8)
            code.store(self._base + m * 8, begin + k * stride)

    def _fill(self, code: Code, range_of: int) -> None:
        with code.loop(0, range_of) as e:
            self._fill_entry(code, e)

    def _fill_entry(self, code: Code, e: Number) -> None:
        """Entry e: a number, or the begin of a memory and an offset."""
        which, offset = code.word(self._which + e * 8), code.word(self._offset + e * 8)
        known = code.either(which < 0, 0, which)
        begin = code.either(which < 0, 0, code.word(self._base + known * 8))
        code.store(self._table + e * 8, begin + offset)


def _aligned(length: Number) -> Number:
    """The bytes from one thread's stage to the next: see `gpubp.backends.memories.aligned`."""
    return (length + 63) // 64 * 64
