"""How much a reader takes from a file before it refuses: a file of a few bytes may claim anything.

A limit on memory is a share of the machine's, since a reader that fills it takes all that runs
there with it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..errors import InputError

COLUMNS = 100_000
"""The most columns of a table."""

FIELD = 1 << 20
"""The most characters of one entry of a table."""

ROW = 1 << 24
"""About the most characters of one row of a table."""

_UNKNOWN = 8 << 30  # bytes taken for the memory of a machine that does not say


def memory() -> int:
    """Return the bytes of memory that this process may have: the machine's, or its container's.

    >>> memory() > 1 << 20
    True
    """
    sizes = []
    try:
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # Windows
        sizes.append(_UNKNOWN)
    with suppress(OSError, ValueError):  # there is no container, or it has no limit
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return min(size for size in sizes if size > 0)


def quarter() -> int:
    """Return the bytes that one data set may take: a quarter of the memory there is.

    >>> 4 * quarter() <= memory()
    True
    """
    return memory() // 4


def check_size(needed: int, limit: int, what: str, remedy: str) -> None:
    """Raise `InputError` unless `needed` bytes are within the limit.

    >>> check_size(3 << 30, 1 << 30, "data.npz: x", "save it as .npy, which is mapped")
    Traceback (most recent call last):
    gpubp.errors.InputError: data.npz: x takes 3.0 GiB of memory, and 1.0 GiB (a quarter of what \
this machine has) is the most that is read; save it as .npy, which is mapped
    """
    if needed > limit:
        raise InputError(
            f"{what} takes {needed / 2**30:.1f} GiB of memory, and {limit / 2**30:.1f} GiB (a "
            f"quarter of what this machine has) is the most that is read; {remedy}"
        )
