"""Model files, the descriptions in them, and what raw data went through."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import gpubp
from gpubp import describe, io, layers
from gpubp.data import Preprocessing, Table
from gpubp.errors import InputError
from tests.hostile import model

_TABLE = Table({
    "age": np.asarray([20.0, 40.0, 30.0, 40.0]), "town": ["Ulm", "Bonn", "Ulm", "Ulm"],
    "bought": ["no", "yes", "no", "no"], "paid": np.asarray([1.0, 2.0, 3.0, 4.5]),
})  # fmt: skip
_PREPARED = [
    Preprocessing.fit(_TABLE, target="bought"),
    Preprocessing.fit(_TABLE, target="paid", task="regression", impute="mean"),
    Preprocessing.fit((np.zeros((4, 2, 2), dtype=np.uint8), np.arange(4) % 2)),
    Preprocessing.fit((np.arange(8.0).reshape(4, 2), np.arange(4.0) / 3)),
]


def _networks() -> list[gpubp.Network]:
    mixed = gpubp.Sequential(
        layers.Concatenate(
            gpubp.Sequential(layers.Columns(0, 1), layers.Embedding(3, 2), layers.Flatten()),
            layers.Columns(1, 4),
        ),
        layers.Residual(gpubp.Linear(3, b=None), projection=True),
        layers.Tied(layers.Checkpoint(gpubp.Linear(3, W=gpubp.Normal(0.1))), 2),
        layers.Sum(layers.LayerNorm(), layers.RMSNorm(affine=False), layers.Identity()),
        layers.Multiply(layers.Reshape(-1), layers.PReLU()),
    )
    nets = [
        gpubp.Network(gpubp.MLP([4], 2), inputs=3),
        gpubp.Network(mixed, inputs=4, seed=7),
        gpubp.Network(gpubp.MLP([2], 1, norm="batch", dropout=0.5), inputs=2, members=2),
        gpubp.Network(layers.GaussianNoise(0.5), inputs=(2, 2), dtype="float64"),
    ]
    nets[0].loss = gpubp.CrossEntropy(0.1, (1.0, 2.0))
    nets[0].freeze("0")
    nets[0].preprocessing = _PREPARED[0]
    nets[1].loss = gpubp.Huber(2.0)
    nets[2].loss = gpubp.BinaryCrossEntropy()
    return nets


_NETWORKS = _networks()
_FILES = [io.encode(net, net.loss, 3) for net in _NETWORKS]
_FILES.append(io.encode(_NETWORKS[0], None, 0, {"slot:m": np.arange(3.0)}))


def _model(data: bytes) -> None:
    """Load a file; a network that comes of it can be used, and written again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net"
        path.write_bytes(data)
        try:
            net: gpubp.Network | str = gpubp.load(path)
        except InputError as error:
            net = str(error)
        if isinstance(net, str):
            assert str(path) in net, net
            assert len(net) < 2000, "a message of thousands of characters"
            return
        assert 4 * net.n_parameters <= len(data), "more weights than there are bytes"
        net.predict(np.zeros((1, *net.inputs)))
        net.save(path)
        assert describe.describe(gpubp.load(path).layer) == describe.describe(net.layer)


def _texts() -> tuple[list[bytes], dict[str, dict[str, Any]]]:
    """The descriptions in the files, and to the digest of each the arrays that go with it."""
    texts, arrays = [], {}
    for net in _NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net"
            net.save(path)
            description, held = io.read(path)
        texts.append(json.dumps(description).encode())
        arrays[description["digest"]] = held
    return texts, arrays


_TEXTS, _ARRAYS = _texts()


def _description(data: bytes) -> None:
    """A description in a file whose arrays are those that its digest is of."""
    text = data.decode(errors="replace")
    known = [held for digest, held in _ARRAYS.items() if digest in text]
    _model(model(text, known[0] if known else next(iter(_ARRAYS.values()))))


def _preprocessing(data: bytes) -> None:
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        prepared: Preprocessing | str = Preprocessing.rebuild(given)
    except InputError as error:
        prepared = str(error)
    if isinstance(prepared, str):
        assert len(prepared) < 2000, "a message of thousands of characters"
        return
    plain = json.loads(json.dumps(prepared.plain(), allow_nan=False))
    assert Preprocessing.rebuild(plain) == prepared
    assert prepared.width == len(prepared.names)


TARGETS = {
    "model": (_model, _FILES),
    "description": (_description, _TEXTS),
    "preprocessing": (_preprocessing, [json.dumps(p.plain()).encode() for p in _PREPARED]),
}
"""By name: what takes bytes and raises for a defect only, and bytes to begin with."""
