"""How many threads a process may use, whatever library is in it.

A process is confined to as many cores as it is to have threads, which binds every library there
is; variables say the same to those that would otherwise start more threads than cores. Both must
come before NumPy, so that a measurement runs in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HARMFUL = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Variables that pin OpenBLAS to another machine's kernels, at up to half the speed."""
_COUNTS = (
    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC",  # NPROC is XLA's
)  # fmt: skip


def surroundings(threads: int) -> dict[str, str]:
    """Return the environment of a process that is to measure on this many threads."""
    kept = {k: v for k, v in os.environ.items() if k not in HARMFUL}
    flags = kept.get("XLA_FLAGS", "")
    if threads == 1:
        flags = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    counts = dict.fromkeys(_COUNTS, str(threads))
    # Otherwise torch.compile starts processes that work beside whoever is measured next.
    counts["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    return {**kept, **counts, **({"XLA_FLAGS": flags} if flags else {})}


def confine(threads: int) -> list[int] | None:
    """Keep this process to the first `threads` of its cores; None where a system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cores)
    return cores


def available() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def start(module: str, arguments: Sequence[str], threads: int, **more: str) -> int:
    """Run `python -m module` from the root of the project; return its exit status."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, env={**surroundings(threads), **more}).returncode
