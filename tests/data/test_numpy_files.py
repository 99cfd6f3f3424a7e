"""Arrays in .npy and .npz: mapped or read as they were saved, and nothing that is not sound."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gpubp
import gpubp.data.numpy_files
import gpubp.data.stored_arrays
from gpubp.data.numpy_files import read_npy, read_npz
from gpubp.errors import InputError

X = np.arange(12.0).reshape(4, 3)
Y = np.arange(4)


def saved(x: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, x)
    return buffer.getvalue()


def npy(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A file with that header, whatever it says."""
    text = header.encode("utf-8" if version[0] == 3 else "latin-1") + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def described(descr: str = "'<f8'", shape: str = "(4, 3)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def put(folder: Path, data: bytes, name: str = "x.npy") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# -- .npy ---------------------------------------------------------------------------------------


def test_an_array_is_mapped(tmp_path: Path) -> None:
    x = read_npy(put(tmp_path, saved(X))).x
    assert isinstance(x, np.memmap)
    assert not x.flags.writeable
    assert np.array_equal(x, X)


DTYPES = ["?", "i1", "<i2", ">i4", "i8", "u1", ">u2", "u8", "f2", "<f4", ">f4", ">f8", "g"]


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_what_numpy_saves_is_read(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    shape = data.draw(hnp.array_shapes(max_dims=4, max_side=5))
    seed = data.draw(st.integers(0, 100))
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2 if dtype.kind == "b" else 100, shape).astype(dtype)
    x = np.asfortranarray(x) if seed % 2 else x
    folder = tmp_path_factory.mktemp("t")
    np.save(folder / "x.npy", x)
    np.savez(folder / "x.npz", x=x)
    np.savez_compressed(folder / "packed.npz", x=x)
    for found in (read_npy(folder / "x.npy"), read_npz(folder / "x.npz"),
                  read_npz(folder / "packed.npz")):  # fmt: skip
        assert np.array_equal(found.x, x)
        assert found.x.dtype == dtype.newbyteorder("=")
        assert found.x.dtype.isnative


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_each_version_of_the_format(tmp_path: Path, version: tuple[int, int]) -> None:
    path = put(tmp_path, npy(described(), X.tobytes(), version))
    assert np.array_equal(read_npy(path).x, X)


def test_what_python_2_wrote(tmp_path: Path) -> None:
    path = put(tmp_path, npy(described(shape="(4L, 3L)"), X.tobytes()))
    assert np.array_equal(read_npy(path).x, X)


@pytest.mark.parametrize(("target", "column"), [(0, 0), (-1, 2), ("1", 1), ("-3", 0), (2, 2)])
def test_a_column_is_the_target(tmp_path: Path, target: int | str, column: int) -> None:
    found = read_npy(put(tmp_path, saved(X)), target)
    assert np.array_equal(found.y, X[:, column])
    assert np.array_equal(found.x, np.delete(X, column, axis=1))
    assert isinstance(found.x, np.memmap) == (column != 1)


def test_another_file_is_the_target(tmp_path: Path) -> None:
    x, y = put(tmp_path, saved(X)), put(tmp_path, saved(np.array(["a", "b", "c", "é"])), "y.npy")
    for target in (y, str(y)):
        assert read_npy(x, target).y.tolist() == ["a", "b", "c", "é"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, r"columns 0\.\.2; there is no column 3"),
        ("-4", "there is no column -4"),
        (True, "a path is True"),
        (1.0, "a path is 1.0"),
        ("price", r"give the number of a column, or a \.npy file"),
        ("no.npy", r"there is no file no\.npy"),
        ("", "a path is ''"),
    ],
)
def test_a_target_that_is_none(tmp_path: Path, target: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_npy(put(tmp_path, saved(X)), target)


def test_a_column_of_what_has_none(tmp_path: Path) -> None:
    for x in (X[0], X[:, :1], X.reshape(2, 2, 3)):
        with pytest.raises(InputError, match="to take a column as target"):
            read_npy(put(tmp_path, saved(x)), 0)


def test_targets_of_another_length(tmp_path: Path) -> None:
    y = put(tmp_path, saved(Y[:3]), "y.npy")
    with pytest.raises(InputError, match="4 examples and 3 targets"):
        read_npy(put(tmp_path, saved(X)), y)


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no array in NumPy's format"),
    "text": (b"a,b\n1,2\n", "no array in NumPy's format"),
    "zeros": (bytes(300), "no array in NumPy's format"),
    "magic only": (b"\x93NUMPY\1\0", "in the middle of its header"),
    "half a header": (saved(X)[:60], "in the middle of its header"),
    "half": (saved(X)[:-40], "56 bytes of data, and its header calls for 96"),
    "one byte short": (saved(X)[:-1], "95 bytes of data"),
    "more behind": (saved(X) + b"\0", "97 bytes of data"),
    "two arrays": (saved(X) + saved(X), "more than one array"),
    "pickle": (pickle.dumps(X), "no array in NumPy's format"),
    "objects": (saved(np.array([{}, []], dtype=object)), "Python objects.*never loaded"),
    "dates": (saved(np.zeros(2, "M8[D]")), "dates"),
    "times": (saved(np.zeros(2, "m8[s]")), "times"),
    "complex": (saved(np.zeros(2, complex)), "complex"),
    "records": (saved(np.zeros(2, "f4,i8")), "records"),
    "bytes": (saved(np.zeros(2, "S3")), "bytes; save them as texts"),
    "texts": (saved(np.array(["a", "b"])), "the examples are texts"),
    "raw": (npy(described("'|V8'"), bytes(96)), "records"),
    "one value": (saved(np.float64(1)), r"shape \(\)"),
    "no rows": (saved(X[:0]), "at least one example"),
    "no columns": (saved(X[:, :0]), "at least one example"),
    "version 4": (npy(described(), X.tobytes(), (4, 0)), r"version 4\.0"),
    "version 1.1": (npy(described(), X.tobytes(), (1, 1)), r"version 1\.1"),
    "not a dict": (npy("[1, 2]"), "none of NumPy's"),
    "a key too many": (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'a': 1}"),
                       "none of NumPy's"),
    "a key too few": (npy("{'descr': '<f8', 'shape': (1,)}"), "none of NumPy's"),
    "code": (npy("__import__('os').abort()"), "none of NumPy's"),
    "code in place of a shape": (npy(described(shape="exit()")), "none of NumPy's"),
    "warning": (npy(described(shape="(1or 2,)")), "none of NumPy's"),
    "escape": (npy(described(r"'\<f8'")), "none of NumPy's"),
    "deep": (npy("(" * 5000), "none of NumPy's"),
    "deeper": (npy("[{" * 4000), "none of NumPy's"),
    "unclosed": (npy("{'descr': '<f8'"), "none of NumPy's"),
    "half of a set": (npy("{{}: 1}"), "none of NumPy's"),
    "no text": (npy("\xff\xfe", b"", (2, 0)), "none of NumPy's"),
    "not UTF-8": (b"\x93NUMPY\3\0" + struct.pack("<I", 4) + b"\xff\xfe\n\n", "cannot be read"),
    "long header": (npy(described() + " " * 20_000, X.tobytes(), (2, 0)), "header of"),
    "endless header": (b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(100), "header of 4294967295"),
    "huge": (npy(described(shape="(1000000000000, 1000000000000)")), "calls for"),
    "digits": (npy(described(shape=f"({'9' * 5000},)")), "none of NumPy's"),
    "overflow": (npy(described(shape="(4294967296, 4294967296, 4)")), "calls for"),
    "negative": (npy(described(shape="(-1, 3)")), "none of NumPy's"),
    "nothing times much": (npy(described(shape="(0, 99999999999)")), "at least one example"),
    "bool shape": (npy(described(shape="(True, 3)")), "shape"),
    "list shape": (npy(described(shape="[4, 3]")), "shape"),
    "many axes": (npy(described(shape=f"({'1,' * 40})")), "at most 32"),
    "order": (npy(described(order="1")), "fortran_order is no truth value"),
    "no type": (npy(described("'<q9'")), "has the type"),
    "odd size": (npy(described("'<f3'")), "has the type"),
    "many types": (npy(described("'f8,f8'")), "has the type"),
    "list type": (npy(described("[('a', '<f8')]")), "records"),
    "no type at all": (npy(described("None")), "none of NumPy's"),
    "texts of no length": (npy(described("'<U0'", "(99999999999,)")), "has the type"),
    "long texts": (npy(described("'<U999999999'", "(2,)")), "has the type|calls for"),
    "truth of 2": (npy(described("'|b1'", "(3,)"), b"\0\1\2"), "neither 0 nor 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_array_is_told(tmp_path: Path, name: str) -> None:
    data, message = BAD[name]
    path = put(tmp_path, data)
    with pytest.raises(InputError, match=message) as caught:
        read_npy(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_texts_that_are_none(tmp_path: Path) -> None:
    x = put(tmp_path, saved(X[:2]))
    for code in (0x110000, 0xFFFFFFFF, 0xD800):
        data = np.asarray([65, code], dtype="<u4").tobytes()
        y = put(tmp_path, npy(described("'<U1'", "(2,)"), data), "y.npy")
        with pytest.raises(InputError, match="none of Unicode"):
            read_npy(x, y)


def test_nothing_of_a_pickle_runs(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (tmp_path / "sprung").write_text, ("",)

    trap = np.array([Trap()], dtype=object)
    np.savez(tmp_path / "x.npz", x=trap)
    np.save(tmp_path / "x.npy", trap)
    for read, name in ((read_npz, "x.npz"), (read_npy, "x.npy")):
        with pytest.raises(InputError, match="never loaded"):
            read(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


# -- .npz ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [("x", "y"), ("X", "y"), ("x_train", "y_train"),
                                  ("X_train", "y_train"), ("data", "target"),
                                  ("images", "labels")])  # fmt: skip
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_examples_and_targets_by_name(
    tmp_path: Path, keys: tuple[str, str], save: Callable[..., None]
) -> None:
    save(tmp_path / "d.npz", **{keys[0]: X, keys[1]: Y})
    found = read_npz(tmp_path / "d.npz")
    assert np.array_equal(found.x, X)
    assert np.array_equal(found.y, Y)
    assert found.x_test is None
    assert isinstance(found.x, np.memmap) == (save is np.savez)
    assert found.source == str(tmp_path / "d.npz")


def test_a_part_for_the_test(tmp_path: Path) -> None:
    arrays = {"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2], "more": Y[:1]}
    np.savez(tmp_path / "d.npz", **arrays)
    found = read_npz(tmp_path / "d.npz")
    assert [a.shape for a in found[:4]] == [(4, 3), (4,), (2, 3), (2,)]
    found = read_npz(tmp_path / "d.npz", target="y_train")
    assert found.x_test is not None


def test_a_target_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X, y=Y, z=Y + 1, x_test=X)
    found = read_npz(tmp_path / "d.npz", target="z")
    assert found.y.tolist() == [1, 2, 3, 4]
    assert found.x_test is None
    np.savez(tmp_path / "d.npz", samples=X, z=Y)
    assert np.array_equal(read_npz(tmp_path / "d.npz", target="z").x, X)


@pytest.mark.parametrize(
    ("arrays", "target", "message"),
    [
        ({"x": X, "y": Y}, "z", "no array 'z'"),
        ({"x": X, "y": Y}, "x", "lacks examples"),
        ({"a": X, "b": Y}, None, "lacks examples; it holds 'a', 'b'"),
        ({}, None, "lacks examples; it holds none"),
        ({"x": X, "data": X, "y": Y}, None, "several"),
        ({"x": X, "y": Y[:3]}, None, "4 examples and 3 targets"),
        ({"x": X, "y": np.int64(3)}, None, r"y\.npy has the shape \(\)"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :2]}, None, "expected the same"),
        ({"x_train": X, "y_train": Y, "y_test": Y}, None, "targets for the test and no examples"),
        ({"x": np.array(["a"])}, None, "examples are texts"),
    ],
)
def test_arrays_that_do_not_belong_together(
    tmp_path: Path, arrays: dict[str, Any], target: str | None, message: str
) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_npz(tmp_path / "d.npz", target)


