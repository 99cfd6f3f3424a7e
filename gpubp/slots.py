"""What an optimizer remembers between updates: its arrays, and how many updates it made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .backend import Array, Backend
from .optimizers import Optimizer


class Slots:
    """A flat array `(..., n)` for each slot, zero at first; another kind of optimizer starts anew.

    >>> import gpubp
    >>> slots = Slots(gpubp.select("cpu"), (16,))
    >>> [a.shape for a in slots.of(gpubp.Adam())], slots.updates
    ([(16,), (16,)], 0)
    """

    def __init__(self, be: Backend, shape: Iterable[int]) -> None:
        self._be, self._shape = be, tuple(shape)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.arrays: dict[str, Array] = {}
        self.kind: tuple[Any, ...] | None = None
        self.updates = 0

    def fits(self, optimizer: Optimizer) -> bool:
        """Whether an optimizer goes on with these slots."""
        return self.kind == optimizer.kind

    def of(self, optimizer: Optimizer) -> list[Array]:
        """Return the slots of an optimizer, those it left if the last was of its kind."""
        if not self.fits(optimizer):
            self.reset()
            self.arrays = {name: self._be.zeros(self._shape) for name in optimizer.slots}
            self.kind = optimizer.kind
        return list(self.arrays.values())
