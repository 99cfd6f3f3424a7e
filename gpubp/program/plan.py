"""From values to steps: what is one kernel, what a matrix product, and what is kept in memory.

Values have levels: a product, and whatever takes the result of a sum over rows, lies one level
above what it is made of. At each level there are first the calls, then one kernel for each length
of rows and one for each length of flat arrays. What a later level needs is loaded where it was
stored, and computed again where that is cheap: from one load and a few cheap operations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from .recorder import Phase
from .values import CALLS, COLUMN_REDUCTIONS, COSTLY, ROW_REDUCTIONS, UNSIGNED, Region, Value

CHEAP = 24
"""How many operations are done again rather than a matrix stored."""


Home: TypeAlias = tuple[int, int | None, int | None, str]


@dataclass(frozen=True)
class Step:
    """One call, or a kernel that makes `outs`, at a level.

    A kernel over rows has their number in `rows`, one over a flat array its length in `cols`.
    """

    level: int
    outs: tuple[Value, ...]
    rows: int | None = None
    cols: int | None = None
    call: bool = False


def crosses(value: Value) -> bool:
    """Whether a value is complete only when all rows, or all of a flat array, were met."""
    (x,) = value.args if len(value.args) == 1 else (None,)
    if x is None:
        return False
    return value.op in COLUMN_REDUCTIONS or (value.op in ROW_REDUCTIONS and x.rows is None)


class Plan:
    """The steps of a phase, in order, and which values are stored.

    `sinks` says where in memory some of the values belong.
    """

    def __init__(self, phase: Phase) -> None:
        self._graph = phase.graph
        self.guard, self._effects = phase.guard, phase.effects
        self.sinks = self._own_values(phase)
        self.values = self._live()
        self.level: dict[Value, int] = {}
        for value in self.values:
            self.level[value] = self._level(value)
        self._put_off()
        self.stored: set[Value] = set()
        self._outs: dict[Home, list[Value]] = {}
        self._cut: dict[Value, tuple[frozenset[Value], frozenset[Value]]] = {}
        self.fixed = self._fixed()
        for value in self.values:
            if value in self.fixed:
                self._store(value)
        for level in range(self.last, -1, -1):
            for home in [h for h in self._outs if h[0] == level]:
                seen: set[Value] = set()
                for out in list(self._outs[home]):
                    self._need(out, level, seen)
        self.steps = tuple(self._steps())

    @property
    def last(self) -> int:
        return max(self.level.values(), default=0)

    # -- what there is -------------------------------------------------------------------------

    def _own_values(self, phase: Phase) -> dict[Value, Region]:
        """A value of its own for each sink: not one that lies elsewhere, of the region's shape."""
        found: dict[Value, Region] = {}
        read = [v.attr for v in phase.graph.values if v.op == "leaf"]
        for region, value in phase.sinks.items():
            rows = region.rows if region.rows > 1 else None
            cols = region.cols if region.cols > 1 else None
            made = value.op not in ("leaf", "constant", "part", "slice")
            # What is read in this phase is written by its last kernels, so as a copy.
            made = made and not any(region.overlaps(r) for r in read)
            if made and value not in found and (value.rows, value.cols) == (rows, cols):
                found[value] = region
            else:
                copy = self._graph.add("copy", (value,), str(region), rows, cols, value.kind)
                found[copy] = region
        return found

    def _live(self) -> list[Value]:
        live: set[Value] = set()
        waiting = [*self.sinks, *self._effects, *([] if self.guard is None else [self.guard])]
        while waiting:
            value = waiting.pop()
            if value not in live:
                live.add(value)
                waiting += value.args
        return [value for value in self._graph.values if value in live]

    def _level(self, value: Value) -> int:
        below = [self.level[a] + crosses(a) for a in value.args]
        on_top = value.op in CALLS or (value.op == "slice" and self._behind(value.args[0]))
        return max(below, default=0) + on_top

    def _behind(self, x: Value) -> bool:
        """Whether a part of a flat array can be taken only after all of it was made."""
        return x.rows is None and x.op != "leaf"

    def _put_off(self) -> None:
        """Let what is read in this phase be written when nothing reads it any more."""
        read = [v.attr for v in self.values if v.op == "leaf"]
        late = [v for v, region in self.sinks.items() if any(region.overlaps(r) for r in read)]
        top = self.last + (1 if self.last else 0)
        for value in late:
            self.level[value] = top

    def _fixed(self) -> set[Value]:
        """What must lie in memory: sinks, operands of calls, and what is read out of place."""
        fixed = set(self.sinks) | ({self.guard} if self.guard is not None else set())
        for value in self.values:
            if value.op in CALLS or value.op == "slice":
                fixed |= set(value.args)
            if value.op == "concat" or crosses(value):
                fixed.add(value)
            if value.sort != "one":  # words of random bits: so that kernels of layers are equal
                fixed |= {a for a in value.args if a.sort == "one" and self._is_word(a)}
        return fixed

    def _is_word(self, value: Value) -> bool:
        return value.kind == UNSIGNED and value.op not in ("leaf", "constant")

    # -- what is stored ------------------------------------------------------------------------

    def lies(self, value: Value) -> bool:
        """Whether a value lies in memory whatever the plan."""
        return value.op == "leaf" or value.op in CALLS

    def loads(self, value: Value, level: int) -> bool:
        """Whether a kernel of that level finds a value in memory."""
        return self.lies(value) or (value in self.stored and self.level[value] < level)

    def home(self, value: Value) -> Home:
        """The kernel that makes a value: its level, its rows, or the length of a flat array.

        The words of each layer's random bits have a kernel of their own, all with one text.
        """
        of = value.args[0] if crosses(value) else value
        layer = value.origin if value.sort == "one" and self._is_word(value) else ""
        return self.level[value], of.rows, of.cols if of.rows is None else None, layer

    def _store(self, value: Value) -> None:
        if value in self.stored or self.lies(value):
            return
        self.stored.add(value)
        self._outs.setdefault(self.home(value), []).append(value)

    def _need(self, value: Value, level: int, seen: set[Value]) -> None:
        """See to it that a kernel of that level can have a value."""
        if value in seen or self.lies(value):
            return
        seen.add(value)
        if self.level[value] < level:
            kept = value.rows is not None and (value.cols is None or value in self._loads(value))
            if kept or value in self.stored or crosses(value):
                self._store(value)
                return
        for a in value.args:
            self._need(a, level, seen)

    def _loads(self, value: Value) -> frozenset[Value]:
        return self._again(value)[0]

    def _again(self, value: Value) -> tuple[frozenset[Value], frozenset[Value]]:
        """The matrices to be loaded and the operations to be done to have a value again."""
        if value not in self._cut:
            alone = frozenset({value})
            if value.rows is None or value.cols is None:
                found = frozenset[Value](), frozenset[Value]()
            elif self.lies(value) or value in self.fixed:
                found = alone, frozenset[Value]()
            else:
                parts = [self._again(a) for a in value.args]
                loads = frozenset().union(*(p[0] for p in parts))
                done = alone.union(*(p[1] for p in parts))
                found = loads, done
                if len(loads) > 1 or len(done) > CHEAP or value.op in COSTLY:
                    found = alone, frozenset[Value]()
            self._cut[value] = found
        return self._cut[value]

    # -- in order ------------------------------------------------------------------------------

    def _steps(self) -> Iterable[Step]:
        calls = [v for v in self.values if v.op in CALLS and v.op != "part"]
        for level in range(self.last + 1):
            for value in calls:
                if self.level[value] == level:
                    yield Step(level, (value,), call=True)
            homes = sorted(
                (h for h in self._outs if h[0] == level),
                key=lambda h: (h[1] is None, h[1] or 0, h[2] or 0, h[3]),
            )
            for home in homes:
                outs = sorted(self._outs[home], key=lambda v: v.number)
                yield Step(level, tuple(outs), home[1], home[2])
