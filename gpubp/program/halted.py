"""A block of steps that ended before its time."""

from __future__ import annotations

from typing import Any


class Halted(Exception):  # noqa: N818 - no mishap of ours: the cause is raised where it is met
    """Some steps were done, then an error came out of one: `found` is what the others gave.

    The error is the `__cause__`. What was done counts, so that nothing is half applied.

    >>> Halted(1, 2).found
    (1, 2)
    """

    def __init__(self, *found: Any) -> None:
        super().__init__(*found)
        self.found = found
