"""Test accuracy of `gpubp train digits` over ten seeds, each run a process of its own.

python -m bench.digits [--seeds 10] [--device cpu] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from .report import environment, write


def run(seed: int, device: str) -> dict[str, Any]:
    """Return what one run reports, with the seconds of the whole process."""
    asked = [sys.executable, "-m", "gpubp", "train", "digits", "--json"]
    asked += ["--seed", str(seed), "--device", device]
    began = time.perf_counter()
    done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    result: dict[str, Any] = json.loads(done.stdout.decode().strip().splitlines()[-1])
    return result | {"process_seconds": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    runs = [run(seed, arguments.device) for seed in range(arguments.seeds)]
    for row in runs:
        seconds = row["process_seconds"]
        print(f"seed {row['seed']}  accuracy {row['test_accuracy']:.4f}  {seconds:.1f} s")
    accuracy = statistics.median(row["test_accuracy"] for row in runs)
    slowest = max(row["process_seconds"] for row in runs)
    print(f"median accuracy {accuracy:.4f}, slowest run {slowest:.1f} s")
    result = {"median_accuracy": accuracy, "slowest_seconds": slowest, "runs": runs}
    write(arguments.out, {"benchmark": "digits", **environment(), "results": result})


if __name__ == "__main__":
    main()
