"""Gradient descent over a data set: by example, by mini-batch or by all of it at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .backend import Array
from .bound import Bound
from .evaluation import BLOCK, Mean
from .interrupts import Interrupts
from .losses import Loss
from .optimizers import Optimizer

_CHECK_EVERY = 64  # steps between two looks at a device that works ahead of the host


@dataclass
class Data:
    """Examples, targets and weights on the device (a memory map stays on the host)."""

    x: Array
    t: Array
    w: Array | None = None

    @property
    def n(self) -> int:
        return int(self.x.shape[0])


class Trainer:
    """The loop of `Network.fit` over arrays that were looked at already.

    The order of epoch e is a function of `shuffle_seed` and e alone, so that training in two
    parts gives the bits of training in one.
    """

    def __init__(
        self,
        net: Bound,
        data: Data,
        loss: Loss,
        optimizer: Optimizer,
        batch_size: int,
        shuffle_seed: int | None,
        on_batch: Callable[[int], None],
        micro_batch: int | None = None,
    ) -> None:
        self.net, self.data, self.loss, self.optimizer = net, data, loss, optimizer
        self.batch_size = min(batch_size, data.n)
        self.stopped = ""  # why the optimizer has nothing left to do
        self.shuffle_seed, self._on_batch, self.micro_batch = shuffle_seed, on_batch, micro_batch
        self._weights = self._weights_on_host()

    @property
    def batches(self) -> int:
        return -(-self.data.n // self.batch_size)

    def _weights_on_host(self) -> Any:
        """What each example weighs in the mean loss, `(n,)`; None where each weighs one."""
        be, data, parts = self.net.be, self.data, []
        for start in range(0, data.n, BLOCK):  # not at once: that may take n times n_out
            rows = slice(start, min(start + BLOCK, data.n))
            w = None if data.w is None else data.w[rows, ...]
            each = self.loss.example_weights(be, data.t[rows, ...], w)
            if each is None:
                return None
            parts.append(be.to_numpy(each)[:, 0])
        return np.concatenate(parts)

    def epoch(self, number: int, interrupts: Interrupts) -> dict[str, Any]:
        """Train on every example once; return the mean loss and the seconds it took."""
        net, began, mean = self.net, time.perf_counter(), Mean(self.net)
        order = self._order(number)
        rows = None if order is None else net.be.asarray(order, "int64")
        for batch in range(self.batches):
            x, t, w = self._batch(batch, rows, order)
            value, ok = net.train_step(x, t, self.loss, self.optimizer, w, self.micro_batch)
            now = batch % _CHECK_EVERY == 0 or batch + 1 == self.batches or interrupts.pending
            self._verify(batch, ok, now, rows, order)
            self._add(mean, value, batch, order)
            self._on_batch(batch)
            if interrupts.pending:
                raise KeyboardInterrupt
        return {"loss": mean.result(), "seconds": time.perf_counter() - began}

    def _order(self, epoch: int) -> Any:
        if self.shuffle_seed is None:
            return None
        seeds = np.random.SeedSequence(self.shuffle_seed, spawn_key=(epoch,))
        return np.random.Generator(np.random.Philox(seeds)).permutation(self.data.n)

    def _span(self, batch: int) -> slice:
        return slice(batch * self.batch_size, min((batch + 1) * self.batch_size, self.data.n))

    def _batch(self, batch: int, rows: Array, order: Any) -> tuple[Array, Array, Array | None]:
        be, data, span = self.net.be, self.data, self._span(batch)
        if rows is None:
            w = None if data.w is None else data.w[span, ...]
            return be.asarray(data.x[span, ...]), data.t[span, ...], w
        taken = rows[span]
        if isinstance(data.x, np.memmap):
            x = be.asarray(data.x[order[span]])
        else:
            x = be.take(data.x, taken)
        return x, be.take(data.t, taken), None if data.w is None else be.take(data.w, taken)

    def _add(self, mean: Mean, value: Array, batch: int, order: Any) -> None:
        span = self._span(batch)
        weight = float(span.stop - span.start)
        if self._weights is not None:
            part = self._weights[span] if order is None else self._weights[order[span]]
            weight = float(part.sum())
        if weight:
            mean.add(value if self.loss.is_mean else value / weight, weight)

    def _verify(self, batch: int, ok: Any, now: bool, rows: Array, order: Any) -> None:
        """Raise for a step that was not finite: at once on the host, at a cadence on a device."""
        net, be = self.net, self.net.be
        if be.deferred:
            lost = net.steps.settle() if now else 0
            if not lost:
                return
            batch -= lost - 1
        elif ok:
            return
        x, t, w = self._batch(batch, rows, order)
        y, _ = net._forward(x, training=True)
        value, delta = self.loss.value_and_delta(be, y, t, w)
        raise net.diagnose(x, delta, value)
