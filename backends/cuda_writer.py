"""One kernel as CUDA: which thread does what, line by line.

Sums are in a fixed order: a thread adds its columns one after the other, a group of threads by a
tree, the groups of a block in their order, and the blocks leave parts, which are added later. There
are no atomic operations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gpubp.program.c_expressions import expression, joined, neutral, operand
from gpubp.program.calls import DOUBLE, Launch
from gpubp.program.kernels import (
    CELL,
    COLUMN,
    ONE,
    ROW,
    Begin,
    Clear,
    Join,
    JoinAt,
    Let,
    Line,
    Load,
    Loop,
    Store,
)  # fmt: skip
from gpubp.program.values import FLOAT

from .cuda_layout import WARP, of_launch, scratch_of

_TARGET = "cuda"
_FUNCTORS = {"sum": "Sum()", "max": "Max()", "min": "Min()"}
_ALIGN = 16
_LARGE = 1 << 30  # columns of a flat array beyond which their numbers are 64 bits


class Writer:
    """One launch as text, in which the kernel is called KERNEL."""

    def __init__(
        self, launch: Launch, precision: str, aligned: Sequence[bool], members: bool, guarded: bool
    ) -> None:
        self._launch, self._k, self._aligned = launch, launch.kernel, aligned
        self._members, self._guarded = members, guarded
        self.layout = of_launch(launch, precision)
        if launch.copies not in (1, self.layout.blocks):
            raise ValueError(f"{launch.copies} parts for a kernel of {self.layout.blocks} blocks")
        self._scratch = set(scratch_of(launch))
        self._sums = {x.array: x for x in self._k.before if isinstance(x, Clear)}
        self._totals = {x.name: x for x in self._k.before if isinstance(x, Begin)}
        self._in_registers = self._scratch | set(self._sums) if self.layout.registers else set()
        self.taken = tuple(n for n in range(len(launch.arrays)) if self._is_taken(n))
        """The numbers of the arrays that the kernel takes, in order."""

    def _is_taken(self, n: int) -> bool:
        return n not in self._scratch or not self.layout.registers

    # -- once a kernel -------------------------------------------------------------------------

    def text(self) -> str:
        threads = self.layout.threads
        # Registers for 512 threads on a multiprocessor, 128 each: left to itself the compiler
        # spills on some architectures rather than take a few more.
        bounds = f"__launch_bounds__({threads}, {max(1, 512 // threads)})"
        lines = [f'extern "C" __global__ void {bounds} KERNEL({self._parameters()}) {{']
        body = list(self._body())
        if _used("lane", body):
            body.insert(self._begun, f"const int lane = threadIdx.x % {self.layout.lanes};")
        lines += _inner(body)
        return "\n".join([*lines, "}"])

    def _parameters(self) -> str:
        written = {n for n, writes in enumerate(self._launch.writes) if writes}
        found = []
        for n in self.taken:
            kind = self._kind(n)
            found.append(f"{'' if n in written else 'const '}{kind}* a{n}")
            if self._members:
                found.append(f"long long m{n}")
        return ", ".join([*found, *(["const int* sound"] if self._guarded else [])])

    def _kind(self, n: int) -> str:
        """The type of an array. The numbers of an update come in that of the kernel."""
        kind = self._k.formals[n].kind
        return FLOAT if kind == DOUBLE else kind

    def _body(self) -> Iterator[str]:
        k, layout = self._k, self.layout
        begin = []
        if self._guarded:
            begin += [f"if (!sound[{'blockIdx.y' if self._members else '0'}]) return;"]
        if self._members:
            begin += [f"a{n} += blockIdx.y * m{n};" for n in self.taken]
        if self._needs_room():
            begin += [f"__shared__ double room[{self._room()}];"]
        self._begun = len(begin)
        yield from begin
        for n in sorted(self._in_registers):
            f = self._k.formals[n]
            neuter = neutral(self._sums[n].op, f.kind, _TARGET) if n in self._sums else ""
            yield from self._held(n, f.kind, layout.turns(f.cols) * layout.packed(f.cols), neuter)
        yield from self._before()
        if k.rows is None:
            yield from self._flat()
        elif k.body:
            yield from self._rows(k.rows)
        yield from self._ended()

    def _held(self, n: int, kind: str, count: int, begin: str) -> Iterator[str]:
        yield f"{kind} h{n}[{count}];"
        if begin:
            yield "#pragma unroll"
            yield f"for (int i = 0; i < {count}; ++i) h{n}[i] = {begin};"

    def _before(self) -> Iterator[str]:
        for line in self._k.before:
            if isinstance(line, Loop):
                yield from self._pass(line)
            elif isinstance(line, Clear):
                if line.array not in self._in_registers:
                    begin = neutral(line.op, line.kind, _TARGET)
                    body = [f"{self._own(line.array, 'j')} = {begin};"]
                    yield from self._plain_loop(line.cols, body)
            else:
                yield self._statement(line)

    def _plain_loop(self, cols: int, body: Iterable[str]) -> Iterator[str]:
        """Something for each column that is this thread's; the same ones as in a pass."""
        pack, step = self.layout.packed(cols), self.layout.lanes
        yield f"for (int j0 = lane * {pack}; j0 < {cols}; j0 += {step * pack})"
        yield f"    for (int j = j0; j < j0 + {pack}; ++j) {{"
        yield from _inner(_inner(body))
        yield "    }"

    # -- over rows -----------------------------------------------------------------------------

    def _rows(self, rows: int) -> Iterator[str]:
        groups = self.layout.groups
        yield f"for (int first = blockIdx.x * {groups}; first < {rows}; " + (
            f"first += gridDim.x * {groups}) {{"
        )
        yield from _inner(self._row(rows, groups))
        yield "}"

    def _row(self, rows: int, groups: int) -> Iterator[str]:
        group = f"first + threadIdx.x / {self.layout.lanes}" if groups > 1 else "first"
        self._there = "true"
        if rows % groups:  # a group that has none takes the last one too, and keeps nothing
            yield f"const bool there = {group} < {rows};"
            yield f"const int r = there ? {group} : {rows - 1};"
            self._there = "there"
        else:
            yield f"const int r = {group};"
        for n, f in enumerate(self._k.formals):
            if f.index == CELL and n in self.taken:
                const = "" if self._launch.writes[n] else "const "
                yield f"{const}{f.kind}* r{n} = a{n} + (long long)r * {f.cols};"
        stored = False
        for line in self._k.body:
            if isinstance(line, Loop):
                if stored:
                    yield self._meet()
                yield from self._pass(line)
                yield from self._reductions(line)
                stored = stored or self._writes(line.body)
            elif isinstance(line, Store):  # others may have to read what lies there
                yield self._meet()
                yield f"if ({self._only('lane == 0')}) {self._statement(line)}"
                stored = True
            elif isinstance(line, Join):
                yield self._guarded_by(self._there, self._statement(line))
            else:
                yield self._statement(line)

    def _only(self, condition: str) -> str:
        return condition if self._there == "true" else f"{condition} && {self._there}"

    def _guarded_by(self, condition: str, text: str) -> str:
        return text if condition == "true" else f"if ({condition}) {text}"

    def _writes(self, body: Sequence[Line]) -> bool:
        """Whether lines write what other threads may read."""
        return any(isinstance(x, Store) and x.array not in self._in_registers for x in body)

    def _meet(self) -> str:
        """All threads of a row come here before one goes on."""
        return "__syncwarp();" if self.layout.lanes <= WARP else "__syncthreads();"

    def _reductions(self, loop: Loop) -> Iterator[str]:
        """What the threads of a row found in a pass, joined."""
        for line in loop.body:
            if isinstance(line, Join) and line.name not in self._totals:
                yield f"{line.name} = {self._joined_row(line)};"

    def _joined_row(self, line: Join) -> str:
        if self.layout.lanes > WARP:
            return self._joined_block(line.kind, line.name, line.op)
        return f"join<{self.layout.lanes}>({line.name}, {_FUNCTORS[line.op]})"

    def _joined_block(self, kind: str, name: str, op: str) -> str:
        return f"join_block<{self.layout.threads}>({name}, {_FUNCTORS[op]}, ({kind}*)room)"

    # -- one pass ------------------------------------------------------------------------------

    def _pass(self, loop: Loop) -> Iterator[str]:
        """The body for each column that is this thread's."""
        layout, cols = self.layout, loop.cols
        pack, turns = layout.packed(cols), layout.turns(cols)
        at = f"(lane + i * {layout.lanes}) * {pack}" if pack > 1 else f"lane + i * {layout.lanes}"
        if turns > 1:
            yield "#pragma unroll" if layout.registers else "#pragma unroll 4"
            yield f"for (int i = 0; i < {turns}; ++i) {{"
        else:
            yield "{"
            yield "    const int i = 0;"
        yield f"    const int j0 = {at};"
        inside = self._columns(loop.body, pack)
        if not layout.whole(cols):
            yield f"    if (j0 < {cols}) {{"
            yield from _inner(_inner(inside))
            yield "    }"
        else:
            yield from _inner(inside)
        yield "}"

    def _columns(self, body: Sequence[Line], pack: int) -> Iterator[str]:
        """The body for `pack` columns from `j0` on: loads side by side, and stores."""
        loads, stores = self._packs(body, pack)
        for n, offset in loads:
            kind = self._k.formals[n].kind
            yield f"const Pack<{kind}, {pack}> p{n}_{offset} = load<{pack}>({self._at(n, offset)});"
        for n, offset in stores:
            yield f"Pack<{self._k.formals[n].kind}, {pack}> q{n}_{offset};"
        elements = [self._element(line, pack, loads, stores) for line in body]
        column = f"const int j = {'j0 + v' if pack > 1 else 'j0'};"
        named = [column] if _used("j", elements) else []
        if pack > 1:
            yield "#pragma unroll"
            yield f"for (int v = 0; v < {pack}; ++v) {{"
            yield from _inner([*named, *elements])
            yield "}"
        else:
            yield from [*named, *elements]
        for n, offset in stores:
            text = f"store({self._at(n, offset)}, q{n}_{offset});"
            yield self._guarded_by(self._there, text)

    def _packs(
        self, body: Sequence[Line], pack: int
    ) -> tuple[dict[tuple[int, int], None], dict[tuple[int, int], None]]:
        """The arrays, and columns further on, that are loaded and stored side by side."""
        loads: dict[tuple[int, int], None] = {}
        stores: dict[tuple[int, int], None] = {}
        for line in body if pack > 1 else ():
            if isinstance(line, Load | Store) and self._side_by_side(line, pack):
                (loads if isinstance(line, Load) else stores)[line.array, line.offset] = None
        return loads, stores

    def _side_by_side(self, line: Load | Store, pack: int) -> bool:
        if line.index not in (CELL, ROW) or line.array in self._scratch:
            return False
        ragged = line.index == CELL and self._k.rows is not None and (
            self._k.formals[line.array].cols % pack
        )  # fmt: skip
        return self._aligned[line.array] and not ragged and line.offset % pack == 0

    def _at(self, n: int, offset: int) -> str:
        row = "r" if self._k.rows is not None and self._k.formals[n].index == CELL else "a"
        return f"{row}{n} + j0" + (f" + {offset}" if offset else "")

    def _element(self, line: Line, pack: int, loads: Any, stores: Any) -> str:
        key = (line.array, line.offset) if isinstance(line, Load | Store) else None
        if isinstance(line, Load) and key in loads:
            return f"const {line.kind} {line.name} = p{line.array}_{line.offset}.at[v];"
        if isinstance(line, Store) and key in stores:
            value = operand(line.operand, _TARGET)
            return f"q{line.array}_{line.offset}.at[v] = {value};"
        held = f"i * {pack} + v" if pack > 1 else "i"
        if isinstance(line, JoinAt):
            place = f"h{line.array}[{held}]" if line.array in self._in_registers else (
                self._own(line.array, "j"))  # fmt: skip
            text = f"{place} = {joined(line.op, place, line.operand, _TARGET)};"
            return self._guarded_by(self._there, text)
        if isinstance(line, Load | Store) and line.array in self._scratch:
            place = f"h{line.array}[{held}]" if line.array in self._in_registers else (
                self._own(line.array, "j"))  # fmt: skip
            if isinstance(line, Load):
                return f"const {line.kind} {line.name} = {place};"
            return f"{place} = {operand(line.operand, _TARGET)};"
        if isinstance(line, Store) or (isinstance(line, Join) and line.name in self._totals):
            return self._guarded_by(self._there, self._statement(line))
        return self._statement(line)

    def _own(self, n: int, index: str) -> str:
        """An element of what this block has of its own, in memory."""
        if not self._launch.arrays[n].stride or self._launch.copies == 1:
            return f"a{n}[{index}]"
        stride = -(-self._k.formals[n].cols // _ALIGN) * _ALIGN
        return f"a{n}[(long long)blockIdx.x * {stride} + {index}]"

    # -- over a flat array ---------------------------------------------------------------------

    def _flat(self) -> Iterator[str]:
        self._there = "true"
        loops = [line for line in self._k.body if isinstance(line, Loop)]
        for number, line in enumerate(self._k.body):
            if isinstance(line, Loop):
                if number and len(loops) > 1:
                    yield "__syncthreads();"
                yield from self._flat_pass(line)
            else:
                yield self._statement(line)

    def _flat_pass(self, loop: Loop) -> Iterator[str]:
        """The body for each element, by all threads there are; the last few one by one."""
        pack, cols, threads = self.layout.pack, loop.cols, self.layout.threads
        if not self._packs(loop.body, pack)[0] and not self._packs(loop.body, pack)[1]:
            pack = 1
        kind = "int" if cols < _LARGE else "long long"
        whole = cols // pack * pack
        thread = f"({kind})blockIdx.x * {threads} + threadIdx.x"
        step = f"({kind})gridDim.x * {threads}"
        if whole:
            by = f" * {pack}" if pack > 1 else ""
            yield f"for ({kind} j0 = ({thread}){by}; j0 < {whole}; j0 += {step}{by}) {{"
            yield from _inner(self._flat_columns(loop.body, pack, kind))
            yield "}"
        if cols > whole:
            yield f"for ({kind} j0 = {whole} + ({thread}); j0 < {cols}; j0 += {step}) {{"
            yield from _inner(self._flat_columns(loop.body, 1, kind))
            yield "}"

    def _flat_columns(self, body: Sequence[Line], pack: int, kind: str) -> Iterator[str]:
        for line in self._columns(body, pack):
            yield line.replace("const int j =", f"const {kind} j =")

    # -- what follows --------------------------------------------------------------------------

    def _ended(self) -> Iterator[str]:
        """The sums of the threads joined, and stored."""
        for n, clear in self._sums.items():
            if n in self._in_registers:
                yield from self._put_sums(n, clear)
        between = {x.name for x in self._k.body if isinstance(x, Join)}
        for name, begin in self._totals.items():
            if name in between and self.layout.lanes > 1:  # all threads of a row have it
                yield f"if (lane != 0) {name} = {neutral(begin.op, begin.kind, _TARGET)};"
            yield f"{name} = {self._joined_block(begin.kind, name, begin.op)};"
        for store in self._k.after:
            assert isinstance(store, Store)
            yield from self._last(store)

    def _last(self, line: Store) -> Iterator[str]:
        value = operand(line.operand, _TARGET)
        if line.operand in self._totals and self._launch.copies > 1:
            yield f"if (threadIdx.x == 0) {self._own(line.array, '0')} = {value};"
        elif line.operand in self._totals:
            yield f"if (threadIdx.x == 0) a{line.array}[0] = {value};"
        else:
            yield f"if (threadIdx.x == 0 && blockIdx.x == 0) a{line.array}[0] = {value};"

    def _put_sums(self, n: int, clear: Clear) -> Iterator[str]:
        """Sums over the rows of this block, the groups of threads in their order."""
        layout, cols, f = self.layout, clear.cols, self._k.formals[n]
        pack, groups = layout.packed(cols), layout.groups
        place = self._own(n, "j")
        if groups == 1:
            yield from self._sums_out(n, cols, [f"{place} = h{n}[i * {pack} + v];"], "true")
            return
        yield "#pragma unroll"
        yield f"for (int i = 0; i < {layout.turns(cols)}; ++i) {{"
        yield f"    {f.kind}* each = ({f.kind}*)room;"
        yield "    __syncthreads();"
        yield "#pragma unroll"
        yield f"    for (int v = 0; v < {pack}; ++v) each[threadIdx.x * {pack} + v] = " + (
            f"h{n}[i * {pack} + v];"
        )
        yield "    __syncthreads();"
        yield f"    for (int e = threadIdx.x; e < {layout.lanes * pack}; e += {layout.threads}) {{"
        yield f"        const int j = i * {layout.lanes * pack} + e;"
        yield f"        {f.kind} x = each[e];"
        yield f"        for (int g = 1; g < {groups}; ++g) x = {_FUNCTORS[clear.op]}(x, " + (
            f"each[g * {layout.lanes * pack} + e]);"
        )
        yield f"        if (j < {cols}) {place} = x;"
        yield "    }"
        yield "}"

    def _sums_out(self, n: int, cols: int, body: list[str], there: str) -> Iterator[str]:
        layout, pack = self.layout, self.layout.packed(cols)
        yield "#pragma unroll"
        yield f"for (int i = 0; i < {layout.turns(cols)}; ++i)"
        yield "#pragma unroll"
        yield f"    for (int v = 0; v < {pack}; ++v) {{"
        yield f"        const int j = (lane + i * {layout.lanes}) * {pack} + v;"
        yield f"        if (j < {cols}) {body[0]}"
        yield "    }"

    def _needs_room(self) -> bool:
        summed = [n for n in self._sums if n in self._in_registers]
        joins = self.layout.lanes > WARP and any(
            isinstance(line, Loop) and any(isinstance(x, Join) for x in line.body)
            for line in self._k.body
        )
        return bool(self._totals) or joins or (bool(summed) and self.layout.groups > 1)

    def _room(self) -> int:
        """Eight bytes for each thread and each of its columns side by side."""
        wide = max([self.layout.packed(x.cols) for x in self._sums.values()], default=1)
        summed = any(n in self._in_registers for n in self._sums) and self.layout.groups > 1
        return max(self.layout.threads * wide if summed else WARP, WARP)

    # -- lines ---------------------------------------------------------------------------------

    def _statement(self, line: Line) -> str:
        """A line that is no loop, for one element."""
        if isinstance(line, Let):
            text = expression(line.op, line.operands, line.kind, _TARGET, line.attr)
            return f"const {line.kind} {line.name} = {text};"
        if isinstance(line, Load):
            place = self._place(line.array, line.index, line.offset)
            return f"const {line.kind} {line.name} = {place};"
        if isinstance(line, Store):
            place = self._place(line.array, line.index, line.offset)
            return f"{place} = {operand(line.operand, _TARGET)};"
        if isinstance(line, Begin):
            return f"{line.kind} {line.name} = {neutral(line.op, line.kind, _TARGET)};"
        assert isinstance(line, Join)
        return f"{line.name} = {joined(line.op, line.name, line.operand, _TARGET)};"

    def _place(self, n: int, index: str, offset: int) -> str:
        column = f"j + {offset}" if offset else "j"
        if index == CELL and self._k.rows is not None:
            if self._k.formals[n].index != CELL:
                return f"a{n}[(long long)r * {self._k.formals[n].cols} + {column}]"
            return f"r{n}[{column}]"
        return f"a{n}[{ {CELL: column, COLUMN: 'r', ROW: column, ONE: '0'}[index] }]"


def _used(name: str, lines: Iterable[str]) -> bool:
    """Whether some line names it."""
    return any(re.search(rf"\b{name}\b", line) for line in lines)


def _inner(lines: Iterable[str]) -> Iterator[str]:
    return ("    " + line if not line.startswith("#") else line for line in lines)
