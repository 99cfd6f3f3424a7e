"""What a recorded step does: its kernels and products, its memory, and what it moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .bound import Bound
from .compiling import check_precision
from .losses import Loss
from .optimizers import Optimizer
from .program.calls import (
    DOUBLE,
    Barrier,
    Buffer,
    Gather,
    Guard,
    Launch,
    Opaque,
    Product,
    Program,
    Scatter,
    Total,
)  # fmt: skip
from .program.program import build
from .program.values import HALF, HALVES
from .recording import recorded

_BYTES = {"U": 4, "I": 8, "bool": 1, HALF: 2, DOUBLE: 8}


@dataclass(frozen=True)
class Row:
    """One call of a step: what it is, what it does in numbers, and what it touches in bytes."""

    what: str
    layer: str
    shape: str
    flops: int
    bytes: int
    shared: str


@dataclass(frozen=True)
class Explanation:
    """A recorded step in figures; `print` it.

    `kernels` and `products` count calls, `texts` different kernels; `arena` is memory for what
    lies between calls, `held` that of weights, gradients and slots, `peak` both and the batch, all
    of one member and in bytes; `flops` and `moved` are of one step; `precision` is that of
    products, all else is in that of the network.
    """

    rows: tuple[Row, ...]
    precision: str
    kernels: int
    texts: int
    products: int
    barriers: int
    arena: int
    held: int
    peak: int
    flops: int
    moved: int

    def __str__(self) -> str:
        lines = [f"{'call':<9}{'layer':<28}{'shape':<22}{'MFLOP':>9}{'KiB':>10}  threads share"]
        lines += [
            f"{r.what:<9}{r.layer[:26]:<28}{r.shape:<22}{r.flops / 1e6:>9.3f}"
            f"{r.bytes / 1024:>10.1f}  {r.shared}".rstrip()
            for r in self.rows
        ]
        in_products = sum(r.flops for r in self.rows if r.what == "product")
        share = 100.0 * in_products / self.flops if self.flops else 0.0
        lines += [
            "",
            f"{self.kernels} kernels ({self.texts} different), {self.products} products, "
            f"{self.barriers} barriers",
            f"{self.flops / 1e6:.2f} MFLOP a step, {share:.1f} % of them in products, in "
            f"{self.precision}; "
            f"{self.moved / 1024:.0f} KiB read or written",
            f"arena {self.arena / 1024:.1f} KiB, weights, gradients and slots "
            f"{self.held / 1024:.1f} KiB, peak {self.peak / 1024:.1f} KiB",
        ]
        return "\n".join(lines)


def explain(
    net: Bound, loss: Loss, optimizer: Optimizer, batch_size: int, threads: int = 1,
    *, labels: bool | None = None, weighted: bool = False, precision: str | None = None,
) -> Explanation:  # fmt: skip
    """Return what one training step of a network comes to, of one member.

    `labels` says whether targets are class labels and not numbers; by default what the loss is
    usually given. `precision` is what products are made in, see `Network.fit`. Raises
    `gpubp.errors.InputError` for a loss or a precision that the network cannot have, and
    `gpubp.program.tensors.Untraceable`, which names layer and call, for what cannot be recorded. A
    layer that goes the plain path in the midst of compiled steps has no operations to count.

    >>> import gpubp
    >>> net = gpubp.Network(gpubp.MLP([4], 3), inputs=2)
    >>> found = explain(net, gpubp.CrossEntropy(), gpubp.SGD(0.1), batch_size=8)
    >>> found.products, found.rows[0].layer, found.rows[0].flops
    (5, '0', 128)
    """
    program = step_of(net, loss, optimizer, batch_size, threads, labels=labels, weighted=weighted,
                      precision=precision)  # fmt: skip
    return of_program(program, net, optimizer, precision)


def step_of(
    net: Bound, loss: Loss, optimizer: Optimizer, batch_size: int, threads: int = 1,
    *, labels: bool | None = None, weighted: bool = False, precision: str | None = None,
) -> Program:  # fmt: skip
    """Return the program of a training step; see `explain`."""
    width, products = int(net.spec.shape[-1]), check_precision(precision, net.be.precision, "auto")
    loss.check(width)
    if labels is None:
        labels = loss.targets in ("labels", "classes")
    target = (1, "int64") if labels else (loss.target_width(width), net.be.precision)
    recording = recorded(net, optimizer, batch_size, loss, target, weighted, products == "fp16")
    half = products if products in HALVES else ""
    shared = 1 if recording.passages else threads
    return build(recording.phases, recording.precision, shared, half=half)


def of_program(
    program: Program, net: Bound, optimizer: Optimizer, precision: str | None = None
) -> Explanation:
    """The same for a program that was built."""
    item = np.dtype(program.precision).itemsize
    rows = tuple(_rows(program, item))
    launched = [call.kernel for call in program.calls if isinstance(call, Launch)]
    arena = sum(size * _BYTES.get(kind, item) for kind, size in program.arena.items())
    held = (2 + len(optimizer.slots)) * net.arrays.params.size * item
    batch = {b.memory: b.size * _BYTES.get(b.kind, item) for b in _buffers(program.calls)
             if b.memory in ("x", "t", "w")}  # fmt: skip
    return Explanation(
        rows,
        precision=precision or program.precision,
        kernels=len(launched),
        texts=len(set(launched)),
        products=sum(isinstance(call, Product) for call in program.calls),
        barriers=sum(isinstance(call, Barrier) for call in program.calls),
        arena=arena,
        held=held,
        peak=arena + held + sum(batch.values()),
        flops=sum(row.flops for row in rows),
        moved=sum(row.bytes for row in rows),
    )


def _rows(program: Program, item: int) -> Iterator[Row]:
    for call in program.calls:
        moved = sum(b.size * _BYTES.get(b.kind, item) for b in _buffers([call]))
        if isinstance(call, Launch):
            k = call.kernel
            shape = f"{k.rows} rows" if k.rows is not None else f"{k.cols or 1} elements"
            yield Row("kernel", k.label, shape, k.operations, moved, call.shared)
        elif isinstance(call, Product):
            shape = f"{call.out.rows} x {call.inner} x {call.out.cols}"
            yield Row("product", call.label, shape, call.flops, moved, call.shared)
        elif isinstance(call, Gather | Scatter):
            name = type(call).__name__.lower()
            yield Row(name, "", f"{call.index.size} rows", 0, moved, "")
        elif isinstance(call, Opaque):
            yield Row("plain", call.label, f"{call.given.rows} rows {call.way}", 0, moved, "")
        elif isinstance(call, Total):
            yield Row("total", "", f"{call.out.size} elements", call.parts.size, moved, call.shared)
        elif isinstance(call, Guard):
            yield Row("guard", "optimizer", "", 0, moved, "")


def _buffers(calls: Any) -> Iterator[Buffer]:
    """Every part of memory that calls name."""
    for call in calls:
        if isinstance(call, Launch):
            yield from call.arrays
        elif not isinstance(call, Barrier):
            yield from (v for v in vars(call).values() if isinstance(v, Buffer))
