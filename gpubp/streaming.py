"""Networks over rows that are read as needed: the same checks, batches and bits as over arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from . import evaluation, inputs
from .arguments import check_rest
from .backend import Array, select
from .bound import Bound
from .categories import check_categories
from .errors import DeviceError, InputError
from .evaluation import BLOCK
from .interrupts import Interrupts
from .losses import Loss
from .source import Block, Checked, Source
from .training import CHECK_EVERY, Batch, Position, Trainer


class Feed:
    """A source that a network reads; `loss` says what the targets are, None: there are none.

    >>> import gpubp
    >>> from gpubp.data import Rows
    >>> feed = Feed(gpubp.Network(gpubp.Linear(1), inputs=2), Rows([[1, 2], [3, 4]]))
    >>> [x.tolist() for x, t, w in feed.batches(1)]
    [[[1.0, 2.0]], [[3.0, 4.0]]]
    """

    def __init__(
        self,
        net: Bound,
        source: Source,
        loss: Loss | None = None,
        check_finite: bool = False,
        which: str = "",
    ) -> None:
        self.net, self.source, self.n, self.which = net, source, source.n, which
        self._loss, self._check_finite = loss, check_finite
        self.host = select("cpu", net.be.precision)

    def look(self, epoch: int = 0) -> None:
        """Raise `InputError` unless the first rows of an epoch are what the network takes."""
        self._check(self.source.first(epoch))

    def batches(
        self, size: int, epoch: int = 0, seed: int | None = None, start: int = 0
    ) -> Generator[Checked]:
        """Yield batches on the host, each looked at; see `Source.batches`."""
        return self.source.batches(size, self._check, epoch, seed, start)

    def on_device(self, batch: Checked) -> tuple[Array, Array, Array | None]:
        """Return a batch as arrays of the network's device."""
        be, (x, t, w) = self.net.be, batch
        t = None if t is None else be.asarray(t, "int64" if t.dtype == np.int64 else None)
        return be.asarray(x), t, None if w is None else be.asarray(w)

    def _checked(self, block: Block) -> Checked:
        net, host = self.net, self.host
        with host.activate():
            x = host.asarray(inputs.features(host, block.x, net.inputs))
            n = len(x)
            rows = range(n) if block.rows is None else block.rows
            if any(net.spec.categories):
                check_categories(host, x, net.spec.categories, "x", rows)
            if self._check_finite:
                inputs.finite(host, x, "x", rows)
            if self._loss is None:
                return x, None, None
            if block.y is None:
                raise InputError("there are no targets; give (x, y)")
            t = self._loss.read(host, block.y, net.spec.shape[-1], n)
            if self._check_finite:
                inputs.finite(host, t, "y", rows)
            return x, t, inputs.weights(host, block.w, n, rows)

    def _check(self, block: Block) -> Checked:
        """Look at rows as at arrays; the error names the source and the first bad row."""
        try:
            return self._checked(block)
        except (InputError, DeviceError) as error:
            row = self._first_bad(block)
            why = error if row is None else self._fault(block, row, row + 1) or error
            where = block.where
            if row is not None:
                where += f", row {row if block.rows is None else int(block.rows[row])}"
            raise type(why)(f"{self.which}{where}: {why}") from error

    def _fault(self, block: Block, start: int, stop: int) -> InputError | DeviceError | None:
        try:
            self._checked(block.part(start, stop))
        except (InputError, DeviceError) as error:
            return error
        return None

    def _first_bad(self, block: Block) -> int | None:
        """The first row that spoils a block; None where no single one does."""
        given = [a for a in (block.x, block.y, block.w) if a is not None]
        if not all(isinstance(a, list | np.ndarray) and np.ndim(a) for a in given):
            return None
        n = len(block.x)
        if {len(a) for a in given} != {n}:
            return None
        if n > 1 and self._fault(block, 0, 1) and self._fault(block, n - 1, n):  # all, most likely
            return None
        sound, bad = 0, n  # so many first rows are sound; among so many, one is bad
        while bad - sound > 1:
            middle = (sound + bad) // 2
            if self._fault(block, 0, middle):
                bad = middle
            else:
                sound = middle
        return sound


