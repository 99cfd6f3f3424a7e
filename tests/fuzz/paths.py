"""The ways to run a recorded step: replayed by NumPy, and compiled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np

from gpubp import seeds
from gpubp.program import program as programs
from gpubp.program import sharing
from gpubp.program.calls import Program
from gpubp.program.replay import Replay
from gpubp.recording import Recording, Shadow
from tests.fuzz.cases import Given


@contextmanager
def small_parts(small: bool, number: int = 0) -> Iterator[None]:
    """Let threads share what is too little to be worth it; gradients have parts or none, by the
    number of the case."""
    if not small:
        yield
        return
    with ExitStack() as patched:
        for name, value in (
            ("LEAST_ROWS", 1),
            ("LEAST_FLAT", 2),
            ("LEAST_TOTAL", 2),
            ("MOST_PARTS", 0 if number % 2 else 1 << 15),
        ):
            patched.enter_context(mock.patch.object(sharing, name, value))
        yield


@contextmanager
def other_lanes(number: int) -> Iterator[None]:
    """Let vectors be of any length, and small products be done by the function for large ones.

    So that rows divide by them and do not, whatever the processor; by the number of the case.
    """
    from gpubp.backends import compiled, segmented, step_code

    lanes = (16, 4, 8, 2)[number % 4]
    with ExitStack() as patched:
        for module in (compiled, segmented):
            patched.enter_context(mock.patch.object(module, "lanes", return_value=lanes))
        if number % 3:
            patched.enter_context(mock.patch.object(step_code, "SMALL", 8))
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

    def arranged(self, shuffled: bool) -> tuple[Any, Any, Any, Any]:
        """All examples as rows, targets, weights, and their order if they are `shuffled`."""
        given, order = self.given, None
        x, t, w = given.x.reshape(len(given.x), -1), given.t, given.w
        if shuffled:
            order = np.random.default_rng(0).permutation(len(x))
            back = np.argsort(order)
            x, t, w = x[back], t[back], None if w is None else w[back]
        return x, t, w, order

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


class Compiled(Path):
    name = "compiled"

    def __init__(
        self, given: Given, recording: Recording, program: Program, shuffled: bool = False
    ) -> None:
        from gpubp.backends.compiled import Steps

        super().__init__(given, recording, program)
        one = given.net.members is None
        held = {n: a[0] if one else a for n, a in self.arrays.items()} | self.constants
        self._steps = Steps(program, given.net.members, held, given.threads)
        self._shuffled = shuffled

    def run(self, start: int, count: int) -> tuple[Any, Any]:
        x, t, w, order = self.arranged(self._shuffled)
        numbers = np.stack([self.numbers(start + i) for i in range(count)])
        going = np.ones(self.members, bool)
        losses, bad = self._steps.run(
            x, t, w, order, self.given.rows, start, start, numbers, self.keys, going, True
        )
        return losses, bad
