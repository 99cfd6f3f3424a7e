"""Networks as files: what was saved comes back to the bit, and a bad file is told as one."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

import gpubp
from gpubp import io, layers, losses
from gpubp.backends.standard import StandardBackend
from gpubp.describe import describe

X = np.random.default_rng(2).normal(size=(5, 3)).astype(np.float32)


@dataclass(frozen=True)
class Scale(gpubp.Layer):
    """A layer that is not gpubp's own."""

    factor: float

    def build(self, inputs: Any) -> gpubp.Spec:
        return gpubp.Spec(inputs, {"s": gpubp.Param(inputs, gpubp.HeNormal())})

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return x * w.s * self.factor, None

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return dy * w.s * self.factor


LAYERS = [
    gpubp.Linear(2),
    gpubp.Linear(4, W="he_normal", b=None),
    gpubp.Linear(2, W=gpubp.Normal(0.3), b=gpubp.Constant(0.5)),
    gpubp.Activation("gelu"),
    gpubp.MLP([5, 4], 2, activation="silu", output="tanh", init=gpubp.HeUniform(2.0)),
    gpubp.MLP([], 3),
    gpubp.Sequential(
        gpubp.Sequential(gpubp.Linear(3, W="ones"), gpubp.Activation("tanh")), gpubp.Linear(1)
    ),
    gpubp.Sequential(
        layers.BatchNorm(0.3, 1e-4), layers.LayerNorm(affine=False), layers.RMSNorm(1e-3)
    ),
    gpubp.Sequential(layers.Dropout(0.25), layers.GaussianNoise(0.5), layers.GaussianDropout(0.1)),
    layers.Residual(gpubp.Linear(3, b="normal")),
    layers.Residual(gpubp.Linear(2), projection=True),
    layers.Residual(gpubp.Linear(2), gpubp.Linear(2, W=gpubp.Normal(0.2))),
    layers.Concatenate(layers.Identity(), layers.Columns(1, 3)),
    layers.Sum(gpubp.Linear(2), gpubp.Linear(2)),
    layers.Multiply(layers.Tied(gpubp.Linear(3), 3, own_streams=False), layers.Identity()),
    layers.Checkpoint(gpubp.Linear(2)),
    gpubp.Sequential(layers.Reshape(3, -1), layers.Flatten()),
]


@pytest.mark.parametrize("members", [None, 1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", LAYERS)
def test_what_was_saved_comes_back(
    tmp_path: Path, layer: gpubp.Layer, dtype: str, members: int | None
) -> None:
    net = gpubp.Network(layer, inputs=3, dtype=dtype, members=members, seed=6)
    net.save(tmp_path / "net")
    back = gpubp.load(tmp_path / "net")
    assert back.layer == layer
    assert (back.members, back.seeds, back.inputs) == (net.members, net.seeds, net.inputs)
    assert back.predict(X).dtype == dtype
    assert back.predict(X).tobytes() == net.predict(X).tobytes()


def test_categories_and_running_state_come_back(tmp_path: Path) -> None:
    table = gpubp.Sequential(
        layers.Columns(0, 1), layers.Embedding(4, 2, W=gpubp.Normal(0.5)), layers.Flatten()
    )
    joined = layers.Concatenate(table, layers.Columns(1, 3))
    net = gpubp.Network(gpubp.Sequential(joined, layers.BatchNorm(), gpubp.Linear(2)), inputs=3)
    x = X.copy()
    x[:, 0] = [0, 3, 1, 1, 2]
    net.fit(x, [0, 1, 1, 0, 1], epochs=2)
    net.save(tmp_path / "net")
    back = gpubp.load(tmp_path / "net")
    assert back.layer == net.layer
    assert back.spec == net.spec
    assert net.state_dict()["1.mean"].any()
    assert back.predict(x).tobytes() == net.predict(x).tobytes()


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "mean_squared_error"])
def test_training_and_loss_come_back(tmp_path: Path, loss: str) -> None:
    net = gpubp.Network(gpubp.MLP([4], 2), inputs=3)
    net.fit(X, np.eye(2)[[0, 1, 1, 0, 1]], loss=loss, epochs=2)
    path = str(tmp_path / "net")  # a text names a file as well as a Path does
    net.save(path)
    back = gpubp.load(path)
    assert back.loss == net.loss == gpubp.losses.loss(loss)
    assert {k: v.tobytes() for k, v in back.state_dict().items()} == {
        k: v.tobytes() for k, v in net.state_dict().items()
    }


