"""Tables as text: what is read, and what is said of a file that is none; by either engine."""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpubp.data.arrow_rows
import gpubp.data.csv_rows
import gpubp.data.delimited
import gpubp.data.header
import gpubp.data.text_source
from gpubp.data import Table, read
from gpubp.data.delimited import read_delimited
from gpubp.data.texts import MISSING
from gpubp.errors import InputError
from tests.conftest import require

nan = math.nan
Plain = dict[str, list[Any]]


@pytest.fixture(params=["csv", "pyarrow"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "pyarrow":
        require("pyarrow")
    return str(request.param)


def plain(table: Table) -> Plain:
    """The columns as lists, with None for NaN, so that equal tables are equal."""
    return {
        name: [None if value != value else value for value in column.tolist()]
        for name, column in table.columns.items()
    }


def write(folder: Path, data: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


GOOD: dict[str, tuple[str, Plain]] = {
    "numbers": ("a,b\n1,2\n3,4.5\n", {"a": [1.0, 3.0], "b": [2.0, 4.5]}),
    "no line feed at the end": ("a,b\n1,2", {"a": [1.0], "b": [2.0]}),
    "carriage returns": ("a,b\r\n1,x\r\n2,y\r\n", {"a": [1.0, 2.0], "b": ["x", "y"]}),
    "returns alone": ("a,b\r1,x\r2,y\r", {"a": [1.0, 2.0], "b": ["x", "y"]}),
    "semicolons": ("a;b\n1,5;2\n", {"a": ["1,5"], "b": [2.0]}),
    "tabs": ("a\tb\n1\t2\n", {"a": [1.0], "b": [2.0]}),
    "bars": ("a|b\n1|2\n", {"a": [1.0], "b": [2.0]}),
    "one column": ("a\n1\n2\n", {"a": [1.0, 2.0]}),
    "one column, empty in quotes": ('a\n1\n""\n2\n', {"a": [1.0, None, 2.0]}),
    "blank lines": ("\n\na,b\n\n1,2\n\n\n3,4\n\n", {"a": [1.0, 3.0], "b": [2.0, 4.0]}),
    "quotes": ('"a","b"\n"1","x, y"\n', {"a": [1.0], "b": ["x, y"]}),
    "quotes in a quote": ('a\n"x ""y"""\n', {"a": ['x "y"']}),
    "only quotes": ('a,b\n"""",""""""\n', {"a": ['"'], "b": ['""']}),
    "lines in quotes": ('a,b\n"x\ny",1\n"u\r\n\r\nv",2\n', {"a": ["x\ny", "u\r\n\r\nv"],
                                                         "b": [1.0, 2.0]}),
    "a line in the header": ('"a\nb",c\n1,2\n', {"a\nb": [1.0], "c": [2.0]}),
    "a delimiter in the header": ('"a;x;y;z",b\n1,2\n', {"a;x;y;z": [1.0], "b": [2.0]}),
    "a quote in an entry": ('a,b\n5" pipe,1\n6" pipe,2\n', {"a": ['5" pipe', '6" pipe'],
                                                            "b": [1.0, 2.0]}),
    "a quote in the header": ('size 5",b, c "\n1,2,3\n', {'size 5"': [1.0], "b": [2.0],
                                                           'c "': [3.0]}),
    "quotes in the header": ('"a""\nb,;"";", "c"\n1,2\n', {'a"\nb,;";': [1.0], "c": [2.0]}),
    "blanks": ("a , b\n 1 ,  x \n2, y\n", {"a": [1.0, 2.0], "b": ["x", "y"]}),
    "blanks before quotes": ('a, b\n1, "x, y"\n', {"a": [1.0], "b": ["x, y"]}),
    "missing numbers": ("a,b\n?,1\n2,\n,NA\n", {"a": [None, 2.0, None], "b": [1.0, None, None]}),
    "missing texts": ("a,b\nx,1\n-,2\nnull,3\n", {"a": ["x", None, None], "b": [1.0, 2.0, 3.0]}),
    "nothing but missing": ("a,b\n,1\n,2\n", {"a": [None, None], "b": [1.0, 2.0]}),
    "nan in any spelling": ("a\n1\n-nan\nNaN\nnAn\n", {"a": [1.0, None, None, None]}),
    "forms of numbers": ("a\n+1\n.5\n1.\n1e3\n-1E-3\n007\n1e-999\n",
                         {"a": [1.0, 0.5, 1.0, 1000.0, -0.001, 7.0, 0.0]}),
    "no numbers": ("a,b,c,d\n1_000,0x10,1e,٣\n", {"a": ["1_000"], "b": ["0x10"], "c": ["1e"],
                                                  "d": ["٣"]}),
    "infinity among texts": ("a\ninf\nx\n", {"a": ["inf", "x"]}),
    "long numbers": ("a\n0.1000000000000000055511151231257827\n9007199254740993\n",
                     {"a": [0.1, 9007199254740992.0]}),
    "other scripts": ("größe,名\n1,ä\n2,中\n", {"größe": [1.0, 2.0], "名": ["ä", "中"]}),
    "a mark at the beginning": ("\ufeffa,b\n1,2\n", {"a": [1.0], "b": [2.0]}),
    "a long text": (f"a,b\n{'x' * 1_000_000},1\n", {"a": ["x" * 1_000_000], "b": [1.0]}),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_tables_are_read(tmp_path: Path, engine: str, name: str) -> None:
    text, expected = GOOD[name]
    table = read_delimited(write(tmp_path, text), engine=engine)
    assert plain(table) == expected
    assert table.source == str(tmp_path / "a.csv")
    for column in table.columns.values():
        assert column.dtype in (np.float64, object)


@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"a long text"}))
def test_tables_are_read_whatever_is_read_at_once(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text, expected = GOOD[name]
    path = write(tmp_path, text)
    for size in (1, 2, 5):
        monkeypatch.setattr(gpubp.data.text_source, "CHUNK", size)
        monkeypatch.setattr(gpubp.data.arrow_rows, "_BLOCK", size)
        assert plain(read_delimited(path, engine=engine)) == expected


@pytest.mark.parametrize("marker", sorted(MISSING))
def test_each_sign_of_a_missing_value(tmp_path: Path, engine: str, marker: str) -> None:
    path = write(tmp_path, f'a,b\n1,x\n{marker},{marker}\n" {marker} ",y\n')
    assert plain(read_delimited(path, engine=engine)) == {
        "a": [1.0, None, None], "b": ["x", None, "y"],
    }  # fmt: skip


BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty"),
    "blank": ("\n\r\n\n", "is empty"),
    "header only": ("a,b\n", "no row below"),
    "no header": ("1,2\n3,4\n", "first row holds only numbers.*x1,x2,"),
    "a name twice": ("a,b,a\n1,2,3\n", "columns 1 and 3 are both called 'a'"),
    "a name twice but for blanks": ("a, a\n1,2\n", "columns 1 and 2 are both called 'a'"),
    "a long name": (f"a,{'b' * 501}\n1,2\n", "column 2 has a name of 501 characters"),
    "no name": ("a,,b\n1,2,3\n", "column 2 of 3 has no name"),
    "an index of pandas": (",a\n0,1\n", "index=False"),
    "two delimiters": ("a,b;c\n1,2;3\n", "a comma or a semicolon"),
    "too few": ("a,b,c\n1,2,3\n4,5\n6,7,8\n",
                r"row 2 has 2 entries \('4', '5'\), the header has 3"),
    "too many": ("a,b\n1,2\n\n3,4\n5,6,7\n", "row 3 has 3 entries"),
    "infinity": ("a,b\n1,2\n2,inf\n", "column 'b': row 2 is 'inf'"),
    "beyond float64": ("a\n1\n1e999\n", "column 'a': row 2 is '1e999'"),
    "beyond float64, at length": ("a\n1" + "0" * 9999 + "\n", "column 'a': row 1 is '1000"),
    "names that are missing values": ("NA,\n1,2\n", "column 2 of 2 has no name"),
    "an open quote": ('a,b\n1,2\n"3,4\n', "row 2: a quote is not closed"),
    "an open quote in the header": ('a,"b\n1,2\n', "header: a quote is not closed"),
    "text behind a quote": ('a,b\n1,2\n"3"x,4\n', "row 2: .* quote within quotes is written twice"),
    "a NUL": (b"a,b\n1,\x002\n", "NUL character"),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), "NUL character.*--encoding utf-16"),
    "UTF-16 with a mark": ("a,b\n1,2\n".encode("utf-16"), "byte 0 is 0xff.*--encoding utf-16"),
    "Latin 1": ("a,b\nx,Köln\n".encode("latin-1"), "byte 7 is 0xf6.*--encoding latin-1"),
    "half a character": ("a,b\nx,é".encode()[:-1], "byte 6"),
    "packed": (gzip.compress(b"a,b\n1,2\n"), "packed by gzip"),
    "a long entry": (f"a,b\n1,2\n{'x' * 1_100_000},1\n", "row 2: an entry is longer than 1048576"),
    "a long entry in quotes": ('a\n1\n"' + "x,\n" * 400_000 + '"\n',
                               "row 2: an entry is longer than 1048576"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_table_is_told(tmp_path: Path, engine: str, name: str) -> None:
    data, message = BAD[name]
    path = write(tmp_path, data)
    with pytest.raises(InputError, match=message) as caught:
        read_delimited(path, engine=engine)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_the_names_of_many_columns_are_not_all_told(tmp_path: Path) -> None:
    path = write(tmp_path, ",".join(f"c{k}" for k in range(1000)) + "\n" + "1," * 999 + "1\n")
    for name in ("c999x", "\0"):
        with pytest.raises(InputError, match=r"no column .*known: ") as caught:
            read_delimited(path, text=[name])
        assert len(str(caught.value)) < 600


def test_the_position_of_a_bad_byte_counts_from_the_beginning(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpubp.data.text_source, "CHUNK", 16)
    data = b"a,b\n" + "1,ä\n".encode() * 100 + b"1,\xff\n"
    with pytest.raises(InputError, match=f"byte {len(data) - 2} is 0xff"):
        read_delimited(write(tmp_path, data), engine=engine)


# -- what the caller says -----------------------------------------------------------------------


def test_columns_are_what_the_caller_says(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path, "zip,n,a\n01067,NA,1\n89073,?,2\n")
    table = read_delimited(path, text=["zip"], numeric=("n", "a"), engine=engine)
    assert plain(table) == {"zip": ["01067", "89073"], "n": [None, None], "a": [1.0, 2.0]}
    assert read_delimited(path, text="zip", engine=engine)["zip"].tolist() == ["01067", "89073"]


def test_a_text_in_a_numeric_column_is_told(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path, "a,b\n1,2\n3,\n4, many \n")
    with pytest.raises(InputError, match="row 3 of column 'b' is 'many'; expected a number"):
        read_delimited(path, numeric=["b"], engine=engine)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"text": ["B"]}, "no column 'B'; .*nearest: 'b'"),
        ({"text": ["a"], "numeric": ["a"]}, "choose one"),
        ({"delimiter": ""}, "expected one character"),
        ({"delimiter": ",,"}, "expected one character"),
        ({"delimiter": '"'}, "expected one character"),
        ({"delimiter": "\n"}, "expected one character"),
        ({"delimiter": "é"}, "expected one character"),
        ({"delimiter": 3}, "expected one character"),
        ({"encoding": "utf-88"}, "unknown encoding"),
        ({"encoding": "a\0"}, "unknown encoding"),
        ({"encoding": None}, "unknown encoding"),
        ({"encoding": "zlib"}, "unknown encoding"),
        ({"encoding": "rot13"}, "unknown encoding"),
        ({"encoding": "unicode_escape"}, "is none of files"),
        ({"encoding": "utf-7"}, "is none of files"),
    ],
)
def test_bad_arguments(tmp_path: Path, how: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_delimited(write(tmp_path, "a,b\n1,2\n"), **how)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " ", ":", r"\t"])
def test_a_delimiter_that_is_given(tmp_path: Path, engine: str, delimiter: str) -> None:
    character = delimiter.replace(r"\t", "\t")
    path = write(tmp_path, f"a{character}b\n1{character}x\n")
    table = read_delimited(path, delimiter=delimiter, engine=engine)
    assert plain(table) == {"a": [1.0], "b": ["x"]}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "UTF8",
                                      "utf-8-sig", "shift_jis", "gbk"])  # fmt: skip
