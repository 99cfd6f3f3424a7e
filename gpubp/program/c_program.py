"""Print a whole program as one unit of C++, which one thread runs.

It is for targets on which nothing else is at hand, and for tests: products are plain loops.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .c_expressions import REAL, TYPES
from .c_text import Printer
from .calls import Buffer, Call, Gather, Guard, Launch, Opaque, Product, Program, Scatter

HEAD = """\
#include <cmath>

namespace gpubp {

// out = op(a) op(b) with m rows, n columns and k terms a sum, added up in their order.
template <typename T>
void product(T* out, const T* a, const T* b, long m, long n, long k, bool ta, bool tb) {
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) {
            T x = T(0);
            for (long p = 0; p < k; ++p)
                x += a[ta ? p * m + i : i * k + p] * b[tb ? j * k + p : p * n + j];
            out[i * n + j] = x;
        }
}

// The rows of a table that the index names.
template <typename T>
void gather(T* out, const T* table, const long long* index, long rows, long cols) {
    for (long i = 0; i < rows; ++i)
        for (long j = 0; j < cols; ++j) out[i * cols + j] = table[index[i] * cols + j];
}

// A table of n rows: the sums of rows with each index, in their order.
template <typename T>
void scatter(T* out, const long long* index, const T* x, long n, long rows, long cols) {
    for (long i = 0; i < n * cols; ++i) out[i] = T(0);
    for (long i = 0; i < rows; ++i)
        for (long j = 0; j < cols; ++j) out[index[i] * cols + j] += x[i * cols + j];
}

}  // namespace gpubp
"""
"""What a file begins with that holds such units."""


@dataclass(frozen=True)
class Memory:
    """A memory that a step takes: its name in the program, its kind, and whether it is written."""

    name: str
    kind: str
    written: bool


@dataclass(frozen=True)
class Unit:
    """The text of a program, to stand behind `HEAD`, and what its function takes, in order."""

    text: str
    memories: tuple[Memory, ...]


def unit(program: Program, name: str) -> Unit:
    """Return a program as `extern "C" int NAME(memories...)`, each a pointer to its begin.

    The function does one step and returns 1, or 0 where the guard ended it. All else is in a
    namespace `in_NAME`, so that several units fit in one file. Raises `ValueError` for a program
    that is divided among threads, or has layers that are not compiled.
    """
    if program.threads != 1:
        raise ValueError(f"a program of {program.threads} threads; one of 1 thread can be printed")
    if any(isinstance(call, Opaque) for call in program.calls):
        raise ValueError("a program with layers that are not compiled; it cannot be printed as C++")
    return _Writer(program).unit(name)


class _Writer:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._kinds: dict[str, str] = {}
        self._written: set[str] = set()
        self._functions: dict[str, str] = {}

    def unit(self, name: str) -> Unit:
        lines = [line for call in self._program.calls for line in self._lines(call)]
        memories = tuple(Memory(m, k, m in self._written) for m, k in self._kinds.items())
        taken = ", ".join(
            f"{'' if m.written else 'const '}{m.kind}* {self._pointer(m.name)}" for m in memories
        )
        text = "\n".join([
            f"namespace in_{name} {{",
            "using namespace std;",  # the overloads of each function for float and double
            TYPES.format(real=REAL[self._program.precision]),
            *(text.replace("KERNEL", called, 1) for text, called in self._functions.items()),
            f'extern "C" int {name}({taken}) {{',
            *("    " + line for line in lines),
            "    return 1;",
            "}",
            f"}}  // namespace in_{name}",
        ])  # fmt: skip
        return Unit(text + "\n", memories)

    def _pointer(self, memory: str) -> str:
        number = list(self._kinds).index(memory)
        return f"m{number}_{re.sub(r'[^0-9A-Za-z]', '_', memory)}"

    def _place(self, buffer: Buffer, written: bool = False) -> str:
        known = self._kinds.setdefault(buffer.memory, buffer.kind)
        if known != buffer.kind:
            raise ValueError(f"memory {buffer.memory} is of kind {known} and of kind {buffer.kind}")
        if written:
            self._written.add(buffer.memory)
        return f"{self._pointer(buffer.memory)} + {buffer.start}"

    def _lines(self, call: Call) -> Iterator[str]:
        if isinstance(call, Guard):
            yield f"if (!*({self._place(call.truth)})) return 0;"
        elif isinstance(call, Launch):
            k = call.kernel
            arrays = map(self._place, call.arrays, call.writes)
            number = k.cols if k.rows is None else k.rows
            yield f"{self._function(call)}({', '.join([*arrays, '0', str(number or 1)])});"
        elif isinstance(call, Product):
            sizes = [call.out.rows, call.out.cols, call.inner]
            how = ["true" if t else "false" for t in call.transposed]
            yield self._call("product", call.out, [call.a, call.b], [*map(str, sizes), *how])
        elif isinstance(call, Gather):
            sizes = [call.out.rows, call.out.cols]
            yield self._call("gather", call.out, [call.table, call.index], list(map(str, sizes)))
        else:
            assert isinstance(call, Scatter)  # there are no parts of several threads
            sizes = [call.out.rows, call.index.size, call.out.cols]
            yield self._call("scatter", call.out, [call.index, call.rows], list(map(str, sizes)))

    def _call(self, name: str, out: Buffer, given: Sequence[Buffer], more: Sequence[str]) -> str:
        arrays = [self._place(out, written=True), *map(self._place, given)]
        return f"gpubp::{name}({', '.join([*arrays, *more])});"

    def _function(self, call: Launch) -> str:
        """The name of the kernel, one for all that are equal."""
        text = Printer(call.kernel).function("KERNEL")
        return self._functions.setdefault(text, f"f{len(self._functions)}")