DESCRIBED = [
    (gpubp.CrossEntropy(), "cross_entropy"),
    (losses.Huber(), "huber"),
    (losses.Huber(2.0), {"type": "Huber", "delta": 2.0}),
    (
        gpubp.CrossEntropy(0.1, (1.0, 2.0)),
        {"type": "CrossEntropy", "label_smoothing": 0.1, "class_weight": [1.0, 2.0]},
    ),
    (losses.Quantile((0.1, 0.9)), {"type": "Quantile", "q": [0.1, 0.9]}),
    (losses.Focal(1.0), {"type": "Focal", "gamma": 1.0, "alpha": None}),
    (losses.MultiClassHinge(2), {"type": "MultiClassHinge", "p": 2}),
    (
        gpubp.BinaryCrossEntropy(pos_weight=3),
        {"type": "BinaryCrossEntropy", "label_smoothing": 0.0, "pos_weight": 3.0},
    ),
]


@pytest.mark.parametrize(("loss", "described"), DESCRIBED)
def test_a_loss_is_written_with_its_arguments(
    tmp_path: Path, loss: gpubp.Loss, described: Any
) -> None:
    net = gpubp.Network(gpubp.Linear(2), inputs=3)
    net.loss = loss
    net.save(tmp_path / "net")
    assert io.read(tmp_path / "net")[0]["loss"] == described
    assert gpubp.load(tmp_path / "net").loss == loss


@dataclass(frozen=True)
class Huber(gpubp.Loss):
    """A loss that is not gpubp's own, of the name of one."""


class Mine(gpubp.CrossEntropy):
    """A loss for classes that is not gpubp's own."""


def test_a_loss_of_ones_own_is_written_by_name_alone(tmp_path: Path) -> None:
    net = gpubp.Network(gpubp.Linear(2), inputs=3)
    net.loss = Mine()
    net.save(tmp_path / "net")
    description, _ = io.read(tmp_path / "net")
    assert (description["loss"], description["own_loss"]) == (None, "Mine")
    back = gpubp.load(tmp_path / "net")
    assert back.loss is None
    assert np.array_equal(back.predict(X), net.predict(X))
    told = r"trained with Mine, a loss of your own: gpubp.load\(path, loss=Mine\(\)\)"
    back.save(tmp_path / "again")  # the name stays
    for lacking in (back, gpubp.load(tmp_path / "again"), copy.deepcopy(back)):
        for ask, given in ((lacking.predict_proba, [X]), (lacking.predict_class, [X]),
                           (lacking.evaluate, [X, np.zeros(5)])):  # fmt: skip
            with pytest.raises(gpubp.InputError, match=told):
                ask(*given)
    back.loss = "cross_entropy"
    back.save(tmp_path / "again")
    assert gpubp.load(tmp_path / "again").own_loss is None


def test_a_loss_can_be_given_to_load(tmp_path: Path) -> None:
    net = gpubp.Network(gpubp.Linear(2), inputs=3)
    for known in (None, Mine(), gpubp.CrossEntropy()):
        net.loss = known
        net.save(tmp_path / "net")
        for given in (Mine(), Huber(), gpubp.losses.Hinge()):
            back = gpubp.load(tmp_path / "net", loss=given)
            assert (back.loss, back.own_loss) == (given, None)
    back = gpubp.load(tmp_path / "net", loss="cross_entropy")
    assert np.array_equal(back.predict_proba(X), net.predict_proba(X))
    with pytest.raises(gpubp.InputError, match="nearest: 'cross_entropy'"):
        gpubp.load(tmp_path / "net", loss="cross_entropie")
    with pytest.raises(gpubp.InputError, match="class_weight has 3"):
        gpubp.load(tmp_path / "net", loss=gpubp.CrossEntropy(class_weight=[1, 2, 3]))


def test_a_name_of_a_loss_that_can_be_none_is_not_shown(tmp_path: Path) -> None:
    odd = type("no name; run this", (Mine,), {})
    net = gpubp.Network(gpubp.Linear(2), inputs=3)
    net.loss = odd()
    net.save(tmp_path / "net")
    assert gpubp.load(tmp_path / "net").own_loss == "Loss"


@pytest.mark.parametrize(("dtype", "other"), [("float64", "float32"), ("float32", "float64")])
def test_a_file_is_read_in_its_own_precision(tmp_path: Path, dtype: str, other: str) -> None:
    net = gpubp.Network(gpubp.Linear(2), inputs=3, dtype=dtype)
    net.save(tmp_path / "net")
    with pytest.raises(gpubp.InputError, match=f"net holds a network in {dtype}, .* has {other}"):
        gpubp.load(tmp_path / "net", device=gpubp.select("cpu", other))
    back = gpubp.load(tmp_path / "net", device=gpubp.select("cpu", dtype))
    assert back.theta.tobytes() == net.theta.tobytes()


