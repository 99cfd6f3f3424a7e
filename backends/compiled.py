"""Compiled training steps on the CPU: many of them in one call, on threads of our own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from gpubp.program.calls import Program

from . import products
from .linking import lanes, load
from .memories import DTYPES, aligned, by_member
from .segmented import Segmented
from .step_code import BOOK, FIELDS, MOVING, WORK, Module, own_of_thread
from .team import Team, cores

PRECISIONS: tuple[str, ...] = ()
"""What products can be made in beside the network's own precision: nothing."""


class Steps:
    """The steps of one program over the arrays of a network.

    `arrays` are those that the program names: parameters, gradients and slots, `(n,)` or for an
    ensemble `(members, n)`, and constants. `threads` share the rows of a step of one network, or
    the members of an ensemble. Needs llvmlite; see `gpubp.backends.native.available`.
    """

    def __init__(
        self, program: Program, members: int | None, arrays: Mapping[str, Any], threads: int,
        timed: bool = False,
    ) -> None:  # fmt: skip
        self.program, self.members, self.threads = program, members, threads
        self._team = _team(threads)
        self._module = Module(program, members or 0, threads, lanes(program.precision), timed)
        self._memories = {name: by_member(a, members) for name, a in arrays.items()}
        self._own = threads if members else 1
        dtype = np.dtype(program.precision)
        for kind, size in program.arena.items():
            self._memories[f"arena:{kind}"] = aligned((self._own, size), DTYPES.get(kind, dtype))
        for name, size in program.own.items():
            self._memories[name] = aligned((self._own, size), dtype)
        work = products.workspace(program.precision, self._module.sizes)
        self._memories[WORK] = aligned((threads, work), np.uint8)
        self._memories[BOOK] = aligned((threads, 2 + len(program.calls)), np.int64)
        self._tables = self._made_tables()
        known = {name: _number(a) for name, a in self._tables.items()}
        self._known = dict.fromkeys(FIELDS, 0) | known
        self._functions: dict[bool, Any] = {}
        self._stages: dict[str, Any] = {}

    def _made_tables(self) -> dict[str, Any]:
        """Where each thread finds memories, and what its table is made of."""
        module, threads = self._module, self.threads
        names = list(module.memories)
        begins = np.zeros((threads, len(names)), np.int64)
        strides = np.zeros(len(names), np.int64)
        for number, name in enumerate(names):
            if name in MOVING:
                continue
            array = self._memories[name]
            begins[:, number] = array.ctypes.data
            if own_of_thread(name) and len(array) > 1:
                begins[:, number] += np.arange(threads) * array.strides[0]
            elif len(array) > 1:
                strides[number] = array.strides[0]
        return {
            "begins": begins, "strides": strides, "bases": np.zeros_like(begins),
            "which": module.which, "offsets": module.offsets, "moving": module.moving,
            "tables": np.zeros_like(module.offsets),
        }  # fmt: skip

    def text(self, shuffled: bool = True) -> str:
        """The text of the module that is compiled, for LLVM."""
        return self._module.text(shuffled)

    def _function(self, shuffled: bool) -> Any:
        if shuffled not in self._functions:
            precision = self.program.precision if self._module.sizes else None
            self._functions[shuffled] = load(
                lambda: self.text(shuffled), self._module.key(shuffled), 2, precision
            )
        return self._functions[shuffled]

    @property
    def ticks(self) -> Any:
        """The ticks that each call has taken so far, `(threads, calls)`; of steps that are timed.

        They are those of the processor's counter, which need not be its cycles.
        """
        return self._memories[BOOK][:, 2 : 2 + len(self.program.calls)]

    @property
    def between(self) -> Any:
        """The ticks between two steps so far, `(threads,)`; of steps that are timed."""
        return self._memories[BOOK][:, 1]

    @property
    def arena_bytes(self) -> int:
        """Memory beside that of the network itself."""
        return sum(a.nbytes for name, a in self._memories.items() if name.startswith("arena:"))

    def run(
        self, x: Any, t: Any, w: Any, order: Any, rows: int, start: int, step: int, numbers: Any,
        keys: Any, going: Any, stop_at_once: bool,
    ) -> tuple[Any, Any]:  # fmt: skip
        """Do as many steps as `numbers` `(steps, members, n)` has, from batch `start` on.

        `x`, `t` and `w` are all examples, rows by columns; `order` says which come in which place,
        None as they lie. Returns the losses `(steps, members)` and for each member which step was
        not finite, counted from 1, 0 where all were: that member takes neither that step nor those
        behind it, which with `stop_at_once` nobody takes. `going` says which members take part; one
        whose step was not finite leaves it.
        """
        count, members = len(numbers), self.members or 1
        losses = np.full((count, members), np.nan)
        bad = np.zeros(members, np.int64)
        data = {"x": x, "t": t} | ({} if w is None else {"w": w})
        function = self._function(order is not None)
        given: dict[str, Any] = {
            "meeting": self._team.state, "rows": rows, "start": start, "count": count,
            "step": step, "numbers": np.ascontiguousarray(numbers),
            "numbers_bytes": 8 * numbers.shape[-1], "keys": keys, "going": going,
            "stop_at_once": stop_at_once, "losses": losses, "bad": bad,
        }  # fmt: skip
        if order is not None:
            given["order"] = np.ascontiguousarray(order, np.int64)
        for name, array in data.items():
            given |= {name: array, f"{name}_bytes": array.strides[0]}
            if order is not None:
                given[f"stage_{name}"] = self._stage(name, array, rows)
        numbered = self._known | {name: _number(value) for name, value in given.items()}
        fields = np.asarray([*numbered.values()], np.int64)
        self._team.run(function, fields.ctypes.data)
        going[bad > 0] = False
        return losses, bad

    def _stage(self, name: str, data: Any, rows: int) -> Any:
        """Memory for a batch in a new order, of each thread that has one of its own."""
        own = self.threads if self.members else 1
        key = f"{name}:{data.shape[1]}:{rows}:{data.dtype}"
        if key not in self._stages:
            self._stages[key] = aligned((own, rows * data.shape[1]), data.dtype)
        return self._stages[key]


@cache
def _team(threads: int) -> Team:
    """The team of that many threads; all networks share it."""
    return Team(threads)


def _number(x: Any) -> int:
    """A number, or where an array begins."""
    return x.ctypes.data if isinstance(x, np.ndarray) else int(x)


__all__ = ["Segmented", "Steps", "cores"]
