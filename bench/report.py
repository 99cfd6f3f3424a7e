"""Where a figure was measured: what every result file says beside its numbers."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_LIBRARIES = (
    "gpubp", "numpy", "scipy", "llvmlite", "torch", "jax", "jaxlib", "scikit-learn",
    "cupy-cuda12x", "cupy-cuda13x",
)  # fmt: skip
_VARIABLES = ("OPENBLAS", "OMP_", "MKL_", "XLA_", "NUMBA_", "JAX_", "TORCH", "NPROC", "GPUBP_")


def environment() -> dict[str, Any]:
    """Return machine, versions, BLAS, load, variables that libraries read, date and commit."""
    from threadpoolctl import threadpool_info

    blas = [
        {key: pool.get(key) for key in ("internal_api", "version", "architecture", "num_threads")}
        | {"library": Path(pool["filepath"]).name}
        for pool in threadpool_info()
    ]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: v for name in _LIBRARIES if (v := _version(name))},
        "threadpools": blas,
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "variables": {
            k: v
            for k, v in sorted(os.environ.items())
            if k.startswith(_VARIABLES) and os.sep not in v  # a folder tells of the machine's owner
        },
    }


def write(path: str | None, result: dict[str, Any]) -> None:
    """Write a result as JSON, if a path is given."""
    if path:
        Path(path).write_text(json.dumps(result, indent=1) + "\n")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit that was measured, `-dirty` if anything but recorded results differs from it."""
    root = Path(__file__).resolve().parent.parent
    commit = _git(root, "rev-parse", "--short", "HEAD")
    if commit is None:
        return None
    changed = _git(root, "status", "--porcelain", "--", ".", ":!bench/results")
    return f"{commit}-dirty" if changed else commit


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
