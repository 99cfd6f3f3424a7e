"""The first row of a table as text: what separates entries, and the names of the columns."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from ..errors import InputError
from .columns import check_names
from .csv_rows import fault, field_limit, reader
from .limits import COLUMNS, ROW
from .texts import BLANKS, MISSING, number

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
"""What is looked for in the header where no delimiter is given."""


class Header(NamedTuple):
    """The names of the columns, and the character between entries."""

    names: list[str]
    delimiter: str


def header(name: str, chunks: Iterable[str], delimiter: str | None = None) -> Header:
    """Return what the first row of the file `name` says.

    >>> header("a.csv", ["a;b\\n1;2\\n"])
    Header(names=['a', 'b'], delimiter=';')
    """
    if delimiter is not None:
        delimiter = checked_delimiter(delimiter)
    line, bare = _first_record(name, chunks, delimiter or "".join(DELIMITERS))
    delimiter = delimiter or _sniffed(name, bare)
    _check_width(name, bare.count(delimiter) + 1)  # before a text is made of each
    try:
        with field_limit():
            row = next(reader(io.StringIO(line, newline=""), delimiter))
    except csv.Error as error:
        raise InputError(f"{name}: the header: {fault(error)}") from error
    _check_width(name, len(row))
    names = [each.strip(BLANKS) for each in row]
    if all(number(each) is not None for each in names) and not MISSING.issuperset(names):
        raise InputError(
            f"{name} has no row of column names: its first row holds only numbers, "
            f"{', '.join(each[:20] for each in names[:3])}, ...; write one above it, such as "
            f"{','.join(f'x{k}' for k in range(1, min(len(names), 3) + 1))},..."
        )
    check_names(name, names)
    return Header(names, delimiter)


def checked_delimiter(delimiter: str) -> str:
    r"""Return the character between entries; `\t` as typed in a shell is a tab.

    >>> checked_delimiter(r"\t")
    '\t'
    """
    if delimiter == r"\t":
        return "\t"
    good = isinstance(delimiter, str) and len(delimiter) == 1 and delimiter.isascii()
    if not good or delimiter.isalnum() or delimiter in '"\r\n\0.+-_':
        raise InputError(
            f"delimiter is {delimiter!r}; expected one character such as ',', ';', '\\t' or '|'"
        )
    return delimiter


def _first_record(name: str, chunks: Iterable[str], delimiters: str) -> tuple[str, str]:
    """Return the first line that is not blank, and the same without what stands in quotes.

    A quote opens an entry at its beginning only, and lines go on in it.
    """
    apart = re.escape(delimiters)
    quoted = rf'(?<![^{apart}])[ ]*+"[^"]*+(?:""[^"]*+)*+"'
    open_quote = rf'(?<![^{apart}])[ ]*+"'
    # Possessive repeats: there is no way back, and no time is lost on it.
    line = re.compile(rf'(?:[ ]++(?!")|{quoted}|(?!{open_quote})[^\r\n][^\r\n {apart}"]*+)*+')
    text, enough = "", 0
    for chunk in chain(chunks, [""]):
        text = (text + chunk).lstrip("\r\n")
        if chunk and len(text) < enough:
            continue
        found = line.match(text)
        end = found.end() if found else 0
        bare = re.sub(quoted, "", text[:end])
        if text[end : end + 1] in ("\r", "\n") or (text and end == len(text) and not chunk):
            return text[:end], bare
        _check_width(name, max(map(bare.count, delimiters)))
        if len(text) > ROW:
            raise InputError(
                f"{name} has no row of column names: its first row is longer than {ROW} characters"
            )
        enough = 2 * len(text)
    if not text:
        raise InputError(f"{name} is empty; expected a row of column names, and rows below it")
    raise InputError(f"{name}: the header: a quote is not closed")


def _sniffed(name: str, bare: str) -> str:
    counts = Counter({each: bare.count(each) for each in DELIMITERS if each in bare})
    if not counts:
        return ","  # one column
    (best, most), *others = counts.most_common(2)
    if others and others[0][1] == most:
        found = f"{DELIMITERS[best]} or {DELIMITERS[others[0][0]]}"
        raise InputError(
            f"{name}: the header does not tell whether {found} separates entries; "
            f"give delimiter={best!r}"
        )
    return best


def _check_width(name: str, width: int) -> None:
    if width > COLUMNS:
        raise InputError(
            f"{name} has {width} columns or more, {COLUMNS} are the most that are read; save it "
            "as .npy"
        )
