"""Gradient descent over a data set: by example, by mini-batch or by all of it at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np

from . import inputs
from .backend import Array, Rows, select
from .bound import Bound
from .evaluation import BLOCK, Mean
from .interrupts import Interrupts
from .losses import Loss
from .optimizers import Optimizer
from .progress import Bar
from .seeds import shuffler

CHECK_EVERY = 64
"""Steps between two looks at a device that works ahead of the host."""

Batch: TypeAlias = tuple[Array, Array, Array | None, float]
"""Examples, targets, weights, and what the batch weighs in the mean loss of the epoch."""


@dataclass
class Data:
    """Examples, targets and weights, all of them on the device or all on the host.

    They are on the host where they do not fit on the device, or the examples are a memory map.
    """

    x: Array
    t: Array
    w: Array | None = None

    @property
    def n(self) -> int:
        return int(self.x.shape[0])


def _nothing() -> None:
    """What is done after a batch, unless it is told."""


def _endless() -> float:
    """How many updates may be made before somebody wants to see the network: any number."""
    return math.inf


class Position(NamedTuple):
    """Where an epoch was left: batches done, the sum and the weight of their losses, seconds."""

    batch: int = 0
    total: Any = None
    weight: float = 0.0
    seconds: float = 0.0


class Trainer:
    """The loop of `Network.fit` over arrays that were looked at already.

    The order of epoch e is a function of `shuffle_seed` and e alone, so that training in two
    parts gives the bits of training in one.
    """

    path = "plain"
    """How steps are computed, one of `gpubp.saved.PATHS`."""

    @property
    def multiplies(self) -> bool:
        """Whether products are made by the BLAS library that NumPy has."""
        return True

    @property
    def told(self) -> dict[str, str]:
        """What else the bits of a training depend on, by name."""
        return {}

    watched = False
    """Whether callbacks look on, which may change the network between two epochs."""

    def __init__(
        self,
        net: Bound,
        data: Any,
        loss: Loss,
        optimizer: Optimizer,
        batch_size: int,
        shuffle_seed: int | None,
        micro_batch: int | None = None,
    ) -> None:
        self.net, self.data, self.loss, self.optimizer = net, data, loss, optimizer
        self.batch_size = batch_size if data.n is None else min(batch_size, data.n)
        self.stopped = ""  # why the optimizer has nothing left to do
        self.shuffle_seed, self.micro_batch = shuffle_seed, micro_batch
        self.bar = Bar(None, False)
        self.after_batch: Callable[[], None] = _nothing
        self.until_due: Callable[[], float] = _endless
        self.next, self.began, self.mean = 0, 0.0, Mean(net)
        self.on_host = isinstance(data, Data) and inputs.on_host(net.be, data.x)
        """Whether the data goes to the device batch by batch."""
        self._weights = self._weights_on_host()
        self._rows: Any = None
        self._taken: Any = None

    @property
    def batches(self) -> int:
        n: int = self.data.n
        return -(-n // self.batch_size)

    def _weights_on_host(self) -> Any:
        """What each example weighs in the mean loss, `(n,)`; None where each weighs one."""
        be, data, parts = self.net.be, self.data, []
        be = select("cpu", be.precision) if self.on_host else be
        for start in range(0, data.n, BLOCK):  # not at once: that may take n times n_out
            rows = slice(start, min(start + BLOCK, data.n))
            w = None if data.w is None else data.w[rows, ...]
            each = self.loss.example_weights(be, data.t[rows, ...], w)
            if each is None:
                return None
            parts.append(be.to_numpy(each)[:, 0])
        return np.concatenate(parts)

    def epoch(
        self, number: int, interrupts: Interrupts, position: Position | None = None
    ) -> dict[str, Any]:
        """Train on every example once; return the mean loss and the seconds it took.

        With a `position` of that epoch, on the examples that are left, as if all had been met.
        """
        self._begin(position)
        with closing(self._batches(number, self.next)) as batches:
            for batch in batches:
                self._one_step(batch, interrupts)
        return self._ended()

    def _begin(self, position: Position | None) -> None:
        seen = position or Position()
        self.began, self.next = time.perf_counter() - seen.seconds, seen.batch
        self.mean = Mean(self.net, seen.total, seen.weight)

    def _one_step(self, batch: Batch, interrupts: Interrupts) -> None:
        x, t, w, weight = batch
        value, ok = self.net.train_step(x, t, self.loss, self.optimizer, w, self.micro_batch)
        now = self.next % CHECK_EVERY == 0 or interrupts.pending
        self.next += 1
        self._verify(ok, now)
        if weight:
            self.mean.add(value if self.loss.is_mean else value / weight, weight)
        self._after(1, interrupts)

    def _after(self, batches: int, interrupts: Interrupts) -> None:
        self.bar.advance(batches)
        self.after_batch()
        if interrupts.pending:
            interrupts.leave()

    def _ended(self) -> dict[str, Any]:
        self._verify(True, True)
        return {"loss": self.mean.result(), "seconds": time.perf_counter() - self.began}

    def settle(self) -> None:
        """Wait for a device that works ahead; raise where a step was not finite."""
        self._verify(True, True)

    def position(self) -> Position:
        """Return where the epoch under way is; waits for a device that works ahead."""
        self._verify(True, True)
        seconds = time.perf_counter() - self.began
        return Position(self.next, *self.mean.so_far(), seconds)

    def _batches(self, number: int, start: int) -> Generator[Batch]:
        """The batches of an epoch from batch `start` on, each with its weight in the mean loss."""
        self._set_order(number)
        if not self.on_host:
            for batch in range(start, self.batches):
                yield (*self._recall(batch), self._weight(batch))
            return
        on_host = (self._rows_on_host(batch) for batch in range(start, self.batches))
        with closing(self.net.be.ahead(on_host)) as coming:
            for batch, (x, t, w) in enumerate(coming, start):
                yield x, t, w, self._weight(batch)

    def _set_order(self, number: int) -> None:
        self._rows = order = self._order(number)
        here = order is None or self.on_host
        self._taken = None if here else self.net.be.asarray(order, "int64")

    def _order(self, epoch: int) -> Any:
        if self.shuffle_seed is None:
            return None
        return shuffler(self.shuffle_seed, epoch).permutation(self.data.n)

    def _span(self, batch: int) -> slice:
        return slice(batch * self.batch_size, min((batch + 1) * self.batch_size, self.data.n))

    def _recall(self, batch: int) -> Rows:
        """A batch of the epoch under way, once more where it must be looked into."""
        be, data, span = self.net.be, self.data, self._span(batch)
        if self.on_host:
            return be.rows(*self._rows_on_host(batch))
        if self._rows is None:
            w = None if data.w is None else data.w[span, ...]
            return data.x[span, ...], data.t[span, ...], w
        taken = self._taken[span]
        w = None if data.w is None else be.take(data.w, taken)
        return be.take(data.x, taken), be.take(data.t, taken), w

    def _rows_on_host(self, batch: int) -> Rows:
        data, span = self.data, self._span(batch)
        rows = span if self._rows is None else self._rows[span]
        return data.x[rows], data.t[rows], None if data.w is None else data.w[rows]

    def _weight(self, batch: int) -> float:
        span = self._span(batch)
        if self._weights is None:
            return float(span.stop - span.start)
        part = self._weights[span] if self._rows is None else self._weights[self._rows[span]]
        return float(part.sum())

    def _verify(self, ok: Any, now: bool) -> None:
        """Raise for a step that was not finite: at once on the host, at a cadence on a device."""
        net, be, batch = self.net, self.net.be, self.next - 1
        if be.deferred:
            lost = net.steps.settle() if now else 0
            if not lost:
                return
            batch -= lost - 1
        elif ok:
            return
        self._refuse(batch)

    def _refuse(self, batch: int) -> NoReturn:
        """Raise for a batch of the epoch under way whose step was not finite."""
        net = self.net
        x, t, w = self._recall(batch)
        y, _ = net._forward(x, training=True)
        value, delta = self.loss.value_and_delta(net.be, y, t, w)
        raise net.diagnose(x, delta, value)
