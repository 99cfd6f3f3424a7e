"""Numbers whose decimals follow a comma, as much of the world writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError, shown
from ..files import opened
from .columns import forced
from .delimited import read_delimited
from .header import header
from .table import Table
from .text_source import TextSource
from .texts import number

_COMMA = re.compile(r"[+-]?\d+,\d+|[+-]?\d{1,3}(\.\d{3})+,\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d*)?", re.ASCII)
_NEARLY = 0.9  # a larger share of numbers in a column means that the others are faults


def comma(counts: Mapping[str, int]) -> str | None:
    """Return an entry with a decimal comma where nearly all are numbers, else None.

    >>> comma({"1,5": 3, "2": 1}), comma({"1,5 kg": 1, "Ulm": 1}), comma({"1": 2, "2": 1})
    ('1,5', None, None)
    """
    first = next((entry for entry in counts if _COMMA.fullmatch(entry)), None)
    if first is None:
        return None
    numbers = sum(n for e, n in counts.items() if _COMMA.fullmatch(e) or number(e) is not None)
    return first if numbers > _NEARLY * sum(counts.values()) else None


def read_with_commas(
    name: str, encoding: str, delimiter: str | None, text: list[str], numeric: list[str]
) -> Table:
    """Return the table of a file of text whose numbers have decimal commas.

    A point between digits is refused: whether it parts thousands or decimals is not to be known.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = path.write_text("size;town\\n1,5;Ulm\\n;Bonn\\n")
    >>> read_with_commas(str(path), "utf-8", None, [], [])["size"].tolist()
    [1.5, nan]
    """
    with opened(name) as file:
        names = header(name, TextSource(file, name, encoding).chunks(), delimiter).names
    kinds = forced(name, names, text, numeric)
    table = read_delimited(name, encoding, delimiter, text=names)
    return Table({each: _column(table, each, kinds.get(each)) for each in names}, name)


def _column(table: Table, name: str, kind: str | None) -> Any:
    """Return the numbers in a column of texts, or the column where they are none."""
    entries, where = table[name], f"{table.source}: column {name!r}"
    if kind == "text":
        return entries
    found, pointed = np.full(len(entries), np.nan), -1
    for at, entry in enumerate(entries):
        value = np.nan if entry is None else number(entry.replace(",", "."))
        if (
            entry is not None
            and "." in entry
            and (_THOUSANDS.fullmatch(entry) or value is not None)
        ):
            pointed = at if pointed < 0 else pointed
        elif value is not None:
            found[at] = value
        elif kind == "numeric":
            raise InputError(f"{where}: row {at + 1} is {shown(entry)}; expected a number with a "
                             "decimal comma, or nothing where it is missing")  # fmt: skip
        else:
            return entries
    if pointed >= 0:
        raise InputError(
            f"{where}: row {pointed + 1} is {shown(entries[pointed])}, with a point among numbers "
            f"with decimal commas; save them without points, or name the column in text=[{name!r}]"
        )
    infinite = np.flatnonzero(np.isinf(found))
    if len(infinite):
        raise InputError(f"{where}: row {infinite[0] + 1} is {shown(entries[infinite[0]])}; "
                         "expected finite numbers")  # fmt: skip
    return found
