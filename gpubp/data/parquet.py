"""Tables in parquet files, by pyarrow: numbers, truth values, texts and categories."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from ..errors import InputError
from ..files import checked_path, faults, opened
from .arrow_values import filled
from .columns import Column, check_names, forced, listed
from .limits import COLUMNS, check_size, quarter
from .table import Table
from .texts import Texts

_BATCH = 1 << 16  # rows converted at once
_LONGEST = 1 << 26  # bytes of the description of a file, and of a text in it
_UNNAMED_INDEX = re.compile(r"__index_level_\d+__", re.ASCII)  # as pandas calls one without a name
_REMEDY = "read a part of it, or save it as .npy, which is mapped and not read"


def read_parquet(
    path: str | os.PathLike[str], text: Iterable[str] = (), numeric: Iterable[str] = ()
) -> Table:
    """Return the table of a parquet file: numbers and truth values as float64, texts as they are.

    A decimal is rounded to float64, and so is a whole number above 2**53. `text` makes texts of
    numbers, `numeric` makes numbers of texts. The index of a data frame that pandas wrote is no
    column of the table, unless `text` or `numeric` names it. Needs pyarrow
    (`pip install 'gpubp[data]'`).

    >>> read_parquet("no-such-file.parquet")
    Traceback (most recent call last):
    gpubp.errors.InputError: there is no file no-such-file.parquet
    """
    name = checked_path(path)
    with opened(name) as file:
        pyarrow = _pyarrow(name)
        try:
            return _table(file, name, text, numeric)
        except (pyarrow.ArrowException, *faults(), KeyError, IndexError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise InputError(f"{name} is not a readable parquet file: {why}") from error


def _pyarrow(name: str) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            f"{name}: parquet files need pyarrow; install it by pip install 'gpubp[data]'"
        ) from error
    return pyarrow


def _table(file: BinaryIO, name: str, text: Iterable[str], numeric: Iterable[str]) -> Table:
    import pyarrow.parquet as pq

    limits = {"thrift_string_size_limit": _LONGEST, "thrift_container_size_limit": 10 * COLUMNS}
    first = pq.ParquetFile(file, **limits)
    schema = first.schema_arrow
    _check_sizes(first.metadata, name)
    asked = {*listed("text", text), *listed("numeric", numeric)}
    index = _index(schema) - asked
    places = [k for k, each in enumerate(schema.names) if each not in index]
    if not places:
        raise InputError(f"{name} has no column beside the index {schema.names[0]!r} that pandas "
                         "wrote; write it with reset_index()")  # fmt: skip
    names = [schema.names[k] for k in places]
    check_names(name, names)
    kinds = forced(name, names, text, numeric)
    is_text = {schema.names[k]: _is_text(schema.field(k), name) for k in places}
    columns = [
        Column(each, name, kinds.get(each, "text" if texts else "numeric"))
        for each, texts in is_text.items()
    ]
    # A text that stands in every row lies in the file once, and so it is to lie in memory.
    repeated = [each for each, texts in is_text.items() if texts]
    parts = pq.ParquetFile(file, metadata=first.metadata, read_dictionary=repeated, **limits)
    for batch in parts.iter_batches(batch_size=_BATCH):
        for column, k in zip(columns, places, strict=True):
            column.add(_Cells(batch.column(k)))
        check_size(sum(column.bytes for column in columns), quarter(), name, _REMEDY)
        if len(columns[0]) > first.metadata.num_rows:
            break
    if len(columns[0]) != first.metadata.num_rows:
        raise InputError(
            f"{name} claims {first.metadata.num_rows} rows and holds {len(columns[0])} or more; "
            "it is damaged"
        )
    return Table({column.name: column.result() for column in columns}, name)


def _index(schema: Any) -> set[str]:
    """The columns that hold no data but the index of a data frame, as pandas notes in the file."""
    try:
        noted = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
        index = {each for each in noted if isinstance(each, str)}  # a mapping stands for a range
    except (KeyError, TypeError, ValueError, RecursionError):  # nobody needs this note
        index = set()
    return index | {each for each in schema.names if _UNNAMED_INDEX.fullmatch(each)}


def _check_sizes(metadata: Any, name: str) -> None:
    # No more than these is looked at: in a damaged file, metadata.row_group(0).column(0) ends the
    # process (pyarrow 26), where reading the column raises.
    rows, width = metadata.num_rows, metadata.num_columns
    if not 0 < width <= COLUMNS:
        raise InputError(f"{name} has {width} columns; expected 1 to {COLUMNS}")
    if rows < 1:
        raise InputError(f"{name} has {rows} rows; expected at least one")
    check_size(8 * rows * width, quarter(), name, _REMEDY)


def _is_text(field: Any, name: str) -> bool:
    """Whether a column holds texts; `InputError` unless texts, numbers or truth values."""
    from pyarrow import types

    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return True
    numbers = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if numbers or types.is_boolean(kind) or types.is_null(kind):
        return False
    remedy = "leave it away, or save it as numbers or texts"
    if types.is_temporal(kind):
        remedy = "save it as a number, such as days or seconds"
    elif types.is_nested(kind):
        remedy = "save each of its parts as a column of its own"
    raise InputError(
        f"{name}: column {field.name!r} holds {str(kind)[:40]}; expected numbers, truth values or "
        f"texts: {remedy}"
    )


class _Cells:
    """Entries of a column as pyarrow holds them."""

    def __init__(self, cells: Any) -> None:
        from pyarrow import types

        self.cells = cells
        self.is_dictionary = types.is_dictionary(cells.type)
        kind = cells.type.value_type if self.is_dictionary else cells.type
        self.are_texts = not (
            types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
            or types.is_boolean(kind) or types.is_null(kind)
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.cells)

    def numbers(self) -> Any:
        """Return float64 `(n,)`, NaN where missing; None if a text is no number."""
        if self.are_texts:
            return Texts([entry or "" for entry in self.texts()]).numbers()
        return filled(self.cells.dictionary_decode() if self.is_dictionary else self.cells, np.nan)

    def texts(self) -> list[str | None]:
        """Return texts as they are, numbers as Python writes them, None where missing."""
        if not self.is_dictionary:
            return [_text(each) for each in self.cells.to_pylist()]
        self.cells.validate(full=True)  # a damaged file may point at texts that are not there
        known = np.asarray([*map(_text, self.cells.dictionary.to_pylist()), None], dtype=object)
        texts: list[str | None] = known[filled(self.cells.indices, len(known) - 1)].tolist()
        return texts


def _text(value: Any) -> str | None:
    return None if value is None or value != value else str(value)