def test_a_file_is_read_on_another_device(tmp_path: Path) -> None:
    strict = StandardBackend(array_api_strict, dtype="float64")
    net = gpubp.Network(gpubp.MLP([4], 2), inputs=3, device=strict)
    net.save(tmp_path / "net")
    assert np.array_equal(gpubp.load(tmp_path / "net").state_dict()["0.W"],
                          np.from_dlpack(net.state_dict()["0.W"]))  # fmt: skip
    assert gpubp.load(tmp_path / "net", device=strict).be is strict


def test_arrays_whose_rows_are_not_in_order_are_written_right(tmp_path: Path) -> None:
    """As a device may hand them out: safetensors writes memory as it lies."""
    net = gpubp.Network(gpubp.Linear(4), inputs=3)
    copy = net.be.to_numpy
    net.be.to_numpy = lambda x: np.asfortranarray(copy(x))
    try:
        net.save(tmp_path / "net")
    finally:
        del net.be.to_numpy
    assert gpubp.load(tmp_path / "net").predict(X).tobytes() == net.predict(X).tobytes()


def test_a_layer_of_ones_own_is_handed_to_load(tmp_path: Path) -> None:
    body = gpubp.Sequential(Scale(2.0), gpubp.Linear(2))
    net = gpubp.Network(body, inputs=3)
    net.save(tmp_path / "net")
    with pytest.raises(gpubp.InputError, match=r"unknown type 'Scale'.*load\(path, layer=\.\.\.\)"):
        gpubp.load(tmp_path / "net")
    assert np.array_equal(gpubp.load(tmp_path / "net", layer=body).predict(X), net.predict(X))


# -- files that are none -----------------------------------------------------------------------


def good() -> tuple[dict[str, Any], dict[str, Any]]:
    """The description and the arrays of a sound file."""
    net = gpubp.Network(gpubp.MLP([4], 2), inputs=3)
    description = {
        "format": io.FORMAT, "layer": describe(net.layer), "inputs": [3], "dtype": "float32",
        "seeds": [0], "members": None, "updates": 0, "epochs": 0, "loss": None, "frozen": [],
        "path": "plain", "preprocessing": None, "versions": {},
    }  # fmt: skip
    return description, net.state_dict()


def written(description: Any, arrays: dict[str, Any]) -> bytes:
    if isinstance(description, dict):
        description = {**description, "digest": io.digest(arrays)}
    data: bytes = to_bytes(arrays, {"gpubp": json.dumps(description)})
    return data


def test_the_sound_file_of_the_following_tests_is_read(tmp_path: Path) -> None:
    (tmp_path / "net").write_bytes(written(*good()))
    assert gpubp.load(tmp_path / "net").n_parameters == 3 * 4 + 4 + 4 * 2 + 2


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "header only": lambda data: data[:20],
    "more behind": lambda data: data + b"\0",
    "text": lambda data: b"these are no weights\n" * 20,
    "zeros": lambda data: bytes(500),
    "ones": lambda data: b"\xff" * 500,
    "pickle": lambda data: pickle.dumps({"0.W": X}),
    "archive": lambda data: b"PK\x03\x04" + data,
    "no description": lambda data: to_bytes(from_bytes(data)),
    "description no JSON": lambda data: to_bytes(from_bytes(data), {"gpubp": "{"}),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_model(tmp_path: Path, name: str) -> None:
    (tmp_path / "net").write_bytes(BYTES[name](written(*good())))
    with pytest.raises(gpubp.InputError, match=re.escape(str(tmp_path / "net"))):
        gpubp.load(tmp_path / "net")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(gpubp.InputError, match=r"^[^ ]* is a folder; expected a regular file$"):
        gpubp.load(tmp_path)


