"""Compiled steps of a network, kept with it from one `fit` to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import seeds
from .activations import ACTIVATIONS
from .backend import Backend
from .bound import Bound
from .diagnosis import around
from .layers import Layer
from .losses import Loss
from .optimizers import Optimizer
from .passages import Passages
from .program.calls import Launch, Opaque, Product, Program
from .program.program import build
from .program.values import HALVES
from .recording import Recording, recorded

_KEPT = 8
"""How many compiled steps a network keeps: two for each of the last few kinds of `fit`."""


_LAID_OUT = ("rows", "threads", "shuffled", "precision")
"""What two jobs must have in common beside their programs."""


@dataclass(frozen=True)
class Job:
    """What a step is compiled for: `target` is the width of the targets and their dtype.

    `precision` is that of products, "" for the network's own.
    """

    loss: Loss
    optimizer: Optimizer
    rows: int
    target: tuple[int, str]
    weighted: bool
    threads: int
    shuffled: bool
    precision: str = ""


class Compiled:
    """The steps of one job, over the arrays that the network has now.

    `program` is there from the first; machine code comes with `steps`. Raises
    `gpubp.program.tensors.Untraceable` for what cannot be recorded.
    """

    def __init__(self, net: Bound, job: Job) -> None:
        self.job, self.frozen = job, net.frozen
        self.key: tuple[Any, ...] | None = None
        self.sound = False
        """Whether a step was held against that of the plain path."""
        self.recording: Recording = recorded(
            net, job.optimizer, job.rows, job.loss, job.target, job.weighted,
            job.precision == "fp16",
        )  # fmt: skip
        shared = 1 if net.members is not None or self.recording.passages else job.threads
        self.program: Program = build(
            self.recording.phases, self.recording.precision, sharing=net.be.sharing(shared),
            half=job.precision if job.precision in HALVES else "",
        )  # fmt: skip
        self._steps: Any = None
        self._bound: tuple[Any, ...] = ()

    def same(self, other: Compiled) -> bool:
        """Whether another recording is the same to the last constant, and shared alike.

        Layers, losses and formulas may be anybody's, and what they compute with may have changed
        since: nothing but a new recording tells.
        """
        mine, theirs = self.recording.constants, other.recording.constants
        return (
            self.program == other.program
            and all(getattr(self.job, n) == getattr(other.job, n) for n in _LAID_OUT)
            and mine.keys() == theirs.keys()
            and all(np.array_equal(mine[name], theirs[name]) for name in mine)
        )

    def steps(self, net: Bound) -> Any:
        """Return `gpubp.backends.compiled.Steps`; they are made anew where an array is another."""
        arrays = arrays_of(net, self.job.optimizer)
        bound = tuple(arrays.values())
        if self._steps is None or any(a is not b for a, b in zip(bound, self._bound, strict=True)):
            self._steps = None  # its memory is free before there is other
            self._steps = self.over(net, arrays)
            self._bound = bound
        return self._steps

    def over(self, net: Bound, arrays: dict[str, Any]) -> Any:
        """Return such steps over other arrays than those of the network."""
        memories, job = {**arrays, **self.recording.constants}, self.job
        compiler = net.be.compiler()
        if self.recording.passages:
            passes = Passages(net, self.recording.passages)
            return compiler.Segmented(self.program, net.members, memories, passes)
        more = {"tf32": True} if job.precision == "tf32" else {}
        return compiler.Steps(self.program, net.members, memories, job.threads, **more)

    @property
    def longest(self) -> int:
        """The lengths of all sums of a step together: how far rounding may reach."""
        found = self.job.rows
        for call in self.program.calls:
            if isinstance(call, Product):
                found += call.inner
            elif isinstance(call, Opaque):
                found += call.given.cols
            elif isinstance(call, Launch):
                found += call.kernel.cols or 0 if call.kernel.rows is not None else 0
        return found


def arrays_of(net: Bound, optimizer: Optimizer) -> dict[str, Any]:
    """Return what a program names, of a network; slots of another kind begin anew."""
    slots = zip(optimizer.slots, net.steps.slots.of(optimizer), strict=True)
    return {
        "theta": net.theta, "grad": net.grad, "state": net.arrays.running,
        **{f"slot:{name}": array for name, array in slots},
    }  # fmt: skip


def keys_of(net: Bound) -> Any:
    """Return the key of the random bits of each member, uint32 `(members,)`."""
    return np.ascontiguousarray(seeds.keys(net.seeds, net._lead)).reshape(-1)


def compiled(net: Any, job: Job) -> Compiled:
    """Return the steps of a job, those the network has already if it has them.

    They stay with the network: what takes seconds is done once.
    """
    kept: list[Compiled] = vars(net).setdefault("_compiled", [])
    key = _key(net, job)
    found = None if key is None else next((each for each in kept if each.key == key), None)
    if found is None:
        made = Compiled(net, job)
        made.key = key
        found = next((each for each in kept if each.same(made)), made)
    if found in kept:
        kept.remove(found)
    found.job = job
    kept.append(found)
    del kept[:-_KEPT]
    return found


def own_parts(net: Bound, loss: Loss, optimizer: Optimizer) -> bool:
    """Whether layers, loss or optimizer are somebody's own, which may hold what changes."""
    parts: list[Any] = [loss, optimizer, optimizer.inner]

    def look(leaf: Layer) -> Layer:
        parts.append(leaf)
        return leaf

    around(net.layer, look)
    return any(type(part).__module__.partition(".")[0] != "gpubp" for part in parts)


def _key(net: Bound, job: Job) -> tuple[Any, ...] | None:
    """What tells that a recording would be equal; None where only a new one does.

    The library's own layers, losses and optimizers are frozen; an activation may be registered
    anew under its name.
    """
    method = job.optimizer
    if own_parts(net, job.loss, method):
        return None
    return (
        net.layer, net.frozen, tuple(ACTIVATIONS.items()), job.loss, method.kind,
        method.inner.formula, method.penalties, method.clip, method.max_norm, method.decay_on,
        bool(method.weight_decay), job.rows, job.target, job.weighted, job.threads, job.shuffled,
        job.precision,
    )  # fmt: skip


def flat(be: Backend, a: Any) -> Any:
    """An array of examples of a device as rows in one piece."""
    return be.xp.ascontiguousarray(a.reshape(len(a), -1))
