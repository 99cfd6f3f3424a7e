"""Predictions as a file: CSV, .npz or .parquet, written block by block, and whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..data.idx import is_idx
from ..errors import InputError
from ..files import check_writable, same_file

ENDINGS = (".csv", ".npz", ".parquet")


class Writer(Protocol):
    """What takes named columns `(n,)`, a block of rows at a time."""

    def add(self, columns: dict[str, Any]) -> None:
        """Take in some rows."""

    def close(self) -> None:
        """Write what is left."""


def check(out: str, data: str, *others: str) -> None:
    """Raise `InputError` unless predictions can be written to `out`, which is none of the inputs.

    >>> check("data.csv", "data.csv")
    Traceback (most recent call last):
    gpubp.errors.InputError: --out data.csv is what is read; give another file
    """
    if out == "-":
        return
    if Path(out).suffix.lower() not in ENDINGS:
        raise InputError(
            f"--out {out!r} ends in none of {', '.join(ENDINGS)}; - is standard output"
        )
    check_apart("--out", out, data, *others)
    check_writable(out)
    if out.lower().endswith(".parquet"):
        _arrow()


def check_apart(option: str, out: str, *read: str) -> None:
    """Raise `InputError` where a file that is written is one that is read, or in a folder of such.

    >>> check_apart("--save", "data.csv", "./data.csv")
    Traceback (most recent call last):
    gpubp.errors.InputError: --save data.csv is what is read; give another file
    """
    for path in read:
        if same_file(out, path) or (os.path.isdir(path) and _in(out, path)):
            raise InputError(f"{option} {out} is what is read; give another file")


@contextmanager
def writing(out: str) -> Iterator[Writer]:
    """Open `out` for columns; the file of that name is replaced when all of them were written."""
    if out == "-":
        writer: Writer = _Csv(sys.stdout)
        yield writer
        writer.close()
        sys.stdout.flush()
        return
    path, temporary = check_writable(out)
    try:
        with open(temporary, "xb") as file:
            writer = _WRITERS[path.suffix.lower()](file)
            yield writer
            writer.close()
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


class _Csv:
    """Text with a header; numbers as short as they can be read back from."""

    def __init__(self, file: Any) -> None:
        import csv
        import io

        self._text = file
        if not isinstance(file, io.TextIOBase):
            self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._rows = csv.writer(self._text, lineterminator="\n")
        self._begun = False

    def add(self, columns: dict[str, Any]) -> None:
        if not self._begun:
            self._rows.writerow(columns)
            self._begun = True
        self._rows.writerows(zip(*(_texts(column) for column in columns.values()), strict=True))

    def close(self) -> None:
        if self._text is not sys.stdout:
            self._text.flush()
            self._text.detach()


def _texts(column: Any) -> list[Any]:
    if column.dtype == np.float32:
        column = column.astype("U")  # the shortest text of a float32, not of a float64
    found: list[Any] = column.tolist()
    return found


class _Npz:
    """An array for each column, those of chances together."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._blocks: list[dict[str, Any]] = []

    def add(self, columns: dict[str, Any]) -> None:
        self._blocks.append(columns)

    def close(self) -> None:
        names = list(self._blocks[0])
        arrays = {n: np.concatenate([block[n] for block in self._blocks]) for n in names}
        plain = {n: a.astype("U") if a.dtype.kind == "O" else a for n, a in arrays.items()}
        np.savez(self._file, allow_pickle=False, **plain)


class _Parquet:
    """A column for each, a row group for each block."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._writer: Any = None

    def add(self, columns: dict[str, Any]) -> None:
        arrow, parquet = _arrow()
        table = arrow.table({name: arrow.array(column) for name, column in columns.items()})
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


_WRITERS: dict[str, Any] = {".csv": _Csv, ".npz": _Npz, ".parquet": _Parquet}


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("parquet needs pyarrow: pip install 'gpubp[data]'") from error
    return pyarrow, pyarrow.parquet


def _in(out: str, folder: str) -> bool:
    """Whether a file is one of the data in a folder."""
    try:
        names = os.listdir(folder)
    except OSError:  # which reading tells of
        return False
    return any(same_file(out, os.path.join(folder, name)) for name in names if is_idx(name))
