"""Model files that are broken, or meant to do harm: each is told as one, and that is all."""

from __future__ import annotations

import io as streams
import os
import pickle
import re
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import headers, tensors
from tests.hostile import apart, changed, empty, entry, good, model, raw, refused

ROOT = Path(__file__).resolve().parent.parent


def test_the_sound_files_of_these_tests_are_read(tmp_path: Path) -> None:
    for name, data in {"hand": model(*good()), "changed": changed(epochs=3)}.items():
        (tmp_path / name).write_bytes(data)
        assert gpubp.load(tmp_path / name).n_parameters == 26
    (tmp_path / "identity").write_bytes(empty({"type": "Identity"}))
    assert gpubp.load(tmp_path / "identity").n_parameters == 0


# -- bytes -------------------------------------------------------------------------------------


def test_truncated_at_every_byte(tmp_path: Path) -> None:
    whole = model(*good())
    path = tmp_path / "net"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(gpubp.InputError, match=re.escape(str(path))):
            gpubp.load(path)


def test_a_byte_of_an_array_that_is_flipped_is_found(tmp_path: Path) -> None:
    whole = model(*good())
    for place in range(1, 4 * 26, 5):
        bad = bytearray(whole)
        bad[-place] ^= 1
        refused(tmp_path / "net", bytes(bad), "are not those it was written with")


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * depth + b"]" * depth + b"}"


def archive() -> bytes:
    file = streams.BytesIO()
    with zipfile.ZipFile(file, "w") as inside:
        inside.writestr("data.pkl", pickle.dumps({"0.W": [1.0]}))
    return file.getvalue()


BYTES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "0 bytes"),
    "seven bytes": (b"1234567", "7 bytes"),
    "a length of 2^63": (raw({}, length=2**63), "fewer than its header asks for"),
    "a length of 2^64-1": (b"\xff" * 500, "fewer than its header asks for"),
    "a length of 0": (bytes(500), "no JSON"),
    "a header of 17 MB": (raw(b"{}" + b" " * (17 * 2**20)), "at most 16,777,216 are read"),
    "text": (b"these are no weights\n" * 20, "header"),
    "a pickle": (pickle.dumps({"0.W": [1.0]}), "header"),
    "an archive": (archive(), "header"),
    "no UTF-8": (raw(b'{"\xff": 1}'), "no JSON"),
    "no JSON": (raw(b"{"), "no JSON"),
    "JSON and more": (raw(b"{} {}"), "no JSON"),
    "20,000 lists in lists": (raw(nested(20_000)), "nested too deeply"),
    "a number of 5,000 digits": (raw(b'{"a": ' + b"1" * 5_000 + b"}"), "no JSON"),
    "NaN": (raw(b'{"a": NaN}'), "holds NaN"),
    "a list": (raw([]), "no JSON object"),
    "metadata in a list": (raw({"__metadata__": []}), "metadata"),
    "metadata that are numbers": (raw({"__metadata__": {"gpubp": 1}}), "metadata"),
    "no metadata": (raw({}), "holds no description"),
    "two arrays of a name": (
        raw(b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
            b'"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'),
        "two entries 'a'",
    ),
    "an array in a list": (raw({"a": []}), "no dtype, shape and place"),
    "an array without a dtype": (raw({"a": {"shape": [], "data_offsets": [0, 4]}}), "no dtype"),
    "an array with more": (raw({"a": {**entry([], 0, 4), "x": 1}}, bytes(4)), "no dtype"),
    "a dtype that is none": (raw({"a": entry([1], 0, 4, "PY")}, bytes(4)), "unknown dtype 'PY'"),
    "a dtype in a list": (raw({"a": entry([1], 0, 4, ["F32"])}, bytes(4)), "unknown dtype .'F32'."),
    "a shape below 0": (raw({"a": entry([-1], 0, 4)}, bytes(4)), "no shape"),
    "a shape of truth": (raw({"a": entry([True], 0, 4)}, bytes(4)), "no shape"),
    "a shape of fractions": (raw({"a": entry([1.0], 0, 4)}, bytes(4)), "no shape"),
    "a shape of 33 axes": (raw({"a": entry([1] * 33, 0, 4)}, bytes(4)), "no shape"),
    "a shape that overflows": (raw({"a": entry([2**62, 2**62, 4], 0, 4)}, bytes(4)), "has 4 bytes"),
    "a shape without bytes": (raw({"a": entry([10**12], 0, 4)}, bytes(4)), "has 4 bytes"),
    "a place that ends before": (raw({"a": entry([1], 4, 0)}, bytes(4)), "no place"),
    "a place of three": (raw({"a": {**entry([1], 0, 4), "data_offsets": [0, 4, 4]}}), "no place"),
    "a place out of range": (raw({"a": entry([1], 8, 12)}, bytes(4)), "behind a gap"),
    "a place beyond the end": (raw({"a": entry([2], 0, 8)}, bytes(4)), "have 8 bytes, and 4"),
    "overlapping": (
        raw({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)), "'b' overlaps",
    ),
    "the same place twice": (
        raw({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, bytes(4)), "overlaps",
    ),
    "a hole": (raw({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)), "behind a gap"),
    "more behind": (model(*good()) + b"\0", "are there"),
    "a description that is no JSON": (model("{", {}), "no JSON"),
    "a description of lists in lists": (model(nested(20_000).decode(), {}), "nested too deeply"),
    "two entries in a description": (
        model('{"format": 2, "format": 1}', {}), "two entries 'format'",
    ),
    "two entries deep inside": (
        model('{"format": 2, "layer": {"type": "Linear", "type": "MLP"}}', {}),
        "two entries 'type'",
    ),
    "no digest": (model(*good(), digest=False).replace(b"digest", b"digesT"), "not those"),
}  # fmt: skip


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_model(tmp_path: Path, name: str) -> None:
    refused(tmp_path / "net", *BYTES[name])


