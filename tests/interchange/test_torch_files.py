"""Weights as files: what torch's safetensors writes is read, and the other way round."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import gpubp
from gpubp.interchange import from_torch_file, read_torch_file, to_torch_file
from tests.conftest import require
from tests.fuzz_readers.torch_files import TARGETS


def mlp(seed: int = 0, **how: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 2, norm="batch"), inputs=3, seed=seed, **how)


def bits(net: gpubp.Network) -> dict[str, bytes]:
    return {path: net.be.to_numpy(array).tobytes() for path, array in net.state_dict().items()}


def test_a_file_comes_back_to_the_bit(tmp_path: Path) -> None:
    for dtype in ("float32", "float64"):
        first, second = mlp(0, dtype=dtype), mlp(1, dtype=dtype)
        to_torch_file(first, tmp_path / "net")
        from_torch_file(second, tmp_path / "net")
        assert bits(second) == bits(first)


def test_torch_reads_what_is_written(tmp_path: Path) -> None:
    nn, files = require("torch").nn, require("safetensors.torch")
    net = mlp(members=2)
    to_torch_file(net, tmp_path / "net", member=1)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).eval()
    module.load_state_dict(files.load_file(tmp_path / "net"), strict=True)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    y = module(require("torch").tensor(x)).detach().numpy()
    assert np.abs(net.predict(x)[1] - y).max() < 1e-6
    with require("safetensors").safe_open(tmp_path / "net", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "bfloat16"])
def test_what_torch_writes_is_read(tmp_path: Path, kind: str) -> None:
    torch, files = require("torch"), require("safetensors.torch")
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    ).to(getattr(torch, kind))
    files.save_file(module.state_dict(), tmp_path / "net")
    net = mlp(1)
    from_torch_file(net, tmp_path / "net")
    weight = module[3].weight.detach().float().numpy()
    assert np.array_equal(np.asarray(net.parameter("3.W")), weight.T)
    read = read_torch_file(tmp_path / "net")["0.weight"]
    assert read.dtype == (np.float64 if kind == "float64" else np.float32)


def test_every_bfloat16_is_read(tmp_path: Path) -> None:
    """Without a library that knows the type: its bits are the upper half of a float32."""
    halves = np.arange(65536, dtype="<u2")
    header = {"w": {"dtype": "BF16", "shape": [65536], "data_offsets": [0, 131072]}}
    text = json.dumps(header).encode()
    path = tmp_path / "net"
    path.write_bytes(len(text).to_bytes(8, "little") + text + halves.tobytes())
    read = read_torch_file(path)["w"]
    expected = (halves.astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(read.view(np.uint32), expected.view(np.uint32))
    finite = np.isfinite(expected)
    theirs = require("torch").tensor(halves.view(np.int16)).view(require("torch").bfloat16)
    assert np.array_equal(read[finite], theirs.float().numpy()[finite])


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin"])
def test_pickles_are_refused_with_the_remedy(tmp_path: Path, name: str, old: bool) -> None:
    torch, files = require("torch"), require("safetensors.torch")
    path = tmp_path / name
    module = torch.nn.Sequential(torch.nn.Linear(3, 2))
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=not old)
    net = gpubp.Network(gpubp.MLP([], 2), inputs=3)
    with pytest.raises(gpubp.InputError, match="a pickle, which could run code") as caught:
        from_torch_file(net, path)
    assert re.search(r"weights_only=True\)$", str(caught.value), re.MULTILINE)
    remedy = "\n".join(line.strip() for line in str(caught.value).splitlines()[1:])
    target = tmp_path / "weights.safetensors"
    exec(  # what is advised works as it stands
        remedy.replace("'weights.safetensors'", repr(str(target))),
        {"torch": torch, "safetensors": require("safetensors")},
    )
    from_torch_file(net, target)
    assert np.array_equal(np.asarray(net.parameter("0.W")).T, files.load_file(target)["0.weight"])


def test_a_header_that_begins_as_a_pickle_does_is_read(tmp_path: Path) -> None:
    for more in range(600):
        save_file({"a" * (more + 1): np.zeros(1)}, tmp_path / "net")
        if (tmp_path / "net").read_bytes().startswith(b"\x80"):
            break
    else:
        pytest.fail("no header has 128 bytes or so")
    assert list(read_torch_file(tmp_path / "net")) == ["a" * (more + 1)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "net"),
        (b"{}", "net"),
        (b"\x93NUMPY\x01\x00", "net"),
        (b"PK\x03\x04", "a pickle"),
        (b"\x80\x02}q\x00.", "a pickle"),
        ((2**63).to_bytes(8, "little") + b"{}", "net"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "net").write_bytes(content)
    net = mlp()
    before = bits(net)
    with pytest.raises(gpubp.InputError, match=told):
        from_torch_file(net, tmp_path / "net")
    assert bits(net) == before


def test_a_misfit_names_the_file_and_torchs_names(tmp_path: Path) -> None:
    path = tmp_path / "net"
    save_file({"0.weight": np.zeros((4, 3), dtype=np.float32)}, path)
    net = mlp()
    before = bits(net)
    with pytest.raises(gpubp.InputError, match=re.escape(f"{path}: this state is of another")):
        from_torch_file(net, path)
    with pytest.raises(gpubp.InputError, match="there is no file"):
        from_torch_file(net, tmp_path / "none")
    with pytest.raises(gpubp.InputError, match="folder"):
        from_torch_file(net, tmp_path)
    with pytest.raises(gpubp.InputError, match="no folder"):
        to_torch_file(net, tmp_path / "none" / "net")
    assert bits(net) == before


@given(data=st.data())
@settings(derandomize=True, max_examples=60, deadline=None, database=None)
def test_a_spoiled_file_raises_nothing_else(data: st.DataObject) -> None:
    """Where the reader lets anything but `InputError` out, so does the target."""
    read, corpus = TARGETS["torch-file"]
    given_bytes = bytearray(data.draw(st.sampled_from(corpus)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(given_bytes) - 1))
        given_bytes[place] = data.draw(st.integers(0, 255))
    read(bytes(given_bytes[: data.draw(st.integers(0, len(given_bytes)))]))
    read(bytes(given_bytes))
