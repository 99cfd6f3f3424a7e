"""Plain data that may come from a file: looked at before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import InputError, real, shown, whole

LARGEST = 1_000_000
"""The most entries that a list of names, means or categories may have."""


def parts(kind: str, given: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return a mapping that has these keys and no other; `InputError` says which are wrong.

    >>> parts("Numeric", {"type": "Numeric", "mean": 1}, ["mean", "scale"])
    Traceback (most recent call last):
    gpubp.errors.InputError: Numeric: 'scale' is missing
    """
    if not isinstance(given, Mapping):
        raise InputError(f"{kind}: {shown(given)} is no mapping of names to values")
    wanted = list(names)
    for name in wanted:
        if name not in given:
            raise InputError(f"{kind}: {name!r} is missing")
    unknown = [key for key in given if key not in wanted and key != "type"]
    if unknown:
        raise InputError(f"{kind}: the key {shown(unknown[0])} is unknown")
    return {name: given[name] for name in wanted}


def text(kind: str, name: str, value: Any) -> str:
    """Return a text that can be written as UTF-8.

    >>> text("Numeric", "name", 3)
    Traceback (most recent call last):
    gpubp.errors.InputError: Numeric: name is 3; expected a text
    """
    if not isinstance(value, str):
        raise InputError(f"{kind}: {name} is {shown(value)}; expected a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{kind}: {name} {shown(value)} is no Unicode text") from error
    return value


def number(kind: str, name: str, value: Any) -> float:
    """Return a finite number.

    >>> number("Numeric", "mean", 2)
    2.0
    """
    found = real(value)
    if not math.isfinite(found):
        raise InputError(f"{kind}: {name} is {shown(value)}; expected a finite number")
    return found


def positive(kind: str, name: str, value: Any) -> float:
    """Return a finite number above zero.

    >>> positive("Numeric", "scale", 0)
    Traceback (most recent call last):
    gpubp.errors.InputError: Numeric: scale is 0; expected a number above zero
    """
    found = number(kind, name, value)
    if found <= 0.0:
        raise InputError(f"{kind}: {name} is {shown(value)}; expected a number above zero")
    return found


def several(kind: str, name: str, values: Any, each: Callable[[str, str, Any], Any]) -> Any:
    """Return a list as a tuple whose entries `each` has looked at.

    >>> several("Standardised", "means", [1, 2.5], number)
    (1.0, 2.5)
    """
    if not isinstance(values, list | tuple):
        raise InputError(f"{kind}: {name} is {shown(values)}; expected a list")
    if len(values) > LARGEST:
        raise InputError(f"{kind}: {name} has {len(values):,} entries; the most is {LARGEST:,}")
    return tuple(each(kind, f"{name}[{i}]", value) for i, value in enumerate(values))


def shape(kind: str, given: Any) -> tuple[int, ...]:
    """Return the shape of one example, of at most `LARGEST` numbers.

    >>> shape("Pixels", [28, 28])
    (28, 28)
    """
    if not isinstance(given, list | tuple) or len(given) > 8:
        raise InputError(f"{kind}: shape is {shown(given)}; expected a list of lengths")
    if any(not whole(length) or not 1 <= length <= LARGEST for length in given):
        raise InputError(f"{kind}: shape is {shown(given)}; expected lengths of at least 1")
    if math.prod(given) > LARGEST:
        raise InputError(f"{kind}: an example of shape {tuple(given)} has {math.prod(given):,} "
                         f"numbers; the most is {LARGEST:,}")  # fmt: skip
    return tuple(int(length) for length in given)


def distinct(kind: str, name: str, values: tuple[Any, ...]) -> None:
    """Raise `InputError` that names an entry which stands there twice.

    >>> distinct("Classes", "names", ("a", "b", "a"))
    Traceback (most recent call last):
    gpubp.errors.InputError: Classes: names holds 'a' twice
    """
    seen = set()
    for value in values:
        if value in seen:
            raise InputError(f"{kind}: {name} holds {shown(value)} twice")
        seen.add(value)
