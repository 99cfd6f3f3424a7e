"""The barrier at which the threads of a team meet from inside compiled code.

Every thread writes its part of the data, comes to the barrier, and reads what the others wrote.
Waking a sleeping thread takes tens of microseconds; whoever waits here stays awake, and only gives
its processor away after a while, so that more threads than processors also get on. The code that
waits is in `gpubp.backends.barrier_code`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_LINE = 16  # int64 in two lines of the cache: processors fetch them in pairs
ARRIVED, ROUND, FAILED, TICKET = 0, _LINE, _LINE + 1, 2 * _LINE
"""Elements of the state: how many have come, how often all have, whether one has failed; and the
next number for those who draw one."""


def new_state() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the state of a barrier, zeros `(48,)`; the counters lie on lines of their own.

    >>> new_state().shape
    (48,)
    """
    room = np.zeros(4 * _LINE, np.int64)
    skipped = -room.ctypes.data // 8 % _LINE
    return room[skipped : skipped + 3 * _LINE]


def reset(state: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    """Make a state new, at which nobody waits."""
    state[:] = 0


def fail(state: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    """Let all who wait, and all who come until the state is reset, go on with False."""
    state[FAILED] = 1
