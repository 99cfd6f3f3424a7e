"""The measured process of `bench.footprint`: one contender takes some steps, and it says when.

    python -m bench.footprint_process CONTENDER WORKLOAD STEPS THREADS

It ends with status 77 where the contender cannot run here.
"""

from __future__ import annotations

import json
import sys
import time

from . import threads


def main() -> None:
    name, load, steps, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    threads.confine(count)
    from .contenders import UnavailableError, build
    from .workloads import WORKLOADS, problem

    try:
        contender = build(name, problem(WORKLOADS[load]), count)
    except UnavailableError as error:
        print(error, file=sys.stderr)
        sys.exit(77)
    contender.losses(1)  # of one call: an epoch for those that take no less
    ended = time.time()
    if steps > 1:
        contender.run(-(-steps // contender.unit) * contender.unit)
    print(json.dumps({"ended": ended, "peak_megabytes": _peak()}))


def _peak() -> float:
    """The largest resident set that this process had, in megabytes; it cannot be told on Windows.

    Linux counts it in kibibytes, macOS in bytes. On Linux the kernel's own figure is taken, for
    that of getrusage begins with the size of the process that started this one.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            lines = [line for line in status if line.startswith("VmHWM")]
        return int(lines[0].split()[1]) * 1024 / 1e6
    except (OSError, IndexError):
        if sys.platform == "win32":
            return float("nan")
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / 1e6 if sys.platform == "darwin" else used * 1024 / 1e6


if __name__ == "__main__":
    main()
