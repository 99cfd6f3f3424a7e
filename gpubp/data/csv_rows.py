"""Rows of text by the standard library: any file, and the precise message for a bad one."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np

from ..errors import InputError
from .limits import FIELD, ROW
from .texts import Entries, Numbers, Texts

_LIMIT = threading.Lock()
_OPEN = "unexpected end of data"  # csv's words for a quote that is not closed


@contextmanager
def field_limit() -> Iterator[None]:
    """Let csv read entries as long as `FIELD`; the limit is one of the whole process."""
    with _LIMIT:
        before = csv.field_size_limit(FIELD)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def reader(lines: Iterable[str], delimiter: str) -> Any:
    """Return a reader of rows: quotes as in RFC 4180, blanks before an entry do not count.

    >>> list(reader(['a, "b, c"'], ","))
    [['a', 'b, c']]
    """
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != " ", strict=True)


def fault(error: csv.Error) -> str:
    """Return what is wrong with a row, and how to mend it.

    >>> fault(csv.Error("unexpected end of data"))
    'a quote is not closed; a quote within quotes is written twice, "a ""b"" c"'
    """
    if "field larger" in str(error):
        return f"an entry is longer than {FIELD} characters; a quote may be missing before it"
    why = "a quote is not closed" if _OPEN in str(error) else str(error)
    return f'{why}; a quote within quotes is written twice, "a ""b"" c"'


def blocks(
    name: str,
    chunks: Iterable[str],
    delimiter: str,
    names: list[str],
    all_numbers: Callable[[], bool] = lambda: False,
) -> Iterator[Sequence[Entries]]:
    """Yield the columns of about one chunk of text after the other, without the header.

    `all_numbers` says whether only numbers were met, or matter: then NumPy tries first.

    >>> [[c.entries for c in block] for block in blocks("a", ["a,b\\n1,2\\n"], ",", ["a", "b"])]
    [[('1',), ('2',)]]
    """
    done = -1  # the header is row 0
    fast = True
    rest, enough = "", 0
    for chunk in chain(chunks, [""]):
        text = rest + chunk
        if chunk and len(text) < enough:
            rest = text
            continue
        # A return at the very end may be the first half of an end of line.
        end = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1 if chunk else len(text)
        numbers = None
        if fast and done >= 0 and end:
            numbers = _numbers(text[:end], delimiter, len(names)) if all_numbers() else None
            fast = numbers is not None
        if numbers is not None:
            rest = text[end:]
            done += len(numbers)
            yield [Numbers(column) for column in numbers.T]
            continue
        rows = _rows(name, text[:end], delimiter, done, last=not chunk)
        if rows is None:  # twice as much: to read again and again after each chunk takes long
            rest, enough = text, 2 * len(text)
            continue
        rest, enough = text[end:], 0
        if len(rest) > ROW:
            raise InputError(f"{name}: row {done + len(rows) + 1} is longer than {ROW} characters")
        _check_lengths(name, rows, done, names)
        first = 1 if done < 0 else 0
        done += len(rows)
        if len(rows) > first:
            yield [Texts(column) for column in zip(*rows[first:], strict=True)]


def _numbers(text: str, delimiter: str, width: int) -> Any:
    """Return whole lines as an array `(n, width)` if they hold finite numbers only, else None."""
    if '"' in text:
        return None
    lines = [line for line in io.StringIO(text, newline="") if line.strip("\r\n")]
    if not lines or max(map(len, lines)) > FIELD:
        return None
    try:
        values = np.loadtxt(lines, delimiter=delimiter, comments=None, ndmin=2)
    except ValueError:
        return None
    return values if values.shape == (len(lines), width) and np.isfinite(values).all() else None


def _rows(name: str, text: str, delimiter: str, done: int, last: bool) -> list[list[str]] | None:
    """Return the rows of whole lines; None if they end in quotes, and more lines are to come."""
    lines = reader(io.StringIO(text, newline=""), delimiter)
    rows: list[list[str]] = []
    try:
        with field_limit():
            rows.extend(row for row in lines if row)
    except csv.Error as error:
        if _OPEN in str(error) and not last and len(text) <= ROW:
            return None
        row = f"row {done + 1 + len(rows)}"
        if _OPEN in str(error) and not last:
            raise InputError(f"{name}: {row} is longer than {ROW} characters; "
                             "a quote may not be closed") from error  # fmt: skip
        raise InputError(f"{name}: {row}: {fault(error)}") from error
    return rows


def _check_lengths(name: str, rows: list[list[str]], done: int, names: list[str]) -> None:
    if set(map(len, rows)) <= {len(names)}:
        return
    k, row = next((k, row) for k, row in enumerate(rows) if len(row) != len(names))
    shown = ", ".join(repr(entry[:20]) for entry in row[:4]) + (", ..." if len(row) > 4 else "")
    raise InputError(
        f"{name}: row {done + 1 + k} has {len(row)} entries ({shown}), the header has "
        f"{len(names)}; put quotes around an entry that holds the delimiter, or name another one"
    )