def test_a_mapped_array_trains_a_network(tmp_path: Path) -> None:
    """Its bytes lie where the archive put them, at no multiple of their size."""
    np.savez(tmp_path / "d.npz", x=X, y=Y / 4)
    found = read_npz(tmp_path / "d.npz")
    nets = []
    for x, y in ((found.x, found.y), (X, Y / 4)):
        net = gpubp.Network(gpubp.Linear(1), inputs=3, dtype="float64")
        net.fit(x, y, loss="squared_error", epochs=2, batch_size=2)
        nets.append(net.state_dict()["W"])
    assert np.array_equal(*nets)


def test_the_library_s_own_digits() -> None:
    path = Path(gpubp.data.__file__).parent / "digits.npz"
    assert read_npz(path).x.shape == (1797, 64)


def test_an_array_that_takes_too_much_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpubp.data.numpy_files, "quarter", lambda: 1000)
    np.savez_compressed(tmp_path / "d.npz", x=np.zeros((100, 20)))
    with pytest.raises(InputError, match="GiB of memory"):
        read_npz(tmp_path / "d.npz")
    np.save(tmp_path / "x.npy", np.zeros((100, 20)))
    assert read_npy(tmp_path / "x.npy", 0).y.shape == (100,)
    with pytest.raises(InputError, match="the first or the last column"):
        read_npy(tmp_path / "x.npy", 1)


