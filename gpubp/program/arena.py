"""Where the values of a phase lie: one arena, used again for what is no longer needed.

Each value that is stored has a block for as long as something reads it. A kernel may write over
what it reads for the last time, element by element. Blocks that live at the same time share
nothing, which is asserted for every pair when all are placed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .emit import Emit
from .kernels import Scratch
from .plan import Plan, crosses
from .values import Value

ALIGN = 16
"""Elements: a block begins at a cache line."""


@dataclass(frozen=True)
class Part:
    """Memory for each thread's part of a sum over rows."""

    value: Value


@dataclass(eq=False)
class Block:
    """Memory of one kind from step `first` to step `last`."""

    kind: str
    size: int
    first: int
    last: int
    start: int = -1
    holds: list[Value | Scratch | Part] = field(default_factory=list)

    def meets(self, other: Block) -> bool:
        """Whether both are needed at one time."""
        alive = self.first <= other.last and other.first <= self.last
        return alive and self.kind == other.kind

    @property
    def stop(self) -> int:
        return self.start + -(-self.size // ALIGN) * ALIGN


class Arena:
    """The blocks of a phase, placed; `size` is what each kind takes, in elements.

    `copies` is how many threads work on one step: what each of them has of its own, row scratch
    and parts of sums, is there so many times, one after the other.
    """

    def __init__(self, plan: Plan, emits: Mapping[int, Emit], copies: Mapping[int, int]) -> None:
        self._plan, self._emits, self._copies = plan, emits, copies
        self.block: dict[Value | Scratch | Part, Block] = {}
        self._last = self._last_uses()
        for number, step in enumerate(plan.steps):
            for out in step.outs:
                if out not in plan.sinks:
                    self._place_value(out, number)
            self._own(number)
        self.blocks = list({id(b): b for b in self.block.values()}.values())
        self.size = _placed(self.blocks)
        assert_apart(self.blocks)

    def _last_uses(self) -> dict[Value, int]:
        """The last step that reads each value."""
        last: dict[Value, int] = {}
        for number, step in enumerate(self._plan.steps):
            if step.call:
                read = list(step.outs[0].args)
            else:
                read = [v for v in self._emits[number].reads if isinstance(v, Value)]
            for value in read:
                last[self.origin(value)] = number
        if self._plan.guard is not None:
            last[self._plan.guard] = len(self._plan.steps)
        return last

    def origin(self, value: Value) -> Value:
        """The value whose memory this one is seen through."""
        while value.op == "part":
            (value,) = value.args
        return value

    def _place_value(self, value: Value, number: int) -> None:
        last = max(self._last.get(value, number), number)
        over = self._dying(value, number)
        if over is not None:
            over.last = last
            over.holds.append(value)
            self.block[value] = over
            return
        self.block[value] = Block(value.kind, value.size, number, last, holds=[value])

    def _dying(self, value: Value, number: int) -> Block | None:
        """The block of something that is read for the last time where this value is written."""
        emit = self._emits.get(number)
        if emit is None or value not in emit.stores:
            return None
        for read, when in emit.reads.items():
            if not isinstance(read, Value) or read not in self.block or read is value:
                continue
            block = self.block[read]
            alike = (read.rows, read.cols, read.kind) == (value.rows, value.cols, value.kind)
            done = self._last.get(read) == number == block.last and block.first < number
            done = done and block.holds[-1] is read  # and no other result of this step lies there
            if alike and done and when <= emit.stores[value]:
                return block
        return None

    def _own(self, number: int) -> None:
        """Memory that a kernel has for one row, or for its part of a sum."""
        emit, step = self._emits.get(number), self._plan.steps[number]
        copies = self._copies.get(number, 1)
        own: list[Scratch | Part] = [] if emit is None else list(emit.scratch)
        if copies > 1:
            own += [Part(v) for v in step.outs if step.call or crosses(v)]
        for each in own:
            length = each.value.size if step.call else each.value.cols or 1
            size = -(-length // ALIGN) * ALIGN * copies
            last = self.added(each.value) if isinstance(each, Part) else number
            self.block[each] = Block(each.value.kind, size, number, last, holds=[each])

    def added(self, value: Value) -> int:
        """The step before which the parts of a sum are added: where it is read first."""
        for number, step in enumerate(self._plan.steps):
            if step.call:
                read = {self.origin(a) for a in step.outs[0].args}
            else:
                read = {v for v in self._emits[number].reads if isinstance(v, Value)}
            if value in read:
                return number
        return len(self._plan.steps)


def _placed(blocks: Sequence[Block]) -> dict[str, int]:
    """Put each block, the largest first, where it is lowest and meets no other."""
    size: dict[str, int] = {}
    placed: list[Block] = []
    for block in sorted(blocks, key=lambda b: -b.size):
        taken = sorted((b for b in placed if b.meets(block)), key=lambda b: b.start)
        block.start = 0
        for other in taken:
            if block.stop <= other.start:
                break
            block.start = max(block.start, other.stop)
        placed.append(block)
        size[block.kind] = max(size.get(block.kind, 0), block.stop)
    return size


def assert_apart(blocks: Sequence[Block]) -> None:
    """Raise `AssertionError` where two blocks that live at one time share an element."""
    for number, a in enumerate(blocks):
        for b in blocks[:number]:
            shared = a.start < b.stop and b.start < a.stop
            if shared and a.meets(b):
                raise AssertionError(f"{a} and {b} lie in the same memory")
