"""Arrays of other libraries: whether they are on a CUDA device, with none of them imported."""

from __future__ import annotations

from typing import Any

_ON_CUDA = (2, 13)  # DLPack's numbers of memory of a device, and of memory that it shares


def interface(x: Any) -> dict[str, Any] | None:
    """Return the `__cuda_array_interface__` of `x`; None where there is none, or it is refused.

    >>> import numpy as np
    >>> interface(np.zeros(1)) is None
    True
    """
    try:
        found = getattr(x, "__cuda_array_interface__", None)
    except Exception:  # some libraries refuse here, and say why when the array is read
        return None
    return found if isinstance(found, dict) else None


def device_number(x: Any) -> int | None:
    """Return the number of the CUDA device that `x` names by DLPack; None where it names none."""
    if not hasattr(x, "__dlpack_device__"):
        return None
    kind, number = x.__dlpack_device__()
    return int(number) if int(kind) in _ON_CUDA else None


def on_cuda(x: Any) -> bool:
    """Whether `x` is in the memory of a CUDA device: an array, or a frame or column of cuDF.

    >>> on_cuda([1.0])
    False
    """
    if hasattr(x, "__dlpack_device__"):
        return device_number(x) is not None
    return interface(x) is not None or hasattr(x, "to_cupy")


def masked(x: Any) -> bool:
    """Whether a column on a CUDA device says that some of its elements are missing."""
    return (interface(x) or {}).get("mask") is not None
