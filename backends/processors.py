"""How many threads a team should have: one for each core that this process may use."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_SYSTEM = Path("/sys")
_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")  # the first that is set


def cores() -> int:
    """Return the number of cores this process may use, at least 1.

    Two processors of one core count once, where the system tells (Linux), and so does a limit on
    the processor time of a container. OPENBLAS_NUM_THREADS, or else OMP_NUM_THREADS, can make it
    less: threads that wait awake must not be more than the cores.

    >>> cores() >= 1
    True
    """
    found = _physical(_allowed())
    limits = [limit for limit in (_asked(), _quota()) if limit is not None]
    return max(1, min([found, *limits]))


def here() -> int | None:
    """Return the processor that the calling thread is on, None where the system does not tell."""
    function = _current()
    return None if function is None else int(function())


def allowed() -> list[int]:
    """The processors that the calling thread may run on; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def shares(processors: Sequence[int], caller: int, helpers: int) -> list[set[int]]:
    """Processors for each helper of a team, so that no two threads of it have one in common.

    A thread that is woken may begin on the processor of the one that woke it, and one that waits
    awake looks busy: a system can leave two of them on one processor while another is idle, which
    halves the speed. All are empty where there are not enough.

    >>> shares([0, 1, 2, 3, 4], 2, 2)
    [{0, 3}, {1, 4}]
    """
    others = [p for p in processors if p != caller]
    if caller not in processors or len(others) < helpers:
        return [set() for _ in range(helpers)]
    return [set(others[i::helpers]) for i in range(helpers)]


def place(thread: int | None, processors: Iterable[int]) -> None:
    """Let a thread, by its number in the system (0: this one), run on some processors alone."""
    wanted = set(processors)
    if thread is not None and wanted:
        with suppress(OSError):  # the thread may be gone, or the system may not let us
            os.sched_setaffinity(thread, wanted)


@cache
def _current() -> Any:
    try:
        return ctypes.CDLL(None).sched_getcpu
    except (OSError, AttributeError, TypeError):
        return None


def _allowed() -> set[int] | int:
    """The processors that this process may run on, or their number."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    count = getattr(os, "process_cpu_count", os.cpu_count)
    return count() or 1


def _physical(allowed: set[int] | int) -> int:
    if isinstance(allowed, int):
        return allowed
    folder = _SYSTEM / "devices/system/cpu"
    siblings = [_text(folder / f"cpu{n}/topology/thread_siblings_list") for n in allowed]
    return len(allowed) if None in siblings else len(set(siblings))


def _asked(names: Iterable[str] = _VARIABLES) -> int | None:
    for name in names:
        first = os.environ.get(name, "").partition(",")[0].strip()  # OpenMP: one for each level
        if first.isascii() and first.isdigit() and int(first) > 0:
            return int(first)
    return None


def _quota() -> int | None:
    """The processors' worth of time that a container may use, rounded up; None without limit."""
    quota, _, period = (_text(_SYSTEM / "fs/cgroup/cpu.max") or "").partition(" ")
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return None
    return -(-int(quota) // int(period))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
