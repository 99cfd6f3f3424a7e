"""Learning rates that change with the step."""

from __future__ import annotations


class Schedule:
    """The base of all schedules: a rate for each update, counted from 0.

    `length` is for how many updates it is defined, None for any number.

    >>> class Halving(Schedule):
    ...     def __call__(self, step):
    ...         return 0.1 * 0.5**step
    >>> Halving()(2)
    0.025
    """

    length: int | None = None

    def __call__(self, step: int) -> float:
        """Return the rate of update `step`."""
        raise TypeError(f"{type(self).__name__} does not say what the rate is")