# -- archives that are none ---------------------------------------------------------------------


def archive(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_written_as_to_a_pipe(tmp_path: Path, method: int) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *args: Any) -> int:
            raise io.UnsupportedOperation

        tell = seek

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", method) as file:
        file.writestr("x.npy", saved(X))
        file.writestr("y.npy", saved(Y))
    found = read_npz(put(tmp_path, pipe.getvalue(), "d.npz"))
    assert np.array_equal(found.x, X)
    assert np.array_equal(found.y, Y)


def test_sizes_of_64_bits(tmp_path: Path) -> None:
    """A directory whose every size says: see the longer field."""
    data = saved(X)
    crc = struct.pack("<L", zlib.crc32(data))
    long = struct.pack("<2H2Q", 1, 16, len(data), len(data))
    local = b"PK\3\4" + struct.pack("<5H", 45, 0, 0, 0, 0) + crc + b"\xff" * 8
    local += struct.pack("<2H", 5, len(long)) + b"x.npy" + long + data
    long = struct.pack("<2H3Q", 1, 24, len(data), len(data), 0)
    entry = b"PK\1\2" + struct.pack("<6H", 45, 45, 0, 0, 0, 0) + crc + b"\xff" * 8
    entry += struct.pack("<5H2L", 5, len(long), 0, 0, 0, 0, 0xFFFFFFFF) + b"x.npy" + long
    end = b"PK\6\6" + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, 1, 1, len(entry), len(local))
    locator = b"PK\6\7" + struct.pack("<LQL", 0, len(local) + len(entry), 1)
    tail = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    whole = local + entry + end + locator + tail
    assert zipfile.ZipFile(io.BytesIO(whole)).read("x.npy") == data
    assert np.array_equal(read_npz(put(tmp_path, whole, "d.npz")).x, X)


