"""Blocks of any number of rows made into batches, in order or shuffled through a buffer.

A block is a tuple of arrays of equal length; None stands for one that is not there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

Rows: TypeAlias = tuple[Any, ...]


class Waiting:
    """Rows that were read and not yet asked for.

    >>> rows = Waiting([(np.arange(3),), (np.arange(3, 5),)])
    >>> [batch[0].tolist() for batch in iter(lambda: rows.take(2), None)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, blocks: Iterable[Rows]) -> None:
        self._blocks, self._waiting, self._rows = iter(blocks), deque[Rows](), 0

    def take(self, count: int) -> Rows | None:
        """Return the next `count` rows, fewer where the blocks end, None where they have ended."""
        while self._rows < count and (block := next(self._blocks, None)) is not None:
            self._waiting.append(block)
            self._rows += len(block[0])
        parts, missing = [], min(count, self._rows)
        self._rows -= missing
        while missing:
            block = self._waiting.popleft()
            if len(block[0]) > missing:
                self._waiting.appendleft(_of(block, slice(missing, None)))
                block = _of(block, slice(missing))
            parts.append(block)
            missing -= len(block[0])
        return _joined(parts) if parts else None


def in_order(blocks: Iterable[Rows], size: int) -> Iterator[Rows]:
    """Yield batches of `size` rows as they come.

    >>> [batch[0].tolist() for batch in in_order([(np.arange(5), None)], 3)]
    [[0, 1, 2], [3, 4]]
    """
    waiting = Waiting(blocks)
    while (batch := waiting.take(size)) is not None:
        yield batch


def shuffled(blocks: Iterable[Rows], size: int, buffer: int, random: Any) -> Iterator[Rows]:
    """Yield batches drawn from a buffer of rows, whose places the next rows take.

    Where all rows fit into the buffer they are shuffled as a whole. The draws depend on neither
    where the blocks begin nor what is in them.

    >>> random = np.random.default_rng(0)
    >>> [batch[0].tolist() for batch in shuffled([(np.arange(5),)], 3, 3, random)]
    [[2, 0, 1], [3, 4]]
    """
    waiting, room = Waiting(blocks), max(buffer, size)
    pool = waiting.take(room)
    if pool is None:
        return
    pool = _of(pool, np.arange(len(pool[0])))  # a copy: rows are written to it
    while (fresh := waiting.take(size)) is not None:
        drawn = random.choice(room, size, replace=False)
        yield _of(pool, drawn)
        count = len(fresh[0])
        for old, new in zip(pool, fresh, strict=True):
            if new is not None:
                old[drawn[:count]] = new
        if count < size:  # the last ones; places stay empty
            left = np.ones(room, dtype=bool)
            left[drawn[count:]] = False
            pool = _of(pool, left)
    order = random.permutation(len(pool[0]))
    for start in range(0, len(order), size):
        yield _of(pool, order[start : start + size])


def _of(rows: Rows, chosen: Any) -> Rows:
    return tuple(None if a is None else a[chosen] for a in rows)


def _joined(parts: list[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    return tuple(None if a[0] is None else np.concatenate(a) for a in zip(*parts, strict=True))