def test_encodings(
    tmp_path: Path, engine: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpubp.data.text_source, "CHUNK", 5)  # in the middle of characters
    word = "価格" if encoding in ("shift_jis", "gbk") else "Käse"
    path = write(tmp_path, f"{word},b\n{word},2\n{word}2,3\n".encode(encoding))
    table = read_delimited(path, encoding=encoding, engine=engine)
    assert plain(table) == {word: [word, f"{word}2"], "b": [2.0, 3.0]}


# -- many rows, many columns --------------------------------------------------------------------


@pytest.mark.parametrize("last", ["2\x1c", "\x1f2", "2\u00a0", "\u20022", "1_0", "0x10"])
def test_what_is_no_number_is_none_below_numbers(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    small_blocks(monkeypatch)
    path = write(tmp_path, "a\n" + "1\n" * 200 + last)
    assert read_delimited(path, engine=engine)["a"].tolist()[-2:] == ["1", last]


def test_blocks_that_begin_in_odd_ways(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blank lines before the header, and a character that only a file's beginning hides."""
    monkeypatch.setattr(gpubp.data.text_source, "CHUNK", 1)
    monkeypatch.setattr(gpubp.data.arrow_rows, "_BLOCK", 1)
    path = write(tmp_path, "\n\r\na,b\n\n1,x\n\ufeff2,y\n")
    table = read_delimited(path, engine=engine)
    assert plain(table) == {"a": ["1", "\ufeff2"], "b": ["x", "y"]}


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpubp.data.text_source, "CHUNK", 64)
    monkeypatch.setattr(gpubp.data.arrow_rows, "_BLOCK", 64)


def test_blocks_make_one_table(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch)
    rows = [f'{k},{k / 7},"t,{k}","li\nne {k}"' for k in range(200)]
    table = read_delimited(write(tmp_path, "a,b,c,d\n" + "\n".join(rows)), engine=engine)
    assert table["a"].tolist() == list(range(200))
    assert table["b"].tolist() == [k / 7 for k in range(200)]
    assert table["c"].tolist() == [f"t,{k}" for k in range(200)]
    assert table["d"].tolist() == [f"li\nne {k}" for k in range(200)]


def test_a_text_after_many_numbers(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The texts of the numbers above it come back as they were written."""
    small_blocks(monkeypatch)
    rows = [f"{k:03},{k},{k}.0" for k in range(200)] + ["x,200,inf", "y,201,none at all"]
    table = read_delimited(write(tmp_path, "a,b,c\n" + "\n".join(rows)), engine=engine)
    assert table["a"].tolist() == [f"{k:03}" for k in range(200)] + ["x", "y"]
    assert table["b"].tolist() == list(range(202))
    assert table["c"].tolist()[-4:] == ["198.0", "199.0", "inf", "none at all"]


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ("1,2,3", "row 201 has 3 entries"),
        ("1,inf", "column 'b': row 201 is 'inf'"),
        ('1,"2', "row 201: a quote is not closed"),
        ('1,"2"3', "row 201: "),
        ("1," + "9" * 1_100_000, "row 201: an entry is longer than"),
    ],
)
def test_rows_are_counted_over_blocks(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch, last: str, message: str
) -> None:
    monkeypatch.setattr(gpubp.data.text_source, "CHUNK", 1000)
    monkeypatch.setattr(gpubp.data.arrow_rows, "_BLOCK", 1000)
    path = write(tmp_path, "a,b\n" + "1,2\n" * 200 + last)
    with pytest.raises(InputError, match=message):
        read_delimited(path, engine=engine)


def test_a_numeric_column_names_its_row_over_blocks(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch)
    path = write(tmp_path, "a,b\n" + "1,2\n" * 200 + "3,x\n")
    with pytest.raises(InputError, match="row 201 of column 'b' is 'x'"):
        read_delimited(path, numeric=["b"], engine=engine)


def test_a_million_columns_are_refused_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, ",".join(f"c{k}" for k in range(1_000_000)) + "\n1\n")
    with pytest.raises(InputError, match=r"has \d+ columns or more, 100000 are the most"):
        read_delimited(path)


def short_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gpubp.data.header, gpubp.data.csv_rows, gpubp.data.arrow_rows):
        monkeypatch.setattr(module, "ROW", 1000)
    small_blocks(monkeypatch)


@pytest.mark.parametrize("data", [b"x" * 1200, b'"' + b"x\n" * 600, b'x"' * 600])
def test_a_long_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    short_rows(monkeypatch)
    with pytest.raises(InputError, match="first row is longer than"):
        read_delimited(write(tmp_path, data))


@pytest.mark.parametrize("long", [b"5" * 1200, b"5," * 600, b'"\n",' * 400, b'"' + b"x\n" * 600])
def test_a_long_row(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch, long: bytes
) -> None:
    short_rows(monkeypatch)
    path = write(tmp_path, b"a,b\n1,2\n" + long)
    with pytest.raises(InputError, match="row 2 is longer than 1000"):
        read_delimited(path, engine=engine)


def test_a_row_of_many_entries(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That no chunk holds whole; read once or twice, and not after each chunk."""
    small_blocks(monkeypatch)
    names = ",".join(f"c{k}" for k in range(300))
    row = ",".join(f'"{k}\n"' for k in range(300))
    table = read_delimited(write(tmp_path, f"{names}\n{row}\n{row}"), engine=engine)
    assert [column.tolist() for column in table.columns.values()] == [[k, k] for k in range(300)]


def test_a_table_that_takes_too_much_memory(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpubp.data.delimited, "quarter", lambda: 1000)
    numbers = write(tmp_path, "a\n" + "1\n" * 200, "numbers.csv")
    texts = write(tmp_path, "a\n" + "".join(f"t{k}\n" for k in range(30)), "texts.csv")
    for path in (numbers, texts):
        with pytest.raises(InputError, match=r"of memory, .*save it as \.npy"):
            read_delimited(path, engine=engine)
    assert len(read_delimited(write(tmp_path, "a\n" + "x\n" * 100), engine=engine)) == 100


# -- packed -------------------------------------------------------------------------------------


def test_a_packed_table(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path, gzip.compress(b"a,b\n1,x\n2,y\n"), "a.csv.gz")
    assert plain(read_delimited(path, engine=engine)) == {"a": [1.0, 2.0], "b": ["x", "y"]}


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "wrong sum": lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
    "not packed": lambda data: b"a,b\n1,2\n",
    "more behind": lambda data: data + b"more",
}


@pytest.mark.parametrize("name", PACKED)
def test_what_is_no_packed_table(tmp_path: Path, engine: str, name: str) -> None:
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    path = write(tmp_path, PACKED[name](packed), "a.csv.gz")
    with pytest.raises(InputError, match=r"a\.csv\.gz"):
        read_delimited(path, engine=engine)


def test_a_packed_table_that_unpacks_to_too_much(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpubp.data.text_source, "memory", lambda: 1 << 20)
    path = write(tmp_path, gzip.compress(b"a,b\n" + b"\n" * 3_000_000), "a.csv.gz")
    with pytest.raises(InputError, match="unpacks to more than"):
        read_delimited(path, engine=engine)


# -- all there is -------------------------------------------------------------------------------

ENTRIES = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6),
    st.text("ab,;\"\n\r\t |'é", max_size=6),
    st.floats(allow_infinity=False).map(repr),
    st.integers().map(str),
    st.sampled_from(sorted(MISSING)),
)