_LINEAR = {"type": "Linear", "n_out": 2, "W": "zeros", "b": None}
DESCRIPTIONS: dict[str, tuple[Any, str]] = {  # what is put in place, and a part of the message
    "no object": (["format", 1], "format"),
    "later format": ({"format": io.FORMAT + 1}, f"this gpubp reads formats 1 to {io.FORMAT}"),
    "no format": ({"format": None}, "format None"),
    "unknown layer": ({"layer": {"type": "Conv"}}, "unknown type 'Conv'"),
    "a function for a layer": ({"layer": {"type": "system"}}, "unknown type 'system'"),
    "the base of layers": ({"layer": {"type": "Layer"}}, "unknown type 'Layer'"),
    "a text for a layer": ({"layer": "MLP"}, "layer"),
    "a list for a layer": ({"layer": [_LINEAR]}, "layer"),
    "unknown argument": ({"layer": {**_LINEAR, "bias": 1}}, "unknown arguments 'bias'"),
    "no arguments": ({"layer": {"type": "Linear"}}, "a Linear that cannot be: .*n_out"),
    "wrong argument": ({"layer": {**_LINEAR, "n_out": -2}}, "a width is -2"),
    "wrong initializer": ({"layer": {**_LINEAR, "W": {"type": "Constant", "value": "a"}}}, "value"),
    "wrong inputs": ({"inputs": [0]}, "inputs"),
    "no seeds": ({"seeds": []}, r"'seeds' is \[\]"),
    "seeds in words": ({"members": 1, "seeds": "a"}, "seed"),
    "wrong dtype": ({"dtype": "float16"}, "'dtype' is 'float16'"),
    "unknown loss": ({"loss": "hing"}, "unknown loss 'hing'.*nearest: 'hinge'"),
    "a list for a loss": ({"loss": ["cross_entropy"]}, "loss"),
    "a loss of unknown type": ({"loss": {"type": "Hubert"}}, "loss of unknown type 'Hubert'"),
    "a layer for a loss": ({"loss": _LINEAR}, "loss of unknown type 'Linear'"),
    "the base of losses": ({"loss": {"type": "Loss"}}, "loss of unknown type 'Loss'"),
    "a loss for a layer": ({"layer": {"type": "Huber"}}, "layer of unknown type 'Huber'"),
    "a loss without a type": ({"loss": {}}, "loss of unknown type None"),
    "unknown argument of a loss": (
        {"loss": {"type": "Huber", "beta": 1}}, "Huber the unknown arguments 'beta'",
    ),
    "wrong argument of a loss": ({"loss": {"type": "Huber", "delta": [1]}}, r"delta is \[1\]"),
    "no number": ({"loss": {"type": "Huber", "delta": float("nan")}}, "holds NaN"),
    "a layer in a loss": ({"loss": {"type": "Huber", "delta": _LINEAR}}, "delta is Linear"),
    "a loss for other outputs": (
        {"loss": {"type": "CrossEntropy", "class_weight": [1, 2, 3]}}, "class_weight has 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_descriptions_that_are_wrong(tmp_path: Path, name: str) -> None:
    wrong, text = DESCRIPTIONS[name]
    description, arrays = good()
    (tmp_path / "net").write_bytes(
        written({**description, **wrong} if isinstance(wrong, dict) else wrong, arrays)
    )
    with pytest.raises(gpubp.InputError, match=text):
        gpubp.load(tmp_path / "net")


@pytest.mark.parametrize("key", ["layer", "inputs", "dtype", "seeds", "members", "loss"])
def test_descriptions_that_are_incomplete(tmp_path: Path, key: str) -> None:
    description, arrays = good()
    del description[key]
    (tmp_path / "net").write_bytes(written(description, arrays))
    with pytest.raises(gpubp.InputError, match=f"incomplete.*{key}"):
        gpubp.load(tmp_path / "net")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"0.W": None}, r"missing: 0\.W"),
        ({"4.W": np.ones(2, "f4")}, r"unexpected: 4\.W"),
        ({"0.W": np.ones((4, 3), "f4")}, r"0\.W has shape \(4, 3\), expected \(3, 4\)"),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    description, arrays = good()
    changed = {k: v for k, v in {**arrays, **change}.items() if v is not None}
    (tmp_path / "net").write_bytes(written(description, changed))
    with pytest.raises(gpubp.InputError, match=text):
        gpubp.load(tmp_path / "net")


# -- writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    path = tmp_path / "net"
    gpubp.Network(gpubp.Linear(1), inputs=3, seed=1).save(path)
    old = path.read_bytes()

    def refuse(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, fails, refuse)
    with pytest.raises(gpubp.InputError, match=r"cannot write .*no space left"):
        gpubp.Network(gpubp.Linear(1), inputs=3, seed=2).save(path)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["net"]


def test_a_file_gets_the_permissions_that_files_get(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    gpubp.Network(gpubp.Linear(1), inputs=3).save(tmp_path / "net")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "net")]
    assert modes[0] == modes[1]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(gpubp.InputError, match="there is no folder"):
        gpubp.Network(gpubp.Linear(1), inputs=3).save(tmp_path / "none" / "net")
