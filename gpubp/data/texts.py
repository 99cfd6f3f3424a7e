"""Entries of a column as text, and what they are: numbers, texts, or missing.

Blanks around an entry do not count. What is missing is one of `MISSING`, or any spelling of nan
among numbers. A number is what Python's `float` takes, in ASCII and without underscores, so that
a code such as 1_000 stays a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

BLANKS = " \t\r\n\v\f"
"""The characters around an entry that do not count."""

MISSING = frozenset(
    ("", "?", "-", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "null", "NULL", "None")
)
"""The entries that stand for a missing value."""


class Entries(Protocol):
    """A stretch of a column, however it was read."""

    def __len__(self) -> int: ...

    def numbers(self) -> Any:
        """Return the entries `(n,)` as float64, NaN where missing; None if one is no number."""

    def texts(self) -> list[str | None]:
        """Return the entries without blanks around them, None where missing."""


class Texts:
    """Entries as Python texts.

    >>> Texts(["1", " 2 ", "NA"]).numbers().tolist(), Texts(["1", "b"]).numbers()
    ([1.0, 2.0, nan], None)
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    def numbers(self) -> Any:
        """Return float64 `(n,)`, or None if an entry is neither a number nor missing."""
        whole = "".join(self.entries)
        if "_" in whole or not whole.isascii():
            return self._one_by_one()
        with suppress(ValueError):
            return np.fromiter(map(float, self.entries), dtype=np.float64, count=len(self))
        marked = ["nan" if entry in MISSING else entry for entry in self.entries]
        with suppress(ValueError):
            return np.fromiter(map(float, marked), dtype=np.float64, count=len(self))
        return self._one_by_one()

    def _one_by_one(self) -> Any:
        values = np.empty(len(self))
        for k, entry in enumerate(self.entries):
            value = number(entry)
            if value is None:
                return None
            values[k] = value
        return values

    def texts(self) -> list[str | None]:
        """Return the entries without blanks around them, None where missing."""
        bare = (entry.strip(BLANKS) for entry in self.entries)
        return [None if entry in MISSING else entry for entry in bare]


class Numbers:
    """Entries that were read as finite numbers and are texts no more.

    >>> Numbers(np.asarray([1.0, 2.0])).numbers().tolist()
    [1.0, 2.0]
    """

    def __init__(self, values: Any) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def numbers(self) -> Any:
        """Return float64 `(n,)`."""
        return self.values

    def texts(self) -> list[str | None]:
        """Not to be had: the text of a number is not known from it."""
        raise TypeError("the text of a number is not known from it")


def number(entry: str) -> float | None:
    """Return an entry as a number, NaN if it is missing, None if it is a text.

    >>> number("1e3"), number("NA"), number("1_000"), number("inf")
    (1000.0, nan, None, inf)
    """
    entry = entry.strip(BLANKS)
    if entry in MISSING:
        return float("nan")
    try:
        value = float(entry)
    except ValueError:
        return None
    return value if entry.isascii() and "_" not in entry else None
