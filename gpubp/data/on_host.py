"""Arrays as users have them, of any library whose memory NumPy can see."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError


def array(given: Any, name: str) -> Any:
    """Return a NumPy array of what NumPy can see; `InputError` for anything else.

    >>> array([[1], [2, 3]], "x")
    Traceback (most recent call last):
    gpubp.errors.InputError: x is no array of numbers or texts on the host
    """
    try:
        found = given if isinstance(given, np.ndarray) else np.asarray(given)
        if found.dtype.kind == "U" and found is not given:  # whose texts lose a last NUL
            found = np.asarray(given, dtype=object)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"{name} is no array of numbers or texts on the host") from error
    if isinstance(found, np.ma.MaskedArray) and np.ma.is_masked(found):
        raise InputError(f"{name} has masked elements; fill them, as with .filled(value)")
    return found
