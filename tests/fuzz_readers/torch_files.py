"""Files of torch's weights, read into a network that stays as it was unless all of it fits."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import gpubp
from gpubp.errors import InputError
from gpubp.interchange import (
    from_torch_file,
    network_from_torch_state,
    read_torch_file,
    to_torch_state,
)
from gpubp.tensors import tensor_bytes

_LAYER = gpubp.Sequential(
    gpubp.Linear(3), gpubp.layers.BatchNorm(), gpubp.Activation("tanh"), gpubp.Linear(2)
)


def _seeds() -> list[bytes]:
    state = to_torch_state(gpubp.Network(_LAYER, inputs=2))
    half = {name: a.astype(np.float16) if a.dtype.kind == "f" else a for name, a in state.items()}
    named = {f"fc{i}.weight": np.ones((2, 2), dtype=np.float32) for i in (1, 2)}
    files = [tensor_bytes(state, {"format": "pt"}), tensor_bytes(half, {}), tensor_bytes(named, {})]
    return [*files, _as_bfloat16(files[1]), b"PK\x03\x04\x14\x00"]


def _as_bfloat16(data: bytes) -> bytes:
    """The same bytes, told to be of the other type of 16 bits."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = data[8:end].replace(b'"F16"', b'"BF16"')
    return len(header).to_bytes(8, "little") + header + data[end:]


def _read(data: bytes) -> None:
    """Let only `InputError` pass; fail where a file that was refused has changed the network."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.safetensors"
        path.write_bytes(data)
        for strict in (True, False):
            _into_a_network(path, strict)
        try:
            state = read_torch_file(path)
            net = network_from_torch_state(state, activation="relu", weight_and_bias="layer_norm")
        except InputError:
            return
        if net.n_parameters > len(data):
            raise AssertionError(f"{len(data)} bytes made {net.n_parameters} parameters")


def _into_a_network(path: Path, strict: bool) -> None:
    net = gpubp.Network(_LAYER, inputs=2)
    before = _bits(net)
    try:
        from_torch_file(net, path, strict)
    except InputError:
        if _bits(net) != before:
            raise AssertionError("a file that was refused has changed the network") from None


def _bits(net: gpubp.Network) -> dict[str, Any]:
    return {name: array.tobytes() for name, array in net.state_dict().items()}


TARGETS = {"torch-file": (_read, _seeds())}
