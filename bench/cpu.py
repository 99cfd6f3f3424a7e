"""Training steps a second on the CPU: gpubp beside NumPy, torch, jax and scikit-learn.

    python -m bench.cpu [--threads 1,2] [--only W1,W3] [--contenders "gpubp plain,jax.jit"]
                        [--rounds 7] [--seconds 0.6] [--out FILE] [--json]

All start from the same weights, take the same batches in the same order, and must agree on the
losses of the first steps before anything is timed; then rounds of all contenders are interleaved.
What counts is the ratio within one run. Workloads stand in `bench.workloads`, contenders in
`bench.contenders`. A process of its own measures each number of threads, confined to as many
cores. With `--json` the last line is `{workload: {contender: steps a second}}`, on the largest
number of threads. `python -m bench.cpu_figure FILE` draws what `--out FILE` wrote.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import threads
from .contenders import CONTENDERS
from .cpu_table import headline
from .report import write
from .workloads import WORKLOADS


def main() -> None:
    arguments = _arguments()
    runs = []
    for count in arguments.threads:
        print(f"\n=== {count} thread{'s' if count > 1 else ''}", flush=True)
        runs.append(_run(count, arguments))
    result = {"benchmark": "cpu", "rounds": arguments.rounds, "seconds": arguments.seconds,
              "runs": runs}  # fmt: skip
    write(arguments.out, result)
    if arguments.json:
        print(json.dumps(headline(result)))


def _run(count: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure in a process of its own; end with its status where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "run.json"
        given = {
            "threads": count, "only": ",".join(arguments.only), "rounds": arguments.rounds,
            "contenders": ",".join(arguments.contenders), "seconds": arguments.seconds, "to": to,
        }  # fmt: skip
        options = [f"--{name}={value}" for name, value in given.items()]
        if status := threads.start("bench.cpu_run", options, count):
            sys.exit(status)
        run: dict[str, Any] = json.loads(to.read_text())
    return run


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--threads", default=str(threads.available()), help="such as 1,2")
    parser.add_argument("--only", default=",".join(WORKLOADS))
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.6, help="of one contender in a round")
    parser.add_argument("--out", help="a file for all figures, as JSON")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    for name, known in (("only", WORKLOADS), ("contenders", CONTENDERS)):
        chosen = [entry.strip() for entry in getattr(arguments, name).split(",")]
        setattr(arguments, name, chosen)
        for entry in chosen:
            if entry not in known:
                parser.error(f"--{name}: {entry!r} is none of {', '.join(known)}")
    try:
        arguments.threads = [int(count) for count in arguments.threads.split(",")]
    except ValueError:
        parser.error(f"--threads: {arguments.threads!r} is no list of numbers such as 1,2")
    if not all(1 <= count <= threads.available() for count in arguments.threads):
        parser.error(f"--threads: there are {threads.available()} cores")
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("--rounds and --seconds must be above 0")
    return arguments


if __name__ == "__main__":
    main()