def with_type(dtype: str, bits: int) -> bytes:
    """The sound file with its first array in another type."""
    header, data = apart(model(*good()))
    name = next(n for n in header if n != "__metadata__" and header[n]["data_offsets"][0] == 0)
    size = int(np.prod(header[name]["shape"])) * bits // 8
    less = header[name]["data_offsets"][1] - size
    header[name]["dtype"] = dtype
    for other, given in header.items():
        if other != "__metadata__":
            start, stop = given["data_offsets"]
            given["data_offsets"] = [max(0, start - less), stop - less]
    return raw(header, data[less:])


@pytest.mark.parametrize(
    ("dtype", "bits"), [("BF16", 16), ("F8_E4M3", 8), ("F8_E5M2", 8), ("F4", 4), ("F6_E2M3", 6)]
)
def test_types_that_numpy_lacks(tmp_path: Path, dtype: str, bits: int) -> None:
    refused(tmp_path / "net", with_type(dtype, bits), f"dtype {dtype}; expected one of .*F32")


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64", "int8"])
def test_types_that_a_network_has_not(tmp_path: Path, dtype: str) -> None:
    description, arrays = good()
    arrays["0.W"] = arrays["0.W"].astype(dtype)
    told = f"says float32, and the array '0.W' has {dtype}"
    refused(tmp_path / "net", model(description, arrays), told)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    description, arrays = good()
    arrays["0.W"] = arrays["0.W"].copy()
    arrays["0.W"][1, 2] = value
    refused(tmp_path / "net", model(description, arrays), rf"0\.W\[1, 2\] is {value}")


# -- places ------------------------------------------------------------------------------------


def test_what_is_no_file(tmp_path: Path) -> None:
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    told = {tmp_path: "is a folder", tmp_path / "none": "there is no file",
            tmp_path / "loop": "cannot be read"}  # fmt: skip
    for path, what in told.items():
        with pytest.raises(gpubp.InputError, match=what) as caught:
            gpubp.load(path)
        assert str(path) in str(caught.value)
    for wrong in (None, 3, "", b"net", "a\0b", ["net"]):
        with pytest.raises(gpubp.InputError, match=r"a path is .*; expected text"):
            gpubp.load(wrong)  # type: ignore[arg-type]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names here")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(gpubp.InputError, match=r"^[^ ]*pipe is a pipe.*; expected a regular file"):
        gpubp.load(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_file(name: str) -> None:
    if not os.path.exists(name):
        pytest.skip(f"no {name} here")
    with pytest.raises(gpubp.InputError, match=f"{name} is a device; expected a regular"):
        gpubp.load(name)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5, "I/O error")]
)
def test_a_file_that_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    (tmp_path / "net").write_bytes(model(*good()))

    def refuse(*_: Any) -> int:
        raise error

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(gpubp.InputError, match=f"net cannot be read: {error.strerror}"):
        gpubp.load(tmp_path / "net")


@pytest.mark.parametrize(
    "fault", [MemoryError(), EOFError("short"), OverflowError("large"), RecursionError("deep")]
)
def test_faults_of_a_machine_are_errors_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    (tmp_path / "net").write_bytes(model(*good()))

    def fail(*_: Any) -> Any:
        raise fault

    monkeypatch.setattr(tensors, "read_header", fail)
    told = str(fault) or "it does not fit into memory"
    with pytest.raises(gpubp.InputError, match=f"net cannot be read: {told}"):
        gpubp.load(tmp_path / "net")


@pytest.mark.parametrize("what", ["longer", "shorter", "touched"])
def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = tmp_path / "net"
    path.write_bytes(model(*good()))
    read_header = headers.read_header

    def change(*arguments: Any) -> Any:
        found = read_header(*arguments)
        if what == "touched":
            os.utime(path, ns=(0, 0))
        else:
            os.truncate(path, path.stat().st_size + (100 if what == "longer" else -1))
        return found

    monkeypatch.setattr(tensors, "read_header", change)
    with pytest.raises(gpubp.InputError, match="net changed while it was read"):
        gpubp.load(path)


def test_a_file_that_is_replaced_all_the_time_is_one_or_the_other(tmp_path: Path) -> None:
    path, ended = tmp_path / "net", threading.Event()
    nets = [gpubp.Network(gpubp.MLP([40], 2), inputs=3, seed=seed) for seed in (1, 2)]
    nets[0].save(path)
    known = {net.theta.tobytes() for net in nets}

    def replace() -> None:
        while not ended.is_set():
            for net in nets:
                net.save(path)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        met = {gpubp.load(path).theta.tobytes() for _ in range(100)}
    finally:
        ended.set()
        thread.join()
    assert met <= known
