"""How many threads a team should have: one for each core that this process may use."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
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


def keep_apart(helper: int | None, caller: int | None) -> None:
    """Let a sleeping thread, by its number in the system, wake up beside its caller's processor.

    A thread that is woken may begin on the processor of the one that woke it, and one that waits
    awake looks busy: a system can leave both there for seconds while another processor is idle.
    """
    if helper is None or caller is None or not hasattr(os, "sched_setaffinity"):
        return
    others = os.sched_getaffinity(0) - {caller}
    if others:
        with suppress(OSError):  # the thread may be gone, or the system may not let us
            os.sched_setaffinity(helper, others)


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
