"""Rows that come in blocks and cannot be asked for: from a file, a database or a generator."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from ..errors import InputError, whole
from ..seeds import shuffler
from ..source import Block, Check, Checked, Source
from .prefetch import ahead
from .rebatch import in_order, shuffled
from .sources import Transform, check_prefetch, check_transforms, length, transformed


class Stream(Source):
    """Blocks of rows, made into batches whatever their lengths are.

    A block is `(x, y)` or `(x, y, w)`, for `predict` also `x` alone. `blocks` is what gives them:
    an iterable that can be begun again, such as a list or a `DataLoader`, or a function that
    returns an iterator for each epoch; a parameter `epoch` of it is given the number of that
    epoch, from 0. A generator, which can be read once, will do for one epoch.

    Rows are shuffled through a `buffer` of that many: each batch is drawn from it, and its places
    are taken by the rows that come next. A row comes `buffer` places early at most, and on average
    as many late, so that rows which are sorted by class are to be shuffled before. A buffer that
    holds all rows shuffles them as arrays are. `shuffle_seed` and the epoch fix the order, wherever
    blocks end. `n` is how many rows an epoch has, if that is known: for progress, and so that
    schedules and the last batch are looked at before training.

    `transform(x)` and `target_transform(y)` are applied to each block, `prefetch` batches are made
    ahead in a thread; 0 leaves it out, for blocks of a library that keeps to one thread. Raises
    `InputError` for a block that does not fit, when it comes: what was learned until then is kept.

    >>> import numpy as np
    >>> import gpubp
    >>> def parts():
    ...     for start in range(0, 100, 7):
    ...         x = np.arange(start, start + 7)[:, None] / 100
    ...         yield x, 2 * x
    >>> net = gpubp.Network(gpubp.Linear(1), inputs=1)
    >>> history = net.fit(Stream(parts), loss="mean_squared_error", epochs=2, batch_size=25)
    >>> net.updates
    10
    """

    def __init__(
        self,
        blocks: Iterable[Any] | Callable[..., Iterable[Any]],
        *,
        n: int | None = None,
        buffer: int = 10_000,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        prefetch: int = 2,
    ) -> None:
        self.once = isinstance(blocks, Iterator)
        if not isinstance(blocks, Iterable) and not callable(blocks):
            raise InputError(f"Stream: blocks is {blocks!r}; expected an iterable of blocks (x, y) "
                             "or a function that returns one")  # fmt: skip
        for name, given in (("n", 1 if n is None else n), ("buffer", buffer)):
            if not whole(given) or given < 1:
                raise InputError(f"Stream: {name} is {given!r}; expected a whole number, 1 or more")
        self._blocks, self.n, self._buffer = blocks, n, buffer
        self._call = None if isinstance(blocks, Iterable) else _caller(blocks)
        self._transforms = check_transforms("Stream", transform, target_transform)
        self.prefetch = check_prefetch("Stream", prefetch)
        self._used = False
        self._begun: tuple[int, Block, Generator[Block]] | None = None

    def __repr__(self) -> str:
        return f"Stream(n={self.n}, buffer={self._buffer}, prefetch={self.prefetch})"

    def first(self, epoch: int) -> Block:
        """Return the first block with rows; the next pass over this epoch goes on from it."""
        if not self._has_begun(epoch):
            blocks = self._blocks_of(epoch)
            begun = next(blocks, None)
            if begun is None:
                raise InputError(self._nothing(epoch))
            self._begun = epoch, begun, blocks
        assert self._begun is not None
        return self._begun[1]

    def _has_begun(self, epoch: int) -> bool:
        """Whether the first block of this epoch is there; one of another epoch is let go."""
        if self._begun is not None and not (self.once or self._begun[0] == epoch):
            self._begun[2].close()
            self._begun = None
        return self._begun is not None

    def told(self) -> str:
        """Its numbers: what will come is not known."""
        return f"Stream, n {self.n}, buffer {self._buffer}"

    def batches(
        self, size: int, check: Check, epoch: int = 0, seed: int | None = None, start: int = 0
    ) -> Generator[Checked]:
        return ahead(self._made(size, check, epoch, seed, start), self.prefetch)

    def _made(
        self, size: int, check: Check, epoch: int, seed: int | None, start: int
    ) -> Generator[Checked]:
        with closing(self._checked(check, epoch)) as blocks:
            if seed is None:
                batches = in_order(blocks, size)
            else:
                batches = shuffled(blocks, size, self._buffer, shuffler(seed, epoch))
            for number, (x, t, w) in enumerate(batches):
                if number >= start:
                    yield x, t, w

    def _checked(self, check: Check, epoch: int) -> Generator[Checked]:
        """The blocks of an epoch, each looked at; copies, for it may be made in the same place."""
        rows, kinds = 0, None
        with closing(self._from_the_first(epoch)) as blocks:
            for block in blocks:
                rows += length(block.x, block.where)
                if self.n is not None and rows > self.n:
                    raise InputError(f"{block.where}: there are more than n={self.n} rows")
                x, t, w = (None if a is None else np.array(a) for a in check(block))
                found = [None if a is None else (a.dtype, a.shape[1:]) for a in (t, w)]
                kinds = kinds or found
                if found != kinds:
                    raise InputError(f"{block.where} has targets or weights of another kind than "
                                     "the blocks before it")  # fmt: skip
                yield x, t, w
        if not rows:
            raise InputError(self._nothing(epoch))
        if self.n is not None and rows < self.n:
            raise InputError(f"Stream: there were {rows} rows, and n is {self.n}")

    def _from_the_first(self, epoch: int) -> Generator[Block]:
        begun = self._begun
        if begun is None or not self._has_begun(epoch):
            yield from self._blocks_of(epoch)
            return
        self._begun = None
        with closing(begun[2]) as rest:
            yield begun[1]
            yield from rest

    def _blocks_of(self, epoch: int) -> Generator[Block]:
        given = self._open(epoch)
        try:
            for number, parts in enumerate(given):
                block = _block(parts, f"Stream, block {number}")
                if length(block.x, block.where):
                    yield transformed(block, *self._transforms)
        finally:
            if hasattr(given, "close"):
                given.close()

    def _open(self, epoch: int) -> Iterator[Any]:
        if self.once and self._used:
            raise InputError(f"Stream: the iterator was read once already; {REMEDY}")
        self._used = True
        given = self._call(epoch) if self._call else self._blocks
        if not isinstance(given, Iterable):
            raise InputError(f"Stream: the function returned {given!r}; expected an iterator")
        return iter(given)

    def _nothing(self, epoch: int) -> str:
        again = "" if self._call is None else "; does the function make a new iterator each time?"
        return f"Stream: there were no rows in epoch {epoch}{again}"


REMEDY = "give Stream a function that makes a new one, such as Stream(lambda: read(path))"
"""What to do where an iterator would have to be read twice."""


def _block(parts: Any, where: str) -> Block:
    """A block of what a stream gives: `(x, y)`, `(x, y, w)` or `x`."""
    listed = isinstance(parts, list) and getattr(parts[0] if parts else None, "ndim", 0) > 1
    if not isinstance(parts, tuple) and not listed:  # a list of arrays is what a DataLoader gives
        return Block(parts, where=where)
    if not 1 <= len(parts) <= 3:
        raise InputError(f"{where} has {len(parts)} parts; expected (x, y) or (x, y, w)")
    x, y, w = (*parts, None, None)[:3]
    return Block(x, y, w, where=where)


def _caller(function: Callable[..., Any]) -> Callable[[int], Any]:
    """The function of an epoch's number: it is handed on if the function asks for it."""
    from inspect import Parameter, signature

    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):  # one of C does not always say
        return lambda epoch: function()
    if "epoch" in parameters and parameters["epoch"].kind is not Parameter.POSITIONAL_ONLY:
        return lambda epoch: function(epoch=epoch)
    places = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters.values() if p.default is p.empty and p.kind in places]
    if len(needed) > 1:
        raise InputError(f"Stream: {function!r} has {len(needed)} parameters without a default; "
                         "expected a function of nothing, or of the epoch")  # fmt: skip
    return (lambda epoch: function(epoch)) if needed else (lambda epoch: function())
