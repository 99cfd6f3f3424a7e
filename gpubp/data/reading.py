"""Data from a file or a folder, whatever of the known forms it has."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from ..errors import InputError, shown
from ..files import checked_path
from .columns import listed
from .delimited import read_delimited
from .idx import is_idx, read_idx
from .numpy_files import Target, read_npy, read_npz
from .parquet import read_parquet
from .table import Arrays, Table

_TEXT = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
_PARQUET = (".parquet", ".pq")
_KNOWN = ".csv, .tsv, .txt (each also .gz), .parquet, .pq, .npy, .npz, or a folder of IDX files"
_REMEDIES = {
    ("xls", "xlsx", "ods"): "save the sheet as CSV",
    ("pkl", "pickle", "pt", "pth", "joblib"): "a pickle can run any code and is never loaded; "
    "save the arrays by np.savez, or the table as CSV",
    ("json", "jsonl", "feather", "arrow", "h5", "hdf5", "mat"): "save it as CSV, parquet or .npz",
    ("zip", "bz2", "xz", "zst", "7z", "tar", "gz"): "unpack it",
}


def read(
    path: str | os.PathLike[str],
    *,
    target: Target = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    text: Iterable[str] = (),
    numeric: Iterable[str] = (),
    decimal: str = ".",
) -> Table | Arrays:
    """Return what a file or a folder holds: a table with named columns, or arrays.

    - .csv, .tsv, .txt (also .gz) and .parquet, .pq (with pyarrow) are tables. `encoding` and
      `delimiter` (of , ; tab | the one that the header shows) are for text; `text` and `numeric`
      name columns that are so whatever they look like. `decimal=","` is for text whose numbers
      are written 1,5. `target` chooses nothing here: the caller takes a column.
    - .npy is one array, mapped; `target` is a column by number (-1 is the last) or another file.
    - .npz holds x and y, x_train, y_train, x_test and y_test, or data and target; `target` names
      another array of targets.
    - A folder holds MNIST's files: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-...

    Nothing is unpickled, no size is believed that the bytes there do not bear out, and a data set
    that would take more than a quarter of the machine's memory is refused. `InputError` says
    what is wrong, where, and how to mend it. A mapped file is read on use: it must not change
    as long as its array is used.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "towns.csv"
    >>> _ = path.write_text("name;people\\nUlm;129942\\nKiel;?\\n")
    >>> read(path)["people"].tolist()
    [129942.0, nan]
    """
    name = checked_path(path)
    text, numeric = listed("text", text), listed("numeric", numeric)
    if decimal not in (".", ","):
        raise InputError(f"decimal is {shown(decimal)}; expected '.' or ','")
    lower = name.lower()
    if lower.endswith(_TEXT) and not os.path.isdir(name):
        if delimiter is None and lower.endswith((".tsv", ".tsv.gz")):
            delimiter = "\t"
        if decimal == ",":
            from .decimal_commas import read_with_commas

            table = read_with_commas(name, encoding, delimiter, text, numeric)
        else:
            table = read_delimited(name, encoding, delimiter, text, numeric)
        return replace(table, texts=frozenset(text))
    if decimal == ",":
        raise InputError(f"{name} is no text with numbers in it; leave decimal away")
    if delimiter is not None:
        raise InputError(f"{name} is no text with a delimiter; leave delimiter away")
    if lower.endswith(_PARQUET) and not os.path.isdir(name):
        return replace(read_parquet(name, text, numeric), texts=frozenset(text))
    if text or numeric:
        raise InputError(f"{name} has no named columns; leave text and numeric away")
    return _arrays(name, lower, target)


def _arrays(name: str, lower: str, target: Target) -> Arrays:
    if os.path.isdir(name):
        if target is not None:
            raise InputError(f"{name} is a folder with its own labels; leave target away")
        return read_idx(name)
    if lower.endswith(".npy"):
        return read_npy(name, target)
    if lower.endswith(".npz"):
        if target is not None and not isinstance(target, str):
            raise InputError(f"target is {target!r}; for {name} name an array in it, such as 'y'")
        return read_npz(name, target)
    if is_idx(name):
        folder = os.path.dirname(name) or "."
        raise InputError(f"{name} is one of the files of a data set; give the folder {folder}")
    if not os.path.exists(name):
        raise InputError(f"there is no file {name}")
    ending = lower.rpartition(".")[2]
    remedy = next((text for endings, text in _REMEDIES.items() if ending in endings), "rename it")
    raise InputError(f"{name} has none of the known endings: {_KNOWN}; {remedy}")