def engines() -> list[str]:
    return ["csv", "pyarrow"] if find_spec("pyarrow") else ["csv"]


def outcome(path: Path, delimiter: str, engine: str) -> Plain | str:
    """The table, or what is said instead."""
    try:
        return plain(read_delimited(path, delimiter=delimiter, engine=engine))
    except InputError as error:
        return str(error)


@settings(max_examples=50, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_what_csv_writes_is_read(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    width = data.draw(st.integers(1, 4))
    rows = data.draw(st.lists(st.lists(ENTRIES, min_size=width, max_size=width), min_size=1,
                              max_size=5))  # fmt: skip
    delimiter = data.draw(st.sampled_from(",;\t|"))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    quoting = data.draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]))
    if quoting == csv.QUOTE_MINIMAL:  # which leaves an end of line of another kind bare
        rows = [[re.sub("[\r\n]", "", entry) for entry in row] for row in rows]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([[f"c{k}" for k in range(width)], *rows])
    path = write(tmp_path_factory.mktemp("t"), buffer.getvalue())
    names = [f"c{k}" for k in range(width)]
    bare = [[entry.strip(" \t\r\n\v\f") for entry in row] for row in rows]
    expected = [[None if entry in MISSING else entry for entry in row] for row in bare]
    inferred = []
    for engine in engines():
        table = read_delimited(path, delimiter=delimiter, text=names, engine=engine)
        assert [list(row) for row in zip(*table.columns.values(), strict=True)] == expected
        inferred.append(outcome(path, delimiter, engine))
    assert inferred[0] == inferred[-1]


NASTY = st.text(st.sampled_from('aé1.5,;"\n\r\t _+-einfNA\0\x1c\u00a0'), max_size=60)


@settings(max_examples=120, derandomize=True, deadline=None, database=None)
@given(text=NASTY, chunk=st.integers(1, 70))
def test_the_engines_agree(tmp_path_factory: pytest.TempPathFactory, text: str, chunk: int) -> None:
    require("pyarrow")
    path = write(tmp_path_factory.mktemp("t"), f"a,b\n{text}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpubp.data.text_source, "CHUNK", chunk)
        patch.setattr(gpubp.data.arrow_rows, "_BLOCK", chunk)
        assert outcome(path, ",", "csv") == outcome(path, ",", "pyarrow")


def test_a_large_file_goes_through_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("pyarrow")
    monkeypatch.setattr(gpubp.data.delimited, "_LARGE", 10)
    called = []
    real = gpubp.data.arrow_rows.blocks
    monkeypatch.setattr(
        gpubp.data.arrow_rows, "blocks", lambda *args: called.append(1) or real(*args)
    )
    assert len(read(write(tmp_path, "a,b\n1,2\n3,4\n"))) == 2
    assert called == [1]
