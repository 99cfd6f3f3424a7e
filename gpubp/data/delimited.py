"""Tables as text: CSV, TSV and their like, with a row of column names above the rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec

from ..errors import InputError
from ..files import checked_path, opened
from . import arrow_rows, csv_rows
from .arrow_rows import Doubtful
from .columns import Column, forced
from .header import Header, header
from .limits import check_size, quarter
from .table import Table
from .text_source import TextSource
from .texts import Entries

_LARGE = 1 << 22  # bytes from which on it pays to load pyarrow


def read_delimited(
    path: str | os.PathLike[str],
    encoding: str = "utf-8",
    delimiter: str | None = None,
    text: Iterable[str] = (),
    numeric: Iterable[str] = (),
    engine: str | None = None,
) -> Table:
    """Return the table of a file of text; `InputError` that names row and column of what is bad.

    A column is numeric where each entry is a finite number or missing (`gpubp.data.texts` says
    which are), otherwise text; the columns named in `text` and `numeric` are what is said.
    `engine` is "pyarrow", "csv" (the standard library), or None for the faster one that is there.
    They give the same: whatever pyarrow does not read is left to the standard library.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = path.write_text("age,town\\n31,Ulm\\n,Bonn\\n")
    >>> table = read_delimited(path)
    >>> table["age"].tolist(), table["town"].tolist()
    ([31.0, nan], ['Ulm', 'Bonn'])
    """
    name = checked_path(path)
    with opened(path) as file:
        source = TextSource(file, name, encoding)
        head = header(name, source.chunks(), delimiter)
        kinds = forced(name, head.names, text, numeric)
        if engine is None:
            large = os.fstat(file.fileno()).st_size >= _LARGE and len(head.names) < csv_rows.WIDE
            engine = "pyarrow" if large and find_spec("pyarrow") else "csv"
        try:
            columns = _columns(source, head, kinds, engine)
        except (Doubtful, InputError, ImportError):
            if engine == "csv":
                raise
            columns = _columns(source, head, kinds, "csv")
        if not len(columns[0]):
            raise InputError(f"{name} has a row of column names and no row below it")
        return Table({column.name: column.result() for column in columns}, name)


def _columns(source: TextSource, head: Header, kinds: dict[str, str], engine: str) -> list[Column]:
    """Read the columns; those in which a text came after numbers, a second time, as texts.

    The numbers above it were kept as numbers, from which the texts do not come back.
    """
    columns = [Column(name, source.name, kinds.get(name, "numbers")) for name in head.names]
    _fill(source, head, dict(enumerate(columns)), engine)
    again = {k: Column(c.name, c.source, "text") for k, c in enumerate(columns) if c.kind == "late"}
    if again:
        _fill(source, head, again, engine, sum(column.bytes for column in columns))
    return [again.get(k, column) for k, column in enumerate(columns)]


def _fill(
    source: TextSource, head: Header, columns: Mapping[int, Column], engine: str, kept: int = 0
) -> None:
    limit = quarter()
    for block in _blocks(source, head, columns, engine):
        for k, column in columns.items():
            column.add(block[k])
        size = kept + sum(column.bytes for column in columns.values())
        check_size(size, limit, source.name, "save it as .npy, which is mapped and not read")


def _blocks(
    source: TextSource, head: Header, columns: Mapping[int, Column], engine: str
) -> Iterator[Sequence[Entries]]:
    chunks, (names, delimiter) = source.chunks(), head
    if engine == "pyarrow":
        return arrow_rows.blocks(chunks, delimiter, names)
    return csv_rows.blocks(
        source.name, chunks, delimiter, names, lambda: all(c.numeric for c in columns.values())
    )
