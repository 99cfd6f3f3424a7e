"""Numbers with decimal commas: read where that is said, and never taken for categories."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpubp.data import Preprocessing, Table, read
from gpubp.errors import InputError
from tests.conftest import require

GERMAN = "größe;ort;n;preis\n1,5;Ulm;1;-0,25\n;Bonn;2;+3\n2;Rom;3;1,5e2\n"


def put(folder: Path, text: str, name: str = "d.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def of(*entries: Any) -> Any:
    return np.asarray(entries, dtype=object)


def test_commas_are_read_where_that_is_said(tmp_path: Path) -> None:
    table = read(put(tmp_path, GERMAN), decimal=",")
    assert isinstance(table, Table)
    assert table["größe"].tolist()[::2] == [1.5, 2.0]
    assert math.isnan(table["größe"][1])
    assert table["ort"].tolist() == ["Ulm", "Bonn", "Rom"]
    assert table["n"].tolist() == [1.0, 2.0, 3.0]
    assert table["preis"].tolist() == [-0.25, 3.0, 150.0]
    quoted = read(put(tmp_path, 'a,b\n"1,5","2"\n"0,25",x\n'), decimal=",")
    assert isinstance(quoted, Table)
    assert (quoted["a"].tolist(), quoted["b"].tolist()) == ([1.5, 0.25], ["2", "x"])


def test_columns_are_what_the_caller_says(tmp_path: Path) -> None:
    path = put(tmp_path, GERMAN)
    table = read(path, decimal=",", text="n", numeric=["preis"])
    assert isinstance(table, Table)
    assert table["n"].tolist() == ["1", "2", "3"]
    with pytest.raises(InputError, match="'ort': row 1 is 'Ulm'; expected a number with a decimal"):
        read(path, decimal=",", numeric=["ort"])
    with pytest.raises(InputError, match="no column 'town'"):
        read(path, decimal=",", text=["town"])


@pytest.mark.parametrize("entry", ["1.234,5", "1.234", "0.5", "-1.234.567"])
def test_points_among_commas_are_refused(tmp_path: Path, entry: str) -> None:
    path = put(tmp_path, f"a;b\n1,5;x\n{entry};y\n")
    with pytest.raises(InputError, match=f"column 'a': row 2 is '{entry}', with a point among"):
        read(path, decimal=",")
    table = read(path, decimal=",", text=["a"])
    assert isinstance(table, Table)
    assert table["a"].tolist() == ["1,5", entry]


@pytest.mark.parametrize(
    "entries", [("01.02.2020", "24.12.2021"), ("v1.2.3", "1,5"), ("1,2,3", "4")]
)
def test_texts_with_points_and_commas_are_texts(tmp_path: Path, entries: Any) -> None:
    path = put(tmp_path, "a;b\n" + "".join(f"{entry};x\n" for entry in entries))
    table = read(path, decimal=",")
    assert isinstance(table, Table)
    assert table["a"].tolist() == list(entries)


def test_what_no_number_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 1 is '1e999'; expected finite numbers"):
        read(put(tmp_path, "a;b\n1e999;2\n"), decimal=",")
    for given in (";", "", 3, None):
        with pytest.raises(InputError, match=r"decimal is .*; expected '\.' or ','"):
            read(put(tmp_path, GERMAN), decimal=given)  # type: ignore[arg-type]
    np.save(tmp_path / "x.npy", np.zeros((2, 2)))
    with pytest.raises(InputError, match="leave decimal away"):
        read(tmp_path / "x.npy", decimal=",")


COMMAS = [("1,5", "2,5", "1,5"), ("1", "2", "-2,5"), ("1.234,5", "2,5", None),
          ("1,5",) * 19 + ("k. A.",)]  # fmt: skip


@pytest.mark.parametrize("entries", COMMAS)
def test_they_are_no_categories(entries: Any) -> None:
    n = len(entries)
    table = Table({"a": of(*entries), "b": np.arange(n, dtype=float)}, "d.csv")
    said = r"d\.csv: column 'a' holds numbers with decimal commas, such as .*decimal=','.*--text a"
    with pytest.raises(InputError, match=said):
        Preprocessing.fit(table, "b", impute="mean")
    if None not in entries:
        with pytest.raises(InputError, match=said):
            Preprocessing.fit(table, "a")


@pytest.mark.parametrize(
    "entries", [("1,5 kg", "2,5 kg"), ("a,b", "1,5"), ("1", "x"), ("1,2,3",) * 2]
)
def test_other_texts_are(entries: Any) -> None:
    prep = Preprocessing.fit(Table({"a": of(*entries)}))
    assert prep.names == tuple(f"a={entry}" for entry in sorted(set(entries)))


def test_they_are_where_that_is_said(tmp_path: Path) -> None:
    path = put(tmp_path, "a;y\n1,5;0\n2,5;1\n1,5;1\n")
    with pytest.raises(InputError, match="decimal commas"):
        Preprocessing.fit(read(path), "y")
    table = read(path, text="a")
    assert Preprocessing.fit(table, "y").names == ("a=1,5", "a=2,5")
    assert isinstance(table, Table)
    for same in (table.rows([0, 1]), table.without("y"), table.only(["a"])):
        assert Preprocessing.fit(same.only(["a"])).names == ("a=1,5", "a=2,5")
    assert Preprocessing.fit(table, "a").classes == ["1,5", "2,5"]
    assert Preprocessing.fit(read(path, decimal=","), "y").names == ("a",)


def test_they_are_where_a_parquet_file_has_them(tmp_path: Path) -> None:
    pa, pq = require("pyarrow"), require("pyarrow.parquet")
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"a": ["1,5", "2,5"]}), path)
    with pytest.raises(InputError, match="decimal commas"):
        Preprocessing.fit(read(path))
    assert Preprocessing.fit(read(path, text=["a"])).width == 2
