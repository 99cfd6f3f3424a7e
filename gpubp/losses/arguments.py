"""The arguments of losses: looked at when one is made, and brought to the device once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from ..backend import Array, Backend
from ..errors import InputError, real

Numbers = float | tuple[float, ...]


def number(of: Any, name: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    """Return a finite number as a float; `InputError` that says what was expected otherwise.

    >>> number(object(), "q", 2, "a number in (0, 1)", lambda q: 0 < q < 1)
    Traceback (most recent call last):
    gpubp.errors.InputError: object: q is 2; expected a number in (0, 1)
    """
    found = real(value)
    if not math.isfinite(found) or not fits(found):
        raise InputError(f"{type(of).__name__}: {name} is {value!r}; expected {expected}")
    return found


def several(
    of: Any, name: str, values: Any, expected: str, fits: Callable[[float], bool]
) -> tuple[float, ...]:
    """Return numbers as a tuple of floats; `InputError` for no sequence of such, or an empty one.

    >>> several(object(), "class_weight", [1, 2], "numbers", lambda c: c >= 0)
    (1.0, 2.0)
    """
    if not is_several(values):
        raise InputError(f"{type(of).__name__}: {name} is {values!r}; expected a tuple of numbers")
    found = tuple(number(of, name, value, expected, fits) for value in values)
    if not found:
        raise InputError(f"{type(of).__name__}: {name} is empty; give {expected}")
    return found


def is_several(values: Any) -> bool:
    """Whether these are to be read as numbers in order: a mapping, whose keys they were, is not.

    >>> is_several((1.0, 2.0)), is_several({0: 1.0}), is_several(1.0)
    (True, False, False)
    """
    sequence = isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping)
    return sequence and getattr(values, "ndim", 1) > 0


def one_for_each(of: Any, name: str, values: Any, width: int) -> None:
    """Raise `InputError` unless a tuple has one number for each output; a number fits any width.

    >>> one_for_each(object(), "class_weight", (1.0, 2.0), 3)
    Traceback (most recent call last):
    gpubp.errors.InputError: object: class_weight has 2 numbers, and the network has 3 outputs; \
give one for each
    """
    if isinstance(values, tuple) and len(values) != width:
        raise InputError(
            f"{type(of).__name__}: {name} has {len(values)} numbers, and the network has {width} "
            "outputs; give one for each"
        )


def smoothing(of: Any, value: Any) -> float:
    """Return a label smoothing that was looked at.

    >>> smoothing(object(), 0.1)
    0.1
    """
    return number(of, "label_smoothing", value, "a number in [0, 1)", lambda e: 0 <= e < 1)


_rows: WeakKeyDictionary[Backend, dict[tuple[float, ...], Array]] = WeakKeyDictionary()


def constant(be: Backend, values: Numbers) -> Any:
    """Return a number as it is and several as a row `(n,)` on the device, copied there once.

    A copy in every step would make the host wait for the device.

    >>> import gpubp
    >>> constant(gpubp.select("cpu"), (1.0, 2.0)).tolist()
    [1.0, 2.0]
    """
    if not isinstance(values, tuple):
        return values
    known = _rows.setdefault(be, {})
    if values not in known:
        known[values] = be.asarray(values)
    return known[values]
