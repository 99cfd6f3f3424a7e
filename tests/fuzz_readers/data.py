"""What is fuzzed of `gpubp.data`: a reader for each form of file, and files to begin with."""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from gpubp.data import Arrays, Table
from gpubp.data.delimited import read_delimited
from gpubp.data.idx import read_idx
from gpubp.data.numpy_files import read_npy, read_npz
from gpubp.data.parquet import read_parquet
from gpubp.errors import InputError

Target = tuple[Callable[[bytes], None], list[bytes]]

X = np.arange(6, dtype=np.float32).reshape(3, 2)


def _through(read: Callable[[Path], Table | Arrays], name: str) -> Callable[[bytes], None]:
    """A target: bytes in a file of that name, read; only `InputError` passes silently."""

    def target(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            try:
                found: Table | Arrays | str = read(path)
            except InputError as error:
                found = str(error)
            _check(found)

    return target


def _check(found: Table | Arrays | str) -> None:
    if isinstance(found, str):
        assert len(found) < 2000, "a message of thousands of characters"
    elif isinstance(found, Table):
        _check_table(found)
    else:
        _check_arrays(found)


def _check_table(table: Table) -> None:
    assert table.columns
    for column in table.columns.values():
        assert len(column) == len(table) > 0
        if column.dtype == object:
            assert all(entry is None or isinstance(entry, str) for entry in column)
        else:
            assert column.dtype == np.float64
            assert not np.isinf(column).any()


def _check_arrays(arrays: Arrays) -> None:
    for array in (a for a in arrays[:4] if a is not None):
        assert array.dtype.kind in "biufU"
        assert len(array) > 0
        array[:3].tolist()  # what is mapped is there to be read
        array[-1:].tolist()


def _agreement(data: bytes) -> None:
    """What pyarrow reads of a text, and what the standard library reads, is the same."""
    found: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "d.csv"
        path.write_bytes(data)
        for engine in ("csv", "pyarrow"):
            try:
                columns = read_delimited(path, engine=engine).columns
                found.append({name: repr(column.tolist()) for name, column in columns.items()})
            except InputError as error:
                found.append(str(error))
    assert found[0] == found[1]


def _idx(data: bytes) -> None:
    """The same bytes as images and as labels, plain and packed."""
    for name in ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"):
        _through(lambda path: read_idx(path.parent), name)(data)
    if len(data) < 1 << 20:
        _through(lambda path: read_idx(path.parent), name)(gzip.compress(data, 1))


def _npz(**arrays: Any) -> list[bytes]:
    """An archive of these arrays, stored and packed."""
    found = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **arrays)
        found.append(buffer.getvalue())
    return found


def _npy(x: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, x)
    return buffer.getvalue()


def _parquet() -> list[bytes]:
    """Files of pyarrow's, where it is there: without it, every file is refused."""
    if find_spec("pyarrow") is None:
        return [b"PAR1" + bytes(8) + b"PAR1"]
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    tables = (
        {"a": [1, None, 3], "b": ["x", "y", None], "c": [0.5, 1.5, None], "d": [True, False, None]},
        {"a": pa.array(["u", "v", "u"]).dictionary_encode(), "n": pa.nulls(3)},
        {"a": [[1], [2, 3]], "b": [b"x", b"y"]},
    )
    for table in tables:
        for compression in ("none", "snappy", "gzip"):
            buffer = io.BytesIO()
            how = {"compression": compression, "row_group_size": 2}
            pq.write_table(pa.table(table), buffer, **how)
            found.append(buffer.getvalue())
    return found


_TEXTS = [
    b"a,b\n1,2\n3,4\n",
    b"a;b\r\n1;x\r\n;y\r\n",
    b'"a","b"\n"x, ""y""\nz",1\n" NA ",\n',
    b"a\tb\n1e999\tinf\n-nan\t+1\n",
    b'a,b\n5" x,1\n"3"x,2\n',
    b"\xef\xbb\xbfa,b\n\n1,\xc3\xa4\n\n2,\xff\n",
    b"a\n1\n\n?\n1_0\n" + b"7\n" * 50 + b"x\n",
    b"1,2\n3,4\n",
    b"a,b\n1,\x002\n",
]
_HEAD = bytes([0, 0, 8, 3])
_IDX = [
    _HEAD + struct.pack(">3I", 2, 2, 1) + b"\1\2\3\4",
    bytes([0, 0, 0x0D, 1]) + struct.pack(">If", 1, 0.5),
    _HEAD + struct.pack(">3I", 60000, 28, 28),
    gzip.compress(_HEAD + struct.pack(">3I", 2, 1, 1) + b"\1\2"),
]

TARGETS: dict[str, Target] = {
    "csv": (_through(lambda path: read_delimited(path, engine="csv"), "d.csv"), _TEXTS),
    "csv-pyarrow": (_agreement, _TEXTS),
    "npy": (
        _through(lambda path: read_npy(path, target=None), "d.npy"),
        [_npy(x) for x in (X, X.T, X.astype(">i2"), X > 2, np.array(["a", "b"]), X.astype("O"))],
    ),
    "npz": (
        _through(read_npz, "d.npz"),
        [
            *_npz(x=X, y=np.arange(3)),
            *_npz(x_train=X, y_train=np.array(["a", "b", "c"]), x_test=X[:1], y_test=X[:1, 0]),
            *_npz(x=np.array([{}], dtype=object)),
        ],
    ),
    "idx": (_idx, _IDX),
    "parquet": (_through(read_parquet, "d.parquet"), _parquet()),
}
"""By name: what takes bytes and raises for a defect only, and bytes to begin with."""
