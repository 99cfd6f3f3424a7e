"""What a library takes beside the time of its steps: to import, to install, to begin, in memory.

    python -m bench.footprint [--only imports,sizes,first_steps,memory] [--runs 7] [--out FILE]

Every figure is that of fresh processes. `imports`: seconds to import each library, less those of
an empty process. `sizes`: bytes on the disk of a distribution and of all that it pulls in, as
installed here. `first_steps`: seconds from the start of a process to the end of its first step on
W3, with empty caches of compiled code and with those that the first process filled. `memory`: the
largest resident set of a process that trains W3 for a while, and of one that trains W4.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from . import threads
from .contenders import CONTENDERS
from .installed import sizes
from .report import environment, write

IMPORTS = {
    "numpy": "import numpy",
    "gpubp": "import gpubp",
    "gpubp, and what it compiles with": "import gpubp, llvmlite.binding, llvmlite.ir",
    "scikit-learn": "import sklearn.neural_network",
    "jax": "import jax",
    "torch": "import torch",
}
SIZES = ("numpy", "gpubp", "gpubp[cpu]", "scikit-learn", "jax", "torch")
MEMORY = {"W3": 200, "W4": 4}
"""The workloads whose memory is measured, and how many steps are taken."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="imports,sizes,first_steps,memory")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=threads.available())
    parser.add_argument("--out")
    arguments = parser.parse_args()
    parts, names = arguments.only.split(","), arguments.contenders.split(",")
    found: dict[str, Any] = {}
    if "imports" in parts:
        found["imports"] = _told("seconds to import", imports(arguments.runs))
    if "sizes" in parts:
        found["sizes"] = _told("megabytes installed", {
            name: sizes(name)["together"] / 1e6 for name in SIZES})  # fmt: skip
        found["installed"] = {name: sizes(name) for name in SIZES}
    if "first_steps" in parts:
        steps = first_steps(names, arguments.threads, arguments.runs)
        found["first_steps"] = _told("seconds to the end of the first step, cold and warm", steps)
    if "memory" in parts:
        peaks = memory(names, arguments.threads)
        found["memory"] = _told("peak memory in megabytes, by workload", peaks)
    about = {"benchmark": "footprint", "threads": arguments.threads, **environment()}
    write(arguments.out, {**about, "results": found})


def imports(runs: int) -> dict[str, float]:
    """Return median seconds to import each library that is there."""
    statements = {"nothing": "pass", **IMPORTS}
    present = {n: s for n, s in statements.items() if _process("-c", s) is not None}
    taken: dict[str, list[float]] = {name: [] for name in present}
    for _ in range(runs):
        for name, statement in present.items():
            began = time.perf_counter()
            _process("-c", statement)
            taken[name].append(time.perf_counter() - began)
    nothing = statistics.median(taken.pop("nothing"))
    return {name: statistics.median(times) - nothing for name, times in taken.items()}


def first_steps(names: list[str], count: int, runs: int) -> dict[str, dict[str, float]]:
    """Return seconds to the end of the first step of W3, with empty caches and with filled ones."""
    found = {}
    for name in names:
        cold, warm = [], []
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as caches:
                first, second = (_trained(name, "W3", 1, count, caches) for _ in range(2))
            if first is None or second is None:
                break
            cold.append(first["seconds"])
            warm.append(second["seconds"])
        else:
            found[name] = {"cold": statistics.median(cold), "warm": statistics.median(warm)}
    return found


def memory(names: list[str], count: int) -> dict[str, dict[str, float]]:
    """Return the largest resident set, in megabytes, of each contender on each workload."""
    found: dict[str, dict[str, float]] = {}
    for name in names:
        for load, steps in MEMORY.items():
            with tempfile.TemporaryDirectory() as caches:
                trained = _trained(name, load, steps, count, caches)
            if trained is not None:
                found.setdefault(name, {})[load] = trained["peak_megabytes"]
    return found


def _trained(name: str, load: str, steps: int, count: int, caches: str) -> dict[str, float] | None:
    """Train in a process of its own; None where the contender cannot run."""
    folders = {
        "GPUBP_CACHE": "gpubp", "TORCHINDUCTOR_CACHE_DIR": "torch",
        "JAX_COMPILATION_CACHE_DIR": "jax",
    }  # fmt: skip
    more = {variable: os.path.join(caches, folder) for variable, folder in folders.items()}
    # jax keeps nothing unless it is told to keep what compiled in less than a second, too.
    more["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    more["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    arguments = (name, load, str(steps), str(count))
    began = time.time()
    said = _process("-m", "bench.footprint_process", *arguments, count=count, **more)
    if said is None:
        print(f"  {name} is left out on {load}: it cannot run here", flush=True)
        return None
    result: dict[str, float] = json.loads(said.splitlines()[-1])
    return {**result, "seconds": result["ended"] - began}


def _process(*arguments: str, count: int | None = None, **more: str) -> str | None:
    """Run Python; return what it prints, None where it says that something is missing."""
    environment = {**threads.surroundings(count or threads.available()), **more}
    # With its bytecode, as an installed package has it from the second import on.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=threads.ROOT, env=environment, capture_output=True,
        text=True,
    )  # fmt: skip
    if done.returncode == 0:
        return done.stdout
    if done.returncode == _MISSING or "ModuleNotFoundError" in done.stderr:
        return None
    sys.exit(f"python {' '.join(arguments)} failed:\n{done.stderr}")


_MISSING = 77
"""How `bench.footprint_process` ends where a contender cannot run."""


def _told(what: str, figures: dict[str, Any]) -> dict[str, Any]:
    print(f"\n{what}")
    for name, figure in figures.items():
        given = figure.items() if isinstance(figure, dict) else [("", figure)]
        print(f"  {name:34}" + "  ".join(f"{key} {value:8.3f}" for key, value in given))
    sys.stdout.flush()
    return figures


if __name__ == "__main__":
    main()
