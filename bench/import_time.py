"""How long `import gpubp` takes beside `import numpy`, each in a process of its own.

python -m bench.import_time [--runs 21] [--out FILE]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from .report import environment, write

STATEMENTS = ("pass", "import numpy", "import gpubp")


def measure(runs: int) -> dict[str, Any]:
    """Return median seconds of each statement in a new process, and the ratio to NumPy's."""
    taken: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    # With its bytecode, as an installed package has it from the second import on.
    surroundings = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for run in range(runs + 1):
        for statement in STATEMENTS:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True, env=surroundings)
            if run:  # the first round fills the caches of the disk
                taken[statement].append(time.perf_counter() - began)
    seconds = {statement: statistics.median(times) for statement, times in taken.items()}
    ratios = [a / b for a, b in zip(taken["import gpubp"], taken["import numpy"], strict=True)]
    return {"seconds": seconds, "gpubp_over_numpy": statistics.median(ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    found = measure(arguments.runs)
    for statement, seconds in found["seconds"].items():
        print(f"{statement:14}{1000 * seconds:8.1f} ms")
    print(f"import gpubp takes {found['gpubp_over_numpy']:.2f}x import numpy")
    write(arguments.out, {"benchmark": "import_time", **environment(), "results": found})


if __name__ == "__main__":
    main()
