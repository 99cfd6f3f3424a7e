"""A program done by NumPy, call by call: what it means, and what threads may do to each other.

It lies between the plain path and compiled code: the same calls over the same memories, but each
kernel for all rows at once. Threads are no threads here. Between two barriers they work one after
the other, in an order that is given, so that where a barrier is missing one of the orders gives
other numbers, or those that memory was filled with before the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .calls import (
    ARENA,
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
)
from .rows import JOINS, Rows, dtype_of

_POISON = {"T": np.nan, "H": np.nan, "U": 0xDEADBEEF, "I": -(2**62), "bool": True}
"""What the arena holds before a step, by kind."""


class Replay:
    """The steps of a program over named memories, which are written in place.

    `memories` are those of one member, flat: parameters, gradients, slots, running state and
    constants. The order of threads is `order`, the same behind every barrier. A layer that is not
    compiled is done by `passes`, such as `gpubp.passages` has, whose step began.

    >>> from gpubp.program.recorder import Recorder
    >>> recorder = Recorder()
    >>> w = recorder.memory("theta", 3)
    >>> recorder.write(w.region, w * 0.5 + 1.0)
    >>> from gpubp.program.program import build
    >>> theta = np.asarray([0.0, 2.0, 4.0])
    >>> Replay(build(recorder.phases, "float64"), {"theta": theta}).step({})
    True
    >>> theta.tolist()
    [1.0, 2.0, 3.0]
    """

    def __init__(
        self, program: Program, memories: Mapping[str, Any], order: Sequence[int] | None = None,
        passes: Any = None,
    ) -> None:  # fmt: skip
        if passes is None and any(isinstance(call, Opaque) for call in program.calls):
            raise ValueError("a program with layers that are not compiled needs their `passes`")
        self._program, self._passes = program, passes
        self._order = list(range(program.threads)) if order is None else list(order)
        self._memories = dict(memories)
        self._dtype = np.dtype(program.precision)
        for name, size in program.own.items():
            self._memories[name] = np.zeros(size, self._dtype)
        for kind, size in program.arena.items():
            self._memories[f"{ARENA}:{kind}"] = np.zeros(size, dtype_of(kind, self._dtype))

    def memory(self, name: str) -> Any:
        """The memory of that name: `"loss"` holds the loss of the last step."""
        return self._memories[name]

    def step(self, moving: Mapping[str, Any]) -> bool:
        """Do one step with the batch and the numbers that come with it; whether it was finite.

        `moving` are the memories `x`, `t`, `w`, `numbers`, `key` and `step`, as far as the program
        reads them. Raises `RuntimeError` where threads do not agree how the step ends, which would
        leave some of them waiting.
        """
        for name, array in moving.items():
            self._memories[name] = np.asarray(array).reshape(-1)
        for kind in self._program.arena:
            self._memories[f"{ARENA}:{kind}"][...] = _POISON[kind]
        with np.errstate(all="ignore"):
            return self._together()

    def _together(self) -> bool:
        """Let the threads work in turn, each as far as the next barrier."""
        working = {t: self._thread(t) for t in self._order}
        while True:
            met = {t: next(calls) for t, calls in working.items()}
            if len(set(met.values())) > 1:
                raise RuntimeError(f"threads do not meet: {met}")
            (how,) = set(met.values())
            if how != "barrier":
                return how == "end"

    def _thread(self, thread: int) -> Iterator[str]:
        """Work to the next barrier, and say there what for: `"barrier"`, `"end"`, `"refused"`."""
        for call in self._program.calls:
            if isinstance(call, Barrier):
                yield "barrier"
            elif isinstance(call, Guard):
                if not self._view(call.truth)[0]:
                    yield "refused"
            else:
                self._do(call, thread)
        yield "end"

    def _do(self, call: Call, thread: int) -> None:
        shared = getattr(call, "shared", "")
        if not shared and thread:
            return  # it is done by the first thread alone
        if isinstance(call, Launch):
            self._launch(call, thread)
        elif isinstance(call, Product):
            self._product(call, thread)
        elif isinstance(call, Opaque):
            given = self._view(call.given).reshape(-1, *call.taken)
            found = self._passes.do(call.passage, call.way, given)
            self._passes.settle()
            if call.made is not None:
                out = self._view(call.out).reshape(-1, *call.made)
                out[...] = found
        elif isinstance(call, Gather):
            out, table = self._matrix(call.out), self._matrix(call.table)
            out[...] = table[_rows(self._view(call.index), len(table))]
        elif isinstance(call, Scatter):
            out, rows = self._matrix(call.out), self._view(call.rows)
            out[...] = 0
            np.add.at(out, _rows(self._view(call.index), len(out)), rows.reshape(-1, out.shape[1]))
        else:
            assert not isinstance(call, Guard | Barrier)
            own = self._part(call.out.size, thread) if shared else slice(0, call.out.size)
            parts = self._matrix(call.parts)[:, own]
            self._view(call.out)[own] = JOINS[call.op].reduce(parts, axis=0)

    # -- where things lie ----------------------------------------------------------------------

    def _view(self, buffer: Buffer, thread: int = 0) -> Any:
        """The numbers of a buffer, of its copy for a thread where each has one."""
        start = buffer.start + thread * buffer.stride
        memory = self._memories[buffer.memory]
        if start + buffer.size > memory.size:
            raise IndexError(f"{buffer} reaches beyond {memory.size} elements")
        return memory[start : start + buffer.size]

    def _matrix(self, buffer: Buffer) -> Any:
        return self._view(buffer).reshape(buffer.rows, buffer.cols)

    def _part(self, number: int, thread: int) -> slice:
        """What one thread does of so many rows or columns."""
        threads = self._program.threads
        return slice(thread * number // threads, (thread + 1) * number // threads)

    # -- calls ---------------------------------------------------------------------------------

    def _launch(self, call: Launch, thread: int) -> None:
        kernel, shared = call.kernel, call.shared
        part = slice(0, kernel.rows or kernel.cols)
        if shared:
            part = self._part((kernel.rows if shared == "rows" else kernel.cols) or 0, thread)
        views = [self._view(b, thread if shared else 0) for b in call.arrays]
        Rows(kernel, views, self._dtype, part, shared == "cols", self._program.half).run()

    def _product(self, call: Product, thread: int) -> None:
        m, n, k = call.out.rows, call.out.cols, call.inner
        a = self._view(call.a).reshape((k, m) if call.transposed[0] else (m, k))
        b = self._view(call.b).reshape((n, k) if call.transposed[1] else (k, n))
        a, b = (x.T if t else x for x, t in zip((a, b), call.transposed, strict=True))
        if call.shared == "inner":
            inner = self._part(k, thread)
            self._view(call.out, thread).reshape(m, n)[...] = a[:, inner] @ b[inner]
            return
        rows = self._part(m, thread) if call.shared == "rows" else slice(0, m)
        cols = self._part(n, thread) if call.shared == "cols" else slice(0, n)
        self._matrix(call.out)[rows, cols] = a[rows] @ b[:, cols]


def _rows(index: Any, n: int) -> Any:
    if index.size and (index.min() < 0 or index.max() >= n):
        raise IndexError(f"an index from {index.min()} to {index.max()} into {n} rows")
    return index
