"""Faults planted in the planner, the generator and the barriers, for the fuzzer to find.

Each changes a few words of one function. `case` is the number of a case of the suite that finds
it, which is looked at first.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from gpubp.backends import numba_module, numba_text
from gpubp.program import arena, barriers, emit, plan, program, recorder
from gpubp.recording import RecordedUpdates


@dataclass(frozen=True)
class Mutation:
    """In function `name` of a class or module, `old` becomes `new`."""

    what: str
    owner: Any
    name: str
    old: str
    new: str
    case: int = 0

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Inside, the fault is there."""
        function = getattr(self.owner, self.name)
        text = textwrap.dedent(inspect.getsource(function))
        assert self.old in text, f"{self.name} has no {self.old!r} any more: plant it elsewhere"
        space = sys.modules[function.__module__].__dict__
        made: dict[str, Any] = {}
        exec(compile(text.replace(self.old, self.new), f"<{self.what}>", "exec"), space, made)
        with ExitStack() as stack:
            for owner in self._owners(function):
                stack.enter_context(mock.patch.object(owner, self.name, made[self.name]))
            yield

    def _owners(self, function: Any) -> list[Any]:
        """The class, or each module that has the function by that name."""
        if isinstance(self.owner, type):
            return [self.owner]
        ours = [m for n, m in list(sys.modules.items()) if n.startswith("gpubp")]
        return [m for m in ours if vars(m).get(self.name) is function]


MUTATIONS = [
    Mutation("what is written is read as it was", recorder.Recorder, "read",
             "self.cut()", "pass", case=109),
    Mutation("the guard is skipped", RecordedUpdates, "_guard", "cut(ok.value)", "cut()", case=15),
    Mutation("a sum is read before it is complete", plan.Plan, "_level", " + crosses(a)", ""),
    Mutation("a value is loaded where it is made", plan.Plan, "loads",
             "self.level[value] < level", "self.level[value] <= level"),
    Mutation("the sum over rows is dropped", emit.Emit, "_total",
             "self._passes[place].append(JoinAt(value, value.kind, op, element))", "pass"),
    Mutation("a sum over rows is not cleared", emit.Emit, "_total",
             "self.before.append(Clear(value, value.kind, op, x.cols or 1))", "pass"),
    Mutation("a sum over columns goes on in the next row", emit.Emit, "_reduced",
             "self._between[number].append(Begin", "self.before.append(Begin"),
    Mutation("a column is stored before the last load", emit.Emit, "_out",
             "self._behind[number].append", "self._between[number].append", case=77),
    Mutation("a later load is forgotten", emit.Emit, "_load", "= max(last, ", "= min(0, ", case=50),
    Mutation("parts lie side by side in one place", emit.Emit, "_joined",
             "start += width", "pass"),
    Mutation("a block is used again too early", arena.Block, "meets",
             "self.first <= other.last and other.first <= self.last",
             "self.first < other.last and other.first < self.last"),
    Mutation("a call does not keep what it reads", arena.Arena, "_last_uses",
             "read = list(step.outs[0].args)", "read = []"),
    Mutation("two results take the place of one", arena.Arena, "_dying",
             "done = done and block.holds[-1] is read", "pass", case=621),
    Mutation("a result takes the place of what is read later", arena.Arena, "_dying",
             "and when <= emit.stores[value]", "", case=13),
    Mutation("parts of sums are added too late", arena.Arena, "added",
             "return number", "return len(self._plan.steps)", case=1),
    Mutation("two arrays of a launch are swapped", program._Builder, "_launch",
             "return Launch(kernel, tuple(arrays)",
             "return Launch(kernel, tuple(arrays[:-2] + arrays[:-3:-1])"),
    Mutation("a phase forgets its memory", program, "build",
             "max(arena.get(kind, 0), size)", "size"),
    Mutation("barriers are forgotten", barriers, "with_barriers",
             "yield Barrier()\n            since", "since", case=1),
    Mutation("a thread reads before others wrote", barriers.Access, "races",
             "not (self.writes or other.writes)", "not self.writes", case=1),
    Mutation("a thread writes before others read", barriers.Access, "races",
             "not (self.writes or other.writes)", "not other.writes", case=1),
    Mutation("all rows are taken for a thread's own", barriers.Access, "races",
             "self.parts == other.parts != ALL", "True", case=1),
    Mutation("sums are added before all are there", barriers, "accesses",
             "yield _access(call.parts, ALL if call.shared else FIRST, False)", "pass", case=1),
    Mutation("a product needs only its own rows", barriers, "_of_product",
             "yield _access(call.b, ALL, False)",
             "yield _access(call.b, (call.b.rows, call.b.cols), False)", case=1),
    Mutation("threads have one scratch", numba_module.Module, "_place",
             "m + t * buffer.stride", "m", case=1),
    Mutation("a thread begins at a wrong element", numba_module.Module, "_launch",
             "[b * width for b in begins]", "begins", case=1),
    Mutation("a thread ends too early", numba_module.Module, "_launch",
             "[b - a for", "[b - a - (b == begins[-1]) for", case=1),
    Mutation("a product begins at a wrong row", numba_module.Module, "_product",
             "r if ta else r * lda", "r * lda if ta else r", case=1),
    Mutation("a product begins at a wrong column", numba_module.Module, "_product",
             "[r * n + c for", "[r * n for", case=10),
    Mutation("the text does not ask the guard", numba_module.Module, "_printed",
             "if flat_bool(table[{at}], 1)[0]:", "if True:", case=15),
    Mutation("all steps draw the same random bits", numba_module.Module, "_run",
             "np.uint32(step + i)", "np.uint32(step)"),
    Mutation("all steps have the first one's rate", numba_module.Module, "_run",
             "address(numbers[i, k])", "address(numbers[0, k])"),
    Mutation("all members have the first one's memory", numba_module, "_filled",
             "begin[m] + k * strides[m]", "begin[m]", case=6),
    Mutation("all steps of a call have one batch", numba_module.Module, "_batch",
             "(start + i) * rows", "start * rows"),
    Mutation("threads draw the same random bits", numba_text._Kernel, "_line",
             'row = "first + r" if self._shared else "r"', 'row = "r"', case=26),
    Mutation("a part of the columns begins at the first", numba_text, "_index",
             "[j + {offset}]", "[j]"),
]  # fmt: skip