class StreamTrainer(Trainer):
    """The loop of `Network.fit` over a source: batches come one by one, and are not kept.

    >>> import gpubp
    >>> from gpubp.data import Stream
    >>> net = gpubp.Network(gpubp.Linear(1), inputs=1)
    >>> blocks = [([[0.0], [1.0]], [1.0, 3.0]), ([[2.0]], [5.0])]
    >>> net.fit(Stream(blocks), loss="mean_squared_error", epochs=2, batch_size=2)["epoch"]
    [1, 2]
    """

    data: Any

    def _weights_on_host(self) -> Any:
        return None

    def epoch(
        self, number: int, interrupts: Interrupts, position: Position | None = None
    ) -> dict[str, Any]:
        self._reading: Generator[Batch] | None = None
        try:
            return super().epoch(number, interrupts, position)
        except InputError:
            self._verify(True, True)  # a device may be behind
            raise
        finally:
            if self._reading is not None:
                self._reading.close()

    def _batches(self, number: int, start: int) -> Iterator[Batch]:
        self._reading = self._read(number, start)
        return self._reading

    def _read(self, number: int, start: int) -> Generator[Batch]:
        feed, self._last = self.data, deque[Checked](maxlen=CHECK_EVERY)
        with closing(feed.batches(self.batch_size, number, self.shuffle_seed, start)) as batches:
            for batch in batches:
                rows = len(batch[0])
                if rows < self.batch_size and feed.n is None:  # not known before
                    self._check_last(rows)
                if not self.net.be.deferred:
                    self._last.clear()
                self._last.append(batch)
                yield (*feed.on_device(batch), self._weigh(batch))

    def _check_last(self, rows: int) -> None:
        try:
            check_rest(self.net.spec.least_rows, rows, rows, self.micro_batch)
        except InputError as error:
            raise InputError(
                f"Stream: the last batch of {self.batch_size} has {rows} rows: {error}"
            ) from error

    def _recall(self, batch: int) -> tuple[Array, Array, Array | None]:
        found: tuple[Array, Array, Array | None] = self.data.on_device(
            self._last[batch - self.next]
        )
        return found

    def _weigh(self, batch: Checked) -> float:
        _, t, w = batch
        each = self.loss.example_weights(self.data.host, t, w)
        return float(len(t)) if each is None else float(each[:, 0].sum())


def feed(
    net: Bound, x: Source, y: Any, w: Any, loss: Loss, check_finite: bool, which: str, epoch: int
) -> Feed:
    """Return a source as `Network` reads it; `InputError` unless its first rows are right."""
    if y is not None or w is not None:
        name = "sample_weight" if y is None else "y"
        raise InputError(f"{which}{type(x).__name__} has its own targets and weights: leave {name} "
                         "out")  # fmt: skip
    found = Feed(net, x, loss, check_finite, which)
    found.look(epoch)
    return found


def check(
    net: Bound, data: Any, held_out: Any, epochs: int, batch_size: Any, micro_batch: int | None
) -> None:
    """Raise `InputError` unless sources can be read as often and in such batches as is asked."""
    for each in (data, held_out):
        if isinstance(each, Feed):
            check_passes(each.source, epochs, f"epochs={epochs}: {each.which}Stream")
    if data.n is not None:
        return
    if batch_size is None:
        raise InputError("batch_size=None is all rows at once, and nobody knows how many a stream "
                         "has: give a batch_size, or n= to Stream")  # fmt: skip
    check_rest(net.spec.least_rows, batch_size, batch_size, micro_batch)


def check_passes(source: Any, count: int, why: str) -> None:
    """Raise `InputError` for a source that cannot be read `count` times."""
    if isinstance(source, Source) and source.once and count > 1:
        raise InputError(
            f"{why} is read {count} times, and an iterator can be read once: wrap it in a function "
            "that makes a new one, as Stream(lambda: read(path))"
        )


def figures(net: Bound, feed: Feed, loss: Loss) -> dict[str, Any]:
    """Return what `evaluation.figures` does, of the rows of a source."""
    moments = Moments()

    def parts() -> Generator[tuple[Array, Array, Array | None]]:
        with closing(feed.batches(BLOCK)) as batches:
            for batch in batches:
                if not loss.classifies:
                    moments.add(*batch[1:])
                x, t, w = feed.on_device(batch)
                yield net._forward(x, training=False)[0], t, w

    with closing(parts()) as given:
        return evaluation.figures_of(net, given, loss, moments.variance)


def outputs(net: Bound, source: Source, last: Callable[[Array], Array]) -> Any:
    """Return `last(raw output)` for all rows of a source, on the host."""
    found = []
    with closing(Feed(net, source).batches(BLOCK)) as batches:
        for x, _, _ in batches:
            y, _ = net._forward(net.be.asarray(x), training=False)
            found.append(net.be.to_numpy(last(y)))
    return np.concatenate(found, axis=0 if net.members is None else 1)


class Moments:
    """The variance of targets that come in parts, merged as by Chan, Golub and LeVeque (1979).

    >>> moments = Moments()
    >>> moments.add(np.asarray([[1.0], [3.0]]), None)
    >>> moments.add(np.asarray([[5.0]]), np.asarray([[2.0]]))
    >>> moments.variance()
    2.75
    """

    def __init__(self) -> None:
        self._weight, self._mean, self._squares = 0.0, np.zeros(1), np.zeros(1)

    def add(self, t: Any, w: Any) -> None:
        """Take in targets `(n, columns)` and their weights `(n, 1)` or None."""
        t = t.astype(float)
        w = np.ones((len(t), 1)) if w is None else w.astype(float)
        weight = float(w.sum())
        if not weight:
            return
        mean = (w * t).sum(axis=0) / weight
        apart, total = mean - self._mean, self._weight + weight
        self._squares = self._squares + (w * (t - mean) ** 2).sum(axis=0)
        self._squares = self._squares + apart**2 * (self._weight * weight / total)
        self._mean, self._weight = self._mean + apart * (weight / total), total

    def variance(self) -> float:
        """Return the mean over columns of sum(w (t - mean)^2) / sum(w); NaN of no weight."""
        return float((self._squares / self._weight).mean()) if self._weight else float("nan")
