"""From the phases of a recorded step to its calls: who does what, and where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from .arena import ALIGN, Arena, Part
from .barriers import with_barriers
from .calls import (
    ARENA,
    DOUBLE,
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
from .emit import Emit
from .halves import halved
from .kernels import ROW, Clear, Formal, JoinAt, Kernel, Load, Loop, Scratch, Store, with_arrays
from .plan import Plan, Step, crosses
from .recorder import Phase
from .sharing import Sharing, Threads
from .values import Region, Value


def build(
    phases: Sequence[Phase], precision: str, threads: int = 1, sharing: Sharing | None = None,
    half: str = "",
) -> Program:  # fmt: skip
    """Return the calls of recorded phases, for so many threads that share one step.

    Another device than a processor says by `sharing` how its workers do. With `half` products are
    of 16-bit numbers, see `gpubp.program.halves`.
    """
    phases = halved(phases) if half else phases
    sharing = Threads(threads) if sharing is None else sharing
    calls: list[Call] = []
    arena: dict[str, int] = {}
    own: dict[str, int] = {}
    for phase in phases:
        builder = _Builder(phase, sharing)
        calls += builder.calls()
        for kind, size in builder.arena.size.items():
            arena[kind] = max(arena.get(kind, 0), size)
        for region in phase.sinks:
            if region.memory.startswith("new:") or region.memory == "loss":
                own[region.memory] = max(own.get(region.memory, 0), region.start + region.size)
    threads = sharing.threads
    if threads > 1 and any(isinstance(call, Opaque) for call in calls):
        raise ValueError(f"{threads} threads for a step with layers that are not compiled; give 1")
    ordered = tuple(with_barriers(calls, threads)) if threads > 1 else tuple(calls)
    return Program(ordered, arena, own, threads, precision, half)


class _Builder:
    """The calls of one phase."""

    def __init__(self, phase: Phase, sharing: Sharing) -> None:
        self._plan = plan = Plan(phase)
        self._sharing = sharing
        self._emits = {n: Emit(plan, n) for n, s in enumerate(plan.steps) if not s.call}
        kernels = {n: sharing.kernel(plan.steps[n], emit) for n, emit in self._emits.items()}
        self._shared = {n: shared for n, (shared, _) in kernels.items()}
        self._copies = {n: copies for n, (_, copies) in kernels.items()}
        products = {n: s.outs[0] for n, s in enumerate(plan.steps) if s.call}
        self._inner = {v for v in products.values() if sharing.product(v) == "inner"}
        self._copies |= {n: sharing.threads for n, v in products.items() if v in self._inner}
        self.arena = Arena(plan, self._emits, self._copies)

    # -- where things lie ----------------------------------------------------------------------

    def _buffer(self, value: Value) -> Buffer:
        rows, cols = value.rows or 1, value.cols or 1
        value = self.arena.origin(value)
        if value.op == "leaf" or value in self._plan.sinks:
            region: Region = value.attr if value.op == "leaf" else self._plan.sinks[value]
            kind = DOUBLE if region.memory == "numbers" else value.kind
            return Buffer(region.memory, region.start, rows, cols, kind)
        block = self.arena.block[value]
        return Buffer(f"{ARENA}:{value.kind}", block.start, rows, cols, value.kind)

    def _own(self, key: Scratch | Part) -> Buffer:
        block, value = self.arena.block[key], key.value
        rows, cols = (value.rows or 1) if value in self._inner else 1, value.cols or 1
        stride = -(-rows * cols // ALIGN) * ALIGN
        return Buffer(f"{ARENA}:{value.kind}", block.start, rows, cols, value.kind, stride)

    # -- the calls -----------------------------------------------------------------------------

    def calls(self) -> Iterator[Call]:
        totals: dict[int, list[Total]] = {}
        for number, step in enumerate(self._plan.steps):
            yield from totals.pop(number, ())
            yield self._call(step.outs[0]) if step.call else self._launch(number, step)
            for value in step.outs:
                if value in self._inner or (crosses(value) and self._shared.get(number)):
                    total = self._total(value, self._copies[number])
                    totals.setdefault(self.arena.added(value), []).append(total)
        for number in sorted(totals):
            yield from totals[number]
        if self._plan.guard is not None:
            yield Guard(self._buffer(self._plan.guard))

    def _total(self, value: Value, copies: int) -> Total:
        parts = self._own(Part(value))
        whole = replace(parts, rows=copies, cols=parts.stride, stride=0)
        op = "sum" if value in self._inner else value.op[3:]
        return Total(self._buffer(value), whole, op, self._sharing.total(value))

    def _launch(self, number: int, step: Step) -> Launch:
        emit, shared = self._emits[number], self._shared[number]
        lines = emit.lines()
        parts = {v for v in step.outs if crosses(v) and shared}
        arrays: list[Buffer] = []
        formals: list[Formal] = []
        writes: list[bool] = []
        where: dict[Any, int] = {}
        for key, index, written in _arrays(lines):
            if isinstance(key, Scratch):
                buffer = self._own(key)
            elif key in parts:
                buffer = self._own(Part(key))
            else:
                buffer = self._buffer(key)
            if buffer not in arrays:
                arrays.append(buffer)
                formals.append(Formal(buffer.kind, index, buffer.rows, buffer.cols))
                writes.append(False)
            where[key] = arrays.index(buffer)
            writes[where[key]] |= written
        before, body, after = (with_arrays(part, where) for part in lines)
        label = ", ".join(dict.fromkeys(v.origin for v in step.outs if v.origin))
        kernel = Kernel(tuple(formals), before, body, after, step.rows, step.cols, label)
        return Launch(kernel, tuple(arrays), tuple(writes), shared, self._copies[number])

    def _call(self, value: Value) -> Call:
        out = self._buffer(value)
        given = [self._buffer(a) for a in value.args]
        if value.op == "product":
            a, b = given
            shared = self._sharing.product(value)
            if shared == "inner":
                out = self._own(Part(value))
            return Product(out, a, b, value.attr, shared, value.origin)
        if value.op == "opaque":
            number, way, taken, made = value.attr[:4]
            return Opaque(out, given[0], number, way, taken, made, value.origin)
        n, d = value.attr
        if value.op == "gather":
            table, index = given
            return Gather(out, replace(table, rows=n, cols=d), index)
        index, rows = given
        return Scatter(replace(out, rows=n, cols=d), index, rows)


def _arrays(lines: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, str, bool]]:
    """What each line takes or makes: the array, how it is indexed, and whether it is written."""
    for part in lines:
        for line in part:
            if isinstance(line, Loop):
                yield from _arrays([line.body])
            elif isinstance(line, Load | Store):
                yield line.array, line.index, isinstance(line, Store)
            elif isinstance(line, Clear | JoinAt):
                yield line.array, ROW, True
