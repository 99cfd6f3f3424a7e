"""One door to all: which reader takes what, and what is refused before any reads it."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp.data
from gpubp import files
from gpubp.data import Arrays, Table, limits, read
from gpubp.errors import InputError
from tests.conftest import require

CSV = b"a,b\n1,x\n2,y\n"


def put(folder: Path, name: str, data: bytes = CSV) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["d.csv", "D.CSV", "d.txt", "d.csv.gz", "d.b.txt.gz"])
def test_text_is_a_table(tmp_path: Path, name: str) -> None:
    data = gzip.compress(CSV) if name.endswith("gz") else CSV
    table = read(put(tmp_path, name, data), target="a")
    assert isinstance(table, Table)
    assert table["a"].tolist() == [1.0, 2.0]
    assert table["b"].tolist() == ["x", "y"]


@pytest.mark.parametrize("name", ["d.tsv", "d.tsv.gz"])
def test_the_ending_tsv_means_tabs(tmp_path: Path, name: str) -> None:
    data = b"a,b\tc\n1,2\t3\n"
    table = read(put(tmp_path, name, gzip.compress(data) if name.endswith("gz") else data))
    assert isinstance(table, Table)
    assert list(table.columns) == ["a,b", "c"]


def test_the_arguments_of_a_table(tmp_path: Path) -> None:
    path = put(tmp_path, "d.csv", "ä:b:c\n01:2:?\n".encode("latin-1"))
    table = read(path, encoding="latin-1", delimiter=":", text=["ä"], numeric=iter(["c"]))
    assert isinstance(table, Table)
    assert table["ä"].tolist() == ["01"]
    assert np.isnan(table["c"]).all()


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.eye(3))
    np.savez(tmp_path / "d.npz", x=np.eye(3), z=np.arange(3))
    for name, target in (("d.npy", "0"), ("d.npy", -1), ("d.npz", "z")):
        found = read(tmp_path / name, target=target)
        assert isinstance(found, Arrays)
        assert found.y.shape == (3,)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "Excel": ("d.xlsx", {}, "none of the known endings.*save the sheet as CSV"),
    "pickle": ("d.pkl", {}, "never loaded"),
    "HDF5": ("d.h5", {}, "save it as CSV, parquet"),
    "zip": ("d.csv.zip", {}, "unpack it"),
    "packed arrays": ("d.npy.gz", {}, "unpack it"),
    "no ending": ("data", {}, "rename it"),
    "IDX file": ("train-images-idx3-ubyte.gz", {}, "give the folder"),
    "delimiter of arrays": ("d.npy", {"delimiter": ","}, "leave delimiter away"),
    "columns of arrays": ("d.npz", {"text": ["a"]}, "leave text and numeric away"),
    "number for an archive": ("d.npz", {"target": 0}, "name an array in it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    file, how, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        read(put(tmp_path, file), **how)


ENDINGS = ["d.csv", "d.tsv.gz", "d.npy", "d.npz", "d.parquet", "d", "d.xyz"]


@pytest.mark.parametrize("name", ENDINGS)
def test_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ENDINGS)
def test_a_folder_is_looked_into_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="a folder without a data set"):
        read(tmp_path / name)


def test_a_folder_takes_no_target(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave target away"):
        read(tmp_path, target="y")


@pytest.mark.parametrize("path", [3, None, b"d.csv", "", "a\0.csv", ["d.csv"]])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(InputError, match="a path is"):
        read(path)


@pytest.mark.parametrize("path", ["x" * 5000 + ".csv", "\udcff\ud800.csv", "d.csv/d.csv"])
def test_paths_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "d.csv")
    with pytest.raises(InputError):
        read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz", "d.npy", "d.npz", "d.parquet"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"a pipe.*expected a regular file"):
        read(tmp_path / name)
    assert time.monotonic() - begun < 2


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no such device here")
def test_a_device_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "d.csv").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is a device"):
        read(tmp_path / "d.csv")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no sockets with names here")
def test_a_socket_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("d.csv")
        with pytest.raises(InputError, match="is a socket"):
            read("d.csv")


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "d.csv").symlink_to(tmp_path / "d.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "d.csv")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root reads all")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    put(tmp_path, "d.csv").chmod(0)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        read(tmp_path / "d.csv")


@pytest.mark.parametrize("change", ["longer", "touched"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    path = put(tmp_path, "d.csv")
    with pytest.raises(InputError, match="changed while it was read"), files.opened(path):  # noqa: PT012
        if change == "longer":
            path.write_bytes(CSV + b"3,z\n")
        else:
            os.utime(path, ns=(0, 0))


def test_a_change_is_told_before_what_came_of_it(tmp_path: Path) -> None:
    path = put(tmp_path, "d.csv")
    with pytest.raises(InputError, match="changed while"), files.opened(path):  # noqa: PT012
        os.truncate(path, 5)
        raise InputError("row 1 has 1 entries")


@pytest.mark.parametrize("fault", [OSError(5, "Input/output error"), EOFError(), MemoryError(),
                                   RecursionError("deep"), OverflowError("large")])  # fmt: skip
def test_faults_of_a_machine_are_errors_of_the_library(tmp_path: Path, fault: Exception) -> None:
    path = put(tmp_path, "d.csv")
    with pytest.raises(InputError, match=r"d\.csv cannot be read"), files.opened(path):
        raise fault


def test_memory_that_does_not_suffice_is_told(tmp_path: Path) -> None:
    path = put(tmp_path, "d.csv")
    with pytest.raises(InputError, match="it does not fit into memory"), files.opened(path):
        raise MemoryError


def test_the_file_is_closed(tmp_path: Path) -> None:
    with files.opened(put(tmp_path, "d.csv")) as file:
        pass
    assert file.closed


def test_an_interruption_stays_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), files.opened(put(tmp_path, "d.csv")):
        raise KeyboardInterrupt


def test_the_memory_of_a_machine_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(limits.os, "sysconf", raising=False)
    assert 0 < limits.memory() <= 8 << 30


def test_the_readers_are_loaded_when_they_are_used() -> None:
    code = (
        "import gpubp.data, sys; print('csv' in sys.modules, 'gpubp.data.reading' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
    assert "read" in gpubp.data.__all__
    with pytest.raises(AttributeError, match="no attribute 'reed'"):
        gpubp.data.reed  # noqa: B018


def test_pyarrow_is_not_let_to_import_pandas(tmp_path: Path) -> None:
    require("pyarrow.parquet").write_table(
        require("pyarrow").table({"a": [1, None], "b": ["x", None], "c": [0.5, 1.0]}),
        tmp_path / "d.parquet",
    )
    put(tmp_path, "d.csv", b"a,b,c\n1,x,?\n,y,+1\n")
    code = (
        "import sys; from gpubp.data import read; from gpubp.data.delimited import read_delimited;"
        "read('d.parquet'); read_delimited('d.csv', engine='pyarrow');"
        "print('pyarrow' in sys.modules, 'pandas' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("name", ["d.csv", "d.npy", "d.parquet"])
@pytest.mark.parametrize("option", ["text", "numeric"])
@pytest.mark.parametrize("given", [3, None, [3], [["a"]], [b"a"]])
def test_columns_are_named(tmp_path: Path, name: str, option: str, given: Any) -> None:
    with pytest.raises(InputError, match=f"{option} (is|holds) .*; expected names of columns"):
        read(put(tmp_path, name), **{option: given})


def test_an_ending_that_promises_too_much(tmp_path: Path) -> None:
    path = put(tmp_path, "d.csv.gz")
    with pytest.raises(InputError, match=r"not packed by gzip.*rename it \S*d\.csv, or pack it"):
        read(path)
    assert isinstance(read(path.rename(tmp_path / "d.csv")), Table)
