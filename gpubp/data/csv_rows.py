"""Rows of text by the standard library: any file, and the precise message for a bad one."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

from ..errors import InputError
from .limits import FIELD, ROW
from .texts import Entries, Numbers, Texts

WIDE = 500
"""The columns from which on a table is wide: the work on each column outweighs that on rows."""

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
    text = _Text(chunks, 64 * sum(map(len, names)) if len(names) >= WIDE else 0)
    while text.more():
        fast = fast and all_numbers()
        numbers = _numbers(text.lines, delimiter, len(names)) if fast and done >= 0 else None
        if numbers is not None:
            text.take(len(text.lines))
            done += len(numbers)
            yield [Numbers(column) for column in numbers.T]
            continue
        fast = fast and (done < 0 or not text.lines)
        rows, taken = _rows(name, text, delimiter, done)
        text.take(taken)
        if len(text.rest) > ROW:
            raise InputError(
                f"{name}: row {done + len(rows) + 1} is longer than {ROW} characters; "
                "a quote may not be closed"
            )
        _check_lengths(name, rows, done, names)
        first = 1 if done < 0 else 0
        done += len(rows)
        if len(rows) > first:
            yield [Texts(column) for column in zip(*rows[first:], strict=True)]


class _Text:
    """Chunks of text put together until they make whole lines, and what of these is left over.

    What is done for each column and block takes longer than its entries if these are few: of a
    wide table, `least` characters are put together.
    """

    def __init__(self, chunks: Iterable[str], least: int) -> None:
        self.chunks, self.least = iter(chunks), least
        self.rest = self.lines = ""
        self.last = False
        self._enough = 0

    def more(self) -> bool:
        """Put together the next lines; whether there are any."""
        if self.last:
            return False
        parts, size = [self.rest], len(self.rest)
        while size < max(self.least, self._enough) or len(parts) == 1:
            chunk = next(self.chunks, "")
            self.last = not chunk
            if self.last:
                break
            parts.append(chunk)
            size += len(chunk)
        text = "".join(parts)
        # A return at the very end may be the first half of an end of line.
        end = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1
        end = len(text) if self.last else end
        self.lines, self.rest = text[:end], text[end:]
        return True

    def take(self, taken: int) -> None:
        """Leave what comes behind so many characters of the lines for the next time.

        If none was taken, the next time is when there is twice as much: to read a long row again
        after each chunk takes long.
        """
        self.rest = self.lines[taken:] + self.rest
        self._enough = 0 if taken else 2 * len(self.rest)


def _numbers(text: str, delimiter: str, width: int) -> Any:
    """Return whole lines as an array `(n, width)` if they hold finite numbers only, else None."""
    # NumPy takes away more around a number than Python does: the separators 1c to 1f.
    if not text.isascii() or any(sign in text for sign in '"\x1c\x1d\x1e\x1f'):
        return None
    lines = [line for line in io.StringIO(text, newline="") if line.strip("\r\n")]
    if not lines or max(map(len, lines)) > FIELD:
        return None
    try:
        values = np.loadtxt(lines, delimiter=delimiter, comments=None, ndmin=2)
    except ValueError:
        return None
    return values if values.shape == (len(lines), width) and np.isfinite(values).all() else None


def _rows(name: str, text: _Text, delimiter: str, done: int) -> tuple[list[list[str]], int]:
    """Return the rows that are whole, and how many characters of the lines they take."""
    source = reader(io.StringIO(text.lines, newline=""), delimiter)
    rows: list[list[str]] = []
    read = 0  # lines in whole rows
    try:
        with field_limit():
            for row in source:
                read = source.line_num
                if row:
                    rows.append(row)
    except csv.Error as error:
        if _OPEN not in str(error) or text.last:
            raise InputError(f"{name}: row {done + 1 + len(rows)}: {fault(error)}") from error
        lines = islice(io.StringIO(text.lines, newline=""), read)
        return rows, sum(map(len, lines))
    return rows, len(text.lines)


def _check_lengths(name: str, rows: list[list[str]], done: int, names: list[str]) -> None:
    if set(map(len, rows)) <= {len(names)}:
        return
    k, row = next((k, row) for k, row in enumerate(rows) if len(row) != len(names))
    shown = ", ".join(repr(entry[:20]) for entry in row[:4]) + (", ..." if len(row) > 4 else "")
    raise InputError(
        f"{name}: row {done + 1 + k} has {len(row)} entries ({shown}), the header has "
        f"{len(names)}; put quotes around an entry that holds the delimiter, or name another one"
    )
