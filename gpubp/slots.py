"""What an optimizer remembers between updates: its arrays, and how many updates it made."""

from __future__ import annotations

from collections.abc import Iterable

from .backend import Array, Backend
from .errors import InputError
from .optimizers import Optimizer


class Slots:
    """A flat array `(..., n)` for each slot, zero at first; another kind of optimizer starts anew.

    >>> import gpubp
    >>> slots = Slots(gpubp.select("cpu"), (16,), None)
    >>> [a.shape for a in slots.of(gpubp.Adam())], slots.updates
    ([(16,), (16,)], 0)
    """

    def __init__(self, be: Backend, shape: Iterable[int], members: int | None) -> None:
        self._be, self._shape, self._members = be, tuple(shape), members
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.arrays: dict[str, Array] = {}
        self.kind: type[Optimizer] | None = None
        self.updates = 0

    def of(self, optimizer: Optimizer) -> list[Array]:
        """Return the slots of an optimizer, those it left if the last was of its kind."""
        if self.kind is not type(optimizer):
            self.reset()
            self.arrays = {name: self._be.zeros(self._shape) for name in optimizer.slots}
            self.kind = type(optimizer)
        return list(self.arrays.values())

    def check(self, optimizer: Optimizer) -> None:
        """Raise `InputError` unless this is an optimizer with a rate for each member."""
        if not isinstance(optimizer, Optimizer):
            raise InputError(f"the optimizer is {optimizer!r}; expected one such as gpubp.Adam()")
        rates, largest = optimizer.lr, float(self._be.xp.finfo(self._be.dtype).max)
        highest = max(rates) if isinstance(rates, tuple) else rates
        if highest > largest:
            raise InputError(f"lr {highest:g} is beyond {self._be.precision}, {largest:g}")
        if isinstance(rates, tuple) and len(rates) != self._members:
            raise InputError(f"{len(rates)} rates were given for {self._members} members")
