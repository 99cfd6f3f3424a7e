"""Gradient descent in blocks of compiled steps: as `gpubp.training`, with a few calls an epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from .errors import NonFiniteError
from .interrupts import Interrupts
from .number_table import NumberTable
from .program.halted import Halted
from .program.halves import first_scales
from .programs import Compiled, flat, keys_of
from .training import Position, Trainer

SECONDS = 0.1
"""What a block should take: short for one who presses Ctrl-C, long beside the call itself."""

_FIRST = 8
"""Steps in the first block, which tells how long one takes."""


class CompiledTrainer(Trainer):
    """The loop of `Network.fit` over arrays, many steps in one call.

    A block ends where somebody looks: where a checkpoint is due, a watch meets a step (which is
    made on the plain path then), a step was not finite, an epoch ends. The bits of a training do
    not depend on where its blocks end. A member of an ensemble that stands still is left out, and
    keeps the loss of its last epoch in the records; one that was lost has NaN there.

    >>> import numpy as np
    >>> import gpubp
    >>> net, x = gpubp.Network(gpubp.Linear(1), inputs=1), np.ones((8, 1))
    >>> history = net.fit(x, x, loss="mean_squared_error", compile=False)
    >>> history.path
    'plain'
    """

    path = "compiled"
    choose: Callable[[], None]
    """Choose steps anew: what they are made of may have changed."""
    own_parts = False
    """Whether a part is somebody's own, and may compute otherwise from one epoch to the next."""

    @property
    def multiplies(self) -> bool:
        return bool(self.aside)

    @property
    def told(self) -> dict[str, str]:
        job = self._whole.job
        products = job.precision or self.net.be.precision
        return {"threads": str(job.threads), "precision": products}

    @property
    def aside(self) -> str:
        """Which layers go the plain path in the midst of compiled steps, and why."""
        return "; ".join(self._whole.recording.refused)

    def prepare(self, whole: Compiled, rest: Compiled | None) -> None:
        """Take the compiled steps of whole batches, and those of the smaller one at the end."""
        data = self.data
        self._whole, self._rest = whole, rest
        self._per_step = 0.0
        self._table: NumberTable | None = None
        self._w = None if data.w is None else flat(self.net.be, data.w)
        self._weighed: Any = None

    def epoch(
        self, number: int, interrupts: Interrupts, position: Position | None = None
    ) -> dict[str, Any]:
        net: Any = self.net
        if net.frozen != self._whole.frozen or (self.own_parts and self.watched):
            self.choose()
        if self._table is None:
            self._table = NumberTable(net.steps, self.optimizer, net.members or 1)
        self._x, self._t = flat(net.be, self.data.x), flat(net.be, self.data.t)
        self._keys = keys_of(net)
        self._begin(position)
        self._set_order(number)
        if self._weighed is None or self._weights is not None:
            self._weighed = self._batch_weights()
        resting = np.atleast_1d(net.steps.halted & ~net.steps.lost)
        while self.next < self.batches:
            count = self._ahead()
            if count:
                self._block(count, interrupts)
            else:
                batch = self.next
                self._one_step((*self._recall(batch), float(self._weighed[batch])), interrupts)
                self._verify(True, True)  # a device does not go on ahead into a block
        record = self._ended()
        if net.members is not None and resting.any() and net.history.records:
            before = net.history.records[-1]["loss"]
            record["loss"] = np.where(resting, before, record["loss"]).tolist()
        return record

    # -- how far a block may go ----------------------------------------------------------------

    def _ahead(self) -> int:
        """Steps of the next block; 0 where the plain path has to make the next one."""
        whole = self.data.n // self.batch_size
        most: float = whole - self.next if self.next < whole else 1
        most = min(most, self.until_due())
        if self.net.watch is not None:
            ahead = getattr(self.net.watch, "ahead", None)
            most = min(most, 0 if ahead is None else ahead())
        wanted = SECONDS / self._per_step if self._per_step else _FIRST
        return int(min(most, max(wanted, 1.0)))

    def _batch_weights(self) -> Any:
        """What each batch of the epoch weighs in its mean loss."""
        begins = np.arange(0, self.data.n, self.batch_size)
        if self._weights is None:
            return np.diff(begins, append=self.data.n).astype(np.float64)
        each = self._weights if self._rows is None else self._weights[self._rows]
        return np.add.reduceat(each.astype(np.float64), begins)

    def _refuse(self, batch: int) -> NoReturn:
        try:
            super()._refuse(batch)
        except NonFiniteError as error:
            if self._whole.job.precision == "fp16":
                error.add_note("products are of 16-bit floats, of which 65504 is the largest: "
                               "precision='bf16' reaches as far as float32")  # fmt: skip
            raise

    def _scales(self) -> dict[str, Any]:
        """What gradients of 16-bit floats are multiplied by; a block changes it."""
        steps = self.net.steps
        if self._whole.job.precision != "fp16":
            return {}
        if steps.loss_scale is None:
            steps.loss_scale = first_scales(self.net.members)
        return {"scales": steps.loss_scale}

    # -- a block -------------------------------------------------------------------------------

    def _block(self, count: int, interrupts: Interrupts) -> None:
        updates, first = self.net.steps, self.next
        going = np.atleast_1d(~updates.halted)
        slots = updates.slots
        t = slots.updates + 1 if slots.fits(self.optimizer) else 1
        assert self._table is not None
        numbers = self._table.of(t, count)
        error: BaseException | None = None
        try:
            losses, bad = self._run(count, numbers, going.copy())
        except Halted as halted:  # the steps before the error count
            (losses, bad), error = halted.found, halted.__cause__
            count = len(losses)
        sound = updates.take_over(self.optimizer, going, count, bad)
        if not sound:
            self.next = first + int(bad[bad > 0].min())
            self._refuse(self.next - 1)
        self.next = first + count
        weights = self._weighed[first : self.next]
        if not self.loss.is_mean:
            losses = losses / np.where(weights > 0.0, weights, 1.0)[:, None]
        self.mean.add_steps(losses, weights)
        self._after(count, interrupts)
        if error is not None:
            raise error

    def _run(self, count: int, numbers: Any, going: Any) -> tuple[Any, Any]:
        """Losses, and which step of each member was not finite."""
        net, whole = self.net, self.data.n // self.batch_size
        x, t, w, order, start, size = self._x, self._t, self._w, self._taken, self.next, 0
        if self.next < whole:
            steps, size = self._whole.steps(net), self.batch_size
        else:
            assert self._rest is not None
            steps, begin = self._rest.steps(net), whole * self.batch_size
            start, size = 0, self.data.n - begin
            if order is not None:
                order = order[begin:]
            else:
                x, t, w = x[begin:], t[begin:], None if w is None else w[begin:]
        began = time.perf_counter()
        found: tuple[Any, Any] = steps.run(
            x, t, w, order, size, start, net.updates, numbers, self._keys, going,
            not net.steps.tolerant, **self._scales(),
        )  # fmt: skip
        if self.next < whole:
            self._per_step = (time.perf_counter() - began) / count
        return found
