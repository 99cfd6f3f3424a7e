"""Print a program as a module of numba functions.

The text is Python: compiled by numba it is fast, and run as it stands it does the same, slowly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gpubp.program.kernels import (
    CELL, COLUMN, ROW, Begin, Clear, Join, JoinAt, Kernel, Let, Line, Load, Loop, Number, Operand,
    Store,
)  # fmt: skip
from gpubp.program.program import (
    ARENA, Barrier, Buffer, Call, Gather, Guard, Launch, Product, Program, Scatter, Total,
)  # fmt: skip
from gpubp.program.values import ARITHMETIC, BITWISE, COMPARISONS

SMALL = 4096
"""Multiplications in a product, up to which it is a loop of ours and not a call of BLAS."""

_MEET = "if not barrier(meeting, {threads}): return"

_KINDS = {"T": "T", "U": "np.uint32", "I": "np.int64", "bool": "np.bool_"}
INLINED = 2000
"""Operations of a kernel, up to which it becomes a part of the function that calls it."""

_NEUTRAL = {"sum": "0", "max": "-np.inf", "min": "np.inf"}
_SIGNS = {**ARITHMETIC, **COMPARISONS, **BITWISE}

HEAD = '''"""{title}"""
import numpy as np
from gpubp.backends.numba_parts import (
    apart, barrier, compiled, cos_{p}, erf_{p}, exp_{p}, expm1_{p}, gather, gemm_{p}, log1p_{p},
    log_{p}, scatter, take, tanh_{p}, total_max, total_min, total_sum,
)

T = np.{p}
LARGEST = T(np.finfo(np.{p}).max)
'''


def module(program: Program, members: int, threads: int, shuffled: bool, title: str) -> str:
    """Return the text of a module whose `run` does the steps of a program.

    `threads` share the rows of a step, or the members of an ensemble (none: 0); `shuffled` says
    whether batches come in an order of their own or as they lie.
    """
    return _Module(program, members, threads, shuffled).text(title)


def kernel(k: Kernel, name: str, precision: str, shared: str = "") -> str:
    """Return one kernel as a function.

    Where threads share it, it takes the number of its first row or column, and how many it does.
    """
    more = ["first", "count"] if shared else []
    arrays = [f"a{i}" for i in range(len(k.formals))]
    lines = [f"def {name}({', '.join([*arrays, *more])}):"]
    if k.operations > INLINED:
        lines.append("    apart()")
    printer = _Kernel(k, precision, shared)
    lines += ["    " + line for line in printer.lines()]
    return "\n".join(lines)


class _Kernel:
    def __init__(self, k: Kernel, precision: str, shared: str) -> None:
        self._k, self._p, self._shared = k, precision, shared

    def lines(self) -> Iterable[str]:
        k = self._k
        yield from self._block(k.before)
        if k.rows is None:
            yield from self._block(k.body)
        elif k.body:
            count = "count" if self._shared else str(k.rows)
            yield f"for r in range({count}):"
            used = sorted(_cells(k.body))
            yield from (f"    a{i}r = a{i}[r]" for i in used)
            yield from ("    " + line for line in self._block(k.body))
        yield from self._block(k.after)
        if not (k.before or k.body or k.after):
            yield "pass"

    def _block(self, lines: Sequence[Line]) -> Iterable[str]:
        for line in lines:
            if isinstance(line, Loop):
                count = "count" if self._shared == "cols" else str(line.cols)
                yield f"for j in range({count}):"
                yield from ("    " + inner for inner in self._block(line.body))
            elif isinstance(line, Clear):
                yield f"for j in range({line.cols}):"
                yield f"    a{line.array}[j] = {_KINDS[line.kind]}({_NEUTRAL[line.op]})"
            else:
                yield self._line(line)

    def _line(self, line: Line) -> str:
        if isinstance(line, Let):
            return f"{line.name} = {self._expression(line)}"
        if isinstance(line, Load):
            loaded = f"a{line.array}{_index(line.index, line.offset)}"
            cast = self._k.formals[line.array].kind == "T" and line.index == "one"
            return f"{line.name} = T({loaded})" if cast else f"{line.name} = {loaded}"
        if isinstance(line, Store):
            place = f"a{line.array}{_index(line.index, line.offset)}"
            return f"{place} = {_operand(line.operand)}"
        if isinstance(line, Begin):
            return f"{line.name} = {_KINDS[line.kind]}({_NEUTRAL[line.op]})"
        assert isinstance(line, Join | JoinAt)
        place = line.name if isinstance(line, Join) else f"a{line.array}[j]"
        return f"{place} = {_joined(line.op, place, line.operand)}"

    def _expression(self, line: Let) -> str:
        given = [_operand(x) for x in line.operands]
        op, kind = line.op, line.kind
        if op in _SIGNS:
            text = f"{given[0]} {_SIGNS[op]} {given[1]}"
            return f"np.uint32({text})" if kind == "U" else text
        if op in ("maximum", "minimum"):
            return _joined(op[:3], given[0], line.operands[1])
        if op == "where":
            return f"{given[1]} if {given[0]} else {given[2]}"
        if op == "cast":
            return f"{_KINDS[kind]}({given[0]})"
        if op == "neg":
            return f"-{given[0]}"
        if op == "copy":
            return given[0]
        if op == "abs":
            return f"abs({given[0]})"
        if op == "sqrt":
            return f"np.sqrt({given[0]})"
        if op == "isfinite":
            return f"abs({given[0]}) <= LARGEST"
        if op == "arange":
            column = "first + j" if self._shared == "cols" else "j"
            return f"{_KINDS[kind]}({column})"
        if op == "iota":
            row = "first + r" if self._shared else "r"
            column = " + j" if line.attr > 1 else ""
            return f"np.uint32(({row}) * {line.attr}{column})"
        return f"{op}_{self._p}({given[0]})"


def _cells(lines: Sequence[Line]) -> set[int]:
    """The matrices whose rows are visited."""
    found: set[int] = set()
    for line in lines:
        if isinstance(line, Loop):
            found |= _cells(line.body)
        elif isinstance(line, Load | Store) and line.index == CELL:
            found.add(line.array)
    return found


def _index(index: str, offset: int) -> str:
    column = f"[j + {offset}]" if offset else "[j]"
    return {CELL: f"r{column}", ROW: column, COLUMN: "[r]"}.get(index, "[0]")


def _operand(x: Operand) -> str:
    if not isinstance(x, Number):
        return x
    if x.kind == "bool":
        return str(bool(x.number))
    number = {"inf": "np.inf", "-inf": "-np.inf", "nan": "np.nan"}.get(repr(x.number))
    return f"{_KINDS[x.kind]}({number or repr(x.number)})"


def _joined(op: str, a: str, b: Operand) -> str:
    text = _operand(b)
    if op == "sum":
        return f"{a} + {text}"
    sign = "<" if op == "max" else ">"
    unordered = "" if isinstance(b, Number) else f" | ({text} != {text})"
    return f"{text} if ({a} {sign} {text}){unordered} else {a}"


def small_product(call: Product, name: str) -> str:
    """Return a product of constant lengths as plain loops, for those that BLAS is slow to begin."""
    m, n, k = call.out.rows, call.out.cols, call.inner
    ta, tb = call.transposed
    a = "a[p, i]" if ta else "a[i, p]"
    if not tb and n > 1:  # along the rows of b, which lie side by side
        return "\n".join([
            f"def {name}(out, a, b):",
            f"    for i in range({m}):",
            f"        for j in range({n}):",
            "            out[i, j] = T(0)",
            f"        for p in range({k}):",
            f"            x = {a}",
            f"            for j in range({n}):",
            "                out[i, j] += x * b[p, j]",
        ])  # fmt: skip
    b = "b[j, p]" if tb else "b[p, j]"
    return "\n".join([
        f"def {name}(out, a, b):",
        f"    for i in range({m}):",
        f"        for j in range({n}):",
        "            x = T(0)",
        f"            for p in range({k}):",
        f"                x += {a} * {b}",
        "            out[i, j] = x",
    ])  # fmt: skip


class _Module:
    def __init__(self, program: Program, members: int, threads: int, shuffled: bool) -> None:
        self._program, self._members, self._threads = program, members, threads
        self._shuffled, self._meet = shuffled, _MEET.format(threads=threads)
        self._functions: dict[str, str] = {}
        self._views: dict[tuple[Buffer, str], str] = {}
        self._fixed: list[str] = []
        self._moving: list[str] = []

    def text(self, title: str) -> str:
        program = self._program
        calls = list(self._calls(program.calls))
        functions = []
        for body, name in self._functions.items():
            functions.append("@compiled\n" + body.replace("KERNEL", name, 1))
        return "\n\n".join([
            HEAD.format(title=title, p=program.precision),
            *functions,
            "@compiled\n" + "\n".join(self._run(calls)),
        ]) + "\n"  # fmt: skip

    # -- functions and views -------------------------------------------------------------------

    def _function(self, text: str, name: str) -> str:
        """The name of a function, which equal text has met already or which is new."""
        if text not in self._functions:
            word = "_".join(re.findall(r"\w+", name))
            self._functions[text] = f"f{len(self._functions)}_{word}"
        return self._functions[text]

    def _view(self, buffer: Buffer, shape: str) -> str:
        """A name for a part of memory, as `"matrix"` or `"flat"`."""
        key = (buffer, shape)
        if key not in self._views:
            name = self._views[key] = f"b{len(self._views)}"
            start, size = buffer.start, buffer.stride or buffer.size
            base = memory_name(buffer.memory)
            if buffer.stride and self._program.threads > 1:
                text = f"{base}[{start} + thread * {size} : {start} + (thread + 1) * {size}]"
            else:
                text = f"{base}[{start}:{start + size}]"
            if shape == "matrix":
                text += f".reshape({buffer.rows}, {buffer.cols})"
            line = f"{name} = {text}"
            (self._moving if buffer.memory in MOVING else self._fixed).append(line)
        return self._views[key]

    # -- calls ---------------------------------------------------------------------------------

    def _calls(self, calls: Iterable[Call]) -> Iterable[str]:
        depth = ""
        for call in calls:
            for line in self._call(call):
                yield depth + line
            if isinstance(call, Guard):
                depth += "    "
        if depth:
            yield depth + "sound = True"

    def _call(self, call: Call) -> Iterable[str]:
        if isinstance(call, Launch):
            yield self._launch(call)
        elif isinstance(call, Product):
            yield self._product(call)
        elif isinstance(call, Barrier):
            yield self._meet
        elif isinstance(call, Guard):
            yield f"if {self._view(call.truth, 'flat')}[0]:"
        else:
            yield from self._alone(call)

    def _launch(self, call: Launch) -> str:
        k, shared = call.kernel, call.shared
        text = kernel(k, "KERNEL", self._program.precision, shared)
        name = self._function(text, k.label)
        given = []
        for formal, buffer in zip(k.formals, call.arrays, strict=True):
            view = self._view(buffer, "matrix" if formal.index == CELL else "flat")
            own = formal.index in (CELL, COLUMN) if shared == "rows" else formal.cols == k.cols
            given.append(f"{view}[{self._span(shared, k)}]" if shared and own else view)
        if shared:
            first, stop = self._span(shared, k).split(":")
            given += [first, f"{stop} - {first}"]
        line = f"{name}({', '.join(given)})"
        alone = self._program.threads > 1 and not shared
        return f"if thread == 0: {line}" if alone else line

    def _span(self, shared: str, k: Kernel) -> str:
        number = k.rows if shared == "rows" else k.cols
        return self._part(number)

    def _part(self, number: int | str | None) -> str:
        """The thread's part of so many."""
        t = self._threads
        return f"thread * {number} // {t}:(thread + 1) * {number} // {t}"

    def _product(self, call: Product) -> str:
        m, n, k = call.out.rows, call.out.cols, call.inner
        (ta, tb), threads = call.transposed, self._program.threads
        alone = "if thread == 0: " if threads > 1 and not call.shared else ""
        if m * n * k <= SMALL and not call.shared:
            name = self._function(small_product(call, "KERNEL"), f"product_{call.label}")
            given = [self._view(b, "matrix") for b in (call.out, call.a, call.b)]
            return f"{alone}{name}({', '.join(given)})"
        out, a, b = (self._view(x, "flat") for x in (call.out, call.a, call.b))
        lda, ldb = call.a.cols, call.b.cols
        if ta:  # a column of numbers lies as a row does
            lda = m
        if tb:
            ldb = k
        else:
            ldb = n
        if not ta:
            lda = k
        part, at = {"rows": m, "cols": n}.get(call.shared, 0), ["0", "0", "0"]
        size = [str(m), str(n)]
        if call.shared:
            first, stop = (f"({end})" for end in self._part(part).split(":"))
            count = f"{stop} - {first}"
            if call.shared == "rows":
                size[0], at[0] = count, f"{first} * {n}"
                at[1] = first if ta else f"{first} * {lda}"
            else:
                size[1], at[0] = count, first
                at[2] = f"{first} * {ldb}" if tb else first
        arrays = [x if o == "0" else f"{x}[{o}:]" for x, o in zip((out, a, b), at, strict=True)]
        o, x, y = arrays
        arguments = f"{ta}, {tb}, {size[0]}, {size[1]}, {k}, {x}, {lda}, {y}, {ldb}, {o}, {n}, T(0)"
        return f"{alone}gemm_{self._program.precision}({arguments})"

    def _alone(self, call: Call) -> Iterable[str]:
        """What the first thread does by itself."""
        if isinstance(call, Total):
            name, given = f"total_{call.op}", (call.out, call.parts)
        elif isinstance(call, Gather):
            name, given = "gather", (call.out, call.table, call.index)
        else:
            assert isinstance(call, Scatter)
            name, given = "scatter", (call.out, call.index, call.rows)
        flat = {id(call.out)} if isinstance(call, Total) else {id(given[-1])}
        if isinstance(call, Scatter):
            flat = {id(call.index)}
        views = [self._view(b, "flat" if id(b) in flat else "matrix") for b in given]
        line = f"{name}({', '.join(views)})"
        yield f"if thread == 0: {line}" if self._program.threads > 1 else line

    # -- the function of all steps -------------------------------------------------------------

    def _run(self, calls: Sequence[str]) -> Iterable[str]:
        """`run(thread, threads, meeting, ...)`, see `gpubp.backends.compiled`."""
        memories = list(dict.fromkeys(b.memory for b, _ in self._views))
        bases = [m for m in memories if m not in MOVING]
        several = self._members > 0
        arguments = [*ARGUMENTS, *(f"{memory_name(m)}_all" for m in bases)]
        yield f"def run({', '.join(arguments)}):"
        inner: list[str] = []
        views = []
        for m in bases:
            row = "0"
            if m.startswith((f"{ARENA}:", "new:")) or m == "loss":
                row = "thread" if several else "0"
            elif not m.startswith("constant") and several:
                row = "k"
            views.append(f"{memory_name(m)} = {memory_name(m)}_all[{row}]")
        views += self._fixed
        if not several:
            yield from ("    " + line for line in ["k = 0", *views])
        yield "    word = np.empty(1, np.uint32)"
        yield "    for i in range(count):"
        yield "        word[0] = np.uint32(step + i)"
        yield from ("        " + line for line in self._batch(memories))
        own = ", ".join(self._part(self._members).split(":"))
        if several:
            yield f"        for k in range({own}):"
            yield "            if not going[k]: continue"
            inner += views
        inner += ["numbers = numbers_all[i, k]", "key = keys[k : k + 1]", *self._moving]
        inner += ["sound = False", *calls]
        loss = "loss[0]" if "loss" in bases else "T(0)"
        once = "if thread == 0: " if self._program.threads > 1 else ""
        inner += [f"{once}losses[i, k] = {loss}", "if not sound:", f"    {once}bad[k] = i + 1"]
        deep = "            " if several else "        "
        yield from (deep + line for line in inner)
        if not several:
            yield "        if not sound: return"
            return
        if self._threads > 1:
            yield f"        {self._meet}"
        yield "        if stop_at_once:"
        yield f"            for k in range({self._members}):"
        yield "                if bad[k] == i + 1: return"
        yield "        else:"
        yield f"            for k in range({own}):"
        yield "                if bad[k] > 0: going[k] = False"

    def _batch(self, memories: Sequence[str]) -> Iterable[str]:
        """Where the batch of a step lies: in the data, or gathered in a new order."""
        used = [m for m in ("x", "t", "w") if m in memories]
        if not self._shuffled:
            yield "p = (start + i) * rows"
            yield from (f"{m} = {m}_data[p : p + rows].reshape(-1)" for m in used)
            return
        together = not self._members and self._threads > 1
        low, high = (self._part("rows") if together else "0:rows").split(":")
        for m in used:
            row = "thread" if self._members else "0"
            yield f"{m} = stage_{m}[{row}]"
            yield f"take({m}_data, order, (start + i) * rows, {low}, {high}, {m})"
        if together:
            yield self._meet


ARGUMENTS = (
    "thread", "threads", "meeting", "rows", "x_data", "t_data", "w_data", "order", "stage_x",
    "stage_t", "stage_w", "start", "count", "step", "numbers_all", "keys", "going", "stop_at_once",
    "losses", "bad",
)  # fmt: skip
"""What `run` takes before the memories: see `gpubp.backends.compiled`."""

MOVING = ("x", "t", "w", "numbers", "key", "step")
"""Memories that are others in each step."""


def memory_name(memory: str) -> str:
    """The name of a memory in the text.

    >>> memory_name("slot:m"), memory_name("new:0.mean")
    ('slot_m', 'new_0_mean')
    """
    if memory == "step":
        return "word"
    return "".join(c if c.isalnum() else "_" for c in memory)
