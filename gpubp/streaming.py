"""Training and inference over rows that are read as needed, with the bits of arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import numpy as np

from . import evaluation
from .arguments import check_rest
from .backend import Array, Rows
from .bound import Bound
from .errors import InputError
from .evaluation import BLOCK
from .feeds import NO_WEIGHT, Feed
from .interrupts import Interrupts
from .losses import Loss
from .source import Checked, Source
from .training import CHECK_EVERY, Batch, Position, Trainer


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
        try:
            record = super().epoch(number, interrupts, position)
            if not self.mean.so_far()[1]:
                raise InputError(f"{type(self.data.source).__name__}: {NO_WEIGHT}")
            return record
        except Exception:
            self._verify(True, True)  # a device may be behind
            raise

    def _batches(self, number: int, start: int) -> Generator[Batch]:
        weights = deque[float]()  # of the batch in use, and of one that is read ahead
        with closing(self.net.be.ahead(self._read(number, start, weights))) as coming:
            for x, t, w in coming:
                yield x, t, w, weights.popleft()

    def _read(self, number: int, start: int, weights: deque[float]) -> Generator[Checked]:
        feed, self._last = self.data, deque[tuple[int, Checked]](maxlen=CHECK_EVERY + 1)
        with closing(feed.batches(self.batch_size, number, self.shuffle_seed, start)) as batches:
            for place, batch in enumerate(batches, start):
                rows = len(batch[0])
                if rows < self.batch_size and feed.n is None:  # not known before
                    self._check_last(rows)
                if not self.net.be.deferred:
                    self._last.clear()
                self._last.append((place, batch))
                weights.append(self._weigh(batch))
                yield batch

    def _check_last(self, rows: int) -> None:
        try:
            check_rest(self.net.spec.least_rows, rows, rows, self.micro_batch)
        except InputError as error:
            raise InputError(
                f"Stream: the last batch of {self.batch_size} has {rows} rows: {error}"
            ) from error

    def _recall(self, batch: int) -> Rows:
        [kept] = [given for place, given in self._last if place == batch]
        return self.net.be.rows(*kept)

    def _weigh(self, batch: Checked) -> float:
        _, t, w = batch
        each = self.loss.example_weights(self.data.host, t, w)
        return float(len(t)) if each is None else float(each[:, 0].sum())


def figures(net: Bound, feed: Feed, loss: Loss) -> dict[str, Any]:
    """Return what `evaluation.figures` does, of the rows of a source."""
    moments = Moments()

    def read() -> Generator[Checked]:
        with closing(feed.batches(BLOCK)) as batches:
            for batch in batches:
                if not loss.classifies:
                    moments.add(*batch[1:])
                yield batch

    with closing(evaluation.passed(net, net.be.ahead(read()))) as parts:
        return evaluation.figures_of(net, parts, loss, moments.variance)


def outputs(net: Bound, source: Source, last: Callable[[Array], Array]) -> Any:
    """Return `last(raw output)` for all rows of a source, on the host."""
    read = Feed(net, source).batches(BLOCK)
    with closing(evaluation.passed(net, net.be.ahead(read))) as parts:
        found = [net.be.to_numpy(last(y)) for y, _, _ in parts]
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
        self._origin: Any = None
        self._weight, self._mean, self._squares = 0.0, np.zeros(1), np.zeros(1)

    def add(self, t: Any, w: Any) -> None:
        """Take in targets `(n, columns)` and their weights `(n, 1)` or None."""
        t = t.astype(float)
        if self._origin is None:
            self._origin = t[0]  # far from zero, the mean has fewer digits than the deviations
        t = t - self._origin
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
