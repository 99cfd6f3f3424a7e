"""Whether the machine is quiet enough to measure on."""

from __future__ import annotations

import time
from pathlib import Path

LIMIT = 0.05
"""The share of the cores that others may take before a figure is doubted."""
_STAT = Path("/proc/stat")


def share(seconds: float = 0.5) -> float | None:
    """Sleep; return the share of all cores' time that went to others. None where none can tell."""
    before = _times()
    time.sleep(seconds)
    after = _times()
    if before is None or after is None:
        return None
    idle, every = after[0] - before[0], after[1] - before[1]
    return max(0.0, 1 - idle / every) if every else None


def warning(taken: float | None) -> str | None:
    """Return what to say of a machine that others are busy on; None where it is quiet."""
    if taken is None or taken <= LIMIT:
        return None
    return (f"others take {100 * taken:.0f} % of the cores: contenders that wait for several "
            "threads at once suffer most")  # fmt: skip


def _times() -> tuple[int, int] | None:
    """Ticks that the cores were idle (or waited for the disk), and all ticks."""
    try:
        fields = [int(n) for n in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return fields[3] + fields[4], sum(fields)
