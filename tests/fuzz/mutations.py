"""Faults planted in the planner, the generator and the barriers, for the fuzzer to find.

Each changes a few words of one function. `case` is the number of a case of the suite that finds
it, which is looked at first. Faults of machine code are looked for in a process of their own
(`python -m tests.fuzz.mutations NUMBER`), for it may write where it will.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from gpubp.program import arena, barriers, emit, plan, program, recorder
from gpubp.recording import RecordedUpdates
from tests.fuzz.check import CAN_COMPILE, Rejected, check, own_cache

FEW = 60
"""Cases that are looked at for each fault."""


@dataclass(frozen=True)
class Mutation:
    """In function `name` of a class or module, `old` becomes `new`."""

    what: str
    owner: Any
    name: str
    old: str
    new: str
    case: int = 0
    compiled: bool = False

    def cases(self) -> Iterable[int]:
        """The numbers of the cases that are looked at, in their order."""
        return [self.case, *(n for n in range(FEW) if n != self.case)]

    def found(self) -> bool:
        """Whether some case is wrong with this fault."""
        with self.planted(), own_cache():
            return any(_is_wrong(number, self.compiled) for number in self.cases())

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
]  # fmt: skip
"""Of the planner, the generator and the barriers, which a replay finds."""


def of_code() -> list[Mutation]:
    """Of what writes machine code; needs llvmlite."""
    from gpubp.backends import kernel_code, step_code

    module, text, writer = step_code.Module, step_code._Text, kernel_code._Writer
    planted = [
        ("threads have one scratch", module, "_place", "m + t * buffer.stride", "m", 1),
        ("a thread begins at a wrong element", module, "_of_launch",
         "[b * width for b in begins]", "begins", 1),
        ("a thread ends too early", module, "_part", "[b - a for", "[b - a - (b > a) for", 1),
        ("a product begins at a wrong row", module, "_of_product",
         "(1, lda) if ta else (lda, 1)", "(lda, 1) if ta else (1, lda)", 1),
        ("a product begins at a wrong column", module, "_of_product",
         "[r * n + c for", "[r * n for", 10),
        ("the code does not ask the guard", step_code, "written",
         'icmp_unsigned("==", truth, ir.IntType(8)(0))',
         'icmp_unsigned("==", truth, ir.IntType(8)(9))', 15),
        ("all steps draw the same random bits", text, "_run", '["step"] + i', '["step"] + 0', 0),
        ("all steps have the first one's rate", text, "_member",
         'given["numbers"] + number *', 'given["numbers"] + k *', 0),
        ("all members have the first one's memory", text, "_fill_bases",
         "begin + k * stride", "begin", 6),
        ("all steps of a call have one batch", text, "_batch",
         '(given["start"] + i) * rows', 'given["start"] * rows', 0),
        ("threads draw the same random bits", writer, "_counted",
         'row + self._first if self._shared == "rows" else row', "row", 26),
        ("a part of the columns begins at the first", writer, "_place",
         "place + offset +", "place +", 0),
        ("lanes that are not there are added", writer, "_turn",
         "if at.mask is not None", "if False", 0),
        ("half of the lanes are added twice", writer, "_reduced",
         "for low in (0, half)", "for low in (0, 0)", 0),
        ("a sum over rows forgets what it was", writer, "_put_sums",
         "self._store(array, ROW, 0, value, at)", "pass", 0),
    ]  # fmt: skip
    return [Mutation(*each, compiled=True) for each in planted]


def _is_wrong(number: int, compiled: bool) -> bool:
    try:
        check(0, number, compiled)
    except Rejected:
        return False
    except Exception:  # numbers that differ, or a program that cannot run
        return True
    return False


if __name__ == "__main__":
    assert CAN_COMPILE, "machine code needs llvmlite"
    sys.exit(1 if of_code()[int(sys.argv[1])].found() else 0)
