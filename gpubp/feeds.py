"""Sources as a network reads them: each row is looked at as those of arrays are, and named."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from . import inputs
from .arguments import check_rest
from .backend import select
from .bound import Bound
from .categories import check_categories
from .errors import DeviceError, InputError
from .losses import Loss
from .source import Block, Checked, Source

NO_WEIGHT = "the rows weigh nothing together; expected a finite sum of weights above zero"
"""What is said of rows that no mean can be taken of."""


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
        if self._loss is not None:
            weights = [w for _, _, w in map(self._check, self.source.known()) if w is not None]
            if weights and not sum(float(w.sum()) for w in weights):
                raise InputError(f"{self.which}Rows: {NO_WEIGHT}")

    def batches(
        self, size: int, epoch: int = 0, seed: int | None = None, start: int = 0
    ) -> Generator[Checked]:
        """Yield batches on the host, each looked at; see `Source.batches`."""
        return self.source.batches(size, self._check, epoch, seed, start)

    def _checked(self, block: Block) -> Checked:
        net, host = self.net, self.host
        with host.activate():
            x, n = None, 0 if block.rows is None else len(block.rows)
            if block.x is not None:
                x = host.asarray(inputs.features(host, block.x, net.inputs))
                n = len(x)
            rows = range(n) if block.rows is None else block.rows
            if x is not None and any(net.spec.categories):
                check_categories(host, x, net.spec.categories, "x", rows)
            if x is not None and self._check_finite:
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
        if not all(isinstance(a, list) or (isinstance(a, np.ndarray) and a.ndim) for a in given):
            return None
        n = len(given[0])
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
