"""What `fit`, `evaluate` and `predict` take in place of arrays: rows that are read as needed.

The rows themselves are in `gpubp.data`: `Rows` for what can be indexed, `Stream` for what cannot.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeAlias


class Block(NamedTuple):
    """Rows as a source gives them, before a network has looked at them.

    `where` names them in messages, and `rows` are the numbers of the rows there. `x` is None
    where targets are looked at by themselves.

    >>> Block([[1.0], [2.0], [3.0]], [0, 1, 0], rows=[7, 5, 9]).part(1, 3)
    Block(x=[[2.0], [3.0]], y=[1, 0], w=None, rows=[5, 9], where='')
    """

    x: Any
    y: Any = None
    w: Any = None
    rows: Any = None
    where: str = ""

    def part(self, start: int, stop: int) -> Block:
        """Return some of the rows."""
        rows = range(stop) if self.rows is None else self.rows
        x, y, w, numbers = (
            None if a is None else a[start:stop] for a in (self.x, self.y, self.w, rows)
        )
        return Block(x, y, w, numbers, self.where)


Checked: TypeAlias = tuple[Any, Any, Any]
"""Examples, targets and weights as the network takes them, on the host; None for what is not."""

Check: TypeAlias = Callable[[Block], Checked]


class Source(ABC):
    """Rows that are read batch by batch, as often as a network asks for them.

    `n` is how many there are, None where nobody knows; `once` whether they can be read one time
    only; `prefetch` how many batches a thread reads ahead.

    >>> from gpubp.data import Rows
    >>> source = Rows([[1.0], [2.0]], [0, 1])
    >>> isinstance(source, Source), source.n, source.once
    (True, 2, False)
    """

    n: int | None
    once: bool = False
    prefetch: int = 0

    @abstractmethod
    def first(self, epoch: int) -> Block:
        """Return some rows that come early in an epoch, to be looked at before anything else."""

    def known(self) -> Iterator[Block]:
        """Yield targets and weights that are in memory as they are, without examples."""
        return iter(())

    @abstractmethod
    def told(self) -> str:
        """What it says of itself: the same where training on it can be gone on with."""

    @abstractmethod
    def batches(
        self, size: int, check: Check, epoch: int = 0, seed: int | None = None, start: int = 0
    ) -> Generator[Checked]:
        """Yield the rows of an epoch in batches of `size` that went through `check`, from `start`.

        The last batch has what is left. With a `seed` they are shuffled as it and the epoch say.
        """
