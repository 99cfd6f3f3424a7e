"""The parts of `bench.gpu`: the `probe` of each module yields one named result at a time.

`probe(setting, budget)` is given the device and how long it may take. A result of the same name
takes the place of an earlier one, so that what was measured in a part that is killed is kept.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..probes import Result, Row


class Budget:
    """So many seconds from now on.

    >>> 0.0 < Budget(60.0).left() <= 60.0
    True
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, 0 at least."""
        return max(0.0, self._end - time.monotonic())

    def share(self, of: int) -> Budget:
        """Return a budget of one part of what is left, in so many equal ones."""
        return Budget(self.left() / of)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` inside `with` when it has lasted so long; in the main thread alone."""
    if seconds <= 0.0:
        raise TimeoutError("no time was left")

    def end(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


__all__ = ["Budget", "Result", "Row", "limited"]
