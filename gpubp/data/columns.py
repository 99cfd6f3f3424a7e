"""A column that grows block by block: numbers as long as every entry is one, then texts."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import numpy as np

from ..errors import InputError, nearest, shown
from .texts import Entries, number

_POOLED = 10_000  # texts of a column kept to be shared by the entries that are equal to them

_LONGEST = 500  # characters of a name


class Column:
    """The entries of one column so far.

    `kind` is "numeric" or "text" where the caller says so, "numbers" while all entries are
    numbers, "late" when a text was met after numbers that are kept no more: read it again as
    "text".
    """

    def __init__(self, name: str, source: str, kind: str = "numbers") -> None:
        self.name, self.source, self.kind = name, source, kind
        self.values = array("d")
        self.texts: list[str | None] = []
        self.infinite = ""
        self.bytes = 0
        self._pool: dict[str | None, str | None] = {}

    def __len__(self) -> int:
        return len(self.texts) if self.kind == "text" else len(self.values)

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers so far."""
        return self.kind in ("numbers", "numeric")

    def add(self, entries: Entries) -> None:
        """Take what comes next in the column; `InputError` for a text in a numeric one."""
        if self.numeric:
            numbers = entries.numbers()
            if numbers is not None:
                self._add_numbers(numbers, entries)
                return
            if self.kind == "numeric":
                self._refuse(entries)
            self.kind = "late" if self.values else "text"
            self.values = array("d")
            self.bytes = 0
        if self.kind == "text":
            self._add_texts(entries.texts())

    def _add_numbers(self, numbers: Any, entries: Entries) -> None:
        if not self.infinite and np.isinf(numbers).any():
            k = int(np.argmax(np.isinf(numbers)))
            self.infinite = f"row {len(self.values) + k + 1} is {_short(entries.texts()[k])}"
        self.values.frombytes(numbers.tobytes())
        self.bytes += 8 * len(numbers)

    def _add_texts(self, texts: list[str | None]) -> None:
        pool = self._pool
        if len(pool) < _POOLED:
            known = len(pool)
            texts = [pool.setdefault(text, text) for text in texts]
            new: Iterable[str | None] = list(pool)[known:]
        else:
            new = texts
        self.bytes += 8 * len(texts) + sum(len(text) + 49 for text in new if text is not None)
        self.texts += texts

    def _refuse(self, entries: Entries) -> None:
        texts = entries.texts()
        k = next(k for k, t in enumerate(texts) if t is not None and number(t) is None)
        raise InputError(
            f"{self.source}: row {len(self.values) + k + 1} of column {self.name!r} is "
            f"{_short(texts[k])}; expected a number, or nothing where it is missing"
        )

    def result(self) -> Any:
        """Return the column `(n,)`; `InputError` for a number that no float64 holds."""
        if self.kind == "text":
            column = np.empty(len(self.texts), dtype=object)
            column[:] = self.texts
            return column
        if self.infinite:
            raise InputError(
                f"{self.source}: column {self.name!r}: {self.infinite}; expected finite numbers: "
                "leave the entry empty if it is missing, or read the column as text"
            )
        return np.frombuffer(self.values, dtype=np.float64) if self.values else np.empty(0)


def _short(text: str | None) -> str:
    text = text or ""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def check_names(source: str, names: list[str]) -> None:
    """Raise `InputError` unless each column has a name, and one of its own.

    >>> check_names("a.csv", ["age", "town", "age"])
    Traceback (most recent call last):
    gpubp.errors.InputError: a.csv: columns 1 and 3 are both called 'age'; rename one
    """
    if "" in names:
        place = names.index("") + 1
        index = " (an index that pandas wrote? write with index=False)" if place == 1 else ""
        raise InputError(
            f"{source}: column {place} of {len(names)} has no name{index}; give it one"
        )
    longest = max(names, key=len)
    if len(longest) > _LONGEST:
        raise InputError(
            f"{source}: column {names.index(longest) + 1} has a name of {len(longest)} characters; "
            f"{_LONGEST} are the most; a quote may be missing"
        )
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        places = [k + 1 for k, name in enumerate(names) if name == twice]
        raise InputError(
            f"{source}: columns {places[0]} and {places[1]} are both called {twice!r}; rename one"
        )


def listed(kind: str, given: Any) -> list[str]:
    """Return the names of columns that a caller gives; `InputError` for what is no name.

    >>> listed("text", "zip"), listed("text", ("zip", "town"))
    (['zip'], ['zip', 'town'])
    """
    try:
        names = [given] if isinstance(given, str) else list(given)
    except TypeError as error:
        raise InputError(f"{kind} is {shown(given)}; expected names of columns") from error
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"{kind} holds {shown(name)}; expected names of columns")
    return names


def forced(
    source: str, names: Iterable[str], text: Iterable[str], numeric: Iterable[str]
) -> dict[str, str]:
    """Return the kinds that a caller gives to columns by name.

    >>> forced("a.csv", ["zip", "age"], ["zip"], ())
    {'zip': 'text'}
    """
    there = dict.fromkeys(names)
    chosen: dict[str, str] = {}
    for kind, given in (("text", text), ("numeric", numeric)):
        for name in listed(kind, given):
            if name not in there:
                all_names = list(there)
                close = get_close_matches(str(name), all_names, 5)
                known = all_names if len(there) <= 20 else close or all_names[:5]
                raise InputError(f"{source} has no column {name!r}; {nearest(name, known)}")
            if chosen.setdefault(name, kind) != kind:
                raise InputError(f"{source}: column {name!r} is in text and in numeric; choose one")
    return chosen
