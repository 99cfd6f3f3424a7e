"""Compiled training steps on the CPU: many of them in one call, on threads of our own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from gpubp.errors import DeviceError
from gpubp.program.calls import Opaque, Program

from . import modules, products
from .memories import DTYPES, aligned, by_member
from .numba_module import MOVING, Module, own_of_thread
from .segmented import Pieces, Segmented
from .team import Team, cores, one_blas_thread


def unusable() -> str | None:
    """Return why nothing can be compiled here, or None if it can.

    >>> unusable() is None or "gpubp[cpu]" in unusable()
    True
    """
    return products.available()


def known(program: Program, members: int | None, threads: int, title: str, shuffled: bool) -> bool:
    """Return whether the machine code of such `Steps` is here already, in memory or on disk."""
    if any(isinstance(call, Opaque) for call in program.calls):
        return modules.known(Pieces(program, members or 0).text(shuffled, title))
    return modules.known(Module(program, members or 0, threads).text(shuffled, title))


class Steps:
    """The steps of one program over the arrays of a network.

    `arrays` are those that the program names: parameters, gradients and slots, `(n,)` or for an
    ensemble `(members, n)`, and constants. `threads` share the rows of a step of one network, or
    the members of an ensemble. Raises `DeviceError` where nothing can be compiled.
    """

    def __init__(
        self, program: Program, members: int | None, arrays: Mapping[str, Any], threads: int,
        title: str,
    ) -> None:  # fmt: skip
        reason = unusable()
        if reason is not None:
            raise DeviceError(reason)
        self.program, self.members, self.threads = program, members, threads
        self._title = title
        self._team = _team(threads)
        self._module = Module(program, members or 0, threads)
        self._memories = {name: by_member(a, members) for name, a in arrays.items()}
        self._own = threads if members else 1
        dtype = np.dtype(program.precision)
        for kind, size in program.arena.items():
            self._memories[f"arena:{kind}"] = aligned((self._own, size), DTYPES.get(kind, dtype))
        for name, size in program.own.items():
            self._memories[name] = aligned((self._own, size), dtype)
        self._tables = self._made_tables()
        self._functions: dict[bool, Any] = {}
        self._stages: dict[str, Any] = {}

    def _made_tables(self) -> tuple[Any, ...]:
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
            if own_of_thread(name) and self._own > 1:
                begins[:, number] += np.arange(threads) * array.strides[0]
            elif len(array) > 1 and not own_of_thread(name):
                strides[number] = array.strides[0]
        which, offsets = module.which, module.offsets
        tables = np.zeros_like(offsets)
        return begins, strides, np.zeros_like(begins), which, offsets, module.moving, tables

    def text(self, shuffled: bool = True) -> str:
        """The text of the module that is compiled."""
        return self._module.text(shuffled, self._title)

    def _function(self, shuffled: bool) -> Any:
        if shuffled not in self._functions:
            self._functions[shuffled] = modules.load(self.text(shuffled)).run
        return self._functions[shuffled]

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
        not finite, counted from 1, 0 where all were: that step and those behind it were not taken,
        by no member at all with `stop_at_once`. `going` says which members take part; one whose
        step was not finite leaves it.
        """
        count, members = len(numbers), self.members or 1
        losses = np.full((count, members), np.nan)
        bad = np.zeros(members, np.int64)
        dtype = np.dtype(self.program.precision)
        data = [x, t, np.empty((0, 1), dtype) if w is None else w]
        stages = [self._stage(i, a, rows) for i, a in enumerate(data)]
        shuffled = order is not None or not all(a.flags.writeable for a in data)
        if order is None:
            order = np.arange((start + count) * rows) if shuffled else np.empty(0, np.int64)
        data = [_writeable(a) for a in data]
        function = self._function(shuffled)
        before = [self._team.state, rows, *data, order, *stages, start]
        after = [step, numbers, keys, going, stop_at_once, losses, bad, *self._tables]
        if not function.signatures:  # no step: it is compiled, or found, by one thread alone
            try:
                function(0, *before, 0, *after)
            except Exception:  # a damaged file: what numba says of it is anything
                modules.forget(self.text(shuffled))
                del self._functions[shuffled]
                function = self._function(shuffled)
                function(0, *before, 0, *after)
        with one_blas_thread():
            self._team.run(function, *before, count, *after)
        return losses, bad

    def _stage(self, number: int, data: Any, rows: int) -> Any:
        """Memory for a batch in a new order, of each thread that has one of its own."""
        own = self.threads if self.members else 1
        key = f"{number}:{data.shape[1]}:{rows}:{data.dtype}"
        if key not in self._stages:
            self._stages[key] = aligned((own, rows * data.shape[1]), data.dtype)
        return self._stages[key]


@cache
def _team(threads: int) -> Team:
    """The team of that many threads; all networks share it."""
    return Team(threads)


def _writeable(a: Any) -> Any:
    return a if a.flags.writeable else a.copy()


__all__ = ["Segmented", "Steps", "cores", "unusable"]
