"""Folders of IDX files: each type and number of axes, plain or packed, and what is none."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gpubp.data.stored_arrays
from gpubp.data.idx import read_idx
from gpubp.errors import InputError

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
X = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
Y = np.asarray([7, 1], dtype=np.uint8)


def idx(x: Any) -> bytes:
    """The bytes of an array in the format."""
    code = CODES[x.dtype.str[1:]]
    head = bytes([0, 0, code, x.ndim]) + struct.pack(f">{x.ndim}I", *x.shape)
    return head + x.astype(x.dtype.newbyteorder(">")).tobytes()


def put(folder: Path, **files: bytes) -> Path:
    names = {
        "x": "train-images-idx3-ubyte", "y": "train-labels-idx1-ubyte",
        "x_test": "t10k-images-idx3-ubyte", "y_test": "t10k-labels-idx1-ubyte",
    }  # fmt: skip
    for key, data in files.items():
        (folder / names.get(key, key)).write_bytes(data)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_all_four_parts(tmp_path: Path, packed: bool) -> None:
    ending, wrap = (".gz", gzip.compress) if packed else ("", bytes)
    for part, n in (("train", 2), ("t10k", 1)):
        (tmp_path / f"{part}-images-idx3-ubyte{ending}").write_bytes(wrap(idx(X[:n])))
        (tmp_path / f"{part}-labels.idx1-ubyte{ending}").write_bytes(wrap(idx(Y[:n])))
    found = read_idx(tmp_path)
    expected = [X, Y, X[:1], Y[:1]]
    assert all(np.array_equal(a, b) for a, b in zip(found[:4], expected, strict=True))
    assert isinstance(found.x, np.memmap) != packed
    assert found.source == str(tmp_path)


def test_labels_and_the_part_for_the_test_may_be_missing(tmp_path: Path) -> None:
    found = read_idx(put(tmp_path, x=idx(X)))
    assert (found.y, found.x_test, found.y_test) == (None, None, None)


def test_a_plain_file_goes_before_its_packed_twin(tmp_path: Path) -> None:
    put(tmp_path, x=idx(X), **{"train-images-idx3-ubyte.gz": b"broken", "README": b""})
    assert isinstance(read_idx(tmp_path).x, np.memmap)


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    dtype = data.draw(st.sampled_from(sorted(CODES)))
    shape = data.draw(hnp.array_shapes(max_dims=4, max_side=5))
    x = data.draw(hnp.arrays(dtype, shape, elements={"allow_nan": False} if "f" in dtype else None))
    folder = tmp_path_factory.mktemp("t")
    packed = data.draw(st.booleans())
    put(folder, **({"train-images.idx3-ubyte.gz": gzip.compress(idx(x))} if packed
                   else {"x": idx(x)}))  # fmt: skip
    found = read_idx(folder).x
    assert np.array_equal(found, x)
    assert found.dtype == np.dtype(dtype)


def test_the_folder_of_fashion_mnist() -> None:
    folder = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist
    if not folder.is_dir():
        pytest.skip("needs the package dataset-fashion-mnist")
    found = read_idx(folder)
    assert [(a.shape, a.dtype) for a in found[:4]] == [
        ((60000, 28, 28), np.uint8), ((60000,), np.uint8),
        ((10000, 28, 28), np.uint8), ((10000,), np.uint8),
    ]  # fmt: skip
    assert np.bincount(found.y).tolist() == [6000] * 10


def head(*sizes: int, code: int = 8, axes: int | None = None, zero: bytes = b"\0\0") -> bytes:
    count = len(sizes) if axes is None else axes
    return zero + bytes([code, count]) + struct.pack(f">{len(sizes)}I", *sizes)


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "begins with nothing"),
    "three bytes": (b"\0\0\x08", "begins with 000008"),
    "text": (b"images, images", "begins with 696d6167"),
    "no zeros": (head(1, zero=b"\0\1") + b"1", "begins with 00010801"),
    "no type": (head(1, code=10) + b"1", "begins with 00000a01"),
    "no axes": (head(axes=0), "has 0 axes"),
    "many axes": (head(axes=255) + bytes(1020), "has 255 axes"),
    "half a header": (head(2, axes=3), "in the middle of its header"),
    "no examples": (head(0, 28, 28), "at least one example"),
    "no pixels": (head(2, 0, 2**32 - 1), "at least one example"),
    "one byte short": (idx(X)[:-1], "(has|and its header calls for) 24|23 bytes"),
    "header only": (head(60000, 28, 28), "calls for|claims"),
    "one byte more": (idx(X) + b"\0", "calls for"),
    "huge": (head(*[2**32 - 1] * 8), "calls for|claims"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_what_is_no_idx_file_is_told(tmp_path: Path, packed: bool, name: str) -> None:
    data, message = BAD[name]
    if packed:
        put(tmp_path, **{"train-images-idx3-ubyte.gz": gzip.compress(data)})
    else:
        put(tmp_path, x=data)
    with pytest.raises(InputError, match=message) as caught:
        read_idx(tmp_path)
    assert "train-images-idx3-ubyte" in str(caught.value)


PACKED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "not packed": (lambda data: idx(X), "cannot be read"),
    "empty": (lambda data: b"", "begins with nothing"),
    "half": (lambda data: data[:20], "train-images"),
    "a wrong sum": (lambda data: data[:-8] + bytes(4) + data[-4:], "cannot be read: CRC"),
    "no sum": (lambda data: data[:-8], "cannot be read"),
    "more behind": (lambda data: data + b"more", "cannot be read"),
    "a second image": (lambda data: data + data, "more bytes than"),
}


@pytest.mark.parametrize("name", PACKED)
def test_what_is_not_packed_right_is_told(tmp_path: Path, name: str) -> None:
    change, message = PACKED[name]
    put(tmp_path, **{"train-images-idx3-ubyte.gz": change(gzip.compress(idx(X)))})
    with pytest.raises(InputError, match=message):
        read_idx(tmp_path)


def test_a_packed_file_is_unpacked_no_further_than_its_header_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    real = gzip.GzipFile.read
    monkeypatch.setattr(
        gzip.GzipFile, "read", lambda self, size: taken.append(size) or real(self, size)
    )
    put(tmp_path, **{"train-images-idx3-ubyte.gz": gzip.compress(idx(X) + bytes(50_000_000))})
    with pytest.raises(InputError, match="more bytes than the 24"):
        read_idx(tmp_path)
    assert sum(taken) == 4 + 12 + 24 + 1


def test_a_claim_is_held_against_the_bytes_and_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpubp.data.stored_arrays, "quarter", lambda: 20)
    put(tmp_path, **{"train-images-idx3-ubyte.gz": gzip.compress(idx(X))})
    with pytest.raises(InputError, match="of memory"):
        read_idx(tmp_path)
    put(tmp_path, **{"train-images-idx3-ubyte.gz": gzip.compress(head(10_000_000) + b"1")})
    with pytest.raises(InputError, match=r"more than its .* bytes can hold"):
        read_idx(tmp_path)


FOLDERS: dict[str, tuple[dict[str, bytes], str]] = {
    "empty": ({}, "a folder without a data set: expected train-images-idx3-ubyte"),
    "others": ({"a.csv": b"a\n1\n"}, "a folder without a data set"),
    "labels only": ({"y": idx(Y)}, "a folder without a data set"),
    "the test only": ({"x_test": idx(X), "y_test": idx(Y)}, "a folder without a data set"),
    "fewer labels": ({"x": idx(X), "y": idx(Y[:1])}, "2 examples and 1 targets"),
    "test labels only": ({"x": idx(X), "y_test": idx(Y)}, "no examples for the test"),
    "another size": ({"x": idx(X), "x_test": idx(X[:, :2])}, "expected the same"),
    "two of one kind": ({"x": idx(X), "train-images.idx3-ubyte": idx(X)}, "leave one of them"),
    "packed by name only": ({"x": gzip.compress(idx(X))}, r"add \.gz to its name"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_that_are_no_data_set(tmp_path: Path, name: str) -> None:
    files, message = FOLDERS[name]
    with pytest.raises(InputError, match=message):
        read_idx(put(tmp_path, **files))


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_idx(tmp_path / "none")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "train-images-idx3-ubyte")
    with pytest.raises(InputError, match="is a folder; expected a regular file"):
        read_idx(tmp_path)
