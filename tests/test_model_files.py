"""What model files hold beside weights, what they tell, and which networks none can hold."""

from __future__ import annotations

import dataclasses
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import bounds, files, io, tensors
from gpubp.data import Preprocessing, Table
from tests.hostile import entry, good, model, packed, raw, refused

# -- what can be read without a network ----------------------------------------------------------


def test_tensors_of_all_types_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    types = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">f4", ">i8"]
    arrays = {name: (rng.normal(size=(2, 3)) * 9).astype(name) for name in types}
    arrays |= {"number": np.float32(3.0), "none": np.zeros((0, 2)), "turned": arrays["f8"].T}
    files.write_atomically(tmp_path / "a", tensors.tensor_bytes(arrays, {"by": "é\n"}))
    metadata, back = tensors.read_tensors(tmp_path / "a")
    assert metadata == {"by": "é\n"}
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == np.asarray(array).dtype.newbyteorder("<"), name
        assert np.array_equal(back[name], array), name


def test_floats_of_16_bits_are_widened_exactly(tmp_path: Path) -> None:
    values = np.asarray([[0.0, -0.0, 1.0, -2.5], [np.inf, -np.inf, 3e38, 1e-38]], "<f4")
    halves = (values.view("<u4") >> np.uint32(16)).astype("<u2")
    exact = (halves.astype("<u4") << np.uint32(16)).view("<f4")
    small = np.asarray([0.1, 65504.0, 6e-8], "<f2")
    header = {"b": entry([2, 4], 0, 16, "BF16"), "h": entry([3], 16, 22, "F16")}
    (tmp_path / "a").write_bytes(raw(header, halves.tobytes() + small.tobytes()))
    _, back = tensors.read_tensors(tmp_path / "a", widen=True)
    assert back["b"].dtype == back["h"].dtype == np.float32
    assert back["b"].tobytes() == exact.tobytes()
    assert np.array_equal(back["h"], small.astype("f4"))
    with pytest.raises(gpubp.InputError, match="'b' has dtype BF16"):
        tensors.read_tensors(tmp_path / "a")


def test_both_readers_of_a_header_agree(tmp_path: Path) -> None:
    """Whatever passes the look at the header, the library of the format reads too."""
    from safetensors.numpy import load

    entries, data = packed(good()[1])
    (tmp_path / "a").write_bytes(raw(entries, data))
    theirs, (_, ours) = load(raw(entries, data)), tensors.read_tensors(tmp_path / "a")
    assert {n: a.tobytes() for n, a in theirs.items()} == {n: a.tobytes() for n, a in ours.items()}


# -- beside the weights --------------------------------------------------------------------------


def test_more_than_a_network_may_lie_in_a_file(tmp_path: Path) -> None:
    net = gpubp.Network(gpubp.MLP([4], 2), inputs=3)
    extra = {"slot:m": np.arange(5.0), "order:now": np.arange(3)}
    data = io.encode(net, None, 7, extra)
    (tmp_path / "net").write_bytes(data)
    description, arrays = io.read(tmp_path / "net")
    assert arrays["slot:m"].tolist() == [0, 1, 2, 3, 4]
    assert arrays["order:now"].dtype == np.int64
    back = gpubp.load(tmp_path / "net")
    assert back.epochs == 7
    assert back.theta.tobytes() == net.theta.tobytes()
    saved = io.restore((description, arrays), "cpu")
    assert saved.options["weights"].keys() == net.state_dict().keys()
    with pytest.raises(ValueError, match="colon"):
        io.encode(net, None, 0, {"m": np.zeros(1)})


def test_a_file_tells_who_wrote_it(tmp_path: Path) -> None:
    gpubp.Network(gpubp.Linear(1), inputs=1).save(tmp_path / "net")
    description, _ = io.read(tmp_path / "net")
    assert description["format"] == 2
    assert description["path"] == "plain"
    assert description["preprocessing"] is None
    assert description["versions"]["gpubp"] == gpubp.__version__
    assert description["versions"]["numpy"] == np.__version__
    assert re.fullmatch("[0-9a-f]{64}", description["digest"])


def test_files_of_format_1_are_read(tmp_path: Path) -> None:
    description, arrays = good()
    for key in ("digest", "path", "versions", "preprocessing", "frozen"):
        del description[key]
    (tmp_path / "net").write_bytes(model({**description, "format": 1}, arrays, digest=False))
    back = gpubp.load(tmp_path / "net")
    assert all(np.array_equal(back.state_dict()[name], array) for name, array in arrays.items())
    assert (back.loss, back.epochs) == (gpubp.CrossEntropy(), 1)


