"""`gpubp info`: versions, devices, and what stands in the way of speed."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
from importlib import metadata
from typing import Any

from .. import __version__
from ..errors import DeviceError

_LIBRARIES = (
    "numpy", "array-api-compat", "safetensors", "tqdm", "threadpoolctl", "llvmlite",
    "pyarrow", "onnx", "onnxruntime", "scikit-learn", "cupy-cuda12x", "cupy-cuda13x", "torch",
)  # fmt: skip
_SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def add_to(commands: Any) -> None:
    """Add the sub-command and its options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "info", help="versions, devices, why CUDA cannot be used, the BLAS and its settings"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what is known of this machine."""
    found = gather()
    print(json.dumps(found) if options.json else _text(found))
    return 0


def gather() -> dict[str, Any]:
    """Return versions, devices, BLAS libraries and warnings as plain data.

    >>> sorted(gather())
    ['blas', 'compiled', 'cuda', 'devices', 'gpubp', 'platform', 'python', 'versions', 'warnings']
    """
    cuda: Any = importlib.import_module("gpubp.backends.cuda")
    why_not = cuda.unusable()
    return {
        "gpubp": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: v for name in _LIBRARIES if (v := _version(name)) is not None},
        "devices": [f"cpu ({os.cpu_count()} cores)", *([] if why_not else cuda.devices())],
        "cuda": why_not or "usable",
        "compiled": _compiled(why_not is None),
        "blas": _blas(),
        "warnings": _warnings(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _compiled(on_cuda: bool) -> dict[str, str]:
    """What training steps are compiled with on each device, or what it lacks for that."""
    native: Any = importlib.import_module("gpubp.backends.native")
    found = {"cpu": native.available() or "llvmlite"}
    if on_cuda:
        cublas: Any = importlib.import_module("gpubp.backends.cublas_library")
        try:
            found["cuda"] = f"CuPy and cuBLAS {cublas.version()}"
        except DeviceError as error:
            found["cuda"] = str(error)
    return found


def _blas() -> list[dict[str, Any]]:
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))  # the library is loaded by now
    keys = ("internal_api", "version", "architecture", "num_threads", "threading_layer")
    pools = [pool for pool in threadpool_info() if pool.get("user_api") == "blas"]
    return [{key: pool.get(key) for key in keys} for pool in pools]


def _warnings() -> list[str]:
    return [
        f"{name}={os.environ[name]} pins OpenBLAS and may halve NumPy's speed: unset it"
        for name in _SLOWING
        if name in os.environ
    ]


def _text(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    blas = [
        f"{pool['internal_api']} {pool['version']} ({pool['architecture']}, "
        f"{pool['num_threads']} threads)"
        for pool in found["blas"]
    ]
    lines = [
        f"gpubp {found['gpubp']}, Python {found['python']} on {found['platform']}",
        f"with     {versions}",
        f"devices  {', '.join(found['devices'])}",
        f"cuda     {found['cuda']}",
        *(f"compiled steps on {device}: {how}" for device, how in found["compiled"].items()),
        f"blas     {', '.join(blas) or 'unknown'}",
    ]
    return "\n".join([*lines, *(f"warning  {warning}" for warning in found["warnings"])])
