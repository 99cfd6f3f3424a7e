"""Tables in parquet files: which columns become what, and which are refused, by name."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import math
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpubp.data.parquet
from gpubp.data import read
from gpubp.data.parquet import read_parquet
from gpubp.errors import InputError
from tests.conftest import require

pa = require("pyarrow")
pq = require("pyarrow.parquet")
nan = math.nan


def parquet(table: Any, **how: Any) -> bytes:
    if isinstance(table, dict):
        table = pa.table(table)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **how)
    return buffer.getvalue()


def put(folder: Path, data: bytes) -> Path:
    path = folder / "d.parquet"
    path.write_bytes(data)
    return path


def plain(column: Any) -> list[Any]:
    return [None if value != value else value for value in column.tolist()]


KINDS: dict[str, tuple[Any, list[Any]]] = {
    "integers": (pa.array([1, None, -3]), [1.0, None, -3.0]),
    "bytes": (pa.array([0, 255, None], pa.uint8()), [0.0, 255.0, None]),
    "large integers": (pa.array([2**64 - 1, 2**53 + 1, 0], pa.uint64()), [2.0**64, 2.0**53, 0.0]),
    "floats": (pa.array([0.1, nan, None]), [0.1, None, None]),
    "halves": (pa.array(np.asarray([1, 2, 0.5], np.float16)), [1.0, 2.0, 0.5]),
    "singles": (pa.array([0.5, None, 1.0], pa.float32()), [0.5, None, 1.0]),
    "truth values": (pa.array([True, None, False]), [1.0, None, 0.0]),
    "decimals": (pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-3")]),
                 [1.25, None, -3.0]),
    "nothing": (pa.nulls(3), [None, None, None]),
    "texts": (pa.array(["a", None, " é "]), ["a", None, " é "]),
    "long texts": (pa.array(["a", None, ""], pa.large_string()), ["a", None, ""]),
    "views": (pa.array(["a", None, "b" * 50], pa.string_view()), ["a", None, "b" * 50]),
    "categories": (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
    "categories of numbers": (pa.array([5, None, 7]).dictionary_encode(), [5.0, None, 7.0]),
    "texts that look like numbers": (pa.array(["1", "2", "NA"]), ["1", "2", "NA"]),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_columns(tmp_path: Path, name: str) -> None:
    column, expected = KINDS[name]
    table = read_parquet(put(tmp_path, parquet({"a": [1, 2, 3], "b": column})))
    assert plain(table["b"]) == expected
    assert table["b"].dtype in (np.float64, object)
    assert table.source == str(tmp_path / "d.parquet")


def test_columns_are_what_the_caller_says(tmp_path: Path) -> None:
    table = {"zip": [1067, None], "n": ["1", None], "b": [True, False], "f": [0.5, nan]}
    path = put(tmp_path, parquet(table))
    found = read(path, text=["zip", "b", "f"], numeric=["n"])
    assert [plain(column) for column in found.columns.values()] == [  # type: ignore[union-attr]
        ["1067", None], [1.0, None], ["True", "False"], ["0.5", None],
    ]  # fmt: skip
    with pytest.raises(InputError, match="no column 'm'"):
        read_parquet(path, text=["m"])


def test_a_text_in_a_numeric_column_is_told(tmp_path: Path) -> None:
    path = put(tmp_path, parquet({"a": ["1", None, "many"]}))
    with pytest.raises(InputError, match="row 3 of column 'a' is 'many'"):
        read_parquet(path, numeric="a")


def test_several_parts_make_one_table(tmp_path: Path) -> None:
    table = {"a": list(range(1000)), "b": [f"t{k % 7}" for k in range(1000)]}
    found = read_parquet(put(tmp_path, parquet(table, row_group_size=130)))
    assert found["a"].tolist() == table["a"]
    assert found["b"].tolist() == table["b"]


REFUSED: dict[str, tuple[Any, str]] = {
    "lists": ({"c": [[1], [2]]}, "column 'c' holds list.*each of its parts"),
    "records": ({"c": [{"a": 1}]}, "column 'c' holds struct.*each of its parts"),
    "bytes": ({"c": [b"a"]}, "column 'c' holds binary"),
    "times": ({"c": [datetime.datetime(2020, 1, 1)]}, "holds timestamp.*days or seconds"),
    "dates": ({"c": [datetime.date(2020, 1, 1)]}, "holds date32.*days or seconds"),
    "spans": ({"c": [datetime.timedelta(1)]}, "holds duration"),
    "infinity": ({"a": [1.0, 2.0], "c": [1.0, -math.inf]}, "column 'c': row 2 is '-inf'"),
    "no rows": ({"c": pa.array([], pa.int64())}, "has 0 rows"),
    "no columns": (pa.table({}), "has 0 columns"),
    "no name": ({"a": [1], "": [1]}, "column 2 of 2 has no name"),
    "two of one name": (pa.Table.from_arrays([[1], [2]], names=["a", "a"]), "both called 'a'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tables_that_are_refused(tmp_path: Path, name: str) -> None:
    table, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        read_parquet(put(tmp_path, parquet(table)))
    assert "d.parquet" in str(caught.value)


SOUND = parquet({"a": [1, 2, 3], "b": ["x", "y", None]})
BROKEN: dict[str, bytes] = {
    "empty": b"",
    "text": b"a,b\n1,2\n",
    "magic": b"PAR1",
    "magic twice": b"PAR1PAR1",
    "zeros": bytes(1000),
    "half": SOUND[: len(SOUND) // 2],
    "one byte short": SOUND[:-1],
    "the end only": SOUND[-40:],
    "a footer longer than the file": SOUND[:-8] + b"\xff\xff\xff\x7f" + b"PAR1",
    "a footer of ones": SOUND[:-60] + b"\xff" * 52 + SOUND[-8:],
    "no data": bytes(len(SOUND) - SOUND[-8]) + SOUND[len(SOUND) - SOUND[-8] :],
    "encrypted": SOUND[:-4] + b"PARE",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_parquet_file(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, BROKEN[name])
    with pytest.raises(InputError, match=r"d\.parquet") as caught:
        read_parquet(path)
    assert len(str(caught.value)) < 500


def test_a_damaged_description_of_a_column(tmp_path: Path) -> None:
    """Looking at it through pyarrow's metadata would end the process."""
    data = parquet({"a": [1, None, 3]}, compression="none")
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for at in range(footer, footer + 40):
        path = put(tmp_path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with suppress(InputError):
            assert len(read_parquet(path)) > 0


def test_other_rows_than_claimed(tmp_path: Path) -> None:
    """The claim is a number of few bytes somewhere in the footer: 3 is written there as 6."""
    data = parquet({"a": [1, 2, 3]}, write_statistics=False)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    messages = []
    for at in (at for at in range(footer, len(data) - 8) if data[at] == 6):
        for claimed in (2, 4):
            path = put(tmp_path, data[:at] + bytes([2 * claimed]) + data[at + 1 :])
            try:
                read_parquet(path)
            except InputError as error:
                messages.append(str(error))
    for claimed in (2, 4):
        assert any(f"claims {claimed} rows and holds 3" in message for message in messages)


def test_more_rows_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant column takes next to nothing in the file."""
    path = put(tmp_path, parquet({"a": np.zeros(100_000)}))
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(gpubp.data.parquet, "quarter", lambda: 100_000)
    with pytest.raises(InputError, match="of memory"):
        read_parquet(path)


def test_a_long_text_in_every_row_is_kept_once(tmp_path: Path) -> None:
    rows = pa.DictionaryArray.from_arrays(np.zeros(200_000, np.int32), ["x" * 100_000])
    path = put(tmp_path, parquet({"a": rows}))
    assert path.stat().st_size < 200_000
    column = read_parquet(path)["a"]
    assert len({id(text) for text in column}) == 1


def test_texts_that_take_too_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, parquet({"a": [f"{k}" * 100 for k in range(10, 99)]}))
    monkeypatch.setattr(gpubp.data.parquet, "quarter", lambda: 10_000)
    with pytest.raises(InputError, match="of memory"):
        read_parquet(path)


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, SOUND)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'gpubp\[data\]'"):
        read(path)


@settings(max_examples=30, derandomize=True, deadline=None, database=None)
@given(
    numbers=st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    size=st.integers(1, 10),
    compression=st.sampled_from(["none", "snappy", "gzip", "zstd"]),
    dictionary=st.booleans(),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: list[float | None],
    size: int,
    compression: str,
    dictionary: bool,
) -> None:
    texts = [None if number is None else f"{number}" for number in numbers]
    table = {"a": pa.array(numbers, pa.float64()), "b": pa.array(texts, pa.string())}
    how = {"row_group_size": size, "compression": compression, "use_dictionary": dictionary}
    found = read_parquet(put(tmp_path_factory.mktemp("t"), parquet(table, **how)))
    assert plain(found["a"]) == numbers
    assert plain(found["b"]) == texts


# -- the index of a data frame -------------------------------------------------------------------


def framed(table: dict[str, Any], note: Any) -> bytes:
    """A file with what pandas notes of its index."""
    text = note if isinstance(note, bytes) else json.dumps(note).encode()
    return parquet(pa.table(table).replace_schema_metadata({b"pandas": text}))


INDEX = {"a": [1, 2], "__index_level_0__": [5, 0], "day": [datetime.date(2020, 1, 1)] * 2}


def test_the_index_that_pandas_wrote_is_no_column(tmp_path: Path) -> None:
    index = ["__index_level_0__", "day"]
    table = read(put(tmp_path, framed(INDEX, {"index_columns": index})))
    assert {k: v.tolist() for k, v in table.columns.items()} == {"a": [1.0, 2.0]}
    without_note = {k: v for k, v in INDEX.items() if k != "day"}
    assert list(read(put(tmp_path, parquet(without_note))).columns) == ["a"]
    first = {"day": INDEX["day"], "b": ["x", "y"], "a": [1, 2]}
    table = read(put(tmp_path, framed(first, {"index_columns": ["day"]})))
    assert table["b"].tolist() == ["x", "y"]
    assert table["a"].tolist() == [1.0, 2.0]


def test_an_index_that_is_named_is_read(tmp_path: Path) -> None:
    path = put(tmp_path, framed({"a": [1, 2], "id": [5, 0]}, {"index_columns": ["id"]}))
    assert list(read(path).columns) == ["a"]
    assert read(path, text="id")["id"].tolist() == ["5", "0"]
    assert read(path, numeric=["id"])["id"].tolist() == [5.0, 0.0]


def test_an_index_alone_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, framed({"id": [5, 0]}, {"index_columns": ["id"]}))
    with pytest.raises(InputError, match=r"no column beside the index 'id'.*reset_index"):
        read(path)


@pytest.mark.parametrize(
    "note",
    [{"index_columns": [{"kind": "range", "start": 0}]}, {"index_columns": []}, {}, [], 3, None,
     {"index_columns": None}, {"index_columns": 3}, {"index_columns": [["a"], 3, None]}, b"{",
     b"\xff\xfe\xfd", b"[" * 100_000, b"1" * 10_000],
    ids=lambda note: str(note)[:40],
)  # fmt: skip
def test_any_other_note_is_let_be(tmp_path: Path, note: Any) -> None:
    assert list(read(put(tmp_path, framed({"a": [1, 2]}, note))).columns) == ["a"]


def test_frames_of_pandas_are_read_as_their_columns(tmp_path: Path) -> None:
    pandas = require("pandas")
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"], "c": [3.0, 1.0, 2.0]})
    for written in (frame.iloc[[2, 0]], frame.set_index("b").rename_axis(None)[["a"]]):
        path = tmp_path / "d.parquet"
        written.to_parquet(path)
        assert list(read(path).columns) == list(written.columns)
