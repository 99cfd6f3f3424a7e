"""What a recorded step consists of: calls over named memories and one arena."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from .kernels import Kernel

ARENA = "arena"

DOUBLE = "D"
"""The kind of the numbers that come with a step: float64, whatever the network."""


@dataclass(frozen=True)
class Buffer:
    """A part of a memory (`arena:KIND` for that of a kind), as rows and columns.

    `stride` is how far apart the copies of several threads are, 0 where they share it.
    """

    memory: str
    start: int
    rows: int
    cols: int
    kind: str
    stride: int = 0

    @property
    def size(self) -> int:
        return self.rows * self.cols


@dataclass(frozen=True)
class Launch:
    """A kernel; `shared` is what is divided among workers: `"rows"`, `"cols"` or nothing.

    There are so many `copies` of what each worker has of its own.
    """

    kernel: Kernel
    arrays: tuple[Buffer, ...]
    writes: tuple[bool, ...]
    shared: str
    copies: int = 1


@dataclass(frozen=True)
class Product:
    """out = a b, either of them transposed.

    Threads share the `"rows"` or the `"cols"` of the result; or each takes its part of the rows of
    a batch, `"inner"`, and puts what they add up to in memory of its own.
    """

    out: Buffer
    a: Buffer
    b: Buffer
    transposed: tuple[bool, bool]
    shared: str
    label: str = ""

    @property
    def inner(self) -> int:
        return self.a.size // self.out.rows

    @property
    def flops(self) -> int:
        return 2 * self.out.size * self.inner


@dataclass(frozen=True)
class Gather:
    """The rows of a table `(n, d)` that the index names."""

    out: Buffer
    table: Buffer
    index: Buffer


@dataclass(frozen=True)
class Scatter:
    """A table `(n, d)` of the sums of rows with each index."""

    out: Buffer
    index: Buffer
    rows: Buffer


@dataclass(frozen=True)
class Total:
    """What the parts of all threads add up to."""

    out: Buffer
    parts: Buffer
    op: str
    shared: str = ""


@dataclass(frozen=True)
class Guard:
    """Where this truth is false the step ends here."""

    truth: Buffer


@dataclass(frozen=True)
class Opaque:
    """A pass of a layer that is not compiled: number `passage`, `"forward"` or `"backward"`.

    It is given examples of shape `taken`. What comes out has the shape `made`, None where nobody
    asks for it; gradients are written by the layer itself.
    """

    out: Buffer
    given: Buffer
    passage: int
    way: str
    taken: tuple[int, ...]
    made: tuple[int, ...] | None
    label: str = ""


@dataclass(frozen=True)
class Barrier:
    """All threads wait for one another."""


Call: TypeAlias = Launch | Product | Gather | Scatter | Total | Guard | Opaque | Barrier


@dataclass(frozen=True)
class Program:
    """The calls of one step of one member, in order, and the memory they need.

    `arena` is elements by kind; `own` the size of each memory that lives from one phase to the
    next; `threads` how many work on one step together; `half` what numbers of kind `H` are, of
    `gpubp.program.values.HALVES`, "" where there are none.
    """

    calls: tuple[Call, ...]
    arena: Mapping[str, int]
    own: Mapping[str, int]
    threads: int
    precision: str
    half: str = ""
