"""Rows of text by pyarrow, several times as fast, for files that leave no doubt how to read them.

Readers differ in what they make of a quote in the middle of an entry, of rows of different
lengths, of endless entries. Such a file raises `Doubtful`, and the standard library reads it.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from .arrow_values import filled, strings
from .limits import FIELD, ROW
from .texts import BLANKS, MISSING, Texts

_BLOCK = 1 << 23  # characters parsed at once
_QUOTE, _FEED, _RETURN = 34, 10, 13


class Doubtful(Exception):  # noqa: N818 - no error: the other reader has the last word
    """The file is to be read by the standard library."""


def blocks(chunks: Iterable[str], delimiter: str, names: list[str]) -> Iterator[list[ArrowTexts]]:
    """Yield the columns of one block of whole rows after the other, without the header."""
    import pyarrow
    from pyarrow import csv

    columns = [str(k) for k in range(len(names))]
    parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    types = csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pyarrow.string()), strings_can_be_null=False
    )
    start = 1  # the header is the first row
    for data in _whole_rows(chunks, ord(delimiter)):
        if data.startswith(codecs.BOM_UTF8):
            data = b"\n" + data  # pyarrow takes away any at the beginning: it begins with a block
        options = csv.ReadOptions(column_names=columns, block_size=len(data) + 1)
        try:
            table = csv.read_csv(pyarrow.BufferReader(data), options, parsing, types)
        except pyarrow.ArrowInvalid as error:
            raise Doubtful(str(error)) from error
        if any(_longest(column) > FIELD for column in table.columns):
            raise Doubtful("an entry is very long")
        block = [ArrowTexts(column.combine_chunks()) for column in table.slice(start).columns]
        start = 0 if len(table) else start
        if len(block[0]):
            yield block


def _whole_rows(chunks: Iterable[str], delimiter: int) -> Iterator[bytes]:
    """Yield bytes that end where a row ends; `Doubtful` for a quote that is out of place."""
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        parts.append(chunk.encode())
        size += len(parts[-1])
        if size < _BLOCK:
            continue
        data = b"".join(parts)
        end = _last_row_end(data)
        if end == 0:
            if size > ROW:
                raise Doubtful("a row is very long")
            parts = [data]
            continue
        parts, size = [data[end:]], len(data) - end
        yield _unambiguous(data[:end], delimiter)
    data = b"".join(parts)
    if data.strip(b"\r\n"):
        yield _unambiguous(data, delimiter)


def _last_row_end(data: bytes) -> int:
    """Where the last row ends: at a line feed with an even number of quotes before it."""
    if b'"' not in data:
        return data.rfind(b"\n") + 1
    codes = np.frombuffer(data, dtype=np.uint8)
    feeds = np.flatnonzero(codes == _FEED)
    quotes = np.searchsorted(np.flatnonzero(codes == _QUOTE), feeds)
    outside = feeds[quotes % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0


def _unambiguous(data: bytes, delimiter: int) -> bytes:
    """Return the data; `Doubtful` unless each quote opens or closes an entry, or is doubled."""
    if b'"' not in data:
        return data
    codes = np.frombuffer(data, dtype=np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    if len(quotes) % 2:
        raise Doubtful("a quote is not closed")
    edges = np.zeros(256, dtype=bool)
    edges[[delimiter, _FEED, _RETURN]] = True
    padded = np.concatenate([[_FEED], codes, [_FEED]])  # byte k of the data is padded[k + 1]
    opening, closing = quotes[0::2], quotes[1::2]
    opens = edges[padded[opening]]
    opens[1:] |= opening[1:] == closing[:-1] + 1
    closes = edges[padded[closing + 2]]
    closes[:-1] |= opening[1:] == closing[:-1] + 1
    if not (opens.all() and closes.all()):
        raise Doubtful("a quote stands in the middle of an entry")
    return data


def _longest(column: Any) -> int:
    import pyarrow.compute as pc

    return pc.max(pc.binary_length(column)).as_py() or 0


class ArrowTexts:
    """Entries as a pyarrow array of strings; the same answers as `Texts` gives."""

    def __init__(self, entries: Any) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    @cached_property
    def entries(self) -> Any:
        """The entries without blanks around them."""
        import pyarrow.compute as pc

        return pc.ascii_trim(self._entries, BLANKS)

    def numbers(self) -> Any:
        """Return float64 `(n,)`, or None if an entry is neither a number nor missing."""
        plain = self._finite(self._entries)
        if plain is not None:
            return plain
        given = self._finite(self._present())
        # Python has the last word on what a number is: it takes +1, too.
        return Texts(self.entries.to_pylist()).numbers() if given is None else given

    @staticmethod
    def _finite(entries: Any) -> Any:
        import pyarrow

        try:
            values = filled(entries, np.nan)
        except pyarrow.ArrowInvalid:
            return None
        finite = np.count_nonzero(np.isfinite(values)) == len(values) - entries.null_count
        return values if finite else None

    def texts(self) -> list[str | None]:
        """Return the entries without blanks around them, None where missing."""
        texts: list[str | None] = self._present().to_pylist()
        return texts

    def _present(self) -> Any:
        """The entries without blanks around them, null where missing."""
        import pyarrow
        import pyarrow.compute as pc

        missing = pc.is_in(self.entries, value_set=strings(sorted(MISSING)))
        return pc.if_else(missing, pyarrow.nulls(len(self), pyarrow.string()), self.entries)
