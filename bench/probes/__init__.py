"""The parts of `bench.gpu_probes`: the `probe` of each module yields one named result at a time.

CuPy is imported by `gpu`, never at the top of a module: the parts can be listed, and the rest of
their code tested, on a machine without a GPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeAlias

Result: TypeAlias = dict[str, Any]
Row: TypeAlias = tuple[str, Result]


class UnavailableError(Exception):
    """What a part needs is not on this machine; the message says what."""


def gpu() -> Any:
    """Return CuPy, or raise `UnavailableError` where it, a driver or a device is missing."""
    try:
        cp: Any = importlib.import_module("cupy")
    except ImportError as error:
        message = f"CuPy is missing, install gpubp[cuda13]: {first_line(error)}"
        raise UnavailableError(message) from None
    try:
        count = cp.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy's own classes, which cannot be named before its import
        raise UnavailableError(f"no CUDA device: {first_line(error)}") from None
    if count == 0:
        raise UnavailableError("no CUDA device: the driver lists none")
    return cp


def attempt(measure: Callable[..., Result], *arguments: Any) -> Result:
    """Return the result, or its error: one call that fails must not end the whole part."""
    try:
        return measure(*arguments)
    except Exception as error:
        return {"error": first_line(error)}


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line that says something.

    >>> first_line(ValueError("====\\nno\\nmore"))
    'ValueError: no'
    """
    lines = (line.strip() for line in str(error).splitlines())
    text = next((line for line in lines if any(map(str.isalnum, line))), "no message")
    return f"{type(error).__name__}: {text}"
