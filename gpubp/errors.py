"""The errors that gpubp raises: each says what was given, what was expected and how to mend it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar


class GpubpError(Exception):
    """Every error of this library: `except gpubp.GpubpError` catches them all.

    >>> issubclass(InputError, GpubpError) and issubclass(InputError, ValueError)
    True
    """


class InputError(GpubpError, ValueError):
    """An argument, an array or a file is not what it has to be; nothing was changed.

    >>> raise InputError("batch_size is 0; it must be at least 1")
    Traceback (most recent call last):
    gpubp.errors.InputError: batch_size is 0; it must be at least 1
    """


class DeviceError(GpubpError, RuntimeError):
    """A device or array library that was asked for cannot be used, or two were mixed.

    >>> import gpubp
    >>> try:
    ...     gpubp.select("tpu")
    ... except gpubp.DeviceError as error:
    ...     print(error)
    unknown device 'tpu'; known: 'auto', 'cpu', 'cuda', 'cuda:N'; nearest: 'cpu'
    """


class UnknownDeviceError(DeviceError, InputError):
    """The name of a device is none that is known.

    >>> issubclass(UnknownDeviceError, InputError)
    True
    """


class OutOfMemoryError(DeviceError, MemoryError):
    """A device has no room for what was asked for; a step that needed it was not taken.

    `asked` is the size in bytes of the request that failed, `free` about how many were left.

    >>> issubclass(OutOfMemoryError, MemoryError)
    True
    """

    def __init__(self, message: str, asked: int = 0, free: int = 0) -> None:
        super().__init__(message)
        self.asked = asked
        self.free = free

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.asked, self.free)


class NonFiniteError(GpubpError, ArithmeticError):
    """A training step met NaN or an infinity; that step was not taken.

    `step` counts from 1; `layer` is a path such as `2.body.0`, or `"loss"`.

    >>> NonFiniteError("step 3: the output of layer 0 (Linear) is not finite", 3, "0").layer
    '0'
    """

    def __init__(self, message: str, step: int, layer: str) -> None:
        super().__init__(message)
        self.step = step
        self.layer = layer

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.step, self.layer)


def shown(value: Any) -> str:
    """Return what stands for a value that came from outside in a message: not all of a long one.

    >>> shown("a" * 1000)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
    """
    if isinstance(value, str | bytes):
        value = value[:100]
    elif isinstance(value, dict | list | tuple) and not _short(value):
        kind = "mapping" if isinstance(value, dict) else type(value).__name__
        return f"a {kind} of {len(value)}"
    elif isinstance(value, int) and value.bit_length() > 128:
        return "a number of more than 38 digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _short(several: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> bool:
    """Whether these few things may be shown, for none of them holds others."""
    if isinstance(several, dict):
        return not several
    one = str | int | float | None
    return len(several) < 6 and all(isinstance(v, one) and len(shown(v)) < 20 for v in several)


def in_bytes(size: float) -> str:
    """Return a number of bytes as one reads it.

    >>> in_bytes(800), in_bytes(3 * 2**20), in_bytes(1.5 * 2**40)
    ('800 bytes', '3.0 MiB', '1,536.0 GiB')
    """
    if size < 1024:
        return f"{size:.0f} bytes"
    power = min(3, int(math.log2(size) // 10))
    return f"{size / 1024**power:,.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


_LISTED = 80  # names in a message


def nearest(name: object, known: Iterable[str]) -> str:
    """Return the end of an error message: the known names, and the one most like `name`.

    >>> nearest("rellu", ["relu", "tanh"])
    "known: 'relu', 'tanh'; nearest: 'relu'"
    """
    from difflib import get_close_matches

    names = sorted(known)
    lower = {each.lower(): each for each in names}
    close = get_close_matches(str(name)[:100].lower(), lower, n=1, cutoff=0.3)
    listed = "known: " + ", ".join(map(repr, names[:_LISTED]))
    listed += f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"{listed}; nearest: {lower[close[0]]!r}" if close else listed


T = TypeVar("T")


def named(what: str, given: object, table: Mapping[str, T]) -> T:
    """Return the entry of that name; `InputError` that names the nearest for any other.

    >>> named("digit", "one", {"one": 1, "two": 2})
    1
    """
    if not isinstance(given, str) or given not in table:
        raise InputError(f"unknown {what} {shown(given)}; {nearest(_name(given), table)}")
    return table[given]


def _name(given: object) -> str:
    return given if isinstance(given, str) else shown(given)


def real(value: object) -> float:
    """Return a real number as a float; NaN for anything else, a bool and what no float holds.

    >>> real(3), real("3"), real(True), real(10**400)
    (3.0, nan, nan, nan)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def whole(value: object) -> bool:
    """Whether `value` is a whole number: an int of Python or NumPy, and no bool.

    >>> whole(3), whole(3.0), whole(True)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)