TABLE = Table({"age": np.asarray([20.0, 40.0, 30.0]), "town": np.asarray(["Ulm", "Bonn", "Ulm"]),
               "bought": np.asarray(["no", "yes", "no"])})  # fmt: skip


def test_what_raw_data_went_through_comes_back(tmp_path: Path) -> None:
    prepared = Preprocessing.fit(TABLE, target="bought")
    net = gpubp.Network(gpubp.MLP([4], 2), inputs=prepared.width)
    assert net.preprocessing is net.classes is None
    net.preprocessing = prepared
    net.save(tmp_path / "net")
    for back in (gpubp.load(tmp_path / "net"), pickle.loads(pickle.dumps(net))):
        assert back.preprocessing == prepared
        assert back.classes == net.classes == ["no", "yes"]


def test_preprocessing_that_cannot_be_is_told(tmp_path: Path) -> None:
    description, arrays = good()
    plain = Preprocessing.fit(TABLE, target="bought").plain()
    plain["inputs"][0]["scale"] = "wide"
    refused(tmp_path / "net", model({**description, "preprocessing": plain}, arrays), "scale")


# -- what no file holds --------------------------------------------------------------------------


class Odd(gpubp.layers.Identity):
    """A layer whose constructor takes what no attribute tells."""

    def __init__(self, how: Any) -> None:
        object.__setattr__(self, "kept", how)


def deep(depth: int) -> gpubp.Layer:
    layer: gpubp.Layer = gpubp.layers.Identity()
    for _ in range(depth):
        layer = gpubp.Sequential(layer)
    return layer


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (Odd(3), "a layer of your own cannot be written.*how"),
        (deep(bounds.DEPTH + 2), "layers in layers"),
        (gpubp.Sequential(*[gpubp.Activation("tanh")] * 500), "more than 500 layers"),
    ],
)
def test_a_network_that_could_not_be_read_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: gpubp.Layer, told: str
) -> None:
    monkeypatch.setattr(bounds, "LAYERS", 500)
    net = gpubp.Network(layer, inputs=2)
    with pytest.raises(gpubp.InputError, match=told):
        net.save(tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_a_seed_that_no_file_holds(tmp_path: Path) -> None:
    net = gpubp.Network(gpubp.Linear(1), inputs=1, seed=2**128)
    with pytest.raises(gpubp.InputError, match="'seeds'"):
        net.save(tmp_path / "net")
    gpubp.Network(gpubp.Linear(1), inputs=1, seed=2**128 - 1).save(tmp_path / "net")
    assert gpubp.load(tmp_path / "net").seed == 2**128 - 1


def test_the_largest_network_of_a_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "LAYERS", 500)
    body = gpubp.Sequential(*[gpubp.Activation("tanh")] * (bounds.LAYERS - 1))
    for layer in (body, deep(bounds.DEPTH)):
        net = gpubp.Network(layer, inputs=2)
        net.save(tmp_path / "net")
        assert gpubp.load(tmp_path / "net").layer == layer


def test_every_layer_that_holds_others_is_followed() -> None:
    """A container that the bounds do not know would be built unseen."""
    kinds = [k for k in vars(gpubp.layers).values() if isinstance(k, type)]
    for kind in (k for k in kinds if issubclass(k, gpubp.Layer) and dataclasses.is_dataclass(k)):
        holds = any("Layer" in str(field.type) for field in dataclasses.fields(kind))
        known = (gpubp.Sequential, gpubp.layers.Branches, gpubp.layers.Residual,
                 gpubp.layers.Checkpoint, gpubp.layers.Tied)  # fmt: skip
        assert issubclass(kind, known) or not holds, kind
        if not holds and kind not in (gpubp.Layer, *bounds._NOTING):
            assert not sample(kind).build((4,)).selects, kind


def sample(kind: type) -> gpubp.Layer:
    given: dict[str, Any] = {"Linear": (2,), "Activation": ("tanh",), "Dropout": (0.1,),
                             "GaussianDropout": (0.1,), "GaussianNoise": (0.1,)}  # fmt: skip
    layer: gpubp.Layer = kind(*given.get(kind.__name__, ()))
    return layer


@pytest.mark.parametrize("given", [3, "standard", {"inputs": []}, Preprocessing, TABLE])
def test_preprocessing_is_one_or_none(given: Any) -> None:
    net = gpubp.Network(gpubp.Linear(1), inputs=1)
    net.preprocessing = prepared = Preprocessing.fit(TABLE)
    with pytest.raises(gpubp.InputError, match=r"preprocessing is .*; expected a gpubp\.data\.Pre"):
        net.preprocessing = given
    assert net.preprocessing is prepared
    assert pickle.loads(pickle.dumps(net)).preprocessing == prepared
    net.preprocessing = None
    assert net.preprocessing is net.classes is None