SOUND = archive({"x.npy": saved(X), "y.npy": saved(Y)})
STORED = archive({"x.npy": saved(X), "y.npy": saved(Y)}, zipfile.ZIP_STORED)
CENTRAL = STORED.index(b"PK\1\2")


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def bomb() -> bytes:
    """Members that unpack to far more than they claim."""
    header = npy(described(shape="(10,)"), bytes(80))
    data = archive({"x.npy": header + bytes(10_000_000)})
    size = struct.pack("<L", len(header))
    at = data.index(b"PK\1\2")
    return patched(patched(data, at + 24, size), 22, size)


def overlapping() -> bytes:
    """A first member that holds the second."""
    size = struct.pack("<L", CENTRAL - 30 - len("x.npy"))
    return patched(patched(STORED, CENTRAL + 20, size), CENTRAL + 24, size)


ARCHIVES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no directory"),
    "text": (b"text" * 100, "no directory"),
    "an array": (saved(X), "no directory"),
    "a pickle": (pickle.dumps({"x": X}), "no directory"),
    "half": (SOUND[: len(SOUND) // 2], "no directory"),
    "the end only": (SOUND[-22:], "outside of the file"),
    "one byte short": (SOUND[:-1], "no directory"),
    "no beginning": (SOUND[10:], "outside of the file|not where|not complete"),
    "no arrays": (archive({"a.txt": b"x"}), "lacks examples; it holds none"),
    "a sum that is wrong": (patched(STORED, CENTRAL - 1, b"\x7f"), "check sum of 'y.npy'"),
    "a packed sum that is wrong": (patched(SOUND, SOUND.index(b"PK\1\2") + 16, b"\0\0\0\0"),
                                   "check sum"),
    "broken data": (patched(SOUND, 40, b"\xff\xff\xff\xff"), "d.npz"),
    "encrypted": (patched(STORED, CENTRAL + 8, b"\1"), "'x.npy' is encrypted"),
    "lzma": (archive({"x.npy": saved(X)}, zipfile.ZIP_LZMA), "packed by method 14"),
    "bzip2": (archive({"x.npy": saved(X)}, zipfile.ZIP_BZIP2), "packed by method 12"),
    "bomb": (bomb(), "unpacks to more than"),
    "a size that cannot be": (patched(SOUND, SOUND.index(b"PK\1\2") + 24, b"\xf0\xff\xff\x7f"),
                              "claims 2147483632 bytes"),
    "a size too small": (patched(SOUND, SOUND.index(b"PK\1\2") + 24, b"\xdf"),
                         "more than the 223 bytes"),
    "stored sizes that differ": (patched(STORED, CENTRAL + 24, b"\1"), "claims"),
    "overlapping": (overlapping(), r"'x\.npy' and 'y\.npy' overlap"),
    "a member in the directory": (patched(STORED, CENTRAL + 20, b"\xff\xff\0\0\xff\xff\0\0"),
                                  "overlap"),
    "a member elsewhere": (patched(STORED, CENTRAL + 42, b"\7"), "not where the directory says"),
    "a member outside": (patched(STORED, CENTRAL + 42, b"\0\0\0\x7f"), "not where"),
    "another name": (patched(STORED, 30, b"z"), "another name where it lies"),
    "another method": (patched(STORED, 8, b"\x08"), "differs"),
    "many members": (patched(STORED, len(STORED) - 14, b"\xfe\xfe\xfe\xfe"), "are the most"),
    "more members than there are": (patched(STORED, len(STORED) - 12, b"\5"), "not complete"),
    "several parts": (patched(STORED, len(STORED) - 18, b"\1"), "one part of several"),
    "no long size": (patched(STORED, CENTRAL + 20, b"\xff" * 8), "64 bits is missing"),
    "an array that is none": (archive({"x.npy": b"text"}), "no array in NumPy's format"),
    "a stored array that is none": (archive({"x.npy": b"text"}, 0), "no array in NumPy's format"),
    "half an array": (archive({"x.npy": saved(X)[:-8]}), "header calls for"),
    "half a stored array": (archive({"x.npy": saved(X)[:-8]}, 0), "header calls for"),
    "objects": (archive({"x.npy": saved(np.array([{}], dtype=object))}), "never loaded"),
    "more than its header says": (archive({"x.npy": saved(X) + b"\0"}), "header calls for"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_what_is_no_archive_is_told(tmp_path: Path, name: str) -> None:
    data, message = ARCHIVES[name]
    path = put(tmp_path, data, "d.npz")
    with pytest.raises(InputError, match=message) as caught:
        read_npz(path)
    assert str(path) in str(caught.value)


def test_two_members_of_one_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("x.npy", saved(X))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("x.npy", saved(X))
    with pytest.raises(InputError, match=r"'x\.npy' twice"):
        read_npz(put(tmp_path, buffer.getvalue(), "d.npz"))


@pytest.mark.parametrize("size", range(0, len(STORED), 7))
def test_every_beginning_of_an_archive(tmp_path: Path, size: int) -> None:
    with pytest.raises(InputError):
        read_npz(put(tmp_path, STORED[:size], "d.npz"))


@pytest.mark.parametrize(
    ("x", "y"),
    [("x_train", "y"), ("x", "y_train"), ("X", "Y"), ("x", "target"), ("data", "labels"),
     ("images", "targets"), ("x", "train_labels"), ("x", "label_training")],
)  # fmt: skip
def test_targets_of_another_pair_are_named(tmp_path: Path, x: str, y: str) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, **{x: X, y: Y})
    with pytest.raises(InputError, match=f"holds .*{y}.*name its targets, as in target='{y}'"):
        read_npz(path)
    found = read_npz(path, target=y)
    assert np.array_equal(found.x, X)
    assert np.array_equal(found.y, Y)


@pytest.mark.parametrize("other", ["ids", "classes", "x_test", "training", "_"])
def test_arrays_that_are_no_targets_are_let_be(tmp_path: Path, other: str) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=X, **{other: X})
    assert read_npz(path).y is None
