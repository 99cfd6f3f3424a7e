"""The device under test and the libraries that drive it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from . import Row, UnavailableError, first_line, gpu

_LIBRARIES = ("nvmath-python", "cuda-pathfinder", "nvidia-cublas", "nvidia-cuda-nvrtc")


def probe() -> Iterator[Row]:
    """Describe the device; raise `UnavailableError` unless a kernel can be compiled and run."""
    cp = gpu()
    try:
        total = int(cp.arange(100).sum())
    except Exception as error:  # a driver alone proves neither the compiler nor the headers
        raise UnavailableError(f"CUDA cannot run a kernel: {first_line(error)}") from None
    if total != 4950:
        raise UnavailableError(f"CUDA is broken here: 0 + 1 + ... + 99 came out as {total}")
    yield "device", describe(cp)
    yield "versions", {"cupy": cp.__version__, **{name: installed(name) for name in _LIBRARIES}}


def describe(cp: Any) -> dict[str, Any]:
    """Return name, size and driver of the current device."""
    runtime = cp.cuda.runtime
    properties = runtime.getDeviceProperties(cp.cuda.Device().id)
    return {
        "name": properties["name"].decode(),
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": properties["multiProcessorCount"],
        "memory_bytes": properties["totalGlobalMem"],
        "l2_bytes": properties["l2CacheSize"],
        "driver": driver(),
        "driver_cuda": dotted(runtime.driverGetVersion()),
        "cuda_runtime": dotted(cp.cuda.get_local_runtime_version()),
    }


def dotted(number: int) -> str:
    """Return CUDA's version number as text.

    >>> dotted(13020)
    '13.2'
    """
    return f"{number // 1000}.{number % 1000 // 10}"


def driver() -> str | None:
    """Return the version of the NVIDIA driver; None where `nvidia-smi` does not tell."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(output.stdout.split()), None)


def installed(name: str) -> str | None:
    """Return the version of a distribution without importing it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
