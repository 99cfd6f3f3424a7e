"""The ways to run a recorded step: replayed by NumPy, as plain Python text, really compiled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np

from gpubp import seeds
from gpubp.backends import numba_module, numba_narrow, python_parts
from gpubp.backends.numba_module import ARGUMENTS, MOVING, Module, own_of_thread
from gpubp.program import program as programs
from gpubp.program.calls import Program
from gpubp.program.replay import Replay
from gpubp.program.rows import dtype_of
from gpubp.recording import Recording, Shadow
from tests.fuzz.cases import Given
from tests.fuzz.turns import Turns


@contextmanager
def small_parts(small: bool, number: int = 0) -> Iterator[None]:
    """Let threads share what is too little to be worth it, and BLAS do small products too.

    By the number of the case gradients have parts or none, products are shared by rows or columns,
    and single rows go side by side or do not.
    """
    if not small:
        yield
        return
    with ExitStack() as patched:
        for module, name, value in (
            (programs, "LEAST_ROWS", 1),
            (programs, "LEAST_FLAT", 2),
            (programs, "LEAST_TOTAL", 2),
            (programs, "LEAST_COLS", 1 if number // 2 % 2 else 64),
            (programs, "LARGE", 1),
            (programs, "MOST_PARTS", 0 if number % 2 else 1 << 15),
            (numba_narrow, "LANES", 1 if number // 4 % 2 else 16),
            (numba_module, "SMALL", 8),
        ):
            patched.enter_context(mock.patch.object(module, name, value))
        yield


def record(given: Given) -> Recording:
    """Record a step; `Untraceable` where that cannot be done."""
    shadow = Shadow(given.net, given.case.method, given.rows)
    kind = "int64" if given.t.dtype == np.int64 else "T"
    target = given.t.shape[1], kind
    return shadow.record(given.case.loss, given.case.method, target, given.w is not None)


def build(given: Given, recording: Recording) -> Program:
    """The program of a step; members of an ensemble are shared out, not the rows of a step."""
    threads = 1 if given.net.members else given.threads
    return programs.build(recording.phases, recording.precision, threads)


class Path:
    """A way to do steps of one program on arrays of its own, which begin as those of the network.

    `arrays` are by member, `(members, n)`; of one network the first alone.
    """

    name = ""

    def __init__(self, given: Given, recording: Recording, program: Program) -> None:
        self.given, self.program, self.count = given, program, recording.count
        net, optimizer = given.net, given.case.method
        self.members = net.members or 1
        self.arrays: dict[str, Any] = {
            "theta": self._own(net.theta), "grad": self._own(np.zeros_like(net.theta)),
            "state": self._own(net.arrays._state),
        }  # fmt: skip
        for name in optimizer.slots:
            self.arrays[f"slot:{name}"] = self._own(np.zeros_like(net.theta))
        self.constants = recording.constants
        self.keys = seeds.keys(net.seeds, net._lead).reshape(-1).astype(np.uint32)

    def _own(self, array: Any) -> Any:
        return np.array(array).reshape(self.members, -1)

    def numbers(self, step: int) -> Any:
        """What step `step` (from 0) is given beside arrays, `(members, n)`."""
        steps, optimizer = self.given.net.steps, self.given.case.method
        rate = steps.rate_at(optimizer, step + 1)
        found = [rate, *steps.numbers(optimizer, step + 1, rate)]
        return np.stack([np.broadcast_to(x, (self.members,)) for x in found], axis=-1)

    def run(self, start: int, count: int) -> tuple[Any, Any]:
        """Do steps; return losses `(count, members)`, and which step of each was not finite."""
        raise NotImplementedError


class ByReplay(Path):
    name = "replay"

    def __init__(
        self, given: Given, recording: Recording, program: Program,
        order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(given, recording, program)
        self._replays = [
            Replay(program, {n: a[k] for n, a in self.arrays.items()} | self.constants, order)
            for k in range(self.members)
        ]

    def run(self, start: int, count: int) -> tuple[Any, Any]:
        losses, bad = np.full((count, self.members), np.nan), np.zeros(self.members, int)
        for i in range(count):
            x, t, w = self.given.batch(start + i)
            moving = {"x": x, "t": t, "step": np.asarray([start + i], np.uint32)}
            moving |= {} if w is None else {"w": w}
            numbers = self.numbers(start + i)
            for k, replay in enumerate(self._replays):
                more = {"numbers": numbers[k], "key": self.keys[k : k + 1]}
                sound = replay.step(moving | more)
                losses[i, k] = replay.memory("loss")[0]
                bad[k] = 0 if sound else i + 1
            if bad.any():
                break
        return losses, bad


class ByText(Path):
    """The text that is compiled, run as the Python it is, with threads that take turns."""

    name = "text"

    def __init__(
        self, given: Given, recording: Recording, program: Program,
        order: Sequence[int] | None = None, shuffled: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(given, recording, program)
        threads, members = given.threads, given.net.members
        self._module = Module(program, members or 0, threads)
        self.text = self._module.text(shuffled, "a case of the fuzzer")
        space: dict[str, Any] = {}
        plain = self.text.replace("gpubp.backends.numba_parts", python_parts.__name__)
        exec(compile(plain, "<text>", "exec"), space)
        self._turns = Turns(range(threads) if order is None else order)
        space["barrier"] = self._turns.barrier
        self._function, self._shuffled = space["run"], shuffled
        self._own_rows = threads if members else 1
        self._dtype = np.dtype(program.precision)
        self._memories = self._all_memories()

    def _all_memories(self) -> dict[str, Any]:
        held = self.arrays | {n: a[None] for n, a in self.constants.items()}
        program, own = self.program, self._own_rows
        for kind, size in program.arena.items():
            array = np.zeros((own, size), dtype_of(kind, self._dtype))
            array[...] = np.nan if kind == "T" else 1
            held[f"arena:{kind}"] = array
        return held | {n: np.zeros((own, size), self._dtype) for n, size in program.own.items()}

    def _tables(self) -> tuple[Any, ...]:
        """Begins, strides, bases, and what tables are made of: see `gpubp.backends.compiled`."""
        module, threads = self._module, self.given.threads
        names, address = list(module.memories), python_parts.address
        begins: list[list[Any]] = [[None] * len(names) for _ in range(threads)]
        strides = [0] * len(names)
        for number, name in enumerate(names):
            if name in MOVING:
                continue
            array = self._memories[name]
            own = own_of_thread(name) and self._own_rows > 1
            for t in range(threads):
                begins[t][number] = address(array) + (t * array.strides[0] if own else 0)
            if len(array) > 1 and not own_of_thread(name):
                strides[number] = array.strides[0]
        bases = [np.empty(len(names), object) for _ in range(threads)]
        tables = [np.empty(module.which.shape[1], object) for _ in range(threads)]
        made_of = module.which, module.offsets, module.moving
        return begins, strides, bases, *made_of, tables

    def run(self, start: int, count: int) -> tuple[Any, Any]:
        given, rows, own = self.given, self.given.rows, self._own_rows
        x, t = (a.reshape(len(a), -1) for a in (given.x, given.t))
        w = np.empty((0, 1), self._dtype) if given.w is None else given.w
        order = np.arange(len(x))
        if self._shuffled:  # the data lie in another order, which the text puts right
            order = np.random.default_rng(0).permutation(len(x))
            back = np.argsort(order)
            x, t, w = (a[back] if len(a) else a for a in (x, t, w))
        stages = [np.zeros((own, rows * a.shape[1]), a.dtype) for a in (x, t, w)]
        losses, bad = np.full((count, self.members), np.nan), np.zeros(self.members, np.int64)
        numbers = np.stack([self.numbers(start + i) for i in range(count)])
        going = np.ones(self.members, bool)
        values = (None, rows, x, t, w, order, *stages, start, count, start, numbers, self.keys,
                  going, True, losses, bad, *self._tables())  # fmt: skip
        named = dict(zip(ARGUMENTS[1:], values, strict=True))
        self._turns.run(lambda thread: self._one(thread, named))
        return losses, bad

    def _one(self, thread: int, named: dict[str, Any]) -> None:
        with np.errstate(all="ignore"):  # of this thread alone
            self._function(thread, **named)


class Compiled(Path):
    name = "compiled"

    def __init__(
        self, given: Given, recording: Recording, program: Program, shuffled: bool = False
    ) -> None:
        from gpubp.backends.compiled import Steps

        super().__init__(given, recording, program)
        one = given.net.members is None
        held = {n: a[0] if one else a for n, a in self.arrays.items()} | self.constants
        self._steps = Steps(program, given.net.members, held, given.threads, "a case")
        self._shuffled = shuffled

    def run(self, start: int, count: int) -> tuple[Any, Any]:
        given = self.given
        x, t, w = given.x.reshape(len(given.x), -1), given.t, given.w
        order = None
        if self._shuffled:
            order = np.random.default_rng(0).permutation(len(x))
            back = np.argsort(order)
            x, t, w = x[back], t[back], None if w is None else w[back]
        numbers = np.stack([self.numbers(start + i) for i in range(count)])
        going = np.ones(self.members, bool)
        losses, bad = self._steps.run(
            x, t, w, order, given.rows, start, start, numbers, self.keys, going, True
        )
        return losses, bad
